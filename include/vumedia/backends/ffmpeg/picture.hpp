// From libavcodec's frames to what V4L2 says of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/copy.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>

extern "C" {
#include <libavutil/frame.h>
}

namespace vumedia::backends::ffmpeg {

// Which lines of a frame came first, if it is made of two fields.
[[nodiscard]] inline std::uint32_t field_of(const AVFrame& frame) noexcept {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
  const bool interlaced = (frame.flags & AV_FRAME_FLAG_INTERLACED) != 0;
  const bool top_first = (frame.flags & AV_FRAME_FLAG_TOP_FIELD_FIRST) != 0;
#else
  const bool interlaced = frame.interlaced_frame != 0;
  const bool top_first = frame.top_field_first != 0;
#endif
  if (!interlaced) return V4L2_FIELD_NONE;
  return top_first ? V4L2_FIELD_INTERLACED_TB : V4L2_FIELD_INTERLACED_BT;
}

// Of a frame that came out of the decoder (uncropped). Nothing if it is too large, its cropping leaves
// nothing, or its samples would have to be converted.
[[nodiscard]] inline std::optional<Picture> picture_of(const AVFrame& frame, AVCodecID codec) noexcept {
  if (frame.width <= 0 || frame.height <= 0) return std::nullopt;
  const auto width = static_cast<std::uint32_t>(frame.width);
  const auto height = static_cast<std::uint32_t>(frame.height);
  const std::uint32_t sample_bytes = sample_bytes_of(static_cast<AVPixelFormat>(frame.format));
  if (sample_bytes == 0) return std::nullopt;
  const auto layout = Layout::of(width, height, sample_bytes);
  if (!layout) return std::nullopt;
  if (frame.crop_left >= width || frame.crop_right >= width - frame.crop_left) return std::nullopt;
  if (frame.crop_top >= height || frame.crop_bottom >= height - frame.crop_top) return std::nullopt;
  const auto left = static_cast<std::uint32_t>(frame.crop_left);
  const auto top = static_cast<std::uint32_t>(frame.crop_top);
  const auto right = static_cast<std::uint32_t>(frame.crop_right);
  const auto bottom = static_cast<std::uint32_t>(frame.crop_bottom);
  return Picture{*layout,
                 {left, top, width - left - right, height - top - bottom},
                 colours_of(frame, codec),
                 field_of(frame)};
}

// The same when libavcodec asks for the frame's memory. Then the frame has its coded size, the context the
// visible one; the cropping at the left and above is known for H.264 only, and found out with the first frame
// for others.
[[nodiscard]] inline std::optional<Picture> picture_at_allocation(const AVCodecContext& context,
                                                                  const AVFrame& frame) noexcept {
  AVFrame cropped{};
  cropped.format = frame.format;
  cropped.width = frame.width;
  cropped.height = frame.height;
  cropped.color_range = frame.color_range;
  cropped.color_primaries = frame.color_primaries;
  cropped.color_trc = frame.color_trc;
  cropped.colorspace = frame.colorspace;
  if (frame.width <= 0 || frame.height <= 0 || context.width <= 0 || context.height <= 0) return std::nullopt;
  const auto hidden = [](int coded, int visible, std::size_t before) {
    const auto spare = static_cast<std::size_t>(std::max(coded - visible, 0));
    return spare - std::min(spare, before);
  };
  cropped.crop_left = frame.crop_left;
  cropped.crop_top = frame.crop_top;
  cropped.crop_right = hidden(frame.width, context.width, frame.crop_left);
  cropped.crop_bottom = hidden(frame.height, context.height, frame.crop_top);
  return picture_of(cropped, context.codec_id);
}

// Whether libavcodec may decode a frame into a buffer laid out like this: what avcodec_align_dimensions2 asks
// for.
[[nodiscard]] inline bool satisfies(const Layout& layout, AVCodecContext& context,
                                    const AVFrame& frame) noexcept {
  int width = frame.width;
  int height = frame.height;
  int alignment[AV_NUM_DATA_POINTERS] = {};
  avcodec_align_dimensions2(&context, &width, &height, alignment);
  if (width < 0 || height < 0 || static_cast<std::uint32_t>(width) > layout.stride) return false;
  const auto aligned = [](std::size_t stride, int to) {
    return to <= 1 || stride % static_cast<std::size_t>(to) == 0;
  };
  if (!aligned(layout.stride, alignment[0])) return false;
  if (!aligned(layout.chroma_stride(), alignment[1]) || !aligned(layout.chroma_stride(), alignment[2]))
    return false;
  // Lines that are asked for beyond the plane are only read. Luma and U run on into the planes behind them, V
  // into the slack.
  const std::size_t lines = (static_cast<std::size_t>(height) + 1) / 2;
  const std::size_t v_end = layout.luma_size() + layout.chroma_size() + lines * layout.chroma_stride();
  return v_end <= layout.size_image();
}

// The samples of `frame` (4:2:0) in `setup`'s format to a buffer of `setup.layout`, which fits the frame:
// also in its bytes a sample, which alone decide about P010.
inline void copy_frame(const AVFrame& frame, const CaptureSetup& setup, std::uint8_t* to) noexcept {
  const Layout& layout = setup.layout;
  const auto width = static_cast<std::size_t>(frame.width);
  const auto height = static_cast<std::size_t>(frame.height);
  const std::size_t chroma_width = (width + 1) / 2;
  const std::size_t chroma_height = (height + 1) / 2;
  const Plane y{frame.data[0], frame.linesize[0]};
  const Plane u{frame.data[1], frame.linesize[1]};
  const Plane v{frame.data[2], frame.linesize[2]};
  std::uint8_t* const chroma = to + layout.luma_size();
  if (layout.sample_bytes == 2) {
    raise_plane(to, layout.stride, y, width, height);
    raise_and_interleave_planes(chroma, layout.stride, u, v, chroma_width, chroma_height);
    return;
  }
  copy_plane(to, layout.stride, y, width, height);
  if (setup.fourcc == V4L2_PIX_FMT_NV12) {
    interleave_planes(chroma, layout.stride, u, v, chroma_width, chroma_height);
  } else {
    copy_plane(chroma, layout.chroma_stride(), u, chroma_width, chroma_height);
    copy_plane(chroma + layout.chroma_size(), layout.chroma_stride(), v, chroma_width, chroma_height);
  }
}

// V4L2_BUF_FLAG_ERROR, KEYFRAME, PFRAME, BFRAME as they apply.
[[nodiscard]] inline std::uint32_t buffer_flags(const AVFrame& frame) noexcept {
  std::uint32_t flags = 0;
  if (frame.decode_error_flags != 0 || (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0)
    flags |= V4L2_BUF_FLAG_ERROR;
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
  const bool key = (frame.flags & AV_FRAME_FLAG_KEY) != 0;
#else
  const bool key = frame.key_frame != 0;
#endif
  if (key) return flags | V4L2_BUF_FLAG_KEYFRAME;
  if (frame.pict_type == AV_PICTURE_TYPE_P) return flags | V4L2_BUF_FLAG_PFRAME;
  if (frame.pict_type == AV_PICTURE_TYPE_B) return flags | V4L2_BUF_FLAG_BFRAME;
  return flags;
}

// How many CAPTURE buffers keep the decoder from copying: its references, the one it writes, those held back.
[[nodiscard]] inline std::uint32_t references_of(const AVCodecContext& context) noexcept {
  std::uint32_t references = 1;
  for (const auto& format : coded_formats) {
    if (format.codec == context.codec_id) references = format.max_references;
  }
  const auto of_stream = static_cast<std::uint32_t>(std::max({context.refs, context.has_b_frames, 1}));
  // H.264 says how many it uses; HEVC's context knows of the reordering only.
  if (context.codec_id == AV_CODEC_ID_H264) return std::min(references, of_stream);
  if (context.codec_id == AV_CODEC_ID_HEVC) return std::min(references, of_stream + 4);
  return references;
}

}  // namespace vumedia::backends::ffmpeg
