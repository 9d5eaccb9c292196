#include "decoder.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

#include "capture.hpp"

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::Outcome;
namespace tag = vumedia::v4l2::tag;

constexpr std::chrono::seconds decoder_patience{30};
constexpr std::uint32_t bitstream_buffers = 4;
// In addition to what the decoder needs for itself: that many can be in transit to us and back.
constexpr std::uint32_t spare_frames = 3;
// If that many packets are refused from the first one on, and no picture is announced, the device does not
// take this stream. A recording may begin in the middle of the longest group of pictures, and is still
// decoded.
constexpr std::uint64_t hopeless_packets = 1000;

}  // namespace

Decoder::Decoder(Device& device, Bitstream& bitstream, std::uint32_t fourcc)
    : device_(device),
      bitstream_(bitstream),
      wanted_(fourcc),
      output_(device, device.output_type()),
      capture_(device, device.capture_type()) {}

Outcome<> Decoder::run(const Consume& consume) {
  if (!device_.is_decoder()) {
    return failure("%s is not a decoder%s", device_.card().c_str(),
                   device_.is_camera() ? "; use capture for it" : "");
  }
  if (auto done = start_output(); !done) return done;
  while (!finished_ || seek_is_due_) {
    if (seek_is_due_) {
      if (auto done = jump(); !done) return done;
    }
    if (auto done = feed(); !done) return done;
    if (is_hopeless()) break;
    auto event = device_.wait(decoder_patience);
    if (!event) return std::unexpected(event.error());
    if (!*event)
      return failure("the decoder did not respond for %lld s",
                     static_cast<long long>(decoder_patience.count()));
    if (auto done = handle(**event, consume); !done) return done;
  }
  if (seek_ && frames_ != 0) {
    return failure("the stream has only %llu frames, too few to seek after %llu",
                   static_cast<unsigned long long>(frames_), static_cast<unsigned long long>(seek_->after));
  }
  if (auto done = output_.stop(); !done) return done;
  if (auto done = output_.release(); !done) return done;
  if (capture_.streaming()) {
    if (auto done = capture_.stop(); !done) return done;
  }
  return capture_.release();
}

bool Decoder::is_hopeless() const noexcept {
  const std::uint64_t returned = packets_ - (output_.size() - free_output_.size());
  return !picture_known_ && returned >= hopeless_packets && refused_packets_.count() == returned;
}

Outcome<> Decoder::start_output() {
  v4l2_format format{};
  format.type = output_.type();
  // The device determines the final size of the buffers. A packet seldom exceeds a raw frame; if the
  // container says that one does, the headers that a filter may put before it need room, too.
  const std::uint64_t pixels = std::uint64_t{bitstream_.width()} * bitstream_.height();
  const std::uint64_t largest = std::min<std::uint64_t>(bitstream_.largest_packet() + (1 << 16), 1 << 28);
  const auto size = static_cast<std::uint32_t>(
      std::max(std::clamp<std::uint64_t>(pixels * 3 / 2, 1 << 20, 1 << 25), largest));
  if (vumedia::v4l2::is_multiplanar(format.type)) {
    format.fmt.pix_mp.pixelformat = bitstream_.fourcc();
    format.fmt.pix_mp.width = bitstream_.width();
    format.fmt.pix_mp.height = bitstream_.height();
    format.fmt.pix_mp.num_planes = 1;
    format.fmt.pix_mp.plane_fmt[0].sizeimage = size;
  } else {
    format.fmt.pix.pixelformat = bitstream_.fourcc();
    format.fmt.pix.width = bitstream_.width();
    format.fmt.pix.height = bitstream_.height();
    format.fmt.pix.sizeimage = size;
  }
  const auto set = device_.try_call<tag::S_FMT>(format);
  if (auto connection = device_.alive(); !connection) return connection;
  if (!set || layout_of(format).fourcc != bitstream_.fourcc()) {
    return failure("the device does not decode %s (%s)", bitstream_.codec_name(),
                   fourcc_text(bitstream_.fourcc()).c_str());
  }
  for (const std::uint32_t type : {std::uint32_t{V4L2_EVENT_SOURCE_CHANGE}, std::uint32_t{V4L2_EVENT_EOS}}) {
    v4l2_event_subscription subscription{};
    subscription.type = type;
    const auto done = device_.call<tag::SUBSCRIBE_EVENT>(subscription);
    // The last buffer marks the end of the stream; the event for it is old and optional.
    if (!done && type == V4L2_EVENT_SOURCE_CHANGE) return done;
  }
  if (auto done = output_.allocate(bitstream_buffers); !done) return done;
  queued_.resize(output_.size());
  for (std::uint32_t index = 0; index < output_.size(); ++index) free_output_.push_back(index);
  return output_.start();
}

Outcome<> Decoder::feed() {
  while (!free_output_.empty() && !input_ended_) {
    if (packet_ == nullptr) {
      auto next = bitstream_.next();
      if (!next) return std::unexpected(next.error());
      packet_ = *next;
      input_ended_ = packet_ == nullptr;
      if (input_ended_) break;
    }
    const auto size = static_cast<std::size_t>(packet_->size);
    const auto room = find_room(size);
    if (!room) return std::unexpected(room.error());
    if (!*room) return {};
    const std::uint32_t index = **room;
    std::memcpy(output_.memory(index)[0].data(), packet_->data, size);
    if ((packet_->flags & AV_PKT_FLAG_DISCARD) != 0) hidden_numbers_.add(bitstream_.number());
    queued_[index] = {packets_, bitstream_.number()};
    shown_[bitstream_.number() % shown_.size()] = {bitstream_.number(), bitstream_.time()};
    if (auto done = output_.queue(index, static_cast<std::uint32_t>(size), bitstream_.number()); !done)
      return done;
    std::erase(free_output_, index);
    packet_ = nullptr;
    ++packets_;
  }
  // A drain is defined only while both queues stream, so it waits for the first source change. If none came
  // after all packets, the client sets up CAPTURE by itself: pictures that the decoder still holds are
  // announced then, and LAST shows that there are none.
  if (!input_ended_ || draining_) return {};
  if (!capture_.streaming()) {
    if (!all_returned()) return {};
    if (const auto done = restart_capture(); !done) {
      finished_ = device_.alive().has_value();
      return finished_ ? Outcome<>() : done;
    }
  }
  return drain();
}

Outcome<std::optional<std::uint32_t>> Decoder::find_room(std::size_t size) {
  const auto holds = [&](std::uint32_t index) { return output_.memory(index)[0].size() >= size; };
  for (const std::uint32_t index : free_output_) {
    if (holds(index)) return index;
  }
  for (std::uint32_t index = 0; index < output_.size(); ++index) {
    if (holds(index)) return std::nullopt;
  }
  const std::size_t largest = output_.memory(0)[0].size();
  const auto refused = [&](const char* why) {
    return failure(
        "packet %llu has %zu bytes, more than the device's bitstream buffers of %zu, and it offers no larger "
        "one (%s)",
        static_cast<unsigned long long>(packets_), size, largest, why);
  };
  if (size > std::numeric_limits<std::uint32_t>::max()) return refused("V4L2 has none");
  const auto added = output_.add(static_cast<std::uint32_t>(size));
  if (!added) {
    if (auto connection = device_.alive(); !connection) return std::unexpected(connection.error());
    return refused(added.error().message.c_str());
  }
  queued_.resize(output_.size());
  free_output_.push_back(*added);
  return *added;
}

Outcome<> Decoder::drain() {
  v4l2_decoder_cmd command{};
  command.cmd = V4L2_DEC_CMD_STOP;
  draining_ = true;
  end_told_ = last_was_latest_ = false;
  return device_.call<tag::DECODER_CMD>(command);
}

Outcome<> Decoder::jump() {
  const double seconds = seek_->to;
  seek_is_due_ = false;
  seek_.reset();
  // CAPTURE may continue as it is, unless its last buffer may be in transit: that of a drain that stopping
  // OUTPUT cancels, or of a resolution that may not come any more.
  const bool anew = capture_.streaming() && (draining_ || change_pending_ || last_seen_);
  if (auto done = output_.stop(); !done) return done;
  if (anew) {
    if (auto done = capture_.stop(); !done) return done;
  }
  if (auto done = settle(anew); !done) return done;
  free_output_.clear();
  for (std::uint32_t index = 0; index < output_.size(); ++index) free_output_.push_back(index);
  input_ended_ = draining_ = finished_ = end_told_ = false;
  packet_ = nullptr;
  if (auto done = bitstream_.seek(seconds); !done) return done;
  first_number_ = bitstream_.next_number();
  if (auto done = output_.start(); !done) return done;
  return anew ? restart_capture() : Outcome<>();
}

Outcome<> Decoder::settle(bool capture_stopped) {
  const Consume drop = [](const Picture&, const FrameNote&) { return Outcome<>(); };
  for (;;) {
    // Events of a stopped queue came before the answer to the command that stopped it.
    const auto event = device_.wait(std::chrono::milliseconds(0));
    if (!event) return std::unexpected(event.error());
    if (!*event) return {};
    if ((*event)->kind == Event::Kind::error) return handle(**event, drop);
    const bool is_buffer = (*event)->kind == Event::Kind::buffer;
    if (capture_stopped) continue;
    if (is_buffer && (*event)->buffer.head.type == output_.type()) continue;
    if (auto done = handle(**event, drop); !done) return done;
  }
}

Outcome<> Decoder::handle(const Event& event, const Consume& consume) {
  switch (event.kind) {
    case Event::Kind::buffer:
      if (event.buffer.head.type == capture_.type()) return take_frame(event.buffer, consume);
      if (event.buffer.head.type == output_.type()) take_packet(event.buffer);
      return {};
    case Event::Kind::v4l2:
      if (event.v4l2.type == V4L2_EVENT_EOS && draining_) {
        end_told_ = true;
        // Usually it comes with the last buffer, before or after it. If a picture was announced that never
        // came, the last buffer has been mistaken for that of a change.
        if (!capture_.streaming() || last_was_latest_) finished_ = true;
        return {};
      }
      if (event.v4l2.type != V4L2_EVENT_SOURCE_CHANGE ||
          (event.v4l2.u.src_change.changes & V4L2_EVENT_SRC_CH_RESOLUTION) == 0) {
        return {};
      }
      picture_known_ = true;
      if (!capture_.streaming() || last_seen_) return restart_capture();
      change_pending_ = true;
      return {};
    case Event::Kind::error:
      break;
  }
  return vumedia::system_failure(event.error, "the device ended the session");
}

void Decoder::take_packet(const vumedia::v4l2::Buffer& buffer) {
  const std::uint32_t index = buffer.head.index;
  if (index >= output_.size() || std::ranges::find(free_output_, index) != free_output_.end()) return;
  if ((buffer.head.flags & V4L2_BUF_FLAG_ERROR) != 0) {
    refused_packets_.add(queued_[index].place);
    refused_numbers_.add(queued_[index].number);
  }
  free_output_.push_back(index);
}

Outcome<> Decoder::take_frame(const vumedia::v4l2::Buffer& buffer, const Consume& consume) {
  const auto filled = capture_.filled(buffer);
  if (!filled) return std::unexpected(filled.error());
  const auto& time = buffer.head.timestamp;
  FrameNote note;
  note.packet =
      static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
  note.damaged = (buffer.head.flags & V4L2_BUF_FLAG_ERROR) != 0;
  if (const Shown& shown = shown_[note.packet % shown_.size()]; shown.number == note.packet)
    note.seconds = shown.seconds;
  const bool last = (buffer.head.flags & V4L2_BUF_FLAG_LAST) != 0;
  // We have to drop frames from before a seek: the device need not take back what it has sent.
  const bool stale = note.packet < first_number_;
  // An empty frame is damaged, too.
  const bool hidden = hidden_numbers_.contains(note.packet);
  if (note.damaged && !stale && !hidden && (!last || !filled->empty())) damaged_frames_.add(frames_);
  if (stale || hidden) {
    if (!filled->empty()) ++(stale ? stale_frames_ : hidden_frames_);
  } else if (!filled->empty()) {
    const auto picture = make_picture(layout_, visible_, filled->memory());
    if (!picture) return std::unexpected(picture.error());
    if (auto done = consume(*picture, note); !done) return done;
    ++frames_;
    picture_known_ = true;
    seek_is_due_ = seek_ && frames_ == seek_->after;
  }
  last_was_latest_ = last;
  if (!last) return capture_.queue(buffer.head.index);
  if (change_pending_ && !end_told_) return restart_capture();
  last_seen_ = true;
  finished_ = draining_;
  return {};
}

Outcome<> Decoder::restart_capture() {
  change_pending_ = false;
  last_seen_ = false;
  if (capture_.streaming()) {
    if (auto done = capture_.stop(); !done) return done;
  }
  if (capture_.size() != 0) {
    if (auto done = capture_.release(); !done) return done;
  }
  auto format = get_format(device_, capture_.type());
  if (!format) return std::unexpected(format.error());
  if (auto done = choose_frame_format(*format); !done) return done;
  const Layout before = std::exchange(layout_, layout_of(*format));
  const Rectangle visible_before = std::exchange(visible_, visible_rectangle());
  const bool same =
      before.width == layout_.width && before.height == layout_.height && visible_before == visible_;
  if (frames_ != 0 && !same) ++changes_;
  if (auto done = capture_.allocate(needed_buffers() + spare_frames); !done) return done;
  for (std::uint32_t index = 0; index < capture_.size(); ++index) {
    if (auto done = capture_.queue(index); !done) return done;
  }
  return capture_.start();
}

Outcome<> Decoder::choose_frame_format(v4l2_format& format) {
  std::uint32_t fourcc = wanted_;
  const Layout layout = layout_of(format);
  if (fourcc == 0 && !is_known(layout.fourcc)) {
    v4l2_fmtdesc description{};
    description.type = capture_.type();
    for (; fourcc == 0 && description.index < max_formats; ++description.index) {
      if (!device_.try_call<tag::ENUM_FMT>(description)) break;
      if (is_known(description.pixelformat)) fourcc = description.pixelformat;
    }
    if (fourcc == 0) return failure("the device has no output format that can be read here");
  }
  if (fourcc == 0 || fourcc == layout.fourcc) return {};
  const v4l2_format before = format;
  format = {};
  format.type = before.type;
  if (vumedia::v4l2::is_multiplanar(format.type)) {
    format.fmt.pix_mp.width = before.fmt.pix_mp.width;
    format.fmt.pix_mp.height = before.fmt.pix_mp.height;
    format.fmt.pix_mp.pixelformat = fourcc;
  } else {
    format.fmt.pix.width = before.fmt.pix.width;
    format.fmt.pix.height = before.fmt.pix.height;
    format.fmt.pix.pixelformat = fourcc;
  }
  if (auto done = device_.call<tag::S_FMT>(format); !done) return done;
  if (layout_of(format).fourcc != fourcc) {
    return failure("the device does not decode this stream to %s", fourcc_text(fourcc).c_str());
  }
  return {};
}

Rectangle Decoder::visible_rectangle() {
  // Linux programs may use either type for the queue; devices often know only one of them.
  for (const std::uint32_t type : {capture_.type(), std::uint32_t{V4L2_BUF_TYPE_VIDEO_CAPTURE}}) {
    v4l2_selection selection{};
    selection.type = type;
    selection.target = V4L2_SEL_TGT_COMPOSE;
    if (!device_.try_call<tag::G_SELECTION>(selection)) continue;
    if (selection.r.left < 0 || selection.r.top < 0 || selection.r.width == 0 || selection.r.height == 0)
      break;
    return {static_cast<std::uint32_t>(selection.r.left), static_cast<std::uint32_t>(selection.r.top),
            selection.r.width, selection.r.height};
  }
  return {0, 0, layout_.width, layout_.height};
}

std::uint32_t Decoder::needed_buffers() {
  const auto got = device_.get_control(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE);
  // Devices without the control raise the number in REQBUFS.
  return got ? static_cast<std::uint32_t>(std::clamp<std::int64_t>(*got, 1, 32)) : 4;
}

}  // namespace ctl
