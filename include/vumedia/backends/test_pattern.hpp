// A camera without hardware: a moving test pattern that carries its frame number.
//
// It behaves as a kernel driver's capture node: format, rate, input and controls belong to the device and are
// shared by all who open it; whoever allocates buffers owns the stream until the buffers go, and others get
// EBUSY. Frames come at the rate that was set, on a grid that neither drifts nor bursts, with the time they
// were due as CLOCK_MONOTONIC time stamp. A frame is made only if a buffer is there for it, so sequence
// numbers have no gaps; they start at 0 with each STREAMON, and are the numbers in the pictures
// (test_pattern/frame_code.hpp).
//
// Frames are painted on the loop's thread, straight into the buffer that the guest sees. That takes what
// copying takes, 0.1 to 0.3 ms for 1920x1080, and is done once a wake-up, so commands wait no longer than
// that. USERPTR frames, which may be scattered over guest memory, are painted aside and copied.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern/modes.hpp>
#include <vumedia/backends/test_pattern/pacer.hpp>
#include <vumedia/backends/test_pattern/painter.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::backends {

class TestPattern {
 public:
  class Session {
   public:
    explicit Session(media::AnyContext context) noexcept : context_(context) {}

   private:
    friend class TestPattern;
    media::AnyContext context_;
    v4l2::Subscriptions subscriptions_;
    std::uint32_t priority_ = V4L2_PRIORITY_DEFAULT;
  };

  TestPattern();

  [[nodiscard]] media::Config config() const noexcept {
    return {.device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = "vumedia test pattern"};
  }
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::AnyContext context);
  void close(Session& session) noexcept;
  [[nodiscard]] Result<media::Mappable> mmap(Session& session, std::uint32_t mem_offset);

  // Formats, sizes and rates.
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUM_FMT, v4l2_fmtdesc& description) const;
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUM_FRAMESIZES, v4l2_frmsizeenum& size) const;
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUM_FRAMEINTERVALS, v4l2_frmivalenum& interval) const;
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_FMT, v4l2_format& format) const;
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::TRY_FMT, v4l2_format& format) const;
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_FMT, v4l2_format& format);
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_PARM, v4l2_streamparm& parameters) const;
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_PARM, v4l2_streamparm& parameters);

  // The one input; who may change things.
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUMINPUT, v4l2_input& input) const;
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_INPUT, std::uint32_t& index) const;
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_INPUT, std::uint32_t& index) const;
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_PRIORITY, std::uint32_t& priority) const;
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_PRIORITY, std::uint32_t& priority) const;

  // Controls and their events.
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::QUERYCTRL, v4l2_queryctrl& query) const {
    return controls_.queryctrl(query);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::QUERY_EXT_CTRL, v4l2_query_ext_ctrl& query) const {
    return controls_.query_ext_ctrl(query);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::QUERYMENU, v4l2_querymenu& query) const {
    return controls_.querymenu(query);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_CTRL, v4l2_control& control) {
    return controls_.g_ctrl(control);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_CTRL, v4l2_control& control);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::G_EXT_CTRLS, v4l2::ExtControls& controls);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_EXT_CTRLS, v4l2::ExtControls& controls);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::TRY_EXT_CTRLS, v4l2::ExtControls& controls);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::SUBSCRIBE_EVENT,
                               v4l2_event_subscription& request);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::UNSUBSCRIBE_EVENT,
                               v4l2_event_subscription& request);

  // Buffers and streaming.
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::REQBUFS, v4l2_requestbuffers& request);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::CREATE_BUFS, v4l2_create_buffers& request);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::REMOVE_BUFS, v4l2::RemoveBuffers& request);
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::QUERYBUF, v4l2::BufferPayload& payload) const {
    return queue_.querybuf(payload);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::PREPARE_BUF, v4l2::BufferPayload& payload);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::QBUF, v4l2::BufferPayload& payload);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::STREAMON, std::uint32_t& type);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::STREAMOFF, std::uint32_t& type);

 private:
  static constexpr std::uint32_t buffer_type = V4L2_BUF_TYPE_VIDEO_CAPTURE;

  // The highest priority among the sessions. One with less changes nothing (V4L2, "Application Priority").
  [[nodiscard]] std::uint32_t highest_priority() const noexcept;
  // EBUSY unless `session` has the priority to change the device.
  [[nodiscard]] Result<> may_change(const Session& session) const noexcept;
  // EBUSY unless the buffers, if there are any, are its own.
  [[nodiscard]] Result<> may_queue(const Session& session) const noexcept;
  // Both.
  [[nodiscard]] Result<> may_stream(const Session& session) const noexcept;
  // After what may have made the first buffers or freed the last.
  void settle_owner(Session& session) noexcept {
    owner_ = queue_.is_busy() ? (owner_ != nullptr ? owner_ : &session) : nullptr;
  }

  [[nodiscard]] Result<> apply_control(std::uint32_t id, std::int64_t value);
  void notify(const v4l2_event& event, const v4l2::Subscriptions* origin);
  void configure_painter() {
    painter_.configure(pix(), static_cast<test_pattern::Pattern>(pattern_), brightness_);
  }

  // Sets the timer for the next frame if there is a buffer for it.
  void schedule() noexcept;
  void on_due(std::int32_t result) noexcept;
  // Fills the buffer. False if it has not the room, or is not in guest memory any more.
  [[nodiscard]] bool fill(const v4l2::BufferQueue::Slot& slot) noexcept;

  [[nodiscard]] const v4l2_pix_format& pix() const noexcept { return format_.fmt.pix; }

  v4l2_format format_{};  // the whole answer to G_FMT
  std::uint32_t rate_ = test_pattern::default_rate;
  std::int32_t brightness_ = test_pattern::brightness_default;
  std::int32_t pattern_ = 0;

  v4l2::Controls controls_;
  v4l2::BufferQueue queue_;
  std::vector<Session*> sessions_;
  Session* owner_ = nullptr;

  test_pattern::Painter painter_;
  bool repaint_ = false;  // format, pattern or brightness are others than the painter's
  test_pattern::Pacer pacer_;
  std::uint32_t sequence_ = 0;
  std::vector<std::byte> scratch_;  // a USERPTR frame on its way
  io::MemberOperation<&TestPattern::on_due> timer_{*this};
};

namespace test_pattern {

inline constexpr std::array controls{
    v4l2::ControlInfo{.id = V4L2_CID_BRIGHTNESS,
                      .name = "Brightness",
                      .minimum = brightness_minimum,
                      .maximum = brightness_maximum,
                      .default_value = brightness_default,
                      .flags = V4L2_CTRL_FLAG_SLIDER},
    v4l2::ControlInfo{.id = V4L2_CID_TEST_PATTERN,
                      .type = V4L2_CTRL_TYPE_MENU,
                      .name = "Test Pattern",
                      .maximum = pattern_names.size() - 1,
                      .menu = pattern_names},
};
static_assert(v4l2::valid_controls(controls));

// Copies text into a fixed field of a V4L2 struct, cut to fit, always with a NUL.
template <std::size_t Size>
void copy_text(__u8 (&field)[Size], const char* text) noexcept {
  const std::size_t length = std::min(std::strlen(text), Size - 1);
  std::memset(field, 0, Size);
  std::memcpy(field, text, length);
}

}  // namespace test_pattern

inline TestPattern::TestPattern()
    : controls_(test_pattern::controls), queue_({.type = buffer_type, .userptr = true}) {
  format_.type = buffer_type;
  format_.fmt.pix =
      test_pattern::make_pix_format(test_pattern::pixel_formats.front(), test_pattern::frame_sizes.front());
  controls_.on_apply(
      [this](std::uint32_t id, const v4l2::ControlValue& value) { return apply_control(id, value.number); });
  controls_.on_event(
      [this](const v4l2_event& event, const v4l2::Subscriptions* origin) { notify(event, origin); });
}

// ---- Sessions

inline Result<std::unique_ptr<TestPattern::Session>> TestPattern::open(media::AnyContext context) {
  auto session = std::make_unique<Session>(context);
  sessions_.push_back(session.get());
  return session;
}

inline void TestPattern::close(Session& session) noexcept {
  if (owner_ == &session) {
    session.context_.cancel(timer_);
    queue_.release();
    owner_ = nullptr;
  }
  std::erase(sessions_, &session);
}

inline std::uint32_t TestPattern::highest_priority() const noexcept {
  std::uint32_t highest = V4L2_PRIORITY_UNSET;
  for (const Session* const session : sessions_) highest = std::max(highest, session->priority_);
  return highest;
}

inline Result<> TestPattern::may_change(const Session& session) const noexcept {
  if (session.priority_ < highest_priority()) return fail(EBUSY);
  return {};
}

inline Result<> TestPattern::may_queue(const Session& session) const noexcept {
  if (owner_ != nullptr && owner_ != &session) return fail(EBUSY);
  return {};
}

inline Result<> TestPattern::may_stream(const Session& session) const noexcept {
  if (auto allowed = may_queue(session); !allowed) return allowed;
  return may_change(session);
}

// ---- Formats, sizes and rates

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::ENUM_FMT, v4l2_fmtdesc& description) const {
  using test_pattern::pixel_formats;
  if (description.type != buffer_type || description.index >= pixel_formats.size()) return fail(EINVAL);
  const auto& format = pixel_formats[description.index];
  const std::uint32_t index = description.index;
  description = {};
  description.index = index;
  description.type = buffer_type;
  description.pixelformat = format.fourcc;
  test_pattern::copy_text(description.description, format.description);
  return {};
}

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::ENUM_FRAMESIZES, v4l2_frmsizeenum& size) const {
  using test_pattern::frame_sizes;
  if (test_pattern::find_pixel_format(size.pixel_format) == nullptr) return fail(EINVAL);
  if (size.index >= frame_sizes.size()) return fail(EINVAL);
  const auto& found = frame_sizes[size.index];
  const v4l2_frmsizeenum asked = size;
  size = {};
  size.index = asked.index;
  size.pixel_format = asked.pixel_format;
  size.type = V4L2_FRMSIZE_TYPE_DISCRETE;
  size.discrete = {.width = found.width, .height = found.height};
  return {};
}

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::ENUM_FRAMEINTERVALS,
                                   v4l2_frmivalenum& interval) const {
  const auto* const size = test_pattern::find_frame_size(interval.width, interval.height);
  if (test_pattern::find_pixel_format(interval.pixel_format) == nullptr || size == nullptr)
    return fail(EINVAL);
  const auto rates = test_pattern::rates_of(*size);
  if (interval.index >= rates.size()) return fail(EINVAL);
  const v4l2_frmivalenum asked = interval;
  interval = {};
  interval.index = asked.index;
  interval.pixel_format = asked.pixel_format;
  interval.width = asked.width;
  interval.height = asked.height;
  interval.type = V4L2_FRMIVAL_TYPE_DISCRETE;
  interval.discrete = {.numerator = 1, .denominator = rates[asked.index]};
  return {};
}

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::G_FMT, v4l2_format& format) const {
  if (format.type != buffer_type) return fail(EINVAL);
  format = format_;
  return {};
}

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::TRY_FMT, v4l2_format& format) const {
  if (format.type != buffer_type) return fail(EINVAL);
  const v4l2_pix_format adjusted = test_pattern::adjust_pix_format(format.fmt.pix);
  format = {};
  format.type = buffer_type;
  format.fmt.pix = adjusted;
  return {};
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::S_FMT, v4l2_format& format) {
  if (auto allowed = may_change(session); !allowed) return allowed;
  if (auto tried = ioctl(session, v4l2::tag::TRY_FMT{}, format); !tried) return tried;
  if (queue_.is_busy()) return fail(EBUSY);
  format_ = format;
  rate_ = test_pattern::nearest_rate(*test_pattern::find_frame_size(pix().width, pix().height), {1, rate_});
  return {};
}

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::G_PARM, v4l2_streamparm& parameters) const {
  if (parameters.type != buffer_type) return fail(EINVAL);
  parameters = {};
  parameters.type = buffer_type;
  parameters.parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
  parameters.parm.capture.timeperframe = {.numerator = 1, .denominator = rate_};
  return {};
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::S_PARM, v4l2_streamparm& parameters) {
  if (parameters.type != buffer_type) return fail(EINVAL);
  if (auto allowed = may_change(session); !allowed) return allowed;
  const auto& size = *test_pattern::find_frame_size(pix().width, pix().height);
  const std::uint32_t rate = test_pattern::nearest_rate(size, parameters.parm.capture.timeperframe);
  if (rate != rate_ && queue_.streaming()) {
    // A new grid, from now on. The timer may have been set by the old one.
    owner_->context_.cancel(timer_);
    pacer_.start(io::Clock::now(), rate);
  }
  rate_ = rate;
  schedule();
  return ioctl(session, v4l2::tag::G_PARM{}, parameters);
}

// ---- Input and priority

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::ENUMINPUT, v4l2_input& input) const {
  if (input.index != 0) return fail(EINVAL);
  input = {};
  test_pattern::copy_text(input.name, "Test pattern");
  input.type = V4L2_INPUT_TYPE_CAMERA;
  return {};
}

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::G_INPUT, std::uint32_t& index) const {
  index = 0;
  return {};
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::S_INPUT, std::uint32_t& index) const {
  if (index != 0) return fail(EINVAL);
  return may_change(session);
}

inline Result<> TestPattern::ioctl(Session&, v4l2::tag::G_PRIORITY, std::uint32_t& priority) const {
  priority = highest_priority();
  return {};
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::S_PRIORITY, std::uint32_t& priority) const {
  if (priority < V4L2_PRIORITY_BACKGROUND || priority > V4L2_PRIORITY_RECORD) return fail(EINVAL);
  if (auto allowed = may_change(session); !allowed) return allowed;
  session.priority_ = priority;
  return {};
}

// ---- Controls and events

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::S_CTRL, v4l2_control& control) {
  if (auto allowed = may_change(session); !allowed) return allowed;
  return controls_.s_ctrl(control, &session.subscriptions_);
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::G_EXT_CTRLS, v4l2::ExtControls& controls) {
  return controls_.g_ext_ctrls(controls, *session.context_.memory());
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::S_EXT_CTRLS, v4l2::ExtControls& controls) {
  if (auto allowed = may_change(session); !allowed) return allowed;
  return controls_.s_ext_ctrls(controls, *session.context_.memory(), &session.subscriptions_);
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::TRY_EXT_CTRLS, v4l2::ExtControls& controls) {
  return controls_.try_ext_ctrls(controls, *session.context_.memory());
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::SUBSCRIBE_EVENT,
                                   v4l2_event_subscription& request) {
  return v4l2::subscribe_event(session.subscriptions_, request, {}, &controls_,
                               [&](const v4l2_event& event) { session.context_.send_event(event); });
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::UNSUBSCRIBE_EVENT,
                                   v4l2_event_subscription& request) {
  session.subscriptions_.remove(request);
  return {};
}

inline Result<> TestPattern::apply_control(std::uint32_t id, std::int64_t value) {
  // Controls has clamped it to the range of the table, which is far within 32 bits.
  (id == V4L2_CID_BRIGHTNESS ? brightness_ : pattern_) = static_cast<std::int32_t>(value);
  // Once a frame, however many changes a command holds.
  repaint_ = true;
  return {};
}

inline void TestPattern::notify(const v4l2_event& event, const v4l2::Subscriptions* origin) {
  for (Session* const session : sessions_) {
    session->subscriptions_.deliver(event, origin,
                                    [&](const v4l2_event& sent) { session->context_.send_event(sent); });
  }
}

// ---- Buffers

inline Result<media::Mappable> TestPattern::mmap(Session&, std::uint32_t mem_offset) {
  auto block = queue_.mmap(mem_offset);
  if (!block) return std::unexpected(block.error());
  // The block is rounded up to pages; the guest is told the buffer's own length.
  std::uint64_t length = (*block)->size();
  for (std::uint32_t index = 0; index < queue_.options().max_buffers; ++index) {
    const auto* const slot = queue_.slot(index);
    if (slot != nullptr && slot->planes[0].block.get() == block->get()) length = slot->planes[0].length;
  }
  return media::Mappable(std::move(*block), length);
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::REQBUFS, v4l2_requestbuffers& request) {
  if (auto allowed = may_stream(session); !allowed) return allowed;
  const std::array size{pix().sizeimage};
  const auto done = queue_.reqbufs(request, size, session.context_.arenas());
  settle_owner(session);
  return done;
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::CREATE_BUFS, v4l2_create_buffers& request) {
  if (auto allowed = may_stream(session); !allowed) return allowed;
  const std::array size{pix().sizeimage};
  const auto done = queue_.create_bufs(request, size, session.context_.arenas());
  settle_owner(session);
  return done;
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::REMOVE_BUFS, v4l2::RemoveBuffers& request) {
  if (auto allowed = may_stream(session); !allowed) return allowed;
  const auto done = queue_.remove_bufs(request);
  settle_owner(session);
  return done;
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::PREPARE_BUF, v4l2::BufferPayload& payload) {
  if (auto allowed = may_queue(session); !allowed) return allowed;
  return queue_.prepare_buf(payload);
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::QBUF, v4l2::BufferPayload& payload) {
  if (auto allowed = may_queue(session); !allowed) return allowed;
  if (auto queued = queue_.qbuf(payload); !queued) return queued;
  schedule();
  return {};
}

// ---- Streaming

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::STREAMON, std::uint32_t& type) {
  if (auto allowed = may_stream(session); !allowed) return allowed;
  const bool streamed = queue_.streaming();
  if (auto started = queue_.stream_on(type); !started) return started;
  if (!streamed) {
    repaint_ = true;
    sequence_ = 0;
    pacer_.start(io::Clock::now(), rate_);
    schedule();
  }
  return {};
}

inline Result<> TestPattern::ioctl(Session& session, v4l2::tag::STREAMOFF, std::uint32_t& type) {
  if (auto allowed = may_stream(session); !allowed) return allowed;
  if (auto stopped = queue_.stream_off(type); !stopped) return stopped;
  session.context_.cancel(timer_);
  return {};
}

inline void TestPattern::schedule() noexcept {
  if (!queue_.streaming() || queue_.queued_count() == 0 || timer_.pending()) return;
  // Frames that were due while no buffer was there are not made.
  const auto now = io::Clock::now();
  if (pacer_.due() <= now) pacer_.advance(now);
  owner_->context_.timer(timer_, pacer_.due());
}

inline void TestPattern::on_due(std::int32_t) noexcept {
  // STREAMOFF and close cancel the timer: there is an owner, and it streams.
  const auto index = queue_.take_next();
  if (!index) return;  // the next QBUF schedules
  if (std::exchange(repaint_, false)) configure_painter();
  v4l2::BufferQueue::Completion done;
  done.error = !fill(*queue_.slot(*index));
  done.bytesused[0] = done.error ? 0 : pix().sizeimage;
  done.timestamp_ns = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(pacer_.due().time_since_epoch()).count());
  done.sequence = sequence_++;
  pacer_.advance(io::Clock::now());
  if (const auto buffer = queue_.complete(*index, done)) owner_->context_.send_dqbuf(*buffer);
  schedule();
}

inline bool TestPattern::fill(const v4l2::BufferQueue::Slot& slot) noexcept {
  const auto& plane = slot.planes[0];
  if (plane.block != nullptr) {
    if (plane.block->size() < pix().sizeimage) return false;
    painter_.paint(sequence_, plane.block->bytes());
    return true;
  }
  // Guest memory is looked up at each frame, for the table may have changed since QBUF.
  scratch_.resize(pix().sizeimage);
  painter_.paint(sequence_, scratch_);
  return v4l2::copy_to_ranges(*owner_->context_.memory(), slot.ranges[0], scratch_).has_value();
}

}  // namespace vumedia::backends
