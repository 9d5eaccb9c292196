// vumedia-ctl: the guest's half of virtio-media without a guest. It connects to any vhost-user media device,
// shows what the device offers, captures, decodes, and measures it.
#include <cerrno>
#include <cstdio>
#include <variant>

#include "command_line.hpp"
#include "device.hpp"

#ifdef VUMEDIA_FFMPEG
extern "C" {
#include <libavutil/log.h>
}
#endif

namespace {

int run(const ctl::CommandLine& line) {
  auto device = ctl::Device::open(line.socket_path);
  auto done = device ? line.command(**device) : std::unexpected(device.error());
  if (done && std::fflush(stdout) != 0)
    done = vumedia::system_failure(errno, "cannot write to standard output");
  if (done) return static_cast<int>(*done);
  std::fflush(stdout);
  std::fprintf(stderr, "vumedia-ctl: %s\n", done.error().message.c_str());
  return static_cast<int>(ctl::Status::failed);
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = ctl::parse_command_line(argc, argv);
  if (const int* const status = std::get_if<int>(&parsed)) return *status;
  const auto& line = std::get<ctl::CommandLine>(parsed);
#ifdef VUMEDIA_FFMPEG
  // Errors come back as results; a damaged stream's own noise would only hide them.
  av_log_set_level(AV_LOG_FATAL);
#endif
  return line.examination ? line.examination(line.socket_path) : run(line);
}
