// Frontend: how its messages travel, and how the back-end's requests are served. Included by frontend.hpp.
#pragma once

#include <vumedia/vhost_user/frontend.hpp>

namespace vumedia::vhost_user {

inline Outcome<> Frontend::acknowledged(std::uint32_t request, const char* name,
                                        std::span<const std::byte> body, std::span<const int> fds) {
  const bool wants_ack = has(protocol_feature::reply_ack);
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

inline Outcome<Frontend::Message> Frontend::answered(std::uint32_t request, const char* name,
                                                     std::span<const std::byte> body) {
  const io::TimePoint until = Clock::now() + deadline_;
  const Header header{request, flag::version, static_cast<std::uint32_t>(body.size())};
  if (auto done = send(header, body, {}, until); !done) return std::unexpected(std::move(done.error()));
  return receive(request, name, until);
}

inline Outcome<> Frontend::send(Header header, std::span<const std::byte> body, std::span<const int> fds,
                                io::TimePoint until) {
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

inline Outcome<Frontend::Message> Frontend::receive(std::uint32_t request, const char* name,
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
inline Outcome<> Frontend::wait(short events, io::TimePoint until) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return broken({"the back-end did not answer in time", ETIMEDOUT});
    // poll() ignores a descriptor of -1.
    pollfd fds[2] = {{main_.fd(), events, 0}, {backend_.fd(), POLLIN, 0}};
    const int ready = ::poll(fds, 2, static_cast<int>(std::min<long long>(left, 60'000)));
    if (ready < 0 && errno != EINTR) return broken(system_failure(errno, "cannot poll").error());
    if (ready <= 0) continue;
    if (fds[1].revents != 0) {
      if (auto served = serve_backend(); !served) return served;
    }
    if (fds[0].revents != 0) return {};
  }
}

inline Outcome<> Frontend::serve_backend() {
  for (int i = 0; backend_ && i < requests_a_turn; ++i) {
    auto message = backend_.receive_some();
    if (!message) {
      // A back-end may do without the channel from here on; the main socket shows whether it has gone.
      backend_.close();
      return {};
    }
    if (!*message) return {};
    if (auto done = serve(std::move(**message)); !done) return done;
  }
  return {};
}

inline Outcome<> Frontend::serve(Message message) {
  const Header header = message.header;
  if ((header.flags & ~flag::need_reply) != flag::version)
    return broken(
        {format_text("the back-end sent request %u with flags 0x%x", header.request, header.flags), EPROTO});
  const Result<> result = shmem(message);
  if ((header.flags & flag::need_reply) == 0) return {};
  return reply_to_backend(header, result ? 0 : static_cast<std::uint64_t>(result.error().value));
}

inline Result<> Frontend::shmem(Message& message) {
  const bool map = message.header.request == static_cast<std::uint32_t>(BackendRequest::shmem_map);
  if (!map && message.header.request != static_cast<std::uint32_t>(BackendRequest::shmem_unmap))
    return fail(ENOSYS);
  ShmemRequest request{map, {}, {}};
  if (message.body.size() != sizeof request.range || !handler_) return fail(EINVAL);
  std::memcpy(&request.range, message.body.data(), sizeof request.range);
  const ShmemMap& range = request.range;
  if (!is_aligned(range.shm_offset | range.fd_offset, page_size)) return fail(EINVAL);
  // Some back-ends do not round the length to pages, but whole pages are mapped anyway.
  const auto length = align_up(range.length, page_size);
  if (!length || *length == 0) return fail(EINVAL);
  if (!checked_add(range.shm_offset, *length) || !checked_add(range.fd_offset, *length)) return fail(EINVAL);
  request.range.length = *length;
  if (map) {
    if (message.fds.size() != 1) return fail(EBADF);
    request.fd = message.fds.take(0);
  }
  return handler_(std::move(request));
}

inline Outcome<> Frontend::reply_to_backend(const Header& request, std::uint64_t value) {
  struct {
    Header header;
    std::uint32_t value[2];
  } reply{{request.request, flag::version | flag::reply, sizeof(U64)}, {}};
  static_assert(sizeof reply == sizeof(Header) + sizeof(U64));
  std::memcpy(reply.value, &value, sizeof value);
  std::size_t sent = 0;
  auto done = backend_.send_some(bytes_of(reply), sent, {});
  // It does not read its answers: waiting for it could take forever.
  if (!done || !*done) backend_.close();
  return {};
}

}  // namespace vumedia::vhost_user
