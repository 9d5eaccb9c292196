// One buffer of a BufferQueue: its state, its planes, and what the guest or a backend said about them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/memory/arena.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::v4l2 {

/// `active` buffers are in the backend's hands.
enum class BufferState : std::uint8_t { dequeued, prepared, queued, active };

/// One plane of a buffer.
struct BufferPlane {
  std::shared_ptr<memory::Block> block;  ///< MMAP
  UserPlane user;                        ///< USERPTR
  std::uint32_t length = 0;              ///< in bytes; of USERPTR, what the guest states
  std::uint32_t min_length = 0;          ///< in bytes; less is refused
  std::uint32_t bytesused = 0;           ///< of the data, data_offset included
  std::uint32_t data_offset = 0;         ///< where the data begins
  unsigned long userptr = 0;             ///< the guest's placeholder
  std::weak_ptr<memory::Block> mapped;   ///< alive while the guest maps the plane

  /// The plane's `length` bytes in this process. For a USERPTR plane they are empty until it is first
  /// queued.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return block != nullptr ? block->bytes().first(length) : user.bytes();
  }
  /// Keeps bytes() valid, on any thread; null if they are empty. It identifies the memory: as long as a
  /// buffer has the same owner and the same data(), it is in the same pages, so a decoder may safely keep a
  /// reference picture there. Guest pages that move in memory, or that come with another index, have another
  /// owner, because they may still be referenced under the old one.
  [[nodiscard]] std::shared_ptr<const void> owner() const noexcept {
    return block != nullptr ? block : user.owner();
  }
};

/// What a backend may know about a buffer.
struct BufferSlot {
  static constexpr std::uint32_t max_planes = VIDEO_MAX_PLANES;  ///< of any buffer

  BufferState state = BufferState::dequeued;   ///< see BufferState
  std::uint32_t plane_count = 0;               ///< 1 for the single-planar API
  std::array<BufferPlane, max_planes> planes;  ///< the first plane_count count
  std::uint32_t flags = 0;                     ///< V4L2_BUF_FLAG_* that were stated of its contents
  std::uint32_t field = V4L2_FIELD_ANY;        ///< V4L2_FIELD_*
  std::uint64_t timestamp_ns = 0;              ///< of the picture
  v4l2_timecode timecode{};                    ///< with V4L2_BUF_FLAG_TIMECODE
  std::uint32_t sequence = 0;                  ///< of the picture

  /// Whether the backend has it, or is to have it.
  [[nodiscard]] bool is_backends() const noexcept {
    return state == BufferState::queued || state == BufferState::active;
  }
};

/// What a backend reports for a buffer that it is done with.
struct BufferCompletion {
  /// CAPTURE: bytes from the start of each plane, data_offset included; OUTPUT buffers keep the values that
  /// were queued.
  std::array<std::uint32_t, BufferSlot::max_planes> bytesused{};
  /// V4L2_BUF_FLAG_KEYFRAME, PFRAME, BFRAME, LAST, TIMECODE; TSTAMP_SRC bits if time stamps are copied.
  std::uint32_t flags = 0;
  bool error = false;  ///< the data is damaged: V4L2_BUF_FLAG_ERROR
  /// CAPTURE, and OUTPUT with CLOCK_MONOTONIC; an OUTPUT queue that copies time stamps keeps the guest's.
  std::uint64_t timestamp_ns = 0;
  std::uint32_t sequence = 0;             ///< counts pictures, or fields
  std::uint32_t field = V4L2_FIELD_NONE;  ///< CAPTURE
  v4l2_timecode timecode{};               ///< with V4L2_BUF_FLAG_TIMECODE
};

}  // namespace vumedia::v4l2
