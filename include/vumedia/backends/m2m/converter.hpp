// The simplest engine of a memory-to-memory device: a raw picture becomes another raw one of the same size.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::m2m {

/// A raw picture in a buffer: `layout` says where its lines are in `bytes`. A guest may write to the memory
/// at any time, so what is read from it is never trusted, and read once if it is used to find an address.
template <class Byte>
struct Picture {
  const v4l2::PixelFormat& format;  ///< of the samples
  std::uint32_t width = 0;          ///< pixels of a line
  std::uint32_t height = 0;         ///< lines
  const v4l2::Layout& layout;       ///< of the lines
  std::span<Byte> bytes;            ///< as many as the layout has

  /// Line `y` of a component, without what pads it: `y` < layout.components[component].lines.
  [[nodiscard]] std::span<Byte> line(std::size_t component, std::size_t y) const noexcept {
    const v4l2::Layout::Place& place = layout.components[component];
    return bytes.subspan(place.offset + y * place.stride, place.width_bytes);
  }
};
using Source = Picture<const std::byte>;  ///< a picture to be converted
using Target = Picture<std::byte>;        ///< where the result goes

/// `output_formats` and `capture_formats`: the formats that go in and come out (V4L2_PIX_FMT_*), in the order
/// in which they are offered. The first is the default.
template <class E>
concept HasFormats = requires {
  std::span<const std::uint32_t>(E::output_formats);
  std::span<const std::uint32_t>(E::capture_formats);
};

/// Whether M2m can describe them all: raw ones of v4l2::pixel_formats, each in one piece of memory.
[[nodiscard]] constexpr bool describable(std::span<const std::uint32_t> formats) noexcept {
  return !formats.empty() && std::ranges::all_of(formats, [](std::uint32_t code) {
    const v4l2::PixelFormat* const format = v4l2::find_pixel_format(code);
    return format != nullptr && format->component_count != 0 && format->memory_planes == 1;
  });
}
template <class E>
concept HasDescribableFormats =
    HasFormats<E> && describable(E::output_formats) && describable(E::capture_formats);

/// `convert(source, target)`: makes the picture in `target`, of one of the capture formats, from that in
/// `source`, of one of the output formats and the same size. False if that is impossible: both buffers come
/// back with V4L2_BUF_FLAG_ERROR. It runs on the device's loop, which serves nobody else meanwhile.
template <class E>
concept Converts = requires(E& engine, const Source& source, const Target& target) {
  { engine.convert(source, target) } -> std::same_as<bool>;
};

/// The most luma samples of a picture: `max_pixels` if the engine has that, or those of 1920x1088, which a
/// simple conversion takes about a millisecond for.
template <class E>
[[nodiscard]] constexpr std::uint32_t max_pixels() noexcept {
  if constexpr (requires { std::uint32_t{E::max_pixels}; }) {
    return E::max_pixels;
  } else {
    return 1920 * 1088;
  }
}

}  // namespace vumedia::backends::m2m
