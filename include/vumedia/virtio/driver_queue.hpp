// The driver's half of a split virtqueue (VIRTIO 1.4, 2.7): for a guest in user space, for tests and
// benchmarks.
//
// It lays the three parts of the queue, and an indirect table for each head, into memory that the device
// shares. What it must rely on later (which descriptors form a chain, which are free) is kept in private
// memory: a device that writes nonsense causes an error and cannot corrupt the driver's state.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/virtio/ring_layout.hpp>

namespace vumedia::virtio {

/// A buffer as the driver offers it.
struct Piece {
  memory::GuestAddress address;  ///< its first byte in the guest
  std::uint32_t length = 0;      ///< in bytes
  bool writable = false;         ///< by the device; such pieces come last
};

/// A buffer that came back.
struct Used {
  std::uint16_t head = 0;    ///< as add() has returned it
  std::uint32_t length = 0;  ///< bytes that the device wrote, at most the writable size of the chain
};

/// Not thread-safe. It never trusts what the device has written.
class DriverQueue {
 public:
  using GuestAddress = memory::GuestAddress;  ///< of the driver

  /// Descriptors of an indirect table.
  static constexpr std::uint32_t max_indirect = 16;

  /// Bytes of shared memory for a queue of `size`.
  [[nodiscard]] static constexpr std::size_t bytes(std::uint32_t size) noexcept {
    return tables_offset(size) + std::size_t{size} * table_bytes;
  }

  /// A queue of `size` (a power of two up to 32768) in the bytes(size) bytes at `memory`, which the guest
  /// sees at `guest`; both aligned to 16. The memory outlives the queue. It is cleared here, so the device
  /// must start later.
  DriverQueue(std::byte* memory, GuestAddress guest, std::uint16_t size, bool event_idx)
      : memory_(memory), guest_(guest), size_(size), event_idx_(event_idx), chains_(size), links_(size) {
    reset();
  }

  /// Makes the queue empty again, with index 0; for use after a reset of the device.
  void reset() noexcept {
    std::memset(memory_, 0, bytes(size_));
    for (std::uint32_t i = 0; i < size_; ++i) links_[i] = static_cast<std::uint16_t>(i + 1);
    for (Chain& chain : chains_) chain = {};
    first_free_ = 0;
    free_ = size_;
    available_index_ = published_ = used_index_ = 0;
    in_flight_ = 0;
  }

  /// How many descriptors it has, and how many chains can be under way.
  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }
  /// Where its parts are, for the device.
  ///@{
  [[nodiscard]] GuestAddress descriptors() const noexcept { return guest_; }
  [[nodiscard]] GuestAddress available() const noexcept { return {guest_.value + available_offset(size_)}; }
  [[nodiscard]] GuestAddress used() const noexcept { return {guest_.value + used_offset(size_)}; }
  ///@}

  /// Free descriptors; chains that the device has (or that were added but not published).
  [[nodiscard]] std::uint32_t free_count() const noexcept { return free_; }
  /// Chains that the device has not given back.
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return in_flight_; }

  /// Adds a chain of `pieces` and returns its head, which names it until it comes back. `indirect` puts it
  /// into a table of its own, so that it takes one descriptor of the queue. EINVAL: no pieces, or readable
  /// ones after writable ones. E2BIG: more than the queue, or a table, can hold. ENOSPC: too few descriptors
  /// are free now.
  [[nodiscard]] Result<std::uint16_t> add(std::span<const Piece> pieces, bool indirect = false) noexcept;

  /// Shows the device what was added. Returns whether it wants to be kicked.
  [[nodiscard]] bool publish() noexcept;

  /// The next chain that came back, or nothing. EPROTO: the device named a chain that it does not have,
  /// claims to have written more than there is room for, or has returned more than it was given.
  [[nodiscard]] Result<std::optional<Used>> pop_used() noexcept;

  /// Asks to be interrupted for the next used chain, which is the initial state. True if one is there
  /// already: look again.
  [[nodiscard]] bool enable_interrupts() noexcept;
  /// Interrupts are not needed, though some may come.
  void disable_interrupts() noexcept;

 private:
  struct Chain {
    std::uint32_t writable = 0;     // bytes
    std::uint16_t descriptors = 0;  // of the queue; 0: the head is not in flight
    std::uint16_t last = 0;
  };
  static constexpr std::size_t table_bytes = max_indirect * sizeof(Descriptor);

  static constexpr std::size_t available_offset(std::uint32_t size) noexcept {
    return ring::descriptors_bytes(size);
  }
  static constexpr std::size_t used_offset(std::uint32_t size) noexcept {
    return (available_offset(size) + ring::available_bytes(size) + 3) & ~std::size_t{3};
  }
  static constexpr std::size_t tables_offset(std::uint32_t size) noexcept {
    return (used_offset(size) + ring::used_bytes(size) + 15) & ~std::size_t{15};
  }

  [[nodiscard]] std::byte* available_ring() const noexcept { return memory_ + available_offset(size_); }
  [[nodiscard]] std::byte* used_ring() const noexcept { return memory_ + used_offset(size_); }
  void store_descriptor(std::size_t offset, const Descriptor& descriptor) noexcept {
    std::memcpy(memory_ + offset, &descriptor, sizeof descriptor);
  }

  std::byte* memory_;
  GuestAddress guest_;
  std::uint16_t size_;
  bool event_idx_;
  std::uint16_t available_index_ = 0;
  std::uint16_t published_ = 0;
  std::uint16_t used_index_ = 0;
  std::uint16_t first_free_ = 0;
  std::uint32_t free_ = 0;
  std::uint32_t in_flight_ = 0;
  std::vector<Chain> chains_;         // by head
  std::vector<std::uint16_t> links_;  // from a descriptor to the next one of its chain, or of the free list
};

inline Result<std::uint16_t> DriverQueue::add(std::span<const Piece> pieces, bool indirect) noexcept {
  if (pieces.empty()) return fail(EINVAL);
  if (pieces.size() > (indirect ? max_indirect : std::uint32_t{size_})) return fail(E2BIG);
  std::uint64_t writable = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].writable) {
      writable += pieces[i].length;
    } else if (i > 0 && pieces[i - 1].writable) {
      return fail(EINVAL);
    }
  }
  if (writable > std::numeric_limits<std::uint32_t>::max()) return fail(E2BIG);
  const auto needed = static_cast<std::uint16_t>(indirect ? 1 : pieces.size());
  if (needed > free_) return fail(ENOSPC);

  const std::uint16_t head = first_free_;
  const std::size_t table = tables_offset(size_) + head * table_bytes;
  std::uint16_t index = head, last = head;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool more = i + 1 < pieces.size();
    const auto next = static_cast<std::uint16_t>(indirect ? i + 1 : links_[index]);
    const auto flags =
        static_cast<std::uint16_t>((pieces[i].writable ? desc_f_write : 0) | (more ? desc_f_next : 0));
    store_descriptor(indirect ? table + i * sizeof(Descriptor) : index * sizeof(Descriptor),
                     {pieces[i].address.value, pieces[i].length, flags, more ? next : std::uint16_t{0}});
    if (!indirect) {
      last = index;
      index = links_[index];
    }
  }
  if (indirect) {
    store_descriptor(head * sizeof(Descriptor),
                     {guest_.value + table, static_cast<std::uint32_t>(pieces.size() * sizeof(Descriptor)),
                      desc_f_indirect, 0});
  }
  first_free_ = links_[last];
  free_ -= needed;
  ++in_flight_;
  chains_[head] = {static_cast<std::uint32_t>(writable), needed, last};
  std::memcpy(available_ring() + ring::elements + std::size_t{2} * (available_index_ & (size_ - 1U)), &head,
              sizeof head);
  ++available_index_;
  return head;
}

inline bool DriverQueue::publish() noexcept {
  if (available_index_ == published_) return false;
  const std::uint16_t before = published_;
  published_ = available_index_;
  // Ordered as in the device's half: store the index, then look whether the other side waits for it.
  ring::field(available_ring() + ring::index).store(published_, std::memory_order_seq_cst);
  if (event_idx_) {
    const auto event = ring::field(used_ring() + ring::avail_event(size_)).load(std::memory_order_seq_cst);
    return ring::passes(event, before, published_);
  }
  return (ring::field(used_ring() + ring::flags).load(std::memory_order_seq_cst) & used_f_no_notify) == 0;
}

inline Result<std::optional<Used>> DriverQueue::pop_used() noexcept {
  const std::uint16_t index = ring::field(used_ring() + ring::index).load(std::memory_order_acquire);
  if (index == used_index_) return std::optional<Used>();
  if (static_cast<std::uint16_t>(index - used_index_) > in_flight_) return fail(EPROTO);
  const std::byte* const element =
      used_ring() + ring::elements + std::size_t{8} * (used_index_ & (size_ - 1U));
  const auto id = ring::load_once<std::uint32_t>(element);
  const auto length = ring::load_once<std::uint32_t>(element + 4);
  if (id >= size_) return fail(EPROTO);
  Chain& chain = chains_[id];
  if (chain.descriptors == 0 || length > chain.writable) return fail(EPROTO);

  const auto head = static_cast<std::uint16_t>(id);
  links_[chain.last] = first_free_;
  first_free_ = head;
  free_ += chain.descriptors;
  --in_flight_;
  chain = {};
  ++used_index_;
  return Used{head, length};
}

inline bool DriverQueue::enable_interrupts() noexcept {
  if (event_idx_) {
    ring::field(available_ring() + ring::used_event(size_)).store(used_index_, std::memory_order_seq_cst);
  } else {
    ring::field(available_ring() + ring::flags).store(0, std::memory_order_seq_cst);
  }
  return ring::field(used_ring() + ring::index).load(std::memory_order_seq_cst) != used_index_;
}

inline void DriverQueue::disable_interrupts() noexcept {
  // With event indices the device interrupts once when its index passes used_event, which is then left
  // unchanged.
  if (!event_idx_)
    ring::field(available_ring() + ring::flags).store(avail_f_no_interrupt, std::memory_order_relaxed);
}

}  // namespace vumedia::virtio
