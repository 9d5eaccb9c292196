// Rules on streams of devices that stream by themselves: what VIDIOC_DQBUF returns, which virtio-media sends
// as DQBUF events (VIRTIO 1.4, 5.22.6.4).
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <variant>
#include <vector>

#include <vumedia/client/compliance/buffers.hpp>
#include <vumedia/client/compliance/queueing.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

// A queue that streams, with all of its buffers queued.
inline Finding start_stream(Buffers& buffers, std::uint32_t count = 4) {
  if (auto found = buffers.allocate(count)) return found;
  if (auto found = buffers.queue_all()) return found;
  return buffers.start();
}

// Calls `look(buffer)` for each of `count` buffers as they come, and queues them again.
template <class Look>
Finding watch(Subject& s, const Buffers& buffers, std::uint32_t count, Look&& look) {
  for (std::uint32_t i = 0; i < count; ++i) {
    v4l2::Buffer buffer{};
    if (auto found = s.next_buffer(s.type(), buffer)) return found;
    if (buffer.head.index >= buffers.size())
      return failed("buffer %u came, but there are only %u", buffer.head.index, buffers.size());
    if (auto found = look(buffer)) return found;
    if (auto found = buffers.queue(buffer.head.index)) return found;
  }
  return passed();
}

// Enough that each of four buffers comes twice.
inline constexpr std::uint32_t watched = 8;

[[nodiscard]] inline bool carries_picture(const v4l2::Buffer& buffer) noexcept {
  return (buffer.head.flags & V4L2_BUF_FLAG_ERROR) == 0;
}
[[nodiscard]] inline std::int64_t microseconds(const v4l2::Buffer& buffer) noexcept {
  return std::int64_t{buffer.head.timestamp.tv_sec} * 1'000'000 + buffer.head.timestamp.tv_usec;
}

inline Finding each_returns_once(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    // A buffer that comes twice is queued again when it comes for the second time.
    v4l2::BufferPayload payload{};
    if (auto found = buffers.query(buffer.head.index, payload)) return found;
    return has_state(payload.buffer, 0, "VIDIOC_QUERYBUF of a buffer that has come back");
  });
}

inline Finding all_return(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  std::set<std::uint32_t> seen;
  // A driver keeps at most half of them until it gets others.
  for (std::uint32_t round = 0; round < 4 * buffers.size() && seen.size() < buffers.size(); ++round) {
    v4l2::Buffer buffer{};
    if (auto found = s.next_buffer(s.type(), buffer)) return found;
    if (buffer.head.index >= buffers.size())
      return failed("buffer %u came, but there are only %u", buffer.head.index, buffers.size());
    seen.insert(buffer.head.index);
    if (auto found = buffers.queue(buffer.head.index)) return found;
  }
  if (seen.size() == buffers.size()) return passed();
  return failed("%zu of %u buffers came back in %u rounds", seen.size(), buffers.size(), 4 * buffers.size());
}

inline Finding come_in_order(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  std::uint32_t next = 0;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    const std::uint32_t wanted = next++ % buffers.size();
    if (buffer.head.index == wanted) return passed();
    return failed("buffer %u came before buffer %u, which was queued first", buffer.head.index, wanted);
  });
}

inline Finding describes_itself(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    if (buffer.head.type != s.type() || buffer.head.memory != s.memory())
      return failed("a buffer came with memory %u, but has memory %u", buffer.head.memory, s.memory());
    const Buffers::Record& record = buffers[buffer.head.index];
    if (s.queue().multiplanar() && buffer.head.length != record.plane_count)
      return failed("a buffer has %u planes, but came with %u", record.plane_count, buffer.head.length);
    for (std::uint32_t p = 0; p < record.plane_count; ++p) {
      const Buffers::Plane& plane = record.planes[p];
      if (Buffers::length(buffer, p) != plane.length)
        return failed("plane %u has %u bytes, but came with %u", p, plane.length, Buffers::length(buffer, p));
      if (s.memory() == V4L2_MEMORY_MMAP && Buffers::offset(buffer, p) != plane.offset)
        return failed("offset 0x%x came back as 0x%x", plane.offset, Buffers::offset(buffer, p));
      if (s.memory() == V4L2_MEMORY_USERPTR &&
          Buffers::pointer(buffer, p) != reinterpret_cast<unsigned long>(plane.own_memory.data()))
        return failed("the pointer of plane %u came back as 0x%lx", p, Buffers::pointer(buffer, p));
    }
    return passed();
  });
}

inline Finding flags_of_done(Subject& s) {
  Buffers buffers(s);
  if (auto found = buffers.allocate(4)) return found;
  v4l2::BufferPayload payload{};
  if (auto found = buffers.query(0, payload)) return found;
  const std::uint32_t clock = payload.buffer.head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK;
  if (auto found = buffers.queue_all()) return found;
  if (auto found = buffers.start()) return found;
  std::uint32_t source = 0xffffffff;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    const std::uint32_t flags = buffer.head.flags;
    constexpr std::uint32_t never =
        V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_PREPARED | V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_IN_REQUEST;
    if ((flags & never) != 0) return failed("a buffer that came back has flags 0x%x", flags);
    if ((flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) != clock)
      return failed("flags 0x%x name a different clock than before the stream", flags);
    const std::uint32_t now = flags & V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
    if (source != 0xffffffff && now != source)
      return failed("flags 0x%x name a different moment than the previous frame", flags);
    source = now;
    return passed();
  });
}

inline Finding bytes_fit(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    for (std::uint32_t p = 0; p < buffers[buffer.head.index].plane_count; ++p) {
      const std::uint32_t used = Buffers::used(buffer, p), length = Buffers::length(buffer, p);
      if (used > length) return failed("%u of %u bytes are used", used, length);
      if (used == 0 && carries_picture(buffer))
        return failed("a frame without bytes came without an error flag");
      if (s.queue().multiplanar() && used != 0 && buffer.planes[p].data_offset >= used)
        return failed("data begin at %u of %u bytes", buffer.planes[p].data_offset, used);
    }
    return passed();
  });
}

inline Finding raw_frames_are_whole(Subject& s) {
  if (!is_video(s.type()) || s.queue().output()) return not_applicable("it does not capture video");
  v4l2_format format{};
  format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  const Pixels pixels = pixels_of(format);
  if (coding_of(pixels.fourcc) != Coding::raw) return not_applicable("its frames differ in size");
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    if (!carries_picture(buffer)) return passed();
    const std::uint64_t least = std::uint64_t{pixels.planes[0].stride} * pixels.height;
    if (Buffers::used(buffer, 0) >= least) return passed();
    return failed("a frame has %u bytes: %s", Buffers::used(buffer, 0), format_name(format).c_str());
  });
}

inline Finding fields_fit(Subject& s) {
  if (!is_video(s.type())) return not_applicable("it is not a video queue");
  v4l2_format format{};
  format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  const std::uint32_t field = pixels_of(format).field;
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    const std::uint32_t got = buffer.head.field;
    if (field == V4L2_FIELD_ALTERNATE && (got == V4L2_FIELD_TOP || got == V4L2_FIELD_BOTTOM)) return passed();
    // The program decides what goes out.
    if (got == field || (s.queue().output() && got == V4L2_FIELD_NONE)) return passed();
    return failed("a buffer has field %u, but the format has %u", got, field);
  });
}

inline Finding numbers_rise(Subject& s) {
  v4l2_format format{};
  format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  const bool alternate = is_video(s.type()) && pixels_of(format).field == V4L2_FIELD_ALTERNATE;
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  bool first = true;
  std::uint32_t last = 0;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    const std::uint32_t now = buffer.head.sequence;
    // Both fields of a frame have its number.
    if (!first && (alternate ? now < last : now <= last))
      return failed("frame %u came after frame %u", now, last);
    first = false;
    last = now;
    return passed();
  });
}

inline Finding numbers_restart(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  std::uint32_t last = 0;
  if (auto found = watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) {
        last = buffer.head.sequence;
        return passed();
      }))
    return found;
  if (auto found = buffers.stop()) return found;
  s.drop_events();
  if (auto found = buffers.queue_all()) return found;
  if (auto found = buffers.start()) return found;
  v4l2::Buffer buffer{};
  if (auto found = s.next_buffer(s.type(), buffer)) return found;
  if (buffer.head.sequence < last) return passed();
  return failed("the first frame of a new stream has number %u, and the last frame of the old one had %u",
                buffer.head.sequence, last);
}

inline Finding times_rise(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  std::int64_t last = 0;
  return watch(s, buffers, watched, [&](const v4l2::Buffer& buffer) -> Finding {
    // The device does not choose a program's own time stamps.
    if ((buffer.head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) == V4L2_BUF_FLAG_TIMESTAMP_COPY) return passed();
    const std::int64_t now = microseconds(buffer);
    if (now <= 0 || buffer.head.timestamp.tv_usec < 0 || buffer.head.timestamp.tv_usec >= 1'000'000)
      return failed("time stamp %lld s, %lld us", static_cast<long long>(buffer.head.timestamp.tv_sec),
                    static_cast<long long>(buffer.head.timestamp.tv_usec));
    if (now < last)
      return failed("a frame is %lld us older than the previous one", static_cast<long long>(last - now));
    last = now;
    return passed();
  });
}

// ---- The pixels

inline constexpr auto poison = std::byte{0x5a};

// Fills all memory of a buffer with one byte, which no picture is made of.
inline Finding fill(Subject& s, const Buffers::Record& record, std::vector<MappedBuffer>& mappings,
                    std::byte value = poison) {
  for (std::uint32_t p = 0; p < record.plane_count; ++p) {
    const Buffers::Plane& plane = record.planes[p];
    if (s.memory() == V4L2_MEMORY_USERPTR) {
      std::ranges::fill(plane.own_memory, value);
      continue;
    }
    const auto mapping = s.map(s.session(), plane.offset);
    if (!mapping) return failed("MMAP: %s", errno_name(mapping.error().value).c_str());
    const std::vector<std::byte> bytes(plane.length, value);
    if (!s.guest().write(*mapping, bytes)) return failed("memory that was mapped cannot be written");
    mappings.push_back(*mapping);
  }
  return passed();
}

// The first bytes of plane `p` of a buffer that was filled.
inline Finding read_plane(Subject& s, const Buffers::Record& record,
                          const std::vector<MappedBuffer>& mappings, std::uint32_t p,
                          std::span<std::byte> bytes) {
  if (bytes.empty()) return passed();
  if (s.memory() == V4L2_MEMORY_USERPTR) {
    std::ranges::copy(record.planes[p].own_memory.first(bytes.size()), bytes.begin());
  } else if (!s.guest().read(mappings[p], bytes)) {
    return failed("memory that was mapped cannot be read");
  }
  return passed();
}

[[nodiscard]] inline bool is_all(std::span<const std::byte> bytes, std::byte value) noexcept {
  return std::ranges::all_of(bytes, [value](std::byte byte) { return byte == value; });
}

// Whether a frame has put bytes into a buffer that was filled before.
inline Finding frame_is_there(Subject& s, const Buffers::Record& record,
                              const std::vector<MappedBuffer>& mappings, const v4l2::Buffer& buffer) {
  for (std::uint32_t p = 0; p < record.plane_count; ++p) {
    std::vector<std::byte> seen(std::min(Buffers::used(buffer, p), record.planes[p].length));
    if (auto found = read_plane(s, record, mappings, p, seen)) return found;
    if (!seen.empty() && is_all(seen, poison))
      return failed("%zu bytes are said to have come in plane %u of buffer %u, and none did", seen.size(), p,
                    buffer.head.index);
  }
  return passed();
}

// A USERPTR buffer with a page before and one after each plane, to which nobody may write.
class GuardedBuffer {
 public:
  // Puts it into `payload`, which is a buffer as it is handed to the device.
  Finding stand_in(Subject& s, const Buffers::Record& record, v4l2::BufferPayload& payload) {
    record_ = &record;
    for (std::uint32_t p = 0; p < record.plane_count; ++p) {
      memory_[p] = s.take_user_memory(std::size_t{record.planes[p].length} + 2 * page_size);
      if (memory_[p].empty()) return not_applicable("its buffers are too large for the guest's memory");
      std::ranges::fill(memory_[p], poison);
      const auto pointer = reinterpret_cast<unsigned long>(memory_[p].data() + page_size);
      if (v4l2::is_multiplanar(payload.buffer.head.type)) {
        payload.buffer.planes[p].m.userptr = pointer;
      } else {
        payload.buffer.head.m.userptr = pointer;
      }
    }
    return passed();
  }
  [[nodiscard]] Finding check() const {
    for (std::uint32_t p = 0; p < record_->plane_count; ++p) {
      if (!is_all(memory_[p].first(page_size), poison))
        return failed("bytes before plane %u were written", p);
      if (!is_all(memory_[p].subspan(page_size + record_->planes[p].length), poison))
        return failed("bytes behind plane %u were written", p);
    }
    return passed();
  }

 private:
  const Buffers::Record* record_ = nullptr;
  std::array<std::span<std::byte>, VIDEO_MAX_PLANES> memory_;
};

inline Finding frames_arrive(Subject& s) {
  if (s.memory() == V4L2_MEMORY_MMAP && s.facts().shm_size == 0)
    return not_applicable("the device has no shared memory");
  Buffers buffers(s);
  if (auto found = buffers.allocate(3)) return found;
  std::vector<std::vector<MappedBuffer>> mappings(buffers.size());
  for (std::uint32_t place = 0; place < buffers.size(); ++place) {
    if (auto found = fill(s, buffers[place], mappings[place])) return found;
  }
  if (auto found = buffers.queue_all()) return found;
  if (auto found = buffers.start()) return found;
  for (std::uint32_t frame = 0; frame < 2; ++frame) {
    v4l2::Buffer buffer{};
    if (auto found = s.next_buffer(s.type(), buffer)) return found;
    if (buffer.head.index >= buffers.size())
      return failed("buffer %u came, but there are only %u", buffer.head.index, buffers.size());
    if (!carries_picture(buffer)) continue;
    const std::uint32_t index = buffer.head.index;
    if (auto found = frame_is_there(s, buffers[index], mappings[index], buffer)) return found;
  }
  return passed();
}

inline Finding writes_within(Subject& s) {
  if (s.memory() != V4L2_MEMORY_USERPTR)
    return not_applicable("only the guest's own memory has something after it");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  auto payload = buffers.handed(0);
  GuardedBuffer guarded;
  if (auto found = guarded.stand_in(s, buffers[0], payload)) return found;
  if (auto found = s.expect<v4l2::tag::QBUF>(payload)) return found;
  if (auto found = buffers.queue(1)) return found;
  if (auto found = buffers.start()) return found;
  v4l2::Buffer buffer{};
  if (auto found = s.next_buffer(s.type(), buffer)) return found;
  if (auto found = buffers.stop()) return found;
  return guarded.check();
}

// ---- The end of a stream

// Nothing comes of a queue for the time of so many commands and a little more: what a device sends by itself
// comes before the answers to these, what it makes of frames may take longer. `when` for the complaint.
inline Finding stays_quiet(Subject& s, const Buffers& buffers, const char* when) {
  for (int i = 0; i < 50; ++i) {
    v4l2_format format{};
    format.type = buffers.type();
    if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
    if (s.buffers_waiting(buffers.type()) != 0)
      return failed("%s: a buffer came %s", type_name(buffers.type()), when);
  }
  static_cast<void>(s.wait_for([](const Event&) { return false; }, std::chrono::milliseconds(20)));
  if (s.buffers_waiting(buffers.type()) == 0) return passed();
  return failed("%s: a buffer came %s", type_name(buffers.type()), when);
}
inline Finding have_state(const Buffers& buffers, std::uint32_t wanted, const char* when) {
  for (std::uint32_t index = 0; index < buffers.size(); ++index) {
    v4l2::BufferPayload payload{};
    if (auto found = buffers.query(index, payload)) return found;
    if (auto found = has_state(payload.buffer, wanted, when)) return found;
  }
  return passed();
}

inline Finding stops_at_once(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  if (auto found = watch(s, buffers, 2, [](const v4l2::Buffer&) { return passed(); })) return found;
  if (auto found = buffers.stop()) return found;
  // Whatever came before the answer has arrived by now.
  s.drop_events();
  if (auto found = stays_quiet(s, buffers, "after VIDIOC_STREAMOFF")) return found;
  return have_state(buffers, 0, "VIDIOC_QUERYBUF after VIDIOC_STREAMOFF");
}

inline Finding streams_again(Subject& s) {
  Buffers buffers(s);
  for (int round = 0; round < 3; ++round) {
    if (auto found = start_stream(buffers, 3)) return found;
    if (auto found = watch(s, buffers, 2, [](const v4l2::Buffer&) { return passed(); })) return found;
    if (auto found = buffers.stop()) return found;
    s.drop_events();
    if (auto found = buffers.release()) return found;
  }
  return passed();
}

inline Finding close_amid_stream(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  if (auto found = watch(s, buffers, 1, [](const v4l2::Buffer&) { return passed(); })) return found;
  const std::uint32_t closed = s.session();
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  if (auto found = s.close(closed)) return found;
  s.drop_events();
  // Another file gets the queue, and no events of the first file.
  auto request = v4l2_requestbuffers{};
  request.type = s.type();
  request.memory = s.memory();
  request.count = 2;
  if (auto found =
          s.expect_as<v4l2::tag::REQBUFS>(other, request, 0, "when a file was closed during its stream"))
    return found;
  const auto event = s.wait_for(
      [&](const Event& each) {
        return std::visit([&](const auto& any) { return any.session == closed && closed != other; }, each);
      },
      std::chrono::milliseconds(0));
  if (event) return failed("an event came for a closed file");
  return passed();
}

// A queue that runs out of buffers continues when it gets some.
inline Finding survives_drought(Subject& s) {
  Buffers buffers(s);
  if (auto found = start_stream(buffers)) return found;
  // As many as come back without being replaced: a driver may keep up to half of them.
  std::vector<std::uint32_t> held;
  while (held.size() < (buffers.size() + 1) / 2) {
    v4l2::Buffer buffer{};
    if (auto found = s.next_buffer(s.type(), buffer)) return found;
    if (buffer.head.index >= buffers.size())
      return failed("buffer %u came, but there are only %u", buffer.head.index, buffers.size());
    held.push_back(buffer.head.index);
  }
  for (const std::uint32_t index : held) {
    if (auto found = buffers.queue(index)) return found;
  }
  return watch(s, buffers, buffers.size(), [](const v4l2::Buffer&) { return passed(); });
}

inline constexpr Rule streaming_rules[] = {
    {"stream/returns-once",
     "a buffer comes once for each time that it was queued, and then belongs to the program",
     "V4L2 API, ioctl VIDIOC_DQBUF; Streaming I/O", Scope::stream, each_returns_once},
    {"stream/returns-all", "every buffer that was queued comes back", "V4L2 API, ioctl VIDIOC_DQBUF",
     Scope::stream, all_return},
    {"stream/order", "buffers come in the order in which they were queued",
     "V4L2 API, Streaming I/O (Memory Mapping)", Scope::stream, come_in_order},
    {"stream/describes-itself", "a buffer that comes is the one that was queued: memory, lengths, pointers",
     "V4L2 API, struct v4l2_buffer; VIRTIO 1.4, 5.22.6.4 DQBUF event", Scope::stream, describes_itself},
    {"stream/flags", "a buffer that comes is in no queue, and its clock stays the same",
     "V4L2 API, Buffers, Buffer Flags", Scope::stream, flags_of_done},
    {"stream/bytesused", "the used bytes are within the buffer, and there are some",
     "V4L2 API, struct v4l2_buffer and v4l2_plane, bytesused, data_offset", Scope::stream, bytes_fit},
    {"stream/whole-frames", "a raw frame has all of its lines", "V4L2 API, struct v4l2_pix_format, sizeimage",
     Scope::capture, raw_frames_are_whole},
    {"stream/field", "buffers have the field order of the format", "V4L2 API, Field Order", Scope::stream,
     fields_fit},
    {"stream/sequence", "frame numbers go up", "V4L2 API, struct v4l2_buffer, sequence", Scope::stream,
     numbers_rise},
    {"stream/sequence-restarts", "the frame numbers of a new stream start again",
     "V4L2 API, struct v4l2_buffer, sequence", Scope::capture, numbers_restart},
    {"stream/timestamps", "time stamps are plausible, and do not go backwards",
     "V4L2 API, struct v4l2_buffer, timestamp; Timestamp flags", Scope::stream, times_rise},
    {"stream/frames-arrive", "the bytes of a frame are where the guest looks for them",
     "VIRTIO 1.4, 5.22.6.3.4 Mapping a MMAP buffer; V4L2 API, Streaming I/O (User Pointers)", Scope::capture,
     frames_arrive},
    {"stream/writes-within", "nothing is written outside the guest's buffer",
     "V4L2 API, Streaming I/O (User Pointers)", Scope::capture, writes_within},
    {"stream/drought", "a stream that ran out of buffers continues when it gets some",
     "V4L2 API, Streaming I/O", Scope::stream, survives_drought},
    {"streamoff/at-once", "no buffer comes after the end of its stream", "V4L2 API, ioctl VIDIOC_STREAMOFF",
     Scope::stream, stops_at_once},
    {"streamoff/again", "a stream may be started again and again", "V4L2 API, ioctl VIDIOC_STREAMON",
     Scope::stream, streams_again},
    {"close/amid-stream", "a file that is closed during its stream leaves nothing of it",
     "V4L2 API, V4L2 close(); VIRTIO 1.4, 5.22.6.3.2 Close device", Scope::stream, close_amid_stream},
};

}  // namespace vumedia::client::compliance::detail::rules
