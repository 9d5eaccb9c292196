#include "serve_test_pattern.hpp"

namespace vumedia::device {

template int serve_test_pattern(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
