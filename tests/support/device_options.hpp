// Options of a device in tests.
#pragma once

#include <vumedia/media/device.hpp>

#include "support/patience.hpp"

namespace vumedia::test {

// As asked for; but no command ends in ETIMEDOUT for want of a processor, unless the test is about that and
// names a limit.
inline media::DeviceOptions patient(media::DeviceOptions options = {}) {
  if (options.command_timeout == media::DeviceOptions{}.command_timeout) options.command_timeout = patience;
  return options;
}

}  // namespace vumedia::test
