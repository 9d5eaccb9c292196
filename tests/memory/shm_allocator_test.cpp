#include <array>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/memory/shm_allocator.hpp>

namespace vumedia::memory::test {
namespace {

constexpr ShmOffset page(std::uint64_t number) {
  return {number * page_size};
}

TEST(ShmAllocator, TakesTheLowestPlaceThatFits) {
  ShmAllocator shm(8 * page_size);
  EXPECT_EQ(shm.allocate(1), page(0));
  EXPECT_EQ(shm.allocate(2 * page_size), page(1));
  EXPECT_EQ(shm.allocate(page_size + 1), page(3));
  EXPECT_TRUE(shm.release(page(0)));
  EXPECT_TRUE(shm.release(page(1)));
  EXPECT_EQ(shm.allocate(3 * page_size), page(0)) << "neighbours are one hole";
  EXPECT_EQ(shm.allocate(4 * page_size), Result<ShmOffset>(fail(ENOMEM)));
  EXPECT_EQ(shm.allocate(3 * page_size), page(5));
  EXPECT_EQ(shm.used_bytes(), 8 * page_size);
  EXPECT_EQ(shm.free_count(), 0u);
  EXPECT_EQ(shm.allocate(1), Result<ShmOffset>(fail(ENOMEM)));
}

TEST(ShmAllocator, Aligns) {
  ShmAllocator shm(16 * page_size);
  EXPECT_EQ(shm.allocate(1), page(0));
  EXPECT_EQ(shm.allocate(page_size, 4 * page_size), page(4));
  EXPECT_EQ(shm.allocate(3 * page_size), page(1)) << "the place left for alignment is used";
  EXPECT_EQ(shm.allocate(page_size, 8 * page_size), page(8));
  EXPECT_EQ(shm.allocate(page_size, 16 * page_size), Result<ShmOffset>(fail(ENOMEM)));
}

TEST(ShmAllocator, RefusesWhatIsNoRequest) {
  ShmAllocator shm(16 * page_size);
  EXPECT_EQ(shm.allocate(0), Result<ShmOffset>(fail(EINVAL)));
  EXPECT_EQ(shm.allocate(1, 0), Result<ShmOffset>(fail(EINVAL)));
  EXPECT_EQ(shm.allocate(1, 512), Result<ShmOffset>(fail(EINVAL)));
  EXPECT_EQ(shm.allocate(1, 3 * page_size), Result<ShmOffset>(fail(EINVAL)));
  EXPECT_EQ(shm.allocate(UINT64_MAX), Result<ShmOffset>(fail(ENOMEM)));
  EXPECT_EQ(shm.allocate(17 * page_size), Result<ShmOffset>(fail(ENOMEM)));
  EXPECT_EQ(shm.allocate(1, std::uint64_t{1} << 63), page(0)) << "0 is aligned to anything";
  EXPECT_EQ(shm.allocate(1, std::uint64_t{1} << 63), Result<ShmOffset>(fail(ENOMEM)));
}

TEST(ShmAllocator, ReleasesExactly) {
  ShmAllocator shm(16 * page_size);
  ASSERT_EQ(shm.allocate(4 * page_size), page(0));
  EXPECT_EQ(shm.release(page(1)), Result<>(fail(EINVAL)));
  EXPECT_EQ(shm.release({1}), Result<>(fail(EINVAL)));
  EXPECT_TRUE(shm.release(page(0)));
  EXPECT_EQ(shm.release(page(0)), Result<>(fail(EINVAL)));
}

TEST(ShmAllocator, FindsByContainedAddress) {
  ShmAllocator shm(16 * page_size);
  ASSERT_EQ(shm.allocate(page_size), page(0));
  ASSERT_EQ(shm.allocate(3 * page_size), page(1));
  const ShmRange second{page(1), 3 * page_size};
  EXPECT_EQ(shm.find(page(1)), second);
  EXPECT_EQ(shm.find({4 * page_size - 1}), second);
  EXPECT_EQ(shm.find(page(4)), std::nullopt);
  EXPECT_EQ(shm.find({UINT64_MAX}), std::nullopt);
  EXPECT_EQ(shm.release_containing({2 * page_size + 5}), second);
  EXPECT_EQ(shm.release_containing({2 * page_size + 5}), Result<ShmRange>(fail(EINVAL)));
  EXPECT_EQ(shm.find(page(2)), std::nullopt);
  EXPECT_EQ(shm.used_count(), 1u);
}

TEST(ShmAllocator, LeavesOutAPartialPage) {
  ShmAllocator shm(2 * page_size + 100);
  EXPECT_EQ(shm.size(), 2 * page_size);
  ShmAllocator none(100);
  EXPECT_EQ(none.allocate(1), Result<ShmOffset>(fail(ENOMEM)));
}

// Compared with an array that names the allocation of each page.
TEST(ShmAllocator, AgreesWithANaiveModel) {
  constexpr std::uint64_t pages = 200;
  std::mt19937_64 random(48);
  for (int round = 0; round < 20; ++round) {
    ShmAllocator shm(pages * page_size);
    std::array<std::uint64_t, pages> owner{};  // 0: free; else the first page of the allocation, plus 1
    for (int step = 0; step < 3000; ++step) {
      const auto choice = random() % 8;
      if (choice < 4) {
        const std::uint64_t count = 1 + random() % (choice == 0 ? 40 : 6);
        const std::uint64_t alignment = std::uint64_t{1} << (random() % 5);
        std::uint64_t expected = pages;
        for (std::uint64_t start = 0; start + count <= pages && expected == pages; start += alignment) {
          bool vacant = true;
          for (std::uint64_t p = start; p < start + count; ++p) vacant = vacant && owner[p] == 0;
          if (vacant) expected = start;
        }
        const auto got = shm.allocate(count * page_size - random() % page_size, alignment * page_size);
        if (expected == pages) {
          ASSERT_EQ(got, Result<ShmOffset>(fail(ENOMEM)));
        } else {
          ASSERT_EQ(got, page(expected));
          for (std::uint64_t p = expected; p < expected + count; ++p) owner[p] = expected + 1;
        }
      } else {
        const std::uint64_t p = random() % pages;
        const std::uint64_t who = owner[p];
        std::uint64_t length = 0;
        for (const std::uint64_t o : owner) length += who != 0 && o == who ? page_size : 0;
        const ShmOffset inside{p * page_size + random() % page_size};
        const auto expected = who == 0 ? std::nullopt : std::optional(ShmRange{page(who - 1), length});
        ASSERT_EQ(shm.find(inside), expected);
        if (choice == 4) continue;
        bool released = false;
        if (choice == 5) {
          const auto got = shm.release_containing(inside);
          ASSERT_EQ(got.has_value(), who != 0);
          if (got) {
            ASSERT_EQ(*got, *expected);
          }
          released = who != 0;
        } else {
          released = who == p + 1;
          ASSERT_EQ(shm.release(page(p)).has_value(), released);
        }
        if (released)
          for (auto& o : owner) o = o == who ? 0 : o;
      }
      std::uint64_t used = 0, holes = 0;
      for (std::uint64_t p = 0; p < pages; ++p) {
        used += owner[p] != 0 ? page_size : 0;
        holes += owner[p] == 0 && (p == 0 || owner[p - 1] != 0) ? 1 : 0;
      }
      ASSERT_EQ(shm.used_bytes(), used);
      ASSERT_EQ(shm.free_count(), holes) << "free neighbours are merged";
    }
  }
}

}  // namespace
}  // namespace vumedia::memory::test
