// A frontend that sends any bytes, for messages that Frontend would never send.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/vhost_user/wire.hpp>

#include "support/patience.hpp"

namespace vumedia::vhost_user::test {

[[nodiscard]] constexpr std::uint32_t number(Request request) {
  return static_cast<std::uint32_t>(request);
}

inline constexpr std::uint64_t everything = Frontend::default_protocol_features;

class RawFrontend {
 public:
  explicit RawFrontend(OwnedFd socket) : socket_(std::move(socket)) {
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &vumedia::test::socket_patience,
                 sizeof vumedia::test::socket_patience);
  }

  void send_bytes(std::span<const std::byte> bytes, std::span<const int> fds = {}) {
    // The other side may have closed the connection already.
    static_cast<void>(io::send_message(socket_.get(), bytes, fds));
  }
  void send(std::uint32_t request, std::span<const std::byte> body, std::span<const int> fds = {},
            std::uint32_t flags = flag::version | flag::need_reply) {
    std::vector<std::byte> bytes(sizeof(Header) + body.size());
    const Header header{request, flags, static_cast<std::uint32_t>(body.size())};
    std::memcpy(bytes.data(), &header, sizeof header);
    if (!body.empty()) std::memcpy(bytes.data() + sizeof header, body.data(), body.size());
    send_bytes(bytes, fds);
  }
  template <class Body>
  void send(Request request, const Body& body, std::span<const int> fds = {},
            std::uint32_t flags = flag::version | flag::need_reply) {
    send(number(request), bytes_of(body), fds, flags);
  }

  // The first u64 of the next reply, or nothing if the connection ends.
  std::optional<std::uint64_t> reply(std::uint32_t request) {
    Header header{};
    io::FdList fds;
    const auto got = io::receive_message(socket_.get(), std::as_writable_bytes(std::span(&header, 1)), fds);
    if (!got || *got < sizeof header) return std::nullopt;
    EXPECT_EQ(header.request, request);
    EXPECT_EQ(header.flags, flag::version | flag::reply);
    std::vector<std::byte> body(header.size);
    static_cast<void>(io::receive_message(socket_.get(), body, fds));
    std::uint64_t value = 0;
    if (body.size() >= sizeof value) std::memcpy(&value, body.data(), sizeof value);
    return value;
  }
  bool is_closed() {
    std::byte byte;
    io::FdList fds;
    const auto got = io::receive_message(socket_.get(), std::span(&byte, 1), fds);
    return got ? *got == 0 : got.error().value == ECONNRESET;
  }
  void negotiate(std::uint64_t protocol_features) {
    send(request::SetProtocolFeatures::number, U64{protocol_features}, {}, flag::version);
    send(request::SetFeatures::number, U64{Frontend::default_features}, {}, flag::version);
  }
  [[nodiscard]] int fd() const { return socket_.get(); }

 private:
  OwnedFd socket_;
};

}  // namespace vumedia::vhost_user::test
