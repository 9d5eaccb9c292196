// Device and Host: the requirements on a virtio device and on what hosts it.
//
// A Host owns guest memory, queues and notifications: a vhost-user session, or a VMM that embeds the device.
// It knows nothing of media. A Device owns the meaning of the queues. Both are known to each other at compile
// time; a Device is constructed with a reference to its Host, which outlives it.
//
// Threads: every function of both is called on the Host's one loop thread, except `inbox()->post`. Neither
// side calls the other's functions from a destructor, except that a Device cancels its operations and drops
// its mappings.
#pragma once

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/queue.hpp>

namespace vumedia::virtio {

/// A piece of a file to be shown to the guest in a VIRTIO shared memory region. All numbers in bytes,
/// page-aligned.
struct ShmMapping {
  std::uint8_t region = 0;      ///< the id of the region (VIRTIO 1.4, 2.10)
  int fd = -1;                  ///< borrowed until the call returns (a host duplicates what it must keep)
  std::uint64_t fd_offset = 0;  ///< where the piece begins in the file
  memory::ShmOffset offset;     ///< where it is shown in the region
  std::uint64_t length = 0;     ///< not 0
  bool writable = true;         ///< whether the guest may write to it
};

/// One pending map or unmap; memory of its owner, like an io::Operation. The handler runs exactly once, on
/// the loop's thread, possibly before the call that started it returns, unless the operation is abandoned
/// first.
class ShmOperation {
 public:
  /// Success, or the errno with which the other side refused. If it has not answered, an errno that it cannot
  /// answer with: ENXIO means that there is no shared memory, EBUSY that too many are pending; in neither
  /// case was it sent. ECANCELED means that the queues were stopped or that the peer left, before or after it
  /// was sent.
  using Handler = void (*)(ShmOperation& operation, Result<> result) noexcept;
  /// `handler` is called with this operation and its result.
  explicit ShmOperation(Handler handler) noexcept : handler_(handler) {}
  ShmOperation(const ShmOperation&) = delete;
  ShmOperation& operator=(const ShmOperation&) = delete;
  /// For the host: calls the handler, which may destroy the operation.
  void complete(Result<> result) noexcept { handler_(*this, result); }

  /// Whether `error` says that the other side has not answered.
  [[nodiscard]] static constexpr bool is_unanswered(int error) noexcept {
    return error == ENXIO || error == EBUSY || error == ECANCELED;
  }

 protected:
  ~ShmOperation() = default;

 private:
  Handler handler_;
};

/// Among its own members a class is incomplete and satisfies no concept. A VMM that is a Host therefore has
/// its device in a class defined after it, or behind a pointer to such a class.
template <class H>
concept HostIsCompleteHere = requires { sizeof(H); };

/// A host whose loop others use as well may have `io::Turn& turn()`, so that they share what one turn of the
/// loop does; without it each device has a whole turn to itself.
template <class H>
concept Host =
    HostIsCompleteHere<H> && io::Loop<H> &&
    requires(H& host, const H& constant, std::uint16_t index, ShmOperation& shm, const ShmMapping& mapping) {
      // The current memory table. A copy of the pointer keeps a table alive for a worker.
      { constant.memory() } -> std::convertible_to<const std::shared_ptr<const memory::GuestMemory>&>;
      // Queue `index` < Device::queue_count. It may be processed only when the host says so
      // (Device::process).
      { host.queue(index) } -> std::same_as<Queue&>;
      { constant.queue_running(index) } -> std::same_as<bool>;
      // After pushes: publishes the used index and interrupts the driver if it asks for that.
      { host.flush(index) } -> std::same_as<void>;
      // The queue holds something that no driver may put there: stop serving it and tell the other side.
      { host.queue_failed(index, Error{}) } -> std::same_as<void>;
      // Whether shared memory regions can be mapped at all (negotiated with the frontend).
      { constant.has_shm() } -> std::same_as<bool>;
      // Shows `mapping` to the guest, or takes it away (the exact range of an earlier map).
      { host.shm_map(shm, mapping) } -> std::same_as<void>;
      { host.shm_unmap(shm, mapping) } -> std::same_as<void>;
      // Forgets a pending operation: its handler will not run. The other side may still carry it out.
      { host.shm_abandon(shm) } -> std::same_as<void>;
      { constant.log() } -> std::same_as<const Log&>;
    };

/// Before its definition a class satisfies nothing, either.
template <class D>
concept DeviceIsCompleteHere = requires { sizeof(D); };

/// What a Host serves, as the head of this file says.
template <class D>
concept Device = DeviceIsCompleteHere<D> && requires(D& device, const D& constant, std::uint16_t index) {
  { D::device_id } -> std::convertible_to<std::uint32_t>;
  { D::queue_count } -> std::convertible_to<std::uint16_t>;
  // Device-specific feature bits, without those of transport and ring, which belong to the Host.
  { constant.features() } -> std::same_as<std::uint64_t>;
  { constant.config() } -> std::same_as<std::span<const std::byte>>;
  // Sizes in bytes of the shared memory regions, by id; page multiples whose sum is a power of two.
  { constant.shm_regions() } -> std::same_as<std::span<const std::uint64_t>>;
  // Queue `index` is running and may hold new buffers (it was kicked, started or enabled): serve what is
  // there. A device that has emptied it calls Queue::enable_notifications and looks again if that returns
  // true: the driver does not kick for buffers that it added before it saw that it has to.
  { device.process(index) } -> std::same_as<void>;
  // Queue `index` is about to stop. The device starts nothing new on it and answers or drops what depends on
  // the frontend (a pending map). The host waits until `in_flight(index)` is 0 and calls nothing else in
  // between.
  { device.stop(index) } -> std::same_as<void>;
  // Chains of the queue that were popped and have not been pushed yet.
  { constant.in_flight(index) } -> std::same_as<std::uint32_t>;
  // The driver reset the device: all sessions end, chains in flight are dropped without an answer, and the
  // guest's mappings are void.
  { device.reset() } -> std::same_as<void>;
};

}  // namespace vumedia::virtio
