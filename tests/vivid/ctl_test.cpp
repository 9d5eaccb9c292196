// vumedia-ctl on a device through the proxy.
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "proxy.hpp"
#include "stream.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

struct Said {
  int status = -1;
  std::string output, errors;
  [[nodiscard]] bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

Said ctl(const Served& device, std::vector<std::string> arguments) {
  std::vector<std::string> words{program("vumedia-ctl"), "--socket-path", device.socket()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  ChildProcess process(std::move(words));
  const auto status = process.wait(patience);
  return {status.value_or(-1), process.output(), process.error_output()};
}

TEST(Ctl, ShowsWhatTheNodeIs) {
  const Driver driver;
  // It has controls of all types, but not the long menus of vivid's cameras.
  const Served device(node("vivid-000-sdr-cap"));
  const Said info = ctl(device, {"info"});
  EXPECT_EQ(info.status, 0) << info.errors;
  EXPECT_TRUE(info.says("vivid")) << info.output;
  EXPECT_TRUE(info.says("streaming")) << info.output;
  const Said controls = ctl(device, {"list-ctrls"});
  EXPECT_EQ(controls.status, 0) << controls.errors;
  for (const char* const control :
       {"Boolean", "Integer 64 Bits", "Bitmask", "Integer Menu", "U16 8x16 Matrix", "Menu Item 3", "String"})
    EXPECT_TRUE(controls.says(control)) << control << " in\n" << controls.output;
}

TEST(Ctl, CapturesWhatTheNodeDelivers) {
  const Driver driver;
  const std::string path = node("vivid-000-vid-cap");
  std::vector<std::byte> wanted;
  {
    NodeFile direct(path);
    v4l2_control plain{cid::osd_text_mode, 2};
    ASSERT_EQ(direct.ioctl<tag::S_CTRL>(plain), 0);
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    format.fmt.pix.width = 640;
    format.fmt.pix.height = 360;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
    ASSERT_EQ(direct.ioctl<tag::S_FMT>(format), 0);
    const auto frame = capture_one(direct, V4L2_BUF_TYPE_VIDEO_CAPTURE);
    ASSERT_TRUE(frame);
    wanted = frame->planes.at(0);
  }
  const Served device(path);
  const Said said = ctl(device, {"capture", "--output", "/tmp/frames", "--count", "3", "--format", "NV12",
                                 "--size", "640x360"});
  EXPECT_EQ(said.status, 0) << said.errors;
  std::ifstream file("/tmp/frames", std::ios::binary);
  const std::vector<char> got{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ASSERT_EQ(got.size(), 3 * wanted.size());
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_EQ(std::memcmp(got.data() + i * wanted.size(), wanted.data(), wanted.size()), 0) << "frame " << i;
}

}  // namespace
}  // namespace vumedia::vivid::test
