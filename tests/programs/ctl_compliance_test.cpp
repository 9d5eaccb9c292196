// vumedia-ctl compliance, as people run it.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_fixture.hpp"
#include "support/patience.hpp"

namespace vumedia::ctl_test {
namespace {

TEST_F(Ctl, FindsNothingAgainstTheTestPattern) {
  start("test-pattern");
  const auto report = run({"compliance"});
  EXPECT_EQ(report.status, 0) << report.errors << report.output;
  EXPECT_EQ(report.errors, "");
  for (const char* const text :
       {"Compliance of vumedia test pattern:\n", "\nBuffers:\n", "\ttest reqbufs/zero-count-frees: OK\n",
        "\ttest enumoutput/indexes: OK (Not Supported)\n\t\t",
        "Total for vumedia test pattern: ", "Failed: 0, "}) {
    EXPECT_TRUE(report.says(text)) << text << " in\n" << report.output;
  }
  EXPECT_FALSE(report.says("FAIL")) << report.output;
}

TEST_F(Ctl, RunsTheRulesThatAreNamed) {
  start("test-pattern", {"--planes", "multi"});
  const auto report = run({"compliance", "--rule", "mmap/*", "--memory", "mmap", "--verbose"});
  EXPECT_EQ(report.status, 0) << report.errors << report.output;
  for (const char* const text :
       {"test mmap/length: OK", "VIDEO_CAPTURE_MPLANE MMAP: passed", "see VIRTIO 1.4, 5.22"})
    EXPECT_TRUE(report.says(text)) << text << " in\n" << report.output;
  EXPECT_FALSE(report.says("test qbuf/")) << report.output;
  EXPECT_FALSE(report.says("USERPTR")) << report.output;
}

// Nothing is wrong with what it has, but nothing that a device does was tried.
TEST_F(Ctl, IsNoSuccessOnADeviceOfWhichNothingCanBeTried) {
  start("null");
  const auto report = run({"compliance"});
  EXPECT_EQ(report.status, 2) << report.output;
  EXPECT_NE(report.errors.find("nothing that the device does could be tried"), std::string::npos)
      << report.errors;
  EXPECT_TRUE(report.says("Failed: 0")) << report.output;
  EXPECT_EQ(run({"compliance", "--rule", "config/*"}).status, 0);
  EXPECT_EQ(run({"compliance", "--rule", "m2m/*"}).status, 2);
}

// The shortest backend leaves out what a complete one must have.
TEST_F(Ctl, NamesTheRulesThatAreBroken) {
  device_ =
      std::make_unique<ChildProcess>(std::vector<std::string>{VUMEDIA_BIN_DIR "/minimal_backend", socket()});
  // It says nothing, and listens a moment after its socket is there.
  const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
  while (run({"info"}).status != 0) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  const auto report = run({"compliance", "-m", "mmap", "-r", "[a-q]*/*"});
  EXPECT_EQ(report.status, 1) << report.errors << report.output;
  EXPECT_EQ(report.errors, "") << "what is found is no error";
  for (const char* const text :
       {"\ttest config/extended-formats: FAIL\n\t\tdevice_caps 0x",
        "lacks V4L2_CAP_EXT_PIX_FORMAT\n\t\tsee V4L2 API, ",
        "\ttest enum-fmt/description: FAIL\n\t\tVIDEO_CAPTURE: GREY has no description\n"})
    EXPECT_TRUE(report.says(text)) << text << " in\n" << report.output;
  EXPECT_FALSE(report.says("Failed: 0")) << report.output;
}

TEST_F(Ctl, ListsRulesWithoutADevice) {
  const std::string program = VUMEDIA_BIN_DIR "/vumedia-ctl";
  const auto list = run_command({program, "compliance", "--list"});
  EXPECT_EQ(list.status, 0) << list.errors;
  EXPECT_TRUE(
      list.says("reqbufs/zero-count-frees\n    a count of zero frees all buffers\n    V4L2 API, ioctl "
                "VIDIOC_REQBUFS\n"))
      << list.output;
  const auto some = run_command({program, "compliance", "--rule", "munmap/*", "--list"});
  EXPECT_EQ(some.status, 0) << some.errors;
  EXPECT_EQ(std::count(some.output.begin(), some.output.end(), '\n'), 3) << some.output;
}

TEST_F(Ctl, SaysWhyADeviceCannotBeExamined) {
  const std::string program = VUMEDIA_BIN_DIR "/vumedia-ctl";
  const auto expect_refusal = [&](const std::vector<std::string>& words, const std::string& reason) {
    std::vector<std::string> command{program};
    command.insert(command.end(), words.begin(), words.end());
    const auto refused = run_command(std::move(command));
    expect_failure(refused, reason);
    EXPECT_EQ(refused.status, 2) << reason;
  };
  expect_refusal({"compliance"}, "socket-path");
  expect_refusal({"-s", path("nowhere"), "compliance"}, "No such file or directory");
  expect_refusal({"-s", path("nowhere"), "compliance", "--memory", "dmabuf"}, "--memory");
  expect_refusal({"-s", path("nowhere"), "compliance", "--rule", "qbuf"}, "no rule is named qbuf");
}

TEST_F(Ctl, TellsThatTheDeviceHasGoneAmidARule) {
  start("test-pattern");
  ChildProcess endless(command({"compliance", "-r", "stream/*"}));
  ASSERT_TRUE(device_->wait_for_error_text("has connected")) << device_->error_output();
  device_->signal(SIGKILL);
  Ended gone;
  gone.status = endless.wait().value_or(-1);
  gone.errors = endless.error_output();
  expect_failure(gone, "");
}

}  // namespace
}  // namespace vumedia::ctl_test
