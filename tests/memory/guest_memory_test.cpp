#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vumedia/memory/guest_memory.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::memory::test {
namespace {

using vumedia::test::make_table;
using vumedia::test::RamFile;

constexpr std::uint64_t megabyte = 1 << 20;

OwnedFd file_of(std::uint64_t size) {
  auto fd = make_sealed_memfd("region", size);
  EXPECT_TRUE(fd);
  return fd ? std::move(*fd) : OwnedFd();
}

RegionSpec region(std::uint64_t guest, std::uint64_t frontend, std::uint64_t size, std::uint64_t offset = 0,
                  std::uint64_t file_size = 16 * megabyte) {
  return {{guest}, {frontend}, size, offset, file_of(file_size)};
}

template <class... Specs>
std::vector<RegionSpec> list(Specs... specs) {
  std::vector<RegionSpec> all;
  (all.push_back(std::move(specs)), ...);
  return all;
}

std::string error_of(std::vector<RegionSpec> regions) {
  auto table = GuestMemory::create(std::move(regions));
  EXPECT_FALSE(table);
  return table ? "" : table.error().message;
}

// How many mappings of the file behind `fd` this process has.
int mappings_of(int fd) {
  struct stat status{};
  EXPECT_EQ(::fstat(fd, &status), 0);
  std::FILE* const maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return -1;
  char line[512];
  int count = 0;
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long inode = 0;
    if (std::sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1 && inode == status.st_ino) ++count;
  }
  std::fclose(maps);
  return count;
}

TEST(GuestMemory, EmptyTableHoldsNothing) {
  const auto table = GuestMemory::empty();
  EXPECT_EQ(table->region_count(), 0u);
  EXPECT_EQ(table->contiguous({0}, 1), nullptr);
  EXPECT_EQ(table->contiguous({0}, 0), nullptr);
  EXPECT_FALSE(table->guest_address({0}));
  EXPECT_EQ(table->for_each_piece({0}, 1, [](std::span<std::byte>) {}), Result<>(fail(EFAULT)));
}

TEST(GuestMemory, TranslatesInsideARegionOnly) {
  const RamFile ram(0x1'0000, 0x4000);
  const auto table = make_table({&ram});
  std::byte* const first = table->contiguous({0x1'0000}, 0x4000);
  ASSERT_NE(first, nullptr);
  ram.data()[0x3fff] = std::byte{0x5a};
  EXPECT_EQ(first[0x3fff], std::byte{0x5a});
  EXPECT_EQ(table->contiguous({0x1'3fff}, 1), first + 0x3fff);
  EXPECT_EQ(table->contiguous({0x1'0000}, 0x4001), nullptr);
  EXPECT_EQ(table->contiguous({0x1'3fff}, 2), nullptr);
  EXPECT_EQ(table->contiguous({0x1'4000}, 0), nullptr);
  EXPECT_EQ(table->contiguous({0xffff}, 1), nullptr);
  EXPECT_EQ(table->contiguous({0x1'0001}, UINT64_MAX), nullptr);
  EXPECT_EQ(table->contiguous({UINT64_MAX}, 1), nullptr);
  EXPECT_EQ(table->contiguous({UINT64_MAX}, UINT64_MAX), nullptr);
}

TEST(GuestMemory, FileOffsetNeedNotBePageAligned) {
  OwnedFd fd = file_of(0x4000);
  auto mapping = Mapping::map(fd.get(), 0, 0x4000);
  ASSERT_TRUE(mapping);
  mapping->data()[0x1234] = std::byte{7};
  auto table = GuestMemory::create(list(RegionSpec{{0x8000}, {0}, 0x1000, 0x1234, std::move(fd)}));
  ASSERT_TRUE(table);
  std::byte* const byte = (*table)->contiguous({0x8000}, 0x1000);
  ASSERT_NE(byte, nullptr);
  EXPECT_EQ(*byte, std::byte{7});
}

TEST(GuestMemory, RefusesAnEmptyRegion) {
  EXPECT_EQ(error_of(list(region(0, 0, 0x1000), region(0xabc000, 0x9000, 0))),
            "region 1 at guest address 0xabc000 is empty");
}

TEST(GuestMemory, RefusesGuestOverflow) {
  EXPECT_EQ(error_of(list(region(0xffff'ffff'ffff'f000, 0, 0x1000))),
            "region 0: guest address 0xfffffffffffff000 plus size 0x1000 leaves 64 bits");
}

TEST(GuestMemory, RefusesFrontendOverflow) {
  EXPECT_EQ(error_of(list(region(0, 0xffff'ffff'ffff'f000, 0x2000))),
            "region 0: frontend address 0xfffffffffffff000 plus size 0x2000 leaves 64 bits");
}

TEST(GuestMemory, RefusesFileOffsetsThatAreNone) {
  EXPECT_EQ(error_of(list(region(0, 0, 0x1000, UINT64_MAX))),
            "region 0: file offset 0xffffffffffffffff plus size 0x1000 is not a valid file range");
  EXPECT_EQ(error_of(list(region(0, 0, 0x1000, INT64_MAX))),
            "region 0: file offset 0x7fffffffffffffff plus size 0x1000 is not a valid file range");
}

TEST(GuestMemory, RefusesARegionBeyondItsFile) {
  EXPECT_EQ(error_of(list(region(0, 0, 0x1000, 0, 0x1000), region(0x10000, 0x10000, 0x2000, 0x1000, 0x2000))),
            "region 1: file offset 0x1000 plus size 0x2000 exceeds its file of 0x2000 bytes");
}

TEST(GuestMemory, RefusesARegionWithoutFile) {
  EXPECT_EQ(error_of(list(RegionSpec{{0}, {0}, 0x1000, 0, OwnedFd()})),
            "region 0 at guest address 0x0 has no file");
}

TEST(GuestMemory, RefusesABadDescriptor) {
  OwnedFd fd = file_of(0x1000);
  const int number = ::dup(fd.get());
  ::close(number);  // nothing else opens descriptors meanwhile
  RegionSpec spec{{0}, {0}, 0x1000, 0, OwnedFd(number)};
  EXPECT_EQ(error_of(list(std::move(spec))),
            "region 0: cannot get the status of its file: Bad file descriptor");
}

TEST(GuestMemory, RefusesOverlapsForTheGuest) {
  EXPECT_EQ(error_of(list(region(0x4000, 0x10000, 0x1000), region(0x1000, 0x20000, 0x3001))),
            "regions 1 and 0 overlap: guest addresses 0x1000 and 0x4000, sizes 0x3001 and 0x1000");
  EXPECT_EQ(error_of(list(region(0x1000, 0x10000, 0x1000), region(0x1000, 0x20000, 0x1000))).substr(0, 27),
            "regions 0 and 1 overlap: gu");
}

// A VMM may show one piece of its memory at two places.
TEST(GuestMemory, TakesOverlapsInTheFrontend) {
  const auto table =
      GuestMemory::create(list(region(0x4000, 0x10000, 0x1000), region(0x1000, 0x10800, 0x1000)));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ((*table)->guest_address({0x10000}), GuestAddress{0x4000});
  EXPECT_EQ((*table)->guest_address({0x10900}), GuestAddress{0x1100});
  EXPECT_EQ((*table)->guest_address({0x11700}), GuestAddress{0x1f00});
  const auto more = (*table)->with(region(0x8000, 0x10000, 0x2000, 0, 0x2000));
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_EQ((*more)->guest_address({0x10000}), GuestAddress{0x4000});
}

TEST(GuestMemory, RefusesWhatCannotBeMapped) {
  int pipe[2], sockets[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  OwnedFd ends[] = {OwnedFd(pipe[0]), OwnedFd(pipe[1]), OwnedFd(sockets[0]), OwnedFd(sockets[1]),
                    OwnedFd(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
  for (OwnedFd& end : ends)
    EXPECT_EQ(error_of(list(RegionSpec{{0}, {0}, 0x1000, 0, std::move(end)})),
              "region 0: its file descriptor is not a file that can be mapped");
}

TEST(GuestMemory, RefusesTooManyRegions) {
  const auto many = [](std::size_t count) {
    std::vector<RegionSpec> specs;
    for (std::size_t i = 0; i < count; ++i) specs.push_back(region(i << 20, i << 20, 0x1000, 0, 0x1000));
    return specs;
  };
  EXPECT_EQ(error_of(many(510)), "510 memory regions, at most 509 are supported");
  auto full = GuestMemory::create(many(509));
  ASSERT_TRUE(full);
  EXPECT_EQ((*full)->region_count(), 509u);
  auto more = (*full)->with(region(600ull << 20, 600ull << 20, 0x1000));
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().message, "510 memory regions, at most 509 are supported");
  // Every one of them is found, and nothing between them.
  for (std::uint64_t i = 0; i < 509; ++i) {
    EXPECT_NE((*full)->contiguous({(i << 20) + 0xfff}, 1), nullptr) << i;
    EXPECT_EQ((*full)->contiguous({(i << 20) + 0x1000}, 1), nullptr) << i;
  }
}

TEST(GuestMemory, SizeOfADeviceNodeIsNoBound) {
  OwnedFd zero(::open("/dev/zero", O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(zero);
  auto table = GuestMemory::create(list(RegionSpec{{0}, {0}, 0x10000, 0, std::move(zero)}));
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_NE((*table)->contiguous({0}, 0x10000), nullptr);
}

TEST(GuestMemory, WhatCannotBeMappedIsOutside) {
  auto event = make_event_fd();
  ASSERT_TRUE(event);
  auto table = GuestMemory::create(list(RegionSpec{{0}, {0}, 0x1000, 0, std::move(*event)}));
  ASSERT_TRUE(table) << table.error().message;
  for (int i = 0; i < 2; ++i) {  // the failure is remembered
    EXPECT_EQ((*table)->contiguous({0}, 1), nullptr);
    EXPECT_EQ((*table)->for_each_piece({0}, 1, [](std::span<std::byte>) {}), Result<>(fail(EFAULT)));
  }
  EXPECT_EQ((*table)->guest_address({0}), GuestAddress{0});
}

TEST(GuestMemory, MapsOnFirstUseAndUnmapsWithTheLastTable) {
  OwnedFd fd = file_of(0x2000);
  auto copy = fd.duplicate();
  ASSERT_TRUE(copy);
  auto table = GuestMemory::create(list(RegionSpec{{0}, {0}, 0x2000, 0, std::move(*copy)}));
  ASSERT_TRUE(table);
  EXPECT_EQ(mappings_of(fd.get()), 0);
  ASSERT_NE((*table)->contiguous({0}, 1), nullptr);
  ASSERT_NE((*table)->contiguous({0}, 1), nullptr);
  EXPECT_EQ(mappings_of(fd.get()), 1);
  auto more = (*table)->with(region(megabyte, megabyte, 0x1000));
  ASSERT_TRUE(more);
  std::byte* const data = (*table)->contiguous({0}, 1);
  EXPECT_EQ((*more)->contiguous({0}, 1), data) << "tables share the mapping of a region";
  table->reset();
  EXPECT_EQ(mappings_of(fd.get()), 1);
  auto less = (*more)->without({0}, 0x2000, {0});
  ASSERT_TRUE(less);
  more->reset();
  EXPECT_EQ(mappings_of(fd.get()), 0);
  EXPECT_EQ((*less)->contiguous({0}, 1), nullptr);
  EXPECT_NE((*less)->contiguous({megabyte}, 1), nullptr);
}

TEST(GuestMemory, AddingChecksLikeCreating) {
  auto table = GuestMemory::create(list(region(0x1000, 0x1000, 0x1000)));
  ASSERT_TRUE(table);
  const auto error = [&](RegionSpec spec) {
    auto more = (*table)->with(std::move(spec));
    EXPECT_FALSE(more);
    return more ? std::string() : more.error().message;
  };
  EXPECT_EQ(error(region(0x5000, 0x5000, 0)), "region 1 at guest address 0x5000 is empty");
  EXPECT_EQ(error(region(0x1800, 0x5000, 0x1000)).substr(0, 23), "regions 0 and 1 overlap");
  EXPECT_EQ((*table)->region_count(), 1u);
}

TEST(GuestMemory, RemovingWantsAllThreeNumbers) {
  auto table = GuestMemory::create(list(region(0x1000, 0x9000, 0x1000), region(0x4000, 0xb000, 0x1000)));
  ASSERT_TRUE(table);
  EXPECT_FALSE((*table)->without({0x1000}, 0x1000, {0xa000}));
  EXPECT_FALSE((*table)->without({0x1000}, 0x2000, {0x9000}));
  const auto wrong = (*table)->without({0x2000}, 0x1000, {0x9000});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            "no region at guest address 0x2000, frontend address 0x9000 with size 0x1000");
  auto less = (*table)->without({0x1000}, 0x1000, {0x9000});
  ASSERT_TRUE(less);
  EXPECT_EQ((*less)->region_count(), 1u);
  EXPECT_FALSE((*less)->guest_address({0x9000}));
  EXPECT_EQ((*less)->guest_address({0xb010}), GuestAddress{0x4010});
}

TEST(GuestMemory, GenerationsDiffer) {
  auto table = GuestMemory::create(list(region(0, 0, 0x1000)));
  ASSERT_TRUE(table);
  auto same = GuestMemory::create(list(region(0, 0, 0x1000)));
  ASSERT_TRUE(same);
  auto more = (*table)->with(region(megabyte, megabyte, 0x1000));
  ASSERT_TRUE(more);
  auto less = (*more)->without({megabyte}, 0x1000, {megabyte});
  ASSERT_TRUE(less);
  const std::array generations{(*table)->generation(), (*same)->generation(), (*more)->generation(),
                               (*less)->generation(), GuestMemory::empty()->generation()};
  for (std::size_t i = 0; i < generations.size(); ++i) {
    EXPECT_NE(generations[i], 0u);
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(generations[i], generations[j]);
  }
}

TEST(GuestMemory, FrontendAddressesTranslate) {
  auto table =
      GuestMemory::create(list(region(0x10'0000, 0x7000'0000, 0x2000), region(0, 0x6000'0000, 0x1000)));
  ASSERT_TRUE(table);
  EXPECT_EQ((*table)->guest_address({0x7000'0000}), GuestAddress{0x10'0000});
  EXPECT_EQ((*table)->guest_address({0x7000'1fff}), GuestAddress{0x10'1fff});
  EXPECT_EQ((*table)->guest_address({0x6000'0fff}), GuestAddress{0xfff});
  EXPECT_FALSE((*table)->guest_address({0x7000'2000}));
  EXPECT_FALSE((*table)->guest_address({0x6fff'ffff}));
  EXPECT_FALSE((*table)->guest_address({0}));
  EXPECT_FALSE((*table)->guest_address({UINT64_MAX}));
}

TEST(GuestMemory, PiecesRunOnIntoAdjacentRegions) {
  const RamFile low(0x1000, 0x1000), middle(0x2000, 0x1000), high(0x3000, 0x1000), apart(0x5000, 0x1000);
  const auto table = make_table({&high, &apart, &low, &middle});
  std::vector<std::pair<std::byte*, std::size_t>> pieces;
  const auto collect = [&](std::span<std::byte> piece) { pieces.emplace_back(piece.data(), piece.size()); };
  ASSERT_TRUE(table->for_each_piece({0x1800}, 0x2000, collect));
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0], std::pair(table->contiguous({0x1800}, 1), std::size_t{0x800}));
  EXPECT_EQ(pieces[1], std::pair(table->contiguous({0x2000}, 1), std::size_t{0x1000}));
  EXPECT_EQ(pieces[2], std::pair(table->contiguous({0x3000}, 1), std::size_t{0x800}));
  EXPECT_EQ(table->contiguous({0x1800}, 0x801), nullptr);

  pieces.clear();
  EXPECT_EQ(table->for_each_piece({0x3800}, 0x2000, collect), Result<>(fail(EFAULT)));
  EXPECT_EQ(pieces.size(), 1u) << "what lies before the gap is visited";
  pieces.clear();
  EXPECT_TRUE(table->for_each_piece({0x9999'0000}, 0, collect));
  EXPECT_TRUE(pieces.empty());
  EXPECT_EQ(table->for_each_piece({0x5fff}, UINT64_MAX, collect), Result<>(fail(EFAULT)));
}

TEST(GuestMemory, AWalkCanEndEarly) {
  const RamFile low(0x1000, 0x1000), high(0x2000, 0x1000);
  const auto table = make_table({&low, &high});
  int calls = 0;
  EXPECT_TRUE(table->for_each_piece({0x1000}, 0x9000, [&](std::span<std::byte>) { return ++calls < 2; }));
  EXPECT_EQ(calls, 2);
}

// Random tables compared with a map of every page.
TEST(GuestMemory, AgreesWithANaiveModel) {
  std::mt19937_64 random(20261122);
  for (int round = 0; round < 60; ++round) {
    constexpr std::uint64_t pages = 64;
    std::array<int, pages> owner{};
    owner.fill(-1);
    std::vector<RegionSpec> specs;
    for (int tries = 0; tries < 24; ++tries) {
      const std::uint64_t start = random() % pages;
      const std::uint64_t count = 1 + random() % std::min<std::uint64_t>(8, pages - start);
      bool vacant = true;
      for (std::uint64_t p = start; p < start + count; ++p) vacant = vacant && owner[p] == -1;
      auto candidate =
          region(start * page_size, 0x1000'0000 + start * page_size, count * page_size, 0, 0x10000);
      if (!vacant) continue;
      for (std::uint64_t p = start; p < start + count; ++p) owner[p] = static_cast<int>(specs.size());
      specs.push_back(std::move(candidate));
    }
    auto table = GuestMemory::create(std::move(specs));
    ASSERT_TRUE(table) << table.error().message;
    for (int query = 0; query < 400; ++query) {
      const std::uint64_t address = random() % (pages * page_size);
      const std::uint64_t length = 1 + random() % (6 * page_size);
      const std::uint64_t first = address / page_size, last = (address + length - 1) / page_size;
      bool one = true, all = true;
      for (std::uint64_t p = first; p <= last; ++p) {
        const int who = p < pages ? owner[p] : -1;
        all = all && who != -1;
        one = one && who != -1 && who == owner[first];
      }
      EXPECT_EQ((*table)->contiguous({address}, length) != nullptr, one);
      std::uint64_t total = 0;
      const auto walked =
          (*table)->for_each_piece({address}, length, [&](std::span<std::byte> p) { total += p.size(); });
      EXPECT_EQ(walked.has_value(), all);
      if (all) {
        EXPECT_EQ(total, length);
      }
    }
  }
}

// Workers race to map a region first, and continue with their table while others replace it.
TEST(GuestMemory, OldTablesServeWhileNewOnesAreInstalled) {
  const RamFile ram(0, 0x4000), other(0x10'0000, 0x1000);
  std::mutex mutex;
  std::shared_ptr<const GuestMemory> current = make_table({&ram});
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> reads = 0;
  std::vector<std::thread> workers;
  for (int i = 0; i < 3; ++i) {
    workers.emplace_back([&, i] {
      // A worker that starts late still takes one turn.
      do {
        std::shared_ptr<const GuestMemory> mine;
        {
          const std::lock_guard lock(mutex);
          mine = current;
        }
        for (int round = 0; round < 20; ++round) {
          std::byte* const data = mine->contiguous({0x1000u * static_cast<unsigned>(i)}, 0x1000);
          if (data == nullptr) std::abort();
          data[round] = std::byte{1};
          reads.fetch_add(1);
        }
      } while (!stop.load());
    });
  }
  for (int i = 0; i < 200 || reads.load() < 1000; ++i) {
    std::shared_ptr<const GuestMemory> next;
    if (i % 3 == 0) {
      next = make_table({&ram});
    } else {
      std::shared_ptr<const GuestMemory> base;
      {
        const std::lock_guard lock(mutex);
        base = current;
      }
      auto changed = base->region_count() == 1
                         ? base->with(other.spec())
                         : base->without({other.guest()}, other.size(), {other.frontend()});
      ASSERT_TRUE(changed) << changed.error().message;
      next = *changed;
    }
    const std::lock_guard lock(mutex);
    current = std::move(next);
  }
  stop.store(true);
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(ram.data()[0], std::byte{1});
}

TEST(GuestMemory, ThreadsThatMapAtOnceGetOneMapping) {
  for (int round = 0; round < 50; ++round) {
    const RamFile ram(0, 0x1000);
    const auto table = make_table({&ram});
    std::array<std::byte*, 4> seen{};
    std::atomic<int> ready = 0;
    std::vector<std::thread> threads;
    for (auto& slot : seen) {
      threads.emplace_back([&] {
        ready.fetch_add(1);
        while (ready.load() < 4) {
        }
        slot = table->contiguous({0}, 1);
      });
    }
    for (auto& thread : threads) thread.join();
    for (std::byte* const data : seen) EXPECT_EQ(data, seen[0]);
    EXPECT_NE(seen[0], nullptr);
    EXPECT_EQ(mappings_of(ram.fd()), 2) << "that of the region and our own";
  }
}

}  // namespace
}  // namespace vumedia::memory::test
