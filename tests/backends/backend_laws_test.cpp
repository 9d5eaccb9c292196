#include "backends/backend_laws.hpp"

#include <vumedia/backends/null.hpp>
#include <vumedia/backends/test_pattern.hpp>

namespace vumedia::backends::test {

INSTANTIATE_TYPED_TEST_SUITE_P(Null, BackendLaws, Null);
INSTANTIATE_TYPED_TEST_SUITE_P(TestPattern, BackendLaws, TestPattern);

// With three planes in memory.
struct MultiplanarTestPattern : TestPattern {
  MultiplanarTestPattern() : TestPattern({.multiplanar = true, .pixelformat = V4L2_PIX_FMT_YUV420M}) {}
};
INSTANTIATE_TYPED_TEST_SUITE_P(MultiplanarTestPattern, BackendLaws, MultiplanarTestPattern);

}  // namespace vumedia::backends::test
