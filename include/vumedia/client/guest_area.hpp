// A part of a guest's memory, as the driver and as the device name it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>

namespace vumedia::client {

/// Memory that is contiguous in this process and for the device. It owns nothing.
struct GuestArea {
  std::span<std::byte> bytes;    ///< in this process
  memory::GuestAddress address;  ///< where the device finds the first byte

  /// In bytes.
  [[nodiscard]] std::size_t size() const noexcept { return bytes.size(); }
  /// `offset` + `size` must not exceed size().
  [[nodiscard]] GuestArea part(std::size_t offset, std::size_t size) const noexcept {
    return {bytes.subspan(offset, size), {address.value + offset}};
  }
  /// Where the device finds what `pointer` points at. EFAULT if that is elsewhere.
  [[nodiscard]] Result<memory::GuestAddress> address_of(const void* pointer) const noexcept {
    const auto offset =
        reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(bytes.data());
    if (offset >= size()) return fail(EFAULT);
    return memory::GuestAddress{address.value + offset};
  }
};

}  // namespace vumedia::client
