// expect: media::Backend: this ioctl (Tag) answers with its payload
// expect: which its overload must take as `Tag::Payload&`: neither by value nor as const
// Were it not refused, the guest would get back what it sent.
#include "minimal_backend.hpp"

struct Backend : MinimalBackend {
#ifdef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&) { return {}; }
#else
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::G_FMT, const v4l2_format&) { return {}; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
