// A build without FFmpeg decodes nothing.
#include "jpeg.hpp"

namespace ctl {

struct JpegDecoder::State {};

void JpegDecoder::Delete::operator()(State* state) const noexcept {
  delete state;
}

vumedia::Outcome<JpegDecoder> JpegDecoder::create() {
  return vumedia::failure("cannot decode Motion-JPEG: this vumedia-ctl was built without FFmpeg");
}

vumedia::Outcome<Picture> JpegDecoder::decode(const Layout&, std::span<const std::byte>) {
  return vumedia::failure("there is no decoder");
}

}  // namespace ctl
