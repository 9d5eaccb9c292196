// A vhost-user session as its device sees it: a virtio::Host. It owns the memory table, the rings and the
// back-end channel, and does not know what the device is. ServedDevice drives it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/vhost_user/backend_channel.hpp>
#include <vumedia/vhost_user/requests.hpp>
#include <vumedia/vhost_user/rings.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/queue.hpp>

namespace vumedia::vhost_user {

/// Created, used and destroyed on the reactor's thread.
template <io::Reactor R>
class SessionHost {
 public:
  using Reactor = R;  ///< on which it runs

  /// `on_kick` is the handler of each ring's Wakeup, whose owner is `owner`.
  SessionHost(R& reactor, const Log& log, std::uint16_t queues, io::Operation::Handler on_kick, void* owner)
      : reactor_(reactor),
        log_(log),
        memory_(memory::GuestMemory::empty()),
        rings_(reactor, queues, on_kick, owner),
        channel_(reactor, log_) {}
  SessionHost(const SessionHost&) = delete;
  SessionHost& operator=(const SessionHost&) = delete;

  // virtio::Host. Queue indices are the device's own and below its queue_count.

  /// virtio::Host (virtio/concepts.hpp).
  ///@{
  [[nodiscard]] const std::shared_ptr<const memory::GuestMemory>& memory() const noexcept { return memory_; }
  [[nodiscard]] virtio::Queue& queue(std::uint16_t index) noexcept { return rings_[index].queue(); }
  [[nodiscard]] bool queue_running(std::uint16_t index) const noexcept { return rings_[index].running(); }

  [[gnu::always_inline]] void flush(std::uint16_t index) noexcept { rings_[index].flush(*memory_); }
  ///@}

  /// Does not serve the queue any more until it is stopped and started again.
  void queue_failed(std::uint16_t index, const Error& error) noexcept {
    log_.write(LogLevel::error, "queue %u is broken: %s", index, error.message.c_str());
    rings_[index].fail();
  }

  /// virtio::Host.
  ///@{
  [[nodiscard]] bool has_shm() const noexcept { return shm_negotiated_ && channel_.is_open(); }
  void shm_map(virtio::ShmOperation& operation, const virtio::ShmMapping& mapping) noexcept {
    start<backend_request::ShmemMap>(operation, mapping);
  }
  void shm_unmap(virtio::ShmOperation& operation, const virtio::ShmMapping& mapping) noexcept {
    start<backend_request::ShmemUnmap>(operation, mapping);
  }
  void shm_abandon(virtio::ShmOperation& operation) noexcept { channel_.abandon(operation); }

  [[nodiscard]] const Log& log() const noexcept { return log_; }
  ///@}

  // io::Loop.

  /// io::Loop, and the io::Turn of a reactor that has one.
  ///@{
  void poll(io::Operation& operation, int fd, unsigned events) noexcept {
    reactor_.poll(operation, fd, events);
  }
  void timer(io::Operation& operation, io::TimePoint deadline) noexcept {
    reactor_.timer(operation, deadline);
  }
  void cancel(io::Operation& operation) noexcept { reactor_.cancel(operation); }
  [[nodiscard]] std::shared_ptr<io::Inbox> inbox() noexcept { return reactor_.inbox(); }
  [[nodiscard]] io::Turn& turn() noexcept
    requires requires(R& reactor) { reactor.turn(); }
  {
    return reactor_.turn();
  }
  ///@}

  /// The reactor, which outlives it.
  [[nodiscard]] R& reactor() noexcept { return reactor_; }

  // For whoever drives the session; a device has no use for these.

  /// All rings, by the index of their queue.
  [[nodiscard]] Rings<R>& rings() noexcept { return rings_; }

  /// Started rings continue in the new table, at their guest addresses; those that are not in it fail.
  void replace_memory(std::shared_ptr<const memory::GuestMemory> table) noexcept {
    memory_ = std::move(table);
    rings_.for_each_outside(*memory_, [this](std::uint16_t index) {
      queue_failed(index, Error{"its rings are not in the new memory table", EFAULT});
    });
  }

  /// Whether the frontend can be asked to map at all.
  void set_shm_negotiated(bool negotiated) noexcept { shm_negotiated_ = negotiated; }
  /// Whether it may be asked now: from the moment a ring runs until the frontend begins to stop rings. It
  /// disables all of them, then stops one after the other, and may have torn down what a map needs.
  void allow_shm(bool allowed) noexcept { shm_allowed_ = allowed; }
  /// Replaces the channel to the frontend, with the end of a connected socket.
  void open_channel(OwnedFd socket) { channel_.open(std::move(socket)); }

 private:
  template <ListedRequest Spec>
  void start(virtio::ShmOperation& operation, const virtio::ShmMapping& mapping) noexcept {
    if (!has_shm()) return operation.complete(fail(ENXIO));
    if (!shm_allowed_) return operation.complete(fail(ECANCELED));
    channel_.template start<Spec>(operation, mapping);
  }

  R& reactor_;
  const Log log_;
  std::shared_ptr<const memory::GuestMemory> memory_;
  Rings<R> rings_;
  BackendChannel<R> channel_;
  bool shm_negotiated_ = false;
  bool shm_allowed_ = false;
};

}  // namespace vumedia::vhost_user
