// expect: vhost_user::Session: Device is not complete here
// A virtio device that is declared and defined too late.
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/vhost_user/session.hpp>

#ifdef CORRECTED
#include <vumedia/media/device.hpp>

#include "minimal_backend.hpp"
using Device =
    vumedia::media::Device<MinimalBackend, vumedia::vhost_user::SessionHost<vumedia::io::UringReactor>>;
#else
struct Device;
#endif

template class vumedia::vhost_user::Session<Device, vumedia::io::UringReactor>;
