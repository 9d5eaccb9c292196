// One open decoder: what a client's ioctls mean to its formats, queues and controls, and to the Engine. The
// ioctls that all devices serve alike are v4l2's mix-ins'; this has what they ask for (v4l2/ioctls.hpp).
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <variant>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/decoder_controls.hpp>
#include <vumedia/backends/ffmpeg/decoder_formats.hpp>
#include <vumedia/backends/ffmpeg/decoder_queues.hpp>
#include <vumedia/backends/ffmpeg/engine.hpp>
#include <vumedia/backends/ffmpeg/event_inbox.hpp>
#include <vumedia/backends/ffmpeg/negotiation.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::backends::ffmpeg {

struct SessionOptions {
  EngineOptions engine;
  bool multiplanar = true;
  std::uint32_t max_coded_bytes = 16u << 20;  // of one OUTPUT buffer
  // For all MMAP buffers of a session, copies of USERPTR buffers and their lists of pages, the packet that is
  // decoded, and the bitstream that is kept to continue decoding after a drain (History: at most a
  // sixteenth). Memory that libavcodec allocates for itself is not included.
  std::uint64_t max_buffer_bytes = std::uint64_t{256} << 20;
};

// A part of a session that answers the ioctl by itself.
template <class Part, class Tag>
concept Answers = requires(Part& part, typename Tag::Payload& payload) {
  { part.ioctl(Tag{}, payload) } -> std::same_as<Result<>>;
};

// All functions are called on the loop's thread. `known` are the formats that can be decoded, at least one;
// they, `workers` and `subscriptions`, the session's, outlive it. `mappings` is the device's budget for
// USERPTR buffers.
class DecoderSession {
 public:
  using Queue = v4l2::BufferQueue;

  DecoderSession(const SessionOptions& options, std::span<const CodedFormat* const> known, Workers& workers,
                 const std::shared_ptr<memory::Budget>& mappings, media::Context context,
                 v4l2::Subscriptions& subscriptions, Engine::Notify notify)
      : options_(options),
        workers_(workers),
        context_(context),
        formats_(QueueTypes::of(options.multiplanar), known, limits()),
        queues_(QueueTypes::of(options.multiplanar), limits(), options.max_buffer_bytes, mappings, context),
        controls_(context, subscriptions, options.engine.codec.max_pixels),
        engine_(engine_options(), std::move(notify), context.log()) {}
  DecoderSession(const DecoderSession&) = delete;
  DecoderSession& operator=(const DecoderSession&) = delete;

  // The engine has reported that something happened. False if more is left to do in later turns of the loop.
  bool handle_events() { return handle_events(nullptr); }

  [[nodiscard]] v4l2::Controls& controls() noexcept { return controls_.all(); }
  [[nodiscard]] DecoderQueues& queues() noexcept { return queues_; }
  // The bytes that a buffer of the queue must have.
  [[nodiscard]] std::uint32_t size_image(const Queue& queue) const noexcept {
    return formats_.size_image(queue.type());
  }

  // -- Formats

  template <class Tag>
    requires Answers<DecoderFormats, Tag>
  [[nodiscard]] Result<> ioctl(Tag tag, typename Tag::Payload& payload) {
    return formats_.ioctl(tag, payload);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_FMT, v4l2_format& format);

  // -- Buffers and streaming: the hooks of v4l2::QueueIoctls

  [[nodiscard]] Result<> may_allocate(const Queue& queue, v4l2_requestbuffers& request) const noexcept {
    return queues_.may_allocate(queue, request, size_image(queue), engine_bytes_needed());
  }
  [[nodiscard]] Result<> may_allocate(const Queue& queue, v4l2_create_buffers& request) const noexcept {
    return queues_.may_allocate(queue, request, read_format(request.format).size_image,
                                engine_bytes_needed());
  }
  [[nodiscard]] Result<> may_queue(const Queue& queue, const v4l2::BufferPayload& payload) const noexcept;
  void queued(const Queue& queue) { pass_on(queue); }
  [[nodiscard]] Result<> may_start(const Queue& queue);
  void started(const Queue& queue);
  // The queue has given its buffers back to the guest, so nothing about them may be reported any more.
  void cancelled(const Queue& queue);
  void removed(const Queue& queue, std::uint32_t first, std::uint32_t count) {
    if (&queue == &queues_.capture()) engine_.forget_capture_buffers(first, count);
  }

  // -- Drains

  [[nodiscard]] Result<> ioctl(v4l2::tag::TRY_DECODER_CMD, v4l2_decoder_cmd& command) const {
    const std::uint32_t cmd = command.cmd;
    if (cmd != V4L2_DEC_CMD_START && cmd != V4L2_DEC_CMD_STOP) return fail(EINVAL);
    // Speed, a time to stop at, and black frames are not supported.
    command = {};
    command.cmd = cmd;
    return {};
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::DECODER_CMD, v4l2_decoder_cmd& command);

 private:
  [[nodiscard]] EngineOptions engine_options() const noexcept {
    EngineOptions engine = options_.engine;
    engine.history_bytes = history_bytes();
    engine.bytes = queues_.engine_bytes();
    return engine;
  }
  [[nodiscard]] std::size_t history_bytes() const noexcept {
    return std::min<std::uint64_t>(options_.engine.history_bytes, options_.max_buffer_bytes / 16);
  }
  // The bitstream that the engine keeps, or the largest packet if that is larger.
  [[nodiscard]] std::uint64_t engine_bytes_needed() const noexcept {
    return std::max<std::uint64_t>(history_bytes(), formats_.coded().size_image);
  }
  [[nodiscard]] SizeLimits limits() const noexcept {
    return {options_.engine.codec.max_pixels, options_.max_coded_bytes};
  }
  // What a CAPTURE buffer must have for a frame of the current format.
  [[nodiscard]] std::size_t needed_for_frame() const noexcept {
    return formats_.capture_setup().layout.size_image();
  }

  void pass_on(const Queue& queue);

  bool handle_events(memory::Work* work);
  void on(const CodedBufferDone& done) { queues_.complete(done); }
  void on(const FrameDone& done) { queues_.complete(done); }
  void on(const PictureChanged& change) {
    const bool is_news = formats_.change(change, queues_.capture().streaming());
    controls_.set(change, formats_.codec());
    if (is_news) controls_.send(v4l2::source_change_event());
  }
  void on(const LookChanged& change) {
    formats_.change(change);
    controls_.set(change);
  }
  void on(const EndOfStream&) { controls_.send(v4l2::make_event(V4L2_EVENT_EOS)); }

  // Continues with the events when copying a frame to the guest is too much for one turn of the loop.
  struct EventChore final : media::Chore {
    explicit EventChore(DecoderSession& of) noexcept
        // NOLINTNEXTLINE(bugprone-exception-escape): without memory there is no going on.
        : Chore([](media::Chore& chore) noexcept {
            DecoderSession& self = static_cast<EventChore&>(chore).session;
            static_cast<void>(self.handle_events(&self.context_.work()));
          }),
          session(of) {}
    DecoderSession& session;
  };

  const SessionOptions options_;
  Workers& workers_;
  const media::Context context_;
  DecoderFormats formats_;
  DecoderQueues queues_;
  DecoderControls controls_;
  EventInbox events_;
  EventChore event_chore_{*this};
  // The minimum size of a CAPTURE buffer while CAPTURE streams.
  std::size_t needed_in_stream_ = 0;
  Engine engine_;  // closed before its buffers go
};

// ---- Details

inline Result<> DecoderSession::ioctl(v4l2::tag::S_FMT, v4l2_format& format) {
  const Queue* const queue = queues_.find(format.type);
  if (queue == nullptr) return fail(EINVAL);
  const FormatDescription adjusted = formats_.adjust(format);
  if (queue->is_busy()) return fail(EBUSY);
  if (queue == &queues_.capture()) {
    formats_.set_raw(adjusted.fourcc);
  } else {
    if (!handle_events()) return fail(memory::again);
    const bool keeps_capture = queues_.capture().is_busy();
    if (keeps_capture && adjusted != formats_.coded()) return fail(EBUSY);
    engine_.reset_stream();
    formats_.set_coded(adjusted, keeps_capture);
  }
  write_format(format, adjusted);
  return {};
}

inline Result<> DecoderSession::may_queue(const Queue& queue,
                                          const v4l2::BufferPayload& payload) const noexcept {
  if (&queue == &queues_.output()) return {};
  // Frames of the old shape may still come: while streaming, that shape counts.
  const std::size_t needed = queue.streaming() ? needed_in_stream_ : needed_for_frame();
  const auto length = queues_.capture_length(payload);
  if (length && *length < needed) return fail(EINVAL);
  return {};
}

// Gives the engine the buffers that it may have.
inline void DecoderSession::pass_on(const Queue& queue) {
  if (&queue == &queues_.output()) {
    queues_.take_output([this](CodedBuffer buffer) {
      const std::uint32_t index = buffer.index;
      if (!engine_.queue_output(std::move(buffer))) on(CodedBufferDone{index, true});
    });
  } else {
    queues_.take_capture([this](std::uint32_t index, BufferMemory memory) {
      // A queue has no index beyond the engine's limit.
      (void)engine_.queue_capture(index, std::move(memory));
    });
  }
}

inline Result<> DecoderSession::may_start(const Queue& queue) {
  if (&queue == &queues_.output()) {
    if (queue.count() == 0) return fail(EINVAL);
    return engine_.start_output(formats_.coded().fourcc, workers_);
  }
  if (!handle_events()) return fail(memory::again);
  if (!queues_.a_capture_buffer_holds(needed_for_frame())) return fail(EINVAL);
  return {};
}

inline void DecoderSession::started(const Queue& queue) {
  const bool is_capture = &queue == &queues_.capture();
  if (is_capture) needed_in_stream_ = needed_for_frame();
  pass_on(queue);
  if (is_capture) engine_.start_capture(formats_.capture_setup());
}

inline void DecoderSession::cancelled(const Queue& queue) {
  if (&queue == &queues_.output()) {
    engine_.stop_output();
    events_.forget<CodedBufferDone, EndOfStream>();
  } else {
    engine_.stop_capture();
    events_.forget<FrameDone>();
  }
  queues_.restart_sequence(queue);
}

inline Result<> DecoderSession::ioctl(v4l2::tag::DECODER_CMD, v4l2_decoder_cmd& command) {
  if (auto valid = ioctl(v4l2::tag::TRY_DECODER_CMD{}, command); !valid) return valid;
  if (!handle_events()) return fail(memory::again);
  const bool capture_streams = queues_.capture().streaming();
  if (command.cmd == V4L2_DEC_CMD_STOP) {
    // A drain needs two queues that stream; otherwise the command does nothing and does not fail.
    if (!queues_.output().streaming() || !capture_streams) return {};
    return engine_.drain();
  }
  if (capture_streams && !queues_.a_capture_buffer_holds(needed_for_frame())) return fail(EBUSY);
  if (auto resumed = engine_.resume(formats_.capture_setup()); !resumed) return resumed;
  needed_in_stream_ = needed_for_frame();
  return {};
}

inline bool DecoderSession::handle_events(memory::Work* work) {
  const bool all = events_.handle(engine_, [&](const Event& event) {
    const auto* const frame = std::get_if<FrameDone>(&event);
    if (frame != nullptr && !queues_.store(*frame, work)) return false;
    std::visit([this](const auto& one) { on(one); }, event);
    return true;
  });
  if (!all) context_.do_later(event_chore_);
  return all;
}

}  // namespace vumedia::backends::ffmpeg
