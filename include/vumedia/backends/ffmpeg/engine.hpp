// A stateful decoder without its V4L2 interface: coded buffers go in, frames in the client's buffers and
// events come out (the kernel's "Memory-to-Memory Stateful Video Decoder Interface").
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <vumedia/backends/ffmpeg/capture_slots.hpp>
#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/history.hpp>
#include <vumedia/backends/ffmpeg/interruption.hpp>
#include <vumedia/backends/ffmpeg/jpeg.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>
#include <vumedia/backends/ffmpeg/picture.hpp>
#include <vumedia/backends/ffmpeg/picture_splitter.hpp>
#include <vumedia/backends/ffmpeg/recovery.hpp>
#include <vumedia/backends/ffmpeg/reordering.hpp>
#include <vumedia/backends/ffmpeg/stream_hints.hpp>
#include <vumedia/backends/ffmpeg/workers.hpp>
#include <vumedia/backends/ffmpeg/write_watch.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/budget.hpp>

namespace vumedia::backends::ffmpeg {

struct EngineOptions {
  CodecOptions codec;
  // Decode directly into the client's buffers where that is possible: those of planar formats with 8 bits. It
  // is never possible for P010, because libavcodec has the bits at other places in its words.
  bool direct = true;
  // Bytes of bitstream that are kept so that decoding can continue after a drain.
  std::size_t history_bytes = History::max_bytes;
  // The budget for that, and for the packets that libavcodec has. Null: none. A coded buffer for which
  // nothing is left comes back as damaged.
  std::shared_ptr<memory::Budget> bytes = nullptr;
};

// One session's decoder. The public functions are called on the session's loop thread; none waits for
// decoding. The worker thread starts with the first start_output() and ends some time after close().
//
// The client's steps map to functions: QBUF to queue_output and queue_capture (also before STREAMON),
// STREAMON to start_output and start_capture, STREAMOFF to stop_*, DECODER_CMD to drain and resume. Once a
// stop_ function has returned, no event for a buffer of that queue will come, and those not taken yet are
// gone.
//
// Frames are delivered in display order. When their shape changes, PictureChanged comes after the earlier
// frames; then, if CAPTURE is streaming, an empty buffer flagged LAST, and nothing more until CAPTURE is
// started again or resume() says that the buffers fit. A drain also ends with an empty buffer flagged LAST,
// and with EndOfStream. After it, start_capture or resume continues decoding as if there had been no drain,
// and start_output continues from the next key frame.
class Engine : public std::enable_shared_from_this<Engine> {
  struct Private {};

 public:
  // Called on any thread when take_events() has something again. A lock is held, so it must only post a
  // notification (io::Inbox::post) and must not call the engine.
  using Notify = std::move_only_function<void()>;

  [[nodiscard]] static std::shared_ptr<Engine> create(const EngineOptions& options, Notify notify,
                                                      Log log = {}) {
    return std::make_shared<Engine>(Private{}, options, std::move(notify), log);
  }

  Engine(Private, const EngineOptions& options, Notify notify, Log log)
      : options_(options),
        notify_(std::move(notify)),
        log_(log),
        slots_(std::make_shared<CaptureSlots>()),
        history_(options.history_bytes) {}

  // Starts to decode the queued buffers. EINVAL for an unknown format, ENODEV for one that libavcodec lacks,
  // EBUSY or EAGAIN if there is no thread for the session. The format may differ from that of an earlier
  // start only after reset_stream().
  Result<> start_output(std::uint32_t fourcc, Workers& workers) {
    const CodedFormat* const format = find_coded_format(fourcc);
    if (format == nullptr) return fail(EINVAL);
    if (find_decoder(*format) == nullptr) return fail(ENODEV);
    if (!worker_started_) {
      auto self = shared_from_this();
      auto started = workers.run([self] { self->work(); });
      if (!started) return std::unexpected(started.error());
      ticket_ = std::move(*started);
      worker_started_ = true;
    }
    const std::lock_guard lock(slots_->mutex());
    format_ = format;
    output_on_ = true;
    if (phase_ == Phase::drained) restart_decoding();
    slots_->changed.notify_all();
    return {};
  }

  // Forgets queued coded buffers, a pending drain, and all undelivered frames (a seek).
  void stop_output() {
    const std::lock_guard lock(slots_->mutex());
    output_on_ = false;
    restart_decoding();
    queue_.clear();
    held_back_.reset();
    draining_ = false;
    if (last_ == Last::drain) last_ = Last::none;
    std::erase_if(events_, [](const Event& event) {
      return std::holds_alternative<CodedBufferDone>(event) || std::holds_alternative<EndOfStream>(event);
    });
    slots_->changed.notify_all();
  }

  // Called with OUTPUT stopped: the next stream is a new one, and its first picture is announced whatever it
  // is.
  void reset_stream() {
    const std::lock_guard lock(slots_->mutex());
    current_.reset();
    first_serial_ = serial_ + 1;
    reopen_ = true;
    restart_decoding();
    if (last_ == Last::change) last_ = Last::none;
    if (phase_ == Phase::changing) phase_ = Phase::running;
  }

  // ENOBUFS if there are more than V4L2 queues can hold.
  Result<> queue_output(CodedBuffer buffer) {
    const std::lock_guard lock(slots_->mutex());
    if (queue_.size() > CaptureSlots::max_slots) return fail(ENOBUFS);
    queue_.emplace_back(std::move(buffer));
    slots_->changed.notify_all();
    return {};
  }

  void start_capture(const CaptureSetup& setup) {
    const std::lock_guard lock(slots_->mutex());
    capture_ = setup;
    capture_on_ = true;
    if (held_back_) push(*held_back_);
    held_back_.reset();
    leave_stop();
    slots_->changed.notify_all();
  }

  void stop_capture() {
    const std::lock_guard lock(slots_->mutex());
    capture_on_ = false;
    ++capture_epoch_;
    slots_->unqueue_all();
    // Nobody waits for LAST any more.
    if (last_ == Last::change) stop_at(Phase::changing);
    if (last_ == Last::drain) stop_at(Phase::drained);
    // If the picture changes during a drain, the drain continues with the buffers of the new picture.
    if (phase_ == Phase::running) abort_drain();
    std::erase_if(events_, [](const Event& event) { return std::holds_alternative<FrameDone>(event); });
  }

  // ERANGE for an index that no V4L2 queue has.
  Result<> queue_capture(std::uint32_t index, BufferMemory memory) {
    if (index >= CaptureSlots::max_slots) return fail(ERANGE);
    const std::lock_guard lock(slots_->mutex());
    slots_->queue(index, std::move(memory));
    return {};
  }

  // The guest has freed `count` buffers from `first` on; none of them is queued. Memory that libavcodec uses
  // lives on.
  void forget_capture_buffers(std::uint32_t first, std::size_t count) {
    const std::lock_guard lock(slots_->mutex());
    slots_->forget(first, count);
  }

  // DECODER_CMD STOP. EBUSY while an earlier one is not complete; after a completed one there is nothing to
  // do.
  Result<> drain() {
    const std::lock_guard lock(slots_->mutex());
    if (phase_ == Phase::drained) return {};
    if (draining_) return fail(EBUSY);
    draining_ = true;
    end_pushed_ = false;
    queue_.emplace_back(DrainMark{++drains_});
    slots_->changed.notify_all();
    return {};
  }

  // DECODER_CMD START: continues after LAST. After a change of shape, `setup` is the new one and fits the
  // buffers. EBUSY if LAST has not come yet.
  Result<> resume(const CaptureSetup& setup) {
    const std::lock_guard lock(slots_->mutex());
    if (draining_ || last_ != Last::none) return fail(EBUSY);
    if (capture_on_) capture_ = setup;
    leave_stop();
    slots_->changed.notify_all();
    return {};
  }

  // Whether it waits for the client to restart CAPTURE, or to resume().
  [[nodiscard]] bool stopped() const {
    const std::lock_guard lock(slots_->mutex());
    return phase_ != Phase::running;
  }

  // The last call: the worker ends after the current picture.
  void close() {
    ticket_.leave();
    const std::lock_guard lock(slots_->mutex());
    closing_ = true;
    interruption_.stop();
    queue_.clear();
    held_back_.reset();
    events_.clear();
    slots_->unqueue_all();
    slots_->changed.notify_all();
  }

  struct Counters {
    // Frames delivered so far, counted by how they got into their buffers.
    std::uint64_t in_place = 0;
    std::uint64_t copied = 0;
    // Packets that libavcodec has been given, one for each picture, and pictures for which it got memory.
    std::uint64_t packets = 0;
    std::uint64_t begun = 0;
  };
  [[nodiscard]] Counters counters() const {
    const std::lock_guard lock(slots_->mutex());
    Counters counters = counters_;
    counters.packets = packets_.load(std::memory_order_relaxed);
    counters.begun = begun_.load(std::memory_order_relaxed);
    return counters;
  }

  // Moves the pending events, in order, to `events` (its contents are replaced).
  void take_events(std::vector<Event>& events) {
    events.clear();
    const std::lock_guard lock(slots_->mutex());
    events.swap(events_);
  }

 private:
  struct DrainMark {
    std::uint64_t drain = 0;  // number of the drain
  };
  // A coded buffer that is being decoded, picture by picture.
  struct AtHand {
    CodedBufferDone done;
    Stamp stamp;
    std::uint64_t serial = 0;  // of the picture before it
    const CodedFormat* format = nullptr;
    Packet packet;       // none: nothing (more) can be taken from it
    std::size_t at = 0;  // where the next picture begins
    // Begins a sequence, and waits for the pictures of the previous one, which the decoder is still
    // outputting.
    Packet next;
  };
  using Lock = std::unique_lock<std::mutex>;
  // running; or stopped after LAST, until the client has set up its buffers (changing) or starts again
  // (drained).
  enum class Phase : std::uint8_t { running, changing, drained };
  // Why an empty buffer flagged LAST has to be delivered.
  enum class Last : std::uint8_t { none, change, drain };
  enum class Step : std::uint8_t { again, wait };

  // -- with the lock held, on any thread

  void push(Event event) {
    if (closing_) return;
    events_.push_back(std::move(event));
    if (events_.size() == 1) notify_();
  }

  // The worker drops its frames and flushes libavcodec before it does anything else.
  void restart_decoding() {
    ++stream_epoch_;
    interruption_.stop();
    continues_ = false;
    if (phase_ == Phase::drained) phase_ = Phase::running;
  }

  // An incomplete drain is forgotten. libavcodec may be in the middle of it: see receive_next().
  void abort_drain() {
    draining_ = false;
    std::erase_if(queue_, [](const auto& entry) { return std::holds_alternative<DrainMark>(entry); });
  }

  // After a drain, complete or aborted, with everything that libavcodec knew.
  void continue_decoding() {
    restart_decoding();
    continues_ = true;
  }

  // LAST has been sent, or is no longer waited for.
  void stop_at(Phase phase) {
    last_ = Last::none;
    phase_ = phase;
    if (phase != Phase::drained) return;
    draining_ = false;
    push_end_of_stream();
  }

  void push_end_of_stream() {
    if (!std::exchange(end_pushed_, true)) push(EndOfStream{});
  }

  void leave_stop() {
    if (phase_ == Phase::drained) continue_decoding();
    phase_ = Phase::running;
  }

  // Whether the format of the client's buffers suits the samples. Before there is a format, only the samples
  // that were reported to the client suit, because it may be about to choose a format by them.
  [[nodiscard]] bool takes(const Samples& samples) const noexcept {
    const RawFormat* const format = find_raw_format(capture_.fourcc);
    if (capture_on_) return format != nullptr && suits(*format, samples);
    return current_ && current_->samples == samples;
  }

  // Whether the client must be told about a frame like this before it can have it, and has not been told yet.
  [[nodiscard]] bool is_news(const Picture& picture) const noexcept {
    if (!current_ || !current_->same_shape(picture)) return true;
    const bool is_told = capture_.serial != serial_ && current_->samples == picture.samples;
    return !takes(picture.samples) && !is_told;
  }

  // Whether frames like current_ can go to the client's buffers.
  [[nodiscard]] bool capture_fits() const noexcept {
    if (!capture_on_ || !current_ || !takes(current_->samples)) return false;
    if (capture_.layout.width != current_->size.width || capture_.layout.height != current_->size.height)
      return false;
    // A client may have guessed right before it was told.
    return capture_.serial == serial_ || (serial_ == first_serial_ && capture_.visible == current_->visible);
  }

  void announce(const Picture& picture, const AVCodecContext& context) {
    current_ = picture;
    ++serial_;
    min_buffers_ = asked_buffers_ = min_buffers(context);
    push(PictureChanged{picture, serial_, min_buffers_, context.profile, context.level, hints_.tier});
  }

  // -- the worker's thread

  void work();
  [[nodiscard]] Step step(Lock& lock);
  void begin_stream(Lock& lock);
  void send_next(Lock& lock);
  void send_drain(Lock& lock);
  [[nodiscard]] bool open_codec(const CodedFormat& format);
  [[nodiscard]] Packet copy_packet(std::span<const std::byte> bytes);
  void send_part(Lock& lock);
  [[nodiscard]] Packet cut_picture(AtHand& hand);
  [[nodiscard]] bool ends_sequence() const noexcept { return at_hand_ && at_hand_->next; }
  [[nodiscard]] bool send_packet(const AtHand& hand, Packet packet);
  [[nodiscard]] int send_to_codec(const AVPacket& packet);
  [[nodiscard]] int receive_from_codec(AVFrame& frame);
  void receive_next(Lock& lock);
  [[nodiscard]] bool receive(AVFrame& frame, bool& refused);
  [[nodiscard]] Step deliver(Lock& lock);
  void notice_look(const Picture& picture);
  [[nodiscard]] Step deliver_last();
  [[nodiscard]] std::optional<std::uint32_t> copy_out(Lock& lock, CaptureSlots::Target target);
  void replay();
  void look_for_hints(const CodedFormat& format, ResumePoint point, const AVPacket& packet);
  // `error`: libavcodec's, or 0 if `what` is sufficient.
  void report(const char* what, int error);
  void report_damage(int error);

  // -- libavcodec's threads

  static int get_buffer(AVCodecContext* context, AVFrame* frame, int flags) noexcept;
  [[nodiscard]] bool try_lend(AVCodecContext& context, AVFrame& frame);

  // The number of buffers with which all frames can be decoded in place, but at most 16: fewer work too, and
  // browsers consider decoders that ask for more to be broken.
  [[nodiscard]] std::uint32_t min_buffers(const AVCodecContext& context) const noexcept {
    const std::uint32_t in_flight = options_.codec.frame_threads ? std::max(options_.codec.threads, 1u) : 1u;
    const auto buffers =
        references_of(context) + in_flight + static_cast<std::uint32_t>(CaptureSlots::reserve);
    return std::min(buffers, 16u);
  }

  [[nodiscard]] bool has_frame_threads() const noexcept {
    return options_.codec.frame_threads && options_.codec.threads > 1;
  }

  const EngineOptions options_;
  Notify notify_;
  const Log log_;
  const std::shared_ptr<CaptureSlots> slots_;
  bool worker_started_ = false;  // the loop's, like the next one
  Workers::Ticket ticket_;
  Interruption interruption_{this};
  std::atomic<std::uint64_t> packets_{0};
  std::atomic<std::uint64_t> begun_{0};

  // Protected by slots_->mutex().
  std::deque<std::variant<CodedBuffer, DrainMark>> queue_;
  std::vector<Event> events_;
  // The buffer that brought a picture for which CAPTURE has yet to be set up. The decoder keeps it, and
  // everything queued after it, until that is done: no buffer comes back before its frame can.
  std::optional<CodedBufferDone> held_back_;
  const CodedFormat* format_ = nullptr;
  bool output_on_ = false;
  bool capture_on_ = false;
  bool draining_ = false;     // from drain() until it is complete or dropped
  std::uint64_t drains_ = 0;  // begun so far
  bool end_pushed_ = false;   // EndOfStream, for this drain
  bool reopen_ = true;
  bool continues_ = false;  // what follows may refer to frames from before the drain
  bool closing_ = false;
  Phase phase_ = Phase::running;
  Last last_ = Last::none;
  std::uint64_t stream_epoch_ = 1;
  std::uint64_t capture_epoch_ = 1;
  CaptureSetup capture_;
  std::optional<Picture> current_;
  std::uint32_t min_buffers_ = 0;    // as announced last
  std::uint32_t asked_buffers_ = 0;  // as announced with current_
  std::uint64_t serial_ = 0;         // of current_, or of the one before it
  std::uint64_t first_serial_ = 1;   // the first since reset_stream()
  StreamHints hints_;                // of the stream that begins
  Counters counters_;
  // The last format that came for which there is no CAPTURE format, if no picture has come since; otherwise
  // AV_PIX_FMT_NONE. libavcodec's threads write it, too.
  std::atomic<int> refused_format_{AV_PIX_FMT_NONE};
  std::uint64_t worker_epoch_ = 0;  // the stream that the worker has reached

  // Used by the worker only.
  const CodedFormat* worker_format_ = nullptr;
  WriteWatch watch_;
  Codec codec_;
  std::optional<AtHand> at_hand_;
  PictureSplitter splitter_;
  Frame frame_;  // the next to deliver, if has_frame_
  bool has_frame_ = false;
  bool had_holes_ = false;    // parts of it that were never decoded
  bool more_frames_ = false;  // libavcodec may have frames without another packet
  bool codec_draining_ = false;
  std::uint64_t codec_drain_ = 0;  // the drain it is at
  Reordering reordering_{!has_frame_threads()};
  Recovery recovery_;
  std::uint64_t failures_ = 0;
  std::int64_t next_id_ = 1;
  bool wants_hints_ = true;  // no picture that could give them has come yet
  History history_;
  bool replay_due_ = false;      // libavcodec has been flushed, and the stream goes on
  std::int64_t resume_id_ = 1;   // frames of packets before this one are not to be delivered (again)
  bool looks_for_start_ = true;  // nothing has come yet with which decoding can begin
  // The stamps of the latest packets. No decoder holds frames back for that many packets.
  std::array<Stamp, 512> stamps_{};
  std::bitset<512> damaged_;  // those of them that are known to be damaged
};

}  // namespace vumedia::backends::ffmpeg

#include <vumedia/backends/ffmpeg/engine_worker.hpp>
