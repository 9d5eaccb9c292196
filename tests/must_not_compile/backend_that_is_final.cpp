// expect: media::Device<BackendType, Host>: BackendType is `final`
// From such a class the compiler cannot learn of a private overload: S_FMT would answer ENOTTY.
#include "minimal_backend.hpp"

#ifdef CORRECTED
class Backend {
 public:
#else
class Backend final {
#endif
  vumedia::Result<> ioctl(MinimalBackend::Session&, vumedia::v4l2::tag::S_FMT, v4l2_format&) { return {}; }

 public:
  using Session = MinimalBackend::Session;
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
};

template class vumedia::media::Device<Backend, Host>;
