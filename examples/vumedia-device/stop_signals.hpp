// SIGTERM and SIGINT (and SIGHUP, unless the parent wants it ignored) as an event of the loop.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::device {

// Made before any thread is, since threads inherit what is blocked.
class StopSignals {
 public:
  [[nodiscard]] static Outcome<StopSignals> block() {
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::sigaddset(&set, SIGINT);
    struct sigaction hangup{};
    if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) ::sigaddset(&set, SIGHUP);
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
      return failure("cannot block signals: %s", std::strerror(error));
    }
    OwnedFd fd(::signalfd(-1, &set, SFD_CLOEXEC));
    if (!fd) return failure("cannot make a signal fd: %s", std::strerror(errno));
    return StopSignals(std::move(fd));
  }

  // To be read with `event()` as the buffer.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] std::span<std::byte> event() noexcept {
    return std::as_writable_bytes(std::span(&event_, 1));
  }
  [[nodiscard]] const char* name() const noexcept { return ::strsignal(static_cast<int>(event_.ssi_signo)); }

  // Ends the process with status 0 in 0.8 s, should an orderly end take longer: a worker may be deep in a
  // library. The socket file must be gone by now.
  static void limit_shutdown() noexcept {
    struct sigaction action{};
    action.sa_handler = [](int) { ::_exit(0); };
    ::sigaction(SIGALRM, &action, nullptr);
    const itimerval soon = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 800'000}};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
  }

 private:
  explicit StopSignals(OwnedFd fd) noexcept : fd_(std::move(fd)) {}

  OwnedFd fd_;
  signalfd_siginfo event_{};
};

}  // namespace vumedia::device
