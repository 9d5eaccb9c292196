// The backend that has nothing: it opens, and every ioctl answers ENOTTY. What a device costs by itself is
// measured on it, and the smallest backend there can be.
#pragma once

#include <memory>

#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>

namespace vumedia::backends {

struct Null {
  struct Session {};

  [[nodiscard]] media::Config config() const noexcept {
    return {.device_caps = 0, .device_type = media::DeviceType::video, .card = "vumedia null"};
  }
  [[nodiscard]] Result<std::unique_ptr<Session>> open() { return std::make_unique<Session>(); }
};

}  // namespace vumedia::backends
