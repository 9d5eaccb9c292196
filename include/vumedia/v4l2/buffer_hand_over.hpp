// A buffer on its way from the guest to a queue: QBUF and PREPARE_BUF, from the check of what the guest says
// to the point where the memory is mapped and what it has written is fetched.
//
// Guest pages may be many, so that takes as many calls as user.work says: memory::again until it is done, and
// the same payload each time. The result is that of one call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_queue_options.hpp>
#include <vumedia/v4l2/buffer_slots.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::v4l2 {

/// One buffer at a time: whoever owns the queue makes the next one wait.
class BufferHandOver {
 public:
  /// Guest ranges that all USERPTR buffers of a queue together may have: 2 GiB of single pages.
  static constexpr std::size_t max_ranges = 8 * max_guest_ranges;

  /// `options` outlives it: those of the queue.
  explicit BufferHandOver(const BufferQueueOptions& options) : options_(options) {}

  /// What the guest says about the contents, which it does for OUTPUT buffers only. EINVAL: it cannot be.
  [[nodiscard]] Result<> check(const BufferSlots& slots, const BufferSlot& slot,
                               const BufferPayload& payload) const noexcept;

  /// Takes over what the guest says about a dequeued buffer, which check() has found valid. Changes nothing
  /// if it fails. EINVAL, EFAULT, ENOMEM: see BufferQueue::qbuf().
  [[nodiscard]] Result<> prepare(const BufferSlots& slots, BufferSlot& slot, const BufferPayload& payload,
                                 const UserMemory* user);
  /// Whether an earlier call has prepared the buffer of this payload, which is not queued yet.
  [[nodiscard]] bool has_prepared(const BufferPayload& payload) const noexcept {
    return goes_on(payload) && progress_->prepared;
  }

  /// OUTPUT: gets the bytes that the guest has written into planes that are copied, and its time stamp.
  [[nodiscard]] Result<> fetch(BufferSlot& slot, const BufferPayload& payload, const UserMemory* user);

  /// The buffer is handed over, or taken back.
  void reset() noexcept { progress_.reset(); }

 private:
  static constexpr std::uint32_t max_planes = BufferSlot::max_planes;

  // What several calls have come to.
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
  void begin(const BufferPayload& payload) {
    progress_ = std::make_unique<Progress>();
    progress_->serial = payload.serial;
  }

  // What the guest states about a plane.
  struct Said {
    std::uint32_t length, bytesused, data_offset;
    unsigned long userptr;
  };
  [[nodiscard]] Said said(std::uint32_t memory, const BufferPlane& plane, const BufferPayload& payload,
                          std::uint32_t p) const noexcept;
  [[nodiscard]] Result<> check_user_planes(const BufferSlot& slot,
                                           const BufferPayload& payload) const noexcept;
  // All planes or none.
  [[nodiscard]] Result<> map_planes(const BufferSlots& slots, BufferSlot& slot, const BufferPayload& payload,
                                    const UserMemory& user);
  [[nodiscard]] Result<> map_plane(BufferSlot& slot, const BufferPayload& payload, const UserMemory& user,
                                   std::uint32_t p);
  [[nodiscard]] bool has_same_memory(BufferSlot& slot, const BufferPayload& payload, const UserMemory& user);
  [[nodiscard]] std::uint32_t length(const BufferPayload& payload, std::uint32_t p) const noexcept {
    return is_multiplanar(options_.type) ? payload.buffer.planes[p].length : payload.buffer.head.length;
  }
  void take_flags(BufferSlot& slot, const v4l2_buffer& head) const noexcept;
  [[nodiscard]] Result<> fetch_planes(BufferSlot& slot, const BufferPayload& payload, const UserMemory* user);

  BufferQueueOptions options_;
  std::unique_ptr<Progress> progress_;
};

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

// A guest may send any numbers; the arithmetic wraps like the kernel's.
[[nodiscard]] constexpr std::uint64_t to_ns(const timeval& time) noexcept {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_usec) * 1000;
}

}  // namespace detail

inline BufferHandOver::Said BufferHandOver::said(std::uint32_t memory, const BufferPlane& plane,
                                                 const BufferPayload& payload,
                                                 std::uint32_t p) const noexcept {
  const v4l2_buffer& head = payload.buffer.head;
  const bool multiplanar = is_multiplanar(options_.type);
  const v4l2_plane& sent = payload.buffer.planes[p];
  Said said{.length = plane.length,
            .bytesused = multiplanar ? sent.bytesused : head.bytesused,
            .data_offset = multiplanar ? sent.data_offset : 0,
            .userptr = 0};
  if (memory == V4L2_MEMORY_USERPTR) {
    said.length = length(payload, p);
    said.userptr = multiplanar ? sent.m.userptr : head.m.userptr;
  }
  return said;
}

inline Result<> BufferHandOver::check(const BufferSlots& slots, const BufferSlot& slot,
                                      const BufferPayload& payload) const noexcept {
  if (!is_output(options_.type)) return {};
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    const Said plane = said(slots.memory(), slot.planes[p], payload, p);
    if (plane.bytesused > plane.length) return fail(EINVAL);
    const std::uint32_t used = plane.bytesused != 0 ? plane.bytesused : plane.length;
    if (plane.data_offset > 0 && plane.data_offset >= used) return fail(EINVAL);
  }
  if (payload.buffer.head.field == V4L2_FIELD_ALTERNATE) return fail(EINVAL);
  return {};
}

inline Result<> BufferHandOver::prepare(const BufferSlots& slots, BufferSlot& slot,
                                        const BufferPayload& payload, const UserMemory* user) {
  const bool output = is_output(options_.type);
  if (slots.memory() == V4L2_MEMORY_USERPTR) {
    if (auto valid = check_user_planes(slot, payload); !valid) return valid;
    if (user == nullptr) return fail(EFAULT);
    if (auto mapped = map_planes(slots, slot, payload, *user); !mapped) return mapped;
  }
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    BufferPlane& plane = slot.planes[p];
    const Said sent = said(slots.memory(), plane, payload, p);
    plane.length = sent.length;
    plane.userptr = sent.userptr;
    const bool whole = sent.bytesused == 0 && !options_.allows_zero_bytesused;
    plane.bytesused = !output ? 0 : whole ? sent.length : sent.bytesused;
    plane.data_offset = output ? sent.data_offset : 0;
  }
  // A copied time stamp stays until the next one is copied.
  if (!options_.copies_timestamps) slot.timestamp_ns = 0;
  slot.sequence = 0;
  take_flags(slot, payload.buffer.head);
  return {};
}

inline void BufferHandOver::take_flags(BufferSlot& slot, const v4l2_buffer& head) const noexcept {
  const bool output = is_output(options_.type);
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
}

inline Result<> BufferHandOver::check_user_planes(const BufferSlot& slot,
                                                  const BufferPayload& payload) const noexcept {
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    const Said plane = said(V4L2_MEMORY_USERPTR, slot.planes[p], payload, p);
    if (plane.length < slot.planes[p].min_length || plane.length > options_.max_length) return fail(EINVAL);
    if (plane.userptr == 0) return fail(EFAULT);
  }
  return {};
}

// Whether the buffer came with the memory that it has. If not, mapping begins from what was compared.
inline bool BufferHandOver::has_same_memory(BufferSlot& slot, const BufferPayload& payload,
                                            const UserMemory& user) {
  std::array<UserPlane::Comparison, max_planes> compared{};
  std::uint32_t same = 0;
  while (same < slot.plane_count &&
         slot.planes[same]
             .user.maps(user, payload.ranges[same], length(payload, same), compared[same])
             .value_or(false))
    ++same;
  if (same == slot.plane_count) return true;
  begin(payload);
  progress_->compared = compared;
  return false;
}

inline Result<> BufferHandOver::map_plane(BufferSlot& slot, const BufferPayload& payload,
                                          const UserMemory& user, std::uint32_t p) {
  UserPlane& fresh = progress_->fresh[p];
  if (fresh.way() != UserPlane::Way::unmapped) return {};
  if (!fresh.unfinished()) {
    const auto same =
        slot.planes[p].user.maps(user, payload.ranges[p], length(payload, p), progress_->compared[p]);
    if (!same) return std::unexpected(same.error());
    if (*same) return {};
  }
  return fresh.begin_or_go_on(user, payload.ranges[p], length(payload, p), options_.mappings);
}

inline Result<> BufferHandOver::map_planes(const BufferSlots& slots, BufferSlot& slot,
                                           const BufferPayload& payload, const UserMemory& user) {
  if (!goes_on(payload) && has_same_memory(slot, payload, user)) return {};
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    const auto done = map_plane(slot, payload, user, p);
    if (done) continue;
    if (done.error().value != memory::again) progress_.reset();
    return done;
  }
  auto& fresh = progress_->fresh;
  std::size_t added = 0;
  for (const UserPlane& plane : fresh) added += plane.range_count();
  if (added != 0 && slots.range_count() + added > max_ranges) {
    progress_.reset();
    return fail(ENOMEM);
  }
  for (std::uint32_t p = 0; p < slot.plane_count; ++p) {
    if (fresh[p].way() != UserPlane::Way::unmapped) slot.planes[p].user = std::exchange(fresh[p], {});
  }
  return {};
}

inline Result<> BufferHandOver::fetch(BufferSlot& slot, const BufferPayload& payload,
                                      const UserMemory* user) {
  if (auto done = fetch_planes(slot, payload, user); !done) return done;
  const v4l2_buffer& head = payload.buffer.head;
  if (options_.copies_timestamps) slot.timestamp_ns = detail::to_ns(head.timestamp);
  if (head.flags & V4L2_BUF_FLAG_TIMECODE) {
    slot.flags |= V4L2_BUF_FLAG_TIMECODE;
    slot.timecode = head.timecode;
  }
  return {};
}

inline Result<> BufferHandOver::fetch_planes(BufferSlot& slot, const BufferPayload& payload,
                                             const UserMemory* user) {
  memory::Work* const work = user != nullptr ? user->work : nullptr;
  std::uint32_t p = 0;
  UserPlane::Cursor cursor;
  if (has_prepared(payload)) {
    p = progress_->plane;
    cursor = progress_->cursor;
  }
  for (; p < slot.plane_count; ++p, cursor = {}) {
    const auto read = slot.planes[p].user.fetch(slot.planes[p].bytesused, cursor, work);
    if (read) continue;
    if (read.error().value == memory::again) {
      if (!goes_on(payload)) begin(payload);
      progress_->prepared = true;
      progress_->plane = p;
      progress_->cursor = cursor;
    }
    return read;
  }
  return {};
}

}  // namespace vumedia::v4l2
