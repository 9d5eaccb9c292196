// A backend without a mistake, to make one of.
#pragma once

#include <vumedia/media/device.hpp>

#include "host.hpp"

struct MinimalBackend {
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
};

// The same with a session that cannot be copied, as most are.
struct PinnedBackend {
  struct Session {
    Session() = default;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
  };
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
};
