// Buffers on their way between a decoder's queues and its engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/capture_slots.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::backends::ffmpeg {

/// Gives `use` the coded buffers that the engine may have.
template <class Use>
void take_coded(v4l2::BufferQueue& output, Use use) {
  if (!output.streaming()) return;
  while (const auto index = output.take_next()) {
    const auto& slot = *output.slot(*index);
    const auto& plane = slot.planes[0];
    CodedBuffer buffer;
    buffer.index = *index;
    // BufferQueue has checked both against the plane's length.
    const std::size_t used = plane.bytesused > plane.data_offset ? plane.bytesused - plane.data_offset : 0;
    buffer.bytes = plane.bytes().subspan(plane.data_offset, used);
    buffer.owner = plane.owner();
    buffer.stamp = Stamp::of(slot);
    use(std::move(buffer));
  }
}
/// Likewise the index and the memory of CAPTURE buffers.
template <class Use>
void take_raw(v4l2::BufferQueue& capture, Use use) {
  if (!capture.streaming()) return;
  while (const auto index = capture.take_next()) {
    const auto& plane = capture.slot(*index)->planes[0];
    use(*index, BufferMemory{plane.bytes().data(), plane.bytes().size(), plane.owner(), plane.userptr});
  }
}

/// How an OUTPUT buffer goes back to the guest: with an error if it could not be decoded as a whole.
[[nodiscard]] inline v4l2::BufferQueue::Completion completion_of(const CodedBufferDone& done) noexcept {
  v4l2::BufferQueue::Completion completion;
  completion.error = done.damaged;
  return completion;
}
/// How a CAPTURE buffer goes back to the guest: with its frame's size, flags, field and stamp.
[[nodiscard]] inline v4l2::BufferQueue::Completion completion_of(const FrameDone& done) noexcept {
  v4l2::BufferQueue::Completion completion;
  completion.bytesused[0] = done.bytes_used;
  completion.flags = done.flags;
  completion.error = (done.flags & V4L2_BUF_FLAG_ERROR) != 0;
  completion.field = done.field;
  done.stamp.put(completion);
  return completion;
}

/// The length of the buffer of `queue` that `payload` is about. Nothing if there is no such buffer.
[[nodiscard]] inline std::optional<std::uint32_t> length_of(const v4l2::BufferQueue& queue,
                                                            const v4l2::BufferPayload& payload) noexcept {
  const v4l2_buffer& head = payload.buffer.head;
  const auto* const slot = queue.slot(head.index);
  if (slot == nullptr) return std::nullopt;
  // For its own memory the guest states the size each time.
  if (head.memory != V4L2_MEMORY_USERPTR) return slot->planes[0].length;
  return v4l2::is_multiplanar(queue.type()) ? payload.buffer.planes[0].length : head.length;
}

/// Whether one of the buffers has room for a frame. There may be smaller ones, too: from before a change,
/// along with those that CREATE_BUFS has made for the frames after it. They are skipped.
[[nodiscard]] inline bool any_holds(const v4l2::BufferQueue& queue, std::size_t size) noexcept {
  for (std::uint32_t i = 0; i < queue.options().max_buffers; ++i) {
    const auto* const slot = queue.slot(i);
    if (slot != nullptr && slot->planes[0].length >= size) return true;
  }
  return false;
}

}  // namespace vumedia::backends::ffmpeg
