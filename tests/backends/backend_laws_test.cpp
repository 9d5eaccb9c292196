#include "backends/backend_laws.hpp"

#include <vumedia/backends/null.hpp>
#include <vumedia/backends/test_pattern.hpp>

namespace vumedia::backends::test {

INSTANTIATE_TYPED_TEST_SUITE_P(Null, BackendLaws, Null);
INSTANTIATE_TYPED_TEST_SUITE_P(TestPattern, BackendLaws, TestPattern);

}  // namespace vumedia::backends::test
