// Notifies the service manager that started the program (sd_notify(3), sd_watchdog_enabled(3)), with
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
  // Reads the environment. Without NOTIFY_SOCKET nothing is sent. Fails if that does not name a Unix socket,
  // because a manager that waits for a notification would wait in vain.
  [[nodiscard]] static Outcome<ServiceManager> from_environment();

  // `state` is in the form of sd_notify(3), such as "READY=1\nSTATUS=serving". False if it could not be sent.
  // Waits for a manager with a full queue, at most two seconds.
  bool tell(std::string_view state) const noexcept;

  // How often "WATCHDOG=1" must be sent to the manager: half of the time that it waits, as is recommended.
  // Nothing if it does not watch this process.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const noexcept { return watchdog_; }

 private:
  OwnedFd socket_;  // connected
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace vumedia::device
