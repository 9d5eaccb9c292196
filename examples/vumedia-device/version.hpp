#pragma once

namespace vumedia::device {

inline constexpr const char* program_name = "vumedia-device";
inline constexpr const char* program_version = VUMEDIA_VERSION;

}  // namespace vumedia::device
