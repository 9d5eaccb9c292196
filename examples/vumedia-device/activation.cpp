#include "activation.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace vumedia::device {

namespace {

constexpr int first_descriptor = 3;
constexpr int most_descriptors = 1024;

std::optional<std::string> take_variable(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread
  if (value == nullptr) return std::nullopt;
  std::string text = value;
  ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text;
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Outcome<std::vector<ActivationSocket>> take_activation_sockets() {
  const auto process = take_variable("LISTEN_PID");
  const auto count = take_variable("LISTEN_FDS");
  const auto names = take_variable("LISTEN_FDNAMES");
  if (!process || !count || number(*process) != ::getpid()) return std::vector<ActivationSocket>{};
  const auto descriptors = number(*count);
  if (!descriptors || *descriptors < 0 || *descriptors > most_descriptors)
    return failure("LISTEN_FDS is '%s', which is not a number of sockets", count->c_str());

  std::vector<ActivationSocket> sockets;
  std::string_view rest = names ? *names : std::string_view{};
  for (int i = 0; i < *descriptors; ++i) {
    const int fd = first_descriptor + i;
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
      return failure("LISTEN_FDS names file descriptor %d: %s", fd, std::strerror(errno));
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    sockets.push_back({fd, std::string(rest.substr(0, colon))});
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return sockets;
}

Outcome<std::optional<int>> assign_sockets(std::span<const ActivationSocket> sockets,
                                           std::span<Options> devices) {
  std::vector<const ActivationSocket*> left;
  for (const ActivationSocket& socket : sockets) left.push_back(&socket);
  const auto wants_one = [](const Options& device) {
    return device.socket_path.empty() && !device.socket_fd;
  };
  const auto take = [&left](auto found) {
    const int fd = (*found)->fd;
    left.erase(found);
    return fd;
  };

  for (Options& device : devices) {
    if (!device.named || !wants_one(device)) continue;
    const auto found = std::ranges::find(left, device.name, &ActivationSocket::name);
    if (found != left.end()) device.socket_fd = take(found);
  }
  std::optional<int> status;
  if (const auto found = std::ranges::find(left, std::string_view("status"), &ActivationSocket::name);
      found != left.end())
    status = take(found);
  for (Options& device : devices) {
    if (!wants_one(device)) continue;
    if (left.empty()) {
      if (sockets.empty() && devices.size() == 1)
        return failure("no socket to serve: --socket-path or --socket-fd is required");
      return failure("no socket for the device %s: it names none, and none was passed in for it",
                     device.name.c_str());
    }
    device.socket_fd = take(left.begin());
  }
  if (!left.empty())
    return failure("%zu sockets were passed in, and %zu of them match no device", sockets.size(),
                   left.size());
  return status;
}

}  // namespace vumedia::device
