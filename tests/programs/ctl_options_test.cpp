// The command line of vumedia-ctl: mistakes end with status 2 and a line that names the option; names of
// files are kept or refused.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_fixture.hpp"

namespace vumedia::ctl_test {
namespace {

class CtlOptions : public Ctl {
 protected:
  // Without a device: a mistake needs none.
  void expect_mistake(std::vector<std::string> words, const std::string& reason) {
    const auto ended = run(std::move(words));
    expect_failure(ended, reason);
    EXPECT_EQ(ended.status, 2) << ended.errors;
    EXPECT_EQ(ended.output, "");
  }
};

TEST_F(CtlOptions, NumbersAreRefusedByName) {
  struct Row {
    std::vector<std::string> words;
    std::string option;
  };
  std::vector<Row> rows = {
      {{"capture", "-o", path("a.yuv")}, "--count"}, {{"bench"}, "--commands"}, {{"bench"}, "--frames"}};
#ifdef VUMEDIA_WITH_FFMPEG
  rows.push_back({{"decode", path("a.mp4"), "--seek-to", "1"}, "--seek-after"});
#endif
  for (const auto& row : rows) {
    for (const char* const value : {"-1", "0", "1000000001", "18446744073709551616", "1.5", "many", ""}) {
      SCOPED_TRACE(row.option + " " + value);
      std::vector<std::string> words = row.words;
      words.push_back(row.option + "=" + value);
      expect_mistake(words, row.option);
      words.back() = row.option;
      words.emplace_back(value);
      expect_mistake(words, row.option);
    }
  }
  for (const char* const rate : {"0", "-1", "nan", "inf", "1001", "1e400", "fast", "0.0001"})
    expect_mistake({"capture", "-o", path("a.yuv"), "--fps", rate}, "--fps");
  for (const char* const size :
       {"0x0", "640x0", "-1x480", "640x-1", "65536x1", "640x480x", "640", "x", "6 x4"})
    expect_mistake({"capture", "-o", path("a.yuv"), "--size", size}, "--size");
  for (const char* const format : {"toolong", ""})
    expect_mistake({"capture", "-o", path("a.yuv"), "--format", format}, "--format");
#ifdef VUMEDIA_WITH_FFMPEG
  for (const char* const time : {"-1", "nan", "inf", "1e10", "soon"})
    expect_mistake({"decode", path("a.mp4"), "--seek-to", time}, "--seek-to");
  for (const char* const format : {"XYZ1", "toolong", "H264"})
    expect_mistake({"decode", path("a.mp4"), "--format", format}, "--format");
#endif
}

TEST_F(CtlOptions, AnUnknownSubcommandIsNamedWithThoseThereAre) {
  expect_mistake({"fly"}, "there is no subcommand 'fly'; there are info, list-formats, list-ctrls, ");
  const std::string program = VUMEDIA_BIN_DIR "/vumedia-ctl";
  const auto without_socket = run_command({program, "fly"});
  expect_failure(without_socket, "there is no subcommand 'fly'");
  EXPECT_EQ(without_socket.status, 2);
  expect_mistake({}, "subcommand");
  expect_mistake({"info", "--fly"}, "--fly");
}

TEST_F(CtlOptions, ANameIsAPromise) {
  for (const char* const name : {"x.jpg", "x.JPEG", "x.mp4", "x.mkv", "x.gif", "x.h264"}) {
    expect_mistake(
        {"capture", "-o", path(name)},
        "is written here: there are FILE.y4m, FILE.png, FILE.mjpeg and, without headers, FILE.yuv");
#ifdef VUMEDIA_WITH_FFMPEG
    expect_mistake({"decode", path("a.mp4"), "-o", path(name)},
                   "is written here: there are FILE.y4m, FILE.png and, without headers, FILE.yuv");
#endif
  }
  expect_mistake({"capture", "-o", path("b.mjpeg"), "-f", "NV12"}, "is for MJPG, not for NV12");
  expect_mistake({"capture", "-o", path("f-%03d.yuv")}, "only images are numbered");
#ifdef VUMEDIA_WITH_FFMPEG
  expect_mistake({"decode", path("a.mp4"), "-o", path("x.mjpeg")}, "no .mjpeg is written here");
#endif
}

TEST_F(CtlOptions, SummariesAreNotAmongTheData) {
  start("test-pattern");
  for (const std::string output : {"-", "/dev/stdout", "/dev/fd/1"}) {
    const auto capture =
        run({"capture", "-o", output, "-n", "2", "-f", "NV12", "--size", "320x240", "-r", "60"});
    EXPECT_EQ(capture.status, 0) << capture.errors;
    EXPECT_EQ(capture.output.size(), 2u * 115200u) << output;
    EXPECT_NE(capture.errors.find("2 frames"), std::string::npos) << output;
  }
}

}  // namespace
}  // namespace vumedia::ctl_test
