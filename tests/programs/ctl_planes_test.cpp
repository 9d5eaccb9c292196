// The plane API as an option of vumedia-device, and frames with separate planes.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/test_pattern/frame_code.hpp>

#include "programs/ctl_fixture.hpp"

namespace vumedia::ctl_test {
namespace {

using CtlPlanes = Ctl;

// The number in a picture that begins with a plane of luma.
std::optional<std::uint32_t> number_in_luma(std::uint32_t width, std::uint32_t height,
                                            std::span<const std::byte> picture) {
  v4l2_pix_format pix{};
  pix.pixelformat = V4L2_PIX_FMT_GREY;
  pix.width = width;
  pix.height = height;
  pix.bytesperline = width;
  return backends::test_pattern::read_frame_number(pix, picture);
}

TEST_F(CtlPlanes, ApartInMemoryTogetherInFiles) {
  start("test-pattern", {"--planes", "multi"});
  const auto info = run({"info"});
  EXPECT_TRUE(info.says("video capture, multi-planar\n")) << info.output << info.errors;
  std::vector<std::byte> first;
  constexpr std::size_t frame = 320 * 240 * 3 / 2;
  for (const char* const format : {"NV12", "NM12", "YU12", "YM12"}) {
    const auto raw =
        run({"capture", "-o", path("a.raw"), "-n", "2", "-f", format, "--size", "320x240", "-r", "60"});
    EXPECT_EQ(raw.status, 0) << raw.errors;
    const auto bytes = read("a.raw");
    ASSERT_EQ(bytes.size(), 2 * frame) << format;
    for (std::uint32_t number = 0; number < 2; ++number)
      EXPECT_EQ(number_in_luma(320, 240, std::span(bytes).subspan(number * frame)), number) << format;
    const auto video =
        run({"capture", "-o", path("a.y4m"), "-n", "1", "-f", format, "--size", "320x240", "-r", "60"});
    EXPECT_EQ(video.status, 0) << video.errors;
    // The same picture in all of them: those of one kind have the same bytes, whichever buffers they are in.
    const auto file = read("a.y4m");
    ASSERT_GT(file.size(), frame);
    const std::vector<std::byte> planes(file.end() - frame, file.end());
    if (first.empty()) first = planes;
    EXPECT_TRUE(planes == first) << format;
  }
}

TEST_F(CtlPlanes, OneDeviceOfSeveralHasItsOwn) {
  device_ = std::make_unique<ChildProcess>(
      std::vector<std::string>{VUMEDIA_BIN_DIR "/vumedia-device", "--planes", "multi", "--device",
                               "backend=test-pattern,planes=single,name=first,socket=" + socket(), "--device",
                               "backend=test-pattern,name=second,socket=" + path("other")});
  for (const char* const name : {"first: serving", "second: serving"})
    ASSERT_TRUE(device_->wait_for_error_text(name)) << device_->error_output();
  EXPECT_TRUE(run({"info"}).says("  video capture\n"));
  const auto other = run_command({VUMEDIA_BIN_DIR "/vumedia-ctl", "-s", path("other"), "info"});
  EXPECT_TRUE(other.says("video capture, multi-planar\n")) << other.output;
}

TEST_F(CtlPlanes, NoteOfABackendWithoutQueues) {
  start("null", {"--planes", "single"});
  EXPECT_NE(device_->error_output().find("--planes has no meaning for null"), std::string::npos)
      << device_->error_output();
}

TEST_F(CtlPlanes, NotesOfOptionsThatABackendIgnores) {
  struct Row {
    const char* backend;
    std::vector<std::string> options;
    const char* says;
  };
  const std::vector<Row> rows = {
      {"test-pattern", {"--threads", "4"}, "--threads has no meaning for test-pattern"},
      {"test-pattern", {"--frame-threads"}, "--frame-threads has no meaning for"},
      {"null", {"--codecs", "h264"}, "--codecs has no meaning for null"},
      {"null", {"--max-pixels", "1000"}, "--max-pixels has no meaning for null"},
      {"test-pattern", {"-d", "/dev/video7"}, "--v4l2-device has no meaning for"},
      {"test-pattern", {"--planes", "multi"}, nullptr},
#ifdef VUMEDIA_WITH_FFMPEG
      {"ffmpeg-decoder", {"--frame-threads"}, "--frame-threads without --threads"},
      {"ffmpeg-decoder", {"--threads", "2", "--frame-threads"}, nullptr},
#endif
      {"null", {"--max-sessions", "3"}, nullptr}};
  for (const auto& row : rows) {
    device_.reset();
    start(row.backend, row.options);
    const std::string said = device_->error_output();
    EXPECT_NE(said.find(row.says != nullptr ? row.says : "serving"), std::string::npos) << said;
    EXPECT_EQ(said.find("has no meaning") != std::string::npos, row.says != nullptr) << said;
  }
}

}  // namespace
}  // namespace vumedia::ctl_test
