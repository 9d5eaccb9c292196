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

  // The next packet in decoding order, valid until the next call; null at the end.
  [[nodiscard]] vumedia::Outcome<const AVPacket*> next();
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
  bool flushing_ = false;
};

// libavcodec's own decoding of the same file: the truth that a device's frames are compared with.
class ReferenceDecoder {
 public:
  [[nodiscard]] static vumedia::Outcome<ReferenceDecoder> open(const std::string& path);

  // The next frame in display order, exactly cropped, valid until the next call; nothing at the end.
  [[nodiscard]] vumedia::Outcome<std::optional<Picture>> next();
  // Forgets the frames that have not come out, and goes on as Bitstream::seek() says.
  [[nodiscard]] vumedia::Outcome<> seek(double seconds);

 private:
  ReferenceDecoder(Bitstream bitstream) : bitstream_(std::move(bitstream)) {}

  Bitstream bitstream_;
  ffmpeg::CodecContext decoder_;
  ffmpeg::Frame frame_;
  bool draining_ = false;
};

}  // namespace ctl
