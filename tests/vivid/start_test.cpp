// What the proxy tells the guest about a node, and which nodes it refuses at the start.
#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "proxy.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

// Runs the program on `path`, which it must refuse, and returns what it prints.
std::string refusal(const std::string& path) {
  ChildProcess process({program("vumedia-device"), "--backend", "v4l2-proxy", "--v4l2-device", path,
                        "--socket-path", "/tmp/refused"});
  EXPECT_EQ(process.wait(patience), 1) << path << ": " << process.error_output();
  EXPECT_FALSE(std::filesystem::exists("/tmp/refused"));
  return process.error_output();
}

struct TypedNode {
  const char* name;
  std::uint32_t type;  // VFL_TYPE_*
};

TEST(Start, ConfigurationIsThatOfTheNode) {
  const Driver driver;
  for (const TypedNode& kind :
       {TypedNode{"vid-cap", 0}, TypedNode{"vid-out", 0}, TypedNode{"meta-cap", 0}, TypedNode{"meta-out", 0},
        TypedNode{"vbi-cap", 1}, TypedNode{"vbi-out", 1}, TypedNode{"rad-rx", 2}, TypedNode{"rad-tx", 2},
        TypedNode{"sdr-cap", 4}, TypedNode{"touch-cap", 5}}) {
    SCOPED_TRACE(kind.name);
    const std::string path = node("vivid-000-" + std::string(kind.name));
    v4l2_capability capability{};
    {
      const NodeFile file(path);
      ASSERT_EQ(::ioctl(file.fd(), VIDIOC_QUERYCAP, &capability), 0);
    }
    const Served device(path);
    auto guest = device.connect();
    ASSERT_TRUE(guest);
    const auto& config = (*guest)->config();
    // The protocol carries neither read() nor write(), and an overlay would be over the host's screen.
    constexpr std::uint32_t not_carried =
        V4L2_CAP_READWRITE | V4L2_CAP_ASYNCIO | V4L2_CAP_DEVICE_CAPS | V4L2_CAP_VIDEO_OVERLAY;
    EXPECT_EQ(config.device_caps, capability.device_caps & ~not_carried);
    EXPECT_EQ(config.device_type, kind.type);
    EXPECT_STREQ(reinterpret_cast<const char*>(config.card.data()), "vivid");
  }
}

TEST(Start, TheTypeIsThatOfTheResolvedPath) {
  const Driver driver;
  std::filesystem::create_symlink(node("vivid-000-vbi-cap"), "/tmp/by-id");
  {
    const Served device("/tmp/by-id");
    auto guest = device.connect();
    ASSERT_TRUE(guest);
    EXPECT_EQ((*guest)->config().device_type, 1u);
  }
  std::filesystem::remove("/tmp/by-id");
}

TEST(Start, RefusesWhatItCannotPassOn) {
  const Driver driver;
  const auto expect_one_line_with = [](const std::string& text, std::string_view word) {
    EXPECT_NE(text.find(word), std::string::npos) << text;
    EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
  };
  expect_one_line_with(refusal("/dev/video99"), "/dev/video99");
  expect_one_line_with(refusal("/dev/null"), "not a V4L2 device");
  expect_one_line_with(refusal("/vumedia"), "not a character device");
  expect_one_line_with(refusal("/dev/media0"), "media controller");
}

}  // namespace
}  // namespace vumedia::vivid::test
