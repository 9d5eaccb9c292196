// What a VMM needs to embed a device (VIRTIO 1.4, 2.6 and 2.10): a Host that is made of guest memory, an
// interrupt and a loop. The queues, the inbox and the shared memory region come with it.
//
// clang-format off
//   virtio::BasicHost host(loop, memory, [&](std::uint16_t queue) { ... });  // inject the queue's interrupt
//   media::Device<MyBackend, decltype(host)> device(host, media::DeviceOptions());
//   host.reserve_shm(device.shm_regions()[0]);                // and show the guest host.shm() as a BAR
//   host.start(device, index, {.size = 256, ...});            // when the driver has set up the queue
//   host.kick(device, index);                                 // when it rings the queue's doorbell
// clang-format on
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/core/log.hpp>
#include <vumedia/core/log_limiter.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/memory/shm_region.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/queue.hpp>

namespace vumedia::virtio {

/// What a driver sets of a queue, through the registers of its transport, before it is started.
struct QueueSetup {
  std::uint32_t size = 0;  ///< a power of two up to 32768
  /// The parts of the ring, in guest memory.
  ///@{
  memory::GuestAddress descriptors;
  memory::GuestAddress available;
  memory::GuestAddress used;
  ///@}
  bool event_idx = false;  ///< VIRTIO_F_EVENT_IDX was negotiated
  bool indirect = true;    ///< VIRTIO_F_INDIRECT_DESC was negotiated
};

/// A Host for a device with up to `max_queues` queues, on the thread of its loop, which outlives it.
/// `Interrupt` is called with the index of a queue whose driver wants to know that something is on its used
/// ring; it must not call the host or the device.
///
/// The loop is an io::Reactor, or any io::Loop of the VMM's own.
template <io::Loop L, std::invocable<std::uint16_t> Interrupt, std::uint16_t max_queues = 2>
class BasicHost {
 public:
  /// `memory` is what the guest has as RAM (never null). What the guest can make the host and its device log
  /// is limited (core/log_limiter.hpp).
  BasicHost(L& loop, std::shared_ptr<const memory::GuestMemory> memory, Interrupt interrupt, Log log = {},
            const LogLimits& limits = {})
      : loop_(loop), memory_(std::move(memory)), interrupt_(std::move(interrupt)), limiter_(log, limits) {}
  BasicHost(const BasicHost&) = delete;
  BasicHost& operator=(const BasicHost&) = delete;

  // -- The transport's side

  /// Reserves addresses in this process for the device's shared memory region 0; without it nothing can be
  /// mapped. EINVAL unless `size` is a page multiple and not 0; ENOMEM.
  [[nodiscard]] Result<> reserve_shm(std::uint64_t size) {
    auto region = memory::ShmRegion::reserve(size);
    if (!region) return std::unexpected(region.error());
    shm_ = std::move(*region);
    return {};
  }
  /// What the guest sees of it.
  [[nodiscard]] const memory::ShmRegion& shm() const noexcept { return shm_; }

  /// The guest's RAM has changed. Memory that has gone stays mapped for as long as the device uses it.
  void set_memory(std::shared_ptr<const memory::GuestMemory> memory) noexcept { memory_ = std::move(memory); }

  /// Starts queue `index` < max_queues where the driver has put it, from its beginning. EINVAL: the device
  /// has no such queue, or `setup` is none. EFAULT: its rings are not in guest memory. ENOMEM. EBUSY: it is
  /// started.
  template <Device D>
  [[nodiscard]] Result<> start(D& device, std::uint16_t index, const QueueSetup& setup) {
    static_assert(D::queue_count <= max_queues, "virtio::BasicHost has fewer queues than its device");
    if (index >= D::queue_count) return fail(EINVAL);
    Queue& queue = queues_[index].queue;
    if (queue.started()) return fail(EBUSY);
    if (auto set = queue.set_size(setup.size); !set) return set;
    queue.set_addresses(setup.descriptors, setup.available, setup.used);
    queue.set_event_idx(setup.event_idx);
    queue.set_indirect(setup.indirect);
    queue.set_base(0);
    if (auto started = queue.start(*memory_); !started) return started;
    queues_[index].running = true;
    device.process(index);
    return {};
  }

  /// The driver has rung the doorbell of queue `index`. One that does not run is none of the device's
  /// business.
  template <Device D>
  void kick(D& device, std::uint16_t index) {
    if (index < D::queue_count && queues_[index].running) device.process(index);
  }

  /// Stops all queues, for example to pause the machine. The device takes nothing from them any more, and
  /// answers what it has: run the loop until drained() says that it has, then resume().
  template <Device D>
  void pause(D& device) {
    for (std::uint16_t index = 0; index < D::queue_count; ++index) {
      if (std::exchange(queues_[index].running, false)) device.stop(index);
    }
  }
  /// Whether the device has answered all that it took before pause().
  template <Device D>
  [[nodiscard]] static bool drained(const D& device) {
    for (std::uint16_t index = 0; index < D::queue_count; ++index) {
      if (device.in_flight(index) != 0) return false;
    }
    return true;
  }
  /// Serves the started queues again, except those that are broken.
  template <Device D>
  void resume(D& device) {
    for (std::uint16_t index = 0; index < D::queue_count; ++index) {
      Side& side = queues_[index];
      if (!side.queue.started() || side.broken) continue;
      side.running = true;
      device.process(index);
    }
  }

  /// The driver has reset the device: its queues have to be started anew, and nothing is mapped any more.
  template <Device D>
  void reset(D& device) {
    pause(device);
    device.reset();
    for (Side& side : queues_) {
      side.queue.stop();
      side.broken = false;
    }
    shm_.unmap_all();
  }

  /// Whether a queue held what no driver may put there: the transport sets DEVICE_NEEDS_RESET.
  [[nodiscard]] bool needs_reset() const noexcept {
    for (const Side& side : queues_) {
      if (side.broken) return true;
    }
    return false;
  }

  // -- virtio::Host

  /// virtio::Host (virtio/concepts.hpp).
  ///@{
  [[nodiscard]] const std::shared_ptr<const memory::GuestMemory>& memory() const noexcept { return memory_; }
  [[nodiscard]] Queue& queue(std::uint16_t index) noexcept { return queues_[index].queue; }
  [[nodiscard]] bool queue_running(std::uint16_t index) const noexcept { return queues_[index].running; }
  void flush(std::uint16_t index) noexcept {
    if (queues_[index].queue.flush(*memory_)) interrupt_(index);
  }
  void queue_failed(std::uint16_t index, const Error& error) noexcept {
    log_.write(LogLevel::error, "queue %u is broken: %s", unsigned{index}, error.message.c_str());
    queues_[index].running = false;
    queues_[index].broken = true;
  }
  [[nodiscard]] bool has_shm() const noexcept { return shm_.size() != 0; }
  ///@}
  /// A mapping is there at once, so the operations end within the call.
  void shm_map(ShmOperation& operation, const ShmMapping& mapping) noexcept {
    if (!has_shm()) return operation.complete(fail(ENXIO));
    operation.complete(mapping.region == 0 ? shm_.map(mapping.fd, mapping.fd_offset, mapping.offset,
                                                      mapping.length, mapping.writable)
                                           : fail(EINVAL));
  }
  /// Likewise.
  ///@{
  void shm_unmap(ShmOperation& operation, const ShmMapping& mapping) noexcept {
    if (!has_shm()) return operation.complete(fail(ENXIO));
    operation.complete(mapping.region == 0 ? shm_.unmap(mapping.offset, mapping.length) : fail(EINVAL));
  }
  void shm_abandon(ShmOperation&) noexcept {}
  [[nodiscard]] const Log& log() const noexcept { return log_; }
  ///@}

  // -- io::Loop

  /// io::Loop, and the io::Turn of a loop that has one.
  ///@{
  void poll(io::Operation& operation, int fd, unsigned events) noexcept { loop_.poll(operation, fd, events); }
  void timer(io::Operation& operation, io::TimePoint deadline) noexcept { loop_.timer(operation, deadline); }
  void cancel(io::Operation& operation) noexcept { loop_.cancel(operation); }
  [[nodiscard]] std::shared_ptr<io::Inbox> inbox() noexcept { return loop_.inbox(); }
  [[nodiscard]] io::Turn& turn() noexcept
    requires requires(L& loop) { loop.turn(); }
  {
    return loop_.turn();
  }
  ///@}

 private:
  struct Side {
    Queue queue;
    bool running = false;
    bool broken = false;
  };

  L& loop_;
  std::shared_ptr<const memory::GuestMemory> memory_;
  Interrupt interrupt_;
  LogLimiter limiter_;
  const Log log_ = limiter_.log();
  std::array<Side, max_queues> queues_;
  memory::ShmRegion shm_;
};

}  // namespace vumedia::virtio
