// vumedia-ctl: the guest's half of virtio-media without a guest. It connects to any vhost-user media device,
// shows what the device offers, captures, decodes, and measures it.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <variant>

#include <fcntl.h>
#include <unistd.h>

#include "command_line.hpp"
#include "device.hpp"

#ifdef VUMEDIA_FFMPEG
extern "C" {
#include <libavutil/log.h>
}
#endif

namespace {

// What a file or a socket that is opened later must not be: where lines are printed.
void occupy_standard_streams() {
  for (int fd = ::open("/dev/null", O_RDWR); fd >= 0; fd = ::dup(fd)) {
    if (fd <= STDERR_FILENO) continue;
    ::close(fd);
    return;
  }
}

// Ends with `status`, unless what was printed did not arrive.
int ended(int status) {
  errno = 0;
  const bool arrived = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (arrived || status == static_cast<int>(ctl::Status::failed)) return status;
  const char* const reason = errno != 0 ? std::strerror(errno) : "not all of it arrived";
  std::fprintf(stderr, "vumedia-ctl: cannot write to standard output: %s\n", reason);
  return static_cast<int>(ctl::Status::failed);
}

int run(const ctl::CommandLine& line) {
  auto device = ctl::Device::open(line.socket_path);
  const auto done = device ? line.command(**device) : std::unexpected(device.error());
  if (done) return ended(static_cast<int>(*done));
  std::fflush(stdout);
  std::fprintf(stderr, "vumedia-ctl: %s\n", done.error().message.c_str());
  return static_cast<int>(ctl::Status::failed);
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  // A reader that has gone is an error of writing, like a full disk.
  std::signal(SIGPIPE, SIG_IGN);
  const auto parsed = ctl::parse_command_line(argc, argv);
  if (const int* const status = std::get_if<int>(&parsed)) return ended(*status);
  const auto& line = std::get<ctl::CommandLine>(parsed);
#ifdef VUMEDIA_FFMPEG
  // Errors come back as results; log messages about a damaged stream would only hide them.
  av_log_set_level(AV_LOG_FATAL);
#endif
  return line.examination ? ended(line.examination(line.socket_path)) : run(line);
}
