// expect: backends::M2m<Engine>: Engine needs `bool convert(const m2m::Source&, const m2m::Target&)`
// A target that is taken by value would be as good, but one that cannot be written to is none.
#include <vumedia/backends/m2m.hpp>

namespace m2m = vumedia::backends::m2m;

struct Engine {
  static constexpr const char* card = "Engine";
  static constexpr std::array<std::uint32_t, 1> output_formats{V4L2_PIX_FMT_GREY};
  static constexpr auto capture_formats = output_formats;
#ifdef CORRECTED
  bool convert(const m2m::Source&, const m2m::Target&) { return true; }
#else
  void convert(const m2m::Source&, const m2m::Target&) {}
#endif
};

vumedia::backends::M2m<Engine> device;
