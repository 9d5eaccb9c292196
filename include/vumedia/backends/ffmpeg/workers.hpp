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

// A bounded set of threads, one for each session that decodes.
//
// A session that closes tells its thread to end and does not wait for it: the thread may be in the midst of a
// large picture. It counts against the bound until it has ended. The destructor waits for all; so that a
// connection's end does not wait, a program keeps one set for all its connections.
//
// Any thread may call run().
class Workers {
 public:
  explicit Workers(std::size_t max_threads) noexcept : max_threads_(max_threads) {}
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    for (auto& worker : workers_) worker.thread.join();
  }

  // Runs `task` on a thread of its own. EBUSY if all are taken, EAGAIN if the system has none.
  template <class Task>
  Result<> run(Task task) {
    const std::lock_guard lock(mutex_);
    reap();
    if (workers_.size() >= max_threads_) return fail(EBUSY);
    auto ended = std::make_shared<std::atomic<bool>>(false);
    workers_.reserve(workers_.size() + 1);
    // The library throws nothing; the constructor of a thread knows no other way to fail.
    try {
      std::thread thread([task = std::move(task), ended]() mutable {
        // The task and what it owns are gone before the thread counts as ended.
        {
          auto mine = std::move(task);
          mine();
        }
        ended->store(true, std::memory_order_release);
      });
      workers_.push_back({std::move(thread), std::move(ended)});
    } catch (const std::system_error&) {
      return fail(EAGAIN);
    }
    return {};
  }

  // Threads that have not ended.
  [[nodiscard]] std::size_t running() {
    const std::lock_guard lock(mutex_);
    reap();
    return workers_.size();
  }

 private:
  struct Worker {
    std::thread thread;
    std::shared_ptr<std::atomic<bool>> ended;
  };

  // Joins only threads whose last act is behind them.
  void reap() {
    std::erase_if(workers_, [](Worker& worker) {
      if (!worker.ended->load(std::memory_order_acquire)) return false;
      worker.thread.join();
      return true;
    });
  }

  const std::size_t max_threads_;
  std::mutex mutex_;
  std::vector<Worker> workers_;
};

}  // namespace vumedia::backends::ffmpeg
