// Which descriptors an epoll instance watches, and who waits for each.
//
// A descriptor stays registered when its operation completes, because its handler usually starts another:
// that costs no system call. If it has not by the end of the turn, the descriptor is taken out (settle()).
//
// An epoll instance knows files, not descriptors: one whose descriptor was closed without having been taken
// out, and that is open elsewhere, for instance at the peer who sent it, stays registered and can no longer
// be taken out. That happens where a handler closes the descriptor of its own operation and does not cancel
// it (law in io/reactor.hpp). It is noticed when such a file becomes ready: all others then move to a new
// instance.
#pragma once

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include <sys/epoll.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/epoll/request.hpp>
#include <vumedia/io/reactor.hpp>

namespace vumedia::io::epoll {

/// The requests are in `table`, all with a descriptor.
class Watches {
 public:
  /// `table` outlives it.
  explicit Watches(RequestTable& table) : table_(table) { watches_.reserve(64); }

  /// Makes the epoll instance; the error is the system's, such as EMFILE.
  [[nodiscard]] Result<> open() noexcept {
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return fail(errno);
    return {};
  }
  /// Changes when close_stale() has to.
  [[nodiscard]] int fd() const noexcept { return epoll_.get(); }
  /// Calls of epoll_ctl.
  [[nodiscard]] std::uint64_t changes() const noexcept { return changes_; }

  /// Whether readiness for `events` of this descriptor would be reported at present.
  [[nodiscard]] bool watches(int fd, std::uint32_t events) const noexcept {
    const auto at = static_cast<std::size_t>(fd);
    return at < watches_.size() && watches_[at].registered && (watches_[at].events & events) == events;
  }

  /// From here on request `index` waits. EBADF; EPERM if the file is always ready; ENOMEM, ENOSPC.
  [[nodiscard]] Result<> add(std::uint32_t index) noexcept;
  /// No more. The watch of its descriptor is out of date until settle().
  void remove(std::uint32_t index) noexcept;
  /// Brings the kernel's knowledge of the descriptor in line with who waits.
  void settle(int fd) noexcept;

  /// How many descriptors one wait() can find ready.
  static constexpr std::size_t most_events = 64;
  /// `timeout` is null to wait for as long as it takes. Returns 0 or an errno.
  [[nodiscard]] int wait(const timespec* timeout) noexcept;
  /// Calls `function(index, events)` for each request whose descriptor was found ready, in the order in which
  /// they began to wait; it may remove the request.
  template <class Function>
  void for_each_ready(Function function) noexcept;
  /// The descriptors whose requests were seen last, to be settled.
  void settle_seen() noexcept {
    for (std::size_t i = 0; i < seen_; ++i) settle(descriptor_of(events_[i]));
    seen_ = 0;
  }

  /// Whether a file was found that is no longer known here, so that close_stale() is due.
  [[nodiscard]] bool has_stale() const noexcept { return stale_; }
  /// Moves all others to a new instance, whose descriptor is another. Returns the former one, to be taken out
  /// where it is watched. If it fails, for want of descriptors or memory, it is to be tried again.
  [[nodiscard]] Result<OwnedFd> close_stale() noexcept;

 private:
  struct Watch {
    std::uint32_t first = Request::none;
    std::uint32_t last = Request::none;
    std::uint32_t events = 0;
    std::uint32_t generation = 0;  // tells this registration from earlier ones of the same number
    bool registered = false;
  };

  [[nodiscard]] static int descriptor_of(const epoll_event& event) noexcept {
    return static_cast<int>(event.data.u64 & UINT32_MAX);
  }
  [[nodiscard]] int control(int instance, int operation, int fd, std::uint32_t events,
                            std::uint32_t generation) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
    ++changes_;
    return ::epoll_ctl(instance, operation, fd, &event) == 0 ? 0 : errno;
  }
  // Returns 0 or an errno.
  [[nodiscard]] int enter(int fd, std::uint32_t events) noexcept;
  [[nodiscard]] bool make_place(int fd) noexcept;
  [[nodiscard]] std::uint32_t wanted(const Watch& watch) noexcept {
    std::uint32_t events = 0;
    for (std::uint32_t i = watch.first; i != Request::none; i = table_[i].next) events |= table_[i].events;
    return events;
  }

  RequestTable& table_;
  OwnedFd epoll_;
  std::vector<Watch> watches_;  // by descriptor
  std::uint32_t generations_ = 0;
  std::uint64_t changes_ = 0;
  std::array<epoll_event, most_events> events_;
  std::size_t found_ = 0;  // events of the last wait
  std::size_t seen_ = 0;   // of them, to be settled
  bool stale_ = false;
  bool whole_milliseconds_ = false;  // the kernel has no epoll_pwait2
};

inline Result<> Watches::add(std::uint32_t index) noexcept {
  Request& request = table_[index];
  const auto at = static_cast<std::size_t>(request.fd);
  if (request.fd < 0) return fail(EBADF);
  if (!watches(request.fd, request.events)) {
    const std::uint32_t others = at < watches_.size() ? wanted(watches_[at]) : 0;
    if (const int error = enter(request.fd, request.events | others); error != 0) return fail(error);
  }
  Watch& watch = watches_[at];
  request.next = Request::none;
  request.previous = watch.last;
  (watch.last == Request::none ? watch.first : table_[watch.last].next) = index;
  watch.last = index;
  return {};
}

inline int Watches::enter(int fd, std::uint32_t events) noexcept {
  const auto at = static_cast<std::size_t>(fd);
  // What the table says may be out of date, if the number has gone to another file.
  if (at < watches_.size() && watches_[at].registered) {
    Watch& watch = watches_[at];
    const int error = control(epoll_.get(), EPOLL_CTL_MOD, fd, events, watch.generation);
    if (error == 0) watch.events = events;
    if (error != ENOENT) return error;
    watch.registered = false;
  }
  const std::uint32_t generation = ++generations_;
  int error = control(epoll_.get(), EPOLL_CTL_ADD, fd, events, generation);
  if (error == EEXIST) error = control(epoll_.get(), EPOLL_CTL_MOD, fd, events, generation);
  if (error != 0) return error;
  // Only now, because the number need not be that of an open file, and may be any.
  if (!make_place(fd)) {
    static_cast<void>(control(epoll_.get(), EPOLL_CTL_DEL, fd, 0, 0));
    return ENOMEM;
  }
  Watch& watch = watches_[at];
  watch.events = events;
  watch.generation = generation;
  watch.registered = true;
  return 0;
}

inline bool Watches::make_place(int fd) noexcept {
  const auto at = static_cast<std::size_t>(fd);
  if (at < watches_.size()) return true;
  try {
    watches_.resize(at + 1);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

inline void Watches::remove(std::uint32_t index) noexcept {
  const Request& request = table_[index];
  Watch& watch = watches_[static_cast<std::size_t>(request.fd)];
  (request.previous == Request::none ? watch.first : table_[request.previous].next) = request.next;
  (request.next == Request::none ? watch.last : table_[request.next].previous) = request.previous;
}

inline void Watches::settle(int fd) noexcept {
  Watch& watch = watches_[static_cast<std::size_t>(fd)];
  if (!watch.registered) return;
  if (watch.first == Request::none) {
    // Fails if the descriptor is closed, which has taken it out.
    static_cast<void>(control(epoll_.get(), EPOLL_CTL_DEL, fd, 0, 0));
    watch.registered = false;
  } else if (const std::uint32_t events = wanted(watch); events != watch.events) {
    // Should it fail, readiness is reported that nobody waits for.
    if (control(epoll_.get(), EPOLL_CTL_MOD, fd, events, watch.generation) == 0) watch.events = events;
  }
}

inline int Watches::wait(const timespec* timeout) noexcept {
  found_ = seen_ = 0;
  int count = -1;
  if (!whole_milliseconds_) [[likely]] {
    count = ::epoll_pwait2(epoll_.get(), events_.data(), int{most_events}, timeout, nullptr);
    // A sandbox that does not know it may refuse it.
    whole_milliseconds_ = count < 0 && (errno == ENOSYS || errno == EPERM);
  }
  if (whole_milliseconds_) [[unlikely]] {
    int milliseconds = -1;
    if (timeout != nullptr) {
      constexpr time_t day = 86'400;  // a wait that ends early is only repeated
      const time_t seconds = timeout->tv_sec < day ? timeout->tv_sec : day;
      milliseconds = static_cast<int>(seconds * 1000 + (timeout->tv_nsec + 999'999) / 1'000'000);
    }
    count = ::epoll_wait(epoll_.get(), events_.data(), int{most_events}, milliseconds);
  }
  if (count < 0) return errno == EINTR ? 0 : errno;
  found_ = static_cast<std::size_t>(count);
  return 0;
}

template <class Function>
void Watches::for_each_ready(Function function) noexcept {
  seen_ = 0;
  for (std::size_t i = 0; i < found_; ++i) {
    const epoll_event event = events_[i];
    const auto at = static_cast<std::size_t>(descriptor_of(event));
    if (at >= watches_.size() || !watches_[at].registered || watches_[at].generation != event.data.u64 >> 32)
        [[unlikely]] {
      stale_ = true;
      continue;
    }
    for (std::uint32_t index = watches_[at].first; index != Request::none;) {
      const std::uint32_t next = table_[index].next;
      function(index, event.events);
      index = next;
    }
    events_[seen_++] = event;
  }
  found_ = 0;
}

inline Result<OwnedFd> Watches::close_stale() noexcept {
  OwnedFd instance(::epoll_create1(EPOLL_CLOEXEC));
  if (!instance) return fail(errno);
  for (std::size_t at = 0; at < watches_.size(); ++at) {
    Watch& watch = watches_[at];
    const auto fd = static_cast<int>(at);
    if (!watch.registered) continue;
    const int error = watch.first == Request::none
                          ? EBADF
                          : control(instance.get(), EPOLL_CTL_ADD, fd, watch.events, watch.generation);
    if (error != 0 && error != EBADF) return fail(error);
    watch.registered = error == 0;
  }
  stale_ = false;
  return std::exchange(epoll_, std::move(instance));
}

}  // namespace vumedia::io::epoll
