// The faults of rules on buffers and streams.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "client/compliance_core_faults.hpp"

namespace vumedia::client::test::core_faults {

using vumedia::test::on_dqbuf;

// ---- What a fault has to remember about the queue

struct Memory {
  std::uint32_t requested = 0;  // by the last VIDIOC_REQBUFS of this file
  std::uint32_t memory = 0;     // of it
  std::uint32_t owner = 0;      // the file
  bool streaming = false;
  std::uint32_t starts = 0;  // VIDIOC_STREAMON of this file
  std::set<std::uint32_t> queued;
};

// Runs `act(call, memory)` in place of the backend, with the state of the last opened file as it was before
// the call.
template <class F>
Fault remembering(F act) {
  const auto files = std::make_shared<std::map<std::uint32_t, Memory>>();
  Fault fault;
  fault.open = [files](std::uint32_t id, Result<>&) { (*files)[id] = {}; };
  fault.ioctl = [files, act](IoctlCall& call) mutable {
    Memory& memory = (*files)[call.context.session_id()];
    const Memory before = memory;
    const auto note = [&] {
      if (call.is<tag::REQBUFS>()) {
        memory.requested = call.payload<tag::REQBUFS>().count;
        memory.memory = call.payload<tag::REQBUFS>().memory;
        memory.queued.clear();
      }
      if (call.is<tag::QBUF>()) memory.queued.insert(call.payload<tag::QBUF>().buffer.head.index);
      if (call.is<tag::STREAMON>()) memory.streaming = true, ++memory.starts;
      if (call.is<tag::STREAMOFF>()) memory.streaming = false;
    };
    act(call, before);
    if (call.result) note();
  };
  return fault;
}
[[nodiscard]] inline bool failed_with(const Result<>& result, int error) {
  return !result && result.error().value == error;
}
// Accepts what the backend refuses with `error`, if `about(payload, memory)`.
template <class Tag, class About>
Fault takes_remembering(int error, About about) {
  return remembering([error, about](IoctlCall& call, const Memory& memory) {
    if (!call.is<Tag>()) return call.forward();
    const bool taken = about(call.payload<Tag>(), memory);
    call.forward();
    if (taken && failed_with(call.result, error)) call.result = {};
  });
}
// The same for payloads that need no memory.
template <class Tag, class About>
Fault takes_if(int error, About about) {
  return takes_remembering<Tag>(error,
                                [about](const auto& payload, const Memory&) { return about(payload); });
}
template <class F>
Fault buffer_answer(F alter) {
  return answer<tag::QUERYBUF>([alter](v4l2::BufferPayload& payload) { alter(payload.buffer.head); });
}

// ---- VIDIOC_REQBUFS and related ioctls

inline const SeededFault request_faults[] = {
    {"reqbufs/capabilities",
     [] {
       return answer<tag::REQBUFS>([](v4l2_requestbuffers& request) {
         if (request.memory == V4L2_MEMORY_USERPTR)
           request.capabilities &= ~std::uint32_t{V4L2_BUF_CAP_SUPPORTS_USERPTR};
       });
     }},
    {"reqbufs/reserved-is-zero",
     [] { return answer<tag::REQBUFS>([](v4l2_requestbuffers& request) { request.reserved[0] = 1; }); }},
    {"reqbufs/unknown-type", [] { return takes_type<tag::REQBUFS>(); }},
    {"reqbufs/unknown-memory",
     [] { return takes<tag::REQBUFS>([](const auto& request) { return request.memory == 7; }); }},
    {"reqbufs/gives",
     [] {
       return reply<tag::REQBUFS>([](const v4l2_requestbuffers& asked, v4l2_requestbuffers& request) {
         if (asked.count == 1000) ++request.count;
       });
     }},
    // Another file waits for them in vain.
    {"reqbufs/zero-count-frees",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         const bool frees = call.is<tag::REQBUFS>() && call.payload<tag::REQBUFS>().count == 0;
         if (!frees || memory.requested == 0) call.forward();
       });
     },
     {"reqbufs/owner"}},
    {"reqbufs/again-replaces",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         const bool fewer =
             call.is<tag::REQBUFS>() && call.payload<tag::REQBUFS>().count == 2 && memory.requested == 6;
         if (!fewer) call.forward();
       });
     }},
    {"reqbufs/frees-queued",
     [] {
       const auto queued = std::make_shared<bool>(false);
       Fault fault;
       fault.open = [queued](std::uint32_t, Result<>&) { *queued = false; };
       fault.ioctl = [queued](IoctlCall& call) {
         call.forward();
         if (call.is<tag::QBUF>()) *queued = true;
         if (call.is<tag::QUERYBUF>() && *queued)
           call.payload<tag::QUERYBUF>().buffer.head.flags |= V4L2_BUF_FLAG_QUEUED;
       };
       return fault;
     }},
    {"reqbufs/busy-while-streaming",
     [] { return takes_if<tag::REQBUFS>(EBUSY, [](const auto& request) { return request.count == 2; }); }},
    {"reqbufs/owner",
     [] { return takes_if<tag::REQBUFS>(EBUSY, [](const auto& request) { return request.count == 1; }); }},
    {"create-bufs/zero-count-asks",
     [] {
       return reply<tag::CREATE_BUFS>([](const v4l2_create_buffers& asked, v4l2_create_buffers& request) {
         if (asked.count == 0) ++request.index;
       });
     }},
    {"create-bufs/appends",
     [] {
       return answer<tag::CREATE_BUFS>([](v4l2_create_buffers& request) {
         if (request.count != 0 && request.index == 2) request.index = 0;
       });
     }},
    {"create-bufs/first",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         const bool first = call.is<tag::CREATE_BUFS>() && call.payload<tag::CREATE_BUFS>().count == 2 &&
                            memory.requested == 0;
         call.forward();
         if (first) call.result = fail(EINVAL);
       });
     }},
    {"create-bufs/capabilities",
     [] {
       return answer<tag::CREATE_BUFS>([](v4l2_create_buffers& request) {
         request.capabilities &= ~std::uint32_t{V4L2_BUF_CAP_SUPPORTS_MMAP};
       });
     }},
    {"create-bufs/one-memory",
     [] {
       return takes_remembering<tag::CREATE_BUFS>(EINVAL, [](const auto& request, const Memory& memory) {
         return memory.requested != 0 && request.memory != memory.memory;
       });
     }},
    {"create-bufs/too-small",
     [] {
       return takes_if<tag::CREATE_BUFS>(
           EINVAL, [](const auto& request) { return request.format.fmt.pix.sizeimage <= 1; });
     }},
    {"create-bufs/larger",
     [] {
       return instead<tag::CREATE_BUFS>([](IoctlCall& call) {
         auto& request = call.payload<tag::CREATE_BUFS>();
         v4l2_format format{};
         format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
         if (call.run<tag::G_FMT>(format) && request.format.fmt.pix.sizeimage > format.fmt.pix.sizeimage)
           request.format.fmt.pix.sizeimage = format.fmt.pix.sizeimage;
         call.forward();
       });
     }},
    {"create-bufs/unknown-type",
     [] {
       return takes<tag::CREATE_BUFS>([](const auto& request) { return request.format.type == no_type; });
     }},
    {"remove-bufs/removes",
     [] {
       return instead<tag::REMOVE_BUFS>([](IoctlCall& call) {
         const auto& request = call.payload<tag::REMOVE_BUFS>();
         if (request.type != V4L2_BUF_TYPE_VIDEO_CAPTURE || request.index != 1 || request.count != 1)
           call.forward();
       });
     }},
    {"remove-bufs/absent",
     [] {
       return takes_if<tag::REMOVE_BUFS>(EINVAL,
                                         [](const auto& request) { return request.index == no_index; });
     }},
    {"remove-bufs/queued", [] { return mistakes<tag::REMOVE_BUFS>(EBUSY, 0); }},
    {"remove-bufs/unknown-type", [] { return takes_type<tag::REMOVE_BUFS>(); }},
};

// ---- Single buffers

inline const SeededFault queueing_faults[] = {
    {"querybuf/fields",
     [] { return buffer_answer([](v4l2_buffer& head) { head.flags |= V4L2_BUF_FLAG_DONE; }); }},
    {"querybuf/length", [] { return buffer_answer([](v4l2_buffer& head) { head.length = 16; }); }},
    {"querybuf/clock",
     [] {
       return buffer_answer(
           [](v4l2_buffer& head) { head.flags &= ~std::uint32_t{V4L2_BUF_FLAG_TIMESTAMP_MASK}; });
     }},
    {"querybuf/unknown",
     [] {
       return takes<tag::QUERYBUF>([](const auto& payload) { return payload.buffer.head.index == no_index; });
     }},
    {"querybuf/offsets",
     [] {
       return buffer_answer([](v4l2_buffer& head) {
         if (head.memory == V4L2_MEMORY_MMAP) head.m.offset = 0;
       });
     }},
    {"qbuf/queues",
     [] {
       return answer<tag::QBUF>([](v4l2::BufferPayload& payload) {
         payload.buffer.head.flags &= ~std::uint32_t{V4L2_BUF_FLAG_QUEUED};
       });
     }},
    {"qbuf/unknown",
     [] {
       return takes<tag::QBUF>([](const auto& payload) { return payload.buffer.head.index == no_index; });
     }},
    {"qbuf/wrong-memory",
     [] {
       return takes_remembering<tag::QBUF>(EINVAL, [](const auto& payload, const Memory& memory) {
         return payload.buffer.head.memory != memory.memory && payload.buffer.head.type != no_type &&
                payload.buffer.head.length != 0;
       });
     },
     {"qbuf/unknown"}},
    {"qbuf/twice",
     [] {
       return takes_remembering<tag::QBUF>(EINVAL, [](const auto& payload, const Memory& memory) {
         return memory.queued.contains(payload.buffer.head.index);
       });
     }},
    {"qbuf/no-request", [] { return mistakes<tag::QBUF>(EBADR, 0); }},
    {"qbuf/short-memory",
     [] {
       return instead<tag::QBUF>([](IoctlCall& call) {
         const v4l2_buffer head = call.payload<tag::QBUF>().buffer.head;
         v4l2_format format{};
         format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
         const bool is_short = call.run<tag::G_FMT>(format) && head.length + 1 == format.fmt.pix.sizeimage;
         call.forward();
         if (is_short) call.result = {};
       });
     }},
    {"qbuf/pointer",
     [] {
       return buffer_answer([](v4l2_buffer& head) {
         if (head.memory == V4L2_MEMORY_USERPTR) head.m.userptr ^= 8;
       });
     }},
    {"qbuf/owner", [] { return mistakes<tag::QBUF>(EBUSY, 0); }},
    {"prepare-buf/prepares",
     [] {
       return answer<tag::PREPARE_BUF>([](v4l2::BufferPayload& payload) {
         payload.buffer.head.flags &= ~std::uint32_t{V4L2_BUF_FLAG_PREPARED};
       });
     }},
    {"prepare-buf/refused", [] { return mistakes<tag::PREPARE_BUF>(EINVAL, 0); }},
    {"streamon/without-buffers",
     [] {
       return takes<tag::STREAMON>([](std::uint32_t type) { return type == V4L2_BUF_TYPE_VIDEO_CAPTURE; });
     },
     // Another file's queue is of the same type.
     {"streamon/owner"}},
    {"streamon/unknown-type",
     [] { return takes<tag::STREAMON>([](std::uint32_t type) { return type == no_type; }); }},
    {"streamon/twice",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         call.forward();
         if (call.is<tag::STREAMON>() && memory.streaming) call.result = fail(EBUSY);
       });
     }},
    {"streamon/owner", [] { return mistakes<tag::STREAMON>(EBUSY, 0); }},
};

inline const SeededFault multiplanar_buffer_faults[] = {
    {"querybuf/few-planes",
     [] { return takes<tag::QUERYBUF>([](const auto& payload) { return payload.sent.planes == 0; }); },
     {"querybuf/unknown"}},
};

inline const SeededFault output_buffer_faults[] = {
    {"qbuf/too-many-bytes",
     [] {
       return takes<tag::QBUF>([](const auto& payload) {
         return payload.buffer.head.bytesused > vumedia::test::OutputDevice::size;
       });
     }},
    {"qbuf/alternate",
     [] {
       return takes<tag::QBUF>(
           [](const auto& payload) { return payload.buffer.head.field == V4L2_FIELD_ALTERNATE; });
     }},
};

// ---- Streams of a fast device

// Swaps the first two buffers of a stream, which keep their time stamps.
inline Fault swaps() {
  struct State {
    media::Context context;
    std::optional<v4l2::Buffer> held;
    bool done = false;
  };
  const auto state = std::make_shared<State>();
  Fault fault;
  fault.ioctl = [state](IoctlCall& call) {
    if (call.is<tag::STREAMON>()) *state = {call.context, {}, false};
    call.forward();
  };
  fault.dqbuf = [state](std::uint32_t, v4l2::Buffer& buffer) {
    if (state->done) return 1;
    if (!state->held) {
      state->held = buffer;
      return 0;
    }
    state->done = true;
    std::swap(state->held->head.sequence, buffer.head.sequence);
    std::swap(state->held->head.timestamp, buffer.head.timestamp);
    state->context.send_dqbuf(buffer);
    buffer = *state->held;
    return 1;
  };
  return fault;
}

// Sends a buffer when the stream has ended, with the next ioctl.
inline Fault sends_late() {
  return remembering([ended = std::uint32_t{0}](IoctlCall& call, const Memory& memory) mutable {
    call.forward();
    if (call.is<tag::STREAMOFF>() && memory.streaming) ended = call.context.session_id();
    if (!call.is<tag::G_FMT>() || ended != call.context.session_id()) return;
    v4l2::Buffer buffer{};
    buffer.head.type = vumedia::test::OutputDevice::type;
    call.context.send_dqbuf(buffer);
  });
}

// Sends nothing any more when no buffer is queued in place of one that came.
inline Fault dries_up() {
  const auto unanswered = std::make_shared<int>(0);
  Fault fault;
  fault.ioctl = [unanswered](IoctlCall& call) {
    if (call.is<tag::STREAMON>()) *unanswered = 0;
    call.forward();
  };
  fault.dqbuf = [unanswered](std::uint32_t, v4l2::Buffer&) { return ++*unanswered > 2 ? 0 : 1; };
  return fault;
}

template <class F>
Fault each_dqbuf(F alter) {
  return on_dqbuf([alter](std::uint32_t, v4l2::Buffer& buffer) mutable {
    alter(buffer.head);
    return 1;
  });
}

inline const SeededFault stream_faults[] = {
    {"stream/order", swaps},
    {"stream/describes-itself", [] { return each_dqbuf([](v4l2_buffer& head) { head.length += 4096; }); }},
    {"stream/flags", [] { return each_dqbuf([](v4l2_buffer& head) { head.flags |= V4L2_BUF_FLAG_DONE; }); }},
    {"stream/bytesused",
     [] { return each_dqbuf([](v4l2_buffer& head) { head.bytesused = head.length + 1; }); }},
    {"stream/field", [] { return each_dqbuf([](v4l2_buffer& head) { head.field = V4L2_FIELD_TOP; }); }},
    {"stream/sequence", [] { return each_dqbuf([](v4l2_buffer& head) { head.sequence /= 2; }); }},
    {"stream/timestamps",
     [] {
       return each_dqbuf([](v4l2_buffer& head) {
         if (head.sequence % 3 == 2) --head.timestamp.tv_sec;
       });
     }},
    {"streamoff/idle",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         call.forward();
         if (call.is<tag::STREAMOFF>() && !memory.streaming) call.result = fail(EINVAL);
       });
     },
     {"streamoff/returns"}},
    {"streamoff/returns",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         call.forward();
         if (!call.is<tag::QUERYBUF>() || memory.starts != 0) return;
         v4l2_buffer& head = call.payload<tag::QUERYBUF>().buffer.head;
         if (memory.queued.contains(head.index)) head.flags |= V4L2_BUF_FLAG_QUEUED;
       });
     }},
    {"streamoff/at-once", sends_late},
    {"streamoff/again",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         if (call.is<tag::STREAMON>() && memory.starts == 2) {
           call.result = fail(EIO);
         } else {
           call.forward();
         }
       });
     }},
};

// Faults that most rules on streams notice, some of them by waiting.
inline const SeededFault loss_faults[] = {
    {"stream/returns-once", [] { return on_dqbuf([](std::uint32_t, v4l2::Buffer&) { return 2; }); }},
    {"stream/returns-all",
     [] {
       return on_dqbuf([](std::uint32_t, v4l2::Buffer& buffer) { return buffer.head.index == 2 ? 0 : 1; });
     }},
    {"stream/drought", dries_up},
};

// ---- Streams of a camera

inline const SeededFault camera_stream_faults[] = {
    {"stream/whole-frames", [] { return each_dqbuf([](v4l2_buffer& head) { head.bytesused = 16; }); }},
    {"stream/sequence-restarts",
     [] { return each_dqbuf([count = 0u](v4l2_buffer& head) mutable { head.sequence = count++; }); }},
    {"stream/frames-arrive", maps_elsewhere},
    {"stream/writes-within", writes_beyond},
};

// ---- Mappings

inline const SeededFault mapping_faults[] = {
    {"mmap/length",
     [] {
       Fault fault;
       fault.mmap = [](std::uint32_t, std::uint32_t, Result<media::Mappable>& result) {
         if (result) result->length = 4096;
       };
       return fault;
     }},
    {"mmap/freed",
     [] {
       return remembering([](IoctlCall& call, const Memory& memory) {
         const bool frees = call.is<tag::REQBUFS>() && call.payload<tag::REQBUFS>().count == 0;
         if (!frees || memory.requested == 0) call.forward();
       });
     }},
    {"mmap/flag",
     [] {
       return buffer_answer([](v4l2_buffer& head) { head.flags &= ~std::uint32_t{V4L2_BUF_FLAG_MAPPED}; });
     }},
};

// ---- Files

inline const SeededFault file_faults[] = {
    {"open/again-and-again",
     [] {
       Fault fault;
       fault.open = [count = 0](std::uint32_t, Result<>& result) mutable {
         if (++count > 200) result = fail(EMFILE);
       };
       return fault;
     }},
    // A closed file still holds its buffers and its stream.
    {"close/frees-buffers",
     [] {
       Fault fault;
       fault.ioctl = [owner = std::uint32_t{0}](IoctlCall& call) mutable {
         const bool requests = call.is<tag::REQBUFS>() && call.payload<tag::REQBUFS>().count != 0;
         const std::uint32_t file = call.context.session_id();
         if (requests && owner != 0 && owner != file) {
           call.result = fail(EBUSY);
           return;
         }
         call.forward();
         if (requests) owner = file;
       };
       return fault;
     },
     {"close/amid-stream"}},
    {"close/amid-stream",
     [] {
       Fault fault;
       fault.ioctl = [owner = std::uint32_t{0}](IoctlCall& call) mutable {
         const std::uint32_t file = call.context.session_id();
         if (call.is<tag::REQBUFS>() && owner != 0 && owner != file) {
           call.result = fail(EBUSY);
           return;
         }
         call.forward();
         if (call.is<tag::STREAMON>()) owner = file;
         if (call.is<tag::STREAMOFF>()) owner = 0;
       };
       return fault;
     }},
};

}  // namespace vumedia::client::test::core_faults
