// File descriptors that travel with bytes over a UNIX stream socket (SCM_RIGHTS); see unix(7).
//
// Each descriptor that arrives has an owner at once, whatever happens to its message: a peer cannot make us
// leak descriptors by sending too many, or by sending them where none belong.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include <sys/socket.h>
#include <sys/uio.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::io {

/// The descriptors of one message, in the order of sending. Closes those that were not taken.
class FdList {
 public:
  /// As many as any vhost-user message carries.
  static constexpr std::size_t capacity = 32;

  FdList() = default;
  /// Leaves `other` empty.
  FdList(FdList&& other) noexcept : fds_(std::move(other.fds_)), size_(std::exchange(other.size_, 0)) {}
  /// Closes what it held before, and leaves `other` empty.
  FdList& operator=(FdList&& other) noexcept {
    if (this != &other) {
      fds_ = std::move(other.fds_);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }

  /// Includes those that were taken.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Whether there are none, taken or not.
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  /// The descriptor at `index`, still owned by the list; -1 if it was taken or never there.
  [[nodiscard]] int get(std::size_t index) const noexcept { return index < size_ ? fds_[index].get() : -1; }
  /// The same, but hands over ownership.
  [[nodiscard]] OwnedFd take(std::size_t index) noexcept {
    return index < size_ ? std::move(fds_[index]) : OwnedFd();
  }

  /// False if the list is full; the descriptor is then closed.
  bool add(OwnedFd fd) noexcept {
    if (size_ == capacity) return false;
    fds_[size_++] = std::move(fd);
    return true;
  }

  /// Closes those that were not taken.
  void clear() noexcept {
    for (std::size_t i = 0; i < size_; ++i) fds_[i].reset();
    size_ = 0;
  }

 private:
  std::array<OwnedFd, capacity> fds_;
  std::size_t size_ = 0;
};

/// Duplicates of `fds`. EMFILE if the process has no more room, EINVAL if there are more than
/// FdList::capacity.
[[nodiscard]] inline Result<FdList> duplicate_fds(std::span<const int> fds) noexcept {
  if (fds.size() > FdList::capacity) return fail(EINVAL);
  FdList list;
  for (const int fd : fds) {
    OwnedFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) return fail(errno);
    list.add(std::move(copy));
  }
  return list;
}

/// One sendmsg or recvmsg: the message header and all that it points to. Not movable, because it points into
/// itself. `Capacity` is the number of descriptors that fit, at most FdList::capacity.
template <std::size_t Capacity = FdList::capacity>
class FdMessage {
  static_assert(Capacity <= FdList::capacity);

 public:
  FdMessage() = default;
  FdMessage(const FdMessage&) = delete;
  FdMessage& operator=(const FdMessage&) = delete;

  /// For sendmsg() or recvmsg(), as the last call of prepare_*() has made it.
  [[nodiscard]] msghdr& header() noexcept { return header_; }

  /// Makes header() ready to receive into `bytes`, which stays valid until the call is done, and up to that
  /// many descriptors.
  void prepare_receive(std::span<std::byte> bytes, std::size_t max_fds = Capacity) noexcept {
    vector_ = {bytes.data(), bytes.size()};
    // The exact length, not CMSG_SPACE: alignment would let one descriptor more through.
    max_fds = std::min(max_fds, Capacity);
    prepare(max_fds == 0 ? 0 : CMSG_LEN(max_fds * sizeof(int)));
  }

  /// After a receive that succeeded: adds the descriptors to `fds`. False if some were lost because more came
  /// than fit in `fds` or in this message, or because this process may not open that many.
  [[nodiscard]] bool collect(FdList& fds) noexcept {
    bool complete = (header_.msg_flags & MSG_CTRUNC) == 0;
    for (cmsghdr* part = CMSG_FIRSTHDR(&header_); part != nullptr; part = CMSG_NXTHDR(&header_, part)) {
      if (part->cmsg_level != SOL_SOCKET) continue;
      if (part->cmsg_type != SCM_RIGHTS && part->cmsg_type != scm_pidfd) continue;
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(part) + i * sizeof number, sizeof number);
        OwnedFd fd(number);
        if (part->cmsg_type == SCM_RIGHTS && !fds.add(std::move(fd))) complete = false;
      }
    }
    header_.msg_controllen = 0;  // they must not be found, and owned, twice
    return complete;
  }

  /// Makes header() ready to send `bytes` and `fds`, of which at most Capacity go.
  void prepare_send(std::span<const std::byte> bytes, std::span<const int> fds) noexcept {
    // sendmsg only reads, but shares its structs with recvmsg.
    vector_ = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    fds = fds.first(std::min(fds.size(), Capacity));
    prepare(fds.empty() ? 0 : CMSG_SPACE(fds.size_bytes()));
    if (fds.empty()) return;
    control_ = {};
    cmsghdr* const part = CMSG_FIRSTHDR(&header_);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  }
  /// The same with the descriptors of a list, which keeps them.
  void prepare_send(std::span<const std::byte> bytes, const FdList& fds) noexcept {
    std::array<int, FdList::capacity> numbers;
    for (std::size_t i = 0; i < fds.size(); ++i) numbers[i] = fds.get(i);
    prepare_send(bytes, std::span(numbers).first(fds.size()));
  }

 private:
  // Arrives unrequested if whoever made the socket has set SO_PASSPIDFD on it (Linux 6.5); not in all
  // headers.
  static constexpr int scm_pidfd = 4;

  void prepare(std::size_t control_size) noexcept {
    header_ = {};
    header_.msg_iov = &vector_;
    header_.msg_iovlen = 1;
    header_.msg_control = control_size == 0 ? nullptr : control_.data();
    header_.msg_controllen = control_size;
  }

  msghdr header_{};
  iovec vector_{};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(Capacity * sizeof(int))> control_{};
};

/// Sends all of `bytes`, `fds` with the first of them, and waits as long as the socket does: EAGAIN if it is
/// non-blocking or its SO_SNDTIMEO has passed. Part of the message may have been sent by then.
[[nodiscard]] inline Result<> send_message(int socket, std::span<const std::byte> bytes,
                                           std::span<const int> fds = {}) noexcept {
  if (fds.size() > FdList::capacity) return fail(EINVAL);
  FdMessage<> message;
  while (!bytes.empty()) {
    message.prepare_send(bytes, fds);
    const ssize_t sent = ::sendmsg(socket, &message.header(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return fail(errno);
    }
    fds = {};
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return {};
}

/// Receives until `bytes` is full or the peer has closed its end; returns how many bytes came. The
/// descriptors that came with them are added to `fds`. Fails with EMSGSIZE if there were more than
/// FdList::capacity, otherwise with the socket's errors (EAGAIN as above).
[[nodiscard]] inline Result<std::size_t> receive_message(int socket, std::span<std::byte> bytes,
                                                         FdList& fds) noexcept {
  FdMessage<> message;
  std::size_t received = 0;
  while (received < bytes.size()) {
    message.prepare_receive(bytes.subspan(received));
    const ssize_t got = ::recvmsg(socket, &message.header(), MSG_CMSG_CLOEXEC);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail(errno);
    }
    if (!message.collect(fds)) return fail(EMSGSIZE);
    if (got == 0) break;
    received += static_cast<std::size_t>(got);
  }
  return received;
}

}  // namespace vumedia::io
