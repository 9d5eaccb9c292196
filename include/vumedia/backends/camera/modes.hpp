// What a camera can deliver: pixel formats, sizes and frame intervals; and one mode of these.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::camera {

/// A size, and how often frames of it can come.
struct FrameSize {
  std::uint32_t width = 0;   ///< pixels of a line
  std::uint32_t height = 0;  ///< lines
  /// In seconds, the shortest first: the larger the picture, the more a sensor's link limits them.
  std::span<const v4l2_fract> intervals;
};

/// All of a Source. What it refers to lives as long as the Source.
struct Modes {
  /// Raw formats that v4l2::find_pixel_format() knows, in the order of ENUM_FMT. Those with several planes in
  /// memory are offered by the multi-planar API only. The first one, which has one plane, is what a camera
  /// begins with and what an unknown one becomes.
  std::span<const std::uint32_t> formats;
  /// The first is what a camera begins with.
  std::span<const FrameSize> sizes;
  /// What a camera begins with, and S_PARM resets it to, as near as the size allows.
  v4l2_fract usual_interval{1, 30};
};

/// A current format.
struct Mode {
  const v4l2::PixelFormat* format = nullptr;  ///< raw, or the compressed one
  const FrameSize* size = nullptr;            ///< of the Modes
  /// Compressed: one plane, whose size is the limit for a picture, and no components.
  v4l2::Layout layout;
};

/// Bytes of a line in memory.
inline constexpr std::uint32_t max_stride = 16384;

/// A size that no compressed picture exceeds: noise at the best quality takes little more than one byte per
/// pixel. Android's camera refuses a format of more than two.
[[nodiscard]] constexpr std::uint32_t compressed_size(const FrameSize& size) noexcept {
  return size.width * size.height * 2;
}

/// Pixels of a side: whatever the format, no plane of such a picture has more than 32 bits of bytes.
inline constexpr std::uint32_t largest_side = 16384;

/// Why a camera cannot have these modes. Null if it can.
[[nodiscard]] constexpr const char* fault_of(const Modes& modes) noexcept {
  const auto positive = [](const v4l2_fract& interval) {
    return interval.numerator != 0 && interval.denominator != 0;
  };
  if (modes.formats.empty()) return "there is no format";
  for (const std::uint32_t code : modes.formats) {
    const v4l2::PixelFormat* const format = v4l2::find_pixel_format(code);
    if (format == nullptr) return "there is a format that v4l2::find_pixel_format() does not know";
    if (format->compressed) return "there is a compressed format, which takes an encoder";
  }
  if (v4l2::find_pixel_format(modes.formats[0])->memory_planes != 1)
    return "the first format has several planes in memory";
  if (modes.sizes.empty()) return "there is no size";
  for (const FrameSize& size : modes.sizes) {
    if (size.width == 0 || size.height == 0) return "there is a size without pixels";
    if (size.width > largest_side || size.height > largest_side)
      return "there is a size of more than 16384 pixels a side";
    if (size.intervals.empty()) return "there is a size without intervals";
    if (!std::ranges::all_of(size.intervals, positive)) return "there is an interval with a 0";
  }
  if (!positive(modes.usual_interval)) return "the usual interval has a 0";
  return nullptr;
}
/// For a static_assert next to a table, or for one that comes from a file.
[[nodiscard]] constexpr bool valid_modes(const Modes& modes) noexcept {
  return fault_of(modes) == nullptr;
}

/// `stride`: the requested bytes per line of the first plane.
[[nodiscard]] constexpr Mode make_mode(const v4l2::PixelFormat& format, const FrameSize& size,
                                       std::uint32_t stride = 0) noexcept {
  Mode mode{&format, &size, {}};
  if (format.compressed) {
    mode.layout.plane_count = 1;
    mode.layout.planes[0].sizeimage = compressed_size(size);
    return mode;
  }
  // There always is one: no size of valid_modes() comes near 32 bits.
  mode.layout =
      *v4l2::compute_layout(format, size.width, size.height,
                            {.stride = stride <= max_stride ? stride : 0, .max_stride = max_stride});
  return mode;
}

/// The maximum size of a plane of a buffer: that of the largest picture with the longest lines.
[[nodiscard]] constexpr std::uint32_t most_plane_bytes(const Modes& modes) noexcept {
  std::uint32_t most = 0;
  for (const FrameSize& size : modes.sizes) {
    most = std::max(most, compressed_size(size));
    for (const std::uint32_t code : modes.formats) {
      const Mode mode = make_mode(*v4l2::find_pixel_format(code), size, max_stride);
      for (std::size_t p = 0; p < mode.layout.plane_count; ++p)
        most = std::max(most, mode.layout.planes[p].sizeimage);
    }
  }
  return most;
}

/// Null if there is none.
[[nodiscard]] constexpr const FrameSize* find_size(const Modes& modes, std::uint32_t width,
                                                   std::uint32_t height) noexcept {
  for (const FrameSize& size : modes.sizes) {
    if (size.width == width && size.height == height) return &size;
  }
  return nullptr;
}

/// The size closest to the requested one, by the sum of both differences.
[[nodiscard]] constexpr const FrameSize& nearest_size(const Modes& modes, std::uint32_t width,
                                                      std::uint32_t height) noexcept {
  const auto distance = [](std::uint32_t a, std::uint32_t b) { return std::uint64_t{a > b ? a - b : b - a}; };
  const FrameSize* best = modes.sizes.data();
  std::uint64_t least = UINT64_MAX;
  for (const FrameSize& size : modes.sizes) {
    const std::uint64_t far = distance(size.width, width) + distance(size.height, height);
    if (far < least) {
      least = far;
      best = &size;
    }
  }
  return *best;
}

namespace detail {

__extension__ typedef unsigned __int128 Wide;

}  // namespace detail

/// The interval of `size` whose rate is nearest to that of `asked`; to that of `usual`, if `asked` has a 0 in
/// either part, which S_PARM defines as "reset".
[[nodiscard]] constexpr v4l2_fract nearest_interval(const FrameSize& size, v4l2_fract asked,
                                                    const v4l2_fract& usual) noexcept {
  if (asked.numerator == 0 || asked.denominator == 0) asked = usual;
  v4l2_fract best = size.intervals.front();
  detail::Wide least = ~detail::Wide{0};
  for (const v4l2_fract& interval : size.intervals) {
    // |1 / interval - 1 / asked| is `far` / (interval.numerator * asked.numerator). Both have that last
    // factor, so it is left out; the rest has at most 96 bits.
    const std::uint64_t rate = std::uint64_t{interval.denominator} * asked.numerator;
    const std::uint64_t wanted = std::uint64_t{asked.denominator} * interval.numerator;
    const detail::Wide far = rate > wanted ? rate - wanted : wanted - rate;
    if (least == ~detail::Wide{0} || far * best.numerator < least * interval.numerator) {
      least = far;
      best = interval;
    }
  }
  return best;
}

}  // namespace vumedia::backends::camera
