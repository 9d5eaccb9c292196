// An asynchronous operation: memory of its owner, lent to a reactor while the operation is pending.
//
// Operations are members of what waits for them, so starting one allocates nothing. A reactor keeps a pointer
// to the operation from start to completion; the owner therefore neither moves nor destroys a pending
// operation, but cancels it first (Reactor::cancel is synchronous). The handler is called once per start, on
// the reactor's thread. When the handler is called the operation is idle again, and the reactor does not
// touch it afterwards: a handler may start it again, or destroy its owner.
//
// A completion may bring resources that have to be released, as a receive brings descriptors. The operation
// owns them until the handler runs: an OwningOperation releases them if no handler will be called.
#pragma once

#include <cstdint>
#include <utility>

#include <vumedia/core/intrusive_list.hpp>

namespace vumedia::io {

/// Neither movable nor copyable. A base of what waits, whose handler finds it by a downcast.
class Operation : public ListHook<Operation> {
 public:
  /// `result` is what the system call would have returned: bytes, a poll mask, 0 for a timer, or a negative
  /// errno.
  using Handler = void (*)(Operation& operation, std::int32_t result) noexcept;

  /// `handler` is called with this operation, once for each start.
  explicit Operation(Handler handler) noexcept : Operation(handler, nullptr) {}
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  /// From the start until just before the handler runs.
  [[nodiscard]] bool pending() const noexcept { return state_ != State::idle; }

  // The rest is for the loop to which the operation is lent, and for nobody else. A loop of one's own needs
  // start(), complete() and cancelled():
  // clang-format off
  //   void timer(io::Operation& operation, io::TimePoint deadline) {
  //     operation.start();
  //     timers.emplace(deadline, &operation);
  //   }
  //   void cancel(io::Operation& operation) {
  //     erase(timers, &operation);
  //     operation.cancelled();
  //   }
  //   void on_expired(io::Operation& operation) { operation.complete(0); }
  // clang-format on

  /// idle -> pending. A loop may keep a number with it meanwhile.
  void start(std::int32_t note = 0) noexcept {
    state_ = State::started;
    value_ = note;
  }
  /// The number that start() was given.
  [[nodiscard]] std::int32_t note() const noexcept { return value_; }

  /// pending -> idle, and runs the handler: the operation may be gone when this returns.
  void complete(std::int32_t result) noexcept {
    state_ = State::idle;
    handler_(*this, result);
  }

  /// The same in two steps, for loops that gather completions before they run the first handler. In between
  /// the operation owns what came.
  void arrive(std::int32_t result) noexcept {
    state_ = State::arrived;
    value_ = result;
  }
  /// Whether it has completed, and deliver() is due.
  [[nodiscard]] bool has_arrived() const noexcept { return state_ == State::arrived; }
  /// Ends what arrive() began.
  void deliver() noexcept { complete(value_); }

  /// Any state -> idle: the handler will not run. What came is released.
  void cancelled() noexcept {
    const bool brought = discard_ != nullptr && has_arrived() && value_ >= 0;
    state_ = State::idle;
    if (brought) discard_(*this);
  }

 protected:
  /// Releases what a successful completion has brought.
  using Discard = void (*)(Operation& operation) noexcept;

  /// `discard`: for OwningOperation; null if a completion brings nothing.
  Operation(Handler handler, Discard discard) noexcept : handler_(handler), discard_(discard) {}
  ~Operation() = default;

 private:
  enum class State : std::uint8_t { idle, started, arrived };

  Handler handler_;
  // A null pointer where completions bring nothing. It stands here, not in OwningOperation, because compilers
  // warn of a downcast that they cannot prove to be unreachable.
  Discard discard_;
  std::int32_t value_ = 0;  // what start() keeps, then the result
  State state_ = State::idle;
};

/// An operation whose completion brings resources. If it is cancelled or destroyed, or if its reactor is
/// destroyed, before its handler has run, it releases what came. Unlike a plain operation it may therefore be
/// destroyed while it is pending, on the reactor's thread.
class OwningOperation : public Operation {
 public:
  /// For the reactor, at each start: whom the destructor asks to cancel it.
  template <class Reactor>
  void lend_to(Reactor& reactor) noexcept {
    reactor_ = &reactor;
    cancel_ = [](void* self, Operation& pending) noexcept { static_cast<Reactor*>(self)->cancel(pending); };
  }

 protected:
  /// `release` is called for what no handler took.
  OwningOperation(Handler handler, Discard release) noexcept : Operation(handler, release) {}
  ~OwningOperation() = default;
  /// To be called in the destructor of the class that provides `release`, while everything that it uses still
  /// exists.
  void cancel_pending() noexcept {
    if (pending()) cancel_(reactor_, *this);
  }

 private:
  void* reactor_ = nullptr;
  void (*cancel_)(void* reactor, Operation& operation) noexcept = nullptr;
};

/// A loop's list of operations, such as those that have completed but whose handlers have not run.
using OperationList = IntrusiveList<Operation>;

/// An operation whose handler is a member function, bound at compile time:
// clang-format off
///   MemberOperation<&Ring::on_kick> kick_{*this};
// clang-format on
template <auto Function, class Base = Operation>
class MemberOperation;

/// The owner is followed by the further arguments of `Base`.
template <class Owner, void (Owner::*Function)(std::int32_t) noexcept, class Base>
class MemberOperation<Function, Base> final : public Base {
 public:
  /// `owner` outlives it; `arguments` go to `Base`.
  template <class... Arguments>
  explicit MemberOperation(Owner& owner, const Arguments&... arguments) noexcept
      : Base(
            [](Operation& self, std::int32_t result) noexcept {
              (static_cast<MemberOperation&>(self).owner_.*Function)(result);
            },
            arguments...),
        owner_(owner) {}

 private:
  Owner& owner_;
};

/// An operation whose handler is any callable that takes the result; for cold paths and tests.
template <class Function>
class CallOperation final : public Operation {
 public:
  /// `function` is called with the result.
  explicit CallOperation(Function function) noexcept
      : Operation([](Operation& self, std::int32_t result) noexcept {
          static_cast<CallOperation&>(self).function_(result);
        }),
        function_(std::move(function)) {}

 private:
  Function function_;
};

}  // namespace vumedia::io
