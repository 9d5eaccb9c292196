#include <vumedia/backends/null.hpp>

#include "backends.hpp"
#include "serve.hpp"

namespace vumedia::device {

const BackendEntry null_entry = {
    .name = "null",
    .alias = nullptr,
    .description = "opens, but supports no ioctls",
    .serve =
        [](Environment& environment) {
          note_unused_options(environment, {});
          return Service<backends::Null>(environment).run(device_options(environment.options));
        },
};

}  // namespace vumedia::device
