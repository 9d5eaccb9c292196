// A client of V4L2's stateful decoder interface, for rules: it feeds a stream, follows source changes,
// drains, and records everything that comes back. If the decoder does something that no decoder may do, it
// ends with a finding.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/compliance/buffers.hpp>
#include <vumedia/client/compliance/facts.hpp>
#include <vumedia/client/compliance/finding.hpp>
#include <vumedia/client/compliance/subject.hpp>

namespace vumedia::client::compliance::detail::decoder {

namespace tag = v4l2::tag;

class Client {
 public:
  struct Frame {
    std::int64_t stamp = 0;  // microseconds
    std::uint32_t flags = 0;
    std::uint32_t sequence = 0;
    std::uint32_t starts = 0;   // of CAPTURE, up to then
    std::uint32_t changes = 0;  // source changes reported, up to then
    bool empty = false;         // no byte is used
    bool fits = true;           // bytesused is within each plane
  };
  struct Returned {
    std::int64_t stamp = 0;
    std::uint32_t flags = 0;
    std::uint32_t sequence = 0;
  };
  // What the device reports about its frames after a source change.
  struct Look {
    Pixels pixels;
    v4l2_rect visible{};
    std::int32_t buffers = 0;   // V4L2_CID_MIN_BUFFERS_FOR_CAPTURE
    std::uint32_t changes = 0;  // the event's
  };

  // Time stamps are multiples of this, from `first_stamp` on in the order of units.
  static constexpr std::int64_t stamp_step = 1000;

  Client(Subject& subject, const CodedStream& stream)
      : subject_(subject),
        stream_(stream),
        output_(subject, subject.facts().queue(true)->type, subject.memory()),
        capture_(subject, subject.facts().queue(false)->type, subject.memory()),
        end_(stream.units.size()) {}

  // -- Steps

  // Sets up OUTPUT: S_FMT, subscriptions, buffers and their contents, and STREAMON.
  Finding start_output(std::uint32_t count = 4);
  // Sets up CAPTURE as the device reports now: buffers, `extra` more than it needs, and STREAMON.
  Finding start_capture();
  Finding stop(const Buffers& queue);
  Finding start(const Buffers& queue);
  Finding command(std::uint32_t cmd);
  // Handles events and feeds buffers until `done()`.
  template <class Done>
  Finding run(Done done);
  // Feeds all units; returns once the last is queued and CAPTURE streams.
  Finding feed_all() {
    return run([this] { return next_ == end_ && capture_on_ && !change_pending_; });
  }
  // STOP, and everything up to its LAST.
  Finding drain();
  // All of the above.
  Finding play() {
    if (auto found = start_output()) return found;
    if (auto found = feed_all()) return found;
    return drain();
  }
  // After a STREAMOFF of OUTPUT: the stream from its beginning, with time stamps after the earlier ones.
  void rewind() {
    first_stamp_ += stamp_step * static_cast<std::int64_t>(stream_.units.size() + 10);
    next_ = 0;
  }
  // Queues all CAPTURE buffers that the client owns.
  Finding queue_capture();
  Finding queue_output(std::size_t place, std::span<const std::byte> bytes, std::int64_t stamp);
  // Whether the client owns an OUTPUT buffer; one of them.
  [[nodiscard]] std::size_t free_output() const noexcept {
    return static_cast<std::size_t>(std::ranges::find(output_queued_, false) - output_queued_.begin());
  }
  [[nodiscard]] bool has_free_output() const noexcept { return free_output() < output_queued_.size(); }
  // What CAPTURE should be now, according to the device.
  Finding look(Look& look);

  // -- Behaviour. To be set before the start.
  bool follows_changes = true;    // CAPTURE is started, and restarted after a source change
  bool queues_again = true;       // CAPTURE buffers as soon as they come
  bool needs_eos = false;         // V4L2_EVENT_EOS also completes a drain
  std::size_t most_at_once = 64;  // OUTPUT buffers that the device has at a time
  std::uint32_t extra = 2;        // CAPTURE buffers beyond the minimum
  // Bytes in place of a unit, before unit `garbage_at`; with time stamps of their own.
  std::size_t garbage_at = SIZE_MAX;

  // -- What came
  [[nodiscard]] const std::vector<Frame>& frames() const noexcept { return frames_; }
  [[nodiscard]] std::size_t pictures() const noexcept {
    return static_cast<std::size_t>(std::ranges::count(frames_, false, &Frame::empty));
  }
  [[nodiscard]] const std::vector<Returned>& returned() const noexcept { return returned_; }
  [[nodiscard]] const std::vector<Look>& looks() const noexcept { return looks_; }
  [[nodiscard]] std::int64_t first_stamp() const noexcept { return first_stamp_; }
  [[nodiscard]] std::size_t fed() const noexcept { return next_; }
  [[nodiscard]] bool all_returned() const noexcept { return std::ranges::count(output_queued_, true) == 0; }
  [[nodiscard]] bool capture_on() const noexcept { return capture_on_; }
  [[nodiscard]] bool change_pending() const noexcept { return change_pending_; }
  [[nodiscard]] bool drained() const noexcept { return drained_; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] const Buffers& output() const noexcept { return output_; }
  [[nodiscard]] const Buffers& capture() const noexcept { return capture_; }

 private:
  static constexpr std::size_t max_events = 100'000;

  Finding subscribe();
  Finding feed();
  Finding take(const Event& event);
  Finding take_buffer(const v4l2::Buffer& buffer);
  Finding take_frame(const v4l2::Buffer& buffer);
  Finding take_change(std::uint32_t changes);
  Finding restart_capture();
  Finding map(const Buffers& queue, std::vector<MappedBuffer>& mapped);

  Subject& subject_;
  const CodedStream& stream_;
  Buffers output_, capture_;
  std::vector<MappedBuffer> output_memory_;
  std::vector<bool> output_queued_, capture_queued_;
  std::size_t next_ = 0, end_;
  std::int64_t first_stamp_ = stamp_step;
  std::vector<Frame> frames_;
  std::vector<Returned> returned_;
  std::vector<Look> looks_;
  std::uint32_t starts_ = 0;
  bool capture_on_ = false, change_pending_ = false, stopping_ = false, drained_ = false, ended_ = false;
  bool garbage_sent_ = false;
};

// The stream of a run, if the device supports it; otherwise not applicable.
inline Finding find_stream(Subject& s, const CodedStream*& stream) {
  stream = s.settings().stream;
  if (stream == nullptr || stream->units.empty()) return not_applicable("no stream was given");
  for (const v4l2_fmtdesc& format : s.facts().queue(true)->formats) {
    if (format.pixelformat == stream->fourcc) return passed();
  }
  return not_applicable("the device does not decode %s", fourcc_name(stream->fourcc).c_str());
}

inline void set_size_image(v4l2_format& format, std::uint32_t size) noexcept {
  if (v4l2::is_multiplanar(format.type)) {
    format.fmt.pix_mp.num_planes = 1;
    format.fmt.pix_mp.plane_fmt[0].sizeimage = size;
  } else {
    format.fmt.pix.sizeimage = size;
  }
}

// ---- Setting up

inline Finding Client::subscribe() {
  for (const std::uint32_t type : {std::uint32_t{V4L2_EVENT_SOURCE_CHANGE}, std::uint32_t{V4L2_EVENT_EOS}}) {
    v4l2_event_subscription subscription{};
    subscription.type = type;
    const int got = subject_.call<tag::SUBSCRIBE_EVENT>(subscription);
    // The event for the end is not needed.
    if (type == V4L2_EVENT_EOS) continue;
    if (auto found = Subject::judge("VIDIOC_SUBSCRIBE_EVENT", got, 0, "to V4L2_EVENT_SOURCE_CHANGE"))
      return found;
  }
  return passed();
}

inline Finding Client::map(const Buffers& queue, std::vector<MappedBuffer>& mapped) {
  mapped.clear();
  if (subject_.memory() != V4L2_MEMORY_MMAP) return passed();
  for (std::uint32_t place = 0; place < queue.size(); ++place) {
    const auto one = subject_.map(subject_.session(), queue[place].planes[0].offset);
    if (!one) return failed("MMAP of OUTPUT buffer %u: %s", place, errno_name(one.error().value).c_str());
    mapped.push_back(*one);
  }
  return passed();
}

inline Finding Client::start_output(std::uint32_t count) {
  std::size_t largest = 4096;
  for (const auto& unit : stream_.units) largest = std::max(largest, unit.size());
  v4l2_format format{};
  format.type = output_.type();
  set_size(format, stream_.width, stream_.height);
  set_fourcc(format, stream_.fourcc);
  set_size_image(format, static_cast<std::uint32_t>(std::min<std::size_t>(largest, 64u << 20)));
  if (auto found = subject_.expect<tag::S_FMT>(format, 0, "of OUTPUT")) return found;
  if (auto found = subscribe()) return found;
  if (auto found = output_.allocate(count)) return found;
  if (auto found = map(output_, output_memory_)) return found;
  output_queued_.assign(output_.size(), false);
  if (auto found = feed()) return found;
  return start(output_);
}

inline Finding Client::start(const Buffers& queue) {
  if (auto found = queue.start()) return found;
  if (&queue == &capture_) {
    capture_on_ = true;
    drained_ = stopping_ = false;
    ++starts_;
  }
  return passed();
}

inline Finding Client::stop(const Buffers& queue) {
  if (auto found = queue.stop()) return found;
  // What came before the STREAMOFF does not matter any more, and nothing may come after it.
  if (const std::size_t waiting = subject_.buffers_waiting(queue.type()); waiting != 0) {
    const auto of_queue = [&](const Event& event) {
      const auto* const dqbuf = std::get_if<DqbufEvent>(&event);
      return dqbuf != nullptr && dqbuf->buffer.head.type == queue.type();
    };
    for (std::size_t i = 0; i < waiting; ++i)
      static_cast<void>(subject_.wait_for(of_queue, std::chrono::milliseconds(0)));
  }
  if (&queue == &capture_) {
    capture_on_ = false;
    capture_queued_.assign(capture_.size(), false);
  } else {
    output_queued_.assign(output_.size(), false);
  }
  drained_ = stopping_ = false;
  return passed();
}

inline Finding Client::look(Look& look) {
  v4l2_format format{};
  format.type = capture_.type();
  if (auto found = subject_.expect<tag::G_FMT>(format, 0, "of CAPTURE")) return found;
  look.pixels = pixels_of(format);
  v4l2_selection selection{};
  // Selections have no multi-planar types.
  selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  selection.target = V4L2_SEL_TGT_COMPOSE;
  if (subject_.call<tag::G_SELECTION>(selection) == 0) look.visible = selection.r;
  v4l2_control least{};
  least.id = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
  if (auto found = subject_.expect<tag::G_CTRL>(least, 0, "of V4L2_CID_MIN_BUFFERS_FOR_CAPTURE"))
    return found;
  look.buffers = least.value;
  return passed();
}

inline Finding Client::start_capture() {
  Look now;
  if (auto found = look(now)) return found;
  const auto least = static_cast<std::uint32_t>(std::clamp(now.buffers, 1, int{VIDEO_MAX_FRAME}));
  if (auto found = capture_.allocate(std::min<std::uint32_t>(least + extra, VIDEO_MAX_FRAME))) return found;
  capture_queued_.assign(capture_.size(), false);
  if (queues_again) {
    if (auto found = queue_capture()) return found;
  }
  return start(capture_);
}

inline Finding Client::restart_capture() {
  change_pending_ = false;
  const bool was_stopping = stopping_;
  if (auto found = stop(capture_)) return found;
  if (auto found = capture_.release()) return found;
  if (auto found = start_capture()) return found;
  if (!was_stopping) return passed();
  // The documentation leaves open whether the restart has ended a pending drain; a STOP makes sure.
  v4l2_decoder_cmd again{};
  again.cmd = V4L2_DEC_CMD_STOP;
  const int got = subject_.call<tag::DECODER_CMD>(again);
  stopping_ = true;
  return got == EBUSY ? passed() : Subject::judge("VIDIOC_DECODER_CMD", got, 0, "STOP after a source change");
}

inline Finding Client::command(std::uint32_t cmd) {
  v4l2_decoder_cmd payload{};
  payload.cmd = cmd;
  if (auto found = subject_.expect<tag::DECODER_CMD>(payload, 0, cmd == V4L2_DEC_CMD_STOP ? "STOP" : "START"))
    return found;
  if (cmd == V4L2_DEC_CMD_STOP) {
    stopping_ = true;
    ended_ = false;
  } else {
    stopping_ = false;
  }
  drained_ = false;
  return passed();
}

inline Finding Client::drain() {
  if (auto found = command(V4L2_DEC_CMD_STOP)) return found;
  return run([this] { return drained_ && (!needs_eos || ended_); });
}

// ---- Going on

inline Finding Client::queue_output(std::size_t place, std::span<const std::byte> bytes, std::int64_t stamp) {
  auto payload = output_.handed(place);
  const Buffers::Plane& plane = output_[place].planes[0];
  if (bytes.size() > plane.length)
    return failed("an OUTPUT buffer has %u bytes, though %zu were asked for", plane.length, bytes.size());
  if (subject_.memory() == V4L2_MEMORY_MMAP) {
    if (!subject_.guest().write(output_memory_[place], bytes))
      return failed("the mapping of OUTPUT buffer %zu is shorter than the buffer", place);
  } else {
    std::ranges::copy(bytes, plane.own_memory.begin());
  }
  v4l2_buffer& head = payload.buffer.head;
  (v4l2::is_multiplanar(output_.type()) ? payload.buffer.planes[0].bytesused : head.bytesused) =
      static_cast<std::uint32_t>(bytes.size());
  head.timestamp = {stamp / 1'000'000, stamp % 1'000'000};
  if (auto found = subject_.expect<tag::QBUF>(payload, 0, "of OUTPUT")) return found;
  output_queued_[place] = true;
  return passed();
}

inline Finding Client::feed() {
  // Bytes that make no sense to a decoder, in any format.
  static constexpr auto garbage = [] {
    std::array<std::byte, 700> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((i * 167 + 13) | 0x80);
    return bytes;
  }();
  while (next_ < end_ && has_free_output() &&
         static_cast<std::size_t>(std::ranges::count(output_queued_, true)) < most_at_once) {
    const std::int64_t stamp = first_stamp_ + static_cast<std::int64_t>(next_) * stamp_step;
    if (next_ == garbage_at && !garbage_sent_) {
      if (auto found = queue_output(free_output(), garbage, stamp - stamp_step / 2)) return found;
      garbage_sent_ = true;
      continue;
    }
    if (auto found = queue_output(free_output(), stream_.units[next_], stamp)) return found;
    ++next_;
  }
  return passed();
}

template <class Done>
Finding Client::run(Done done) {
  for (std::size_t events = 0; events < max_events; ++events) {
    if (auto found = feed()) return found;
    if (done()) return passed();
    const auto event = subject_.wait_for([this](const Event& each) {
      return std::visit([this](const auto& one) { return one.session == subject_.session(); }, each);
    });
    if (!event) {
      return failed(
          "nothing came within %lld ms, with %zu of %zu units queued, %zu of them returned, and %zu frames",
          static_cast<long long>(subject_.settings().patience.count()), next_, end_, returned_.size(),
          frames_.size());
    }
    if (auto found = take(*event)) return found;
  }
  return failed("events do not stop coming");
}

inline Finding Client::queue_capture() {
  for (std::size_t place = 0; place < capture_.size(); ++place) {
    if (capture_queued_[place]) continue;
    if (auto found = capture_.queue(place)) return found;
    capture_queued_[place] = true;
  }
  return passed();
}

inline Finding Client::take(const Event& event) {
  if (const auto* const error = std::get_if<ErrorEvent>(&event))
    return failed("an error event ended the session: %s", errno_name(error->error).c_str());
  if (const auto* const dqbuf = std::get_if<DqbufEvent>(&event)) return take_buffer(dqbuf->buffer);
  const v4l2_event& told = std::get<V4l2Event>(event).event;
  if (told.type == V4L2_EVENT_EOS) ended_ = true;
  if (told.type == V4L2_EVENT_SOURCE_CHANGE) return take_change(told.u.src_change.changes);
  return passed();
}

inline Finding Client::take_change(std::uint32_t changes) {
  if (auto found = look(looks_.emplace_back())) return found;
  looks_.back().changes = changes;
  change_pending_ = true;
  if (!follows_changes || capture_on_) return passed();
  change_pending_ = false;
  return start_capture();
}

inline Finding Client::take_buffer(const v4l2::Buffer& buffer) {
  const v4l2_buffer& head = buffer.head;
  if (head.type == capture_.type()) return take_frame(buffer);
  if (head.type != output_.type()) return failed("a buffer of %s came", type_name(head.type));
  if (head.index >= output_queued_.size() || !output_queued_[head.index])
    return failed("OUTPUT buffer %u came back, but was not queued", head.index);
  output_queued_[head.index] = false;
  returned_.push_back(
      {head.timestamp.tv_sec * 1'000'000 + head.timestamp.tv_usec, head.flags, head.sequence});
  return passed();
}

inline Finding Client::take_frame(const v4l2::Buffer& buffer) {
  const v4l2_buffer& head = buffer.head;
  if (!capture_on_) return failed("a CAPTURE buffer came while CAPTURE did not stream");
  if (drained_) return failed("a CAPTURE buffer came after the one flagged LAST");
  if (head.index >= capture_queued_.size() || !capture_queued_[head.index])
    return failed("CAPTURE buffer %u came back, but was not queued", head.index);
  capture_queued_[head.index] = false;
  Frame frame{.stamp = head.timestamp.tv_sec * 1'000'000 + head.timestamp.tv_usec,
              .flags = head.flags,
              .sequence = head.sequence,
              .starts = starts_,
              .changes = static_cast<std::uint32_t>(looks_.size())};
  const std::uint32_t planes = capture_[head.index].plane_count;
  frame.empty = true;
  for (std::uint32_t p = 0; p < planes; ++p) {
    const std::uint32_t used = Buffers::used(buffer, p);
    frame.empty = frame.empty && used == 0;
    frame.fits = frame.fits && used <= capture_[head.index].planes[p].length;
  }
  frames_.push_back(frame);
  if ((head.flags & V4L2_BUF_FLAG_LAST) == 0) {
    if (!queues_again) return passed();
    if (auto found = capture_.queue(head.index)) return found;
    capture_queued_[head.index] = true;
    return passed();
  }
  if (change_pending_) return follows_changes ? restart_capture() : passed();
  if (!stopping_) return failed("a CAPTURE buffer is flagged LAST, without a drain or a source change");
  drained_ = true;
  stopping_ = false;
  return passed();
}

}  // namespace vumedia::client::compliance::detail::decoder
