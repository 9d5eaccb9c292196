// expect: HostIsCompleteHere
// A VMM is not complete among its own members. The device belongs in a class defined after it, or behind a
// pointer to one.
#include <vumedia/media/device.hpp>

#include "host.hpp"

struct Backend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
};

#ifdef CORRECTED
struct Vmm : Host {};
struct Machine {
  Vmm vmm;
  vumedia::media::Device<Backend, Vmm> device{vmm, {}};
};
#else
struct Vmm : Host {
  vumedia::media::Device<Backend, Vmm> device{*this, {}};
};
#endif
