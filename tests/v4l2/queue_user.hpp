// A client of one buffer queue, for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_queue.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {

inline constexpr std::uint32_t kSize = 10000;
inline constexpr std::uint32_t kSizes[] = {kSize};
inline constexpr std::uint32_t kTwoSizes[] = {8000, 4000};
// Flags that tell the state of a buffer.
inline constexpr std::uint32_t kStates =
    V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_ERROR | V4L2_BUF_FLAG_PREPARED;

inline int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

struct QueueUser {
  static constexpr std::uint64_t ram_at = 0x4000'0000;
  static constexpr unsigned long pointer_at = 0x7f12'0000'0000;

  // `kind`: V4L2_MEMORY_*. Planes of USERPTR buffers each have a place of their own in the guest's memory.
  explicit QueueUser(const BufferQueueOptions& options = {}, std::uint32_t kind = V4L2_MEMORY_MMAP)
      : memory_kind(kind), queue(options) {
    if (kind != V4L2_MEMORY_USERPTR) return;
    ram.emplace(ram_at, BufferIndexFifo::capacity * BufferQueue::max_planes * plane_room);
    table = vumedia::test::make_table({&*ram});
  }

  int reqbufs(std::uint32_t count) { return reqbufs(count, memory_kind); }
  int reqbufs(std::uint32_t count, std::uint32_t memory) {
    request = {};
    request.count = count;
    request.type = queue.type();
    request.memory = memory;
    request.flags = 0xff;
    return code(queue.reqbufs(request, sizes(), arenas));
  }
  int create_bufs(std::uint32_t count, std::uint32_t size = kSize) {
    create = {};
    create.count = count;
    create.memory = memory_kind;
    create.format.type = queue.type();
    if (is_multiplanar(queue.type())) {
      create.format.fmt.pix_mp.num_planes = 2;
      create.format.fmt.pix_mp.plane_fmt[0].sizeimage = size;
      create.format.fmt.pix_mp.plane_fmt[1].sizeimage = size;
    } else {
      create.format.fmt.pix.sizeimage = size;
    }
    return code(queue.create_bufs(create, sizes(), arenas));
  }
  int remove_bufs(std::uint32_t index, std::uint32_t count) {
    RemoveBuffers remove{};
    remove.index = index;
    remove.count = count;
    remove.type = queue.type();
    return code(queue.remove_bufs(remove));
  }
  BufferPayload make(std::uint32_t index) const {
    BufferPayload payload{};
    v4l2_buffer& head = payload.buffer.head;
    head.index = index;
    head.type = queue.type();
    head.memory = memory_kind;
    if (is_multiplanar(queue.type())) head.length = payload.sent.planes = 2;
    if (memory_kind == V4L2_MEMORY_USERPTR) {
      for (std::uint32_t p = 0; p < sizes().size(); ++p) set_plane(payload, p, kSize);
    }
    return payload;
  }
  // Makes plane `p` of a USERPTR buffer `length` bytes of the guest's.
  static void set_plane(BufferPayload& payload, std::uint32_t p, std::uint32_t length) {
    v4l2_buffer& head = payload.buffer.head;
    const std::uint64_t place =
        (head.index % BufferIndexFifo::capacity * BufferQueue::max_planes + p) * plane_room;
    v4l2_plane& plane = payload.buffer.planes[p];
    if (is_multiplanar(head.type)) {
      plane.length = length;
      plane.m.userptr = pointer_at + place;
    } else {
      head.length = length;
      head.m.userptr = pointer_at + place;
    }
    const GuestRange range[] = {{{ram_at + place}, length}};
    if (p == 0) payload.ranges.clear();
    payload.ranges.add_list(range);
  }
  int qbuf(BufferPayload& payload) {
    return code(ram ? queue.qbuf(payload, {table, arenas}) : queue.qbuf(payload));
  }
  int prepare(BufferPayload& payload) {
    return code(ram ? queue.prepare_buf(payload, {table, arenas}) : queue.prepare_buf(payload));
  }
  int qbuf(std::uint32_t index) { return qbuf(last = make(index)); }
  int prepare(std::uint32_t index) { return prepare(last = make(index)); }
  std::uint32_t flags(std::uint32_t index) {
    last = make(index);
    EXPECT_TRUE(queue.querybuf(last));
    return last.buffer.head.flags;
  }
  std::span<const std::uint32_t> sizes() const {
    return is_multiplanar(queue.type()) ? std::span<const std::uint32_t>(kTwoSizes) : kSizes;
  }
  int stream_on() { return code(queue.stream_on(queue.type())); }
  int stream_off() { return code(queue.stream_off(queue.type())); }

  static constexpr std::uint64_t plane_room = 4 * page_size;

  std::uint32_t memory_kind;
  std::optional<vumedia::test::RamFile> ram;
  std::shared_ptr<const memory::GuestMemory> table;
  memory::Arenas arenas;
  BufferQueue queue;
  v4l2_requestbuffers request{};
  v4l2_create_buffers create{};
  BufferPayload last{};
};

}  // namespace vumedia::v4l2::test
