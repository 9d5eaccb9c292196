#include "service_manager.hpp"

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace vumedia::device {

namespace {

std::optional<std::uint64_t> number_from_environment(const char* name) {
  const char* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread
  if (text == nullptr) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
  if (error != std::errc{} || *end != '\0') return std::nullopt;
  return value;
}

std::optional<std::chrono::microseconds> watchdog_from_environment() {
  const auto interval = number_from_environment("WATCHDOG_USEC");
  // Beyond 12 days the watchdog is ignored, because much larger numbers would overflow a clock.
  if (!interval || *interval == 0 || *interval > std::uint64_t{1} << 40) return std::nullopt;
  if (std::getenv("WATCHDOG_PID") != nullptr &&  // NOLINT(concurrency-mt-unsafe)
      number_from_environment("WATCHDOG_PID") != static_cast<std::uint64_t>(::getpid()))
    return std::nullopt;
  return std::chrono::microseconds(*interval / 2);
}

}  // namespace

Outcome<ServiceManager> ServiceManager::from_environment() {
  ServiceManager manager;
  const char* const path = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  if (path == nullptr || *path == '\0') return manager;

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if ((*path != '/' && *path != '@') || length >= sizeof address.sun_path)
    return failure("NOTIFY_SOCKET is '%s', which is not the address of a Unix socket", path);
  std::memcpy(address.sun_path, path, length);
  // An abstract address: its first byte is 0, and its length determines its end, not a trailing 0.
  if (*path == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + (*path == '@' ? 0 : 1));

  manager.socket_.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!manager.socket_) return system_failure(errno, "cannot make a socket for NOTIFY_SOCKET");
  const timeval limit = {.tv_sec = 2, .tv_usec = 0};
  ::setsockopt(manager.socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(manager.socket_.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return system_failure(errno, "cannot reach the service manager at NOTIFY_SOCKET %s", path);
  manager.watchdog_ = watchdog_from_environment();
  return manager;
}

bool ServiceManager::tell(std::string_view state) const noexcept {
  if (!socket_) return true;
  return ::send(socket_.get(), state.data(), state.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(state.size());
}

}  // namespace vumedia::device
