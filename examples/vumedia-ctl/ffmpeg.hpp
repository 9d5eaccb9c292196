// Owners of what FFmpeg allocates, and its errors as ours.
#pragma once

#include <array>
#include <cstdarg>
#include <expected>
#include <memory>

#include <vumedia/core/result.hpp>

#include "picture.hpp"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavformat/avformat.h>
}

namespace ctl::ffmpeg {

// FFmpeg's free functions take the address of the pointer.
template <auto Function>
struct Free {
  template <class T>
  void operator()(T* object) const noexcept {
    Function(&object);
  }
};

using CodecContext = std::unique_ptr<AVCodecContext, Free<avcodec_free_context>>;
using FormatContext = std::unique_ptr<AVFormatContext, Free<avformat_close_input>>;
using Filter = std::unique_ptr<AVBSFContext, Free<av_bsf_free>>;
using Frame = std::unique_ptr<AVFrame, Free<av_frame_free>>;
using Packet = std::unique_ptr<AVPacket, Free<av_packet_free>>;

[[nodiscard, gnu::format(printf, 2, 3)]] inline std::unexpected<vumedia::Error> error(int status,
                                                                                      const char* format,
                                                                                      ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::string text = vumedia::detail::format_list(format, arguments);
  va_end(arguments);
  std::array<char, AV_ERROR_MAX_STRING_SIZE> buffer{};
  av_strerror(status, buffer.data(), buffer.size());
  return std::unexpected<vumedia::Error>(vumedia::Error{text + ": " + buffer.data(), 0});
}

}  // namespace ctl::ffmpeg

namespace ctl {

// A picture that refers to libavcodec's decoded frame. Fails for formats other than grey and planar YCbCr
// with 8 to 16 bits.
[[nodiscard]] vumedia::Outcome<Picture> picture_of(const AVFrame& frame);

}  // namespace ctl
