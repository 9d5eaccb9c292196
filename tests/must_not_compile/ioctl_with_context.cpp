// expect: media::Backend: an overload of `ioctl` takes this tag (Tag), but is neither (session, tag, payload)
// expect: nor (session, tag, payload, completion)
// The session keeps its context: no ioctl is given one.
#include "minimal_backend.hpp"

struct Backend : MinimalBackend {
#ifdef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::QBUF, vumedia::v4l2::BufferPayload&) { return {}; }
#else
  vumedia::Result<> ioctl(Session&, vumedia::media::Context, vumedia::v4l2::tag::QBUF,
                          vumedia::v4l2::BufferPayload&) {
    return {};
  }
#endif
};

template class vumedia::media::Device<Backend, Host>;
