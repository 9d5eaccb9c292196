// What the loop and the worker of a decoding engine share.
#pragma once

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <vumedia/backends/ffmpeg/capture_slots.hpp>
#include <vumedia/backends/ffmpeg/event_outbox.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/interruption.hpp>
#include <vumedia/backends/ffmpeg/monitor.hpp>
#include <vumedia/backends/ffmpeg/picture_state.hpp>
#include <vumedia/backends/m2m/phase.hpp>
#include <vumedia/core/result.hpp>

namespace vumedia::backends::ffmpeg {

using m2m::Phase;

/// How decoding begins: with another stream; anywhere in the same one (a seek); or with what follows a drain
/// and may refer to frames from before it.
enum class Start : std::uint8_t { stream, seek, resume };

/// The state itself: what the client has queued and commanded, what has been decoded, and what follows from
/// both. It knows nothing of threads: SharedState has the mutex.
class EngineState {
 public:
  /// `notify`: see EventOutbox.
  EngineState(EventOutbox::Notify notify, const std::shared_ptr<Monitor>& monitor)
      : monitor_(*monitor), slots_(monitor), events_(std::move(notify)) {}

  // -- The client's steps: see Engine

  /// As Engine's, with the mutex held.
  ///@{
  void start_output(const CodedFormat& format) {
    output_ = &format;
    if (phase_.drained()) restart(Start::seek);
    monitor_.changed.notify_all();
  }
  void stop_output() {
    output_ = nullptr;
    restart(Start::seek);
    coded_.clear();
    held_back_.reset();
    phase_.seek();
    events_.drop<CodedBufferDone, EndOfStream>();
    monitor_.changed.notify_all();
  }
  void reset_stream() {
    picture_.reset();
    restart(Start::stream);
    phase_.forget_change();
  }
  [[nodiscard]] Result<> queue_output(CodedBuffer buffer) {
    if (coded_.size() > CaptureSlots::max_slots) return fail(ENOBUFS);
    coded_.emplace_back(std::move(buffer));
    monitor_.changed.notify_all();
    return {};
  }

  void start_capture(const CaptureSetup& setup) {
    picture_.start(setup);
    if (held_back_) push(*held_back_);
    held_back_.reset();
    if (phase_.leave_stop()) restart(Start::resume);
    monitor_.changed.notify_all();
  }
  void stop_capture() {
    picture_.stop();
    ++capture_epoch_;
    slots_.unqueue_all();
    if (phase_.stop_capture()) push(EndOfStream{});
    // If the picture changes during a drain, the drain continues with the buffers of the new picture. If it
    // does not, libavcodec may be in the middle of the drain: see end_of_frames().
    if (phase_.decoding()) std::erase_if(coded_, &EngineState::is_drain);
    events_.drop<FrameDone>();
  }
  void queue_capture(std::uint32_t index, BufferMemory memory) { slots_.queue(index, std::move(memory)); }
  void forget_capture_buffers(std::uint32_t first, std::size_t count) { slots_.forget(first, count); }

  [[nodiscard]] Result<> drain() {
    const auto begun = phase_.begin_drain();
    if (!begun) return std::unexpected(begun.error());
    if (!*begun) return {};
    coded_.emplace_back(DrainMark{**begun});
    monitor_.changed.notify_all();
    return {};
  }
  [[nodiscard]] Result<> resume(const CaptureSetup& setup) {
    const auto left = phase_.resume();
    if (!left) return std::unexpected(left.error());
    picture_.set_up(setup);
    if (*left) restart(Start::resume);
    monitor_.changed.notify_all();
    return {};
  }
  void close() {
    phase_.close();
    stop_.stop();
    coded_.clear();
    held_back_.reset();
    events_.clear();
    slots_.unqueue_all();
    monitor_.changed.notify_all();
  }
  void take_events(std::vector<Event>& events) noexcept { events_.take(events); }
  ///@}

  // -- The worker's steps

  /// Where it is between commands and stream.
  [[nodiscard]] const Phase& phase() const noexcept { return phase_; }

  /// Decoding has to begin anew, and nothing that was decoded before it counts any more.
  [[nodiscard]] bool start_is_due() const noexcept { return due_.has_value(); }
  /// To be called if so: how. The worker drops its frames, and calls begun().
  [[nodiscard]] Start take_start() noexcept {
    const Start start = due_.value_or(Start::seek);
    due_.reset();
    if (start == Start::stream) picture_.forget_hints();
    return start;
  }
  /// The worker has begun anew; frames count again.
  void begun() noexcept {
    if (!start_is_due() && !phase_.closed()) stop_.go();
  }

  /// Where a drain begins, among coded buffers.
  struct DrainMark {
    Phase::Drain drain = 0;  ///< its number
  };
  /// A buffer to be decoded as `format`, or a drain to be begun, after everything that was queued before.
  struct Coded {
    std::variant<CodedBuffer, DrainMark> entry;  ///< one of the two
    const CodedFormat* format = nullptr;         ///< of the buffer
  };
  /// Whether coded buffers may be decoded.
  [[nodiscard]] bool feeds() const noexcept { return output_ != nullptr; }
  /// Whether take_coded() has something.
  [[nodiscard]] bool has_coded() const noexcept { return feeds() && !coded_.empty() && !held_back_; }
  /// To be called if has_coded().
  [[nodiscard]] Coded take_coded() {
    Coded coded{std::move(coded_.front()), output_};
    coded_.pop_front();
    return coded;
  }

  /// A coded buffer has been decoded. `serial`: picture().serial() from before its last picture.
  void give_back(const CodedBufferDone& done, std::uint64_t serial) {
    if (start_is_due()) return;
    if (picture_.serial() != serial && !picture_.streaming() && !done.damaged) {
      held_back_ = done;
    } else {
      push(done);
    }
  }

  /// libavcodec has output all frames from before `drain`. If that has been forgotten, decoding continues
  /// with everything that libavcodec knew.
  void end_of_frames(Phase::Drain drain) {
    if (start_is_due() || phase_.closed()) return;
    if (!phase_.reach_end(drain)) restart(Start::resume);
  }

  /// The next frame does not fit the buffers.
  void reach_change() noexcept { phase_.reach_change(); }

  /// Delivers the empty buffer flagged LAST that is due. False if there is no buffer for it.
  ///
  /// LAST on the last frame would be enough for V4L2, which then wakes pollers for the EPIPE after it; but
  /// the Linux driver of virtio-media does not, and a client that polls before it asks for the next frame, as
  /// FFmpeg does, would wait forever. All clients understand an empty buffer.
  [[nodiscard]] bool deliver_last() {
    if (!picture_.streaming()) {
      // Nothing was ever decoded, or CAPTURE is being set up.
      if (phase_.tell_end()) push(EndOfStream{});
      return false;
    }
    const auto index = slots_.take_any();
    if (!index) return false;
    push(FrameDone{*index, 0, V4L2_BUF_FLAG_LAST, V4L2_FIELD_NONE, {}});
    if (phase_.pass_last()) push(EndOfStream{});
    return true;
  }

  /// Sends an event to the loop.
  void push(Event event) {
    if (!phase_.closed()) events_.push(std::move(event));
  }
  /// Announces `picture` to the client, and makes it the one that buffers are lent for.
  void announce(const Picture& picture, const StreamTraits& traits) {
    push(picture_.announce(picture, traits));
  }

  /// Lends a buffer whose layout is `layout`, in that format, for the picture that was announced last.
  [[nodiscard]] CaptureSlots::Lent lend(std::uint32_t fourcc, const Layout& layout) {
    if (phase_.stopped() || !picture_.fits()) return {};
    if (picture_.setup().fourcc != fourcc || picture_.setup().layout != layout) return {};
    return slots_.lend(picture_.first_serial(), layout.size_image(), Layout::address_alignment,
                       picture_.asked_buffers());
  }

  /// Parts of the state.
  ///@{
  [[nodiscard]] PictureState& picture() noexcept { return picture_; }
  [[nodiscard]] CaptureSlots& slots() noexcept { return slots_; }
  ///@}
  /// Changes when CAPTURE stops.
  [[nodiscard]] std::uint64_t capture_epoch() const noexcept { return capture_epoch_; }

  /// Frames delivered so far, by how they got into their buffers.
  struct Deliveries {
    /// Frames.
    ///@{
    std::uint64_t in_place = 0;
    std::uint64_t copied = 0;
    ///@}
  };
  /// To be counted by the worker.
  [[nodiscard]] Deliveries& deliveries() noexcept { return deliveries_; }

  /// For any thread, without the mutex.
  [[nodiscard]] StopFlag& stop_flag() noexcept { return stop_; }

 private:
  using Entry = std::variant<CodedBuffer, DrainMark>;
  [[nodiscard]] static bool is_drain(const Entry& entry) noexcept {
    return std::holds_alternative<DrainMark>(entry);
  }

  void restart(Start start) noexcept {
    // Whatever happens to a stream that has not begun, it is another one.
    if (due_ != Start::stream) due_ = start;
    stop_.stop();
    phase_.restart();
  }

  Monitor& monitor_;
  CaptureSlots slots_;
  EventOutbox events_;
  Phase phase_;
  PictureState picture_;
  std::optional<Start> due_ = Start::stream;
  StopFlag stop_;                        // libavcodec's work, when it is of no use any more
  const CodedFormat* output_ = nullptr;  // OUTPUT's format while it streams
  std::deque<Entry> coded_;
  // The buffer that brought a picture for which CAPTURE has yet to be set up. The decoder keeps it, and
  // everything queued after it, until that is done: no buffer comes back before its frame can.
  std::optional<CodedBufferDone> held_back_;
  std::uint64_t capture_epoch_ = 1;
  Deliveries deliveries_;
};

/// An EngineState that is reached with its mutex held.
class SharedState {
 public:
  /// `notify` is called with the mutex held.
  explicit SharedState(EventOutbox::Notify notify) : state_(std::move(notify), monitor_) {}
  SharedState(const SharedState&) = delete;
  SharedState& operator=(const SharedState&) = delete;

  /// The state, for as long as this lives.
  class Access {
   public:
    /// Takes the mutex.
    explicit Access(SharedState& shared)
        : state_(shared.state_), changed_(shared.monitor_->changed), lock_(shared.monitor_->mutex) {}

    /// The state.
    EngineState* operator->() const noexcept { return &state_; }

    /// Does `work`, during which the mutex is not held, and others may change the state. libavcodec works,
    /// samples are copied and frames are dropped only so: the release of a lent buffer takes the mutex.
    template <class Work>
    void without(Work work) {
      lock_.unlock();
      work();
      lock_.lock();
    }
    /// Until there may be something to do for the worker.
    void wait() { changed_.wait(lock_); }

   private:
    EngineState& state_;
    std::condition_variable& changed_;
    std::unique_lock<std::mutex> lock_;
  };
  /// Takes the mutex, for as long as the result lives.
  [[nodiscard]] Access lock() { return Access(*this); }

  // -- For any thread, without the mutex

  /// For any thread, without the mutex.
  [[nodiscard]] StopFlag& stop_flag() noexcept { return state_.stop_flag(); }
  /// Packets that libavcodec has been given, one for each picture, and pictures for which it got memory.
  std::atomic<std::uint64_t> packets{0};
  std::atomic<std::uint64_t> begun{0};  ///< pictures for which libavcodec got memory; without the mutex

 private:
  const std::shared_ptr<Monitor> monitor_ = std::make_shared<Monitor>();
  EngineState state_;
};

}  // namespace vumedia::backends::ffmpeg
