#include <memory>
#include <string>
#include <type_traits>

#include <gtest/gtest.h>

#include <vumedia/core/result.hpp>

namespace vumedia::test {
namespace {

// Cheap enough for every guest request.
static_assert(sizeof(Result<>) <= 8 && sizeof(Result<int>) <= 8);
static_assert(std::is_trivially_copyable_v<Errno>);

Result<int> half(int number) {
  if (number % 2 != 0) return fail(EDOM);
  return number / 2;
}

Outcome<> check(int number) {
  if (number < 0) return failure("%d is less than %s", number, "nothing");
  if (number == 0) return system_failure(ENOENT, "item %d", number);
  return {};
}

TEST(Result, HoldsAValueOrAnErrno) {
  EXPECT_EQ(half(8).value_or(-1), 4);
  const auto odd = half(7);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error(), Errno{EDOM});
  static_assert(fail(EINVAL).error().value == EINVAL);
}

TEST(Result, CarriesWhatOnlyMoves) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
  ASSERT_TRUE(result);
  const std::unique_ptr<int> taken = std::move(*result);
  EXPECT_EQ(*taken, 3);
}

TEST(Outcome, TellsInWords) {
  EXPECT_TRUE(check(1));
  const auto negative = check(-3);
  ASSERT_FALSE(negative);
  EXPECT_EQ(negative.error().message, "-3 is less than nothing");
  EXPECT_EQ(negative.error().code, 0);
  const auto missing = check(0);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message, "item 0: No such file or directory");
  EXPECT_EQ(missing.error().code, ENOENT);
}

TEST(FormatText, HasNoLimit) {
  const std::string large(10'000, 'x');
  EXPECT_EQ(format_text("<%s>", large.c_str()), "<" + large + ">");
  EXPECT_EQ(format_text("%s", ""), "");
  EXPECT_EQ(failure("%s", large.c_str()).error().message, large);
}

TEST(SystemFailure, KnowsNoSuchErrno) {
  EXPECT_EQ(system_failure(99'999, "odd").error().message, "odd: Unknown error 99999");
}

}  // namespace
}  // namespace vumedia::test
