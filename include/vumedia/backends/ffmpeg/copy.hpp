// Moving decoded samples into CAPTURE buffers that libavcodec could not decode into.
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

// One plane of 8-bit samples. Lines may run backwards in memory (a negative stride).
struct Plane {
  const std::uint8_t* data = nullptr;
  std::ptrdiff_t stride = 0;
};

// Copies `height` lines of `width` bytes.
inline void copy_plane(std::uint8_t* to, std::size_t to_stride, Plane from, std::size_t width,
                       std::size_t height) noexcept {
  for (std::size_t y = 0; y < height; ++y) {
    std::memcpy(to, from.data, width);
    to += to_stride;
    from.data += from.stride;
  }
}

// One line of U and one of V, `width` samples each, into 2 * `width` bytes U V U V. The ranges do not
// overlap.
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

// The U and V planes, `width` x `height` samples each, into NV12's one plane of pairs.
inline void interleave_planes(std::uint8_t* to, std::size_t to_stride, Plane u, Plane v, std::size_t width,
                              std::size_t height) noexcept {
  for (std::size_t y = 0; y < height; ++y) {
    interleave_line(to, u.data, v.data, width);
    to += to_stride;
    u.data += u.stride;
    v.data += v.stride;
  }
}

}  // namespace vumedia::backends::ffmpeg
