// expect: media::Device<BackendType, Host>: BackendType::Session is not complete here
// What is declared in a header and defined in a source file cannot be destroyed elsewhere.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session;
  vumedia::media::Config config() const;
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context);
};
#ifdef CORRECTED
struct Backend::Session {};
#endif

template class vumedia::media::Device<Backend, Host>;
