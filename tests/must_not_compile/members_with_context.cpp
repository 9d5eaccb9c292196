// expect: media::Backend: its member `mmap` is not a public mmap(Session&, std::uint32_t mem_offset)
// expect: media::Backend: its member `close` is not a public close(Session&)
// The session keeps its context: neither is given one.
#include "minimal_backend.hpp"

struct Backend : MinimalBackend {
#ifdef CORRECTED
  vumedia::Result<vumedia::media::Mappable> mmap(Session&, std::uint32_t) { return vumedia::fail(EINVAL); }
  void close(Session&) {}
#else
  vumedia::Result<vumedia::media::Mappable> mmap(Session&, std::uint32_t, vumedia::media::Context) {
    return vumedia::fail(EINVAL);
  }
  void close(Session&, vumedia::media::Context) {}
#endif
};

template class vumedia::media::Device<Backend, Host>;
