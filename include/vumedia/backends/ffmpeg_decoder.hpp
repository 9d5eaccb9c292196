// A stateful video decoder on libavcodec ("Memory-to-Memory Stateful Video Decoder Interface" of the kernel's
// V4L2 documentation): it takes H264, HEVC, VP80, VP90, AV01, MPG2 and MJPG, as far as libavcodec has
// decoders for them, and outputs YU12 and NV12, or P010 for streams with 10 bits. Streams in 4:2:2 can also
// be output as such (422P, NV16, YUYV; Y210 with 10 bits), those in 4:4:4 as NV24, in 4:1:1 as 411P, each
// with 8 bits. FFmpeg 5.1 or newer.
//
// Each session decodes on a thread of its own; the loop only queues and answers. Frames of planar 8-bit
// formats are decoded where the guest sees them if libavcodec allows it and enough buffers are queued, and
// copied otherwise; those of other formats are interleaved when they are copied to the buffer. Buffers are
// MMAP or USERPTR: the guest's own pages are used in place, even if they are scattered. Samples are never
// converted, except that chroma of other samplings becomes that of 4:2:0 as the rounded mean of its samples
// (within one field, if the frame has two), and a stream without chroma gets the neutral value. A stream that
// is RGB, or has more than 10 bits per sample, gets its OUTPUT buffers back with V4L2_BUF_FLAG_ERROR, and no
// source-change event; the log names its pixel format. A change of sampling in mid-stream is a source change
// if the CAPTURE format does not suit what follows. Frames are in their buffers as coded; VIDIOC_G_SELECTION
// returns the visible part, VIDIOC_G_FMT the colours.
//
// An OUTPUT buffer holds one access unit, as the documentation of these formats demands; if there are
// several, all are decoded, with the buffer's time stamp. After a drain decoding continues as if there had
// been none; in streams with very rare key frames (see ffmpeg::History) it waits for the next one.
//
// libavcodec also logs through av_log, which is global to the process: the program sets its level and
// callback.
//
// A program that serves connections one after another uses one set of threads:
// clang-format off
//   FfmpegDecoderOptions options;
//   options.workers = std::make_shared<ffmpeg::Workers>(32);
// clang-format on
#pragma once

#include <utility>

#include <vumedia/backends/ffmpeg/decoder_engine.hpp>
#include <vumedia/backends/ffmpeg/decoder_options.hpp>
#include <vumedia/backends/m2m.hpp>

namespace vumedia::backends {

/// Every open file decodes by itself. For the device's loop.
class FfmpegDecoder : public M2m<ffmpeg::DecoderEngine> {
 public:
  /// Formats that cannot be decoded here are left out of `options`; open() answers ENODEV if none is left.
  explicit FfmpegDecoder(FfmpegDecoderOptions options = {}) : FfmpegDecoder(m2m_options(options), options) {}

 private:
  FfmpegDecoder(const M2mOptions& m2m, FfmpegDecoderOptions& options)
      : M2m(ffmpeg::DecoderEngine(std::move(options)), m2m) {}
  [[nodiscard]] static M2mOptions m2m_options(const FfmpegDecoderOptions& options) noexcept {
    return {.multiplanar = options.session.multiplanar,
            .max_sessions = options.max_sessions,
            .max_buffer_bytes = options.session.max_buffer_bytes};
  }
};

}  // namespace vumedia::backends
