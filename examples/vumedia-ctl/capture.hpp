// Frames from a capture device, one after another.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <vumedia/core/result.hpp>

#include "commands.hpp"
#include "device.hpp"
#include "picture.hpp"
#include "queue.hpp"
#include "writers.hpp"

namespace ctl {

// Streams `count` frames in the current format. `consume` gets each frame, which is valid during the call.
[[nodiscard]] vumedia::Outcome<> stream_frames(
    Device& device, std::uint64_t count,
    const std::function<vumedia::Outcome<>(const Layout&, const Queue::Filled&)>& consume);

// The current format of a queue.
[[nodiscard]] vumedia::Outcome<v4l2_format> get_format(Device& device, std::uint32_t type);

// The current rate in frames per second, 0/1 if the device does not say.
[[nodiscard]] Fraction get_rate(Device& device, std::uint32_t type);

struct Size {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
};
// In the form 640x480, each from 1 to 65535.
[[nodiscard]] std::optional<Size> parse_size(const std::string& text);

// Whether the file can hold the requested pixel format.
[[nodiscard]] vumedia::Outcome<> check_format(const CaptureOptions& options);

}  // namespace ctl
