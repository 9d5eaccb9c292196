// expect: BackendType has `open(context)` and `open(context, completion)`: keep one of them
// Which of the two is called must not be left to chance.
#include "minimal_backend.hpp"

struct Backend : MinimalBackend {
#ifndef CORRECTED
  using MinimalBackend::open;
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context, vumedia::media::Completion) {
    return std::make_unique<Session>();
  }
#endif
};

template class vumedia::media::Device<Backend, Host>;
