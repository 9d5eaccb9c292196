// A camera without hardware: a moving test pattern that carries its frame number
// (test_pattern/frame_code.hpp), which is the sequence number of its buffer.
//
// TestPattern has raw formats only. Compressed frames need an encoder, which is a type: with
// clang-format off
//   #include <vumedia/backends/ffmpeg/jpeg_encoder.hpp>   // needs FFmpeg
//   using JpegCamera = backends::BasicTestPattern<backends::ffmpeg::JpegEncoder>;
// clang-format on
// the camera offers Motion-JPEG in addition.
#pragma once

#include <vumedia/backends/camera.hpp>
#include <vumedia/backends/test_pattern/encoding.hpp>
#include <vumedia/backends/test_pattern/source.hpp>

namespace vumedia::backends {

/// Its formats are RGB3, in which it starts at 640x480, YUYV, NV12 and YU12; with the multi-planar API also
/// YM12 and NM12.
using TestPatternOptions = CameraOptions;

/// `E`: test_pattern::NoEncoder, or a test_pattern::Encoder.
template <class E>
using BasicTestPattern = Camera<test_pattern::PatternSource, E>;

/// The test pattern with raw formats only.
using TestPattern = BasicTestPattern<test_pattern::NoEncoder>;

}  // namespace vumedia::backends
