#include "status_socket.hpp"

#include <cerrno>
#include <functional>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>

namespace vumedia::device {

Outcome<StatusSocket> StatusSocket::make(const std::string& path) {
  auto made = ListeningSocket::make(path, std::nullopt);
  if (!made) return std::unexpected(std::move(made.error()));
  OwnedFd fd = std::move(made->fd());
  return listen_on(std::move(fd), std::move(*made));
}

Outcome<StatusSocket> StatusSocket::adopt(int number) {
  auto fd = adopt_socket(number);
  if (!fd) return std::unexpected(std::move(fd.error()));
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0)
    return failure("the status socket, file descriptor %d, does not listen", number);
  return listen_on(std::move(*fd), std::nullopt);
}

Outcome<StatusSocket> StatusSocket::listen_on(OwnedFd fd, std::optional<ListeningSocket> file) {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return system_failure(errno, "cannot make the status socket non-blocking");
  return StatusSocket(std::move(fd), std::move(file));
}

bool StatusSocket::serve(const std::function<std::string()>& text) const {
  constexpr int connections_a_turn = 8;
  for (int i = 0; i < connections_a_turn; ++i) {
    const OwnedFd peer(::accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!peer) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return errno == EAGAIN;
    }
    const std::string answer = text();
    [[maybe_unused]] const auto sent = ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
  }
  return true;
}

}  // namespace vumedia::device
