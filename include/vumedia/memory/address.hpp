// Three kinds of 64-bit numbers that must never be mixed up.
#pragma once

#include <compare>
#include <cstdint>

namespace vumedia::memory {

/// Where the guest sees a byte: descriptors and ranges carry these.
struct GuestAddress {
  std::uint64_t value = 0;  ///< an address in the guest's physical memory
  friend constexpr auto operator<=>(GuestAddress, GuestAddress) = default;
};

/// Where the frontend's own process sees a byte of guest memory: vhost-user names rings by these.
struct FrontendAddress {
  std::uint64_t value = 0;  ///< an address in the frontend's process
  friend constexpr auto operator<=>(FrontendAddress, FrontendAddress) = default;
};

/// An offset into a VIRTIO shared memory region: what virtio-media calls driver_addr.
struct ShmOffset {
  std::uint64_t value = 0;  ///< in bytes, from the beginning of the region
  friend constexpr auto operator<=>(ShmOffset, ShmOffset) = default;
};

}  // namespace vumedia::memory
