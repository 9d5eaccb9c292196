// expect: vhost_user::Session: Device must satisfy the concept virtio::Device
// expect: constant.config()
// A virtio device whose configuration space is gone before it is read.
#include <vector>

#include "small_device.hpp"

struct Device : SmallDevice {
  using SmallDevice::SmallDevice;
#ifndef CORRECTED
  std::vector<std::byte> config() const;
#endif
};

using Session = vumedia::vhost_user::Session<Device, vumedia::io::UringReactor>;
void serve(vumedia::io::UringReactor& reactor) {
  Session session(reactor, {}, {}, {});
}
