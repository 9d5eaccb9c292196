// expect: media::Backend: `mmap` takes its session by value
// expect: media::Backend: `close` takes its session by value
// Were they not refused, the session that goes would never hear of it.
#include "minimal_backend.hpp"

struct Backend : MinimalBackend {
#ifdef CORRECTED
  void close(Session&) {}
  vumedia::Result<vumedia::media::Mappable> mmap(Session&, std::uint32_t) { return vumedia::fail(EINVAL); }
#else
  void close(Session) {}
  vumedia::Result<vumedia::media::Mappable> mmap(Session, std::uint32_t) { return vumedia::fail(EINVAL); }
#endif
};

template class vumedia::media::Device<Backend, Host>;
