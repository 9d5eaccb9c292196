#include "serve_v4l2_proxy.hpp"

#include "backends.hpp"

namespace vumedia::device {

const BackendEntry v4l2_proxy_entry = {
    .name = "v4l2-proxy",
    .alias = nullptr,
    .description = "a V4L2 device of the host, as it is (--v4l2-device)",
    .serve_on_io_uring = serve_v4l2_proxy,
    .serve_on_epoll = serve_v4l2_proxy,
};

}  // namespace vumedia::device
