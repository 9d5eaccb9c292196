// A client of a memory-to-memory device.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/client/guest.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

#include "support/embedded_transport.hpp"
#include "support/patience.hpp"

namespace vumedia::test {

// One file of a memory-to-memory device that takes grey pictures, with buffers on both queues.
class M2mFile {
 public:
  static constexpr std::uint32_t output = V4L2_BUF_TYPE_VIDEO_OUTPUT, capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  static constexpr std::uint32_t width = 64, height = 48;

  explicit M2mFile(EmbeddedGuest& guest, std::uint32_t buffers = 2) : guest_(guest) {
    const auto opened = guest.open();
    EXPECT_TRUE(opened);
    session_ = opened.value_or(0);
    EXPECT_EQ(set_format(output, width, V4L2_PIX_FMT_GREY), 0);
    for (const std::uint32_t type : {output, capture}) {
      EXPECT_EQ(request(type, buffers), 0);
      for (std::uint32_t i = 0; i < buffers; ++i) {
        v4l2::BufferPayload buffer = payload_of(type, i);
        EXPECT_EQ(call<v4l2::tag::QUERYBUF>(buffer), 0);
        const auto map = guest_.mmap(session_, buffer.buffer.head.m.offset);
        EXPECT_TRUE(map);
        if (map) memory(type).push_back(map->memory);
      }
    }
  }

  template <class Tag>
  int call(typename Tag::Payload& payload) {
    const auto done = guest_.ioctl<Tag>(session_, payload);
    return done ? 0 : done.error().value;
  }
  int set_format(std::uint32_t type, std::uint32_t wanted_width, std::uint32_t fourcc) {
    format = {};
    format.type = type;
    format.fmt.pix.width = wanted_width;
    format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = fourcc;
    return call<v4l2::tag::S_FMT>(format);
  }
  int request(std::uint32_t type, std::uint32_t count) {
    v4l2_requestbuffers request{};
    request.type = type;
    request.memory = V4L2_MEMORY_MMAP;
    request.count = count;
    const int status = call<v4l2::tag::REQBUFS>(request);
    granted = request.count;
    return status;
  }
  // An OUTPUT buffer gets a picture with `sample` everywhere, and `seconds` as time stamp.
  int queue(std::uint32_t type, std::uint32_t index, int sample = 0, long seconds = 0) {
    v4l2::BufferPayload buffer = payload_of(type, index);
    if (type == output) {
      std::ranges::fill(memory(type)[index], static_cast<std::byte>(sample));
      buffer.buffer.head.bytesused = width * height;
      buffer.buffer.head.timestamp.tv_sec = seconds;
    }
    return call<v4l2::tag::QBUF>(buffer);
  }
  int stream(std::uint32_t type, bool on) {
    return on ? call<v4l2::tag::STREAMON>(type) : call<v4l2::tag::STREAMOFF>(type);
  }
  int command(std::uint32_t cmd) {
    v4l2_encoder_cmd command{};
    command.cmd = cmd;
    return call<v4l2::tag::ENCODER_CMD>(command);
  }
  int subscribe(std::uint32_t type) {
    v4l2_event_subscription subscription{};
    subscription.type = type;
    return call<v4l2::tag::SUBSCRIBE_EVENT>(subscription);
  }

  // The next event: a buffer of `type`,
  v4l2_buffer buffer(std::uint32_t type) {
    const auto event = guest_.wait_event(patience);
    if (!event || !*event) return ADD_FAILURE() << "nothing came", v4l2_buffer{};
    const auto* const dqbuf = std::get_if<client::DqbufEvent>(&**event);
    if (dqbuf == nullptr) return ADD_FAILURE() << "no buffer", v4l2_buffer{};
    EXPECT_EQ(dqbuf->buffer.head.type, type);
    return dqbuf->buffer.head;
  }
  // or a V4L2 event.
  std::uint32_t event() {
    const auto event = guest_.wait_event(patience);
    if (!event || !*event) return ADD_FAILURE() << "nothing came", 0;
    const auto* const v4l2 = std::get_if<client::V4l2Event>(&**event);
    return v4l2 == nullptr ? 0 : v4l2->event.type;
  }
  std::vector<std::span<std::byte>>& memory(std::uint32_t type) {
    return type == output ? output_ : capture_;
  }

  v4l2_format format{};
  std::uint32_t granted = 0;  // by the last REQBUFS

 private:
  static v4l2::BufferPayload payload_of(std::uint32_t type, std::uint32_t index) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.type = type;
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    payload.buffer.head.index = index;
    return payload;
  }

  EmbeddedGuest& guest_;
  std::uint32_t session_ = 0;
  std::vector<std::span<std::byte>> output_, capture_;
};

}  // namespace vumedia::test
