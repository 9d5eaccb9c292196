// Guest pages side by side: the same bytes at one address, and what is impossible.
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/memory/contiguous.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::memory::test {
namespace {

using vumedia::test::make_table;
using vumedia::test::RamFile;

struct Range {
  GuestAddress start;
  std::uint32_t length = 0;
};

constexpr std::uint64_t first_page = 0x1000'0000;

class Contiguous : public testing::Test {
 protected:
  static constexpr std::uint64_t pages = 64;

  Contiguous() {
    for (std::uint64_t page = 0; page < pages; ++page)
      std::memset(ram.data() + page * page_size, static_cast<int>(page + 1), page_size);
  }
  static Range page(std::uint64_t number, std::uint64_t count = 1) {
    return {{first_page + number * page_size}, static_cast<std::uint32_t>(count * page_size)};
  }
  Result<ContiguousRange> create(const std::vector<Range>& ranges) {
    return ContiguousRange::create(*table, std::span<const Range>(ranges), budget);
  }
  int refusal(const std::vector<Range>& ranges) {
    const auto range = create(ranges);
    return range ? 0 : range.error().value;
  }

  RamFile ram{first_page, pages* page_size};
  std::shared_ptr<const GuestMemory> table = make_table({&ram});
  std::shared_ptr<Budget> budget = std::make_shared<Budget>(16);
};

TEST_F(Contiguous, PagesInAnyOrderAreOneRangeOfTheSameBytes) {
  const auto range = create({page(9), page(3), page(4), page(3), page(63)});
  ASSERT_TRUE(range);
  EXPECT_EQ(range->size(), 5 * page_size);
  const int expected[] = {10, 4, 5, 4, 64};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(range->data()[i * page_size], std::byte(expected[i])) << i;
    EXPECT_EQ(range->data()[i * page_size + page_size - 1], std::byte(expected[i])) << i;
  }
  // The guest's own pages, not copies: both ways.
  range->data()[0] = std::byte{0xab};
  EXPECT_EQ(ram.data()[9 * page_size], std::byte{0xab});
  ram.data()[3 * page_size] = std::byte{0xcd};
  EXPECT_EQ(range->data()[page_size], std::byte{0xcd});
  EXPECT_EQ(range->data()[3 * page_size], std::byte{0xcd}) << "a page that is there twice";
}

TEST_F(Contiguous, MayBeginAndEndWithinAPage) {
  const auto range = create(
      {{{first_page + 2 * page_size + 100}, page_size - 100}, page(7), {{first_page + 5 * page_size}, 33}});
  ASSERT_TRUE(range);
  EXPECT_EQ(range->size(), page_size - 100 + page_size + 33);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(range->data()) % page_size, 100u);
  EXPECT_EQ(range->data()[0], std::byte{3});
  EXPECT_EQ(range->data()[page_size - 100], std::byte{8});
  EXPECT_EQ(range->data()[range->size() - 1], std::byte{6});
  const auto within = create({{{first_page + 10}, 20}});
  ASSERT_TRUE(within);
  EXPECT_EQ(within->size(), 20u);
}

TEST_F(Contiguous, NeighboursAreOneMapping) {
  const auto range = create({page(1), page(2), page(3, 4), page(20), page(21)});
  ASSERT_TRUE(range);
  EXPECT_EQ(range->mappings(), 2u);
  EXPECT_EQ(budget->used(), 2u);
}

TEST_F(Contiguous, EdgesWithinPagesAreRefused) {
  EXPECT_EQ(refusal({page(1), {{first_page + 8 * page_size + 1}, page_size - 1}}), EINVAL);
  EXPECT_EQ(refusal({{{first_page}, 100}, page(3)}), EINVAL);
  EXPECT_EQ(refusal({page(1), {{first_page + 8 * page_size}, 10}, page(3)}), EINVAL);
  EXPECT_EQ(refusal({}), EINVAL);
  EXPECT_EQ(refusal({{{first_page}, 0}}), EINVAL);
  // Where the guest's ranges split a page but follow each other, there is no edge.
  EXPECT_EQ(refusal({{{first_page}, 100}, {{first_page + 100}, page_size - 100}, page(9)}), 0);
  EXPECT_EQ(budget->used(), 0u);
}

TEST_F(Contiguous, WhatIsNotGuestMemoryIsRefused) {
  EXPECT_EQ(refusal({{{first_page - page_size}, page_size}}), EFAULT);
  EXPECT_EQ(refusal({page(pages - 1, 2)}), EFAULT);
  EXPECT_EQ(refusal({page(0), {{~std::uint64_t{0} - page_size}, page_size}}), EFAULT);
}

TEST_F(Contiguous, MappingsAreBounded) {
  std::vector<Range> scattered;
  for (std::uint64_t i = 0; i < 17; ++i) scattered.push_back(page(i * 2));
  EXPECT_EQ(refusal(scattered), ENOMEM);
  EXPECT_EQ(budget->used(), 0u) << "a refusal takes nothing";
  scattered.pop_back();
  {
    const auto range = create(scattered);
    ASSERT_TRUE(range);
    EXPECT_EQ(budget->used(), 16u);
    EXPECT_EQ(refusal({page(0)}), ENOMEM);
  }
  EXPECT_EQ(budget->used(), 0u);
  EXPECT_EQ(refusal({page(0)}), 0);
}

TEST_F(Contiguous, SessionsShareABoundToo) {
  const auto all = std::make_shared<Budget>(3);
  Budget one(2, all), other(2, all);
  EXPECT_TRUE(one.take(2));
  EXPECT_FALSE(one.take(1));
  EXPECT_FALSE(other.take(2)) << "beyond the bound of all";
  EXPECT_EQ(other.used(), 0u);
  EXPECT_TRUE(other.take(1));
  one.give_back(2);
  EXPECT_TRUE(other.take(1));
  EXPECT_EQ(all->used(), 2u);
}

TEST_F(Contiguous, OutlivesTheTable) {
  auto range = create({page(5), page(1)});
  ASSERT_TRUE(range);
  table = GuestMemory::empty();
  EXPECT_EQ(range->data()[0], std::byte{6});
  ram.data()[page_size] = std::byte{0x77};
  EXPECT_EQ(range->data()[page_size], std::byte{0x77}) << "still the guest's page";
  ContiguousRange moved = std::move(*range);
  EXPECT_FALSE(*range);
  EXPECT_EQ(moved.data()[0], std::byte{6});
  moved = ContiguousRange{};
  EXPECT_EQ(budget->used(), 0u);
}

// Two files may be adjacent in this process by chance; a piece never extends from one into the other. The
// address at which a file was truncated shows whose it was.
TEST_F(Contiguous, IsKnownToAllTablesOfItsFrontendAndToNoOther) {
  const auto address = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data); };
  std::vector<RegionSpec> specs;
  specs.push_back(ram.spec());
  const auto next = *table->successor(std::move(specs));
  const auto other = make_table({&ram});
  const std::uintptr_t region = address(table->contiguous({first_page}, 1));
  auto range = create({page(9), page(3)});
  ASSERT_TRUE(range);
  ContiguousRange moved = std::move(*range);
  const std::uintptr_t first = address(moved.data()), end = first + 2 * page_size;
  for (const auto& each : {table, next}) {
    EXPECT_TRUE(each->holds(region));
    EXPECT_TRUE(each->holds(first) && each->holds(first + page_size) && each->holds(end - 1));
    EXPECT_FALSE(each->holds(address(&region)));
  }
  EXPECT_FALSE(other->holds(region) || other->holds(first));
  // One that was replaced, and is not used any more.
  table.reset();
  EXPECT_FALSE(next->holds(region));
  EXPECT_TRUE(next->holds(first));
  moved = ContiguousRange();
  EXPECT_FALSE(next->holds(first) || next->holds(end - 1));
}

TEST_F(Contiguous, RunsOnFromRegionToRegion) {
  const RamFile next(first_page + pages * page_size, 4 * page_size);
  std::memset(next.data(), 0xee, 4 * page_size);
  table = make_table({&ram, &next});
  const auto range = create({page(pages - 2, 4)});
  ASSERT_TRUE(range);
  EXPECT_EQ(range->mappings(), 2u);
  EXPECT_EQ(range->data()[page_size], std::byte{64});
  EXPECT_EQ(range->data()[2 * page_size], std::byte{0xee});
  EXPECT_EQ(range->data()[4 * page_size - 1], std::byte{0xee});
}

TEST_F(Contiguous, ARegionThatIsNotPageAlignedInItsFileHasNoPagesToJoin) {
  auto fd = make_sealed_memfd("odd", 8 * page_size);
  ASSERT_TRUE(fd);
  std::vector<RegionSpec> specs;
  specs.push_back({{first_page}, {0x7000'0000'0000}, 4 * page_size, 512, std::move(*fd)});
  const auto odd = GuestMemory::create(std::move(specs));
  ASSERT_TRUE(odd);
  table = *odd;
  EXPECT_EQ(refusal({page(0), page(2)}), EINVAL);
  EXPECT_EQ(refusal({page(0, 2)}), 0) << "one piece needs no edge";
}

TEST_F(Contiguous, HugePagesDoNotComeInPieces) {
  constexpr std::uint64_t huge = std::uint64_t{2} << 20;
  OwnedFd fd(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(2 * huge)) != 0 || !Mapping::map(fd.get(), 0, 2 * huge))
    GTEST_SKIP() << "no two huge pages are free: sysctl vm.nr_hugepages=2 makes them";
  std::vector<RegionSpec> specs;
  specs.push_back({{first_page}, {0x7000'0000'0000}, 2 * huge, 0, std::move(fd)});
  const auto of_huge = GuestMemory::create(std::move(specs));
  ASSERT_TRUE(of_huge);
  table = *of_huge;
  EXPECT_EQ(refusal({page(1), page(7)}), EINVAL);
}

// A scattered frame of 1080p, as a guest's USERPTR buffer is.
TEST_F(Contiguous, AFrameOfScatteredPages) {
  constexpr std::uint64_t count = 1013;
  const RamFile big(first_page, 2 * count * page_size);
  table = make_table({&big});
  budget = std::make_shared<Budget>(count);
  std::vector<Range> ranges;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = (i * 619) % (2 * count);
    std::memcpy(big.data() + at * page_size, &i, sizeof i);
    ranges.push_back(page(at));
  }
  const auto range = create(ranges);
  ASSERT_TRUE(range);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t value = 0;
    std::memcpy(&value, range->data() + i * page_size, sizeof value);
    ASSERT_EQ(value, i);
  }
}

}  // namespace
}  // namespace vumedia::memory::test
