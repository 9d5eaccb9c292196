// The epoll reactor: a loop for where io_uring is forbidden, as in many containers, or too old.
//
// A command takes three system calls from kick to call: one that waits, one that reads the kick, and one that
// signals. A descriptor stays registered between the completion of an operation and the start of the next
// (io/epoll/watches.hpp), and signals are sent together (io/epoll/event_fd_signals.hpp). As with io_uring,
// all completions of a turn are gathered into a list before the first handler runs, so that a handler may
// cancel or destroy any other operation, even a completed one.
//
// The laws are those of io/reactor.hpp. Needs Linux 5.8; from 5.11 on timers are as exact as the clock,
// before that they round up to milliseconds.
#pragma once

#include <atomic>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/epoll/event_fd_signals.hpp>
#include <vumedia/io/epoll/notifier.hpp>
#include <vumedia/io/epoll/outer_loop.hpp>
#include <vumedia/io/epoll/request.hpp>
#include <vumedia/io/epoll/timers.hpp>
#include <vumedia/io/epoll/watches.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/receive_operation.hpp>

namespace vumedia::io {

/// A Reactor (io/reactor.hpp) of one thread, with its own epoll instance.
class EpollReactor {
 public:
  using Notifier = epoll::Notifier;  ///< signals event fds of peers

  /// What it has done since it was created.
  struct Counters {
    std::uint64_t waits = 0;        ///< epoll_wait calls
    std::uint64_t transfers = 0;    ///< reads, writes, receives and sends, including those that had to wait
    std::uint64_t changes = 0;      ///< epoll_ctl calls
    std::uint64_t signals = 0;      ///< calls that signal event fds, of which each may signal several
    std::uint64_t completions = 0;  ///< operations completed or cancelled
  };

  /// For the calling thread, which must also run and destroy it.
  [[nodiscard]] static Outcome<std::unique_ptr<EpollReactor>> create() { return make(false); }
  /// One whose completions another loop waits for, on fd().
  [[nodiscard]] static Outcome<std::unique_ptr<EpollReactor>> create_for_other_loop() { return make(true); }

  EpollReactor(const EpollReactor&) = delete;
  EpollReactor& operator=(const EpollReactor&) = delete;

  /// The owner has to end all its operations and notifiers before this. If some are still pending against
  /// that rule, what they own is released; their handlers are not called.
  ~EpollReactor();

  /// At most 2 GiB minus a page are transferred at once. Files that have a position are used at that
  /// position; regular files make the loop wait for their disk.
  void read(Operation& operation, int fd, std::span<std::byte> in) noexcept {
    // The usual read is that of a descriptor whose last one has just completed.
    transfer(
        operation,
        {.kind = Request::Kind::read, .fd = fd, .events = EPOLLIN, .memory = in.data(), .size = in.size()});
  }
  /// The limits are those of read().
  void write(Operation& operation, int fd, std::span<const std::byte> out) noexcept {
    // A write only reads, but shares its struct with a read.
    transfer(operation, {.kind = Request::Kind::write,
                         .fd = fd,
                         .events = EPOLLOUT,
                         .memory = const_cast<std::byte*>(out.data()),
                         .size = out.size()});
  }
  /// Descriptors that come are `operation`'s, with MSG_CMSG_CLOEXEC. See ReceiveOperation. EIO if nothing can
  /// be received and the socket has an error condition that stays; likewise for the other transfers.
  void receive(ReceiveOperation& operation, int fd, std::span<std::byte> in) noexcept {
    operation.lend_to(*this);
    transfer(operation,
             {.kind = Request::Kind::receive, .fd = fd, .events = EPOLLIN, .memory = &operation.prepare(in)});
  }
  /// As sendmsg(2) with MSG_NOSIGNAL; `message`, and what it points at, stays until the operation completes.
  void send(Operation& operation, int fd, msghdr& message) noexcept {
    transfer(operation, {.kind = Request::Kind::send, .fd = fd, .events = EPOLLOUT, .memory = &message});
  }
  /// One-shot poll(2) for `events` (POLLIN, ...); the result is the mask that was seen.
  void poll(Operation& operation, int fd, unsigned events) noexcept {
    wait_for(operation, {.kind = Request::Kind::poll, .fd = fd, .events = events});
  }
  /// Completes with 0 once `deadline` has passed.
  void timer(Operation& operation, TimePoint deadline) noexcept;

  /// The handler of `operation` will not run: it is idle at return. Does nothing if it is not pending.
  void cancel(Operation& operation) noexcept;

  /// The way in from other threads; never null.
  [[nodiscard]] const std::shared_ptr<Inbox>& inbox() const noexcept { return inbox_; }

  /// Takes an event fd of a peer. EINVAL for anything else. One without O_NONBLOCK needs the kernel's
  /// asynchronous I/O: where that is refused, so is this, with the same errno.
  [[nodiscard]] Result<Notifier> make_notifier(OwnedFd fd) noexcept {
    return Notifier::make(signals_, std::move(fd));
  }
  /// Success if `fd` is an event fd, otherwise EINVAL or EBADF. It is signalled once where there is no /proc.
  [[nodiscard]] Result<> check_event_fd(int fd) noexcept { return signals_.check_event_fd(fd); }

  /// Runs handlers until stop(). An earlier stop() makes it return at once; each run consumes one stop. An
  /// error means that the kernel, or a sandbox, refuses to wait. Operations can be cancelled then.
  [[nodiscard]] Result<> run() noexcept;

  /// Callable from any thread while the reactor exists. The handlers of the current batch still run.
  void stop() {
    stop_.store(true, std::memory_order_release);
    inbox_->post([] {});
  }

  /// One turn: sends signals, runs the handlers of what has completed, and returns how many ran. With `wait`,
  /// it waits for at least one completion, unless a signal interrupts, or event fds could not be signalled
  /// for want of memory and are to be tried again. The inbox is served too. Errors are those of run().
  ///
  /// Another loop drives the reactor with this and fd(): before each wait it calls run_once(false) until that
  /// returns 0.
  Result<std::size_t> run_once(bool wait) noexcept;
  /// For another loop to wait on: readable (POLLIN) when run_once(false) has something to do; so wait only
  /// after a call that returned 0. It stays the reactor's. -1 if the reactor was not created for this.
  [[nodiscard]] int fd() const noexcept { return outer_.fd(); }

  /// Since it was created.
  [[nodiscard]] Counters counters() const noexcept {
    Counters all = counters_;
    all.changes = watches_.changes();
    all.signals = signals_.calls();
    return all;
  }
  /// What users of the loop share.
  [[nodiscard]] Turn& turn() noexcept { return turn_; }

 private:
  using Request = epoll::Request;

  explicit EpollReactor(std::shared_ptr<Inbox> inbox) : inbox_(std::move(inbox)) {}
  [[nodiscard]] static Outcome<std::unique_ptr<EpollReactor>> make(bool for_other_loop);

  void transfer(Operation& operation, Request request) noexcept;
  void wait_for(Operation& operation, Request request) noexcept;
  [[nodiscard]] std::int32_t try_transfer(const Request& request, epoll::Readiness readiness) noexcept {
    ++counters_.transfers;
    return epoll::transfer(request, readiness);
  }
  // Ends what has just been started; it is told later.
  void finish(Operation& operation, std::int32_t result) noexcept {
    operation.arrive(result);
    ready_.push_back(operation);
  }

  [[nodiscard]] int take_turn(bool wait, std::size_t& count) noexcept;
  [[nodiscard]] int wait_for_events(bool wait) noexcept;
  [[nodiscard]] std::optional<TimePoint> next_turn() const noexcept;
  void gather() noexcept;
  void gather_timers() noexcept;
  std::size_t run_ready() noexcept;
  [[gnu::cold]] void close_stale() noexcept;

  void arm_inbox() noexcept;
  void on_inbox(std::int32_t result) noexcept;

  std::atomic<bool> stop_{false};
  epoll::RequestTable requests_;
  epoll::Watches watches_{requests_};
  epoll::Timers timers_{requests_};
  epoll::EventFdSignals signals_;
  epoll::OuterLoop outer_;
  OperationList ready_;    // completed, to be told in the next turn
  OperationList telling_;  // in this one
  Turn turn_;
  Counters counters_;
  std::shared_ptr<Inbox> inbox_;
  std::uint64_t inbox_count_ = 0;
  MemberOperation<&EpollReactor::on_inbox> inbox_read_{*this};
};

inline Outcome<std::unique_ptr<EpollReactor>> EpollReactor::make(bool for_other_loop) {
  auto inbox = Inbox::create();
  if (!inbox) return system_failure(inbox.error().value, "cannot create an event fd");
  std::unique_ptr<EpollReactor> reactor(new EpollReactor(std::move(*inbox)));
  Result<> opened = reactor->watches_.open();
  if (opened) opened = reactor->signals_.open();
  if (opened && for_other_loop) opened = reactor->outer_.open(reactor->watches_.fd());
  if (!opened) return system_failure(opened.error().value, "cannot create an epoll instance");
  return reactor;
}

inline EpollReactor::~EpollReactor() {
  inbox_->close();
  for (OperationList* const list : {&telling_, &ready_}) {
    while (Operation* const operation = list->pop_front()) operation->cancelled();
  }
  // The others may have been destroyed.
  requests_.for_each([](const Request& request) {
    if (request.kind == Request::Kind::receive) request.operation->cancelled();
  });
}

// A descriptor that is watched for this was found not ready, or has been used since, so only the others are
// tried at once.
inline void EpollReactor::transfer(Operation& operation, Request request) noexcept {
  if (!watches_.watches(request.fd, request.events)) {
    const std::int32_t result = try_transfer(request, epoll::Readiness::unknown);
    if (result != -EAGAIN) {
      operation.start();
      return finish(operation, result);
    }
  }
  wait_for(operation, request);
}

inline void EpollReactor::wait_for(Operation& operation, Request request) noexcept {
  assert(!operation.pending());
  request.operation = &operation;
  const std::uint32_t index = requests_.add(request);
  operation.start(static_cast<std::int32_t>(index));
  if (index == Request::none) [[unlikely]]
    return finish(operation, -ENOMEM);
  const Result<> added = watches_.add(index);
  if (added) [[likely]]
    return;
  requests_.remove(index);
  if (added.error().value != EPERM) return finish(operation, -added.error().value);
  // Its file is always ready.
  if (request.kind == Request::Kind::poll)
    return finish(operation,
                  static_cast<std::int32_t>(request.events & (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)));
  finish(operation, try_transfer(request, epoll::Readiness::always));
}

inline void EpollReactor::timer(Operation& operation, TimePoint deadline) noexcept {
  assert(!operation.pending());
  const std::uint32_t index =
      requests_.add({.operation = &operation, .kind = Request::Kind::timer, .deadline = deadline});
  operation.start(static_cast<std::int32_t>(index));
  if (index != Request::none && timers_.add(index)) [[likely]]
    return;
  if (index != Request::none) requests_.remove(index);
  finish(operation, -ENOMEM);
}

inline void EpollReactor::cancel(Operation& operation) noexcept {
  if (operation.pending() && !operation.has_arrived()) {
    const auto index = static_cast<std::uint32_t>(operation.note());
    const Request request = requests_[index];
    if (request.kind == Request::Kind::timer) {
      timers_.remove(index);
    } else {
      watches_.remove(index);
      watches_.settle(request.fd);
    }
    requests_.remove(index);
  }
  if (operation.pending()) {
    ++counters_.completions;
    OperationList::remove(operation);
    operation.cancelled();
  }
  // Its descriptor, or that of a handler that runs, may be closed now.
  watches_.settle_seen();
}

inline Result<> EpollReactor::run() noexcept {
  arm_inbox();
  std::size_t count = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    if (const int error = take_turn(true, count); error != 0) [[unlikely]]
      return fail(error);
  }
  stop_.store(false, std::memory_order_relaxed);
  // Signals of the last handlers must not wait for the next run.
  signals_.flush();
  return {};
}

inline Result<std::size_t> EpollReactor::run_once(bool wait) noexcept {
  std::size_t count = 0;
  if (const int error = take_turn(wait, count); error != 0) [[unlikely]]
    return fail(error);
  if (outer_.is_open()) outer_.set_deadline(next_turn());
  return count;
}

// Returns 0, and how many handlers ran, or an errno.
inline int EpollReactor::take_turn(bool wait, std::size_t& count) noexcept {
  arm_inbox();
  turn_.spent = turn_.spent_on_left = 0;
  signals_.flush();
  if (const int error = wait_for_events(wait && ready_.empty()); error != 0) [[unlikely]]
    return error;
  gather();
  gather_timers();
  count = run_ready();
  watches_.settle_seen();
  if (watches_.has_stale()) [[unlikely]]
    close_stale();
  return 0;
}

// When the next turn is due at the latest, if ever.
inline std::optional<TimePoint> EpollReactor::next_turn() const noexcept {
  std::optional<TimePoint> deadline = timers_.deadline();
  if (signals_.has_due()) [[unlikely]] {
    const TimePoint again = Clock::now() + std::chrono::milliseconds(1);
    if (!deadline || again < *deadline) deadline = again;
  }
  return deadline;
}

inline int EpollReactor::wait_for_events(bool wait) noexcept {
  ++counters_.waits;
  timespec timeout{};
  if (wait) {
    const std::optional<TimePoint> deadline = next_turn();
    if (!deadline) return watches_.wait(nullptr);
    const TimePoint now = Clock::now();
    // Does not overflow: the clock's times are not negative.
    const std::int64_t left =
        *deadline > now ? std::chrono::duration_cast<std::chrono::nanoseconds>(*deadline - now).count() : 0;
    timeout = {.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
  }
  return watches_.wait(&timeout);
}

inline void EpollReactor::gather() noexcept {
  watches_.for_each_ready([this](std::uint32_t index, std::uint32_t events) noexcept {
    const Request& request = requests_[index];
    events &= request.events | POLLERR | POLLHUP;
    if (events == 0) return;
    std::int32_t result = static_cast<std::int32_t>(events);
    if (request.kind != Request::Kind::poll) {
      result = try_transfer(request, epoll::Readiness::seen);
      if (result == -EAGAIN) {
        // Somebody else was faster, or the descriptor has a condition that no transfer takes away, such as a
        // socket's error queue, and would be found ready forever.
        if ((events & request.events) != 0 || !epoll::detail::is_ready(request.fd, 0)) return;
        result = -EIO;
      }
    }
    Operation& operation = *request.operation;
    watches_.remove(index);
    requests_.remove(index);
    finish(operation, result);
  });
}

inline void EpollReactor::gather_timers() noexcept {
  if (timers_.empty()) return;
  const TimePoint now = Clock::now();
  for (std::uint32_t index; (index = timers_.pop_due(now)) != Request::none;) {
    Operation& operation = *requests_[index].operation;
    requests_.remove(index);
    finish(operation, 0);
  }
}

// What handlers start may complete at once; its turn is the next one, so that the loop looks at all others in
// between.
inline std::size_t EpollReactor::run_ready() noexcept {
  while (Operation* const operation = ready_.pop_front()) telling_.push_back(*operation);
  std::size_t count = 0;
  while (Operation* const operation = telling_.pop_front()) {
    ++counters_.completions;
    operation->deliver();
    ++count;
  }
  return count;
}

inline void EpollReactor::close_stale() noexcept {
  // If there is no descriptor for it, the next turn tries again.
  const Result<OwnedFd> former = watches_.close_stale();
  if (former && outer_.is_open()) outer_.replace(former->get(), watches_.fd());
}

inline void EpollReactor::arm_inbox() noexcept {
  if (!inbox_read_.pending())
    read(inbox_read_, inbox_->fd(), std::as_writable_bytes(std::span(&inbox_count_, 1)));
}

inline void EpollReactor::on_inbox(std::int32_t result) noexcept {
  arm_inbox();
  if (result > 0) inbox_->run_woken();
}

static_assert(Reactor<EpollReactor>);

}  // namespace vumedia::io
