// Priorities of open files: v4l2_prio_state's rules.
#include <cerrno>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/v4l2/priority.hpp>

namespace vumedia::v4l2::test {
namespace {

TEST(NeedsPriority, WhatChangesTheDevice) {
  std::set<std::string> refused;
  with_ioctl_tags([&]<class... Tags>() {
    ((needs_priority<Tags> ? void(refused.insert(Tags::name + sizeof("VIDIOC"))) : void()), ...);
  });
  // Not ioctls that only query, that pass frames, or that concern only the file.
  EXPECT_EQ(
      refused,
      (std::set<std::string>{
          "S_FMT",   "REQBUFS",      "CREATE_BUFS", "REMOVE_BUFS", "STREAMON",    "STREAMOFF",     "S_PARM",
          "S_CTRL",  "S_EXT_CTRLS",  "S_SELECTION", "S_CROP",      "S_PRIORITY",  "S_INPUT",       "S_OUTPUT",
          "S_STD",   "S_DV_TIMINGS", "S_EDID",      "S_FBUF",      "OVERLAY",     "S_AUDIO",       "S_AUDOUT",
          "S_TUNER", "S_MODULATOR",  "S_FREQUENCY", "ENCODER_CMD", "DECODER_CMD", "S_HW_FREQ_SEEK"}));
}

int priority_error(const Result<>& result) {
  return result ? 0 : result.error().value;
}

struct PriorityTest : testing::Test {
  std::uint32_t highest() const {
    std::uint32_t priority = 99;
    one.get(priority);
    return priority;
  }
  Priorities all;
  Priority one{all};
  std::optional<Priority> two{std::in_place, all};
};

TEST_F(PriorityTest, FilesBeginInTheMiddle) {
  EXPECT_EQ(highest(), unsigned{V4L2_PRIORITY_INTERACTIVE});
  EXPECT_EQ(unsigned{V4L2_PRIORITY_DEFAULT}, unsigned{V4L2_PRIORITY_INTERACTIVE});
  EXPECT_TRUE(one.may_change());
  EXPECT_TRUE(two->may_change());
}

TEST_F(PriorityTest, AHigherOneKeepsOthersOut) {
  ASSERT_TRUE(two->set(V4L2_PRIORITY_RECORD));
  EXPECT_EQ(highest(), unsigned{V4L2_PRIORITY_RECORD});
  EXPECT_EQ(priority_error(one.may_change()), EBUSY);
  EXPECT_TRUE(two->may_change());
  // Not even to the same priority.
  EXPECT_EQ(priority_error(one.set(V4L2_PRIORITY_RECORD)), EBUSY);
  EXPECT_EQ(priority_error(one.set(V4L2_PRIORITY_BACKGROUND)), EBUSY);
  EXPECT_EQ(priority_error(one.set(77)), EBUSY) << "who may not is told so first";
  ASSERT_TRUE(two->set(V4L2_PRIORITY_INTERACTIVE));
  EXPECT_TRUE(one.may_change());
}

TEST_F(PriorityTest, EndsWithItsFile) {
  ASSERT_TRUE(two->set(V4L2_PRIORITY_RECORD));
  two.reset();
  EXPECT_TRUE(one.may_change());
  EXPECT_EQ(highest(), unsigned{V4L2_PRIORITY_INTERACTIVE});
}

TEST_F(PriorityTest, ALowerOneGivesWay) {
  ASSERT_TRUE(one.set(V4L2_PRIORITY_BACKGROUND));
  EXPECT_EQ(priority_error(one.may_change()), EBUSY);
  EXPECT_EQ(priority_error(one.set(V4L2_PRIORITY_INTERACTIVE)), EBUSY) << "as long as another has more";
  two.reset();
  EXPECT_EQ(highest(), unsigned{V4L2_PRIORITY_BACKGROUND});
  EXPECT_TRUE(one.set(V4L2_PRIORITY_INTERACTIVE));
}

TEST_F(PriorityTest, SettingItsOwnAgainChangesNothing) {
  ASSERT_TRUE(one.set(V4L2_PRIORITY_RECORD));
  EXPECT_EQ(priority_error(two->may_change()), EBUSY);
  Priorities others;
  EXPECT_EQ(others.highest(), unsigned{V4L2_PRIORITY_UNSET});
  ASSERT_TRUE(one.set(V4L2_PRIORITY_INTERACTIVE));
  ASSERT_TRUE(one.set(V4L2_PRIORITY_INTERACTIVE));
  EXPECT_TRUE(two->may_change());
}

TEST_F(PriorityTest, OnlyThreeCanBeSet) {
  for (const std::uint32_t bad : {0U, 4U, 0x80000000U, UINT32_MAX}) {
    EXPECT_EQ(priority_error(one.set(bad)), EINVAL) << bad;
  }
  EXPECT_EQ(highest(), unsigned{V4L2_PRIORITY_INTERACTIVE});
}

}  // namespace
}  // namespace vumedia::v4l2::test
