// Member functions of DecoderSession. Included by session.hpp.
#pragma once

#include <algorithm>

#include <vumedia/backends/ffmpeg/session.hpp>

namespace vumedia::backends::ffmpeg {

// ---- Formats

inline FormatDescription DecoderSession::adjust(std::uint32_t type,
                                                const v4l2_format& format) const noexcept {
  const FormatDescription wanted = read_format(format);
  if (type == types_.output) return adjust_coded(wanted, known_, limits());
  // The stream determines the choices; until it is known, the client may guess.
  const RawFormat* const chosen = find_raw_format(wanted.fourcc, offered());
  return describe_raw(picture_, chosen != nullptr ? *chosen : *raw_);
}

inline Result<> DecoderSession::ioctl(v4l2::tag::G_FMT, v4l2_format& format) const {
  if (find_queue(format.type) == nullptr) return fail(EINVAL);
  write_format(format, format.type == types_.output ? coded_ : describe_raw(picture_, *raw_));
  return {};
}

inline Result<> DecoderSession::ioctl(v4l2::tag::TRY_FMT, v4l2_format& format) const {
  if (find_queue(format.type) == nullptr) return fail(EINVAL);
  write_format(format, adjust(format.type, format));
  return {};
}

inline Result<> DecoderSession::ioctl(v4l2::tag::S_FMT, v4l2_format& format) {
  const Queue* const queue = find_queue(format.type);
  if (queue == nullptr) return fail(EINVAL);
  const FormatDescription adjusted = adjust(format.type, format);
  if (queue->is_busy()) return fail(EBUSY);
  if (queue == &capture_) {
    set_raw(*find_raw_format(adjusted.fourcc));
    choices_.remember(*raw_);
  } else {
    if (!handle_events()) return fail(memory::again);
    // CAPTURE's buffers were made for the current format.
    if (capture_.is_busy() && adjusted != coded_) return fail(EBUSY);
    coded_ = adjusted;
    engine_.reset_stream();
    if (!capture_.is_busy()) expect_picture();
  }
  write_format(format, adjusted);
  return {};
}

inline Result<> DecoderSession::ioctl(v4l2::tag::S_SELECTION, v4l2_selection& selection) const {
  // Nothing is scaled or moved: requests are adjusted to the actual rectangle.
  if (selection.target != V4L2_SEL_TGT_CROP && selection.target != V4L2_SEL_TGT_COMPOSE) return fail(EINVAL);
  v4l2_selection present = selection;
  if (auto got = get_selection(present, picture_); !got) return got;
  const bool larger = present.r.width > selection.r.width || present.r.height > selection.r.height;
  const bool smaller = present.r.width < selection.r.width || present.r.height < selection.r.height;
  if ((larger && (selection.flags & V4L2_SEL_FLAG_LE) != 0) ||
      (smaller && (selection.flags & V4L2_SEL_FLAG_GE) != 0)) {
    return fail(ERANGE);
  }
  selection.r = present.r;
  return {};
}

// ---- Buffers

inline std::uint64_t DecoderSession::buffer_bytes(const Queue& queue) const noexcept {
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < queue.options().max_buffers; ++i) {
    const auto* const slot = queue.slot(i);
    if (slot != nullptr && slot->planes[0].block != nullptr) bytes += slot->planes[0].block->size();
  }
  return bytes;
}

inline std::uint32_t DecoderSession::affordable(std::uint64_t size, const Queue* freed) const noexcept {
  // What the engine will need: the bitstream that it keeps, or the largest packet if that is larger.
  const std::uint64_t needed = std::max<std::uint64_t>(engine_options().history_bytes, coded_.size_image);
  const std::uint64_t reserved = needed - std::min<std::uint64_t>(needed, engine_bytes_->used());
  const std::uint64_t left = bytes_->left() + (freed != nullptr ? buffer_bytes(*freed) : 0);
  const auto rounded = align_up(size, page_size);
  if (left <= reserved || !rounded || *rounded == 0) return 0;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>((left - reserved) / *rounded, output_.options().max_buffers));
}

inline Result<> DecoderSession::ioctl(v4l2::tag::REQBUFS, v4l2_requestbuffers& request) {
  Queue* const queue = find_queue(request.type);
  if (queue == nullptr) return fail(EINVAL);
  const std::array size{size_image(*queue)};
  if (request.memory == V4L2_MEMORY_MMAP) {
    const std::uint32_t most = affordable(size[0], queue);
    if (most < request.count && arenas_.dirty()) return fail(memory::again);
    if (request.count != 0 && most == 0 && !queue->streaming()) return fail(ENOMEM);
    request.count = std::min(request.count, most);
  }
  const std::uint64_t before = queue->generation();
  const auto done = queue->reqbufs(request, size, arenas_);
  if (queue->generation() == before) return done;
  // The old buffers are gone, and so is what was queued.
  if (queue == &output_) {
    engine_.stop_output();
    forget_events<CodedBufferDone, EndOfStream>();
  } else {
    engine_.stop_capture();
    forget_events<FrameDone>();
    engine_.forget_capture_buffers(0, CaptureSlots::max_slots);
  }
  return done;
}

inline Result<> DecoderSession::ioctl(v4l2::tag::CREATE_BUFS, v4l2_create_buffers& request) {
  Queue* const queue = find_queue(request.format.type);
  if (queue == nullptr) return fail(EINVAL);
  if (request.count != 0) {
    const std::uint32_t wanted = read_format(request.format).size_image;
    if (wanted > queue->options().max_length) return fail(EINVAL);
    if (request.memory == V4L2_MEMORY_MMAP) {
      const std::uint32_t most = affordable(std::max(wanted, 1u), nullptr);
      if (most < request.count && arenas_.dirty()) return fail(memory::again);
      if (most == 0) return fail(ENOMEM);
      request.count = std::min(request.count, most);
    }
  }
  const std::array size{size_image(*queue)};
  return queue->create_bufs(request, size, arenas_);
}

inline Result<> DecoderSession::ioctl(v4l2::tag::REMOVE_BUFS, v4l2::RemoveBuffers& request) {
  Queue* const queue = find_queue(request.type);
  if (queue == nullptr) return fail(EINVAL);
  if (auto removed = queue->remove_bufs(request); !removed) return removed;
  if (queue == &capture_) engine_.forget_capture_buffers(request.index, request.count);
  return {};
}

inline Result<> DecoderSession::ioctl(v4l2::tag::QUERYBUF, v4l2::BufferPayload& payload) const {
  const Queue* const queue = find_queue(payload.buffer.head.type);
  return queue == nullptr ? Result<>(fail(EINVAL)) : queue->querybuf(payload);
}

inline Result<> DecoderSession::ioctl(v4l2::tag::PREPARE_BUF, v4l2::BufferPayload& payload) {
  Queue* const queue = find_queue(payload.buffer.head.type);
  return queue == nullptr ? Result<>(fail(EINVAL)) : queue->prepare_buf(payload, user_memory());
}

inline Result<> DecoderSession::ioctl(v4l2::tag::QBUF, v4l2::BufferPayload& payload) {
  Queue* const queue = find_queue(payload.buffer.head.type);
  if (queue == nullptr) return fail(EINVAL);
  if (queue == &capture_) {
    // Frames of the old shape may still come: while streaming, that shape counts.
    const std::size_t needed = capture_.streaming() ? needed_in_stream_ : layout_.size_image();
    const v4l2_buffer& head = payload.buffer.head;
    const auto* const slot = capture_.slot(head.index);
    // For its own memory the guest states the size each time.
    const std::uint32_t length = head.memory != V4L2_MEMORY_USERPTR
                                     ? slot != nullptr ? slot->planes[0].length : 0
                                 : types_.multiplanar() ? payload.buffer.planes[0].length
                                                        : head.length;
    if (slot != nullptr && length < needed) return fail(EINVAL);
  }
  if (auto queued = queue->qbuf(payload, user_memory()); !queued) return queued;
  if (queue == &output_) {
    pass_on_output();
  } else {
    pass_on_capture();
  }
  return {};
}

// Gives the engine the buffers that it may have.
inline void DecoderSession::pass_on_output() {
  if (!output_.streaming()) return;
  while (const auto index = output_.take_next()) {
    const auto& slot = *output_.slot(*index);
    const auto& plane = slot.planes[0];
    CodedBuffer buffer;
    buffer.index = *index;
    // BufferQueue has checked both against the plane's length.
    const std::size_t used = plane.bytesused > plane.data_offset ? plane.bytesused - plane.data_offset : 0;
    buffer.bytes = plane.bytes().subspan(plane.data_offset, used);
    buffer.owner = plane.owner();
    buffer.stamp = {slot.timestamp_ns, slot.timecode,
                    slot.flags & (V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_TSTAMP_SRC_MASK)};
    if (!engine_.queue_output(std::move(buffer))) on(CodedBufferDone{*index, true});
  }
}

inline void DecoderSession::pass_on_capture() {
  if (!capture_.streaming()) return;
  while (const auto index = capture_.take_next()) {
    const auto& plane = capture_.slot(*index)->planes[0];
    // A queue has no index beyond the engine's limit.
    (void)engine_.queue_capture(*index,
                                 {plane.bytes().data(), plane.bytes().size(), plane.owner(), plane.userptr});
  }
}

inline bool DecoderSession::a_capture_buffer_holds(std::size_t size) const noexcept {
  for (std::uint32_t i = 0; i < capture_.options().max_buffers; ++i) {
    const auto* const slot = capture_.slot(i);
    if (slot != nullptr && slot->planes[0].length >= size) return true;
  }
  return false;
}

inline Result<media::Mappable> DecoderSession::mmap(std::uint32_t mem_offset) {
  for (Queue* const queue : {&output_, &capture_}) {
    if (auto found = queue->mappable(mem_offset)) return found;
  }
  return fail(EINVAL);
}

// ---- Streaming

inline Result<> DecoderSession::ioctl(v4l2::tag::STREAMON, std::uint32_t& type) {
  if (type == types_.output) return start_output();
  if (type == types_.capture) return start_capture();
  return fail(EINVAL);
}

inline Result<> DecoderSession::start_output() {
  if (output_.streaming()) return {};
  if (output_.count() == 0) return fail(EINVAL);
  if (auto started = engine_.start_output(coded_.fourcc, workers_); !started) return started;
  if (auto on = output_.stream_on(types_.output); !on) return on;
  pass_on_output();
  return {};
}

inline Result<> DecoderSession::start_capture() {
  if (capture_.streaming()) return {};
  if (!handle_events()) return fail(memory::again);
  const std::size_t needed = layout_.size_image();
  if (!a_capture_buffer_holds(needed)) return fail(EINVAL);
  if (auto on = capture_.stream_on(types_.capture); !on) return on;
  needed_in_stream_ = needed;
  pass_on_capture();
  engine_.start_capture(capture_setup());
  return {};
}

inline Result<> DecoderSession::ioctl(v4l2::tag::STREAMOFF, std::uint32_t& type) {
  Queue* const queue = find_queue(type);
  if (queue == nullptr) return fail(EINVAL);
  if (auto off = queue->stream_off(type); !off) return off;
  if (queue == &output_) {
    engine_.stop_output();
    forget_events<CodedBufferDone, EndOfStream>();
    output_sequence_ = 0;
  } else {
    engine_.stop_capture();
    forget_events<FrameDone>();
    capture_sequence_ = 0;
  }
  return {};
}

// ---- Commands and events

inline Result<> DecoderSession::ioctl(v4l2::tag::TRY_DECODER_CMD, v4l2_decoder_cmd& command) const {
  const std::uint32_t cmd = command.cmd;
  if (cmd != V4L2_DEC_CMD_START && cmd != V4L2_DEC_CMD_STOP) return fail(EINVAL);
  // Speed, a time to stop at, and black frames are not supported.
  command = {};
  command.cmd = cmd;
  return {};
}

inline Result<> DecoderSession::ioctl(v4l2::tag::DECODER_CMD, v4l2_decoder_cmd& command) {
  if (auto valid = ioctl(v4l2::tag::TRY_DECODER_CMD{}, command); !valid) return valid;
  if (!handle_events()) return fail(memory::again);
  if (command.cmd == V4L2_DEC_CMD_STOP) {
    // A drain needs two queues that stream; otherwise the command does nothing and does not fail.
    if (!output_.streaming() || !capture_.streaming()) return {};
    return engine_.drain();
  }
  if (capture_.streaming() && !a_capture_buffer_holds(layout_.size_image())) return fail(EBUSY);
  if (auto resumed = engine_.resume(capture_setup()); !resumed) return resumed;
  needed_in_stream_ = layout_.size_image();
  return {};
}

inline Result<> DecoderSession::ioctl(v4l2::tag::SUBSCRIBE_EVENT, v4l2_event_subscription& request) {
  constexpr std::array<std::uint32_t, 2> types{V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_EOS};
  return v4l2::subscribe_event(subscriptions_, request, types, &controls_,
                               [this](const v4l2_event& event) { context_.send_event(event); });
}

inline bool DecoderSession::handle_events() {
  return handle_events(nullptr);
}

inline bool DecoderSession::handle_events(memory::Work* work) {
  while (true) {
    for (; next_event_ < events_.size(); ++next_event_) {
      const Event& event = events_[next_event_];
      const auto* const frame = std::get_if<FrameDone>(&event);
      if (frame != nullptr && !capture_.store(frame->index, completion_of(*frame), work)) {
        context_.do_later(event_chore_);
        return false;
      }
      std::visit([this](const auto& one) { on(one); }, event);
    }
    next_event_ = 0;
    engine_.take_events(events_);
    if (events_.empty()) return true;
  }
}

template <class... Gone>
void DecoderSession::forget_events() noexcept {
  events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(next_event_));
  next_event_ = 0;
  std::erase_if(events_, [](const Event& event) { return (std::holds_alternative<Gone>(event) || ...); });
}

inline void DecoderSession::on(const CodedBufferDone& done) {
  Queue::Completion completion;
  completion.error = done.damaged;
  completion.sequence = output_sequence_++;
  if (const auto buffer = output_.complete(done.index, completion)) context_.send_dqbuf(*buffer);
}

inline DecoderSession::Queue::Completion DecoderSession::completion_of(const FrameDone& done) noexcept {
  Queue::Completion completion;
  completion.bytesused[0] = done.bytes_used;
  completion.flags = done.flags | done.stamp.flags;
  completion.error = (done.flags & V4L2_BUF_FLAG_ERROR) != 0;
  completion.field = done.field;
  completion.timestamp_ns = done.stamp.timestamp_ns;
  completion.timecode = done.stamp.timecode;
  return completion;
}

inline void DecoderSession::on(const FrameDone& done) {
  Queue::Completion completion = completion_of(done);
  completion.sequence = capture_sequence_++;
  if (const auto buffer = capture_.complete(done.index, completion)) context_.send_dqbuf(*buffer);
}

inline void DecoderSession::on(const PictureChanged& change) {
  // A client that streams into CAPTURE buffers of exactly this shape has nothing to set up, and gets its
  // frames at once. If it were told about a change it would restart CAPTURE, as GStreamer 1.22 does, and lose
  // the first frames.
  const bool expected = !picture_known_ && capture_.streaming() && picture_.same_shape(change.picture) &&
                        suits(*raw_, change.picture.samples);
  picture_ = change.picture;
  picture_known_ = true;
  set_raw(expected ? *raw_ : choices_.best_for(picture_.samples));
  serial_ = change.serial;
  coded_.width = picture_.size.width;
  coded_.height = picture_.size.height;
  set_colours(change.picture.colours);
  controls_.set_value(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, change.min_buffers);
  const CodedFormat* const coded = find_coded_format(coded_.fourcc);
  const AVCodecID codec = coded != nullptr ? coded->codec : AV_CODEC_ID_NONE;
  // A value that is not in the menu is ignored: libavcodec also tries profiles that it does not know.
  if (const auto profile = profile_control(codec, change.profile))
    controls_.set_value(profile->id, profile->value);
  const std::uint64_t samples = std::uint64_t{picture_.visible.width} * picture_.visible.height;
  if (const auto level = level_control(codec, change.level, samples))
    controls_.set_value(level->id, level->value);
  if (change.tier >= 0) controls_.set_value(V4L2_CID_MPEG_VIDEO_HEVC_TIER, change.tier);
  if (expected) return;
  subscriptions_.deliver(v4l2::source_change_event(),
                         [this](const v4l2_event& event) { context_.send_event(event); });
}

inline void DecoderSession::on(const EndOfStream&) {
  subscriptions_.deliver(v4l2::make_event(V4L2_EVENT_EOS),
                         [this](const v4l2_event& event) { context_.send_event(event); });
}

}  // namespace vumedia::backends::ffmpeg
