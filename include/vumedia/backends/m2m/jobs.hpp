// The work of one open memory-to-memory device: pictures from OUTPUT's buffers to CAPTURE's.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/engine.hpp>
#include <vumedia/backends/m2m/formats.hpp>
#include <vumedia/backends/m2m/phase.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::backends::m2m {

// A job takes one buffer of each queue. One is done in a turn of the loop, so that others have theirs.
template <class E>
class Jobs {
 public:
  // `formats` and `subscriptions` outlive it. `mappings`: the session's budget for USERPTR buffers.
  Jobs(media::Context context, const E& engine, const Formats& formats, v4l2::Subscriptions& subscriptions,
       std::uint32_t output_type, std::uint32_t capture_type, const std::shared_ptr<memory::Budget>& mappings)
      : context_(context),
        engine_(engine),
        formats_(formats),
        subscriptions_(subscriptions),
        output_({.type = output_type,
                 .copies_timestamps = true,
                 .max_length = formats.most_bytes(),
                 .userptr = true,
                 .mappings = mappings}),
        capture_({.type = capture_type,
                  .copies_timestamps = true,
                  .mem_offset_base = v4l2::BufferQueue::mem_offset_span,
                  .max_length = formats.most_bytes(),
                  .userptr = true,
                  .mappings = mappings}) {}
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  [[nodiscard]] v4l2::BufferQueue& output() noexcept { return output_; }
  [[nodiscard]] v4l2::BufferQueue& capture() noexcept { return capture_; }

  // A buffer has been queued.
  void queued() noexcept { schedule(); }
  void started(const v4l2::BufferQueue& queue) noexcept {
    if (&queue == &output_) {
      phase_.restart();
    } else {
      (void)phase_.leave_stop();
    }
    schedule();
  }
  // All buffers of the queue belong to the guest again.
  void stopped(const v4l2::BufferQueue& queue) noexcept {
    // A job has a buffer of each queue. That of the other one is done again.
    if (job_ && &queue == &output_) capture_.give_back(job_->to);
    if (job_ && &queue == &capture_) output_.give_back(job_->from);
    job_.reset();
    before_drain_ = 0;
    if (&queue == &output_) {
      output_sequence_ = 0;
      phase_.seek();
    } else {
      capture_sequence_ = 0;
      if (phase_.stop_capture()) send_end();
    }
  }

  // STOP: an empty buffer flagged LAST will follow the pictures of all buffers that are queued now. It does
  // nothing unless both queues stream. EBUSY while an earlier one is not complete.
  [[nodiscard]] Result<> drain() noexcept {
    if (!output_.streaming() || !capture_.streaming()) return {};
    const auto begun = phase_.begin_drain();
    if (!begun) return std::unexpected(begun.error());
    if (!*begun) return {};
    drain_ = **begun;
    before_drain_ = output_.queued_count() + (job_ ? 1 : 0);
    schedule();
    return {};
  }
  // START. EBUSY until LAST has come.
  [[nodiscard]] Result<> resume() noexcept {
    const auto resumed = phase_.resume();
    if (!resumed) return std::unexpected(resumed.error());
    schedule();
    return {};
  }

 private:
  struct Job {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    v4l2::BufferQueue::Completion done;  // CAPTURE's
  };
  struct JobChore final : media::Chore {
    explicit JobChore(Jobs& of) noexcept
        : Chore([](media::Chore& chore) noexcept { static_cast<JobChore&>(chore).jobs.run(); }), jobs(of) {}
    Jobs& jobs;
  };

  void schedule() noexcept {
    if (output_.streaming() && capture_.streaming()) context_.do_later(chore_);
  }

  // What there is to do now, up to one picture.
  void run() noexcept {
    if (!output_.streaming() || !capture_.streaming()) return;
    if (phase_.last_is_due()) return deliver_last();
    if (!phase_.decoding()) return;
    if (!job_ && before_drain_ == 0 && phase_.reach_end(drain_)) return deliver_last();
    if (!job_) begin();
    if (!job_) return;
    // Memory of the guest's that is scattered gets a copy, a part in each turn.
    if (capture_.store(job_->to, job_->done, &context_.work())) finish();
    schedule();
  }

  void begin() noexcept {
    if (output_.queued_count() == 0 || capture_.queued_count() == 0) return;
    const auto from = output_.take_next();
    const auto to = capture_.take_next();
    if (!from || !to) return;
    const auto& source = *output_.slot(*from);
    const auto& target = *capture_.slot(*to);
    Job& job = job_.emplace(Job{*from, *to, {}});
    job.done.timestamp_ns = source.timestamp_ns;
    job.done.timecode = source.timecode;
    job.done.flags = source.flags & (V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_TSTAMP_SRC_MASK);
    job.done.error = !convert(source.planes[0], target.planes[0]);
    job.done.bytesused[0] = formats_.capture().size_image();
  }

  [[nodiscard]] bool convert(const v4l2::BufferQueue::Plane& from, const v4l2::BufferQueue::Plane& to) {
    const Format& source = formats_.output();
    const Format& target = formats_.capture();
    const std::uint32_t used = from.bytesused - std::min(from.bytesused, from.data_offset);
    // Both were checked when they were queued, but their formats may have changed since they were made.
    if (used < source.size_image() || to.bytes().size() < target.size_image()) return false;
    context_.work().spend(memory::Work::copied_byte * std::int64_t{source.size_image()});
    return engine_.convert(Source{*source.pixels, formats_.width(), formats_.height(), source.layout,
                                  from.bytes().subspan(from.data_offset, source.size_image())},
                           Target{*target.pixels, formats_.width(), formats_.height(), target.layout,
                                  to.bytes().first(target.size_image())});
  }

  void finish() noexcept {
    const Job job = *job_;
    job_.reset();
    if (before_drain_ != 0) --before_drain_;
    v4l2::BufferQueue::Completion taken;
    taken.error = job.done.error;
    taken.sequence = output_sequence_++;
    if (const auto buffer = output_.complete(job.from, taken)) context_.send_dqbuf(*buffer);
    v4l2::BufferQueue::Completion made = job.done;
    made.sequence = capture_sequence_++;
    if (const auto buffer = capture_.complete(job.to, made)) context_.send_dqbuf(*buffer);
  }

  // LAST comes in a buffer of its own, without a picture, which all clients understand.
  void deliver_last() noexcept {
    const auto index = capture_.take_next();
    if (!index) return;
    v4l2::BufferQueue::Completion last;
    last.flags = V4L2_BUF_FLAG_LAST;
    last.sequence = capture_sequence_++;
    if (const auto buffer = capture_.complete(*index, last)) context_.send_dqbuf(*buffer);
    if (phase_.pass_last()) send_end();
  }
  void send_end() noexcept {
    subscriptions_.deliver(v4l2::make_event(V4L2_EVENT_EOS),
                           [this](const v4l2_event& event) { context_.send_event(event); });
  }

  const media::Context context_;
  E engine_;
  const Formats& formats_;
  v4l2::Subscriptions& subscriptions_;
  v4l2::BufferQueue output_;
  v4l2::BufferQueue capture_;
  Phase phase_;
  Phase::Drain drain_ = 0;        // the latest
  std::size_t before_drain_ = 0;  // buffers that come before its end
  std::optional<Job> job_;        // that has buffers of both queues
  std::uint32_t output_sequence_ = 0;
  std::uint32_t capture_sequence_ = 0;
  JobChore chore_{*this};
};

}  // namespace vumedia::backends::m2m
