// vumedia-ctl: what it shows, captures and measures, and how it fails.
#include <csignal>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <vumedia/backends/test_pattern/frame_code.hpp>
#include <vumedia/backends/test_pattern/modes.hpp>
#include <vumedia/core/fd.hpp>

#include "programs/ctl_fixture.hpp"
#include "support/patience.hpp"

namespace vumedia::ctl_test {
namespace {

namespace pattern = backends::test_pattern;

// Only luma, with which each frame of a y4m file begins.
v4l2_pix_format luma(std::uint32_t width, std::uint32_t height) {
  v4l2_pix_format pix{};
  pix.pixelformat = V4L2_PIX_FMT_GREY;
  pix.width = width;
  pix.height = height;
  pix.bytesperline = width;
  return pix;
}

TEST_F(Ctl, ShowsWhatTheDeviceIs) {
  start("test-pattern");
  const auto info = run({"info"});
  EXPECT_EQ(info.status, 0) << info.errors;
  EXPECT_TRUE(info.says("card: vumedia test pattern\n")) << info.output;
  EXPECT_TRUE(info.says("video capture\n"));
  EXPECT_TRUE(info.says("process: vumedia-device ("));
  EXPECT_TRUE(info.says("RGB3, 640x480"));
}

TEST_F(Ctl, ListsFormatsSizesAndRates) {
  start("test-pattern");
  const auto formats = run({"list-formats"});
  EXPECT_EQ(formats.status, 0) << formats.errors;
  for (const char* const text :
       {"RGB3", "YUYV", "NV12", "YU12", "320x240 at 60, 30, 25, 15, 10, 5", "1920x1080 at 30,"}) {
    EXPECT_TRUE(formats.says(text)) << text << " in\n" << formats.output;
  }
}

TEST_F(Ctl, ListsControlsAndMenus) {
  start("test-pattern");
  const auto controls = run({"list-ctrls"});
  EXPECT_EQ(controls.status, 0) << controls.errors;
  for (const char* const text : {"User Controls\n", "Brightness", "0 to 255, default 128, now 128",
                                 "Test Pattern", "      0: Colour bars\n", "      3: Noise\n"}) {
    EXPECT_TRUE(controls.says(text)) << text << " in\n" << controls.output;
  }
}

TEST_F(Ctl, ShowsADeviceThatHasNothing) {
  start("null");
  EXPECT_TRUE(run({"info"}).says("card: vumedia null\n"));
  EXPECT_EQ(run({"list-formats"}).status, 0);
  EXPECT_TRUE(run({"list-ctrls"}).says("no controls\n"));
  expect_failure(run({"capture", "-o", path("a.raw")}), "not a capture device");
}

TEST_F(Ctl, CapturesVideo) {
  start("test-pattern");
  struct Row {
    const char* format;
    const char* colours;
    std::size_t frame_size;
  };
  for (const auto& row :
       {Row{"NV12", "420mpeg2", 320 * 240 * 3 / 2}, Row{"YU12", "420mpeg2", 320 * 240 * 3 / 2},
        Row{"YUYV", "422", 320 * 240 * 2}, Row{"RGB3", "444", 320 * 240 * 3}}) {
    const auto capture = run(
        {"capture", "-o", path("a.y4m"), "-n", "6", "-f", row.format, "--size", "320x240", "--fps", "60"});
    EXPECT_EQ(capture.status, 0) << capture.errors;
    EXPECT_EQ(capture.errors, "") << "progress is for terminals";
    const auto file = read("a.y4m");
    const std::string header =
        std::string("YUV4MPEG2 W320 H240 F60:1 Ip A0:0 C") + row.colours + " XCOLORRANGE=LIMITED\n";
    ASSERT_EQ(file.size(), header.size() + 6 * (6 + row.frame_size)) << row.format;
    EXPECT_EQ(std::memcmp(file.data(), header.data(), header.size()), 0);
    for (std::uint32_t number = 0; number < 6; ++number) {
      const auto frame = std::span(file).subspan(header.size() + number * (6 + row.frame_size));
      EXPECT_EQ(std::memcmp(frame.data(), "FRAME\n", 6), 0);
      EXPECT_EQ(pattern::read_frame_number(luma(320, 240), frame.subspan(6)), number) << row.format;
    }
  }
}

TEST_F(Ctl, CapturesTheBytesAsTheyAre) {
  start("test-pattern");
  for (const auto code : pattern::raw_formats) {
    // The single-planar API has those in one piece of memory.
    if (v4l2::find_pixel_format(code)->memory_planes != 1) continue;
    const auto mode = backends::camera::make_mode(*v4l2::find_pixel_format(code), pattern::frame_sizes[3]);
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    v4l2::fill_format(format, *mode.format, mode.size->width, mode.size->height, mode.layout);
    const v4l2_pix_format& pix = format.fmt.pix;
    const std::string fourcc = v4l2::fourcc_to_string(code).c_str();
    const auto capture =
        run({"capture", "-o", path("a.raw"), "-n", "3", "-f", fourcc, "--size", "1280x720", "-r", "60"});
    EXPECT_EQ(capture.status, 0) << capture.errors;
    const auto file = read("a.raw");
    ASSERT_EQ(file.size(), std::size_t{3} * pix.sizeimage) << fourcc;
    for (std::uint32_t number = 0; number < 3; ++number) {
      EXPECT_EQ(pattern::read_frame_number(pix, std::span(file).subspan(number * pix.sizeimage)), number)
          << fourcc;
    }
  }
}

TEST_F(Ctl, CapturesToStandardOutput) {
  start("test-pattern");
  const auto capture = run({"capture", "-o", "-", "-n", "2", "-f", "NV12", "--size", "320x240", "-r", "60"});
  EXPECT_EQ(capture.status, 0);
  EXPECT_EQ(capture.output.size(), 2u * 115200u);
  EXPECT_NE(capture.errors.find("2 frames"), std::string::npos) << "the report goes elsewhere";
}

TEST_F(Ctl, MeasuresCommandsAndFrames) {
  start("test-pattern");
  const auto bench = run({"bench", "--commands", "500", "--frames", "5"});
  EXPECT_EQ(bench.status, 0) << bench.errors;
  for (const char* const text :
       {"device process: vumedia-device (", "500 round trips", "median", "CPU time of the device",
        "capture of 640x480 RGB3, 5 frames", "its threads: "}) {
    EXPECT_TRUE(bench.says(text)) << text << " in\n" << bench.output;
  }
  device_.reset();
  start("null");
  EXPECT_TRUE(run({"bench", "-n", "500"}).says("500 round trips")) << "a refusal is an answer, too";
}

TEST_F(Ctl, SaysInOneLineWhatIsWrong) {
  start("test-pattern");
  expect_failure(run({"capture", "-o", path("a.y4m"), "-f", "XYZ1"}), "no format XYZ1");
  expect_failure(run({"capture", "-o", path("a.y4m"), "-f", "toolong"}), "not a pixel format");
  expect_failure(run({"capture", "-o", path("a.y4m"), "--size", "641x480"}), "nearest is 640x480");
  expect_failure(run({"capture", "-o", path("a.y4m"), "--size", "wide"}), "not a size");
  expect_failure(run({"capture", "-o", path("a.y4m"), "--fps", "17"}), "nearest is 15");
  expect_failure(run({"capture", "-o", path("none/a.y4m")}), "No such file or directory");
  expect_failure(run({"capture", "-o", "/dev/full", "-n", "2"}), "No space left on device");
  expect_failure(run({"capture"}), "output");
  expect_failure(run({"fly"}), "there is no subcommand 'fly'");
  expect_failure(run({}), "subcommand");
  EXPECT_EQ(run({"info"}).status, 0) << "the device is none the worse";

  const std::string program = VUMEDIA_BIN_DIR "/vumedia-ctl";
  expect_failure(run_command({program, "info"}), "socket-path");
  expect_failure(run_command({program, "-s", path("nowhere"), "info"}), "No such file or directory");
  // A socket file on which nobody listens. One left by a device that was just killed is not suitable: the
  // kernel takes a moment to close what its io_uring still had open.
  const std::string dead = path("dead");
  {
    const vumedia::OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    ASSERT_LT(dead.size(), sizeof address.sun_path);
    dead.copy(address.sun_path, dead.size());
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  expect_failure(run_command({program, "-s", dead, "info"}), "Connection refused");
}

TEST_F(Ctl, HelpAndVersionNeedNoDevice) {
  const std::string program = VUMEDIA_BIN_DIR "/vumedia-ctl";
  const auto help = run_command({program, "--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* const text : {"info", "list-formats", "list-ctrls", "capture", "bench", "--socket-path",
                                 "Exit status:", "  3  decoded, but with frames marked as damaged"}) {
    EXPECT_TRUE(help.says(text)) << text;
  }
  EXPECT_EQ(run_command({program, "capture", "--help"}).status, 0);
  EXPECT_TRUE(run_command({program, "--version"}).says("vumedia-ctl "));
}

TEST_F(Ctl, TheDeviceSurvivesAClientThatIsKilled) {
  start("test-pattern");
  for (int round = 0; round < 3; ++round) {
    ChildProcess endless(command({"capture", "-o", path("a.raw"), "-n", "1000000"}));
    // Something has arrived: it streams.
    const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
    while (!std::filesystem::exists(path("a.raw")) || std::filesystem::file_size(path("a.raw")) == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::sleep_for(5ms);
    }
    endless.signal(SIGKILL);
    EXPECT_EQ(endless.wait(), 128 + SIGKILL);
    std::filesystem::remove(path("a.raw"));
  }
  const auto capture = run({"capture", "-o", path("b.raw"), "-n", "2"});
  EXPECT_EQ(capture.status, 0) << capture.errors;
}

TEST_F(Ctl, TellsThatTheDeviceHasGone) {
  start("test-pattern");
  ChildProcess endless(command({"capture", "-o", path("a.raw"), "-n", "1000000"}));
  const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
  while (!std::filesystem::exists(path("a.raw")) || std::filesystem::file_size(path("a.raw")) == 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(5ms);
  }
  device_.reset();
  Ended run;
  run.status = endless.wait().value_or(-1);
  run.errors = endless.error_output();
  expect_failure(run, "");
}

}  // namespace
}  // namespace vumedia::ctl_test
