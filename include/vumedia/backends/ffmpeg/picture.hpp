// Converts libavcodec's frames to their description in V4L2's terms.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/copy_samples.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>

extern "C" {
#include <libavutil/frame.h>
}

namespace vumedia::backends::ffmpeg {

/// Which lines of a frame came first, if it consists of two fields.
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

/// For a frame that came out of the decoder (uncropped). Nothing if it is too large, if its cropping leaves
/// nothing, or if its samples cannot be output.
[[nodiscard]] inline std::optional<Picture> picture_of(const AVFrame& frame, AVCodecID codec) noexcept {
  if (frame.width <= 0 || frame.height <= 0) return std::nullopt;
  const auto width = static_cast<std::uint32_t>(frame.width);
  const auto height = static_cast<std::uint32_t>(frame.height);
  const auto samples = samples_of(static_cast<AVPixelFormat>(frame.format));
  const auto size = CodedSize::of(width, height);
  if (!samples || !size) return std::nullopt;
  if (frame.crop_left >= width || frame.crop_right >= width - frame.crop_left) return std::nullopt;
  if (frame.crop_top >= height || frame.crop_bottom >= height - frame.crop_top) return std::nullopt;
  const auto left = static_cast<std::uint32_t>(frame.crop_left);
  const auto top = static_cast<std::uint32_t>(frame.crop_top);
  const auto right = static_cast<std::uint32_t>(frame.crop_right);
  const auto bottom = static_cast<std::uint32_t>(frame.crop_bottom);
  return Picture{*size,
                 *samples,
                 {left, top, width - left - right, height - top - bottom},
                 colours_of(frame, codec),
                 field_of(frame)};
}

/// The same when libavcodec asks for the frame's memory. At that time the frame has the coded size and the
/// context the visible one. The cropping at the left and at the top is known for H.264 only; for others it
/// becomes known with the first frame.
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

/// Whether frames with such samples may be decoded where the client sees them: if the format stores them as
/// libavcodec does, and every value of a byte is a valid sample (see CaptureSlots).
[[nodiscard]] constexpr bool is_decoded_in_place(const RawFormat& format, const Samples& samples) noexcept {
  return format.arrangement == Arrangement::planar && samples.bytes == 1 && format.samples == samples;
}

/// Whether libavcodec may decode a frame into a buffer with this layout, of a format whose chroma is
/// `shift_y` smaller, as avcodec_align_dimensions2 requires.
[[nodiscard]] inline bool satisfies(const Layout& layout, unsigned shift_y, AVCodecContext& context,
                                    const AVFrame& frame) noexcept {
  int width = frame.width;
  int height = frame.height;
  int alignment[AV_NUM_DATA_POINTERS] = {};
  avcodec_align_dimensions2(&context, &width, &height, alignment);
  if (width < 0 || height < 0 || static_cast<std::uint32_t>(width) > layout.stride()) return false;
  for (std::size_t plane = 0; plane < layout.strides.size(); ++plane) {
    if (alignment[plane] > 1 && layout.strides[plane] % static_cast<std::uint32_t>(alignment[plane]) != 0)
      return false;
  }
  // Lines required beyond the plane are only read. Luma and U continue into the planes after them, V into the
  // slack.
  const std::size_t lines = shrink(static_cast<std::size_t>(height), shift_y);
  return layout.offsets[2] + lines * layout.strides[2] <= layout.size_image();
}

/// Places the frame in `memory` according to `layout`, which is that of a planar format.
inline void place_planes(AVFrame& frame, const Layout& layout, std::uint8_t* memory) noexcept {
  for (std::size_t plane = 0; plane < layout.strides.size(); ++plane) {
    frame.data[plane] = memory + layout.offsets[plane];
    frame.linesize[plane] = static_cast<int>(layout.strides[plane]);
  }
  frame.extended_data = frame.data;
}
/// Whether it is placed there, from its first byte on.
[[nodiscard]] inline bool lies_as(const AVFrame& frame, const Layout& layout) noexcept {
  for (std::size_t plane = 0; plane < layout.strides.size(); ++plane) {
    if (frame.data[plane] != frame.data[0] + layout.offsets[plane]) return false;
    if (frame.linesize[plane] != static_cast<int>(layout.strides[plane])) return false;
  }
  return true;
}

/// A frame with a supported format, in the form that copy_samples.hpp takes.
[[nodiscard]] inline PictureSource source_of(const AVFrame& frame, Sampling sampling) noexcept {
  const auto width = static_cast<std::size_t>(frame.width);
  const auto height = static_cast<std::size_t>(frame.height);
  PictureSource source;
  source.luma = {frame.data[0], frame.linesize[0], width, height, width, height};
  source.fields = field_of(frame) != V4L2_FIELD_NONE;
  if (sampling == Sampling::grey) return source;
  const auto across = [&](std::size_t size) { return shrink(size, shift_x_of(sampling)); };
  const auto down = [&](std::size_t size) { return shrink(size, shift_y_of(sampling)); };
  for (std::size_t c = 0; c < source.chroma.size(); ++c) {
    // picture_of() has checked that the cropping leaves something.
    source.chroma[c] = {frame.data[c + 1],
                        frame.linesize[c + 1],
                        across(width),
                        down(height),
                        across(width - frame.crop_right),
                        down(height - frame.crop_bottom)};
  }
  return source;
}

/// Copies the samples of `frame`, in `setup`'s format, to a buffer with `setup.layout`, which fits the frame;
/// the format suits its samples.
inline void copy_frame(const AVFrame& frame, const CaptureSetup& setup, std::uint8_t* to) noexcept {
  const auto samples = samples_of(static_cast<AVPixelFormat>(frame.format));
  const RawFormat* const format = find_raw_format(setup.fourcc);
  if (!samples || format == nullptr || !suits(*format, *samples)) return;
  find_copier(*format, samples->sampling)(source_of(frame, samples->sampling), setup.layout, to);
}

/// V4L2_BUF_FLAG_ERROR, KEYFRAME, PFRAME, BFRAME as they apply.
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

/// How many CAPTURE buffers the decoder needs to avoid copying: its references, the one it writes, and those
/// held back.
[[nodiscard]] inline std::uint32_t references_of(const AVCodecContext& context) noexcept {
  std::uint32_t references = 1;
  for (const auto& format : coded_formats) {
    if (format.codec == context.codec_id) references = format.max_references;
  }
  const auto of_stream = static_cast<std::uint32_t>(std::max({context.refs, context.has_b_frames, 1}));
  // H.264 states how many it uses; HEVC's context only has the reordering.
  if (context.codec_id == AV_CODEC_ID_H264) return std::min(references, of_stream);
  if (context.codec_id == AV_CODEC_ID_HEVC) return std::min(references, of_stream + 4);
  return references;
}

}  // namespace vumedia::backends::ffmpeg
