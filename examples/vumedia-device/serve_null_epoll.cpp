#include "serve_null.hpp"

namespace vumedia::device {

template int serve_null(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
