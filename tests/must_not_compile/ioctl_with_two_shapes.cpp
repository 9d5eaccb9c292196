// expect: media::Backend: this ioctl (Tag) has overloads of both shapes
// Which of the two is called must not be left to chance.
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
  void ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&, vumedia::media::Completion) {}
#endif
};

template class vumedia::media::Device<Backend, Host>;
