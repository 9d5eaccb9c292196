// Serves the camera that shows a pattern, on either reactor.
#pragma once

#include <vumedia/backends/test_pattern.hpp>

#ifdef VUMEDIA_WITH_FFMPEG
#include <vumedia/backends/ffmpeg/jpeg_encoder.hpp>
#endif

#include "environment.hpp"
#include "serve.hpp"

namespace vumedia::device {

#ifdef VUMEDIA_WITH_FFMPEG
using Camera = backends::BasicTestPattern<backends::ffmpeg::JpegEncoder>;
#else
using Camera = backends::TestPattern;
#endif

template <io::Reactor Reactor>
int serve_test_pattern(Environment& environment, Reactor& reactor) {
  note_unused_options(environment, {.planes = true, .decoder = false, .node = false});
  backends::TestPatternOptions camera;
  camera.multiplanar = environment.options.multiplanar.value_or(camera.multiplanar);
  return Service<Camera, Reactor>(environment, reactor).run(device_options(environment.options), camera);
}

// In serve_test_pattern_epoll.cpp.
extern template int serve_test_pattern(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
