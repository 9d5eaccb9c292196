// The inputs and outputs of a decoding engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/m2m/stamp.hpp>

namespace vumedia::backends::ffmpeg {

using m2m::Stamp;

/// A queued OUTPUT buffer.
struct CodedBuffer {
  std::uint32_t index = 0;            ///< of the buffer
  std::span<const std::byte> bytes;   ///< one access unit
  std::shared_ptr<const void> owner;  ///< keeps `bytes` alive
  Stamp stamp;                        ///< for its frames
};

/// How the client has set up its CAPTURE queue.
struct CaptureSetup {
  std::uint32_t fourcc = V4L2_PIX_FMT_YUV420;  ///< one of raw_formats
  Layout layout;                               ///< of that format
  /// PictureChanged::serial of the last change that the client has seen; 0 if it set up the queue before any.
  std::uint64_t serial = 0;
  Rectangle visible = {};  ///< as the client expects it, before any
};

/// An OUTPUT buffer belongs to the guest again.
struct CodedBufferDone {
  std::uint32_t index = 0;  ///< of the buffer
  bool damaged = false;     ///< nothing, or not all, could be decoded
};

/// A CAPTURE buffer belongs to the guest again.
struct FrameDone {
  std::uint32_t index = 0;                ///< of the buffer
  std::uint32_t bytes_used = 0;           ///< 0: an empty buffer that only carries V4L2_BUF_FLAG_LAST
  std::uint32_t flags = 0;                ///< V4L2_BUF_FLAG_LAST, ERROR, KEYFRAME, PFRAME, BFRAME
  std::uint32_t field = V4L2_FIELD_NONE;  ///< like Picture::field, for this frame
  Stamp stamp;                            ///< of its OUTPUT buffer
};

/// V4L2_EVENT_SOURCE_CHANGE: the following frames have another shape, or the first shape is known.
struct PictureChanged {
  Picture picture;                ///< of the frames that follow
  std::uint64_t serial = 0;       ///< counts changes, from 1 on
  std::uint32_t min_buffers = 0;  ///< V4L2_CID_MIN_BUFFERS_FOR_CAPTURE
  /// AVCodecContext's numbers, from the codec's own specification; negative if unknown.
  int profile = -1;
  int level = -1;  ///< likewise
  int tier = -1;   ///< of H.265: 0 Main, 1 High; negative where unknown
};

/// The following frames have other colours or fields, or other samples that suit the client's format, but the
/// same shape; or the decoder holds back more or fewer of them. The existing buffers still fit.
struct LookChanged {
  Samples samples;                        ///< of the frames that follow
  Colours colours;                        ///< of the frames that follow
  std::uint32_t field = V4L2_FIELD_NONE;  ///< of the frames that follow
  std::uint32_t min_buffers = 0;          ///< like PictureChanged's
};

/// V4L2_EVENT_EOS: a drain is complete.
struct EndOfStream {};

/// In the order in which they happened.
using Event = std::variant<CodedBufferDone, FrameDone, PictureChanged, LookChanged, EndOfStream>;

}  // namespace vumedia::backends::ffmpeg
