// The devices that this program can serve: a list fixed at compile time. To add a backend, add files like
// serve_null.* and a line in each half below.
#pragma once

#include <array>
#include <string_view>

#include <vumedia/io/epoll_reactor.hpp>
#include <vumedia/io/uring_reactor.hpp>

#include "environment.hpp"

namespace vumedia::device {

struct BackendEntry {
  const char* name;
  const char* alias;  // the Rust program's name for it, or nullptr
  const char* description;
  // Each serves frontends until a signal stops it. Its result is the program's exit status. A backend is
  // compiled for each reactor, in a file of its own.
  int (*serve_on_io_uring)(Environment& environment, io::UringReactor& reactor);
  int (*serve_on_epoll)(Environment& environment, io::EpollReactor& reactor);

  [[nodiscard]] int serve(Environment& environment, io::UringReactor& reactor) const {
    return serve_on_io_uring(environment, reactor);
  }
  [[nodiscard]] int serve(Environment& environment, io::EpollReactor& reactor) const {
    return serve_on_epoll(environment, reactor);
  }
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
