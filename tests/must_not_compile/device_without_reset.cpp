// expect: vhost_user::Session: Device must satisfy the concept virtio::Device
// expect: device.reset()
// A virtio device that its driver cannot reset.
#include "small_device.hpp"

struct Device : SmallDevice {
  using SmallDevice::SmallDevice;
#ifndef CORRECTED
  void reset() = delete;
#endif
};

using Session = vumedia::vhost_user::Session<Device, vumedia::io::UringReactor>;
void serve(vumedia::io::UringReactor& reactor) {
  Session session(reactor, {}, {}, {});
}
