// Commands that wait for earlier ones of their session.
#pragma once

#include <cerrno>
#include <cstdint>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/answers.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/media/interrupts.hpp>
#include <vumedia/media/session_order.hpp>
#include <vumedia/media/turns.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::media {

/// Keeps commands back, with copies of their chains, until it is their turn. For the host's loop.
template <virtio::Host Host, class Backend>
class HeldCommands {
 public:
  /// Carries out a command that waits no more, as one from the queue.
  using CarryOut = Written (*)(void* owner, const virtio::Chain& chain);

  /// `budget` is for the copies of their chains.
  HeldCommands(Answers<Host, Backend>& answers, Interrupts<Host>& interrupts, Turns<Host>& turns,
               std::shared_ptr<memory::Budget> budget, CarryOut function, void* owner)
      : answers_(answers),
        interrupts_(interrupts),
        turns_(turns),
        budget_(std::move(budget)),
        carry_out_(function),
        owner_(owner) {}
  ~HeldCommands() { clear(); }
  HeldCommands(const HeldCommands&) = delete;
  HeldCommands& operator=(const HeldCommands&) = delete;

  /// The command waits for those in `order`, which lives until abandon(). EBUSY: too many wait.
  [[nodiscard]] Result<> hold(SessionOrder& order, const virtio::Chain& chain, std::uint32_t session) {
    if (answers_.too_many(session)) return fail(EBUSY);
    const auto segments = chain.segments();
    auto bytes = memory::Share::take(budget_, segments.size_bytes());
    if (!bytes) return fail(EBUSY);
    Held& held = held_.emplace_back();
    held.order = &order;
    held.segments.assign(segments.begin(), segments.end());
    held.chain = virtio::Chain(chain, held.segments);
    held.bytes = std::move(*bytes);
    answers_.owe(held, chain, session);
    ++order.waiting;
    return {};
  }

  /// Some need not wait any more: they are carried out in another turn.
  void wake() noexcept {
    if (!held_.empty()) turns_.do_later(serve_);
  }
  /// The session ends: nothing is before its commands any more.
  void abandon(const SessionOrder& order) noexcept {
    for (Held& held : held_) {
      if (held.order == &order) held.order = nullptr;
    }
    wake();
  }
  /// They are not answered.
  void clear() noexcept {
    for (Held& held : held_) answers_.drop(held);
    held_.clear();
  }

 private:
  struct Held : OwedAnswer {
    SessionOrder* order = nullptr;  // null: the session has ended
    std::vector<virtio::Segment> segments;
    virtio::Chain chain;
    memory::Share bytes;  // of `segments`
  };

  struct Serve final : Chore {
    explicit Serve(HeldCommands& of) noexcept
        : Chore([](Chore& chore) noexcept { static_cast<Serve&>(chore).held.serve(); }), held(of) {}
    HeldCommands& held;
  };

  void serve() noexcept {
    const bool outer = interrupts_.begin();
    for (auto next = held_.begin(); next != held_.end();) {
      if (next->order != nullptr && next->order->under_way) {
        ++next;
        continue;
      }
      if (turns_.work().left() <= 0) {
        turns_.do_later(serve_);
        break;
      }
      turns_.work().spend(memory::Work::command);
      std::list<Held> one;
      one.splice(one.begin(), held_, next++);
      carry_out(one.front());
    }
    interrupts_.end(outer);
  }

  void carry_out(Held& held) noexcept {
    // No command is before it any more, and those after it must not keep it from being carried out.
    const int waiting = held.order != nullptr ? std::exchange(held.order->waiting, 0) : 0;
    const std::uint16_t head = held.head;
    const bool late = io::Clock::now() >= held.deadline;
    answers_.begin(held);
    answers_.drop(held);
    const Written written = late ? answers_.status(held.chain, ETIMEDOUT) : carry_out_(owner_, held.chain);
    answers_.end();
    // CLOSE is never held: the session is still there.
    if (held.order != nullptr) held.order->waiting += waiting - 1;
    if (written != not_now) answers_.push(head, written);
  }

  Answers<Host, Backend>& answers_;
  Interrupts<Host>& interrupts_;
  Turns<Host>& turns_;
  const std::shared_ptr<memory::Budget> budget_;
  const CarryOut carry_out_;
  void* const owner_;
  std::list<Held> held_;  // of all sessions, in order of arrival
  Serve serve_{*this};
};

}  // namespace vumedia::media
