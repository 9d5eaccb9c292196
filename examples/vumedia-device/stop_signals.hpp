// SIGTERM and SIGINT (and SIGHUP, unless the parent wants it ignored), and SIGUSR1, read from a descriptor.
#pragma once

#include <cerrno>
#include <cstring>
#include <utility>

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::device {

// Constructed before any thread is started, because threads inherit blocked signals.
class StopSignals {
 public:
  [[nodiscard]] static Outcome<StopSignals> block() {
    ::signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::sigaddset(&set, SIGINT);
    ::sigaddset(&set, SIGUSR1);
    struct sigaction hangup{};
    if (::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN) ::sigaddset(&set, SIGHUP);
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
      return failure("cannot block signals: %s", std::strerror(error));
    }
    OwnedFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) return failure("cannot make a signal fd: %s", std::strerror(errno));
    return StopSignals(std::move(fd));
  }

  // Readable while a signal waits.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // The signal that waits, or 0.
  [[nodiscard]] int take() const noexcept {
    signalfd_siginfo event{};
    return ::read(fd(), &event, sizeof event) == sizeof event ? static_cast<int>(event.ssi_signo) : 0;
  }

  // Ends the process with `status` after 0.8 s if an orderly end takes longer: a worker may be busy inside a
  // library. The socket files must have been removed by now.
  static void limit_shutdown(int status) noexcept {
    static volatile sig_atomic_t exit_status = 0;
    exit_status = status;
    struct sigaction action{};
    action.sa_handler = [](int) { ::_exit(exit_status); };
    ::sigaction(SIGALRM, &action, nullptr);
    const itimerval soon = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 800'000}};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
  }

 private:
  explicit StopSignals(OwnedFd fd) noexcept : fd_(std::move(fd)) {}

  OwnedFd fd_;
};

}  // namespace vumedia::device
