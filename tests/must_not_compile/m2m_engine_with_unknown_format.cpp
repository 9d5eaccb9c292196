// expect: backends::M2m<Engine>: Engine's output_formats and capture_formats must be raw formats of
// M2m cannot tell how large a picture of coded data is.
#include <vumedia/backends/m2m.hpp>

namespace m2m = vumedia::backends::m2m;

struct Engine {
  static constexpr const char* card = "Engine";
  static constexpr std::array<std::uint32_t, 1> output_formats{V4L2_PIX_FMT_GREY};
#ifdef CORRECTED
  static constexpr std::array<std::uint32_t, 1> capture_formats{V4L2_PIX_FMT_YUYV};
#else
  static constexpr std::array<std::uint32_t, 1> capture_formats{V4L2_PIX_FMT_H264};
#endif
  bool convert(const m2m::Source&, const m2m::Target&) { return true; }
};

vumedia::backends::M2m<Engine> device;
