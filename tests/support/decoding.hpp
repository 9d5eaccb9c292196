// A program that decodes a clip through V4L2's stateful decoder interface, for a guest with any transport to
// its device.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/client/guest.hpp>

#include "support/media_file.hpp"
#include "support/patience.hpp"

namespace vumedia::test {

// Shared memory that is mapped here. Transports that reach it otherwise have overloads next to their own
// type.
[[nodiscard]] inline bool get_shared(std::span<const std::byte> memory, std::span<std::byte> out) {
  std::ranges::copy(memory.first(out.size()), out.begin());
  return true;
}
[[nodiscard]] inline bool put_shared(std::span<std::byte> memory, std::span<const std::byte> bytes) {
  std::ranges::copy(bytes, memory.begin());
  return true;
}

template <class Guest>
class Decoding {
 public:
  static constexpr std::uint32_t output = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
  static constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;

  Decoding(Guest& guest, const Clip& clip) : guest_(&guest), clip_(&clip) {}

  // Decodes until `enough` frames have come, or all of them, with the last one after a drain. Returns false
  // and records a failure if that does not work.
  bool run(std::size_t enough = SIZE_MAX) {
    if (session_ == 0 && !start()) return false;
    while (!last_seen_ && frames_.size() < enough) {
      if (!feed()) return false;
      const auto event = guest_->wait_event(patience);
      EXPECT_TRUE(event && *event) << "the decoder says nothing: " << guest_->error().message;
      if (!event || !*event || !take(**event)) return false;
    }
    return true;
  }

  // The MD5 of each frame's visible samples, in the order in which they came.
  [[nodiscard]] const std::vector<std::string>& frames() const noexcept { return frames_; }

 private:
  struct Buffer {
    typename Guest::Mapped map;
    bool queued = false;
  };

  template <class T>
  bool did(const Result<T>& result, const char* what) {
    EXPECT_TRUE(result) << what << ": errno " << result.error().value << " " << guest_->error().message;
    return result.has_value();
  }
  template <class Tag>
  bool call(typename Tag::Payload& payload) {
    return did(guest_->template ioctl<Tag>(session_, payload), Tag::name);
  }

  bool start() {
    const auto session = guest_->open();
    if (!did(session, "OPEN")) return false;
    session_ = *session;
    v4l2_event_subscription subscription{};
    subscription.type = V4L2_EVENT_SOURCE_CHANGE;
    if (!call<v4l2::tag::SUBSCRIBE_EVENT>(subscription)) return false;
    v4l2_format format{};
    format.type = output;
    format.fmt.pix_mp.pixelformat = fourcc_of(clip_->codec);
    format.fmt.pix_mp.num_planes = 1;
    format.fmt.pix_mp.plane_fmt[0].sizeimage = 1 << 19;
    v4l2::tag::BufferType type = output;
    return call<v4l2::tag::S_FMT>(format) && allocate(output, 4, coded_) && call<v4l2::tag::STREAMON>(type);
  }

  bool allocate(std::uint32_t type, std::uint32_t count, std::vector<Buffer>& buffers) {
    v4l2_requestbuffers request{};
    request.type = type;
    request.memory = V4L2_MEMORY_MMAP;
    request.count = count;
    if (!call<v4l2::tag::REQBUFS>(request)) return false;
    for (std::uint32_t index = 0; index < request.count; ++index) {
      v4l2::BufferPayload buffer = buffer_of(type, index);
      if (!call<v4l2::tag::QUERYBUF>(buffer)) return false;
      const auto map = guest_->mmap(session_, buffer.buffer.planes[0].m.mem_offset);
      if (!did(map, "MMAP")) return false;
      buffers.push_back({*map});
    }
    return true;
  }

  // Queues as many units as there are buffers for. The last unit is followed by a drain, once CAPTURE
  // streams.
  bool feed() {
    for (std::uint32_t index = 0; index < coded_.size() && next_unit_ < clip_->units.size(); ++index) {
      if (coded_[index].queued) continue;
      const auto bytes = std::as_bytes(std::span(clip_->units[next_unit_++].bytes));
      EXPECT_LE(bytes.size(), coded_[index].map.memory.size());
      if (!put_shared(coded_[index].map.memory, bytes)) return false;
      v4l2::BufferPayload buffer = buffer_of(output, index);
      buffer.buffer.planes[0].bytesused = static_cast<std::uint32_t>(bytes.size());
      if (!call<v4l2::tag::QBUF>(buffer)) return false;
      coded_[index].queued = true;
    }
    if (next_unit_ < clip_->units.size() || draining_ || raw_.empty()) return true;
    draining_ = true;
    v4l2_decoder_cmd stop{};
    stop.cmd = V4L2_DEC_CMD_STOP;
    return call<v4l2::tag::DECODER_CMD>(stop);
  }

  bool take(const client::Event& event) {
    // Other files of the guest may be open, whose events nobody waits for now.
    if (std::visit([](const auto& one) { return one.session; }, event) != session_) return true;
    if (const auto* const v4l2 = std::get_if<client::V4l2Event>(&event)) {
      EXPECT_EQ(v4l2->event.type, std::uint32_t{V4L2_EVENT_SOURCE_CHANGE});
      return raw_.empty() ? start_capture() : true;
    }
    const auto* const dqbuf = std::get_if<client::DqbufEvent>(&event);
    EXPECT_NE(dqbuf, nullptr) << "the decoder gave the session up";
    if (dqbuf == nullptr) return false;
    const v4l2_buffer& buffer = dqbuf->buffer.head;
    EXPECT_EQ(buffer.flags & V4L2_BUF_FLAG_ERROR, 0u);
    auto& buffers = buffer.type == output ? coded_ : raw_;
    EXPECT_LT(buffer.index, buffers.size());
    if (buffer.index >= buffers.size()) return false;
    buffers[buffer.index].queued = false;
    return buffer.type == output || take_frame(dqbuf->buffer);
  }

  // What a program does once it knows the size of the pictures.
  bool start_capture() {
    v4l2_format format{};
    format.type = capture;
    if (!call<v4l2::tag::G_FMT>(format)) return false;
    format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_YUV420;
    if (!call<v4l2::tag::S_FMT>(format)) return false;
    format_ = format.fmt.pix_mp;
    EXPECT_EQ(std::uint32_t{format_.pixelformat}, std::uint32_t{V4L2_PIX_FMT_YUV420});
    EXPECT_EQ(format_.num_planes, 1u);
    v4l2_selection selection{};
    selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;  // whatever the API: selections have no multi-planar types
    selection.target = V4L2_SEL_TGT_COMPOSE;
    v4l2_control least{};
    least.id = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
    if (!call<v4l2::tag::G_SELECTION>(selection) || !call<v4l2::tag::G_CTRL>(least)) return false;
    visible_ = selection.r;
    if (!allocate(capture, static_cast<std::uint32_t>(least.value) + 2, raw_)) return false;
    for (std::uint32_t index = 0; index < raw_.size(); ++index) {
      if (!queue_raw(index)) return false;
    }
    v4l2::tag::BufferType type = capture;
    return call<v4l2::tag::STREAMON>(type);
  }
  bool queue_raw(std::uint32_t index) {
    v4l2::BufferPayload buffer = buffer_of(capture, index);
    raw_[index].queued = true;
    return call<v4l2::tag::QBUF>(buffer);
  }

  bool take_frame(const v4l2::Buffer& buffer) {
    if (buffer.planes[0].bytesused != 0) {
      std::vector<std::byte> picture(format_.plane_fmt[0].sizeimage);
      if (!get_shared(raw_[buffer.head.index].map.memory, picture)) return false;
      frames_.push_back(md5_of_visible(picture));
    }
    last_seen_ = (buffer.head.flags & V4L2_BUF_FLAG_LAST) != 0;
    return last_seen_ || queue_raw(buffer.head.index);
  }

  // For a YU12 picture.
  std::string md5_of_visible(std::span<const std::byte> picture) const {
    Md5 md5;
    std::size_t plane = 0;
    for (int p = 0; p < 3; ++p) {
      const std::size_t shift = p == 0 ? 0 : 1;
      const std::size_t stride = format_.plane_fmt[0].bytesperline >> shift;
      const std::size_t width = (visible_.width + shift) >> shift,
                        height = (visible_.height + shift) >> shift;
      for (std::size_t y = 0; y < height; ++y) {
        const std::size_t at = plane + ((static_cast<std::size_t>(visible_.top) >> shift) + y) * stride +
                               (static_cast<std::size_t>(visible_.left) >> shift);
        EXPECT_LE(at + width, picture.size());
        if (at + width > picture.size()) return {};
        md5.update(picture.data() + at, width);
      }
      plane += stride * (format_.height >> shift);
    }
    return md5.hex();
  }

  static v4l2::BufferPayload buffer_of(std::uint32_t type, std::uint32_t index) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.type = type;
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    payload.buffer.head.index = index;
    payload.buffer.head.length = 1;  // planes
    return payload;
  }

  Guest* guest_;
  const Clip* clip_;
  std::uint32_t session_ = 0;
  std::vector<Buffer> coded_, raw_;
  std::size_t next_unit_ = 0;
  v4l2_pix_format_mplane format_{};
  v4l2_rect visible_{};
  std::vector<std::string> frames_;
  bool draining_ = false;
  bool last_seen_ = false;
};

}  // namespace vumedia::test
