// expect: host.flush(index)
// A VMM that does not publish what its device has pushed.
#include <vumedia/media/device.hpp>

#include "host.hpp"
#include "minimal_backend.hpp"

struct Vmm : Host {
#ifndef CORRECTED
  void flush(std::uint16_t index) = delete;
#endif
};

template class vumedia::media::Device<MinimalBackend, Vmm>;
