#pragma once

#include <cstdint>
#include <string>

namespace vumedia::device {

// v4l2::describe_payload, compiled once for all backends.
[[nodiscard]] std::string describe_payload(std::uint32_t ioctl, const void* payload);

}  // namespace vumedia::device
