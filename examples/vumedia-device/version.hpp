#pragma once

#include <vumedia/core/version.hpp>

namespace vumedia::device {

inline constexpr const char* program_name = "vumedia-device";
inline constexpr const char* program_version = version_string;

}  // namespace vumedia::device
