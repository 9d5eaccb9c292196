// Rules on getting buffers: VIDIOC_REQBUFS, VIDIOC_CREATE_BUFS, VIDIOC_REMOVE_BUFS.
#pragma once

#include <cstdint>
#include <utility>

#include <vumedia/client/compliance/buffers.hpp>
#include <vumedia/client/compliance/enumeration.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

[[nodiscard]] inline v4l2_requestbuffers buffers_question(Subject& s, std::uint32_t count) noexcept {
  v4l2_requestbuffers request{};
  request.type = s.type();
  request.memory = s.memory();
  request.count = count;
  return request;
}

// ---- VIDIOC_REQBUFS

inline Finding request_capabilities(Subject& s) {
  auto request = buffers_question(s, 0);
  if (auto found = s.expect<v4l2::tag::REQBUFS>(request)) return found;
  const std::uint32_t own =
      s.memory() == V4L2_MEMORY_MMAP ? V4L2_BUF_CAP_SUPPORTS_MMAP : V4L2_BUF_CAP_SUPPORTS_USERPTR;
  if ((request.capabilities & own) == 0)
    return failed("%s works, but capabilities are 0x%x", memory_name(s.memory()), request.capabilities);
  if (request.capabilities == s.queue().capabilities) return passed();
  return failed("capabilities are 0x%x, and were 0x%x", request.capabilities, s.queue().capabilities);
}

inline Finding request_flags(Subject& s) {
  auto request = buffers_question(s, 0);
  if ((s.queue().capabilities & V4L2_BUF_CAP_SUPPORTS_MMAP_CACHE_HINTS) == 0) request.flags = 0xff;
  scribble(request.reserved);
  if (auto found = s.expect<v4l2::tag::REQBUFS>(request)) return found;
  if (!all_zero(request.reserved)) return failed("VIDIOC_REQBUFS leaves reserved bytes as they were");
  if (request.flags == 0) return passed();
  return failed("flags are 0x%x, but there are no cache hints", request.flags);
}

inline Finding request_unknown_type(Subject& s) {
  for (const std::uint32_t type : foreign_types(s.facts())) {
    v4l2_requestbuffers request{};
    request.type = type;
    request.memory = s.memory();
    request.count = 1;
    const int got = s.call<v4l2::tag::REQBUFS>(request);
    if (got != EINVAL)
      return failed("VIDIOC_REQBUFS of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

inline Finding request_unknown_memory(Subject& s) {
  for (const std::uint32_t memory : {0u, 3u, 7u, 0xffffffffu}) {
    auto request = buffers_question(s, 1);
    request.memory = memory;
    const int got = s.call<v4l2::tag::REQBUFS>(request);
    if (got != EINVAL)
      return failed("VIDIOC_REQBUFS of memory %u: %s, not EINVAL", memory, errno_name(got).c_str());
  }
  for (const auto& [memory, capability] : {std::pair{V4L2_MEMORY_USERPTR, V4L2_BUF_CAP_SUPPORTS_USERPTR},
                                           std::pair{V4L2_MEMORY_DMABUF, V4L2_BUF_CAP_SUPPORTS_DMABUF}}) {
    if ((s.queue().capabilities & static_cast<std::uint32_t>(capability)) != 0) continue;
    auto request = buffers_question(s, 1);
    request.memory = memory;
    if (auto found =
            s.expect<v4l2::tag::REQBUFS>(request, EINVAL, "of a type of memory without its capability"))
      return found;
  }
  return passed();
}

inline Finding request_gives(Subject& s) {
  for (const std::uint32_t count : {1u, 3u, 1000u}) {
    auto request = buffers_question(s, count);
    // This many may be more than there is memory for.
    const int got = s.call<v4l2::tag::REQBUFS>(request);
    if (got == ENOMEM && count == 1000) continue;
    if (auto found = Subject::judge("VIDIOC_REQBUFS", got, 0, "")) return found;
    if (request.count == 0 || request.count > 1000)
      return failed("%u buffers were requested, but %u were given", count, request.count);
    v4l2::BufferPayload payload{};
    const Buffers buffers(s);
    if (auto found = buffers.query(request.count - 1, payload)) return found;
    payload = buffers.question(request.count);
    if (auto found = s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "of a buffer after the last"))
      return found;
  }
  return passed();
}

inline Finding request_zero_frees(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = buffers.release()) return found;
  auto payload = buffers.question(0);
  return s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "of a buffer that was freed");
}

inline Finding request_replaces(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(6)) return found;
  const std::uint32_t before = buffers.size();
  if (auto found = buffers.allocate(2)) return found;
  if (buffers.size() >= before) return not_applicable("it never gives fewer than %u buffers", before);
  auto payload = buffers.question(before - 1);
  return s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "of a buffer of an earlier request");
}

// Queued buffers are freed, too.
inline Finding request_frees_queued(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = buffers.queue(0)) return found;
  if (auto found = buffers.release()) return found;
  if (auto found = buffers.allocate(2)) return found;
  v4l2::BufferPayload payload{};
  if (auto found = buffers.query(0, payload)) return found;
  if ((payload.buffer.head.flags & V4L2_BUF_FLAG_QUEUED) != 0)
    return failed("a new buffer is queued already");
  return buffers.queue(0);
}

inline Finding request_while_streaming(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(3)) return found;
  if (auto found = buffers.start()) return found;
  auto request = buffers_question(s, 2);
  return s.expect<v4l2::tag::REQBUFS>(request, EBUSY, "while the queue streams");
}

inline Finding request_other_file(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  auto request = buffers_question(s, 1);
  if (auto found =
          s.expect_as<v4l2::tag::REQBUFS>(other, request, EBUSY, "while another file has the buffers"))
    return found;
  if (auto found = buffers.release()) return found;
  request = buffers_question(s, 1);
  return s.expect_as<v4l2::tag::REQBUFS>(other, request, 0, "when another file has freed its buffers");
}

inline Finding close_frees(Subject& s) {
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  auto request = buffers_question(s, 2);
  if (auto found = s.expect_as<v4l2::tag::REQBUFS>(other, request)) return found;
  if (auto found = s.close(other)) return found;
  request = buffers_question(s, 2);
  return s.expect<v4l2::tag::REQBUFS>(request, 0, "when the file that had the buffers is closed");
}

// ---- VIDIOC_CREATE_BUFS

inline Finding create_question(Subject& s, v4l2_create_buffers& request, std::uint32_t count) {
  request = {};
  request.count = count;
  request.memory = s.memory();
  request.format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(request.format)) return found;
  // Whether it exists at all.
  v4l2_create_buffers none = request;
  none.count = 0;
  return s.want<v4l2::tag::CREATE_BUFS>(none, "of no buffers");
}

inline Finding create_none(Subject& s) {
  Buffers buffers(s);
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 0)) return found;
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = s.expect<v4l2::tag::CREATE_BUFS>(request, 0, "of no buffers")) return found;
  if (request.index != buffers.size())
    return failed("index is %u, but there are %u buffers", request.index, buffers.size());
  auto payload = buffers.question(request.index);
  return s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "of a buffer that was not requested");
}

inline Finding create_appends(Subject& s) {
  Buffers buffers(s);
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 2)) return found;
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = s.expect<v4l2::tag::CREATE_BUFS>(request)) return found;
  if (request.index != buffers.size() || request.count == 0 || request.count > 2)
    return failed("%u buffers exist, and %u were added from index %u on", buffers.size(), request.count,
                  request.index);
  v4l2::BufferPayload payload, first;
  if (auto found = buffers.query(0, first)) return found;
  if (auto found = buffers.query(request.index + request.count - 1, payload)) return found;
  if (Buffers::length(payload.buffer, 0) < Buffers::length(first.buffer, 0))
    return failed("a buffer of the same format has %u bytes, not %u", Buffers::length(payload.buffer, 0),
                  Buffers::length(first.buffer, 0));
  payload = buffers.question(request.index + request.count);
  return s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "of a buffer after the last");
}

inline Finding create_first(Subject& s) {
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 2)) return found;
  if (auto found = s.expect<v4l2::tag::CREATE_BUFS>(request, 0, "without VIDIOC_REQBUFS")) return found;
  if (request.index != 0 || request.count == 0)
    return failed("%u were created from index %u on", request.count, request.index);
  v4l2::BufferPayload payload{};
  return Buffers(s).query(0, payload);
}

inline Finding create_capabilities(Subject& s) {
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 0)) return found;
  if (auto found = s.expect<v4l2::tag::CREATE_BUFS>(request, 0, "of no buffers")) return found;
  constexpr std::uint32_t known = 0x3f;  // those from before 6.8, which VIDIOC_REQBUFS also has
  if ((request.capabilities & known) == (s.queue().capabilities & known)) return passed();
  return failed("capabilities are 0x%x, but 0x%x in VIDIOC_REQBUFS", request.capabilities,
                s.queue().capabilities);
}

inline Finding create_other_memory(Subject& s) {
  const std::uint32_t other = s.memory() == V4L2_MEMORY_MMAP ? V4L2_MEMORY_USERPTR : V4L2_MEMORY_MMAP;
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 1)) return found;
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  request.memory = other;
  return s.expect<v4l2::tag::CREATE_BUFS>(request, EINVAL,
                                          "of another type of memory than the existing buffers");
}

inline Finding create_too_small(Subject& s) {
  if (!is_video(s.type())) return not_applicable("it is not a video queue");
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 1)) return found;
  for (const std::uint32_t size : {0u, 1u}) {
    if (s.queue().multiplanar()) {
      request.format.fmt.pix_mp.plane_fmt[0].sizeimage = size;
    } else {
      request.format.fmt.pix.sizeimage = size;
    }
    v4l2_create_buffers asked = request;
    if (auto found = s.expect<v4l2::tag::CREATE_BUFS>(asked, EINVAL, "of buffers too small for the format"))
      return found;
  }
  return passed();
}

inline Finding create_larger(Subject& s) {
  if (!is_video(s.type())) return not_applicable("it is not a video queue");
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 1)) return found;
  const std::uint32_t size = pixels_of(request.format).planes[0].size;
  if (size > 16u << 20) return not_applicable("its pictures are too large to be doubled");
  if (s.queue().multiplanar()) {
    request.format.fmt.pix_mp.plane_fmt[0].sizeimage = 2 * size;
  } else {
    request.format.fmt.pix.sizeimage = 2 * size;
  }
  if (auto found = s.expect<v4l2::tag::CREATE_BUFS>(request, 0, "of larger buffers")) return found;
  v4l2::BufferPayload payload{};
  if (auto found = Buffers(s).query(request.index, payload)) return found;
  if (Buffers::length(payload.buffer, 0) >= 2 * size) return passed();
  return failed("%u bytes were requested, but the buffer has %u", 2 * size,
                Buffers::length(payload.buffer, 0));
}

inline Finding create_unknown_type(Subject& s) {
  v4l2_create_buffers request{};
  if (auto found = create_question(s, request, 1)) return found;
  for (const std::uint32_t type : foreign_types(s.facts())) {
    v4l2_create_buffers other = request;
    other.format.type = type;
    const int got = s.call<v4l2::tag::CREATE_BUFS>(other);
    if (got != EINVAL)
      return failed("VIDIOC_CREATE_BUFS of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

// ---- VIDIOC_REMOVE_BUFS

[[nodiscard]] inline v4l2::RemoveBuffers removal(Subject& s, std::uint32_t index,
                                                 std::uint32_t count) noexcept {
  v4l2::RemoveBuffers request{};
  request.index = index;
  request.count = count;
  request.type = s.type();
  return request;
}
// Buffers to be removed; not applicable if the device removes none.
inline Finding removable(Subject& s, Buffers& buffers) {
  auto none = removal(s, 0, 0);
  if (auto found = s.want<v4l2::tag::REMOVE_BUFS>(none, "of no buffers")) return found;
  return buffers.allocate(3);
}

inline Finding remove_removes(Subject& s) {
  Buffers buffers(s);
  if (auto found = removable(s, buffers)) return found;
  auto request = removal(s, 1, 1);
  if (auto found = s.expect<v4l2::tag::REMOVE_BUFS>(request)) return found;
  auto payload = buffers.question(1);
  if (auto found = s.expect<v4l2::tag::QUERYBUF>(payload, EINVAL, "of a buffer that was removed"))
    return found;
  return buffers.query(2, payload);
}

inline Finding remove_absent(Subject& s) {
  Buffers buffers(s);
  if (auto found = removable(s, buffers)) return found;
  auto request = removal(s, buffers.size() - 1, 2);
  if (auto found = s.expect<v4l2::tag::REMOVE_BUFS>(request, EINVAL, "of buffers that do not all exist"))
    return found;
  request = removal(s, 0xffffffff, 2);
  if (auto found = s.expect<v4l2::tag::REMOVE_BUFS>(request, EINVAL, "of an impossible index")) return found;
  v4l2::BufferPayload payload{};
  return buffers.query(buffers.size() - 1, payload);
}

inline Finding remove_queued(Subject& s) {
  Buffers buffers(s);
  if (auto found = removable(s, buffers)) return found;
  if (auto found = buffers.queue(1)) return found;
  auto request = removal(s, 0, 2);
  if (auto found = s.expect<v4l2::tag::REMOVE_BUFS>(request, EBUSY, "of a buffer that is queued"))
    return found;
  v4l2::BufferPayload payload{};
  return buffers.query(0, payload);
}

inline Finding remove_unknown_type(Subject& s) {
  Buffers buffers(s);
  if (auto found = removable(s, buffers)) return found;
  for (const std::uint32_t type : foreign_types(s.facts())) {
    auto request = removal(s, 0, 1);
    request.type = type;
    const int got = s.call<v4l2::tag::REMOVE_BUFS>(request);
    if (got != EINVAL)
      return failed("VIDIOC_REMOVE_BUFS of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

inline constexpr Rule request_rules[] = {
    {"reqbufs/capabilities", "types of memory that work are among the capabilities, which do not change",
     "V4L2 API, ioctl VIDIOC_REQBUFS, V4L2 Buffer Capabilities Flags", Scope::buffers, request_capabilities},
    {"reqbufs/reserved-is-zero", "reserved bytes are set to zero, and so are flags that mean nothing here",
     "V4L2 API, ioctl VIDIOC_REQBUFS, struct v4l2_requestbuffers", Scope::buffers, request_flags},
    {"reqbufs/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_REQBUFS, Return Value", Scope::buffers, request_unknown_type},
    {"reqbufs/unknown-memory",
     "types of memory that do not exist, or that the queue does not have, are EINVAL",
     "V4L2 API, ioctl VIDIOC_REQBUFS, Return Value", Scope::buffers, request_unknown_memory},
    {"reqbufs/gives", "there are as many buffers as count says, however many were requested",
     "V4L2 API, ioctl VIDIOC_REQBUFS, count", Scope::buffers, request_gives},
    {"reqbufs/zero-count-frees", "a count of zero frees all buffers", "V4L2 API, ioctl VIDIOC_REQBUFS",
     Scope::buffers, request_zero_frees},
    {"reqbufs/again-replaces", "a new request replaces the buffers of the previous one",
     "V4L2 API, ioctl VIDIOC_REQBUFS", Scope::buffers, request_replaces},
    {"reqbufs/frees-queued", "buffers that are queued are freed, too, and new ones are not queued",
     "V4L2 API, ioctl VIDIOC_REQBUFS", Scope::buffers, request_frees_queued},
    {"reqbufs/busy-while-streaming", "buffers cannot be changed while their queue streams: EBUSY",
     "V4L2 API, Streaming I/O; Generic Error Codes, EBUSY", Scope::buffers, request_while_streaming},
    {"reqbufs/owner", "while a file has buffers, another gets EBUSY; after they are freed, it gets its own",
     "V4L2 API, Opening and Closing Devices, Shared Data Streams; ioctl VIDIOC_REQBUFS", Scope::stream,
     request_other_file},
    {"close/frees-buffers", "closing a file frees its buffers", "V4L2 API, V4L2 close()", Scope::stream,
     close_frees},
    {"create-bufs/zero-count-asks", "a count of zero returns how many there are, and creates none",
     "V4L2 API, ioctl VIDIOC_CREATE_BUFS, count", Scope::buffers, create_none},
    {"create-bufs/appends", "new buffers come after the existing ones",
     "V4L2 API, ioctl VIDIOC_CREATE_BUFS, index", Scope::buffers, create_appends},
    {"create-bufs/first", "the first buffers may be created this way", "V4L2 API, ioctl VIDIOC_CREATE_BUFS",
     Scope::buffers, create_first},
    {"create-bufs/capabilities", "capabilities are those of VIDIOC_REQBUFS",
     "V4L2 API, ioctl VIDIOC_CREATE_BUFS, capabilities", Scope::buffers, create_capabilities},
    {"create-bufs/one-memory", "all buffers of a queue have the same type of memory, otherwise EINVAL",
     "V4L2 API, ioctl VIDIOC_CREATE_BUFS, Return Value", Scope::buffers, create_other_memory},
    {"create-bufs/too-small", "buffers without room for a picture are EINVAL",
     "V4L2 API, ioctl VIDIOC_CREATE_BUFS, Return Value", Scope::buffers, create_too_small},
    {"create-bufs/larger", "buffers may be larger than the format needs",
     "V4L2 API, ioctl VIDIOC_CREATE_BUFS, format", Scope::buffers, create_larger},
    {"create-bufs/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_CREATE_BUFS, Return Value", Scope::buffers, create_unknown_type},
    {"remove-bufs/removes", "buffers that are removed are gone, others stay",
     "V4L2 API, ioctl VIDIOC_REMOVE_BUFS", Scope::buffers, remove_removes},
    {"remove-bufs/absent", "a range with a buffer that does not exist is EINVAL, and none is removed",
     "V4L2 API, ioctl VIDIOC_REMOVE_BUFS, Return Value", Scope::buffers, remove_absent},
    {"remove-bufs/queued", "a range with a buffer that is queued is EBUSY, and none is removed",
     "V4L2 API, ioctl VIDIOC_REMOVE_BUFS, Return Value", Scope::buffers, remove_queued},
    {"remove-bufs/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_REMOVE_BUFS, Return Value", Scope::buffers, remove_unknown_type},
};

}  // namespace vumedia::client::compliance::detail::rules
