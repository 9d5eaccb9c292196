// One end of a vhost-user socket for callers that wait: whole messages with their descriptors, sent and
// received piece by piece as the socket allows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// Owns its socket, and never waits. After a failure the position in the byte stream is unknown: the channel
/// cannot be used any more.
class BlockingChannel {
 public:
  /// A whole message.
  struct Message {
    Header header{};              ///< in the byte order of this host
    std::vector<std::byte> body;  ///< as long as the header says
    io::FdList fds;               ///< owned by the message
  };

  BlockingChannel() = default;
  /// Takes over a connected stream socket.
  explicit BlockingChannel(OwnedFd socket) noexcept : socket_(std::move(socket)) {}

  /// The socket, borrowed; -1 if there is none.
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  /// Whether there is a socket.
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
  /// Closes the socket, and forgets what has come of a message.
  void close() noexcept {
    socket_.reset();
    pending_ = {};
    received_ = 0;
  }

  /// Sends as much of `bytes` from `sent` on as fits now, with `fds` attached to the first byte, and advances
  /// `sent`. False: the rest has to wait for POLLOUT.
  [[nodiscard]] Outcome<bool> send_some(std::span<const std::byte> bytes, std::size_t& sent,
                                        std::span<const int> fds);

  /// Returns a message if all of it has arrived.
  [[nodiscard]] Outcome<std::optional<Message>> receive_some();

 private:
  [[nodiscard]] Outcome<bool> receive_into(std::span<std::byte> bytes);

  OwnedFd socket_;
  Message pending_;
  std::size_t received_ = 0;  // of header and body of pending_
};

inline Outcome<bool> BlockingChannel::send_some(std::span<const std::byte> bytes, std::size_t& sent,
                                                std::span<const int> fds) {
  if (fds.size() > max_message_fds)
    return failure("%zu file descriptors do not fit into a message", fds.size());
  io::FdMessage<max_message_fds> message;
  while (sent < bytes.size()) {
    message.prepare_send(bytes.subspan(sent), sent == 0 ? fds : std::span<const int>());
    const ssize_t result = ::sendmsg(socket_.get(), &message.header(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (result < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return false;
      return system_failure(errno, "cannot send to the back-end");
    }
    sent += static_cast<std::size_t>(result);
  }
  return true;
}

inline Outcome<std::optional<BlockingChannel::Message>> BlockingChannel::receive_some() {
  // Reads exactly what is missing, so that no read crosses into the next message and its descriptors.
  if (received_ < sizeof(Header)) {
    auto done = receive_into(std::as_writable_bytes(std::span(&pending_.header, 1)).subspan(received_));
    if (!done) return std::unexpected(std::move(done.error()));
    if (!*done) return std::nullopt;
    if (pending_.header.size > max_body_size)
      return failure("the back-end sent a message with a body of %u bytes, at most %u are allowed",
                     pending_.header.size, max_body_size);
    pending_.body.resize(pending_.header.size);
  }
  auto done = receive_into(std::span(pending_.body).subspan(received_ - sizeof(Header)));
  if (!done) return std::unexpected(std::move(done.error()));
  if (!*done) return std::nullopt;
  received_ = 0;
  return std::exchange(pending_, Message{});
}

// True once all of `bytes` has arrived.
inline Outcome<bool> BlockingChannel::receive_into(std::span<std::byte> bytes) {
  io::FdMessage<max_message_fds> message;
  while (!bytes.empty()) {
    message.prepare_receive(bytes);
    const ssize_t result = ::recvmsg(socket_.get(), &message.header(), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (result < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return false;
      return system_failure(errno, "cannot receive from the back-end");
    }
    if (!message.collect(pending_.fds)) return failure("the back-end sent too many file descriptors");
    if (result == 0) return failure("the back-end closed the connection");
    received_ += static_cast<std::size_t>(result);
    bytes = bytes.subspan(static_cast<std::size_t>(result));
  }
  return true;
}

}  // namespace vumedia::vhost_user
