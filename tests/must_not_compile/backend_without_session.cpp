// expect: BackendType is not a media::Backend: it has no public type `Session`
// A backend must have a type for an open file.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
#ifdef CORRECTED
  struct Session {};
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#endif
  vumedia::media::Config config() const { return {}; }
};

template class vumedia::media::Device<Backend, Host>;
