// Motion-JPEG for the test pattern camera, by libavcodec (FFmpeg 5.1 or newer):
// clang-format off
//   using JpegCamera = backends::BasicTestPattern<backends::ffmpeg::JpegEncoder>;
// clang-format on
//
// Baseline pictures in 4:2:0 with the full range of a byte, each with its tables, as JFIF defines it and as
// Android's camera and browsers accept it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern/controls.hpp>
#include <vumedia/backends/test_pattern/encoding.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/formats.hpp>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/opt.h>
}

namespace vumedia::backends::ffmpeg {

/// The quantisation scale for V4L2_CID_JPEG_COMPRESSION_QUALITY, as most programs understand such a number:
/// 50 means the unchanged tables, which is a scale of 8; twice the quality is half the scale.
[[nodiscard]] constexpr int jpeg_scale(std::int32_t quality) noexcept {
  const std::int32_t bounded =
      std::clamp(quality, test_pattern::quality_minimum, test_pattern::quality_maximum);
  const std::int32_t percent = bounded < 50 ? 5000 / bounded : 200 - 2 * bounded;
  return std::clamp((percent * 8 + 50) / 100, 1, 31);
}
static_assert(jpeg_scale(1) == 31 && jpeg_scale(50) == 8 && jpeg_scale(75) == 4 && jpeg_scale(100) == 1);

/// A test_pattern::Encoder. ENOMEM: out of memory. EIO: libavcodec has no encoder for JPEG, or fails.
class JpegEncoder {
 public:
  /// See camera::Encoder.
  ///@{
  static constexpr std::uint32_t pixelformat = V4L2_PIX_FMT_MJPEG;

  [[nodiscard]] Result<test_pattern::Easel> prepare(std::uint32_t width, std::uint32_t height) {
    if (auto opened = open(static_cast<int>(width), static_cast<int>(height)); !opened)
      return std::unexpected(opened.error());
    // The encoder may still hold the previous picture, which then stays as it is.
    if (av_frame_make_writable(frame_.get()) < 0) return fail(ENOMEM);
    const v4l2::PixelFormat* const format = v4l2::find_pixel_format(V4L2_PIX_FMT_YUV420M);
    test_pattern::Easel easel{{format, width, height, *v4l2::compute_layout(*format, width, height), true},
                              {}};
    for (std::size_t c = 0; c < 3; ++c) {
      // The distance between lines that libavcodec wants. It is positive for frames that it allocates.
      const auto stride = static_cast<std::uint32_t>(frame_->linesize[c]);
      easel.canvas.layout.components[c].stride = stride;
      easel.canvas.layout.planes[c] = {stride, stride * easel.canvas.layout.components[c].lines};
      easel.planes[c] = reinterpret_cast<std::byte*>(frame_->data[c]);
    }
    return easel;
  }

  [[nodiscard]] Result<std::span<const std::byte>> encode(std::int32_t quality) {
    frame_->quality = jpeg_scale(quality) * FF_QP2LAMBDA;
    frame_->pts = ++pictures_;
    av_packet_unref(packet_.get());
    if (avcodec_send_frame(context_.get(), frame_.get()) < 0) return fail(EIO);
    if (avcodec_receive_packet(context_.get(), packet_.get()) < 0) return fail(EIO);
    return std::as_bytes(std::span(packet_->data, static_cast<std::size_t>(packet_->size)));
  }
  ///@}

 private:
  // FFmpeg's functions take the address of the pointer.
  template <auto Function>
  struct Free {
    template <class T>
    void operator()(T* object) const noexcept {
      Function(&object);
    }
  };

  // An encoder for this size; the existing one if it fits.
  [[nodiscard]] Result<> open(int width, int height) {
    if (context_ != nullptr && context_->width == width && context_->height == height) return {};
    context_.reset();
    const AVCodec* const codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    if (codec == nullptr) return fail(EIO);
    decltype(context_) context(avcodec_alloc_context3(codec));
    if (packet_ == nullptr) packet_.reset(av_packet_alloc());
    frame_.reset(av_frame_alloc());
    if (context == nullptr || packet_ == nullptr || frame_ == nullptr) return fail(ENOMEM);
    context->width = width;
    context->height = height;
    context->pix_fmt = AV_PIX_FMT_YUV420P;
    context->color_range = AVCOL_RANGE_JPEG;
    context->time_base = {1, 1000};  // has no meaning here
    context->thread_count = 1;       // several threads delay pictures
    // Each picture has a scale of its own. No comment names the encoder.
    context->qmin = 1;
    context->qmax = 31;
    context->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
    // The tables from the standard's annex: hardware decoders, and decoders of Motion-JPEG in AVI, assume
    // them.
    av_opt_set(context->priv_data, "huffman", "default", 0);
    if (avcodec_open2(context.get(), codec, nullptr) < 0) return fail(EIO);
    frame_->width = width;
    frame_->height = height;
    frame_->format = AV_PIX_FMT_YUV420P;
    frame_->color_range = AVCOL_RANGE_JPEG;
    if (av_frame_get_buffer(frame_.get(), 0) < 0) return fail(ENOMEM);
    context_ = std::move(context);
    return {};
  }

  std::unique_ptr<AVCodecContext, Free<avcodec_free_context>> context_;
  std::unique_ptr<AVFrame, Free<av_frame_free>> frame_;
  std::unique_ptr<AVPacket, Free<av_packet_free>> packet_;
  std::int64_t pictures_ = 0;
};
static_assert(test_pattern::Encoder<JpegEncoder>);

}  // namespace vumedia::backends::ffmpeg
