// expect: backends::Camera<Source>: Source needs both `std::span<const v4l2::ControlInfo> controls()
// Without the error, the controls would do nothing.
#include <vumedia/backends/camera.hpp>

namespace camera = vumedia::backends::camera;
namespace v4l2 = vumedia::v4l2;

struct Source {
  static constexpr const char *card = "Camera", *input = "Camera";
  camera::Modes modes() const;
  vumedia::Result<> fill(const camera::Frame&);
  std::span<const v4l2::ControlInfo> controls() const;
#ifdef CORRECTED
  vumedia::Result<> set_control(std::uint32_t id, const v4l2::ControlValue& value);
#endif
};

template class vumedia::backends::Camera<Source>;
