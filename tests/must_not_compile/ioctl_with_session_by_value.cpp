// expect: media::Backend: the overload for this ioctl (Tag) takes its session by value
// Were it not refused, what S_FMT keeps in the session would be gone at once.
#include "minimal_backend.hpp"

struct Backend : MinimalBackend {
#ifdef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::S_FMT, v4l2_format&) { return {}; }
#else
  vumedia::Result<> ioctl(Session, vumedia::v4l2::tag::S_FMT, v4l2_format&) { return {}; }
#endif
  // Reads it only.
  vumedia::Result<> ioctl(const Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&) { return {}; }
};

template class vumedia::media::Device<Backend, Host>;
