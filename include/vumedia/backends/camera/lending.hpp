// Pictures that a Source lends, on their way into the guest's buffer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <vumedia/backends/camera/modes.hpp>
#include <vumedia/backends/camera/source.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::camera {

/// Bytes of a picture in this raw mode as a Source lends it.
[[nodiscard]] constexpr std::size_t lent_size(const Mode& mode) noexcept {
  const v4l2::Layout layout = make_mode(*mode.format, *mode.size).layout;
  std::size_t bytes = 0;
  for (std::uint32_t p = 0; p < layout.plane_count; ++p) bytes += layout.planes[p].sizeimage;
  return bytes;
}

/// Copies line by line, because the guest's may be farther apart. False if the picture is too short.
[[nodiscard]] inline bool copy_lent(const Mode& mode, std::span<const std::byte> picture,
                                    const Planes& planes) noexcept {
  if (picture.size() < lent_size(mode)) return false;
  const v4l2::Layout from = make_mode(*mode.format, *mode.size).layout;
  std::array<std::size_t, 3> begins{};
  for (std::uint32_t p = 1; p < from.plane_count; ++p)
    begins[p] = begins[p - 1] + from.planes[p - 1].sizeimage;
  for (std::uint32_t c = 0; c < from.component_count; ++c) {
    const v4l2::Layout::Place& source = from.components[c];
    const v4l2::Layout::Place& target = mode.layout.components[c];
    const std::byte* line = picture.data() + begins[source.plane] + source.offset;
    std::byte* to = planes[target.plane] + target.offset;
    for (std::uint32_t row = 0; row < source.lines; ++row, line += source.stride, to += target.stride)
      std::memcpy(to, line, source.width_bytes);
  }
  return true;
}

}  // namespace vumedia::backends::camera
