// The example of a memory-to-memory device, as people run it.
#include <chrono>
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

TEST_F(Ctl, FindsNothingWrongWithTheInverter) {
  device_ = std::make_unique<ChildProcess>(std::vector<std::string>{VUMEDIA_BIN_DIR "/inverter", socket()});
  // It says nothing; its socket listens a moment after its file is there.
  const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
  Ended info = run({"info"});
  for (; info.status != 0; info = run({"info"})) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  EXPECT_TRUE(info.says("Inverter")) << info.output;
  const auto report = run({"compliance"});
  EXPECT_EQ(report.status, 0) << report.errors << report.output;
  EXPECT_TRUE(report.says("Failed: 0, ")) << report.output;

  device_->signal(SIGTERM);
  EXPECT_EQ(device_->wait(), 0) << device_->error_output();
}

TEST(Examples, TheInverterHasUnder80Lines) {
  std::ifstream source(VUMEDIA_SOURCE_DIR "/examples/inverter/main.cpp");
  int lines = 0;
  for (std::string line; std::getline(source, line);) ++lines;
  EXPECT_GT(lines, 10);
  EXPECT_LT(lines, 80);
}

}  // namespace
}  // namespace vumedia::ctl_test
