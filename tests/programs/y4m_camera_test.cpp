// The example camera that plays a file, as people run it.
#include <chrono>
#include <cstddef>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <signal.h>

#include "programs/ctl_fixture.hpp"
#include "support/patience.hpp"

namespace vumedia::ctl_test {
namespace {

class Y4mCamera : public Ctl {
 protected:
  // A video of 64x48 pixels, whose frame `n` has bytes that begin at 10 * n.
  std::string write(const std::string& name, const std::string& parameters, int frames) {
    std::ofstream file(path(name), std::ios::binary);
    file << "YUV4MPEG2 " << parameters << '\n';
    for (int number = 0; number < frames; ++number) {
      file << (number == 1 ? "FRAME Ip\n" : "FRAME\n");
      for (const std::byte byte : frame(number)) file.put(static_cast<char>(byte));
    }
    return path(name);
  }
  static std::vector<std::byte> frame(int number) {
    std::vector<std::byte> bytes(std::size_t{64} * 48 * 3 / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>((10 * static_cast<std::size_t>(number) + i / 64) & 0xff);
    return bytes;
  }
  void play(const std::string& video) {
    device_ = std::make_unique<ChildProcess>(
        std::vector<std::string>{VUMEDIA_BIN_DIR "/y4m_camera", video, socket()});
    // It says nothing; its socket listens a moment after its file is there.
    const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
    while (run({"info"}).status != 0) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
};

TEST_F(Y4mCamera, PlaysTheVideoAgainAndAgain) {
  play(write("video.y4m", "W64 H48 F60:1 Ip A1:1 C420jpeg", 3));
  const auto captured = run({"capture", "-o", path("frames.raw"), "-n", "5"});
  ASSERT_EQ(captured.status, 0) << captured.errors;
  std::vector<std::byte> expected;
  for (const int number : {0, 1, 2, 0, 1}) {
    const auto bytes = frame(number);
    expected.insert(expected.end(), bytes.begin(), bytes.end());
  }
  EXPECT_EQ(read("frames.raw"), expected);

  device_->signal(SIGTERM);
  EXPECT_EQ(device_->wait(), 0) << device_->error_output();
}

TEST_F(Y4mCamera, IsACameraInEveryRespect) {
  play(write("video.y4m", "W64 H48 F60000:1001 C420", 2));
  const auto info = run({"info"});
  EXPECT_TRUE(info.says("Y4M camera")) << info.output;
  const auto report = run({"compliance"});
  EXPECT_EQ(report.status, 0) << report.errors << report.output;
  EXPECT_TRUE(report.says("Failed: 0, ")) << report.output;
}

TEST_F(Y4mCamera, SaysWhatItCannotPlay) {
  std::ofstream(path("text.y4m")) << "no video\n";
  for (const std::string& video :
       {path("nowhere.y4m"), path("text.y4m"), write("none.y4m", "W64 H48 F30:1", 0),
        write("colours.y4m", "W64 H48 F30:1 C422", 1), write("bits.y4m", "W64 H48 F30:1 C420p10", 1),
        write("odd.y4m", "W63 H48 F30:1", 1), write("wide.y4m", "W99998 H2 F30:1", 1),
        write("still.y4m", "W64 H48 F0:0", 1), write("huge.y4m", "W4096 H4096 F30:1", 1)}) {
    const auto refused = run_command({VUMEDIA_BIN_DIR "/y4m_camera", video, socket()});
    EXPECT_EQ(refused.status, 1) << video;
    EXPECT_EQ(refused.errors, "the video is not in YUV4MPEG2, or not in 4:2:0\n") << video;
  }
  EXPECT_EQ(run_command({VUMEDIA_BIN_DIR "/y4m_camera"}).errors, "usage: y4m_camera VIDEO.y4m SOCKET\n");
}

TEST(Examples, TheCameraThatPlaysAFileHasUnder60Lines) {
  std::ifstream source(VUMEDIA_SOURCE_DIR "/examples/y4m_camera/main.cpp");
  int lines = 0;
  for (std::string line; std::getline(source, line);) ++lines;
  EXPECT_GT(lines, 10);
  EXPECT_LT(lines, 60);
}

}  // namespace
}  // namespace vumedia::ctl_test
