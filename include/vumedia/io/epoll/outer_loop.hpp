// What another loop waits on to drive an EpollReactor: one descriptor for its readiness and its timers.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>
#include <utility>

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>

namespace vumedia::io::epoll {

/// An epoll instance around that of the reactor, so that it may stay when that is replaced.
class OuterLoop {
 public:
  /// Around the epoll instance `inner`.
  [[nodiscard]] Result<> open(int inner) noexcept {
    timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_) return fail(errno);
    OwnedFd instance(::epoll_create1(EPOLL_CLOEXEC));
    if (!instance || !add(instance.get(), inner) || !add(instance.get(), timer_.get())) return fail(errno);
    instance_ = std::move(instance);
    return {};
  }
  /// Whether open() has succeeded.
  [[nodiscard]] bool is_open() const noexcept { return static_cast<bool>(instance_); }
  /// -1 if it is not open.
  [[nodiscard]] int fd() const noexcept { return instance_.get(); }

  /// Readable from then on; none: not for a timer.
  void set_deadline(std::optional<TimePoint> deadline) noexcept {
    if (deadline == deadline_) return;
    deadline_ = deadline;
    itimerspec when{};
    if (deadline) {
      const std::int64_t time =
          std::chrono::duration_cast<std::chrono::nanoseconds>(deadline->time_since_epoch()).count();
      // A time of 0 would switch it off.
      const std::int64_t after = std::max<std::int64_t>(time, 1);
      when.it_value = {.tv_sec = after / 1'000'000'000, .tv_nsec = after % 1'000'000'000};
    }
    static_cast<void>(::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr));
  }

  /// `former` has given its place to `inner`.
  void replace(int former, int inner) noexcept {
    static_cast<void>(::epoll_ctl(instance_.get(), EPOLL_CTL_DEL, former, nullptr));
    static_cast<void>(add(instance_.get(), inner));
  }

 private:
  [[nodiscard]] static bool add(int instance, int fd) noexcept {
    epoll_event event{};
    event.events = EPOLLIN;
    return ::epoll_ctl(instance, EPOLL_CTL_ADD, fd, &event) == 0;
  }

  OwnedFd instance_;
  OwnedFd timer_;
  std::optional<TimePoint> deadline_;
};

}  // namespace vumedia::io::epoll
