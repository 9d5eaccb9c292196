// The two queues of an io_uring, and the system call that moves both on. It knows nothing of operations.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <liburing.h>

#include <vumedia/core/result.hpp>

namespace vumedia::io::uring {

/// Used by one thread, which also opens it.
class Ring {
 public:
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    if (open_) io_uring_queue_exit(&ring_);
  }

  /// `entries` bounds what one system call submits. `for_other_loop`: see UringReactor.
  [[nodiscard]] Outcome<> open(unsigned entries, bool for_other_loop);
  /// Whether open() has succeeded.
  [[nodiscard]] bool is_open() const noexcept { return open_; }
  /// Readable when something has completed.
  [[nodiscard]] int fd() const noexcept { return ring_.ring_fd; }
  /// For calls of liburing that have nothing to do with the queues.
  [[nodiscard]] io_uring& handle() noexcept { return ring_; }

  // -- The submission queue

  /// Requests that the kernel has not taken.
  [[nodiscard]] unsigned queued() const noexcept { return ring_.sq.sqe_tail - head_; }
  /// Whether there is no free entry.
  [[nodiscard]] bool full() const noexcept { return queued() >= ring_.sq.ring_entries; }
  /// How many requests the kernel has taken so far.
  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_; }
  /// The position of the request that was added last, among all so far, counted from 1.
  [[nodiscard]] std::uint64_t last() const noexcept { return taken_ + queued(); }

  /// A free entry of a queue that is not full, to be filled before the next call of enter().
  [[nodiscard]] io_uring_sqe* add() noexcept {
    return &ring_.sq.sqes[ring_.sq.sqe_tail++ & ring_.sq.ring_mask];
  }
  /// The entry that was added `back` before the next one; 1 is the last, queued() the first.
  [[nodiscard]] io_uring_sqe* queued_entry(unsigned back) noexcept {
    return &ring_.sq.sqes[(ring_.sq.sqe_tail - back) & ring_.sq.ring_mask];
  }
  /// Memory for the deadline of the request in `entry`. The kernel copies it when it takes the request.
  [[nodiscard]] __kernel_timespec& deadline_of(const io_uring_sqe* entry) noexcept {
    return deadlines_[static_cast<std::size_t>(entry - ring_.sq.sqes)];
  }

  /// One system call: publishes what was added, waits for that many completions, and notes what the kernel
  /// has taken. Returns 0 or the errno with which the kernel refuses. It replaces io_uring_submit_and_wait,
  /// which does the same in three times the instructions.
  [[nodiscard, gnu::always_inline]] int enter(unsigned wait_for) noexcept {
    const unsigned to_submit = queued();
    ring_.sq.sqe_head = ring_.sq.sqe_tail;
    io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);
    const int result =
        io_uring_enter(static_cast<unsigned>(ring_.enter_ring_fd), to_submit, wait_for, flags_, nullptr);
    const unsigned head = *ring_.sq.khead;  // moves in our calls only: there is no polling kernel thread
    taken_ += head - head_;
    head_ = head;
    return result < 0 ? refusal(-result) : 0;
  }

  /// For when the kernel refuses to take requests: those in the queue will not be carried out.
  void forget_queued() noexcept {
    taken_ += queued();
    ring_.sq.sqe_tail = ring_.sq.sqe_head = head_;
    io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);
  }

  // -- The completion queue

  /// If there is exactly one completion, calls `function` with it, and drops it if that returns true.
  template <class Function>
  [[gnu::always_inline]] void take_only_one(Function function) noexcept {
    const unsigned head = *ring_.cq.khead;
    if (io_uring_smp_load_acquire(ring_.cq.ktail) - head != 1) [[unlikely]]
      return;
    if (function(ring_.cq.cqes[head & ring_.cq.ring_mask])) [[likely]]
      io_uring_smp_store_release(ring_.cq.khead, head + 1);
  }
  /// Calls `function` with each completion that is there, and drops them.
  template <class Function>
  void take_all(Function function) noexcept {
    const unsigned tail = io_uring_smp_load_acquire(ring_.cq.ktail);
    unsigned head = *ring_.cq.khead;
    for (; head != tail; ++head) function(ring_.cq.cqes[head & ring_.cq.ring_mask]);
    io_uring_smp_store_release(ring_.cq.khead, head);
  }

 private:
  [[nodiscard]] int set_up(unsigned entries, bool for_other_loop) noexcept;
  [[nodiscard, gnu::cold]] static int refusal(int error) noexcept;

  io_uring ring_{};
  unsigned flags_ = IORING_ENTER_GETEVENTS;
  unsigned head_ = 0;  // of the submission queue
  std::uint64_t taken_ = 0;
  std::unique_ptr<__kernel_timespec[]> deadlines_;  // one for each entry
  bool open_ = false;
};

inline Outcome<> Ring::open(unsigned entries, bool for_other_loop) {
  const int error = set_up(std::max(entries, 1U), for_other_loop);
  if (error == ENOSYS || error == EPERM)
    return system_failure(error, "io_uring is not available (see the sysctl kernel.io_uring_disabled)");
  if (error != 0) return system_failure(error, "cannot create an io_uring");
  open_ = true;
  constexpr unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_CQE_SKIP;
  if ((ring_.features & needed) != needed)
    return std::unexpected(
        Error{"the io_uring of this kernel is too old: Linux 5.19 or newer is needed", ENOSYS});
  // Saves each call the look-up of the ring's descriptor; without it everything else still works.
  if (io_uring_register_ring_fd(&ring_) == 1) flags_ |= IORING_ENTER_REGISTERED_RING;
  // Where the kernel wants a queue of indices in front of the entries, the indices are always in order.
  if (unsigned* const indices = ring_.sq.array) {
    for (unsigned i = 0; i < ring_.sq.ring_entries; ++i) indices[i] = i;
  }
  deadlines_ = std::make_unique<__kernel_timespec[]>(ring_.sq.ring_entries);
  return {};
}

// Returns 0 or an errno.
inline int Ring::set_up(unsigned entries, bool for_other_loop) noexcept {
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
    if (for_other_loop && (flags & IORING_SETUP_DEFER_TASKRUN) != 0) continue;
    io_uring_params parameters{};
    parameters.flags = flags;
    parameters.cq_entries = entries * 4;
    result = io_uring_queue_init_params(entries, &ring_, &parameters);
    if (result != -EINVAL) break;
  }
  return -result;
}

// EINTR: a signal ended the wait. EBUSY, EAGAIN: the kernel is short of memory or wants completions taken
// first. Anything else breaks the contract of thread or descriptor, or is a sandbox that forbids the call.
inline int Ring::refusal(int error) noexcept {
  return error == EINTR || error == EBUSY || error == EAGAIN || error == ETIME ? 0 : error;
}

}  // namespace vumedia::io::uring
