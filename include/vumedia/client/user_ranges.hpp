// Guest ranges for pointers of a program (VIRTIO 1.4, 5.22.6.3.3), as the kernel's driver makes them: of
// USERPTR buffers, and of controls that are more than a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/client/encoding.hpp>
#include <vumedia/client/guest_area.hpp>
#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::client {

/// For a buffer whose pointers point into `user`; others are left alone. EFAULT: it is not all there.
[[nodiscard]] inline Result<> add_ranges(v4l2::BufferPayload& payload, const GuestArea& user) {
  const v4l2_buffer& head = payload.buffer.head;
  if (head.memory != V4L2_MEMORY_USERPTR) return {};
  const auto planes = detail::plane_count(head);
  if (!planes) return std::unexpected(planes.error());
  const bool multiplanar = v4l2::is_multiplanar(head.type);
  for (std::uint32_t p = 0; p < (multiplanar ? *planes : 1); ++p) {
    const std::uint32_t length = multiplanar ? payload.buffer.planes[p].length : head.length;
    const unsigned long pointer = multiplanar ? payload.buffer.planes[p].m.userptr : head.m.userptr;
    const auto address = user.address_of(reinterpret_cast<const void*>(pointer));
    if (!address || !range_fits(address->value - user.address.value, length, user.size())) {
      payload.ranges.clear();
      return fail(EFAULT);
    }
    const v4l2::GuestRange range{*address, length};
    payload.ranges.add_list(std::span(&range, length > 0 ? 1 : 0));
  }
  return {};
}

/// Copies the bytes that controls point at into `area`, one control after another. E2BIG: it is too small.
[[nodiscard]] inline Result<> add_ranges(v4l2::ExtControls& payload, const GuestArea& area) {
  std::size_t used = 0;
  for (const v4l2_ext_control& control : payload.controls) {
    if (control.size > area.size() - used || (control.size > 0 && control.ptr == nullptr)) {
      payload.ranges.clear();
      return fail(control.size > 0 && control.ptr == nullptr ? EFAULT : E2BIG);
    }
    const GuestArea part = area.part(used, control.size);
    if (control.size > 0) std::memcpy(part.bytes.data(), control.ptr, control.size);
    const v4l2::GuestRange range{part.address, control.size};
    payload.ranges.add_list(std::span(&range, control.size > 0 ? 1 : 0));
    used += control.size;
  }
  return {};
}

/// Copies them back, to where the controls that were sent point.
inline void take_controls(std::span<const v4l2_ext_control> sent, const GuestArea& area) noexcept {
  std::size_t used = 0;
  for (const v4l2_ext_control& control : sent) {
    if (control.size > 0) std::memcpy(control.ptr, area.part(used, control.size).bytes.data(), control.size);
    used += control.size;
  }
}

}  // namespace vumedia::client
