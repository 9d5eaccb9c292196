// The device's half of a split virtqueue: VIRTIO 1.4, 2.7, with indirect descriptors, event indices,
// notification suppression and batches of used buffers.
//
// Guest memory is an argument of every function that touches it. A Queue keeps only translations of it, which
// it renews when it is given another table (GuestMemory::generation), so that rings are served on after the
// table is replaced.
//
// The driver is hostile. Each descriptor is copied once and the copy is checked; each chain ends within
// `size` steps; nothing is allocated for it. A chain cannot be completed twice, or under a head that was
// never popped.
//
// Orderings. The available index is loaded with acquire before what it publishes is read; the used index is
// stored after the elements it publishes, with sequential consistency, and the driver's request for an
// interrupt is loaded after it, likewise with sequential consistency. The same holds in enable_notifications,
// with the roles swapped. Each side thus stores, then loads what the other stores, and in the single total
// order of these operations at least one of the two sees the other's store: no notification is lost. (A fence
// between the two would do as well, but the thread sanitizer does not understand fences.)
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/ring_layout.hpp>

namespace vumedia::virtio {

/// Not thread-safe: a queue belongs to one loop. Guest memory is an argument of each call, because it may be
/// replaced.
class Queue {
 public:
  /// Of the guest that owns the driver.
  ///@{
  using GuestAddress = memory::GuestAddress;
  using GuestMemory = memory::GuestMemory;
  ///@}

  Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // -- Settings. They take effect at the next start().

  /// EINVAL unless it is a power of two up to 32768.
  [[nodiscard]] Result<> set_size(std::uint32_t size) noexcept {
    if (!is_power_of_two(size) || size > max_queue_size) return fail(EINVAL);
    settings_.size = size;
    return {};
  }
  /// Guest addresses of the descriptor table, the available ring and the used ring.
  void set_addresses(GuestAddress descriptors, GuestAddress available, GuestAddress used) noexcept {
    settings_.descriptors = descriptors;
    settings_.available = available;
    settings_.used = used;
  }
  /// VIRTIO_F_EVENT_IDX, off at first, and VIRTIO_F_INDIRECT_DESC, on at first.
  void set_event_idx(bool negotiated) noexcept { settings_.event_idx = negotiated; }
  /// Whether VIRTIO_F_INDIRECT_DESC was negotiated; without it an indirect descriptor is an error.
  void set_indirect(bool negotiated) noexcept { settings_.indirect = negotiated; }
  /// The available index of the first chain to be popped.
  void set_base(std::uint16_t base) noexcept { settings_.base = base; }

  /// The configured size; 0 until it is set.
  [[nodiscard]] std::uint32_t size() const noexcept { return started_ ? size_ : settings_.size; }
  /// The available index of the next chain to be popped.
  [[nodiscard]] std::uint16_t base() const noexcept { return started_ ? next_available_ : settings_.base; }

  // -- Life.

  /// Translates the rings, takes the used index from them (so that a ring goes on where it was stopped) and
  /// asks for notifications. No chain is in flight then. So chains between the used index and the configured
  /// base have been lost, or were never seen, and are popped first: some VMMs (cloud-hypervisor) start a ring
  /// past what the driver has put there before DRIVER_OK. EINVAL: no size, or a misaligned ring. EFAULT: a
  /// ring that is not in one region of `memory`. ENOMEM. EBUSY: it is already started.
  [[nodiscard]] Result<> start(const GuestMemory& memory) noexcept;
  /// Forgets what is in flight and what was pushed but not flushed; base() stays. Stopping twice is harmless.
  void stop() noexcept;
  /// Whether start() has succeeded, with no stop() since.
  [[nodiscard]] bool started() const noexcept { return started_; }

  // -- Chains.

  /// The next available chain, or nothing if there is none or the queue is stopped.
  PopResult pop(const GuestMemory& memory) noexcept;

  /// Takes back the last pop, if its chain is still in flight: the next pop sees it again. False if there is
  /// none.
  bool undo_pop() noexcept;

  /// Puts the chain with `head` on the used ring, with `written` bytes of it filled. The driver sees it after
  /// flush(). EINVAL if no such chain is in flight, which is a bug in the device. EFAULT if the used ring is
  /// no longer in guest memory.
  [[nodiscard]] Result<> push(const GuestMemory& memory, std::uint16_t head, std::uint32_t written) noexcept;

  /// Publishes what was pushed. Returns whether the driver is to be interrupted.
  [[nodiscard]] bool flush(const GuestMemory& memory) noexcept;

  /// Chains that were popped and not pushed.
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return in_flight_; }
  /// Whether the chain of this head was popped and not pushed yet. Any number may be asked about.
  [[nodiscard]] bool is_in_flight(std::uint16_t head) const noexcept {
    return started_ && head < size_ && in_flight_heads_[head];
  }
  /// Gives up on all of them: they will not be pushed.
  void reset_in_flight() noexcept;

  // -- Notifications by the driver.

  /// Asks to be notified of the next available buffer. True if there is one already: there may be no
  /// notification for it, so look again. Also false if the rings are no longer in guest memory.
  [[nodiscard]] bool enable_notifications(const GuestMemory& memory) noexcept;
  /// The driver's available index as it is now; base() if the rings are no longer in guest memory.
  [[nodiscard]] std::uint16_t available_index(const GuestMemory& memory) noexcept {
    if (!bound(memory)) return base();
    return ring::field(available_ + ring::index).load(std::memory_order_acquire);
  }
  /// Says that notifications are not needed; some may still come.
  void disable_notifications(const GuestMemory& memory) noexcept;

 private:
  struct Settings {
    std::uint32_t size = 0;
    std::uint16_t base = 0;
    bool event_idx = false;
    bool indirect = true;
    GuestAddress descriptors;
    GuestAddress available;
    GuestAddress used;
  };
  // A chain of `size` descriptors may have this many more segments, for crossing from region to region.
  static constexpr std::uint32_t spare_segments = 64;

  // Whether the ring pointers are valid for `memory`.
  [[nodiscard]] bool bound(const GuestMemory& memory) noexcept {
    if (memory.generation() == generation_) [[likely]]
      return true;
    return started_ && bind(memory).has_value();
  }
  [[nodiscard]] Result<> bind(const GuestMemory& memory) noexcept;

  // Where descriptors come from: the queue's own table, an indirect one, or an indirect one that runs through
  // several regions.
  enum class TableKind : std::uint8_t { own, indirect, scattered };
  struct Table {
    const std::byte* data;  // unless scattered
    GuestAddress address;   // if scattered; all of it is within 64 bits
    std::uint32_t entries;
  };
  // A copy of a descriptor, in the widths used for arithmetic.
  struct Copy {
    std::uint64_t address;
    std::uint64_t length;
    std::uint32_t flags;
    std::uint64_t next;
  };
  [[nodiscard]] static Copy copy_descriptor(const std::byte* at) noexcept {
    return {ring::load_once<std::uint64_t>(at + offsetof(Descriptor, address)),
            ring::load_once<std::uint32_t>(at + offsetof(Descriptor, length)),
            ring::load_once<std::uint16_t>(at + offsetof(Descriptor, flags)),
            ring::load_once<std::uint16_t>(at + offsetof(Descriptor, next))};
  }
  // How far the walk along a chain has come.
  struct Progress {
    Segment* out;        // past the last segment
    std::uint64_t size;  // bytes; no overflow: at most 2^15 lengths below 2^32
    std::uint32_t left;  // > 0: descriptors that may follow, each with a free segment at least
    std::uint32_t side;  // desc_f_write from the first writable descriptor on
  };
  [[nodiscard]] ChainError collect(const GuestMemory& memory, std::uint32_t head) noexcept;
  // Descriptors and progress are passed by value: if their address were taken they could not live in
  // registers.
  template <TableKind kind>
  [[nodiscard]] ChainError follow(const GuestMemory& memory, Table table, Copy descriptor,
                                  Progress progress) noexcept;
  [[nodiscard]] ChainError follow_reference(const GuestMemory& memory, Copy reference,
                                            Progress progress) noexcept;
  [[nodiscard]] ChainError follow_late_reference(const GuestMemory& memory, Copy reference,
                                                 Progress progress) noexcept;
  [[nodiscard]] ChainError follow_scattered(const GuestMemory& memory, GuestAddress address,
                                            std::uint64_t length, Progress progress) noexcept;
  [[nodiscard]] ChainError bad_reference(std::uint32_t flags) const noexcept;
  [[nodiscard]] static bool read_scattered(const GuestMemory& memory, GuestAddress from, Copy& to) noexcept;
  // The result for a buffer: the end of the segments including those that it added.
  struct Found {
    Segment* end;
    ChainError error;
  };
  // For a descriptor with `flags`, the first of `left` that may come: a segment stays free for each one after
  // it.
  [[nodiscard]] Found find(const GuestMemory& memory, GuestAddress address, std::uint64_t length,
                           Segment* out, std::uint32_t flags, std::uint32_t left) noexcept;

  // The settings since start().
  std::byte* descriptors_ = nullptr;
  std::byte* available_ = nullptr;
  std::byte* used_ = nullptr;
  std::uint64_t generation_ = 0;  // of the table for which those three and the window are valid; 0: none
  // Where the last buffer was found, because the next one is usually there, too.
  struct Window {
    std::uint64_t size = 0;
    std::uint64_t end = 0;        // guest address
    std::uintptr_t distance = 0;  // from a guest address in it to ours

    // Bytes of the region from `address` on. If the address is not in it, this is more than its size, because
    // the difference wraps and guest address + size < 2^64.
    [[nodiscard]] std::uint64_t room(std::uint64_t address) const noexcept { return end - address; }
    // For an address that is in it.
    [[nodiscard]] std::byte* data(std::uint64_t address) const noexcept {
      return reinterpret_cast<std::byte*>(address + distance);
    }
  } window_;
  std::uint32_t size_ = 0;
  std::uint32_t in_flight_ = 0;
  std::uint16_t seen_available_ = 0;  // the driver's index when it was last read
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint16_t published_used_ = 0;
  bool started_ = false;
  bool event_idx_ = false;
  bool indirect_ = true;
  bool can_undo_ = false;
  Chain chain_;

  std::unique_ptr<Segment[]> segments_;
  std::unique_ptr<bool[]> in_flight_heads_;
  std::uint32_t capacity_ = 0;  // of segments_; in_flight_heads_ has that less spare_segments

  Settings settings_;
};

inline Result<> Queue::start(const GuestMemory& memory) noexcept {
  if (started_) return fail(EBUSY);
  if (settings_.size == 0) return fail(EINVAL);
  if (!is_aligned(settings_.descriptors.value, ring::descriptor_alignment) ||
      !is_aligned(settings_.available.value, ring::available_alignment) ||
      !is_aligned(settings_.used.value, ring::used_alignment))
    return fail(EINVAL);

  size_ = settings_.size;
  if (auto done = bind(memory); !done) return done;
  if (capacity_ != size_ + spare_segments) {
    capacity_ = 0;
    segments_.reset(new (std::nothrow) Segment[size_ + spare_segments]);
    in_flight_heads_.reset(new (std::nothrow) bool[size_]);
    if (!segments_ || !in_flight_heads_) {
      generation_ = 0;
      return fail(ENOMEM);
    }
    capacity_ = size_ + spare_segments;
  }
  event_idx_ = settings_.event_idx;
  indirect_ = settings_.indirect;
  next_available_ = seen_available_ = settings_.base;
  next_used_ = published_used_ = ring::field(used_ + ring::index).load(std::memory_order_acquire);
  if (static_cast<std::uint16_t>(next_available_ - next_used_) <= size_)
    next_available_ = seen_available_ = next_used_;
  chain_.use(segments_.get());
  started_ = true;
  reset_in_flight();
  // An earlier run may have left notifications off. The first pop finds what is available.
  static_cast<void>(enable_notifications(memory));
  return {};
}

inline void Queue::stop() noexcept {
  if (!started_) return;
  settings_.base = next_available_;
  started_ = false;
  generation_ = 0;  // no function gets past bound()
  window_ = {};
  in_flight_ = 0;
  can_undo_ = false;
}

inline void Queue::reset_in_flight() noexcept {
  if (started_) std::fill_n(in_flight_heads_.get(), size_, false);
  in_flight_ = 0;
  can_undo_ = false;
}

inline Result<> Queue::bind(const GuestMemory& memory) noexcept {
  generation_ = 0;
  window_ = {};
  descriptors_ = memory.contiguous(settings_.descriptors, ring::descriptors_bytes(size_));
  available_ = memory.contiguous(settings_.available, ring::available_bytes(size_));
  used_ = memory.contiguous(settings_.used, ring::used_bytes(size_));
  if (descriptors_ == nullptr || available_ == nullptr || used_ == nullptr) return fail(EFAULT);
  // A frontend may choose guest addresses and file offsets with different alignments.
  if (!is_aligned(reinterpret_cast<std::uintptr_t>(available_), ring::available_alignment) ||
      !is_aligned(reinterpret_cast<std::uintptr_t>(used_), ring::used_alignment))
    return fail(EINVAL);
  generation_ = memory.generation();
  return {};
}

[[gnu::always_inline]] inline PopResult Queue::pop(const GuestMemory& memory) noexcept {
  if (!bound(memory)) [[unlikely]]
    return {nullptr, started_ ? ChainError::ring_outside_memory : ChainError::none};
  can_undo_ = false;
  if (next_available_ == seen_available_) [[likely]] {
    const std::uint16_t index = ring::field(available_ + ring::index).load(std::memory_order_acquire);
    if (index == next_available_) return {};
    if (static_cast<std::uint16_t>(index - next_available_) > size_) [[unlikely]]
      return {nullptr, ChainError::avail_index_jump};
    seen_available_ = index;
  }
  const std::uint32_t head =
      ring::load_once<std::uint16_t>(available_ + ring::elements + 2 * (next_available_ & (size_ - 1)));
  if (head >= size_) [[unlikely]]
    return {nullptr, ChainError::head_out_of_range};
  if (in_flight_heads_[head]) [[unlikely]]
    return {nullptr, ChainError::head_in_flight};
  // Noted here and undone on failure, so that the head need not be kept until then.
  in_flight_heads_[head] = true;
  chain_.begin(static_cast<std::uint16_t>(head));
  if (const ChainError error = collect(memory, head); error != ChainError::none) [[unlikely]] {
    in_flight_heads_[chain_.head()] = false;
    return {nullptr, error};
  }
  ++in_flight_;
  ++next_available_;
  can_undo_ = true;
  return {&chain_, ChainError::none};
}

inline bool Queue::undo_pop() noexcept {
  // Between that pop and now, the chain may have been pushed.
  if (!can_undo_ || !in_flight_heads_[chain_.head()]) return false;
  in_flight_heads_[chain_.head()] = false;
  --in_flight_;
  --next_available_;
  can_undo_ = false;
  return true;
}

// Most chains are one descriptor that refers to a table.
[[gnu::always_inline]] inline ChainError Queue::collect(const GuestMemory& memory,
                                                        std::uint32_t head) noexcept {
  const Copy first = copy_descriptor(descriptors_ + std::size_t{16} * head);
  const Progress progress{segments_.get(), 0, size_, 0};
  if ((first.flags & desc_f_indirect) != 0) return follow_reference(memory, first, progress);
  return follow<TableKind::own>(memory, {descriptors_, {}, size_}, first, progress);
}

// Walks a chain to its end, from `descriptor`, which is a copy of one in `table`. This loop is most of the
// cost of a command here: what changes in each step is in locals whose address is never taken, and rare cases
// leave the path at a test that the usual case needs anyway.
//
// Proof of bounds: in each step there is room for `left` more segments, and at most `left` more descriptors
// are looked at. A step adds one segment; find(), which may add more, leaves room for the rest.
template <Queue::TableKind kind>
[[gnu::always_inline]] inline ChainError Queue::follow(const GuestMemory& memory, Table table,
                                                       Copy descriptor, Progress progress) noexcept {
  auto [out, size, left, side] = progress;
  // A table may have more descriptors than the chain has left; running past its own end means a loop.
  const std::uint32_t budget = left;
  if (kind != TableKind::own && table.entries < left) left = table.entries;
  Window window = window_;

  while (true) {
    const auto [address, length, flags, next] = descriptor;
    if (((flags ^ side) & (desc_f_write | desc_f_indirect)) != 0) [[unlikely]] {
      if ((flags & desc_f_indirect) != 0) {
        if constexpr (kind != TableKind::own) return ChainError::nested_indirect;
        return follow_late_reference(memory, descriptor, {out, size, left, side});
      }
      if (side != 0) return ChainError::readable_after_writable;
      side = desc_f_write;
      chain_.begin_writable(out, static_cast<std::uint32_t>(size));
    }

    size += length;
    // A descriptor of zero bytes is allowed and gives no segment; find() handles it.
    const std::uint64_t room = window.room(address);
    if (room <= window.size && length - 1 < room) [[likely]] {
      *out++ = Segment(window.data(address), length);
    } else {
      const Found found = find(memory, {address}, length, out, flags, left);
      if (found.error != ChainError::none) return found.error;
      out = found.end;
      window = window_;
    }

    if ((flags & desc_f_next) == 0) break;
    if (next >= table.entries) [[unlikely]]
      return ChainError::next_out_of_range;
    if (--left == 0) [[unlikely]]
      return kind != TableKind::own && table.entries > budget ? ChainError::too_long : ChainError::loop;
    if constexpr (kind == TableKind::scattered) {
      if (!read_scattered(memory, {table.address.value + std::uint64_t{16} * next}, descriptor))
        return ChainError::outside_memory;
    } else {
      descriptor = copy_descriptor(table.data + std::size_t{16} * next);
    }
  }

  if (size > std::numeric_limits<std::uint32_t>::max()) [[unlikely]]
    return ChainError::length_overflow;
  if (side == 0) [[unlikely]]
    chain_.begin_writable(out, static_cast<std::uint32_t>(size));
  chain_.end(out, static_cast<std::uint32_t>(size));
  return ChainError::none;
}

// Continues in the table that `reference` names. The reference itself does not count, and its write flag is
// ignored (2.7.5.3.2).
[[gnu::always_inline]] inline ChainError Queue::follow_reference(const GuestMemory& memory, Copy reference,
                                                                 Progress progress) noexcept {
  const auto [address, length, flags, next] = reference;
  if (!indirect_ || (flags & desc_f_next) != 0 || length == 0 || length % sizeof(Descriptor) != 0)
      [[unlikely]]
    return bad_reference(flags);
  const std::uint64_t room = window_.room(address);
  const std::byte* data = window_.data(address);
  if (room > window_.size || length > room) [[unlikely]] {
    data = memory.contiguous({address}, length);
    if (data == nullptr) return follow_scattered(memory, {address}, length, progress);
  }
  const auto entries = static_cast<std::uint32_t>(length / sizeof(Descriptor));
  return follow<TableKind::indirect>(memory, {data, {}, entries}, copy_descriptor(data), progress);
}

[[gnu::cold]] inline ChainError Queue::bad_reference(std::uint32_t flags) const noexcept {
  if (!indirect_) return ChainError::indirect_not_negotiated;
  return (flags & desc_f_next) != 0 ? ChainError::indirect_with_next : ChainError::bad_indirect_size;
}

// A reference that follows other descriptors.
[[gnu::noinline]] inline ChainError Queue::follow_late_reference(const GuestMemory& memory, Copy reference,
                                                                 Progress progress) noexcept {
  return follow_reference(memory, reference, progress);
}

// A table that spans several regions, or is in none.
[[gnu::cold, gnu::noinline]] inline ChainError Queue::follow_scattered(const GuestMemory& memory,
                                                                       GuestAddress address,
                                                                       std::uint64_t length,
                                                                       Progress progress) noexcept {
  Copy first{};
  if (!checked_add(address.value, length) || !read_scattered(memory, address, first))
    return ChainError::outside_memory;
  const auto entries = static_cast<std::uint32_t>(length / sizeof(Descriptor));
  return follow<TableKind::scattered>(memory, {nullptr, address, entries}, first, progress);
}

[[gnu::cold]] inline bool Queue::read_scattered(const GuestMemory& memory, GuestAddress from,
                                                Copy& to) noexcept {
  std::byte copy[sizeof(Descriptor)];
  Writer writer(copy);
  const bool found =
      memory
          .for_each_piece(from, sizeof copy,
                          [&](std::span<std::byte> piece) { static_cast<void>(writer.write_bytes(piece)); })
          .has_value();
  if (found) to = copy_descriptor(copy);
  return found;
}

// Finds a buffer that is in a different region from the last one, or in several, or nowhere (as empty ones
// may be).
[[gnu::noinline]] inline Queue::Found Queue::find(const GuestMemory& memory, GuestAddress address,
                                                  std::uint64_t length, Segment* out, std::uint32_t flags,
                                                  std::uint32_t left) noexcept {
  if (length == 0) return {out, ChainError::none};
  Found found{out, ChainError::none};
  const std::uint32_t behind = (flags & desc_f_next) != 0 ? left - 1 : 0;
  const Segment* const limit = segments_.get() + (capacity_ - behind);
  const auto add = [&](std::span<std::byte> piece) {
    if (found.end == limit) {
      found.error = ChainError::too_many_segments;
      return false;
    }
    *found.end++ = piece;
    return true;
  };
  const GuestMemory::Window region = memory.window(address);
  window_ = {region.size, region.guest + region.size,
             reinterpret_cast<std::uintptr_t>(region.data) - region.guest};
  if (std::byte* const data = region.at(address, length)) {
    add({data, length});
  } else if (!memory.for_each_piece(address, length, add)) {
    found.error = ChainError::outside_memory;
  }
  return found;
}

[[gnu::always_inline]] inline Result<> Queue::push(const GuestMemory& memory, std::uint16_t head,
                                                   std::uint32_t written) noexcept {
  if (!bound(memory)) [[unlikely]]
    return fail(is_in_flight(head) ? EFAULT : EINVAL);
  // It is bound, and therefore started.
  if (head >= size_ || !in_flight_heads_[head]) [[unlikely]]
    return fail(EINVAL);
  in_flight_heads_[head] = false;
  --in_flight_;
  // There is room: at most `size` chains are in flight, so at most that many elements follow the published
  // index.
  const UsedElement element{head, written};
  std::memcpy(used_ + ring::elements + std::size_t{8} * (next_used_ & (size_ - 1)), &element, sizeof element);
  ++next_used_;
  return {};
}

[[gnu::always_inline]] inline bool Queue::flush(const GuestMemory& memory) noexcept {
  const std::uint16_t before = published_used_;
  if (next_used_ == before || !bound(memory)) return false;
  published_used_ = next_used_;
  // The order of these two is explained at the top of this file.
  ring::field(used_ + ring::index).store(next_used_, std::memory_order_seq_cst);
  if (event_idx_) {
    const auto event = ring::field(available_ + ring::used_event(size_)).load(std::memory_order_seq_cst);
    return ring::passes(event, before, next_used_);
  }
  const auto flags = ring::field(available_ + ring::flags).load(std::memory_order_seq_cst);
  return (flags & avail_f_no_interrupt) == 0;
}

inline bool Queue::enable_notifications(const GuestMemory& memory) noexcept {
  if (!bound(memory)) return false;
  if (event_idx_) {
    ring::field(used_ + ring::avail_event(size_)).store(next_available_, std::memory_order_seq_cst);
  } else {
    ring::field(used_ + ring::flags).store(0, std::memory_order_seq_cst);
  }
  return ring::field(available_ + ring::index).load(std::memory_order_seq_cst) != next_available_;
}

inline void Queue::disable_notifications(const GuestMemory& memory) noexcept {
  // With event indices the driver notifies once when its index passes avail_event, which is then left
  // unchanged.
  if (event_idx_ || !bound(memory)) return;
  ring::field(used_ + ring::flags).store(used_f_no_notify, std::memory_order_relaxed);
}

}  // namespace vumedia::virtio
