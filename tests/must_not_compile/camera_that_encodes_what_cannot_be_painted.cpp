// expect: for an encoder, Source has to be a camera::PaintingSource
// A source that only fills buffers would be called on two threads at once.
#include <vumedia/backends/camera.hpp>
#include <vumedia/backends/test_pattern/source.hpp>

namespace camera = vumedia::backends::camera;

struct Source {
  static constexpr const char *card = "Camera", *input = "Camera";
  camera::Modes modes() const;
  vumedia::Result<> fill(const camera::Frame&);
};

struct Encoder {
  static constexpr std::uint32_t pixelformat = V4L2_PIX_FMT_MJPEG;
  vumedia::Result<camera::Easel> prepare(std::uint32_t, std::uint32_t) { return camera::Easel(); }
  vumedia::Result<std::span<const std::byte>> encode(std::int32_t) { return std::span<const std::byte>(); }
};

#ifdef CORRECTED
template class vumedia::backends::Camera<vumedia::backends::test_pattern::PatternSource, Encoder>;
#else
template class vumedia::backends::Camera<Source, Encoder>;
#endif
