// Rules on single buffers: VIDIOC_QUERYBUF, VIDIOC_QBUF, VIDIOC_PREPARE_BUF, and VIDIOC_STREAMON and
// VIDIOC_STREAMOFF as far as no frames are needed.
#pragma once

#include <cstdint>
#include <set>

#include <vumedia/client/compliance/buffers.hpp>
#include <vumedia/client/compliance/enumeration.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

inline constexpr std::uint32_t state_flags =
    V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_PREPARED | V4L2_BUF_FLAG_IN_REQUEST;

inline Finding has_state(const v4l2::Buffer& buffer, std::uint32_t wanted, const char* when) {
  const std::uint32_t got = buffer.head.flags & (state_flags | V4L2_BUF_FLAG_ERROR);
  if (got == wanted) return passed();
  return failed("%s: flags 0x%x, with 0x%x instead of 0x%x", when, buffer.head.flags, got, wanted);
}

// ---- VIDIOC_QUERYBUF

inline Finding query_fields(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(3)) return found;
  v4l2_format format{};
  format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  for (std::uint32_t index = 0; index < buffers.size(); ++index) {
    auto payload = buffers.question(index);
    // This is for the answer only.
    payload.buffer.head.bytesused = 0x55555555;
    payload.buffer.head.reserved2 = 0x55555555;
    if (auto found = s.expect<v4l2::tag::QUERYBUF>(payload)) return found;
    const v4l2_buffer& head = payload.buffer.head;
    if (head.index != index || head.type != s.type() || head.memory != s.memory())
      return failed("index %u came back as %u, type %u as %u, memory %u as %u", index, head.index, s.type(),
                    head.type, s.memory(), head.memory);
    if (auto found = has_state(payload.buffer, 0, "of a new buffer")) return found;
    if (head.bytesused == 0x55555555 || head.reserved2 != 0) return failed("not all fields are filled in");
    if (head.sequence != 0) return failed("a new buffer has sequence number %u", head.sequence);
  }
  return passed();
}

inline Finding query_length(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  if (!is_video(s.type())) return not_applicable("it is not a video queue");
  v4l2_format format{};
  format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  const Pixels pixels = pixels_of(format);
  for (std::uint32_t place = 0; place < buffers.size(); ++place) {
    if (buffers[place].plane_count != pixels.plane_count)
      return failed("a buffer has %u planes, but its format has %u", buffers[place].plane_count,
                    pixels.plane_count);
    for (std::uint32_t p = 0; p < pixels.used_planes().size(); ++p) {
      if (buffers[place].planes[p].length < pixels.planes[p].size)
        return failed("plane %u has %u bytes, but sizeimage is %u", p, buffers[place].planes[p].length,
                      pixels.planes[p].size);
    }
  }
  return passed();
}

inline Finding query_clock(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  v4l2::BufferPayload payload{};
  if (auto found = buffers.query(0, payload)) return found;
  const std::uint32_t clock = payload.buffer.head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK;
  if (clock != V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC && clock != V4L2_BUF_FLAG_TIMESTAMP_COPY)
    return failed("flags 0x%x do not say where time stamps come from", payload.buffer.head.flags);
  return passed();
}

inline Finding query_unknown(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  for (const std::uint32_t index : {buffers.size(), 0xffffffffu}) {
    auto payload = buffers.question(index);
    if (auto found = s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "of a buffer after the last"))
      return found;
  }
  for (const std::uint32_t type : foreign_types(s.facts())) {
    auto payload = buffers.question(0);
    payload.buffer.head.type = type;
    payload.buffer.head.length = v4l2::is_multiplanar(type) ? 1 : 0;
    const int got = s.call<v4l2::tag::QUERYBUF>(payload);
    if (got != EINVAL)
      return failed("VIDIOC_QUERYBUF of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

inline Finding query_offsets(Subject& s) {
  if (s.memory() != V4L2_MEMORY_MMAP) return not_applicable("only MMAP buffers have offsets");
  Buffers buffers(s);
  if (auto found = buffers.allocate(4)) return found;
  std::set<std::uint32_t> seen;
  for (std::uint32_t place = 0; place < buffers.size(); ++place) {
    for (std::uint32_t p = 0; p < buffers[place].plane_count; ++p) {
      const std::uint32_t offset = buffers[place].planes[p].offset;
      if (!is_aligned(std::uint64_t{offset}, page_size))
        return failed("offset 0x%x is not at a page boundary", offset);
      if (!seen.insert(offset).second) return failed("two planes have offset 0x%x", offset);
    }
  }
  return passed();
}

inline Finding query_few_planes(Subject& s) {
  if (!s.queue().multiplanar()) return not_applicable("it has no planes");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.question(0);
  payload.buffer.head.length = 0;
  if (auto found = s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "without planes")) return found;
  payload = buffers.handed(0);
  payload.buffer.head.length = buffers[0].plane_count - 1;
  return s.expect<v4l2::tag::QBUF>(payload, EINVAL, "with one plane too few");
}

// ---- VIDIOC_QBUF

inline Finding queue_says_so(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(1);
  if (auto found = s.expect<v4l2::tag::QBUF>(payload)) return found;
  if (payload.buffer.head.index != 1) return failed("index 1 came back as %u", payload.buffer.head.index);
  if (auto found = has_state(payload.buffer, V4L2_BUF_FLAG_QUEUED, "VIDIOC_QBUF")) return found;
  if (auto found = buffers.query(1, payload)) return found;
  if (auto found = has_state(payload.buffer, V4L2_BUF_FLAG_QUEUED, "VIDIOC_QUERYBUF of a queued buffer"))
    return found;
  if (auto found = buffers.query(0, payload)) return found;
  return has_state(payload.buffer, 0, "VIDIOC_QUERYBUF of another buffer");
}

inline Finding queue_unknown(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  for (const std::uint32_t index : {buffers.size(), 0xffffffffu}) {
    auto payload = buffers.handed(0);
    payload.buffer.head.index = index;
    if (auto found = s.expect<v4l2::tag::QBUF>(payload, EINVAL, "of a buffer after the last")) return found;
  }
  for (const std::uint32_t type : foreign_types(s.facts())) {
    auto payload = buffers.handed(0);
    // Only our own USERPTR buffers are followed by a list of memory.
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    payload.buffer.head.type = type;
    payload.buffer.head.length = v4l2::is_multiplanar(type) ? 1 : 0;
    const int got = s.call<v4l2::tag::QBUF>(payload);
    if (got != EINVAL) return failed("VIDIOC_QBUF of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

inline Finding queue_wrong_memory(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  if (s.memory() == V4L2_MEMORY_MMAP) {
    const auto memory = s.take_user_memory(buffers[0].planes[0].length);
    if (memory.empty()) return not_applicable("there is no guest memory");
    payload.buffer.head.memory = V4L2_MEMORY_USERPTR;
    const auto pointer = reinterpret_cast<unsigned long>(memory.data());
    if (s.queue().multiplanar()) {
      for (std::uint32_t p = 0; p < buffers[0].plane_count; ++p) {
        payload.buffer.planes[p].m.userptr = pointer;
        if (payload.buffer.planes[p].length > memory.size())
          payload.buffer.planes[p].length = static_cast<std::uint32_t>(memory.size());
      }
    } else {
      payload.buffer.head.m.userptr = pointer;
    }
  } else {
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
  }
  return s.expect<v4l2::tag::QBUF>(payload, EINVAL, "of another type of memory");
}

inline Finding queue_twice(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = buffers.queue(0)) return found;
  auto payload = buffers.handed(0);
  return s.expect<v4l2::tag::QBUF>(payload, EINVAL, "of a buffer that is queued");
}

inline Finding queue_for_request(Subject& s) {
  if ((s.queue().capabilities & V4L2_BUF_CAP_SUPPORTS_REQUESTS) != 0)
    return not_applicable("it supports requests");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  payload.buffer.head.flags |= V4L2_BUF_FLAG_REQUEST_FD;
  payload.buffer.head.request_fd = 0;
  return s.expect<v4l2::tag::QBUF>(payload, EBADR, "for a request");
}

inline Finding queue_too_much(Subject& s) {
  if (!s.queue().output()) return not_applicable("it is not an OUTPUT queue");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  const std::uint32_t length = buffers[0].planes[0].length;
  if (s.queue().multiplanar()) {
    payload.buffer.planes[0].bytesused = length + 1;
  } else {
    payload.buffer.head.bytesused = length + 1;
  }
  return s.expect<v4l2::tag::QBUF>(payload, EINVAL, "with more bytes used than it has");
}

inline Finding queue_alternate(Subject& s) {
  if (!s.queue().output() || !is_video(s.type()))
    return not_applicable("it is not an OUTPUT queue for video");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  payload.buffer.head.field = V4L2_FIELD_ALTERNATE;
  return s.expect<v4l2::tag::QBUF>(payload, EINVAL, "with alternating fields");
}

inline Finding queue_short_memory(Subject& s) {
  if (s.memory() != V4L2_MEMORY_USERPTR)
    return not_applicable("only for USERPTR buffers does the guest choose the length");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  v4l2_format format{};
  format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  const std::uint32_t needed =
      is_video(s.type()) ? pixels_of(format).planes[0].size : buffers[0].planes[0].length;
  if (needed < 2) return not_applicable("its buffers have no size");
  if (s.queue().multiplanar()) {
    payload.buffer.planes[0].length = needed - 1;
    payload.buffer.planes[0].bytesused = 0;
  } else {
    payload.buffer.head.length = needed - 1;
    payload.buffer.head.bytesused = 0;
  }
  return s.expect<v4l2::tag::QBUF>(payload, EINVAL, "with memory that is too short");
}

inline Finding queue_pointer(Subject& s) {
  if (s.memory() != V4L2_MEMORY_USERPTR) return not_applicable("only USERPTR buffers have pointers");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  const v4l2::Buffer sent = payload.buffer;
  if (auto found = s.expect<v4l2::tag::QBUF>(payload)) return found;
  for (std::uint32_t p = 0; p < buffers[0].plane_count; ++p) {
    if (Buffers::pointer(payload.buffer, p) != Buffers::pointer(sent, p))
      return failed("pointer 0x%lx of plane %u came back as 0x%lx", Buffers::pointer(sent, p), p,
                    Buffers::pointer(payload.buffer, p));
  }
  if (auto found = buffers.query(0, payload)) return found;
  for (std::uint32_t p = 0; p < buffers[0].plane_count; ++p) {
    if (Buffers::pointer(payload.buffer, p) != Buffers::pointer(sent, p))
      return failed("pointer 0x%lx of plane %u is 0x%lx in VIDIOC_QUERYBUF", Buffers::pointer(sent, p), p,
                    Buffers::pointer(payload.buffer, p));
  }
  return passed();
}

inline Finding queue_other_file(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  auto payload = buffers.handed(0);
  if (auto found = s.expect_as<v4l2::tag::QBUF>(other, payload, EBUSY, "of another file's buffer"))
    return found;
  return buffers.queue(0);
}

// ---- VIDIOC_PREPARE_BUF

inline Finding prepare_prepares(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  if (auto found = s.want<v4l2::tag::PREPARE_BUF>(payload)) return found;
  if (auto found = has_state(payload.buffer, V4L2_BUF_FLAG_PREPARED, "VIDIOC_PREPARE_BUF")) return found;
  if (auto found = buffers.query(0, payload)) return found;
  if (auto found = has_state(payload.buffer, V4L2_BUF_FLAG_PREPARED, "VIDIOC_QUERYBUF of a prepared buffer"))
    return found;
  payload = buffers.handed(0);
  if (auto found = s.expect<v4l2::tag::QBUF>(payload, 0, "of a prepared buffer")) return found;
  return has_state(payload.buffer, V4L2_BUF_FLAG_QUEUED, "VIDIOC_QBUF of a prepared buffer");
}

inline Finding prepare_refused(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  if (auto found = s.want<v4l2::tag::PREPARE_BUF>(payload)) return found;
  payload = buffers.handed(0);
  if (auto found = s.expect<v4l2::tag::PREPARE_BUF>(payload, EINVAL, "of a prepared buffer")) return found;
  if (auto found = buffers.queue(1)) return found;
  payload = buffers.handed(1);
  if (auto found = s.expect<v4l2::tag::PREPARE_BUF>(payload, EINVAL, "of a queued buffer")) return found;
  payload = buffers.handed(0);
  payload.buffer.head.index = buffers.size();
  return s.expect<v4l2::tag::PREPARE_BUF>(payload, EINVAL, "of a buffer after the last");
}

// ---- VIDIOC_STREAMON, VIDIOC_STREAMOFF

inline Finding start_without_buffers(Subject& s) {
  v4l2::tag::BufferType type = s.type();
  return s.expect<v4l2::tag::STREAMON>(type, EINVAL, "without buffers");
}

inline Finding start_unknown_type(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(3)) return found;
  for (v4l2::tag::BufferType type : foreign_types(s.facts())) {
    const int on = s.call<v4l2::tag::STREAMON>(type);
    if (on != EINVAL)
      return failed("VIDIOC_STREAMON of type %u: %s, not EINVAL", type, errno_name(on).c_str());
    const int off = s.call<v4l2::tag::STREAMOFF>(type);
    if (off != EINVAL)
      return failed("VIDIOC_STREAMOFF of type %u: %s, not EINVAL", type, errno_name(off).c_str());
  }
  return passed();
}

inline Finding start_twice(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(3)) return found;
  if (auto found = buffers.start()) return found;
  v4l2::tag::BufferType type = s.type();
  return s.expect<v4l2::tag::STREAMON>(type, 0, "of a queue that streams");
}

inline Finding stop_idle(Subject& s) {
  if (auto found = Buffers(s).stop()) return found;
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  return buffers.stop();
}

inline Finding stop_returns(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(3)) return found;
  if (auto found = buffers.queue_all()) return found;
  if (auto found = buffers.stop()) return found;
  for (std::uint32_t index = 0; index < buffers.size(); ++index) {
    v4l2::BufferPayload payload{};
    if (auto found = buffers.query(index, payload)) return found;
    if (auto found = has_state(payload.buffer, 0, "VIDIOC_QUERYBUF after VIDIOC_STREAMOFF")) return found;
  }
  return buffers.queue_all();
}

inline Finding start_other_file(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(3)) return found;
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  v4l2::tag::BufferType type = s.type();
  if (auto found = s.expect_as<v4l2::tag::STREAMON>(other, type, EBUSY, "of another file's queue"))
    return found;
  if (auto found = buffers.start()) return found;
  type = s.type();
  return s.expect_as<v4l2::tag::STREAMOFF>(other, type, EBUSY, "of another file's stream");
}

inline constexpr Rule queueing_rules[] = {
    {"querybuf/fields", "a new buffer is not queued, and all its fields are filled in",
     "V4L2 API, ioctl VIDIOC_QUERYBUF; struct v4l2_buffer", Scope::buffers, query_fields},
    {"querybuf/length", "each plane has room for what the format demands",
     "V4L2 API, struct v4l2_buffer, length", Scope::buffers, query_length},
    {"querybuf/clock", "flags state where time stamps come from", "V4L2 API, Buffers, Timestamp flags",
     Scope::buffers, query_clock},
    {"querybuf/unknown", "buffers that do not exist are EINVAL",
     "V4L2 API, ioctl VIDIOC_QUERYBUF, Return Value", Scope::buffers, query_unknown},
    {"querybuf/offsets", "each plane of each buffer has an offset of its own, at a page boundary",
     "V4L2 API, struct v4l2_buffer, m.offset; Streaming I/O (Memory Mapping)", Scope::buffers, query_offsets},
    {"querybuf/few-planes", "passing fewer planes than a buffer has is EINVAL",
     "V4L2 API, struct v4l2_buffer, length, of the multi-planar API", Scope::buffers, query_few_planes},
    {"qbuf/queues", "a queued buffer is flagged as queued, and others are not", "V4L2 API, ioctl VIDIOC_QBUF",
     Scope::buffers, queue_says_so},
    {"qbuf/unknown", "buffers that do not exist are EINVAL", "V4L2 API, ioctl VIDIOC_QBUF, Return Value",
     Scope::buffers, queue_unknown},
    {"qbuf/wrong-memory", "a type of memory that the buffers do not have is EINVAL",
     "V4L2 API, ioctl VIDIOC_QBUF, Return Value", Scope::buffers, queue_wrong_memory},
    {"qbuf/twice", "a queued buffer cannot be queued again", "V4L2 API, ioctl VIDIOC_QBUF, Return Value",
     Scope::buffers, queue_twice},
    {"qbuf/no-request", "a buffer for a request is EBADR if requests are not supported",
     "V4L2 API, ioctl VIDIOC_QBUF, Return Value, EBADR", Scope::buffers, queue_for_request},
    {"qbuf/too-many-bytes", "an OUTPUT buffer with more bytes used than it has is EINVAL",
     "V4L2 API, struct v4l2_buffer, bytesused", Scope::buffers, queue_too_much},
    {"qbuf/alternate", "an OUTPUT buffer holds one field or both, not alternating ones",
     "V4L2 API, Field Order, V4L2_FIELD_ALTERNATE", Scope::buffers, queue_alternate},
    {"qbuf/short-memory", "memory with too little room for a picture is EINVAL",
     "V4L2 API, Streaming I/O (User Pointers)", Scope::buffers, queue_short_memory},
    {"qbuf/pointer", "the guest's pointers come back unchanged",
     "VIRTIO 1.4, 5.22.6.3.3 V4L2 ioctls, userptr", Scope::buffers, queue_pointer},
    {"qbuf/owner", "another file's buffers cannot be queued: EBUSY",
     "V4L2 API, Opening and Closing Devices, Shared Data Streams", Scope::stream, queue_other_file},
    {"prepare-buf/prepares", "a prepared buffer is flagged as prepared until it is queued",
     "V4L2 API, ioctl VIDIOC_PREPARE_BUF", Scope::buffers, prepare_prepares},
    {"prepare-buf/refused", "buffers that are prepared, queued, or do not exist cannot be prepared",
     "V4L2 API, ioctl VIDIOC_PREPARE_BUF, Return Value", Scope::buffers, prepare_refused},
    {"streamon/without-buffers", "a queue without buffers cannot stream",
     "V4L2 API, ioctl VIDIOC_STREAMON, Return Value, EINVAL", Scope::buffers, start_without_buffers},
    {"streamon/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_STREAMON, Return Value", Scope::buffers, start_unknown_type},
    {"streamon/twice", "starting a queue that already streams is not an error",
     "V4L2 API, ioctl VIDIOC_STREAMON", Scope::buffers, start_twice},
    {"streamon/owner", "another file's queue can be neither started nor stopped: EBUSY",
     "V4L2 API, Opening and Closing Devices, Shared Data Streams", Scope::stream, start_other_file},
    {"streamoff/idle", "stopping a queue that does not stream is not an error",
     "V4L2 API, ioctl VIDIOC_STREAMOFF", Scope::buffers, stop_idle},
    {"streamoff/returns", "stopping returns all buffers, whether streaming or not",
     "V4L2 API, ioctl VIDIOC_STREAMOFF", Scope::buffers, stop_returns},
};

}  // namespace vumedia::client::compliance::detail::rules
