// USERPTR planes in this process: each way to map them, what is refused, and the effect of a change of the
// table.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>

#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/user_planes.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {
namespace {

using vumedia::test::make_table;
using vumedia::test::RamFile;
using Way = UserPlane::Way;
using Ranges = std::vector<GuestRange>;

constexpr std::uint64_t first_page = 0x1000'0000;
constexpr std::uint64_t page_count = 64;

GuestRange page(std::uint64_t number, std::uint64_t count = 1) {
  return {{first_page + number * page_size}, static_cast<std::uint32_t>(count * page_size)};
}

std::uint64_t length_of(const Ranges& ranges) {
  std::uint64_t length = 0;
  for (const GuestRange& range : ranges) length += range.length;
  return length;
}

// Fills each page of the guest with its number plus one.
class UserPlanes : public testing::Test {
 protected:
  UserPlanes() {
    for (std::uint64_t i = 0; i < page_count; ++i)
      std::memset(ram.data() + i * page_size, static_cast<int>(i + 1), page_size);
  }
  Result<UserPlane> map(const Ranges& ranges, std::uint64_t length) {
    return UserPlane::map({table, arenas}, ranges, length, budget);
  }
  Result<UserPlane> map(const Ranges& ranges) { return map(ranges, length_of(ranges)); }
  int refusal(const Ranges& ranges) {
    const auto plane = map(ranges);
    return plane ? 0 : plane.error().value;
  }

  RamFile ram{first_page, page_count* page_size};
  std::shared_ptr<const memory::GuestMemory> table = make_table({&ram});
  memory::Arenas arenas{{.arena_size = 16 * page_size, .total_bytes = 64 * page_size}};
  std::shared_ptr<memory::Budget> budget = std::make_shared<memory::Budget>(16);
};

TEST_F(UserPlanes, OnePieceIsTheFrontendsMemoryItself) {
  const Ranges lists[] = {
      {page(3, 4)}, {page(3), page(4), page(5, 2)}, {{{first_page + 100}, 5}, {{first_page + 105}, 7000}}};
  for (const Ranges& ranges : lists) {
    auto plane = map(ranges);
    ASSERT_TRUE(plane);
    EXPECT_EQ(plane->way(), Way::direct);
    EXPECT_EQ(plane->bytes().data(), table->contiguous(ranges[0].start, 1));
    EXPECT_EQ(plane->bytes().size(), length_of(ranges));
    EXPECT_EQ(budget->used(), 0U);
    EXPECT_EQ(arenas.used_bytes(), 0U);
    EXPECT_TRUE(plane->fetch(1) && plane->store(1)) << "nothing to copy";
  }
}

TEST_F(UserPlanes, ScatteredPagesAreMappedSideBySide) {
  const auto plane = map({page(9), page(3), page(2), {{first_page + 63 * page_size}, 10}});
  ASSERT_TRUE(plane);
  EXPECT_EQ(plane->way(), Way::side_by_side);
  ASSERT_EQ(plane->bytes().size(), 3 * page_size + 10);
  EXPECT_EQ(plane->bytes()[0], std::byte{10});
  EXPECT_EQ(plane->bytes()[page_size], std::byte{4});
  EXPECT_EQ(plane->bytes()[3 * page_size + 9], std::byte{64});
  plane->bytes()[2 * page_size] = std::byte{0xab};
  EXPECT_EQ(ram.data()[2 * page_size], std::byte{0xab});
  EXPECT_EQ(budget->used(), 4U);
  EXPECT_EQ(arenas.used_bytes(), 0U);
}

TEST_F(UserPlanes, EdgesWithinAPageAreCopied) {
  auto plane = map({{{first_page + 100}, 50}, {{first_page + 5 * page_size + 7}, 30}});
  ASSERT_TRUE(plane);
  EXPECT_EQ(plane->way(), Way::copied);
  ASSERT_EQ(plane->bytes().size(), 80U);
  EXPECT_EQ(plane->bytes()[0], std::byte{0}) << "not before fetch()";
  ASSERT_TRUE(plane->fetch(51));
  EXPECT_EQ(plane->bytes()[49], std::byte{1});
  EXPECT_EQ(plane->bytes()[50], std::byte{6});
  EXPECT_EQ(plane->bytes()[51], std::byte{0});
  std::ranges::fill(plane->bytes(), std::byte{0xcc});
  ASSERT_TRUE(plane->store(60));
  EXPECT_EQ(ram.data()[99], std::byte{1});
  EXPECT_EQ(ram.data()[100], std::byte{0xcc});
  EXPECT_EQ(ram.data()[150], std::byte{1});
  EXPECT_EQ(ram.data()[5 * page_size + 7 + 9], std::byte{0xcc});
  EXPECT_EQ(ram.data()[5 * page_size + 7 + 10], std::byte{6});
  EXPECT_TRUE(plane->store(SIZE_MAX)) << "no more than there is";
  EXPECT_EQ(ram.data()[5 * page_size + 7 + 30], std::byte{6});
  EXPECT_EQ(budget->used(), 0U);
}

TEST_F(UserPlanes, PagesBeyondTheBudgetAreCopied) {
  Ranges scattered;
  for (std::uint64_t i = 0; i < 17; ++i) scattered.push_back(page(2 * i));
  {
    auto plane = map(scattered);
    ASSERT_TRUE(plane);
    EXPECT_EQ(plane->way(), Way::copied);
    EXPECT_EQ(budget->used(), 0U);
    EXPECT_EQ(arenas.used_bytes(), 17 * page_size);
  }
  EXPECT_EQ(arenas.used_bytes(), 0U);
  scattered.pop_back();
  EXPECT_EQ(map(scattered)->way(), Way::side_by_side);
  budget.reset();
  EXPECT_EQ(map(scattered)->way(), Way::copied) << "no budget, no mapping";
}

TEST_F(UserPlanes, WhatIsNotGuestMemoryIsAFault) {
  EXPECT_EQ(refusal({}), EFAULT);
  EXPECT_EQ(refusal({{{0}, 4096}}), EFAULT);
  EXPECT_EQ(refusal({page(0), page(page_count)}), EFAULT);
  EXPECT_EQ(refusal({page(page_count - 1, 2)}), EFAULT);
  EXPECT_EQ(refusal({{{UINT64_MAX - 10}, 10}}), EFAULT);
  EXPECT_EQ(refusal({{{first_page}, 7}, {{first_page + page_count * page_size - 1}, 2}}), EFAULT);
  EXPECT_EQ(map({page(0)}, page_size - 1).error().value, EFAULT);
  EXPECT_EQ(map({page(0)}, page_size + 1).error().value, EFAULT);
  EXPECT_EQ(map({page(0)}, 0).error().value, EFAULT);
  table = memory::GuestMemory::empty();
  EXPECT_EQ(refusal({page(0)}), EFAULT);
  EXPECT_EQ(budget->used(), 0U);
  EXPECT_EQ(arenas.used_bytes(), 0U);
}

// A page may be named many times, so a list can have more bytes than the guest has.
TEST_F(UserPlanes, ALongListOfOnePageGetsNoMoreOfOurMemoryThanMmapBuffersDo) {
  Ranges same(65, GuestRange{{first_page + 1}, static_cast<std::uint32_t>(page_size - 1)});
  EXPECT_EQ(refusal(same), ENOMEM);
  EXPECT_EQ(arenas.used_bytes(), 0U);
}

TEST_F(UserPlanes, ListsAreCountedWithTheBytesOfBuffers) {
  const auto used = [this] { return arenas.budget()->used(); };
  const Ranges ranges{page(1), page(7), page(3)};
  {
    const auto plane = map(ranges);
    ASSERT_TRUE(plane);
    EXPECT_EQ(used(), 3 * sizeof(GuestRange));
    EXPECT_EQ(map({page(2)})->way(), Way::direct);
    EXPECT_EQ(used(), 3 * sizeof(GuestRange));
    auto rest = memory::Share::take(arenas.budget(), arenas.budget()->left() - 15);
    ASSERT_TRUE(rest);
    EXPECT_EQ(refusal({page(2)}), ENOMEM);
  }
  EXPECT_EQ(used(), 0U);
}

TEST_F(UserPlanes, TwoRegionsThatAreNeighboursByChanceAreNotOnePiece) {
  const RamFile next(first_page + page_count * page_size, 4 * page_size);
  std::memset(next.data(), 0xee, 4 * page_size);
  table = make_table({&ram, &next});
  for (const Ranges& ranges :
       {Ranges{page(page_count - 2, 4)}, Ranges{page(page_count - 2, 2), page(page_count, 2)}}) {
    const auto plane = map(ranges);
    ASSERT_TRUE(plane);
    EXPECT_EQ(plane->way(), Way::side_by_side);
    EXPECT_EQ(plane->bytes()[page_size], std::byte{64});
    EXPECT_EQ(plane->bytes()[2 * page_size], std::byte{0xee});
  }
}

TEST_F(UserPlanes, OutliveTheTable) {
  for (const Ranges& ranges :
       {Ranges{page(1, 2)}, Ranges{page(1), page(7)}, Ranges{{{first_page + page_size}, 9}, page(5)}}) {
    auto plane = map(ranges);
    ASSERT_TRUE(plane);
    const auto way = plane->way();
    const std::shared_ptr<const void> owner = plane->owner();
    const std::span<std::byte> bytes = plane->bytes();
    const std::weak_ptr<const memory::GuestMemory> old = table;
    table = memory::GuestMemory::empty();
    ASSERT_TRUE(plane->fetch(bytes.size()));
    EXPECT_EQ(bytes[0], std::byte{2});
    bytes[0] = std::byte{0x55};
    ASSERT_TRUE(plane->store(bytes.size()));
    EXPECT_EQ(ram.data()[page_size], std::byte{0x55});
    ram.data()[page_size] = std::byte{2};
    // A worker's share is enough to write on.
    *plane = UserPlane{};
    bytes[0] = std::byte{0x66};
    EXPECT_EQ(ram.data()[page_size], way == Way::copied ? std::byte{2} : std::byte{0x66});
    EXPECT_EQ(old.expired(), way != Way::direct) << "no longer than needed";
    ram.data()[page_size] = std::byte{2};
    table = make_table({&ram});
  }
  EXPECT_EQ(budget->used(), 0U);
}

TEST_F(UserPlanes, ATableOfTheSameFilesChangesNothing) {
  for (const Ranges& ranges :
       {Ranges{page(1, 2)}, Ranges{page(1), page(7)}, Ranges{{{first_page + page_size}, 9}, page(5)}}) {
    auto plane = map(ranges);
    ASSERT_TRUE(plane);
    const auto owner = plane->owner();
    const auto* const data = plane->bytes().data();
    EXPECT_TRUE(plane->maps({table, arenas}, ranges, length_of(ranges)));
    // As QEMU sends it with each buffer that is mapped for the guest: all regions again, and one more.
    const RamFile shown(1 << 20, 4 * page_size);
    table = make_table({&shown, &ram});
    EXPECT_TRUE(plane->maps({table, arenas}, ranges, length_of(ranges)));
    EXPECT_EQ(plane->owner(), owner);
    EXPECT_EQ(plane->bytes().data(), data);
    table = memory::GuestMemory::empty();
    EXPECT_FALSE(plane->maps({table, arenas}, ranges, length_of(ranges)));
    table = make_table({&ram});
    ASSERT_TRUE(plane->maps({table, arenas}, ranges, length_of(ranges)));
    ASSERT_TRUE(plane->fetch(1));
    EXPECT_EQ(plane->bytes()[0], std::byte{2});
    ASSERT_TRUE(plane->store(1));
  }
}

// ADD_MEM_REG and REM_MEM_REG: tables that share their regions.
TEST_F(UserPlanes, RegionsThatComeAndGoBesideTheirsChangeNothing) {
  const RamFile more(first_page + page_count * page_size, 4 * page_size);
  const Ranges ranges{page(page_count - 1), page(7)}, across{page(page_count - 1, 2)};
  auto plane = map(ranges);
  ASSERT_TRUE(plane);
  auto changed = table->with(more.spec());
  ASSERT_TRUE(changed);
  table = *changed;
  EXPECT_TRUE(plane->maps({table, arenas}, ranges, 2 * page_size));
  auto over = map(across);
  ASSERT_TRUE(over);
  changed = table->without({more.guest()}, more.size(), {more.frontend()});
  ASSERT_TRUE(changed);
  table = *changed;
  EXPECT_TRUE(plane->maps({table, arenas}, ranges, 2 * page_size));
  EXPECT_FALSE(over->maps({table, arenas}, across, 2 * page_size)) << "a part of it has gone";
  changed = table->without({ram.guest()}, ram.size(), {ram.frontend()});
  ASSERT_TRUE(changed);
  table = *changed;
  EXPECT_FALSE(plane->maps({table, arenas}, ranges, 2 * page_size));
}

// A device file may give different memory each time it is opened, so only the same region is the same memory.
TEST_F(UserPlanes, MemoryOfADeviceIsTheSameInOneRegionOnly) {
  const auto make = [] {
    OwnedFd fd(::open("/dev/zero", O_RDWR | O_CLOEXEC));
    std::vector<memory::RegionSpec> specs;
    specs.push_back({{first_page}, {0x7000'0000'0000}, 8 * page_size, 0, std::move(fd)});
    return *memory::GuestMemory::create(std::move(specs));
  };
  table = make();
  const Ranges ranges{page(1, 2)};
  auto plane = map(ranges);
  ASSERT_TRUE(plane);
  table = *table->with(RamFile(1 << 20, page_size).spec());
  EXPECT_TRUE(plane->maps({table, arenas}, ranges, 2 * page_size));
  table = make();
  EXPECT_FALSE(plane->maps({table, arenas}, ranges, 2 * page_size));
}

TEST_F(UserPlanes, OtherMemoryAtTheSameAddressIsNoticed) {
  const Ranges ranges{page(1), page(7)};
  auto plane = map(ranges);
  ASSERT_TRUE(plane);
  EXPECT_FALSE(plane->maps({table, arenas}, Ranges{page(1), page(8)}, 2 * page_size));
  EXPECT_FALSE(plane->maps({table, arenas}, Ranges{page(1)}, page_size));
  EXPECT_FALSE(plane->maps({table, arenas}, ranges, 2 * page_size - 1));
  EXPECT_FALSE(UserPlane{}.maps({table, arenas}, {}, 0));
  // The same file, at an offset.
  {
    memory::RegionSpec spec = ram.spec();
    spec.file_offset = page_size;
    spec.size -= page_size;
    std::vector<memory::RegionSpec> specs;
    specs.push_back(std::move(spec));
    table = *memory::GuestMemory::create(std::move(specs));
    EXPECT_FALSE(plane->maps({table, arenas}, ranges, 2 * page_size));
  }
  // Another file.
  const RamFile other(first_page, page_count * page_size);
  table = make_table({&other});
  EXPECT_FALSE(plane->maps({table, arenas}, ranges, 2 * page_size));
  // Two files where there was one.
  const RamFile low(first_page, 4 * page_size), high(first_page + 4 * page_size, 60 * page_size);
  table = make_table({&low, &high});
  EXPECT_FALSE(plane->maps({table, arenas}, ranges, 2 * page_size));
}

// ---- In a queue

class UserBuffers : public UserPlanes {
 protected:
  static constexpr std::uint32_t size = 3 * page_size;

  void make_queue(std::uint32_t type, std::uint32_t count = 2) {
    queue = std::make_unique<BufferQueue>(BufferQueueOptions{
        .type = type, .max_buffers = 64, .max_length = most, .userptr = true, .mappings = budget});
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = type;
    request.memory = V4L2_MEMORY_USERPTR;
    const std::uint32_t sizes[] = {size, size};
    ASSERT_TRUE(queue->reqbufs(request, std::span(sizes).first(is_multiplanar(type) ? 2 : 1), arenas));
  }
  BufferPayload payload(std::uint32_t index, const std::vector<Ranges>& lists) const {
    BufferPayload result{};
    v4l2_buffer& head = result.buffer.head;
    head.index = index;
    head.type = queue->type();
    head.memory = V4L2_MEMORY_USERPTR;
    for (std::size_t p = 0; p < lists.size(); ++p) {
      result.ranges.add_list(lists[p]);
      const auto length = static_cast<std::uint32_t>(length_of(lists[p]));
      if (is_multiplanar(head.type)) {
        result.buffer.planes[p].length = length;
        result.buffer.planes[p].m.userptr = 0xabc000 + p;
      } else {
        head.length = length;
        head.m.userptr = 0xabc000;
      }
    }
    if (is_multiplanar(head.type))
      head.length = result.sent.planes = static_cast<std::uint32_t>(lists.size());
    return result;
  }
  int qbuf(std::uint32_t index, const std::vector<Ranges>& lists) {
    BufferPayload sent = payload(index, lists);
    const auto done = queue->qbuf(sent, {table, arenas});
    return done ? 0 : done.error().value;
  }
  const BufferQueue::Plane& plane(std::uint32_t index, std::uint32_t number = 0) const {
    return queue->slot(index)->planes[number];
  }

  std::unique_ptr<BufferQueue> queue;
  std::uint32_t most = UINT32_MAX;
};

TEST_F(UserBuffers, AreNoLongerThanAFormatCanBe) {
  most = size + page_size;
  for (const std::uint32_t type : {V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE}) {
    make_queue(type);
    // One page named several times has that multiple of its length.
    const Ranges good{page(1, 3)}, longest(4, page(1)), one_more{page(1, 4), {{first_page}, 1}};
    EXPECT_EQ(qbuf(0, {good, one_more}), EINVAL);
    EXPECT_EQ(qbuf(0, {one_more, good}), EINVAL);
    BufferPayload sent = payload(0, {one_more, good});
    EXPECT_EQ(queue->prepare_buf(sent, {table, arenas}).error().value, EINVAL);
    EXPECT_TRUE(plane(0).bytes().empty());
    EXPECT_EQ(budget->used(), 0U);
    EXPECT_EQ(qbuf(0, {good, longest}), 0);
    queue->release();
    v4l2_create_buffers create{};
    create.count = 1;
    create.memory = V4L2_MEMORY_USERPTR;
    create.format.type = type;
    create.format.fmt.pix_mp.num_planes = 1;
    create.format.fmt.pix_mp.plane_fmt[0].sizeimage = most + 1;
    const std::uint32_t minimum[] = {size};
    for (const std::uint32_t memory : {V4L2_MEMORY_USERPTR, V4L2_MEMORY_MMAP}) {
      create.memory = memory;
      EXPECT_EQ(queue->create_bufs(create, minimum, arenas).error().value, EINVAL);
    }
    create.format.fmt.pix_mp.plane_fmt[0].sizeimage = most;
    EXPECT_TRUE(queue->create_bufs(create, minimum, arenas));
  }
}

TEST_F(UserBuffers, CaptureIsWrittenInTheGuestsOwnPages) {
  make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE, 3);
  const Ranges direct{page(1, 3)}, scattered{page(30), page(20), page(10)},
      odd{{{first_page + 50 * page_size + 8}, 100}, {{first_page + 40 * page_size}, 3 * page_size - 100}};
  ASSERT_EQ(qbuf(0, {direct}), 0);
  ASSERT_EQ(qbuf(1, {scattered}), 0);
  ASSERT_EQ(qbuf(2, {odd}), 0);
  EXPECT_EQ(plane(0).user.way(), Way::direct);
  EXPECT_EQ(plane(1).user.way(), Way::side_by_side);
  EXPECT_EQ(plane(2).user.way(), Way::copied);
  for (std::uint32_t i = 0; i < 3; ++i) {
    ASSERT_EQ(queue->take_next(), i);
    ASSERT_EQ(plane(i).bytes().size(), size);
    ASSERT_NE(plane(i).owner(), nullptr);
    std::ranges::fill(plane(i).bytes(), std::byte{0xf0});
    const auto buffer = queue->complete(i, {.bytesused = {size - 1}});
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->head.m.userptr, 0xabc000U);
    EXPECT_EQ(buffer->head.length, size);
    EXPECT_EQ(buffer->head.flags & V4L2_BUF_FLAG_ERROR, 0U);
    std::size_t left = size - 1;
    for (const GuestRange& range : i == 0 ? direct : i == 1 ? scattered : odd) {
      const std::byte* const seen = ram.data() + (range.start.value - first_page);
      const std::size_t count = std::min<std::size_t>(left, range.length);
      EXPECT_TRUE(std::all_of(seen, seen + count, [](std::byte b) { return b == std::byte{0xf0}; })) << i;
      left -= count;
    }
  }
  EXPECT_NE(ram.data()[43 * page_size - 100 - 1], std::byte{0xf0}) << "no more than bytesused is copied";
}

TEST_F(UserBuffers, OutputIsReadWhenItIsQueued) {
  make_queue(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE);
  const Ranges scattered{page(30), page(20), page(10)},
      odd{{{first_page + 50 * page_size + 8}, 100}, {{first_page + 40 * page_size}, 3 * page_size - 100}};
  BufferPayload sent = payload(0, {odd, scattered});
  sent.buffer.planes[0].bytesused = 150;
  ASSERT_TRUE(queue->prepare_buf(sent, {table, arenas}));
  std::memset(ram.data() + 50 * page_size, 0x77, page_size);
  sent = payload(0, {odd, scattered});
  ASSERT_TRUE(queue->qbuf(sent, {table, arenas}));
  EXPECT_EQ(plane(0, 0).bytes()[0], std::byte{0x77});
  EXPECT_EQ(plane(0, 0).bytes()[149], std::byte{41});
  EXPECT_EQ(plane(0, 0).bytes()[150], std::byte{0}) << "no more than bytesused is read";
  EXPECT_EQ(plane(0, 1).bytes()[2 * page_size], std::byte{11});
  EXPECT_EQ(sent.buffer.planes[1].m.userptr, 0xabc001U);
}

TEST_F(UserBuffers, AFaultChangesNothing) {
  make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE);
  const Ranges good{page(1, 3)}, bad{page(page_count - 1, 3)};
  EXPECT_EQ(qbuf(0, {good, bad}), EFAULT);
  EXPECT_TRUE(plane(0).bytes().empty());
  BufferPayload sent = payload(1, {bad, good});
  EXPECT_EQ(queue->prepare_buf(sent, {table, arenas}).error().value, EFAULT);
  sent = payload(0, {good, good});
  ASSERT_TRUE(queue->querybuf(sent));
  EXPECT_EQ(sent.buffer.head.flags & (V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_PREPARED), 0U);
  EXPECT_EQ(queue->queued_count(), 0U);
  ASSERT_EQ(qbuf(0, {good, {page(9), page(4, 2)}}), 0);
  EXPECT_EQ(budget->used(), 2U);
  // Earlier contents stay for the next time.
  ASSERT_EQ(queue->take_next(), 0U);
  ASSERT_TRUE(queue->complete(0, {}));
  const auto owner = plane(0, 1).owner();
  EXPECT_EQ(qbuf(0, {bad, {page(9), page(4, 2)}}), EFAULT);
  EXPECT_EQ(plane(0, 1).owner(), owner);
  EXPECT_EQ(budget->used(), 2U);
}

TEST_F(UserBuffers, AMappingIsKeptWhileTheMemoryIsTheSame) {
  make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE);
  const Ranges ranges{page(9), page(4, 2)};
  ASSERT_EQ(qbuf(0, {ranges}), 0);
  const auto owner = plane(0).owner();
  const auto again = [&](const Ranges& list) {
    ASSERT_EQ(queue->take_next(), 0U);
    ASSERT_TRUE(queue->complete(0, {}));
    ASSERT_EQ(qbuf(0, {list}), 0);
  };
  again(ranges);
  EXPECT_EQ(plane(0).owner(), owner);
  table = make_table({&ram});
  again(ranges);
  EXPECT_EQ(plane(0).owner(), owner);
  ASSERT_TRUE(queue->stream_off(queue->type()));
  ASSERT_EQ(qbuf(0, {ranges}), 0);
  EXPECT_EQ(plane(0).owner(), owner) << "vb2 keeps pages over STREAMOFF, too";
  again({page(9), page(6, 2)});
  EXPECT_NE(plane(0).owner(), owner);
  EXPECT_EQ(budget->used(), 4U) << "the worker's share, and the new one";
}

TEST_F(UserBuffers, MappingsGoWithTheBuffers) {
  const auto fill = [&] {
    make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE, 3);
    for (std::uint32_t i = 0; i < 3; ++i)
      ASSERT_EQ(qbuf(i, {{page(9 + i), page(4), {{first_page + i}, 100}, {{first_page + i + 200}, size}}}),
                0);
    EXPECT_EQ(plane(0).user.way(), Way::copied);
    ASSERT_TRUE(queue->stream_off(queue->type()));
    for (std::uint32_t i = 0; i < 3; ++i) ASSERT_EQ(qbuf(i, {{page(9 + i), page(4), page(20)}}), 0);
    EXPECT_EQ(arenas.used_bytes(), 0U);
    EXPECT_EQ(budget->used(), 9U);
    ASSERT_TRUE(queue->stream_off(queue->type()));
  };
  fill();
  RemoveBuffers remove{};
  remove.type = queue->type();
  remove.count = 2;
  ASSERT_TRUE(queue->remove_bufs(remove));
  EXPECT_EQ(budget->used(), 3U);
  v4l2_requestbuffers none{};
  none.type = queue->type();
  none.memory = V4L2_MEMORY_USERPTR;
  ASSERT_TRUE(queue->reqbufs(none, {}, arenas));
  EXPECT_EQ(budget->used(), 0U);
  fill();
  queue->release();
  EXPECT_EQ(budget->used(), 0U);
  fill();
  queue.reset();
  EXPECT_EQ(budget->used(), 0U);
}

TEST_F(UserBuffers, RangesOfAQueueAreBounded) {
  make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE, 64);
  const Ranges bytes(max_guest_ranges, GuestRange{{first_page}, 1});
  arenas = memory::Arenas();
  std::uint32_t index = 0;
  for (; index < BufferQueue::max_ranges / max_guest_ranges; ++index) ASSERT_EQ(qbuf(index, {bytes}), 0);
  EXPECT_EQ(qbuf(index, {bytes}), ENOMEM);
  EXPECT_EQ(qbuf(index, {{page(1, 3)}}), ENOMEM);
  queue->release();
  EXPECT_EQ(arenas.used_bytes(), 0U);
}

// A worker still writes after the guest has taken back its buffers and the frontend its memory.
TEST_F(UserBuffers, AWorkerKeepsWhatItWritesTo) {
  for (const Ranges& ranges : {Ranges{page(9), page(4), page(20)}, Ranges{page(30, 3)}}) {
    table = make_table({&ram});
    make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE, 1);
    ASSERT_EQ(qbuf(0, {ranges}), 0);
    ASSERT_EQ(queue->take_next(), 0U);
    std::promise<void> all_gone;
    std::thread worker([bytes = plane(0).bytes(), owner = plane(0).owner(), gone = all_gone.get_future(),
                        budget = budget]() mutable {
      std::ranges::fill(bytes.first(size / 2), std::byte{0x81});
      gone.wait();
      std::ranges::fill(bytes.subspan(size / 2), std::byte{0x82});
      owner.reset();
      EXPECT_EQ(budget->used(), 0U);
    });
    table = make_table({&ram});
    table = memory::GuestMemory::empty();
    ASSERT_TRUE(queue->stream_off(queue->type()));
    queue->release();
    queue.reset();
    all_gone.set_value();
    worker.join();
    EXPECT_EQ(ram.data()[ranges.front().start.value - first_page], std::byte{0x81});
    const GuestRange& last = ranges.back();
    EXPECT_EQ(ram.data()[last.start.value + last.length - 1 - first_page], std::byte{0x82});
  }
}

TEST_F(UserBuffers, WithoutGuestMemoryAtHandTheyAreAFault) {
  make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE, 1);
  BufferPayload sent = payload(0, {{page(1, 3)}});
  EXPECT_EQ(queue->qbuf(sent).error().value, EFAULT);
  EXPECT_EQ(queue->prepare_buf(sent).error().value, EFAULT);
}

std::size_t mappings_of_this_process() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) ++count;
  return count;
}

// Linux's own count, not ours: queues that come and go leave nothing behind.
TEST_F(UserBuffers, NoMappingIsLeftBehind) {
  const auto once = [&] {
    make_queue(V4L2_BUF_TYPE_VIDEO_CAPTURE);
    ASSERT_EQ(qbuf(0, {{page(9), page(4), page(20)}}), 0);
    ASSERT_EQ(qbuf(1, {{page(1, 3)}}), 0);
    table = make_table({&ram});
    queue.reset();
  };
  once();
  const std::size_t before = mappings_of_this_process();
  for (int i = 0; i < 200; ++i) once();
  EXPECT_LT(mappings_of_this_process(), before + 100);
}

}  // namespace
}  // namespace vumedia::v4l2::test
