// What is left of blocks and other memory of a guest: to be cleared and freed, which takes time in proportion
// to its size. Whoever drops the last pointer to it on a loop need not spend that time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <pthread.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/memory/arena_file.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/contiguous.hpp>
#include <vumedia/memory/work.hpp>

namespace vumedia::memory {

/// What is left of a block: its place in an arena, not all of which reads as zeros.
class BlockRemains {
 public:
  /// `size`, in bytes, is the block's share of the budget, which is kept until its place is clean.
  BlockRemains(std::shared_ptr<Arena> arena, ShmOffset place, Share size) noexcept
      : arena_(std::move(arena)), place_(place), size_(std::move(size)) {}

  /// Pages that are yet to be cleared.
  [[nodiscard]] std::uint64_t pages_left() const noexcept { return (size_.count() - cleared_) / page_size; }

  /// Clears up to `pages` more pages. Returns whether it is done and the place is free.
  [[nodiscard]] bool clear(std::uint64_t pages) noexcept {
    // In parts, because other users of the file wait while this runs.
    constexpr std::uint64_t part = 512;
    while (pages > 0 && pages_left() > 0) {
      const std::uint64_t length = std::min({pages, part, pages_left()}) * page_size;
      failed_ = !arena_->clear(place_.value + cleared_, length) || failed_;
      cleared_ += length;
      pages -= length / page_size;
    }
    if (pages_left() > 0) return false;
    // A place that could not be cleared is not given out again while its arena lives: nobody may see old
    // content.
    arena_->give_back(place_, size_.count(), !failed_);
    return true;
  }

 private:
  std::shared_ptr<Arena> arena_;
  ShmOffset place_;
  Share size_;  // in bytes
  std::uint64_t cleared_ = 0;
  bool failed_ = false;
};

/// Counts as used until it is cleaned.
class Leavings {
 public:
  Leavings() = default;
  /// Leaves nothing in the other one.
  Leavings(Leavings&&) = default;
  Leavings& operator=(Leavings&&) = delete;
  /// Whatever is there still is cleaned at once.
  ~Leavings() {
    Work work;
    do {
      work.begin(INT64_MAX);
    } while (clean(work));
  }

  /// Takes over the place of a block, to be cleared.
  void add(BlockRemains remains) { blocks_.push_back(std::move(remains)); }
  /// Takes over a mapping, to be unmapped.
  void add(ContiguousRange range) { ranges_.push_back(std::move(range)); }
  /// Memory of so many bytes, let go of as a whole.
  void add(std::shared_ptr<const void> memory, std::size_t bytes) {
    memory_.push_back({std::move(memory), bytes});
  }

  /// Whether nothing is left to be cleaned.
  [[nodiscard]] bool empty() const noexcept { return blocks_.empty() && ranges_.empty() && memory_.empty(); }
  /// Cleans as much as `work` allows. Whether there is more.
  bool clean(Work& work) noexcept {
    while (!ranges_.empty()) {
      ContiguousRange& last = ranges_.back();
      const std::size_t pages = work.take(last.pages(), Work::unmapped_page);
      const bool done = pages == last.pages();
      last.shrink(pages);
      if (!done) return true;
      ranges_.pop_back();
    }
    while (!memory_.empty()) {
      if (work.left() <= 0) return true;
      work.spend(static_cast<std::int64_t>(memory_.back().bytes / page_size) * Work::cleared_page);
      memory_.pop_back();
    }
    while (!blocks_.empty()) {
      BlockRemains& last = blocks_.back();
      if (!last.clear(work.take(last.pages_left(), Work::cleared_page))) return true;
      blocks_.pop_back();
    }
    return false;
  }

 private:
  struct Memory {
    std::shared_ptr<const void> held;
    std::size_t bytes = 0;
  };
  std::vector<BlockRemains> blocks_;
  std::vector<ContiguousRange> ranges_;
  std::vector<Memory> memory_;
};

/// Keeps what ends on a loop's thread until that has time for it. What ends on another thread, or before
/// there is a loop, is not kept: the caller cleans it at once.
class Cleaner {
 public:
  using Dirty = void (*)(void* owner) noexcept;  ///< tells the owner that there is something to clean

  /// Said once, on the loop's thread, before there are others. `dirtied(owner)` is called when something is
  /// kept that was not before, from within destructors.
  void begin(Dirty dirtied, void* owner) noexcept {
    dirtied_ = dirtied;
    owner_ = owner;
    loop_ = ::pthread_self();
  }
  /// What is kept; nothing more will be.
  [[nodiscard]] Leavings end() noexcept {
    dirtied_ = nullptr;
    dirty_.store(false, std::memory_order_relaxed);
    return std::move(kept_);
  }

  /// Whether the caller is to keep what it has.
  [[nodiscard]] bool keeps() const noexcept {
    return ::pthread_equal(::pthread_self(), loop_) != 0 && dirtied_ != nullptr;
  }
  /// See Leavings::add. Only if keeps().
  template <class... Left>
  void keep(Left&&... left) {
    kept_.add(std::forward<Left>(left)...);
    if (!dirty_.exchange(true, std::memory_order_relaxed)) dirtied_(owner_);
  }

  /// Whether something is kept. Any thread may ask.
  [[nodiscard]] bool dirty() const noexcept { return dirty_.load(std::memory_order_relaxed); }
  /// On the loop's thread. Whether there is more.
  bool clean(Work& work) noexcept {
    if (kept_.clean(work)) return true;
    dirty_.store(false, std::memory_order_relaxed);
    return false;
  }

 private:
  // The loop's own, except loop_, which any thread reads.
  Dirty dirtied_ = nullptr;
  void* owner_ = nullptr;
  pthread_t loop_{};
  Leavings kept_;
  std::atomic<bool> dirty_{false};
};

}  // namespace vumedia::memory
