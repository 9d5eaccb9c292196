// How another thread reaches a loop.
#pragma once

#include <concepts>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::io {

/// A callable that is called once, with what it owns. std::move_only_function would do, but `<functional>`
/// alone makes up some 3 % of the time to compile a device.
class Task {
 public:
  /// Any callable without arguments, which is moved or copied to the heap.
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, Task> && std::invocable<std::remove_cvref_t<F>&>)
  Task(F&& function)  // NOLINT: lambdas are posted as they are
      : function_(new std::remove_cvref_t<F>(std::forward<F>(function)),
                  [](void* held) { delete static_cast<std::remove_cvref_t<F>*>(held); }),
        call_([](void* held) { (*static_cast<std::remove_cvref_t<F>*>(held))(); }) {}

  /// Calls it.
  void operator()() { call_(function_.get()); }

 private:
  std::unique_ptr<void, void (*)(void*)> function_;
  void (*call_)(void*);
};

/// Tasks for one loop, posted by any thread. Shared by the loop and its posters, so that a worker may outlive
/// the loop: after close() tasks are dropped (destroyed on the posting thread).
///
/// Posting allocates and locks: it hands over a worker's result and is not on the hot path. The loop polls
/// fd() for reading and calls run().
class Inbox {
 public:
  using Task = io::Task;  ///< what is posted

  /// The system's error if there can be no event fd.
  [[nodiscard]] static Result<std::shared_ptr<Inbox>> create() {
    auto fd = make_event_fd();
    if (!fd) return std::unexpected(fd.error());
    return std::shared_ptr<Inbox>(new Inbox(std::move(*fd)));
  }

  /// Callable from any thread. False if the loop is gone; the task is then dropped.
  bool post(Task task) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return false;
      tasks_.push_back(std::move(task));
      if (tasks_.size() > 1) return true;  // the loop has been woken for the first one and takes all of them
    }
    wake();
    return true;
  }

  /// Readable while tasks wait. Owned by the inbox.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// On the loop's thread: consumes the wake-up and runs the waiting tasks in the order of posting.
  void run() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(fd_.get(), &count, sizeof count);
    run_woken();
  }

  /// The same for a loop that has read fd() already.
  void run_woken() {
    std::vector<Task> batch;
    {
      const std::lock_guard lock(mutex_);
      batch.swap(tasks_);
    }
    for (auto& task : batch) task();
  }

  /// On the loop's thread, before the loop ends. Waiting tasks are destroyed without being run.
  void close() {
    std::vector<Task> batch;
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      batch.swap(tasks_);
    }
  }

 private:
  explicit Inbox(OwnedFd fd) noexcept : fd_(std::move(fd)) {}
  void wake() noexcept {
    const std::uint64_t one = 1;
    // Cannot fail for lack of room: at most one wake-up is pending each time the list was emptied.
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
  }

  OwnedFd fd_;
  std::mutex mutex_;
  std::vector<Task> tasks_;
  bool closed_ = false;
};

}  // namespace vumedia::io
