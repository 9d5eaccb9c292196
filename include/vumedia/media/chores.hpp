// What is left to be done in later turns of the loop.
#pragma once

#include <algorithm>
#include <cstdint>

#include <vumedia/memory/work.hpp>

namespace vumedia::media {

// Something with a part to do: a member of its owner, who may destroy it at any time. Its handler is called
// once for each time that it is added to Chores.
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

// Those that wait for a turn: a ring around a chore that is none.
class Chores {
 public:
  Chores() = default;
  // Those that wait are done no more.
  ~Chores() {
    while (!empty()) ring_.next_->cancel();
  }
  [[nodiscard]] bool empty() const noexcept { return !ring_.pending(); }

  // A chore that waits already stays where it is.
  void add(Chore& chore) noexcept {
    if (!chore.pending()) put_behind(chore);
  }

  // Calls those that are there, in order, each with an equal part of a turn in `work`; they may add
  // themselves anew, for the next.
  void run(memory::Work& work) noexcept {
    std::int64_t count = 0;
    for (const Chore* chore = ring_.next_; chore != &ring_; chore = chore->next_) ++count;
    if (count == 0) return;
    // A part is enough for the dearest thing: progress is certain.
    const std::int64_t part = std::max(memory::Work::a_turn / count, memory::Work::mapping);
    Chore end(nullptr);
    put_behind(end);
    while (ring_.next_ != &end) {
      Chore& chore = *ring_.next_;
      chore.cancel();
      work.begin(part);
      chore.handler_(chore);
    }
  }

 private:
  void put_behind(Chore& chore) noexcept {
    chore.previous_ = ring_.previous_;
    chore.next_ = &ring_;
    ring_.previous_->next_ = &chore;
    ring_.previous_ = &chore;
  }

  Chore ring_{nullptr};
};

}  // namespace vumedia::media
