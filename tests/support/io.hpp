// Descriptors for tests, and an operation that records what happens to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/receive_operation.hpp>

#include "support/patience.hpp"

namespace vumedia::io::test {

inline OwnedFd event_fd(int flags = EFD_CLOEXEC | EFD_NONBLOCK) {
  auto fd = make_event_fd(flags);
  EXPECT_TRUE(fd);
  return fd ? std::move(*fd) : OwnedFd();
}

inline void add(const OwnedFd& event, std::uint64_t count = 1) {
  EXPECT_EQ(::write(event.get(), &count, sizeof count), ssize_t{sizeof count});
}

// Reads the count of an event fd, which is then 0. Does not wait.
inline std::uint64_t take(const OwnedFd& event) {
  pollfd state{event.get(), POLLIN, 0};
  std::uint64_t count = 0;
  if (::poll(&state, 1, 0) == 1) {
    EXPECT_EQ(::read(event.get(), &count, sizeof count), ssize_t{sizeof count});
  }
  return count;
}

inline std::pair<OwnedFd, OwnedFd> socket_pair(int flags = 0) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, fds), 0);
  return {OwnedFd(fds[0]), OwnedFd(fds[1])};
}

inline std::pair<OwnedFd, OwnedFd> pipe_pair(int flags = 0) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::pipe2(fds, O_CLOEXEC | flags), 0);
  return {OwnedFd(fds[0]), OwnedFd(fds[1])};
}

template <class T>
std::span<std::byte> bytes_of(T& object) {
  return std::as_writable_bytes(std::span(&object, 1));
}

// An operation that records its completions and then does what the test wants.
template <class Base>
class BasicProbe {
 public:
  template <class... Arguments>
  explicit BasicProbe(std::function<void()> then = {}, const Arguments&... arguments)
      : then_(std::move(then)), operation_(*this, arguments...) {}

  Base& operation() { return operation_; }
  [[nodiscard]] bool pending() const { return operation_.pending(); }

  int calls = 0;
  std::int32_t result = 0;
  std::thread::id thread;
  bool pending_in_handler = false;

 private:
  void on_done(std::int32_t value) noexcept {
    ++calls;
    result = value;
    thread = std::this_thread::get_id();
    pending_in_handler = operation_.pending();
    if (then_) then_();  // may destroy this
  }

  std::function<void()> then_;
  MemberOperation<&BasicProbe::on_done, Base> operation_;
};

using Probe = BasicProbe<Operation>;

class ReceiveProbe : public BasicProbe<ReceiveOperation> {
 public:
  explicit ReceiveProbe(std::function<void()> then = {}) : BasicProbe(std::move(then), FdList::capacity) {}
};

// Descriptors of a pipe's writing end to send around: open until the last copy of any is closed.
class Travellers {
 public:
  explicit Travellers(std::size_t count) : ends_(pipe_pair()) {
    for (std::size_t i = 0; i < count; ++i) copies_.push_back(std::move(*ends_.second.duplicate()));
    ends_.second.reset();
  }

  // Sends one byte and all of them, and closes our copies.
  void send(const OwnedFd& socket) {
    std::vector<int> fds;
    for (const OwnedFd& copy : copies_) fds.push_back(copy.get());
    const std::byte byte{1};
    EXPECT_TRUE(send_message(socket.get(), std::span(&byte, 1), fds));
    copies_.clear();
  }
  // The kernel may close the last one a little later than we do.
  [[nodiscard]] bool all_closed() const {
    pollfd state{ends_.first.get(), 0, 0};
    return ::poll(&state, 1, vumedia::test::poll_patience) == 1 && (state.revents & POLLHUP) != 0;
  }

 private:
  std::pair<OwnedFd, OwnedFd> ends_;
  std::vector<OwnedFd> copies_;
};

}  // namespace vumedia::io::test
