#include <vumedia/backends/test_pattern.hpp>

#include "backends.hpp"
#include "serve.hpp"

namespace vumedia::device {

const BackendEntry test_pattern_entry = {
    .name = "test-pattern",
    .alias = "simple-capture",
    .description = "a camera that shows a moving test pattern",
    .serve =
        [](Environment& environment) {
          return Service<backends::TestPattern>(environment).run(device_options(environment.options));
        },
};

}  // namespace vumedia::device
