#include <array>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/virtio/queue.hpp>

#include "support/raw_ring.hpp"

namespace vumedia::virtio::test {
namespace {

using memory::GuestAddress;
using memory::GuestMemory;
using vumedia::test::make_table;
using vumedia::test::RamFile;
using vumedia::test::RawRing;

constexpr std::uint16_t next = desc_f_next, write = desc_f_write, indirect = desc_f_indirect;

// A queue of eight in 1 MiB of memory at 1 MiB; buffers from 0x11'0000 on.
class QueueTest : public testing::Test {
 protected:
  static constexpr std::uint16_t queue_size = 8;
  static constexpr std::uint64_t buffers = 0x11'0000;

  void start(bool event_idx = false) {
    ring_.configure(queue_);
    queue_.set_event_idx(event_idx);
    ASSERT_TRUE(queue_.start(*table_));
  }
  PopResult pop() { return queue_.pop(*table_); }
  // Makes a chain with `descriptors` at places 0, 1, ... available and returns what the device finds.
  ChainError error_of(const std::vector<Descriptor>& descriptors, std::uint16_t head = 0) {
    for (std::size_t i = 0; i < descriptors.size(); ++i) ring_.set(i, descriptors[i]);
    ring_.offer(head);
    const auto result = pop();
    EXPECT_EQ(result.chain == nullptr, result.failed());
    if (result.failed()) {
      EXPECT_EQ(queue_.in_flight(), 0u);
      EXPECT_EQ(queue_.base(), base_) << "a broken chain is not taken";
    }
    return result.error;
  }
  // Puts an indirect table at `at`, and a reference to it into descriptor 0.
  void set_table(std::uint64_t at, const std::vector<Descriptor>& descriptors, std::uint16_t flags = 0) {
    std::memcpy(ram_.data() + (at - ram_.guest()), descriptors.data(),
                descriptors.size() * sizeof(Descriptor));
    ring_.set(0, {at, static_cast<std::uint32_t>(descriptors.size() * sizeof(Descriptor)),
                  static_cast<std::uint16_t>(indirect | flags), 0});
  }
  ChainError error_of_table(const std::vector<Descriptor>& descriptors, std::uint16_t flags = 0) {
    set_table(buffers, descriptors, flags);
    ring_.offer(0);
    return pop().error;
  }

  RamFile ram_{0x10'0000, 0x10'0000};
  std::shared_ptr<const GuestMemory> table_ = make_table({&ram_});
  RawRing ring_{ram_, 0x10'0000, queue_size};
  Queue queue_;
  std::uint16_t base_ = 0;
};

TEST_F(QueueTest, SizesArePowersOfTwo) {
  for (const std::uint32_t good : {1u, 2u, 256u, 32768u}) EXPECT_TRUE(queue_.set_size(good)) << good;
  for (const std::uint32_t bad : {0u, 3u, 255u, 32769u, 65536u, 0xffff'ffffu})
    EXPECT_EQ(queue_.set_size(bad), Result<>(fail(EINVAL))) << bad;
  EXPECT_EQ(queue_.size(), 32768u);
}

TEST_F(QueueTest, StartWantsASize) {
  EXPECT_EQ(queue_.start(*table_), Result<>(fail(EINVAL)));
  EXPECT_FALSE(queue_.started());
}

TEST_F(QueueTest, StartWantsAlignedRings) {
  ASSERT_TRUE(queue_.set_size(8));
  const std::array<std::array<std::uint64_t, 3>, 3> bad{{{0x10'0008, 0x10'1000, 0x10'2000},
                                                         {0x10'0000, 0x10'1001, 0x10'2000},
                                                         {0x10'0000, 0x10'1000, 0x10'2002}}};
  for (const auto& [descriptors, available, used] : bad) {
    queue_.set_addresses({descriptors}, {available}, {used});
    EXPECT_EQ(queue_.start(*table_), Result<>(fail(EINVAL)));
  }
}

TEST_F(QueueTest, StartWantsRingsInMemory) {
  ASSERT_TRUE(queue_.set_size(8));
  const std::uint64_t good = 0x10'0000, end = 0x20'0000;
  const std::array<std::array<std::uint64_t, 3>, 4> bad{{{end - 112, good, good},
                                                         {good, end - 20, good},
                                                         {good, good, end - 68},
                                                         {0xffff'ffff'ffff'fff0, good, good}}};
  for (const auto& [descriptors, available, used] : bad) {
    queue_.set_addresses({descriptors}, {available}, {used});
    EXPECT_EQ(queue_.start(*table_), Result<>(fail(EFAULT)));
    EXPECT_FALSE(queue_.started());
  }
  queue_.set_addresses({end - 128}, {end - 22}, {end - 72});
  EXPECT_TRUE(queue_.start(*table_)) << "up to the last byte is fine";
}

TEST_F(QueueTest, StartWantsARingThatIsAlignedHereToo) {
  const RamFile file(0x40'0000, 0x10000);
  auto spec = file.spec();
  spec.file_offset = 1;
  spec.size -= 1;
  std::vector<memory::RegionSpec> specs;
  specs.push_back(std::move(spec));
  auto table = GuestMemory::create(std::move(specs));
  ASSERT_TRUE(table);
  ASSERT_TRUE(queue_.set_size(8));
  queue_.set_addresses({0x40'0000}, {0x40'1000}, {0x40'2000});
  EXPECT_EQ(queue_.start(**table), Result<>(fail(EINVAL)));
}

TEST_F(QueueTest, StartsOnce) {
  start();
  EXPECT_EQ(queue_.start(*table_), Result<>(fail(EBUSY)));
}

TEST_F(QueueTest, AStoppedQueueDoesNothing) {
  ring_.configure(queue_);
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.offer(0);
  EXPECT_TRUE(pop().empty());
  EXPECT_EQ(queue_.push(*table_, 0, 0), Result<>(fail(EINVAL)));
  EXPECT_FALSE(queue_.flush(*table_));
  EXPECT_FALSE(queue_.enable_notifications(*table_));
  queue_.disable_notifications(*table_);
  queue_.reset_in_flight();
  EXPECT_FALSE(queue_.undo_pop());
  EXPECT_FALSE(queue_.is_in_flight(0));
  queue_.stop();
}

TEST_F(QueueTest, PopsInOrderAndPushesInAnyOrder) {
  start();
  EXPECT_TRUE(pop().empty());
  ring_.set(3, {buffers, 16, next, 5});
  ring_.set(5, {buffers + 0x100, 32, write, 0});
  ring_.set(1, {buffers + 0x200, 8, 0, 0});
  ring_.offer(3);
  ring_.offer(1);
  std::memset(ram_.data() + 0x1'0000, 0xab, 16);

  auto first = pop();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->head(), 3);
  ASSERT_EQ(first->readable().size(), 1u);
  ASSERT_EQ(first->writable().size(), 1u);
  EXPECT_EQ(first->readable_size(), 16u);
  EXPECT_EQ(first->writable_size(), 32u);
  EXPECT_EQ(first->reader().read<std::uint32_t>(), 0xabababab);
  auto writer = first->writer();
  EXPECT_TRUE(writer.write(std::uint64_t{0x1234}));
  EXPECT_EQ(ram_.data()[0x1'0100], std::byte{0x34});

  auto second = pop();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->head(), 1);
  EXPECT_TRUE(second->writable().empty());
  EXPECT_EQ(queue_.in_flight(), 2u);
  EXPECT_EQ(queue_.base(), 2);
  EXPECT_TRUE(pop().empty());

  EXPECT_TRUE(queue_.push(*table_, 1, 0));
  EXPECT_TRUE(queue_.push(*table_, 3, 8));
  EXPECT_EQ(ring_.used_index(), 0) << "not before the flush";
  EXPECT_TRUE(queue_.flush(*table_));
  EXPECT_EQ(ring_.used_index(), 2);
  EXPECT_EQ(ring_.used(0).id, 1u);
  EXPECT_EQ(ring_.used(1).id, 3u);
  EXPECT_EQ(ring_.used(1).length, 8u);
  EXPECT_EQ(queue_.in_flight(), 0u);
  EXPECT_FALSE(queue_.flush(*table_)) << "nothing new";
}

TEST_F(QueueTest, AChainIsCompletedOnce) {
  start();
  ring_.set(2, {buffers, 16, 0, 0});
  ring_.offer(2);
  ASSERT_TRUE(pop());
  EXPECT_TRUE(queue_.is_in_flight(2));
  EXPECT_EQ(queue_.push(*table_, 1, 0), Result<>(fail(EINVAL)));
  EXPECT_EQ(queue_.push(*table_, 8, 0), Result<>(fail(EINVAL)));
  EXPECT_EQ(queue_.push(*table_, 65535, 0), Result<>(fail(EINVAL)));
  EXPECT_TRUE(queue_.push(*table_, 2, 0));
  EXPECT_EQ(queue_.push(*table_, 2, 0), Result<>(fail(EINVAL)));
  EXPECT_EQ(queue_.in_flight(), 0u);
}

TEST_F(QueueTest, IndicesWrap) {
  ring_.configure(queue_);
  ring_.set_indices(65530);
  queue_.set_base(65530);
  ASSERT_TRUE(queue_.start(*table_));
  ring_.set(0, {buffers, 16, 0, 0});
  for (int i = 0; i < 20; ++i) {
    ring_.offer(0);
    ASSERT_TRUE(pop()) << i;
    ASSERT_TRUE(queue_.push(*table_, 0, 0));
    ASSERT_TRUE(queue_.flush(*table_));
  }
  EXPECT_EQ(queue_.base(), 14);
  EXPECT_EQ(ring_.used_index(), 14);
}

TEST_F(QueueTest, GoesOnWhereItWasStopped) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  for (int i = 0; i < 3; ++i) {
    ring_.offer(0);
    ASSERT_TRUE(pop());
    ASSERT_TRUE(queue_.push(*table_, 0, 0));
    static_cast<void>(queue_.flush(*table_));
  }
  ring_.offer(0);
  queue_.stop();
  EXPECT_FALSE(queue_.started());
  EXPECT_EQ(queue_.base(), 3);
  EXPECT_TRUE(pop().empty());
  ASSERT_TRUE(queue_.start(*table_));
  ASSERT_TRUE(pop());
  ASSERT_TRUE(queue_.push(*table_, 0, 7));
  static_cast<void>(queue_.flush(*table_));
  EXPECT_EQ(ring_.used_index(), 4);
  EXPECT_EQ(ring_.used(3).length, 7u);
}

// A base after chains that never came back, which is where some VMMs start a ring.
TEST_F(QueueTest, PopsWhatTheBasePassesOver) {
  ring_.set(0, {buffers, 16, 0, 0});
  for (int i = 0; i < 3; ++i) ring_.offer(0);
  queue_.set_base(3);
  start();
  EXPECT_EQ(queue_.base(), 0);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(pop());
    ASSERT_TRUE(queue_.push(*table_, 0, 0));
  }
  EXPECT_TRUE(pop().empty());
  static_cast<void>(queue_.flush(*table_));
  EXPECT_EQ(ring_.used_index(), 3);
  queue_.stop();
  ASSERT_TRUE(queue_.start(*table_));
  EXPECT_EQ(queue_.base(), 3);
}

// More chains than the ring can hold cannot have been skipped: that used index is not credible.
TEST_F(QueueTest, KeepsABaseThatIsFarFromTheUsedIndex) {
  for (const std::uint16_t base : {std::uint16_t{9}, std::uint16_t{65535}}) {
    queue_.set_base(base);
    start();
    EXPECT_EQ(queue_.base(), base);
    queue_.stop();
  }
}

TEST_F(QueueTest, StoppingForgetsWhatIsInFlight) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.offer(0);
  ASSERT_TRUE(pop());
  queue_.stop();
  EXPECT_EQ(queue_.in_flight(), 0u);
  EXPECT_EQ(queue_.base(), 1);
  queue_.set_base(0);
  ASSERT_TRUE(queue_.start(*table_));
  EXPECT_EQ(queue_.push(*table_, 0, 0), Result<>(fail(EINVAL))) << "from before the stop";
  EXPECT_TRUE(pop());
}

TEST_F(QueueTest, ResetInFlightGivesUpOnChains) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.offer(0);
  ASSERT_TRUE(pop());
  queue_.reset_in_flight();
  EXPECT_EQ(queue_.in_flight(), 0u);
  EXPECT_EQ(queue_.push(*table_, 0, 0), Result<>(fail(EINVAL)));
  EXPECT_FALSE(queue_.undo_pop());
  ring_.offer(0);
  EXPECT_TRUE(pop());
}

TEST_F(QueueTest, SettingsWaitForTheNextStart) {
  start();
  ASSERT_TRUE(queue_.set_size(4));
  queue_.set_base(99);
  queue_.set_event_idx(true);
  EXPECT_EQ(queue_.size(), 8u);
  EXPECT_EQ(queue_.base(), 0);
  ring_.set(7, {buffers, 16, 0, 0});
  ring_.offer(7);
  EXPECT_TRUE(pop());
  queue_.stop();
  EXPECT_EQ(queue_.size(), 4u);
}

TEST_F(QueueTest, TheLastPopCanBeTakenBack) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.set(1, {buffers, 24, 0, 0});
  ring_.offer(0);
  ring_.offer(1);
  EXPECT_FALSE(queue_.undo_pop());
  ASSERT_TRUE(pop());
  ASSERT_TRUE(pop());
  EXPECT_TRUE(queue_.undo_pop());
  EXPECT_FALSE(queue_.undo_pop()) << "one step only";
  EXPECT_EQ(queue_.base(), 1);
  EXPECT_EQ(queue_.in_flight(), 1u);
  auto again = pop();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->head(), 1);
  EXPECT_TRUE(queue_.push(*table_, 1, 0));
  EXPECT_FALSE(queue_.undo_pop()) << "it was pushed";
}

// -- What a driver can do wrong.

TEST_F(QueueTest, AvailIndexJump) {
  start();
  ring_.set_available_index(9);
  EXPECT_EQ(pop().error, ChainError::avail_index_jump);
  ring_.set_available_index(65535);  // backwards
  EXPECT_EQ(pop().error, ChainError::avail_index_jump);
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.set_available_index(8);  // full: allowed
  EXPECT_TRUE(pop());
}

TEST_F(QueueTest, HeadOutOfRange) {
  start();
  EXPECT_EQ(error_of({}, 8), ChainError::head_out_of_range);
}

TEST_F(QueueTest, HeadInFlight) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.offer(0);
  ring_.offer(0);
  ASSERT_TRUE(pop());
  EXPECT_EQ(pop().error, ChainError::head_in_flight);
  EXPECT_TRUE(queue_.push(*table_, 0, 0));
  EXPECT_TRUE(pop());
}

TEST_F(QueueTest, AFailedPopLeavesNothingInFlight) {
  start();
  ring_.set(0, {buffers, 16, next, 8});
  ring_.offer(0);
  EXPECT_EQ(pop().error, ChainError::next_out_of_range);
  EXPECT_FALSE(queue_.is_in_flight(0));
  EXPECT_EQ(queue_.in_flight(), 0u);
  EXPECT_EQ(queue_.push(*table_, 0, 0), Result<>(fail(EINVAL)));
  EXPECT_FALSE(queue_.undo_pop());
  ring_.set(0, {buffers, 16, 0, 0});
  EXPECT_TRUE(pop()) << "mended, it is there still";
}

TEST_F(QueueTest, NextOutOfRange) {
  start();
  EXPECT_EQ(error_of({{buffers, 16, next, 8}}), ChainError::next_out_of_range);
  ring_.set_available_index(0);
  EXPECT_EQ(error_of_table({{buffers, 16, next, 1}}), ChainError::next_out_of_range);
}

TEST_F(QueueTest, Loop) {
  start();
  EXPECT_EQ(error_of({{buffers, 16, next, 0}}), ChainError::loop);
  ring_.set_available_index(0);
  EXPECT_EQ(error_of({{buffers, 16, next, 1}, {buffers, 16, next, 2}, {buffers, 16, next, 1}}),
            ChainError::loop);
}

TEST_F(QueueTest, LoopOfEmptyDescriptors) {
  start();
  EXPECT_EQ(error_of({{buffers, 0, next, 0}}), ChainError::loop);
}

TEST_F(QueueTest, LoopInATable) {
  start();
  EXPECT_EQ(error_of_table({{buffers, 16, next, 1}, {buffers, 16, next, 0}}), ChainError::loop);
}

TEST_F(QueueTest, TooLong) {
  start();
  std::vector<Descriptor> nine;
  for (std::uint16_t i = 0; i < 9; ++i)
    nine.push_back(
        {buffers + 0x1000 + i * 16u, 16, i < 8 ? next : std::uint16_t{0}, static_cast<std::uint16_t>(i + 1)});
  EXPECT_EQ(error_of_table(nine), ChainError::too_long);
  ring_.set_available_index(0);
  // Seven in the ring, then a table of two.
  std::memcpy(ram_.data() + (buffers - ram_.guest()), &nine[7], 2 * sizeof(Descriptor));
  const Descriptor first{buffers + 0x1000, 16, next, 1};
  std::memcpy(ram_.data() + (buffers - ram_.guest()), &first, sizeof first);
  std::vector<Descriptor> mixed(nine.begin(), nine.begin() + 7);
  mixed.push_back({buffers, 32, indirect, 0});
  EXPECT_EQ(error_of(mixed), ChainError::too_long);
}

TEST_F(QueueTest, AChainOfTheQueueSizeIsFine) {
  start();
  std::vector<Descriptor> eight;
  for (std::uint16_t i = 0; i < 8; ++i)
    eight.push_back(
        {buffers + i * 16u, 16, i < 7 ? next : std::uint16_t{0}, static_cast<std::uint16_t>(i + 1)});
  EXPECT_EQ(error_of(eight), ChainError::none);
  EXPECT_TRUE(queue_.undo_pop());
  ring_.set_available_index(0);
  for (auto& descriptor : eight) descriptor.address += 0x1000;
  EXPECT_EQ(error_of_table(eight), ChainError::none);
}

TEST_F(QueueTest, NestedIndirect) {
  start();
  EXPECT_EQ(error_of_table({{buffers + 0x1000, 16, indirect, 0}}), ChainError::nested_indirect);
}

TEST_F(QueueTest, IndirectWithNext) {
  start();
  EXPECT_EQ(error_of_table({{buffers + 0x1000, 16, 0, 0}}, next), ChainError::indirect_with_next);
}

TEST_F(QueueTest, IndirectNotNegotiated) {
  queue_.set_indirect(false);
  start();
  EXPECT_EQ(error_of_table({{buffers + 0x1000, 16, 0, 0}}), ChainError::indirect_not_negotiated);
}

TEST_F(QueueTest, BadIndirectSize) {
  start();
  for (const std::uint32_t length : {0u, 1u, 15u, 17u, 0xffff'ffffu}) {
    ring_.set_available_index(0);
    EXPECT_EQ(error_of({{buffers, length, indirect, 0}}), ChainError::bad_indirect_size) << length;
  }
}

TEST_F(QueueTest, IndirectTableOutsideMemory) {
  start();
  for (const std::uint64_t address :
       {std::uint64_t{0}, std::uint64_t{0x20'0000 - 16}, UINT64_MAX - 15, UINT64_MAX - 31}) {
    ring_.set_available_index(0);
    // The table has to be left for its second descriptor to be asked for.
    if (address == 0x20'0000 - 16) {
      const Descriptor on{buffers, 16, next, 1};
      std::memcpy(ram_.data() + 0x10'0000 - 16, &on, sizeof on);
    }
    EXPECT_EQ(error_of({{address, 32, indirect, 0}}), ChainError::outside_memory) << address;
  }
}

TEST_F(QueueTest, ReadableAfterWritable) {
  start();
  EXPECT_EQ(error_of({{buffers, 16, write | next, 1}, {buffers, 16, 0, 0}}),
            ChainError::readable_after_writable);
  ring_.set_available_index(0);
  EXPECT_EQ(error_of({{buffers, 0, write | next, 1}, {buffers, 16, 0, 0}}),
            ChainError::readable_after_writable)
      << "though the writable one is empty";
  ring_.set_available_index(0);
  // A writable descriptor in the ring, a readable one in the table.
  const Descriptor readable{buffers + 0x1000, 16, 0, 0};
  std::memcpy(ram_.data() + (buffers - ram_.guest()), &readable, sizeof readable);
  EXPECT_EQ(error_of({{buffers, 16, write | next, 1}, {buffers, 16, indirect, 0}}),
            ChainError::readable_after_writable);
}

TEST_F(QueueTest, OutsideMemory) {
  start();
  const std::array<Descriptor, 5> bad{{{0, 1, 0, 0},
                                       {0xf'ffff, 2, 0, 0},
                                       {0x1f'ffff, 2, write, 0},
                                       {UINT64_MAX, 1, 0, 0},
                                       {UINT64_MAX - 7, 16, 0, 0}}};
  for (const auto& descriptor : bad) {
    ring_.set_available_index(0);
    EXPECT_EQ(error_of({descriptor}), ChainError::outside_memory) << descriptor.address;
  }
}

TEST_F(QueueTest, LengthOverflow) {
  // A region of 3 GiB that is never touched.
  const RamFile big(0x1'0000'0000, 0xc000'0000);
  table_ = make_table({&ram_, &big});
  start();
  const std::uint64_t at = 0x1'0000'0000;
  EXPECT_EQ(error_of({{at, 0x8000'0000, next, 1}, {at, 0x8000'0000, 0, 0}}), ChainError::length_overflow);
  ring_.set_available_index(0);
  EXPECT_EQ(error_of({{at, 0x8000'0000, next | write, 1}, {at, 0x8000'0000, write, 0}}),
            ChainError::length_overflow);
  ring_.set_available_index(0);
  EXPECT_EQ(error_of({{at, 0x8000'0000, next, 1}, {at, 0x8000'0000, write, 0}}), ChainError::length_overflow);
  ring_.set_available_index(0);
  EXPECT_EQ(error_of({{at, 0x8000'0000, next, 1}, {at, 0x7fff'ffff, write, 0}}), ChainError::none);
}

TEST_F(QueueTest, TooManySegments) {
  // 80 adjacent pages, each a region of its own.
  std::vector<RamFile> pages;
  std::vector<const RamFile*> files{&ram_};
  for (std::uint64_t i = 0; i < 80; ++i) pages.emplace_back(0x100'0000 + i * page_size, page_size);
  for (const auto& page : pages) files.push_back(&page);
  table_ = make_table(files);
  start();
  EXPECT_EQ(error_of({{0x100'0000, 73 * page_size, 0, 0}}), ChainError::too_many_segments);
  ring_.set_available_index(0);
  EXPECT_EQ(error_of({{0x100'0000, 72 * page_size, 0, 0}}), ChainError::none);
}

TEST_F(QueueTest, RingOutsideMemory) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.set(1, {buffers, 16, 0, 0});
  ring_.offer(0);
  ASSERT_TRUE(pop());
  ring_.offer(1);
  const auto gone = GuestMemory::empty();
  EXPECT_EQ(queue_.pop(*gone).error, ChainError::ring_outside_memory);
  EXPECT_EQ(queue_.push(*gone, 0, 0), Result<>(fail(EFAULT)));
  EXPECT_FALSE(queue_.enable_notifications(*gone));
  EXPECT_EQ(queue_.in_flight(), 1u);
  // The frontend lists it again.
  table_ = make_table({&ram_});
  EXPECT_TRUE(queue_.push(*table_, 0, 4));
  EXPECT_FALSE(queue_.flush(*gone));
  EXPECT_TRUE(queue_.flush(*table_)) << "what could not be published is published later";
  EXPECT_EQ(ring_.used_index(), 1);
  EXPECT_TRUE(pop());
}

TEST_F(QueueTest, EveryErrorHasAText) {
  std::set<std::string> texts;
  for (int i = 0; i <= static_cast<int>(ChainError::ring_outside_memory); ++i)
    EXPECT_TRUE(texts.insert(to_string(static_cast<ChainError>(i))).second);
  EXPECT_EQ(texts.count("unknown error"), 0u);
  EXPECT_STREQ(to_string(static_cast<ChainError>(200)), "unknown error");
}

// -- Chains.

TEST_F(QueueTest, TheWriteFlagOfAnIndirectDescriptorMeansNothing) {
  start();
  set_table(buffers, {{buffers + 0x1000, 16, next, 1}, {buffers + 0x2000, 16, write, 0}}, write);
  ring_.offer(0);
  auto chain = pop();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->readable_size(), 16u);
  EXPECT_EQ(chain->writable_size(), 16u);
}

TEST_F(QueueTest, TablesMayBeMisalignedAndStandBehindDescriptors) {
  start();
  set_table(buffers + 3, {{buffers + 0x2000, 16, write, 0}});
  ring_.set(1, {buffers + 3, 16, indirect, 0});
  ring_.set(0, {buffers + 0x1000, 8, next, 1});
  ring_.offer(0);
  auto chain = pop();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->readable_size(), 8u);
  EXPECT_EQ(chain->writable_size(), 16u);
}

TEST_F(QueueTest, EmptyDescriptorsArePassedOverWhereverTheyPoint) {
  start();
  EXPECT_EQ(error_of({{0xdead'0000'0000, 0, next, 1}, {buffers, 4, next, 2}, {UINT64_MAX, 0, write, 0}}),
            ChainError::none);
  ASSERT_TRUE(queue_.undo_pop());
  auto chain = pop();
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->readable().size(), 1u);
  EXPECT_TRUE(chain->writable().empty());
  EXPECT_EQ(chain->writable_size(), 0u);
}

TEST_F(QueueTest, BuffersAndTablesCrossRegions) {
  const RamFile low(0x40'0000, 0x1000), high(0x40'1000, 0x1000);
  table_ = make_table({&ram_, &high, &low});
  start();
  // A table of two whose first descriptor is across the border, within the buffer that it describes.
  const std::array<Descriptor, 2> descriptors{{{0x40'0800, 0x1000, next, 1}, {0x40'1ff0, 16, write, 0}}};
  std::array<std::byte, 32> bytes;
  std::memcpy(bytes.data(), descriptors.data(), 32);
  std::memcpy(low.data() + 0xff8, bytes.data(), 8);
  std::memcpy(high.data(), bytes.data() + 8, 24);
  ring_.set(0, {0x40'0ff8, 32, indirect, 0});
  ring_.offer(0);
  auto chain = pop();
  ASSERT_TRUE(chain) << to_string(chain.error);
  ASSERT_EQ(chain->readable().size(), 2u);
  EXPECT_EQ(chain->readable()[0].size(), 0x800u);
  EXPECT_EQ(chain->readable()[1].data(), table_->contiguous({0x40'1000}, 1));
  ASSERT_EQ(chain->writable().size(), 1u);
  auto reader = chain->reader();
  ASSERT_TRUE(reader.skip(0x7fc));
  std::uint64_t expected = 0;
  std::memcpy(&expected, low.data() + 0xffc, 4);
  std::memcpy(reinterpret_cast<char*>(&expected) + 4, high.data(), 4);
  EXPECT_EQ(reader.read<std::uint64_t>(), expected);
}

TEST_F(QueueTest, ServesOnWhenTheTableIsReplaced) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.set(1, {0x40'0000, 16, 0, 0});
  ring_.offer(0);
  auto chain = pop();
  ASSERT_TRUE(chain);
  const RamFile more(0x40'0000, 0x1000);
  const auto old = std::exchange(table_, make_table({&more, &ram_}));
  EXPECT_TRUE(queue_.push(*table_, 0, 3));
  EXPECT_TRUE(queue_.flush(*table_));
  EXPECT_EQ(ring_.used(0).length, 3u);
  ring_.offer(1);
  chain = pop();
  ASSERT_TRUE(chain) << to_string(chain.error);
  EXPECT_EQ(chain->readable()[0].data(), table_->contiguous({0x40'0000}, 1));
}

// -- Notifications.

TEST_F(QueueTest, FlagsSuppressInterrupts) {
  start();
  ring_.set(0, {buffers, 16, 0, 0});
  for (const bool suppressed : {true, false, true}) {
    ring_.set_available_flags(suppressed ? avail_f_no_interrupt : 0);
    ring_.offer(0);
    ASSERT_TRUE(pop());
    ASSERT_TRUE(queue_.push(*table_, 0, 0));
    EXPECT_EQ(queue_.flush(*table_), !suppressed);
  }
}

TEST_F(QueueTest, FlagsSuppressNotifications) {
  ring_.set_used_flags(used_f_no_notify);
  start();
  EXPECT_EQ(ring_.used_flags(), 0) << "a start asks for notifications";
  queue_.disable_notifications(*table_);
  EXPECT_EQ(ring_.used_flags(), used_f_no_notify);
  ring_.set(0, {buffers, 16, 0, 0});
  EXPECT_FALSE(queue_.enable_notifications(*table_));
  EXPECT_EQ(ring_.used_flags(), 0);
  ring_.offer(0);
  EXPECT_TRUE(queue_.enable_notifications(*table_)) << "something came meanwhile";
}

TEST_F(QueueTest, EventIndexSuppressesInterrupts) {
  start(true);
  ring_.set_available_flags(avail_f_no_interrupt);  // means nothing now
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.set(1, {buffers, 16, 0, 0});
  const auto complete = [&](std::initializer_list<std::uint16_t> heads) {
    for (const auto head : heads) {
      ring_.offer(head);
      EXPECT_TRUE(pop());
      EXPECT_TRUE(queue_.push(*table_, head, 0));
    }
    return queue_.flush(*table_);
  };
  ring_.set_used_event(0);
  EXPECT_TRUE(complete({0}));
  EXPECT_FALSE(complete({0})) << "the event lies behind";
  ring_.set_used_event(3);
  EXPECT_FALSE(complete({0})) << "2 to 3 does not pass 3";
  EXPECT_TRUE(complete({0}));
  ring_.set_used_event(5);
  EXPECT_TRUE(complete({0, 1})) << "a batch that passes the event";
  ring_.set_used_event(60000);
  EXPECT_FALSE(complete({0, 1}));
}

TEST_F(QueueTest, EventIndexAsksForNotifications) {
  start(true);
  EXPECT_EQ(ring_.avail_event(), 0);
  ring_.set(0, {buffers, 16, 0, 0});
  ring_.offer(0);
  ASSERT_TRUE(pop());
  queue_.disable_notifications(*table_);
  EXPECT_EQ(ring_.used_flags(), 0) << "with event indices the flags stay 0";
  EXPECT_EQ(ring_.avail_event(), 0);
  EXPECT_FALSE(queue_.enable_notifications(*table_));
  EXPECT_EQ(ring_.avail_event(), 1);
  ring_.set(1, {buffers, 16, 0, 0});
  ring_.offer(1);
  EXPECT_TRUE(queue_.enable_notifications(*table_));
}

TEST(RingLayout, PassesCountsModulo) {
  EXPECT_TRUE(ring::passes(0, 0, 1));
  EXPECT_FALSE(ring::passes(1, 0, 1));
  EXPECT_TRUE(ring::passes(1, 0, 2));
  EXPECT_FALSE(ring::passes(0, 1, 2));
  EXPECT_TRUE(ring::passes(65535, 65535, 0));
  EXPECT_TRUE(ring::passes(0, 65534, 3));
  EXPECT_FALSE(ring::passes(5, 5, 5)) << "nothing moved";
}

}  // namespace
}  // namespace vumedia::virtio::test
