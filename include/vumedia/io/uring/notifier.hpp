// Event fds of peers with io_uring: whether a descriptor is one, and their signals, which travel with the
// reactor's next submission.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include <fcntl.h>
#include <liburing.h>
#include <sys/uio.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/uring/requests.hpp>

namespace vumedia::io::uring {

/// Success if `fd` is an event fd, otherwise EINVAL or EBADF. It may be signalled once. Only event fds can be
/// registered to be signalled by completions; no other check works without /proc.
[[nodiscard]] inline Result<> check_event_fd(Ring& ring, int fd) noexcept {
  const int error = -io_uring_register_eventfd(&ring.handle(), fd);
  if (error != 0) return fail(error);
  io_uring_unregister_eventfd(&ring.handle());
  return {};
}

/// A ring of one entry whose event fd the kernel signals whenever another ring sends it a message. That never
/// waits: a full counter stays full.
class MessageRing {
 public:
  /// EINVAL or EBADF if `event_fd` is none.
  [[nodiscard]] static Result<std::unique_ptr<MessageRing>> create(int event_fd) noexcept {
    std::unique_ptr<MessageRing> ring(new (std::nothrow) MessageRing);
    if (ring == nullptr) return fail(ENOMEM);
    if (const int error = -io_uring_queue_init(1, &ring->ring_, 0); error != 0) return fail(error);
    ring->open_ = true;
    if (const int error = -io_uring_register_eventfd(&ring->ring_, event_fd); error != 0) return fail(error);
    return ring;
  }
  MessageRing(const MessageRing&) = delete;
  MessageRing& operator=(const MessageRing&) = delete;
  ~MessageRing() {
    if (open_) io_uring_queue_exit(&ring_);
  }

  /// The ring, borrowed.
  [[nodiscard]] int fd() const noexcept { return ring_.ring_fd; }
  /// Makes room for the next message's completion; the kernel has signalled for all that are there.
  void drop_completions() noexcept {
    io_uring_smp_store_release(ring_.cq.khead, io_uring_smp_load_acquire(ring_.cq.ktail));
  }

 private:
  MessageRing() = default;

  io_uring ring_{};
  bool open_ = false;
};

/// How it signals depends on the event fd, because a write to one that is not O_NONBLOCK is handed to a
/// kernel thread, which a full counter would block:
///  - O_NONBLOCK: a write that must not wait. A full counter refuses it; its reader has enough to wake up
///    for.
///  - otherwise: a message to a MessageRing.
///
/// It is destroyed before the Requests, on their thread.
class Notifier {
 public:
  /// See Reactor::make_notifier.
  [[nodiscard]] static Result<Notifier> make(Requests& requests, OwnedFd fd) noexcept {
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0) return fail(errno);
    if ((flags & O_NONBLOCK) != 0) {
      const auto checked = check_event_fd(requests.ring(), fd.get());
      if (!checked) return std::unexpected(checked.error());
      return Notifier(requests, std::move(fd), nullptr);
    }
    auto ring = MessageRing::create(fd.get());
    if (!ring) return std::unexpected(ring.error());
    return Notifier(requests, std::move(fd), std::move(*ring));
  }

  Notifier() = default;
  /// Leaves `other` empty.
  Notifier(Notifier&& other) noexcept
      : requests_(std::exchange(other.requests_, nullptr)),
        fd_(std::move(other.fd_)),
        ring_(std::move(other.ring_)),
        request_(other.request_),
        last_signal_(other.last_signal_) {}
  /// Submits what is due, closes the event fd it had, and leaves `other` empty.
  Notifier& operator=(Notifier&& other) noexcept {
    if (this != &other) {
      flush();
      requests_ = std::exchange(other.requests_, nullptr);
      fd_ = std::move(other.fd_);
      ring_ = std::move(other.ring_);
      request_ = other.request_;
      last_signal_ = other.last_signal_;
    }
    return *this;
  }
  ~Notifier() { flush(); }

  /// The event fd, still owned by this; -1 if it is empty.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// Whether it has an event fd.
  [[nodiscard]] explicit operator bool() const noexcept { return requests_ != nullptr; }

  /// Does nothing on an empty notifier, or if the kernel has yet to take the last signal: until then no other
  /// is needed.
  void signal() noexcept {
    if (requests_ == nullptr || !requests_->has_taken(last_signal_)) return;
    if (ring_ != nullptr) ring_->drop_completions();
    last_signal_ = requests_->queue_signal(request_);
  }

 private:
  // The value written to an event fd. The kernel may read it at any time until it has taken the request.
  static constexpr std::uint64_t one = 1;

  Notifier(Requests& requests, OwnedFd fd, std::unique_ptr<MessageRing> ring) noexcept
      : requests_(&requests), fd_(std::move(fd)), ring_(std::move(ring)) {
    io_uring_sqe sqe{};
    if (ring_ == nullptr) {
      io_uring_prep_write(&sqe, fd_.get(), &one, sizeof one, 0);
      sqe.rw_flags = RWF_NOWAIT;
    } else {
      io_uring_prep_msg_ring(&sqe, ring_->fd(), 0, 0, 0);
    }
    Requests::start_unattended(&sqe);
    std::memcpy(request_.data(), &sqe, sizeof sqe);
  }

  // A request in the queue names descriptors by number. It has to be submitted before they are closed and
  // their numbers are reused.
  void flush() noexcept {
    if (requests_ != nullptr) requests_->submit_until(last_signal_);
  }

  Requests* requests_ = nullptr;
  OwnedFd fd_;
  std::unique_ptr<MessageRing> ring_;
  Requests::Prepared request_{};  // the same for each signal
  // The position of the last signal among all requests so far, counted from 1.
  std::uint64_t last_signal_ = 0;
};

}  // namespace vumedia::io::uring
