// expect: BackendType is not a media::Backend: it has no public
// expect: `Result<std::unique_ptr<Session>> open(media::Context)`
// expect: nor one with a media::Completion as its second argument
// A backend that returns its sessions in the wrong way.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
#ifdef CORRECTED
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#else
  Session open() { return {}; }
#endif
};

template class vumedia::media::Device<Backend, Host>;
