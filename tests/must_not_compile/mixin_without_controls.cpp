// expect: v4l2::ControlIoctls<Backend>: Backend needs a public `v4l2::Controls& controls_of(Session&)`
// A copy of the controls would keep no value that a guest sets.
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
  v4l2::Controls& controls_of(Session&) { return controls; }
#else
  v4l2::Controls controls_of(Session&) { return v4l2::Controls({}); }
#endif
  v4l2::Controls controls{{}};
};

Backend backend;
