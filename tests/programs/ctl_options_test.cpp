// The command line of vumedia-ctl: mistakes end with status 2 and a line that names the option; names of
// files are kept or refused.
#include <cstddef>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_fixture.hpp"

namespace vumedia::ctl_test {
namespace {

class CtlOptions : public Ctl {
 protected:
  // Without a device, because a mistake is reported first.
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
    for (const char* const value : {"-1", "0", "1000000001", "18446744073709551616", "1.5", "many", "", "1e9",
                                    "0x10", " 5", "5 ", "+5", "010", "nan"}) {
      SCOPED_TRACE(row.option + " " + value);
      std::vector<std::string> words = row.words;
      words.push_back(row.option + "=" + value);
      expect_mistake(words, row.option);
      // As a word of its own it could be taken for an option.
      if (value != std::string_view("-1")) continue;
      words.back() = row.option;
      words.emplace_back(value);
      expect_mistake(words, row.option);
    }
  }
  for (const char* const rate :
       {"0", "-1", "nan", "NaN", "inf", "1001", "1e400", "fast", "0.0001", "0x10", "+5", " 5", "5 "})
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
  expect_mistake({"capture", "-o", path("a.nv12"), "-f", "RGB3"}, "is for NV12, not for RGB3");
  expect_mistake({"capture", "-o", path("a.I420"), "-f", "NV12"}, "is for YU12, not for NV12");
  for (const std::string format : {"RGB3", "MJPG"})
    expect_mistake({"capture", "-o", path("a.yuv"), "-f", format}, "is for YUV formats, not for " + format);
#ifdef VUMEDIA_WITH_FFMPEG
  expect_mistake({"decode", path("a.mp4"), "-o", path("x.mjpeg")}, "no .mjpeg is written here");
  for (const char* const name : {"x.nv12", "x.p010", "x.rgb", "x.YUYV"})
    expect_mistake({"decode", path("a.mp4"), "-o", path(name)}, "planes one after the other: FILE.yuv");
#endif
}

TEST_F(CtlOptions, AFormatThatANamePromisesIsTaken) {
  start("test-pattern");
  struct Row {
    const char* name;
    const char* format;
  };
  for (const auto& [name, format] : {Row{"a.nv12", "NV12"}, Row{"a.i420", "YU12"}, Row{"a.yuyv", "YUYV"},
                                     Row{"a.rgb", "RGB3"}, Row{"a.raw", "RGB3"}, Row{"a.y4m", "RGB3"}}) {
    const auto ended = run({"capture", "-n", "1", "-o", path(name)});
    EXPECT_EQ(ended.status, 0) << ended.errors;
    EXPECT_TRUE(ended.says(std::string(" ") + format + " in ")) << name << ": " << ended.output;
  }
  const auto any = run({"capture", "-n", "1", "-o", path("a.yuv")});
  EXPECT_FALSE(any.says("RGB3")) << any.output;
  EXPECT_EQ(run({"capture", "-n", "1", "-o", path("a.yuv"), "-f", "NV12"}).status, 0);
  expect_failure(run({"capture", "-n", "1", "-o", path("a.p010")}), "the device has no format P010");
}

TEST_F(CtlOptions, WhatIsPrintedMustArrive) {
  start("test-pattern");
  for (const char* const words : {"--help", "--version", "--man-page", "capture --help", "compliance --list",
                                  "info", "list-ctrls", "compliance -r 'enum-fmt/*'"}) {
    SCOPED_TRACE(words);
    const auto ended = run_command(
        {"/bin/sh", "-c", VUMEDIA_BIN_DIR "/vumedia-ctl -s " + socket() + " " + words + " >/dev/full"});
    expect_failure(ended, "cannot write to standard output: ");
    EXPECT_EQ(ended.status, 1);
  }
  expect_mistake({"compliance", "--list", "-r", "nothing/*"}, "no rule is named nothing/*");
}

// In both programs, as their manual pages are made of the same text as their help.
TEST_F(CtlOptions, EachOptionWithAValueTellsItsDefault) {
  for (const char* const program : {"/vumedia-ctl", "/vumedia-device"}) {
    const auto page = run_command({std::string(VUMEDIA_BIN_DIR) + program, "--man-page"});
    EXPECT_EQ(page.status, 0) << page.errors;
    unsigned options = 0;
    for (std::size_t at = page.output.find(".TP\n"); at != std::string::npos;
         at = page.output.find(".TP\n", at + 1)) {
      const std::string entry = page.output.substr(at + 4, page.output.find("\n.", at + 4) - at - 4);
      // Names are bold, the placeholder of a value is in italics.
      if (entry.substr(0, entry.find('\n')).find("\\fI") == std::string::npos) continue;
      ++options;
      EXPECT_TRUE(entry.find("efault") != std::string::npos || entry.find("Required") != std::string::npos)
          << program << ": " << entry;
    }
    EXPECT_GT(options, 10u);
  }
}

TEST_F(CtlOptions, SaysWhatIsWrongWithASocket) {
  const std::string program = VUMEDIA_BIN_DIR "/vumedia-ctl";
  std::ofstream(path("file")) << "no socket";
  const std::vector<std::vector<std::string>> commands = {{"info"}, {"compliance"}};
  for (const auto& words : commands) {
    const auto expect = [&](const std::string& socket_path, const std::string& reason) {
      std::vector<std::string> all{program, "-s", socket_path};
      all.insert(all.end(), words.begin(), words.end());
      expect_failure(run_command(all), reason);
    };
    expect(path("."), "is a folder, not the socket of a device");
    expect(path("file"), "is a file, not the socket of a device");
    expect(path("nowhere"), "No such file or directory (start the device first");
  }
}

TEST_F(CtlOptions, SaysThatADeviceIsBusy) {
  start("test-pattern");
  ChildProcess endless(command({"capture", "-o", path("a.raw"), "-n", "1000000"}));
  ASSERT_TRUE(device_->wait_for_error_text("has connected")) << device_->error_output();
  expect_failure(run({"info"}), "is busy: a device serves one frontend at a time");
  expect_failure(run({"compliance"}), "is busy: a device serves one frontend at a time");
}

TEST_F(CtlOptions, SaysWhatACommandIsNotFor) {
  start("test-pattern");
#ifdef VUMEDIA_WITH_FFMPEG
  device_.reset();
  start("ffmpeg-decoder");
  expect_failure(run({"capture", "-o", path("a.yuv")}),
                 "is a decoder, not a capture device; use decode FILE for it");
  expect_failure(run({"bench", "-n", "1", "--frames", "5"}), "--frames has no meaning for");
  expect_failure(run({"bench", "-n", "1", "--frames", "5", path("x.mp4")}), "--frames");
#endif
  device_.reset();
  start("null");
  expect_failure(run({"bench", "-n", "1", "--frames", "5"}), "--frames has no meaning for");
  expect_failure(run({"capture", "-o", path("a.yuv")}), "is not a capture device");
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
