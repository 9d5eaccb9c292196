// The rings of a session as a set: what holds for any or for all of them, and how a pause is told from a
// reset.
//
// A frontend that pauses a machine stops all rings and starts them where they stopped. One whose guest resets
// the device does the same, but starts them at base 0, wherever the new driver has put them (SET_STATUS 0 and
// RESET_DEVICE announce a reset, but are not always sent). So a ring that starts at base 0 while no ring runs
// is treated as reset if it stopped at another base, or if its size or address has changed since. A frontend
// that only disables all rings (libkrun) and then sets one up again has not asked where it stopped, so it
// could not continue there: that is a reset, too. A driver that resets after exactly a multiple of 65536
// commands and events, and puts its rings at the same place again, goes undetected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/vhost_user/ring.hpp>

namespace vumedia::vhost_user {

/// Their number is fixed. For the reactor's thread.
template <io::Reactor R>
class Rings {
 public:
  /// Whether the settings of a ring may change.
  enum class SetUp {
    allowed,
    refused,      ///< while it, or another ring, is served
    after_reset,  ///< the driver has reset the device, and the caller resets it first
  };

  /// `on_kick` is the handler of each ring's Wakeup, whose owner is `owner`.
  Rings(R& reactor, std::uint16_t count, io::Operation::Handler on_kick, void* owner) {
    rings_.reserve(count);
    for (std::uint16_t i = 0; i < count; ++i)
      rings_.push_back(std::make_unique<Ring<R>>(reactor, on_kick, owner, i));
  }

  /// How many there are.
  [[nodiscard]] std::uint16_t size() const noexcept { return static_cast<std::uint16_t>(rings_.size()); }
  /// `index` < size().
  ///@{
  [[nodiscard]] Ring<R>& operator[](std::size_t index) noexcept { return *rings_[index]; }
  [[nodiscard]] const Ring<R>& operator[](std::size_t index) const noexcept { return *rings_[index]; }
  ///@}

  /// Those that decide how rings start, and whether they start enabled. Rings that are started keep theirs.
  void set_features(const RingFeatures& features) noexcept { features_ = features; }
  /// As set last; those of no negotiation at first.
  [[nodiscard]] const RingFeatures& features() const noexcept { return features_; }

  /// Whether it holds for at least one.
  ///@{
  [[nodiscard]] bool any_started() const noexcept {
    return any([](const Ring<R>& ring) { return ring.started(); });
  }
  [[nodiscard]] bool any_running() const noexcept {
    return any([](const Ring<R>& ring) { return ring.running(); });
  }
  ///@}

  /// Whether `ring` should be served. Some frontends set the features after the first rings, so this is to be
  /// asked again whenever one of its inputs changes.
  [[nodiscard]] bool should_run(const Ring<R>& ring) const noexcept {
    return ring.started() && !ring.failed() && ring.enabled().value_or(features_.start_enabled);
  }

  /// Whether the settings of `ring` may change now. A ring that was started but never served since is stopped
  /// for the change, and its next kick descriptor starts it again.
  [[nodiscard]] SetUp prepare_set_up(Ring<R>& ring) noexcept {
    if (!ring.started()) return SetUp::allowed;
    if (any_running()) return SetUp::refused;
    if (ring.was_running()) return SetUp::after_reset;
    ring.withdraw();
    return SetUp::allowed;
  }

  /// Whether the driver has reset the device before `ring`, which has just started, was set up.
  [[nodiscard]] bool looks_reset(const Ring<R>& ring) const noexcept {
    const auto& stopped = ring.stopped_at();
    if (!stopped || ring.base() != 0 || any_running()) return false;
    return stopped->base != 0 || stopped->size != ring.size() || stopped->place != ring.place();
  }
  /// After a reset: where a ring stopped says nothing any more.
  void forget_stops() noexcept {
    for (const auto& ring : rings_) ring->forget_stop();
  }

  /// Returns whether any was served.
  bool suspend() noexcept {
    bool ran = false;
    for (const auto& ring : rings_) ran = ring->suspend() || ran;
    return ran;
  }
  /// All return to their initial state.
  void reset() noexcept {
    for (const auto& ring : rings_) ring->reset();
  }

  /// Calls `lost` with the index of each started ring that does not lie in `memory`.
  template <class Function>
  void for_each_outside(const memory::GuestMemory& memory, Function lost) noexcept {
    for (const auto& ring : rings_) {
      if (ring->started() && !ring->failed() && !ring->lies_in(memory)) lost(ring->index());
    }
  }

 private:
  template <class Condition>
  [[nodiscard]] bool any(Condition condition) const noexcept {
    for (const auto& ring : rings_) {
      if (condition(*ring)) return true;
    }
    return false;
  }

  std::vector<std::unique_ptr<Ring<R>>> rings_;
  RingFeatures features_;
};

}  // namespace vumedia::vhost_user
