// The Reactor concept: one loop on one thread that delivers completions to Operations.
//
// Laws, for every operation `op` that is idle when started:
//  - Its handler runs exactly once, later (never from within the call that starts it), on the loop's thread,
//    unless it is cancelled.
//  - `cancel(op)` returns with `op` idle and its handler neither called nor to be called; the kernel no
//    longer uses its memory. Cancelling an idle operation does nothing. It may wait for the kernel, but never
//    for a peer.
//  - Buffers, message headers and descriptors given to a start stay valid until completion or cancel.
//  - A descriptor that is closed within a handler, before the turn ends, is not known to be closed: whoever
//    closes it cancels its operations first, even those that are idle because their handlers run or have run.
//    (A reactor may go on watching a descriptor until then. Afterwards an operation on another file with the
//    same number could wait in vain.)
//  - What a completion brings, as a receive brings descriptors, belongs to the operation from the moment the
//    kernel hands it over until the handler runs. If the operation is cancelled or destroyed before that, or
//    if its reactor is destroyed, it closes what came, in whatever state it is (in our queue, in the
//    kernel's, or completed). There is no accept: a listening socket is polled, and the handler owns at once
//    what accept4 returns to it.
//  - A descriptor that cannot be read, written or polled is an ordinary completion with a negative errno.
//  - `timer` completes with 0 at or after its CLOCK_MONOTONIC deadline; a deadline in the past completes at
//    once.
//  - `run` returns after `stop`, immediately if `stop` was called earlier; what is pending then stays pending
//    and can be cancelled, or completed by another run. It returns an error if the loop cannot go on at all;
//    what is pending then can only be cancelled.
//  - `make_notifier` and `check_event_fd` fail with EINVAL if the descriptor is not an event fd.
//
// Only `stop` (through `inbox`) and `inbox()->post` may be used from other threads. A reactor is created, run
// and destroyed on one thread.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/receive_operation.hpp>

namespace vumedia::io {

/// CLOCK_MONOTONIC: the clock of V4L2 time stamps and of the reactors' timers.
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;  ///< of that clock

/// What is done in one turn of a loop: one wait and the handlers that it brings. Whoever has more to do than
/// others should wait for spends from these accounts, so that several on one loop share its turns. The
/// currency is theirs. A loop has it as `Turn& turn()`; one without leaves each of its users an account of
/// its own. A loop begins each turn with nothing spent.
struct Turn {
  std::int64_t spent = 0;          ///< on what peers ask for
  std::int64_t spent_on_left = 0;  ///< on what earlier turns have left to be done
  std::uint32_t waiting = 0;       ///< things that are left to be done, of all users
};

/// What wakes for operations beyond byte streams; shared by reactors and by a VMM that embeds a device.
template <class L>
concept Loop = requires(L& loop, Operation& operation, int fd, unsigned events, TimePoint deadline) {
  // One-shot poll(2) for `events` (POLLIN, ...); the result is the mask that was seen.
  { loop.poll(operation, fd, events) } -> std::same_as<void>;
  { loop.timer(operation, deadline) } -> std::same_as<void>;
  { loop.cancel(operation) } -> std::same_as<void>;
  { loop.inbox() } -> std::convertible_to<std::shared_ptr<Inbox>>;
};

/// The sender's end of an event fd that a peer gave us (a vhost-user call or err fd). It owns the descriptor.
/// `signal` adds 1 without ever blocking the loop, whatever the fd's flags and count; signals that the peer
/// has not consumed may coalesce, but none is lost.
template <class N>
concept Notifier = std::movable<N> && requires(N& notifier) {
  { notifier.signal() } -> std::same_as<void>;
};

/// A loop of this library, by the laws at the head of this file.
template <class R>
concept Reactor =
    Loop<R> && Notifier<typename R::Notifier> &&
    requires(R& reactor, Operation& operation, ReceiveOperation& receive, int fd, std::span<std::byte> in,
             std::span<const std::byte> out, msghdr& message, OwnedFd owned) {
      { reactor.read(operation, fd, in) } -> std::same_as<void>;
      { reactor.write(operation, fd, out) } -> std::same_as<void>;
      // recvmsg(2) with MSG_CMSG_CLOEXEC; sendmsg(2) with MSG_NOSIGNAL.
      { reactor.receive(receive, fd, in) } -> std::same_as<void>;
      { reactor.send(operation, fd, message) } -> std::same_as<void>;
      { reactor.make_notifier(std::move(owned)) } -> std::same_as<Result<typename R::Notifier>>;
      { reactor.check_event_fd(fd) } -> std::same_as<Result<>>;
      { reactor.run() } -> std::same_as<Result<>>;
      { reactor.stop() } -> std::same_as<void>;
    };

}  // namespace vumedia::io
