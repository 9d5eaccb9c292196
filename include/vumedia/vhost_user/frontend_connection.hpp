// How the messages of a Frontend travel: one request at a time, whose answer is waited for up to a deadline.
// Meanwhile the back-end's own requests are served.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <poll.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/vhost_user/blocking_channel.hpp>
#include <vumedia/vhost_user/shmem_server.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// Movable. An answer that does not fit the request, or comes too late, ends the connection: every later call
/// fails with the same message.
class FrontendConnection {
 public:
  using Message = BlockingChannel::Message;  ///< an answer, with its descriptors

  /// `socket` is a connected stream socket; `deadline` is for one call in total.
  FrontendConnection(OwnedFd socket, std::chrono::milliseconds deadline) noexcept
      : main_(std::move(socket)), deadline_(deadline) {}

  /// Sends a request that has no answer of its own. With `wants_ack` it asks for the acknowledgement and
  /// receives that; an error with the back-end's errno says that it refused, and the connection goes on.
  [[nodiscard]] Outcome<> tell(std::uint32_t request, const char* name, std::span<const std::byte> body,
                               std::span<const int> fds, bool wants_ack);
  /// Sends a request and receives its answer.
  [[nodiscard]] Outcome<Message> ask(std::uint32_t request, const char* name,
                                     std::span<const std::byte> body);

  /// Ends the connection, for whoever finds that an answer does not fit.
  std::unexpected<Error> broken(Error error) {
    main_.close();
    shmem_.close();
    error_ = error;
    return std::unexpected(std::move(error));
  }

  /// The back-end's channel.
  [[nodiscard]] ShmemServer& shmem() noexcept { return shmem_; }
  /// The back-end's channel.
  [[nodiscard]] const ShmemServer& shmem() const noexcept { return shmem_; }
  /// Serves what has come on it, without waiting for more.
  [[nodiscard]] Outcome<> serve_shmem() {
    auto served = shmem_.serve();
    if (!served) return broken(std::move(served.error()));
    return {};
  }

  /// The main socket, borrowed; -1 once the connection has ended.
  [[nodiscard]] int fd() const noexcept { return main_.fd(); }

  /// The error for an answer of `size` bytes to the request `name`.
  [[nodiscard]] static Error wrong_size(const char* name, std::size_t size) {
    return {format_text("%s: the back-end answered with %zu bytes", name, size), EPROTO};
  }

 private:
  using Clock = io::Clock;

  [[nodiscard]] Outcome<> send(Header header, std::span<const std::byte> body, std::span<const int> fds,
                               io::TimePoint until);
  [[nodiscard]] Outcome<Message> receive(std::uint32_t request, const char* name, io::TimePoint until);
  [[nodiscard]] Outcome<> wait(short events, io::TimePoint until);

  BlockingChannel main_;
  ShmemServer shmem_;
  std::chrono::milliseconds deadline_;
  Error error_{"not connected", ENOTCONN};
};

inline Outcome<> FrontendConnection::tell(std::uint32_t request, const char* name,
                                          std::span<const std::byte> body, std::span<const int> fds,
                                          bool wants_ack) {
  const io::TimePoint until = Clock::now() + deadline_;
  const Header header{request, flag::version | (wants_ack ? flag::need_reply : 0),
                      static_cast<std::uint32_t>(body.size())};
  if (auto done = send(header, body, fds, until); !done || !wants_ack) return done;
  auto answer = receive(request, name, until);
  if (!answer) return std::unexpected(std::move(answer.error()));
  U64 value;
  if (answer->body.size() != sizeof value) return broken(wrong_size(name, answer->body.size()));
  std::memcpy(&value, answer->body.data(), sizeof value);
  if (value.value == 0) return {};
  const int code = value.value < 4096 ? static_cast<int>(value.value) : EIO;
  return std::unexpected(Error{
      format_text("%s: the back-end refused it (%llu)", name, static_cast<unsigned long long>(value.value)),
      code});
}

inline Outcome<FrontendConnection::Message> FrontendConnection::ask(std::uint32_t request, const char* name,
                                                                    std::span<const std::byte> body) {
  const io::TimePoint until = Clock::now() + deadline_;
  const Header header{request, flag::version, static_cast<std::uint32_t>(body.size())};
  if (auto done = send(header, body, {}, until); !done) return std::unexpected(std::move(done.error()));
  return receive(request, name, until);
}

inline Outcome<> FrontendConnection::send(Header header, std::span<const std::byte> body,
                                          std::span<const int> fds, io::TimePoint until) {
  if (!main_) return std::unexpected(error_);
  std::vector<std::byte> bytes(sizeof header + body.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  std::ranges::copy(body, bytes.begin() + sizeof header);
  std::size_t sent = 0;
  while (true) {
    auto done = main_.send_some(bytes, sent, fds);
    if (!done) return broken(std::move(done.error()));
    if (*done) return {};
    if (auto waited = wait(POLLOUT, until); !waited) return waited;
  }
}

inline Outcome<FrontendConnection::Message> FrontendConnection::receive(std::uint32_t request,
                                                                        const char* name,
                                                                        io::TimePoint until) {
  while (true) {
    auto message = main_.receive_some();
    if (!message) {
      message.error().message = format_text("%s: %s", name, message.error().message.c_str());
      return broken(std::move(message.error()));
    }
    if (*message) {
      const Header& header = (*message)->header;
      if (header.request != request || header.flags != (flag::version | flag::reply))
        return broken({format_text("%s: the back-end answered with request %u, flags 0x%x", name,
                                   header.request, header.flags),
                       EPROTO});
      return std::move(**message);
    }
    if (auto waited = wait(POLLIN, until); !waited) {
      waited.error().message = format_text("%s: %s", name, waited.error().message.c_str());
      return std::unexpected(std::move(waited.error()));
    }
  }
}

// Waits until the main socket is ready for `events`, and serves the back-end's requests while it waits.
inline Outcome<> FrontendConnection::wait(short events, io::TimePoint until) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return broken({"the back-end did not answer in time", ETIMEDOUT});
    // poll() ignores a descriptor of -1.
    pollfd fds[2] = {{main_.fd(), events, 0}, {shmem_.fd(), POLLIN, 0}};
    const int ready = ::poll(fds, 2, static_cast<int>(std::min<long long>(left, 60'000)));
    if (ready < 0 && errno != EINTR) return broken(system_failure(errno, "cannot poll").error());
    if (ready <= 0) continue;
    if (fds[1].revents != 0) {
      if (auto served = serve_shmem(); !served) return served;
    }
    if (fds[0].revents != 0) return {};
  }
}

}  // namespace vumedia::vhost_user
