// The back-end's side of one vhost-user connection: serves the requests of a frontend and runs a device for
// it.
//
// Each message goes through the same steps: header, checks against the request table, body, whether it is
// allowed now, handler, one reply. Bytes that are not a message of the protocol end the connection with a
// text that names the request and the reason. A valid request that cannot be served is acknowledged with an
// errno if the frontend asks for acknowledgements. Otherwise it ends the connection, because the frontend
// would wrongly believe that it was served.
//
// The handlers are in *_requests.hpp, the device and its rings in served_device.hpp.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/message_socket.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/vhost_user/channel_requests.hpp>
#include <vumedia/vhost_user/device_requests.hpp>
#include <vumedia/vhost_user/feature_requests.hpp>
#include <vumedia/vhost_user/handlers.hpp>
#include <vumedia/vhost_user/memory_requests.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/ring_requests.hpp>
#include <vumedia/vhost_user/served_device.hpp>
#include <vumedia/vhost_user/session_host.hpp>
#include <vumedia/vhost_user/verdict.hpp>
#include <vumedia/vhost_user/wire.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::vhost_user {

/// What the back-end's side of a connection offers and reports.
struct SessionOptions {
  /// A frontend can cause a log line with each message that it sends; see core/log_limiter.hpp.
  Log log;
  /// Offer CONFIGURE_MEM_SLOTS. If it is offered, QEMU 11.1 crashes when a guest resets the device while a
  /// mapping exists.
  bool mem_slots = false;
};

/// Created, used and destroyed on the reactor's thread; the reactor outlives it. Everything that came over
/// the socket, descriptors and mappings, is released when it is destroyed.
template <class Device, io::Reactor R>
class Session {
  static_assert(
      virtio::DeviceIsCompleteHere<Device>,
      "vhost_user::Session: Device is not complete here: its definition must come before the session");

 public:
  using Host = SessionHost<R>;  ///< of the device
  /// Called once, as the last thing that the session does: the connection has ended (with an empty message if
  /// the frontend closed it cleanly). It may destroy the session.
  using ClosedHandler = std::move_only_function<void(const Error& error)>;

  /// Serves the connected stream socket `socket` from now on. The device is constructed from its host and
  /// `arguments`.
  template <class... Arguments>
  Session(R& reactor, OwnedFd socket, const SessionOptions& options, ClosedHandler closed,
          Arguments&&... arguments)
      : closed_(std::move(closed)),
        served_(reactor, options.log, *this, std::forward<Arguments>(arguments)...),
        features_(served_, options.mem_slots),
        socket_(reactor, std::move(socket), *this) {
    socket_.start();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// The socket, borrowed; -1 once the session has ended.
  [[nodiscard]] int fd() const noexcept { return socket_.fd(); }
  /// What the session runs; both last as long as it.
  ///@{
  [[nodiscard]] Device& device() noexcept { return served_.device(); }
  [[nodiscard]] Host& host() noexcept { return served_.host(); }
  ///@}

  /// Ends the session as if its frontend had left: calls the closed handler, which may destroy it.
  void close() noexcept { end({}); }

  /// io::MessageOwner.
  void on_message(io::Message& message) noexcept;
  /// io::MessageOwner.
  void on_closed(const Error& error) noexcept { end(error); }

  /// ServedDeviceOwner.
  [[nodiscard]] bool peer_has_left() const noexcept { return socket_.peer_has_left(); }
  /// ServedDeviceOwner.
  ///@{
  void on_stopped(const VringState& state) noexcept;
  void on_stop_failed(const Error& error) noexcept { end(error); }
  ///@}

 private:
  using Served = ServedDevice<Device, R, Session>;
  using Features = FeatureRequests<Served>;
  using MemoryTable = MemoryRequests<Host>;
  using RingSetup = RingRequests<Served>;
  using WholeDevice = DeviceRequests<Served>;
  using Channel = ChannelRequests<Host>;

  [[nodiscard]] Verdict serve(const Header& header, io::Message& message);
  // These two must come last: the session may be gone when they return. False from the first says that.
  bool reply(const Header& request, std::span<const std::byte> body) noexcept;
  void end(const Error& error) noexcept;

  ClosedHandler closed_;
  Served served_;
  Features features_;
  MemoryTable memory_{served_.host()};
  RingSetup rings_{served_};
  WholeDevice whole_device_{served_};
  Channel channel_{served_.host()};
  Handlers<FromFrontend, Features, MemoryTable, RingSetup, WholeDevice, Channel> handlers_{
      features_, memory_, rings_, whole_device_, channel_};
  Header unanswered_{};  // the request whose reply comes later
  io::MessageSocket<R, RequestFraming, Session> socket_;
};

template <class Device, io::Reactor R>
void Session<Device, R>::on_message(io::Message& message) noexcept {
  const Header header = read_header(message.bytes);
  const char* const name = request_name(header.request);
  const bool wants_ack = (header.flags & flag::need_reply) != 0 && features_.has(protocol_feature::reply_ack);
  const Verdict verdict = serve(header, message);
  if (verdict.kind == Verdict::Kind::answered) {
    reply(header, verdict.answer);
    return;
  }
  if (verdict.kind == Verdict::Kind::later) {
    unanswered_ = header;
    socket_.pause();
    return;
  }

  const RequestRow* const row = find_request(header.request);
  const bool can_ack = wants_ack && (row == nullptr || row->reply == ReplyKind::acknowledgement);
  if (verdict.is_error()) {
    const std::string text =
        format_text("request %u (%s): %s", header.request, name, verdict.error.message.c_str());
    if (verdict.kind == Verdict::Kind::malformed || (verdict.kind == Verdict::Kind::refused && !can_ack))
      return end({text, verdict.error.code});
    served_.host().log().write(LogLevel::warning, "%s", text.c_str());
  }
  if (can_ack) reply(header, bytes_of(U64{static_cast<std::uint64_t>(verdict.error.code)}));
}

template <class Device, io::Reactor R>
Verdict Session<Device, R>::serve(const Header& header, io::Message& message) {
  const RequestRow* const row = find_request(header.request);
  if (row == nullptr) return refused(EOPNOTSUPP, "not known");
  if (auto checked = check_fds(*row, message.fds.size()); !checked)
    return {Verdict::Kind::malformed, std::move(checked.error())};
  if (!features_.has(row->protocol_feature))
    return refused(EOPNOTSUPP, "the protocol feature it needs was not negotiated");
  served_.host().log().write(LogLevel::trace, "%s", row->name);
  return handlers_.handle(header.request, message.bytes.subspan(sizeof(Header)), message.fds);
}

template <class Device, io::Reactor R>
void Session<Device, R>::on_stopped(const VringState& state) noexcept {
  if (!reply(unanswered_, bytes_of(state))) return;
  served_.resume();
  socket_.resume();
}

template <class Device, io::Reactor R>
bool Session<Device, R>::reply(const Header& request, std::span<const std::byte> body) noexcept {
  const Header header{request.request, flag::version | flag::reply, static_cast<std::uint32_t>(body.size())};
  std::vector<std::byte> bytes(sizeof header + body.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  std::ranges::copy(body, bytes.begin() + sizeof header);
  if (socket_.send(bytes)) return true;
  end({format_text("%s: the frontend does not read its replies", request_name(request.request)), EPIPE});
  return false;
}

template <class Device, io::Reactor R>
void Session<Device, R>::end(const Error& error) noexcept {
  socket_.close();
  // The handler may destroy this object and with it the member that holds the handler.
  if (ClosedHandler closed = std::move(closed_)) closed(Error(error));
}

}  // namespace vumedia::vhost_user
