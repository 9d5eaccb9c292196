// Descriptors to play with, and an operation that notes what becomes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/operation.hpp>

namespace vumedia::io::test {

inline OwnedFd event_fd(int flags = EFD_CLOEXEC | EFD_NONBLOCK) {
  auto fd = make_event_fd(flags);
  EXPECT_TRUE(fd);
  return fd ? std::move(*fd) : OwnedFd();
}

inline void add(const OwnedFd& event, std::uint64_t count = 1) {
  EXPECT_EQ(::write(event.get(), &count, sizeof count), ssize_t{sizeof count});
}

// The count of an event fd, which is 0 then. Does not wait.
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

// An operation that notes its completions and then does what the test wants.
class Probe {
 public:
  explicit Probe(std::function<void()> then = {}) : then_(std::move(then)) {}

  Operation& operation() { return operation_; }
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
  MemberOperation<&Probe::on_done> operation_{*this};
};

}  // namespace vumedia::io::test
