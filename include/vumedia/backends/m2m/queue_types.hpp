// The buffer types of a memory-to-memory device's two queues.
#pragma once

#include <cstdint>

#include <linux/videodev2.h>

namespace vumedia::backends::m2m {

/// Which of V4L2's two APIs for video buffers the device has. A buffer has one plane in both.
struct QueueTypes {
  std::uint32_t output = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;    ///< V4L2_BUF_TYPE_VIDEO_OUTPUT*
  std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;  ///< V4L2_BUF_TYPE_VIDEO_CAPTURE*

  /// Those of one plane API.
  [[nodiscard]] static constexpr QueueTypes of(bool multiplanar) noexcept {
    if (multiplanar) return {};
    return {V4L2_BUF_TYPE_VIDEO_OUTPUT, V4L2_BUF_TYPE_VIDEO_CAPTURE};
  }
  /// Whether it is one of the two; any number may be asked about.
  [[nodiscard]] constexpr bool contains(std::uint32_t type) const noexcept {
    return type == output || type == capture;
  }
  /// Which API it is.
  [[nodiscard]] constexpr bool multiplanar() const noexcept {
    return output == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
  }
};

}  // namespace vumedia::backends::m2m
