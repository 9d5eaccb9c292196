// The turns of a loop, as a device uses them: how much it may do in one, and what it leaves for the next.
#pragma once

#include <concepts>
#include <cstdint>

#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::media {

/// A device's share of the loop. For the host's loop.
template <virtio::Host Host>
class Turns {
 public:
  /// Whether others on the loop share its turns (io::Turn).
  static constexpr bool shared = requires(Host& host) {
    { host.turn() } -> std::same_as<io::Turn&>;
  };
  /// The loop's turn, if the host has one to share; else null.
  [[nodiscard]] static io::Turn* of([[maybe_unused]] Host& host) noexcept {
    if constexpr (shared)
      return &host.turn();
    else
      return nullptr;
  }

  /// `resume(owner)` is called in a turn that follows a wake(), before the chores.
  using Resume = void (*)(void* owner) noexcept;
  /// `host` outlives it; `resume` is called with `owner`.
  Turns(Host& host, Resume resume, void* owner) noexcept
      : host_(host),
        resume_(resume),
        owner_(owner),
        work_(shared ? &of(host)->spent : nullptr),
        chores_(of(host)) {}
  ~Turns() { stop(); }
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  /// What may be done in this turn. Where it has a loop's turns to itself, a call by the host is one, which
  /// begins with begin().
  [[nodiscard]] memory::Work& work() noexcept { return work_; }
  /// The host calls the device: where it has a loop's turns to itself, a turn begins.
  void begin() noexcept {
    if constexpr (!shared) work_.begin();
  }

  /// Asks for another turn.
  void wake() noexcept {
    if (!timer_.pending()) host_.timer(timer_, io::TimePoint{});
  }
  /// Calls `chore` in another turn.
  void do_later(Chore& chore) noexcept {
    chores_.add(chore);
    wake();
  }

  /// Whether chores wait for another turn.
  [[nodiscard]] bool has_chores() const noexcept { return !chores_.empty(); }
  /// Does the chores that wait, as far as their share of the turn allows.
  void run_chores() noexcept {
    chores_.run(work_);
    if (!chores_.empty()) wake();
  }

  /// Takes the wish for another turn back.
  void stop() noexcept { host_.cancel(timer_); }

 private:
  struct Timer final : io::Operation {
    explicit Timer(Turns& of) noexcept
        : Operation([](io::Operation& operation, std::int32_t) noexcept {
            static_cast<Timer&>(operation).turns.on_turn();
          }),
          turns(of) {}
    Turns& turns;
  };

  void on_turn() noexcept {
    begin();
    resume_(owner_);
    run_chores();
  }

  Host& host_;
  const Resume resume_;
  void* const owner_;
  memory::Work work_;
  Chores chores_;
  Timer timer_{*this};
};

}  // namespace vumedia::media
