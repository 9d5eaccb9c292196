// vumedia-ctl against vumedia-device, as people run them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/child_process.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::ctl_test {

using vumedia::test::ChildProcess;
using namespace std::chrono_literals;

// Why a test that needs a clip is skipped.
inline constexpr const char* no_clip = "cannot make the clip: no ffmpeg program, or no such encoder in it";

struct Ended {
  int status = -1;
  std::string output;
  std::string errors;

  [[nodiscard]] bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

// What a failure must look like: a status, and one line that starts with the program's name.
inline void expect_failure(const Ended& run, const std::string& reason) {
  EXPECT_NE(run.status, 0);
  EXPECT_NE(run.status, -1) << "it hangs";
  EXPECT_LT(run.status, 128) << "a signal ended it";
  EXPECT_EQ(run.errors.rfind("vumedia-ctl: ", 0), 0u) << run.errors;
  EXPECT_EQ(std::count(run.errors.begin(), run.errors.end(), '\n'), 1) << run.errors;
  EXPECT_NE(run.errors.find(reason), std::string::npos) << run.errors;
}

class Ctl : public testing::Test {
 protected:
  void start(const std::string& backend, const std::vector<std::string>& options = {}) {
    std::vector<std::string> command{VUMEDIA_BIN_DIR "/vumedia-device", "--backend", backend, "--socket-path",
                                     socket()};
    command.insert(command.end(), options.begin(), options.end());
    device_ = std::make_unique<ChildProcess>(command);
    ASSERT_TRUE(device_->wait_for_error_text("serving")) << device_->error_output();
  }

  [[nodiscard]] std::string path(const std::string& name) const { return folder_.path(name); }
  [[nodiscard]] std::string socket() const { return path("socket"); }
  [[nodiscard]] std::vector<std::string> command(std::vector<std::string> arguments) const {
    std::vector<std::string> words{VUMEDIA_BIN_DIR "/vumedia-ctl", "--socket-path", socket()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  Ended run_command(std::vector<std::string> words) {
    ChildProcess child(std::move(words));
    Ended run;
    run.status = child.wait().value_or(-1);
    run.output = child.output();
    run.errors = child.error_output();
    return run;
  }
  // Runs vumedia-ctl on the device's socket.
  Ended run(std::vector<std::string> arguments) { return run_command(command(std::move(arguments))); }

  [[nodiscard]] std::vector<std::byte> read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    const std::vector<char> text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
  }

  const vumedia::test::TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> device_;
};

}  // namespace vumedia::ctl_test
