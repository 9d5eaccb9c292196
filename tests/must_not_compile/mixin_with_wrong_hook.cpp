// expect: queued
// Without the error, a hook that is nearly right would just not be called.
#include <vumedia/media/device.hpp>
#include <vumedia/v4l2/ioctls.hpp>

#include "host.hpp"

namespace v4l2 = vumedia::v4l2;

struct Backend : v4l2::QueueIoctls<Backend> {
  struct Session {
    vumedia::media::Context context;
  };
  v4l2::BufferQueue& queues_of(Session&) { return queue; }
  std::array<std::uint32_t, 1> plane_sizes(Session&, const v4l2::BufferQueue&) { return {1}; }
#ifdef CORRECTED
  void queued(Session&, v4l2::BufferQueue&) {}
#else
  void queued(Session&) {}
#endif
  v4l2::BufferQueue queue{{}};
};

vumedia::Result<> queue(Backend& backend, Backend::Session& session, v4l2::BufferPayload& payload) {
  return backend.ioctl(session, v4l2::tag::QBUF{}, payload);
}
