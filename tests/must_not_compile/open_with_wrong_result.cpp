// expect: BackendType is not a media::Backend: it has no public
// expect: `Result<std::unique_ptr<Session>> open(media::Context)`
// expect: nor one with a media::Completion as its second argument
// A session that others share does not die when its file is closed.
#include "minimal_backend.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
#ifdef CORRECTED
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#else
  vumedia::Result<std::shared_ptr<Session>> open(vumedia::media::Context) {
    return std::make_shared<Session>();
  }
#endif
};

template class vumedia::media::Device<Backend, Host>;
