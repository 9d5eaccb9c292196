// A stateful decoder without its V4L2 interface: coded buffers go in, frames in the client's buffers and
// events come out (the kernel's "Memory-to-Memory Stateful Video Decoder Interface").
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <vumedia/backends/ffmpeg/capture_slots.hpp>
#include <vumedia/backends/ffmpeg/engine_options.hpp>
#include <vumedia/backends/ffmpeg/engine_state.hpp>
#include <vumedia/backends/ffmpeg/event_outbox.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/worker.hpp>
#include <vumedia/backends/ffmpeg/workers.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::backends::ffmpeg {

/// One session's decoder, as the session's loop sees it. None of the functions waits for decoding, which is
/// done by a Worker: its thread starts with the first start_output() and ends some time after close(). What
/// the two share is in SharedState, which has the mutex.
///
/// The client's steps map to functions: QBUF to queue_output and queue_capture (also before STREAMON),
/// STREAMON to start_output and start_capture, STREAMOFF to stop_*, DECODER_CMD to drain and resume. Once a
/// stop_ function has returned, no event for a buffer of that queue will come, and those not taken yet are
/// gone.
///
/// Frames are delivered in display order. When their shape changes, PictureChanged comes after the earlier
/// frames; then, if CAPTURE is streaming, an empty buffer flagged LAST, and nothing more until CAPTURE is
/// started again or resume() says that the buffers fit. A drain also ends with an empty buffer flagged LAST,
/// and with EndOfStream. After it, start_capture or resume continues decoding as if there had been no drain,
/// and start_output continues from the next key frame.
class Engine {
 public:
  /// Called on any thread when take_events() has something again. A lock is held, so it must only post a
  /// notification (io::Inbox::post) and must not call the engine.
  using Notify = EventOutbox::Notify;

  /// `options` outlive it. Nothing is started.
  Engine(const EngineOptions& options, Notify notify, Log log = {})
      : options_(options), log_(log), shared_(std::make_shared<SharedState>(std::move(notify))) {}
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() { close(); }

  /// Starts to decode the queued buffers. EINVAL for an unknown format, ENODEV for one that libavcodec lacks,
  /// EBUSY or EAGAIN if there is no thread for the session. The format may differ from that of an earlier
  /// start only after reset_stream().
  Result<> start_output(std::uint32_t fourcc, Workers& workers) {
    const CodedFormat* const format = find_coded_format(fourcc);
    if (format == nullptr) return fail(EINVAL);
    if (find_decoder(*format) == nullptr) return fail(ENODEV);
    if (!ticket_) {
      auto started = workers.run(
          [shared = shared_, options = options_, log = log_] { Worker(*shared, options, log).run(); });
      if (!started) return std::unexpected(started.error());
      ticket_ = std::move(*started);
    }
    shared_->lock()->start_output(*format);
    return {};
  }

  /// Forgets queued coded buffers, a pending drain, and all undelivered frames (a seek).
  void stop_output() { shared_->lock()->stop_output(); }

  /// Called with OUTPUT stopped: the next stream is a new one, and its first picture is announced whatever it
  /// is.
  void reset_stream() { shared_->lock()->reset_stream(); }

  /// ENOBUFS if there are more than V4L2 queues can hold.
  Result<> queue_output(CodedBuffer buffer) { return shared_->lock()->queue_output(std::move(buffer)); }

  /// STREAMON of CAPTURE: frames go to buffers as `setup` has them.
  void start_capture(const CaptureSetup& setup) { shared_->lock()->start_capture(setup); }
  /// STREAMOFF of CAPTURE: no frame goes to its buffers any more.
  void stop_capture() { shared_->lock()->stop_capture(); }

  /// ERANGE for an index that no V4L2 queue has.
  Result<> queue_capture(std::uint32_t index, BufferMemory memory) {
    if (index >= CaptureSlots::max_slots) return fail(ERANGE);
    shared_->lock()->queue_capture(index, std::move(memory));
    return {};
  }

  /// The guest has freed `count` buffers from `first` on; none of them is queued. Memory that libavcodec uses
  /// lives on.
  void forget_capture_buffers(std::uint32_t first, std::size_t count) {
    shared_->lock()->forget_capture_buffers(first, count);
  }

  /// DECODER_CMD STOP. EBUSY while an earlier one is not complete; after a completed one there is nothing to
  /// do.
  Result<> drain() { return shared_->lock()->drain(); }

  /// DECODER_CMD START: continues after LAST. After a change of shape, `setup` is the new one and fits the
  /// buffers. EBUSY if LAST has not come yet.
  Result<> resume(const CaptureSetup& setup) { return shared_->lock()->resume(setup); }

  /// Whether it waits for the client to restart CAPTURE, or to resume().
  [[nodiscard]] bool stopped() const { return shared_->lock()->phase().stopped(); }

  /// The last call: the worker ends after the current picture.
  void close() {
    ticket_.leave();
    shared_->lock()->close();
  }

  /// Moves the pending events, in order, to `events` (its contents are replaced).
  void take_events(std::vector<Event>& events) {
    events.clear();
    shared_->lock()->take_events(events);
  }

  /// For tests and figures.
  struct Counters {
    /// Frames delivered so far, counted by how they got into their buffers.
    std::uint64_t in_place = 0;
    std::uint64_t copied = 0;  ///< likewise
    /// Packets that libavcodec has been given, one for each picture, and pictures for which it got memory.
    std::uint64_t packets = 0;
    std::uint64_t begun = 0;  ///< likewise
  };
  /// As they are now; any thread.
  [[nodiscard]] Counters counters() const {
    const auto delivered = shared_->lock()->deliveries();
    return {delivered.in_place, delivered.copied, shared_->packets.load(std::memory_order_relaxed),
            shared_->begun.load(std::memory_order_relaxed)};
  }

 private:
  const EngineOptions options_;
  const Log log_;
  const std::shared_ptr<SharedState> shared_;
  Workers::Ticket ticket_;
};

}  // namespace vumedia::backends::ffmpeg
