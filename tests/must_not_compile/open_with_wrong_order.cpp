// expect: BackendType is not a media::Backend: it has no public `Result<std::unique_ptr<Session>> open()`
// expect: `open(context)` or `open(context, completion)`
#include "minimal_backend.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
#ifdef CORRECTED
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::AnyContext, vumedia::media::Completion){
#else
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Completion, vumedia::media::AnyContext) {
#endif
      return std::make_unique<Session>();
}
}
;

template class vumedia::media::Device<Backend, Host>;
