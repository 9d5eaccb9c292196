// A display without a screen: an OUTPUT device with two outputs and selections that can be set, which takes
// every frame as soon as it is queued. For tests of features that cameras and codecs do not have.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>

namespace vumedia::test {

class OutputDevice {
 public:
  static constexpr std::uint32_t type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  static constexpr std::uint32_t width = 64, height = 48, size = width * height * 3 / 2;

  struct Session {
    explicit Session(media::Context handle) : context(handle) {}
    media::Context context;
  };

  // `capability` is the one that determines the kind of device, for tests that want it to be wrong.
  explicit OutputDevice(std::uint32_t capability = V4L2_CAP_VIDEO_OUTPUT) : capability_(capability) {}
  OutputDevice(const OutputDevice&) = delete;
  OutputDevice& operator=(const OutputDevice&) = delete;

  [[nodiscard]] media::Config config() const noexcept {
    return {.device_caps = capability_ | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = "vumedia test output"};
  }
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    return std::make_unique<Session>(context);
  }
  void close(Session& session) noexcept {
    if (owner_ != &session) return;
    session.context.cancel(timer_);
    queue_.release();
    owner_ = nullptr;
  }
  [[nodiscard]] Result<media::Mappable> mmap(Session&, std::uint32_t offset) {
    return queue_.mappable(offset);
  }

  // -- One format of one size

  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUM_FMT, v4l2_fmtdesc& description) const {
    if (description.type != type || description.index != 0) return fail(EINVAL);
    description = {};
    description.type = type;
    description.pixelformat = V4L2_PIX_FMT_NV12;
    std::memcpy(description.description, "Y/UV 4:2:0", sizeof "Y/UV 4:2:0");
    return {};
  }
  template <class Tag>
    requires std::same_as<typename Tag::Payload, v4l2_format>
  [[nodiscard]] Result<> ioctl(Session& session, Tag, v4l2_format& format) {
    if (format.type != type) return fail(EINVAL);
    if (std::same_as<Tag, v4l2::tag::S_FMT> && owner_ != nullptr && owner_ != &session) return fail(EBUSY);
    format = {};
    format.type = type;
    format.fmt.pix = {.width = width,
                      .height = height,
                      .pixelformat = V4L2_PIX_FMT_NV12,
                      .field = V4L2_FIELD_NONE,
                      .bytesperline = width,
                      .sizeimage = size,
                      .colorspace = V4L2_COLORSPACE_REC709,
                      .priv = V4L2_PIX_FMT_PRIV_MAGIC,
                      .flags = 0,
                      .ycbcr_enc = {},
                      .quantization = {},
                      .xfer_func = {}};
    return {};
  }

  // -- Outputs and selections

  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::ENUMOUTPUT, v4l2_output& output) const {
    const std::uint32_t index = output.index;
    if (index >= outputs) return fail(EINVAL);
    output = {};
    output.index = index;
    output.type = V4L2_OUTPUT_TYPE_ANALOG;
    std::memcpy(output.name, index == 0 ? "Left" : "Rite", 5);
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_OUTPUT, std::uint32_t& index) const {
    index = output_;
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::S_OUTPUT, std::uint32_t& index) {
    if (index >= outputs) return fail(EINVAL);
    output_ = index;
    return {};
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::G_SELECTION, v4l2_selection& selection) const {
    if (selection.type != type) return fail(EINVAL);
    switch (selection.target) {
      case V4L2_SEL_TGT_CROP:
        selection.r = crop_;
        return {};
      case V4L2_SEL_TGT_CROP_DEFAULT:
      case V4L2_SEL_TGT_CROP_BOUNDS:
        selection.r = {0, 0, width, height};
        return {};
      default:
        return fail(EINVAL);
    }
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::S_SELECTION, v4l2_selection& selection) {
    if (selection.type != type || selection.target != V4L2_SEL_TGT_CROP) return fail(EINVAL);
    crop_ = {0, 0, std::clamp(selection.r.width & ~1u, 2u, width),
             std::clamp(selection.r.height & ~1u, 2u, height)};
    selection.r = crop_;
    return {};
  }

  // -- Buffers, which belong to the file that has allocated them

  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::REQBUFS, v4l2_requestbuffers& request) {
    return owned(session,
                 [&] { return queue_.reqbufs(request, std::array{size}, session.context.arenas()); });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::CREATE_BUFS, v4l2_create_buffers& request) {
    return owned(session,
                 [&] { return queue_.create_bufs(request, std::array{size}, session.context.arenas()); });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::REMOVE_BUFS, v4l2::RemoveBuffers& request) {
    return owned(session, [&] { return queue_.remove_bufs(request); });
  }
  [[nodiscard]] Result<> ioctl(Session&, v4l2::tag::QUERYBUF, v4l2::BufferPayload& payload) const {
    return queue_.querybuf(payload);
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::PREPARE_BUF, v4l2::BufferPayload& payload) {
    return owned(session, [&] { return queue_.prepare_buf(payload, memory_of(session)); });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::QBUF, v4l2::BufferPayload& payload) {
    return owned(session, [&] {
      auto done = queue_.qbuf(payload, memory_of(session));
      schedule();
      return done;
    });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::STREAMON, std::uint32_t& which) {
    return owned(session, [&] {
      if (!queue_.streaming()) sequence_ = 0;
      auto done = queue_.stream_on(which);
      schedule();
      return done;
    });
  }
  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::STREAMOFF, std::uint32_t& which) {
    return owned(session, [&] { return queue_.stream_off(which); });
  }

 private:
  static constexpr std::uint32_t outputs = 2;

  template <class F>
  [[nodiscard]] Result<> owned(Session& session, F act) {
    if (owner_ != nullptr && owner_ != &session) return fail(EBUSY);
    Session* const before = owner_;
    owner_ = &session;
    auto done = act();
    if (!queue_.is_busy()) owner_ = nullptr;
    if (before != nullptr && owner_ == nullptr) session.context.cancel(timer_);
    return done;
  }
  [[nodiscard]] static v4l2::UserMemory memory_of(Session& session) {
    return {session.context.memory(), session.context.arenas()};
  }
  void schedule() noexcept {
    if (owner_ != nullptr && queue_.streaming() && queue_.queued_count() != 0 && !timer_.pending())
      owner_->context.timer(timer_, io::Clock::now());
  }
  void on_due(std::int32_t) noexcept {
    if (owner_ == nullptr || !queue_.streaming()) return;
    const auto index = queue_.take_next();
    if (!index) return;
    v4l2::BufferQueue::Completion done;
    done.timestamp_ns = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(io::Clock::now().time_since_epoch()).count());
    done.sequence = sequence_++;
    if (const auto buffer = queue_.complete(*index, done)) owner_->context.send_dqbuf(*buffer);
    schedule();
  }

  std::uint32_t capability_;
  std::uint32_t output_ = 0;
  v4l2_rect crop_{0, 0, width, height};
  v4l2::BufferQueue queue_{{.type = type, .userptr = true}};
  Session* owner_ = nullptr;
  std::uint32_t sequence_ = 0;
  io::MemberOperation<&OutputDevice::on_due> timer_{*this};
};

}  // namespace vumedia::test
