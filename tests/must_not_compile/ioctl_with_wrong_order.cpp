// expect: media::Backend: an overload of `ioctl` takes this tag (Tag), but is neither (session, tag, payload)
// expect: nor (session, tag, payload, completion)
// Without the error, G_FMT would answer ENOTTY. tests/media/near_miss_test.cpp has other orders.
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
  vumedia::Result<> ioctl(vumedia::v4l2::tag::G_FMT, Session&, v4l2_format&) { return {}; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
