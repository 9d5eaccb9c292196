// The writers that use FFmpeg: PNG through libavcodec, MD5 through libavutil.
#include <new>

#include "ffmpeg.hpp"
#include "writers.hpp"

extern "C" {
#include <libavutil/md5.h>
}

namespace ctl {

using vumedia::failure;
using vumedia::Outcome;

Outcome<> write_png(const std::string& path, std::uint32_t width, std::uint32_t height,
                    std::span<const std::uint8_t> rgb) {
  const AVCodec* const codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
  if (codec == nullptr) return failure("this libavcodec has no PNG encoder");
  const ffmpeg::CodecContext context(avcodec_alloc_context3(codec));
  const ffmpeg::Frame frame(av_frame_alloc());
  const ffmpeg::Packet packet(av_packet_alloc());
  if (!context || !frame || !packet) return failure("out of memory for %s", path.c_str());
  context->width = static_cast<int>(width);
  context->height = static_cast<int>(height);
  context->pix_fmt = AV_PIX_FMT_RGB24;
  context->time_base = {1, 1};
  int status = avcodec_open2(context.get(), codec, nullptr);
  if (status < 0) return ffmpeg::error(status, "cannot encode %s", path.c_str());
  frame->width = context->width;
  frame->height = context->height;
  frame->format = AV_PIX_FMT_RGB24;
  // Borrowed: the encoder copies a frame that is not reference counted, and only reads the data.
  frame->data[0] = const_cast<std::uint8_t*>(rgb.data());
  frame->linesize[0] = context->width * 3;
  status = avcodec_send_frame(context.get(), frame.get());
  if (status >= 0) status = avcodec_receive_packet(context.get(), packet.get());
  if (status < 0) return ffmpeg::error(status, "cannot encode %s", path.c_str());
  auto file = OutputFile::create(path);
  if (!file) return std::unexpected(file.error());
  const std::span bytes(packet->data, static_cast<std::size_t>(packet->size));
  if (auto written = file->write(std::as_bytes(bytes)); !written) return written;
  return file->close();
}

void Checksum::Free::operator()(AVMD5* state) const noexcept {
  av_free(state);
}

Outcome<Checksum> Checksum::create() {
  Checksum checksum;
  checksum.state_.reset(av_md5_alloc());
  if (!checksum.state_) return failure("out of memory for a checksum");
  av_md5_init(checksum.state_.get());
  return checksum;
}

void Checksum::add(const Picture& picture) {
  frame_.clear();
  append_planar(picture, frame_);
  av_md5_update(state_.get(), reinterpret_cast<const std::uint8_t*>(frame_.data()), frame_.size());
}

std::string Checksum::text() {
  std::array<std::uint8_t, 16> digest{};
  av_md5_final(state_.get(), digest.data());
  std::string text;
  for (const auto byte : digest) text += vumedia::format_text("%02x", byte);
  return text;
}

}  // namespace ctl
