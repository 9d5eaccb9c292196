// expect: backends::M2m<Engine>: Engine needs `static constexpr std::array output_formats{...}` and
// A single format is an array of one.
#include <vumedia/backends/m2m.hpp>

namespace m2m = vumedia::backends::m2m;

struct Engine {
  static constexpr const char* card = "Engine";
#ifdef CORRECTED
  static constexpr std::array<std::uint32_t, 1> output_formats{V4L2_PIX_FMT_GREY};
#else
  static constexpr std::uint32_t output_formats = V4L2_PIX_FMT_GREY;
#endif
  static constexpr std::array<std::uint32_t, 1> capture_formats{V4L2_PIX_FMT_GREY};
  bool convert(const m2m::Source&, const m2m::Target&) { return true; }
};

vumedia::backends::M2m<Engine> device;
