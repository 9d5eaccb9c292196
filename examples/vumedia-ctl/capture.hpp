// Frames from a capture device, one after the other.
#pragma once

#include <functional>

#include <vumedia/core/result.hpp>

#include "device.hpp"
#include "picture.hpp"
#include "queue.hpp"
#include "writers.hpp"

namespace ctl {

// Streams `count` frames in the format in force. `consume` gets each, valid during the call.
[[nodiscard]] vumedia::Outcome<> stream_frames(
    Device& device, std::uint64_t count,
    const std::function<vumedia::Outcome<>(const Layout&, const Queue::Filled&)>& consume);

// The format in force on a queue.
[[nodiscard]] vumedia::Outcome<v4l2_format> get_format(Device& device, std::uint32_t type);

// The rate in force in frames a second, 0/1 if the device does not say.
[[nodiscard]] Fraction get_rate(Device& device, std::uint32_t type);

}  // namespace ctl
