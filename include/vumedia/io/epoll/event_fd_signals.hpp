// How event fds of peers are signalled without io_uring, and how they are told from other files.
//
// A write waits while the counter is full, unless the descriptor has O_NONBLOCK, and that flag is shared with
// the peer, who may clear it. The kernel's asynchronous I/O can signal an event fd when a request of it
// completes, and that never waits: a full counter stays full. So a signal is a request that completes at
// once. Several take one system call.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::io::epoll {

/// A signal that may be due. Its event fd stays open while it is.
struct Signal : ListHook<Signal> {
  int event_fd = -1;  ///< borrowed
};

/// Used by one thread.
class EventFdSignals {
 public:
  EventFdSignals() = default;
  EventFdSignals(const EventFdSignals&) = delete;
  EventFdSignals& operator=(const EventFdSignals&) = delete;
  ~EventFdSignals() {
    if (context_ != 0) ::syscall(SYS_io_destroy, context_);
  }

  /// Without asynchronous I/O, which a sandbox or its system-wide limit may refuse, event fds with O_NONBLOCK
  /// can be signalled still, by writing to them.
  [[nodiscard]] Result<> open() noexcept {
    auto ready = make_event_fd();
    if (!ready) return std::unexpected(ready.error());
    ready_ = std::move(*ready);
    if (::syscall(SYS_io_setup, most_at_once, &context_) != 0) {
      refusal_ = errno;
      context_ = 0;
      return {};
    }
    auto scratch = make_event_fd();
    if (!scratch) return std::unexpected(scratch.error());
    refusal_ = try_signal(scratch->get());
    if (refusal_ != 0) ::syscall(SYS_io_destroy, std::exchange(context_, 0));
    return {};
  }

  /// Whether `fd`, an event fd, can be signalled: fails with what the kernel says to asynchronous I/O.
  [[nodiscard]] Result<> check_signal(int fd) const noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) return fail(errno);
    if (context_ == 0 && (flags & O_NONBLOCK) == 0) return fail(refusal_);
    return {};
  }
  /// Success if `fd` is an event fd, otherwise EINVAL or EBADF. It is signalled once where there is no /proc.
  [[nodiscard]] Result<> check_event_fd(int fd) noexcept;

  /// Takes note of a signal, which is linked until it is sent.
  void add(Signal& signal) noexcept { due_.push_back(signal); }
  /// Sends all that are due, those of one event fd together or apart.
  void flush() noexcept {
    if (!due_.empty()) send_due();
  }
  /// Whether flush() has left some, for which the kernel has no memory at present.
  [[nodiscard]] bool has_due() const noexcept { return !due_.empty(); }
  /// System calls made to send.
  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_; }

 private:
  static constexpr std::size_t most_at_once = 64;

  // The memory that a context shares with us, at the address that is its name.
  struct SharedRing {
    unsigned id;
    unsigned size;
    unsigned head;  // ours
    unsigned tail;
    unsigned magic;
  };

  [[nodiscard]] iocb request(int event_fd) const noexcept {
    iocb request{};
    request.aio_lio_opcode = IOCB_CMD_POLL;
    request.aio_fildes = static_cast<std::uint32_t>(ready_.get());
    request.aio_buf = POLLOUT;
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = static_cast<std::uint32_t>(event_fd);
    return request;
  }
  // Returns how many the kernel took, or a negative errno.
  [[nodiscard]] long submit(iocb** requests, std::size_t count) noexcept {
    ++calls_;
    const long taken = ::syscall(SYS_io_submit, context_, count, requests);
    return taken < 0 ? -errno : taken;
  }
  // A sandbox may allow that a context is made, and no request. Returns 0 if `event_fd`, which is at 0, was
  // signalled, or an errno.
  [[nodiscard]] int try_signal(int event_fd) const noexcept {
    iocb signal = request(event_fd);
    iocb* requests[] = {&signal};
    const long taken = ::syscall(SYS_io_submit, context_, 1L, requests);
    if (taken < 0) return errno;
    std::uint64_t count = 0;
    if (::read(event_fd, &count, sizeof count) != ssize_t{sizeof count} || count != 1) return EOPNOTSUPP;
    return 0;
  }
  void send_due() noexcept;
  void drop_completions() noexcept;

  OwnedFd ready_;  // always writable
  aio_context_t context_ = 0;
  int refusal_ = 0;
  std::uint64_t calls_ = 0;
  IntrusiveList<Signal> due_;
};

inline Result<> EventFdSignals::check_event_fd(int fd) noexcept {
  if (::fcntl(fd, F_GETFD) < 0) return fail(errno);
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  std::array<char, 64> target{};
  const ssize_t length = ::readlink(path, target.data(), target.size());
  if (length > 0) {
    const std::string_view name(target.data(), static_cast<std::size_t>(length));
    return name == "anon_inode:[eventfd]" ? Result<>() : fail(EINVAL);
  }
  if (context_ == 0) return fail(EINVAL);
  iocb signal = request(fd);
  iocb* requests[] = {&signal};
  drop_completions();
  const long taken = submit(requests, 1);
  if (taken < 0) return fail(static_cast<int>(-taken));
  return {};
}

inline void EventFdSignals::send_due() noexcept {
  while (!due_.empty()) {
    if (context_ == 0) [[unlikely]] {
      const std::uint64_t one = 1;
      ++calls_;
      // A full counter refuses it; its reader has enough to wake up for.
      [[maybe_unused]] const auto written = ::write(due_.pop_front()->event_fd, &one, sizeof one);
      continue;
    }
    std::array<iocb, most_at_once> bodies;
    std::array<iocb*, most_at_once> requests;
    std::size_t count = 0;
    for (Signal* each = due_.front(); each != nullptr && count < most_at_once; each = due_.after(*each)) {
      bodies[count] = request(each->event_fd);
      requests[count] = &bodies[count];
      ++count;
    }
    drop_completions();
    const long taken = submit(requests.data(), count);
    // EAGAIN: the kernel is short of memory. The rest is sent in the next turn.
    if (taken == -EAGAIN || taken == -ENOMEM) return;
    // One that it refuses for another reason cannot be sent at all.
    for (long i = 0; i < (taken > 0 ? taken : 1); ++i) static_cast<void>(due_.pop_front());
  }
}

// What io_getevents would do, without the system call. All have completed when io_submit returns.
inline void EventFdSignals::drop_completions() noexcept {
  constexpr unsigned known_layout = 0xa10a10a1;
  auto* const ring = reinterpret_cast<SharedRing*>(context_);  // NOLINT(performance-no-int-to-ptr)
  if (ring->magic == known_layout) [[likely]] {
    const unsigned tail = std::atomic_ref(ring->tail).load(std::memory_order_acquire);
    std::atomic_ref(ring->head).store(tail, std::memory_order_release);
    return;
  }
  std::array<io_event, most_at_once> events;
  timespec now{};
  ::syscall(SYS_io_getevents, context_, 0, events.size(), events.data(), &now);
}

}  // namespace vumedia::io::epoll
