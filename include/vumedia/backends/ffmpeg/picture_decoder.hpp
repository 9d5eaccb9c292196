// Packets of one picture each go in, the frames of a stream come out, in display order: libavcodec, and what
// is needed for it to begin, continue and end a stream as a V4L2 client expects.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/engine_options.hpp>
#include <vumedia/backends/ffmpeg/engine_state.hpp>
#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/failure_log.hpp>
#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/backends/ffmpeg/frame_memory.hpp>
#include <vumedia/backends/ffmpeg/history.hpp>
#include <vumedia/backends/ffmpeg/jpeg.hpp>
#include <vumedia/backends/ffmpeg/picture.hpp>
#include <vumedia/backends/ffmpeg/picture_splitter.hpp>
#include <vumedia/backends/ffmpeg/recovery.hpp>
#include <vumedia/backends/ffmpeg/reordering.hpp>
#include <vumedia/backends/ffmpeg/stream_hints.hpp>
#include <vumedia/backends/ffmpeg/write_watch.hpp>
#include <vumedia/core/log.hpp>

namespace vumedia::backends::ffmpeg {

/// One thread uses it, which does not hold the shared state's mutex, except for the functions that are const.
class PictureDecoder {
 public:
  /// What comes next: nothing without another packet; maybe a frame (receive() finds out); or frame().
  enum class Output : std::uint8_t { needs_packet, may_follow, frame };

  /// `shared` and `options` outlive it.
  PictureDecoder(SharedState& shared, const EngineOptions& options, Log log)
      : shared_(shared),
        options_(options),
        failures_(log),
        memory_(shared, options, watch_, failures_),
        frame_(av_frame_alloc()),
        reordering_(!options.codec.has_frame_threads()),
        history_(options.history_bytes) {}
  PictureDecoder(const PictureDecoder&) = delete;
  PictureDecoder& operator=(const PictureDecoder&) = delete;

  /// Drops everything from before, which was another stream, another place in it, or a drain.
  void begin(Start start) {
    if (frame_) av_frame_unref(frame_.get());
    output_ = Output::needs_packet;
    const bool ended_sequence = std::exchange(input_, Input::packets) == Input::end_of_sequence;
    watch_.clear();
    if (start == Start::stream) {
      wants_hints_ = true;
      failures_.accepted();
      reordering_ = Reordering(!options_.codec.has_frame_threads());
    }
    if (start == Start::stream || ended_sequence) {
      codec_ = {};
    } else if (codec_) {
      codec_.flush();
    }
    if (start != Start::resume || history_.packets().empty()) recovery_.restart();
    if (start == Start::resume) {
      entry_ = Entry::replay;
      resume_id_ = next_id_;
    } else {
      history_.clear();
      reordering_.forget_pictures();
      entry_ = Entry::look_for_start;
    }
  }

  // -- Packets, while output() is needs_packet

  /// A packet with a copy of `bytes`, which are not empty. Packets to be decoded have priority over those
  /// kept for decoding again. None if there is no memory, which is logged.
  [[nodiscard]] Packet copy(std::span<const std::byte> bytes) {
    Packet packet = Codec::copy(bytes, options_.bytes);
    if (!packet && !history_.packets().empty()) {
      history_.clear();
      packet = Codec::copy(bytes, options_.bytes);
    }
    if (!packet) failures_.report("no memory for a packet", AVERROR(ENOMEM));
    return packet;
  }

  /// To be asked of each packet before it is decoded. True if it begins a sequence: the frames from before
  /// come out first, then begin_sequence() has to be called.
  [[nodiscard]] bool ends_sequence(const CodedFormat& format, const AVPacket& packet) {
    if (!reordering_.begins_sequence(format.codec, bytes_of(packet)) || !codec_) return false;
    end(Input::end_of_sequence);
    return true;
  }
  /// A sequence begins with the next packet, and a new decoder if need be.
  void begin_sequence() noexcept {
    codec_ = {};
    input_ = Input::packets;
  }

  /// Decodes a packet of at most one picture. False if it did not yield what it should.
  [[nodiscard]] bool decode(const CodedFormat& format, const Stamp& stamp, Packet packet);

  /// The rest of the frames are to come out, up to Output::needs_packet; then begin() has to be called.
  void drain() { end(Input::end_of_stream); }

  // -- Frames

  /// What comes next.
  [[nodiscard]] Output output() const noexcept { return output_; }

  /// Gets the next frame, or Output::needs_packet (also if the errors do not end). False if there was one
  /// that cannot be output.
  bool receive();

  /// The frame that has come, if output() is `frame`.
  ///@{
  [[nodiscard]] const AVFrame& frame() const noexcept { return *frame_; }
  [[nodiscard]] Picture picture() const noexcept {
    return *picture_of(*frame_, codec_.context().codec_id);  // receive() has made sure that there is one
  }
  ///@}
  /// What the decoder knows of its stream now.
  [[nodiscard]] StreamTraits traits() const noexcept { return traits_of(codec_.context(), options_.codec); }
  /// The event for the frame in CAPTURE buffer `index`.
  [[nodiscard]] FrameDone done(std::uint32_t index, std::uint32_t bytes, std::uint32_t field) const noexcept {
    FrameDone done{index, bytes, buffer_flags(*frame_), field, {}};
    if (had_holes_) done.flags |= V4L2_BUF_FLAG_ERROR;
    if (frame_->pts > 0) {
      const std::size_t place = static_cast<std::size_t>(frame_->pts) % stamps_.size();
      done.stamp = stamps_[place];
      if (damaged_[place]) done.flags |= V4L2_BUF_FLAG_ERROR;
    }
    return done;
  }
  /// The samples have been read.
  void touched() noexcept { watch_.touched(); }
  /// The frame is of no use any more.
  void drop_frame() noexcept {
    av_frame_unref(frame_.get());
    output_ = Output::may_follow;
  }

 private:
  // What libavcodec gets: packets; or nothing, because the stream ends, or a sequence for which it has to be
  // reopened.
  enum class Input : std::uint8_t { packets, end_of_stream, end_of_sequence };
  // Where the next packet stands: after a drain, with everything from before to be decoded again if it is not
  // a key frame; where decoding might begin; or in the middle of the stream.
  enum class Entry : std::uint8_t { replay, look_for_start, none };

  void end(Input input) noexcept {
    input_ = input;
    if (codec_) (void)codec_.drain(recovery_.knows_more());
    output_ = Output::may_follow;  // or the end of frames
  }

  [[nodiscard]] bool open(const CodedFormat& format);
  [[nodiscard]] int send(const AVPacket& packet);
  [[nodiscard]] int receive_any();
  void look_for_hints(const CodedFormat& format, ResumePoint point, const AVPacket& packet);
  void replay();

  SharedState& shared_;
  const EngineOptions& options_;
  FailureLog failures_;
  WriteWatch watch_;
  FrameMemory memory_;
  Codec codec_;
  const CodedFormat* format_ = nullptr;  // codec_'s
  Input input_ = Input::packets;
  Output output_ = Output::needs_packet;
  Entry entry_ = Entry::look_for_start;
  Frame frame_;
  bool had_holes_ = false;   // parts of it were never decoded
  bool wants_hints_ = true;  // no picture that could give them has come yet
  Reordering reordering_;
  Recovery recovery_;
  History history_;
  std::int64_t next_id_ = 1;
  std::int64_t resume_id_ = 1;  // frames of packets before this one are not to be delivered (again)
  // The stamps of the latest packets. No decoder holds frames back for that many packets.
  std::array<Stamp, 512> stamps_{};
  std::bitset<512> damaged_;  // those of them that are known to be damaged
};

// ---- Details

// Makes sure that there is a decoder for the current stream. False if that is impossible.
inline bool PictureDecoder::open(const CodedFormat& format) {
  if (codec_ && format_ == &format) return true;
  codec_ = {};
  history_.clear();
  watch_.clear();
  auto codec = Codec::open(format, options_.codec, reordering_.setup(), &FrameMemory::get_buffer,
                           memory_.interruption());
  if (!codec) {
    failures_.report("cannot open the decoder", AVERROR(codec.error().value));
    return false;
  }
  codec_ = std::move(*codec);
  format_ = &format;
  return true;
}

inline bool PictureDecoder::decode(const CodedFormat& format, const Stamp& stamp, Packet packet) {
  if (!frame_ || !open(format)) return false;
  if (format.codec == AV_CODEC_ID_H264) codec_.hold_back(reordering_.held_back());
  const auto bytes = bytes_of(*packet);
  const ResumePoint point = resume_point_of(format.codec, bytes);
  if (entry_ == Entry::replay) {
    entry_ = Entry::none;
    if (point != ResumePoint::closed) replay();
  }
  bool is_cut = false;
  if (format.codec == AV_CODEC_ID_MJPEG) {
    const auto markers = JpegMarkers::of(bytes);
    is_cut = !markers.complete;
    if (!markers.reasonable()) {
      failures_.report("a picture with too many scans or tables", AVERROR_INVALIDDATA);
      return false;
    }
  }
  packet->pts = next_id_++;
  if (entry_ == Entry::look_for_start) {
    if (can_begin_with(format.codec, point, bytes)) {
      entry_ = Entry::none;
    } else {
      resume_id_ = next_id_;  // the output of this one is not a frame of the stream
    }
  }
  recovery_.note(format.codec, bytes, packet->pts);
  look_for_hints(format, point, *packet);
  history_.add(point, *packet);
  const std::size_t place = static_cast<std::size_t>(packet->pts) % stamps_.size();
  stamps_[place] = stamp;
  const int sent = send(*packet);
  if (memory_.interruption().stopped()) return true;
  const bool headless = lacks_beginning(format.codec, bytes);
  const bool failed = (sent < 0 && holds_picture(format, bytes)) || headless;
  if (failed) failures_.report_damage(headless ? AVERROR_INVALIDDATA : sent);
  // Some decoders give the picture out all the same, now or later. With several threads the failure may be
  // that of a packet before.
  damaged_[place] = is_cut || (failed && !options_.codec.has_frame_threads());
  // With one thread the frame is decoded now, and what is wrong with it can still be said of its buffer.
  const bool passed = receive();
  return !failed && passed;
}

inline int PictureDecoder::send(const AVPacket& packet) {
  shared_.packets.fetch_add(1, std::memory_order_relaxed);
  watch_.next_packet();
  const int result = codec_.send(packet);
  watch_.call_done();
  return result;
}

inline int PictureDecoder::receive_any() {
  const int result = codec_.receive(*frame_);
  watch_.call_done();
  return result;
}

// This comes before libavcodec sees the packet, because it may ask for a frame's memory at once, and then the
// picture is announced.
inline void PictureDecoder::look_for_hints(const CodedFormat& format, ResumePoint point,
                                           const AVPacket& packet) {
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
  const auto state = shared_.lock();
  if (tier) state->picture().hints().tier = *tier;
  if (field) state->picture().hints().field = *field;
}

// Restores libavcodec's state from before the drain.
inline void PictureDecoder::replay() {
  for (const auto& past : history_.packets()) {
    if (memory_.interruption().stopped()) return;
    // What was wrong with it has been reported.
    (void)send(*past);
    while (!memory_.interruption().stopped() && receive_any() >= 0) {
      (void)recovery_.passes(frame_->pts, false);
      av_frame_unref(frame_.get());
    }
  }
}

inline bool PictureDecoder::receive() {
  bool refused = false;
  for (int errors = 0; errors < 32 && codec_; ++errors) {
    int result = 0;
    bool shows = false;
    do {
      if (memory_.interruption().stopped()) break;
      av_frame_unref(frame_.get());
      result = receive_any();
      // Frames that a replay held back have been delivered already; frames before a resume point cannot be
      // correct.
      shows = result < 0 || frame_->pts <= 0 || frame_->pts >= resume_id_;
      if (result >= 0 && !recovery_.passes(frame_->pts, input_ != Input::packets)) shows = false;
    } while (!shows);
    if (memory_.interruption().stopped() || result == AVERROR(EAGAIN) || result == AVERROR_EOF) break;
    const bool got = result >= 0;
    if (got && is_supported(static_cast<AVPixelFormat>(frame_->format)) &&
        picture_of(*frame_, codec_.context().codec_id)) {
      failures_.accepted();
      had_holes_ = WriteWatch::had_holes(*frame_);
      output_ = Output::frame;
      return !refused;
    }
    refused = true;
    if (got) failures_.refused(frame_->format);
    failures_.report_damage(got ? 0 : result);
    av_frame_unref(frame_.get());
  }
  output_ = Output::needs_packet;
  return !refused;
}

}  // namespace vumedia::backends::ffmpeg
