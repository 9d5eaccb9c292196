#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <vumedia/memory/arena.hpp>

namespace vumedia::memory::test {
namespace {

constexpr std::uint64_t mib = 1 << 20;

bool all_are(std::span<const std::byte> bytes, std::byte value) {
  // Each byte equals its neighbour: memcmp is fast even under sanitizers, a loop is not.
  return bytes.empty() ||
         (bytes[0] == value && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}
bool all_zero(std::span<const std::byte> bytes) {
  return all_are(bytes, std::byte{0});
}

// Bytes of memory that the file behind `fd` takes.
std::uint64_t memory_of(int fd) {
  struct stat status{};
  EXPECT_EQ(::fstat(fd, &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

std::shared_ptr<Block> must(Result<std::shared_ptr<Block>> block) {
  EXPECT_TRUE(block) << (block ? 0 : block.error().value);
  return block ? std::move(*block) : nullptr;
}

TEST(Arenas, BlocksShareOneSealedFile) {
  Arenas arenas;
  EXPECT_EQ(arenas.arena_count(), 0u) << "nothing is made before it is needed";
  const auto first = must(arenas.allocate(1));
  const auto second = must(arenas.allocate(page_size + 1));
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->size(), page_size);
  EXPECT_EQ(second->size(), 2 * page_size);
  EXPECT_EQ(first->arena(), second->arena());
  EXPECT_EQ(first->fd(), second->fd());
  EXPECT_EQ(first->fd_offset(), 0u);
  EXPECT_EQ(second->fd_offset(), page_size);
  EXPECT_EQ(second->data(), first->data() + page_size);
  EXPECT_EQ(first->arena()->size(), 64 * mib);
  EXPECT_EQ(arenas.used_bytes(), 3 * page_size);
  EXPECT_EQ(arenas.total_bytes(), 64 * mib);
  const int seals = ::fcntl(first->fd(), F_GET_SEALS);
  EXPECT_EQ(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

TEST(Arenas, WhatElseIsHeldIsOfTheSameAccount) {
  Arenas arenas({.arena_size = 4 * page_size, .total_bytes = 4 * page_size});
  auto block = must(arenas.allocate(page_size));
  EXPECT_EQ(arenas.budget()->used(), page_size);
  auto share = Share::take(arenas.budget(), 2 * page_size + 1);
  ASSERT_TRUE(share);
  EXPECT_EQ(arenas.allocate(page_size).error().value, ENOMEM) << "there is room in the arena, but not for it";
  EXPECT_EQ(Share::take(arenas.budget(), page_size).error().value, ENOMEM);
  *share = {};
  const auto other = must(arenas.allocate(2 * page_size));
  EXPECT_EQ(Share::take(arenas.budget(), page_size + 1).error().value, ENOMEM);
  block.reset();
  EXPECT_EQ(arenas.budget()->used(), 2 * page_size);
}

TEST(Arenas, APartOfTheUsersHasAnAccountOfItsOwn) {
  Arenas arenas({.arena_size = 4 * page_size, .total_bytes = 4 * page_size});
  const auto budget = std::make_shared<Budget>(2 * page_size, arenas.budget());
  std::shared_ptr<Block> block;
  {
    Arenas part = arenas.within(budget);
    block = must(part.allocate(2 * page_size));
    EXPECT_EQ(part.allocate(1).error().value, ENOMEM);
    EXPECT_EQ(part.arena_count(), 1u);
  }
  EXPECT_EQ(budget->used(), 2 * page_size);
  const auto others = must(arenas.allocate(2 * page_size));
  EXPECT_EQ(others->arena(), block->arena());
  block.reset();
  EXPECT_EQ(budget->used(), 0u);
  EXPECT_EQ(arenas.budget()->used(), 2 * page_size);
}

// What is kept for a loop to clean, it can clean without its arenas, or at once.
TEST(Arenas, LeaveWhatTheyHaveKept) {
  for (const bool at_once : {false, true}) {
    Arenas arenas({.arena_size = 64 * page_size, .total_bytes = 64 * page_size});
    int dirtied = 0;
    arenas.clean_later([](void* count) noexcept { ++*static_cast<int*>(count); }, &dirtied);
    auto block = must(arenas.allocate(16 * page_size));
    const auto keeper = must(arenas.allocate(page_size));
    std::memset(block->data(), 0x7e, block->size());
    const std::span<std::byte> place = block->bytes();
    block.reset();
    auto held = std::make_shared<int>(7);
    const std::weak_ptr<int> watch = held;
    arenas.discard(std::move(held), 8 * page_size);
    EXPECT_TRUE(arenas.dirty());
    EXPECT_EQ(dirtied, 1);
    {
      Arenas::Leavings leavings = arenas.leave();
      EXPECT_FALSE(arenas.dirty());
      EXPECT_FALSE(leavings.empty());
      EXPECT_FALSE(watch.expired());
      EXPECT_EQ(arenas.budget()->used(), 17 * page_size);
      Work work;
      int calls = 1;
      for (work.begin(8 * Work::cleared_page); !at_once && leavings.clean(work); ++calls)
        work.begin(8 * Work::cleared_page);
      if (!at_once) {
        EXPECT_EQ(calls, 3) << "what was discarded, and two halves";
        EXPECT_TRUE(leavings.empty());
      }
    }
    EXPECT_TRUE(watch.expired());
    EXPECT_EQ(arenas.budget()->used(), page_size);
    EXPECT_TRUE(all_zero(place));
    // Nothing is kept any more.
    must(arenas.allocate(page_size)).reset();
    EXPECT_FALSE(arenas.dirty());
    EXPECT_EQ(dirtied, 1);
  }
}

TEST(Arenas, WhatIsWrittenIsInTheFile) {
  Arenas arenas;
  const auto before = must(arenas.allocate(page_size));
  const auto block = must(arenas.allocate(page_size));
  ASSERT_TRUE(before && block);
  auto other = Mapping::map(block->fd(), block->fd_offset(), block->size());
  ASSERT_TRUE(other);
  std::memset(block->data(), 0x7e, block->size());
  EXPECT_EQ(other->data()[page_size - 1], std::byte{0x7e});
  EXPECT_TRUE(all_zero(before->bytes()));
}

TEST(Arenas, FreedPlacesReadAsZerosAndGiveTheirMemoryBack) {
  Arenas arenas;
  const auto keeper = must(arenas.allocate(page_size));
  auto block = must(arenas.allocate(mib));
  ASSERT_TRUE(keeper && block);
  const std::uint64_t offset = block->fd_offset();
  std::memset(block->data(), 0xff, block->size());
  EXPECT_GE(memory_of(keeper->fd()), mib);
  const std::byte* const old = block->data();
  block.reset();
  EXPECT_LT(memory_of(keeper->fd()), mib);
  EXPECT_TRUE(all_zero({old, mib})) << "a guest that still maps the arena sees zeros too";
  const auto again = must(arenas.allocate(mib));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->fd_offset(), offset);
  EXPECT_TRUE(all_zero(again->bytes()));
}

TEST(Arenas, GrowsByArenasUpToTheTotal) {
  Arenas arenas({.arena_size = 4 * mib, .total_bytes = 10 * mib});
  std::vector<std::shared_ptr<Block>> blocks;
  for (int i = 0; i < 4; ++i) blocks.push_back(must(arenas.allocate(2 * mib)));
  EXPECT_EQ(arenas.arena_count(), 2u);
  EXPECT_NE(blocks[0]->arena()->id(), blocks[2]->arena()->id());
  blocks.push_back(must(arenas.allocate(mib)));
  EXPECT_EQ(blocks.back()->arena()->size(), 2 * mib) << "what the total leaves";
  EXPECT_EQ(arenas.allocate(2 * mib).error(), Errno{ENOMEM});
  blocks.push_back(must(arenas.allocate(mib)));
  EXPECT_EQ(arenas.allocate(1).error(), Errno{ENOMEM});
  EXPECT_EQ(arenas.used_bytes(), 10 * mib);
  blocks[1].reset();
  blocks[1] = must(arenas.allocate(2 * mib));
  EXPECT_EQ(blocks[1]->arena(), blocks[0]->arena());
}

TEST(Arenas, LargeBlocksHaveAnArenaOfTheirOwn) {
  Arenas arenas({.arena_size = mib, .total_bytes = 8 * mib});
  const auto small = must(arenas.allocate(page_size));
  auto large = must(arenas.allocate(3 * mib + 1));
  ASSERT_TRUE(small && large);
  EXPECT_NE(small->arena(), large->arena());
  EXPECT_EQ(large->arena()->size(), 3 * mib + page_size);
  EXPECT_EQ(large->fd_offset(), 0u);
  EXPECT_EQ(arenas.allocate(5 * mib).error(), Errno{ENOMEM});
  large.reset();
  EXPECT_TRUE(must(arenas.allocate(5 * mib)));
}

TEST(Arenas, RefusesWhatIsNoRequest) {
  Arenas arenas;
  EXPECT_EQ(arenas.allocate(0).error(), Errno{EINVAL});
  EXPECT_EQ(arenas.allocate(UINT64_MAX).error(), Errno{ENOMEM});
  EXPECT_EQ(arenas.allocate(std::uint64_t{1} << 40).error(), Errno{ENOMEM});
  Arenas none({.arena_size = mib, .total_bytes = 0});
  EXPECT_EQ(none.allocate(1).error(), Errno{ENOMEM});
  EXPECT_EQ(arenas.arena_count(), 0u);
}

TEST(Arenas, AnArenaLivesAsLongAsABlockOrAHolder) {
  Arenas arenas({.arena_size = mib, .total_bytes = 4 * mib});
  auto block = must(arenas.allocate(page_size));
  ASSERT_TRUE(block);
  std::shared_ptr<Arena> holder = block->arena();
  const std::uint64_t id = holder->id();
  block.reset();
  EXPECT_EQ(arenas.arena_count(), 1u);
  block = must(arenas.allocate(page_size));
  EXPECT_EQ(block->arena()->id(), id) << "the mapped arena is used again";
  holder.reset();
  EXPECT_EQ(arenas.arena_count(), 1u);
  block.reset();
  EXPECT_EQ(arenas.arena_count(), 0u);
  EXPECT_EQ(arenas.total_bytes(), 0u);
  block = must(arenas.allocate(page_size));
  EXPECT_NE(block->arena()->id(), id) << "ids are not used again";
}

TEST(Arenas, BlocksMayOutliveThem) {
  std::shared_ptr<Block> block;
  {
    Arenas arenas;
    block = must(arenas.allocate(page_size));
  }
  ASSERT_TRUE(block);
  std::memset(block->data(), 1, block->size());
  block.reset();
}

TEST(Arenas, RandomUseNeverOverlapsAndNeverLeaks) {
  Arenas arenas({.arena_size = 2 * mib, .total_bytes = 12 * mib});
  std::mt19937_64 random(7);
  struct Held {
    std::shared_ptr<Block> block;
    std::byte mark;
  };
  std::vector<Held> held;
  std::uint64_t used = 0;
  for (int step = 0; step < 1500; ++step) {
    if (random() % 2 == 0 || held.empty()) {
      auto block = arenas.allocate(1 + random() % (random() % 10 == 0 ? 3 * mib : 300'000));
      if (!block) {
        ASSERT_EQ(block.error(), Errno{ENOMEM});
        ASSERT_FALSE(held.empty());
        continue;
      }
      ASSERT_TRUE(all_zero((*block)->bytes()));
      const std::byte mark{static_cast<unsigned char>(1 + random() % 255)};
      std::memset((*block)->data(), std::to_integer<int>(mark), (*block)->size());
      used += (*block)->size();
      held.push_back({std::move(*block), mark});
    } else {
      const std::size_t i = random() % held.size();
      const auto bytes = held[i].block->bytes();
      ASSERT_TRUE(all_are(bytes, held[i].mark));
      used -= bytes.size();
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
    }
    ASSERT_EQ(arenas.used_bytes(), used);
    ASSERT_LE(arenas.total_bytes(), 12 * mib);
  }
  held.clear();
  EXPECT_EQ(arenas.total_bytes(), 0u);
}

TEST(Arenas, ThreadsAllocateAndReleaseAtOnce) {
  Arenas arenas({.arena_size = 64 * page_size, .total_bytes = 1024 * page_size});
  std::vector<std::thread> threads;
  for (unsigned t = 1; t <= 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<std::shared_ptr<Block>> mine;
      for (int step = 0; step < 300; ++step) {
        if (auto block = arenas.allocate((1 + random() % 20) * page_size)) {
          if (!all_zero((*block)->bytes())) std::abort();
          std::memset((*block)->data(), static_cast<int>(t), (*block)->size());
          mine.push_back(std::move(*block));
        }
        if (mine.size() > 4) mine.erase(mine.begin() + random() % 5);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(arenas.total_bytes(), 0u);
  EXPECT_EQ(arenas.used_bytes(), 0u);
}

}  // namespace
}  // namespace vumedia::memory::test
