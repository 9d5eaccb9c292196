// expect: loop.timer(operation, deadline)
// A VMM whose loop has no timers.
#include <vumedia/media/device.hpp>

#include "host.hpp"
#include "minimal_backend.hpp"

struct Vmm : Host {
#ifndef CORRECTED
  void timer(vumedia::io::Operation& operation, vumedia::io::TimePoint deadline) = delete;
#endif
};

template class vumedia::media::Device<MinimalBackend, Vmm>;
