// Member functions of BufferQueue for queueing and completing buffers. Included by
// <vumedia/v4l2/buffer_queue.hpp> only.
#pragma once

#include <vumedia/v4l2/buffer_queue.hpp>

namespace vumedia::v4l2 {

namespace detail {

// Flags that a queue computes from its state, whatever a guest sends.
inline constexpr std::uint32_t queue_flags = V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_QUEUED |
                                             V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_ERROR |
                                             V4L2_BUF_FLAG_PREPARED | V4L2_BUF_FLAG_IN_REQUEST |
                                             V4L2_BUF_FLAG_REQUEST_FD | V4L2_BUF_FLAG_TIMESTAMP_MASK;
// Flags about the picture, set by whoever fills the buffer.
inline constexpr std::uint32_t picture_flags =
    V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_BFRAME | V4L2_BUF_FLAG_TIMECODE;
// Hints for features that no queue of ours has: a hint that is ignored is not echoed.
inline constexpr std::uint32_t unsupported_flags =
    V4L2_BUF_FLAG_NO_CACHE_INVALIDATE | V4L2_BUF_FLAG_NO_CACHE_CLEAN | V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF;

[[nodiscard]] constexpr timeval to_timeval(std::uint64_t ns) noexcept {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<suseconds_t>(ns % 1'000'000'000 / 1000)};
}

// A guest may send any numbers; the arithmetic wraps like the kernel's.
[[nodiscard]] constexpr std::uint64_t to_ns(const timeval& time) noexcept {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_usec) * 1000;
}

}  // namespace detail

// ---- Queueing

inline Result<BufferQueue::Slot*> BufferQueue::find(const BufferPayload& payload) const noexcept {
  const v4l2_buffer& head = payload.buffer.head;
  if (head.type != options_.type || !exists(head.index)) return fail(EINVAL);
  Slot* const slot = slots_[head.index].get();
  // A multi-planar buffer needs room for all its planes.
  if (is_multiplanar(options_.type) && payload.sent.planes < slot->plane_count) return fail(EINVAL);
  return slot;
}

inline Result<> BufferQueue::querybuf(BufferPayload& payload) const {
  const auto slot = find(payload);
  if (!slot) return std::unexpected(slot.error());
  fill(**slot, payload.buffer.head.index, payload.buffer);
  return {};
}

inline Result<> BufferQueue::prepare_buf(BufferPayload& payload, const UserMemory* user) {
  if (payload.buffer.head.flags & V4L2_BUF_FLAG_REQUEST_FD) return fail(EINVAL);
  const auto slot = find(payload);
  if (!slot) return std::unexpected(slot.error());
  if (payload.buffer.head.memory != memory_) return fail(EINVAL);
  if ((*slot)->state != State::dequeued) return fail(EINVAL);
  if (auto valid = check_hand_over(**slot, payload); !valid) return valid;
  if (failed_) return fail(EIO);
  if (auto done = prepare(**slot, payload, user); !done) return done;
  progress_.reset();
  (*slot)->state = State::prepared;
  fill(**slot, payload.buffer.head.index, payload.buffer);
  return {};
}

// The order of the checks decides which error a buffer with several faults gets: it is vb2's order.
inline Result<> BufferQueue::enqueue(BufferPayload& payload, const UserMemory* user) {
  const auto found = find(payload);
  if (!found) return std::unexpected(found.error());
  Slot& slot = **found;
  const v4l2_buffer& head = payload.buffer.head;
  if (head.memory != memory_) return fail(EINVAL);
  const bool is_guests = slot.state == State::dequeued || slot.state == State::prepared;
  const bool in_request = head.flags & V4L2_BUF_FLAG_REQUEST_FD;
  if (in_request && !is_guests) return fail(EINVAL);
  if (slot.state == State::dequeued) {
    if (auto valid = check_hand_over(slot, payload); !valid) return valid;
  }
  if (in_request) return fail(EBADR);
  if (failed_) return fail(EIO);
  if (!is_guests) return fail(EINVAL);
  if (slot.state == State::dequeued && !(goes_on(payload) && progress_->prepared)) {
    if (auto done = prepare(slot, payload, user); !done) return done;
  }
  if (is_output(options_.type)) {
    if (auto done = fetch_planes(slot, payload, user); !done) return done;
    if (options_.copies_timestamps) slot.timestamp_ns = detail::to_ns(head.timestamp);
    if (head.flags & V4L2_BUF_FLAG_TIMECODE) {
      slot.flags |= V4L2_BUF_FLAG_TIMECODE;
      slot.timecode = head.timecode;
    }
  }
  progress_.reset();
  slot.state = State::queued;
  queued_.push_back(head.index);
  fill(slot, head.index, payload.buffer);
  start_if_ready();
  return {};
}

// What the guest states about plane `p`.
inline BufferQueue::Said BufferQueue::said(const Plane& plane, const BufferPayload& payload,
                                           std::uint32_t p) const noexcept {
  const v4l2_buffer& head = payload.buffer.head;
  const bool multiplanar = is_multiplanar(options_.type);
  const v4l2_plane& sent = payload.buffer.planes[p];
  Said said{.length = plane.length,
            .bytesused = multiplanar ? sent.bytesused : head.bytesused,
            .data_offset = multiplanar ? sent.data_offset : 0,
            .userptr = 0};
  if (memory_ == V4L2_MEMORY_USERPTR) {
    said.length = multiplanar ? sent.length : head.length;
    said.userptr = multiplanar ? sent.m.userptr : head.m.userptr;
  }
  return said;
}

// Only for an OUTPUT buffer does the guest state the contents.
inline Result<> BufferQueue::check_hand_over(const Slot& slot, const BufferPayload& payload) const noexcept {
  if (!is_output(options_.type)) return {};
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    const Said plane = said(slot.planes[p], payload, p);
    if (plane.bytesused > plane.length) return fail(EINVAL);
    const std::uint32_t used = plane.bytesused != 0 ? plane.bytesused : plane.length;
    if (plane.data_offset > 0 && plane.data_offset >= used) return fail(EINVAL);
  }
  if (payload.buffer.head.field == V4L2_FIELD_ALTERNATE) return fail(EINVAL);
  return {};
}

// Takes over what the guest states about a dequeued buffer, which check_hand_over() has found valid. Changes
// nothing if it fails.
inline Result<> BufferQueue::prepare(Slot& slot, const BufferPayload& payload, const UserMemory* user) {
  const v4l2_buffer& head = payload.buffer.head;
  const bool output = is_output(options_.type);
  if (memory_ == V4L2_MEMORY_USERPTR) {
    for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
      const Said plane = said(slot.planes[p], payload, p);
      if (plane.length < slot.planes[p].min_length || plane.length > options_.max_length) return fail(EINVAL);
      if (plane.userptr == 0) return fail(EFAULT);
    }
    if (user == nullptr) return fail(EFAULT);
    if (auto mapped = map_planes(slot, payload, *user); !mapped) return mapped;
  }

  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    Plane& plane = slot.planes[p];
    const Said sent = said(plane, payload, p);
    plane.length = sent.length;
    plane.userptr = sent.userptr;
    const bool whole = sent.bytesused == 0 && !options_.allows_zero_bytesused;
    plane.bytesused = !output ? 0 : whole ? sent.length : sent.bytesused;
    plane.data_offset = output ? sent.data_offset : 0;
  }
  // A copied time stamp stays until the next one is copied.
  if (!options_.copies_timestamps) slot.timestamp_ns = 0;
  slot.sequence = 0;
  slot.flags = head.flags & ~detail::queue_flags & ~detail::unsupported_flags;
  if (!options_.copies_timestamps || !output)
    slot.flags &= ~static_cast<std::uint32_t>(V4L2_BUF_FLAG_TSTAMP_SRC_MASK);
  if (output) {
    // The time code is taken when the buffer is queued.
    slot.flags &= ~static_cast<std::uint32_t>(V4L2_BUF_FLAG_TIMECODE);
    // "Any" leaves the choice to the driver, which never answers "any"; kernel codecs choose frames.
    slot.field = head.field == V4L2_FIELD_ANY ? std::uint32_t{V4L2_FIELD_NONE} : head.field;
  } else {
    slot.flags &= ~(detail::picture_flags | V4L2_BUF_FLAG_LAST);
  }
  return {};
}

// All planes or none.
inline Result<> BufferQueue::map_planes(Slot& slot, const BufferPayload& payload, const UserMemory& user) {
  const auto length = [&](std::uint32_t p) {
    return is_multiplanar(options_.type) ? payload.buffer.planes[p].length : payload.buffer.head.length;
  };
  const auto maps = [&](std::uint32_t p, UserPlane::Comparison& comparison) {
    return slot.planes[p].user.maps(user, payload.ranges[p], length(p), comparison);
  };
  if (!goes_on(payload)) {
    std::array<UserPlane::Comparison, max_planes> compared{};
    std::uint32_t same = 0;
    while (same < slot.plane_count && maps(same, compared[same]).value_or(false)) ++same;
    if (same == slot.plane_count) return {};
    progress_ = std::make_unique<Progress>();
    progress_->serial = payload.serial;
    progress_->compared = compared;
  }
  auto& fresh = progress_->fresh;
  const auto map = [&](std::uint32_t p) -> Result<> {
    if (fresh[p].way() != UserPlane::Way::unmapped) return {};
    if (!fresh[p].unfinished()) {
      const auto same = maps(p, progress_->compared[p]);
      if (!same) return std::unexpected(same.error());
      if (*same) return {};
    }
    return fresh[p].begin_or_go_on(user, payload.ranges[p], length(p), options_.mappings);
  };
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    const auto done = map(p);
    if (done) continue;
    if (done.error().value != memory::again) progress_.reset();
    return done;
  }
  std::size_t added = 0;
  for (const UserPlane& plane : fresh) added += plane.range_count();
  if (added != 0 && stored_ranges() + added > max_ranges) {
    progress_.reset();
    return fail(ENOMEM);
  }
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    if (fresh[p].way() != UserPlane::Way::unmapped) slot.planes[p].user = std::exchange(fresh[p], {});
  }
  return {};
}

// The bytes that the guest has written, if the plane is copied.
inline Result<> BufferQueue::fetch_planes(Slot& slot, const BufferPayload& payload, const UserMemory* user) {
  memory::Work* const work = user != nullptr ? user->work : nullptr;
  std::uint32_t p = 0;
  UserPlane::Cursor cursor;
  if (goes_on(payload) && progress_->prepared) {
    p = progress_->plane;
    cursor = progress_->cursor;
  }
  for (; p < slot.plane_count; ++p, cursor = {}) {
    const auto read = slot.planes[p].user.fetch(slot.planes[p].bytesused, cursor, work);
    if (read) continue;
    if (read.error().value == memory::again) {
      if (!goes_on(payload)) progress_ = std::make_unique<Progress>();
      progress_->serial = payload.serial;
      progress_->prepared = true;
      progress_->plane = p;
      progress_->cursor = cursor;
    }
    return read;
  }
  return {};
}

inline std::size_t BufferQueue::stored_ranges() const noexcept {
  std::size_t count = 0;
  for (const auto& slot : slots_) {
    if (!slot) continue;
    for (std::uint32_t p = 0; p < slot->plane_count; ++p) count += slot->planes[p].user.range_count();
  }
  return count;
}

// ---- Streaming

inline Result<> BufferQueue::stream_on(std::uint32_t type) {
  if (type != options_.type) return fail(EINVAL);
  if (streaming_) return {};
  if (count_ == 0 || count_ < options_.min_queued) return fail(EINVAL);
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
  progress_.reset();
  storing_ = {};
  for (auto& slot : slots_) {
    if (slot) slot->state = State::dequeued;
  }
  ++generation_;
}

inline bool BufferQueue::store(std::uint32_t index, const Completion& done, memory::Work* work) noexcept {
  if (!is_active(index) || is_output(options_.type)) return true;
  Slot& slot = *slots_[index];
  if (storing_.index != index) storing_ = {.index = index};
  for (; storing_.plane < slot.plane_count; ++storing_.plane, storing_.cursor = {}) {
    const Plane& plane = slot.planes[storing_.plane];
    const std::uint32_t used = std::min(done.bytesused[storing_.plane], plane.length);
    if (plane.user.way() != UserPlane::Way::copied || used == 0) continue;
    if (work == nullptr) return false;
    const auto stored = plane.user.store(used, storing_.cursor, work);
    if (!stored && stored.error().value == memory::again) return false;
    storing_.failed = storing_.failed || !stored;
  }
  return true;
}

inline std::optional<Buffer> BufferQueue::complete(std::uint32_t index, const Completion& done) noexcept {
  if (!is_active(index)) return std::nullopt;
  Slot& slot = *slots_[index];
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
    static_cast<void>(store(index, done, &all));
    error = storing_.failed || error;
    storing_ = {};
  }
  slot.state = State::dequeued;

  Buffer buffer{};
  fill(slot, index, buffer);
  if (error) buffer.head.flags |= V4L2_BUF_FLAG_ERROR;
  return buffer;
}

// What the guest is told about a buffer. Leaves a multi-planar `m.planes` as it is.
inline void BufferQueue::fill(const Slot& slot, std::uint32_t index, Buffer& buffer) const noexcept {
  v4l2_buffer& head = buffer.head;
  head.index = index;
  head.type = options_.type;
  head.memory = memory_;
  head.bytesused = 0;
  head.field = slot.field;
  head.timestamp = detail::to_timeval(slot.timestamp_ns);
  head.timecode = slot.timecode;
  head.sequence = slot.sequence;
  head.reserved2 = 0;
  head.request_fd = 0;

  bool mapped = false;
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) mapped = mapped || !slot.planes[p].mapped.expired();

  const auto set_memory = [&](auto& m, std::uint32_t p) {
    m.userptr = 0;  // the widest member: nothing stale remains after a mem_offset
    if (memory_ == V4L2_MEMORY_USERPTR) {
      m.userptr = slot.planes[p].userptr;
    } else if constexpr (requires { m.mem_offset; }) {
      m.mem_offset = mem_offset(index, p);
    } else {
      m.offset = mem_offset(index, p);
    }
  };
  if (is_multiplanar(options_.type)) {
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

  std::uint32_t flags = slot.flags;
  if (options_.copies_timestamps) {
    flags |= V4L2_BUF_FLAG_TIMESTAMP_COPY;
  } else {
    flags &= ~static_cast<std::uint32_t>(V4L2_BUF_FLAG_TSTAMP_SRC_MASK);
    flags |= V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    flags |= options_.start_of_exposure ? V4L2_BUF_FLAG_TSTAMP_SRC_SOE : V4L2_BUF_FLAG_TSTAMP_SRC_EOF;
  }
  if (slot.state == State::queued || slot.state == State::active) flags |= V4L2_BUF_FLAG_QUEUED;
  if (slot.state == State::prepared) flags |= V4L2_BUF_FLAG_PREPARED;
  if (mapped) flags |= V4L2_BUF_FLAG_MAPPED;
  head.flags = flags;
}

}  // namespace vumedia::v4l2
