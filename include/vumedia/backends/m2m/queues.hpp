// The two queues of an open memory-to-memory device, and the memory of their buffers.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/queue_types.hpp>
#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/buffer_requests.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::backends::m2m {

/// What an engine says about the buffers of any format that it has.
struct BufferLimits {
  std::uint32_t output_bytes = 0;   ///< the largest that a guest may ask for
  std::uint32_t capture_bytes = 0;  ///< likewise
  /// Whether an OUTPUT buffer may have no bytes. Otherwise one that claims that is taken for a full one.
  bool empty_output = false;
};

/// What a file may make us hold is `max_bytes`: MMAP buffers, copies of USERPTR buffers and their lists of
/// pages, and what the engine has (engine_bytes()).
class Queues {
 public:
  using Queue = v4l2::BufferQueue;  ///< of V4L2 buffers

  /// `mappings` is the device's budget for USERPTR buffers.
  Queues(media::Context context, const QueueTypes& types, const BufferLimits& limits, std::uint64_t max_bytes,
         const std::shared_ptr<memory::Budget>& mappings)
      : context_(context),
        types_(types),
        max_bytes_(max_bytes),
        bytes_(std::make_shared<memory::Budget>(max_bytes, context.arenas().budget())),
        engine_bytes_(std::make_shared<memory::Budget>(max_bytes, bytes_)),
        arenas_(context.arenas().within(bytes_)),
        mappings_(std::make_shared<memory::Budget>(v4l2::max_session_mappings, mappings)),
        output_({.type = types.output,
                 .copies_timestamps = true,
                 .max_length = limits.output_bytes,
                 .userptr = true,
                 .mappings = mappings_,
                 .allows_zero_bytesused = limits.empty_output}),
        capture_({.type = types.capture,
                  .copies_timestamps = true,
                  .mem_offset_base = Queue::mem_offset_span,
                  .max_length = limits.capture_bytes,
                  .userptr = true,
                  .mappings = mappings_}) {}
  Queues(const Queues&) = delete;
  Queues& operator=(const Queues&) = delete;

  /// The types of the two.
  [[nodiscard]] const QueueTypes& types() const noexcept { return types_; }
  /// Takes pictures, or coded data; it lives as long as this.
  [[nodiscard]] Queue& output() noexcept { return output_; }
  /// The same.
  [[nodiscard]] const Queue& output() const noexcept { return output_; }
  /// Gives pictures, or coded data; it lives as long as this.
  [[nodiscard]] Queue& capture() noexcept { return capture_; }
  /// The same.
  [[nodiscard]] const Queue& capture() const noexcept { return capture_; }
  /// In the order of their mem_offsets.
  [[nodiscard]] std::array<Queue*, 2> both() noexcept { return {&output_, &capture_}; }
  /// Null for a type of neither.
  [[nodiscard]] Queue* find(std::uint32_t type) noexcept {
    return type == types_.output ? &output_ : type == types_.capture ? &capture_ : nullptr;
  }
  /// Whether it is the OUTPUT queue. `queue` is one of the two.
  [[nodiscard]] bool is_output(const Queue& queue) const noexcept { return &queue == &output_; }
  /// The one that `queue` is not.
  [[nodiscard]] const Queue& other(const Queue& queue) const noexcept {
    return is_output(queue) ? capture_ : output_;
  }
  /// Whether both do.
  [[nodiscard]] bool stream() const noexcept { return output_.streaming() && capture_.streaming(); }

  // -- Memory

  /// How many bytes the file may make us hold.
  [[nodiscard]] std::uint64_t max_bytes() const noexcept { return max_bytes_; }
  /// The engine's part of the file's bytes: it takes from this what it holds itself.
  [[nodiscard]] const std::shared_ptr<memory::Budget>& engine_bytes() const noexcept { return engine_bytes_; }
  /// Where buffers come from.
  [[nodiscard]] memory::Arenas& arenas() noexcept { return arenas_; }

  /// Before REQBUFS of `queue`, with buffers of `size` bytes: lowers the count to what there is memory for.
  /// `needed`: the bytes that the engine will need. ENOMEM if there is none; memory::again while memory is
  /// being cleared.
  [[nodiscard]] Result<> may_allocate(const Queue& queue, v4l2_requestbuffers& request, std::uint32_t size,
                                      std::uint64_t needed) const noexcept {
    if (request.memory != V4L2_MEMORY_MMAP) return {};
    const std::uint32_t most = affordable(size, needed, &queue);
    if (most < request.count && arenas_.dirty()) return fail(memory::again);
    if (request.count != 0 && most == 0 && !queue.streaming()) return fail(ENOMEM);
    request.count = std::min(request.count, most);
    return {};
  }
  /// CREATE_BUFS likewise, with buffers of the size that the request states. EINVAL if no format of the queue
  /// needs so much.
  [[nodiscard]] Result<> may_allocate(const Queue& queue, v4l2_create_buffers& request,
                                      std::uint64_t needed) const noexcept {
    if (request.count == 0) return {};
    const auto sizes = v4l2::requested_sizes(request.format);
    if (!sizes) return std::unexpected(sizes.error());
    const std::uint32_t wanted = (*sizes)[0];
    if (wanted > queue.options().max_length) return fail(EINVAL);
    if (request.memory != V4L2_MEMORY_MMAP) return {};
    const std::uint32_t most = affordable(wanted, needed, nullptr);
    if (most < request.count && arenas_.dirty()) return fail(memory::again);
    if (most == 0) return fail(ENOMEM);
    request.count = std::min(request.count, most);
    return {};
  }

  // -- Buffers on their way back to the guest

  /// One that was taken from `queue` is the guest's again, with the queue's next sequence number.
  void complete(Queue& queue, std::uint32_t index, Queue::Completion done) noexcept {
    done.sequence = (is_output(queue) ? output_sequence_ : capture_sequence_)++;
    if (const auto buffer = queue.complete(index, done)) context_.send_dqbuf(*buffer);
  }
  /// `queue` has stopped, and counts from 0 when it starts again.
  void restart_sequence(const Queue& queue) noexcept {
    (is_output(queue) ? output_sequence_ : capture_sequence_) = 0;
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
  // How many more buffers of `size` bytes the file may have if those in `freed` are freed first. `needed`:
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

  const media::Context context_;
  const QueueTypes types_;
  const std::uint64_t max_bytes_;
  const std::shared_ptr<memory::Budget> bytes_;         // everything that the file makes us hold
  const std::shared_ptr<memory::Budget> engine_bytes_;  // of that, the engine's part
  memory::Arenas arenas_;
  const std::shared_ptr<memory::Budget> mappings_;
  Queue output_;
  Queue capture_;
  std::uint32_t output_sequence_ = 0;
  std::uint32_t capture_sequence_ = 0;
};

}  // namespace vumedia::backends::m2m
