// What a backend's service is given to run in.
#pragma once

#include <optional>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/io/uring_reactor.hpp>

#include "listening_socket.hpp"
#include "options.hpp"
#include "stop_signals.hpp"
#include "truncation_guard.hpp"

namespace vumedia::device {

struct Environment {
  const Options& options;
  const Log& log;
  io::UringReactor& reactor;
  StopSignals& stop;
  TruncationGuard& guard;
  // Listening, or connected already.
  OwnedFd socket;
  // The socket's file, if it was made at a path.
  std::optional<ListeningSocket> file;
};

}  // namespace vumedia::device
