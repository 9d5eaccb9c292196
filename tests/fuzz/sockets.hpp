// Sockets of targets that speak vhost-user: nothing waits.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/wire.hpp>

#include "fuzz/input.hpp"

namespace vumedia::fuzz {

[[nodiscard]] inline std::pair<OwnedFd, OwnedFd> socket_pair() {
  int ends[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "there are sockets");
  return {OwnedFd(ends[0]), OwnedFd(ends[1])};
}

// Any number of descriptors, up to the kernel's 253. What the peer has no room for is lost.
inline void send_some(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  if (bytes.empty()) return;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(64 * sizeof(int))> control{};
  fds = fds.first(std::min<std::size_t>(fds.size(), 64));
  iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  }
  static_cast<void>(::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

// What is there now, up to the size of `bytes`; 0 if nothing is, or the peer has gone.
[[nodiscard]] inline std::size_t receive_some(int socket, std::span<std::byte> bytes, io::FdList& fds) {
  io::FdMessage<> message;
  message.prepare_receive(bytes);
  const ssize_t got = ::recvmsg(socket, &message.header(), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got <= 0) return 0;
  static_cast<void>(message.collect(fds));
  return static_cast<std::size_t>(got);
}

// What a back-end answers on the main socket, which is well formed whatever it was asked.
class Replies {
 public:
  void read(int socket) {
    std::array<std::byte, 4096> bytes;
    io::FdList fds;
    while (const std::size_t got = receive_some(socket, bytes, fds)) {
      require(fds.empty(), "no descriptors come with a reply");
      unread_.insert(unread_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(got));
    }
    std::size_t at = 0;
    while (unread_.size() - at >= sizeof(vhost_user::Header)) {
      vhost_user::Header header;
      std::memcpy(&header, unread_.data() + at, sizeof header);
      require(header.flags == (vhost_user::flag::version | vhost_user::flag::reply), "a reply has its flags");
      require(header.size <= vhost_user::max_body_size, "a reply has a bounded size");
      // The rest waits for us to read.
      if (unread_.size() - at < sizeof header + header.size) break;
      at += sizeof header + header.size;
    }
    unread_.erase(unread_.begin(), unread_.begin() + static_cast<std::ptrdiff_t>(at));
  }

 private:
  std::vector<std::byte> unread_;
};

}  // namespace vumedia::fuzz
