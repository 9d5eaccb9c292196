// A client::Transport to a device in this process: the guest of a VMM that embeds the device, without the
// VMM's virtual machine. For tests of devices and of what embeds them.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <vumedia/client/transport.hpp>
#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia::client {

/// A part of the guest's RAM, as this process and as the guest sees it. Its start is at a page boundary for
/// both.
struct GuestRam {
  std::span<std::byte> bytes;  ///< in this process
  memory::GuestAddress base;   ///< where the guest sees the first byte
};

/// `Host` is a virtio::BasicHost. Device, host and turn outlive the transport, which is used on their loop's
/// thread. `Turn` waits for the loop's next event, until a given time at the latest, and serves it:
/// nothing happens but in calls of the transport.
template <virtio::Device D, class Host, std::invocable<io::TimePoint> Turn>
class EmbeddedTransport {
 public:
  using SharedMemory = std::span<std::byte>;  ///< valid until it is unmapped

  /// `ram` holds what the guest needs, its two queues included, and must be zeroed.
  EmbeddedTransport(D& device, Host& host, GuestRam ram, Turn& turn)
      : device_(&device), host_(&host), ram_(ram), turn_(&turn) {}

  // -- client::Transport

  /// See client::Transport.
  ///@{
  [[nodiscard]] Outcome<> negotiate(std::span<std::byte> config) {
    const std::span<const std::byte> own = device_->config();
    if (config.size() > own.size())
      return failure("the device's configuration has only %zu bytes", own.size());
    std::memcpy(config.data(), own.data(), config.size());
    return {};
  }
  [[nodiscard]] bool event_idx() const noexcept { return true; }
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return host_->shm().size(); }
  [[nodiscard]] Outcome<std::span<std::byte>> create_memory(std::size_t size) {
    if (size > ram_.bytes.size())
      return failure("the guest needs %zu bytes of memory, and has %zu", size, ram_.bytes.size());
    return ram_.bytes.first(size);
  }
  [[nodiscard]] memory::GuestAddress guest_base() const noexcept { return ram_.base; }
  [[nodiscard]] Outcome<> start(std::span<const virtio::DriverQueue> queues) {
    std::uint16_t index = 0;
    for (const virtio::DriverQueue& queue : queues) {
      const auto started = host_->start(*device_, index,
                                        {.size = queue.size(),
                                         .descriptors = queue.descriptors(),
                                         .available = queue.available(),
                                         .used = queue.used(),
                                         .event_idx = event_idx()});
      if (!started) return system_failure(started.error().value, "queue %u cannot start", unsigned{index});
      ++index;
    }
    return {};
  }
  ///@}
  /// See client::Transport.
  ///@{
  void kick(std::uint16_t queue) noexcept { host_->kick(*device_, queue); }
  [[nodiscard]] Outcome<> poll() { return wait(io::TimePoint()); }
  [[nodiscard]] Outcome<> wait(io::TimePoint until) {
    (*turn_)(until);
    if (host_->needs_reset()) return std::unexpected(Error{"the device needs to be reset", EPROTO});
    return {};
  }
  [[nodiscard]] SharedMemory shared_memory(memory::ShmOffset offset, std::uint64_t length) const noexcept {
    return host_->shm().bytes(offset, length);
  }
  [[nodiscard]] Outcome<> reset() {
    host_->reset(*device_);
    return {};
  }
  ///@}

 private:
  D* device_;
  Host* host_;
  GuestRam ram_;
  Turn* turn_;
};

}  // namespace vumedia::client
