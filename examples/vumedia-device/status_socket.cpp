#include "status_socket.hpp"

#include <cerrno>
#include <functional>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>

namespace vumedia::device {

Outcome<StatusSocket> StatusSocket::make(const std::string& path) {
  return listen_on(io::Listener::at(path));
}

Outcome<StatusSocket> StatusSocket::adopt(int number) {
  return listen_on(io::Listener::inherited(number));
}

Outcome<StatusSocket> StatusSocket::listen_on(Outcome<io::Listener> listener) {
  if (!listener) return std::unexpected(std::move(listener.error()));
  const int fd = listener->socket().get();
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0)
    return failure("the status socket, file descriptor %d, does not listen", fd);
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return system_failure(errno, "cannot make the status socket non-blocking");
  return StatusSocket(std::move(*listener));
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
