// What the program tells the service manager that started it (sd_notify(3), sd_watchdog_enabled(3)):
// datagrams to the socket that NOTIFY_SOCKET names.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::device {

class ServiceManager {
 public:
  // From the environment. Without NOTIFY_SOCKET nothing is told to anyone. Fails if that names no Unix
  // socket, for a manager that waits for word would wait in vain.
  [[nodiscard]] static Outcome<ServiceManager> from_environment();

  // `state` as sd_notify(3) has it, such as "READY=1\nSTATUS=serving". False if it did not get through. Waits
  // for a manager with a full queue, two seconds at most.
  bool tell(std::string_view state) const noexcept;

  // How often the manager wants "WATCHDOG=1" to be told, at least: half of the time that it waits, as is
  // recommended. Nothing if it does not watch this process.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const noexcept { return watchdog_; }

 private:
  OwnedFd socket_;  // connected
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace vumedia::device
