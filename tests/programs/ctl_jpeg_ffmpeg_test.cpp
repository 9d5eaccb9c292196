// Motion-JPEG from a camera: as it comes, and decoded; and the decoder's plane API.
#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/test_pattern/frame_code.hpp>

#include "programs/ctl_fixture.hpp"

namespace vumedia::ctl_test {
namespace {

using CtlJpeg = Ctl;

TEST_F(CtlJpeg, CapturesThePicturesAsTheyCome) {
  start("test-pattern");
  // The name of the file decides, unless a format is asked for.
  const auto capture = run({"capture", "-o", path("a.mjpeg"), "-n", "3", "--size", "320x240"});
  EXPECT_EQ(capture.status, 0) << capture.errors;
  EXPECT_TRUE(capture.says("3 frames of 320x240 MJPG")) << capture.output;
  const auto file = read("a.mjpeg");
  constexpr std::array start{std::byte{0xff}, std::byte{0xd8}, std::byte{0xff}};
  constexpr std::array end{std::byte{0xff}, std::byte{0xd9}};
  std::size_t pictures = 0;
  for (auto at = file.begin(); at != file.end(); ++pictures) {
    ASSERT_TRUE(std::equal(start.begin(), start.end(), at)) << "picture " << pictures;
    // Within a picture 0xff is followed by 0 or a marker, but never by the end marker.
    at = std::search(at, file.end(), end.begin(), end.end());
    ASSERT_NE(at, file.end()) << "picture " << pictures << " has no end";
    at += 2;
  }
  EXPECT_EQ(pictures, 3u);
  expect_failure(run({"capture", "-o", path("b.mjpeg"), "-f", "NV12"}), "is for MJPG, not for NV12");
}

TEST_F(CtlJpeg, DecodesPicturesToFiles) {
  start("test-pattern", {"--planes", "multi"});
  const auto capture =
      run({"capture", "-o", path("a.y4m"), "-n", "4", "-f", "MJPG", "--size", "640x480", "-r", "60"});
  EXPECT_EQ(capture.status, 0) << capture.errors;
  const auto file = read("a.y4m");
  const std::string header(reinterpret_cast<const char*>(file.data()),
                           std::min<std::size_t>(file.size(), 80));
  EXPECT_EQ(header.rfind("YUV4MPEG2 W640 H480 F60:1 ", 0), 0u) << header;
  EXPECT_NE(header.find("XCOLORRANGE=FULL"), std::string::npos) << header;
  constexpr std::size_t frame = 640 * 480 * 3 / 2;
  const std::size_t begin = header.find('\n') + 1;
  ASSERT_EQ(file.size(), begin + 4 * (6 + frame));
  v4l2_pix_format pix{};
  pix.pixelformat = V4L2_PIX_FMT_GREY;
  pix.width = pix.bytesperline = 640;
  pix.height = 480;
  for (std::uint32_t number = 0; number < 4; ++number) {
    const auto picture = std::span(file).subspan(begin + number * (6 + frame) + 6, frame);
    EXPECT_EQ(backends::test_pattern::read_frame_number(pix, picture), number);
  }
  EXPECT_EQ(run({"capture", "-o", path("a.png"), "-f", "MJPG"}).status, 0);
  const auto image = read("a.png");
  ASSERT_GT(image.size(), 8u);
  EXPECT_EQ(std::memcmp(image.data(), "\x89PNG\r\n\x1a\n", 8), 0);
}

TEST_F(CtlJpeg, TheDecoderHasBothPlaneApis) {
  start("ffmpeg-decoder", {"--planes", "single"});
  EXPECT_TRUE(run({"info"}).says("  memory to memory\n"));
  device_.reset();
  start("ffmpeg-decoder");
  EXPECT_TRUE(run({"info"}).says("  memory to memory, multi-planar\n"));
}

}  // namespace
}  // namespace vumedia::ctl_test
