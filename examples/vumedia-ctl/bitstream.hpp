// The compressed side of a decode: packets of a media file in the form that V4L2 decoders take.
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

// V4L2's name for a codec of libavcodec, and the bitstream filter that makes its packets self-contained, or
// null.
struct CodedFormat {
  AVCodecID codec = AV_CODEC_ID_NONE;
  std::uint32_t fourcc = 0;
  const char* filter = nullptr;
  // The filtered stream's extradata is part of the stream: it can be put before a packet.
  bool extradata_is_stream = false;
};

// Demuxes the best video stream of a file. What cannot be read, a packet or the rest of the file, is skipped
// and counted.
class Bitstream {
 public:
  // `input` must outlive it, and must be opened for repeated reading if seek() is to be called.
  [[nodiscard]] static vumedia::Outcome<Bitstream> open(const Input& input);

  [[nodiscard]] std::uint32_t fourcc() const noexcept { return format_->fourcc; }
  [[nodiscard]] const char* codec_name() const noexcept { return avcodec_get_name(format_->codec); }
  // From the container; 0 if it does not say.
  [[nodiscard]] std::uint32_t width() const noexcept;
  [[nodiscard]] std::uint32_t height() const noexcept;
  // Size of the largest packet in bytes if the container has a list of packets, otherwise 0.
  [[nodiscard]] std::size_t largest_packet() const noexcept;
  // In frames per second, 0/1 if unknown.
  [[nodiscard]] Fraction rate() const noexcept;
  // The parameters of the filtered stream, for our own decoder.
  [[nodiscard]] const AVCodecParameters& parameters() const noexcept;

  // The container's description of the stream: codec, profile, pixel format, size.
  [[nodiscard]] std::string description() const;

  // The next packet in decoding order, valid until the next call; null at the end.
  [[nodiscard]] vumedia::Outcome<const AVPacket*> next();
  // The number of the last packet. Packets are numbered from 0 on, and after a seek from a number that is
  // beyond all earlier ones: two readers of the same file with the same seeks number its packets alike,
  // however far they had read.
  [[nodiscard]] std::uint64_t number() const noexcept { return next_number_ - 1; }
  // When the content of that packet is shown, in seconds from the beginning; nothing if the container does
  // not say.
  [[nodiscard]] std::optional<double> time() const noexcept;
  [[nodiscard]] std::uint64_t next_number() const noexcept { return next_number_; }
  // Seeks so that the next packet is the key frame at `seconds` from the beginning, or the last one before
  // it. In streams without time stamps, packets are counted.
  [[nodiscard]] vumedia::Outcome<> seek(double seconds);

  // Packets that were skipped so far, and why the file ended early; empty if it did not.
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
  // Takes parameter sets from the side data of packet_, and after a seek those that are valid at that
  // position.
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
  // Sorted by the decoding time of their packet. Those at the beginning of a file come first.
  std::map<std::int64_t, Extradata> extradata_;
  Extradata extradata_in_force_;
  bool has_jumped_ = false;
  Extradata headers_;  // to be put before the next packet
  std::uint64_t unreadable_packets_ = 0;
  std::string cut_short_;
};

// libavcodec's own decoding of the same file: the reference for a device's frames. It has one thread, because
// the result of damaged pictures depends on the number of threads. Where a sequence begins, it first outputs
// the pictures that it holds, and then waits for as many pictures as the new one permits, because otherwise
// it loses some.
class ReferenceDecoder {
 public:
  [[nodiscard]] static vumedia::Outcome<ReferenceDecoder> open(const Input& input);

  // The next frame in display order, exactly cropped, valid until the next call; nothing at the end.
  [[nodiscard]] vumedia::Outcome<std::optional<Picture>> next();
  // The number of the last frame's packet, as in Bitstream::number().
  [[nodiscard]] std::uint64_t packet() const noexcept { return static_cast<std::uint64_t>(frame_->pts); }
  // Forgets the frames that have not come out, and continues as described for Bitstream::seek().
  [[nodiscard]] vumedia::Outcome<> seek(double seconds);

 private:
  explicit ReferenceDecoder(Bitstream bitstream) : bitstream_(std::move(bitstream)) {}
  // Both return what avcodec_send_packet returns.
  [[nodiscard]] int send(AVPacket* packet);
  [[nodiscard]] int send_waiting();

  Bitstream bitstream_;
  ffmpeg::CodecContext decoder_;
  ffmpeg::Frame frame_;
  ffmpeg::Packet packet_;
  vumedia::backends::ffmpeg::Reordering reordering_;
  bool packet_waits_ = false;  // packet_ begins a sequence, and earlier pictures are output first
  bool draining_ = false;
};

}  // namespace ctl
