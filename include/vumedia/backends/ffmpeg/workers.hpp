// The threads that decode.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <vumedia/core/result.hpp>

namespace vumedia::backends::ffmpeg {

/// A bounded set of threads, one for each session that decodes.
///
/// A session that closes tells its thread to end and does not wait for it, because the thread may be in the
/// middle of a large picture. So that such threads do not lock out the next session, as many again may be
/// ending. The destructor waits for all of them; to keep the end of a connection from waiting, a program uses
/// one set for all its connections.
///
/// Any thread may call run().
class Workers {
  struct State {
    std::atomic<bool> ending{false};
    std::atomic<bool> ended{false};
  };

 public:
  /// The state of a thread that has been started. Only run() makes one that stands for a thread.
  class Ticket {
   public:
    Ticket() = default;
    /// For run().
    explicit Ticket(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
    /// Whether it stands for a thread.
    [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }
    /// The thread has been told to end, and makes room for another.
    void leave() const noexcept {
      if (state_ != nullptr) state_->ending.store(true, std::memory_order_relaxed);
    }

   private:
    std::shared_ptr<State> state_;
  };

  /// At most `max_threads` sessions decode at a time.
  explicit Workers(std::size_t max_threads) noexcept : max_threads_(max_threads) {}
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    for (auto& worker : workers_) worker.thread.join();
  }

  /// Runs `task` on a thread of its own. EBUSY if all are taken, or if as many are still ending; EAGAIN if
  /// the system cannot start one.
  template <class Task>
  Result<Ticket> run(Task task) {
    const std::lock_guard lock(mutex_);
    reap();
    const auto ending = static_cast<std::size_t>(std::ranges::count_if(
        workers_, [](const Worker& worker) { return worker.state->ending.load(std::memory_order_relaxed); }));
    if (ending > max_threads_ || workers_.size() - ending >= max_threads_) return fail(EBUSY);
    auto state = std::make_shared<State>();
    workers_.reserve(workers_.size() + 1);
    // The library throws nothing, but a thread's constructor has no other way to fail.
    try {
      std::thread thread([task = std::move(task), state]() mutable {
        // The task and what it owns are destroyed before the thread counts as ended.
        {
          auto mine = std::move(task);
          mine();
        }
        state->ended.store(true, std::memory_order_release);
      });
      workers_.push_back({std::move(thread), state});
    } catch (const std::system_error&) {
      return fail(EAGAIN);
    }
    return Ticket(std::move(state));
  }

  /// Threads that have not ended.
  [[nodiscard]] std::size_t running() {
    const std::lock_guard lock(mutex_);
    reap();
    return workers_.size();
  }

 private:
  struct Worker {
    std::thread thread;
    std::shared_ptr<State> state;
  };

  // Joins only threads that have nothing left to do.
  void reap() {
    std::erase_if(workers_, [](Worker& worker) {
      if (!worker.state->ended.load(std::memory_order_acquire)) return false;
      worker.thread.join();
      return true;
    });
  }

  const std::size_t max_threads_;
  std::mutex mutex_;
  std::vector<Worker> workers_;
};

}  // namespace vumedia::backends::ffmpeg
