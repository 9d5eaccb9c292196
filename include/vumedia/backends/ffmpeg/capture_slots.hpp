// The guest's CAPTURE buffers as libavcodec's frame buffers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/monitor.hpp>
#include <vumedia/backends/ffmpeg/reference_order.hpp>

extern "C" {
#include <libavutil/buffer.h>
}

namespace vumedia::backends::ffmpeg {

/// Memory of one plane of a buffer, and what keeps it alive.
struct BufferMemory {
  std::byte* data = nullptr;          ///< its first byte
  std::size_t size = 0;               ///< in bytes
  std::shared_ptr<const void> owner;  ///< keeps it valid
  /// The client's address of the memory if the client owns it (USERPTR). Such memory may come back under
  /// another index and at another address in this process. 0: our own memory, which keeps its index for life.
  std::uint64_t place = 0;
};

/// Which buffers the guest has queued, and which are in use by libavcodec.
///
/// The two are independent. A buffer is lent to libavcodec while it is queued, leaves the queue when its
/// frame is delivered, and may still be a reference then; the guest can queue it again at once, but it is not
/// written to before the last reference is gone, whatever index its memory has by then. A lent buffer whose
/// frame is never shown (a VP9 alt-ref, a damaged picture) simply becomes free again. A slot in use keeps its
/// memory alive even when the guest has freed the buffer.
///
/// get_buffer2 cannot wait for a buffer, and references may be held forever (long-term ones). So at least
/// `reserve` buffers are never lent: a frame that was decoded elsewhere can always be copied to one of them
/// as soon as the guest queues it. But a guest may keep frames until it gets more, and the next frame may be
/// one from elsewhere while all queued buffers are lent to later frames. So no more buffers are lent than the
/// guest was told to make, and one is left besides those that it has been seen to keep. Until that is known,
/// and if it makes fewer than it was told to, at most half are lent.
///
/// A guest can write to its buffers at any time, even to those that libavcodec decodes into or refers to,
/// whether MMAP or USERPTR, because the memory is shared. That spoils its pictures and nothing else. What
/// libavcodec reads from a frame are samples, which it filters and clips, and every value of a byte is a
/// valid sample (buffers with 10 bits in two bytes, where that is not so, are never lent). The data from
/// which it computes addresses (the bitstream, motion vectors and tables) is in our own memory.
///
/// All functions are called with the monitor's mutex held, which the release of a lent buffer takes by
/// itself: no frame may be dropped with the mutex held. The monitor is notified when a buffer becomes free.
class CaptureSlots {
  struct Slot {
    BufferMemory memory;
    std::uint64_t order = 0;     // when it was queued; 0 if it is not
    bool delivered = false;      // and not queued again since
    unsigned users = 0;          // frames of libavcodec, copies in progress
    std::uint64_t stream = 0;    // that last decoded into it
    std::weak_ptr<Slot> former;  // the slot that used the same place when it was queued
    [[nodiscard]] bool is_used() const noexcept {
      if (users != 0) return true;
      const auto other = former.lock();
      return other != nullptr && other->users != 0;
    }
  };
  using SlotPointer = std::shared_ptr<Slot>;

 public:
  static constexpr std::size_t max_slots = 64;  ///< as many as V4L2 queues hold
  static constexpr std::size_t reserve = 2;     ///< buffers that are never lent

  /// `monitor` outlives all lent buffers, which hold it.
  explicit CaptureSlots(std::shared_ptr<Monitor> monitor) noexcept : monitor_(std::move(monitor)) {}
  CaptureSlots(const CaptureSlots&) = delete;
  CaptureSlots& operator=(const CaptureSlots&) = delete;

  /// The guest queues buffer `index` < max_slots.
  void queue(std::uint32_t index, BufferMemory memory) {
    if (index >= slots_.size()) slots_.resize(index + std::size_t{1});
    SlotPointer& slot = slots_[index];
    // Whatever memory it has now, the guest returns the buffer.
    const bool returned = slot != nullptr && std::exchange(slot->delivered, false);
    if (slot == nullptr || slot->memory.owner != memory.owner || slot->memory.data != memory.data) {
      const SlotPointer former = memory.place != 0 ? user_of(memory.place) : nullptr;
      retire(slot);
      slot = std::make_shared<Slot>();
      slot->former = former;
    }
    slot->memory = std::move(memory);  // possibly of another size
    slot->order = ++order_;
    if (returned) note_return();
    monitor_->changed.notify_all();
  }

  /// STREAMOFF: no buffer is queued.
  void unqueue_all() noexcept {
    for (auto& slot : slots_) {
      if (slot == nullptr) continue;
      slot->order = 0;
      slot->delivered = false;
    }
    kept_.reset();
    returns_ = 0;
  }

  /// The guest has freed `count` buffers from `first` on.
  void forget(std::uint32_t first, std::size_t count) {
    for (std::size_t i = first; i < slots_.size() && i - first < count; ++i) {
      retire(slots_[i]);
      slots_[i].reset();
    }
  }

  /// A buffer that was lent, or none.
  struct Lent {
    AVBufferRef* buffer = nullptr;  ///< the caller's
    bool is_new = false;            ///< to the stream: it may contain anything
  };

  /// A queued and unused buffer of at least `size` bytes, at a multiple of `alignment`, into which a frame of
  /// `stream` (not 0) can be decoded, or nullptr. `asked`: how many buffers the guest was told to make,
  /// including `reserve`. The reference frees it when its last copy is destroyed, on any thread.
  [[nodiscard]] Lent lend(std::uint64_t stream, std::size_t size, std::size_t alignment, std::size_t asked) {
    std::size_t known = 0;
    std::size_t used = 0;
    for (const auto& slot : slots_) {
      if (slot == nullptr) continue;
      ++known;
      if (slot->is_used()) ++used;
    }
    if (known < used + 1 + reserve) return {};
    std::size_t most = known / 2;
    if (known >= asked) {
      if (kept_) most = known - std::min(known, *kept_ + 1);
      most = std::min(most, asked - reserve);
    }
    if (used >= most) return {};
    const SlotPointer* const slot = oldest_free(size, alignment);
    if (slot == nullptr) return {};
    auto lease = std::make_unique<Lease>(Lease{monitor_, *slot});
    auto* const data = reinterpret_cast<std::uint8_t*>((*slot)->memory.data);
    before_references(lease.get());
    AVBufferRef* const buffer = av_buffer_create(data, size, &CaptureSlots::release, lease.get(), 0);
    if (buffer == nullptr) return {};
    // From here on the reference owns the lease.
    lease.release()->slot->users++;
    return {buffer, std::exchange((*slot)->stream, stream) != stream};
  }

  /// Takes the buffer that holds the frame at `data` out of the queue; nothing if the frame is elsewhere, or
  /// its buffer is not queued (any more).
  [[nodiscard]] std::optional<std::uint32_t> take_rendered(const std::uint8_t* data) noexcept {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      Slot* const slot = slots_[i].get();
      // Memory in use is alive, so its address is unique; memory not in use holds no frame of libavcodec.
      if (slot == nullptr || slot->order == 0 || slot->users == 0) continue;
      if (reinterpret_cast<const std::uint8_t*>(slot->memory.data) != data) continue;
      slot->order = 0;
      slot->delivered = true;
      return static_cast<std::uint32_t>(i);
    }
    return std::nullopt;
  }

  /// A buffer that was taken to copy a frame to it.
  struct Target {
    std::uint32_t index = 0;    ///< of the buffer
    std::byte* data = nullptr;  ///< its first byte
    std::uint64_t order = 0;    ///< its place in the queue
    SlotPointer slot;           ///< keeps the memory alive
  };

  /// Takes the oldest queued and unused buffer of at least `size` bytes; call give_back() when the copy is
  /// done.
  [[nodiscard]] std::optional<Target> take_free(std::size_t size) noexcept {
    const SlotPointer* const slot = oldest_free(size);
    if (slot == nullptr) return std::nullopt;
    (*slot)->users++;
    (*slot)->delivered = true;
    return Target{static_cast<std::uint32_t>(slot - slots_.data()), (*slot)->memory.data,
                  std::exchange((*slot)->order, 0), *slot};
  }
  /// With `queue_again` the buffer gets its old place in the queue back.
  void give_back(Target& target, bool queue_again) noexcept {
    target.slot->users--;
    if (queue_again) {
      target.slot->order = target.order;
      target.slot->delivered = false;
    }
    target.slot.reset();
    monitor_->changed.notify_all();
  }

  /// Takes any queued buffer, to be returned empty; one in use if there is no other.
  [[nodiscard]] std::optional<std::uint32_t> take_any() noexcept {
    const SlotPointer* slot = oldest_free(0);
    for (const auto& other : slots_) {
      if (slot == nullptr && other != nullptr && other->order != 0) slot = &other;
    }
    if (slot == nullptr) return std::nullopt;
    (*slot)->order = 0;
    (*slot)->delivered = true;
    return static_cast<std::uint32_t>(slot - slots_.data());
  }

 private:
  // The guest has returned a delivered buffer. How many others it has then is what it keeps, or more if it is
  // late; so the least of a few returns counts.
  void note_return() noexcept {
    std::size_t kept = 0;
    for (const auto& slot : slots_) {
      if (slot != nullptr && slot->delivered) ++kept;
    }
    least_kept_ = returns_ == 0 ? kept : std::min(least_kept_, kept);
    kept_ = std::min(kept_.value_or(least_kept_), least_kept_);
    if (++returns_ < 4) return;
    kept_ = least_kept_;
    returns_ = 0;
  }

  struct Lease {
    std::shared_ptr<Monitor> monitor;
    SlotPointer slot;
  };

  static void release(void* opaque, std::uint8_t*) noexcept {
    after_references(opaque);
    const std::unique_ptr<Lease> lease(static_cast<Lease*>(opaque));
    const std::lock_guard lock(lease->monitor->mutex);
    lease->slot->users--;
    lease->monitor->changed.notify_all();
  }

  // A slot loses its index. Memory that the client may queue again elsewhere is remembered while it is in
  // use, by no more slots than libavcodec has frames.
  void retire(const SlotPointer& slot) {
    std::erase_if(retired_, [](const auto& one) {
      const auto other = one.lock();
      return other == nullptr || other->users == 0;
    });
    if (slot != nullptr && slot->memory.place != 0 && slot->users != 0) retired_.push_back(slot);
  }
  // The slot that uses the client's memory at `place`; null if there is none.
  [[nodiscard]] SlotPointer user_of(std::uint64_t place) const noexcept {
    const auto find = [&](SlotPointer slot) -> SlotPointer {
      if (slot == nullptr || slot->memory.place != place) return nullptr;
      if (slot->users == 0) slot = slot->former.lock();
      return slot != nullptr && slot->users != 0 ? slot : nullptr;
    };
    for (const auto& slot : slots_) {
      if (auto user = find(slot)) return user;
    }
    for (const auto& slot : retired_) {
      if (auto user = find(slot.lock())) return user;
    }
    return nullptr;
  }

  [[nodiscard]] const SlotPointer* oldest_free(std::size_t size, std::size_t alignment = 1) const noexcept {
    const SlotPointer* oldest = nullptr;
    for (const auto& slot : slots_) {
      if (slot == nullptr || slot->order == 0 || slot->memory.size < size || slot->is_used()) continue;
      if (reinterpret_cast<std::uintptr_t>(slot->memory.data) % alignment != 0) continue;
      if (oldest == nullptr || slot->order < (*oldest)->order) oldest = &slot;
    }
    return oldest;
  }

  const std::shared_ptr<Monitor> monitor_;
  std::vector<SlotPointer> slots_;
  std::vector<std::weak_ptr<Slot>> retired_;
  std::uint64_t order_ = 0;
  std::optional<std::size_t> kept_;  // buffers that the guest keeps; nothing before it is known
  std::size_t least_kept_ = 0;       // in the last `returns_` returns
  std::size_t returns_ = 0;
};

}  // namespace vumedia::backends::ffmpeg
