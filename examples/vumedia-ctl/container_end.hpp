// Whether a file ends where its container says that it does. libavformat takes the end of a file for the end
// of its stream in some containers, wherever that is.
#pragma once

#include <optional>
#include <string>

#include "ffmpeg.hpp"

namespace ctl {

// What is missing, in words; nothing if nothing is, or if it cannot be known: for a pipe, and for containers
// that do not say how long they are. Opens `url`, from which `container` is read, once more.
[[nodiscard]] std::optional<std::string> missing_end(AVFormatContext& container, const std::string& url);

}  // namespace ctl
