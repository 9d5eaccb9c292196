#include "bitstream.hpp"

#include <algorithm>
#include <array>

#include <linux/videodev2.h>

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::Outcome;

// Not in the kernel headers of 2022.
constexpr std::uint32_t pix_fmt_av1 = v4l2_fourcc('A', 'V', '0', '1');

constexpr std::array coded_formats{
    CodedFormat{AV_CODEC_ID_H264, V4L2_PIX_FMT_H264, "h264_mp4toannexb"},
    CodedFormat{AV_CODEC_ID_HEVC, V4L2_PIX_FMT_HEVC, "hevc_mp4toannexb"},
    CodedFormat{AV_CODEC_ID_VP8, V4L2_PIX_FMT_VP8, nullptr},
    CodedFormat{AV_CODEC_ID_VP9, V4L2_PIX_FMT_VP9, nullptr},
    CodedFormat{AV_CODEC_ID_AV1, pix_fmt_av1, nullptr},
    CodedFormat{AV_CODEC_ID_MPEG1VIDEO, V4L2_PIX_FMT_MPEG1, nullptr},
    CodedFormat{AV_CODEC_ID_MPEG2VIDEO, V4L2_PIX_FMT_MPEG2, nullptr},
    CodedFormat{AV_CODEC_ID_MPEG4, V4L2_PIX_FMT_MPEG4, "dump_extra"},
    CodedFormat{AV_CODEC_ID_H263, V4L2_PIX_FMT_H263, nullptr},
    CodedFormat{AV_CODEC_ID_MJPEG, V4L2_PIX_FMT_MJPEG, nullptr},
};

Plane plane_of(const AVFrame& frame, std::size_t index, std::size_t sample_bytes) {
  return {reinterpret_cast<const std::byte*>(frame.data[index]),
          static_cast<std::size_t>(frame.linesize[index]), sample_bytes};
}

}  // namespace

Outcome<Picture> picture_of(const AVFrame& frame) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const AVPixFmtDescriptor* const description = av_pix_fmt_desc_get(format);
  const bool samples =
      description != nullptr &&
      (description->flags &
       (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM)) == 0 &&
      description->comp[0].depth >= 8 && description->comp[0].depth <= 16 && description->comp[0].shift == 0;
  const bool planar = samples && (description->flags & AV_PIX_FMT_FLAG_PLANAR) != 0 &&
                      description->nb_components == 3 && description->comp[1].plane == 1 &&
                      description->comp[2].plane == 2;
  const bool grey = samples && description->nb_components == 1;
  if (!planar && !grey) {
    return failure("frames of %s cannot be read here",
                   description != nullptr ? description->name : "an unknown pixel format");
  }
  Picture picture;
  picture.model = grey ? Model::grey : Model::yuv;
  picture.width = static_cast<std::uint32_t>(frame.width);
  picture.height = static_cast<std::uint32_t>(frame.height);
  picture.shift_x = description->log2_chroma_w;
  picture.shift_y = description->log2_chroma_h;
  picture.bits = static_cast<std::uint32_t>(description->comp[0].depth);
  picture.full_range = frame.color_range == AVCOL_RANGE_JPEG;
  for (std::size_t plane = 0; plane < picture.plane_count(); ++plane)
    picture.planes[plane] = plane_of(frame, plane, picture.sample_bytes());
  return picture;
}

Outcome<Bitstream> Bitstream::open(const std::string& path) {
  Bitstream opened;
  opened.path_ = path;
  AVFormatContext* container = nullptr;
  int status = avformat_open_input(&container, path.c_str(), nullptr, nullptr);
  if (status < 0) return ffmpeg::error(status, "cannot open %s", path.c_str());
  opened.container_.reset(container);
  status = avformat_find_stream_info(container, nullptr);
  if (status < 0) return ffmpeg::error(status, "cannot read %s", path.c_str());
  opened.stream_ = av_find_best_stream(container, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
  if (opened.stream_ < 0) return failure("%s has no video stream", path.c_str());
  for (unsigned index = 0; index < container->nb_streams; ++index) {
    if (static_cast<int>(index) != opened.stream_) container->streams[index]->discard = AVDISCARD_ALL;
  }
  const AVStream& stream = *container->streams[opened.stream_];
  const auto found = std::ranges::find(coded_formats, stream.codecpar->codec_id, &CodedFormat::codec);
  if (found == coded_formats.end()) {
    return failure("V4L2 has no decoder format for the %s video of %s",
                   avcodec_get_name(stream.codecpar->codec_id), path.c_str());
  }
  opened.format_ = &*found;
  const AVBitStreamFilter* const kind =
      found->filter != nullptr ? av_bsf_get_by_name(found->filter) : nullptr;
  if (found->filter != nullptr && kind == nullptr) {
    return failure("this libavcodec lacks the bitstream filter %s", found->filter);
  }
  AVBSFContext* filter = nullptr;
  status = kind != nullptr ? av_bsf_alloc(kind, &filter) : av_bsf_get_null_filter(&filter);
  opened.filter_.reset(filter);
  if (status >= 0) status = avcodec_parameters_copy(filter->par_in, stream.codecpar);
  if (status >= 0) {
    filter->time_base_in = stream.time_base;
    status = av_bsf_init(filter);
  }
  if (status < 0) return ffmpeg::error(status, "cannot prepare the packets of %s", path.c_str());
  opened.packet_.reset(av_packet_alloc());
  if (!opened.packet_) return failure("out of memory for %s", path.c_str());
  return opened;
}

std::uint32_t Bitstream::width() const noexcept {
  return static_cast<std::uint32_t>(parameters().width);
}
std::uint32_t Bitstream::height() const noexcept {
  return static_cast<std::uint32_t>(parameters().height);
}
const AVCodecParameters& Bitstream::parameters() const noexcept {
  return *filter_->par_out;
}

std::string Bitstream::description() const {
  const AVCodecParameters& stream = parameters();
  std::string text = codec_name();
  if (const char* const profile = avcodec_profile_name(stream.codec_id, stream.profile))
    text += std::string(", ") + profile;
  if (const char* const pixels = av_get_pix_fmt_name(static_cast<AVPixelFormat>(stream.format)))
    text += std::string(", ") + pixels;
  if (stream.width > 0 && stream.height > 0)
    text += vumedia::format_text(", %dx%d", stream.width, stream.height);
  return text;
}

Fraction Bitstream::rate() const noexcept {
  const AVRational rate = container_->streams[stream_]->avg_frame_rate;
  if (rate.num <= 0 || rate.den <= 0) return {0, 1};
  return {static_cast<std::uint32_t>(rate.num), static_cast<std::uint32_t>(rate.den)};
}

Outcome<const AVPacket*> Bitstream::next() {
  for (;;) {
    av_packet_unref(packet_.get());
    int status = av_bsf_receive_packet(filter_.get(), packet_.get());
    if (status >= 0) {
      if (packet_->size == 0) continue;  // side data alone means nothing to a V4L2 decoder
      ++next_number_;
      return packet_.get();
    }
    if (status == AVERROR_EOF) return nullptr;
    if (status != AVERROR(EAGAIN) || flushing_)
      return ffmpeg::error(status, "cannot filter %s", path_.c_str());
    do {
      av_packet_unref(packet_.get());
      status = av_read_frame(container_.get(), packet_.get());
    } while (status >= 0 && packet_->stream_index != stream_);
    if (status < 0 && status != AVERROR_EOF) return ffmpeg::error(status, "cannot read %s", path_.c_str());
    flushing_ = status == AVERROR_EOF;
    status = av_bsf_send_packet(filter_.get(), flushing_ ? nullptr : packet_.get());
    if (status < 0) return ffmpeg::error(status, "cannot filter %s", path_.c_str());
  }
}

Outcome<> Bitstream::seek(double seconds) {
  const AVStream& stream = *container_->streams[stream_];
  const double ticks = seconds * stream.time_base.den / stream.time_base.num;
  // Beyond any file, and still far from where the sum below would overflow.
  constexpr double limit = static_cast<double>(std::int64_t{1} << 60);
  const std::int64_t start = stream.start_time == AV_NOPTS_VALUE ? 0 : stream.start_time;
  const auto target = start + static_cast<std::int64_t>(std::clamp(ticks, 0.0, limit));
  const int status = av_seek_frame(container_.get(), stream_, target, AVSEEK_FLAG_BACKWARD);
  if (status < 0) return ffmpeg::error(status, "cannot seek to %g s in %s", seconds, path_.c_str());
  av_packet_unref(packet_.get());
  av_bsf_flush(filter_.get());
  flushing_ = false;
  // No seek follows so many packets, and as a time stamp in microseconds it still fits.
  constexpr std::uint64_t numbers_between_seeks = std::uint64_t{1} << 32;
  next_number_ = (next_number_ / numbers_between_seeks + 1) * numbers_between_seeks;
  return {};
}

Outcome<ReferenceDecoder> ReferenceDecoder::open(const std::string& path) {
  auto bitstream = Bitstream::open(path);
  if (!bitstream) return std::unexpected(bitstream.error());
  ReferenceDecoder made(std::move(*bitstream));
  const AVCodec* const codec = avcodec_find_decoder(made.bitstream_.parameters().codec_id);
  if (codec == nullptr) return failure("this libavcodec cannot decode %s", made.bitstream_.codec_name());
  made.decoder_.reset(avcodec_alloc_context3(codec));
  made.frame_.reset(av_frame_alloc());
  made.packet_.reset(av_packet_alloc());
  if (!made.decoder_ || !made.frame_ || !made.packet_) return failure("out of memory for a decoder");
  AVCodecContext& context = *made.decoder_;
  int status = avcodec_parameters_to_context(&context, &made.bitstream_.parameters());
  context.flags |= AV_CODEC_FLAG_UNALIGNED;  // crop exactly, not just to what alignment allows
  context.thread_count = 1;
  if (status >= 0) status = avcodec_open2(&context, codec, nullptr);
  if (status < 0) return ffmpeg::error(status, "cannot decode %s", path.c_str());
  return made;
}

Outcome<> ReferenceDecoder::seek(double seconds) {
  avcodec_flush_buffers(decoder_.get());
  draining_ = false;
  return bitstream_.seek(seconds);
}

Outcome<std::optional<Picture>> ReferenceDecoder::next() {
  // What is damaged is skipped, as a device skips it; but not for ever.
  for (unsigned errors = 0; errors < 32;) {
    int status = avcodec_receive_frame(decoder_.get(), frame_.get());
    if (status == AVERROR_EOF) return std::nullopt;
    if (status >= 0) return picture_of(*frame_);
    if (status == AVERROR(ENOMEM)) return ffmpeg::error(status, "libavcodec cannot decode the stream");
    if (status != AVERROR(EAGAIN)) {
      ++errors;
      continue;
    }
    if (draining_) break;
    auto packet = bitstream_.next();
    if (!packet) return std::unexpected(packet.error());
    draining_ = *packet == nullptr;
    av_packet_unref(packet_.get());
    if (!draining_) {
      status = av_packet_ref(packet_.get(), *packet);
      if (status < 0) return ffmpeg::error(status, "libavcodec cannot decode the stream");
      packet_->pts = static_cast<std::int64_t>(bitstream_.number());
    }
    status = avcodec_send_packet(decoder_.get(), draining_ ? nullptr : packet_.get());
    if (status == AVERROR(ENOMEM)) return ffmpeg::error(status, "libavcodec cannot decode the stream");
    errors = 0;
  }
  return failure("libavcodec stopped without an end");
}

}  // namespace ctl
