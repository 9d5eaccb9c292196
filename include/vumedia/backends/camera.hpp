// A capture device whose frames come from a Source (camera/source.hpp): everything else that a guest expects
// of a camera is here.
//
// clang-format off
//   vhost_user::serve<backends::Camera<MySource>>(std::move(*listener), {}, MySource(...));
// clang-format on
//
// It behaves like a kernel driver's capture node, with either plane API: format, interval, input and controls
// belong to the device and are shared by all open files; the file that allocates buffers owns the stream
// until they are freed, and others get EBUSY. Frames come at the interval that was set, on a grid that
// neither drifts nor bursts; their time stamps are the CLOCK_MONOTONIC times when they were due. A frame is
// made only if there is a buffer for it, so sequence numbers have no gaps; they start at 0 with each
// STREAMON.
//
// Raw frames are made on the loop's thread, straight into the buffer that the guest sees. That takes as long
// as copying, 0.1 to 0.3 ms for 1920x1080, and happens once for each wake-up, so commands wait no longer than
// that. This holds for MMAP and USERPTR buffers alike: pages of the guest are mapped side by side within the
// limit on mappings (v4l2/user_planes.hpp says what happens beyond it).
//
// With an encoder, which is a type, a camera offers its format in addition to the raw ones
// (camera/encoding.hpp has the requirements). It encodes on a thread of its own; a frame that is due while
// the previous one is still being encoded is not made.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/camera/encoding.hpp>
#include <vumedia/backends/camera/modes.hpp>
#include <vumedia/backends/camera/negotiation.hpp>
#include <vumedia/backends/camera/source.hpp>
#include <vumedia/backends/camera/stream.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/buffer_requests.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/ioctls.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/subscriptions.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::backends {

/// How a camera starts.
struct CameraOptions {
  /// The multi-planar API, which adds the formats with separate planes in memory.
  bool multiplanar = false;
  /// The format that the camera starts in (V4L2_PIX_FMT_*), at the Source's first size. One that it does not
  /// have becomes its first, as for a guest.
  std::uint32_t pixelformat = 0;
};

/// `S`: a camera::Source. `E`: camera::NoEncoder, or a camera::Encoder for a camera::PaintingSource.
template <class S, class E = camera::NoEncoder>
class Camera : public v4l2::Ioctls<Camera<S, E>, v4l2::ControlIoctls, v4l2::QueueIoctls, v4l2::EventIoctls,
                                   v4l2::PriorityIoctls> {
  static_assert(camera::HasNames<S>,
                "backends::Camera<Source>: Source needs `static constexpr const char* card` and `input`");
  static_assert(camera::HasModes<S>, "backends::Camera<Source>: Source needs `camera::Modes modes() const`");
  static_assert(camera::FillsFrames<S> || camera::LendsFrames<S>,
                "backends::Camera<Source>: Source needs `Result<> fill(const camera::Frame&)`, or "
                "`Result<std::span<const std::byte>> lend(const camera::Mode&, std::uint32_t number)`");
  static_assert(!(camera::FillsFrames<S> && camera::LendsFrames<S>),
                "backends::Camera<Source>: Source has both `fill` and `lend`, and only one can be used");
  static_assert(camera::HasSourceControls<S> || !camera::NamesControls<S>,
                "backends::Camera<Source>: Source needs both `std::span<const v4l2::ControlInfo> controls() "
                "const` and `Result<> set_control(std::uint32_t id, const v4l2::ControlValue&)`, or neither");
  static_assert(camera::StartsFrames<S> || !camera::NamesStart<S>,
                "backends::Camera<Source>: Source's `start` must be `Result<> start(const camera::Mode&)`");
  static_assert(!camera::encodes<E> || camera::Encoder<E>,
                "backends::Camera<Source, E>: E is not a camera::Encoder");
  static_assert(!camera::encodes<E> || camera::PaintingSource<S>,
                "backends::Camera<Source, E>: for an encoder, Source has to be a camera::PaintingSource");

 public:
  using Camera::Ioctls::ioctl;

  /// One open file.
  class Session;

  /// The camera takes over its source, and its encoder.
  explicit Camera(S source, const CameraOptions& options = {}, E encoder = {});
  /// The same with a source that is made here.
  explicit Camera(const CameraOptions& options = {}, E encoder = {})
    requires std::default_initializable<S>
      : Camera(S(), options, std::move(encoder)) {}
  Camera(const Camera&) = delete;
  Camera& operator=(const Camera&) = delete;

  /// The device's name is the source's.
  [[nodiscard]] media::Config config() const noexcept {
    const std::uint32_t kind =
        v4l2::is_multiplanar(queue_.type()) ? V4L2_CAP_VIDEO_CAPTURE_MPLANE : V4L2_CAP_VIDEO_CAPTURE;
    return {.device_caps = kind | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = S::card};
  }
  /// ENODEV, and a line in the log: the modes of the Source are none that a camera can have (valid_modes()).
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    if (fault_ != nullptr) {
      constexpr std::string_view name(S::card);
      context.log().write(LogLevel::error, "%.*s has modes that no camera can have: %s",
                          static_cast<int>(name.size()), name.data(), fault_);
      return fail(ENODEV);
    }
    auto session = std::make_unique<Session>(*this, context);
    sessions_.push_back(session.get());
    return session;
  }
  /// Closes a file; if it owned the stream, the stream ends.
  void close(Session& session) noexcept {
    if (owner_.session() == &session) {
      stream_.stop();
      queue_.release();
      owner_.reset();
    }
    std::erase(sessions_, &session);
  }

  // -- Formats, sizes and intervals

  /// The ioctls of formats, sizes, intervals and rectangles, as the kernel documents them. EBUSY: there are
  /// buffers, and they or a priority are another file's.
  ///@{
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
    if (auto allowed = v4l2::may_run<v4l2::tag::S_FMT>(session, format); !allowed) return allowed;
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
  ///@}
  /// There is no rectangle to set. It exists anyway, because programs call it on a device with G_SELECTION.
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_SELECTION, v4l2_selection& selection) const {
    if (auto allowed = v4l2::may_run<v4l2::tag::S_SELECTION>(session, selection); !allowed) return allowed;
    return fail(EINVAL);
  }

  // -- The one input

  /// The ioctls of inputs, as the kernel documents them.
  ///@{
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUMINPUT, v4l2_input& input) const;
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_INPUT, std::uint32_t& index) const {
    index = 0;
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_INPUT, std::uint32_t& index) const {
    if (auto allowed = v4l2::may_run<v4l2::tag::S_INPUT>(session, index); !allowed) return allowed;
    if (index != 0) return fail(EINVAL);
    return {};
  }
  ///@}

  // -- For what is inherited: controls, buffers and streaming, events, priorities

  /// For the inherited ioctls: see v4l2/control_ioctls.hpp and v4l2/queue_ioctls.hpp.
  ///@{
  [[nodiscard]] v4l2::Controls& controls_of(Session&) noexcept { return controls_; }
  [[nodiscard]] v4l2::BufferQueue& queues_of(Session&) noexcept { return queue_; }
  [[nodiscard]] v4l2::QueueOwner<Session>& queue_owner() noexcept { return owner_; }
  [[nodiscard]] v4l2::PlaneSizes plane_sizes(Session&, const v4l2::BufferQueue&) const noexcept {
    const v4l2::Layout& layout = formats_.mode().layout;
    v4l2::PlaneSizes sizes(layout.plane_count);
    for (std::size_t p = 0; p < sizes.size(); ++p) sizes[p] = layout.planes[p].sizeimage;
    return sizes;
  }
  void queued(Session&, v4l2::BufferQueue&) noexcept { stream_.schedule(); }
  [[nodiscard]] Result<> may_start(Session&, v4l2::BufferQueue&) { return stream_.prepare(); }
  void started(Session& session, v4l2::BufferQueue&) { stream_.start(session); }
  void cancelled(Session&, v4l2::BufferQueue&) noexcept { stream_.stop(); }
  ///@}

 private:
  using Stream = camera::Stream<S, E, Session>;

  [[nodiscard]] static std::uint32_t compressed_format() noexcept {
    if constexpr (camera::encodes<E>) return E::pixelformat;
    return 0;
  }
  // Those of the source, and that of the encoder.
  [[nodiscard]] static std::vector<v4l2::ControlInfo> make_table(const S& source);
  [[nodiscard]] Result<> apply_control(std::uint32_t id, const v4l2::ControlValue& value);

  // Those of a camera that nobody can open.
  static constexpr std::array<v4l2_fract, 1> no_interval{{{1, 30}}};
  static constexpr std::array no_size{camera::FrameSize{16, 16, no_interval}};
  static constexpr std::array<std::uint32_t, 1> no_format{V4L2_PIX_FMT_GREY};
  static_assert(camera::valid_modes({no_format, no_size}));

  [[nodiscard]] camera::Modes usable_modes() const noexcept {
    return fault_ == nullptr ? modes_ : camera::Modes{no_format, no_size};
  }

  S source_;
  const camera::Modes modes_;  // the Source's
  const char* const fault_;    // see camera::fault_of()
  camera::Negotiation formats_;
  std::vector<v4l2::ControlInfo> table_;
  v4l2::Controls controls_;
  v4l2::BufferQueue queue_;
  v4l2::Priorities priorities_;
  std::vector<Session*> sessions_;
  v4l2::QueueOwner<Session> owner_;
  // Its encoder's thread reports to a session, through the loop.
  Stream stream_;
};

/// An open file. It has nothing of its own but what a program asked for.
template <class S, class E>
class Camera<S, E>::Session {
 public:
  /// `camera` outlives it.
  Session(Camera& camera, media::Context handle) noexcept
      : context(handle), priority(camera.priorities_), camera_(camera) {}
  /// The camera's.
  [[nodiscard]] Stream& stream() noexcept { return camera_.stream_; }

  /// For the inherited ioctls.
  ///@{
  media::Context context;
  v4l2::Subscriptions subscriptions;
  v4l2::Priority priority;
  ///@}

 private:
  Camera& camera_;
};

template <class S, class E>
Camera<S, E>::Camera(S source, const CameraOptions& options, E encoder)
    : source_(std::move(source)),
      modes_(source_.modes()),
      fault_(camera::fault_of(modes_)),
      formats_(usable_modes(), options.multiplanar, compressed_format(), options.pixelformat),
      table_(make_table(source_)),
      controls_(table_, false),
      // Only one session has buffers at a time.
      queue_({.type = formats_.type(),
              .max_length = camera::most_plane_bytes(usable_modes()),
              .userptr = true,
              .mappings = std::make_shared<memory::Budget>(v4l2::max_session_mappings)}),
      stream_(queue_, formats_, source_, std::move(encoder)) {
  controls_.on_apply(
      [this](std::uint32_t id, const v4l2::ControlValue& value) { return apply_control(id, value); });
  controls_.on_event([this](const v4l2_event& event, const v4l2::Subscriptions* origin) {
    v4l2::send_to_subscribers(sessions_, event, origin);
  });
}

template <class S, class E>
std::vector<v4l2::ControlInfo> Camera<S, E>::make_table(const S& source) {
  std::vector<v4l2::ControlInfo> table;
  if constexpr (camera::HasSourceControls<S>) {
    const auto own = source.controls();
    table.assign(own.begin(), own.end());
  }
  if constexpr (camera::encodes<E>) {
    table.push_back({.id = V4L2_CID_JPEG_COMPRESSION_QUALITY,
                     .name = "Compression Quality",
                     .minimum = camera::quality_minimum,
                     .maximum = camera::quality_maximum,
                     .default_value = camera::quality_default,
                     .flags = V4L2_CTRL_FLAG_SLIDER});
  }
  return table;
}

template <class S, class E>
Result<> Camera<S, E>::apply_control([[maybe_unused]] std::uint32_t id,
                                     [[maybe_unused]] const v4l2::ControlValue& value) {
  if constexpr (camera::encodes<E>) {
    if (id == V4L2_CID_JPEG_COMPRESSION_QUALITY) {
      stream_.set_quality(static_cast<std::int32_t>(value.number));  // clamped to its range
      return {};
    }
  }
  if constexpr (camera::HasSourceControls<S>) return source_.set_control(id, value);
  return {};
}

template <class S, class E>
Result<> Camera<S, E>::ioctl(Session& session, v4l2::tag::S_PARM, v4l2_streamparm& parameters) {
  if (auto allowed = v4l2::may_run<v4l2::tag::S_PARM>(session, parameters); !allowed) return allowed;
  const v4l2_fract before = formats_.interval();
  auto set = formats_.s_parm(parameters);
  const v4l2_fract& now = formats_.interval();
  if (now.numerator != before.numerator || now.denominator != before.denominator) stream_.change_interval();
  return set;
}

template <class S, class E>
Result<> Camera<S, E>::ioctl(Session&, v4l2::tag::ENUMINPUT, v4l2_input& input) const {
  if (input.index != 0) return fail(EINVAL);
  input = {};  // connected and working: no status; no tuner, audio, standards or timings
  constexpr std::string_view name(S::input);
  static_assert(name.size() < sizeof input.name, "backends::Camera<Source>: Source::input is too long");
  std::memcpy(input.name, name.data(), name.size());
  input.type = V4L2_INPUT_TYPE_CAMERA;
  return {};
}

}  // namespace vumedia::backends
