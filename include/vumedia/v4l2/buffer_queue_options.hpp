// What a BufferQueue is to be like.
#pragma once

#include <cstdint>
#include <memory>

#include <linux/videodev2.h>

#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_index_fifo.hpp>

namespace vumedia::v4l2 {

/// The kind of a queue, and its limits.
struct BufferQueueOptions {
  std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;  ///< V4L2_BUF_TYPE_*
  /// Time stamps are copied from the OUTPUT buffer that a frame was made from (V4L2_BUF_FLAG_TIMESTAMP_COPY;
  /// both queues of a codec), or are CLOCK_MONOTONIC, taken at the end or the start of exposure.
  bool copies_timestamps = false;
  bool start_of_exposure = false;  ///< with CLOCK_MONOTONIC
  /// REQBUFS allocates at least this many, or fails.
  std::uint32_t min_buffers = 1;
  /// Streaming starts only once this many buffers are queued (vb2's min_queued_buffers).
  std::uint32_t min_queued = 0;
  /// At most BufferIndexFifo::capacity. Linux's own bound was VIDEO_MAX_FRAME, 32, until 6.8.
  std::uint32_t max_buffers = BufferIndexFifo::capacity;
  /// mem_offsets are [base, base + BufferQueue::mem_offset_span). Queues of a session must not overlap.
  std::uint32_t mem_offset_base = 0;
  /// The maximum size of a plane whose size the guest chooses (USERPTR, CREATE_BUFS): no more than the
  /// largest sizeimage that format negotiation can give.
  std::uint32_t max_length = UINT32_MAX;
  bool userptr = false;  ///< whether V4L2_MEMORY_USERPTR is offered, besides MMAP
  /// USERPTR: the budget for guest pages that are mapped side by side; null for none, so that scattered pages
  /// are copied. A session has one for both its queues, which also counts against that of the device.
  std::shared_ptr<memory::Budget> mappings = nullptr;
  /// OUTPUT: bytesused 0 means empty (an old way to signal the end of the stream), not "all of the buffer".
  bool allows_zero_bytesused = false;
};

}  // namespace vumedia::v4l2
