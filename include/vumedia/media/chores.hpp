// Work that is left for later turns of the loop.
#pragma once

#include <algorithm>
#include <cstdint>

#include <vumedia/core/intrusive_list.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/work.hpp>

namespace vumedia::media {

/// A unit of such work: a member of its owner, which may destroy it at any time. Its handler is called once
/// for each time that it is added to Chores.
class Chore : public ListHook<Chore> {
 public:
  using Handler = void (*)(Chore& chore) noexcept;  ///< does the work, or adds its chore again
  /// `handler` is called with this chore.
  explicit Chore(Handler handler) noexcept : handler_(handler) {}

  /// Whether it waits for its turn.
  [[nodiscard]] bool pending() const noexcept { return linked(); }
  /// Takes it out of the chores, if it is in them.
  void cancel() noexcept { unlink(); }
  /// For Chores: calls the handler.
  void run() noexcept { handler_(*this); }

 private:
  Handler handler_;
};

/// The chores that wait for a turn.
class Chores {
 public:
  /// `turn`: what all on the loop share, or null.
  explicit Chores(io::Turn* turn = nullptr) noexcept : turn_(turn) {}
  Chores(const Chores&) = delete;
  Chores& operator=(const Chores&) = delete;
  /// Those that wait are done no more.
  ~Chores() {
    waiting_.clear();
    tell();
  }
  /// Whether none waits.
  [[nodiscard]] bool empty() const noexcept { return waiting_.empty(); }

  /// A chore that is waiting already keeps its place.
  void add(Chore& chore) noexcept {
    if (!chore.pending()) waiting_.push_back(chore);
  }

  /// Calls those that are there, in order, each with an equal part of a turn in `work`, which is given back
  /// as it was; they may add themselves anew, for the next. Should some have spent more than their parts,
  /// others wait for the next turn, and come first in it.
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
    waiting_.push_back(end);
    do {
      Chore& chore = *waiting_.pop_front();  // there: `end` is the last
      const std::int64_t given = std::clamp(allowed, memory::Work::mapping, part);
      work.begin(given);
      chore.run();
      const std::int64_t spent = given - work.left();
      allowed -= spent;
      if (turn_ != nullptr) turn_->spent_on_left += spent;
    } while (waiting_.front() != &end && allowed > 0);
    work.begin(before);
    end.cancel();
    tell();
  }

 private:
  // Counts those that are there, for all users of the loop to know.
  void tell() noexcept {
    const auto count = static_cast<std::uint32_t>(waiting_.size());
    if (turn_ != nullptr) turn_->waiting += count - told_;  // modulo 2^32, as unsigned numbers are
    told_ = count;
  }

  IntrusiveList<Chore> waiting_;
  io::Turn* const turn_;
  std::uint32_t told_ = 0;
};

}  // namespace vumedia::media
