// A guest that captures, for tests of what surrounds it.
#pragma once

#include <cstdint>
#include <variant>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/client/guest.hpp>

#include "support/patience.hpp"

namespace vumedia::test {

// Streams into `count` buffers of `session`, mapped, and waits for the first frame. Single-planar.
inline void start_capture(client::Guest& guest, std::uint32_t session, std::uint32_t count) {
  namespace tag = v4l2::tag;
  v4l2_requestbuffers request{};
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  request.memory = V4L2_MEMORY_MMAP;
  request.count = count;
  ASSERT_TRUE(guest.ioctl<tag::REQBUFS>(session, request));
  for (std::uint32_t index = 0; index < request.count; ++index) {
    v4l2::BufferPayload buffer{};
    buffer.buffer.head.type = request.type;
    buffer.buffer.head.memory = request.memory;
    buffer.buffer.head.index = index;
    ASSERT_TRUE(guest.ioctl<tag::QUERYBUF>(session, buffer));
    ASSERT_TRUE(guest.mmap(session, buffer.buffer.head.m.offset));
    ASSERT_TRUE(guest.ioctl<tag::QBUF>(session, buffer));
  }
  tag::BufferType type = request.type;
  ASSERT_TRUE(guest.ioctl<tag::STREAMON>(session, type));
  const auto event = guest.wait_event(patience);
  ASSERT_TRUE(event && *event && std::holds_alternative<client::DqbufEvent>(**event)) << "no frame came";
}

}  // namespace vumedia::test
