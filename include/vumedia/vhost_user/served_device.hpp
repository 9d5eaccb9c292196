// A device at work in a session: its host, and the rings that it is called for. It starts, serves, stops and
// resets them as the frontend's requests say, and calls the device when a driver kicks.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/vhost_user/drain.hpp>
#include <vumedia/vhost_user/rings.hpp>
#include <vumedia/vhost_user/session_host.hpp>
#include <vumedia/vhost_user/wire.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::vhost_user {

/// Whom a ServedDevice asks, and tells. One of the last two is called once for each stop() that returned
/// nothing; it may destroy the device.
template <class Owner>
concept ServedDeviceOwner = requires(Owner& owner, const VringState& state, const Error& error) {
  // Whether the frontend has closed the connection; asked while the rest of what it sent is not read.
  { owner.peer_has_left() } -> std::same_as<bool>;
  { owner.on_stopped(state) } -> std::same_as<void>;
  // The error has no text if the frontend has left.
  { owner.on_stop_failed(error) } -> std::same_as<void>;
};

/// Created, used and destroyed on the reactor's thread.
template <class DeviceType, io::Reactor R, class Owner>
class ServedDevice {
 public:
  /// What it is made of.
  ///@{
  using Device = DeviceType;
  using Host = SessionHost<R>;
  ///@}

  /// The device is constructed from its host and `arguments`. `reactor` and `owner` outlive this.
  template <class... Arguments>
  ServedDevice(R& reactor, const Log& log, Owner& owner, Arguments&&... arguments)
      : owner_(owner),
        host_(reactor, log, Device::queue_count, &ServedDevice::on_wakeup, this),
        device_(host_, std::forward<Arguments>(arguments)...) {
    static_assert(virtio::Host<Host>);
    static_assert(virtio::Device<Device>,
                  "vhost_user::Session: Device must satisfy the concept virtio::Device");
    static_assert(Device::queue_count > 0 && Device::queue_count <= vring_index_mask);
  }
  ServedDevice(const ServedDevice&) = delete;
  ServedDevice& operator=(const ServedDevice&) = delete;

  /// Of the device, and so of its rings.
  [[nodiscard]] static constexpr std::uint16_t queue_count() noexcept { return Device::queue_count; }
  /// Its parts; they last as long as this.
  ///@{
  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] Device& device() noexcept { return device_; }
  [[nodiscard]] Rings<R>& rings() noexcept { return host_.rings(); }
  ///@}

  // Queue indices from here on are below queue_count().

  /// Whether the settings of the ring may change now. It may reset the device to make that so.
  [[nodiscard]] bool may_set_up(std::uint16_t index) noexcept;

  /// Whether features that decide how rings are laid out may change now; likewise.
  [[nodiscard]] bool may_change_features() noexcept;
  /// Takes the features. Rings that were started, but never served since, start again with `again`; the last
  /// of them that cannot makes the result.
  [[nodiscard]] Outcome<> change_features(const RingFeatures& features, bool again);

  /// Takes a kick descriptor or none, which starts the ring; on a started one it changes the descriptor.
  [[nodiscard]] Outcome<> set_kick(std::uint16_t index, OwnedFd fd);

  /// Starts or stops serving the ring, depending on its states.
  void update(std::uint16_t index) noexcept;

  /// Stops the ring once its commands are completed. Returns the answer to GET_VRING_BASE, or nothing if it
  /// will be given to the owner. Until then the device is not called, and wake-ups are held back.
  [[nodiscard]] std::optional<VringState> stop(std::uint16_t index) noexcept;
  /// To be called after the owner has been given the answer: what was held back is served.
  void resume() noexcept;

  /// The driver has reset the device: all rings return to their initial state.
  void reset() noexcept;

  /// DrainOwner.
  [[nodiscard]] std::uint32_t commands_left(std::uint16_t index) const noexcept {
    return device_.in_flight(index);
  }
  /// DrainOwner.
  ///@{
  [[nodiscard]] bool peer_has_left() noexcept { return owner_.peer_has_left(); }
  void on_drained(std::uint16_t index) noexcept { owner_.on_stopped(finish_stop(index)); }
  void on_drain_failed(const Error& error) noexcept { owner_.on_stop_failed(error); }
  ///@}

 private:
  using RingType = Ring<R>;

  [[nodiscard]] Outcome<> start(RingType& ring);
  void suspend(RingType& ring) noexcept;
  [[nodiscard]] VringState finish_stop(std::uint16_t index) noexcept;

  static void on_wakeup(io::Operation& operation, std::int32_t result) noexcept;
  void woken(RingType& ring, std::uint16_t index, std::int32_t result) noexcept;
  [[gnu::cold, gnu::noinline]] void kick_failed(std::uint16_t index, std::int32_t result) noexcept;

  Owner& owner_;
  Host host_;
  Device device_;
  Drain<Host, ServedDevice> drain_{host_, *this};
};

template <class Device, io::Reactor R, class Owner>
bool ServedDevice<Device, R, Owner>::may_set_up(std::uint16_t index) noexcept {
  using SetUp = typename Rings<R>::SetUp;
  const SetUp may = rings().prepare_set_up(rings()[index]);
  if (may != SetUp::after_reset) return may == SetUp::allowed;
  host_.log().write(LogLevel::debug,
                    "a ring is set up without having been stopped: the driver has reset the device");
  reset();
  return true;
}

template <class Device, io::Reactor R, class Owner>
bool ServedDevice<Device, R, Owner>::may_change_features() noexcept {
  for (std::uint16_t i = 0; i < queue_count(); ++i) {
    if (rings()[i].was_running() && !may_set_up(i)) return false;
  }
  return true;
}

template <class Device, io::Reactor R, class Owner>
Outcome<> ServedDevice<Device, R, Owner>::change_features(const RingFeatures& features, bool again) {
  rings().set_features(features);
  Outcome<> result;
  for (std::uint16_t i = 0; again && i < queue_count(); ++i) {
    RingType& ring = rings()[i];
    if (!ring.started()) continue;
    ring.withdraw();
    if (auto started = start(ring); !started) result = std::move(started);
  }
  for (std::uint16_t i = 0; i < queue_count(); ++i) update(i);
  return result;
}

template <class Device, io::Reactor R, class Owner>
Outcome<> ServedDevice<Device, R, Owner>::set_kick(std::uint16_t index, OwnedFd fd) {
  RingType& ring = rings()[index];
  if (auto taken = ring.set_kick(std::move(fd)); !taken)
    return std::unexpected(
        Error{format_text("the descriptor for queue %u is not an event fd", index), taken.error().value});
  if (!ring.started()) {
    if (auto started = start(ring); !started) {
      ring.drop_kick();
      return started;
    }
  } else if (ring.running()) {
    // A kick may just have been consumed from the old descriptor.
    ring.arm();
    device_.process(index);
  }
  update(index);
  return {};
}

template <class Device, io::Reactor R, class Owner>
Outcome<> ServedDevice<Device, R, Owner>::start(RingType& ring) {
  if (auto started = ring.start(*host_.memory(), rings().features()); !started) return started;
  if (rings().looks_reset(ring)) {
    host_.log().write(LogLevel::debug, "queue %u starts again at 0: the driver has reset the device",
                      ring.index());
    device_.reset();
    rings().forget_stops();
  }
  ring.forget_stop();
  return {};
}

template <class Device, io::Reactor R, class Owner>
void ServedDevice<Device, R, Owner>::update(std::uint16_t index) noexcept {
  RingType& ring = rings()[index];
  if (!rings().should_run(ring)) return suspend(ring);
  if (ring.running()) return;
  host_.allow_shm(true);
  ring.run();
  device_.process(index);
}

template <class Device, io::Reactor R, class Owner>
void ServedDevice<Device, R, Owner>::suspend(RingType& ring) noexcept {
  if (ring.suspend()) host_.allow_shm(false);
}

template <class Device, io::Reactor R, class Owner>
std::optional<VringState> ServedDevice<Device, R, Owner>::stop(std::uint16_t index) noexcept {
  static_assert(ServedDeviceOwner<Owner>);
  // When the first ring stops, the frontend begins to tear down its side.
  suspend(rings()[index]);
  host_.allow_shm(false);
  if (rings()[index].started()) {
    device_.stop(index);
    if (device_.in_flight(index) != 0) {
      drain_.start(index);
      return std::nullopt;
    }
  }
  return finish_stop(index);
}

// No command is left in the queue.
template <class Device, io::Reactor R, class Owner>
VringState ServedDevice<Device, R, Owner>::finish_stop(std::uint16_t index) noexcept {
  RingType& ring = rings()[index];
  if (ring.started()) ring.stop();
  return {index, ring.base()};
}

template <class Device, io::Reactor R, class Owner>
void ServedDevice<Device, R, Owner>::resume() noexcept {
  for (std::uint16_t i = 0; i < queue_count(); ++i) {
    RingType& ring = rings()[i];
    if (!ring.take_held_back() || !ring.running()) continue;
    ring.arm();
    device_.process(i);
  }
}

template <class Device, io::Reactor R, class Owner>
void ServedDevice<Device, R, Owner>::reset() noexcept {
  rings().suspend();
  host_.allow_shm(false);
  device_.reset();
  rings().reset();
}

template <class Device, io::Reactor R, class Owner>
void ServedDevice<Device, R, Owner>::on_wakeup(io::Operation& operation, std::int32_t result) noexcept {
  auto& wakeup = static_cast<Wakeup&>(operation);
  auto& served = *static_cast<ServedDevice*>(wakeup.owner);
  served.woken(served.rings()[wakeup.index], wakeup.index, result);
}

template <class Device, io::Reactor R, class Owner>
void ServedDevice<Device, R, Owner>::woken(RingType& ring, std::uint16_t index,
                                           std::int32_t result) noexcept {
  const auto wake = ring.woken(result);
  if (wake == RingType::Wake::broken) [[unlikely]]
    return kick_failed(index, result);
  if (drain_.active()) [[unlikely]]
    return ring.hold_back();
  if (wake == RingType::Wake::process) [[likely]] {
    device_.process(index);
    ring.processed(*host_.memory());
  }
  // The device may have found the queue broken.
  if (ring.running()) [[likely]]
    ring.arm();
}

template <class Device, io::Reactor R, class Owner>
void ServedDevice<Device, R, Owner>::kick_failed(std::uint16_t index, std::int32_t result) noexcept {
  host_.queue_failed(index, Error{format_text("its kick descriptor gave %d", result), EIO});
}

}  // namespace vumedia::vhost_user
