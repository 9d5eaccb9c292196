// The compressed formats that a decoder takes, and the V4L2 names of FFmpeg's colour numbers.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/samples.hpp>
#include <vumedia/v4l2/formats.hpp>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/pixdesc.h>
}

namespace vumedia::backends::ffmpeg {

/// A compressed format.
struct CodedFormat {
  std::uint32_t fourcc;     ///< V4L2_PIX_FMT_*
  AVCodecID codec;          ///< libavcodec's
  const char* name;         ///< on a command line
  const char* description;  ///< the kernel's
  /// Frames that libavcodec may keep as references while it decodes the next.
  std::uint32_t max_references;
  SamplesRange samples;  ///< that its streams may have
};

/// In the order of VIDIOC_ENUM_FMT, unless a program chooses. Each buffer holds one access unit (H264, HEVC,
/// MPG2), frame or superframe (VP80, VP90), temporal unit (AV01) or picture (MJPG); parameter sets may come
/// alone or in front of an access unit.
inline constexpr auto coded_formats = [] {
  using enum Sampling;
  constexpr auto mask = [](auto... sampling) { return SamplesRange::mask_of(sampling...); };
  constexpr SamplesRange video{mask(grey, yuv420, yuv422, yuv444), 1 | 2};
  return std::to_array<CodedFormat>({
      {V4L2_PIX_FMT_H264, AV_CODEC_ID_H264, "h264", "H.264", 16, video},
      {V4L2_PIX_FMT_HEVC, AV_CODEC_ID_HEVC, "hevc", "HEVC", 16, video},
      {V4L2_PIX_FMT_VP8, AV_CODEC_ID_VP8, "vp8", "VP8", 4, {mask(yuv420), 1}},
      {V4L2_PIX_FMT_VP9, AV_CODEC_ID_VP9, "vp9", "VP9", 8, {mask(yuv420, yuv422, yuv440, yuv444), 1 | 2}},
      {v4l2::pix_fmt_av1, AV_CODEC_ID_AV1, "av1", "AV1", 8, video},
      {V4L2_PIX_FMT_MPEG2, AV_CODEC_ID_MPEG2VIDEO, "mpeg2", "MPEG-2 ES", 3, {mask(yuv420, yuv422), 1}},
      {V4L2_PIX_FMT_MJPEG,
       AV_CODEC_ID_MJPEG,
       "mjpeg",
       "Motion-JPEG",
       1,
       {mask(grey, yuv411, yuv420, yuv422, yuv440, yuv444), 1}},
  });
}();

/// nullptr if it is not one of our compressed formats.
[[nodiscard]] inline const CodedFormat* find_coded_format(std::uint32_t fourcc) noexcept {
  for (const auto& format : coded_formats) {
    if (format.fourcc == fourcc) return &format;
  }
  return nullptr;
}

/// Looks up CodedFormat::name; nullptr likewise.
[[nodiscard]] inline const CodedFormat* find_coded_format(std::string_view name) noexcept {
  for (const auto& format : coded_formats) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

/// Whether this build of libavcodec has a software decoder for the format.
[[nodiscard]] inline const AVCodec* find_decoder(const CodedFormat& format) noexcept {
  constexpr int unwanted = AV_CODEC_CAP_HARDWARE | AV_CODEC_CAP_HYBRID | AV_CODEC_CAP_EXPERIMENTAL;
  const auto decodes_here = [](const AVCodec& codec) {
    // FFmpeg's own AV1 decoder does nothing without a GPU, although its flags do not say so.
    return (codec.capabilities & unwanted) == 0 && std::strcmp(codec.name, "av1") != 0;
  };
  const AVCodec* const preferred = avcodec_find_decoder(format.codec);
  if (preferred != nullptr && decodes_here(*preferred)) return preferred;
  // A build may list a decoder that needs a GPU before the one that does not.
  void* position = nullptr;
  while (const AVCodec* const codec = av_codec_iterate(&position)) {
    if (codec->id == format.codec && av_codec_is_decoder(codec) != 0 && decodes_here(*codec)) return codec;
  }
  return nullptr;
}

/// The samples of libavcodec's frames, if they can be output: Y, U and V in planes, or Y alone, with 8 or 10
/// bits. Nothing for others, which are refused: RGB, alpha, and formats with more bits.
[[nodiscard]] constexpr std::optional<Samples> samples_of(AVPixelFormat format) noexcept {
  switch (format) {
    case AV_PIX_FMT_GRAY8:
      return Samples{Sampling::grey, 1};
    case AV_PIX_FMT_YUV411P:
    case AV_PIX_FMT_YUVJ411P:
      return Samples{Sampling::yuv411, 1};
    case AV_PIX_FMT_YUV420P:
    case AV_PIX_FMT_YUVJ420P:
      return Samples{Sampling::yuv420, 1};
    case AV_PIX_FMT_YUV422P:
    case AV_PIX_FMT_YUVJ422P:
      return Samples{Sampling::yuv422, 1};
    case AV_PIX_FMT_YUV440P:
    case AV_PIX_FMT_YUVJ440P:
      return Samples{Sampling::yuv440, 1};
    case AV_PIX_FMT_YUV444P:
    case AV_PIX_FMT_YUVJ444P:
      return Samples{Sampling::yuv444, 1};
    case AV_PIX_FMT_GRAY10:
      return Samples{Sampling::grey, 2};
    case AV_PIX_FMT_YUV420P10:
      return Samples{Sampling::yuv420, 2};
    case AV_PIX_FMT_YUV422P10:
      return Samples{Sampling::yuv422, 2};
    case AV_PIX_FMT_YUV440P10:
      return Samples{Sampling::yuv440, 2};
    case AV_PIX_FMT_YUV444P10:
      return Samples{Sampling::yuv444, 2};
    default:
      return std::nullopt;
  }
}

/// Whether frames of that format can be output.
[[nodiscard]] constexpr bool is_supported(AVPixelFormat format) noexcept {
  return samples_of(format).has_value();
}

/// libavcodec's name for it, for messages.
[[nodiscard]] inline const char* name_of(AVPixelFormat format) noexcept {
  const char* const name = av_get_pix_fmt_name(format);
  return name != nullptr ? name : "unknown";
}

/// Whether the format itself implies that its values have the full range.
[[nodiscard]] constexpr bool is_full_range(AVPixelFormat format) noexcept {
  return format == AV_PIX_FMT_YUVJ411P || format == AV_PIX_FMT_YUVJ420P || format == AV_PIX_FMT_YUVJ422P ||
         format == AV_PIX_FMT_YUVJ440P || format == AV_PIX_FMT_YUVJ444P;
}

/// V4L2_YCBCR_ENC_*, V4L2_XFER_FUNC_* or V4L2_COLORSPACE_*; the default where V4L2 has no name for it.
///@{
[[nodiscard]] inline std::uint32_t to_v4l2(AVColorSpace matrix) noexcept {
  switch (matrix) {
    case AVCOL_SPC_BT709:
      return V4L2_YCBCR_ENC_709;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
      return V4L2_YCBCR_ENC_601;
    case AVCOL_SPC_SMPTE240M:
      return V4L2_YCBCR_ENC_SMPTE240M;
    case AVCOL_SPC_BT2020_NCL:
      return V4L2_YCBCR_ENC_BT2020;
    case AVCOL_SPC_BT2020_CL:
      return V4L2_YCBCR_ENC_BT2020_CONST_LUM;
    default:
      return V4L2_YCBCR_ENC_DEFAULT;
  }
}

[[nodiscard]] inline std::uint32_t to_v4l2(AVColorTransferCharacteristic transfer) noexcept {
  switch (transfer) {
    case AVCOL_TRC_BT709:
    case AVCOL_TRC_SMPTE170M:
    case AVCOL_TRC_BT2020_10:
    case AVCOL_TRC_BT2020_12:
      return V4L2_XFER_FUNC_709;
    case AVCOL_TRC_IEC61966_2_1:
      return V4L2_XFER_FUNC_SRGB;
    case AVCOL_TRC_SMPTE240M:
      return V4L2_XFER_FUNC_SMPTE240M;
    case AVCOL_TRC_LINEAR:
      return V4L2_XFER_FUNC_NONE;
    case AVCOL_TRC_SMPTE2084:
      return V4L2_XFER_FUNC_SMPTE2084;
    default:
      return V4L2_XFER_FUNC_DEFAULT;
  }
}

[[nodiscard]] inline std::uint32_t to_v4l2(AVColorPrimaries primaries, bool jpeg) noexcept {
  switch (primaries) {
    case AVCOL_PRI_BT709:
      return V4L2_COLORSPACE_REC709;
    case AVCOL_PRI_BT470M:
      return V4L2_COLORSPACE_470_SYSTEM_M;
    case AVCOL_PRI_BT470BG:
      return V4L2_COLORSPACE_470_SYSTEM_BG;
    case AVCOL_PRI_SMPTE170M:
      return V4L2_COLORSPACE_SMPTE170M;
    case AVCOL_PRI_SMPTE240M:
      return V4L2_COLORSPACE_SMPTE240M;
    case AVCOL_PRI_BT2020:
      return V4L2_COLORSPACE_BT2020;
    case AVCOL_PRI_SMPTE431:
    case AVCOL_PRI_SMPTE432:
      return V4L2_COLORSPACE_DCI_P3;
    // Unspecified. Motion-JPEG has a colour space of its own; video defaults to Rec. 709 in V4L2's
    // documentation.
    default:
      return jpeg ? V4L2_COLORSPACE_JPEG : V4L2_COLORSPACE_REC709;
  }
}
///@}

/// What the stream says about its colours. Unspecified properties are left to V4L2's defaults for the colour
/// space, except the range: FFmpeg knows it in all cases, and a wrong guess would be visible.
[[nodiscard]] inline Colours colours_of(const AVFrame& frame, AVCodecID codec) noexcept {
  const bool full =
      frame.color_range == AVCOL_RANGE_JPEG || is_full_range(static_cast<AVPixelFormat>(frame.format)) ||
      (codec == AV_CODEC_ID_MJPEG && frame.color_range == AVCOL_RANGE_UNSPECIFIED);  // JFIF has no other
  Colours colours;
  colours.colorspace = to_v4l2(frame.color_primaries, codec == AV_CODEC_ID_MJPEG);
  colours.ycbcr_enc = to_v4l2(frame.colorspace);
  colours.quantization = full ? V4L2_QUANTIZATION_FULL_RANGE : V4L2_QUANTIZATION_LIM_RANGE;
  colours.xfer_func = to_v4l2(frame.color_trc);
  return colours;
}

}  // namespace vumedia::backends::ffmpeg
