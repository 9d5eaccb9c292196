// vumedia-device: a virtio-media device for one virtual machine at a time, over a vhost-user socket.
//
// Exit status: 0 after SIGTERM, SIGINT or SIGHUP, and when the frontend on an inherited connection has left;
// 1 if the host lacks something or the socket cannot be had; 2 for a mistake on the command line. 1 and 2
// come with one line on standard error.
#include <cstdio>
#include <string>
#include <variant>

#include "backends.hpp"
#include "logging.hpp"
#include "version.hpp"

namespace vumedia::device {

namespace {

int stop_start(int status, const std::string& reason) {
  std::fprintf(stderr, "%s: %s\n", program_name, reason.c_str());
  return status;
}

void list_backends() {
  for (const BackendEntry* const entry : backend_entries) {
    std::printf("%-16s%s", entry->name, entry->description);
    if (entry->alias != nullptr) std::printf(" (also: %s)", entry->alias);
    std::printf("\n");
  }
}

// As QEMU's conventions for back-end programs have it: an object with the type of device and its features.
void print_capabilities() {
  std::printf(
      "{\n  \"type\": \"media\",\n  \"version\": \"%s\",\n  \"features\": [\"mem-slots\"],\n  \"backends\": "
      "[",
      program_version);
  const char* separator = "";
  for (const BackendEntry* const entry : backend_entries) {
    std::printf("%s\"%s\"", separator, entry->name);
    separator = ", ";
  }
  std::printf("]\n}\n");
}

int unknown_backend(const std::string& name) {
  if (name == "v4l2-proxy")
    return stop_start(2, "this build has no backend that passes a host device through");
  if (name == "ffmpeg-decoder")
    return stop_start(2, "this build has no ffmpeg-decoder: it was made without FFmpeg");
  std::string names;
  for (const BackendEntry* const entry : backend_entries)
    names += std::string(names.empty() ? "" : ", ") + entry->name;
  return stop_start(2, "there is no backend '" + name + "'; there are " + names);
}

int run(const Options& options) {
  const BackendEntry* const backend = find_backend(options.backend);
  if (backend == nullptr) return unknown_backend(options.backend);

  auto stop = StopSignals::block();
  if (!stop) return stop_start(1, stop.error().message);
  auto guard = TruncationGuard::install();
  if (!guard) return stop_start(1, guard.error().message);
  // Before the socket: who finds a socket finds a device.
  auto reactor = io::UringReactor::create();
  if (!reactor) return stop_start(1, reactor.error().message);
  const Logging logging(options.log_level);

  Environment environment{options, logging.log(), **reactor, *stop, *guard, {}, {}};
  if (options.socket_fd) {
    auto inherited = adopt_socket(*options.socket_fd);
    if (!inherited) return stop_start(1, inherited.error().message);
    environment.socket = std::move(*inherited);
  } else {
    auto made = ListeningSocket::make(options.socket_path, options.socket_mode);
    if (!made) return stop_start(1, made.error().message);
    environment.socket = std::move(made->fd());
    environment.file.emplace(std::move(*made));
  }
  return backend->serve(environment);
}

}  // namespace

}  // namespace vumedia::device

int main(int argc, char** argv) {
  using namespace vumedia::device;
  auto parsed = parse_options(argc, argv);
  if (const int* const status = std::get_if<int>(&parsed)) return *status;
  const Options& options = std::get<Options>(parsed);
  if (options.list_backends) list_backends();
  if (options.print_capabilities) print_capabilities();
  if (options.list_backends || options.print_capabilities) return std::fflush(stdout) == 0 ? 0 : 1;
  return run(options);
}
