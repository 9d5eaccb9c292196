// The compressed side of a decode: packets of a media file in the shape V4L2 decoders take them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <vumedia/core/result.hpp>

#include "ffmpeg.hpp"
#include "writers.hpp"

namespace ctl {

// What V4L2 calls a codec of libavcodec, and the bitstream filter that makes its packets stand alone, or
// null.
struct CodedFormat {
  AVCodecID codec = AV_CODEC_ID_NONE;
  std::uint32_t fourcc = 0;
  const char* filter = nullptr;
};

// Demuxes the best video stream of a file.
class Bitstream {
 public:
  [[nodiscard]] static vumedia::Outcome<Bitstream> open(const std::string& path);

  [[nodiscard]] std::uint32_t fourcc() const noexcept { return format_->fourcc; }
  [[nodiscard]] const char* codec_name() const noexcept { return avcodec_get_name(format_->codec); }
  // As the container has it; 0 if it does not say.
  [[nodiscard]] std::uint32_t width() const noexcept;
  [[nodiscard]] std::uint32_t height() const noexcept;
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
  [[nodiscard]] std::uint64_t next_number() const noexcept { return next_number_; }
  // The next packet will be the key frame at `seconds` from the beginning, or the last one before it.
  [[nodiscard]] vumedia::Outcome<> seek(double seconds);

 private:
  Bitstream() = default;

  std::string path_;
  ffmpeg::FormatContext container_;
  ffmpeg::Filter filter_;
  ffmpeg::Packet packet_;
  int stream_ = -1;
  const CodedFormat* format_ = nullptr;
  std::uint64_t next_number_ = 0;
  bool flushing_ = false;
};

// libavcodec's own decoding of the same file: the truth that a device's frames are compared with. It has one
// thread, since what becomes of damaged pictures depends on their number.
class ReferenceDecoder {
 public:
  [[nodiscard]] static vumedia::Outcome<ReferenceDecoder> open(const std::string& path);

  // The next frame in display order, exactly cropped, valid until the next call; nothing at the end.
  [[nodiscard]] vumedia::Outcome<std::optional<Picture>> next();
  // Of the packet that the last frame came from, as Bitstream::number().
  [[nodiscard]] std::uint64_t packet() const noexcept { return static_cast<std::uint64_t>(frame_->pts); }
  // Forgets the frames that have not come out, and goes on as Bitstream::seek() says.
  [[nodiscard]] vumedia::Outcome<> seek(double seconds);

 private:
  ReferenceDecoder(Bitstream bitstream) : bitstream_(std::move(bitstream)) {}

  Bitstream bitstream_;
  ffmpeg::CodecContext decoder_;
  ffmpeg::Frame frame_;
  ffmpeg::Packet packet_;
  bool draining_ = false;
};

}  // namespace ctl
