// expect: BackendType is not a media::Backend: it has no public
// expect: `Result<std::unique_ptr<Session>> open(media::Context)`
// expect: nor one with a media::Completion as its second argument
#include "minimal_backend.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
#ifdef CORRECTED
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context, vumedia::media::Completion){
#else
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Completion, vumedia::media::Context) {
#endif
      return std::make_unique<Session>();
}
}
;

template class vumedia::media::Device<Backend, Host>;
