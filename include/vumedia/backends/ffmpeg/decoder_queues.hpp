// A decoder's two queues, and the memory of their buffers.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/capture_slots.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/negotiation.hpp>
#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::backends::ffmpeg {

// What a session may make us hold is `max_bytes`: MMAP buffers, copies of USERPTR buffers and their lists of
// pages, and what the engine has (engine_bytes()).
class DecoderQueues {
 public:
  using Queue = v4l2::BufferQueue;

  // `mappings` is the device's budget for USERPTR buffers.
  DecoderQueues(const QueueTypes& types, const SizeLimits& limits, std::uint64_t max_bytes,
                const std::shared_ptr<memory::Budget>& mappings, media::Context context)
      : context_(context),
        bytes_(std::make_shared<memory::Budget>(max_bytes, context.arenas().budget())),
        engine_bytes_(std::make_shared<memory::Budget>(max_bytes, bytes_)),
        arenas_(context.arenas().within(bytes_)),
        mappings_(std::make_shared<memory::Budget>(v4l2::max_session_mappings, mappings)),
        types_(types),
        output_({.type = types.output,
                 .copies_timestamps = true,
                 .max_length = most_coded_bytes(limits),
                 .userptr = true,
                 .mappings = mappings_,
                 .allows_zero_bytesused = true}),
        capture_({.type = types.capture,
                  .copies_timestamps = true,
                  .mem_offset_base = Queue::mem_offset_span,
                  .max_length = most_raw_bytes(limits),
                  .userptr = true,
                  .mappings = mappings_}) {}
  DecoderQueues(const DecoderQueues&) = delete;
  DecoderQueues& operator=(const DecoderQueues&) = delete;

  [[nodiscard]] Queue& output() noexcept { return output_; }
  [[nodiscard]] const Queue& output() const noexcept { return output_; }
  [[nodiscard]] Queue& capture() noexcept { return capture_; }
  [[nodiscard]] const Queue& capture() const noexcept { return capture_; }
  // Null for a type of neither.
  [[nodiscard]] Queue* find(std::uint32_t type) noexcept {
    return type == types_.output ? &output_ : type == types_.capture ? &capture_ : nullptr;
  }

  // The engine's part of the session's bytes.
  [[nodiscard]] const std::shared_ptr<memory::Budget>& engine_bytes() const noexcept { return engine_bytes_; }
  // Where buffers come from.
  [[nodiscard]] memory::Arenas& arenas() noexcept { return arenas_; }

  // Before REQBUFS of `queue`, with buffers of `size` bytes: lowers the count to what there is memory for.
  // `needed`: the bytes that the engine will need. ENOMEM if there is none; memory::again while memory is
  // being cleared.
  [[nodiscard]] Result<> may_allocate(const Queue& queue, v4l2_requestbuffers& request, std::uint32_t size,
                                      std::uint64_t needed) const noexcept {
    if (request.memory != V4L2_MEMORY_MMAP) return {};
    const std::uint32_t most = affordable(size, needed, &queue);
    if (most < request.count && arenas_.dirty()) return fail(memory::again);
    if (request.count != 0 && most == 0 && !queue.streaming()) return fail(ENOMEM);
    request.count = std::min(request.count, most);
    return {};
  }
  // CREATE_BUFS likewise. `wanted`: the bytes of a buffer that the request asks for. EINVAL if no picture is
  // that large.
  [[nodiscard]] Result<> may_allocate(const Queue& queue, v4l2_create_buffers& request, std::uint32_t wanted,
                                      std::uint64_t needed) const noexcept {
    if (request.count == 0) return {};
    if (wanted > queue.options().max_length) return fail(EINVAL);
    if (request.memory != V4L2_MEMORY_MMAP) return {};
    const std::uint32_t most = affordable(std::max(wanted, 1u), needed, nullptr);
    if (most < request.count && arenas_.dirty()) return fail(memory::again);
    if (most == 0) return fail(ENOMEM);
    request.count = std::min(request.count, most);
    return {};
  }

  // The length of the CAPTURE buffer that `payload` is about. Nothing if there is no such buffer.
  [[nodiscard]] std::optional<std::uint32_t> capture_length(
      const v4l2::BufferPayload& payload) const noexcept {
    const v4l2_buffer& head = payload.buffer.head;
    const auto* const slot = capture_.slot(head.index);
    if (slot == nullptr) return std::nullopt;
    // For its own memory the guest states the size each time.
    if (head.memory != V4L2_MEMORY_USERPTR) return slot->planes[0].length;
    return types_.multiplanar() ? payload.buffer.planes[0].length : head.length;
  }

  // Whether a CAPTURE buffer has room for a frame. There may be smaller ones, too: from before a change,
  // along with those that CREATE_BUFS has made for the frames after it. They are skipped.
  [[nodiscard]] bool a_capture_buffer_holds(std::size_t size) const noexcept {
    for (std::uint32_t i = 0; i < capture_.options().max_buffers; ++i) {
      const auto* const slot = capture_.slot(i);
      if (slot != nullptr && slot->planes[0].length >= size) return true;
    }
    return false;
  }

  // Gives `use` the coded buffers that the engine may have.
  template <class Use>
  void take_output(Use use) {
    if (!output_.streaming()) return;
    while (const auto index = output_.take_next()) {
      const auto& slot = *output_.slot(*index);
      const auto& plane = slot.planes[0];
      CodedBuffer buffer;
      buffer.index = *index;
      // BufferQueue has checked both against the plane's length.
      const std::size_t used = plane.bytesused > plane.data_offset ? plane.bytesused - plane.data_offset : 0;
      buffer.bytes = plane.bytes().subspan(plane.data_offset, used);
      buffer.owner = plane.owner();
      buffer.stamp = {slot.timestamp_ns, slot.timecode,
                      slot.flags & (V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_TSTAMP_SRC_MASK)};
      use(std::move(buffer));
    }
  }
  // Likewise the index and the memory of CAPTURE buffers.
  template <class Use>
  void take_capture(Use use) {
    if (!capture_.streaming()) return;
    while (const auto index = capture_.take_next()) {
      const auto& plane = capture_.slot(*index)->planes[0];
      use(*index, BufferMemory{plane.bytes().data(), plane.bytes().size(), plane.owner(), plane.userptr});
    }
  }

  // Buffers that the engine has done with go back to the guest.
  void complete(const CodedBufferDone& done) {
    Queue::Completion completion;
    completion.error = done.damaged;
    completion.sequence = output_sequence_++;
    if (const auto buffer = output_.complete(done.index, completion)) context_.send_dqbuf(*buffer);
  }
  // Stores the samples of a frame where the guest sees them, if they are not there yet: as many as `work`
  // allows (null: none). False if it has to be called again, in a later turn, before the frame is complete.
  [[nodiscard]] bool store(const FrameDone& done, memory::Work* work) {
    return capture_.store(done.index, completion_of(done), work);
  }
  void complete(const FrameDone& done) {
    Queue::Completion completion = completion_of(done);
    completion.sequence = capture_sequence_++;
    if (const auto buffer = capture_.complete(done.index, completion)) context_.send_dqbuf(*buffer);
  }
  // `queue` has stopped, and counts from 0 when it starts again.
  void restart_sequence(const Queue& queue) noexcept {
    (&queue == &output_ ? output_sequence_ : capture_sequence_) = 0;
  }

 private:
  // For our memory; the guest's memory costs nothing.
  [[nodiscard]] static std::uint64_t buffer_bytes(const Queue& queue) noexcept {
    std::uint64_t bytes = 0;
    for (std::uint32_t i = 0; i < queue.options().max_buffers; ++i) {
      const auto* const slot = queue.slot(i);
      if (slot != nullptr && slot->planes[0].block != nullptr) bytes += slot->planes[0].block->size();
    }
    return bytes;
  }
  // How many more buffers of `size` bytes the session may have if those in `freed` are freed first. `needed`:
  // what the engine will need, part of which it may have already.
  [[nodiscard]] std::uint32_t affordable(std::uint64_t size, std::uint64_t needed,
                                         const Queue* freed) const noexcept {
    const std::uint64_t reserved = needed - std::min<std::uint64_t>(needed, engine_bytes_->used());
    const std::uint64_t left = bytes_->left() + (freed != nullptr ? buffer_bytes(*freed) : 0);
    const auto rounded = align_up(size, page_size);
    if (left <= reserved || !rounded || *rounded == 0) return 0;
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>((left - reserved) / *rounded, output_.options().max_buffers));
  }
  [[nodiscard]] static Queue::Completion completion_of(const FrameDone& done) noexcept {
    Queue::Completion completion;
    completion.bytesused[0] = done.bytes_used;
    completion.flags = done.flags | done.stamp.flags;
    completion.error = (done.flags & V4L2_BUF_FLAG_ERROR) != 0;
    completion.field = done.field;
    completion.timestamp_ns = done.stamp.timestamp_ns;
    completion.timecode = done.stamp.timecode;
    return completion;
  }

  const media::Context context_;
  const std::shared_ptr<memory::Budget> bytes_;         // everything that the session makes us hold
  const std::shared_ptr<memory::Budget> engine_bytes_;  // of that, the engine's part
  memory::Arenas arenas_;
  const std::shared_ptr<memory::Budget> mappings_;
  const QueueTypes types_;
  Queue output_;
  Queue capture_;
  std::uint32_t output_sequence_ = 0;
  std::uint32_t capture_sequence_ = 0;
};

}  // namespace vumedia::backends::ffmpeg
