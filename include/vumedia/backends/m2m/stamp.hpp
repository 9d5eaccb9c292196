// What goes with a picture through a memory-to-memory device.
#pragma once

#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_slot.hpp>

namespace vumedia::backends::m2m {

/// The properties that a CAPTURE buffer inherits from the OUTPUT buffer that it was made from.
struct Stamp {
  std::uint64_t timestamp_ns = 0;  ///< of the picture
  v4l2_timecode timecode{};        ///< with V4L2_BUF_FLAG_TIMECODE
  /// V4L2_BUF_FLAG_TIMECODE and V4L2_BUF_FLAG_TSTAMP_SRC_MASK only.
  std::uint32_t flags = 0;

  /// Those of a queued OUTPUT buffer.
  [[nodiscard]] static Stamp of(const v4l2::BufferSlot& output) noexcept {
    return {output.timestamp_ns, output.timecode,
            output.flags & (V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_TSTAMP_SRC_MASK)};
  }
  /// Gives them to a CAPTURE buffer; its other flags stay set.
  void put(v4l2::BufferCompletion& capture) const noexcept {
    capture.timestamp_ns = timestamp_ns;
    capture.timecode = timecode;
    capture.flags |= flags;
  }
};

}  // namespace vumedia::backends::m2m
