// A queue and what vhost-user adds to it: settings, states, and the kick, call and err descriptors.
//
// States (vhost-user specification, "Ring states"): a ring is started by SET_VRING_KICK and stopped by
// GET_VRING_BASE or a reset; apart from that it is enabled or disabled. It is served while it is started,
// enabled and not failed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/vhost_user/kick.hpp>
#include <vumedia/virtio/queue.hpp>
#include <vumedia/virtio/ring_layout.hpp>

namespace vumedia::vhost_user {

/// Where a ring lies, as SET_VRING_ADDR names it.
struct RingAddresses {
  /// In the frontend's process.
  ///@{
  memory::FrontendAddress descriptors;
  memory::FrontendAddress available;
  memory::FrontendAddress used;
  ///@}
};

/// The same in guest addresses. It stays valid when the frontend's own addresses change.
struct RingPlace {
  /// In the guest.
  ///@{
  memory::GuestAddress descriptors;
  memory::GuestAddress available;
  memory::GuestAddress used;
  ///@}
  friend constexpr bool operator==(const RingPlace&, const RingPlace&) = default;
};

/// The state of a ring when it stopped, which distinguishes a pause from a reset.
struct StoppedRing {
  std::uint16_t base = 0;  ///< the index at which it could continue
  std::uint32_t size = 0;  ///< descriptors
  RingPlace place;         ///< of its parts
};

/// What the negotiated features mean for rings.
struct RingFeatures {
  bool event_idx = false;  ///< VIRTIO_F_EVENT_IDX is negotiated
  bool indirect = false;   ///< VIRTIO_F_INDIRECT_DESC is negotiated
  /// Rings of a frontend that did not negotiate PROTOCOL_FEATURES have no SET_VRING_ENABLE.
  bool start_enabled = true;
};

/// Whether a ring is served; see Ring for the transitions.
enum class RingState : std::uint8_t {
  stopped,
  started,  ///< but not served: it is disabled, or about to stop
  running,  ///< served
  failed,   ///< not served until it is stopped and started again
};

/// The functions are the transitions; each says from which states it leads where. Whether one is due depends
/// on the other rings as well: see rings.hpp.
template <io::Reactor R>
class Ring {
 public:
  using Wake = typename Kick<R>::Wake;  ///< what a wake-up means

  /// `on_kick` is called with a Wakeup that names `owner` and `index`.
  Ring(R& reactor, io::Operation::Handler on_kick, void* owner, std::uint16_t index) noexcept
      : kick_(reactor, on_kick, owner, index), reactor_(reactor), index_(index) {}
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Of its queue.
  [[nodiscard]] std::uint16_t index() const noexcept { return index_; }
  /// The queue in memory, which lasts as long as the ring.
  [[nodiscard]] virtio::Queue& queue() noexcept { return queue_; }
  /// The index of the next chain to be taken; where the ring starts, or continues.
  [[nodiscard]] std::uint16_t base() const noexcept { return queue_.base(); }
  /// Descriptors, as set last.
  [[nodiscard]] std::uint32_t size() const noexcept { return queue_.size(); }
  /// Since the last start.
  [[nodiscard]] const RingPlace& place() const noexcept { return place_; }

  /// Where it is among the states at the head of this file.
  ///@{
  [[nodiscard]] RingState state() const noexcept { return state_; }
  [[nodiscard]] bool started() const noexcept { return state_ != RingState::stopped; }
  [[nodiscard]] bool running() const noexcept { return state_ == RingState::running; }
  [[nodiscard]] bool failed() const noexcept { return state_ == RingState::failed; }
  ///@}
  /// At some time since the last start.
  [[nodiscard]] bool was_running() const noexcept { return was_running_; }
  /// As set by SET_VRING_ENABLE, if it came.
  [[nodiscard]] std::optional<bool> enabled() const noexcept { return enabled_; }
  /// Since GET_VRING_BASE, until the next start or reset.
  [[nodiscard]] const std::optional<StoppedRing>& stopped_at() const noexcept { return stopped_at_; }

  /// Settings, of a stopped ring. EINVAL if no queue can have that size.
  [[nodiscard]] Result<> set_size(std::uint32_t size) noexcept { return queue_.set_size(size); }
  /// Likewise, without an error.
  ///@{
  void set_base(std::uint16_t base) noexcept { queue_.set_base(base); }
  void set_addresses(const RingAddresses& addresses) noexcept { addresses_ = addresses; }
  ///@}

  /// As SET_VRING_ENABLE says; whether the ring is served follows from Rings::should_run().
  void set_enabled(bool enabled) noexcept { enabled_ = enabled; }

  /// See Kick.
  [[nodiscard]] Result<> set_kick(OwnedFd fd) noexcept { return kick_.set(std::move(fd)); }
  /// Closes the descriptor, if there is one.
  void drop_kick() noexcept { kick_.drop(); }

  /// Takes the descriptor that interrupts the driver, or none. EINVAL if it is not an event fd.
  [[nodiscard]] Result<> set_call(OwnedFd fd) noexcept {
    // The last interrupt may have gone to the former descriptor when the frontend no longer looked at it:
    // QEMU, which gives another when the driver masks or unmasks an interrupt, does not wait until we have
    // read that.
    if (call_ && was_running_) missed_call_ = true;
    if (auto taken = take(call_, std::move(fd)); !taken || !call_) return taken;
    // Some frontends send this after the kick: an interrupt that was due in between is due still. One too
    // many does no harm.
    if (std::exchange(missed_call_, false)) call_->signal();
    return {};
  }
  /// The same for the descriptor that reports that the ring has failed.
  [[nodiscard]] Result<> set_err(OwnedFd fd) noexcept {
    if (auto taken = take(err_, std::move(fd)); !taken || !err_) return taken;
    if (failure_to_tell_) err_->signal();
    return {};
  }

  /// stopped -> started. An error leaves it stopped.
  [[nodiscard]] Outcome<> start(const memory::GuestMemory& memory, const RingFeatures& features);

  /// started -> running. Buffers may be waiting already, and a kick for them may never come: the caller
  /// processes the ring.
  void run() noexcept {
    state_ = RingState::running;
    was_running_ = true;
    kick_.arm();
  }

  /// running -> started. Returns whether it was running.
  bool suspend() noexcept {
    if (!running()) return false;
    state_ = RingState::started;
    kick_.disarm();
    return true;
  }

  /// started, failed -> stopped, so that its settings can change. The kick descriptor stays. That it has
  /// failed is still to be told: the frontend need not have given an err descriptor yet.
  void withdraw() noexcept {
    queue_.stop();
    state_ = RingState::stopped;
  }

  /// started, failed -> stopped, at the frontend's request and with no command left.
  void stop() noexcept {
    withdraw();
    failure_to_tell_ = false;
    stopped_at_ = StoppedRing{queue_.base(), queue_.size(), place_};
    kick_.drop();
  }
  /// What stopped_at() says counts no more.
  void forget_stop() noexcept { stopped_at_.reset(); }

  /// The queue holds something that no driver may put there. Any state but stopped -> failed.
  void fail() noexcept {
    if (started()) {
      state_ = RingState::failed;
      failure_to_tell_ = true;
    }
    kick_.disarm();
    if (err_) err_->signal();
  }

  /// Any state -> stopped: the driver has reset the device. Size, addresses, call and err stay.
  void reset() noexcept {
    withdraw();
    queue_.set_base(0);
    missed_call_ = held_back_ = failure_to_tell_ = false;
    enabled_.reset();
    stopped_at_.reset();
    kick_.drop();
  }

  /// Waits for the next kick, once.
  void arm() noexcept { kick_.arm(); }
  /// See Kick.
  ///@{
  [[nodiscard]] Wake woken(std::int32_t result) noexcept { return kick_.woken(result); }
  void processed(const memory::GuestMemory& memory) noexcept { kick_.processed(queue_, memory); }
  ///@}

  /// Notes a wake-up that came while the device must not be called.
  void hold_back() noexcept { held_back_ = true; }
  /// Whether one was noted since the last call.
  [[nodiscard]] bool take_held_back() noexcept { return std::exchange(held_back_, false); }

  /// After pushes: publishes the used index and interrupts the driver if it asks for that.
  [[gnu::always_inline]] void flush(const memory::GuestMemory& memory) noexcept {
    if (!queue_.flush(memory)) return;
    if (call_) [[likely]]
      call_->signal();
    else
      missed_call_ = true;
  }

  /// Whether all of it is in `memory`, at its guest addresses.
  [[nodiscard]] bool lies_in(const memory::GuestMemory& memory) const noexcept {
    const std::uint32_t entries = size();
    return memory.contiguous(place_.descriptors, virtio::ring::descriptors_bytes(entries)) != nullptr &&
           memory.contiguous(place_.available, virtio::ring::available_bytes(entries)) != nullptr &&
           memory.contiguous(place_.used, virtio::ring::used_bytes(entries)) != nullptr;
  }

 private:
  using Notifier = typename R::Notifier;

  [[nodiscard]] Result<> take(std::optional<Notifier>& notifier, OwnedFd fd) noexcept {
    if (!fd) {
      notifier.reset();
      return {};
    }
    auto made = reactor_.make_notifier(std::move(fd));
    if (!made) return std::unexpected(made.error());
    notifier = std::move(*made);
    return {};
  }

  Kick<R> kick_;  // the first, because a kick needs its address and the ring's
  R& reactor_;
  virtio::Queue queue_;
  std::optional<Notifier> call_;
  std::optional<Notifier> err_;
  const std::uint16_t index_;
  RingState state_ = RingState::stopped;
  std::optional<bool> enabled_;
  bool was_running_ = false;
  bool held_back_ = false;
  bool missed_call_ = false;      // an interrupt is due of which the next descriptor is to tell
  bool failure_to_tell_ = false;  // since the last start, the ring has failed
  std::optional<RingAddresses> addresses_;
  RingPlace place_;
  std::optional<StoppedRing> stopped_at_;
};

template <io::Reactor R>
Outcome<> Ring<R>::start(const memory::GuestMemory& memory, const RingFeatures& features) {
  const auto refused = [this](int code, const char* format) {
    return std::unexpected(Error{format_text(format, index_), code});
  };
  if (queue_.size() == 0 || !addresses_) return refused(EINVAL, "queue %u has no size or no addresses yet");
  const auto descriptors = memory.guest_address(addresses_->descriptors);
  const auto available = memory.guest_address(addresses_->available);
  const auto used = memory.guest_address(addresses_->used);
  if (!descriptors || !available || !used)
    return refused(EFAULT, "the rings of queue %u are not in guest memory");
  place_ = {*descriptors, *available, *used};
  queue_.set_addresses(*descriptors, *available, *used);
  queue_.set_event_idx(features.event_idx);
  queue_.set_indirect(features.indirect);
  if (auto started = queue_.start(memory); !started) {
    return refused(started.error().value,
                   started.error().value == EFAULT
                       ? "the rings of queue %u are not within a region of guest memory"
                       : "queue %u cannot start: no memory, or its rings are not aligned");
  }
  state_ = RingState::started;
  was_running_ = failure_to_tell_ = false;
  return {};
}

}  // namespace vumedia::vhost_user
