#include "queue.hpp"

#include <algorithm>

#include <vumedia/core/checked.hpp>

namespace ctl {

using vumedia::failure;
using vumedia::Outcome;
namespace tag = vumedia::v4l2::tag;

vumedia::v4l2::Buffer Queue::make_buffer(std::uint32_t index) const {
  vumedia::v4l2::Buffer buffer{};
  buffer.head.index = index;
  buffer.head.type = type_;
  buffer.head.memory = V4L2_MEMORY_MMAP;
  if (multiplanar()) {
    buffer.head.length = index < buffers_.size() ? static_cast<std::uint32_t>(buffers_[index].count)
                                                 : std::uint32_t{VIDEO_MAX_PLANES};
  }
  return buffer;
}

Outcome<> Queue::allocate(std::uint32_t count) {
  v4l2_requestbuffers request{};
  request.count = count;
  request.type = type_;
  request.memory = V4L2_MEMORY_MMAP;
  if (auto done = device_->call<tag::REQBUFS>(request); !done) return done;
  if (request.count == 0 || request.count > VIDEO_MAX_FRAME * 4) {
    return failure("VIDIOC_REQBUFS gave %u buffers", request.count);
  }
  for (std::uint32_t index = 0; index < request.count; ++index) {
    if (auto done = map(index); !done) return done;
  }
  return {};
}

Outcome<std::uint32_t> Queue::add(std::uint32_t bytes) {
  v4l2_create_buffers request{};
  request.count = 1;
  request.memory = V4L2_MEMORY_MMAP;
  request.format.type = type_;
  if (auto done = device_->call<tag::G_FMT>(request.format); !done) return std::unexpected(done.error());
  if (multiplanar()) {
    request.format.fmt.pix_mp.plane_fmt[0].sizeimage = bytes;
  } else {
    request.format.fmt.pix.sizeimage = bytes;
  }
  if (auto done = device_->call<tag::CREATE_BUFS>(request); !done) return std::unexpected(done.error());
  if (request.count != 1 || request.index != buffers_.size())
    return failure("VIDIOC_CREATE_BUFS gave %u buffers from %u on", request.count, request.index);
  if (auto done = map(request.index); !done) return std::unexpected(done.error());
  if (const std::size_t size = memory(request.index)[0].size(); size < bytes)
    return failure("VIDIOC_CREATE_BUFS gave a buffer of %zu bytes for %u", size, bytes);
  return request.index;
}

Outcome<> Queue::map(std::uint32_t index) {
  auto buffer = make_buffer(index);
  if (auto done = device_->query_buffer(buffer); !done) return done;
  Mapped mapped;
  mapped.count = multiplanar() ? std::min<std::size_t>(buffer.head.length, VIDEO_MAX_PLANES) : 1;
  if (mapped.count == 0) return failure("VIDIOC_QUERYBUF gave a buffer without planes");
  for (std::size_t plane = 0; plane < mapped.count; ++plane) {
    const std::uint32_t offset = multiplanar() ? buffer.planes[plane].m.mem_offset : buffer.head.m.offset;
    const std::uint32_t length = multiplanar() ? buffer.planes[plane].length : buffer.head.length;
    auto memory = device_->map(offset);
    if (!memory) return std::unexpected(memory.error());
    if (memory->size() < length) {
      return failure("buffer %u has %u bytes, but its mapping only %zu", index, length, memory->size());
    }
    mapped.planes[plane] = memory->first(length);
  }
  buffers_.push_back(mapped);
  return {};
}

Outcome<> Queue::start() {
  std::uint32_t type = type_;
  auto done = device_->call<tag::STREAMON>(type);
  streaming_ = done.has_value();
  return done;
}

Outcome<> Queue::stop() {
  std::uint32_t type = type_;
  streaming_ = false;
  return device_->call<tag::STREAMOFF>(type);
}

Outcome<> Queue::release() {
  for (const auto& mapped : buffers_) {
    for (const auto& memory : std::span(mapped.planes).first(mapped.count)) {
      if (auto done = device_->unmap(memory); !done) return done;
    }
  }
  buffers_.clear();
  v4l2_requestbuffers request{};
  request.type = type_;
  request.memory = V4L2_MEMORY_MMAP;
  return device_->call<tag::REQBUFS>(request);
}

Outcome<> Queue::queue(std::uint32_t index, std::uint32_t bytes, std::uint64_t microseconds) {
  auto buffer = make_buffer(index);
  if (multiplanar()) {
    for (std::size_t plane = 0; plane < buffers_[index].count; ++plane) {
      buffer.planes[plane].length = static_cast<std::uint32_t>(buffers_[index].planes[plane].size());
    }
    buffer.planes[0].bytesused = bytes;
  } else {
    buffer.head.length = static_cast<std::uint32_t>(buffers_[index].planes[0].size());
    buffer.head.bytesused = bytes;
  }
  buffer.head.timestamp.tv_sec = static_cast<time_t>(microseconds / 1'000'000);
  buffer.head.timestamp.tv_usec = static_cast<suseconds_t>(microseconds % 1'000'000);
  return device_->queue_buffer(buffer);
}

Outcome<Queue::Filled> Queue::filled(const vumedia::v4l2::Buffer& buffer) const {
  if (buffer.head.index >= buffers_.size())
    return failure("the device returned buffer %u, which does not exist", buffer.head.index);
  const Mapped& mapped = buffers_[buffer.head.index];
  Filled filled;
  filled.count = mapped.count;
  for (std::size_t plane = 0; plane < mapped.count; ++plane) {
    const std::uint32_t used = multiplanar() ? buffer.planes[plane].bytesused : buffer.head.bytesused;
    const std::uint32_t offset = multiplanar() ? buffer.planes[plane].data_offset : 0;
    const std::span<const std::byte> memory = mapped.planes[plane];
    if (used > memory.size() || offset > used) {
      return failure("the device filled %u bytes from %u on of a buffer of %zu", used, offset, memory.size());
    }
    filled.planes[plane] = memory.first(used).subspan(offset);
  }
  return filled;
}

}  // namespace ctl
