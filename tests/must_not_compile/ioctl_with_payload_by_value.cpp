// expect: media::Backend: this ioctl (Tag) answers with its payload
// expect: which its overload must take as `Tag::Payload&`: neither by value nor as const
// Without the error, the guest would get back what it sent.
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
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format) { return {}; }
#endif
  // This one answers only with a status.
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::STREAMON, std::uint32_t) { return {}; }
};

template class vumedia::media::Device<Backend, Host>;
