// Lines of text over a socket to QEMU.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <poll.h>
#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>

#include "support/patience.hpp"

namespace vumedia::qemu_test {

// How long an answer of QEMU's may take. It answers at once; only one that hangs gets to feel this.
inline constexpr std::chrono::seconds qemu_patience = vumedia::test::patience;

// The first failure ends the connection: every later call fails, too.
class LineChannel {
 public:
  explicit LineChannel(OwnedFd socket) noexcept : socket_(std::move(socket)) {}

  [[nodiscard]] Outcome<> send(std::string_view text);
  // The next line, without its end, if it has come by `until`, or nothing.
  [[nodiscard]] Outcome<std::optional<std::string>> next(io::TimePoint until);

  std::unexpected<Error> broken(std::string message, int code) {
    if (error_.message.empty()) error_ = {std::move(message), code};
    socket_.reset();
    return std::unexpected(error_);
  }

 private:
  // Appends to received_; false: nothing came until `until`.
  [[nodiscard]] Outcome<bool> receive(io::TimePoint until);
  std::unexpected<Error> gone() { return broken("QEMU has gone", EPIPE); }

  OwnedFd socket_;
  std::string received_;
  std::size_t searched_ = 0;  // of received_, where no line ends
  Error error_;
};

inline Outcome<> LineChannel::send(std::string_view text) {
  if (!socket_) return std::unexpected(error_);
  while (!text.empty()) {
    const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return gone();
    }
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

inline Outcome<std::optional<std::string>> LineChannel::next(io::TimePoint until) {
  for (;;) {
    const std::size_t end = received_.find('\n', searched_);
    if (end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      searched_ = 0;
      return line;
    }
    searched_ = received_.size();
    auto came = receive(until);
    if (!came) return std::unexpected(std::move(came.error()));
    if (!*came) return std::nullopt;
  }
}

inline Outcome<bool> LineChannel::receive(io::TimePoint until) {
  if (!socket_) return std::unexpected(error_);
  for (;;) {
    pollfd fd{socket_.get(), POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - io::Clock::now()).count();
    const int ready = ::poll(&fd, 1, static_cast<int>(std::clamp<long long>(left, 0, 60'000)));
    if (ready == 0 && left <= 60'000) return false;
    if (ready <= 0) continue;
    const std::size_t before = received_.size();
    received_.resize(before + (1 << 16));
    const ssize_t got = ::recv(socket_.get(), received_.data() + before, 1 << 16, MSG_DONTWAIT);
    received_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got > 0) return true;
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    return gone();
  }
}

}  // namespace vumedia::qemu_test
