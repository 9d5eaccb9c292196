// The formats that a CAPTURE buffer may have, and which of them a stream can be output in.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/samples.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::ffmpeg {

/// Y, U and V one after another; Y, then pairs of U and V; or Y U Y V all in one line.
enum class Arrangement : std::uint8_t { planar, semi_planar, packed };

/// A format of CAPTURE, and what it can hold.
struct RawFormat {
  const v4l2::PixelFormat* pixels = nullptr;      ///< never null in raw_formats
  Samples samples;                                ///< depth, and the sampling of its chroma
  Arrangement arrangement = Arrangement::planar;  ///< of the components in memory

  /// V4L2_PIX_FMT_*.
  [[nodiscard]] constexpr std::uint32_t fourcc() const noexcept { return pixels->code; }

  /// A format of v4l2::pixel_formats with all components in one buffer.
  [[nodiscard]] static consteval RawFormat of(std::uint32_t fourcc) noexcept {
    const v4l2::PixelFormat& pixels = *v4l2::find_pixel_format(fourcc);
    RawFormat format{&pixels, {}, Arrangement::packed};
    if (pixels.component_count > 1) {
      format.arrangement = pixels.component_count == 3 ? Arrangement::planar : Arrangement::semi_planar;
    }
    const v4l2::Component& chroma = pixels.components[pixels.component_count - 1u];
    format.samples.sampling = chroma.horizontal == 4   ? Sampling::yuv411
                              : chroma.horizontal == 1 ? Sampling::yuv444
                              : chroma.vertical == 1   ? Sampling::yuv422
                                                       : Sampling::yuv420;
    format.samples.bytes = pixels.bit_depth > 8 ? 2 : 1;
    return format;
  }
};

/// In the order of VIDIOC_ENUM_FMT; the first one that suits a stream is its default. The device's buffers
/// have one plane, so formats that V4L2 only has with separate planes (YUV444M) are not among them.
inline constexpr std::array<RawFormat, 9> raw_formats{
    RawFormat::of(V4L2_PIX_FMT_YUV420),  RawFormat::of(V4L2_PIX_FMT_NV12),
    RawFormat::of(V4L2_PIX_FMT_P010),    RawFormat::of(V4L2_PIX_FMT_YUV422P),
    RawFormat::of(V4L2_PIX_FMT_NV16),    RawFormat::of(V4L2_PIX_FMT_YUYV),
    RawFormat::of(v4l2::pix_fmt_y210),   RawFormat::of(V4L2_PIX_FMT_NV24),
    RawFormat::of(V4L2_PIX_FMT_YUV411P),
};

/// Whether pictures with such samples can be output in the format: with every sample unchanged, or with the
/// chroma of 4:2:0, which can be made from any other by averaging. The depth is never changed.
[[nodiscard]] constexpr bool suits(const RawFormat& format, const Samples& samples) noexcept {
  if (format.samples.bytes != samples.bytes) return false;
  return format.samples.sampling == Sampling::yuv420 || format.samples.sampling == samples.sampling;
}

/// Some of raw_formats, with one bit for each, in their order.
using RawFormatSet = std::uint32_t;

/// Those of which `holds(const RawFormat&)` is true.
[[nodiscard]] constexpr RawFormatSet raw_formats_if(const auto& holds) noexcept {
  RawFormatSet set = 0;
  for (std::size_t i = 0; i < raw_formats.size(); ++i) {
    if (holds(raw_formats[i])) set |= 1u << i;
  }
  return set;
}
/// Every one of raw_formats.
inline constexpr RawFormatSet all_raw_formats = (1u << raw_formats.size()) - 1;

/// For a stream whose samples are known.
[[nodiscard]] constexpr RawFormatSet raw_formats_of(const Samples& samples) noexcept {
  return raw_formats_if([&](const RawFormat& format) { return suits(format, samples); });
}
/// For a stream whose samples are not known yet. Every codec has 4:2:0.
[[nodiscard]] constexpr RawFormatSet raw_formats_of(const SamplesRange& range) noexcept {
  return raw_formats_if([&](const RawFormat& format) { return range.contains(format.samples); });
}

/// nullptr if it is not in `among`.
[[nodiscard]] constexpr const RawFormat* find_raw_format(std::uint32_t fourcc,
                                                         RawFormatSet among = all_raw_formats) noexcept {
  for (std::size_t i = 0; i < raw_formats.size(); ++i) {
    if (raw_formats[i].fourcc() == fourcc && (among >> i & 1) != 0) return &raw_formats[i];
  }
  return nullptr;
}

/// The format at `index` of `among`; nullptr after the last.
[[nodiscard]] constexpr const RawFormat* raw_format_at(std::uint32_t index, RawFormatSet among) noexcept {
  for (std::size_t i = 0; i < raw_formats.size(); ++i) {
    if ((among >> i & 1) != 0 && index-- == 0) return &raw_formats[i];
  }
  return nullptr;
}

/// What a client has asked for, the latest first: a choice outlives a part of the stream for which it is not
/// possible.
class RawFormatChoices {
 public:
  /// The client has chosen `format`, one of raw_formats.
  void remember(const RawFormat& format) noexcept {
    const auto place = std::ranges::find(choices_, &format);
    const auto end = place == choices_.end() ? place - 1 : place;
    std::copy_backward(choices_.begin(), end, end + 1);
    choices_.front() = &format;
  }
  /// Of the suitable formats (at least one), the latest choice, or the first in order.
  [[nodiscard]] const RawFormat& best_for(const Samples& samples) const noexcept {
    for (const RawFormat* const choice : choices_) {
      if (choice != nullptr && suits(*choice, samples)) return *choice;
    }
    return *raw_format_at(0, raw_formats_of(samples));
  }

 private:
  std::array<const RawFormat*, raw_formats.size()> choices_{};
};

}  // namespace vumedia::backends::ffmpeg
