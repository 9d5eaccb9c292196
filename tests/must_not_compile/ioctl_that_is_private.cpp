// expect: EveryOverloadOfIoctlMustBePublic
// expect: G_FMT
// Without the error, G_FMT would answer ENOTTY although S_FMT works. The compiler names the overload.
#include <vumedia/media/device.hpp>

#include "host.hpp"

class Backend {
 public:
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::S_FMT, v4l2_format&) { return {}; }

#ifndef CORRECTED
 private:
#endif
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&) { return {}; }
};

template class vumedia::media::Device<Backend, Host>;
