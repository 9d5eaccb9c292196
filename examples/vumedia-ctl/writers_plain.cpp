// A build without FFmpeg has no encoder for images.
#include "writers.hpp"

namespace ctl {

vumedia::Outcome<> write_png(const std::string& path, std::uint32_t, std::uint32_t,
                             std::span<const std::uint8_t>) {
  return vumedia::failure("cannot write %s: this vumedia-ctl was built without FFmpeg", path.c_str());
}

}  // namespace ctl
