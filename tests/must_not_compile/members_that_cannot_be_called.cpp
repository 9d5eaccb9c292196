// expect: media::Backend: its member `mmap` is not a public mmap(Session&, std::uint32_t mem_offset)
// expect: media::Backend: its member `close` is not a public close(Session&)
// expect: media::Backend: its member `statistics` is not a public statistics()
// Without the error, they would be treated as missing: one lacks the session, the others are private.
#include <vumedia/media/device.hpp>
#include <vumedia/media/statistics.hpp>

#include "host.hpp"

class Backend {
 public:
  struct Session {};
  vumedia::media::Config config() const { return {}; }
  vumedia::Result<std::unique_ptr<Session>> open(vumedia::media::Context) {
    return std::make_unique<Session>();
  }
#ifdef CORRECTED
  vumedia::Result<vumedia::media::Mappable> mmap(Session&, std::uint32_t) { return vumedia::fail(EINVAL); }
#else
  vumedia::Result<vumedia::media::Mappable> mmap(std::uint32_t) { return vumedia::fail(EINVAL); }

 private:
#endif
  void close(Session&) {}
  vumedia::media::Statistics& statistics() { return statistics_; }
  vumedia::media::Statistics statistics_;
};

template class vumedia::media::Device<Backend, Host>;
