// Work that is left for later turns of the loop.
#pragma once

#include <algorithm>
#include <cstdint>

#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/work.hpp>

namespace vumedia::media {

// A unit of such work: a member of its owner, which may destroy it at any time. Its handler is called once
// for each time that it is added to Chores.
class Chore {
 public:
  using Handler = void (*)(Chore& chore) noexcept;
  explicit Chore(Handler handler) noexcept : handler_(handler) {}
  Chore(const Chore&) = delete;
  Chore& operator=(const Chore&) = delete;
  ~Chore() { cancel(); }

  [[nodiscard]] bool pending() const noexcept { return next_ != this; }
  void cancel() noexcept {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = this;
  }

 private:
  friend class Chores;
  Handler handler_;
  Chore* next_ = this;
  Chore* previous_ = this;
};

// The chores that wait for a turn: a ring around a sentinel.
class Chores {
 public:
  // `turn`: what all on the loop share, or null.
  explicit Chores(io::Turn* turn = nullptr) noexcept : turn_(turn) {}
  Chores(const Chores&) = delete;
  Chores& operator=(const Chores&) = delete;
  // Those that wait are done no more.
  ~Chores() {
    while (!empty()) ring_.next_->cancel();
    tell();
  }
  [[nodiscard]] bool empty() const noexcept { return !ring_.pending(); }

  // A chore that is waiting already keeps its place.
  void add(Chore& chore) noexcept {
    if (!chore.pending()) put_behind(chore);
  }

  // Calls those that are there, in order, each with an equal part of a turn in `work`, which is given back as
  // it was; they may add themselves anew, for the next. Should some have spent more than their parts, others
  // wait for the next turn, and come first in it.
  void run(memory::Work& work) noexcept {
    tell();
    if (told_ == 0) return;
    const std::int64_t all = turn_ != nullptr ? turn_->waiting : told_;
    // A part is enough for the dearest thing: progress is certain.
    const std::int64_t part = std::max(memory::Work::a_turn / all, memory::Work::mapping);
    std::int64_t allowed = memory::Work::a_turn * told_ / all;
    // There may be more of others than there were when those had their turns.
    if (turn_ != nullptr) allowed = std::min(allowed, memory::Work::a_turn - turn_->spent_on_left);
    const std::int64_t before = work.left();
    Chore end(nullptr);
    put_behind(end);
    do {
      Chore& chore = *ring_.next_;
      chore.cancel();
      const std::int64_t given = std::clamp(allowed, memory::Work::mapping, part);
      work.begin(given);
      chore.handler_(chore);
      const std::int64_t spent = given - work.left();
      allowed -= spent;
      if (turn_ != nullptr) turn_->spent_on_left += spent;
    } while (ring_.next_ != &end && allowed > 0);
    work.begin(before);
    end.cancel();
    tell();
  }

 private:
  void put_behind(Chore& chore) noexcept {
    chore.previous_ = ring_.previous_;
    chore.next_ = &ring_;
    ring_.previous_->next_ = &chore;
    ring_.previous_ = &chore;
  }

  // Counts those that are there, for all users of the loop to know.
  void tell() noexcept {
    std::uint32_t count = 0;
    for (const Chore* chore = ring_.next_; chore != &ring_; chore = chore->next_) ++count;
    if (turn_ != nullptr) turn_->waiting += count - told_;  // modulo 2^32, as unsigned numbers are
    told_ = count;
  }

  Chore ring_{nullptr};
  io::Turn* const turn_;
  std::uint32_t told_ = 0;
};

}  // namespace vumedia::media
