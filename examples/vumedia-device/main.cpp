// vumedia-device: virtio-media devices, each for one virtual machine at a time, over vhost-user sockets.
//
// Exit status: 0 after SIGTERM, SIGINT or SIGHUP, and when the frontends on inherited connections have left;
// 1 if the host lacks something or a socket is not available; 2 for a mistake on the command line. 1 and 2
// come with one line on standard error.
#include <cstdio>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "activation.hpp"
#include "backends.hpp"
#include "supervisor.hpp"
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

// Follows QEMU's conventions for back-end programs: an object with the type of device and its features.
void print_capabilities() {
  // A feature is the name of an option that may be given.
  std::printf(
      "{\n  \"type\": \"media\",\n  \"version\": \"%s\",\n  \"features\": [\"backend\", \"device\", "
      "\"mem-slots\", \"shmem-size\", \"status-socket\"],\n  \"backends\": [",
      program_version);
  const char* separator = "";
  for (const BackendEntry* const entry : backend_entries) {
    std::printf("%s\"%s\"", separator, entry->name);
    separator = ", ";
  }
  std::printf("]\n}\n");
}

int unknown_backend(const std::string& name) {
  if (name == "ffmpeg-decoder")
    return stop_start(2, "this build has no ffmpeg-decoder: it was built without FFmpeg");
  std::string names;
  for (const BackendEntry* const entry : backend_entries)
    names += std::string(names.empty() ? "" : ", ") + entry->name;
  return stop_start(2, "there is no backend '" + name + "'; there are " + names);
}

int run(CommandLine& line) {
  std::vector<const BackendEntry*> backends;
  for (const Options& options : line.devices) {
    const BackendEntry* const backend = find_backend(options.backend);
    if (backend == nullptr) return unknown_backend(options.backend);
    backends.push_back(backend);
  }
  const auto sockets = take_activation_sockets();
  if (!sockets) return stop_start(1, sockets.error().message);
  const auto status_fd = assign_sockets(*sockets, line.devices);
  // If no socket was passed in, one is missing on the command line.
  if (!status_fd) return stop_start(sockets->empty() ? 2 : 1, status_fd.error().message);
  return Supervisor(line, std::move(backends), *status_fd).run();
}

}  // namespace

}  // namespace vumedia::device

int main(int argc, char** argv) {
  using namespace vumedia::device;
  auto parsed = parse_command_line(argc, argv);
  if (const int* const status = std::get_if<int>(&parsed)) return *status;
  auto& line = std::get<CommandLine>(parsed);
  if (line.list_backends) list_backends();
  if (line.print_capabilities) print_capabilities();
  if (line.list_backends || line.print_capabilities) return std::fflush(stdout) == 0 ? 0 : 1;
  return run(line);
}
