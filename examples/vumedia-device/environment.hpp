// What a backend's service is given to run in: all of it belongs to one device, and to its thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/uring_reactor.hpp>

#include "counters.hpp"
#include "options.hpp"

namespace vumedia::device {

struct Environment {
  const Options& options;
  const Log& log;
  io::UringReactor& reactor;
  Counters& counters;
  // Listening, or connected already.
  OwnedFd socket;

  // The device is there for frontends. Said once, by the service.
  std::function<void()> serving;
  // Why the device could not start; set by a service that returns another status than 0 before it serves.
  std::string failure;
  // Addresses at which shared memory turned out to be cut off; if they are this device's, it drops its
  // frontend. Set by the service, called within reactor.run().
  std::function<void(std::span<const std::uintptr_t>)> memory_cut_off;

  // The status of a service that cannot start.
  [[nodiscard]] int fail(const Error& error) {
    failure = error.message;
    return 1;
  }
};

}  // namespace vumedia::device
