// The examples, as people run them; and what vumedia-ctl shows on a terminal.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include "programs/ctl_fixture.hpp"
#include "support/patience.hpp"

namespace vumedia::ctl_test {
namespace {

TEST_F(Ctl, CapturesFromTheMinimalBackend) {
  device_ =
      std::make_unique<ChildProcess>(std::vector<std::string>{VUMEDIA_BIN_DIR "/minimal_backend", socket()});
  const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
  // It says nothing; its socket listens a moment after its file is there.
  Ended info;
  do {
    info = run({"info"});
  } while (info.status != 0 && std::chrono::steady_clock::now() < deadline);
  ASSERT_EQ(info.status, 0) << info.errors;
  const auto capture = run({"capture", "-o", path("frames.raw"), "-n", "3"});
  EXPECT_EQ(capture.status, 0) << capture.errors;
  const auto frames = read("frames.raw");
  ASSERT_GT(frames.size(), 0u);
  EXPECT_EQ(frames.size() % 3, 0u);
  const std::span<const std::byte> all = frames;
  const std::size_t size = frames.size() / 3;
  EXPECT_FALSE(std::ranges::equal(all.first(size), all.last(size))) << "nothing moves";

  device_->signal(SIGTERM);
  EXPECT_EQ(device_->wait(), 0) << device_->error_output();
  EXPECT_FALSE(std::filesystem::exists(socket())) << "it removes its socket";
}

TEST_F(Ctl, AMinimalBackendSaysWhyItCannotListen) {
  ChildProcess child({VUMEDIA_BIN_DIR "/minimal_backend", path("no/such/folder")});
  EXPECT_EQ(child.wait(), 1);
  EXPECT_EQ(child.error_output(),
            "cannot open the folder " + path("no/such") + " of the socket: No such file or directory\n");
}

TEST(Examples, AreShort) {
  const auto lines = [](const std::string& name) {
    std::ifstream source(VUMEDIA_SOURCE_DIR "/examples/" + name + "/main.cpp");
    int count = 0;
    for (std::string line; std::getline(source, line);) ++count;
    EXPECT_GT(count, 10) << name;
    return count;
  };
  EXPECT_LT(lines("minimal_backend"), 80);
  EXPECT_LT(lines("embedded_vmm"), 120);
}

TEST(Examples, TheEmbeddedDeviceDeliversFrames) {
  ChildProcess child({VUMEDIA_BIN_DIR "/embedded_vmm"});
  EXPECT_EQ(child.wait(), 0) << child.error_output();
  EXPECT_NE(child.output().find("buffer 0 is at 0x"), std::string::npos) << child.output();
  for (const char* const line : {"frame 0: ", "frame 1: ", "frame 2: ", " interrupts\n"})
    EXPECT_NE(child.output().find(line), std::string::npos) << child.output();
}

// On a terminal a capture counts its frames, and then removes the line.
TEST_F(Ctl, ShowsProgressOnATerminal) {
  start("test-pattern");
  const OwnedFd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(terminal);
  ASSERT_EQ(::grantpt(terminal.get()), 0);
  ASSERT_EQ(::unlockpt(terminal.get()), 0);
  const OwnedFd other(::open(::ptsname(terminal.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(other);
  // Descriptor 3 is the terminal; the shell makes it standard error.
  auto words = command({"capture", "-o", path("a.raw"), "-n", "12", "--size", "320x240"});
  words.insert(words.begin(), {"/bin/sh", "-c", "exec \"$@\" 2>&3", "sh"});
  ChildProcess child(words, other.get());
  EXPECT_EQ(child.wait(), 0);
  std::string shown;
  pollfd readable{terminal.get(), POLLIN, 0};
  while (::poll(&readable, 1, 0) > 0 && (readable.revents & POLLIN) != 0) {
    char bytes[4096];
    const auto got = ::read(terminal.get(), bytes, sizeof bytes);
    if (got <= 0) break;
    shown.append(bytes, static_cast<std::size_t>(got));
  }
  EXPECT_NE(shown.find(" of 12 frames"), std::string::npos) << shown;
  EXPECT_TRUE(shown.ends_with("\r\033[K")) << "the line is left standing";
}

}  // namespace
}  // namespace vumedia::ctl_test
