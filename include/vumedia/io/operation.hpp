// An asynchronous operation: memory of its owner, lent to a reactor while the operation is under way.
//
// Operations are members of what waits for them, so starting one allocates nothing. A reactor keeps a pointer to
// the operation from start to completion; the owner therefore neither moves nor destroys a pending operation, but
// cancels it first (Reactor::cancel is synchronous). The handler is called once per start, on the reactor's
// thread. Before the call the operation is idle again, and the reactor does not touch it afterwards: a handler may
// start it anew, or destroy its owner.
#pragma once

#include <cstdint>
#include <utility>

namespace vumedia::io {

class OperationAccess;

class Operation {
 public:
  // `result` is what the system call would have returned: bytes, a poll mask, 0 for a timer, or a negative errno.
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
  enum class State : std::uint8_t { idle, submitted, ready };

  Handler handler_;
  // A reactor's list of operations that have completed but whose handlers have not run.
  Operation* previous_ = nullptr;
  Operation* next_ = nullptr;
  std::int32_t result_ = 0;
  State state_ = State::idle;
};

// The reactors' side of an operation.
class OperationAccess {
 public:
  using State = Operation::State;
  static State& state(Operation& operation) noexcept { return operation.state_; }
  static std::int32_t& result(Operation& operation) noexcept { return operation.result_; }
  static Operation*& previous(Operation& operation) noexcept { return operation.previous_; }
  static Operation*& next(Operation& operation) noexcept { return operation.next_; }
  static void invoke(Operation& operation, std::int32_t result) noexcept { operation.handler_(operation, result); }
};

// An operation whose handler is a member function, bound at compile time:
//   MemberOperation<&Ring::on_kick> kick_{*this};
template <auto Function>
class MemberOperation;

template <class Owner, void (Owner::*Function)(std::int32_t) noexcept>
class MemberOperation<Function> final : public Operation {
 public:
  explicit MemberOperation(Owner& owner) noexcept
      : Operation([](Operation& self, std::int32_t result) noexcept {
          (static_cast<MemberOperation&>(self).owner_.*Function)(result);
        }),
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
