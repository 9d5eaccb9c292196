// Serves a V4L2 device of the host, on either reactor.
#pragma once

#include <memory>
#include <utility>

#include <vumedia/backends/v4l2_proxy.hpp>

#include "environment.hpp"
#include "serve.hpp"

namespace vumedia::device {

template <io::Reactor Reactor>
int serve_v4l2_proxy(Environment& environment, Reactor& reactor) {
  auto node = backends::v4l2_proxy::examine_node(environment.options.v4l2_device);
  if (!node) return environment.fail(node.error());
  environment.log.write(LogLevel::info, "passing through %s: %s (driver %s)", node->path.c_str(),
                        node->card.c_str(), node->driver.c_str());
  note_unused_options(environment, {.planes = false, .decoder = false, .node = true});
  backends::V4l2ProxyOptions proxy;
  proxy.node = std::make_shared<const backends::v4l2_proxy::NodeInfo>(std::move(*node));
  // One for all frontends: files that one has left open may still be closing when the next one comes.
  proxy.shared = std::make_shared<backends::v4l2_proxy::Shared>();
  if (environment.options.limits.max_buffer_bytes != 0)
    proxy.max_buffer_bytes = environment.options.limits.max_buffer_bytes;
  return Service<backends::V4l2Proxy, Reactor>(environment, reactor)
      .run(device_options(environment.options), proxy);
}

// In serve_v4l2_proxy_epoll.cpp.
extern template int serve_v4l2_proxy(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
