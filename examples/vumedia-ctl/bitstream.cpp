#include "bitstream.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include <linux/videodev2.h>

extern "C" {
#include <libavutil/pixdesc.h>
}

#include "container_end.hpp"

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::Outcome;

// Not in the kernel headers of 2022.
constexpr std::uint32_t pix_fmt_av1 = v4l2_fourcc('A', 'V', '0', '1');

constexpr std::array coded_formats{
    CodedFormat{AV_CODEC_ID_H264, V4L2_PIX_FMT_H264, "h264_mp4toannexb", true},
    CodedFormat{AV_CODEC_ID_HEVC, V4L2_PIX_FMT_HEVC, "hevc_mp4toannexb", true},
    CodedFormat{AV_CODEC_ID_VP8, V4L2_PIX_FMT_VP8, nullptr},
    CodedFormat{AV_CODEC_ID_VP9, V4L2_PIX_FMT_VP9, nullptr},
    CodedFormat{AV_CODEC_ID_AV1, pix_fmt_av1, nullptr},
    CodedFormat{AV_CODEC_ID_MPEG1VIDEO, V4L2_PIX_FMT_MPEG1, nullptr, true},
    CodedFormat{AV_CODEC_ID_MPEG2VIDEO, V4L2_PIX_FMT_MPEG2, nullptr, true},
    CodedFormat{AV_CODEC_ID_MPEG4, V4L2_PIX_FMT_MPEG4, "dump_extra", true},
    CodedFormat{AV_CODEC_ID_H263, V4L2_PIX_FMT_H263, nullptr},
    CodedFormat{AV_CODEC_ID_MJPEG, V4L2_PIX_FMT_MJPEG, nullptr},
};

// No seek comes after that many packets, and it still fits as a time stamp in microseconds.
constexpr std::uint64_t numbers_between_seeks = std::uint64_t{1} << 32;

Plane plane_of(const AVFrame& frame, std::size_t index, std::size_t sample_bytes) {
  return {reinterpret_cast<const std::byte*>(frame.data[index]),
          static_cast<std::size_t>(frame.linesize[index]), sample_bytes};
}

}  // namespace

Outcome<Picture> picture_of(const AVFrame& frame) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const AVPixFmtDescriptor* const description = av_pix_fmt_desc_get(format);
  constexpr std::uint64_t others = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_PAL |
                                   AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_FLOAT;
  const bool plain = description != nullptr && (description->flags & others) == 0 &&
                     description->comp[0].depth >= 8 && description->comp[0].depth <= 16 &&
                     description->comp[0].shift == 0;
  const bool grey = plain && description->nb_components == 1;
  const bool planar = grey || (plain && (description->flags & AV_PIX_FMT_FLAG_PLANAR) != 0 &&
                               description->nb_components == 3 && description->comp[1].plane == 1 &&
                               description->comp[2].plane == 2);
  if (!planar) {
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
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
  picture.fields = (frame.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  picture.fields = frame.interlaced_frame != 0;
#endif
  for (std::size_t plane = 0; plane < picture.plane_count(); ++plane)
    picture.planes[plane] = plane_of(frame, plane, picture.sample_bytes());
  return picture;
}

Outcome<Bitstream> Bitstream::open(const Input& input) {
  Bitstream opened;
  opened.name_ = input.name();
  opened.url_ = input.url();
  opened.packet_.reset(av_packet_alloc());
  if (!opened.packet_) return failure("out of memory for %s", opened.name_.c_str());
  if (auto done = opened.open_container(); !done) return std::unexpected(done.error());
  return opened;
}

Outcome<> Bitstream::open_container() {
  AVFormatContext* container = nullptr;
  int status = avformat_open_input(&container, url_.c_str(), nullptr, nullptr);
  if (status == AVERROR_INVALIDDATA) {
    return failure(
        "%s is not a readable media file, or it is truncated: its beginning or its index is missing",
        name_.c_str());
  }
  if (status < 0) return ffmpeg::error(status, "cannot open %s", name_.c_str());
  container_.reset(container);
  status = avformat_find_stream_info(container, nullptr);
  if (status < 0) return ffmpeg::error(status, "cannot read %s", name_.c_str());
  stream_ = av_find_best_stream(container, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
  if (stream_ < 0) return failure("%s has no video stream", name_.c_str());
  for (unsigned index = 0; index < container->nb_streams; ++index) {
    if (static_cast<int>(index) != stream_) container->streams[index]->discard = AVDISCARD_ALL;
  }
  const AVCodecParameters& stream = *container->streams[stream_]->codecpar;
  const auto found = std::ranges::find(coded_formats, stream.codec_id, &CodedFormat::codec);
  if (found == coded_formats.end()) {
    return failure("V4L2 has no decoder format for the %s video of %s", avcodec_get_name(stream.codec_id),
                   name_.c_str());
  }
  format_ = &*found;
  flushing_ = false;
  read_ = 0;
  const std::span extradata(stream.extradata, static_cast<std::size_t>(std::max(stream.extradata_size, 0)));
  extradata_.try_emplace(std::numeric_limits<std::int64_t>::min(), extradata.begin(), extradata.end());
  return make_filter(extradata);
}

Outcome<> Bitstream::make_filter(std::span<const std::uint8_t> extradata) {
  const AVBitStreamFilter* const kind =
      format_->filter != nullptr ? av_bsf_get_by_name(format_->filter) : nullptr;
  if (format_->filter != nullptr && kind == nullptr)
    return failure("this libavcodec lacks the bitstream filter %s", format_->filter);
  const AVStream& stream = *container_->streams[stream_];
  AVBSFContext* made = nullptr;
  int status = kind != nullptr ? av_bsf_alloc(kind, &made) : av_bsf_get_null_filter(&made);
  ffmpeg::Filter filter(made);
  if (status >= 0) status = avcodec_parameters_copy(filter->par_in, stream.codecpar);
  if (status >= 0) {
    AVCodecParameters& in = *filter->par_in;
    av_freep(static_cast<void*>(&in.extradata));
    in.extradata_size = static_cast<int>(extradata.size());
    if (!extradata.empty()) {
      in.extradata = static_cast<std::uint8_t*>(av_mallocz(extradata.size() + AV_INPUT_BUFFER_PADDING_SIZE));
      if (in.extradata == nullptr) return failure("out of memory for %s", name_.c_str());
      std::ranges::copy(extradata, in.extradata);
    }
    filter->time_base_in = stream.time_base;
    status = av_bsf_init(filter.get());
  }
  if (status < 0) return ffmpeg::error(status, "cannot prepare the packets of %s", name_.c_str());
  filter_ = std::move(filter);
  extradata_in_force_.assign(extradata.begin(), extradata.end());
  return {};
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

std::optional<double> Bitstream::time() const noexcept {
  if (packet_->pts == AV_NOPTS_VALUE) return std::nullopt;
  const AVStream& stream = *container_->streams[stream_];
  const std::int64_t start = stream.start_time == AV_NOPTS_VALUE ? 0 : stream.start_time;
  return (static_cast<double>(packet_->pts) - static_cast<double>(start)) * av_q2d(filter_->time_base_out);
}

std::size_t Bitstream::largest_packet() const noexcept {
  AVStream* const stream = container_->streams[stream_];
  int largest = 0;
  for (int index = 0; index < avformat_index_get_entries_count(stream); ++index)
    largest = std::max(largest, avformat_index_get_entry(stream, index)->size);
  return static_cast<std::size_t>(largest);
}

bool Bitstream::read() {
  int status = 0;
  do {
    av_packet_unref(packet_.get());
    status = av_read_frame(container_.get(), packet_.get());
  } while (status >= 0 && packet_->stream_index != stream_);
  if (status >= 0) {
    ++read_;
    last_is_whole_ = (packet_->flags & AV_PKT_FLAG_CORRUPT) == 0;
    return true;
  }
  // Whatever the error is, the file ends there, as it does for the ffmpeg program.
  const int error = status == AVERROR_EOF && container_->pb != nullptr ? container_->pb->error : status;
  if (error < 0 && error != AVERROR_EOF) {
    char text[AV_ERROR_MAX_STRING_SIZE] = {};
    av_strerror(error, text, sizeof text);
    cut_short_ = text;
  } else if (const int listed = avformat_index_get_entries_count(container_->streams[stream_]);
             next_number_ < numbers_between_seeks &&
             read_ < static_cast<std::uint64_t>(std::max(listed, 0))) {
    cut_short_ = vumedia::format_text("of %d packets in its index, %llu exist", listed,
                                      static_cast<unsigned long long>(read_));
  } else if (const auto missing = missing_end(*container_, url_)) {
    cut_short_ = *missing;
  } else if (!last_is_whole_) {
    cut_short_ = "its last packet is not whole";
  }
  return false;
}

Outcome<const AVPacket*> Bitstream::next() {
  for (;;) {
    av_packet_unref(packet_.get());
    int status = av_bsf_receive_packet(filter_.get(), packet_.get());
    if (status >= 0) {
      if (packet_->size == 0) continue;  // side data alone means nothing to a V4L2 decoder
      if (auto done = put_headers_before(); !done) return std::unexpected(done.error());
      ++next_number_;
      return packet_.get();
    }
    if (status == AVERROR_EOF) return nullptr;
    if (status == AVERROR(ENOMEM)) return ffmpeg::error(status, "cannot filter %s", name_.c_str());
    if (status != AVERROR(EAGAIN)) {
      ++unreadable_packets_;
      continue;
    }
    if (flushing_) return nullptr;
    flushing_ = !read();
    if (!flushing_) {
      if (auto done = follow_extradata(); !done) return std::unexpected(done.error());
    }
    status = av_bsf_send_packet(filter_.get(), flushing_ ? nullptr : packet_.get());
    if (status == AVERROR(ENOMEM)) return ffmpeg::error(status, "cannot filter %s", name_.c_str());
    if (status < 0) ++unreadable_packets_;
  }
}

Outcome<> Bitstream::follow_extradata() {
  std::size_t size = 0;
  const std::uint8_t* const data = av_packet_get_side_data(packet_.get(), AV_PKT_DATA_NEW_EXTRADATA, &size);
  const std::int64_t time = packet_->dts;
  const bool jumped = std::exchange(has_jumped_, false);
  Extradata wanted;
  if (data != nullptr && size != 0) {
    wanted.assign(data, data + size);
    if (time != AV_NOPTS_VALUE) extradata_.insert_or_assign(time, wanted);
    // The decoder must not read it as well.
    av_packet_free_side_data(packet_.get());
  } else if (jumped && time != AV_NOPTS_VALUE) {
    wanted = std::prev(extradata_.upper_bound(time))->second;
  } else {
    return {};
  }
  if (wanted == extradata_in_force_) return {};
  if (!make_filter(wanted)) {
    // As for a packet: its side data cannot be read.
    ++unreadable_packets_;
    return {};
  }
  const AVCodecParameters& out = parameters();
  if (format_->extradata_is_stream && out.extradata_size > 0)
    headers_.assign(out.extradata, out.extradata + out.extradata_size);
  return {};
}

Outcome<> Bitstream::put_headers_before() {
  const Extradata headers = std::exchange(headers_, {});
  const std::size_t size = headers.size();
  const auto before = static_cast<std::size_t>(packet_->size);
  const std::span<const std::uint8_t> packet(packet_->data, before);
  if (size == 0 || (before >= size && std::ranges::equal(packet.first(size), headers))) return {};
  const int status = size <= std::numeric_limits<int>::max() - before - AV_INPUT_BUFFER_PADDING_SIZE
                         ? av_grow_packet(packet_.get(), static_cast<int>(size))
                         : AVERROR(ENOMEM);
  if (status < 0)
    return ffmpeg::error(status, "cannot put parameter sets before a packet of %s", name_.c_str());
  std::memmove(packet_->data + size, packet_->data, before);
  std::ranges::copy(headers, packet_->data);
  return {};
}

Outcome<> Bitstream::seek(double seconds) {
  const AVStream& stream = *container_->streams[stream_];
  const double ticks = seconds * stream.time_base.den / stream.time_base.num;
  // Beyond any file, and still far from overflow in the sum below.
  constexpr double limit = static_cast<double>(std::int64_t{1} << 60);
  const std::int64_t start = stream.start_time == AV_NOPTS_VALUE ? 0 : stream.start_time;
  const auto target = start + static_cast<std::int64_t>(std::clamp(ticks, 0.0, limit));
  if (av_seek_frame(container_.get(), stream_, target, AVSEEK_FLAG_BACKWARD) >= 0) {
    av_bsf_flush(filter_.get());
  } else if (auto done = seek_by_counting(seconds); !done) {
    // Without time stamps, as in raw streams, libavformat cannot seek.
    return done;
  }
  av_packet_unref(packet_.get());
  flushing_ = false;
  has_jumped_ = true;
  headers_.clear();
  next_number_ = (next_number_ / numbers_between_seeks + 1) * numbers_between_seeks;
  return {};
}

// Reads twice from the beginning: to find the key frame, and to get there.
Outcome<> Bitstream::seek_by_counting(double seconds) {
  const Fraction frames = rate();
  const double place = frames.numerator == 0 ? 0 : seconds * frames.numerator / frames.denominator;
  const auto target = static_cast<std::uint64_t>(std::min(place, 1e15));
  std::uint64_t key = 0;
  if (auto done = open_container(); !done) return done;
  for (std::uint64_t index = 0; index <= target && read(); ++index) {
    if ((packet_->flags & AV_PKT_FLAG_KEY) != 0) key = index;
  }
  if (auto done = open_container(); !done) return done;
  for (std::uint64_t index = 0; index < key; ++index) {
    if (!read()) return failure("%s has become shorter", name_.c_str());
  }
  return {};
}

Outcome<ReferenceDecoder> ReferenceDecoder::open(const Input& input) {
  auto bitstream = Bitstream::open(input);
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
  // The size in a container crops H.264, and a device does not know the container.
  if (codec->id == AV_CODEC_ID_H264) context.width = context.height = 0;
  context.flags |= AV_CODEC_FLAG_UNALIGNED;  // crop exactly, not just to what alignment allows
  context.thread_count = 1;
  if (status >= 0) status = avcodec_open2(&context, codec, nullptr);
  if (status < 0) return ffmpeg::error(status, "cannot decode %s", input.name().c_str());
  return made;
}

Outcome<> ReferenceDecoder::seek(double seconds) {
  avcodec_flush_buffers(decoder_.get());
  draining_ = packet_waits_ = false;
  reordering_.forget_pictures();
  return bitstream_.seek(seconds);
}

int ReferenceDecoder::send(AVPacket* packet) {
  const std::span bytes(reinterpret_cast<const std::byte*>(packet->data),
                        static_cast<std::size_t>(packet->size));
  if (!packet_waits_ && reordering_.begins_sequence(decoder_->codec_id, bytes)) {
    packet_waits_ = true;
    return avcodec_send_packet(decoder_.get(), nullptr);
  }
  return avcodec_send_packet(decoder_.get(), packet);
}

int ReferenceDecoder::send_waiting() {
  avcodec_flush_buffers(decoder_.get());
  decoder_->has_b_frames = std::max(decoder_->has_b_frames, reordering_.setup().held_back);
  const int status = send(packet_.get());
  packet_waits_ = false;
  return status;
}

Outcome<std::optional<Picture>> ReferenceDecoder::next() {
  // Damaged packets are skipped, as a device skips them, but not forever.
  for (unsigned errors = 0; errors < 32;) {
    int status = avcodec_receive_frame(decoder_.get(), frame_.get());
    if (status == AVERROR_EOF && packet_waits_) {
      if (send_waiting() == AVERROR(ENOMEM)) return failure("out of memory in libavcodec");
      continue;
    }
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
    status = draining_ ? avcodec_send_packet(decoder_.get(), nullptr) : send(packet_.get());
    if (status == AVERROR(ENOMEM)) return ffmpeg::error(status, "libavcodec cannot decode the stream");
    errors = 0;
  }
  return failure("libavcodec stopped before the end");
}

}  // namespace ctl
