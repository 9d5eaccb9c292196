// The frontend's end of the back-end's channel: receives SHMEM_MAP and SHMEM_UNMAP, has them carried out, and
// answers (vhost-user specification, "Back-end message types").
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/vhost_user/blocking_channel.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// A SHMEM_MAP or SHMEM_UNMAP: offsets and length are page multiples (a length is rounded up), the length is
/// not 0, and no end overflows. Only a map has an `fd`. The handler decides whether the range exists and is
/// free: an errno refuses the request.
struct ShmemRequest {
  bool map = false;  ///< otherwise it is an unmap
  ShmemMap range{};  ///< as the back-end sent it
  OwnedFd fd;        ///< owned; -1 for an unmap
};
/// Carries out a request, and answers it.
using ShmemHandler = std::move_only_function<Result<>(ShmemRequest request)>;

/// Never waits.
class ShmemServer {
 public:
  /// To be set before open(), and not from within the handler.
  void set_handler(ShmemHandler handler) { handler_ = std::move(handler); }
  /// Whether requests can be carried out.
  [[nodiscard]] bool has_handler() const noexcept { return handler_ != nullptr; }

  /// The frontend's end of a socket pair whose other end the back-end has.
  void open(OwnedFd socket) { channel_ = BlockingChannel(std::move(socket)); }
  /// Closes the channel.
  void close() noexcept { channel_.close(); }
  /// -1 without a channel.
  [[nodiscard]] int fd() const noexcept { return channel_.fd(); }

  /// Serves the requests that have arrived. An error means that the back-end breaks the protocol, which ends
  /// the whole connection. A channel that the back-end closes, or does not read, is closed; that is no error.
  [[nodiscard]] Outcome<> serve() {
    for (int i = 0; channel_ && i < requests_a_turn; ++i) {
      auto message = channel_.receive_some();
      if (!message) {
        // A back-end may do without the channel from here on; the main socket shows whether it has gone.
        channel_.close();
        return {};
      }
      if (!*message) return {};
      if (auto done = serve(**message); !done) return done;
    }
    return {};
  }

 private:
  using Message = BlockingChannel::Message;
  // Requests that are served each time a wait wakes up, so that a flood of them cannot outlast a deadline.
  static constexpr int requests_a_turn = 64;

  [[nodiscard]] Outcome<> serve(Message& message) {
    const Header header = message.header;
    if ((header.flags & ~flag::need_reply) != flag::version)
      return std::unexpected(Error{
          format_text("the back-end sent request %u with flags 0x%x", header.request, header.flags), EPROTO});
    const Result<> result = carry_out(message);
    if ((header.flags & flag::need_reply) != 0)
      reply(header, result ? 0 : static_cast<std::uint64_t>(result.error().value));
    return {};
  }

  [[nodiscard]] Result<> carry_out(Message& message) {
    const Request number{message.header.request};
    const bool map = number == backend_request::ShmemMap::number;
    if (!map && number != backend_request::ShmemUnmap::number) return fail(ENOSYS);
    ShmemRequest request{map, {}, {}};
    if (message.body.size() != sizeof request.range || !handler_) return fail(EINVAL);
    std::memcpy(&request.range, message.body.data(), sizeof request.range);
    const ShmemMap& range = request.range;
    if (!is_aligned(range.shm_offset | range.fd_offset, page_size)) return fail(EINVAL);
    // Some back-ends do not round the length to pages, but whole pages are mapped anyway.
    const auto length = align_up(range.length, page_size);
    if (!length || *length == 0) return fail(EINVAL);
    if (!checked_add(range.shm_offset, *length) || !checked_add(range.fd_offset, *length))
      return fail(EINVAL);
    request.range.length = *length;
    if (map) {
      if (message.fds.size() != 1) return fail(EBADF);
      request.fd = message.fds.take(0);
    }
    return handler_(std::move(request));
  }

  void reply(const Header& request, std::uint64_t value) {
    struct {
      Header header;
      std::uint32_t value[2];
    } reply{{request.request, flag::version | flag::reply, sizeof(U64)}, {}};
    static_assert(sizeof reply == sizeof(Header) + sizeof(U64));
    std::memcpy(reply.value, &value, sizeof value);
    std::size_t sent = 0;
    auto done = channel_.send_some(bytes_of(reply), sent, {});
    // It does not read its answers: waiting for it could take forever.
    if (!done || !*done) channel_.close();
  }

  BlockingChannel channel_;
  ShmemHandler handler_;
};

}  // namespace vumedia::vhost_user
