// expect: media::Backend: `mmap` must return vumedia::Result<media::Mappable>
// expect: as v4l2::BufferQueue::mappable() gives it
// Without the error, the guest would get ENODEV.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#ifdef CORRECTED
  vumedia::Result<vumedia::media::Mappable> mmap(Session&, std::uint32_t) { return vumedia::fail(EINVAL); }
#else
  vumedia::Result<std::shared_ptr<vumedia::memory::Block>> mmap(Session&, std::uint32_t) {
    return vumedia::fail(EINVAL);
  }
#endif
};

template class vumedia::media::Device<Backend, Host>;
