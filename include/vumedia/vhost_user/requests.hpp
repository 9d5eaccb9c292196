// Every request of the protocol, written down once: who sends it, number, name, description, body, reply,
// descriptors, and the protocol feature that it requires (vhost-user specification, "Front-end message types"
// and "Back-end message types").
//
// A request is a type, so that a session is a set of overloads and dispatch is decided at compile time. To
// add one, declare it and enter it in the sequence of its direction below. What is entered needs a handler
// (handlers.hpp), unless it needs a protocol feature that is not offered; what is not entered can be neither
// handled nor sent. Neither compiles otherwise.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include <boost/hana/for_each.hpp>
#include <boost/hana/size.hpp>
#include <boost/hana/tuple.hpp>
#include <boost/hana/type.hpp>
#include <boost/hana/unpack.hpp>
#include <boost/hana/value.hpp>

#include <vumedia/core/result.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// What the answer is: an acknowledgement if the frontend asks for one, or always a reply with a body of its
/// own.
enum class ReplyKind : std::uint8_t { acknowledgement, own };

/// How many descriptors may come with a message.
struct FdCount {
  std::uint8_t least = 0;  ///< as few as this
  std::uint8_t most = 0;   ///< as many as this
};

/// A body that continues after `Head` by at most `MaxTail` bytes; the handler checks the exact length.
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
struct Text {
  consteval Text(const char (&literal)[N]) { std::copy_n(literal, N, text); }  // NOLINT: implicit on purpose
  char text[N];
};

}  // namespace detail

/// Who sends a request. A direction has a sequence of its requests: sequence_of.
struct FromFrontend;
struct FromBackend;

/// The contents of a request, each of which is a type derived from this.
template <class Way, std::uint32_t Number, detail::Text Name, detail::Text Description, class Body,
          ReplyKind Kind, FdCount Fds = FdCount{}, std::uint64_t ProtocolFeature = 0>
struct RequestSpec {
  using Direction = Way;                                        ///< who sends it
  static constexpr Request number{Number};                      ///< as in the specification
  static constexpr const char* name = Name.text;                ///< in capitals, as in the specification
  static constexpr const char* description = Description.text;  ///< what it is about, in a clause
  /// What a handler is given; a tail follows it in the message.
  using Head = typename detail::BodyTraits<Body>::Head;
  /// Bytes of a body.
  ///@{
  static constexpr std::uint32_t least_size = detail::BodyTraits<Body>::least;
  static constexpr std::uint32_t most_size = detail::BodyTraits<Body>::most;
  ///@}
  static constexpr ReplyKind reply = Kind;  ///< how it is answered
  static constexpr FdCount fds = Fds;       ///< how many descriptors come with it
  /// Required bit of protocol_feature; 0: none.
  static constexpr std::uint64_t protocol_feature = ProtocolFeature;
};

/// A request of the frontend's.
template <std::uint32_t Number, detail::Text Name, detail::Text Description, class Body, ReplyKind Kind,
          FdCount Fds = FdCount{}, std::uint64_t ProtocolFeature = 0>
using FrontendRequest =
    RequestSpec<FromFrontend, Number, Name, Description, Body, Kind, Fds, ProtocolFeature>;
/// They can be asked to acknowledge.
template <std::uint32_t Number, detail::Text Name, detail::Text Description, class Body,
          FdCount Fds = FdCount{}, std::uint64_t ProtocolFeature = protocol_feature::backend_req>
using BackendRequest = RequestSpec<FromBackend, Number, Name, Description, Body, ReplyKind::acknowledgement,
                                   Fds, ProtocolFeature>;

/// The requests of a frontend, named as in the specification.
namespace request {

/// How a request is answered.
///@{
inline constexpr ReplyKind ack = ReplyKind::acknowledgement;
inline constexpr ReplyKind own = ReplyKind::own;
///@}
/// How many descriptors come with a request.
///@{
inline constexpr FdCount no_fds{0, 0};
inline constexpr FdCount one_fd{1, 1};
inline constexpr FdCount maybe_fd{0, 1};
///@}

struct GetFeatures final
    : FrontendRequest<1, "GET_FEATURES", "the feature bits that the device and the transport offer", NoBody,
                      own> {};
struct SetFeatures final
    : FrontendRequest<2, "SET_FEATURES", "the feature bits that the driver has taken", U64, ack> {};
struct SetOwner final : FrontendRequest<3, "SET_OWNER", "this frontend owns the session", NoBody, ack> {};
struct ResetOwner final
    : FrontendRequest<4, "RESET_OWNER", "deprecated: the session has no owner any more", NoBody, ack> {};
struct SetMemTable final
    : FrontendRequest<5, "SET_MEM_TABLE", "where all of guest memory is",
                      WithTail<MemoryTableHeader, max_table_regions * sizeof(MemoryRegion)>, ack,
                      FdCount{0, max_table_regions}> {};
struct SetVringNum final
    : FrontendRequest<8, "SET_VRING_NUM", "the number of entries of a ring", VringState, ack> {};
struct SetVringAddr final
    : FrontendRequest<9, "SET_VRING_ADDR", "where the parts of a ring are", VringAddress, ack> {};
struct SetVringBase final
    : FrontendRequest<10, "SET_VRING_BASE", "the index at which a ring starts", VringState, ack> {};
struct GetVringBase final
    : FrontendRequest<11, "GET_VRING_BASE", "stops a ring, and asks for the index at which it can continue",
                      VringState, own> {};
struct SetVringKick final
    : FrontendRequest<12, "SET_VRING_KICK",
                      "starts a ring, with the descriptor by which the driver notifies the device", U64, ack,
                      maybe_fd> {};
struct SetVringCall final
    : FrontendRequest<13, "SET_VRING_CALL", "the descriptor by which the device interrupts the driver", U64,
                      ack, maybe_fd> {};
struct SetVringErr final
    : FrontendRequest<14, "SET_VRING_ERR", "the descriptor that reports that a ring has failed", U64, ack,
                      maybe_fd> {};
struct SetVringEnable final
    : FrontendRequest<18, "SET_VRING_ENABLE", "whether a started ring is served", VringState, ack> {};
struct GetProtocolFeatures final
    : FrontendRequest<15, "GET_PROTOCOL_FEATURES", "the protocol features that the back-end offers", NoBody,
                      own> {};
struct SetProtocolFeatures final
    : FrontendRequest<16, "SET_PROTOCOL_FEATURES", "the protocol features that the frontend has taken", U64,
                      ack> {};
struct GetQueueNum final : FrontendRequest<17, "GET_QUEUE_NUM", "how many queues the device has", NoBody, own,
                                           no_fds, protocol_feature::mq> {};
struct SetBackendReqFd final
    : FrontendRequest<21, "SET_BACKEND_REQ_FD", "the socket for the back-end's own requests", NoBody, ack,
                      one_fd, protocol_feature::backend_req> {};
struct GetConfig final
    : FrontendRequest<24, "GET_CONFIG", "a part of the device's configuration space",
                      WithTail<ConfigHeader, max_config_size>, own, no_fds, protocol_feature::config> {};
struct SetConfig final
    : FrontendRequest<25, "SET_CONFIG", "changes a part of the device's configuration space",
                      WithTail<ConfigHeader, max_config_size>, ack, no_fds, protocol_feature::config> {};
struct ResetDevice final : FrontendRequest<34, "RESET_DEVICE", "the driver has reset the device", NoBody, ack,
                                           no_fds, protocol_feature::reset_device> {};
struct GetMaxMemSlots final : FrontendRequest<36, "GET_MAX_MEM_SLOTS", "how many regions ADD_MEM_REG may add",
                                              NoBody, own, no_fds, protocol_feature::configure_mem_slots> {};
struct AddMemReg final : FrontendRequest<37, "ADD_MEM_REG", "guest memory has one more region", SingleRegion,
                                         ack, one_fd, protocol_feature::configure_mem_slots> {};
/// A descriptor has no meaning here, but some frontends send one.
struct RemMemReg final : FrontendRequest<38, "REM_MEM_REG", "guest memory has one region less", SingleRegion,
                                         ack, maybe_fd, protocol_feature::configure_mem_slots> {};
struct SetStatus final : FrontendRequest<39, "SET_STATUS", "the driver has changed the device's status", U64,
                                         ack, no_fds, protocol_feature::status> {};
struct GetStatus final : FrontendRequest<40, "GET_STATUS", "the device's status", NoBody, own, no_fds,
                                         protocol_feature::status> {};
struct GetShmemConfig final
    : FrontendRequest<44, "GET_SHMEM_CONFIG", "the sizes of the device's shared memory regions", NoBody, own,
                      no_fds, protocol_feature::shmem> {};

/// Known, so that they can be refused by name: the features that they need are never offered.
struct SetLogBase final
    : FrontendRequest<6, "SET_LOG_BASE", "where to note which memory is written, for a migration", LogBase,
                      own, maybe_fd, protocol_feature::log_shmfd> {};
struct SetLogFd final : FrontendRequest<7, "SET_LOG_FD", "the descriptor that reports writes to that log",
                                        NoBody, ack, maybe_fd, protocol_feature::log_shmfd> {};
struct PostcopyAdvise final
    : FrontendRequest<28, "POSTCOPY_ADVISE", "a migration may move memory after the device", NoBody, own,
                      no_fds, protocol_feature::pagefault> {};
struct PostcopyListen final : FrontendRequest<29, "POSTCOPY_LISTEN", "memory is moved on demand from now on",
                                              NoBody, ack, no_fds, protocol_feature::pagefault> {};
struct PostcopyEnd final : FrontendRequest<30, "POSTCOPY_END", "all memory has been moved", NoBody, own,
                                           no_fds, protocol_feature::pagefault> {};
struct GetInflightFd final
    : FrontendRequest<31, "GET_INFLIGHT_FD", "memory in which to note the commands in flight",
                      InflightDescription, own, no_fds, protocol_feature::inflight_shmfd> {};
struct SetInflightFd final
    : FrontendRequest<32, "SET_INFLIGHT_FD", "the memory in which an earlier back-end has noted them",
                      InflightDescription, ack, one_fd, protocol_feature::inflight_shmfd> {};
struct VringKick final : FrontendRequest<35, "VRING_KICK", "a notification of the driver, as a message",
                                         VringState, ack, no_fds, protocol_feature::inband_notifications> {};
struct GetSharedObject final
    : FrontendRequest<41, "GET_SHARED_OBJECT", "a buffer that another device has shared", SharedObject, own,
                      no_fds, protocol_feature::shared_object> {};
struct SetDeviceStateFd final
    : FrontendRequest<42, "SET_DEVICE_STATE_FD", "the descriptor for a transfer of the device's state",
                      DeviceStateTransfer, own, one_fd, protocol_feature::device_state> {};
struct CheckDeviceState final
    : FrontendRequest<43, "CHECK_DEVICE_STATE", "whether that transfer has succeeded", NoBody, own, no_fds,
                      protocol_feature::device_state> {};

}  // namespace request

/// The requests of a back-end, named as in the specification.
namespace backend_request {

struct ConfigChangeMsg final
    : BackendRequest<2, "CONFIG_CHANGE_MSG", "the configuration space has changed", NoBody> {};
struct VringCall final : BackendRequest<4, "VRING_CALL", "an interrupt, as a message", VringState,
                                        request::no_fds, protocol_feature::inband_notifications> {};
struct VringErr final : BackendRequest<5, "VRING_ERR", "a ring has failed, as a message", VringState,
                                       request::no_fds, protocol_feature::inband_notifications> {};
struct ShmemMap final : BackendRequest<9, "SHMEM_MAP", "shows a part of a file in a shared memory region",
                                       vhost_user::ShmemMap, request::one_fd, protocol_feature::shmem> {};
struct ShmemUnmap final : BackendRequest<10, "SHMEM_UNMAP", "takes it away again", vhost_user::ShmemMap,
                                         request::no_fds, protocol_feature::shmem> {};

}  // namespace backend_request

/// The requests of a direction. Each has its entry here: table, names, framing and dispatch follow from it.
template <class Direction>
inline constexpr auto sequence_of = boost::hana::tuple_t<>;

template <>
inline constexpr auto sequence_of<FromFrontend> = boost::hana::tuple_t<  ///< for a back-end to serve
    request::GetFeatures, request::SetFeatures, request::SetOwner, request::ResetOwner, request::SetMemTable,
    request::SetVringNum, request::SetVringAddr, request::SetVringBase, request::GetVringBase,
    request::SetVringKick, request::SetVringCall, request::SetVringErr, request::SetVringEnable,
    request::GetProtocolFeatures, request::SetProtocolFeatures, request::GetQueueNum,
    request::SetBackendReqFd, request::GetConfig, request::SetConfig, request::ResetDevice,
    request::GetMaxMemSlots, request::AddMemReg, request::RemMemReg, request::SetStatus, request::GetStatus,
    request::GetShmemConfig, request::SetLogBase, request::SetLogFd, request::PostcopyAdvise,
    request::PostcopyListen, request::PostcopyEnd, request::GetInflightFd, request::SetInflightFd,
    request::VringKick, request::GetSharedObject, request::SetDeviceStateFd, request::CheckDeviceState>;

template <>
inline constexpr auto sequence_of<FromBackend> =  ///< for a frontend to serve
    boost::hana::tuple_t<backend_request::ConfigChangeMsg, backend_request::VringCall,
                         backend_request::VringErr, backend_request::ShmemMap, backend_request::ShmemUnmap>;

/// A request that is in the sequence of its direction. One that is declared but not entered there can be
/// neither handled nor sent.
template <class Spec>
concept ListedRequest =
    boost::hana::unpack(sequence_of<typename Spec::Direction>, []<class... Entries>(Entries...) {
      return (std::is_same_v<typename Entries::type, Spec> || ...);
    });

/// What a back-end may offer: what these requests and their answers need, and REPLY_ACK.
inline constexpr std::uint64_t offerable_protocol_features =
    protocol_feature::mq | protocol_feature::reply_ack | protocol_feature::backend_req |
    protocol_feature::backend_send_fd | protocol_feature::config | protocol_feature::reset_device |
    protocol_feature::status | protocol_feature::shmem | protocol_feature::configure_mem_slots;

/// A request as data, for the checks that are common to all requests.
struct RequestRow {
  const char* name = nullptr;         ///< null: no such request
  const char* description = nullptr;  ///< what it is about, in a clause
  /// Bytes of a body.
  ///@{
  std::uint32_t least_size = 0;
  std::uint32_t most_size = 0;
  ///@}
  FdCount fds;                                   ///< how many descriptors come with it
  ReplyKind reply = ReplyKind::acknowledgement;  ///< how it is answered
  std::uint64_t protocol_feature = 0;            ///< required bit of protocol_feature; 0: none
};

/// The requests of a direction by their numbers.
template <class Direction>
class RequestTable {
 public:
  /// One more than the highest number.
  static constexpr std::size_t limit = [] {
    std::size_t highest = 0;
    boost::hana::for_each(sequence_of<Direction>, [&highest](auto type) {
      highest = std::max<std::size_t>(highest, static_cast<std::size_t>(decltype(type)::type::number));
    });
    return highest + 1;
  }();

  /// The row for a number as it was received, or null.
  [[nodiscard]] static constexpr const RequestRow* find(std::uint32_t number) noexcept {
    return number < limit && rows_[number].name != nullptr ? &rows_[number] : nullptr;
  }
  /// The name of a number as it was received, for messages.
  [[nodiscard]] static constexpr const char* name(std::uint32_t number) noexcept {
    const RequestRow* const row = find(number);
    return row != nullptr ? row->name : "an unknown request";
  }

 private:
  static constexpr std::array<RequestRow, limit> rows_ = [] {
    std::array<RequestRow, limit> rows{};
    boost::hana::for_each(sequence_of<Direction>, [&rows](auto type) {
      using Spec = typename decltype(type)::type;
      rows[static_cast<std::size_t>(Spec::number)] = {
          Spec::name, Spec::description, Spec::least_size,      Spec::most_size,
          Spec::fds,  Spec::reply,       Spec::protocol_feature};
    });
    return rows;
  }();
  static_assert(std::ranges::count_if(rows_, [](const RequestRow& row) { return row.name != nullptr; }) ==
                    boost::hana::value(boost::hana::size(sequence_of<Direction>)),
                "two requests of a direction have the same number");
};

/// For those of a frontend.
inline constexpr std::size_t request_limit = RequestTable<FromFrontend>::limit;
/// The row for a number as it was received, or null.
[[nodiscard]] constexpr const RequestRow* find_request(std::uint32_t number) noexcept {
  return RequestTable<FromFrontend>::find(number);
}
/// The name of a number as it was received, for messages.
[[nodiscard]] constexpr const char* request_name(std::uint32_t number) noexcept {
  return RequestTable<FromFrontend>::name(number);
}

/// A copy of the header that `bytes` begin with; there are enough.
[[nodiscard]] inline Header read_header(std::span<const std::byte> bytes) noexcept {
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

/// How a byte stream of requests is divided into messages; for io::MessageSocket. After an error here the
/// next message cannot be found, so the connection ends.
template <class Direction>
struct BasicRequestFraming {
  using Table = RequestTable<Direction>;                      ///< of the direction
  static constexpr std::size_t header_size = sizeof(Header);  ///< in bytes
  static constexpr std::size_t max_fds = max_message_fds;     ///< with one message

  /// Bytes of the body that follows the header in `bytes`; or why this cannot be a request.
  [[nodiscard]] static Outcome<std::size_t> body_size(std::span<const std::byte> bytes) {
    const Header header = read_header(bytes);
    if ((header.flags & flag::version_mask) != flag::version)
      return failure("request %u (%s): protocol version %u, only 1 is known", header.request,
                     Table::name(header.request), header.flags & flag::version_mask);
    if ((header.flags & ~(flag::version_mask | flag::need_reply)) != 0)
      return failure("request %u (%s): flags 0x%x are not those of a request", header.request,
                     Table::name(header.request), header.flags);
    const RequestRow* const row = Table::find(header.request);
    const std::uint32_t least = row != nullptr ? row->least_size : 0;
    const std::uint32_t most = row != nullptr ? row->most_size : max_body_size;
    if (header.size < least)
      return failure("request %u (%s): body of %u bytes is too short, at least %u are needed", header.request,
                     Table::name(header.request), header.size, least);
    if (header.size > most)
      return failure("request %u (%s): body of %u bytes is too long, at most %u are allowed", header.request,
                     Table::name(header.request), header.size, most);
    return header.size;
  }
};

using RequestFraming = BasicRequestFraming<FromFrontend>;  ///< of a frontend

/// Whether as many descriptors came as the request takes. Not for unknown requests, whose descriptors are
/// closed.
[[nodiscard]] inline Outcome<> check_fds(const RequestRow& row, std::size_t count) {
  if (count < row.fds.least) return failure("%s: its file descriptor is missing", row.name);
  if (count > row.fds.most)
    return failure("%s: %zu file descriptors came, at most %u are allowed", row.name, count, row.fds.most);
  return {};
}

}  // namespace vumedia::vhost_user
