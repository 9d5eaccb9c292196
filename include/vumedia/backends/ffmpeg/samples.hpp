// How the pictures of a stream, and those of a CAPTURE format, are sampled.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vumedia::backends::ffmpeg {

/// How many luma samples share one chroma sample: with 4:2:2 two side by side, with 4:4:0 two on top of each
/// other, with 4:2:0 a square of four.
enum class Sampling : std::uint8_t { grey, yuv411, yuv420, yuv422, yuv440, yuv444 };
inline constexpr std::size_t sampling_count = 6;  ///< of the enumeration

/// As binary logarithms. Grey, which has no chroma, has those of 4:2:0, because it is output as that.
[[nodiscard]] constexpr unsigned shift_x_of(Sampling sampling) noexcept {
  if (sampling == Sampling::yuv411) return 2;
  return sampling == Sampling::yuv440 || sampling == Sampling::yuv444 ? 0 : 1;
}
/// The same from top to bottom.
[[nodiscard]] constexpr unsigned shift_y_of(Sampling sampling) noexcept {
  return sampling == Sampling::grey || sampling == Sampling::yuv420 || sampling == Sampling::yuv440 ? 1 : 0;
}

/// The number of chroma samples for that many luma samples; the last one may stand for fewer than the others.
[[nodiscard]] constexpr std::size_t shrink(std::size_t size, unsigned shift) noexcept {
  return (size + (std::size_t{1} << shift) - 1) >> shift;
}

/// How a picture's samples are.
struct Samples {
  Sampling sampling = Sampling::yuv420;  ///< of chroma
  std::uint8_t bytes = 1;                ///< 1 for 8 bits; 2 for 10
  friend constexpr bool operator==(const Samples&, const Samples&) = default;
};

/// What a codec's streams may have: each of these samplings with each of these depths.
struct SamplesRange {
  std::uint32_t samplings = 0;  ///< one bit for each, by mask_of()
  std::uint32_t bytes = 0;      ///< Samples::bytes, or-ed

  /// The bits of `sampling`, for `samplings`.
  template <class... S>
  [[nodiscard]] static constexpr std::uint32_t mask_of(S... sampling) noexcept {
    return ((1u << static_cast<unsigned>(sampling)) | ...);
  }
  /// Whether a stream may have these.
  [[nodiscard]] constexpr bool contains(const Samples& samples) const noexcept {
    return (samplings & mask_of(samples.sampling)) != 0 && (bytes & samples.bytes) != 0;
  }
};

}  // namespace vumedia::backends::ffmpeg
