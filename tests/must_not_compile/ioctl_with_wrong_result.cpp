// expect: media::Backend: the overload for this ioctl (Tag) must return vumedia::Result<>
// An ioctl does not return an int.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#ifdef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&) { return {}; }
#else
  int ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&) { return 0; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
