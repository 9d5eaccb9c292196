// Serves the null backend, on either reactor.
#pragma once

#include <vumedia/backends/null.hpp>

#include "environment.hpp"
#include "serve.hpp"

namespace vumedia::device {

template <io::Reactor Reactor>
int serve_null(Environment& environment, Reactor& reactor) {
  note_unused_options(environment, {});
  return Service<backends::Null, Reactor>(environment, reactor).run(device_options(environment.options));
}

// In serve_null_epoll.cpp.
extern template int serve_null(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
