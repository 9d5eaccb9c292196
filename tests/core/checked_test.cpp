#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <random>

#include <gtest/gtest.h>

#include <vumedia/core/checked.hpp>

namespace vumedia::test {
namespace {

constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();

static_assert(checked_add<std::uint64_t>(top - 1, 1) == top);
static_assert(!checked_add<std::uint64_t>(top, 1));
static_assert(!checked_add<std::uint8_t>(200, 56) && checked_add<std::uint8_t>(200, 55) == 255);
static_assert(checked_multiply<std::uint64_t>(1ULL << 32, (1ULL << 32) - 1) == top - (1ULL << 32) + 1);
static_assert(!checked_multiply<std::uint64_t>(1ULL << 32, 1ULL << 32));
static_assert(checked_multiply<std::uint32_t>(0, 0xffffffff) == 0);
static_assert(!is_power_of_two(0) && is_power_of_two(1) && is_power_of_two(1ULL << 63) &&
              !is_power_of_two(3));
static_assert(is_aligned(0, page_size) && is_aligned(8192, page_size) && !is_aligned(4097, page_size));
static_assert(is_aligned(17, 1));
static_assert(align_up(0, page_size) == 0 && align_up(1, page_size) == 4096 &&
              align_up(4096, page_size) == 4096);
static_assert(align_up(top - 4095, page_size) == top - 4095 && !align_up(top - 4094, page_size));
static_assert(range_fits(0, 0, 0) && range_fits(5, 0, 5) && range_fits(0, 5, 5));
static_assert(!range_fits(6, 0, 5) && !range_fits(0, 6, 5) && !range_fits(5, 1, 5));
static_assert(!range_fits(1, top, top) && range_fits(0, top, top) && !range_fits(top, top, top));

// Compared with arithmetic that is wide enough, for numbers near the limits.
TEST(Checked, AgreesWithWiderArithmetic) {
  std::mt19937_64 random(5);
  __extension__ using Wide = unsigned __int128;
  const auto number = [&] {
    const std::uint64_t edges[] = {0, 1, page_size, 1ULL << 32, 1ULL << 63, top};
    const std::uint64_t any = random();
    return any % 3 == 0 ? any : edges[any % std::size(edges)] + (any >> 32) % 5 - 2;
  };
  for (int i = 0; i < 200'000; ++i) {
    const std::uint64_t a = number(), b = number(), c = number();
    const auto expect = [&](std::optional<std::uint64_t> got, Wide wide) {
      ASSERT_EQ(got.has_value(), wide <= top) << a << ' ' << b;
      if (got) {
        ASSERT_EQ(*got, static_cast<std::uint64_t>(wide));
      }
    };
    expect(checked_add(a, b), Wide{a} + b);
    expect(checked_multiply(a, b), Wide{a} * b);
    expect(align_up(a, page_size), (Wide{a} + page_size - 1) / page_size * page_size);
    ASSERT_EQ(range_fits(a, b, c), Wide{a} + b <= c);
    ASSERT_EQ(is_aligned(a, page_size), a % page_size == 0);
  }
}

}  // namespace
}  // namespace vumedia::test
