// Filled planes on their way to guest pages that could not be mapped: in parts, one buffer at a time.
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

#include <vumedia/v4l2/plane_storing.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {
namespace storing {
namespace {

using memory::Work;

struct Storing : testing::Test {
  static constexpr std::uint64_t ram_at = 0x100000;
  static constexpr std::uint32_t length = 3 * page_size;

  // A buffer whose plane begins within a page, after a gap, so that it is copied.
  BufferSlot make(std::uint64_t at) {
    BufferSlot slot;
    slot.plane_count = 1;
    slot.planes[0].length = length;
    const GuestRange ranges[] = {{{ram_at + at + 8}, 100}, {{ram_at + at + 1000}, length - 100}};
    auto mapped = UserPlane::map({table, arenas}, ranges, length, nullptr);
    EXPECT_TRUE(mapped);
    slot.planes[0].user = std::move(*mapped);
    EXPECT_EQ(slot.planes[0].user.way(), UserPlane::Way::copied);
    std::memset(slot.planes[0].bytes().data(), 0x5a, length);
    return slot;
  }
  std::byte guest_byte(std::uint64_t at) const { return ram.data()[at]; }

  vumedia::test::RamFile ram{ram_at, 64 * page_size};
  std::shared_ptr<const memory::GuestMemory> table = vumedia::test::make_table({&ram});
  memory::Arenas arenas;
  PlaneStoring storing;
  Work work;
  std::array<std::uint32_t, BufferSlot::max_planes> used{length};
};

TEST_F(Storing, TakesAsManyTurnsAsTheWorkSays) {
  const BufferSlot slot = make(0);
  EXPECT_FALSE(storing.go_on(0, slot, used, nullptr)) << "nothing may be done";
  int turns = 1;
  for (work.begin(page_size * Work::copied_byte); !storing.go_on(0, slot, used, &work); ++turns) {
    ASSERT_LT(turns, 100);
    work.begin(page_size * Work::copied_byte);
  }
  EXPECT_GT(turns, 1);
  EXPECT_EQ(guest_byte(8), std::byte{0x5a});
  EXPECT_EQ(guest_byte(108), std::byte{0}) << "between the ranges";
  EXPECT_EQ(guest_byte(1000 + length - 100 - 1), std::byte{0x5a});
  EXPECT_FALSE(storing.failed());
  EXPECT_TRUE(storing.go_on(0, slot, used, nullptr)) << "nothing is left";
}

TEST_F(Storing, StoresNoMoreThanWasFilled) {
  const BufferSlot slot = make(0);
  used[0] = 150;
  work.begin();
  EXPECT_TRUE(storing.go_on(0, slot, used, &work));
  EXPECT_EQ(guest_byte(1049), std::byte{0x5a});
  EXPECT_EQ(guest_byte(1050), std::byte{0});
  storing.reset();
  used[0] = UINT32_MAX;
  EXPECT_TRUE(storing.go_on(0, slot, used, &work)) << "or than there is room for";
  EXPECT_EQ(guest_byte(1000 + length - 100), std::byte{0});
}

TEST_F(Storing, MemoryThatIsMappedNeedsNothing) {
  BufferSlot slot;
  slot.plane_count = 1;
  slot.planes[0].length = length;
  const GuestRange range[] = {{{ram_at}, length}};
  slot.planes[0].user = *UserPlane::map({table, arenas}, range, length, nullptr);
  EXPECT_TRUE(storing.go_on(0, slot, used, nullptr));
  EXPECT_TRUE(storing.go_on(1, BufferSlot{}, used, nullptr)) << "nor has a buffer without planes";
}

TEST_F(Storing, AnotherBufferBeginsAnew) {
  const BufferSlot first = make(0);
  const BufferSlot second = make(16 * page_size);
  work.begin(1);
  while (!storing.go_on(0, first, used, &work)) work.begin(page_size * Work::copied_byte);
  EXPECT_FALSE(storing.go_on(1, second, used, nullptr));
  storing.forget(0);
  work.begin();
  EXPECT_TRUE(storing.go_on(1, second, used, &work));
  EXPECT_EQ(guest_byte(16 * page_size + 8), std::byte{0x5a});
  EXPECT_TRUE(storing.go_on(1, second, used, nullptr)) << "forget() was not about this one";
  storing.forget(1);
  EXPECT_FALSE(storing.go_on(1, second, used, nullptr)) << "and this was";
}

}  // namespace
}  // namespace storing
}  // namespace vumedia::v4l2::test
