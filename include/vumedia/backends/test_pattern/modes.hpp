// What the test pattern camera can deliver: pixel formats, sizes and frame rates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <linux/videodev2.h>

namespace vumedia::backends::test_pattern {

struct FrameSize {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  // The maximum in frames per second: the larger the picture, the more a sensor's link limits it.
  std::uint32_t fastest = 0;
  friend constexpr bool operator==(const FrameSize&, const FrameSize&) = default;
};

// The raw formats; the first is the one in which the Rust program's camera starts. Those with several planes
// in memory come last: only the multi-planar API has them.
inline constexpr std::array<std::uint32_t, 6> raw_formats{
    V4L2_PIX_FMT_RGB24,  V4L2_PIX_FMT_YUYV,    V4L2_PIX_FMT_NV12,
    V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_YUV420M, V4L2_PIX_FMT_NV12M,
};
inline constexpr std::size_t single_plane_formats = 4;

// All widths are multiples of the 40 cells of the frame code, all heights even.
inline constexpr std::array frame_sizes{
    FrameSize{640, 480, 60},  FrameSize{320, 240, 60},   FrameSize{800, 600, 60},
    FrameSize{1280, 720, 60}, FrameSize{1920, 1080, 30},
};

// In frames per second, fastest first, as ENUM_FRAMEINTERVALS lists them.
inline constexpr std::array<std::uint32_t, 6> frame_rates{60, 30, 25, 15, 10, 5};
inline constexpr std::uint32_t default_rate = 30;

[[nodiscard]] constexpr const FrameSize* find_frame_size(std::uint32_t width, std::uint32_t height) noexcept {
  for (const auto& size : frame_sizes) {
    if (size.width == width && size.height == height) return &size;
  }
  return nullptr;
}

// The size closest to the requested one, by the sum of both differences.
[[nodiscard]] constexpr const FrameSize& nearest_frame_size(std::uint32_t width,
                                                            std::uint32_t height) noexcept {
  const auto distance = [](std::uint32_t a, std::uint32_t b) { return std::uint64_t{a > b ? a - b : b - a}; };
  const FrameSize* best = frame_sizes.data();
  std::uint64_t least = UINT64_MAX;
  for (const auto& size : frame_sizes) {
    const std::uint64_t far = distance(size.width, width) + distance(size.height, height);
    if (far < least) {
      least = far;
      best = &size;
    }
  }
  return *best;
}

// The rates of `size`, fastest first.
[[nodiscard]] constexpr std::span<const std::uint32_t> rates_of(const FrameSize& size) noexcept {
  std::size_t skipped = 0;
  while (skipped < frame_rates.size() && frame_rates[skipped] > size.fastest) ++skipped;
  return std::span(frame_rates).subspan(skipped);
}

// The rate of `size` nearest to an interval of numerator/denominator seconds; the default for 0 in either,
// which S_PARM defines as "reset".
[[nodiscard]] constexpr std::uint32_t nearest_rate(const FrameSize& size,
                                                   const v4l2_fract& interval) noexcept {
  const auto rates = rates_of(size);
  const bool reset = interval.numerator == 0 || interval.denominator == 0;
  const std::uint64_t numerator = reset ? 1 : interval.numerator;
  const std::uint64_t denominator = reset ? default_rate : interval.denominator;
  std::uint32_t best = rates.front();
  std::uint64_t least = UINT64_MAX;
  for (const std::uint32_t rate : rates) {
    // |rate - denominator / numerator|, times the numerator: the factors have 32 bits, so nothing overflows.
    const std::uint64_t scaled = std::uint64_t{rate} * numerator;
    const std::uint64_t far = scaled > denominator ? scaled - denominator : denominator - scaled;
    if (far < least) {
      least = far;
      best = rate;
    }
  }
  return best;
}

}  // namespace vumedia::backends::test_pattern
