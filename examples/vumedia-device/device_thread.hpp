// One device of the program and the loop that it runs on: a loop that is created, run and destroyed on a
// thread of its own; or, for the only device of a program, that of the main thread, which saves a thread and
// its memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/io/inbox.hpp>

#include "backends.hpp"
#include "counters.hpp"
#include "loop.hpp"
#include "options.hpp"

namespace vumedia::device {

// All members are for the thread that made it, which outlives it, unless stated otherwise. Changes of the
// device's state are signalled by an event fd, so that one loop can wait for all devices.
class DeviceThread {
 public:
  enum class State {
    starting,  // no loop yet
    idle,      // has its loop, and waits for a socket
    opening,   // has its socket
    serving,
    ended,
  };

  // `options`, `log` and `changed` (an event fd that is signalled at each change of state) must outlive this.
  // So must `main`, if it is not null: then there is no thread, and the device runs on it, in serve_here().
  // Otherwise its thread makes a loop of `kind`.
  DeviceThread(const Options& options, const BackendEntry& backend, const Log& log, int changed,
               ReactorKind kind, Loop* main);
  DeviceThread(const DeviceThread&) = delete;
  DeviceThread& operator=(const DeviceThread&) = delete;
  // Waits for the thread.
  ~DeviceThread();

  // Hands over the socket that frontends connect to. Only in the state `idle`.
  void open(OwnedFd socket);
  // For a device on the main thread that has its socket: serves it until it ends.
  void serve_here();
  // Ends the device soon, in whatever state it is.
  void stop();
  // Shared memory has been truncated at these addresses.
  void tell_of_cut_off_memory(const std::vector<std::uintptr_t>& addresses);
  // Asks the loop to confirm that it runs.
  void ask_for_life();
  // Whether the last ask_for_life() was answered; also true if the device does not run, or was not asked.
  [[nodiscard]] bool shows_life() const;

  [[nodiscard]] State state() const;
  // For a device that has ended: its status, and why it could not start (otherwise empty).
  [[nodiscard]] int status() const;
  [[nodiscard]] std::string failure() const;

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const Log& log() const noexcept { return log_; }

 private:
  void run_thread();
  void serve(Loop& loop);
  void take_loop(Loop& loop);
  void set_state(State state);
  // The socket to serve, or nothing if the device has to end first.
  [[nodiscard]] std::optional<OwnedFd> wait_for_socket();
  void end(int status, std::string failure);

  const Options& options_;
  const BackendEntry& backend_;
  const Log log_;
  const int changed_;
  const ReactorKind kind_;
  Counters counters_;
  std::atomic<std::uint64_t> answered_{0};  // the last ask_for_life(), by the device's thread
  std::uint64_t asked_ = 0;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable told_;
  State state_ = State::starting;
  bool stop_ = false;
  std::optional<OwnedFd> socket_;
  std::shared_ptr<io::Inbox> inbox_;  // once there is a loop
  // Used by the device's thread, for tasks of its own inbox; valid while that takes tasks.
  Loop* loop_ = nullptr;
  Environment* environment_ = nullptr;
  int status_ = 0;
  std::string failure_;

  Loop* const main_;
  std::thread thread_;  // last, because it uses all of the above; none on the main thread
};

}  // namespace vumedia::device
