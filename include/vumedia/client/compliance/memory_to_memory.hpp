// Rules on memory-to-memory devices that convert one raw frame into another, such as scalers: each frame that
// goes in comes back, and so does the frame made from it. Codecs are left out because they may keep frames;
// the rules for stateful decoders are elsewhere.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include <vumedia/client/compliance/buffers.hpp>
#include <vumedia/client/compliance/queueing.hpp>
#include <vumedia/client/compliance/rule.hpp>
#include <vumedia/client/compliance/streaming.hpp>

namespace vumedia::client::compliance::detail::m2m {

// Both queues with their buffers. Each pair of buffers is one job.
class Pair {
 public:
  explicit Pair(Subject& subject)
      : subject_(subject),
        output(subject, subject.facts().queue(true)->type, subject.memory()),
        capture(subject, subject.facts().queue(false)->type, subject.memory()) {}

  // Not applicable if one of the queues has coded frames.
  Finding allocate() {
    for (const bool out : {true, false}) {
      const Queue& queue = *subject_.facts().queue(out);
      const std::uint32_t fourcc = pixels_of(queue.initial).fourcc;
      for (const v4l2_fmtdesc& format : queue.formats) {
        if (format.pixelformat == fourcc && (format.flags & V4L2_FMT_FLAG_COMPRESSED) != 0)
          return not_applicable("%s has coded frames, which a codec may keep", type_name(queue.type));
      }
    }
    if (auto found = output.allocate(4)) return found;
    return capture.allocate(4);
  }
  // For frames whose time stamps are 1 s, 2 s and so on.
  Finding queue_all() const {
    for (std::uint32_t place = 0; place < output.size(); ++place) {
      auto payload = output.handed(place);
      payload.buffer.head.timestamp.tv_sec = place + 1;
      if (auto found = subject_.expect<v4l2::tag::QBUF>(payload)) return found;
    }
    return capture.queue_all();
  }
  Finding start() const {
    if (auto found = output.start()) return found;
    return capture.start();
  }
  Finding stream() {
    if (auto found = allocate()) return found;
    if (auto found = queue_all()) return found;
    return start();
  }
  Finding stop() const {
    if (auto found = output.stop()) return found;
    return capture.stop();
  }
  [[nodiscard]] std::uint32_t jobs() const noexcept { return std::min(output.size(), capture.size()); }

  // Both queues, for rules that hold for each alone.
  [[nodiscard]] std::array<const Buffers*, 2> queues() const noexcept { return {&output, &capture}; }

  // Calls `look(buffer, n)` for the n-th buffer of a queue that comes, for as many as there are jobs.
  template <class Look>
  Finding watch(const Buffers& buffers, Look&& look) const {
    for (std::uint32_t n = 0; n < jobs(); ++n) {
      v4l2::Buffer buffer{};
      if (auto found = subject_.next_buffer(buffers.type(), buffer)) return found;
      if (buffer.head.index >= buffers.size())
        return failed("%s: buffer %u came, but there are only %u", type_name(buffers.type()),
                      buffer.head.index, buffers.size());
      if (auto found = look(buffer, n)) return found;
    }
    return passed();
  }

 private:
  Subject& subject_;

 public:
  Buffers output;
  Buffers capture;
};

inline Finding returns_output(Subject& s) {
  Pair pair(s);
  if (auto found = pair.stream()) return found;
  return pair.watch(pair.output, [](const v4l2::Buffer&, std::uint32_t) { return passed(); });
}
inline Finding returns_capture(Subject& s) {
  Pair pair(s);
  if (auto found = pair.stream()) return found;
  return pair.watch(pair.capture, [](const v4l2::Buffer&, std::uint32_t) { return passed(); });
}

inline Finding keeps_order(Subject& s) {
  Pair pair(s);
  if (auto found = pair.stream()) return found;
  for (const Buffers* const buffers : pair.queues()) {
    if (auto found = pair.watch(*buffers, [&](const v4l2::Buffer& buffer, std::uint32_t n) {
          if (buffer.head.index == n) return passed();
          return failed("%s: buffer %u came before buffer %u, which was queued first",
                        type_name(buffers->type()), buffer.head.index, n);
        }))
      return found;
  }
  return passed();
}

inline Finding describes_itself(Subject& s) {
  Pair pair(s);
  if (auto found = pair.stream()) return found;
  for (const Buffers* const buffers : pair.queues()) {
    const bool made = buffers == &pair.capture;
    if (auto found = pair.watch(*buffers, [&](const v4l2::Buffer& buffer, std::uint32_t) -> Finding {
          constexpr std::uint32_t never = V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_PREPARED | V4L2_BUF_FLAG_DONE;
          if (buffer.head.memory != s.memory())
            return failed("a buffer came with memory %u, but has memory %u", buffer.head.memory, s.memory());
          if ((buffer.head.flags & never) != 0)
            return failed("a buffer that came back has flags 0x%x", buffer.head.flags);
          const Buffers::Record& record = (*buffers)[buffer.head.index];
          for (std::uint32_t p = 0; p < record.plane_count; ++p) {
            const std::uint32_t used = Buffers::used(buffer, p), length = Buffers::length(buffer, p);
            if (length != record.planes[p].length)
              return failed("plane %u has %u bytes, but came with %u", p, record.planes[p].length, length);
            if (used > length) return failed("%u of %u bytes are used", used, length);
            if (made && used == 0 && (buffer.head.flags & V4L2_BUF_FLAG_ERROR) == 0)
              return failed("a frame without bytes came without an error flag");
          }
          return passed();
        }))
      return found;
  }
  return passed();
}

inline Finding copies_times(Subject& s) {
  Pair pair(s);
  if (auto found = pair.allocate()) return found;
  v4l2::BufferPayload payload{};
  if (auto found = pair.output.query(0, payload)) return found;
  if ((payload.buffer.head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) != V4L2_BUF_FLAG_TIMESTAMP_COPY)
    return not_applicable("its time stamps are not copied");
  if (auto found = pair.queue_all()) return found;
  if (auto found = pair.start()) return found;
  return pair.watch(pair.capture, [](const v4l2::Buffer& buffer, std::uint32_t n) {
    const auto& stamp = buffer.head.timestamp;
    if (stamp.tv_sec == n + 1 && stamp.tv_usec == 0) return passed();
    return failed("time stamp %lld s, %lld us on a frame that went in with %u s",
                  static_cast<long long>(stamp.tv_sec), static_cast<long long>(stamp.tv_usec), n + 1);
  });
}

inline Finding streams_again(Subject& s) {
  Pair pair(s);
  if (auto found = pair.allocate()) return found;
  for (int round = 0; round < 3; ++round) {
    if (auto found = pair.queue_all()) return found;
    if (auto found = pair.start()) return found;
    if (auto found = pair.watch(pair.capture, [](const v4l2::Buffer&, std::uint32_t) { return passed(); }))
      return found;
    if (auto found = pair.stop()) return found;
    s.drop_events();
  }
  return passed();
}

inline Finding returns_once(Subject& s) {
  Pair pair(s);
  if (auto found = pair.stream()) return found;
  for (const Buffers* const buffers : pair.queues()) {
    std::set<std::uint32_t> seen;
    const auto is_first = [&](const v4l2::Buffer& buffer, std::uint32_t) -> Finding {
      if (!seen.insert(buffer.head.index).second)
        return failed("%s: buffer %u came twice and was queued once", type_name(buffers->type()),
                      buffer.head.index);
      v4l2::BufferPayload payload{};
      if (auto found = buffers->query(buffer.head.index, payload)) return found;
      return rules::has_state(payload.buffer, 0, "VIDIOC_QUERYBUF of a buffer that has come");
    };
    if (auto found = pair.watch(*buffers, is_first)) return found;
  }
  for (const Buffers* const buffers : pair.queues()) {
    if (auto found = rules::stays_quiet(s, *buffers, "more than were queued")) return found;
  }
  return passed();
}

// ---- The pixels

// One job, on memory that was filled: OUTPUT with `sent`, CAPTURE with what no picture is made of.
class FilledJob {
 public:
  static constexpr auto sent = std::byte{0x37};

  explicit FilledJob(Subject& subject) : pair(subject), subject_(subject) {}
  // Until its frame has come.
  Finding run() {
    if (subject_.memory() == V4L2_MEMORY_MMAP && subject_.facts().shm_size == 0)
      return not_applicable("the device has no shared memory");
    if (auto found = pair.allocate()) return found;
    if (auto found = rules::fill(subject_, pair.output[0], of_output, sent)) return found;
    if (auto found = rules::fill(subject_, pair.capture[0], of_capture)) return found;
    if (auto found = pair.output.queue(0)) return found;
    if (auto found = pair.capture.queue(0)) return found;
    if (auto found = pair.start()) return found;
    return subject_.next_buffer(pair.capture.type(), frame);
  }

  Pair pair;
  std::vector<MappedBuffer> of_output, of_capture;
  v4l2::Buffer frame{};

 private:
  Subject& subject_;
};

inline Finding frames_arrive(Subject& s) {
  FilledJob job(s);
  if (auto found = job.run()) return found;
  if (!rules::carries_picture(job.frame)) return passed();
  return rules::frame_is_there(s, job.pair.capture[0], job.of_capture, job.frame);
}

inline Finding keeps_output(Subject& s) {
  FilledJob job(s);
  if (auto found = job.run()) return found;
  const Buffers::Record& record = job.pair.output[0];
  for (std::uint32_t p = 0; p < record.plane_count; ++p) {
    std::vector<std::byte> bytes(record.planes[p].length);
    if (auto found = rules::read_plane(s, record, job.of_output, p, bytes)) return found;
    if (!rules::is_all(bytes, FilledJob::sent))
      return failed("plane %u of the frame that went in was changed", p);
  }
  return passed();
}

// ---- USERPTR

inline Finding returns_pointers(Subject& s) {
  if (s.memory() != V4L2_MEMORY_USERPTR) return not_applicable("only USERPTR buffers have pointers");
  Pair pair(s);
  if (auto found = pair.stream()) return found;
  for (const Buffers* const buffers : pair.queues()) {
    if (auto found = pair.watch(*buffers, [&](const v4l2::Buffer& buffer, std::uint32_t) {
          const Buffers::Record& record = (*buffers)[buffer.head.index];
          for (std::uint32_t p = 0; p < record.plane_count; ++p) {
            const auto sent = reinterpret_cast<unsigned long>(record.planes[p].own_memory.data());
            if (Buffers::pointer(buffer, p) != sent)
              return failed("%s: pointer 0x%lx of plane %u came as 0x%lx", type_name(buffers->type()), sent,
                            p, Buffers::pointer(buffer, p));
          }
          return passed();
        }))
      return found;
  }
  return passed();
}

inline Finding writes_within(Subject& s) {
  if (s.memory() != V4L2_MEMORY_USERPTR)
    return not_applicable("only the guest's own memory has something behind it");
  Pair pair(s);
  if (auto found = pair.allocate()) return found;
  auto payload = pair.capture.handed(0);
  rules::GuardedBuffer guarded;
  if (auto found = guarded.stand_in(s, pair.capture[0], payload)) return found;
  if (auto found = s.expect<v4l2::tag::QBUF>(payload)) return found;
  if (auto found = pair.output.queue(0)) return found;
  if (auto found = pair.start()) return found;
  v4l2::Buffer buffer{};
  if (auto found = s.next_buffer(pair.capture.type(), buffer)) return found;
  if (auto found = pair.stop()) return found;
  return guarded.check();
}

// ---- VIDIOC_STREAMON, VIDIOC_STREAMOFF

inline Finding needs_both(Subject& s) {
  Pair pair(s);
  if (auto found = pair.allocate()) return found;
  for (const bool out : {true, false}) {
    if (auto found = pair.queue_all()) return found;
    const Buffers &first = out ? pair.output : pair.capture, &second = out ? pair.capture : pair.output;
    if (auto found = first.start()) return found;
    for (const Buffers* const buffers : pair.queues()) {
      if (auto found = rules::stays_quiet(s, *buffers, "though only one queue streams")) return found;
    }
    if (auto found = second.start()) return found;
    if (auto found = pair.watch(pair.capture, [](const v4l2::Buffer&, std::uint32_t) { return passed(); }))
      return found;
    if (auto found = pair.stop()) return found;
    s.drop_events();
  }
  return passed();
}

// While the device has more CAPTURE buffers than frames, and then the other way round.
inline Finding stop_gives_back(Subject& s) {
  Pair pair(s);
  if (auto found = pair.allocate()) return found;
  for (const bool out : {true, false}) {
    const Buffers &many = out ? pair.output : pair.capture, &one = out ? pair.capture : pair.output;
    if (auto found = many.queue_all()) return found;
    if (auto found = one.queue(0)) return found;
    if (auto found = pair.start()) return found;
    v4l2::Buffer buffer{};
    if (auto found = s.next_buffer(one.type(), buffer)) return found;
    if (auto found = many.stop()) return found;
    if (auto found = rules::have_state(many, 0, "VIDIOC_QUERYBUF after VIDIOC_STREAMOFF")) return found;
    if (auto found = many.queue_all()) return found;
    if (auto found = pair.stop()) return found;
    s.drop_events();
  }
  return passed();
}

inline Finding stop_ends_it(Subject& s) {
  Pair pair(s);
  if (auto found = pair.stream()) return found;
  if (auto found = pair.stop()) return found;
  // What came before the answers is there by now.
  s.drop_events();
  for (const Buffers* const buffers : pair.queues()) {
    if (auto found = rules::stays_quiet(s, *buffers, "after VIDIOC_STREAMOFF")) return found;
  }
  return passed();
}

inline Finding stop_of_one(Subject& s) {
  Pair pair(s);
  if (auto found = pair.allocate()) return found;
  for (const bool out : {true, false}) {
    const Buffers &kept = out ? pair.capture : pair.output, &stopped = out ? pair.output : pair.capture;
    if (auto found = kept.queue_all()) return found;
    if (auto found = pair.start()) return found;
    if (auto found = stopped.stop()) return found;
    if (auto found =
            rules::have_state(kept, V4L2_BUF_FLAG_QUEUED, "VIDIOC_QUERYBUF, the other queue stopped"))
      return found;
    if (auto found = stopped.queue_all()) return found;
    if (auto found = stopped.start()) return found;
    if (auto found = pair.watch(pair.capture, [](const v4l2::Buffer&, std::uint32_t) { return passed(); }))
      return found;
    if (auto found = pair.stop()) return found;
    s.drop_events();
  }
  return passed();
}

inline constexpr Rule rules[] = {
    {"m2m/returns-output", "every OUTPUT buffer that was queued comes back",
     "V4L2 API, Video Memory-To-Memory Interface", Scope::m2m, returns_output},
    {"m2m/returns-capture", "every CAPTURE buffer for which a frame went in comes back",
     "V4L2 API, Video Memory-To-Memory Interface", Scope::m2m, returns_capture},
    {"m2m/order", "buffers of both queues come in the order in which they were queued",
     "V4L2 API, Streaming I/O (Memory Mapping)", Scope::m2m, keeps_order},
    {"m2m/describes-itself",
     "a buffer that comes is the one that was queued, its bytes are within it, and it is in no queue",
     "V4L2 API, struct v4l2_buffer", Scope::m2m, describes_itself},
    {"m2m/timestamps", "a frame has the time stamp of the one that it was made from",
     "V4L2 API, Buffers, V4L2_BUF_FLAG_TIMESTAMP_COPY", Scope::m2m, copies_times},
    {"m2m/again", "both queues may be started again and again", "V4L2 API, ioctl VIDIOC_STREAMON", Scope::m2m,
     streams_again},
    {"m2m/returns-once", "a buffer comes once for each time that it was queued, and is the program's then",
     "V4L2 API, ioctl VIDIOC_DQBUF", Scope::m2m, returns_once},
    {"m2m/frames-arrive", "the bytes of a frame are in the memory of its CAPTURE buffer",
     "V4L2 API, Input/Output; VIRTIO 1.4, 5.22.6.3.3 V4L2 ioctls", Scope::m2m, frames_arrive},
    {"m2m/keeps-output", "a frame that went in comes back unchanged",
     "V4L2 API, Video Memory-To-Memory Interface", Scope::m2m, keeps_output},
    {"m2m/pointers", "the guest's pointers come back with both kinds of buffers",
     "VIRTIO 1.4, 5.22.6.3.3 V4L2 ioctls, userptr", Scope::m2m, returns_pointers},
    {"m2m/writes-within", "nothing is written before or behind the guest's memory",
     "V4L2 API, Streaming I/O (User Pointers)", Scope::m2m, writes_within},
    {"m2m/needs-both", "no buffer comes until both queues stream",
     "V4L2 API, Video Memory-To-Memory Interface", Scope::m2m, needs_both},
    {"m2m/streamoff-returns", "stopping a queue amid its stream gives back all of its buffers",
     "V4L2 API, ioctl VIDIOC_STREAMOFF", Scope::m2m, stop_gives_back},
    {"m2m/streamoff-ends", "no buffer comes after both queues were stopped",
     "V4L2 API, ioctl VIDIOC_STREAMOFF", Scope::m2m, stop_ends_it},
    {"m2m/streamoff-of-one", "stopping one queue leaves the other as it is",
     "V4L2 API, Video Memory-To-Memory Interface", Scope::m2m, stop_of_one},
};

}  // namespace vumedia::client::compliance::detail::m2m
