// The parts of arenas on their own: the list of files, a file's places, and what is left to be cleaned.
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/memory/arena_file.hpp>
#include <vumedia/memory/leavings.hpp>

namespace vumedia::memory::arena_parts_test {
namespace {

class Files : public testing::Test {
 protected:
  // Takes from the arenas as far as they have room.
  Result<std::shared_ptr<Arena>> take(std::uint64_t size, ShmOffset& place) {
    return list_->find_or_make(
        size,
        [&](Arena& arena) {
          const auto found = arena.take(size);
          if (found) place = *found;
          return found.has_value();
        },
        [this](std::uint64_t bytes, std::uint64_t id) { return Arena::create(list_, bytes, id); });
  }

  std::shared_ptr<ArenaList> list_ =
      std::make_shared<ArenaList>(ArenaList::Limits{4 * page_size, 10 * page_size});
};

TEST_F(Files, AreMadeWhenTheOldOnesHaveNoRoom) {
  ShmOffset place;
  const auto first = take(3 * page_size, place);
  ASSERT_TRUE(first);
  EXPECT_EQ((*first)->size(), 4 * page_size);
  EXPECT_EQ(place.value, 0u);
  const auto second = take(2 * page_size, place);
  ASSERT_TRUE(second);
  EXPECT_NE(*second, *first);
  EXPECT_GT((*second)->id(), (*first)->id());
  // The oldest one that has room.
  const auto third = take(page_size, place);
  ASSERT_TRUE(third);
  EXPECT_EQ(*third, *first);
  EXPECT_EQ(place.value, 3 * page_size);
  EXPECT_EQ(list_->used(), 6 * page_size);
  EXPECT_EQ(list_->total(), 8 * page_size);
  EXPECT_EQ(take(3 * page_size, place).error().value, ENOMEM) << "2 pages of the total are left";
  EXPECT_EQ(list_->count(), 2u);
}

TEST_F(Files, LeaveTheListAsTheyEnd) {
  ShmOffset place;
  {
    const auto arena = take(page_size, place);
    ASSERT_TRUE(arena);
    EXPECT_EQ(list_->count(), 1u);
    (*arena)->give_back(place, page_size, true);
  }
  EXPECT_EQ(list_->count(), 0u);
  EXPECT_EQ(list_->total(), 0u);
  EXPECT_EQ(list_->used(), 0u);
}

TEST_F(Files, DoNotGiveAPlaceOutAgainThatMayHoldOldContent) {
  ShmOffset first, second;
  const auto arena = take(2 * page_size, first);
  ASSERT_TRUE(arena);
  std::memset((*arena)->data(), 0x5a, 2 * page_size);
  EXPECT_TRUE((*arena)->clear(0, 2 * page_size));
  EXPECT_EQ((*arena)->data()[page_size], std::byte{0});
  (*arena)->give_back(first, 2 * page_size, false);
  EXPECT_EQ(list_->used(), 0u);
  const auto again = take(2 * page_size, second);
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *arena);
  EXPECT_NE(second, first);
}

TEST_F(Files, AreClearedInStepsOfTheirRemains) {
  ShmOffset place;
  const auto arena = take(4 * page_size, place);
  ASSERT_TRUE(arena);
  std::memset((*arena)->data(), 0x5a, 4 * page_size);
  const auto budget = std::make_shared<Budget>(4 * page_size);
  BlockRemains remains(*arena, place, std::move(*Share::take(budget, 4 * page_size)));
  EXPECT_EQ(remains.pages_left(), 4u);
  EXPECT_FALSE(remains.clear(1));
  EXPECT_EQ((*arena)->data()[0], std::byte{0});
  EXPECT_EQ((*arena)->data()[page_size], std::byte{0x5a});
  EXPECT_EQ(list_->used(), 4 * page_size) << "until it is done";
  EXPECT_FALSE(remains.clear(2));
  EXPECT_TRUE(remains.clear(5));
  EXPECT_EQ(list_->used(), 0u);
  EXPECT_EQ((*arena)->data()[4 * page_size - 1], std::byte{0});
}

TEST_F(Files, AreCleanedAtTheLatestWithTheirLeavings) {
  ShmOffset place;
  const auto arena = take(4 * page_size, place);
  ASSERT_TRUE(arena);
  const auto budget = std::make_shared<Budget>(4 * page_size);
  {
    Leavings leavings;
    EXPECT_TRUE(leavings.empty());
    leavings.add(BlockRemains(*arena, place, std::move(*Share::take(budget, 4 * page_size))));
    EXPECT_FALSE(leavings.empty());
    Work none;
    none.begin(0);
    EXPECT_TRUE(leavings.clean(none));
    EXPECT_EQ(list_->used(), 4 * page_size);
  }
  EXPECT_EQ(list_->used(), 0u);
  EXPECT_EQ(budget->used(), 0u);
}

TEST(Cleaner, KeepsOnTheThreadOfItsLoopOnly) {
  Cleaner cleaner;
  EXPECT_FALSE(cleaner.keeps()) << "there is no loop yet";
  int told = 0;
  cleaner.begin([](void* owner) noexcept { ++*static_cast<int*>(owner); }, &told);
  EXPECT_TRUE(cleaner.keeps());
  std::thread([&] { EXPECT_FALSE(cleaner.keeps()); }).join();
  auto memory = std::make_shared<int>(1);
  const std::weak_ptr<int> alive = memory;
  cleaner.keep(std::shared_ptr<const void>(std::move(memory)), std::size_t{page_size});
  cleaner.keep(std::shared_ptr<const void>(std::make_shared<int>(2)), std::size_t{page_size});
  EXPECT_EQ(told, 1) << "once for as long as it is dirty";
  EXPECT_TRUE(cleaner.dirty());
  EXPECT_FALSE(alive.expired());
  Work work;
  work.begin(INT64_MAX);
  EXPECT_FALSE(cleaner.clean(work));
  EXPECT_FALSE(cleaner.dirty());
  EXPECT_TRUE(alive.expired());
  EXPECT_TRUE(cleaner.end().empty());
  EXPECT_FALSE(cleaner.keeps());
}

}  // namespace
}  // namespace vumedia::memory::arena_parts_test
