// The program's main thread: starts the devices, waits for signals and for what concerns all of them, and
// ends them. A single device runs on this thread, too.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/listener.hpp>
#include <vumedia/io/operation.hpp>

#include "activation.hpp"
#include "backends.hpp"
#include "device_thread.hpp"
#include "logging.hpp"
#include "loop.hpp"
#include "options.hpp"
#include "service_manager.hpp"
#include "status_socket.hpp"
#include "stop_signals.hpp"
#include "truncation_guard.hpp"

namespace vumedia::device {

class Supervisor {
 public:
  // `line.devices` already have their inherited sockets; `backends` are theirs, in the same order.
  // `status_fd` replaces line.status_socket.
  Supervisor(const CommandLine& line, std::vector<const BackendEntry*> backends,
             std::optional<int> status_fd);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor();

  // Serves until a signal stops it or all devices have ended. Returns the program's exit status. If the start
  // failed, the reason has been written to standard error in one line.
  int run();

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] Outcome<> prepare();
  [[nodiscard]] Outcome<> open_sockets();
  // Runs the loop until `done()`, until a signal stops it, or until it fails.
  void wait(const std::function<bool()>& done);
  void watch();
  [[nodiscard]] bool all_in(std::initializer_list<DeviceThread::State> states) const;
  [[nodiscard]] std::optional<std::string> failed_start() const;
  // What the loop waits for.
  void on_signal(std::int32_t result) noexcept;
  void on_change(std::int32_t result) noexcept;
  void on_fault(std::int32_t result) noexcept;
  void on_status(std::int32_t result) noexcept;
  void on_watchdog(std::int32_t result) noexcept;
  void announce();
  void mourn();
  void write_counters();
  [[nodiscard]] std::string counters() const;
  void tell_manager(const std::string& state);
  void remove_files();
  void begin_end();
  int end(int status);
  int fail(const std::string& reason);

  const CommandLine& line_;
  const std::vector<const BackendEntry*> backends_;
  const std::optional<int> status_fd_;
  const Clock::time_point begun_ = Clock::now();
  Logging logging_;
  ServiceManager manager_;
  std::optional<StopSignals> signals_;
  std::optional<TruncationGuard> guard_;
  OwnedFd changed_;
  std::optional<StatusSocket> status_;
  std::vector<io::Listener> files_;  // of the devices: what is left of their listeners
  std::vector<std::unique_ptr<DeviceThread>> devices_;
  std::vector<bool> mourned_;  // whose end has been reported
  int stop_signal_ = 0;
  std::optional<std::string> loop_failure_;
  bool ready_ = false;
  bool ending_ = false;

  // That of the main thread. Its operations, and a device that runs on it, are destroyed before it.
  std::unique_ptr<Loop> loop_;
  io::MemberOperation<&Supervisor::on_signal> signalled_{*this};
  io::MemberOperation<&Supervisor::on_change> device_changed_{*this};
  io::MemberOperation<&Supervisor::on_fault> faulted_{*this};
  io::MemberOperation<&Supervisor::on_status> asked_{*this};
  io::MemberOperation<&Supervisor::on_watchdog> watchdog_due_{*this};
};

}  // namespace vumedia::device
