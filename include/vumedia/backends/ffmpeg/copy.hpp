// Copies lines of decoded samples into CAPTURE buffers that libavcodec could not decode into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace vumedia::backends::ffmpeg {

/// One line of U and one of V, `width` samples each, into 2 * `width` bytes U V U V. The ranges do not
/// overlap.
inline void interleave_line(std::uint8_t* to, const std::uint8_t* u, const std::uint8_t* v,
                            std::size_t width) noexcept {
  std::size_t x = 0;
#if defined(__SSE2__)
  for (; x + 16 <= width; x += 16) {
    const __m128i us = _mm_loadu_si128(reinterpret_cast<const __m128i*>(u + x));
    const __m128i vs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(v + x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * x), _mm_unpacklo_epi8(us, vs));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * x + 16), _mm_unpackhi_epi8(us, vs));
  }
#elif defined(__ARM_NEON)
  for (; x + 16 <= width; x += 16) {
    const uint8x16x2_t pair = {{vld1q_u8(u + x), vld1q_u8(v + x)}};
    vst2q_u8(to + 2 * x, pair);
  }
#endif
  for (; x < width; ++x) {
    to[2 * x] = u[x];
    to[2 * x + 1] = v[x];
  }
}

/// P010 has a sample's 10 bits in the upper bits of its little-endian word, libavcodec has them in the lower
/// ones.
inline constexpr int raised_bits = 6;

/// The sample at `at`, moved up by `bits`.
template <int bits = raised_bits>
std::uint16_t raised_sample(const std::uint8_t* at) noexcept {
  std::uint16_t sample = 0;
  std::memcpy(&sample, at, sizeof sample);
  return static_cast<std::uint16_t>(sample << bits);
}

/// One line of `width` samples of 10 bits. The ranges do not overlap; here and below no pointer need be
/// aligned.
inline void raise_line(std::uint8_t* to, const std::uint8_t* from, std::size_t width) noexcept {
  std::size_t x = 0;
#if defined(__SSE2__)
  for (; x + 8 <= width; x += 8) {
    const __m128i samples = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * x), _mm_slli_epi16(samples, raised_bits));
  }
#elif defined(__ARM_NEON)
  for (; x + 8 <= width; x += 8) {
    const uint16x8_t samples = vreinterpretq_u16_u8(vld1q_u8(from + 2 * x));
    vst1q_u8(to + 2 * x, vreinterpretq_u8_u16(vshlq_n_u16(samples, raised_bits)));
  }
#endif
  for (; x < width; ++x) {
    const std::uint16_t sample = raised_sample(from + 2 * x);
    std::memcpy(to + 2 * x, &sample, sizeof sample);
  }
}

/// One line of U and one of V, `width` samples each, into 4 * `width` bytes, each moved up by `bits`. The
/// ranges do not overlap.
template <int bits = raised_bits>
void raise_and_interleave_line(std::uint8_t* to, const std::uint8_t* u, const std::uint8_t* v,
                               std::size_t width) noexcept {
  std::size_t x = 0;
#if defined(__SSE2__)
  for (; x + 8 <= width; x += 8) {
    const __m128i us = _mm_slli_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(u + 2 * x)), bits);
    const __m128i vs = _mm_slli_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(v + 2 * x)), bits);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 4 * x), _mm_unpacklo_epi16(us, vs));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 4 * x + 16), _mm_unpackhi_epi16(us, vs));
  }
#elif defined(__ARM_NEON)
  for (; x + 8 <= width; x += 8) {
    const uint16x8_t us = vshlq_n_u16(vreinterpretq_u16_u8(vld1q_u8(u + 2 * x)), bits);
    const uint16x8_t vs = vshlq_n_u16(vreinterpretq_u16_u8(vld1q_u8(v + 2 * x)), bits);
    vst1q_u8(to + 4 * x, vreinterpretq_u8_u16(vzip1q_u16(us, vs)));
    vst1q_u8(to + 4 * x + 16, vreinterpretq_u8_u16(vzip2q_u16(us, vs)));
  }
#endif
  for (; x < width; ++x) {
    const std::uint16_t pair[2] = {raised_sample<bits>(u + 2 * x), raised_sample<bits>(v + 2 * x)};
    std::memcpy(to + 4 * x, pair, sizeof pair);
  }
}

/// How a line of samples is copied to a buffer, depending on their depth: 8 bits, unchanged.
struct EightBits {
  using Sample = std::uint8_t;               ///< as it is in memory
  static constexpr Sample neutral = 1 << 7;  ///< chroma without colour

  /// One line of `width` samples. The ranges do not overlap.
  static void copy_line(std::uint8_t* to, const std::uint8_t* from, std::size_t width) noexcept {
    std::memcpy(to, from, width);
  }
  /// See interleave_line().
  static void interleave(std::uint8_t* to, const std::uint8_t* u, const std::uint8_t* v,
                         std::size_t width) noexcept {
    interleave_line(to, u, v, width);
  }
  /// The same, for a line that still goes through another of these functions.
  static void pair(std::uint8_t* to, const std::uint8_t* u, const std::uint8_t* v,
                   std::size_t width) noexcept {
    interleave_line(to, u, v, width);
  }
};
/// 10 bits, moved to the upper bits of their words.
struct TenBits {
  using Sample = std::uint16_t;              ///< as it is in memory, little-endian
  static constexpr Sample neutral = 1 << 9;  ///< chroma without colour, before it is moved up

  /// See raise_line().
  static void copy_line(std::uint8_t* to, const std::uint8_t* from, std::size_t width) noexcept {
    raise_line(to, from, width);
  }
  /// See raise_and_interleave_line().
  static void interleave(std::uint8_t* to, const std::uint8_t* u, const std::uint8_t* v,
                         std::size_t width) noexcept {
    raise_and_interleave_line(to, u, v, width);
  }
  /// The samples as they are, for a line that still goes through another of these functions.
  static void pair(std::uint8_t* to, const std::uint8_t* u, const std::uint8_t* v,
                   std::size_t width) noexcept {
    raise_and_interleave_line<0>(to, u, v, width);
  }
};

}  // namespace vumedia::backends::ffmpeg
