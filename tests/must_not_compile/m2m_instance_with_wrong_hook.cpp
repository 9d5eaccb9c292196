// expect: backends::M2m<Engine>: Engine::Instance's `may_start` must be `Result<> may_start(const
// What is nearly an optional member is not taken for a missing one.
#include <vumedia/backends/m2m.hpp>

namespace m2m = vumedia::backends::m2m;

struct Formats {
  vumedia::Result<> enumerate(v4l2_fmtdesc&) const { return {}; }
  vumedia::Result<> enumerate(v4l2_frmsizeenum&) const { return {}; }
  vumedia::Result<> get(v4l2_format&) const { return {}; }
  vumedia::Result<> adjust(v4l2_format&) const { return {}; }
  vumedia::Result<> set(v4l2_format&, bool) { return {}; }
  bool keeps_other(const v4l2_format&) const { return true; }
  std::uint32_t size_image(std::uint32_t) const { return 4096; }
};

struct Engine {
  static constexpr const char* card = "Engine";
  m2m::BufferLimits buffer_limits() const { return {4096, 4096}; }
  struct Instance {
    Instance(Engine&, m2m::File&) {}
    Formats& formats() { return all; }
    void queued(const vumedia::v4l2::BufferQueue&) {}
    void started(const vumedia::v4l2::BufferQueue&) {}
    void stopped(const vumedia::v4l2::BufferQueue&) {}
#ifdef CORRECTED
    vumedia::Result<> may_start(const vumedia::v4l2::BufferQueue&) { return {}; }
#else
    bool may_start(const vumedia::v4l2::BufferQueue&) { return true; }
#endif
    Formats all;
  };
};

vumedia::backends::M2m<Engine> device;
