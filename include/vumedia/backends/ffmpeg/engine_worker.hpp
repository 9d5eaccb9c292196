// The worker's half of an Engine. Included by engine.hpp.
//
// The worker owns the codec and the frames; everything else is read and written with the lock held. The lock
// is never held while libavcodec works, while samples are copied or while frames are dropped.
#pragma once

#include <algorithm>
#include <bit>

#include <vumedia/backends/ffmpeg/engine.hpp>

namespace vumedia::backends::ffmpeg {

inline void Engine::work() {
  frame_.reset(av_frame_alloc());
  Lock lock(slots_->mutex());
  while (!closing_) {
    if (step(lock) == Step::wait && !closing_) slots_->changed.wait(lock);
  }
  lock.unlock();
  frame_.reset();
  at_hand_.reset();
  codec_ = {};
}

inline Engine::Step Engine::step(Lock& lock) {
  if (worker_epoch_ != stream_epoch_) {
    begin_stream(lock);
    return Step::again;
  }
  if (last_ != Last::none) return deliver_last();
  if (phase_ != Phase::running) return Step::wait;
  if (has_frame_) return deliver(lock);
  if (more_frames_) {
    receive_next(lock);
    return Step::again;
  }
  if (output_on_ && at_hand_) {
    send_part(lock);
    return Step::again;
  }
  if (output_on_ && !queue_.empty() && !held_back_) {
    send_next(lock);
    return Step::again;
  }
  return Step::wait;
}

// Drops everything from before: after a seek, after a drain, or for a new stream.
inline void Engine::begin_stream(Lock& lock) {
  worker_epoch_ = stream_epoch_;
  const bool reopen = std::exchange(reopen_, false);
  if (reopen) hints_ = {};
  const bool continues = std::exchange(continues_, false) && !reopen;
  lock.unlock();
  if (frame_) av_frame_unref(frame_.get());
  has_frame_ = more_frames_ = codec_draining_ = false;
  const bool ends_sequence = this->ends_sequence();
  at_hand_.reset();
  watch_.clear();
  if (reopen) {
    wants_hints_ = true;
    refused_format_ = AV_PIX_FMT_NONE;
    splitter_ = {};
    reordering_ = Reordering(!has_frame_threads());
  }
  if (reopen || ends_sequence) {
    codec_ = {};
  } else if (codec_) {
    codec_.flush();
  }
  if (!continues || history_.packets().empty()) recovery_.restart();
  if (!continues) {
    history_.clear();
    reordering_.forget_pictures();
  }
  replay_due_ = continues;
  looks_for_start_ = !continues;
  if (continues) resume_id_ = next_id_;
  lock.lock();
  if (worker_epoch_ == stream_epoch_ && !closing_) interruption_.go();
}

inline void Engine::send_next(Lock& lock) {
  if (std::holds_alternative<DrainMark>(queue_.front())) return send_drain(lock);
  CodedBuffer buffer = std::move(*std::get_if<CodedBuffer>(&queue_.front()));
  queue_.pop_front();
  at_hand_.emplace(AtHand{.done = {buffer.index, false},
                          .stamp = buffer.stamp,
                          .serial = serial_,
                          .format = format_,
                          .packet = nullptr,
                          .next = nullptr});
  lock.unlock();
  // An empty packet would begin a drain.
  if (!buffer.bytes.empty()) {
    at_hand_->packet = copy_packet(buffer.bytes);
    if (!at_hand_->packet) at_hand_->done.damaged = true;
  }
  buffer.owner.reset();
  lock.lock();
}

inline void Engine::send_drain(Lock& lock) {
  codec_draining_ = true;
  codec_drain_ = std::get_if<DrainMark>(&queue_.front())->drain;
  queue_.pop_front();
  lock.unlock();
  if (codec_) (void)codec_.drain(recovery_.knows_more());
  more_frames_ = true;  // or their end
  lock.lock();
}

// Decodes the next picture of the current buffer.
inline void Engine::send_part(Lock& lock) {
  AtHand& hand = *at_hand_;
  if (hand.next) hand.serial = serial_;
  lock.unlock();
  if (hand.next) {
    codec_ = {};
  } else if (hand.packet) {
    hand.next = cut_picture(hand);
    if (hand.next && reordering_.begins_sequence(hand.format->codec, bytes_of(*hand.next)) && codec_) {
      (void)codec_.drain(recovery_.knows_more());
      more_frames_ = true;
      return lock.lock();
    }
  }
  if (Packet packet = std::move(hand.next); packet && !send_packet(hand, std::move(packet)))
    hand.done.damaged = true;
  const CodedBufferDone done = hand.done;
  const std::uint64_t serial = hand.serial;
  const bool complete = !hand.packet;
  if (complete) at_hand_.reset();
  lock.lock();
  if (!complete || worker_epoch_ != stream_epoch_) return;
  if (serial_ != serial && !capture_on_ && !done.damaged) {
    held_back_ = done;
  } else {
    push(done);
  }
}

// Takes the next picture from the current buffer. None if there is no memory, which is logged.
inline Packet Engine::cut_picture(AtHand& hand) {
  const auto all = bytes_of(*hand.packet);
  const auto rest = all.subspan(hand.at);
  const auto part = rest.first(splitter_.first(hand.format->codec, rest));
  // Parsers read past the end, where there must be zeros.
  Packet picture = part.size() == all.size() ? std::move(hand.packet) : copy_packet(part);
  if (!picture) hand.done.damaged = true;
  hand.at += part.size();
  if (part.size() == rest.size()) hand.packet.reset();
  return picture;
}

// Packets to be decoded have priority over those kept for decoding again.
inline Packet Engine::copy_packet(std::span<const std::byte> bytes) {
  Packet packet = Codec::copy(bytes, options_.bytes);
  if (!packet && !history_.packets().empty()) {
    history_.clear();
    packet = Codec::copy(bytes, options_.bytes);
  }
  if (!packet) report("no memory for a packet", AVERROR(ENOMEM));
  return packet;
}

// Makes sure that there is a decoder for the current stream. False if that is impossible.
inline bool Engine::open_codec(const CodedFormat& format) {
  if (codec_ && worker_format_ == &format) return true;
  codec_ = {};
  history_.clear();
  watch_.clear();
  auto codec = Codec::open(format, options_.codec, reordering_.setup(), &Engine::get_buffer, interruption_);
  if (!codec) {
    report("cannot open the decoder", AVERROR(codec.error().value));
    return false;
  }
  codec_ = std::move(*codec);
  worker_format_ = &format;
  return true;
}

// Decodes a packet of at most one picture. False if it did not yield what it should.
inline bool Engine::send_packet(const AtHand& hand, Packet packet) {
  const CodedFormat& format = *hand.format;
  if (!frame_ || !open_codec(format)) return false;
  if (format.codec == AV_CODEC_ID_H264) codec_.hold_back(reordering_.held_back());
  const auto bytes = bytes_of(*packet);
  const ResumePoint point = resume_point_of(format.codec, bytes);
  if (std::exchange(replay_due_, false) && point != ResumePoint::closed) replay();
  bool is_cut = false;
  if (format.codec == AV_CODEC_ID_MJPEG) {
    const auto markers = JpegMarkers::of(bytes);
    is_cut = !markers.complete;
    if (!markers.reasonable()) {
      report("a picture with too many scans or tables", AVERROR_INVALIDDATA);
      return false;
    }
  }
  packet->pts = next_id_++;
  if (looks_for_start_) {
    looks_for_start_ = !can_begin_with(format.codec, point, bytes);
    // The output of this one is not a frame of the stream.
    if (looks_for_start_) resume_id_ = next_id_;
  }
  recovery_.note(format.codec, bytes, packet->pts);
  look_for_hints(format, point, *packet);
  history_.add(point, *packet);
  const std::size_t place = static_cast<std::size_t>(packet->pts) % stamps_.size();
  stamps_[place] = hand.stamp;
  const int sent = send_to_codec(*packet);
  if (interruption_.stopped()) return true;
  const bool headless = lacks_beginning(format.codec, bytes);
  const bool failed = (sent < 0 && holds_picture(format, bytes)) || headless;
  if (failed) report_damage(headless ? AVERROR_INVALIDDATA : sent);
  // Some decoders give the picture out all the same, now or later. With several threads the failure may be
  // that of a packet before.
  damaged_[place] = is_cut || (failed && !has_frame_threads());
  // With one thread the frame is decoded now, and what is wrong with it can still be said of its buffer.
  more_frames_ = true;
  bool refused = false;
  has_frame_ = receive(*frame_, refused);
  return !failed && !refused;
}

inline int Engine::send_to_codec(const AVPacket& packet) {
  packets_.fetch_add(1, std::memory_order_relaxed);
  watch_.next_packet();
  const int result = codec_.send(packet);
  watch_.call_done();
  return result;
}

inline int Engine::receive_from_codec(AVFrame& frame) {
  const int result = codec_.receive(frame);
  watch_.call_done();
  return result;
}

// This comes before libavcodec sees the packet, because it may ask for a frame's memory at once, and then the
// picture is announced.
inline void Engine::look_for_hints(const CodedFormat& format, ResumePoint point, const AVPacket& packet) {
  const auto bytes = bytes_of(packet);
  std::optional<int> tier;
  if (format.codec == AV_CODEC_ID_HEVC && (wants_hints_ || point != ResumePoint::none))
    tier = hevc_tier(bytes);
  std::optional<std::uint32_t> field;
  if (wants_hints_ && holds_picture(format, bytes)) {
    field = field_of_packet(format.codec, packet);
    wants_hints_ = false;
  }
  if (!tier && !field) return;
  const std::lock_guard lock(slots_->mutex());
  if (tier) hints_.tier = *tier;
  if (field) hints_.field = *field;
}

// Restores libavcodec's state from before the drain.
inline void Engine::replay() {
  for (const auto& past : history_.packets()) {
    if (interruption_.stopped()) return;
    // What was wrong with it has been reported.
    (void)send_to_codec(*past);
    while (!interruption_.stopped() && receive_from_codec(*frame_) >= 0) {
      (void)recovery_.passes(frame_->pts, false);
      av_frame_unref(frame_.get());
    }
  }
}

inline void Engine::receive_next(Lock& lock) {
  lock.unlock();
  bool refused = false;
  has_frame_ = receive(*frame_, refused);
  lock.lock();
  const bool ended = codec_draining_ && !has_frame_ && !more_frames_;
  if (!ended || worker_epoch_ != stream_epoch_) return;
  if (draining_ && codec_drain_ == drains_) {
    last_ = Last::drain;
  } else {
    continue_decoding();
  }
}

// The next frame, in display order. False, with more_frames_ false, if another packet is needed first (or if
// the errors do not end).
inline bool Engine::receive(AVFrame& frame, bool& refused) {
  for (int errors = 0; errors < 32 && codec_; ++errors) {
    int result = 0;
    bool shows = false;
    do {
      if (interruption_.stopped()) break;
      av_frame_unref(&frame);
      result = receive_from_codec(frame);
      // Frames that a replay held back have been delivered already; frames before a resume point cannot be
      // correct.
      shows = result < 0 || frame.pts <= 0 || frame.pts >= resume_id_;
      if (result >= 0 && !recovery_.passes(frame.pts, codec_draining_ || ends_sequence())) shows = false;
    } while (!shows);
    if (interruption_.stopped() || result == AVERROR(EAGAIN) || result == AVERROR_EOF) break;
    const bool got = result >= 0;
    if (got && is_supported(static_cast<AVPixelFormat>(frame.format)) &&
        picture_of(frame, codec_.context().codec_id)) {
      refused_format_ = AV_PIX_FMT_NONE;
      had_holes_ = WriteWatch::had_holes(frame);
      return true;
    }
    refused = true;
    if (got) refused_format_ = frame.format;
    report_damage(got ? 0 : result);
    av_frame_unref(&frame);
  }
  more_frames_ = false;
  return false;
}

inline Engine::Step Engine::deliver(Lock& lock) {
  const AVFrame& frame = *frame_;
  // receive() has made sure that there is one.
  const Picture picture = *picture_of(frame, codec_.context().codec_id);
  if (is_news(picture)) {
    announce(picture, codec_.context());
  } else {
    notice_look(picture);
  }
  if (!capture_on_) return Step::wait;
  if (!capture_fits()) {
    last_ = Last::change;
    return Step::again;
  }
  std::optional<std::uint32_t> index;
  if (lies_as(frame, capture_.layout)) index = slots_->take_rendered(frame.data[0]);
  if (index) {
    ++counters_.in_place;
  } else {
    auto target = slots_->take_free(capture_.layout.payload());
    if (!target) return Step::wait;
    index = copy_out(lock, std::move(*target));
    if (!index) return Step::again;
    ++counters_.copied;
  }
  FrameDone done{
      *index, static_cast<std::uint32_t>(capture_.layout.payload()), buffer_flags(frame), picture.field, {}};
  if (had_holes_) done.flags |= V4L2_BUF_FLAG_ERROR;
  if (frame.pts > 0) {
    const std::size_t place = static_cast<std::size_t>(frame.pts) % stamps_.size();
    done.stamp = stamps_[place];
    if (damaged_[place]) done.flags |= V4L2_BUF_FLAG_ERROR;
  }
  push(done);

  lock.unlock();
  av_frame_unref(frame_.get());
  has_frame_ = false;
  lock.lock();
  return Step::again;
}

// `picture` has the shape of current_.
inline void Engine::notice_look(const Picture& picture) {
  const bool field_changed = !covers(current_->field, picture.field);
  const std::uint32_t buffers = min_buffers(codec_.context());
  if (current_->samples == picture.samples && current_->colours == picture.colours && !field_changed &&
      buffers == min_buffers_)
    return;
  current_->samples = picture.samples;
  current_->colours = picture.colours;
  if (field_changed) current_->field = picture.field;
  min_buffers_ = buffers;
  push(LookChanged{current_->samples, current_->colours, current_->field, min_buffers_});
}

// LAST comes in a buffer of its own, without a frame. LAST on the last frame would be enough for V4L2, which
// then wakes pollers for the EPIPE after it; but the Linux driver of virtio-media does not, and a client that
// polls before it asks for the next frame, as FFmpeg does, would wait forever. All clients understand an
// empty buffer.
inline Engine::Step Engine::deliver_last() {
  if (!capture_on_) {
    // Nothing was ever decoded, or CAPTURE is being set up.
    if (last_ == Last::drain) push_end_of_stream();
    return Step::wait;
  }
  const auto index = slots_->take_any();
  if (!index) return Step::wait;
  push(FrameDone{*index, 0, V4L2_BUF_FLAG_LAST, V4L2_FIELD_NONE, {}});
  stop_at(last_ == Last::drain ? Phase::drained : Phase::changing);
  return Step::again;
}

// Copies frame_ to `target`. Nothing if the loop has stopped one of the queues in the meantime.
inline std::optional<std::uint32_t> Engine::copy_out(Lock& lock, CaptureSlots::Target target) {
  const std::uint64_t epoch = capture_epoch_;
  const CaptureSetup setup = capture_;
  lock.unlock();
  // The frame was decoded elsewhere and has to be copied: the guest's buffers were lent out or did not exist
  // yet, their format is not libavcodec's, or the decoder uses its own memory.
  copy_frame(*frame_, setup, reinterpret_cast<std::uint8_t*>(target.data));
  watch_.touched();
  lock.lock();
  const bool stopped = epoch != capture_epoch_;
  const bool dropped = worker_epoch_ != stream_epoch_;
  const std::uint32_t index = target.index;
  // A seek does not affect CAPTURE: the buffer is still queued by the guest.
  slots_->give_back(target, !stopped && dropped);
  if (stopped || dropped) return std::nullopt;
  return index;
}

inline void Engine::report(const char* what, int error) {
  // Logs the first ones, then fewer and fewer: a hostile stream must not fill the log.
  if (!std::has_single_bit(++failures_)) return;
  const auto count = static_cast<unsigned long long>(failures_);
  if (error == 0) {
    log_.write(LogLevel::warning, "decoder: %s, %llu in total", what, count);
    return;
  }
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(error, text, sizeof text);
  log_.write(LogLevel::warning, "decoder: %s (%s), %llu in total", what, text, count);
}

// libavcodec's error does not distinguish a format that we refused from data that makes no sense, nor does
// the error for a picture whose reference was refused.
inline void Engine::report_damage(int error) {
  const int format = refused_format_;
  if (format == AV_PIX_FMT_NONE) {
    report("damaged data", error);
  } else if (is_supported(static_cast<AVPixelFormat>(format))) {
    report("a picture that is too large, or that has no visible part", 0);
  } else {
    const auto what =
        format_text("pixel format %s is not supported", name_of(static_cast<AVPixelFormat>(format)));
    report(what.c_str(), 0);
  }
}

inline int Engine::get_buffer(AVCodecContext* context, AVFrame* frame, int flags) noexcept {
  const Interruption& interruption = Interruption::of(*context);
  auto& engine = *static_cast<Engine*>(interruption.owner());
  if (!is_supported(static_cast<AVPixelFormat>(frame->format))) {
    engine.refused_format_ = frame->format;
    return AVERROR(ENOTSUP);
  }
  if (interruption.stopped()) return AVERROR_EXIT;
  // libavcodec's own pool: get_buffer2 cannot wait for the guest to queue a buffer.
  const int got = engine.try_lend(*context, *frame) ? 0 : avcodec_default_get_buffer2(context, frame, flags);
  if (got < 0) return got;
  engine.begun_.fetch_add(1, std::memory_order_relaxed);
  engine.watch_.begin(*context, *frame);
  return got;
}

inline bool Engine::try_lend(AVCodecContext& context, AVFrame& frame) {
  auto picture = picture_at_allocation(context, frame);
  if (!picture) return false;
  const RawFormat* const format = raw_format_at(
      0, raw_formats_if([&](const RawFormat& one) { return is_decoded_in_place(one, picture->samples); }));
  const Layout layout = format != nullptr ? Layout::of(picture->size, *format->pixels) : Layout();
  const bool can_render = format != nullptr && (context.codec->capabilities & AV_CODEC_CAP_DR1) != 0 &&
                          satisfies(layout, shift_y_of(picture->samples.sampling), context, frame);
  CaptureSlots::Lent lent;
  {
    const std::lock_guard lock(slots_->mutex());
    if (worker_epoch_ != stream_epoch_ || closing_) return false;
    // The client can prepare its buffers while the first frames are decoded.
    if (!current_) {
      picture->field = hints_.field;
      announce(*picture, context);
    }
    if (!options_.direct || phase_ != Phase::running || !can_render || !capture_fits()) return false;
    if (capture_.fourcc != format->fourcc() || capture_.layout != layout) return false;
    lent = slots_->lend(first_serial_, layout.size_image(), Layout::address_alignment, asked_buffers_);
  }
  if (lent.buffer == nullptr) return false;
  frame.buf[0] = lent.buffer;
  // Parts that are never decoded must not show what others left here. From then on the buffer holds pictures
  // of this stream, as the buffers of libavcodec's own pool do. Pictures that are decoded in place have 8
  // bits and separate planes.
  if (lent.is_new) {
    std::uint8_t* const data = lent.buffer->data;
    std::fill_n(data, layout.offsets[1], std::uint8_t{16});
    std::fill_n(data + layout.offsets[1], layout.size_image() - layout.offsets[1], std::uint8_t{128});
  }
  place_planes(frame, layout, lent.buffer->data);
  return true;
}

}  // namespace vumedia::backends::ffmpeg
