// What the open files of one host device share: limits, and the order of closing and opening.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include <vumedia/memory/contiguous.hpp>

namespace vumedia::backends::v4l2_proxy {

/// Files that are being closed. A guest's close() has no answer, and closing a file takes the host some time;
/// but a guest that opens the device again expects its resources to be free. So every operation on the device
/// waits for files that were closed before, for a limited time: a host that hangs while closing delays others
/// once.
class Closings {
 public:
  /// Waited for all files that were closed before, at most.
  static constexpr std::chrono::milliseconds patience{2000};

  /// A file will be closed; later requests wait for it. Any thread may call this, as all of these.
  [[nodiscard]] std::uint64_t begin() {
    const std::lock_guard lock(mutex_);
    pending_.insert(++last_);
    return last_;
  }
  /// The file has been closed.
  void end(std::uint64_t id) {
    {
      const std::lock_guard lock(mutex_);
      pending_.erase(id);
    }
    changed_.notify_all();
  }

  /// The last close that has begun, for wait().
  [[nodiscard]] std::uint64_t last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  /// Waits until all up to `last` have ended or were given up. Later ones may be the caller's own.
  void wait(std::uint64_t last) {
    std::unique_lock lock(mutex_);
    const auto over = [this, last] { return pending_.empty() || *pending_.begin() > last; };
    if (changed_.wait_for(lock, patience, over)) return;
    pending_.erase(pending_.begin(), pending_.upper_bound(last));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::uint64_t> pending_;
  std::uint64_t last_ = 0;
};

/// Kept by a program for all connections that it serves with one device, one after another.
class Shared {
 public:
  /// `max_threads`: for open files, and for closed ones whose host hangs. `max_mappings`: mappings of guest
  /// pages for the USERPTR buffers of all files; Linux allows a process some 65,530 in total.
  explicit Shared(std::size_t max_threads = 512, std::size_t max_mappings = 49152)
      : mappings(std::make_shared<memory::Budget>(max_mappings)), max_threads_(max_threads) {}

  /// Whether there may be another thread; it must be given back when it ends.
  [[nodiscard]] bool take_thread() noexcept {
    if (threads_.fetch_add(1, std::memory_order_relaxed) < max_threads_) return true;
    give_back_thread();
    return false;
  }
  /// A thread has ended.
  void give_back_thread() noexcept { threads_.fetch_sub(1, std::memory_order_release); }
  /// Threads that there are.
  [[nodiscard]] std::size_t threads() const noexcept { return threads_.load(std::memory_order_acquire); }

  Closings closings;                               ///< of the device
  const std::shared_ptr<memory::Budget> mappings;  ///< of guest pages, for all files

 private:
  const std::size_t max_threads_;
  std::atomic<std::size_t> threads_{0};
};

}  // namespace vumedia::backends::v4l2_proxy
