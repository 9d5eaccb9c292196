#include "serve_test_pattern.hpp"

#include "backends.hpp"

namespace vumedia::device {

const BackendEntry test_pattern_entry = {
    .name = "test-pattern",
    .alias = "simple-capture",
    .description = "a camera that shows a moving test pattern",
    .serve_on_io_uring = serve_test_pattern,
    .serve_on_epoll = serve_test_pattern,
};

}  // namespace vumedia::device
