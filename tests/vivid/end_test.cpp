// How it ends: devices are unplugged or killed, guests leave without notice. Driver's destructor checks that
// nothing is left behind.
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "proxy.hpp"
#include "stream.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

constexpr std::uint32_t camera_queue = V4L2_BUF_TYPE_VIDEO_CAPTURE;

class End : public testing::Test {
 protected:
  End() : path(node("vivid-000-vid-cap")), device(path), guest(device.connect()) {}

  // As after pulling a cable: the driver's devices are gone, and open files report it.
  static void disconnect() {
    NodeFile direct(node("vivid-000-vid-cap"));
    v4l2_control button{cid::disconnect, 1};
    ASSERT_EQ(direct.ioctl<tag::S_CTRL>(button), 0);
  }
  static void write_to(const std::string& file, const std::string& word) {
    std::ofstream out(file);
    out << word << std::flush;
    EXPECT_TRUE(out) << file;
  }
  static bool has_node_open(pid_t process) {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fd", error)) {
      const auto target = std::filesystem::read_symlink(entry.path(), error);
      if (target.string().starts_with("/dev/video")) return true;
    }
    return false;
  }
  void expect_unplugged(ProxyFile& file) {
    const auto error = guest->event<client::ErrorEvent>(file.session());
    ASSERT_TRUE(error) << "no ERROR event came";
    EXPECT_EQ(error->error, ENODEV);
    v4l2_format format{};
    format.type = camera_queue;
    EXPECT_EQ(file.ioctl<tag::G_FMT>(format), ENODEV);
  }

  Driver driver;
  std::string path;
  Served device;
  std::optional<ProxyGuest> guest;
};

TEST_F(End, AnUnpluggedDeviceIsToldToWhoStreams) {
  {
    ProxyFile proxied(*guest);
    Stream<ProxyFile> stream(proxied, camera_queue);
    stream.queue_all();
    ASSERT_EQ(stream.start(), 0);
    ASSERT_TRUE(stream.next());
    disconnect();
    expect_unplugged(proxied);
    stream.abandon();
    EXPECT_TRUE(proxied.close());
  }
  // With its last file closed, vivid plugs itself in again, and the guest may open it.
  ASSERT_TRUE(eventually([&] { return (*guest)->open().has_value(); }));
}

TEST_F(End, AnUnpluggedDeviceIsToldToWhoWaitsForEvents) {
  ProxyFile proxied(*guest);
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = cid::integer;
  ASSERT_EQ(proxied.ioctl<tag::SUBSCRIBE_EVENT>(subscription), 0);
  disconnect();
  expect_unplugged(proxied);
}

TEST_F(End, TheDriverMayBeUnboundWhileItStreams) {
  {
    ProxyFile streaming(*guest), idle(*guest);
    Stream<ProxyFile> stream(streaming, camera_queue);
    stream.queue_all();
    ASSERT_EQ(stream.start(), 0);
    ASSERT_TRUE(stream.next());
    write_to("/sys/bus/platform/drivers/vivid/unbind", "vivid.0");
    expect_unplugged(streaming);
    // Queries report it, too.
    v4l2_format format{};
    format.type = camera_queue;
    EXPECT_EQ(idle.ioctl<tag::G_FMT>(format), ENODEV);
    const auto opened = (*guest)->open();
    EXPECT_FALSE(opened);
    stream.abandon();
    EXPECT_TRUE(streaming.close());
    EXPECT_TRUE(idle.close());
  }
  // The node gets its old number only when the last file of the old device is closed, which happens
  // asynchronously.
  ASSERT_TRUE(eventually([&] { return !has_node_open(device.process().pid()); }));
  // The device keeps running, and serves the node when it is back.
  write_to("/sys/bus/platform/drivers/vivid/bind", "vivid.0");
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path); }));
  ProxyFile again(*guest);
  EXPECT_TRUE(capture_one(again, camera_queue));
}

TEST_F(End, AKilledDeviceLeavesNothing) {
  ProxyFile proxied(*guest);
  Stream<ProxyFile> stream(proxied, camera_queue);
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  ASSERT_TRUE(stream.next());
  device.kill();
  EXPECT_EQ(device.process().wait(patience), 128 + SIGKILL);
  EXPECT_EQ((*guest)->open().error().value, EPIPE);
  // Mapped memory stays readable, although no frame will come, so the guest does not crash.
  EXPECT_FALSE(stream.memory(0)[0].empty());
  stream.abandon();
  proxied.forget();
}

TEST_F(End, ATerminatedDeviceEndsInOrder) {
  ProxyFile proxied(*guest);
  Stream<ProxyFile> stream(proxied, camera_queue);
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  ASSERT_TRUE(stream.next());
  device.process().signal(SIGTERM);
  EXPECT_EQ(device.process().wait(patience), 0) << device.process().error_output();
  EXPECT_EQ((*guest)->open().error().value, EPIPE);
  stream.abandon();
  proxied.forget();
}

TEST_F(End, AGuestThatLeavesGivesTheNodeBack) {
  {
    ProxyFile proxied(*guest);
    Stream<ProxyFile> stream(proxied, camera_queue);
    stream.queue_all();
    ASSERT_EQ(stream.start(), 0);
    ASSERT_TRUE(stream.next());
    stream.abandon();
    proxied.forget();
    guest.reset();
    NodeFile direct(path);
    EXPECT_TRUE(eventually([&] { return request_buffers(direct, camera_queue, 2) == 2; }));
    EXPECT_EQ(request_buffers(direct, camera_queue, 0), 0);
  }
  // And the next guest is served.
  guest = device.connect();
  ASSERT_TRUE(guest);
  ProxyFile next(*guest);
  EXPECT_TRUE(capture_one(next, camera_queue));
}

TEST_F(End, AGuestThatResetsTheDeviceBeginsAnew) {
  ProxyFile before(*guest);
  Stream<ProxyFile> stream(before, camera_queue);
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  ASSERT_TRUE(stream.next());
  ASSERT_TRUE((*guest)->reset());
  stream.abandon();
  before.forget();
  ProxyFile after(*guest);
  EXPECT_TRUE(capture_one(after, camera_queue));
}

// The driver reports that its stream is broken for good: the guest's buffers will not come, and it is told
// so.
TEST_F(End, ABrokenStreamIsTold) {
  ProxyFile proxied(*guest);
  Stream<ProxyFile> stream(proxied, camera_queue);
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  ASSERT_TRUE(stream.next());
  v4l2_control button{cid::inject_fatal_error, 1};
  ASSERT_EQ(proxied.ioctl<tag::S_CTRL>(button), 0);
  // As QBUF on the node would answer.
  EXPECT_TRUE(eventually([&] { return stream.queue(0) != 0; }));
  stream.stop();
  // STREAMOFF repairs it, as the V4L2 specification says.
  stream.queue_all();
  EXPECT_EQ(stream.start(), 0);
  EXPECT_TRUE(stream.next());
}

}  // namespace
}  // namespace vumedia::vivid::test
