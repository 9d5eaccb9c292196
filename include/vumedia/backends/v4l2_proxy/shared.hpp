// What the open files of one host device share: bounds, and the order of closing and opening.
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

// Files that are being closed. A guest's close() has no answer, and to close a file takes the host some time;
// but a guest that opens the device again expects what it had to be free. So who acts on the device waits for
// what was closed before, for a bounded time: a host that hangs while closing holds up others once.
class Closings {
 public:
  static constexpr std::chrono::milliseconds patience{2000};

  // A file will be closed; what is asked for after this waits for it. Any thread, as all of these.
  [[nodiscard]] std::uint64_t begin() {
    const std::lock_guard lock(mutex_);
    pending_.insert(++last_);
    return last_;
  }
  void end(std::uint64_t id) {
    {
      const std::lock_guard lock(mutex_);
      pending_.erase(id);
    }
    changed_.notify_all();
  }

  // The last one that has begun, for wait().
  [[nodiscard]] std::uint64_t last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  // Until all up to `last` are over, or given up. Those that began later may be the caller's own.
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

// Kept by a program for all the connections that it serves with one device, one after another.
class Shared {
 public:
  // `max_threads`: of open files, and of closed ones whose host hangs. `max_mappings`: of guest pages that
  // are USERPTR buffers, of all files; Linux lets a process have some 65,530 in all.
  explicit Shared(std::size_t max_threads = 512, std::size_t max_mappings = 49152)
      : mappings(std::make_shared<memory::Budget>(max_mappings)), max_threads_(max_threads) {}

  // Whether there may be a thread more; it is to be given back when it ends.
  [[nodiscard]] bool take_thread() noexcept {
    if (threads_.fetch_add(1, std::memory_order_relaxed) < max_threads_) return true;
    give_back_thread();
    return false;
  }
  void give_back_thread() noexcept { threads_.fetch_sub(1, std::memory_order_release); }
  [[nodiscard]] std::size_t threads() const noexcept { return threads_.load(std::memory_order_acquire); }

  Closings closings;
  const std::shared_ptr<memory::Budget> mappings;

 private:
  const std::size_t max_threads_;
  std::atomic<std::size_t> threads_{0};
};

}  // namespace vumedia::backends::v4l2_proxy
