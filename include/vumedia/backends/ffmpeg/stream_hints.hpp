// What a stream's headers say but libavcodec's decoders report only with the first frame, or not at all. A
// client asks for it earlier, after the source-change event.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/history.hpp>

extern "C" {
#include <libavcodec/avcodec.h>
}

namespace vumedia::backends::ffmpeg {

/// What clients may be told before the first frame.
struct StreamHints {
  std::uint32_t field = V4L2_FIELD_NONE;  ///< as Picture::field
  int tier = -1;                          ///< of H.265: 0 Main, 1 High; negative where unknown
};

/// How the picture in a packet (followed by libavcodec's padding) consists of fields, according to
/// libavcodec's parsers for H.264 and MPEG-2, the only codecs that are interlaced in practice. What frames
/// say later is more accurate: see LookChanged. The packet may contain any bytes.
[[nodiscard]] inline std::uint32_t field_of_packet(AVCodecID codec, const AVPacket& packet) noexcept {
  struct ParserDeleter {
    void operator()(AVCodecParserContext* parser) const noexcept { av_parser_close(parser); }
  };
  struct ContextDeleter {
    void operator()(AVCodecContext* context) const noexcept { avcodec_free_context(&context); }
  };
  if (codec != AV_CODEC_ID_H264 && codec != AV_CODEC_ID_MPEG2VIDEO) return V4L2_FIELD_NONE;
  // A context of its own: parsers write to it.
  const std::unique_ptr<AVCodecContext, ContextDeleter> context(avcodec_alloc_context3(nullptr));
  const std::unique_ptr<AVCodecParserContext, ParserDeleter> parser(av_parser_init(codec));
  if (context == nullptr || parser == nullptr) return V4L2_FIELD_NONE;
  context->codec_id = codec;
  parser->flags |= PARSER_FLAG_COMPLETE_FRAMES;
  std::uint8_t* data = nullptr;
  int size = 0;
  (void)av_parser_parse2(parser.get(), context.get(), &data, &size, packet.data, packet.size, AV_NOPTS_VALUE,
                         AV_NOPTS_VALUE, 0);
  switch (parser->field_order) {
    case AV_FIELD_TT:
    case AV_FIELD_TB:
      return V4L2_FIELD_INTERLACED_TB;
    case AV_FIELD_BB:
    case AV_FIELD_BT:
      return V4L2_FIELD_INTERLACED_BT;
    case AV_FIELD_PROGRESSIVE:
      return V4L2_FIELD_NONE;
    default:
      break;
  }
  // A single field, whose counterpart has yet to come.
  if (parser->picture_structure == AV_PICTURE_STRUCTURE_TOP_FIELD) return V4L2_FIELD_INTERLACED_TB;
  if (parser->picture_structure == AV_PICTURE_STRUCTURE_BOTTOM_FIELD) return V4L2_FIELD_INTERLACED_BT;
  return V4L2_FIELD_NONE;
}

/// general_tier_flag of the first sequence parameter set (H.265, 7.3.2.2 and 7.3.3); nothing if there is
/// none.
[[nodiscard]] inline std::optional<int> hevc_tier(std::span<const std::byte> bytes) noexcept {
  constexpr unsigned sps = 33;
  const auto unit = detail::find_unit(bytes, [](unsigned header) { return ((header >> 1) & 63) == sps; });
  // After the two bytes of the header: ids of 8 bits, then 2 bits of profile space, the tier, the profile.
  if (!unit || *unit + 3 >= bytes.size()) return std::nullopt;
  return static_cast<int>((std::to_integer<unsigned>(bytes[*unit + 3]) >> 5) & 1);
}

}  // namespace vumedia::backends::ffmpeg
