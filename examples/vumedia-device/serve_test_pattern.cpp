#include <vumedia/backends/test_pattern.hpp>

#ifdef VUMEDIA_WITH_FFMPEG
#include <vumedia/backends/ffmpeg/jpeg_encoder.hpp>
#endif

#include "backends.hpp"
#include "serve.hpp"

namespace vumedia::device {

namespace {

#ifdef VUMEDIA_WITH_FFMPEG
using Camera = backends::BasicTestPattern<backends::ffmpeg::JpegEncoder>;
#else
using Camera = backends::TestPattern;
#endif

int serve_test_pattern(Environment& environment) {
  note_unused_options(environment, {.planes = true, .decoder = false, .node = false});
  backends::TestPatternOptions camera;
  camera.multiplanar = environment.options.multiplanar.value_or(camera.multiplanar);
  return Service<Camera>(environment).run(device_options(environment.options), camera);
}

}  // namespace

const BackendEntry test_pattern_entry = {
    .name = "test-pattern",
    .alias = "simple-capture",
    .description = "a camera that shows a moving test pattern",
    .serve = serve_test_pattern,
};

}  // namespace vumedia::device
