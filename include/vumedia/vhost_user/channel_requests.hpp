// The request that brings the back-end's channel to the frontend.
#pragma once

#include <cerrno>
#include <utility>

#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/verdict.hpp>

namespace vumedia::vhost_user {

/// `Host` is a SessionHost, which outlives this: something with open_channel().
template <class Host>
class ChannelRequests {
 public:
  /// `host` is borrowed.
  explicit ChannelRequests(Host& host) noexcept : host_(host) {}

  /// Opens the back-end's channel with the socket that came. Anything but a Unix stream socket is refused,
  /// because other files have conditions that the loop does not expect; the channel stays as it was.
  Verdict handle(const Received<request::SetBackendReqFd>& message) {
    OwnedFd socket = message.fds.take(0);
    if (option(socket, SO_DOMAIN) != AF_UNIX || option(socket, SO_TYPE) != SOCK_STREAM)
      return refused(EINVAL, "the descriptor for the back-end's channel is not a Unix stream socket");
    host_.open_channel(std::move(socket));
    return {};
  }

 private:
  // -1 if `fd` is not a socket.
  [[nodiscard]] static int option(const OwnedFd& fd, int name) noexcept {
    int value = -1;
    socklen_t size = sizeof value;
    return ::getsockopt(fd.get(), SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
  }

  Host& host_;
};

}  // namespace vumedia::vhost_user
