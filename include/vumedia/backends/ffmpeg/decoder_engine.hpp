// A stateful decoder as the engine of a memory-to-memory device: what a client's formats, buffers and
// commands mean to the Engine that decodes.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/buffers.hpp>
#include <vumedia/backends/ffmpeg/decoder_controls.hpp>
#include <vumedia/backends/ffmpeg/decoder_formats.hpp>
#include <vumedia/backends/ffmpeg/decoder_options.hpp>
#include <vumedia/backends/ffmpeg/engine.hpp>
#include <vumedia/backends/ffmpeg/event_inbox.hpp>
#include <vumedia/backends/ffmpeg/negotiation.hpp>
#include <vumedia/backends/m2m/engine.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::backends::ffmpeg {

/// An m2m::Engine.
class DecoderEngine {
 public:
  static constexpr const char* card = "vumedia decoder";             ///< see m2m::HasCard
  static constexpr auto drain_command = m2m::DrainCommand::decoder;  ///< VIDIOC_DECODER_CMD
  static constexpr bool changes_source = true;                       ///< there is V4L2_EVENT_SOURCE_CHANGE

  /// The decoder of one file.
  class Instance;

  /// Formats that cannot be decoded here are left out of `options`. Makes threads if `options` has none.
  explicit DecoderEngine(FfmpegDecoderOptions options)
      : options_(std::move(options)), workers_(options_.workers) {
    if (workers_ == nullptr) workers_ = std::make_shared<Workers>(options_.max_workers);
    const auto offer = [this](const CodedFormat* format) {
      if (format == nullptr || find_decoder(*format) == nullptr) return;
      if (std::ranges::find(known_, format) == known_.end()) known_.push_back(format);
    };
    for (const std::uint32_t fourcc : options_.codecs) offer(find_coded_format(fourcc));
    if (!options_.codecs.empty()) return;
    for (const auto& format : coded_formats) offer(&format);
  }

  /// ENODEV if libavcodec can decode none of the formats that V4L2 knows or the program chose.
  [[nodiscard]] Result<> may_open() const noexcept {
    if (known_.empty()) return fail(ENODEV);
    return {};
  }
  /// The bytes of the largest buffers that the size limits allow. OUTPUT buffers may be empty.
  [[nodiscard]] m2m::BufferLimits buffer_limits() const noexcept {
    return {most_coded_bytes(limits()), most_raw_bytes(limits()), true};
  }

  /// How the engines of all files decode.
  [[nodiscard]] const EngineOptions& options() const noexcept { return options_.session.engine; }
  /// How large pictures and OUTPUT buffers may be.
  [[nodiscard]] SizeLimits limits() const noexcept {
    return {options().codec.max_pixels, options_.session.max_coded_bytes};
  }
  /// The formats that can be decoded.
  [[nodiscard]] std::span<const CodedFormat* const> known() const noexcept { return known_; }
  /// The threads of all files.
  [[nodiscard]] Workers& workers() const noexcept { return *workers_; }

 private:
  FfmpegDecoderOptions options_;
  std::shared_ptr<Workers> workers_;
  std::vector<const CodedFormat*> known_;
};

/// An m2m::Instance.
class DecoderEngine::Instance {
 public:
  using Queue = v4l2::BufferQueue;  ///< of V4L2 buffers

  /// `device` and `file` outlive it. `notify`: notified() is due; any thread calls it.
  Instance(DecoderEngine& device, m2m::File& file, m2m::Notify notify)
      : file_(file),
        queues_(file.queues),
        workers_(device.workers()),
        history_bytes_(std::min<std::uint64_t>(device.options().history_bytes, queues_.max_bytes() / 16)),
        formats_(queues_.types(), device.known(), device.limits()),
        controls_(device.options().codec.max_pixels),
        engine_(engine_options(device.options()), std::move(notify), file.context.log()) {}
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  /// The engine has reported that something happened.
  void notified() { (void)handle_events(nullptr); }

  /// The formats of both queues, as they are now.
  [[nodiscard]] DecoderFormats& formats() noexcept { return formats_; }
  /// The file's controls, which live as long as this.
  [[nodiscard]] v4l2::Controls& controls() noexcept { return controls_.all(); }
  /// Selections.
  template <class Tag>
    requires m2m::Answers<DecoderFormats, Tag>
  [[nodiscard]] Result<> ioctl(Tag tag, typename Tag::Payload& payload) {
    return formats_.ioctl(tag, payload);
  }

  /// Before VIDIOC_S_FMT. memory::again if the engine's earlier events take more turns of the loop.
  [[nodiscard]] Result<> may_set(const Queue& queue) {
    return queues_.is_output(queue) ? handle_events() : Result<>{};
  }
  /// After VIDIOC_S_FMT: another OUTPUT format begins another stream.
  void was_set(const Queue& queue) {
    if (queues_.is_output(queue)) engine_.reset_stream();
  }

  /// The bitstream that the engine keeps, or the largest packet if that is larger.
  [[nodiscard]] std::uint64_t bytes_needed() const noexcept {
    return std::max<std::uint64_t>(history_bytes_, formats_.coded().size_image);
  }
  /// Before VIDIOC_QBUF. EINVAL: the CAPTURE buffer is too small for a frame.
  [[nodiscard]] Result<> may_queue(const Queue& queue, const v4l2::BufferPayload& payload) const noexcept;
  /// Hands the engine what `queue` has for it.
  void queued(const Queue& queue) {
    if (queues_.is_output(queue)) {
      pass_on_output();
    } else {
      pass_on_capture();
    }
  }
  /// CAPTURE buffers from `first` on are gone, or are new ones: the engine forgets them.
  void removed(const Queue& queue, std::uint32_t first, std::uint32_t count) {
    if (!queues_.is_output(queue)) engine_.forget_capture_buffers(first, count);
  }

  /// Before VIDIOC_STREAMON. OUTPUT: see Engine::start_output. CAPTURE: EINVAL if none of its buffers holds a
  /// frame; memory::again: see may_set().
  [[nodiscard]] Result<> may_start(const Queue& queue);
  /// The queue streams: the engine gets the buffers that were queued before.
  void started(const Queue& queue);
  /// The queue has stopped: the engine gives up its buffers, and events about them are dropped.
  void stopped(const Queue& queue);

  /// V4L2_DEC_CMD_STOP. EBUSY while an earlier drain is not complete. memory::again: see may_set().
  [[nodiscard]] Result<> drain() {
    if (auto handled = handle_events(); !handled) return handled;
    return engine_.drain();
  }
  /// V4L2_DEC_CMD_START. EBUSY: a drain is not complete, or no CAPTURE buffer holds a frame. memory::again:
  /// see may_set().
  [[nodiscard]] Result<> resume();

 private:
  [[nodiscard]] EngineOptions engine_options(EngineOptions options) const noexcept {
    options.history_bytes = history_bytes_;
    options.bytes = queues_.engine_bytes();
    return options;
  }
  // What a CAPTURE buffer must have for a frame of the current format.
  [[nodiscard]] std::size_t needed_for_frame() const noexcept {
    return formats_.capture_setup().layout.size_image();
  }

  // Give the engine the buffers that it may have.
  void pass_on_output() {
    take_coded(queues_.output(), [this](CodedBuffer buffer) {
      const std::uint32_t index = buffer.index;
      if (!engine_.queue_output(std::move(buffer))) on(CodedBufferDone{index, true});
    });
  }
  void pass_on_capture() {
    take_raw(queues_.capture(), [this](std::uint32_t index, BufferMemory memory) {
      // A queue has no index beyond the engine's limit.
      (void)engine_.queue_capture(index, std::move(memory));
    });
  }

  // What the engine has reported so far, before a command that depends on it: memory::again if more is left
  // to do in later turns of the loop.
  [[nodiscard]] Result<> handle_events() {
    if (!handle_events(nullptr)) return fail(memory::again);
    return {};
  }
  bool handle_events(memory::Work* work);
  void on(const CodedBufferDone& done) {
    queues_.complete(queues_.output(), done.index, completion_of(done));
  }
  void on(const FrameDone& done) { queues_.complete(queues_.capture(), done.index, completion_of(done)); }
  void on(const PictureChanged& change) {
    const bool is_news = formats_.change(change, queues_.capture().streaming());
    controls_.set(change, formats_.codec());
    if (is_news) file_.send_source_change();
  }
  void on(const LookChanged& change) {
    formats_.change(change);
    controls_.set(change);
  }
  void on(const EndOfStream&) { file_.send_end(); }

  // Continues with the events when copying a frame to the guest is too much for one turn of the loop.
  struct EventChore final : media::Chore {
    explicit EventChore(Instance& of) noexcept
        // NOLINTNEXTLINE(bugprone-exception-escape): without memory there is no going on.
        : Chore([](media::Chore& chore) noexcept {
            Instance& self = static_cast<EventChore&>(chore).instance;
            static_cast<void>(self.handle_events(&self.file_.context.work()));
          }),
          instance(of) {}
    Instance& instance;
  };

  m2m::File& file_;
  m2m::Queues& queues_;
  Workers& workers_;
  const std::size_t history_bytes_;
  DecoderFormats formats_;
  DecoderControls controls_;
  EventInbox events_;
  EventChore event_chore_{*this};
  // The minimum size of a CAPTURE buffer while CAPTURE streams.
  std::size_t needed_in_stream_ = 0;
  Engine engine_;
};

// ---- Details

inline Result<> DecoderEngine::Instance::may_queue(const Queue& queue,
                                                   const v4l2::BufferPayload& payload) const noexcept {
  if (queues_.is_output(queue)) return {};
  // Frames of the old shape may still come: while streaming, that shape counts.
  const std::size_t needed = queue.streaming() ? needed_in_stream_ : needed_for_frame();
  const auto length = length_of(queue, payload);
  if (length && *length < needed) return fail(EINVAL);
  return {};
}

inline Result<> DecoderEngine::Instance::may_start(const Queue& queue) {
  if (queues_.is_output(queue)) return engine_.start_output(formats_.coded().fourcc, workers_);
  if (auto handled = handle_events(); !handled) return handled;
  if (!any_holds(queue, needed_for_frame())) return fail(EINVAL);
  return {};
}

inline void DecoderEngine::Instance::started(const Queue& queue) {
  if (queues_.is_output(queue)) return pass_on_output();
  needed_in_stream_ = needed_for_frame();
  pass_on_capture();
  engine_.start_capture(formats_.capture_setup());
}

inline void DecoderEngine::Instance::stopped(const Queue& queue) {
  if (queues_.is_output(queue)) {
    engine_.stop_output();
    events_.forget<CodedBufferDone, EndOfStream>();
  } else {
    engine_.stop_capture();
    events_.forget<FrameDone>();
  }
}

inline Result<> DecoderEngine::Instance::resume() {
  if (auto handled = handle_events(); !handled) return handled;
  const Queue& capture = queues_.capture();
  if (capture.streaming() && !any_holds(capture, needed_for_frame())) return fail(EBUSY);
  if (auto resumed = engine_.resume(formats_.capture_setup()); !resumed) return resumed;
  needed_in_stream_ = needed_for_frame();
  return {};
}

// False if more is left to do in later turns of the loop. `work`: null if there is nothing to spend now.
inline bool DecoderEngine::Instance::handle_events(memory::Work* work) {
  const bool all = events_.handle(engine_, [&](const Event& event) {
    const auto* const frame = std::get_if<FrameDone>(&event);
    if (frame != nullptr && !queues_.capture().store(frame->index, completion_of(*frame), work)) return false;
    std::visit([this](const auto& one) { on(one); }, event);
    return true;
  });
  if (!all) file_.context.do_later(event_chore_);
  return all;
}

}  // namespace vumedia::backends::ffmpeg
