// Limits on what a peer makes us hold, such as mappings or bytes.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <utility>

#include <vumedia/core/result.hpp>

namespace vumedia::memory {

/// How many of something, such as mappings, a session may have, and how many all sessions together. Any
/// thread may use it.
class Budget {
 public:
  /// What is taken here is taken from `shared` too, if there is one.
  explicit Budget(std::size_t limit, std::shared_ptr<Budget> shared = nullptr) noexcept
      : limit_(limit), shared_(std::move(shared)) {}

  /// Takes `count`, all or nothing; false if not so many are left.
  [[nodiscard]] bool take(std::size_t count) noexcept {
    // Relaxed, because it is a count that orders nothing. No overflow: `count` counts things that exist in
    // memory.
    if (used_.fetch_add(count, std::memory_order_relaxed) + count <= limit_ &&
        (shared_ == nullptr || shared_->take(count)))
      return true;
    used_.fetch_sub(count, std::memory_order_relaxed);
    return false;
  }
  /// For things that exist already: exceeds the limit if necessary.
  void take_anyway(std::size_t count) noexcept {
    used_.fetch_add(count, std::memory_order_relaxed);
    if (shared_ != nullptr) shared_->take_anyway(count);
  }
  /// Returns what was taken, here and in `shared`.
  void give_back(std::size_t count) noexcept {
    used_.fetch_sub(count, std::memory_order_relaxed);
    if (shared_ != nullptr) shared_->give_back(count);
  }
  /// How much is taken now.
  [[nodiscard]] std::size_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  /// How much could be taken, if nobody else takes it first.
  [[nodiscard]] std::size_t left() const noexcept {
    const std::size_t used = this->used();
    const std::size_t own = used < limit_ ? limit_ - used : 0;
    return shared_ == nullptr ? own : std::min(own, shared_->left());
  }

 private:
  const std::size_t limit_;
  std::atomic<std::size_t> used_{0};
  std::shared_ptr<Budget> shared_;
};

/// A part of a Budget, which is returned when this is destroyed.
class Share {
 public:
  /// Nothing.
  Share() = default;
  /// ENOMEM: not enough is left. Without a budget nothing is counted.
  [[nodiscard]] static Result<Share> take(std::shared_ptr<Budget> of, std::size_t count) noexcept {
    if (of != nullptr && !of->take(count)) return fail(ENOMEM);
    Share share;
    share.of_ = std::move(of);
    share.count_ = count;
    return share;
  }
  /// Leaves `other` with nothing.
  Share(Share&& other) noexcept : of_(std::move(other.of_)), count_(std::exchange(other.count_, 0)) {}
  /// Gives back what it had before, and leaves `other` with nothing.
  Share& operator=(Share&& other) noexcept {
    if (this != &other) {
      give_back();
      of_ = std::move(other.of_);
      count_ = std::exchange(other.count_, 0);
    }
    return *this;
  }
  ~Share() { give_back(); }

  /// How much it holds; 0 if there is no budget.
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

 private:
  void give_back() noexcept {
    if (of_ != nullptr) of_->give_back(count_);
    of_.reset();
    count_ = 0;
  }

  std::shared_ptr<Budget> of_;
  std::size_t count_ = 0;
};

}  // namespace vumedia::memory
