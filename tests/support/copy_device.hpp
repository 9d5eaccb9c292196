// A memory-to-memory device that copies grey pictures; each file has its own queues. For tests of programs
// that use such a device.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>

#include <linux/videodev2.h>

#include <vumedia/io/operation.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/ioctls.hpp>

namespace vumedia::test {

class CopyDevice : public v4l2::Ioctls<CopyDevice, v4l2::QueueIoctls> {
 public:
  using Ioctls::ioctl;

  static constexpr std::uint32_t width = 64, height = 48, size = width * height;

  // With coded pictures on one side it only looks like a codec.
  explicit CopyDevice(std::uint32_t output_fourcc = V4L2_PIX_FMT_GREY) : output_fourcc_(output_fourcc) {}

  struct Session {
    explicit Session(media::Context handle) : context(handle) {}
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session() { context.cancel(timer); }
    [[nodiscard]] v4l2::BufferQueue* queue(std::uint32_t type) noexcept {
      return type == output.type() ? &output : type == capture.type() ? &capture : nullptr;
    }
    void schedule() noexcept {
      if (output.streaming() && capture.streaming() && output.queued_count() != 0 &&
          capture.queued_count() != 0 && !timer.pending())
        context.timer(timer, io::Clock::now());
    }
    // One job.
    void on_due(std::int32_t) noexcept {
      if (!output.streaming() || !capture.streaming()) return;
      const auto from = output.take_next();
      if (!from) return;
      const auto to = capture.take_next();
      if (!to) return output.give_back(*from);
      const auto& source = *output.slot(*from);
      const auto bytes = source.planes[0].bytes();
      std::ranges::copy(bytes.first(size), capture.slot(*to)->planes[0].bytes().begin());
      v4l2::BufferQueue::Completion done;
      done.bytesused[0] = size;
      done.timestamp_ns = source.timestamp_ns;
      done.sequence = sequence++;
      if (const auto buffer = output.complete(*from, done)) context.send_dqbuf(*buffer);
      if (const auto buffer = capture.complete(*to, done)) context.send_dqbuf(*buffer);
      schedule();
    }

    media::Context context;
    v4l2::BufferQueue output{
        {.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .copies_timestamps = true, .userptr = true}};
    v4l2::BufferQueue capture{{.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
                               .copies_timestamps = true,
                               .mem_offset_base = v4l2::BufferQueue::mem_offset_span,
                               .userptr = true}};
    std::uint32_t sequence = 0;
    io::MemberOperation<&Session::on_due> timer{*this};
  };

  [[nodiscard]] media::Config config() const noexcept {
    return {.device_caps = V4L2_CAP_VIDEO_M2M | V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT,
            .device_type = media::DeviceType::video,
            .card = "vumedia test copier"};
  }
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    return std::make_unique<Session>(context);
  }

  // For what is inherited.
  [[nodiscard]] static std::array<v4l2::BufferQueue*, 2> queues_of(Session& session) noexcept {
    return {&session.output, &session.capture};
  }
  [[nodiscard]] static std::array<std::uint32_t, 1> plane_sizes(Session&, const v4l2::BufferQueue&) noexcept {
    return {size};
  }
  static void queued(Session& session, v4l2::BufferQueue&) noexcept { session.schedule(); }
  static void started(Session& session, v4l2::BufferQueue&) noexcept { session.schedule(); }

  [[nodiscard]] Result<> ioctl(Session& session, v4l2::tag::ENUM_FMT, v4l2_fmtdesc& description) const {
    if (session.queue(description.type) == nullptr || description.index != 0) return fail(EINVAL);
    const std::uint32_t type = description.type;
    description = {};
    description.type = type;
    description.pixelformat = fourcc(type);
    if (description.pixelformat != V4L2_PIX_FMT_GREY) description.flags = V4L2_FMT_FLAG_COMPRESSED;
    std::memcpy(description.description, "Pictures", sizeof "Pictures");
    return {};
  }
  template <class Tag>
    requires std::same_as<typename Tag::Payload, v4l2_format>
  [[nodiscard]] Result<> ioctl(Session& session, Tag, v4l2_format& format) const {
    if (session.queue(format.type) == nullptr) return fail(EINVAL);
    format.fmt.pix = {};
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = fourcc(format.type);
    format.fmt.pix.field = V4L2_FIELD_NONE;
    format.fmt.pix.bytesperline = width;
    format.fmt.pix.sizeimage = size;
    return {};
  }

 private:
  [[nodiscard]] std::uint32_t fourcc(std::uint32_t type) const noexcept {
    return type == V4L2_BUF_TYPE_VIDEO_OUTPUT ? output_fourcc_ : V4L2_PIX_FMT_GREY;
  }
  std::uint32_t output_fourcc_;
};

}  // namespace vumedia::test
