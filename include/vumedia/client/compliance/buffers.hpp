// The buffers of one queue as a program has them, in any type of memory and plane layout, for rules that need
// some.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/compliance/subject.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::client::compliance {

/// The buffers of a subject's first open file. They are released with the file, or by release().
class Buffers {
 public:
  /// A plane of a buffer.
  struct Plane {
    std::uint32_t length = 0;         ///< in bytes, as VIDIOC_QUERYBUF says
    std::uint32_t offset = 0;         ///< MMAP: for the device's MMAP command
    std::span<std::byte> own_memory;  ///< USERPTR
  };
  /// A buffer.
  struct Record {
    std::uint32_t index = 0;                       ///< the device's
    std::uint32_t plane_count = 0;                 ///< 1 for a single-planar buffer
    std::array<Plane, VIDEO_MAX_PLANES> planes{};  ///< the first plane_count
  };

  /// Of the queue and memory that the rule is run for.
  explicit Buffers(Subject& subject) : Buffers(subject, subject.type(), subject.memory()) {}
  /// Of another queue, or in other memory.
  Buffers(Subject& subject, std::uint32_t type, std::uint32_t memory)
      : subject_(subject), type_(type), memory_(memory) {}

  /// VIDIOC_REQBUFS of about `count` (the device decides how many), and VIDIOC_QUERYBUF of each.
  Finding allocate(std::uint32_t count);
  /// VIDIOC_REQBUFS of 0.
  Finding release();

  /// How many the device has allocated.
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(records_.size()); }
  /// The buffer at `place` < size(), which need not be its index.
  [[nodiscard]] const Record& operator[](std::size_t place) const { return records_[place]; }
  /// V4L2_BUF_TYPE_*.
  [[nodiscard]] std::uint32_t type() const noexcept { return type_; }

  /// A buffer as VIDIOC_QUERYBUF takes it: the number of planes, and nothing else filled in.
  [[nodiscard]] v4l2::BufferPayload question(std::uint32_t index) const;
  /// A buffer as VIDIOC_QBUF takes it. OUTPUT buffers are full.
  [[nodiscard]] v4l2::BufferPayload handed(std::size_t place) const;

  /// VIDIOC_QUERYBUF.
  Finding query(std::uint32_t index, v4l2::BufferPayload& payload) const {
    payload = question(index);
    return subject_.expect<v4l2::tag::QUERYBUF>(payload);
  }
  /// VIDIOC_QBUF of the buffer at `place`.
  Finding queue(std::size_t place) const {
    auto payload = handed(place);
    return subject_.expect<v4l2::tag::QBUF>(payload);
  }
  /// VIDIOC_QBUF of all of them.
  Finding queue_all() const {
    for (std::size_t place = 0; place < records_.size(); ++place) {
      if (auto found = queue(place)) return found;
    }
    return passed();
  }
  /// VIDIOC_STREAMON.
  Finding start() const {
    v4l2::tag::BufferType type = type_;
    return subject_.expect<v4l2::tag::STREAMON>(type);
  }
  /// VIDIOC_STREAMOFF.
  Finding stop() const {
    v4l2::tag::BufferType type = type_;
    return subject_.expect<v4l2::tag::STREAMOFF>(type);
  }

  /// The bytesused that a buffer states for plane `plane`, and the plane's length.
  [[nodiscard]] static std::uint32_t used(const v4l2::Buffer& buffer, std::uint32_t plane) noexcept {
    return v4l2::is_multiplanar(buffer.head.type) ? buffer.planes[plane].bytesused : buffer.head.bytesused;
  }
  /// What a buffer states for plane `plane`, in either plane API.
  ///@{
  [[nodiscard]] static std::uint32_t length(const v4l2::Buffer& buffer, std::uint32_t plane) noexcept {
    return v4l2::is_multiplanar(buffer.head.type) ? buffer.planes[plane].length : buffer.head.length;
  }
  [[nodiscard]] static std::uint32_t offset(const v4l2::Buffer& buffer, std::uint32_t plane) noexcept {
    return v4l2::is_multiplanar(buffer.head.type) ? buffer.planes[plane].m.mem_offset : buffer.head.m.offset;
  }
  [[nodiscard]] static unsigned long pointer(const v4l2::Buffer& buffer, std::uint32_t plane) noexcept {
    return v4l2::is_multiplanar(buffer.head.type) ? buffer.planes[plane].m.userptr : buffer.head.m.userptr;
  }
  ///@}

 private:
  Finding add(std::uint32_t index);

  Subject& subject_;
  std::uint32_t type_;
  std::uint32_t memory_;
  std::vector<Record> records_;
};

inline Finding Buffers::allocate(std::uint32_t count) {
  records_.clear();
  v4l2_requestbuffers request{};
  request.type = type_;
  request.memory = memory_;
  request.count = count;
  if (auto found = subject_.expect<v4l2::tag::REQBUFS>(request)) return found;
  if (request.count == 0 || request.count > max_listed)
    return failed("VIDIOC_REQBUFS of %u buffers gave %u", count, request.count);
  for (std::uint32_t index = 0; index < request.count; ++index) {
    if (auto found = add(index)) return found;
  }
  return passed();
}

inline Finding Buffers::release() {
  records_.clear();
  v4l2_requestbuffers request{};
  request.type = type_;
  request.memory = memory_;
  return subject_.expect<v4l2::tag::REQBUFS>(request, 0, "of no buffers");
}

inline Finding Buffers::add(std::uint32_t index) {
  v4l2::BufferPayload payload{};
  if (auto found = query(index, payload)) return found;
  Record record;
  record.index = index;
  record.plane_count = v4l2::is_multiplanar(type_) ? payload.buffer.head.length : 1;
  if (record.plane_count == 0 || record.plane_count > VIDEO_MAX_PLANES)
    return failed("VIDIOC_QUERYBUF: buffer %u has %u planes", index, record.plane_count);
  for (std::uint32_t p = 0; p < record.plane_count; ++p) {
    Plane& plane = record.planes[p];
    plane.length = length(payload.buffer, p);
    if (memory_ == V4L2_MEMORY_MMAP) {
      plane.offset = offset(payload.buffer, p);
    } else {
      if (plane.length == 0) return failed("VIDIOC_QUERYBUF: plane %u of buffer %u has no length", p, index);
      plane.own_memory = subject_.take_user_memory(plane.length);
      if (plane.own_memory.empty()) return not_applicable("its buffers are too large for the guest's memory");
    }
  }
  records_.push_back(record);
  return passed();
}

inline v4l2::BufferPayload Buffers::question(std::uint32_t index) const {
  v4l2::BufferPayload payload{};
  v4l2_buffer& head = payload.buffer.head;
  head.index = index;
  head.type = type_;
  head.memory = memory_;
  if (v4l2::is_multiplanar(type_)) {
    head.length = index < records_.size() ? records_[index].plane_count : std::uint32_t{VIDEO_MAX_PLANES};
  }
  return payload;
}

inline v4l2::BufferPayload Buffers::handed(std::size_t place) const {
  const Record& record = records_[place];
  auto payload = question(record.index);
  v4l2_buffer& head = payload.buffer.head;
  if (v4l2::is_multiplanar(type_)) head.length = record.plane_count;
  const bool output = v4l2::is_output(type_);
  if (output) head.field = V4L2_FIELD_NONE;
  for (std::uint32_t p = 0; p < record.plane_count; ++p) {
    const Plane& plane = record.planes[p];
    const auto pointer = reinterpret_cast<unsigned long>(plane.own_memory.data());
    if (v4l2::is_multiplanar(type_)) {
      payload.buffer.planes[p].length = plane.length;
      payload.buffer.planes[p].bytesused = output ? plane.length : 0;
      if (memory_ == V4L2_MEMORY_USERPTR) payload.buffer.planes[p].m.userptr = pointer;
    } else {
      head.length = plane.length;
      head.bytesused = output ? plane.length : 0;
      if (memory_ == V4L2_MEMORY_USERPTR) head.m.userptr = pointer;
    }
  }
  return payload;
}

}  // namespace vumedia::client::compliance
