// Sockets that systemd, or another program with its protocol, opened for this program (sd_listen_fds(3)):
// descriptors from 3 on, counted by LISTEN_FDS, named by LISTEN_FDNAMES, and meant only for the process
// LISTEN_PID.
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

// The sockets that the environment names. The variables are removed from it, and the descriptors are made
// close-on-exec, so that no child takes them for its own. None if they are meant for another process. The
// descriptors stay open until io::Listener takes them over.
[[nodiscard]] Outcome<std::vector<ActivationSocket>> take_activation_sockets();

// Hands `sockets` to the devices that name no socket of their own (as their socket_fd): first to those with
// the socket's name, then the rest in order. The one named "status" is returned, unless a device has that
// name: it replaces --status-socket. Fails unless each device has a socket and each socket is used.
[[nodiscard]] Outcome<std::optional<int>> assign_sockets(std::span<const ActivationSocket> sockets,
                                                         std::span<Options> devices);

}  // namespace vumedia::device
