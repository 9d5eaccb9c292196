// The counters of all devices as text for people and as JSON for programs.
#pragma once

#include <chrono>
#include <span>
#include <string>

#include "counters.hpp"
#include "options.hpp"

namespace vumedia::device {

struct DeviceReport {
  const Options& options;
  const char* state;  // one word
  const Counters& counters;
};

// Ends with a newline. `uptime` is that of the program.
[[nodiscard]] std::string report(StatusFormat format, std::span<const DeviceReport> devices,
                                 std::chrono::duration<double> uptime);

}  // namespace vumedia::device
