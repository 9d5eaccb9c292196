// The io_uring reactor: the default loop, with one system call for each wake-up.
//
// What handlers start (re-armed reads, replies, event fd signals) is only written into the submission queue.
// One io_uring_enter then submits all of it and waits; all completions that it returns are gathered into a
// list before the first handler runs, so that a handler may cancel or destroy any other operation, even a
// completed one.
//
// The laws are those of io/reactor.hpp. Needs Linux 5.19; from 6.1 on completions are processed in our own
// calls only (DEFER_TASKRUN) instead of interrupting the thread. Its parts are in io/uring/.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/receive_operation.hpp>
#include <vumedia/io/uring/notifier.hpp>
#include <vumedia/io/uring/requests.hpp>

namespace vumedia::io {

/// A Reactor (io/reactor.hpp) of one thread, with its own ring.
class UringReactor {
 public:
  using Notifier = uring::Notifier;  ///< signals event fds of peers
  using Counters = uring::Counters;  ///< what it has done since it was created

  /// Creates a ring for the calling thread, which must also run and destroy it. `entries` bounds what one
  /// system call submits, not what may be pending: a full queue is submitted early.
  [[nodiscard]] static Outcome<std::unique_ptr<UringReactor>> create(unsigned entries = 128) {
    return make(entries, false);
  }
  /// One whose completions another loop waits for, on fd(). It takes a little more of the processor.
  [[nodiscard]] static Outcome<std::unique_ptr<UringReactor>> create_for_other_loop(unsigned entries = 128) {
    return make(entries, true);
  }

  UringReactor(const UringReactor&) = delete;
  UringReactor& operator=(const UringReactor&) = delete;

  /// The owner has to end all its operations and notifiers before this. If some are still pending against
  /// that rule, the kernel is made to release their memory, and what they own is released; their handlers are
  /// not called.
  ~UringReactor() { inbox_->close(); }

  /// At most 2 GiB minus a page are transferred at once. Files that have a position are used at that
  /// position.
  void read(Operation& operation, int fd, std::span<std::byte> in) noexcept {
    if (requests_.ring().full()) [[unlikely]]
      return read_with_room(operation, fd, in);
    io_uring_sqe* const sqe = requests_.next_sqe();
    io_uring_prep_read(sqe, fd, in.data(), transfer_size(in.size()), current_position);
    requests_.start(operation, sqe);
  }
  /// See Reactor.
  ///@{
  void write(Operation& operation, int fd, std::span<const std::byte> out) noexcept {
    io_uring_sqe* const sqe = requests_.next_sqe();
    io_uring_prep_write(sqe, fd, out.data(), transfer_size(out.size()), current_position);
    requests_.start(operation, sqe);
  }
  void receive(ReceiveOperation& operation, int fd, std::span<std::byte> in) noexcept {
    io_uring_sqe* const sqe = requests_.next_sqe();
    io_uring_prep_recvmsg(sqe, fd, &operation.prepare(in), MSG_CMSG_CLOEXEC);
    operation.lend_to(*this);
    requests_.start(operation, sqe, uring::Requests::Kind::owning);
  }
  void send(Operation& operation, int fd, msghdr& message) noexcept {
    io_uring_sqe* const sqe = requests_.next_sqe();
    io_uring_prep_sendmsg(sqe, fd, &message, MSG_NOSIGNAL);
    requests_.start(operation, sqe);
  }
  void poll(Operation& operation, int fd, unsigned events) noexcept {
    io_uring_sqe* const sqe = requests_.next_sqe();
    io_uring_prep_poll_add(sqe, fd, events);
    requests_.start(operation, sqe);
  }
  void timer(Operation& operation, TimePoint deadline) noexcept;

  void cancel(Operation& operation) noexcept { requests_.cancel(operation); }
  ///@}

  /// The way in from other threads; never null.
  [[nodiscard]] const std::shared_ptr<Inbox>& inbox() const noexcept { return inbox_; }

  /// Takes an event fd of a peer, blocking or not. EINVAL for anything else: a write to a pipe whose reader
  /// has gone would raise SIGPIPE in this process.
  [[nodiscard]] Result<Notifier> make_notifier(OwnedFd fd) noexcept {
    return Notifier::make(requests_, std::move(fd));
  }

  /// Success if `fd` is an event fd, otherwise EINVAL or EBADF. It may be signalled once.
  [[nodiscard]] Result<> check_event_fd(int fd) noexcept {
    return uring::check_event_fd(requests_.ring(), fd);
  }

  /// Runs handlers until stop(). An earlier stop() makes it return at once; each run consumes one stop. An
  /// error means that the kernel refuses io_uring_enter: EINVAL or EEXIST on a thread other than the one that
  /// created the ring, otherwise what a sandbox says. Nothing completes then; operations can be cancelled.
  [[nodiscard]] Result<> run() noexcept;

  /// Callable from any thread while the reactor exists. The handlers of the current batch still run.
  void stop() {
    stop_.store(true, std::memory_order_release);
    inbox_->post([] {});
  }

  /// One turn: submits, runs the handlers of what has completed, and returns how many ran. With `wait`, it
  /// waits for at least one completion, unless a signal interrupts. The inbox is served too. Errors are those
  /// of run().
  ///
  /// Another loop drives the reactor with this and fd(): before each wait it calls run_once(false) until that
  /// returns 0, which also submits what the handlers, or others on this thread, have started. Its wait may
  /// end with EINTR when a request completes.
  Result<std::size_t> run_once(bool wait) noexcept;
  /// For another loop to wait on: readable (POLLIN) when run_once(false) has something to do. What handlers
  /// start is submitted by the next call only, so wait only after a call that returned 0. It stays the
  /// reactor's. -1 if the reactor was not created for this.
  [[nodiscard]] int fd() const noexcept { return for_other_loop_ ? requests_.ring().fd() : -1; }

  /// Since it was created.
  [[nodiscard]] const Counters& counters() const noexcept { return requests_.counters(); }
  /// What users of the loop share.
  [[nodiscard]] Turn& turn() noexcept { return turn_; }

 private:
  static constexpr std::uint64_t current_position = ~std::uint64_t{0};

  UringReactor(std::shared_ptr<Inbox> inbox, bool for_other_loop)
      : inbox_(std::move(inbox)), for_other_loop_(for_other_loop) {}
  [[nodiscard]] static Outcome<std::unique_ptr<UringReactor>> make(unsigned entries, bool for_other_loop);

  [[nodiscard]] static unsigned transfer_size(std::size_t size) noexcept {
    return static_cast<unsigned>(std::min<std::size_t>(size, 0x7ffff000));
  }
  // A separate function, so that the usual read calls nothing.
  [[gnu::cold, gnu::noinline]] void read_with_room(Operation& operation, int fd,
                                                   std::span<std::byte> in) noexcept {
    requests_.make_room();
    read(operation, fd, in);
  }
  [[nodiscard]] int take_turn(unsigned wait_for, std::size_t& count) noexcept;

  void arm_inbox() noexcept;
  void on_inbox(std::int32_t result) noexcept;

  std::atomic<bool> stop_{false};
  Turn turn_;
  std::shared_ptr<Inbox> inbox_;
  const bool for_other_loop_;
  std::uint64_t inbox_count_ = 0;
  MemberOperation<&UringReactor::on_inbox> inbox_read_{*this};
  uring::Requests requests_;  // last: it ends before the memory that the kernel uses
};

inline Outcome<std::unique_ptr<UringReactor>> UringReactor::make(unsigned entries, bool for_other_loop) {
  auto inbox = Inbox::create();
  if (!inbox) return system_failure(inbox.error().value, "cannot create an event fd");
  std::unique_ptr<UringReactor> reactor(new UringReactor(std::move(*inbox), for_other_loop));
  if (auto opened = reactor->requests_.open(entries, for_other_loop); !opened)
    return std::unexpected(std::move(opened.error()));
  return reactor;
}

inline void UringReactor::timer(Operation& operation, TimePoint deadline) noexcept {
  using std::chrono::nanoseconds;
  // The kernel refuses negative times.
  const std::int64_t time =
      std::max<std::int64_t>(std::chrono::duration_cast<nanoseconds>(deadline.time_since_epoch()).count(), 0);
  io_uring_sqe* const sqe = requests_.next_sqe();
  __kernel_timespec& slot = requests_.ring().deadline_of(sqe);
  slot.tv_sec = time / 1'000'000'000;
  slot.tv_nsec = time % 1'000'000'000;
  io_uring_prep_timeout(sqe, &slot, 0, IORING_TIMEOUT_ABS);
  requests_.start(operation, sqe, uring::Requests::Kind::timer);
}

inline Result<> UringReactor::run() noexcept {
  arm_inbox();
  std::size_t count = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    if (const int error = take_turn(1, count); error != 0) [[unlikely]]
      return fail(error);
  }
  stop_.store(false, std::memory_order_relaxed);
  // Replies and signals of the last handlers must not wait for the next run.
  if (requests_.ring().queued() > 0) requests_.submit();
  return {};
}

inline Result<std::size_t> UringReactor::run_once(bool wait) noexcept {
  std::size_t count = 0;
  if (const int error = take_turn(wait ? 1 : 0, count); error != 0) [[unlikely]]
    return fail(error);
  return count;
}

// Returns 0, and how many handlers ran, or an errno.
[[gnu::always_inline]] inline int UringReactor::take_turn(unsigned wait_for, std::size_t& count) noexcept {
  arm_inbox();
  turn_.spent = turn_.spent_on_left = 0;
  return requests_.take_turn(wait_for, count);
}

inline void UringReactor::arm_inbox() noexcept {
  if (!inbox_read_.pending())
    read(inbox_read_, inbox_->fd(), std::as_writable_bytes(std::span(&inbox_count_, 1)));
}

inline void UringReactor::on_inbox(std::int32_t result) noexcept {
  arm_inbox();
  if (result > 0) inbox_->run_woken();
}

static_assert(Reactor<UringReactor>);

}  // namespace vumedia::io
