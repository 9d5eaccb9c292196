// Framed messages with file descriptors over a UNIX stream socket, driven by a reactor.
//
// A message is a header of fixed size and a body whose size is in the header. It may arrive in pieces as
// small as the peer likes, and descriptors may come with any of them. Nothing is read beyond the current
// message, so descriptors are never attributed to the wrong one.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include <poll.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/receive_operation.hpp>

namespace vumedia::io {

/// Header and body of a message, and the descriptors that came with it.
struct Message {
  std::span<const std::byte> bytes;  ///< valid during on_message
  FdList fds;                        ///< closed unless taken
};

/// How a stream is divided into messages. `body_size` bounds what it returns, because that much is allocated
/// for a peer's message. An error from it ends the connection.
template <class F>
concept MessageFraming = requires(std::span<const std::byte> header) {
  { F::header_size } -> std::convertible_to<std::size_t>;
  { F::max_fds } -> std::convertible_to<std::size_t>;  // in one message
  { F::body_size(header) } -> std::same_as<Outcome<std::size_t>>;
} && (F::header_size > 0) && (F::max_fds <= FdList::capacity);

/// What a MessageSocket calls on its owner: on the loop's thread, never from within a call that the owner
/// makes. In both calls the owner may destroy the socket, and itself.
template <class O>
concept MessageOwner = requires(O& owner, Message& message, const Error& error) {
  { owner.on_message(message) } noexcept;
  // The last call; the socket is closed. The peer closed its end between two messages (an empty
  // error.message) or within one, or sent something that is not a message, or the connection broke.
  { owner.on_closed(error) } noexcept;
};

/// Neither movable nor copyable, because the kernel knows its address. Nothing is read before start().
template <class Reactor, MessageFraming Framing, class Owner>
class MessageSocket {
 public:
  /// Bytes that may wait for a peer that does not read. Beyond that, send() refuses.
  static constexpr std::size_t max_queued_bytes = 256 * 1024;
  static constexpr std::size_t max_queued_messages = 256;  ///< likewise, whatever their size

  /// `socket` is a connected stream socket, blocking or not; `reactor` and `owner` outlive this.
  MessageSocket(Reactor& reactor, OwnedFd socket, Owner& owner) noexcept
      : reactor_(reactor), owner_(owner), socket_(std::move(socket)) {}
  MessageSocket(const MessageSocket&) = delete;
  MessageSocket& operator=(const MessageSocket&) = delete;
  ~MessageSocket() {
    close();
    if (destroyed_ != nullptr) *destroyed_ = true;
  }

  /// Begins to deliver messages.
  void start() noexcept {
    static_assert(MessageOwner<Owner>,
                  "the owner lacks on_message(Message&) or on_closed(const Error&), noexcept");
    resume();
  }

  /// No message is delivered until resume(); at most one is read ahead. An error still closes the socket. If
  /// no read was pending, the end of the peer is noticed only after resume(); peer_has_left() detects it
  /// earlier.
  void pause() noexcept { paused_ = true; }
  /// Delivers messages again; one that was read ahead comes in another turn of the loop.
  void resume() noexcept;

  /// Queues a message, which must not be empty; its descriptors are duplicated. False if too much already
  /// waits for the peer, if descriptors cannot be duplicated (none or more than FdList::capacity), or if the
  /// socket is closed.
  [[nodiscard]] bool send(std::span<const std::byte> bytes, std::span<const int> fds = {});
  /// The same, but takes ownership of the descriptors.
  [[nodiscard]] bool send_owned(std::span<const std::byte> bytes, FdList fds);

  /// Drops what was not sent, and does not call on_closed. May be called again.
  void close() noexcept;

  /// Whether the peer has closed its end; what it sent before may still be unread.
  [[nodiscard]] bool peer_has_left() const noexcept {
    pollfd state{socket_.get(), 0, 0};
    return is_open() && ::poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
  }

  /// Whether messages can be sent.
  [[nodiscard]] bool is_open() const noexcept { return static_cast<bool>(socket_); }
  /// The socket, borrowed; -1 if it is closed.
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  /// Bytes that wait to be sent.
  [[nodiscard]] std::size_t queued_bytes() const noexcept { return queued_bytes_; }

 private:
  struct Outgoing {
    std::vector<std::byte> bytes;
    FdList fds;
    std::size_t sent = 0;
  };

  void receive() noexcept;
  void on_received(std::int32_t result) noexcept;
  void on_resumed(std::int32_t result) noexcept;
  void advance() noexcept;
  void deliver() noexcept;
  void transmit() noexcept;
  void on_sent(std::int32_t result) noexcept;
  void end(const Error& error) noexcept;

  Reactor& reactor_;
  Owner& owner_;
  OwnedFd socket_;
  bool paused_ = true;
  // Set while on_message runs: where to note that the call destroyed this object.
  bool* destroyed_ = nullptr;

  // The current message: `received_` of `expected_` bytes have arrived. `expected_` includes the body once
  // the header is complete.
  std::vector<std::byte> buffer_ = std::vector<std::byte>(Framing::header_size);
  std::size_t received_ = 0;
  bool header_done_ = false;
  FdList fds_;
  MemberOperation<&MessageSocket::on_received, ReceiveOperation> receive_operation_{*this, Framing::max_fds};
  MemberOperation<&MessageSocket::on_resumed> resume_operation_{*this};

  // The first one is being sent.
  std::deque<Outgoing> queue_;
  std::size_t queued_bytes_ = 0;
  FdMessage<> outgoing_;
  MemberOperation<&MessageSocket::on_sent> send_operation_{*this};
};

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::resume() noexcept {
  if (!paused_) return;
  paused_ = false;
  // Within on_message, deliver() continues by itself. Otherwise the loop does it, because a message may be
  // complete already and the caller must not be called back from here.
  if (!is_open() || destroyed_ != nullptr || receive_operation_.pending() || resume_operation_.pending())
    return;
  if (received_ < buffer_.size())
    receive();
  else
    reactor_.timer(resume_operation_, TimePoint::min());
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::on_resumed(std::int32_t) noexcept {
  advance();
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::receive() noexcept {
  reactor_.receive(receive_operation_, socket_.get(), std::span(buffer_).subspan(received_));
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::on_received(std::int32_t result) noexcept {
  if (result == -EINTR) return receive();
  if (result < 0) return end(system_failure(-result, "cannot receive").error());
  if (!receive_operation_.collect(fds_) || fds_.size() > Framing::max_fds)
    return end(
        failure("more than %zu file descriptors came with a message, or more than this process may open",
                std::size_t{Framing::max_fds})
            .error());
  if (result == 0 && received_ == 0) return end(Error{});
  if (result == 0)
    return end(failure("the peer ended after %zu of a message's %zu bytes%s", received_, buffer_.size(),
                       header_done_ ? "" : " or more")
                   .error());
  received_ += static_cast<std::size_t>(result);
  if (received_ == buffer_.size() && !header_done_) {
    const Outcome<std::size_t> body = Framing::body_size(std::span<const std::byte>(buffer_));
    if (!body) return end(body.error());
    header_done_ = true;
    buffer_.resize(Framing::header_size + *body);
  }
  advance();
}

// Reads on, if a message may come.
template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::advance() noexcept {
  if (paused_) return;
  if (received_ < buffer_.size()) return receive();
  deliver();
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::deliver() noexcept {
  // The owner may destroy this socket, so the parts of the message are moved out of it.
  std::vector<std::byte> bytes = std::exchange(buffer_, {});
  Message message{bytes, std::exchange(fds_, {})};
  received_ = 0;
  header_done_ = false;
  bool destroyed = false;
  destroyed_ = &destroyed;
  owner_.on_message(message);
  if (destroyed) return;
  destroyed_ = nullptr;
  bytes.resize(Framing::header_size);
  buffer_ = std::move(bytes);
  if (is_open() && !paused_) receive();
}

template <class Reactor, MessageFraming Framing, class Owner>
bool MessageSocket<Reactor, Framing, Owner>::send(std::span<const std::byte> bytes,
                                                  std::span<const int> fds) {
  auto copies = duplicate_fds(fds);
  return copies && send_owned(bytes, std::move(*copies));
}

template <class Reactor, MessageFraming Framing, class Owner>
bool MessageSocket<Reactor, Framing, Owner>::send_owned(std::span<const std::byte> bytes, FdList fds) {
  if (!is_open() || bytes.empty()) return false;
  if (queue_.size() >= max_queued_messages || bytes.size() > max_queued_bytes - queued_bytes_) return false;
  queue_.push_back({{bytes.begin(), bytes.end()}, std::move(fds), 0});
  queued_bytes_ += bytes.size();
  if (!send_operation_.pending()) transmit();
  return true;
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::transmit() noexcept {
  const Outgoing& first = queue_.front();
  outgoing_.prepare_send(std::span(first.bytes).subspan(first.sent), first.fds);
  reactor_.send(send_operation_, socket_.get(), outgoing_.header());
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::on_sent(std::int32_t result) noexcept {
  if (result == -EINTR) return transmit();
  if (result < 0) return end(system_failure(-result, "cannot send").error());
  Outgoing& first = queue_.front();
  first.fds.clear();  // they went with the first byte
  first.sent += static_cast<std::size_t>(result);
  queued_bytes_ -= static_cast<std::size_t>(result);
  if (first.sent == first.bytes.size()) queue_.pop_front();
  if (!queue_.empty()) transmit();
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::close() noexcept {
  if (!is_open()) return;
  reactor_.cancel(receive_operation_);
  reactor_.cancel(resume_operation_);
  reactor_.cancel(send_operation_);
  socket_.reset();
  fds_.clear();
  queue_.clear();
  queued_bytes_ = 0;
}

template <class Reactor, MessageFraming Framing, class Owner>
void MessageSocket<Reactor, Framing, Owner>::end(const Error& error) noexcept {
  close();
  owner_.on_closed(error);  // this object may be gone when it returns
}

}  // namespace vumedia::io
