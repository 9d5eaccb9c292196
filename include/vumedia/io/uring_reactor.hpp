// The io_uring reactor: the default loop, with one system call for each wake-up.
//
// What handlers start (re-armed reads, replies, event fd signals) is only written into the submission queue.
// One io_uring_enter then submits all of it and waits; all completions that it returns are gathered into a
// list before the first handler runs, so that a handler may cancel or destroy any other operation, even a
// completed one.
//
// The laws are those of io/reactor.hpp. Needs Linux 5.19; from 6.1 on completions are processed in our own
// calls only (DEFER_TASKRUN) instead of interrupting the thread.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/receive_operation.hpp>

namespace vumedia::io {

class UringReactor {
 public:
  class Notifier;

  struct Counters {
    std::uint64_t enters = 0;       // io_uring_enter calls
    std::uint64_t completions = 0;  // operations completed or cancelled
    std::uint64_t signals = 0;      // event fd signals queued, after coalescing
  };

  // Creates a ring for the calling thread, which must also run and destroy it. `entries` bounds what one
  // system call submits, not what may be pending: a full queue is submitted early.
  [[nodiscard]] static Outcome<std::unique_ptr<UringReactor>> create(unsigned entries = 128) {
    return make(entries, false);
  }
  // One whose completions another loop waits for, on fd(). It takes a little more of the processor.
  [[nodiscard]] static Outcome<std::unique_ptr<UringReactor>> create_for_other_loop(unsigned entries = 128) {
    return make(entries, true);
  }

  UringReactor(const UringReactor&) = delete;
  UringReactor& operator=(const UringReactor&) = delete;

  // The owner has to end all its operations and notifiers before this. If some are still pending against that
  // rule, the kernel is made to release their memory, and what they own is released; their handlers are not
  // called.
  ~UringReactor();

  // At most 2 GiB minus a page are transferred at once. Files that have a position are used at that position.
  void read(Operation& operation, int fd, std::span<std::byte> in) noexcept {
    if (full()) [[unlikely]]
      return read_with_room(operation, fd, in);
    io_uring_sqe* const sqe = next_sqe();
    io_uring_prep_read(sqe, fd, in.data(), transfer_size(in.size()), current_position);
    start(operation, sqe);
  }
  void write(Operation& operation, int fd, std::span<const std::byte> out) noexcept {
    io_uring_sqe* const sqe = next_sqe();
    io_uring_prep_write(sqe, fd, out.data(), transfer_size(out.size()), current_position);
    start(operation, sqe);
  }
  void receive(ReceiveOperation& operation, int fd, std::span<std::byte> in) noexcept {
    io_uring_sqe* const sqe = next_sqe();
    io_uring_prep_recvmsg(sqe, fd, &operation.prepare(in), MSG_CMSG_CLOEXEC);
    operation.lend_to(*this);
    start(operation, sqe, owning_tag);
  }
  void send(Operation& operation, int fd, msghdr& message) noexcept {
    io_uring_sqe* const sqe = next_sqe();
    io_uring_prep_sendmsg(sqe, fd, &message, MSG_NOSIGNAL);
    start(operation, sqe);
  }
  void poll(Operation& operation, int fd, unsigned events) noexcept {
    io_uring_sqe* const sqe = next_sqe();
    io_uring_prep_poll_add(sqe, fd, events);
    start(operation, sqe);
  }
  void timer(Operation& operation, TimePoint deadline) noexcept;

  void cancel(Operation& operation) noexcept;

  [[nodiscard]] const std::shared_ptr<Inbox>& inbox() const noexcept { return inbox_; }

  // Takes an event fd of a peer, blocking or not. EINVAL for anything else: a write to a pipe whose reader
  // has gone would raise SIGPIPE in this process.
  [[nodiscard]] Result<Notifier> make_notifier(OwnedFd fd) noexcept;

  // Success if `fd` is an event fd, otherwise EINVAL or EBADF. It may be signalled once.
  [[nodiscard]] Result<> check_event_fd(int fd) noexcept;

  // Runs handlers until stop(). An earlier stop() makes it return at once; each run consumes one stop. An
  // error means that the kernel refuses io_uring_enter: EINVAL or EEXIST on a thread other than the one that
  // created the ring, otherwise what a sandbox says. Nothing completes then; operations can be cancelled.
  [[nodiscard]] Result<> run() noexcept;

  // Callable from any thread while the reactor exists. The handlers of the current batch still run.
  void stop() {
    stop_.store(true, std::memory_order_release);
    inbox_->post([] {});
  }

  // One turn: submits, runs the handlers of what has completed, and returns how many ran. With `wait`, it
  // waits for at least one completion, unless a signal interrupts. The inbox is served too. Errors are those
  // of run().
  //
  // Another loop drives the reactor with this and fd(): before each wait it calls run_once(false) until that
  // returns 0, which also submits what the handlers, or others on this thread, have started. Its wait may end
  // with EINTR when a request completes.
  Result<std::size_t> run_once(bool wait) noexcept;
  // For another loop to wait on: readable (POLLIN) when run_once(false) has something to do. What handlers
  // start is submitted by the next call only, so wait only after a call that returned 0. It stays the
  // reactor's. -1 if the reactor was not created for this.
  [[nodiscard]] int fd() const noexcept { return for_other_loop_ ? ring_.ring_fd : -1; }

  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
  [[nodiscard]] Turn& turn() noexcept { return turn_; }

 private:
  // Bits of user_data next to the pointer to the Operation; a user_data of 0 is a request nobody waits for.
  static constexpr std::uint64_t timer_tag = 1;
  static constexpr std::uint64_t owning_tag = 2;  // an OwningOperation
  static constexpr std::uint64_t tag_mask = 7;
  static_assert(alignof(Operation) > tag_mask);
  static constexpr std::uint64_t current_position = ~std::uint64_t{0};
  // The value written to an event fd. The kernel may read it at any time until it has taken the request.
  static constexpr std::uint64_t one = 1;

  // A completion as it is to be told.
  struct Completed {
    Operation* operation;  // null: none
    std::int32_t result;
  };

  explicit UringReactor(std::shared_ptr<Inbox> inbox) : inbox_(std::move(inbox)) {}
  [[nodiscard]] static Outcome<std::unique_ptr<UringReactor>> make(unsigned entries, bool for_other_loop);
  [[nodiscard]] int open_ring(unsigned entries) noexcept;

  [[nodiscard]] static unsigned transfer_size(std::size_t size) noexcept {
    return static_cast<unsigned>(std::min<std::size_t>(size, 0x7ffff000));
  }

  // Returns a free entry of the submission queue, and submits first if there is none.
  [[nodiscard]] io_uring_sqe* next_sqe() noexcept {
    if (full()) [[unlikely]]
      make_room();
    return &ring_.sq.sqes[ring_.sq.sqe_tail++ & ring_.sq.ring_mask];
  }
  [[gnu::cold, gnu::noinline]] void make_room() noexcept {
    while (full()) {
      if (submit() != 0) return forget_queued();
    }
  }
  // A separate function, so that the usual read calls nothing.
  [[gnu::cold, gnu::noinline]] void read_with_room(Operation& operation, int fd,
                                                   std::span<std::byte> in) noexcept {
    make_room();
    read(operation, fd, in);
  }
  // Requests in the submission queue that the kernel has not taken.
  [[nodiscard]] unsigned queued() const noexcept { return ring_.sq.sqe_tail - submission_head_; }
  [[nodiscard]] bool full() const noexcept { return queued() >= ring_.sq.ring_entries; }
  void start(Operation& operation, io_uring_sqe* sqe, std::uint64_t tag = 0) noexcept {
    assert(!operation.pending());
    // The tag is kept for cancel(), which has to name the request by its complete user_data.
    operation.start(static_cast<std::int32_t>(tag));
    io_uring_sqe_set_data64(sqe, reinterpret_cast<std::uintptr_t>(&operation) | tag);
    ++outstanding_;
  }
  // Nobody waits for this request, and only its failure produces a completion.
  static void start_unattended(io_uring_sqe* sqe) noexcept {
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data64(sqe, 0);
  }

  // Returns 0, or the errno with which the kernel refuses.
  [[gnu::noinline]] int submit(unsigned wait_for = 0) noexcept {
    const int error = enter(wait_for);
    gather();
    return error;
  }
  void forget_queued() noexcept;
  void end_all() noexcept;
  [[gnu::cold]] void cancel_by_force(Operation& operation, std::uint64_t key) noexcept;
  [[nodiscard]] int take_turn(unsigned wait_for, std::size_t& count) noexcept;
  [[nodiscard]] int enter(unsigned wait_for) noexcept;
  [[nodiscard, gnu::cold]] static int enter_error(int error) noexcept;
  void gather() noexcept;
  [[nodiscard]] Completed take_only_one() noexcept;
  [[nodiscard]] Completed completed(const io_uring_cqe& cqe) noexcept;
  std::size_t run_ready() noexcept;
  [[nodiscard]] bool withdraw(Operation& operation) noexcept;

  void arm_inbox() noexcept;
  void on_inbox(std::int32_t result) noexcept;

  io_uring ring_{};
  unsigned enter_flags_ = IORING_ENTER_GETEVENTS;
  bool open_ = false;
  bool closing_ = false;   // completions are only counted, except those of operations that own what came
  bool dropping_ = false;  // and these as well
  std::atomic<bool> stop_{false};
  OperationList ready_;
  // Requests of the submission queue that the kernel has taken so far.
  std::uint64_t taken_ = 0;
  unsigned submission_head_ = 0;
  // Operations that are submitted or about to be, and have not completed.
  std::size_t outstanding_ = 0;
  Turn turn_;
  bool for_other_loop_ = false;
  Counters counters_;
  // One for each slot of the submission queue: the kernel copies it when it takes the request.
  std::unique_ptr<__kernel_timespec[]> deadlines_;
  std::shared_ptr<Inbox> inbox_;
  std::uint64_t inbox_count_ = 0;
  MemberOperation<&UringReactor::on_inbox> inbox_read_{*this};
};

// Signals travel with the reactor's next submission. How depends on the event fd, because a write to one that
// is not O_NONBLOCK is handed to a kernel thread, which a full counter would block:
//  - O_NONBLOCK: a write that must not wait. A full counter refuses it; its reader has enough to wake up for.
//  - otherwise: the event fd is registered with a small ring of its own; a message to that ring makes the
//    kernel signal the fd, which never waits (a full counter stays full).
// It is destroyed before its reactor, on the reactor's thread.
class UringReactor::Notifier {
 public:
  Notifier() = default;
  Notifier(Notifier&& other) noexcept
      : reactor_(std::exchange(other.reactor_, nullptr)),
        fd_(std::move(other.fd_)),
        ring_(std::move(other.ring_)),
        request_(other.request_),
        last_signal_(other.last_signal_) {}
  Notifier& operator=(Notifier&& other) noexcept {
    if (this != &other) {
      flush();
      reactor_ = std::exchange(other.reactor_, nullptr);
      fd_ = std::move(other.fd_);
      ring_ = std::move(other.ring_);
      request_ = other.request_;
      last_signal_ = other.last_signal_;
    }
    return *this;
  }
  ~Notifier() { flush(); }

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] explicit operator bool() const noexcept { return reactor_ != nullptr; }

  // Does nothing on an empty notifier.
  void signal() noexcept {
    if (reactor_ == nullptr || queued()) return;
    // Makes room for the message's completion; the kernel has signalled for all that are there.
    if (ring_ != nullptr) {
      const io_uring_cq& done = ring_->ring.cq;
      io_uring_smp_store_release(done.khead, io_uring_smp_load_acquire(done.ktail));
    }
    io_uring_sqe* const sqe = reactor_->next_sqe();
    std::memcpy(sqe, request_.data(), request_.size());
    last_signal_ = reactor_->taken_ + reactor_->queued();
    ++reactor_->counters_.signals;
  }

 private:
  friend class UringReactor;

  struct MessageRing {
    MessageRing() = default;
    MessageRing(const MessageRing&) = delete;
    MessageRing& operator=(const MessageRing&) = delete;
    ~MessageRing() {
      if (open) io_uring_queue_exit(&ring);
    }
    io_uring ring{};
    bool open = false;
  };

  Notifier(UringReactor& reactor, OwnedFd fd, std::unique_ptr<MessageRing> ring) noexcept
      : reactor_(&reactor), fd_(std::move(fd)), ring_(std::move(ring)) {
    io_uring_sqe sqe{};
    if (ring_ == nullptr) {
      io_uring_prep_write(&sqe, fd_.get(), &one, sizeof one, 0);
      sqe.rw_flags = RWF_NOWAIT;
    } else {
      io_uring_prep_msg_ring(&sqe, ring_->ring.ring_fd, 0, 0, 0);
    }
    start_unattended(&sqe);
    std::memcpy(request_.data(), &sqe, sizeof sqe);
  }

  // Whether the kernel has yet to take the last signal: until then no other signal is needed.
  [[nodiscard]] bool queued() const noexcept { return last_signal_ > reactor_->taken_; }

  // A request in the queue names descriptors by number. It has to be submitted before they are closed and
  // their numbers are reused.
  void flush() noexcept {
    while (reactor_ != nullptr && queued()) {
      if (reactor_->submit() != 0) return reactor_->forget_queued();
    }
  }

  UringReactor* reactor_ = nullptr;
  OwnedFd fd_;
  std::unique_ptr<MessageRing> ring_;
  std::array<std::byte, sizeof(io_uring_sqe)> request_{};  // the same for each signal
  // The position of the last signal among all requests so far, counted from 1.
  std::uint64_t last_signal_ = 0;
};

inline Outcome<std::unique_ptr<UringReactor>> UringReactor::make(unsigned entries, bool for_other_loop) {
  auto inbox = Inbox::create();
  if (!inbox) return system_failure(inbox.error().value, "cannot create an event fd");
  std::unique_ptr<UringReactor> reactor(new UringReactor(std::move(*inbox)));
  reactor->for_other_loop_ = for_other_loop;
  const int error = reactor->open_ring(entries);
  if (error == ENOSYS || error == EPERM)
    return system_failure(error, "io_uring is not available (see the sysctl kernel.io_uring_disabled)");
  if (error != 0) return system_failure(error, "cannot create an io_uring");
  constexpr unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_CQE_SKIP;
  if ((reactor->ring_.features & needed) != needed)
    return failure("the io_uring of this kernel is too old: Linux 5.19 or newer is needed");
  // Saves each call the look-up of the ring's descriptor; without it everything else still works.
  if (io_uring_register_ring_fd(&reactor->ring_) == 1) reactor->enter_flags_ |= IORING_ENTER_REGISTERED_RING;
  // Where the kernel wants a queue of indices in front of the entries, the indices are always in order.
  if (unsigned* const indices = reactor->ring_.sq.array) {
    for (unsigned i = 0; i < reactor->ring_.sq.ring_entries; ++i) indices[i] = i;
  }
  reactor->deadlines_ = std::make_unique<__kernel_timespec[]>(reactor->ring_.sq.ring_entries);
  return reactor;
}

// Returns 0 or an errno.
inline int UringReactor::open_ring(unsigned entries) noexcept {
  // These need Linux 6.1, 6.0, 5.19 and 5.18. An older kernel refuses flags that it does not know.
  constexpr unsigned base = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
  constexpr unsigned wanted[] = {
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
      base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
      base | IORING_SETUP_SUBMIT_ALL,
  };
  int result = -EINVAL;
  for (const unsigned flags : wanted) {
    // With it the ring's descriptor does not become readable while its thread waits elsewhere, and a
    // registered event fd is signalled by other event fds only once (seen with Linux 6.18).
    if (for_other_loop_ && (flags & IORING_SETUP_DEFER_TASKRUN) != 0) continue;
    io_uring_params parameters{};
    parameters.flags = flags;
    parameters.cq_entries = std::max(entries, 1U) * 4;
    result = io_uring_queue_init_params(std::max(entries, 1U), &ring_, &parameters);
    if (result != -EINVAL) break;
  }
  open_ = result == 0;
  return -result;
}

inline UringReactor::~UringReactor() {
  inbox_->close();
  if (!open_) return;
  while (Operation* const operation = ready_.pop_front()) operation->cancelled();
  if (outstanding_ > 0) end_all();
  io_uring_queue_exit(&ring_);
}

// From here on completions are only counted, except those of operations that own what came: the others may
// have been destroyed.
inline void UringReactor::end_all() noexcept {
  closing_ = true;
  io_uring_sqe* const sqe = next_sqe();
  io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  start_unattended(sqe);
  while (outstanding_ > 0 && submit(1) == 0) {
  }
}

inline void UringReactor::timer(Operation& operation, TimePoint deadline) noexcept {
  using std::chrono::nanoseconds;
  // The kernel refuses negative times.
  const std::int64_t time =
      std::max<std::int64_t>(std::chrono::duration_cast<nanoseconds>(deadline.time_since_epoch()).count(), 0);
  io_uring_sqe* const sqe = next_sqe();
  __kernel_timespec& slot = deadlines_[static_cast<std::size_t>(sqe - ring_.sq.sqes)];
  slot.tv_sec = time / 1'000'000'000;
  slot.tv_nsec = time % 1'000'000'000;
  io_uring_prep_timeout(sqe, &slot, 0, IORING_TIMEOUT_ABS);
  start(operation, sqe, timer_tag);
}

inline void UringReactor::cancel(Operation& operation) noexcept {
  if (!operation.pending()) return;
  if (!operation.has_arrived()) {
    if (withdraw(operation)) return operation.cancelled();
    const std::uint64_t key =
        reinterpret_cast<std::uintptr_t>(&operation) | static_cast<std::uint64_t>(operation.note());
    // This may submit and gather the very completion that we wait for; the cancel request then finds nothing.
    // It cannot hit a later start of the same operation, because requests are taken in order.
    io_uring_sqe* const sqe = next_sqe();
    io_uring_prep_cancel64(sqe, key, 0);
    start_unattended(sqe);
    while (!operation.has_arrived()) {
      if (submit(1) != 0) return cancel_by_force(operation, key);
    }
  }
  ready_.remove(operation);
  operation.cancelled();
}

// For when the kernel refuses io_uring_enter: it may still grant this other way, which does not return before
// it has done so. If not, it uses the operation's memory until the ring is closed.
inline void UringReactor::cancel_by_force(Operation& operation, std::uint64_t key) noexcept {
  forget_queued();
  io_uring_sync_cancel_reg request{};
  request.addr = key;
  request.fd = -1;
  request.timeout.tv_sec = request.timeout.tv_nsec = -1;
  static_cast<void>(io_uring_register_sync_cancel(&ring_, &request));
  gather();
  if (operation.has_arrived()) {
    ready_.remove(operation);
  } else {
    // It may be gone when its completion comes after all.
    closing_ = dropping_ = true;
  }
  operation.cancelled();
}

// Takes back an operation whose request is still in the submission queue.
inline bool UringReactor::withdraw(Operation& operation) noexcept {
  const std::uint64_t pointer = reinterpret_cast<std::uintptr_t>(&operation);
  const unsigned waiting = queued();
  for (unsigned i = 1; i <= waiting; ++i) {
    io_uring_sqe* const sqe = &ring_.sq.sqes[(ring_.sq.sqe_tail - i) & ring_.sq.ring_mask];
    if ((sqe->user_data & ~tag_mask) != pointer) continue;
    io_uring_prep_nop(sqe);
    start_unattended(sqe);
    --outstanding_;
    return true;
  }
  return false;
}

// Only event fds can be registered to be signalled by completions; no other check works without /proc.
inline Result<> UringReactor::check_event_fd(int fd) noexcept {
  const int error = -io_uring_register_eventfd(&ring_, fd);
  if (error != 0) return fail(error);
  io_uring_unregister_eventfd(&ring_);
  return {};
}

inline Result<UringReactor::Notifier> UringReactor::make_notifier(OwnedFd fd) noexcept {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0) return fail(errno);
  if ((flags & O_NONBLOCK) != 0) {
    const auto checked = check_event_fd(fd.get());
    if (!checked) return std::unexpected(checked.error());
    return Notifier(*this, std::move(fd), nullptr);
  }
  std::unique_ptr<Notifier::MessageRing> ring(new (std::nothrow) Notifier::MessageRing);
  if (ring == nullptr) return fail(ENOMEM);
  int error = -io_uring_queue_init(1, &ring->ring, 0);
  if (error != 0) return fail(error);
  ring->open = true;
  error = -io_uring_register_eventfd(&ring->ring, fd.get());
  if (error != 0) return fail(error);
  return Notifier(*this, std::move(fd), std::move(ring));
}

// One system call: publishes what is in the submission queue, waits for that many completions, and notes what
// the kernel has taken. Returns 0 or an errno. It replaces io_uring_submit_and_wait, which does the same in
// three times the instructions.
[[gnu::always_inline]] inline int UringReactor::enter(unsigned wait_for) noexcept {
  const unsigned to_submit = queued();
  ring_.sq.sqe_head = ring_.sq.sqe_tail;
  io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);
  const int result =
      io_uring_enter(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, wait_for, enter_flags_, nullptr);
  ++counters_.enters;
  const unsigned head = *ring_.sq.khead;  // moves in our calls only: there is no polling kernel thread
  taken_ += head - submission_head_;
  submission_head_ = head;
  return result < 0 ? enter_error(-result) : 0;
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
  if (queued() > 0) submit();
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
  if (!ready_.empty()) [[unlikely]] {
    const int error = submit();
    count = run_ready();
    return error;
  }
  if (const int error = enter(wait_for); error != 0) [[unlikely]]
    return error;
  const auto [operation, result] = take_only_one();
  if (operation == nullptr) [[unlikely]] {
    gather();
    count = run_ready();
    return 0;
  }
  count = 1;
  operation->complete(result);
  return 0;
}

inline std::size_t UringReactor::run_ready() noexcept {
  std::size_t count = 0;
  while (Operation* const operation = ready_.pop_front()) {
    operation->deliver();
    ++count;
  }
  return count;
}

// EINTR: a signal ended the wait. EBUSY, EAGAIN: the kernel is short of memory or wants completions taken
// first. Anything else breaks the contract of thread or descriptor, or is a sandbox that forbids the call.
inline int UringReactor::enter_error(int error) noexcept {
  return error == EINTR || error == EBUSY || error == EAGAIN || error == ETIME ? 0 : error;
}

// For when the kernel refuses to take requests: those in the queue will not be carried out. Their operations
// stay pending.
inline void UringReactor::forget_queued() noexcept {
  taken_ += queued();
  ring_.sq.sqe_tail = ring_.sq.sqe_head = submission_head_;
  io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);
}

inline UringReactor::Completed UringReactor::completed(const io_uring_cqe& cqe) noexcept {
  ++counters_.completions;
  --outstanding_;
  const bool expired = (cqe.user_data & timer_tag) != 0 && cqe.res == -ETIME;
  return {reinterpret_cast<Operation*>(cqe.user_data & ~tag_mask), expired ? 0 : cqe.res};
}

// For use when nothing is left from before. Usually one operation has completed, and that needs no list.
// Otherwise it takes nothing.
[[gnu::always_inline]] inline UringReactor::Completed UringReactor::take_only_one() noexcept {
  const unsigned head = *ring_.cq.khead;
  if (io_uring_smp_load_acquire(ring_.cq.ktail) - head != 1) [[unlikely]]
    return {};
  const io_uring_cqe& cqe = ring_.cq.cqes[head & ring_.cq.ring_mask];
  if (cqe.user_data == 0) [[unlikely]]
    return {};
  const Completed only = completed(cqe);
  io_uring_smp_store_release(ring_.cq.khead, head + 1);
  return only;
}

// Gathers everything that has completed.
inline void UringReactor::gather() noexcept {
  const unsigned tail = io_uring_smp_load_acquire(ring_.cq.ktail);
  unsigned head = *ring_.cq.khead;
  for (; head != tail; ++head) {
    const io_uring_cqe& cqe = ring_.cq.cqes[head & ring_.cq.ring_mask];
    if (cqe.user_data == 0) continue;
    if (closing_ && (dropping_ || (cqe.user_data & owning_tag) == 0)) [[unlikely]] {
      --outstanding_;
      continue;
    }
    const auto [operation, result] = completed(cqe);
    operation->arrive(result);
    if (closing_) [[unlikely]]
      operation->cancelled();
    else
      ready_.push_back(*operation);
  }
  io_uring_smp_store_release(ring_.cq.khead, head);
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
