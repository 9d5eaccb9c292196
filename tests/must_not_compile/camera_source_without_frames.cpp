// expect: backends::Camera<Source>: Source needs `Result<> fill(const camera::Frame&)`, or
// What is filled with frames that cannot fail is nearly right.
#include <vumedia/backends/camera.hpp>

namespace camera = vumedia::backends::camera;

struct Source {
  static constexpr const char *card = "Camera", *input = "Camera";
  camera::Modes modes() const;
#ifdef CORRECTED
  vumedia::Result<> fill(const camera::Frame&);
#else
  void fill(const camera::Frame&);
#endif
};

template class vumedia::backends::Camera<Source>;
