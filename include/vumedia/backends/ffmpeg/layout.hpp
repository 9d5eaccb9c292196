// How a decoded picture lies in a CAPTURE buffer, and what is said about it (VIDIOC_G_FMT,
// VIDIOC_G_SELECTION).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>

namespace vumedia::backends::ffmpeg {

// The place of a 4:2:0 picture in one contiguous buffer. It is the same for NV12 and YU12, since both lay the
// luma plane first and as many chroma bytes behind it; with YU12 a chroma line has half the stride. P010 is
// NV12 with two bytes a sample.
//
// It is chosen so that libavcodec can decode into the buffer whatever the codec: lines as far apart as the
// vector units ask for, as many lines as the largest blocks write, and room behind the last plane for filters
// that read on.
struct Layout {
  std::uint32_t width = 0;         // luma samples in a line
  std::uint32_t height = 0;        // luma lines
  std::uint32_t stride = 0;        // bytes from one luma line to the next
  std::uint32_t sample_bytes = 1;  // 1 for 8 bits; 2 for 10, in the upper bits of little-endian words

  // Frames wider or higher are never laid out: 2^14 squared times 3/2 samples of two bytes fit 32
  // bits with room to spare.
  static constexpr std::uint32_t max_dimension = 16384;
  static constexpr std::uint32_t width_step = 16;   // a macroblock
  static constexpr std::uint32_t height_step = 32;  // a pair of field macroblocks
  // Of the first byte, for libavcodec to decode into it (AVX-512). Buffers of the guest's may lie anywhere.
  static constexpr std::size_t address_alignment = 64;

  // For a picture of `width` x `height` coded samples. Nothing for an empty or oversized picture.
  [[nodiscard]] static constexpr std::optional<Layout> of(std::uint32_t width, std::uint32_t height,
                                                          std::uint32_t sample_bytes = 1) noexcept {
    if (width == 0 || height == 0 || width > max_dimension || height > max_dimension) return std::nullopt;
    Layout layout;
    layout.width = round_up(width, width_step);
    layout.height = round_up(height, height_step);
    // A chroma line is half as long and wants 64 bytes too (AVX-512).
    layout.stride = round_up(layout.width * sample_bytes, 128);
    layout.sample_bytes = sample_bytes;
    return layout;
  }

  [[nodiscard]] constexpr std::size_t luma_size() const noexcept { return std::size_t{stride} * height; }
  [[nodiscard]] constexpr std::size_t chroma_stride() const noexcept { return stride / 2; }
  [[nodiscard]] constexpr std::size_t chroma_size() const noexcept { return luma_size() / 4; }
  // The bytes a picture takes.
  [[nodiscard]] constexpr std::size_t payload() const noexcept { return luma_size() + 2 * chroma_size(); }
  // The bytes its buffer must have. H.264 motion compensation reads up to 1,024 bytes behind a 1080p V plane,
  // and avcodec_align_dimensions2 asks for two luma lines more than there are.
  [[nodiscard]] constexpr std::size_t size_image() const noexcept {
    return payload() + std::max<std::size_t>(2 * std::size_t{stride}, 2048);
  }

  friend constexpr bool operator==(const Layout&, const Layout&) = default;

 private:
  [[nodiscard]] static constexpr std::uint32_t round_up(std::uint32_t value,
                                                        std::uint32_t alignment) noexcept {
    return (value + alignment - 1) / alignment * alignment;
  }
};

// The part of a picture that is meant to be seen, in luma samples.
struct Rectangle {
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  friend constexpr bool operator==(const Rectangle&, const Rectangle&) = default;
};

// What the numbers of a picture mean, as V4L2 says it. Reported only; no value is ever converted.
struct Colours {
  std::uint32_t colorspace = V4L2_COLORSPACE_DEFAULT;
  std::uint32_t ycbcr_enc = V4L2_YCBCR_ENC_DEFAULT;
  std::uint32_t quantization = V4L2_QUANTIZATION_DEFAULT;
  std::uint32_t xfer_func = V4L2_XFER_FUNC_DEFAULT;
  friend constexpr bool operator==(const Colours&, const Colours&) = default;
};

// Whether a stream with frames of `stream` may have one of `frame` among them: progressive frames among
// interlaced ones, as film in television has them, do not make it another stream.
[[nodiscard]] constexpr bool covers(std::uint32_t stream, std::uint32_t frame) noexcept {
  return frame == stream || frame == V4L2_FIELD_NONE;
}

// All that a client has to know before it can take frames.
struct Picture {
  Layout layout;
  Rectangle visible;
  Colours colours;
  // V4L2_FIELD_NONE, INTERLACED_TB or INTERLACED_BT: how the frames of the stream are made of fields, if some
  // are.
  std::uint32_t field = V4L2_FIELD_NONE;

  // Whether a client set up for the one can take frames of the other. Colours and fields may change from
  // frame to frame.
  [[nodiscard]] constexpr bool same_shape(const Picture& other) const noexcept {
    return layout == other.layout && visible == other.visible;
  }
};

}  // namespace vumedia::backends::ffmpeg
