// vumedia-ctl get-ctrl and set-ctrl.
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_fixture.hpp"

namespace vumedia::ctl_test {
namespace {

using CtlControls = Ctl;

TEST_F(CtlControls, GetsByEitherName) {
  start("test-pattern");
  const auto got =
      run({"get-ctrl", "Brightness", "brightness", "0x00980900", "Test Pattern", "test_pattern"});
  EXPECT_EQ(got.status, 0) << got.errors;
  EXPECT_EQ(got.output,
            "Brightness: 128\nBrightness: 128\nBrightness: 128\nTest Pattern: 0 (Colour bars)\n"
            "Test Pattern: 0 (Colour bars)\n");
}

TEST_F(CtlControls, SetsNumbersAndEntries) {
  start("test-pattern");
  const auto number = run({"set-ctrl", "brightness=200", "Test Pattern=3"});
  EXPECT_EQ(number.status, 0) << number.errors;
  EXPECT_EQ(number.output, "Brightness: 200\nTest Pattern: 3 (Noise)\n");
  const auto entry = run({"set-ctrl", "test_pattern=noise", "brightness=0xff"});
  EXPECT_EQ(entry.status, 0) << entry.errors;
  EXPECT_EQ(entry.output, "Test Pattern: 3 (Noise)\nBrightness: 255\n");
}

TEST_F(CtlControls, AreSetForACapture) {
  start("test-pattern");
  const auto capture = [&](const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> words{"capture", "-o", path(name), "-n", "1", "-f", "NV12", "--size", "320x240"};
    words.insert(words.end(), more.begin(), more.end());
    const auto ended = run(words);
    EXPECT_EQ(ended.status, 0) << ended.errors;
    return read(name);
  };
  const auto plain = capture("plain.yuv", {});
  const auto bright =
      capture("bright.yuv", {"-c", "brightness=255", "--set-ctrl", "test_pattern=Colour bars"});
  ASSERT_EQ(plain.size(), bright.size());
  const auto light = [](const std::vector<std::byte>& frame) {
    unsigned long sum = 0;
    for (const auto sample : std::span(frame).first(320 * 240)) sum += std::to_integer<unsigned>(sample);
    return sum;
  };
  EXPECT_GT(light(bright), light(plain));
}

TEST_F(CtlControls, SaysWhatIsWrong) {
  start("test-pattern");
  expect_failure(run({"set-ctrl", "brightness=300"}), "Brightness: 300 is not within 0 to 255");
  expect_failure(run({"set-ctrl", "brightness=-1"}), "Brightness: -1 is not within 0 to 255");
  expect_failure(run({"set-ctrl", "brightness=bright"}), "Brightness: 'bright' is no number from 0 to 255");
  for (const char* const value :
       {"99999999999999999999", "-9223372036854775809", "0x", "+5", " 5", "1e2", "nan"})
    expect_failure(run({"set-ctrl", std::string("brightness=") + value}), "is no number from 0 to 255");
  expect_failure(run({"set-ctrl", "brightness=-9223372036854775808"}), "is not within 0 to 255");
  expect_failure(run({"get-ctrl", ""}), "the device has no control ''");
  expect_failure(run({"set-ctrl", "brightness="}), "Brightness: '' is no number");
  expect_failure(run({"set-ctrl", "test_pattern=plaid"}),
                 "Test Pattern: there is no entry 'plaid'; there are 0 (Colour bars)");
  expect_failure(run({"set-ctrl", "test_pattern=77"}), "Test Pattern: there is no entry '77'");
  expect_failure(run({"set-ctrl", "colour=1"}), "the device has no control 'colour'; see list-ctrls");
  expect_failure(run({"get-ctrl", "colour"}), "the device has no control 'colour'; see list-ctrls");
  // Nothing is set unless all can be.
  expect_failure(run({"set-ctrl", "brightness=1", "colour=1"}), "no control 'colour'");
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"set-ctrl", "brightness"}, {"set-ctrl"}, {"get-ctrl"}, {"capture", "-o", path("a"), "-c", "=1"}})
    EXPECT_EQ(run(words).status, 2) << words.back();
  device_.reset();
  start("null");
  expect_failure(run({"set-ctrl", "brightness=1"}), "the device has no control 'brightness'");
}

}  // namespace
}  // namespace vumedia::ctl_test
