// Streaming with a NodeFile or a ProxyFile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "files.hpp"

namespace vumedia::vivid {

// Sets a control that has a plain value.
template <class File>
void set_control(File& file, std::uint32_t id, std::int32_t value) {
  v4l2_control control{id, value};
  EXPECT_EQ(file.template ioctl<tag::S_CTRL>(control), 0);
}

// The contents of one buffer.
struct Frame {
  v4l2::Buffer buffer{};
  std::vector<std::vector<std::byte>> planes;  // bytesused of each; one if single-planar
};

// A buffer to be queued or queried.
[[nodiscard]] inline v4l2::BufferPayload make_buffer(std::uint32_t type, std::uint32_t index,
                                                     std::uint32_t memory = V4L2_MEMORY_MMAP) {
  v4l2::BufferPayload payload{};
  payload.buffer.head.type = type;
  payload.buffer.head.index = index;
  payload.buffer.head.memory = memory;
  if (v4l2::is_multiplanar(type)) payload.buffer.head.length = VIDEO_MAX_PLANES;
  return payload;
}

// REQBUFS; the number of buffers, or -errno.
template <class File>
[[nodiscard]] int request_buffers(File& file, std::uint32_t type, std::uint32_t count,
                                  std::uint32_t memory = V4L2_MEMORY_MMAP) {
  v4l2_requestbuffers request{};
  request.count = count;
  request.type = type;
  request.memory = memory;
  const int error = file.template ioctl<tag::REQBUFS>(request);
  return error == 0 ? static_cast<int>(request.count) : -error;
}

// MMAP buffers of one queue, all mapped.
template <class File>
class Stream {
 public:
  Stream(File& file, std::uint32_t type, std::uint32_t count = 4) : file_(file), type_(type) {
    const int made = request_buffers(file, type, count);
    EXPECT_GT(made, 0) << "REQBUFS: " << std::strerror(-made);
    for (int i = 0; i < made; ++i) {
      auto payload = make_buffer(type, static_cast<std::uint32_t>(i));
      EXPECT_EQ(file.template ioctl<tag::QUERYBUF>(payload), 0);
      const v4l2::Buffer& buffer = payload.buffer;
      std::vector<std::span<std::byte>> planes;
      if (v4l2::is_multiplanar(type)) {
        for (std::uint32_t p = 0; p < buffer.head.length; ++p)
          planes.push_back(file.map(buffer.planes[p].m.mem_offset, buffer.planes[p].length));
      } else {
        planes.push_back(file.map(buffer.head.m.offset, buffer.head.length));
      }
      memory_.push_back(std::move(planes));
    }
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    stop();
    unmap();
    if (!abandoned_) {
      EXPECT_EQ(request_buffers(file_, type_, 0), 0);
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return memory_.size(); }
  // The memory of a buffer, plane by plane.
  [[nodiscard]] std::span<const std::span<std::byte>> memory(std::size_t index) const {
    return memory_.at(index);
  }

  // 0 or an errno. Buffers of output queues are queued full.
  [[nodiscard]] int queue(std::uint32_t index) {
    auto payload = make_buffer(type_, index);
    v4l2::Buffer& buffer = payload.buffer;
    const auto& planes = memory_.at(index);
    if (v4l2::is_multiplanar(type_)) {
      buffer.head.length = static_cast<std::uint32_t>(planes.size());
      for (std::size_t p = 0; p < planes.size(); ++p) {
        buffer.planes[p].length = static_cast<std::uint32_t>(planes[p].size());
        buffer.planes[p].bytesused = buffer.planes[p].length;
      }
    } else {
      buffer.head.bytesused = static_cast<std::uint32_t>(planes[0].size());
    }
    buffer.head.field = V4L2_FIELD_NONE;
    return file_.template ioctl<tag::QBUF>(payload);
  }
  void queue_all() {
    for (std::uint32_t i = 0; i < memory_.size(); ++i) EXPECT_EQ(queue(i), 0) << i;
  }

  [[nodiscard]] int start() {
    tag::BufferType type = type_;
    const int error = file_.template ioctl<tag::STREAMON>(type);
    if (error == 0) streaming_ = true;
    return error;
  }
  void stop() {
    if (!streaming_) return;
    streaming_ = false;
    tag::BufferType type = type_;
    EXPECT_EQ(file_.template ioctl<tag::STREAMOFF>(type), 0);
  }
  void unmap() {
    for (const auto& planes : memory_) {
      for (const auto plane : planes) {
        if (!plane.empty()) file_.unmap(plane);
      }
    }
    memory_.clear();
  }

  // The file is closed or its device is gone: nothing has to be stopped and freed at the end.
  void abandon() noexcept {
    abandoned_ = true;
    streaming_ = false;
    memory_.clear();
  }

  // The next buffer to come back, which then belongs to the caller.
  [[nodiscard]] Dequeued dequeue() { return file_.dequeue(type_); }
  // The next one with its contents; it is queued again unless told otherwise.
  [[nodiscard]] std::optional<Frame> next(bool queue_again = true) {
    const auto buffer = dequeue();
    EXPECT_TRUE(buffer) << "no buffer came back: " << std::strerror(buffer.error().value);
    if (!buffer) return std::nullopt;
    Frame frame{*buffer, {}};
    EXPECT_LT(buffer->head.index, memory_.size());
    if (buffer->head.index >= memory_.size()) return std::nullopt;
    const auto& planes = memory_[buffer->head.index];
    for (std::size_t p = 0; p < planes.size(); ++p) {
      const std::size_t used =
          v4l2::is_multiplanar(type_) ? buffer->planes[p].bytesused : buffer->head.bytesused;
      EXPECT_LE(used, planes[p].size());
      const auto bytes = planes[p].first(std::min(used, planes[p].size()));
      frame.planes.emplace_back(bytes.begin(), bytes.end());
    }
    if (queue_again) {
      EXPECT_EQ(queue(buffer->head.index), 0);
    }
    return frame;
  }

 private:
  File& file_;
  std::uint32_t type_;
  bool streaming_ = false;
  bool abandoned_ = false;
  std::vector<std::vector<std::span<std::byte>>> memory_;
};

// The first frame of a new stream.
template <class File>
[[nodiscard]] std::optional<Frame> capture_one(File& file, std::uint32_t type) {
  Stream<File> stream(file, type);
  stream.queue_all();
  EXPECT_EQ(stream.start(), 0);
  return stream.next();
}

}  // namespace vumedia::vivid
