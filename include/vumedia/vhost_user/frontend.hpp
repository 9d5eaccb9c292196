// The VMM's side of vhost-user, for any device: what a frontend does to start a back-end, run it and stop it.
//
// Calls wait for their answers, up to a deadline. While they wait they serve the back-end's own requests
// (SHMEM_MAP, SHMEM_UNMAP), because a back-end may need one of those before it can answer. Between calls, a
// VMM polls backend_fd() and calls serve_backend().
//
// Nothing that a back-end sends is trusted. A message that does not answer the request, or comes too late,
// ends the connection: every later call fails with the same message.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <sys/socket.h>
#include <sys/un.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/vhost_user/frontend_connection.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/shmem_server.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// Movable. One thread at a time may use it.
class Frontend {
 public:
  /// A piece of guest memory, as it is described to the back-end. The fd is borrowed for the call.
  struct Region {
    memory::GuestAddress guest;     ///< its first byte in the guest
    memory::FrontendAddress user;   ///< its first byte in this process
    std::uint64_t size = 0;         ///< in bytes
    std::uint64_t file_offset = 0;  ///< of its first byte in the file
    int fd = -1;                    ///< the file: borrowed
  };

  /// Of the back-end's own requests (vhost_user/shmem_server.hpp).
  ///@{
  using ShmemRequest = vhost_user::ShmemRequest;
  using ShmemHandler = vhost_user::ShmemHandler;
  ///@}

  /// How long one call may take in total.
  static constexpr std::chrono::milliseconds default_deadline{10'000};

  /// What negotiate() asks for by default: everything that this class can use.
  static constexpr std::uint64_t default_features =
      feature::version_1 | feature::ring_indirect_desc | feature::ring_event_idx | feature::protocol_features;
  static constexpr std::uint64_t default_protocol_features =  ///< and of the protocol
      protocol_feature::mq | protocol_feature::reply_ack | protocol_feature::backend_req |
      protocol_feature::backend_send_fd | protocol_feature::config | protocol_feature::reset_device |
      protocol_feature::configure_mem_slots | protocol_feature::status | protocol_feature::shmem;

  /// Connects to a listening back-end.
  [[nodiscard]] static Outcome<Frontend> connect(const std::string& path,
                                                 std::chrono::milliseconds deadline = default_deadline);
  /// Uses a connected stream socket.
  explicit Frontend(OwnedFd socket, std::chrono::milliseconds deadline = default_deadline) noexcept
      : connection_(std::move(socket), deadline) {}

  /// Sends SET_OWNER, then sets the features that are both offered and wanted, and (if there are any) the
  /// protocol features. Opens the back-end's channel if BACKEND_REQ is among them and a handler is set.
  [[nodiscard]] Outcome<> negotiate(std::uint64_t features = default_features,
                                    std::uint64_t protocol_features = default_protocol_features);
  /// What was set last; 0 before.
  ///@{
  [[nodiscard]] std::uint64_t features() const noexcept { return features_; }
  [[nodiscard]] std::uint64_t protocol_features() const noexcept { return protocol_features_; }
  ///@}
  /// Whether the protocol feature is negotiated.
  [[nodiscard]] bool has(std::uint64_t protocol_feature) const noexcept {
    return (protocol_features_ & protocol_feature) != 0;
  }

  /// The steps of negotiate(), one by one.
  [[nodiscard]] Outcome<std::uint64_t> get_features() { return ask_u64<request::GetFeatures>(); }
  /// Likewise.
  ///@{
  [[nodiscard]] Outcome<> set_features(std::uint64_t features);
  [[nodiscard]] Outcome<std::uint64_t> get_protocol_features() {
    return ask_u64<request::GetProtocolFeatures>();
  }
  [[nodiscard]] Outcome<> set_protocol_features(std::uint64_t features);
  [[nodiscard]] Outcome<> set_owner() { return tell<request::SetOwner>(NoBody{}); }
  [[nodiscard]] Outcome<> reset_owner() { return tell<request::ResetOwner>(NoBody{}); }
  [[nodiscard]] Outcome<> open_backend_channel();
  ///@}

  /// GET_QUEUE_NUM: how many queues the device has.
  [[nodiscard]] Outcome<std::uint64_t> queue_count() { return ask_u64<request::GetQueueNum>(); }

  /// At most 32 regions; other back-ends may accept only 8.
  [[nodiscard]] Outcome<> set_memory(std::span<const Region> regions);
  /// GET_MAX_MEM_SLOTS: how many regions add_region() may add.
  [[nodiscard]] Outcome<std::uint64_t> max_memory_slots() { return ask_u64<request::GetMaxMemSlots>(); }
  /// ADD_MEM_REG, if CONFIGURE_MEM_SLOTS is negotiated. The fd is borrowed.
  [[nodiscard]] Outcome<> add_region(const Region& region);
  /// REM_MEM_REG: removes the region with exactly these addresses and size; its fd does not matter.
  [[nodiscard]] Outcome<> remove_region(const Region& region);

  /// SET_VRING_NUM: the number of descriptors, a power of two.
  [[nodiscard]] Outcome<> set_vring_size(std::uint32_t index, std::uint32_t size) {
    return tell<request::SetVringNum>(VringState{index, size});
  }
  /// SET_VRING_BASE: the index at which the ring starts, or continues.
  [[nodiscard]] Outcome<> set_vring_base(std::uint32_t index, std::uint32_t base) {
    return tell<request::SetVringBase>(VringState{index, base});
  }
  /// SET_VRING_ADDR: where the parts are, in this process's addresses of guest memory.
  [[nodiscard]] Outcome<> set_vring_addresses(std::uint32_t index, memory::FrontendAddress descriptors,
                                              memory::FrontendAddress available,
                                              memory::FrontendAddress used) {
    return tell<request::SetVringAddr>(
        VringAddress{index, 0, descriptors.value, used.value, available.value, 0});
  }
  /// The fds are borrowed; -1 for none (kick: the back-end polls the ring; call: the driver does).
  [[nodiscard]] Outcome<> set_vring_kick(std::uint32_t index, int fd) {
    return tell_fd<request::SetVringKick>(index, fd);
  }
  /// Likewise.
  ///@{
  [[nodiscard]] Outcome<> set_vring_call(std::uint32_t index, int fd) {
    return tell_fd<request::SetVringCall>(index, fd);
  }
  [[nodiscard]] Outcome<> set_vring_err(std::uint32_t index, int fd) {
    return tell_fd<request::SetVringErr>(index, fd);
  }
  ///@}
  /// SET_VRING_ENABLE: whether the ring is served once it is started.
  [[nodiscard]] Outcome<> enable_vring(std::uint32_t index, bool enabled) {
    return tell<request::SetVringEnable>(VringState{index, enabled ? 1u : 0u});
  }
  /// Stops the ring once its commands are completed; returns the index at which it can continue.
  [[nodiscard]] Outcome<std::uint32_t> stop_vring(std::uint32_t index);

  /// Fills `out` from the device's configuration space.
  [[nodiscard]] Outcome<> get_config(std::uint32_t offset, std::span<std::byte> out);
  /// SET_CONFIG: changes a part of the configuration space, which few devices allow.
  [[nodiscard]] Outcome<> set_config(std::uint32_t offset, std::span<const std::byte> bytes);
  /// A back-end of an earlier draft answers with fewer sizes; the others are 0.
  [[nodiscard]] Outcome<ShmemConfig> shmem_config();

  /// SET_STATUS: the driver's device status (VIRTIO 1.4, 2.1).
  [[nodiscard]] Outcome<> set_status(std::uint8_t status) { return tell<request::SetStatus>(U64{status}); }
  /// GET_STATUS: the device status.
  [[nodiscard]] Outcome<std::uint64_t> get_status() { return ask_u64<request::GetStatus>(); }
  /// RESET_DEVICE, if RESET_DEVICE is negotiated.
  [[nodiscard]] Outcome<> reset_device() { return tell<request::ResetDevice>(NoBody{}); }

  /// Called from within any call that waits, and from serve_backend(). It must not use this Frontend.
  void set_shmem_handler(ShmemHandler handler) { connection_.shmem().set_handler(std::move(handler)); }
  /// Serves the requests of the back-end that have arrived, without waiting for more.
  [[nodiscard]] Outcome<> serve_backend() { return connection_.serve_shmem(); }
  /// Readable when serve_backend() has something to do; -1 without a channel.
  [[nodiscard]] int backend_fd() const noexcept { return connection_.shmem().fd(); }
  /// The main socket. Between calls it is readable only if the back-end has gone.
  [[nodiscard]] int fd() const noexcept { return connection_.fd(); }

 private:
  using Message = FrontendConnection::Message;

  template <ListedRequest Spec, class Body>
  [[nodiscard]] Outcome<> tell(const Body& body, std::span<const int> fds = {}) {
    if constexpr (std::is_same_v<Body, NoBody>) {
      return tell_bytes<Spec>({}, fds);
    } else {
      return tell_bytes<Spec>(bytes_of(body), fds);
    }
  }
  template <ListedRequest Spec>
  [[nodiscard]] Outcome<> tell_fd(std::uint32_t index, int fd) {
    if (index > vring_index_mask) return failure("%s: there is no queue %u", Spec::name, index);
    if (fd < 0) return tell<Spec>(U64{index | vring_no_fd});
    return tell<Spec>(U64{index}, std::span<const int>(&fd, 1));
  }
  // Sends a request that has no answer of its own, and receives the acknowledgement if acknowledgements are
  // negotiated.
  template <ListedRequest Spec>
  [[nodiscard]] Outcome<> tell_bytes(std::span<const std::byte> body, std::span<const int> fds) {
    static_assert(Spec::reply == ReplyKind::acknowledgement);
    return connection_.tell(static_cast<std::uint32_t>(Spec::number), Spec::name, body, fds,
                            has(protocol_feature::reply_ack));
  }
  template <ListedRequest Spec>
  [[nodiscard]] Outcome<Message> ask(std::span<const std::byte> body = {}) {
    static_assert(Spec::reply == ReplyKind::own);
    return connection_.ask(static_cast<std::uint32_t>(Spec::number), Spec::name, body);
  }
  template <ListedRequest Spec>
  [[nodiscard]] Outcome<std::uint64_t> ask_u64() {
    auto answer = ask<Spec>();
    if (!answer) return std::unexpected(std::move(answer.error()));
    U64 number;
    if (answer->body.size() != sizeof number) return broken(wrong_size(Spec::name, answer->body.size()));
    std::memcpy(&number, answer->body.data(), sizeof number);
    return number.value;
  }

  [[nodiscard]] static Error wrong_size(const char* name, std::size_t size) {
    return FrontendConnection::wrong_size(name, size);
  }
  std::unexpected<Error> broken(Error error) { return connection_.broken(std::move(error)); }

  FrontendConnection connection_;
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;
};

inline Outcome<Frontend> Frontend::connect(const std::string& path, std::chrono::milliseconds deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return failure("'%s' is not a valid path for a socket", path.c_str());
  std::memcpy(address.sun_path, path.c_str(), path.size());
  OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return system_failure(errno, "cannot create a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return system_failure(errno, "cannot connect to %s", path.c_str());
  return Frontend(std::move(socket), deadline);
}

inline Outcome<> Frontend::negotiate(std::uint64_t features, std::uint64_t protocol_features) {
  if (auto done = set_owner(); !done) return done;
  auto offered = get_features();
  if (!offered) return std::unexpected(std::move(offered.error()));
  features &= *offered;
  if ((features & feature::protocol_features) != 0) {
    auto offered_protocol = get_protocol_features();
    if (!offered_protocol) return std::unexpected(std::move(offered_protocol.error()));
    protocol_features &= *offered_protocol;
    if (auto done = set_protocol_features(protocol_features); !done) return done;
    if (has(protocol_feature::backend_req) && connection_.shmem().has_handler()) {
      if (auto done = open_backend_channel(); !done) return done;
    }
  }
  return set_features(features);
}

inline Outcome<> Frontend::set_features(std::uint64_t features) {
  auto done = tell<request::SetFeatures>(U64{features});
  if (done) features_ = features;
  return done;
}

inline Outcome<> Frontend::set_protocol_features(std::uint64_t features) {
  // Never acknowledged: this message negotiates whether acknowledgements may be asked for.
  protocol_features_ = 0;
  auto done = tell<request::SetProtocolFeatures>(U64{features});
  if (done) protocol_features_ = features;
  return done;
}

inline Outcome<> Frontend::open_backend_channel() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return system_failure(errno, "cannot create a socket pair");
  OwnedFd ours(ends[0]);
  const OwnedFd theirs(ends[1]);
  const int fd = theirs.get();
  if (auto done = tell<request::SetBackendReqFd>(NoBody{}, std::span<const int>(&fd, 1)); !done) return done;
  connection_.shmem().open(std::move(ours));
  return {};
}

namespace detail {

[[nodiscard]] inline MemoryRegion wire_region(const Frontend::Region& region) noexcept {
  return {region.guest.value, region.size, region.user.value, region.file_offset};
}

}  // namespace detail

inline Outcome<> Frontend::set_memory(std::span<const Region> regions) {
  if (regions.size() > max_table_regions)
    return failure("SET_MEM_TABLE: %zu regions, at most %u fit", regions.size(), max_table_regions);
  struct {
    MemoryTableHeader head{};
    MemoryRegion regions[max_table_regions]{};
  } table;
  int fds[max_table_regions];
  table.head.count = static_cast<std::uint32_t>(regions.size());
  for (std::size_t i = 0; i < regions.size(); ++i) {
    table.regions[i] = detail::wire_region(regions[i]);
    fds[i] = regions[i].fd;
  }
  const std::size_t size = sizeof table.head + regions.size() * sizeof(MemoryRegion);
  return tell_bytes<request::SetMemTable>(bytes_of(table).first(size), std::span(fds).first(regions.size()));
}

inline Outcome<> Frontend::add_region(const Region& region) {
  return tell<request::AddMemReg>(SingleRegion{0, detail::wire_region(region)},
                                  std::span<const int>(&region.fd, 1));
}

inline Outcome<> Frontend::remove_region(const Region& region) {
  return tell<request::RemMemReg>(SingleRegion{0, detail::wire_region(region)});
}

inline Outcome<std::uint32_t> Frontend::stop_vring(std::uint32_t index) {
  auto answer = ask<request::GetVringBase>(bytes_of(VringState{index, 0}));
  if (!answer) return std::unexpected(std::move(answer.error()));
  VringState state;
  if (answer->body.size() != sizeof state)
    return broken(wrong_size(request::GetVringBase::name, answer->body.size()));
  std::memcpy(&state, answer->body.data(), sizeof state);
  if (state.index != index)
    return broken({format_text("GET_VRING_BASE: the request was for queue %u, the reply is for queue %u",
                               index, state.index),
                   EPROTO});
  return state.num;
}

inline Outcome<> Frontend::get_config(std::uint32_t offset, std::span<std::byte> out) {
  constexpr const char* name = request::GetConfig::name;
  if (out.size() > max_config_size) return failure("%s: %zu bytes are too many", name, out.size());
  std::byte body[sizeof(ConfigHeader) + max_config_size]{};
  ConfigHeader head{offset, static_cast<std::uint32_t>(out.size()), 0};
  std::memcpy(body, &head, sizeof head);
  auto answer = ask<request::GetConfig>(std::span<const std::byte>(body).first(sizeof head + out.size()));
  if (!answer) return std::unexpected(std::move(answer.error()));
  if (answer->body.size() < sizeof head) return broken(wrong_size(name, answer->body.size()));
  std::memcpy(&head, answer->body.data(), sizeof head);
  // This is how a back-end refuses.
  if (head.size == 0 && !out.empty())
    return std::unexpected(Error{
        format_text("%s: the back-end has no %zu bytes at offset %u", name, out.size(), offset), EINVAL});
  if (head.offset != offset || head.size != out.size() || answer->body.size() != sizeof head + out.size())
    return broken(wrong_size(name, answer->body.size()));
  std::ranges::copy(std::span(answer->body).subspan(sizeof head), out.begin());
  return {};
}

inline Outcome<> Frontend::set_config(std::uint32_t offset, std::span<const std::byte> bytes) {
  constexpr const char* name = request::SetConfig::name;
  if (bytes.size() > max_config_size) return failure("%s: %zu bytes are too many", name, bytes.size());
  std::byte body[sizeof(ConfigHeader) + max_config_size]{};
  const ConfigHeader head{offset, static_cast<std::uint32_t>(bytes.size()), 0};
  std::memcpy(body, &head, sizeof head);
  std::ranges::copy(bytes, body + sizeof head);
  return tell_bytes<request::SetConfig>(std::span<const std::byte>(body).first(sizeof head + bytes.size()),
                                        {});
}

inline Outcome<ShmemConfig> Frontend::shmem_config() {
  auto answer = ask<request::GetShmemConfig>();
  if (!answer) return std::unexpected(std::move(answer.error()));
  const std::size_t size = answer->body.size();
  ShmemConfig config{};
  if (size < offsetof(ShmemConfig, size) || size > sizeof config || size % sizeof(std::uint64_t) != 0)
    return broken(wrong_size(request::GetShmemConfig::name, size));
  std::memcpy(&config, answer->body.data(), size);
  return config;
}

}  // namespace vumedia::vhost_user
