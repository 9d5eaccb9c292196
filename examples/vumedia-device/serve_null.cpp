#include "serve_null.hpp"

#include "backends.hpp"

namespace vumedia::device {

const BackendEntry null_entry = {
    .name = "null",
    .alias = nullptr,
    .description = "opens, but supports no ioctls",
    .serve_on_io_uring = serve_null,
    .serve_on_epoll = serve_null,
};

}  // namespace vumedia::device
