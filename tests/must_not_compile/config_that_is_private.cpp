// expect: BackendType is not a media::Backend: it has no public `media::Config config() const`
// Members of a class are private by default.
#include <vumedia/media/device.hpp>

#include "host.hpp"

class Backend {
#ifdef CORRECTED
 public:
#endif
  vumedia::media::Config config() const { return {}; }

 public:
  struct Session {};
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
};

template class vumedia::media::Device<Backend, Host>;
