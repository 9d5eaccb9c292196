// Sockets that systemd, or whoever speaks its protocol, opened for this program (sd_listen_fds(3)):
// descriptors from 3 on, counted by LISTEN_FDS, named by LISTEN_FDNAMES, and meant for the process LISTEN_PID
// only.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <vumedia/core/result.hpp>

#include "options.hpp"

namespace vumedia::device {

struct ActivationSocket {
  int fd = -1;
  std::string name;  // empty if it has none
};

// What the environment says. The variables are taken out of it, and the descriptors are closed on exec, so
// that no child takes them for its own. None if they are meant for another process. The descriptors stay open
// until adopt_socket() takes them over.
[[nodiscard]] Outcome<std::vector<ActivationSocket>> take_activation_sockets();

// Hands `sockets` to the devices that name no socket of their own (as their socket_fd): first to those with
// the socket's name, then what is left in order. The one named "status", unless a device has that name, is
// returned: it takes the place of --status-socket. Fails unless each device ends with a socket and each
// socket with a taker.
[[nodiscard]] Outcome<std::optional<int>> assign_sockets(std::span<const ActivationSocket> sockets,
                                                         std::span<Options> devices);

}  // namespace vumedia::device
