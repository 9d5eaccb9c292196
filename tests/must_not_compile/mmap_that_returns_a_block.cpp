// expect: media::Backend: `mmap` must return vumedia::Result<media::Mappable>
// Neither as it is nor in a Result.
#include "minimal_backend.hpp"

struct Backend : MinimalBackend {
#ifdef CORRECTED
  vumedia::Result<vumedia::media::Mappable> mmap(Session&, std::uint32_t) { return vumedia::fail(EINVAL); }
#else
  std::shared_ptr<vumedia::memory::Block> mmap(Session&, std::uint32_t) { return nullptr; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
