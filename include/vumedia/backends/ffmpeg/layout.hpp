// How a decoded picture is laid out in a CAPTURE buffer, and what is reported about it (VIDIOC_G_FMT,
// VIDIOC_G_SELECTION).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/samples.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::ffmpeg {

/// The size of a picture in memory, in luma samples: the size of its coded samples, rounded up so that
/// libavcodec can decode into a buffer with any codec.
struct CodedSize {
  std::uint32_t width = 0;   ///< of a line
  std::uint32_t height = 0;  ///< lines

  static constexpr std::uint32_t max_dimension = 16384;  ///< of either
  static constexpr std::uint32_t width_step = 16;        ///< a macroblock
  static constexpr std::uint32_t height_step = 32;       ///< a pair of field macroblocks

  /// For a picture of `width` x `height` coded samples. Nothing for an empty or oversized picture.
  [[nodiscard]] static constexpr std::optional<CodedSize> of(std::uint32_t width,
                                                             std::uint32_t height) noexcept {
    if (width == 0 || height == 0 || width > max_dimension || height > max_dimension) return std::nullopt;
    return CodedSize{round_up(width, width_step), round_up(height, height_step)};
  }
  friend constexpr bool operator==(const CodedSize&, const CodedSize&) = default;

 private:
  [[nodiscard]] static constexpr std::uint32_t round_up(std::uint32_t value,
                                                        std::uint32_t alignment) noexcept {
    return (value + alignment - 1) / alignment * alignment;
  }
};

/// The place of a picture in one contiguous buffer, as V4L2 defines the format. It is chosen so that
/// libavcodec can decode into the buffer if the format is planar: the line distance that vector units need,
/// as many lines as the largest blocks write, and room after the last plane for filters that read past it.
struct Layout {
  std::uint32_t width = 0;   ///< like CodedSize
  std::uint32_t height = 0;  ///< likewise
  /// For each component: the first is luma, or all components in one; the others are chroma, or 0.
  std::array<std::uint32_t, 3> strides{};  ///< bytes from one line to the next
  std::array<std::uint32_t, 3> offsets{};  ///< bytes from the beginning of the buffer
  std::uint32_t bytes = 0;                 ///< of all components

  /// The alignment of the first byte that libavcodec needs to decode into it (AVX-512). The guest's own
  /// buffers may be anywhere.
  static constexpr std::size_t address_alignment = 64;

  /// `format` is one of raw_formats: frames of the largest size take less than 2^31 bytes then.
  [[nodiscard]] static constexpr Layout of(const CodedSize& size, const v4l2::PixelFormat& format) noexcept {
    // A separate chroma line is a part of a luma line, and needs 64 bytes too (AVX-512).
    const auto alignment =
        std::max<std::uint32_t>(64u * format.components[format.component_count - 1u].horizontal, 128);
    const auto places =
        *v4l2::compute_layout(format, size.width, size.height, {.stride_alignment = alignment, .stride = 0});
    Layout layout;
    layout.width = size.width;
    layout.height = size.height;
    for (std::size_t c = 0; c < places.component_count; ++c) {
      layout.strides[c] = places.components[c].stride;
      layout.offsets[c] = places.components[c].offset;
    }
    layout.bytes = places.planes[0].sizeimage;
    return layout;
  }

  /// Of luma, or of all components in one: V4L2's bytesperline.
  [[nodiscard]] constexpr std::uint32_t stride() const noexcept { return strides[0]; }
  /// The bytes that a picture takes.
  [[nodiscard]] constexpr std::size_t payload() const noexcept { return bytes; }
  /// The bytes that its buffer must have. H.264 motion compensation reads up to 1,024 bytes past a 1080p V
  /// plane, and avcodec_align_dimensions2 asks for two more luma lines than there are.
  [[nodiscard]] constexpr std::size_t size_image() const noexcept {
    return payload() + std::max<std::size_t>(2 * std::size_t{stride()}, 2048);
  }

  friend constexpr bool operator==(const Layout&, const Layout&) = default;
};

/// The visible part of a picture, in luma samples.
struct Rectangle {
  /// In luma samples.
  ///@{
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  ///@}
  friend constexpr bool operator==(const Rectangle&, const Rectangle&) = default;
};

/// What the numbers of a picture mean, in V4L2's terms. It is only reported; no value is ever rescaled.
struct Colours {
  std::uint32_t colorspace = V4L2_COLORSPACE_DEFAULT;      ///< V4L2_COLORSPACE_*
  std::uint32_t ycbcr_enc = V4L2_YCBCR_ENC_DEFAULT;        ///< V4L2_YCBCR_ENC_*
  std::uint32_t quantization = V4L2_QUANTIZATION_DEFAULT;  ///< V4L2_QUANTIZATION_*
  std::uint32_t xfer_func = V4L2_XFER_FUNC_DEFAULT;        ///< V4L2_XFER_FUNC_*
  friend constexpr bool operator==(const Colours&, const Colours&) = default;
};

/// Whether a stream with the field order `stream` may contain a frame with `frame`: progressive frames among
/// interlaced ones, as with film in television, do not make it another stream.
[[nodiscard]] constexpr bool covers(std::uint32_t stream, std::uint32_t frame) noexcept {
  return frame == stream || frame == V4L2_FIELD_NONE;
}

/// Everything that a client has to know before it can take frames.
struct Picture {
  CodedSize size;     ///< in memory
  Samples samples;    ///< as coded
  Rectangle visible;  ///< of the size
  Colours colours;    ///< what the numbers mean
  /// V4L2_FIELD_NONE, INTERLACED_TB or INTERLACED_BT: how those frames of the stream that consist of fields
  /// are made.
  std::uint32_t field = V4L2_FIELD_NONE;

  /// Whether a client that is set up for one can take frames of the other, if its format suits their samples.
  /// Colours and fields may change from frame to frame.
  [[nodiscard]] constexpr bool same_shape(const Picture& other) const noexcept {
    return size == other.size && visible == other.visible;
  }
};

}  // namespace vumedia::backends::ffmpeg
