// The back-end's side of one vhost-user connection: serves the requests of a frontend and runs a device for
// it.
//
// Each message goes through the same steps: header, checks against the request table, body, whether it is
// allowed now, handler, one reply. Bytes that are not a message of the protocol end the connection with a
// text that names the request and the reason. A valid request that cannot be served is acknowledged with an
// errno if the frontend asks for acknowledgements. Otherwise it ends the connection, because the frontend
// would wrongly believe that it was served.
//
// Reset and pause. A frontend that pauses a machine stops all rings and starts them where they stopped. One
// whose guest resets the device does the same, but starts them at base 0, wherever the new driver has put
// them (SET_STATUS 0 and RESET_DEVICE announce a reset, but are not always sent). So a ring that starts at
// base 0 while no ring runs is treated as reset if it stopped at another base, or if its size or address has
// changed since. A frontend that only disables all rings (libkrun) and then sets one up again has not asked
// where it stopped, so it could not continue there: that is a reset, too. A driver that resets after exactly
// a multiple of 65536 commands and events, and puts its rings at the same place again, goes undetected.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include <boost/hana/for_each.hpp>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/message_socket.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/ring.hpp>
#include <vumedia/vhost_user/session_host.hpp>
#include <vumedia/vhost_user/wire.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::vhost_user {

struct SessionOptions {
  // A frontend can cause a log line with each message that it sends; see core/log_limiter.hpp.
  Log log;
  // Offer CONFIGURE_MEM_SLOTS. If it is offered, QEMU 11.1 crashes when a guest resets the device while a
  // mapping exists.
  bool mem_slots = false;
};

// Created, used and destroyed on the reactor's thread; the reactor outlives it. Everything that came over the
// socket, descriptors and mappings, is released when it is destroyed.
template <class Device, io::Reactor R>
class Session {
  static_assert(
      virtio::DeviceIsCompleteHere<Device>,
      "vhost_user::Session: Device is not complete here: its definition must come before the session");

 public:
  using Host = SessionHost<R>;
  // Called once, as the last thing that the session does: the connection has ended (with an empty message if
  // the frontend closed it cleanly). It may destroy the session.
  using ClosedHandler = std::move_only_function<void(const Error& error)>;

  // Serves the connected stream socket `socket` from now on. The device is constructed from its host and
  // `arguments`.
  template <class... Arguments>
  Session(R& reactor, OwnedFd socket, const SessionOptions& options, ClosedHandler closed,
          Arguments&&... arguments)
      : options_(options),
        closed_(std::move(closed)),
        host_(reactor, options.log, Device::queue_count, &Session::on_wakeup, this),
        device_(host_, std::forward<Arguments>(arguments)...),
        socket_(reactor, std::move(socket), *this) {
    static_assert(virtio::Host<Host>);
    static_assert(virtio::Device<Device>,
                  "vhost_user::Session: Device must satisfy the concept virtio::Device");
    static_assert(Device::queue_count > 0 && Device::queue_count <= vring_index_mask);
    socket_.start();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { host_.cancel(drain_timer_); }

  [[nodiscard]] int fd() const noexcept { return socket_.fd(); }
  [[nodiscard]] Device& device() noexcept { return device_; }
  [[nodiscard]] Host& host() noexcept { return host_; }

  // Ends the session as if its frontend had left: calls the closed handler, which may destroy it.
  void close() noexcept { end({}); }

  // io::MessageOwner.
  void on_message(io::Message& message) noexcept;
  void on_closed(const Error& error) noexcept { end(error); }

 private:
  // How often a draining queue is looked at while GET_VRING_BASE waits, and for how long. A device answers
  // everything within 4 seconds.
  static constexpr std::chrono::milliseconds drain_interval{1};
  static constexpr std::chrono::seconds drain_deadline{5};

  // A message on its way through a handler.
  struct Incoming {
    Header header;
    std::span<const std::byte> body;
    io::FdList& fds;
  };

  // The result of a request.
  struct Verdict {
    enum class Kind {
      done,       // to be acknowledged if the frontend asks for it
      answered,   // has its own reply, sent or to be sent
      refused,    // a valid request that cannot be served
      tolerated,  // the same, but the connection goes on even without acknowledgements
      malformed,  // the connection ends
    };
    Kind kind = Kind::done;
    Error error{};
  };
  using Kind = typename Verdict::Kind;
  static constexpr auto done = Kind::done;

  template <class... Values>
  [[nodiscard, gnu::cold]] static Verdict no(Kind kind, int code, const char* format, Values... values) {
    if constexpr (sizeof...(Values) == 0) {
      return {kind, {format, code}};
    } else {
      return {kind, {format_text(format, values...), code}};
    }
  }
  template <class... Values>
  [[nodiscard]] static Verdict refused(int code, const char* format, Values... values) {
    return no(Kind::refused, code, format, values...);
  }
  template <class... Values>
  [[nodiscard]] static Verdict malformed(const char* format, Values... values) {
    return no(Kind::malformed, EPROTO, format, values...);
  }

  // session_requests.hpp has a handler for each request. A request in the table without one needs a feature
  // that is not offered.
  Verdict handle(request::GetFeatures, const NoBody&, Incoming&);
  Verdict handle(request::SetFeatures, const U64&, Incoming&);
  Verdict handle(request::SetOwner, const NoBody&, Incoming&);
  Verdict handle(request::ResetOwner, const NoBody&, Incoming&);
  Verdict handle(request::GetProtocolFeatures, const NoBody&, Incoming&);
  Verdict handle(request::SetProtocolFeatures, const U64&, Incoming&);
  Verdict handle(request::GetQueueNum, const NoBody&, Incoming&);
  Verdict handle(request::SetMemTable, const MemoryTableHeader&, Incoming&);
  Verdict handle(request::GetMaxMemSlots, const NoBody&, Incoming&);
  Verdict handle(request::AddMemReg, const SingleRegion&, Incoming&);
  Verdict handle(request::RemMemReg, const SingleRegion&, Incoming&);
  Verdict handle(request::SetVringNum, const VringState&, Incoming&);
  Verdict handle(request::SetVringAddr, const VringAddress&, Incoming&);
  Verdict handle(request::SetVringBase, const VringState&, Incoming&);
  Verdict handle(request::GetVringBase, const VringState&, Incoming&);
  Verdict handle(request::SetVringKick, const U64&, Incoming&);
  Verdict handle(request::SetVringCall, const U64&, Incoming&);
  Verdict handle(request::SetVringErr, const U64&, Incoming&);
  Verdict handle(request::SetVringEnable, const VringState&, Incoming&);
  Verdict handle(request::SetBackendReqFd, const NoBody&, Incoming&);
  Verdict handle(request::GetConfig, const ConfigHeader&, Incoming&);
  Verdict handle(request::SetConfig, const ConfigHeader&, Incoming&);
  Verdict handle(request::ResetDevice, const NoBody&, Incoming&);
  Verdict handle(request::SetStatus, const U64&, Incoming&);
  Verdict handle(request::GetStatus, const NoBody&, Incoming&);
  Verdict handle(request::GetShmemConfig, const NoBody&, Incoming&);

  using Handler = Verdict (*)(Session&, Incoming&);
  template <class Spec>
  static Verdict dispatch(Session& session, Incoming& incoming) {
    using Head = typename Spec::Head;
    if constexpr (requires(const Head& head) { session.handle(Spec{}, head, incoming); }) {
      Head head{};
      // The framing guarantees that the body is at least this long.
      if constexpr (!std::same_as<Head, NoBody>) std::memcpy(&head, incoming.body.data(), sizeof head);
      return session.handle(Spec{}, head, incoming);
    } else {
      static_assert(Spec::protocol_feature != 0,
                    "a request without a handler must need a feature that is not offered");
      return refused(EOPNOTSUPP, "not served");
    }
  }
  static constexpr std::array<Handler, request_limit> handlers = [] {
    std::array<Handler, request_limit> table{};
    boost::hana::for_each(requests, [&table](auto type) {
      using Spec = typename decltype(type)::type;
      table[static_cast<std::size_t>(Spec::number)] = &Session::template dispatch<Spec>;
    });
    return table;
  }();

  [[nodiscard]] std::uint64_t offered_features() const noexcept {
    return feature::version_1 | feature::ring_indirect_desc | feature::ring_event_idx |
           feature::protocol_features | device_.features();
  }
  [[nodiscard]] std::uint64_t offered_protocol_features() const noexcept {
    using namespace protocol_feature;
    return mq | reply_ack | backend_req | backend_send_fd | config | protocol_feature::reset_device |
           protocol_feature::status | shmem | (options_.mem_slots ? configure_mem_slots : 0);
  }

  Verdict serve(Incoming& incoming);
  void reply(const Header& request, std::span<const std::byte> body) noexcept;
  template <class Body>
  Verdict answer(const Incoming& incoming, const Body& body) noexcept {
    reply(incoming.header, bytes_of(body));
    return {Kind::answered};
  }
  // This must come last: the session may be gone when it returns.
  void end(const Error& error) noexcept;

  // Rings: session_rings.hpp.
  using RingType = Ring<R>;
  [[nodiscard]] static constexpr std::uint16_t queue_count() noexcept { return Device::queue_count; }
  [[nodiscard]] RingType& ring(std::uint32_t index) noexcept { return *host_.rings_[index]; }
  [[nodiscard]] bool any_ring(bool RingType::* flag) const noexcept;
  [[nodiscard]] bool is_enabled(const RingType& ring) const noexcept;
  [[nodiscard]] bool may_set_up(RingType& ring) noexcept;
  [[nodiscard]] Verdict start_ring(std::uint16_t index);
  void update_ring(std::uint16_t index) noexcept;
  void update_rings() noexcept;
  void suspend_ring(RingType& ring) noexcept;
  void finish_stop(std::uint16_t index) noexcept;
  void reset_device() noexcept;
  [[nodiscard]] bool looks_reset(const RingType& ring) const noexcept;
  void replace_memory(std::shared_ptr<const memory::GuestMemory> table) noexcept;
  static void on_wakeup(io::Operation& operation, std::int32_t result) noexcept;
  void ring_woken(RingType& ring, std::uint16_t index, std::int32_t result) noexcept;
  [[gnu::cold, gnu::noinline]] void kick_failed(std::uint16_t index, std::int32_t result) noexcept;
  void on_drain_timer(std::int32_t result) noexcept;

  SessionOptions options_;
  ClosedHandler closed_;
  Host host_;
  Device device_;
  io::MessageSocket<R, RequestFraming, Session> socket_;

  std::uint64_t features_ = 0;
  bool features_set_ = false;
  std::uint64_t protocol_features_ = 0;
  bool protocol_features_set_ = false;
  std::uint8_t status_ = 0;

  // GET_VRING_BASE of this ring waits for its commands; until then no message is read.
  bool draining_ = false;
  std::uint16_t drained_ = 0;
  Header drain_request_{};
  io::TimePoint drain_until_{};
  bool reply_failed_ = false;
  io::MemberOperation<&Session::on_drain_timer> drain_timer_{*this};
};

template <class Device, io::Reactor R>
void Session<Device, R>::on_message(io::Message& message) noexcept {
  Incoming incoming{read_header(message.bytes), message.bytes.subspan(sizeof(Header)), message.fds};
  const char* const name = request_name(incoming.header.request);
  const bool wants_ack = (incoming.header.flags & flag::need_reply) != 0 &&
                         (protocol_features_ & protocol_feature::reply_ack) != 0;
  Verdict verdict = serve(incoming);
  if (verdict.kind == Kind::answered) {
    if (reply_failed_) end({format_text("%s: the frontend does not read its replies", name), EPIPE});
    return;
  }

  const RequestRow* const row = find_request(incoming.header.request);
  const bool can_ack = wants_ack && (row == nullptr || row->reply == ReplyKind::acknowledgement);
  if (verdict.kind != Kind::done) {
    const std::string text =
        format_text("request %u (%s): %s", incoming.header.request, name, verdict.error.message.c_str());
    if (verdict.kind == Kind::malformed || (verdict.kind == Kind::refused && !can_ack))
      return end({text, verdict.error.code});
    host_.log().write(LogLevel::warning, "%s", text.c_str());
  }
  if (!can_ack) return;
  reply(incoming.header, bytes_of(U64{static_cast<std::uint64_t>(verdict.error.code)}));
  if (reply_failed_) end({format_text("%s: the frontend does not read its replies", name), EPIPE});
}

template <class Device, io::Reactor R>
typename Session<Device, R>::Verdict Session<Device, R>::serve(Incoming& incoming) {
  const RequestRow* const row = find_request(incoming.header.request);
  if (row == nullptr) return refused(EOPNOTSUPP, "not known");
  if (auto checked = check_fds(*row, incoming.fds.size()); !checked)
    return {Kind::malformed, std::move(checked.error())};
  if ((row->protocol_feature & ~protocol_features_) != 0)
    return refused(EOPNOTSUPP, "the protocol feature it needs was not negotiated");
  host_.log().write(LogLevel::trace, "%s", row->name);
  return handlers[incoming.header.request](*this, incoming);
}

template <class Device, io::Reactor R>
void Session<Device, R>::reply(const Header& request, std::span<const std::byte> body) noexcept {
  std::byte bytes[sizeof(Header) + sizeof(ShmemConfig)];  // the longest reply
  const Header header{request.request, flag::version | flag::reply, static_cast<std::uint32_t>(body.size())};
  std::memcpy(bytes, &header, sizeof header);
  std::ranges::copy(body, bytes + sizeof header);
  if (!socket_.send(std::span<const std::byte>(bytes).first(sizeof header + body.size())))
    reply_failed_ = true;
}

template <class Device, io::Reactor R>
void Session<Device, R>::end(const Error& error) noexcept {
  socket_.close();
  // The handler may destroy this object and with it the member that holds the handler.
  if (ClosedHandler closed = std::move(closed_)) closed(Error(error));
}

}  // namespace vumedia::vhost_user

#include <vumedia/vhost_user/session_requests.hpp>
#include <vumedia/vhost_user/session_rings.hpp>
