// Every request a frontend can send, written down once: number, body, descriptors, reply, and the protocol
// feature that it requires (vhost-user specification, "Front-end message types").
//
// A request is a type, so that a session is a set of overloads and dispatch is decided at compile time. The
// tuple is turned into an array that is indexed by the number.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <boost/hana/for_each.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>

#include <vumedia/core/result.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

// What the answer is: an acknowledgement if the frontend asks for one, or always a reply with a body of its
// own.
enum class ReplyKind : std::uint8_t { acknowledgement, own };

// How many descriptors may come with a message.
struct FdCount {
  std::uint8_t least = 0;
  std::uint8_t most = 0;
};

// A body that continues after `Head` by at most `MaxTail` bytes; the handler checks the exact length.
template <class Head, std::uint32_t MaxTail>
struct WithTail {};

namespace detail {

template <class Body>
struct BodyTraits {
  using Head = Body;
  static constexpr std::uint32_t least = sizeof(Body), most = sizeof(Body);
};
template <>
struct BodyTraits<NoBody> {
  using Head = NoBody;
  static constexpr std::uint32_t least = 0, most = 0;
};
template <class HeadType, std::uint32_t MaxTail>
struct BodyTraits<WithTail<HeadType, MaxTail>> {
  using Head = HeadType;
  static constexpr std::uint32_t least = sizeof(HeadType), most = sizeof(HeadType) + MaxTail;
};

template <std::size_t N>
struct Name {
  consteval Name(const char (&literal)[N]) { std::copy_n(literal, N, text); }  // NOLINT: implicit on purpose
  char text[N];
};

}  // namespace detail

template <Request Number, detail::Name Text, class Body, ReplyKind Kind, FdCount Fds = FdCount{},
          std::uint64_t ProtocolFeature = 0>
struct RequestSpec {
  static constexpr Request number = Number;
  static constexpr const char* name = Text.text;
  // What a handler is given; a tail follows it in the message.
  using Head = typename detail::BodyTraits<Body>::Head;
  static constexpr std::uint32_t least_size = detail::BodyTraits<Body>::least;
  static constexpr std::uint32_t most_size = detail::BodyTraits<Body>::most;
  static constexpr ReplyKind reply = Kind;
  static constexpr FdCount fds = Fds;
  static constexpr std::uint64_t protocol_feature = ProtocolFeature;
};

namespace request {

inline constexpr ReplyKind ack = ReplyKind::acknowledgement;
inline constexpr ReplyKind own = ReplyKind::own;
inline constexpr FdCount no_fds{0, 0};
inline constexpr FdCount one_fd{1, 1};
inline constexpr FdCount maybe_fd{0, 1};

using GetFeatures = RequestSpec<Request::get_features, "GET_FEATURES", NoBody, own>;
using SetFeatures = RequestSpec<Request::set_features, "SET_FEATURES", U64, ack>;
using SetOwner = RequestSpec<Request::set_owner, "SET_OWNER", NoBody, ack>;
using ResetOwner = RequestSpec<Request::reset_owner, "RESET_OWNER", NoBody, ack>;
using SetMemTable = RequestSpec<Request::set_mem_table, "SET_MEM_TABLE",
                                WithTail<MemoryTableHeader, max_table_regions * sizeof(MemoryRegion)>, ack,
                                FdCount{0, max_table_regions}>;
using SetVringNum = RequestSpec<Request::set_vring_num, "SET_VRING_NUM", VringState, ack>;
using SetVringAddr = RequestSpec<Request::set_vring_addr, "SET_VRING_ADDR", VringAddress, ack>;
using SetVringBase = RequestSpec<Request::set_vring_base, "SET_VRING_BASE", VringState, ack>;
using GetVringBase = RequestSpec<Request::get_vring_base, "GET_VRING_BASE", VringState, own>;
using SetVringKick = RequestSpec<Request::set_vring_kick, "SET_VRING_KICK", U64, ack, maybe_fd>;
using SetVringCall = RequestSpec<Request::set_vring_call, "SET_VRING_CALL", U64, ack, maybe_fd>;
using SetVringErr = RequestSpec<Request::set_vring_err, "SET_VRING_ERR", U64, ack, maybe_fd>;
using SetVringEnable = RequestSpec<Request::set_vring_enable, "SET_VRING_ENABLE", VringState, ack>;
using GetProtocolFeatures = RequestSpec<Request::get_protocol_features, "GET_PROTOCOL_FEATURES", NoBody, own>;
using SetProtocolFeatures = RequestSpec<Request::set_protocol_features, "SET_PROTOCOL_FEATURES", U64, ack>;
using GetQueueNum =
    RequestSpec<Request::get_queue_num, "GET_QUEUE_NUM", NoBody, own, no_fds, protocol_feature::mq>;
using SetBackendReqFd = RequestSpec<Request::set_backend_req_fd, "SET_BACKEND_REQ_FD", NoBody, ack, one_fd,
                                    protocol_feature::backend_req>;
using GetConfig = RequestSpec<Request::get_config, "GET_CONFIG", WithTail<ConfigHeader, max_config_size>, own,
                              no_fds, protocol_feature::config>;
using SetConfig = RequestSpec<Request::set_config, "SET_CONFIG", WithTail<ConfigHeader, max_config_size>, ack,
                              no_fds, protocol_feature::config>;
using ResetDevice =
    RequestSpec<Request::reset_device, "RESET_DEVICE", NoBody, ack, no_fds, protocol_feature::reset_device>;
using GetMaxMemSlots = RequestSpec<Request::get_max_mem_slots, "GET_MAX_MEM_SLOTS", NoBody, own, no_fds,
                                   protocol_feature::configure_mem_slots>;
using AddMemReg = RequestSpec<Request::add_mem_reg, "ADD_MEM_REG", SingleRegion, ack, one_fd,
                              protocol_feature::configure_mem_slots>;
// A descriptor has no meaning here, but some frontends send one.
using RemMemReg = RequestSpec<Request::rem_mem_reg, "REM_MEM_REG", SingleRegion, ack, maybe_fd,
                              protocol_feature::configure_mem_slots>;
using SetStatus = RequestSpec<Request::set_status, "SET_STATUS", U64, ack, no_fds, protocol_feature::status>;
using GetStatus =
    RequestSpec<Request::get_status, "GET_STATUS", NoBody, own, no_fds, protocol_feature::status>;
using GetShmemConfig =
    RequestSpec<Request::get_shmem_config, "GET_SHMEM_CONFIG", NoBody, own, no_fds, protocol_feature::shmem>;

// Known, so that they can be refused by name: the features that they need are never offered.
using SetLogBase =
    RequestSpec<Request::set_log_base, "SET_LOG_BASE", LogBase, own, maybe_fd, protocol_feature::log_shmfd>;
using SetLogFd =
    RequestSpec<Request::set_log_fd, "SET_LOG_FD", NoBody, ack, maybe_fd, protocol_feature::log_shmfd>;
using PostcopyAdvise = RequestSpec<Request::postcopy_advise, "POSTCOPY_ADVISE", NoBody, own, no_fds,
                                   protocol_feature::pagefault>;
using PostcopyListen = RequestSpec<Request::postcopy_listen, "POSTCOPY_LISTEN", NoBody, ack, no_fds,
                                   protocol_feature::pagefault>;
using PostcopyEnd =
    RequestSpec<Request::postcopy_end, "POSTCOPY_END", NoBody, own, no_fds, protocol_feature::pagefault>;
using GetInflightFd = RequestSpec<Request::get_inflight_fd, "GET_INFLIGHT_FD", InflightDescription, own,
                                  no_fds, protocol_feature::inflight_shmfd>;
using SetInflightFd = RequestSpec<Request::set_inflight_fd, "SET_INFLIGHT_FD", InflightDescription, ack,
                                  one_fd, protocol_feature::inflight_shmfd>;
using VringKick = RequestSpec<Request::vring_kick, "VRING_KICK", VringState, ack, no_fds,
                              protocol_feature::inband_notifications>;
using GetSharedObject = RequestSpec<Request::get_shared_object, "GET_SHARED_OBJECT", SharedObject, own,
                                    no_fds, protocol_feature::shared_object>;
using SetDeviceStateFd = RequestSpec<Request::set_device_state_fd, "SET_DEVICE_STATE_FD", DeviceStateTransfer,
                                     own, one_fd, protocol_feature::device_state>;
using CheckDeviceState = RequestSpec<Request::check_device_state, "CHECK_DEVICE_STATE", NoBody, own, no_fds,
                                     protocol_feature::device_state>;

}  // namespace request

inline constexpr auto requests = boost::hana::tuple_t<
    request::GetFeatures, request::SetFeatures, request::SetOwner, request::ResetOwner, request::SetMemTable,
    request::SetVringNum, request::SetVringAddr, request::SetVringBase, request::GetVringBase,
    request::SetVringKick, request::SetVringCall, request::SetVringErr, request::SetVringEnable,
    request::GetProtocolFeatures, request::SetProtocolFeatures, request::GetQueueNum,
    request::SetBackendReqFd, request::GetConfig, request::SetConfig, request::ResetDevice,
    request::GetMaxMemSlots, request::AddMemReg, request::RemMemReg, request::SetStatus, request::GetStatus,
    request::GetShmemConfig, request::SetLogBase, request::SetLogFd, request::PostcopyAdvise,
    request::PostcopyListen, request::PostcopyEnd, request::GetInflightFd, request::SetInflightFd,
    request::VringKick, request::GetSharedObject, request::SetDeviceStateFd, request::CheckDeviceState>;

// What a back-end may offer: what these requests and their answers need, and REPLY_ACK.
inline constexpr std::uint64_t offerable_protocol_features =
    protocol_feature::mq | protocol_feature::reply_ack | protocol_feature::backend_req |
    protocol_feature::backend_send_fd | protocol_feature::config | protocol_feature::reset_device |
    protocol_feature::status | protocol_feature::shmem | protocol_feature::configure_mem_slots;

inline constexpr std::size_t request_limit = 45;  // one more than the highest number

// A request as data, for the checks that are common to all requests.
struct RequestRow {
  const char* name = nullptr;  // null: no such request
  std::uint32_t least_size = 0;
  std::uint32_t most_size = 0;
  FdCount fds;
  ReplyKind reply = ReplyKind::acknowledgement;
  std::uint64_t protocol_feature = 0;
};

namespace detail {

inline constexpr auto request_rows = [] {
  std::array<RequestRow, request_limit> rows{};
  boost::hana::for_each(requests, [&rows](auto type) {
    using Spec = typename decltype(type)::type;
    rows[static_cast<std::size_t>(Spec::number)] = {Spec::name, Spec::least_size, Spec::most_size,
                                                    Spec::fds,  Spec::reply,      Spec::protocol_feature};
  });
  return rows;
}();

}  // namespace detail

// The row for a number as it was received, or null.
[[nodiscard]] constexpr const RequestRow* find_request(std::uint32_t number) noexcept {
  if (number >= request_limit || detail::request_rows[number].name == nullptr) return nullptr;
  return &detail::request_rows[number];
}

[[nodiscard]] constexpr const char* request_name(std::uint32_t number) noexcept {
  const RequestRow* const row = find_request(number);
  return row != nullptr ? row->name : "an unknown request";
}

[[nodiscard]] inline Header read_header(std::span<const std::byte> bytes) noexcept {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

// How the frontend's byte stream is divided into messages; for io::MessageSocket. After an error here the
// next message cannot be found, so the connection ends.
struct RequestFraming {
  static constexpr std::size_t header_size = sizeof(Header);
  static constexpr std::size_t max_fds = max_message_fds;

  [[nodiscard]] static Outcome<std::size_t> body_size(std::span<const std::byte> bytes) {
    const Header header = read_header(bytes);
    if ((header.flags & flag::version_mask) != flag::version)
      return failure("request %u (%s): protocol version %u, only 1 is known", header.request,
                     request_name(header.request), header.flags & flag::version_mask);
    if ((header.flags & ~(flag::version_mask | flag::need_reply)) != 0)
      return failure("request %u (%s): flags 0x%x are not those of a request", header.request,
                     request_name(header.request), header.flags);
    const RequestRow* const row = find_request(header.request);
    const std::uint32_t least = row != nullptr ? row->least_size : 0;
    const std::uint32_t most = row != nullptr ? row->most_size : max_body_size;
    if (header.size < least)
      return failure("request %u (%s): body of %u bytes is too short, at least %u are needed", header.request,
                     request_name(header.request), header.size, least);
    if (header.size > most)
      return failure("request %u (%s): body of %u bytes is too long, at most %u are allowed", header.request,
                     request_name(header.request), header.size, most);
    return header.size;
  }
};

// Whether as many descriptors came as the request takes. Not for unknown requests, whose descriptors are
// closed.
[[nodiscard]] inline Outcome<> check_fds(const RequestRow& row, std::size_t count) {
  if (count < row.fds.least) return failure("%s: its file descriptor is missing", row.name);
  if (count > row.fds.most)
    return failure("%s: %zu file descriptors came, at most %u are allowed", row.name, count, row.fds.most);
  return {};
}

}  // namespace vumedia::vhost_user
