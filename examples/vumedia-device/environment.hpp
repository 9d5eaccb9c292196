// The environment of a backend's service, next to its reactor: all of it belongs to one device and its
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>

#include "counters.hpp"
#include "options.hpp"

namespace vumedia::device {

struct Environment {
  const Options& options;
  const Log& log;
  Counters& counters;
  // Listening, or already connected.
  OwnedFd socket;

  // The device is ready for frontends. Called once, by the service.
  std::function<void()> serving;
  // Why the device could not start; set by a service that returns a status other than 0 before it serves.
  std::string failure;
  // Called with addresses at which shared memory turned out to be truncated; if they belong to this device,
  // it drops its frontend. Set by the service, called within the reactor's run().
  std::function<void(std::span<const std::uintptr_t>)> memory_cut_off;

  // The status of a service that cannot start.
  [[nodiscard]] int fail(const Error& error) {
    failure = error.message;
    return 1;
  }
};

}  // namespace vumedia::device
