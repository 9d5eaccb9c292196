// A reactor's list of operations that have completed but whose handlers have not run.
#pragma once

#include <vumedia/io/operation.hpp>

namespace vumedia::io {

// First in, first out. The operations hold the links, so that any one can be removed in constant time when it
// is cancelled.
class OperationList {
 public:
  OperationList() = default;
  OperationList(const OperationList&) = delete;
  OperationList& operator=(const OperationList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  // `operation` is in no list.
  void push_back(Operation& operation) noexcept {
    OperationAccess::previous(operation) = last_;
    OperationAccess::next(operation) = nullptr;
    (last_ == nullptr ? first_ : OperationAccess::next(*last_)) = &operation;
    last_ = &operation;
  }

  // `operation` is in this list.
  void remove(Operation& operation) noexcept {
    Operation*& previous = OperationAccess::previous(operation);
    Operation*& next = OperationAccess::next(operation);
    (previous == nullptr ? first_ : OperationAccess::next(*previous)) = next;
    (next == nullptr ? last_ : OperationAccess::previous(*next)) = previous;
    previous = nullptr;
    next = nullptr;
  }

  // Null if the list is empty.
  [[nodiscard]] Operation* pop_front() noexcept {
    Operation* const operation = first_;
    if (operation != nullptr) remove(*operation);
    return operation;
  }

 private:
  Operation* first_ = nullptr;
  Operation* last_ = nullptr;
};

}  // namespace vumedia::io
