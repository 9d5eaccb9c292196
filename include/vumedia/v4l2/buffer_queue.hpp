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
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/mappable.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_index_fifo.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::v4l2 {

// Capabilities that the headers of Debian 12 lack (Linux 6.8 and 6.10).
inline constexpr std::uint32_t buf_cap_supports_max_num_buffers = 1U << 7;
inline constexpr std::uint32_t buf_cap_supports_remove_bufs = 1U << 8;

struct BufferQueueOptions {
  std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  // Time stamps are copied from the OUTPUT buffer that a frame was made from (V4L2_BUF_FLAG_TIMESTAMP_COPY;
  // both queues of a codec), or are CLOCK_MONOTONIC, taken at the end or the start of exposure.
  bool copies_timestamps = false;
  bool start_of_exposure = false;
  // REQBUFS allocates at least this many, or fails.
  std::uint32_t min_buffers = 1;
  // Streaming starts only once this many buffers are queued (vb2's min_queued_buffers).
  std::uint32_t min_queued = 0;
  // At most BufferIndexFifo::capacity. Linux's own bound was VIDEO_MAX_FRAME, 32, until 6.8.
  std::uint32_t max_buffers = BufferIndexFifo::capacity;
  // mem_offsets are [base, base + BufferQueue::mem_offset_span). Queues of a session must not overlap.
  std::uint32_t mem_offset_base = 0;
  // The maximum size of a plane whose size the guest chooses (USERPTR, CREATE_BUFS): no more than the largest
  // sizeimage that format negotiation can give.
  std::uint32_t max_length = UINT32_MAX;
  bool userptr = false;
  // USERPTR: the budget for guest pages that are mapped side by side; null for none, so that scattered pages
  // are copied. A session has one for both its queues, which also counts against that of the device.
  std::shared_ptr<memory::Budget> mappings = nullptr;
  // OUTPUT: bytesused 0 means empty (an old way to signal the end of the stream), not "all of the buffer".
  bool allows_zero_bytesused = false;
};

class BufferQueue {
 public:
  static constexpr std::uint32_t max_planes = VIDEO_MAX_PLANES;
  // Guest ranges that all USERPTR buffers of a queue together may have: 2 GiB of single pages.
  static constexpr std::size_t max_ranges = 8 * max_guest_ranges;
  static constexpr std::uint32_t mem_offset_span =
      static_cast<std::uint32_t>(BufferIndexFifo::capacity * max_planes * page_size);

  // `active` buffers are in the backend's hands.
  enum class State : std::uint8_t { dequeued, prepared, queued, active };

  struct Plane {
    std::shared_ptr<memory::Block> block;  // MMAP
    UserPlane user;                        // USERPTR
    std::uint32_t length = 0;
    std::uint32_t min_length = 0;
    std::uint32_t bytesused = 0;
    std::uint32_t data_offset = 0;
    unsigned long userptr = 0;            // the guest's placeholder
    std::weak_ptr<memory::Block> mapped;  // alive while the guest maps the plane

    // The plane's `length` bytes in this process. For a USERPTR plane they are empty until it is first
    // queued.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept {
      return block != nullptr ? block->bytes().first(length) : user.bytes();
    }
    // Keeps bytes() valid, on any thread; null if they are empty. It identifies the memory: as long as a
    // buffer has the same owner and the same data(), it is in the same pages, so a decoder may safely keep a
    // reference picture there. Guest pages that move in memory, or that come with another index, have another
    // owner, because they may still be referenced under the old one.
    [[nodiscard]] std::shared_ptr<const void> owner() const noexcept {
      return block != nullptr ? block : user.owner();
    }
  };

  // What a backend may know about a buffer.
  struct Slot {
    State state = State::dequeued;
    std::uint32_t plane_count = 0;
    std::array<Plane, max_planes> planes;
    std::uint32_t flags = 0;
    std::uint32_t field = V4L2_FIELD_ANY;
    std::uint64_t timestamp_ns = 0;
    v4l2_timecode timecode{};
    std::uint32_t sequence = 0;
  };

  // What a backend reports for a buffer that it is done with.
  struct Completion {
    // CAPTURE: bytes from the start of each plane, data_offset included; OUTPUT buffers keep the values that
    // were queued.
    std::array<std::uint32_t, max_planes> bytesused{};
    // V4L2_BUF_FLAG_KEYFRAME, PFRAME, BFRAME, LAST, TIMECODE; TSTAMP_SRC bits if time stamps are copied.
    std::uint32_t flags = 0;
    bool error = false;
    // CAPTURE, and OUTPUT with CLOCK_MONOTONIC; an OUTPUT queue that copies time stamps keeps the guest's.
    std::uint64_t timestamp_ns = 0;
    std::uint32_t sequence = 0;
    std::uint32_t field = V4L2_FIELD_NONE;  // CAPTURE
    v4l2_timecode timecode{};
  };

  explicit BufferQueue(const BufferQueueOptions& options) : options_(options) {
    options_.max_buffers = std::min<std::uint32_t>(options_.max_buffers, BufferIndexFifo::capacity);
    options_.min_buffers = std::min(options_.min_buffers, options_.max_buffers);
    slots_.resize(options_.max_buffers);
  }

  // ---- Ioctls. Each takes the payload as the guest sent it and fills it in as vb2 would.

  // `sizes`: bytes of each plane in the current format, 1 to max_planes of them, none 0. EINVAL: the type or
  // memory is not that of this queue. EBUSY: streaming. ENOMEM: there is no memory even for `min_buffers`.
  // memory::again: `arenas` lack the room until they are cleaned. The last also holds for create_bufs().
  [[nodiscard]] Result<> reqbufs(v4l2_requestbuffers& request, std::span<const std::uint32_t> sizes,
                                 memory::Arenas& arenas);

  // `minimum`: bytes that each plane of the current format needs; the guest may ask for more, up to
  // `max_length`, but not for less. EINVAL: as above, or a size or plane count that does not fit. ENOBUFS: no
  // index is free.
  [[nodiscard]] Result<> create_bufs(v4l2_create_buffers& request, std::span<const std::uint32_t> minimum,
                                     memory::Arenas& arenas);

  // EINVAL: a buffer of the range does not exist. EBUSY: one is queued.
  [[nodiscard]] Result<> remove_bufs(const RemoveBuffers& request);

  [[nodiscard]] Result<> querybuf(BufferPayload& payload) const;
  // EINVAL, EIO (after set_error), EBADR (QBUF: the guest asks for a request). USERPTR: EINVAL for a plane
  // that is shorter than the format's or longer than `max_length`, EFAULT, ENOMEM as UserPlane::map says,
  // EFAULT for a null pointer, and ENOMEM for more ranges than a queue may have.
  [[nodiscard]] Result<> qbuf(BufferPayload& payload, const UserMemory& user) {
    return enqueue(payload, &user);
  }
  [[nodiscard]] Result<> prepare_buf(BufferPayload& payload, const UserMemory& user) {
    return prepare_buf(payload, &user);
  }
  // For a queue without USERPTR buffers; such buffers fail with EFAULT.
  [[nodiscard]] Result<> qbuf(BufferPayload& payload) { return enqueue(payload, nullptr); }
  [[nodiscard]] Result<> prepare_buf(BufferPayload& payload) { return prepare_buf(payload, nullptr); }

  // EINVAL: wrong type, no buffers, or fewer than `min_queued`. It is not an error if the queue streams
  // already.
  [[nodiscard]] Result<> stream_on(std::uint32_t type);
  // All buffers return to the dequeued state, including those that a backend holds; the caller has to purge
  // waiting DQBUF events. EINVAL: wrong type.
  [[nodiscard]] Result<> stream_off(std::uint32_t type);

  // The answers to a file that calls these while another owns the queue (the one that allocated its buffers,
  // until they are freed): EBUSY, unless the request is invalid for any file (EINVAL) or changes nothing. Of
  // the other ioctls, QUERYBUF is open to all, and the rest take a type: QBUF, PREPARE_BUF, STREAMON,
  // STREAMOFF.
  [[nodiscard]] Result<> refuse_other(v4l2_requestbuffers& request) const noexcept;
  [[nodiscard]] Result<> refuse_other(v4l2_create_buffers& request) const noexcept;
  [[nodiscard]] Result<> refuse_other(const RemoveBuffers& request) const noexcept;
  [[nodiscard]] Result<> refuse_other(std::uint32_t type) const noexcept {
    return fail(type == options_.type ? EBUSY : EINVAL);
  }

  // The plane at a mem_offset, as a backend's mmap() returns it: with the plane's own length, and shown to
  // the guest for as long as its block is held. While one is held, every call returns the same block. EINVAL:
  // there is no such plane.
  [[nodiscard]] Result<memory::Mappable> mappable(std::uint32_t mem_offset);

  // ---- The backend's side.

  // The oldest queued buffer, which becomes active.
  [[nodiscard]] std::optional<std::uint32_t> take_next() noexcept {
    return take_if([](const Slot&) { return true; });
  }
  // The oldest that satisfies `accepts(const Slot&)`; a decoder skips memory that it still references.
  template <class Accepts>
  [[nodiscard]] std::optional<std::uint32_t> take_if(Accepts&& accepts) {
    const auto index = queued_.take_if([&](std::uint32_t i) { return accepts(std::as_const(*slots_[i])); });
    if (index) slots_[*index]->state = State::active;
    return index;
  }
  // An active buffer goes back to the head of the queue, unused.
  void give_back(std::uint32_t index) noexcept {
    if (!is_active(index)) return;
    if (storing_.index == index) storing_ = {};
    slots_[index]->state = State::queued;
    queued_.push_front(index);
  }
  // An active buffer becomes dequeued. Returns what the guest's VIDIOC_DQBUF returns, for the DQBUF event;
  // or nothing if the buffer is not active (any more). For a USERPTR CAPTURE plane that is `copied`, stores
  // those of the `bytesused` bytes in the guest's memory that store() has not stored yet.
  [[nodiscard]] std::optional<Buffer> complete(std::uint32_t index, const Completion& done) noexcept;

  // Stores what complete() would store, as much as `work` allows (null: nothing). True if nothing is left;
  // otherwise it must be called again for this buffer, in another turn, before it is called for another one.
  [[nodiscard]] bool store(std::uint32_t index, const Completion& done, memory::Work* work) noexcept;

  // Bumped whenever buffers are taken from the backend (STREAMOFF, REQBUFS): a worker that took a buffer in
  // an earlier generation must not complete it.
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] bool is_active(std::uint32_t index, std::uint64_t generation) const noexcept {
    return generation == generation_ && is_active(index);
  }
  [[nodiscard]] bool is_active(std::uint32_t index) const noexcept {
    return exists(index) && slots_[index]->state == State::active;
  }

  // Null if there is no such buffer.
  [[nodiscard]] const Slot* slot(std::uint32_t index) const noexcept {
    return exists(index) ? slots_[index].get() : nullptr;
  }
  // A share in a plane's memory; null if there is no such plane.
  [[nodiscard]] std::shared_ptr<memory::Block> plane(std::uint32_t index,
                                                     std::uint32_t plane) const noexcept {
    if (!exists(index) || plane >= slots_[index]->plane_count) return nullptr;
    return slots_[index]->planes[plane].block;
  }

  // Whether buffers exist, so that the format must not change (vb2_is_busy).
  [[nodiscard]] bool is_busy() const noexcept { return busy_; }
  [[nodiscard]] bool streaming() const noexcept { return streaming_; }
  // Whether the queue streams and enough buffers have been queued once.
  [[nodiscard]] bool started() const noexcept { return started_; }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t queued_count() const noexcept { return queued_.size(); }
  [[nodiscard]] std::uint32_t type() const noexcept { return options_.type; }
  [[nodiscard]] const BufferQueueOptions& options() const noexcept { return options_; }
  [[nodiscard]] std::uint32_t capabilities() const noexcept {
    return V4L2_BUF_CAP_SUPPORTS_MMAP | V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS |
           (options_.userptr ? V4L2_BUF_CAP_SUPPORTS_USERPTR : 0U);
  }

  // Reports a fatal error: the guest's QBUF fails with EIO until STREAMOFF.
  void set_error() noexcept { failed_ = true; }

  // Stops and frees everything, as closing the file does.
  void release() noexcept {
    cancel();
    free_slots(0, options_.max_buffers);
    busy_ = false;
  }

 private:
  [[nodiscard]] bool exists(std::uint32_t index) const noexcept {
    return index < slots_.size() && slots_[index];
  }
  [[nodiscard]] Result<> check_memory_and_type(std::uint32_t memory, std::uint32_t type) const noexcept;
  [[nodiscard]] Result<> begin(v4l2_requestbuffers& request) const noexcept;
  [[nodiscard]] Result<> begin(v4l2_create_buffers& request) const noexcept;
  [[nodiscard]] Result<Slot*> find(const BufferPayload& payload) const noexcept;
  struct Said {
    std::uint32_t length, bytesused, data_offset;
    unsigned long userptr;
  };
  [[nodiscard]] Said said(const Plane& plane, const BufferPayload& payload, std::uint32_t p) const noexcept;
  [[nodiscard]] Result<> check_hand_over(const Slot& slot, const BufferPayload& payload) const noexcept;
  [[nodiscard]] Result<> enqueue(BufferPayload& payload, const UserMemory* user);
  [[nodiscard]] Result<> prepare_buf(BufferPayload& payload, const UserMemory* user);
  [[nodiscard]] Result<> prepare(Slot& slot, const BufferPayload& payload, const UserMemory* user);
  [[nodiscard]] Result<> map_planes(Slot& slot, const BufferPayload& payload, const UserMemory& user);
  [[nodiscard]] Result<> fetch_planes(Slot& slot, const BufferPayload& payload, const UserMemory* user);
  [[nodiscard]] std::size_t stored_ranges() const noexcept;
  [[nodiscard]] bool allocate_slot(std::uint32_t index, std::span<const std::uint32_t> sizes,
                                   memory::Arenas& arenas);
  [[nodiscard]] std::uint32_t allocate_slots(std::uint32_t first, std::uint32_t count,
                                             std::span<const std::uint32_t> sizes, memory::Arenas& arenas);
  [[nodiscard]] std::optional<std::uint32_t> find_free(std::uint32_t& count) const noexcept;
  [[nodiscard]] std::uint32_t mem_offset(std::uint32_t index, std::uint32_t plane) const noexcept {
    return options_.mem_offset_base + static_cast<std::uint32_t>((index * max_planes + plane) * page_size);
  }
  // Whether buffers of `sizes` must wait until freed memory has been cleaned.
  [[nodiscard]] bool must_wait(std::uint32_t count, std::span<const std::uint32_t> sizes,
                               const memory::Arenas& arenas) const noexcept;
  void fill(const Slot& slot, std::uint32_t index, Buffer& buffer) const noexcept;
  void start_if_ready() noexcept {
    if (streaming_ && queued_.size() >= options_.min_queued) started_ = true;
  }
  void cancel() noexcept;
  void free_slots(std::uint32_t first, std::uint32_t count) noexcept;

  // A QBUF or PREPARE_BUF that takes several calls. Only one at a time: the owner makes the next one wait.
  struct Progress {
    std::uint64_t serial = 0;  // of the payload
    bool prepared = false;     // only fetching is left
    std::uint32_t plane = 0;   // the one that is being fetched
    UserPlane::Cursor cursor;
    std::array<UserPlane::Comparison, max_planes> compared{};
    std::array<UserPlane, max_planes> fresh;
  };
  [[nodiscard]] bool goes_on(const BufferPayload& payload) const noexcept {
    return progress_ != nullptr && progress_->serial == payload.serial;
  }
  // A buffer whose planes are being stored.
  struct Storing {
    std::uint32_t index = UINT32_MAX;
    std::uint32_t plane = 0;
    UserPlane::Cursor cursor = {};
    bool failed = false;
  };

  BufferQueueOptions options_;
  std::unique_ptr<Progress> progress_;
  Storing storing_;
  std::vector<std::unique_ptr<Slot>> slots_;  // by index; null where there is no buffer
  BufferIndexFifo queued_;
  std::uint64_t generation_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t memory_ = 0;  // V4L2_MEMORY_*, 0 while there are no buffers
  bool busy_ = false;
  bool streaming_ = false;
  bool started_ = false;
  bool failed_ = false;
};

}  // namespace vumedia::v4l2

#include <vumedia/v4l2/detail/buffer_queue_allocation.hpp>
#include <vumedia/v4l2/detail/buffer_queue_impl.hpp>
