// The back-end's own requests to the frontend: SHMEM_MAP and SHMEM_UNMAP (vhost-user specification, "Back-end
// message types"), answered in order, whenever the frontend gets to it. The loop never waits for an answer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/message_socket.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/wire.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::vhost_user {

/// The only messages that a frontend may send on this channel are replies to maps and unmaps.
struct ReplyFraming {
  /// For io::MessageSocket (io/message_socket.hpp).
  ///@{
  static constexpr std::size_t header_size = sizeof(Header);
  static constexpr std::size_t max_fds = 0;

  [[nodiscard]] static Outcome<std::size_t> body_size(std::span<const std::byte> bytes) {
    const Header header = read_header(bytes);
    if (header.flags != (flag::version | flag::reply))
      return failure("request %u came with flags 0x%x, which are not those of a reply", header.request,
                     header.flags);
    if (header.size != sizeof(U64))
      return failure("the reply to request %u has %u bytes, not 8", header.request, header.size);
    return header.size;
  }
  ///@}
};

/// Any number of requests may wait for their answers, up to max_pending. For the reactor's thread.
template <io::Reactor R>
class BackendChannel {
 public:
  /// Requests that may wait for their answer. A device needs one for each mapping that it is about to make.
  static constexpr std::size_t max_pending = 64;

  /// Closed at first. Both arguments outlive it.
  BackendChannel(R& reactor, const Log& log) noexcept : reactor_(reactor), log_(log) {}
  BackendChannel(const BackendChannel&) = delete;
  BackendChannel& operator=(const BackendChannel&) = delete;
  /// Pending operations are forgotten: no handler is called.
  ~BackendChannel() { reactor_.cancel(failed_); }

  /// Replaces the channel: operations pending on an earlier one end with ECANCELED.
  void open(OwnedFd socket) {
    close();
    socket_.emplace(reactor_, std::move(socket), *this);
    socket_->start();
  }
  /// Ends the channel and the operations pending on it.
  void close() noexcept {
    reactor_.cancel(failed_);
    socket_.reset();
    // Handlers may start operations, but there is no channel any more to take them.
    while (count_ > 0) take_first(fail(ECANCELED));
  }
  /// Whether requests can be sent.
  [[nodiscard]] bool is_open() const noexcept { return socket_ && socket_->is_open() && !failed_.pending(); }

  /// Sends the request `Spec`. EBUSY if too many wait.
  template <ListedRequest Spec>
  void start(virtio::ShmOperation& operation, const virtio::ShmMapping& mapping) noexcept {
    static_assert(std::is_same_v<typename Spec::Head, ShmemMap> && Spec::fds.most <= 1);
    if (!is_open()) return operation.complete(fail(ENXIO));
    if (count_ == max_pending) return operation.complete(fail(EBUSY));
    const Header header{static_cast<std::uint32_t>(Spec::number), flag::version | flag::need_reply,
                        sizeof(ShmemMap)};
    const ShmemMap map{mapping.region,    {},
                       mapping.fd_offset, mapping.offset.value,
                       mapping.length,    mapping.writable ? shmem_map_writable : 0};
    std::byte bytes[sizeof header + sizeof map];
    std::memcpy(bytes, &header, sizeof header);
    std::memcpy(bytes + sizeof header, &map, sizeof map);
    if (!socket_->send(bytes, std::span<const int>(&mapping.fd, Spec::fds.most))) {
      // The frontend does not read, or this process is out of descriptors. Other operations end later, not
      // from within a call that their owner makes.
      log_.write(LogLevel::error, "back-end channel: a request cannot be sent, closing it");
      reactor_.timer(failed_, io::TimePoint::min());
      return operation.complete(fail(ECANCELED));
    }
    pending_[(first_ + count_) % max_pending] = {Spec::number, &operation};
    ++count_;
  }

  /// Forgets `operation`; its answer is still awaited, to stay in step.
  void abandon(virtio::ShmOperation& operation) noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      Pending& pending = pending_[(first_ + i) % max_pending];
      if (pending.operation == &operation) pending.operation = nullptr;
    }
  }

  /// Requests that wait for their answer.
  [[nodiscard]] std::size_t pending() const noexcept { return count_; }

  /// io::MessageOwner.
  ///@{
  void on_message(io::Message& message) noexcept {
    const Header header = read_header(message.bytes);
    if (count_ == 0 || header.request != static_cast<std::uint32_t>(pending_[first_].request)) {
      log_.write(LogLevel::error,
                 "back-end channel: a reply came to request %u, which was not sent, closing it",
                 header.request);
      return close();
    }
    U64 value;
    std::memcpy(&value, message.bytes.data() + sizeof header, sizeof value);
    take_first(result_of(value.value));
  }
  void on_closed(const Error& error) noexcept {
    log_.write(error.message.empty() ? LogLevel::debug : LogLevel::error, "back-end channel: closed%s%s",
               error.message.empty() ? "" : ": ", error.message.c_str());
    close();
  }
  ///@}

 private:
  struct Pending {
    Request request{};
    virtio::ShmOperation* operation = nullptr;  // null: abandoned
  };

  // Frontends refuse with 1, with an errno or with a negative errno.
  [[nodiscard]] static Result<> result_of(std::uint64_t value) noexcept {
    if (value == 0) return {};
    const auto code = static_cast<std::int64_t>(value);
    if (code <= -4096 || code >= 4096) return fail(EIO);
    const int error = static_cast<int>(code < 0 ? -code : code);
    // Must not be an errno that means that it has not answered.
    return fail(code == 1 || virtio::ShmOperation::is_unanswered(error) ? EIO : error);
  }

  void take_first(Result<> result) noexcept {
    virtio::ShmOperation* const operation = pending_[first_].operation;
    pending_[first_] = {};
    first_ = (first_ + 1) % max_pending;
    --count_;
    if (operation != nullptr) operation->complete(result);
  }
  void on_failed(std::int32_t) noexcept { close(); }

  R& reactor_;
  const Log& log_;
  std::optional<io::MessageSocket<R, ReplyFraming, BackendChannel>> socket_;
  std::array<Pending, max_pending> pending_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  io::MemberOperation<&BackendChannel::on_failed> failed_{*this};
};

}  // namespace vumedia::vhost_user
