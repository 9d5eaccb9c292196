// A memory-to-memory device: pictures, raw or coded, go in on its OUTPUT queue, and come out on its CAPTURE
// queue as an Engine makes them. Each open file has queues and formats of its own, as in the kernel
// (v4l2-mem2mem).
//
// clang-format off
//   struct Inverter {
//     static constexpr const char* card = "Inverter";
//     static constexpr std::array<std::uint32_t, 1> output_formats{V4L2_PIX_FMT_GREY};
//     static constexpr std::array<std::uint32_t, 1> capture_formats{V4L2_PIX_FMT_GREY};
//     bool convert(const m2m::Source& from, const m2m::Target& to) {
//       std::ranges::transform(from.bytes, to.bytes.begin(), [](std::byte sample) { return ~sample; });
//       return true;
//     }
//   };
//   vhost_user::serve<backends::M2m<Inverter>>(std::move(listener));
// clang-format on
//
// Everything else is here: formats of both queues, buffers in our memory and in the guest's (MMAP and
// USERPTR) with limits on them, streaming, sequence numbers, time stamps that go with their pictures,
// priorities, and, if the engine has `drain_command`, drains that end with LAST and V4L2_EVENT_EOS. An engine
// may also have controls, events, ioctls and threads of its own, as a codec has: see ffmpeg_decoder.hpp. What
// an Engine is stands in m2m/engine.hpp.
#pragma once

#include <array>
#include <cerrno>
#include <concepts>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/conversion.hpp>
#include <vumedia/backends/m2m/engine.hpp>
#include <vumedia/backends/m2m/file.hpp>
#include <vumedia/backends/m2m/instance.hpp>
#include <vumedia/backends/m2m/queues.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/ioctls.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::backends {

/// What a device allows its clients.
struct M2mOptions {
  /// Which of V4L2's two APIs for video buffers the device has. A buffer has one plane in both.
  bool multiplanar = false;
  /// Open files at a time; more get ENFILE.
  std::uint32_t max_sessions = 256;
  /// What one of them may make us hold: MMAP buffers, copies of USERPTR buffers and their lists of pages, and
  /// what its engine counts there. REQBUFS gives fewer buffers than requested, or ENOMEM.
  std::uint64_t max_buffer_bytes = std::uint64_t{256} << 20;
};

namespace m2m {

/// The part that an engine has in an open file: a Conversion, for a Converter.
template <class E>
struct InstanceOf {
  using Type = Conversion<E>;  ///< constructed for each file
};
/// That of an engine that brings its own.
template <HasInstance E>
struct InstanceOf<E> {
  using Type = typename E::Instance;  ///< constructed for each file
};

/// The ioctls that are the same for all devices.
template <class Backend, class Instance>
using CommonIoctls = std::conditional_t<
    HasControls<Instance>,
    v4l2::Ioctls<Backend, v4l2::ControlIoctls, v4l2::QueueIoctls, v4l2::EventIoctls, v4l2::PriorityIoctls>,
    v4l2::Ioctls<Backend, v4l2::QueueIoctls, v4l2::EventIoctls, v4l2::PriorityIoctls>>;

}  // namespace m2m

/// Every open file converts by itself. For the device's loop.
template <class Engine>
class M2m : public m2m::CommonIoctls<M2m<Engine>, typename m2m::InstanceOf<Engine>::Type> {
  static_assert(m2m::check_engine<Engine>());
  static constexpr m2m::DrainCommand drain_command = m2m::drain_command_of<Engine>();
  using Instance = typename m2m::InstanceOf<Engine>::Type;
  using Queue = v4l2::BufferQueue;

 public:
  using m2m::CommonIoctls<M2m<Engine>, Instance>::ioctl;

  /// An open file: what is the same for all engines, and what the engine has made for it.
  struct Session : m2m::File {
    /// `device` outlives it.
    Session(M2m& device, media::Context handle)
        : File(handle, m2m::QueueTypes::of(device.options_.multiplanar), device.buffer_limits(),
               device.options_.max_buffer_bytes, device.mappings_),
          priority(device.priorities_),
          instance(make_instance(device.engine_, *this)),
          sessions(device.sessions_) {
      if constexpr (m2m::HasControls<Instance>) {
        instance.controls().on_event([this](const v4l2_event& event, const v4l2::Subscriptions* origin) {
          this->send(event, origin);
        });
      }
      ++sessions;
    }
    ~Session() { --sessions; }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    v4l2::Priority priority;  ///< for the ioctls of priorities
    Instance instance;        ///< the engine's part
    std::uint32_t& sessions;  ///< open files of the device
  };

  /// Each file has a copy of `engine`.
  explicit M2m(Engine engine = {}, const M2mOptions& options = {})
      : engine_(std::move(engine)), options_(options) {}
  M2m(const M2m&) = delete;
  M2m& operator=(const M2m&) = delete;

  /// The device's name is the engine's.
  [[nodiscard]] media::Config config() const noexcept {
    const std::uint32_t kind = options_.multiplanar ? V4L2_CAP_VIDEO_M2M_MPLANE : V4L2_CAP_VIDEO_M2M;
    return {.device_caps = kind | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = Engine::card};
  }
  /// ENFILE: there are too many; or what the engine answers.
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    if constexpr (m2m::ChecksOpen<Engine>) {
      if (auto allowed = engine_.may_open(); !allowed) return std::unexpected(allowed.error());
    }
    if (sessions_ >= options_.max_sessions) return fail(ENFILE);
    return std::make_unique<Session>(*this, context);
  }

  /// Mappings of guest pages side by side: those of all files, and of closed ones that are still at work.
  [[nodiscard]] const memory::Budget& mappings() const noexcept { return *mappings_; }

  // -- Formats

  /// The ioctls of formats, as the kernel documents them. EBUSY: a queue has buffers, or v4l2/priority.hpp.
  ///@{
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::ENUM_FMT, v4l2_fmtdesc& query) {
    return session.instance.formats().enumerate(query);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::ENUM_FRAMESIZES, v4l2_frmsizeenum& query) {
    return session.instance.formats().enumerate(query);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::G_FMT, v4l2_format& format) {
    return session.instance.formats().get(format);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::TRY_FMT, v4l2_format& format) {
    return session.instance.formats().adjust(format);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_FMT, v4l2_format& format) {
    if (auto allowed = v4l2::may_run<v4l2::tag::S_FMT>(session, format); !allowed) return allowed;
    const Queue* const queue = session.queues.find(format.type);
    if (queue == nullptr) return fail(EINVAL);
    if (queue->is_busy()) return fail(EBUSY);
    if constexpr (m2m::ChecksFormats<Instance>) {
      if (auto allowed = session.instance.may_set(*queue); !allowed) return allowed;
    }
    auto& formats = session.instance.formats();
    // The other queue's buffers were made for its current format.
    const bool other_is_busy = session.queues.other(*queue).is_busy();
    if (other_is_busy && !formats.keeps_other(format)) return fail(EBUSY);
    if (auto set = formats.set(format, other_is_busy); !set) return set;
    if constexpr (m2m::FollowsFormats<Instance>) session.instance.was_set(*queue);
    return {};
  }
  ///@}

  // -- Drains

  /// Drains, as the kernel documents them, for the engine's kind of device.
  ///@{
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::DECODER_CMD, v4l2_decoder_cmd& command)
    requires(drain_command == m2m::DrainCommand::decoder)
  {
    return run_command<v4l2::tag::DECODER_CMD, V4L2_DEC_CMD_STOP, V4L2_DEC_CMD_START>(session, command);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::TRY_DECODER_CMD, v4l2_decoder_cmd& command)
    requires(drain_command == m2m::DrainCommand::decoder)
  {
    return try_command<V4L2_DEC_CMD_STOP, V4L2_DEC_CMD_START>(command);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::ENCODER_CMD, v4l2_encoder_cmd& command)
    requires(drain_command == m2m::DrainCommand::encoder)
  {
    return run_command<v4l2::tag::ENCODER_CMD, V4L2_ENC_CMD_STOP, V4L2_ENC_CMD_START>(session, command);
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::TRY_ENCODER_CMD, v4l2_encoder_cmd& command)
    requires(drain_command == m2m::DrainCommand::encoder)
  {
    return try_command<V4L2_ENC_CMD_STOP, V4L2_ENC_CMD_START>(command);
  }
  ///@}

  // -- What only this engine has

  /// The ioctls that the instance answers itself. EBUSY: another file has a higher priority.
  template <class Tag>
    requires m2m::Answers<Instance, Tag>
  [[nodiscard]] Result<> ioctl(Session& session, Tag tag, typename Tag::Payload& payload) {
    if (auto allowed = v4l2::may_run<Tag>(session, payload); !allowed) return allowed;
    return session.instance.ioctl(tag, payload);
  }

  // -- What the inherited ioctls ask for

  /// The events that a client may subscribe to, besides those of controls.
  static constexpr auto event_types = m2m::event_types_of<drain_command, m2m::changes_source<Engine>()>();
  /// For the inherited ioctls: the file's controls.
  [[nodiscard]] v4l2::Controls& controls_of(Session& session) noexcept
    requires m2m::HasControls<Instance>
  {
    return session.instance.controls();
  }
  /// For the inherited ioctls: OUTPUT and CAPTURE, in the order of their mem_offsets.
  [[nodiscard]] std::array<Queue*, 2> queues_of(Session& session) noexcept { return session.queues.both(); }
  /// For the inherited ioctls: where MMAP buffers come from, within the file's limit.
  [[nodiscard]] memory::Arenas& arenas_of(Session& session) noexcept { return session.queues.arenas(); }
  /// For the inherited ioctls: bytes of a buffer's only plane, in the current format.
  [[nodiscard]] std::array<std::uint32_t, 1> plane_sizes(Session& session, const Queue& queue) noexcept {
    return {session.instance.formats().size_image(queue.type())};
  }
  /// For the inherited ioctls: see Queues::may_allocate.
  [[nodiscard]] Result<> may_allocate(Session& session, Queue& queue, v4l2_requestbuffers& request) noexcept {
    return session.queues.may_allocate(queue, request, plane_sizes(session, queue)[0], bytes_needed(session));
  }
  /// For the inherited ioctls: see Queues::may_allocate.
  [[nodiscard]] Result<> may_allocate(Session& session, Queue& queue, v4l2_create_buffers& request) noexcept {
    return session.queues.may_allocate(queue, request, bytes_needed(session));
  }
  /// For the inherited ioctls: what the instance says to VIDIOC_QBUF; success if it has no say.
  [[nodiscard]] Result<> may_queue([[maybe_unused]] Session& session, [[maybe_unused]] const Queue& queue,
                                   [[maybe_unused]] const v4l2::BufferPayload& payload) {
    if constexpr (m2m::ChecksBuffers<Instance>) return session.instance.may_queue(queue, payload);
    return {};
  }
  /// For the inherited ioctls: tells the instance of a buffer that was queued.
  void queued(Session& session, const Queue& queue) { session.instance.queued(queue); }
  /// For the inherited ioctls: what the instance says to VIDIOC_STREAMON; success if it has no say.
  [[nodiscard]] Result<> may_start([[maybe_unused]] Session& session, [[maybe_unused]] const Queue& queue) {
    if constexpr (m2m::ChecksStart<Instance>) {
      if (queue.count() == 0) return fail(EINVAL);
      return session.instance.may_start(queue);
    }
    return {};
  }
  /// For the inherited ioctls: tells the instance that `queue` streams.
  void started(Session& session, const Queue& queue) { session.instance.started(queue); }
  /// For the inherited ioctls: `queue` has stopped, and all its buffers are the guest's.
  void cancelled(Session& session, const Queue& queue) {
    session.instance.stopped(queue);
    session.queues.restart_sequence(queue);
  }
  /// For the inherited ioctls: tells the instance that `count` buffers from `first` on are gone, or are new.
  void removed([[maybe_unused]] Session& session, [[maybe_unused]] const Queue& queue,
               [[maybe_unused]] std::uint32_t first, [[maybe_unused]] std::uint32_t count) {
    if constexpr (m2m::FollowsRemoval<Instance>) session.instance.removed(queue, first, count);
  }

 private:
  [[nodiscard]] m2m::BufferLimits buffer_limits() const noexcept {
    if constexpr (m2m::HasInstance<Engine>) {
      return engine_.buffer_limits();
    } else {
      return Instance::buffer_limits();
    }
  }
  [[nodiscard]] static Instance make_instance(Engine& engine, Session& session) {
    if constexpr (std::constructible_from<Instance, Engine&, m2m::File&, m2m::Notify>) {
      return Instance(engine, session, [poster = session.context.template poster<Session>()] {
        poster.post([](Session& one, media::Context) { one.instance.notified(); });
      });
    } else {
      return Instance(engine, session);
    }
  }
  [[nodiscard]] static std::uint64_t bytes_needed([[maybe_unused]] const Session& session) noexcept {
    if constexpr (m2m::NeedsBytes<Instance>) return session.instance.bytes_needed();
    return 0;
  }

  template <std::uint32_t Stop, std::uint32_t Start, class Command>
  [[nodiscard]] static Result<> try_command(Command& command) noexcept {
    const std::uint32_t cmd = command.cmd;
    if (cmd != Stop && cmd != Start) return fail(EINVAL);
    // No flags; and no speed, time to stop at, or black frames.
    command = {};
    command.cmd = cmd;
    return {};
  }
  template <class Tag, std::uint32_t Stop, std::uint32_t Start, class Command>
  [[nodiscard]] Result<> run_command(Session& session, Command& command) {
    if (auto allowed = v4l2::may_run<Tag>(session, command); !allowed) return allowed;
    if (auto valid = try_command<Stop, Start>(command); !valid) return valid;
    if (command.cmd == Start) return session.instance.resume();
    // A drain needs two queues that stream; otherwise the command does nothing and does not fail.
    return session.queues.stream() ? session.instance.drain() : Result<>{};
  }

  Engine engine_;
  const M2mOptions options_;
  v4l2::Priorities priorities_;
  const std::shared_ptr<memory::Budget> mappings_ =
      std::make_shared<memory::Budget>(v4l2::max_device_mappings);
  std::uint32_t sessions_ = 0;
};

}  // namespace vumedia::backends
