// expect: media::Backend: the overload for this ioctl (Tag) takes its session by value
// Were it not refused, S_FMT would answer ENOTTY: no call can copy such a session.
#include "minimal_backend.hpp"

struct Backend : PinnedBackend {
#ifdef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::S_FMT, v4l2_format&) { return {}; }
#else
  vumedia::Result<> ioctl(Session, vumedia::v4l2::tag::S_FMT, v4l2_format&) { return {}; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
