// A memory-to-memory device: pictures go in on its OUTPUT queue, and come out on its CAPTURE queue as an
// Engine makes them. Each open file has queues and formats of its own, as in the kernel (v4l2-mem2mem).
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
// Everything else is here: formats of both queues, where OUTPUT's size is CAPTURE's, buffers in our memory
// and in the guest's (MMAP and USERPTR), streaming, time stamps that go with their pictures, priorities, and,
// if the engine has `drain_command`, drains that end with LAST and V4L2_EVENT_EOS. What an Engine is stands
// in m2m/engine.hpp.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/backends/m2m/engine.hpp>
#include <vumedia/backends/m2m/formats.hpp>
#include <vumedia/backends/m2m/jobs.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/ioctls.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/subscriptions.hpp>
#include <vumedia/v4l2/user_planes.hpp>

namespace vumedia::backends {

struct M2mOptions {
  // Which of V4L2's two APIs for video buffers the device has. A buffer has one plane in both.
  bool multiplanar = false;
  // Open files at a time; more get ENFILE.
  std::uint32_t max_sessions = 256;
};

template <class Engine>
class M2m : public v4l2::Ioctls<M2m<Engine>, v4l2::QueueIoctls, v4l2::EventIoctls, v4l2::PriorityIoctls> {
  static_assert(m2m::check_engine<Engine>());
  static constexpr m2m::DrainCommand drain_command = m2m::drain_command_of<Engine>();

 public:
  using v4l2::Ioctls<M2m<Engine>, v4l2::QueueIoctls, v4l2::EventIoctls, v4l2::PriorityIoctls>::ioctl;

  struct Session {
    Session(M2m& device, media::Context handle)
        : context(handle),
          priority(device.priorities_),
          formats({device.output_type(), Engine::output_formats},
                  {device.capture_type(), Engine::capture_formats}, m2m::max_pixels<Engine>()),
          jobs(handle, device.engine_, formats, subscriptions, device.output_type(), device.capture_type(),
               std::make_shared<memory::Budget>(v4l2::max_session_mappings, device.mappings_)),
          sessions(device.sessions_) {
      ++sessions;
    }
    ~Session() { --sessions; }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    media::Context context;
    v4l2::Subscriptions subscriptions;
    v4l2::Priority priority;
    m2m::Formats formats;
    m2m::Jobs<Engine> jobs;
    std::uint32_t& sessions;
  };

  explicit M2m(Engine engine = {}, const M2mOptions& options = {})
      : engine_(std::move(engine)), options_(options) {}
  M2m(const M2m&) = delete;
  M2m& operator=(const M2m&) = delete;

  [[nodiscard]] media::Config config() const noexcept {
    const std::uint32_t kind = options_.multiplanar ? V4L2_CAP_VIDEO_M2M_MPLANE : V4L2_CAP_VIDEO_M2M;
    return {.device_caps = kind | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = Engine::card};
  }
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    if (sessions_ >= options_.max_sessions) return fail(ENFILE);
    return std::make_unique<Session>(*this, context);
  }

  // -- Formats

  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::ENUM_FMT, v4l2_fmtdesc& query) {
    return session.formats.enumerate(query);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::ENUM_FRAMESIZES, v4l2_frmsizeenum& query) {
    return session.formats.enumerate(query);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::G_FMT, v4l2_format& format) {
    return session.formats.get(format);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::TRY_FMT, v4l2_format& format) {
    return session.formats.adjust(format);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::S_FMT, v4l2_format& format) {
    if (auto allowed = v4l2::may_run<v4l2::tag::S_FMT>(session, format); !allowed) return allowed;
    const bool of_output = format.type == output_type();
    if (!of_output && format.type != capture_type()) return fail(EINVAL);
    if (of_output ? session.jobs.output().is_busy() : session.jobs.capture().is_busy()) return fail(EBUSY);
    // CAPTURE's buffers were made for its current size.
    if (of_output && session.jobs.capture().is_busy() && !session.formats.keeps_capture(format))
      return fail(EBUSY);
    return session.formats.set(format);
  }

  // -- Drains

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

  // -- What the inherited ioctls ask for

  static constexpr std::array<std::uint32_t, drain_command == m2m::DrainCommand::none ? 0 : 1> event_types =
      m2m::event_types_of<drain_command>();
  [[nodiscard]] std::array<v4l2::BufferQueue*, 2> queues_of(Session& session) noexcept {
    return {&session.jobs.output(), &session.jobs.capture()};
  }
  [[nodiscard]] std::array<std::uint32_t, 1> plane_sizes(Session& session,
                                                         const v4l2::BufferQueue& queue) noexcept {
    const auto& formats = session.formats;
    return {&queue == &session.jobs.output() ? formats.output().size_image()
                                             : formats.capture().size_image()};
  }
  void queued(Session& session, v4l2::BufferQueue&) noexcept { session.jobs.queued(); }
  void started(Session& session, v4l2::BufferQueue& queue) noexcept { session.jobs.started(queue); }
  void cancelled(Session& session, v4l2::BufferQueue& queue) noexcept { session.jobs.stopped(queue); }

 private:
  [[nodiscard]] std::uint32_t output_type() const noexcept {
    return options_.multiplanar ? V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE : V4L2_BUF_TYPE_VIDEO_OUTPUT;
  }
  [[nodiscard]] std::uint32_t capture_type() const noexcept {
    return options_.multiplanar ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
  }

  template <std::uint32_t Stop, std::uint32_t Start, class Command>
  [[nodiscard]] static Result<> try_command(Command& command) noexcept {
    const std::uint32_t cmd = command.cmd;
    if (cmd != Stop && cmd != Start) return fail(EINVAL);
    command = {};  // there are no flags
    command.cmd = cmd;
    return {};
  }
  template <class Tag, std::uint32_t Stop, std::uint32_t Start, class Command>
  [[nodiscard]] Result<> run_command(Session& session, Command& command) noexcept {
    if (auto allowed = v4l2::may_run<Tag>(session, command); !allowed) return allowed;
    if (auto valid = try_command<Stop, Start>(command); !valid) return valid;
    return command.cmd == Stop ? session.jobs.drain() : session.jobs.resume();
  }

  const Engine engine_;
  const M2mOptions options_;
  v4l2::Priorities priorities_;
  const std::shared_ptr<memory::Budget> mappings_ =
      std::make_shared<memory::Budget>(v4l2::max_device_mappings);
  std::uint32_t sessions_ = 0;
};

}  // namespace vumedia::backends
