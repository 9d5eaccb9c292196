// What the proxy accepts as a device, and what it reports about anything else. The tests in tests/vivid pass
// a real device through.
#include <cerrno>
#include <string>

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vumedia/backends/v4l2_proxy.hpp>

#include "support/media_guest.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::backends::v4l2_proxy::test {
namespace {

std::string complaint(const std::string& path) {
  const auto node = examine_node(path);
  EXPECT_FALSE(node);
  if (node) return {};
  EXPECT_EQ(node.error().message.find('\n'), std::string::npos) << "one line";
  EXPECT_NE(node.error().message.find(path), std::string::npos) << "names the path";
  return node.error().message;
}

// A link in `folder`, and its path.
std::string make_link(const vumedia::test::TemporaryFolder& folder, const char* name, const char* target) {
  const std::string at = folder.path(name);
  EXPECT_EQ(::symlink(target, at.c_str()), 0);
  return at;
}

TEST(Node, WhatIsNoDeviceIsNamed) {
  EXPECT_NE(complaint("/nonexistent/video0").find("No such file"), std::string::npos);
  EXPECT_NE(complaint("/etc/passwd").find("not a character device"), std::string::npos);
  EXPECT_NE(complaint("/tmp").find("not a character device"), std::string::npos);
  EXPECT_NE(complaint("/dev/null").find("not a V4L2 device"), std::string::npos);
  const vumedia::test::TemporaryFolder folder;
  // Opening it would wait for a writer.
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  EXPECT_NE(complaint(folder.path("fifo")).find("not a character device"), std::string::npos);
}

TEST(Node, TheNameIsThatOfTheResolvedPath) {
  const vumedia::test::TemporaryFolder folder;
  struct stat status{};
  ASSERT_EQ(::stat("/dev/tty0", &status) == 0 || ::stat("/dev/null", &status) == 0, true);
  // A link's own name has no meaning.
  const std::string link = make_link(folder, "video0", "/dev/null");
  EXPECT_EQ(detail::kernel_name(link, 0), "null");
  // A node under another name is known by its number.
  ASSERT_EQ(::stat("/dev/null", &status), 0);
  EXPECT_EQ(detail::kernel_name(make_link(folder, "node", "/dev/null"), status.st_rdev), "null");
}

TEST(Node, MediaControllersAndSubDevicesAreRefusedByName) {
  const vumedia::test::TemporaryFolder folder;
  // Character devices with such names, which only root can make.
  for (const char* const name : {"media0", "v4l-subdev0"}) {
    if (::mknod(folder.path(name).c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0)
      GTEST_SKIP() << "device nodes cannot be made here";
  }
  EXPECT_NE(complaint(folder.path("media0")).find("media controller"), std::string::npos);
  EXPECT_NE(complaint(folder.path("v4l-subdev0")).find("sub-device"), std::string::npos);
}

TEST(Node, TypesOfTheKernelsNames) {
  EXPECT_EQ(device_type_of("video0"), media::DeviceType::video);
  EXPECT_EQ(device_type_of("video63"), media::DeviceType::video);
  EXPECT_EQ(device_type_of("vbi1"), media::DeviceType::vbi);
  EXPECT_EQ(device_type_of("radio0"), media::DeviceType::radio);
  EXPECT_EQ(device_type_of("swradio2"), media::DeviceType::sdr);
  EXPECT_EQ(device_type_of("v4l-touch0"), media::DeviceType::touch);
  for (const char* const name : {"media0", "v4l-subdev1", "null", "", "0", "video0x", "myvideo0"})
    EXPECT_EQ(device_type_of(name), std::nullopt) << name;
}

TEST(Node, CapabilitiesWithoutWhatTheProtocolDoesNotCarry) {
  v4l2_capability of{};
  of.capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VBI_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_READWRITE |
                    V4L2_CAP_DEVICE_CAPS;
  of.device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_READWRITE | V4L2_CAP_ASYNCIO |
                   V4L2_CAP_EXT_PIX_FORMAT | V4L2_CAP_VIDEO_OVERLAY | V4L2_CAP_META_CAPTURE;
  EXPECT_EQ(guest_capabilities(of), std::uint32_t{V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING |
                                                  V4L2_CAP_EXT_PIX_FORMAT | V4L2_CAP_META_CAPTURE});
  // Drivers from before 3.4 know only one field.
  of.capabilities &= ~std::uint32_t{V4L2_CAP_DEVICE_CAPS};
  EXPECT_EQ(guest_capabilities(of),
            std::uint32_t{V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VBI_CAPTURE | V4L2_CAP_STREAMING});
}

// A device that existed at the start but does not any more: open() reports it, and leaves nothing behind.
class GoneDevice : public testing::TestWithParam<const char*> {};

TEST_P(GoneDevice, OpenFailsWithEnodev) {
  const auto shared = std::make_shared<Shared>();
  {
    vumedia::test::MediaGuest<V4l2Proxy> guest(
        {}, {},
        V4l2ProxyOptions{.node = std::make_shared<const NodeInfo>(NodeInfo{
                             GetParam(), media::DeviceType::video, V4L2_CAP_STREAMING, "a card", "a driver"}),
                         .shared = shared});
    using namespace vumedia::test;
    for (int i = 0; i < 20; ++i) {
      guest.add(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
      guest.device->process(wire::commandq);
      const auto reply = guest.wait_reply();
      ASSERT_TRUE(reply);
      EXPECT_EQ(reply->status(), ENODEV);
      EXPECT_EQ(guest.device->session_count(), 0u);
    }
    EXPECT_TRUE(guest.run_until([&] { return shared->threads() == 0; })) << "its threads end";
  }
  // With pending commands when everything ends.
  vumedia::test::MediaGuest<V4l2Proxy> guest(
      {}, {},
      V4l2ProxyOptions{.node = std::make_shared<const NodeInfo>(NodeInfo{
                           GetParam(), media::DeviceType::video, V4L2_CAP_STREAMING, "a card", "a driver"}),
                       .shared = shared});
  for (int i = 0; i < 10; ++i)
    guest.add(vumedia::test::bytes_of(media::wire::virtio_media_cmd_open{{media::wire::cmd_open, 0}}), 16);
  guest.device->process(media::wire::commandq);
  guest.device.reset();
  EXPECT_TRUE(guest.run_until([&] { return shared->threads() == 0; }));
}

INSTANTIATE_TEST_SUITE_P(Paths, GoneDevice, testing::Values("/nonexistent/video0", "/dev/null"),
                         [](const auto& tested) { return tested.index == 0 ? "missing" : "another"; });

TEST(Threads, AreBounded) {
  using namespace vumedia::test;
  const auto shared = std::make_shared<Shared>(0);
  MediaGuest<V4l2Proxy> guest({}, {},
                              V4l2ProxyOptions{.node = std::make_shared<const NodeInfo>(NodeInfo{
                                                   "/dev/null", media::DeviceType::video, 0, "card", ""}),
                                               .shared = shared});
  guest.add(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
  guest.device->process(wire::commandq);
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), EMFILE);
  EXPECT_EQ(shared->threads(), 0u);
}

}  // namespace
}  // namespace vumedia::backends::v4l2_proxy::test
