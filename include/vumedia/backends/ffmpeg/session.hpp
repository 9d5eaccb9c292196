// One open decoder: V4L2's queues, formats, controls and events around an Engine.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/engine.hpp>
#include <vumedia/backends/ffmpeg/negotiation.hpp>
#include <vumedia/backends/ffmpeg/stream_controls.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/subscriptions.hpp>
#include <vumedia/v4l2/user_planes.hpp>

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

// All functions are called on the loop's thread. `known` are the formats that can be decoded, at least one;
// they and `workers` outlive the session. `mappings` is the device's budget for USERPTR buffers.
class DecoderSession {
 public:
  DecoderSession(const SessionOptions& options, std::span<const CodedFormat* const> known, Workers& workers,
                 const std::shared_ptr<memory::Budget>& mappings, media::Context context,
                 Engine::Notify notify)
      : options_(options),
        types_(QueueTypes::of(options.multiplanar)),
        known_(known),
        workers_(workers),
        context_(context),
        bytes_(std::make_shared<memory::Budget>(options.max_buffer_bytes, context.arenas().budget())),
        engine_bytes_(std::make_shared<memory::Budget>(options.max_buffer_bytes, bytes_)),
        arenas_(context.arenas().within(bytes_)),
        engine_(engine_options(), std::move(notify), context.log()),
        controls_(decoder_controls, false),
        mappings_(std::make_shared<memory::Budget>(v4l2::max_session_mappings, mappings)),
        output_({.type = types_.output,
                 .copies_timestamps = true,
                 .max_length = most_coded_bytes(limits()),
                 .userptr = true,
                 .mappings = mappings_,
                 .allows_zero_bytesused = true}),
        capture_({.type = types_.capture,
                  .copies_timestamps = true,
                  .mem_offset_base = v4l2::BufferQueue::mem_offset_span,
                  .max_length = most_raw_bytes(limits()),
                  .userptr = true,
                  .mappings = mappings_}) {
    for (const LevelLimits& level : level_limits) {
      const auto highest = highest_level(level, options_.engine.codec.max_pixels);
      (void)controls_.modify_range(level.id, 0, highest, 1, highest);  // within the menu
    }
    controls_.on_event([this](const v4l2_event& event, const v4l2::Subscriptions* origin) {
      subscriptions_.deliver(event, origin, [this](const v4l2_event& one) { context_.send_event(one); });
    });
    coded_ = adjust_coded({1920, 1080, 0, 0, 0, {}}, known_, limits());
    expect_picture();
  }
  DecoderSession(const DecoderSession&) = delete;
  DecoderSession& operator=(const DecoderSession&) = delete;

  // The engine has reported that something happened. False if more is left to do in later turns of the loop.
  bool handle_events();

  [[nodiscard]] Result<media::Mappable> mmap(std::uint32_t mem_offset);

  [[nodiscard]] Result<> ioctl(v4l2::tag::ENUM_FMT, v4l2_fmtdesc& description) const {
    return enumerate_format(description, types_, known_, offered());
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::ENUM_FRAMESIZES, v4l2_frmsizeenum& size) const {
    return enumerate_size(size, known_, offered());
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::G_FMT, v4l2_format& format) const;
  [[nodiscard]] Result<> ioctl(v4l2::tag::TRY_FMT, v4l2_format& format) const;
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_FMT, v4l2_format& format);
  [[nodiscard]] Result<> ioctl(v4l2::tag::G_SELECTION, v4l2_selection& selection) const {
    return get_selection(selection, picture_);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_SELECTION, v4l2_selection& selection) const;

  [[nodiscard]] Result<> ioctl(v4l2::tag::REQBUFS, v4l2_requestbuffers& request);
  [[nodiscard]] Result<> ioctl(v4l2::tag::CREATE_BUFS, v4l2_create_buffers& request);
  [[nodiscard]] Result<> ioctl(v4l2::tag::REMOVE_BUFS, v4l2::RemoveBuffers& request);
  [[nodiscard]] Result<> ioctl(v4l2::tag::QUERYBUF, v4l2::BufferPayload& payload) const;
  [[nodiscard]] Result<> ioctl(v4l2::tag::PREPARE_BUF, v4l2::BufferPayload& payload);
  [[nodiscard]] Result<> ioctl(v4l2::tag::QBUF, v4l2::BufferPayload& payload);
  [[nodiscard]] Result<> ioctl(v4l2::tag::STREAMON, std::uint32_t& type);
  [[nodiscard]] Result<> ioctl(v4l2::tag::STREAMOFF, std::uint32_t& type);

  [[nodiscard]] Result<> ioctl(v4l2::tag::TRY_DECODER_CMD, v4l2_decoder_cmd& command) const;
  [[nodiscard]] Result<> ioctl(v4l2::tag::DECODER_CMD, v4l2_decoder_cmd& command);

  [[nodiscard]] Result<> ioctl(v4l2::tag::SUBSCRIBE_EVENT, v4l2_event_subscription& request);
  [[nodiscard]] Result<> ioctl(v4l2::tag::UNSUBSCRIBE_EVENT, v4l2_event_subscription& request) {
    subscriptions_.remove(request);
    return {};
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::QUERYCTRL, v4l2_queryctrl& query) const {
    return controls_.queryctrl(query);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::QUERY_EXT_CTRL, v4l2_query_ext_ctrl& query) const {
    return controls_.query_ext_ctrl(query);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::QUERYMENU, v4l2_querymenu& query) const {
    return controls_.querymenu(query);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::G_CTRL, v4l2_control& control) { return controls_.g_ctrl(control); }
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_CTRL, v4l2_control& control) {
    return controls_.s_ctrl(control, &subscriptions_);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::G_EXT_CTRLS, v4l2::ExtControls& controls) {
    return controls_.g_ext_ctrls(controls, *context_.memory(), &context_.work());
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_EXT_CTRLS, v4l2::ExtControls& controls) {
    return controls_.s_ext_ctrls(controls, *context_.memory(), &subscriptions_, &context_.work());
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::TRY_EXT_CTRLS, v4l2::ExtControls& controls) {
    return controls_.try_ext_ctrls(controls, *context_.memory(), &context_.work());
  }

 private:
  using Queue = v4l2::BufferQueue;

  [[nodiscard]] EngineOptions engine_options() const noexcept {
    EngineOptions engine = options_.engine;
    engine.history_bytes = std::min<std::uint64_t>(engine.history_bytes, options_.max_buffer_bytes / 16);
    engine.bytes = engine_bytes_;
    return engine;
  }
  [[nodiscard]] SizeLimits limits() const noexcept {
    return {options_.engine.codec.max_pixels, options_.max_coded_bytes};
  }
  // nullptr for a type of neither queue.
  [[nodiscard]] Queue* find_queue(std::uint32_t type) noexcept {
    return type == types_.output ? &output_ : type == types_.capture ? &capture_ : nullptr;
  }
  [[nodiscard]] const Queue* find_queue(std::uint32_t type) const noexcept {
    return const_cast<DecoderSession*>(this)->find_queue(type);
  }
  [[nodiscard]] std::uint32_t size_image(const Queue& queue) const noexcept {
    return &queue == &output_ ? coded_.size_image : static_cast<std::uint32_t>(layout_.size_image());
  }
  [[nodiscard]] FormatDescription adjust(std::uint32_t type, const v4l2_format& format) const noexcept;

  // Until the stream's picture is known, CAPTURE is what OUTPUT's format suggests.
  void expect_picture() noexcept {
    picture_known_ = false;
    picture_.size = *CodedSize::of(coded_.width, coded_.height);  // adjust_coded has checked the limits
    picture_.samples = {};
    set_raw(choices_.best_for(picture_.samples));
    picture_.visible = {0, 0, coded_.width, coded_.height};
    picture_.colours = coded_.colours;
    picture_.field = V4L2_FIELD_NONE;
  }
  void set_raw(const RawFormat& format) noexcept {
    raw_ = &format;
    layout_ = Layout::of(picture_.size, *format.pixels);
  }
  // The formats that CAPTURE offers: those that suit the stream, or all that its codec may have until the
  // stream is known.
  [[nodiscard]] RawFormatSet offered() const noexcept {
    if (picture_known_) return raw_formats_of(picture_.samples);
    const CodedFormat* const coded = find_coded_format(coded_.fourcc);
    return coded != nullptr ? raw_formats_of(coded->samples) : 0;
  }

  [[nodiscard]] v4l2::UserMemory user_memory() noexcept {
    return {context_.memory(), arenas_, &context_.work()};
  }
  // For our memory; the guest's memory costs nothing.
  [[nodiscard]] std::uint64_t buffer_bytes(const Queue& queue) const noexcept;
  // How many more buffers of `size` bytes the session may have if those in `freed` are freed first.
  [[nodiscard]] std::uint32_t affordable(std::uint64_t size, const Queue* freed) const noexcept;
  // Whether a CAPTURE buffer has room for a frame. There may be smaller ones, too: from before a change,
  // along with those that CREATE_BUFS has made for the frames after it. They are skipped.
  [[nodiscard]] bool a_capture_buffer_holds(std::size_t size) const noexcept;
  void pass_on_output();
  void pass_on_capture();
  [[nodiscard]] CaptureSetup capture_setup() const noexcept {
    return {raw_->fourcc(), layout_, serial_, picture_.visible};
  }

  [[nodiscard]] Result<> start_output();
  [[nodiscard]] Result<> start_capture();

  bool handle_events(memory::Work* work);
  // A queue has stopped: events of its buffers must not be reported any more.
  template <class... Gone>
  void forget_events() noexcept;
  [[nodiscard]] static Queue::Completion completion_of(const FrameDone& done) noexcept;
  void on(const CodedBufferDone& done);
  void on(const FrameDone& done);
  void on(const PictureChanged& change);
  void on(const LookChanged& change) {
    picture_.samples = change.samples;
    set_colours(change.colours);
    picture_.field = change.field;
    controls_.set_value(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, change.min_buffers);
  }
  void on(const EndOfStream&);
  void set_colours(const Colours& colours) noexcept { coded_.colours = picture_.colours = colours; }

  const SessionOptions options_;
  const QueueTypes types_;
  const std::span<const CodedFormat* const> known_;
  Workers& workers_;
  const media::Context context_;
  const std::shared_ptr<memory::Budget> bytes_;         // everything that the session makes us hold
  const std::shared_ptr<memory::Budget> engine_bytes_;  // of that, the engine's part
  memory::Arenas arenas_;
  Engine engine_;
  std::vector<Event> events_;   // those that were taken from the engine,
  std::size_t next_event_ = 0;  // and the first unhandled one
  // Continues with them when copying a frame to the guest is too much for one turn of the loop.
  struct EventChore final : media::Chore {
    explicit EventChore(DecoderSession& of) noexcept
        // NOLINTNEXTLINE(bugprone-exception-escape): without memory there is no going on.
        : Chore([](media::Chore& chore) noexcept {
            DecoderSession& self = static_cast<EventChore&>(chore).session;
            static_cast<void>(self.handle_events(&self.context_.work()));
          }),
          session(of) {}
    DecoderSession& session;
  } event_chore_{*this};

  v4l2::Subscriptions subscriptions_;
  v4l2::Controls controls_;
  const std::shared_ptr<memory::Budget> mappings_;
  Queue output_;
  Queue capture_;
  FormatDescription coded_;
  Picture picture_;
  const RawFormat* raw_ = &raw_formats.front();  // CAPTURE's format now
  Layout layout_;                                // of picture_ in that format
  RawFormatChoices choices_;
  bool picture_known_ = false;  // from the stream
  std::uint64_t serial_ = 0;    // PictureChanged::serial of picture_
  // The minimum size of a CAPTURE buffer while CAPTURE streams.
  std::size_t needed_in_stream_ = 0;
  std::uint32_t output_sequence_ = 0;
  std::uint32_t capture_sequence_ = 0;
};

}  // namespace vumedia::backends::ffmpeg

#include <vumedia/backends/ffmpeg/session_impl.hpp>
