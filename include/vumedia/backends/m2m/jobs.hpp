// Work that takes one buffer of each queue and gives both back: one picture after another, between the
// client's commands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/file.hpp>
#include <vumedia/backends/m2m/phase.hpp>
#include <vumedia/backends/m2m/queues.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>

namespace vumedia::backends::m2m {

/// It has an Instance's functions of streaming and drains (m2m/instance.hpp); after each of them there may be
/// a next() job.
class Jobs {
 public:
  using Queue = v4l2::BufferQueue;  ///< of V4L2 buffers

  /// A buffer of each queue, for one picture.
  struct Job {
    std::uint64_t number = 0;  ///< that no other job of the file has
    std::uint32_t from = 0;    ///< buffers of OUTPUT
    std::uint32_t to = 0;      ///< and CAPTURE, taken
  };

  /// `file` outlives it.
  explicit Jobs(File& file) noexcept : file_(file), queues_(file.queues) {}
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  /// The queue streams now, which ends the pause after a drain.
  void started(const Queue& queue) noexcept {
    if (queues_.is_output(queue)) {
      phase_.restart();
    } else {
      (void)phase_.leave_stop();
    }
  }
  /// The job that is under way, if there is one, is dropped.
  void stopped(const Queue& queue) noexcept {
    const bool of_output = queues_.is_output(queue);
    // The buffer of the other queue is used again.
    if (job_ && of_output) queues_.capture().give_back(job_->to);
    if (job_ && !of_output) queues_.output().give_back(job_->from);
    job_.reset();
    before_drain_ = 0;
    if (of_output) {
      phase_.seek();
    } else if (phase_.stop_capture()) {
      file_.send_end();
    }
  }
  /// EBUSY while an earlier one is not complete.
  [[nodiscard]] Result<> drain() noexcept {
    const auto begun = phase_.begin_drain();
    if (!begun) return std::unexpected(begun.error());
    if (!*begun) return {};
    drain_ = **begun;
    before_drain_ = queues_.output().queued_count() + (job_ ? 1 : 0);
    return {};
  }
  /// EBUSY until LAST has come.
  [[nodiscard]] Result<> resume() noexcept {
    const auto resumed = phase_.resume();
    if (!resumed) return std::unexpected(resumed.error());
    return {};
  }

  /// The job that is under way. Null if there is none.
  [[nodiscard]] const Job* current() const noexcept { return job_ ? &*job_ : nullptr; }
  /// Begins one if there is none. Null if that is impossible now; at the end of a drain LAST is delivered.
  [[nodiscard]] const Job* next() noexcept {
    if (job_ || !queues_.stream()) return current();
    if (phase_.last_is_due() || (before_drain_ == 0 && phase_.reach_end(drain_))) {
      deliver_last();
      return nullptr;
    }
    Queue& output = queues_.output();
    Queue& capture = queues_.capture();
    if (!phase_.decoding() || output.queued_count() == 0 || capture.queued_count() == 0) return nullptr;
    const auto from = output.take_next();
    const auto to = capture.take_next();
    if (!from || !to) return nullptr;
    return &job_.emplace(Job{++number_, *from, *to});
  }
  /// The current one is done: both buffers are the guest's again.
  void finish(const Queue::Completion& taken, const Queue::Completion& made) noexcept {
    const Job job = *job_;
    job_.reset();
    if (before_drain_ != 0) --before_drain_;
    queues_.complete(queues_.output(), job.from, taken);
    queues_.complete(queues_.capture(), job.to, made);
  }

 private:
  // LAST comes in a buffer of its own, without a picture, which all clients understand.
  void deliver_last() noexcept {
    const auto index = queues_.capture().take_next();
    if (!index) return;
    Queue::Completion last;
    last.flags = V4L2_BUF_FLAG_LAST;
    queues_.complete(queues_.capture(), *index, last);
    if (phase_.pass_last()) file_.send_end();
  }

  File& file_;
  Queues& queues_;
  Phase phase_;
  Phase::Drain drain_ = 0;        // the latest
  std::size_t before_drain_ = 0;  // buffers that come before its end
  std::optional<Job> job_;
  std::uint64_t number_ = 0;  // of the last job
};

}  // namespace vumedia::backends::m2m
