// A camera without hardware: a moving test pattern that carries its frame number.
//
// It behaves like a kernel driver's capture node: format, rate, input and controls belong to the device and
// are shared by all open files; the file that allocates buffers owns the stream until they are freed, and
// others get EBUSY. Frames come at the rate that was set, on a grid that neither drifts nor bursts; their
// time stamps are the CLOCK_MONOTONIC times when they were due. A frame is made only if there is a buffer for
// it, so sequence numbers have no gaps; they start at 0 with each STREAMON, and are the numbers in the
// pictures (test_pattern/frame_code.hpp).
//
// Raw frames are painted on the loop's thread, straight into the buffer that the guest sees. That takes as
// long as copying, 0.1 to 0.3 ms for 1920x1080, and happens once for each wake-up, so commands wait no longer
// than that. This holds for MMAP and USERPTR buffers alike: pages of the guest are mapped side by side within
// the limit on mappings (v4l2/user_planes.hpp says what happens beyond it).
//
// Compressed frames need an encoder, which is a type. TestPattern has none; with
// clang-format off
//   #include <vumedia/backends/ffmpeg/jpeg_encoder.hpp>   // needs FFmpeg
//   using JpegCamera = backends::BasicTestPattern<backends::ffmpeg::JpegEncoder>;
// clang-format on
// the camera offers Motion-JPEG in addition to the raw formats. It is encoded on a thread of its own
// (test_pattern/encoding.hpp); a frame that is due while the previous one is still being encoded is not made.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern/controls.hpp>
#include <vumedia/backends/test_pattern/encoding.hpp>
#include <vumedia/backends/test_pattern/negotiation.hpp>
#include <vumedia/backends/test_pattern/pacer.hpp>
#include <vumedia/backends/test_pattern/painter.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/subscriptions.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::backends {

struct TestPatternOptions {
  // The multi-planar API, which adds YM12 and NM12: each of their planes is separate memory.
  bool multiplanar = false;
  // The format that the camera starts in, at 640x480 (V4L2_PIX_FMT_*). One that it does not have becomes
  // RGB3, as for a guest.
  std::uint32_t pixelformat = V4L2_PIX_FMT_RGB24;
};

// `E`: test_pattern::NoEncoder, or a test_pattern::Encoder.
template <class E>
class BasicTestPattern {
 public:
  class Session {
   private:
    friend class BasicTestPattern;
    // Frames of an encoder come back through this.
    using Poster = std::conditional_t<test_pattern::encodes<E>, media::Poster<Session>, std::monostate>;

   public:
    Session(BasicTestPattern& camera, media::Context context, Poster poster) noexcept
        : camera_(camera), context_(context), poster_(std::move(poster)), priority_(camera.priorities_) {}

   private:
    BasicTestPattern& camera_;
    media::Context context_;
    [[no_unique_address]] Poster poster_;
    v4l2::Subscriptions subscriptions_;
    v4l2::Priority priority_;
  };

  explicit BasicTestPattern(const TestPatternOptions& options = {}, E encoder = {});
  BasicTestPattern(const BasicTestPattern&) = delete;
  BasicTestPattern& operator=(const BasicTestPattern&) = delete;

  [[nodiscard]] media::Config config() const noexcept {
    const std::uint32_t kind =
        v4l2::is_multiplanar(queue_.type()) ? V4L2_CAP_VIDEO_CAPTURE_MPLANE : V4L2_CAP_VIDEO_CAPTURE;
    return {.device_caps = kind | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = "vumedia test pattern"};
  }

  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    typename Session::Poster poster;
    if constexpr (test_pattern::encodes<E>) poster = context.poster<Session>();
    auto session = std::make_unique<Session>(*this, context, std::move(poster));
    sessions_.push_back(session.get());
    return session;
  }
  void close(Session& session) noexcept {
    if (owner_ == &session) {
      stop();
      queue_.release();
      owner_ = nullptr;
    }
    std::erase(sessions_, &session);
  }
  [[nodiscard]] Result<media::Mappable> mmap(Session& session, std::uint32_t mem_offset);

  // -- Formats, sizes and rates

  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUM_FMT, v4l2_fmtdesc& description) const {
    return formats_.enum_fmt(description);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUM_FRAMESIZES, v4l2_frmsizeenum& size) const {
    return formats_.enum_framesizes(size);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUM_FRAMEINTERVALS, v4l2_frmivalenum& interval) const {
    return formats_.enum_frameintervals(interval);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_FMT, v4l2_format& format) const {
    return formats_.g_fmt(format);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::TRY_FMT, v4l2_format& format) const {
    return formats_.try_fmt(format);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_FMT, v4l2_format& format) {
    if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
    // Errors in the request come before reasons why it cannot be carried out now.
    if (queue_.is_busy()) return formats_.try_fmt(format) ? fail(EBUSY) : fail(EINVAL);
    return formats_.s_fmt(format);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_PARM, v4l2_streamparm& parameters) const {
    return formats_.g_parm(parameters);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_PARM, v4l2_streamparm& parameters);
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_SELECTION, v4l2_selection& selection) const {
    return formats_.g_selection(selection);
  }
  // There is no rectangle to set. It exists anyway, because programs call it on a device with G_SELECTION.
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_SELECTION, v4l2_selection&) const {
    if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
    return fail(EINVAL);
  }

  // -- The one input; priorities

  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUMINPUT, v4l2_input& input) const {
    if (input.index != 0) return fail(EINVAL);
    input = {};  // connected and working: no status; no tuner, audio, standards or timings
    constexpr char name[] = "Test pattern";
    std::memcpy(input.name, name, sizeof name);
    input.type = V4L2_INPUT_TYPE_CAMERA;
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_INPUT, std::uint32_t& index) const {
    index = 0;
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_INPUT, std::uint32_t& index) const {
    if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
    if (index != 0) return fail(EINVAL);
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::G_PRIORITY, std::uint32_t& priority) const {
    session.priority_.get(priority);
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_PRIORITY, std::uint32_t& priority) const {
    return session.priority_.set(priority);
  }

  // -- Controls and their events

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
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_CTRL, v4l2_control& control) {
    if (auto allowed = session.priority_.may_change(); !allowed) return allowed;
    return controls_.s_ctrl(control, &session.subscriptions_);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::G_EXT_CTRLS, v4l2::ExtControls& controls) {
    const media::Context& context = session.context_;
    return controls_.g_ext_ctrls(controls, *context.memory(), &context.work());
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_EXT_CTRLS, v4l2::ExtControls& controls) {
    // Once for all of them.
    if (auto allowed = session.priority_.may_change(); !allowed && controls.done == 0) return allowed;
    const media::Context& context = session.context_;
    return controls_.s_ext_ctrls(controls, *context.memory(), &session.subscriptions_, &context.work());
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::TRY_EXT_CTRLS, v4l2::ExtControls& controls) {
    const media::Context& context = session.context_;
    return controls_.try_ext_ctrls(controls, *context.memory(), &context.work());
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::SUBSCRIBE_EVENT,
                               v4l2_event_subscription& request) {
    return v4l2::subscribe_event(session.subscriptions_, request, {}, &controls_,
                                 [&](const v4l2_event& event) { session.context_.send_event(event); });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::UNSUBSCRIBE_EVENT,
                               v4l2_event_subscription& request) {
    session.subscriptions_.remove(request);
    return {};
  }

  // -- Buffers and streaming

  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::REQBUFS, v4l2_requestbuffers& request) {
    return allocate(session, request,
                    [&](auto sizes, auto& arenas) { return queue_.reqbufs(request, sizes, arenas); });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::CREATE_BUFS, v4l2_create_buffers& request) {
    return allocate(session, request,
                    [&](auto sizes, auto& arenas) { return queue_.create_bufs(request, sizes, arenas); });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::REMOVE_BUFS, v4l2::RemoveBuffers& request) {
    return allocate(session, request, [&](auto, auto&) { return queue_.remove_bufs(request); });
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::QUERYBUF, v4l2::BufferPayload& payload) const {
    return queue_.querybuf(payload);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::PREPARE_BUF, v4l2::BufferPayload& payload) {
    if (!may_queue(session)) return queue_.refuse_other(payload.buffer.head.type);
    return queue_.prepare_buf(payload, user_memory(session));
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::QBUF, v4l2::BufferPayload& payload) {
    if (!may_queue(session)) return queue_.refuse_other(payload.buffer.head.type);
    if (auto queued = queue_.qbuf(payload, user_memory(session)); !queued) return queued;
    schedule();
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::STREAMON, std::uint32_t& type);
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::STREAMOFF, std::uint32_t& type);

 private:
  // Whether the buffers, if there are any, belong to this session.
  [[nodiscard]] bool may_queue(const Session& session) const noexcept {
    return owner_ == nullptr || owner_ == &session;
  }

  [[nodiscard]] static v4l2::UserMemory user_memory(const Session& session) noexcept {
    return {session.context_.memory(), session.context_.arenas(), &session.context_.work()};
  }

  [[nodiscard]] Result<> apply_control(std::uint32_t id, std::int64_t value);
  void notify(const v4l2_event& event, const v4l2::Subscriptions* origin);

  // Wraps calls that may create the first buffers or free the last ones, and so decide who owns the stream.
  template <class Request, class Change>
  [[nodiscard]] Result<> allocate(Session& session, Request& request, Change&& change);

  // Sets the timer for the next frame if there is a buffer for it.
  void schedule() noexcept;
  void on_due(std::int32_t result) noexcept;
  // No frame is in progress any more.
  void stop() noexcept {
    owner_->context_.cancel(timer_);
    encoding_.reset();
    storing_.cancel();
  }
  void start_encoding(std::uint32_t index, std::uint64_t timestamp_ns);
  void on_encoded(std::uint64_t ticket, bool good) noexcept;
  // Gives the buffer to the guest, with the bytes filled in each plane, or flagged as bad if there are none.
  void finish(std::uint32_t index, std::uint32_t sequence, std::uint64_t timestamp_ns,
              std::optional<std::uint32_t> compressed, bool good) noexcept;

  // First copies the bytes to the guest, if they must be copied, and then returns the buffer.
  void store_filled() noexcept;

  // Fill the buffer. False if it is too small.
  [[nodiscard]] bool paint(const v4l2::BufferQueue::Slot& slot) noexcept;
  [[nodiscard]] bool store(const v4l2::BufferQueue::Slot& slot, std::span<const std::byte> bytes) noexcept;

  [[nodiscard]] const test_pattern::Mode& mode() const noexcept { return formats_.mode(); }
  [[nodiscard]] test_pattern::Pattern pattern() const noexcept {
    return static_cast<test_pattern::Pattern>(pattern_);
  }

  // A compressed frame in progress.
  struct Encoding {
    std::uint64_t ticket = 0;
    std::uint32_t index = 0;
    std::uint32_t sequence = 0;
    std::uint64_t timestamp_ns = 0;
  };
  // A frame that has been made.
  struct Filled {
    std::uint32_t index = 0;
    v4l2::BufferQueue::Completion done;
  };
  struct StoreChore final : media::Chore {
    explicit StoreChore(BasicTestPattern& of) noexcept
        : Chore([](media::Chore& chore) noexcept { static_cast<StoreChore&>(chore).camera.store_filled(); }),
          camera(of) {}
    BasicTestPattern& camera;
  };
  struct Report {
    typename Session::Poster poster;
    void operator()(std::uint64_t ticket, Result<> result) const {
      poster.post([ticket, good = result.has_value()](Session& session, media::Context) {
        session.camera_.on_encoded(ticket, good);
      });
    }
  };
  template <class F>
  struct ThreadOf {
    using type = test_pattern::EncodingThread<F, Report>;
  };

  test_pattern::Negotiation formats_;
  std::int32_t brightness_ = test_pattern::brightness_default;
  std::int32_t pattern_ = 0;
  std::int32_t quality_ = test_pattern::quality_default;

  v4l2::Controls controls_;
  v4l2::BufferQueue queue_;
  v4l2::Priorities priorities_;
  std::vector<Session*> sessions_;
  Session* owner_ = nullptr;

  test_pattern::Painter painter_;
  bool repaint_ = false;  // format, pattern or brightness differ from the painter's
  test_pattern::Pacer pacer_;
  std::uint32_t sequence_ = 0;
  io::MemberOperation<&BasicTestPattern::on_due> timer_{*this};

  Filled filled_;
  StoreChore storing_{*this};

  std::uint64_t last_ticket_ = 0;
  std::optional<Encoding> encoding_;
  // Declared after everything that it reports to.
  typename std::conditional_t<test_pattern::encodes<E>, ThreadOf<E>, std::type_identity<E>>::type encoder_;
};

// A camera with raw formats.
using TestPattern = BasicTestPattern<test_pattern::NoEncoder>;

}  // namespace vumedia::backends

#include <vumedia/backends/test_pattern/streaming.hpp>
