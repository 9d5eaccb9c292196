// expect: media::Backend: `close` must return void
// Nothing could handle its failure.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#ifdef CORRECTED
  void close(Session&) {}
#else
  vumedia::Result<> close(Session&) { return vumedia::fail(EBUSY); }
#endif
};

template class vumedia::media::Device<Backend, Host>;
