// The devices that this program can serve: a list fixed at compile time. To add a backend, add a file like
// serve_null.cpp and a line in each half below.
#pragma once

#include <array>
#include <string_view>

#include "environment.hpp"

namespace vumedia::device {

struct BackendEntry {
  const char* name;
  const char* alias;  // the Rust program's name for it, or nullptr
  const char* description;
  // Serves frontends until a signal stops it. Its result is the program's exit status.
  int (*serve)(Environment& environment);
};

extern const BackendEntry null_entry;
extern const BackendEntry test_pattern_entry;
extern const BackendEntry v4l2_proxy_entry;
#ifdef VUMEDIA_WITH_FFMPEG
extern const BackendEntry ffmpeg_decoder_entry;
#endif

inline constexpr std::array backend_entries = {
    &null_entry,
    &test_pattern_entry,
    &v4l2_proxy_entry,
#ifdef VUMEDIA_WITH_FFMPEG
    &ffmpeg_decoder_entry,
#endif
};

[[nodiscard]] inline const BackendEntry* find_backend(std::string_view name) noexcept {
  for (const BackendEntry* const entry : backend_entries) {
    if (name == entry->name || (entry->alias != nullptr && name == entry->alias)) return entry;
  }
  return nullptr;
}

}  // namespace vumedia::device
