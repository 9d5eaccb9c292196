// expect: media::Backend: an overload of `ioctl` takes a tag that is not in v4l2::ioctl_tags
// No command would ever reach it: the driver answers QUERYCAP by itself.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&) { return {}; }
#ifndef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::uncarried::QUERYCAP, v4l2_capability&) { return {}; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
