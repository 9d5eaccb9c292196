// The wait of GET_VRING_BASE for the commands of a queue that is about to stop. The loop continues meanwhile.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>

#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>

namespace vumedia::vhost_user {

/// Whom a Drain asks, and tells. One of the last two is called once, as the last thing that the drain does:
/// it may destroy it.
template <class Owner>
concept DrainOwner = requires(Owner& owner, std::uint16_t index, const Error& error) {
  // Commands of the queue that are not completed.
  { owner.commands_left(index) } -> std::same_as<std::uint32_t>;
  // Nothing is read until then, so this is the only way to notice that the frontend has left.
  { owner.peer_has_left() } -> std::same_as<bool>;
  { owner.on_drained(index) } -> std::same_as<void>;
  // The error has no text if the frontend has left.
  { owner.on_drain_failed(error) } -> std::same_as<void>;
};

/// One queue at a time.
template <io::Loop Loop, class Owner>
class Drain {
 public:
  /// How often the queue is looked at, and for how long. A device answers everything within 4 seconds.
  static constexpr std::chrono::milliseconds interval{1};
  static constexpr std::chrono::seconds deadline{5};  ///< after which the wait fails with ETIMEDOUT

  /// `loop` and `owner` outlive it.
  Drain(Loop& loop, Owner& owner) noexcept : loop_(loop), owner_(owner) {}
  Drain(const Drain&) = delete;
  Drain& operator=(const Drain&) = delete;
  ~Drain() { loop_.cancel(timer_); }

  /// From start() until the queue is drained; after a failure it stays active.
  [[nodiscard]] bool active() const noexcept { return active_; }

  /// Waits for the commands of queue `index`. No other wait is active.
  void start(std::uint16_t index) noexcept {
    static_assert(DrainOwner<Owner>);
    active_ = true;
    index_ = index;
    const io::TimePoint now = io::Clock::now();
    until_ = now + deadline;
    loop_.timer(timer_, now + interval);
  }

 private:
  void on_timer(std::int32_t) noexcept {
    if (const std::uint32_t left = owner_.commands_left(index_); left != 0) {
      if (owner_.peer_has_left()) return owner_.on_drain_failed({});
      const io::TimePoint now = io::Clock::now();
      if (now < until_) return loop_.timer(timer_, now + interval);
      return owner_.on_drain_failed(
          {format_text("GET_VRING_BASE: %u commands of queue %u do not complete", left, index_), ETIMEDOUT});
    }
    active_ = false;
    owner_.on_drained(index_);
  }

  Loop& loop_;
  Owner& owner_;
  bool active_ = false;
  std::uint16_t index_ = 0;
  io::TimePoint until_;
  io::MemberOperation<&Drain::on_timer> timer_{*this};
};

}  // namespace vumedia::vhost_user
