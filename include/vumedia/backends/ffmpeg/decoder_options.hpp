// What a program can choose about a decoder.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <vumedia/backends/ffmpeg/engine_options.hpp>
#include <vumedia/backends/ffmpeg/workers.hpp>

namespace vumedia::backends {

namespace ffmpeg {

/// How one open file decodes, and what it may take.
struct SessionOptions {
  EngineOptions engine;                       ///< how it decodes
  bool multiplanar = true;                    ///< which of V4L2's two APIs it has
  std::uint32_t max_coded_bytes = 16u << 20;  ///< of one OUTPUT buffer
  /// For all MMAP buffers of a session, copies of USERPTR buffers and their lists of pages, the packet that
  /// is decoded, and the bitstream that is kept to continue decoding after a drain (History: at most a
  /// sixteenth). Memory that libavcodec allocates for itself is not included.
  std::uint64_t max_buffer_bytes = std::uint64_t{256} << 20;
};

}  // namespace ffmpeg

/// What the decoder offers, and what its guest may take.
struct FfmpegDecoderOptions {
  ffmpeg::SessionOptions session;  ///< of each open file
  /// The compressed formats to offer (V4L2_PIX_FMT_*), in this order; those that cannot be decoded here are
  /// left out. Empty: all that can. Leaving some out is useful: v4l2-compliance 1.30 does not know AV1, and
  /// does not recognise a device that offers it as a decoder; and it considers Motion-JPEG a different kind
  /// of decoder that cannot be combined with others.
  std::vector<std::uint32_t> codecs;
  /// Open files at a time; more get ENFILE. An open file costs little: programs that only query the device,
  /// such as compliance tests, open a hundred.
  std::uint32_t max_sessions = 256;
  /// The number of decoding threads, unless `workers` sets it: one for each file from its first STREAMON on,
  /// and for a moment as many again for closed files whose picture is not complete. STREAMON of more gets
  /// EBUSY. For H.264 libavcodec has one more, which is idle.
  std::uint32_t max_workers = 32;
  /// The threads on which sessions decode. Closed sessions finish their picture there, so a set that outlives
  /// the device saves its loop the wait. None: the backend makes its own.
  std::shared_ptr<ffmpeg::Workers> workers;
};

}  // namespace vumedia::backends
