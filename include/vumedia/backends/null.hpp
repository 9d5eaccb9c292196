// The backend that has nothing: it opens, and every ioctl answers ENOTTY. It is the smallest possible
// backend, and serves to measure what a device costs by itself.
#pragma once

#include <memory>

#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>

namespace vumedia::backends {

/// A device that can be opened, and answers every ioctl ENOTTY.
struct Null {
  struct Session {};

  /// A video device without capabilities.
  [[nodiscard]] media::Config config() const noexcept {
    return {.device_caps = 0, .device_type = media::DeviceType::video, .card = "vumedia null"};
  }
  /// A file without a state.
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context) { return std::make_unique<Session>(); }
};

}  // namespace vumedia::backends
