// expect: host.shm_map(shm, mapping)
// A VMM that returns what a map came to, where the operation has to be told.
#include <vumedia/media/device.hpp>

#include "host.hpp"
#include "minimal_backend.hpp"

struct Vmm : Host {
#ifndef CORRECTED
  vumedia::Result<> shm_map(vumedia::virtio::ShmOperation& operation,
                            const vumedia::virtio::ShmMapping& mapping);
#endif
};

template class vumedia::media::Device<MinimalBackend, Vmm>;
