// VIDIOC_ENUM_FMT, ENUM_FRAMESIZES, G/S/TRY_FMT and G_SELECTION of a stateful decoder, as functions of its
// state.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/raw_formats.hpp>
#include <vumedia/backends/m2m/queue_types.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::backends::ffmpeg {

using m2m::QueueTypes;

/// What both plane APIs say about a format.
struct FormatDescription {
  std::uint32_t width = 0;                ///< of a line, in luma samples
  std::uint32_t height = 0;               ///< lines
  std::uint32_t fourcc = 0;               ///< V4L2_PIX_FMT_*
  std::uint32_t stride = 0;               ///< 0 for compressed formats
  std::uint32_t size_image = 0;           ///< bytes of a buffer
  Colours colours;                        ///< as the stream or the guest states them
  std::uint32_t field = V4L2_FIELD_NONE;  ///< V4L2_FIELD_*
  friend constexpr bool operator==(const FormatDescription&, const FormatDescription&) = default;
};

/// `format.type` is one of the queue's; the rest is replaced.
inline void write_format(v4l2_format& format, const FormatDescription& description) noexcept {
  const std::uint32_t type = format.type;
  format = {};
  format.type = type;
  const Colours& colours = description.colours;
  if (type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE || type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE) {
    v4l2_pix_format_mplane& picture = format.fmt.pix_mp;
    picture.width = description.width;
    picture.height = description.height;
    picture.pixelformat = description.fourcc;
    picture.field = description.field;
    picture.colorspace = colours.colorspace;
    picture.ycbcr_enc = static_cast<__u8>(colours.ycbcr_enc);
    picture.quantization = static_cast<__u8>(colours.quantization);
    picture.xfer_func = static_cast<__u8>(colours.xfer_func);
    picture.num_planes = 1;
    picture.plane_fmt[0].bytesperline = description.stride;
    picture.plane_fmt[0].sizeimage = description.size_image;
    return;
  }
  v4l2_pix_format& picture = format.fmt.pix;
  picture.width = description.width;
  picture.height = description.height;
  picture.pixelformat = description.fourcc;
  picture.field = description.field;
  picture.bytesperline = description.stride;
  picture.sizeimage = description.size_image;
  picture.colorspace = colours.colorspace;
  picture.ycbcr_enc = colours.ycbcr_enc;
  picture.quantization = colours.quantization;
  picture.xfer_func = colours.xfer_func;
  picture.priv = V4L2_PIX_FMT_PRIV_MAGIC;
}

/// What a guest asks for; the numbers may be anything.
[[nodiscard]] inline FormatDescription read_format(const v4l2_format& format) noexcept {
  if (format.type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE || format.type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE) {
    const v4l2_pix_format_mplane& picture = format.fmt.pix_mp;
    const v4l2_plane_pix_format plane = picture.plane_fmt[0];
    return {
        picture.width,       picture.height,
        picture.pixelformat, plane.bytesperline,
        plane.sizeimage,     {picture.colorspace, picture.ycbcr_enc, picture.quantization, picture.xfer_func},
        V4L2_FIELD_NONE};
  }
  const v4l2_pix_format& picture = format.fmt.pix;
  FormatDescription description{picture.width,        picture.height,    picture.pixelformat,
                                picture.bytesperline, picture.sizeimage, {},
                                V4L2_FIELD_NONE};
  description.colours.colorspace = picture.colorspace;
  // Without the magic number the fields after it do not exist.
  if (picture.priv == V4L2_PIX_FMT_PRIV_MAGIC) {
    description.colours.ycbcr_enc = picture.ycbcr_enc;
    description.colours.quantization = picture.quantization;
    description.colours.xfer_func = picture.xfer_func;
  }
  return description;
}

/// A guest may state what it knows about a stream's colours; invalid values become the default.
[[nodiscard]] constexpr Colours adjust_colours(Colours colours) noexcept {
  if (colours.colorspace == V4L2_COLORSPACE_DEFAULT || colours.colorspace == V4L2_COLORSPACE_BT878 ||
      colours.colorspace > V4L2_COLORSPACE_DCI_P3) {
    colours.colorspace = V4L2_COLORSPACE_REC709;
  }
  if (colours.ycbcr_enc > V4L2_YCBCR_ENC_SMPTE240M || colours.ycbcr_enc == V4L2_YCBCR_ENC_SYCC) {
    colours.ycbcr_enc = V4L2_YCBCR_ENC_DEFAULT;
  }
  if (colours.quantization > V4L2_QUANTIZATION_LIM_RANGE) colours.quantization = V4L2_QUANTIZATION_DEFAULT;
  if (colours.xfer_func > V4L2_XFER_FUNC_SMPTE2084) colours.xfer_func = V4L2_XFER_FUNC_DEFAULT;
  return colours;
}

/// How large pictures and buffers may be.
struct SizeLimits {
  static constexpr std::uint32_t min_dimension = 16;  ///< of either side, in luma samples
  /// Of either side, in luma samples.
  static constexpr std::uint32_t max_dimension = CodedSize::max_dimension;
  std::uint64_t max_pixels = 0;       ///< luma samples of a picture
  std::uint32_t max_coded_bytes = 0;  ///< of an OUTPUT buffer
};

/// The minimum size of OUTPUT buffers.
inline constexpr std::uint32_t least_coded_bytes = 4096;

/// The maximum size of an OUTPUT buffer, which is the most that S_FMT grants.
[[nodiscard]] constexpr std::uint32_t most_coded_bytes(const SizeLimits& limits) noexcept {
  return std::max(limits.max_coded_bytes, least_coded_bytes);
}

/// The maximum size of a CAPTURE buffer: that of the largest picture of any shape.
[[nodiscard]] constexpr std::uint32_t most_raw_bytes(const SizeLimits& limits) noexcept {
  std::size_t most = 0;
  // Of the widths with the same layout, the smallest leaves the most lines.
  constexpr std::uint32_t step = CodedSize::width_step;
  for (std::uint32_t width = SizeLimits::min_dimension; width <= SizeLimits::max_dimension;
       width = (width + step - 1) / step * step + 1) {
    const auto height = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
        limits.max_pixels / width, SizeLimits::min_dimension, SizeLimits::max_dimension));
    for (const RawFormat& format : raw_formats)
      most = std::max(most, Layout::of(*CodedSize::of(width, height), *format.pixels).size_image());
  }
  return static_cast<std::uint32_t>(most);
}

/// VIDIOC_TRY_FMT on OUTPUT: the nearest possible format. `known` are the formats that can be decoded, at
/// least one.
[[nodiscard]] inline FormatDescription adjust_coded(FormatDescription wanted,
                                                    std::span<const CodedFormat* const> known,
                                                    const SizeLimits& limits) noexcept {
  const bool found =
      std::ranges::any_of(known, [&](const auto* format) { return format->fourcc == wanted.fourcc; });
  if (!found) wanted.fourcc = known.front()->fourcc;
  wanted.width = std::clamp(wanted.width, SizeLimits::min_dimension, SizeLimits::max_dimension);
  const auto highest = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(limits.max_pixels / wanted.width, SizeLimits::max_dimension));
  wanted.height =
      std::clamp(wanted.height, SizeLimits::min_dimension, std::max(highest, SizeLimits::min_dimension));
  wanted.stride = 0;
  // Half a raw picture holds any sensible frame; a client that knows better can ask for more.
  if (wanted.size_image == 0) {
    const std::uint64_t pixels = std::uint64_t{wanted.width} * wanted.height;
    wanted.size_image =
        static_cast<std::uint32_t>(std::clamp<std::uint64_t>(pixels * 3 / 4, 512u << 10, 8u << 20));
  }
  wanted.size_image = std::clamp(wanted.size_image, least_coded_bytes, most_coded_bytes(limits));
  wanted.colours = adjust_colours(wanted.colours);
  return wanted;
}

/// CAPTURE: the picture of the stream, or what OUTPUT's size suggests, in the requested format.
[[nodiscard]] inline FormatDescription describe_raw(const Picture& picture,
                                                    const RawFormat& format) noexcept {
  const Layout layout = Layout::of(picture.size, *format.pixels);
  return {layout.width,
          layout.height,
          format.fourcc(),
          layout.stride(),
          static_cast<std::uint32_t>(layout.size_image()),
          picture.colours,
          picture.field};
}

/// `raw_set`: the formats that CAPTURE has now.
[[nodiscard]] inline Result<> enumerate_format(v4l2_fmtdesc& description, const QueueTypes& types,
                                               std::span<const CodedFormat* const> known,
                                               RawFormatSet raw_set) noexcept {
  const std::uint32_t index = description.index;
  const std::uint32_t type = description.type;
  const bool coded = type == types.output;
  if (!coded && type != types.capture) return fail(EINVAL);
  const RawFormat* const raw = coded ? nullptr : raw_format_at(index, raw_set);
  if (coded ? index >= known.size() : raw == nullptr) return fail(EINVAL);
  description = {};
  description.index = index;
  description.type = type;
  description.pixelformat = coded ? known[index]->fourcc : raw->fourcc();
  const char* const name = coded ? known[index]->description : raw->pixels->description;
  if (coded) {
    description.flags = V4L2_FMT_FLAG_COMPRESSED | V4L2_FMT_FLAG_DYN_RESOLUTION;
  }
  std::memcpy(description.description, name, std::min(std::strlen(name), sizeof description.description - 1));
  return {};
}

/// VIDIOC_ENUM_FRAMESIZES, of a format of either queue. EINVAL: it is none, or another index than 0.
[[nodiscard]] inline Result<> enumerate_size(v4l2_frmsizeenum& size,
                                             std::span<const CodedFormat* const> known,
                                             RawFormatSet raw_set) noexcept {
  const std::uint32_t fourcc = size.pixel_format;
  const bool coded = std::ranges::any_of(known, [&](const auto* format) { return format->fourcc == fourcc; });
  if (size.index != 0 || (!coded && find_raw_format(fourcc, raw_set) == nullptr)) return fail(EINVAL);
  size = {};
  size.pixel_format = fourcc;
  size.type = V4L2_FRMSIZE_TYPE_STEPWISE;
  // Raw ones in steps of one pixel, although S_FMT rounds them up: GStreamer looks for the visible size among
  // them.
  size.stepwise = {SizeLimits::min_dimension, SizeLimits::max_dimension, 1,
                   SizeLimits::min_dimension, SizeLimits::max_dimension, 1};
  return {};
}

/// For the CAPTURE queue: pictures are written uncropped and unscaled, so source and destination rectangles
/// are the same, and they have no other place within the bounds, which are the whole buffer. Linux passes the
/// single-planar type whichever a program used.
[[nodiscard]] inline Result<> get_selection(v4l2_selection& selection, const Picture& picture) noexcept {
  if (selection.type != V4L2_BUF_TYPE_VIDEO_CAPTURE && selection.type != V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE) {
    return fail(EINVAL);
  }
  Rectangle rectangle;
  switch (selection.target) {
    case V4L2_SEL_TGT_CROP:
    case V4L2_SEL_TGT_CROP_DEFAULT:
    case V4L2_SEL_TGT_COMPOSE:
    case V4L2_SEL_TGT_COMPOSE_DEFAULT:
      rectangle = picture.visible;
      break;
    case V4L2_SEL_TGT_CROP_BOUNDS:
    case V4L2_SEL_TGT_COMPOSE_BOUNDS:
    case V4L2_SEL_TGT_COMPOSE_PADDED:
      rectangle = {0, 0, picture.size.width, picture.size.height};
      break;
    default:
      return fail(EINVAL);
  }
  selection.r = {static_cast<__s32>(rectangle.left), static_cast<__s32>(rectangle.top), rectangle.width,
                 rectangle.height};
  return {};
}

}  // namespace vumedia::backends::ffmpeg
