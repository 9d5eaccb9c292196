#include <climits>
#include <cstring>

#include "ffmpeg.hpp"
#include "jpeg.hpp"

namespace ctl {

using vumedia::failure;
using vumedia::Outcome;

struct JpegDecoder::State {
  ffmpeg::CodecContext context;
  ffmpeg::Frame frame;
  ffmpeg::Packet packet;
};

void JpegDecoder::Delete::operator()(State* state) const noexcept {
  delete state;
}

Outcome<JpegDecoder> JpegDecoder::create() {
  const AVCodec* const codec = avcodec_find_decoder(AV_CODEC_ID_MJPEG);
  if (codec == nullptr) return failure("this libavcodec has no JPEG decoder");
  JpegDecoder decoder;
  decoder.state_.reset(new State{ffmpeg::CodecContext(avcodec_alloc_context3(codec)),
                                 ffmpeg::Frame(av_frame_alloc()), ffmpeg::Packet(av_packet_alloc())});
  State& state = *decoder.state_;
  if (!state.context || !state.frame || !state.packet) return failure("out of memory for a JPEG decoder");
  state.context->thread_count = 1;  // several delay pictures
  const int status = avcodec_open2(state.context.get(), codec, nullptr);
  if (status < 0) return ffmpeg::error(status, "cannot decode JPEG");
  return decoder;
}

Outcome<Picture> JpegDecoder::decode(const Layout& layout, std::span<const std::byte> bytes) {
  State& state = *state_;
  if (bytes.size() > INT_MAX - AV_INPUT_BUFFER_PADDING_SIZE)
    return failure("a picture of %zu bytes is too large", bytes.size());
  state.context->max_pixels = std::int64_t{layout.width} * layout.height;
  // A copy, because the guest's memory may change, and the decoder reads past its end.
  av_packet_unref(state.packet.get());
  int status = av_new_packet(state.packet.get(), static_cast<int>(bytes.size()));
  if (status >= 0) {
    std::memcpy(state.packet->data, bytes.data(), bytes.size());
    status = avcodec_send_packet(state.context.get(), state.packet.get());
  }
  if (status >= 0) status = avcodec_receive_frame(state.context.get(), state.frame.get());
  if (status < 0) return ffmpeg::error(status, "the device's picture is not a JPEG that can be decoded");
  auto picture = picture_of(*state.frame);
  if (picture && (picture->width != layout.width || picture->height != layout.height)) {
    return failure("the picture in the buffer is %ux%u, but the device's format is %ux%u", picture->width,
                   picture->height, layout.width, layout.height);
  }
  return picture;
}

}  // namespace ctl
