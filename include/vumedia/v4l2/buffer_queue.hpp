// A queue of V4L2 buffers: what videobuf2 is to a kernel driver, with its states, flags and errors.
//
// Guests drive it through the ioctls of "Streaming I/O" in the kernel's V4L2 documentation; a backend takes
// queued buffers, fills or reads them, and completes them. A completed buffer is dequeued at once: in
// virtio-media the DQBUF event is the VIDIOC_DQBUF. Not thread-safe: one queue belongs to one loop.
//
// MMAP planes are Blocks of the device's arenas, one each. A Block lives as long as anyone holds it, so
// memory that a guest has mapped or a decoder still reads outlives REQBUFS(0), like vb2's orphaned buffers.
// USERPTR planes are lists of guest ranges, refused unless enabled, and mapped when they are queued
// (v4l2/user_planes.hpp); as in vb2, a mapping is kept for as long as the buffer comes with the same memory,
// even across STREAMOFF, and is removed with the buffer (REQBUFS, REMOVE_BUFS, release()). DMABUF is refused.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/mappable.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_description.hpp>
#include <vumedia/v4l2/buffer_hand_over.hpp>
#include <vumedia/v4l2/buffer_index_fifo.hpp>
#include <vumedia/v4l2/buffer_queue_options.hpp>
#include <vumedia/v4l2/buffer_requests.hpp>
#include <vumedia/v4l2/buffer_slots.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/plane_storing.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::v4l2 {

/// Belongs to a session, or to a backend whose sessions share it. For the device's loop.
class BufferQueue {
 public:
  /// Limits of a queue.
  ///@{
  static constexpr std::uint32_t max_planes = BufferSlot::max_planes;
  static constexpr std::size_t max_ranges = BufferHandOver::max_ranges;
  static constexpr std::uint32_t mem_offset_span = BufferSlots::mem_offset_span;
  ///@}

  /// What its parts are called elsewhere.
  ///@{
  using State = BufferState;
  using Plane = BufferPlane;
  using Slot = BufferSlot;
  using Completion = BufferCompletion;
  ///@}

  /// A queue without buffers. Options beyond their limits are brought within them.
  explicit BufferQueue(const BufferQueueOptions& options)
      : options_(within_limits(options)),
        slots_(options_.max_buffers, options_.mem_offset_base),
        hand_over_(options_) {}

  // ---- Ioctls. Each takes the payload as the guest sent it and fills it in as vb2 would.

  /// `sizes`: bytes of each plane in the current format, 1 to max_planes of them, none 0. EINVAL: the type or
  /// memory is not that of this queue. EBUSY: streaming. ENOMEM: there is no memory even for `min_buffers`.
  /// memory::again: `arenas` lack the room until they are cleaned. The last also holds for create_bufs().
  [[nodiscard]] Result<> reqbufs(v4l2_requestbuffers& request, std::span<const std::uint32_t> sizes,
                                 memory::Arenas& arenas);

  /// `minimum`: bytes that each plane of the current format needs; the guest may ask for more, up to
  /// `max_length`, but not for less. EINVAL: as above, or a size or plane count that does not fit. ENOBUFS:
  /// no index is free.
  [[nodiscard]] Result<> create_bufs(v4l2_create_buffers& request, std::span<const std::uint32_t> minimum,
                                     memory::Arenas& arenas);

  /// EINVAL: a buffer of the range does not exist. EBUSY: one is queued.
  [[nodiscard]] Result<> remove_bufs(const RemoveBuffers& request);

  /// VIDIOC_QUERYBUF. EINVAL: there is no such buffer, or another number of planes was asked for.
  [[nodiscard]] Result<> querybuf(BufferPayload& payload) const;
  /// EINVAL, EIO (after set_error), EBADR (QBUF: the guest asks for a request). USERPTR: EINVAL for a plane
  /// that is shorter than the format's or longer than `max_length`, EFAULT, ENOMEM as UserPlane::map says,
  /// EFAULT for a null pointer, and ENOMEM for more ranges than a queue may have.
  [[nodiscard]] Result<> qbuf(BufferPayload& payload, const UserMemory& user) {
    return enqueue(payload, &user);
  }
  /// Prepares a buffer as qbuf() would, without queueing it; errors as there.
  [[nodiscard]] Result<> prepare_buf(BufferPayload& payload, const UserMemory& user) {
    return prepare_buf(payload, &user);
  }
  /// For a queue without USERPTR buffers; such buffers fail with EFAULT.
  [[nodiscard]] Result<> qbuf(BufferPayload& payload) { return enqueue(payload, nullptr); }
  /// Likewise.
  [[nodiscard]] Result<> prepare_buf(BufferPayload& payload) { return prepare_buf(payload, nullptr); }

  /// EINVAL: wrong type, no buffers, or fewer than `min_queued`. It is not an error if the queue streams
  /// already.
  [[nodiscard]] Result<> stream_on(std::uint32_t type);
  /// All buffers return to the dequeued state, including those that a backend holds; the caller has to purge
  /// waiting DQBUF events. EINVAL: wrong type.
  [[nodiscard]] Result<> stream_off(std::uint32_t type);

  /// The plane at a mem_offset, as a backend's mmap() returns it: with the plane's own length, and shown to
  /// the guest for as long as its block is held. While one is held, every call returns the same block.
  /// EINVAL: there is no such plane.
  [[nodiscard]] Result<memory::Mappable> mappable(std::uint32_t mem_offset) {
    return slots_.mappable(mem_offset);
  }

  // ---- The backend's side.

  /// The oldest queued buffer, which becomes active.
  [[nodiscard]] std::optional<std::uint32_t> take_next() noexcept {
    return take_if([](const Slot&) { return true; });
  }
  /// The oldest that satisfies `accepts(const Slot&)`; a decoder skips memory that it still references.
  template <class Accepts>
  [[nodiscard]] std::optional<std::uint32_t> take_if(Accepts&& accepts) {
    const auto index = queued_.take_if([&](std::uint32_t i) { return accepts(std::as_const(slots_[i])); });
    if (index) slots_[*index].state = State::active;
    return index;
  }
  /// An active buffer goes back to the head of the queue, unused.
  void give_back(std::uint32_t index) noexcept {
    if (!is_active(index)) return;
    storing_.forget(index);
    slots_[index].state = State::queued;
    queued_.push_front(index);
  }
  /// An active buffer becomes dequeued. Returns what the guest's VIDIOC_DQBUF returns, for the DQBUF event;
  /// or nothing if the buffer is not active (any more). For a USERPTR CAPTURE plane that is `copied`, stores
  /// those of the `bytesused` bytes in the guest's memory that store() has not stored yet.
  [[nodiscard]] std::optional<Buffer> complete(std::uint32_t index, const Completion& done) noexcept;

  /// Stores what complete() would store, as much as `work` allows (null: nothing). True if nothing is left;
  /// otherwise it must be called again for this buffer, in another turn, before it is called for another one.
  [[nodiscard]] bool store(std::uint32_t index, const Completion& done, memory::Work* work) noexcept {
    if (!is_active(index) || is_output(options_.type)) return true;
    return storing_.go_on(index, slots_[index], done.bytesused, work);
  }

  /// Bumped whenever buffers are taken from the backend (STREAMOFF, REQBUFS): a worker that took a buffer in
  /// an earlier generation must not complete it.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  /// Whether a buffer that was taken in `generation` still is the backend's.
  [[nodiscard]] bool is_active(std::uint32_t index, std::uint64_t generation) const noexcept {
    return generation == generation_ && is_active(index);
  }
  /// Whether a buffer is the backend's.
  [[nodiscard]] bool is_active(std::uint32_t index) const noexcept {
    const Slot* const found = slots_.find(index);
    return found != nullptr && found->state == State::active;
  }

  /// Null if there is no such buffer.
  [[nodiscard]] const Slot* slot(std::uint32_t index) const noexcept { return slots_.find(index); }
  /// A share in a plane's memory; null if there is no such plane.
  [[nodiscard]] std::shared_ptr<memory::Block> plane(std::uint32_t index,
                                                     std::uint32_t plane) const noexcept {
    const Slot* const found = slots_.find(index);
    return found != nullptr && plane < found->plane_count ? found->planes[plane].block : nullptr;
  }

  /// Whether buffers exist, so that the format must not change (vb2_is_busy).
  [[nodiscard]] bool is_busy() const noexcept { return busy_; }
  /// Whether STREAMON has come, and no STREAMOFF since.
  [[nodiscard]] bool streaming() const noexcept { return streaming_; }
  /// Whether the queue streams and enough buffers have been queued once.
  [[nodiscard]] bool started() const noexcept { return started_; }
  /// Buffers that exist.
  [[nodiscard]] std::uint32_t count() const noexcept { return slots_.count(); }
  /// Buffers that wait for the backend.
  [[nodiscard]] std::uint32_t queued_count() const noexcept { return queued_.size(); }
  /// V4L2_BUF_TYPE_*.
  [[nodiscard]] std::uint32_t type() const noexcept { return options_.type; }
  /// As the queue was made, within limits.
  [[nodiscard]] const BufferQueueOptions& options() const noexcept { return options_; }
  /// V4L2_BUF_CAP_*, as REQBUFS and CREATE_BUFS answer them.
  [[nodiscard]] std::uint32_t capabilities() const noexcept { return buffer_capabilities(options_); }

  /// Reports a fatal error: the guest's QBUF fails with EIO until STREAMOFF.
  void set_error() noexcept { failed_ = true; }

  /// Stops and frees everything, as closing the file does.
  void release() noexcept {
    cancel();
    slots_.free_all();
    busy_ = false;
  }

 private:
  [[nodiscard]] static BufferQueueOptions within_limits(BufferQueueOptions options) noexcept {
    options.max_buffers = std::min<std::uint32_t>(options.max_buffers, BufferIndexFifo::capacity);
    options.min_buffers = std::min(options.min_buffers, options.max_buffers);
    return options;
  }
  [[nodiscard]] Result<Slot*> find(const BufferPayload& payload) const noexcept;
  [[nodiscard]] Result<> enqueue(BufferPayload& payload, const UserMemory* user);
  [[nodiscard]] Result<> prepare_buf(BufferPayload& payload, const UserMemory* user);
  void describe(const Slot& slot, std::uint32_t index, Buffer& buffer) const noexcept {
    describe_buffer(options_, slots_, slot, index, buffer);
  }
  void start_if_ready() noexcept {
    if (streaming_ && queued_.size() >= options_.min_queued) started_ = true;
  }
  // Takes all buffers back.
  void cancel() noexcept;

  BufferQueueOptions options_;
  BufferSlots slots_;
  BufferHandOver hand_over_;
  PlaneStoring storing_;
  BufferIndexFifo queued_;
  std::uint64_t generation_ = 0;
  bool busy_ = false;
  bool streaming_ = false;
  bool started_ = false;
  bool failed_ = false;
};

// ---- Allocation

inline Result<> BufferQueue::reqbufs(v4l2_requestbuffers& request, std::span<const std::uint32_t> sizes,
                                     memory::Arenas& arenas) {
  if (auto valid = begin_request(options_, request); !valid) return valid;
  if (streaming_) return fail(EBUSY);

  if (request.count == 0 || slots_.count() != 0) {
    cancel();
    slots_.free_all();
    busy_ = false;
    if (request.count == 0) return {};
  }
  if (sizes.empty() || sizes.size() > max_planes) return fail(EINVAL);

  const std::uint32_t wanted = std::clamp(request.count, options_.min_buffers, options_.max_buffers);
  if (request.memory == V4L2_MEMORY_MMAP && must_wait_for_memory(wanted, sizes, arenas))
    return fail(memory::again);
  const std::uint32_t made = slots_.allocate({0, wanted}, request.memory, sizes, arenas);
  if (made == 0 || made < options_.min_buffers) {
    slots_.free(0, made);
    return fail(ENOMEM);
  }
  request.count = made;
  busy_ = true;
  return {};
}

inline Result<> BufferQueue::create_bufs(v4l2_create_buffers& request, std::span<const std::uint32_t> minimum,
                                         memory::Arenas& arenas) {
  const auto valid = begin_request(options_, slots_.count(), request);
  // This only asks about memory and type.
  if (request.count == 0) return valid;

  const auto sizes = requested_sizes(request.format);
  if (!sizes) return std::unexpected(sizes.error());
  if (!valid) return valid;
  if (slots_.count() == options_.max_buffers) return fail(ENOBUFS);
  if (slots_.count() != 0 && slots_.memory() != request.memory) return fail(EINVAL);
  if (sizes->size() != minimum.size()) return fail(EINVAL);
  for (std::size_t p = 0; p < sizes->size(); ++p) {
    if ((*sizes)[p] < minimum[p] || (*sizes)[p] > options_.max_length) return fail(EINVAL);
  }

  const auto hole = slots_.find_hole(std::min(request.count, options_.max_buffers - slots_.count()));
  if (!hole) return fail(ENOMEM);
  if (request.memory == V4L2_MEMORY_MMAP && must_wait_for_memory(hole->count, *sizes, arenas))
    return fail(memory::again);
  const std::uint32_t made = slots_.allocate(*hole, request.memory, *sizes, arenas);
  if (made == 0) return fail(ENOMEM);
  request.index = hole->first;
  request.count = made;
  busy_ = true;
  return {};
}

inline Result<> BufferQueue::remove_bufs(const RemoveBuffers& request) {
  if (request.type != options_.type) return fail(EINVAL);
  if (request.count == 0) return {};
  if (auto allowed = slots_.may_free(request.index, request.count); !allowed) return allowed;
  slots_.free(request.index, request.count);
  return {};
}

// ---- Queueing

inline Result<BufferQueue::Slot*> BufferQueue::find(const BufferPayload& payload) const noexcept {
  const v4l2_buffer& head = payload.buffer.head;
  Slot* const slot = slots_.find(head.index);
  if (head.type != options_.type || slot == nullptr) return fail(EINVAL);
  // A multi-planar buffer needs room for all its planes.
  if (is_multiplanar(options_.type) && payload.sent.planes < slot->plane_count) return fail(EINVAL);
  return slot;
}

inline Result<> BufferQueue::querybuf(BufferPayload& payload) const {
  const auto slot = find(payload);
  if (!slot) return std::unexpected(slot.error());
  describe(**slot, payload.buffer.head.index, payload.buffer);
  return {};
}

inline Result<> BufferQueue::prepare_buf(BufferPayload& payload, const UserMemory* user) {
  if (payload.buffer.head.flags & V4L2_BUF_FLAG_REQUEST_FD) return fail(EINVAL);
  const auto slot = find(payload);
  if (!slot) return std::unexpected(slot.error());
  if (payload.buffer.head.memory != slots_.memory()) return fail(EINVAL);
  if ((*slot)->state != State::dequeued) return fail(EINVAL);
  if (auto valid = hand_over_.check(slots_, **slot, payload); !valid) return valid;
  if (failed_) return fail(EIO);
  if (auto done = hand_over_.prepare(slots_, **slot, payload, user); !done) return done;
  hand_over_.reset();
  (*slot)->state = State::prepared;
  describe(**slot, payload.buffer.head.index, payload.buffer);
  return {};
}

// The order of the checks decides which error a buffer with several faults gets: it is vb2's order.
inline Result<> BufferQueue::enqueue(BufferPayload& payload, const UserMemory* user) {
  const auto found = find(payload);
  if (!found) return std::unexpected(found.error());
  Slot& slot = **found;
  const v4l2_buffer& head = payload.buffer.head;
  if (head.memory != slots_.memory()) return fail(EINVAL);
  const bool is_guests = slot.state == State::dequeued || slot.state == State::prepared;
  const bool in_request = head.flags & V4L2_BUF_FLAG_REQUEST_FD;
  if (in_request && !is_guests) return fail(EINVAL);
  if (slot.state == State::dequeued) {
    if (auto valid = hand_over_.check(slots_, slot, payload); !valid) return valid;
  }
  if (in_request) return fail(EBADR);
  if (failed_) return fail(EIO);
  if (!is_guests) return fail(EINVAL);
  if (slot.state == State::dequeued && !hand_over_.has_prepared(payload)) {
    if (auto done = hand_over_.prepare(slots_, slot, payload, user); !done) return done;
  }
  if (is_output(options_.type)) {
    if (auto done = hand_over_.fetch(slot, payload, user); !done) return done;
  }
  hand_over_.reset();
  slot.state = State::queued;
  queued_.push_back(head.index);
  describe(slot, head.index, payload.buffer);
  start_if_ready();
  return {};
}

// ---- Streaming

inline Result<> BufferQueue::stream_on(std::uint32_t type) {
  if (type != options_.type) return fail(EINVAL);
  if (streaming_) return {};
  if (slots_.count() == 0 || slots_.count() < options_.min_queued) return fail(EINVAL);
  streaming_ = true;
  start_if_ready();
  return {};
}

inline Result<> BufferQueue::stream_off(std::uint32_t type) {
  if (type != options_.type) return fail(EINVAL);
  // This applies even without STREAMON: buffers that were prepared or queued come back.
  cancel();
  return {};
}

inline void BufferQueue::cancel() noexcept {
  streaming_ = false;
  started_ = false;
  failed_ = false;
  queued_.clear();
  hand_over_.reset();
  storing_.reset();
  slots_.dequeue_all();
  ++generation_;
}

inline std::optional<Buffer> BufferQueue::complete(std::uint32_t index, const Completion& done) noexcept {
  Slot* const found = slots_.find(index);
  if (found == nullptr || found->state != State::active) return std::nullopt;
  Slot& slot = *found;
  const bool output = is_output(options_.type);
  bool error = done.error;

  slot.sequence = done.sequence;
  if (!output || !options_.copies_timestamps) slot.timestamp_ns = done.timestamp_ns;
  if (!output) {
    constexpr std::uint32_t filler =
        detail::picture_flags | V4L2_BUF_FLAG_LAST | V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
    slot.flags |= done.flags & filler;
    if (done.flags & V4L2_BUF_FLAG_TIMECODE) slot.timecode = done.timecode;
    slot.field = done.field;
    for (std::uint32_t p = 0; p < slot.plane_count; ++p)
      slot.planes[p].bytesused = std::min(done.bytesused[p], slot.planes[p].length);
    memory::Work all;
    all.begin(INT64_MAX);
    static_cast<void>(storing_.go_on(index, slot, done.bytesused, &all));
    error = storing_.failed() || error;
    storing_.reset();
  }
  slot.state = State::dequeued;

  Buffer buffer{};
  describe(slot, index, buffer);
  if (error) buffer.head.flags |= V4L2_BUF_FLAG_ERROR;
  return buffer;
}

}  // namespace vumedia::v4l2
