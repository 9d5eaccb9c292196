// Serves one frontend after another on a socket.
//
// A back-end has one guest at a time. A second frontend is refused at once, by closing its connection, so
// that it does not wait for replies that never come. A restarted frontend is accepted even if the end of its
// predecessor has not been read yet.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>

namespace vumedia::vhost_user {

/// `SessionType` is a Session<Device, R>. Created, used and destroyed on the reactor's thread.
template <io::Reactor R, class SessionType>
class Server {
 public:
  /// Makes a session for a connected socket. The session must call the handler when it ends.
  using Factory = std::move_only_function<Outcome<std::unique_ptr<SessionType>>(
      OwnedFd socket, typename SessionType::ClosedHandler closed)>;
  /// Called when the only session of an already connected socket has ended. It may stop the reactor or
  /// destroy the server.
  using FinishedHandler = std::move_only_function<void()>;

  /// `socket` is a listening stream socket or a connected one; the kernel is asked which.
  [[nodiscard]] static Outcome<std::unique_ptr<Server>> create(R& reactor, OwnedFd socket, const Log& log,
                                                               Factory factory,
                                                               FinishedHandler finished = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { reactor_.cancel(acceptable_); }

  /// The current session, or null.
  [[nodiscard]] SessionType* session() noexcept { return session_.get(); }

 private:
  // The delay after a failed accept, for instance because no descriptors are left.
  static constexpr std::chrono::milliseconds retry_interval{100};
  // Connections accepted at once; the next poll finds more.
  static constexpr int accepts_a_turn = 16;

  Server(R& reactor, const Log& log, Factory factory, FinishedHandler finished)
      : reactor_(reactor), log_(log), factory_(std::move(factory)), finished_(std::move(finished)) {}

  void arm() noexcept { reactor_.poll(acceptable_, listener_.get(), POLLIN); }
  void on_acceptable(std::int32_t result) noexcept;
  void take(OwnedFd socket) noexcept;
  [[nodiscard]] bool predecessor_is_gone() const noexcept;
  void on_session_closed(const Error& error) noexcept;
  [[nodiscard]] Outcome<> begin(OwnedFd socket);

  R& reactor_;
  const Log log_;
  Factory factory_;
  FinishedHandler finished_;
  OwnedFd listener_;
  std::unique_ptr<SessionType> session_;
  bool accept_fails_ = false;
  io::MemberOperation<&Server::on_acceptable> acceptable_{*this};
};

template <io::Reactor R, class SessionType>
Outcome<std::unique_ptr<Server<R, SessionType>>> Server<R, SessionType>::create(R& reactor, OwnedFd socket,
                                                                                const Log& log,
                                                                                Factory factory,
                                                                                FinishedHandler finished) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0)
    return system_failure(errno, "the descriptor %d is not a socket to serve", socket.get());
  std::unique_ptr<Server> server(new Server(reactor, log, std::move(factory), std::move(finished)));
  if (listening == 0) {
    if (auto begun = server->begin(std::move(socket)); !begun)
      return std::unexpected(std::move(begun.error()));
    return server;
  }
  // A connection can be gone between poll and accept, and accept must not wait for another one then.
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return system_failure(errno, "cannot make the listening socket non-blocking");
  server->listener_ = std::move(socket);
  server->arm();
  return server;
}

template <io::Reactor R, class SessionType>
Outcome<> Server<R, SessionType>::begin(OwnedFd socket) {
  auto session = factory_(std::move(socket), [this](const Error& error) { on_session_closed(error); });
  if (!session) return std::unexpected(std::move(session.error()));
  session_ = std::move(*session);
  return {};
}

template <io::Reactor R, class SessionType>
void Server<R, SessionType>::on_acceptable(std::int32_t) noexcept {
  for (int i = 0; i < accepts_a_turn; ++i) {
    OwnedFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket) {
      accept_fails_ = false;
      take(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) break;
    // Logged once for as long as the failure lasts, because accept is retried all the time.
    if (!std::exchange(accept_fails_, true))
      log_.write(LogLevel::error, "%s",
                 system_failure(errno, "cannot accept a frontend").error().message.c_str());
    return reactor_.timer(acceptable_, io::Clock::now() + retry_interval);
  }
  arm();
}

template <io::Reactor R, class SessionType>
void Server<R, SessionType>::take(OwnedFd socket) noexcept {
  if (session_ != nullptr) {
    if (!predecessor_is_gone()) {
      log_.write(LogLevel::warning, "a second frontend is refused: another one is being served");
      return;
    }
    log_.write(LogLevel::info, "a frontend replaces one that has gone");
    // Whoever counts sessions is told of its end, as of any other.
    session_->close();
  }
  log_.write(LogLevel::info, "a frontend has connected");
  if (auto begun = begin(std::move(socket)); !begun)
    log_.write(LogLevel::error, "cannot serve the frontend: %s", begun.error().message.c_str());
}

template <io::Reactor R, class SessionType>
bool Server<R, SessionType>::predecessor_is_gone() const noexcept {
  pollfd state{session_->fd(), POLLRDHUP, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

template <io::Reactor R, class SessionType>
void Server<R, SessionType>::on_session_closed(const Error& error) noexcept {
  if (error.message.empty())
    log_.write(LogLevel::info, "the frontend has left");
  else
    log_.write(LogLevel::error, "the frontend's connection has ended: %s", error.message.c_str());
  session_.reset();
  if (listener_ || !finished_) return;
  // It may destroy this object.
  FinishedHandler finished = std::move(finished_);
  finished();
}

}  // namespace vumedia::vhost_user
