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
#include <vumedia/v4l2/ioctls.hpp>

namespace vumedia::test {

class OutputDevice : public v4l2::Ioctls<OutputDevice, v4l2::QueueIoctls> {
 public:
  using Ioctls::ioctl;

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
    if (owner_.session() != &session) return;
    session.context.cancel(timer_);
    queue_.release();
    owner_.reset();
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
    if (std::same_as<Tag, v4l2::tag::S_FMT> && !owner_.admits(session)) return fail(EBUSY);
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

  [[nodiscard]] v4l2::BufferQueue& queues_of(Session&) noexcept { return queue_; }
  [[nodiscard]] v4l2::QueueOwner<Session>& queue_owner() noexcept { return owner_; }
  [[nodiscard]] static std::array<std::uint32_t, 1> plane_sizes(Session&, const v4l2::BufferQueue&) noexcept {
    return {size};
  }
  void queued(Session&, v4l2::BufferQueue&) noexcept { schedule(); }
  void started(Session&, v4l2::BufferQueue&) noexcept {
    sequence_ = 0;
    schedule();
  }
  void cancelled(Session& session, v4l2::BufferQueue&) noexcept { session.context.cancel(timer_); }

 private:
  static constexpr std::uint32_t outputs = 2;

  void schedule() noexcept {
    if (queue_.streaming() && queue_.queued_count() != 0 && !timer_.pending())
      owner_.session()->context.timer(timer_, io::Clock::now());
  }
  void on_due(std::int32_t) noexcept {
    if (!queue_.streaming()) return;
    const auto index = queue_.take_next();
    if (!index) return;
    v4l2::BufferQueue::Completion done;
    done.timestamp_ns = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(io::Clock::now().time_since_epoch()).count());
    done.sequence = sequence_++;
    if (const auto buffer = queue_.complete(*index, done)) owner_.session()->context.send_dqbuf(*buffer);
    schedule();
  }

  std::uint32_t capability_;
  std::uint32_t output_ = 0;
  v4l2_rect crop_{0, 0, width, height};
  v4l2::BufferQueue queue_{{.type = type, .userptr = true}};
  v4l2::QueueOwner<Session> owner_;
  std::uint32_t sequence_ = 0;
  io::MemberOperation<&OutputDevice::on_due> timer_{*this};
};

}  // namespace vumedia::test
