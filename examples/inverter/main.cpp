// A memory-to-memory device in under 80 lines: each picture comes back as its negative.
//
//   inverter /tmp/inverter.sock &
//   vumedia-ctl --socket-path /tmp/inverter.sock compliance
#include <algorithm>
#include <array>
#include <cstdio>

#include <vumedia/backends/m2m.hpp>
#include <vumedia/vumedia.hpp>

using namespace vumedia;
namespace m2m = backends::m2m;

struct Inverter {
  static constexpr const char* card = "Inverter";
  static constexpr std::array<std::uint32_t, 1> output_formats{V4L2_PIX_FMT_YUV420};
  static constexpr auto capture_formats = output_formats;

  bool convert(const m2m::Source& from, const m2m::Target& to) {
    std::ranges::transform(from.bytes, to.bytes.begin(), [](std::byte sample) { return ~sample; });
    return true;
  }
};

int main(int, char** arguments) {
  auto listener = io::Listener::at(arguments[1] != nullptr ? arguments[1] : "inverter.sock");
  if (!listener) return std::fprintf(stderr, "%s\n", listener.error().message.c_str()), 1;
  const auto served = vhost_user::serve<backends::M2m<Inverter>>(std::move(*listener));
  if (!served) return std::fprintf(stderr, "%s\n", served.error().message.c_str()), 1;
}
