// What a device that has ended leaves on its loop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/io/inbox.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/work.hpp>

namespace vumedia::media {

/// Memory that is freed a part a turn: a task that posts itself again until there is no more. A loop that
/// ends before frees the rest at once.
class Leftovers {
 public:
  /// Frees `leavings` in turns of the loop behind `inbox`; `turn` is what it shares out, null if it does not.
  static void free(const std::shared_ptr<io::Inbox>& inbox, memory::Arenas::Leavings leavings,
                   io::Turn* turn) {
    if (!leavings.empty()) inbox->post(Leftovers(inbox, std::move(leavings), turn));
  }

  /// The other one frees nothing any more.
  Leftovers(Leftovers&& other) noexcept
      : inbox_(std::move(other.inbox_)),
        leavings_(std::move(other.leavings_)),
        turn_(std::exchange(other.turn_, nullptr)) {}
  Leftovers& operator=(Leftovers&&) = delete;
  ~Leftovers() {
    if (turn_ != nullptr) --turn_->waiting;
  }

  /// The task: frees a part, and posts the rest.
  void operator()() {
    memory::Work work;
    const std::int64_t all = turn_ != nullptr ? std::max(turn_->waiting, 1U) : 1;
    const std::int64_t given = std::max(memory::Work::a_turn / all, memory::Work::mapping);
    work.begin(given);
    const bool more = leavings_.clean(work);
    if (turn_ != nullptr) turn_->spent_on_left += given - work.left();
    if (!more) return;
    if (const auto inbox = inbox_.lock()) inbox->post(std::move(*this));
  }

 private:
  Leftovers(const std::shared_ptr<io::Inbox>& inbox, memory::Arenas::Leavings leavings,
            io::Turn* turn) noexcept
      : inbox_(inbox), leavings_(std::move(leavings)), turn_(turn) {
    if (turn_ != nullptr) ++turn_->waiting;
  }

  std::weak_ptr<io::Inbox> inbox_;  // weak: it holds this
  memory::Arenas::Leavings leavings_;
  io::Turn* turn_;
};

}  // namespace vumedia::media
