// Session: the life of rings. Included by session.hpp.
#pragma once

#include <vumedia/vhost_user/session.hpp>

namespace vumedia::vhost_user {

template <class Device, io::Reactor R>
bool Session<Device, R>::any_ring(bool RingType::* flag) const noexcept {
  for (const auto& each : host_.rings_) {
    if ((*each).*flag) return true;
  }
  return false;
}

// Rings of a frontend that did not negotiate PROTOCOL_FEATURES have no SET_VRING_ENABLE and start enabled.
// Some frontends set the features after the first rings, so this is evaluated again whenever one of its
// inputs changes.
template <class Device, io::Reactor R>
bool Session<Device, R>::is_enabled(const RingType& ring) const noexcept {
  if (ring.enabled) return *ring.enabled;
  return features_set_ ? (features_ & feature::protocol_features) == 0 : !protocol_features_set_;
}

// Whether the settings of the ring may change now: not while it, or another ring, is served. A ring that was
// started but never served since is stopped for the change, and its next kick descriptor starts it again. For
// the others see "Reset and pause" in session.hpp.
template <class Device, io::Reactor R>
bool Session<Device, R>::may_set_up(RingType& ring) noexcept {
  if (!ring.started) return true;
  if (any_ring(&RingType::running)) return false;
  if (!ring.was_running) {
    ring.queue.stop();
    ring.started = false;
    return true;
  }
  host_.log().write(LogLevel::debug,
                    "a ring is set up without having been stopped: the driver has reset the device");
  reset_device();
  return true;
}

// SET_VRING_KICK on a stopped ring.
template <class Device, io::Reactor R>
typename Session<Device, R>::Verdict Session<Device, R>::start_ring(std::uint16_t index) {
  RingType& ring = this->ring(index);
  if (ring.queue.size() == 0 || !ring.addresses)
    return refused(EINVAL, "queue %u has no size or no addresses yet", index);
  const auto& table = *host_.memory_;
  const auto descriptors = table.guest_address(ring.addresses->descriptors);
  const auto available = table.guest_address(ring.addresses->available);
  const auto used = table.guest_address(ring.addresses->used);
  if (!descriptors || !available || !used)
    return refused(EFAULT, "the rings of queue %u are not in guest memory", index);
  ring.place = {*descriptors, *available, *used};
  ring.queue.set_addresses(*descriptors, *available, *used);
  ring.queue.set_event_idx((features_ & feature::ring_event_idx) != 0);
  ring.queue.set_indirect((features_ & feature::ring_indirect_desc) != 0);
  if (auto started = ring.queue.start(table); !started) {
    return refused(started.error().value,
                   started.error().value == EFAULT
                       ? "the rings of queue %u are not within a region of guest memory"
                       : "queue %u cannot start: no memory, or its rings are not aligned",
                   index);
  }
  if (looks_reset(ring)) {
    host_.log().write(LogLevel::debug, "queue %u starts again at 0: the driver has reset the device", index);
    device_.reset();
    for (auto& each : host_.rings_) each->stopped.reset();
  }
  ring.stopped.reset();
  ring.started = true;
  ring.failed = ring.was_running = false;
  return {};
}

template <class Device, io::Reactor R>
bool Session<Device, R>::looks_reset(const RingType& ring) const noexcept {
  if (!ring.stopped || ring.queue.base() != 0 || any_ring(&RingType::running)) return false;
  return ring.stopped->base != 0 || ring.stopped->size != ring.queue.size() ||
         ring.stopped->place != ring.place;
}

// Starts or stops serving the ring, depending on its states.
template <class Device, io::Reactor R>
void Session<Device, R>::update_ring(std::uint16_t index) noexcept {
  RingType& ring = this->ring(index);
  const bool should_run = ring.started && !ring.failed && is_enabled(ring);
  if (!should_run) return suspend_ring(ring);
  if (ring.running) return;
  ring.running = ring.was_running = true;
  host_.shm_allowed_ = true;
  // Buffers may be waiting already, and a kick for them may never come.
  ring.arm();
  device_.process(index);
}

template <class Device, io::Reactor R>
void Session<Device, R>::update_rings() noexcept {
  for (std::uint16_t i = 0; i < queue_count(); ++i) update_ring(i);
}

template <class Device, io::Reactor R>
void Session<Device, R>::suspend_ring(RingType& ring) noexcept {
  if (!ring.running) return;
  ring.running = false;
  ring.disarm();
  host_.shm_allowed_ = false;
}

// No command is left in the queue: it stops, and the frontend gets its base.
template <class Device, io::Reactor R>
void Session<Device, R>::finish_stop(std::uint16_t index) noexcept {
  RingType& ring = this->ring(index);
  if (ring.started) {
    ring.queue.stop();
    ring.started = false;
    ring.failed = false;
    ring.stopped = StoppedRing{ring.queue.base(), ring.queue.size(), ring.place};
    ring.drop_kick();
  }
  reply(drain_request_, bytes_of(VringState{index, ring.queue.base()}));
}

// The driver has reset the device: all rings return to their initial state.
template <class Device, io::Reactor R>
void Session<Device, R>::reset_device() noexcept {
  for (auto& each : host_.rings_) suspend_ring(*each);
  host_.shm_allowed_ = false;
  device_.reset();
  for (auto& each : host_.rings_) {
    each->queue.stop();
    each->queue.set_base(0);
    each->started = each->failed = each->missed_call = each->held_back = false;
    each->enabled.reset();
    each->stopped.reset();
    each->drop_kick();
  }
}

// Running rings continue in the new table, at their guest addresses.
template <class Device, io::Reactor R>
void Session<Device, R>::replace_memory(std::shared_ptr<const memory::GuestMemory> table) noexcept {
  host_.memory_ = std::move(table);
  for (std::uint16_t i = 0; i < queue_count(); ++i) {
    const RingType& each = ring(i);
    if (!each.started || each.failed) continue;
    const std::uint32_t size = each.queue.size();
    const auto& memory = *host_.memory_;
    if (memory.contiguous(each.place.descriptors, virtio::ring::descriptors_bytes(size)) == nullptr ||
        memory.contiguous(each.place.available, virtio::ring::available_bytes(size)) == nullptr ||
        memory.contiguous(each.place.used, virtio::ring::used_bytes(size)) == nullptr)
      host_.queue_failed(i, Error{"its rings are not in the new memory table", EFAULT});
  }
}

template <class Device, io::Reactor R>
void Session<Device, R>::on_wakeup(io::Operation& operation, std::int32_t result) noexcept {
  auto& wakeup = static_cast<Wakeup&>(operation);
  auto& session = *static_cast<Session*>(wakeup.owner);
  session.ring_woken(session.ring(wakeup.index), wakeup.index, result);
}

template <class Device, io::Reactor R>
void Session<Device, R>::ring_woken(RingType& ring, std::uint16_t index, std::int32_t result) noexcept {
  const auto wake = ring.woken(result);
  if (wake == RingType::Wake::broken) [[unlikely]]
    return kick_failed(index, result);
  if (draining_) [[unlikely]] {
    ring.held_back = true;
    return;
  }
  if (wake == RingType::Wake::process) [[likely]] {
    device_.process(index);
    ring.processed(*host_.memory_);
  }
  // The device may have found the queue broken.
  if (ring.running) [[likely]]
    ring.arm();
}

template <class Device, io::Reactor R>
void Session<Device, R>::kick_failed(std::uint16_t index, std::int32_t result) noexcept {
  host_.queue_failed(index, Error{format_text("its kick descriptor gave %d", result), EIO});
}

template <class Device, io::Reactor R>
void Session<Device, R>::on_drain_timer(std::int32_t) noexcept {
  if (device_.in_flight(drained_) != 0) {
    // Nothing is read until then, so this is the only way to notice that the frontend has left.
    if (socket_.peer_has_left()) return end({});
    const io::TimePoint now = io::Clock::now();
    if (now >= drain_until_)
      return end({format_text("GET_VRING_BASE: %u commands of queue %u do not complete",
                              device_.in_flight(drained_), drained_),
                  ETIMEDOUT});
    host_.timer(drain_timer_, now + drain_interval);
    return;
  }
  draining_ = false;
  finish_stop(drained_);
  if (reply_failed_) return end({"GET_VRING_BASE: the frontend does not read its replies", EPIPE});
  for (std::uint16_t i = 0; i < queue_count(); ++i) {
    RingType& each = ring(i);
    if (!std::exchange(each.held_back, false) || !each.running) continue;
    each.arm();
    device_.process(i);
  }
  socket_.resume();
}

}  // namespace vumedia::vhost_user
