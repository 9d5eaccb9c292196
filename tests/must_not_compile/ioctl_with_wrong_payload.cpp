// expect: media::Backend: the overload for this ioctl (Tag) must take `Tag::Payload&` as its payload
// Without the error, QBUF would just answer ENOTTY: its payload has planes after v4l2_buffer.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#ifdef CORRECTED
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::QBUF, vumedia::v4l2::BufferPayload&) { return {}; }
#else
  vumedia::Result<> ioctl(Session&, vumedia::v4l2::tag::QBUF, v4l2_buffer&) { return {}; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
