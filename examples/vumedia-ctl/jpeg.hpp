// Motion-JPEG pictures of a camera, decoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>

#include "picture.hpp"

namespace ctl {

[[nodiscard]] constexpr bool is_jpeg(std::uint32_t fourcc) noexcept {
  return fourcc == V4L2_PIX_FMT_MJPEG || fourcc == V4L2_PIX_FMT_JPEG;
}

class JpegDecoder {
 public:
  // Fails in a build without FFmpeg.
  [[nodiscard]] static vumedia::Outcome<JpegDecoder> create();

  // The picture in `bytes`, which must have the size of `layout`: a device is not trusted. Valid until the
  // next call.
  [[nodiscard]] vumedia::Outcome<Picture> decode(const Layout& layout, std::span<const std::byte> bytes);

 private:
  struct State;
  struct Delete {
    void operator()(State* state) const noexcept;
  };
  std::unique_ptr<State, Delete> state_;
};

}  // namespace ctl
