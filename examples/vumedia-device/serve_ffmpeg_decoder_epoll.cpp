#include "serve_ffmpeg_decoder.hpp"

namespace vumedia::device {

template int serve_ffmpeg_decoder(Environment&, io::EpollReactor&);

}  // namespace vumedia::device
