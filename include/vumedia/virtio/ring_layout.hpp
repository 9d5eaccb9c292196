// The split virtqueue in memory: VIRTIO 1.4, 2.7. Names are those of the specification without VIRTQ_ and
// virtq_.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <vumedia/memory/address.hpp>

namespace vumedia::virtio {

/// Feature bits of the transport and its rings (VIRTIO 1.4, 6).
namespace feature {
/// VIRTIO_F_*.
///@{
inline constexpr std::uint64_t ring_indirect_desc = 1ULL << 28;
inline constexpr std::uint64_t ring_event_idx = 1ULL << 29;
inline constexpr std::uint64_t version_1 = 1ULL << 32;
///@}
}  // namespace feature

/// Descriptors, at most, that a split queue may have (2.7).
inline constexpr std::uint32_t max_queue_size = 32768;

/// struct virtq_desc (2.7.5).
struct Descriptor {
  std::uint64_t address = 0;  ///< of the buffer, in the guest
  std::uint32_t length = 0;   ///< in bytes
  std::uint16_t flags = 0;    ///< desc_f_*
  std::uint16_t next = 0;     ///< the index of the next descriptor, with desc_f_next
};
static_assert(sizeof(Descriptor) == 16);
static_assert(offsetof(Descriptor, length) == 8 && offsetof(Descriptor, flags) == 12 &&
              offsetof(Descriptor, next) == 14);

inline constexpr std::uint16_t desc_f_next = 1;      ///< the chain goes on at Descriptor::next
inline constexpr std::uint16_t desc_f_write = 2;     ///< the device writes; without it the device reads
inline constexpr std::uint16_t desc_f_indirect = 4;  ///< the buffer is a table of descriptors

/// struct virtq_used_elem (2.7.8).
struct UsedElement {
  std::uint32_t id = 0;      ///< the head of the chain
  std::uint32_t length = 0;  ///< bytes that the device has written
};
static_assert(sizeof(UsedElement) == 8 && offsetof(UsedElement, length) == 4);

/// The available ring's flag by which the driver asks for no interrupts.
inline constexpr std::uint16_t avail_f_no_interrupt = 1;
/// The used ring's flag by which the device asks for no notifications.
inline constexpr std::uint16_t used_f_no_notify = 1;

/// Alignment and size of the three parts, and where their fields lie, for a queue of `size` descriptors
/// (2.7).
namespace ring {

/// Of the guest addresses of the parts, in bytes.
///@{
inline constexpr std::uint64_t descriptor_alignment = 16;
inline constexpr std::uint64_t available_alignment = 2;
inline constexpr std::uint64_t used_alignment = 4;
///@}

/// Bytes of a part.
///@{
constexpr std::uint64_t descriptors_bytes(std::uint32_t size) noexcept {
  return 16ULL * size;
}
constexpr std::uint64_t available_bytes(std::uint32_t size) noexcept {
  return 6 + 2ULL * size;
}
constexpr std::uint64_t used_bytes(std::uint32_t size) noexcept {
  return 6 + 8ULL * size;
}
///@}

/// Both rings: le16 flags, le16 idx, the elements, and a le16 for the event index of the other side.
inline constexpr std::size_t flags = 0;
/// Likewise.
///@{
inline constexpr std::size_t index = 2;
inline constexpr std::size_t elements = 4;
///@}
/// Where the available ring has the driver's event index.
constexpr std::size_t used_event(std::uint32_t size) noexcept {
  return 4 + std::size_t{2} * size;
}
/// Where the used ring has the device's event index.
constexpr std::size_t avail_event(std::uint32_t size) noexcept {
  return 4 + std::size_t{8} * size;
}

/// A field that both sides use at once. `at` is aligned to 2.
inline std::atomic_ref<std::uint16_t> field(std::byte* at) noexcept {
  return std::atomic_ref<std::uint16_t>(*reinterpret_cast<std::uint16_t*>(at));
}
static_assert(std::atomic_ref<std::uint16_t>::is_always_lock_free);

/// Reads exactly once what a hostile peer may change at the same time: the compiler may neither repeat nor
/// split nor move a volatile read. `at` needs no alignment.
template <class T>
inline T load_once(const std::byte* at) noexcept {
  struct [[gnu::packed, gnu::may_alias]] Unaligned {
    T value;
  };
  return reinterpret_cast<const volatile Unaligned*>(at)->value;
}

/// vring_need_event: whether moving an index from `before` to `after` passes `event` (2.7.7, 2.7.10).
constexpr bool passes(std::uint16_t event, std::uint16_t before, std::uint16_t after) noexcept {
  return static_cast<std::uint16_t>(after - event - 1) < static_cast<std::uint16_t>(after - before);
}

}  // namespace ring
}  // namespace vumedia::virtio
