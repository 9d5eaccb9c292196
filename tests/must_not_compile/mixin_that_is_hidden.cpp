// expect: v4l2::ControlIoctls<Backend>: Backend's own overloads of `ioctl` hide these
// Without the error, every ioctl of controls would just answer ENOTTY.
#include <vumedia/media/device.hpp>
#include <vumedia/v4l2/ioctls.hpp>

#include "host.hpp"

namespace v4l2 = vumedia::v4l2;

struct Backend : v4l2::ControlIoctls<Backend> {
  struct Session {
    vumedia::media::Context context;
    v4l2::Subscriptions subscriptions;
  };
#ifdef CORRECTED
  using ControlIoctls::ioctl;
#endif
  vumedia::Result<> ioctl(Session&, v4l2::tag::G_FMT, v4l2_format&) { return {}; }
  v4l2::Controls& controls_of(Session&) { return controls; }
  v4l2::Controls controls{{}};
};

Backend backend;
