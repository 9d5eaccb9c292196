// The operations that an io_uring has, from their start until they are told of their completion or are
// cancelled.
//
// What is started is only written into the submission queue. All completions that a system call brings are
// gathered into a list before the first handler runs, so that a handler may cancel or destroy any other
// operation, even a completed one.
#pragma once

#include <array>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <liburing.h>

#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/uring/ring.hpp>

namespace vumedia::io::uring {

/// What was done since the start.
struct Counters {
  std::uint64_t enters = 0;       ///< io_uring_enter calls
  std::uint64_t completions = 0;  ///< operations completed or cancelled
  std::uint64_t signals = 0;      ///< event fd signals queued, after coalescing
};

/// Used by one thread, which also opens it.
class Requests {
 public:
  /// What a start may have to know of its operation later.
  enum class Kind : std::uint64_t {
    plain = 0,
    timer = 1,
    owning = 2,  ///< an OwningOperation
  };
  /// A request nobody waits for, in the form of an entry of the submission queue.
  using Prepared = std::array<std::byte, sizeof(io_uring_sqe)>;

  Requests() = default;
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;
  /// If operations are pending, the kernel is made to release their memory, and what they own is released.
  ~Requests();

  /// See Ring::open.
  [[nodiscard]] Outcome<> open(unsigned entries, bool for_other_loop) {
    return ring_.open(entries, for_other_loop);
  }
  /// The ring that they go through.
  ///@{
  [[nodiscard]] Ring& ring() noexcept { return ring_; }
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }
  ///@}
  /// Since the start.
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }

  /// A free entry of the submission queue, to be filled and given to start(). Submits first if there is none.
  [[nodiscard]] io_uring_sqe* next_sqe() noexcept {
    if (ring_.full()) [[unlikely]]
      make_room();
    return ring_.add();
  }
  /// Submits until an entry is free. If the kernel refuses, what is queued is forgotten.
  [[gnu::cold, gnu::noinline]] void make_room() noexcept {
    while (ring_.full()) {
      if (submit() != 0) return ring_.forget_queued();
    }
  }
  /// `operation` waits for the request in `sqe`, which next_sqe() has returned. `kind` says what it is of.
  void start(Operation& operation, io_uring_sqe* sqe, Kind kind = Kind::plain) noexcept {
    assert(!operation.pending());
    // The tag is kept for cancel(), which has to name the request by its complete user_data.
    const auto tag = static_cast<std::uint64_t>(kind);
    operation.start(static_cast<std::int32_t>(tag));
    io_uring_sqe_set_data64(sqe, reinterpret_cast<std::uintptr_t>(&operation) | tag);
    ++outstanding_;
  }
  /// Nobody waits for this request, and only its failure produces a completion.
  static void start_unattended(io_uring_sqe* sqe) noexcept {
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data64(sqe, 0);
  }

  /// Queues the signal of an event fd. Returns its position, for has_taken().
  [[gnu::always_inline]] std::uint64_t queue_signal(const Prepared& request) noexcept {
    std::memcpy(next_sqe(), request.data(), request.size());
    ++counters_.signals;
    return ring_.last();
  }
  /// Whether the kernel has taken the request at that position.
  [[nodiscard]] bool has_taken(std::uint64_t position) const noexcept { return position <= ring_.taken(); }
  /// Submits until it has. If the kernel refuses, what is queued is forgotten.
  void submit_until(std::uint64_t position) noexcept {
    while (!has_taken(position)) {
      if (submit() != 0) return ring_.forget_queued();
    }
  }

  /// See Reactor::cancel.
  void cancel(Operation& operation) noexcept;

  /// Submits, waits for that many completions, and gathers them. Returns 0, or the errno with which the
  /// kernel refuses.
  [[gnu::noinline]] int submit(unsigned wait_for = 0) noexcept {
    const int error = enter(wait_for);
    gather();
    return error;
  }
  /// The same, and runs the handlers of what has completed. `count` is how many ran.
  [[nodiscard]] int take_turn(unsigned wait_for, std::size_t& count) noexcept;

 private:
  // Bits of user_data next to the pointer to the Operation; a user_data of 0 is a request nobody waits for.
  static constexpr std::uint64_t tag_mask = 7;
  static_assert(alignof(Operation) > tag_mask);

  // A completion as it is to be told.
  struct Completed {
    Operation* operation;  // null: none
    std::int32_t result;
  };

  [[nodiscard]] int enter(unsigned wait_for) noexcept {
    const int error = ring_.enter(wait_for);
    ++counters_.enters;
    return error;
  }
  void end_all() noexcept;
  [[gnu::cold]] void cancel_by_force(Operation& operation, std::uint64_t key) noexcept;
  [[nodiscard]] bool withdraw(Operation& operation) noexcept;
  void gather() noexcept;
  [[nodiscard]] Completed take_only_one() noexcept;
  [[nodiscard]] Completed completed(const io_uring_cqe& cqe) noexcept;
  std::size_t run_ready() noexcept;

  Ring ring_;
  bool closing_ = false;   // completions are only counted, except those of operations that own what came
  bool dropping_ = false;  // and these as well
  OperationList ready_;
  // Operations that are submitted or about to be, and have not completed.
  std::size_t outstanding_ = 0;
  Counters counters_;
};

inline Requests::~Requests() {
  if (!ring_.is_open()) return;
  while (Operation* const operation = ready_.pop_front()) operation->cancelled();
  if (outstanding_ > 0) end_all();
}

// From here on completions are only counted, except those of operations that own what came: the others may
// have been destroyed.
inline void Requests::end_all() noexcept {
  closing_ = true;
  io_uring_sqe* const sqe = next_sqe();
  io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  start_unattended(sqe);
  while (outstanding_ > 0 && submit(1) == 0) {
  }
}

inline void Requests::cancel(Operation& operation) noexcept {
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
inline void Requests::cancel_by_force(Operation& operation, std::uint64_t key) noexcept {
  ring_.forget_queued();
  io_uring_sync_cancel_reg request{};
  request.addr = key;
  request.fd = -1;
  request.timeout.tv_sec = request.timeout.tv_nsec = -1;
  static_cast<void>(io_uring_register_sync_cancel(&ring_.handle(), &request));
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
inline bool Requests::withdraw(Operation& operation) noexcept {
  const std::uint64_t pointer = reinterpret_cast<std::uintptr_t>(&operation);
  const unsigned waiting = ring_.queued();
  for (unsigned i = 1; i <= waiting; ++i) {
    io_uring_sqe* const sqe = ring_.queued_entry(i);
    if ((sqe->user_data & ~tag_mask) != pointer) continue;
    io_uring_prep_nop(sqe);
    start_unattended(sqe);
    --outstanding_;
    return true;
  }
  return false;
}

[[gnu::always_inline]] inline int Requests::take_turn(unsigned wait_for, std::size_t& count) noexcept {
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

inline std::size_t Requests::run_ready() noexcept {
  std::size_t count = 0;
  while (Operation* const operation = ready_.pop_front()) {
    operation->deliver();
    ++count;
  }
  return count;
}

inline Requests::Completed Requests::completed(const io_uring_cqe& cqe) noexcept {
  ++counters_.completions;
  --outstanding_;
  const bool expired = (cqe.user_data & static_cast<std::uint64_t>(Kind::timer)) != 0 && cqe.res == -ETIME;
  return {reinterpret_cast<Operation*>(cqe.user_data & ~tag_mask), expired ? 0 : cqe.res};
}

// For use when nothing is left from before. Usually one operation has completed, and that needs no list.
// Otherwise it takes nothing.
[[gnu::always_inline]] inline Requests::Completed Requests::take_only_one() noexcept {
  Completed only{};
  ring_.take_only_one([&](const io_uring_cqe& cqe) noexcept {
    if (cqe.user_data == 0) [[unlikely]]
      return false;
    only = completed(cqe);
    return true;
  });
  return only;
}

// Gathers everything that has completed.
inline void Requests::gather() noexcept {
  ring_.take_all([this](const io_uring_cqe& cqe) noexcept {
    if (cqe.user_data == 0) return;
    const bool owning = (cqe.user_data & static_cast<std::uint64_t>(Kind::owning)) != 0;
    if (closing_ && (dropping_ || !owning)) [[unlikely]] {
      --outstanding_;
      return;
    }
    const auto [operation, result] = completed(cqe);
    operation->arrive(result);
    if (closing_) [[unlikely]]
      operation->cancelled();
    else
      ready_.push_back(*operation);
  });
}

}  // namespace vumedia::io::uring
