#include "describe.hpp"

#include <vumedia/v4l2/describe.hpp>

namespace vumedia::device {

std::string describe_payload(std::uint32_t ioctl, const void* payload) {
  return v4l2::describe_payload(ioctl, payload);
}

}  // namespace vumedia::device
