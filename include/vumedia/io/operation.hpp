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

class OperationAccess;
class OwningOperation;

class Operation : private ListHook<Operation> {
 public:
  // `result` is what the system call would have returned: bytes, a poll mask, 0 for a timer, or a negative
  // errno.
  using Handler = void (*)(Operation& operation, std::int32_t result) noexcept;

  explicit Operation(Handler handler) noexcept : handler_(handler) {}
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  // From the start until just before the handler runs.
  [[nodiscard]] bool pending() const noexcept { return state_ != State::idle; }

 protected:
  ~Operation() = default;

 private:
  friend class OperationAccess;
  friend class OwningOperation;
  enum class State : std::uint8_t { idle, submitted, ready };

  Handler handler_;
  std::int32_t result_ = 0;
  State state_ = State::idle;
  bool owning_ = false;  // an OwningOperation
};

// An operation whose completion brings resources. If it is cancelled or destroyed, or if its reactor is
// destroyed, before its handler has run, it releases what came. Unlike a plain operation it may therefore be
// destroyed while it is pending, on the reactor's thread.
class OwningOperation : public Operation {
 public:
  // Releases what a successful completion has brought.
  using Discard = void (*)(OwningOperation& operation) noexcept;

 protected:
  OwningOperation(Handler handler, Discard discard) noexcept : Operation(handler), discard_(discard) {
    owning_ = true;
  }
  ~OwningOperation() = default;
  // To be called in the destructor of the class that provides `discard`, while everything that it uses still
  // exists.
  void cancel_pending() noexcept {
    if (pending()) cancel_(reactor_, *this);
  }

 private:
  friend class OperationAccess;

  Discard discard_;
  // The reactor to ask while this is pending.
  void* reactor_ = nullptr;
  void (*cancel_)(void* reactor, Operation& operation) noexcept = nullptr;
};

// The reactors' side of an operation.
class OperationAccess {
 public:
  using State = Operation::State;
  static State& state(Operation& operation) noexcept { return operation.state_; }
  static std::int32_t& result(Operation& operation) noexcept { return operation.result_; }
  // For a reactor's list of operations.
  template <class Tag, class Node>
  static ListHook<Tag>& hook(Node& operation) noexcept {
    return operation;
  }
  template <class Tag, class Node>
  static Node& node(ListHook<Tag>& hook) noexcept {
    return static_cast<Node&>(hook);
  }
  static void invoke(Operation& operation, std::int32_t result) noexcept {
    operation.handler_(operation, result);
  }

  // Called at the start of an operation that may be destroyed while `reactor` has it.
  template <class Reactor>
  static void bind(OwningOperation& operation, Reactor& reactor) noexcept {
    operation.reactor_ = &reactor;
    operation.cancel_ = [](void* self, Operation& pending) noexcept {
      static_cast<Reactor*>(self)->cancel(pending);
    };
  }
  // Ends a completed operation whose handler will not run.
  static void discard(Operation& operation) noexcept {
    operation.state_ = State::idle;
    if (!operation.owning_ || operation.result_ < 0) return;
    auto& owning = static_cast<OwningOperation&>(operation);
    owning.discard_(owning);
  }
};

// A reactor's list of operations that have completed but whose handlers have not run.
using OperationList = IntrusiveList<Operation, Operation, OperationAccess>;

// An operation whose handler is a member function, bound at compile time:
// clang-format off
//   MemberOperation<&Ring::on_kick> kick_{*this};
// clang-format on
template <auto Function, class Base = Operation>
class MemberOperation;

// The owner is followed by the further arguments of `Base`.
template <class Owner, void (Owner::*Function)(std::int32_t) noexcept, class Base>
class MemberOperation<Function, Base> final : public Base {
 public:
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

// An operation whose handler is any callable that takes the result; for cold paths and tests.
template <class Function>
class CallOperation final : public Operation {
 public:
  explicit CallOperation(Function function) noexcept
      : Operation([](Operation& self, std::int32_t result) noexcept {
          static_cast<CallOperation&>(self).function_(result);
        }),
        function_(std::move(function)) {}

 private:
  Function function_;
};

}  // namespace vumedia::io
