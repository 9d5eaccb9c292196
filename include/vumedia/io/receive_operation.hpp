// A pending recvmsg, and the owner of the descriptors that it brings.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/socket.h>

#include <vumedia/io/fd_passing.hpp>
#include <vumedia/io/operation.hpp>

namespace vumedia::io {

/// For Reactor::receive. Until the handler runs it owns what came; the handler takes that over with
/// collect(), whenever its result is not an error.
class ReceiveOperation : public OwningOperation {
 public:
  /// Receives at most `max_fds` descriptors (at most FdList::capacity); collect() reports whether there were
  /// more.
  ReceiveOperation(Handler handler, std::size_t max_fds) noexcept
      : OwningOperation(handler, &ReceiveOperation::discard), max_fds_(max_fds) {
    assert(max_fds <= FdList::capacity);
  }

  /// See FdMessage::collect.
  [[nodiscard]] bool collect(FdList& fds) noexcept { return message_.collect(fds); }

  /// For the reactor: the argument for recvmsg, to fill `bytes`.
  [[nodiscard]] msghdr& prepare(std::span<std::byte> bytes) noexcept {
    message_.prepare_receive(bytes, max_fds_);
    return message_.header();
  }

 protected:
  ~ReceiveOperation() { cancel_pending(); }

 private:
  static void discard(Operation& operation) noexcept {
    FdList unwanted;
    static_cast<void>(static_cast<ReceiveOperation&>(operation).message_.collect(unwanted));
  }

  std::size_t max_fds_;
  FdMessage<> message_;
};

}  // namespace vumedia::io
