// What an operation of an EpollReactor waits for, and the system call that carries it out without waiting.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>

namespace vumedia::io::epoll {

/// What was started, with its arguments.
struct Request {
  /// What is to be done: the functions of a Reactor.
  enum class Kind : std::uint8_t { read, write, receive, send, poll, timer };
  static constexpr std::uint32_t none = UINT32_MAX;  ///< a number that no request has

  Operation* operation = nullptr;  ///< null: the number is free
  Kind kind = Kind::timer;         ///< what is to be done
  int fd = -1;                     ///< borrowed; -1 for a timer
  std::uint32_t events = 0;        ///< of epoll, which has poll's numbers
  void* memory = nullptr;          ///< bytes, or the msghdr of receive and send
  std::size_t size = 0;            ///< of the bytes
  TimePoint deadline{};            ///< of a timer

  /// For whoever keeps it until it is due: others of the same descriptor, or its place in the heap of timers.
  std::uint32_t next = none;
  std::uint32_t previous = none;  ///< likewise
  std::uint32_t place = none;     ///< likewise
};

/// All requests that are pending, under numbers that do not change. Memory is allocated only for more of them
/// than there have ever been at a time.
class RequestTable {
 public:
  RequestTable() { requests_.reserve(64); }

  /// Request::none if there is no memory.
  [[nodiscard]] std::uint32_t add(const Request& request) noexcept {
    if (free_ == Request::none) return add_new(request);
    const std::uint32_t index = free_;
    free_ = requests_[index].next;
    requests_[index] = request;
    return index;
  }
  /// Frees the number of a request, which may be given to another.
  void remove(std::uint32_t index) noexcept {
    requests_[index].operation = nullptr;
    requests_[index].next = free_;
    free_ = index;
  }
  /// The request of a number that add() has returned; the reference is good until the next add().
  [[nodiscard]] Request& operator[](std::uint32_t index) noexcept { return requests_[index]; }

  /// Calls `function(request)` for each that is pending, in no particular order.
  template <class Function>
  void for_each(Function function) noexcept {
    for (const Request& request : requests_) {
      if (request.operation != nullptr) function(request);
    }
  }

 private:
  [[gnu::cold]] std::uint32_t add_new(const Request& request) noexcept {
    if (requests_.size() >= INT32_MAX) return Request::none;  // an operation notes it as such a number
    try {
      requests_.push_back(request);
    } catch (const std::bad_alloc&) {
      return Request::none;
    }
    return static_cast<std::uint32_t>(requests_.size() - 1);
  }

  std::vector<Request> requests_;
  std::uint32_t free_ = Request::none;
};

/// Whether a transfer may wait: it may where the kernel knows no readiness, as for regular files.
enum class Readiness : std::uint8_t {
  unknown,  ///< it is tried, and must not wait
  seen,     ///< epoll has reported it; somebody else may have been faster
  always,
};

namespace detail {

template <class Call>
[[nodiscard]] std::int32_t result_of(Call call) noexcept {
  ssize_t result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : static_cast<std::int32_t>(result);
}

[[nodiscard]] inline bool is_ready(int fd, short events) noexcept {
  pollfd state{fd, events, 0};
  return ::poll(&state, 1, 0) > 0;
}

// Whether the file does not know how to go on without waiting, or a sandbox does not know that call.
[[nodiscard]] inline bool is_refusal(std::int32_t result) noexcept {
  return result == -EOPNOTSUPP || result == -EPERM || result == -ENOSYS;
}

}  // namespace detail

/// Carries out a read, write, receive or send. Returns its result, or -EAGAIN if it would have to wait.
///
/// Descriptors of peers may be without O_NONBLOCK, and the flag is theirs to change, so each call says that
/// it must not wait. Where a file does not know how, or the call is forbidden, its readiness is
/// looked at just before.
[[nodiscard]] inline std::int32_t transfer(const Request& request, Readiness readiness) noexcept {
  constexpr std::size_t most = 0x7ffff000;
  const int fd = request.fd;
  const iovec bytes{request.memory, request.size < most ? request.size : most};
  const auto message = static_cast<msghdr*>(request.memory);
  switch (request.kind) {
    case Request::Kind::receive:
      return detail::result_of([&] { return ::recvmsg(fd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); });
    case Request::Kind::send:
      return detail::result_of([&] { return ::sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT); });
    case Request::Kind::read: {
      std::int32_t result = -EOPNOTSUPP;
      if (readiness != Readiness::always)
        result = detail::result_of([&] { return ::preadv2(fd, &bytes, 1, -1, RWF_NOWAIT); });
      if (!detail::is_refusal(result)) return result;
      if (readiness != Readiness::always && !detail::is_ready(fd, POLLIN)) return -EAGAIN;
      return detail::result_of([&] { return ::read(fd, bytes.iov_base, bytes.iov_len); });
    }
    case Request::Kind::write: {
      std::int32_t result = -EOPNOTSUPP;
      if (readiness != Readiness::always)
        result = detail::result_of([&] { return ::pwritev2(fd, &bytes, 1, -1, RWF_NOWAIT); });
      if (!detail::is_refusal(result)) return result;
      if (readiness != Readiness::always && !detail::is_ready(fd, POLLOUT)) return -EAGAIN;
      return detail::result_of([&] { return ::write(fd, bytes.iov_base, bytes.iov_len); });
    }
    case Request::Kind::poll:
    case Request::Kind::timer:
      break;
  }
  return -EINVAL;
}

}  // namespace vumedia::io::epoll
