// The buffers of a queue by their index, on their own: holes, memory that ends, offsets and mappings.
#include <array>
#include <cerrno>
#include <cstdint>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_slots.hpp>

namespace vumedia::v4l2::test {
namespace slots {
namespace {

inline constexpr std::array<std::uint32_t, 2> kSizes{5000, 100};

int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

struct Slots : testing::Test {
  std::uint32_t allocate(std::uint32_t first, std::uint32_t count, std::uint32_t memory = V4L2_MEMORY_MMAP) {
    return slots.allocate({first, count}, memory, kSizes, arenas);
  }

  memory::Arenas arenas;
  BufferSlots slots{8, 0x10000};
};

TEST_F(Slots, BeginEmpty) {
  EXPECT_EQ(slots.capacity(), 8U);
  EXPECT_EQ(slots.count(), 0U);
  EXPECT_EQ(slots.memory(), 0U);
  for (const std::uint32_t index : {0U, 7U, 8U, UINT32_MAX}) EXPECT_EQ(slots.find(index), nullptr);
  EXPECT_FALSE(slots.mappable(0x10000));
}

TEST_F(Slots, HaveTheSizesThatWereAskedFor) {
  ASSERT_EQ(allocate(2, 3), 3U);
  EXPECT_EQ(slots.count(), 3U);
  EXPECT_EQ(slots.memory(), unsigned{V4L2_MEMORY_MMAP});
  EXPECT_EQ(slots.find(1), nullptr);
  const BufferSlot& slot = slots[4];
  EXPECT_EQ(slots.find(4), &slot);
  EXPECT_EQ(slot.state, BufferState::dequeued);
  ASSERT_EQ(slot.plane_count, 2U);
  EXPECT_EQ(slot.planes[0].bytes().size(), 5000U);
  EXPECT_EQ(slot.planes[1].min_length, 100U);
  EXPECT_NE(slot.planes[0].owner(), slot.planes[1].owner());
}

TEST_F(Slots, OfTheGuestsMemoryTakeNoneOfOurs) {
  ASSERT_EQ(allocate(0, 8, V4L2_MEMORY_USERPTR), 8U);
  EXPECT_EQ(arenas.used_bytes(), 0U);
  EXPECT_EQ(slots.memory(), unsigned{V4L2_MEMORY_USERPTR});
  EXPECT_FALSE(slots.mappable(0x10000)) << "the guest has it already";
  EXPECT_EQ(slots.range_count(), 0U) << "none is mapped";
}

TEST_F(Slots, AsManyAsThereIsMemoryFor) {
  memory::Arenas small({.arena_size = 4 * page_size, .total_bytes = 7 * page_size});
  // Three pages each, of an arena of four and one of what is left.
  EXPECT_EQ(slots.allocate({0, 8}, V4L2_MEMORY_MMAP, kSizes, small), 2U);
  EXPECT_EQ(slots.count(), 2U);
  EXPECT_EQ(slots.allocate({2, 6}, V4L2_MEMORY_MMAP, kSizes, small), 0U);
  EXPECT_EQ(slots.memory(), unsigned{V4L2_MEMORY_MMAP}) << "there still are some";
  slots.free_all();
  memory::Arenas none({.arena_size = page_size, .total_bytes = 0});
  EXPECT_EQ(slots.allocate({0, 8}, V4L2_MEMORY_MMAP, kSizes, none), 0U);
  EXPECT_EQ(slots.memory(), 0U) << "the next may be of another kind";
}

TEST_F(Slots, TheFirstHoleThatIsLargeEnough) {
  const auto hole = [this](std::uint32_t wanted) {
    const auto found = slots.find_hole(wanted);
    return found ? std::pair{found->first, found->count} : std::pair{99U, 99U};
  };
  EXPECT_EQ(hole(8), std::pair(0U, 8U));
  EXPECT_EQ(hole(100), std::pair(0U, 8U));
  ASSERT_EQ(allocate(2, 1), 1U);
  ASSERT_EQ(allocate(6, 1), 1U);
  // Free: 0 1 - 3 4 5 - 7.
  EXPECT_EQ(hole(1), std::pair(0U, 1U));
  EXPECT_EQ(hole(3), std::pair(3U, 3U));
  EXPECT_EQ(hole(4), std::pair(3U, 3U)) << "or the largest";
  EXPECT_EQ(hole(0), std::pair(99U, 99U));
  ASSERT_EQ(allocate(0, 2) + allocate(3, 3) + allocate(7, 1), 6U);
  EXPECT_EQ(hole(1), std::pair(99U, 99U));
}

TEST_F(Slots, AreFreedOneByOneOrTogether) {
  ASSERT_EQ(allocate(0, 4), 4U);
  EXPECT_EQ(code(slots.may_free(0, 4)), 0);
  EXPECT_EQ(code(slots.may_free(0, 5)), EINVAL) << "more than there are";
  EXPECT_EQ(code(slots.may_free(2, 3)), EINVAL) << "one does not exist";
  EXPECT_EQ(code(slots.may_free(UINT32_MAX, 2)), EINVAL);
  EXPECT_EQ(code(slots.may_free(7, 2)), EINVAL);
  slots[1].state = BufferState::prepared;
  EXPECT_EQ(code(slots.may_free(0, 4)), 0) << "the guest's still";
  for (const auto state : {BufferState::queued, BufferState::active}) {
    slots[1].state = state;
    EXPECT_EQ(code(slots.may_free(0, 4)), EBUSY);
    EXPECT_EQ(code(slots.may_free(2, 2)), 0) << "not one of these";
  }
  slots.dequeue_all();
  EXPECT_EQ(slots[1].state, BufferState::dequeued);
  slots.free(1, 2);
  EXPECT_EQ(slots.count(), 2U);
  slots.free(0, 2);
  EXPECT_EQ(slots.count(), 1U) << "one of them was gone";
  slots.free_all();
  EXPECT_EQ(slots.count(), 0U);
  EXPECT_EQ(slots.memory(), 0U);
  EXPECT_EQ(arenas.used_bytes(), 0U);
}

TEST_F(Slots, EachPlaneHasAnOffset) {
  ASSERT_EQ(allocate(0, 8), 8U);
  for (std::uint32_t index = 0; index < 8; ++index) {
    for (std::uint32_t p = 0; p < 2; ++p) {
      const std::uint32_t offset = slots.mem_offset(index, p);
      EXPECT_EQ(offset % page_size, 0U);
      EXPECT_LT(offset - 0x10000, BufferSlots::mem_offset_span);
      const auto mapped = slots.mappable(offset);
      ASSERT_TRUE(mapped);
      EXPECT_EQ(mapped->length, kSizes[p]);
      EXPECT_EQ(mapped->block->data(), slots[index].planes[p].bytes().data());
      EXPECT_FALSE(slots.mappable(offset + 1));
    }
    EXPECT_FALSE(slots.mappable(slots.mem_offset(index, 2))) << "a plane that is not there";
  }
  EXPECT_FALSE(slots.mappable(0)) << "before the first";
  EXPECT_FALSE(slots.mappable(slots.mem_offset(8, 0))) << "after the last";
  EXPECT_FALSE(slots.mappable(UINT32_MAX & ~std::uint32_t{page_size - 1}));
}

// A queue flags what is mapped; what else holds the memory does not count.
TEST_F(Slots, AMappingIsTheSameWhileItLives) {
  ASSERT_EQ(allocate(0, 1), 1U);
  const auto worker = slots[0].planes[0].block;
  EXPECT_TRUE(slots[0].planes[0].mapped.expired());
  auto first = slots.mappable(0x10000);
  auto second = slots.mappable(0x10000);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->block, second->block);
  EXPECT_FALSE(slots[0].planes[0].mapped.expired());
  first = fail(EIO);
  EXPECT_FALSE(slots[0].planes[0].mapped.expired());
  slots.free_all();
  EXPECT_EQ(second->block->size(), 2 * page_size) << "and outlives the buffer";
  EXPECT_GT(arenas.used_bytes(), 0U);
}

TEST_F(Slots, WaitForMemoryOnlyIfCleaningWouldGiveSome) {
  EXPECT_FALSE(must_wait_for_memory(8, kSizes, arenas)) << "nothing is dirty";
  struct Loop {
    bool dirty = false;
  } loop;
  memory::Arenas small({.arena_size = 64 * page_size, .total_bytes = 64 * page_size});
  small.clean_later([](void* owner) noexcept { static_cast<Loop*>(owner)->dirty = true; }, &loop);
  ASSERT_EQ(slots.allocate({0, 8}, V4L2_MEMORY_MMAP, kSizes, small), 8U);
  slots.free_all();
  EXPECT_TRUE(loop.dirty);
  EXPECT_TRUE(must_wait_for_memory(8, kSizes, small));
  EXPECT_FALSE(must_wait_for_memory(1, kSizes, small)) << "there is more than enough";
  memory::Work work;
  work.begin(INT64_MAX);
  EXPECT_FALSE(small.clean(work));
  EXPECT_FALSE(must_wait_for_memory(8, kSizes, small));
}

}  // namespace
}  // namespace slots
}  // namespace vumedia::v4l2::test
