// The conversion of one open file's pictures: from OUTPUT's buffers to CAPTURE's, on the loop.
#pragma once

#include <algorithm>
#include <cstdint>

#include <vumedia/backends/m2m/converter.hpp>
#include <vumedia/backends/m2m/file.hpp>
#include <vumedia/backends/m2m/formats.hpp>
#include <vumedia/backends/m2m/jobs.hpp>
#include <vumedia/backends/m2m/queues.hpp>
#include <vumedia/backends/m2m/stamp.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>

namespace vumedia::backends::m2m {

/// The m2m::Instance of a Converter. One job is done in a turn of the loop, so that others have theirs.
template <class E>
class Conversion {
 public:
  using Queue = v4l2::BufferQueue;  ///< of V4L2 buffers

  /// `file` outlives it; `engine` is copied.
  Conversion(const E& engine, File& file)
      : file_(file),
        engine_(engine),
        formats_({file.queues.types().output, E::output_formats},
                 {file.queues.types().capture, E::capture_formats}, max_pixels<E>()),
        jobs_(file) {}
  Conversion(const Conversion&) = delete;
  Conversion& operator=(const Conversion&) = delete;

  /// Both queues: the bytes of the largest picture that the engine's formats can have.
  [[nodiscard]] static constexpr BufferLimits buffer_limits() noexcept {
    constexpr std::uint32_t most = Formats::most_bytes(max_pixels<E>());
    return {most, most};
  }
  /// The formats of both queues, as they are now.
  [[nodiscard]] Formats& formats() noexcept { return formats_; }

  /// Converts, on a later turn of the loop, if there is a buffer of each queue.
  void queued(const Queue&) noexcept { schedule(); }
  /// The queue streams now; what waits in both queues is converted.
  void started(const Queue& queue) noexcept {
    jobs_.started(queue);
    schedule();
  }
  /// The queue has stopped; the conversion that is under way is dropped.
  void stopped(const Queue& queue) noexcept { jobs_.stopped(queue); }
  /// Pictures that are queued now are the last. EBUSY while an earlier drain is not complete.
  [[nodiscard]] Result<> drain() noexcept {
    const auto begun = jobs_.drain();
    if (begun) schedule();
    return begun;
  }
  /// Goes on after a drain. EBUSY until LAST has come.
  [[nodiscard]] Result<> resume() noexcept {
    const auto resumed = jobs_.resume();
    if (resumed) schedule();
    return resumed;
  }

 private:
  struct JobChore final : media::Chore {
    explicit JobChore(Conversion& of) noexcept
        : Chore([](media::Chore& chore) noexcept { static_cast<JobChore&>(chore).conversion.run(); }),
          conversion(of) {}
    Conversion& conversion;
  };

  void schedule() noexcept {
    if (file_.queues.stream()) file_.context.do_later(chore_);
  }

  // What there is to do now, up to one picture.
  void run() noexcept {
    const bool goes_on = jobs_.current() != nullptr;
    const Jobs::Job* const job = jobs_.next();
    if (job == nullptr) return;
    if (!goes_on) begin(*job);
    // Memory of the guest's that is scattered gets a copy, a part in each turn.
    if (file_.queues.capture().store(job->to, made_, &file_.context.work())) {
      Queue::Completion taken;
      taken.error = made_.error;
      jobs_.finish(taken, made_);
    }
    schedule();
  }

  void begin(const Jobs::Job& job) noexcept {
    const auto& source = *file_.queues.output().slot(job.from);
    const auto& target = *file_.queues.capture().slot(job.to);
    made_ = {};
    Stamp::of(source).put(made_);
    made_.error = !convert(source.planes[0], target.planes[0]);
    made_.bytesused[0] = formats_.capture().size_image();
  }

  [[nodiscard]] bool convert(const Queue::Plane& from, const Queue::Plane& to) {
    const Format& source = formats_.output();
    const Format& target = formats_.capture();
    const std::uint32_t used = from.bytesused - std::min(from.bytesused, from.data_offset);
    // Both were checked when they were queued, but their formats may have changed since they were made.
    if (used < source.size_image() || to.bytes().size() < target.size_image()) return false;
    file_.context.work().spend(memory::Work::copied_byte * std::int64_t{source.size_image()});
    return engine_.convert(Source{*source.pixels, formats_.width(), formats_.height(), source.layout,
                                  from.bytes().subspan(from.data_offset, source.size_image())},
                           Target{*target.pixels, formats_.width(), formats_.height(), target.layout,
                                  to.bytes().first(target.size_image())});
  }

  File& file_;
  E engine_;
  Formats formats_;
  Jobs jobs_;
  Queue::Completion made_;  // by the job that is under way
  JobChore chore_{*this};
};

}  // namespace vumedia::backends::m2m
