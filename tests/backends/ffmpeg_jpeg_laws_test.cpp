#include <vumedia/backends/ffmpeg/jpeg_encoder.hpp>
#include <vumedia/backends/test_pattern.hpp>

#include "backends/backend_laws.hpp"

namespace vumedia::backends::test {

// Streams Motion-JPEG from the start.
struct JpegTestPattern : BasicTestPattern<ffmpeg::JpegEncoder> {
  JpegTestPattern()
      : BasicTestPattern<ffmpeg::JpegEncoder>({.multiplanar = true, .pixelformat = V4L2_PIX_FMT_MJPEG}) {}
};
INSTANTIATE_TYPED_TEST_SUITE_P(JpegTestPattern, BackendLaws, JpegTestPattern);

}  // namespace vumedia::backends::test
