// Priorities of open files: v4l2_prio_state's rules.
#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/v4l2/priority.hpp>

namespace vumedia::v4l2::test {
namespace {

static_assert(needs_priority<tag::S_FMT> && needs_priority<tag::STREAMOFF> &&
              needs_priority<tag::S_PRIORITY> && needs_priority<tag::REMOVE_BUFS> &&
              needs_priority<tag::DECODER_CMD>);
// Not ioctls that only query, that pass frames, or that concern only the file.
static_assert(!needs_priority<tag::G_FMT> && !needs_priority<tag::TRY_FMT> && !needs_priority<tag::QBUF> &&
              !needs_priority<tag::PREPARE_BUF> && !needs_priority<tag::TRY_EXT_CTRLS> &&
              !needs_priority<tag::SUBSCRIBE_EVENT> && !needs_priority<tag::G_PRIORITY>);

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
