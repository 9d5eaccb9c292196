#include "serve_v4l2_proxy.hpp"

namespace vumedia::device {

template int serve_v4l2_proxy(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
