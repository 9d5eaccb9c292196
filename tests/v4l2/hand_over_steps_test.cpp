// A buffer's way from the guest to a queue, step by step and without the queue: what is checked, what several
// calls keep, and what a failure leaves.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_hand_over.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {
namespace hand_over {
namespace {

using memory::Work;

int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

struct HandOver : testing::Test {
  static constexpr std::uint64_t ram_at = 0x100000;
  static constexpr std::uint32_t length = 3 * page_size;

  HandOver() {
    EXPECT_EQ(made, 2U);
    std::memset(ram.data(), 0x5a, 16 * page_size);
  }
  // Ranges that begin within a page, after a gap, so that they are copied.
  BufferPayload make(std::uint64_t serial) const {
    BufferPayload payload{};
    payload.serial = serial;
    v4l2_buffer& head = payload.buffer.head;
    head.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
    head.memory = V4L2_MEMORY_USERPTR;
    head.length = head.bytesused = length;
    head.m.userptr = 0x7000;
    head.timestamp = {2, 5};
    const GuestRange ranges[] = {{{ram_at + 8}, 100}, {{ram_at + 1000}, length - 100}};
    payload.ranges.add_list(ranges);
    return payload;
  }

  vumedia::test::RamFile ram{ram_at, 64 * page_size};
  std::shared_ptr<const memory::GuestMemory> table = vumedia::test::make_table({&ram});
  memory::Arenas arenas;
  Work work;
  UserMemory user{table, arenas, &work};
  BufferSlots slots{4, 0};
  std::uint32_t made = slots.allocate({0, 2}, V4L2_MEMORY_USERPTR, std::array{length}, arenas);
  BufferSlot& slot = slots[0];
  BufferHandOver hand_over{
      {.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .copies_timestamps = true, .max_length = 8 * length}};
};

TEST_F(HandOver, ChecksWhatTheGuestSaysOfItsContents) {
  auto payload = make(1);
  EXPECT_EQ(code(hand_over.check(slots, slot, payload)), 0);
  payload.buffer.head.bytesused = length + 1;
  EXPECT_EQ(code(hand_over.check(slots, slot, payload)), EINVAL);
  payload = make(1);
  payload.buffer.head.field = V4L2_FIELD_ALTERNATE;
  EXPECT_EQ(code(hand_over.check(slots, slot, payload)), EINVAL);
  const BufferHandOver capture({.type = V4L2_BUF_TYPE_VIDEO_CAPTURE});
  EXPECT_EQ(code(capture.check(slots, slot, payload)), 0) << "there are none yet";
}

TEST_F(HandOver, PreparesAndFetchesAtOnce) {
  const auto payload = make(1);
  work.begin();
  ASSERT_EQ(code(hand_over.prepare(slots, slot, payload, &user)), 0);
  EXPECT_EQ(slot.planes[0].bytesused, length);
  EXPECT_EQ(slot.planes[0].userptr, 0x7000U);
  EXPECT_EQ(slot.field, unsigned{V4L2_FIELD_NONE});
  EXPECT_EQ(slot.planes[0].bytes()[0], std::byte{0});
  ASSERT_EQ(code(hand_over.fetch(slot, payload, &user)), 0);
  EXPECT_EQ(slot.planes[0].bytes()[length - 1], std::byte{0x5a});
  EXPECT_EQ(slot.timestamp_ns, 2'000'005'000U);
  EXPECT_FALSE(hand_over.has_prepared(payload)) << "nothing is left";
}

TEST_F(HandOver, GoesOnWithTheSamePayloadOnly) {
  const auto payload = make(1);
  work.begin();
  ASSERT_EQ(code(hand_over.prepare(slots, slot, payload, &user)), 0);
  int turns = 1;
  for (work.begin(1); code(hand_over.fetch(slot, payload, &user)) == memory::again; ++turns) {
    ASSERT_LT(turns, 100000);
    EXPECT_TRUE(hand_over.has_prepared(payload));
    EXPECT_FALSE(hand_over.has_prepared(make(2)));
    EXPECT_EQ(slot.timestamp_ns, 0U) << "not yet";
    work.begin(page_size * Work::copied_byte);
  }
  EXPECT_GT(turns, 2);
  EXPECT_EQ(slot.planes[0].bytes()[length - 1], std::byte{0x5a});
  EXPECT_EQ(slot.timestamp_ns, 2'000'005'000U);
}

TEST_F(HandOver, WhatIsTakenBackBeginsAnew) {
  const auto payload = make(1);
  work.begin();
  ASSERT_EQ(code(hand_over.prepare(slots, slot, payload, &user)), 0);
  work.begin(1);
  while (code(hand_over.fetch(slot, payload, &user)) != memory::again) work.begin(0);
  EXPECT_TRUE(hand_over.has_prepared(payload));
  hand_over.reset();
  EXPECT_FALSE(hand_over.has_prepared(payload));
}

TEST_F(HandOver, AFailureChangesNothing) {
  work.begin();
  auto payload = make(1);
  ASSERT_EQ(code(hand_over.prepare(slots, slot, payload, &user)), 0);
  const auto owner = slot.planes[0].owner();
  for (const auto& [change, error] :
       {std::pair<void (*)(BufferPayload&), int>{
            [](BufferPayload& bad) { bad.buffer.head.length = length - 1; }, EINVAL},
        {[](BufferPayload& bad) { bad.buffer.head.length = 8 * length + 1; }, EINVAL},
        {[](BufferPayload& bad) { bad.buffer.head.m.userptr = 0; }, EFAULT},
        {[](BufferPayload& bad) {
           bad.ranges.clear();
           const GuestRange nowhere[] = {{{0xdead0000}, length}};
           bad.ranges.add_list(nowhere);
         },
         EFAULT}}) {
    auto bad = make(2);
    bad.buffer.head.bytesused = 7;
    change(bad);
    EXPECT_EQ(code(hand_over.prepare(slots, slot, bad, &user)), error);
    EXPECT_EQ(slot.planes[0].owner(), owner);
    EXPECT_EQ(slot.planes[0].bytesused, length);
  }
  EXPECT_EQ(code(hand_over.prepare(slots, slot, payload, nullptr)), EFAULT) << "no memory to find it in";
}

}  // namespace
}  // namespace hand_over
}  // namespace vumedia::v4l2::test
