// What a guest is told about a buffer of a queue: by QUERYBUF, in the answers to QBUF and PREPARE_BUF, and in
// DQBUF events (struct v4l2_buffer and its flags in the kernel's V4L2 documentation).
#pragma once

#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_queue_options.hpp>
#include <vumedia/v4l2/buffer_slots.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::v4l2 {

namespace detail {

[[nodiscard]] constexpr timeval to_timeval(std::uint64_t ns) noexcept {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<suseconds_t>(ns % 1'000'000'000 / 1000)};
}

// The flags that the guest gets: those of the picture, of time stamps, and of the buffer's state.
[[nodiscard]] inline std::uint32_t flags_of_slot(const BufferQueueOptions& options,
                                                 const BufferSlot& slot) noexcept {
  bool mapped = false;
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) mapped = mapped || !slot.planes[p].mapped.expired();

  std::uint32_t flags = slot.flags;
  if (options.copies_timestamps) {
    flags |= V4L2_BUF_FLAG_TIMESTAMP_COPY;
  } else {
    flags &= ~static_cast<std::uint32_t>(V4L2_BUF_FLAG_TSTAMP_SRC_MASK);
    flags |= V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    flags |= options.start_of_exposure ? V4L2_BUF_FLAG_TSTAMP_SRC_SOE : V4L2_BUF_FLAG_TSTAMP_SRC_EOF;
  }
  if (slot.is_backends()) flags |= V4L2_BUF_FLAG_QUEUED;
  if (slot.state == BufferState::prepared) flags |= V4L2_BUF_FLAG_PREPARED;
  if (mapped) flags |= V4L2_BUF_FLAG_MAPPED;
  return flags;
}

}  // namespace detail

/// Fills in `buffer` for `slot`, which is slots[index]. Leaves a multi-planar `m.planes` as it is.
inline void describe_buffer(const BufferQueueOptions& options, const BufferSlots& slots,
                            const BufferSlot& slot, std::uint32_t index, Buffer& buffer) noexcept {
  v4l2_buffer& head = buffer.head;
  head.index = index;
  head.type = options.type;
  head.memory = slots.memory();
  head.bytesused = 0;
  head.flags = detail::flags_of_slot(options, slot);
  head.field = slot.field;
  head.timestamp = detail::to_timeval(slot.timestamp_ns);
  head.timecode = slot.timecode;
  head.sequence = slot.sequence;
  head.reserved2 = 0;
  head.request_fd = 0;

  const auto set_memory = [&](auto& m, std::uint32_t p) {
    m.userptr = 0;  // the widest member: nothing stale remains after a mem_offset
    if (slots.memory() == V4L2_MEMORY_USERPTR) {
      m.userptr = slot.planes[p].userptr;
    } else if constexpr (requires { m.mem_offset; }) {
      m.mem_offset = slots.mem_offset(index, p);
    } else {
      m.offset = slots.mem_offset(index, p);
    }
  };
  if (is_multiplanar(options.type)) {
    head.length = slot.plane_count;
    for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
      v4l2_plane& plane = buffer.planes[p];
      plane = {};
      plane.bytesused = slot.planes[p].bytesused;
      plane.length = slot.planes[p].length;
      plane.data_offset = slot.planes[p].data_offset;
      set_memory(plane.m, p);
    }
  } else {
    head.length = slot.planes[0].length;
    head.bytesused = slot.planes[0].bytesused;
    set_memory(head.m, 0);
  }
}

}  // namespace vumedia::v4l2
