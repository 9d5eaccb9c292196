// expect: media::Backend: an overload of `ioctl` takes this tag (Tag), but is neither (session, tag, payload)
// expect: nor (session, tag, payload, completion)
// Two mistakes at once, with a session that cannot be copied.
#include "minimal_backend.hpp"

struct Backend : PinnedBackend {
#ifdef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::G_FMT, v4l2_format&) { return {}; }
#else
  vumedia::Result<> ioctl(vumedia::v4l2::tag::G_FMT, Session, v4l2_format&) { return {}; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
