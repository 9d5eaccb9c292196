// The compressed side of a decode: packets of a media file in the shape V4L2 decoders take them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <vumedia/backends/ffmpeg/reordering.hpp>
#include <vumedia/core/result.hpp>

#include "ffmpeg.hpp"
#include "input.hpp"
#include "writers.hpp"

namespace ctl {

// What V4L2 calls a codec of libavcodec, and the bitstream filter that makes its packets stand alone, or
// null.
struct CodedFormat {
  AVCodecID codec = AV_CODEC_ID_NONE;
  std::uint32_t fourcc = 0;
  const char* filter = nullptr;
  // The filtered stream's extradata is part of the stream: it can stand before a packet.
  bool extradata_is_stream = false;
};

// Demuxes the best video stream of a file. What cannot be read, a packet or the rest of the file, is passed
// over and counted.
class Bitstream {
 public:
  // `input` must outlive it, and be opened to be read more than once where seek() is to be called.
  [[nodiscard]] static vumedia::Outcome<Bitstream> open(const Input& input);

  [[nodiscard]] std::uint32_t fourcc() const noexcept { return format_->fourcc; }
  [[nodiscard]] const char* codec_name() const noexcept { return avcodec_get_name(format_->codec); }
  // As the container has it; 0 if it does not say.
  [[nodiscard]] std::uint32_t width() const noexcept;
  [[nodiscard]] std::uint32_t height() const noexcept;
  // Of the largest packet in bytes, if the container has a list of them; else 0.
  [[nodiscard]] std::size_t largest_packet() const noexcept;
  // In frames a second, 0/1 if unknown.
  [[nodiscard]] Fraction rate() const noexcept;
  // Of the filtered stream; for a decoder of our own.
  [[nodiscard]] const AVCodecParameters& parameters() const noexcept;

  // What the container says of the stream, in words: codec, profile, pixel format, size.
  [[nodiscard]] std::string description() const;

  // The next packet in decoding order, valid until the next call; null at the end.
  [[nodiscard]] vumedia::Outcome<const AVPacket*> next();
  // Packets are numbered from 0 on, and after a seek from a number on that is beyond all before it: two that
  // read the same file and seek alike number its packets alike, however far they had read. Of the packet that
  // came last.
  [[nodiscard]] std::uint64_t number() const noexcept { return next_number_ - 1; }
  // When what is in that packet is shown, in seconds from the beginning; nothing if the container does not
  // say.
  [[nodiscard]] std::optional<double> time() const noexcept;
  [[nodiscard]] std::uint64_t next_number() const noexcept { return next_number_; }
  // The next packet will be the key frame at `seconds` from the beginning, or the last one before it. In
  // streams without time stamps, packets are counted.
  [[nodiscard]] vumedia::Outcome<> seek(double seconds);

  // Packets that were passed over so far, and why the file ended before its end; empty if it did not.
  [[nodiscard]] std::uint64_t unreadable_packets() const noexcept { return unreadable_packets_; }
  [[nodiscard]] const std::string& cut_short() const noexcept { return cut_short_; }

 private:
  using Extradata = std::vector<std::uint8_t>;

  Bitstream() = default;
  [[nodiscard]] vumedia::Outcome<> open_container();
  // A filter for packets whose parameter sets are these. False if they cannot be read.
  [[nodiscard]] vumedia::Outcome<> make_filter(std::span<const std::uint8_t> extradata);
  // packet_ becomes the next packet of the stream, unfiltered. False at the end.
  [[nodiscard]] bool read();
  // Takes parameter sets out of the side data of packet_, and after a seek those that were in force there.
  [[nodiscard]] vumedia::Outcome<> follow_extradata();
  [[nodiscard]] vumedia::Outcome<> put_headers_before();
  [[nodiscard]] vumedia::Outcome<> seek_by_counting(double seconds);

  std::string name_;
  std::string url_;
  ffmpeg::FormatContext container_;
  ffmpeg::Filter filter_;
  ffmpeg::Packet packet_;
  int stream_ = -1;
  const CodedFormat* format_ = nullptr;
  std::uint64_t next_number_ = 0;
  std::uint64_t read_ = 0;     // packets, since the container was opened
  bool last_is_whole_ = true;  // of what was read last
  bool flushing_ = false;
  // By the decoding time of the packet that they came with. Those that a file begins with come before all.
  std::map<std::int64_t, Extradata> extradata_;
  Extradata extradata_in_force_;
  bool has_jumped_ = false;
  Extradata headers_;  // to stand before the next packet
  std::uint64_t unreadable_packets_ = 0;
  std::string cut_short_;
};

// libavcodec's own decoding of the same file: the truth that a device's frames are compared with. It has one
// thread, since what becomes of damaged pictures depends on their number; and where a sequence begins it
// gives out what it holds first and waits for as many pictures as the new one permits, since else it loses
// some.
class ReferenceDecoder {
 public:
  [[nodiscard]] static vumedia::Outcome<ReferenceDecoder> open(const Input& input);

  // The next frame in display order, exactly cropped, valid until the next call; nothing at the end.
  [[nodiscard]] vumedia::Outcome<std::optional<Picture>> next();
  // Of the packet that the last frame came from, as Bitstream::number().
  [[nodiscard]] std::uint64_t packet() const noexcept { return static_cast<std::uint64_t>(frame_->pts); }
  // Forgets the frames that have not come out, and goes on as Bitstream::seek() says.
  [[nodiscard]] vumedia::Outcome<> seek(double seconds);

 private:
  ReferenceDecoder(Bitstream bitstream) : bitstream_(std::move(bitstream)) {}
  // Both return what avcodec_send_packet does.
  [[nodiscard]] int send(AVPacket* packet);
  [[nodiscard]] int send_waiting();

  Bitstream bitstream_;
  ffmpeg::CodecContext decoder_;
  ffmpeg::Frame frame_;
  ffmpeg::Packet packet_;
  vumedia::backends::ffmpeg::Reordering reordering_;
  bool packet_waits_ = false;  // packet_ begins a sequence, and those before it are given out
  bool draining_ = false;
};

}  // namespace ctl
