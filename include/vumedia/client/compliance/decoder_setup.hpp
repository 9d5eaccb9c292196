// Rules on a stateful decoder before it has seen a stream: formats of both queues, commands, buffers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <vumedia/client/compliance/decoder_client.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::decoder {

[[nodiscard]] inline const Queue& coded_queue(Subject& s) {
  return *s.facts().queue(true);
}
[[nodiscard]] inline const Queue& raw_queue(Subject& s) {
  return *s.facts().queue(false);
}

// What VIDIOC_ENUM_FMT lists now.
[[nodiscard]] inline std::vector<v4l2_fmtdesc> list_formats(Subject& s, std::uint32_t type) {
  std::vector<v4l2_fmtdesc> formats;
  v4l2_fmtdesc description{};
  for (std::uint32_t index = 0; index < max_listed; ++index) {
    description = {};
    description.type = type;
    description.index = index;
    if (s.call<tag::ENUM_FMT>(description) != 0) break;
    formats.push_back(description);
  }
  return formats;
}
[[nodiscard]] inline bool is_listed(const std::vector<v4l2_fmtdesc>& formats, std::uint32_t fourcc) {
  return std::ranges::find(formats, fourcc, &v4l2_fmtdesc::pixelformat) != formats.end();
}

// S_FMT of OUTPUT, as it was answered.
inline Finding set_coded(Subject& s, std::uint32_t fourcc, std::uint32_t width, std::uint32_t height,
                         v4l2_format& format) {
  format = {};
  format.type = coded_queue(s).type;
  set_size(format, width, height);
  set_fourcc(format, fourcc);
  set_size_image(format, 1u << 20);
  return s.expect<tag::S_FMT>(format, 0, "of OUTPUT");
}

// -- Querying capabilities

inline Finding coded_formats(Subject& s) {
  for (const v4l2_fmtdesc& format : coded_queue(s).formats) {
    if ((format.flags & V4L2_FMT_FLAG_COMPRESSED) == 0)
      return failed("%s on OUTPUT is not flagged COMPRESSED", fourcc_name(format.pixelformat).c_str());
  }
  return passed();
}

inline Finding raw_formats(Subject& s) {
  for (const v4l2_fmtdesc& coded : coded_queue(s).formats) {
    v4l2_format format{};
    if (auto found = set_coded(s, coded.pixelformat, 320, 240, format)) return found;
    const auto raw = list_formats(s, raw_queue(s).type);
    const std::string name = fourcc_name(coded.pixelformat);
    if (raw.empty()) return failed("CAPTURE has no format for %s", name.c_str());
    for (const v4l2_fmtdesc& each : raw) {
      if ((each.flags & V4L2_FMT_FLAG_COMPRESSED) != 0)
        return failed("%s, on CAPTURE for %s, is flagged COMPRESSED", fourcc_name(each.pixelformat).c_str(),
                      name.c_str());
    }
  }
  return passed();
}

inline Finding coded_list_stays(Subject& s) {
  const auto before = list_formats(s, coded_queue(s).type);
  v4l2_format raw{};
  raw.type = raw_queue(s).type;
  if (auto found = s.expect<tag::G_FMT>(raw, 0, "of CAPTURE")) return found;
  if (auto found = s.expect<tag::S_FMT>(raw, 0, "of CAPTURE")) return found;
  const auto after = list_formats(s, coded_queue(s).type);
  if (std::ranges::equal(before, after, {}, &v4l2_fmtdesc::pixelformat, &v4l2_fmtdesc::pixelformat))
    return passed();
  return failed("OUTPUT lists %zu formats, but %zu after S_FMT of CAPTURE", before.size(), after.size());
}

inline Finding frame_sizes(Subject& s) {
  for (const v4l2_fmtdesc& coded : coded_queue(s).formats) {
    v4l2_frmsizeenum size{};
    size.pixel_format = coded.pixelformat;
    const std::string name = fourcc_name(coded.pixelformat);
    if (auto found = s.want<tag::ENUM_FRAMESIZES>(size, ("of " + name).c_str())) return found;
    if (size.type == V4L2_FRMSIZE_TYPE_DISCRETE) continue;
    const auto& range = size.stepwise;
    if (range.min_width == 0 || range.min_width > range.max_width || range.min_height == 0 ||
        range.min_height > range.max_height || range.step_width == 0 || range.step_height == 0)
      return failed("%s comes from %ux%u to %ux%u by %ux%u", name.c_str(), range.min_width, range.min_height,
                    range.max_width, range.max_height, range.step_width, range.step_height);
  }
  return passed();
}

// -- Initialization

inline Finding output_decides_capture(Subject& s) {
  for (const v4l2_fmtdesc& coded : coded_queue(s).formats) {
    for (const std::uint32_t width : {640u, 320u}) {
      v4l2_format output{}, capture{};
      if (auto found = set_coded(s, coded.pixelformat, width, width / 4 * 3, output)) return found;
      capture.type = raw_queue(s).type;
      if (auto found = s.expect<tag::G_FMT>(capture, 0, "of CAPTURE")) return found;
      const Pixels in = pixels_of(output), out = pixels_of(capture);
      // Rounded up to what the codec and the hardware need.
      if (out.width < in.width || out.height < in.height || out.width > in.width + 256 ||
          out.height > in.height + 256)
        return failed("OUTPUT was set to %ux%u, CAPTURE is %ux%u", in.width, in.height, out.width,
                      out.height);
    }
  }
  return passed();
}

inline Finding coded_buffers_have_size(Subject& s) {
  for (const v4l2_fmtdesc& coded : coded_queue(s).formats) {
    v4l2_format set{}, got{};
    if (auto found = set_coded(s, coded.pixelformat, 320, 240, set)) return found;
    got.type = set.type;
    if (auto found = s.expect<tag::G_FMT>(got, 0, "of OUTPUT")) return found;
    const Pixels first = pixels_of(set), second = pixels_of(got);
    if (first.planes[0].size == 0)
      return failed("S_FMT of OUTPUT to %s answers a sizeimage of 0", fourcc_name(coded.pixelformat).c_str());
    if (first.fourcc != coded.pixelformat || second.fourcc != coded.pixelformat ||
        first.planes[0].size != second.planes[0].size)
      return failed("S_FMT of OUTPUT to %s answers %s and %u bytes, but G_FMT %s and %u",
                    fourcc_name(coded.pixelformat).c_str(), fourcc_name(first.fourcc).c_str(),
                    first.planes[0].size, fourcc_name(second.fourcc).c_str(), second.planes[0].size);
  }
  return passed();
}

inline Finding capture_adjusts(Subject& s) {
  const auto raw = list_formats(s, raw_queue(s).type);
  const std::uint32_t coded = coded_queue(s).formats.front().pixelformat;
  v4l2_format format{};
  format.type = raw_queue(s).type;
  if (auto found = s.expect<tag::G_FMT>(format, 0, "of CAPTURE")) return found;
  set_fourcc(format, coded);
  if (auto found = s.expect<tag::S_FMT>(format, 0, "of CAPTURE, to a format that it does not have"))
    return found;
  const std::uint32_t fourcc = pixels_of(format).fourcc;
  if (is_listed(raw, fourcc)) return passed();
  return failed("S_FMT of CAPTURE to %s became %s, which is not listed", fourcc_name(coded).c_str(),
                fourcc_name(fourcc).c_str());
}

inline Finding files_stand_apart(Subject& s) {
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  v4l2_format before{}, foreign{}, after{};
  before.type = foreign.type = after.type = coded_queue(s).type;
  if (auto found = s.expect<tag::G_FMT>(before, 0, "of OUTPUT")) return found;
  const Pixels was = pixels_of(before);
  set_size(foreign, was.width == 320 ? 640 : 320, was.width == 320 ? 480 : 240);
  set_fourcc(foreign, coded_queue(s).formats.back().pixelformat);
  set_size_image(foreign, 1u << 20);
  if (auto found = s.expect_as<tag::S_FMT>(other, foreign, 0, "of another file's OUTPUT")) return found;
  if (auto found = s.expect<tag::G_FMT>(after, 0, "of OUTPUT")) return found;
  const Pixels is = pixels_of(after);
  if (is.fourcc == was.fourcc && is.width == was.width && is.height == was.height) return passed();
  return failed("OUTPUT was %s of %ux%u, and has been %s of %ux%u since another file set its own",
                fourcc_name(was.fourcc).c_str(), was.width, was.height, fourcc_name(is.fourcc).c_str(),
                is.width, is.height);
}

inline Finding format_is_busy(Subject& s) {
  const auto& formats = coded_queue(s).formats;
  if (formats.size() < 2) return not_applicable("there is only one coded format");
  for (const bool output : {true, false}) {
    v4l2_format format{};
    if (auto found = set_coded(s, formats[0].pixelformat, 320, 240, format)) return found;
    Buffers buffers(s, output ? coded_queue(s).type : raw_queue(s).type, s.memory());
    if (auto found = buffers.allocate(2)) return found;
    set_fourcc(format, formats[1].pixelformat);
    if (auto found = s.expect<tag::S_FMT>(
            format, EBUSY, output ? "of OUTPUT, which has buffers" : "of OUTPUT, while CAPTURE has buffers"))
      return found;
    if (auto found = buffers.release()) return found;
  }
  return passed();
}

inline Finding output_streams_alone(Subject& s) {
  Buffers buffers(s, coded_queue(s).type, s.memory());
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = buffers.start()) return found;
  return buffers.stop();
}

inline Finding stamps_are_copied(Subject& s) {
  for (const std::uint32_t type : {coded_queue(s).type, raw_queue(s).type}) {
    Buffers buffers(s, type, s.memory());
    if (auto found = buffers.allocate(2)) return found;
    v4l2::BufferPayload payload{};
    if (auto found = buffers.query(buffers[0].index, payload)) return found;
    const std::uint32_t flags = payload.buffer.head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK;
    if (flags != V4L2_BUF_FLAG_TIMESTAMP_COPY)
      return failed("a buffer of %s has time stamps of kind 0x%x, not copied ones", type_name(type), flags);
    if (auto found = buffers.release()) return found;
  }
  return passed();
}

inline Finding min_buffers(Subject& s) {
  v4l2_control control{};
  control.id = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
  if (auto found = s.expect<tag::G_CTRL>(control, 0, "of V4L2_CID_MIN_BUFFERS_FOR_CAPTURE")) return found;
  if (control.value >= 1 && control.value <= 64) return passed();
  return failed("V4L2_CID_MIN_BUFFERS_FOR_CAPTURE is %d", control.value);
}

inline Finding events_can_be_had(Subject& s) {
  for (const std::uint32_t type : {std::uint32_t{V4L2_EVENT_SOURCE_CHANGE}, std::uint32_t{V4L2_EVENT_EOS}}) {
    v4l2_event_subscription subscription{};
    subscription.type = type;
    if (auto found = s.expect<tag::SUBSCRIBE_EVENT>(
            subscription, 0, type == V4L2_EVENT_EOS ? "to V4L2_EVENT_EOS" : "to V4L2_EVENT_SOURCE_CHANGE"))
      return found;
  }
  return passed();
}

// -- Commands

inline Finding commands_are_known(Subject& s) {
  for (const std::uint32_t cmd : {std::uint32_t{V4L2_DEC_CMD_START}, std::uint32_t{V4L2_DEC_CMD_STOP}}) {
    v4l2_decoder_cmd command{};
    command.cmd = cmd;
    if (auto found = s.expect<tag::TRY_DECODER_CMD>(command, 0, cmd == V4L2_DEC_CMD_STOP ? "STOP" : "START"))
      return found;
    if (command.cmd != cmd)
      return failed("VIDIOC_TRY_DECODER_CMD returns %u for command %u", command.cmd, cmd);
  }
  v4l2_decoder_cmd unknown{};
  unknown.cmd = 0x7ffe;
  if (auto found = s.expect<tag::TRY_DECODER_CMD>(unknown, EINVAL, "of an unknown command")) return found;
  unknown = {};
  unknown.cmd = 0x7ffe;
  return s.expect<tag::DECODER_CMD>(unknown, EINVAL, "of an unknown command");
}

inline Finding idle_command(Subject& s, std::uint32_t cmd, const char* name) {
  v4l2_decoder_cmd command{};
  command.cmd = cmd;
  if (auto found = s.expect<tag::DECODER_CMD>(command, 0, name)) return found;
  Buffers buffers(s, coded_queue(s).type, s.memory());
  if (auto found = buffers.allocate(2)) return found;
  command = {};
  command.cmd = cmd;
  return s.expect<tag::DECODER_CMD>(command, 0, name);
}
inline Finding idle_stop(Subject& s) {
  return idle_command(s, V4L2_DEC_CMD_STOP, "STOP, while no queue streams");
}
inline Finding idle_start(Subject& s) {
  return idle_command(s, V4L2_DEC_CMD_START, "START, while no queue streams");
}

inline constexpr const char* querying_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Querying Capabilities";
inline constexpr const char* initialization_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Initialization";
inline constexpr const char* commit_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Commit Points";
inline constexpr const char* drain_section =
    "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Drain";

inline constexpr Rule setup_rules[] = {
    {"decoder/coded-formats", "the formats of OUTPUT are flagged COMPRESSED", querying_section,
     Scope::decoder, coded_formats},
    {"decoder/raw-formats", "for each coded format CAPTURE has formats, none of them COMPRESSED",
     querying_section, Scope::decoder, raw_formats},
    {"decoder/coded-list-stays", "OUTPUT lists all its formats, whatever CAPTURE is set to", commit_section,
     Scope::decoder, coded_list_stays},
    {"decoder/frame-sizes", "each coded format has frame sizes", querying_section, Scope::decoder,
     frame_sizes},
    {"decoder/output-decides-capture", "CAPTURE has the size that OUTPUT is set to at once, or a little more",
     initialization_section, Scope::decoder, output_decides_capture},
    {"decoder/coded-size", "OUTPUT takes each format that it lists, and has a buffer size for it",
     initialization_section, Scope::decoder, coded_buffers_have_size},
    {"decoder/capture-adjusts", "a format that CAPTURE does not have becomes one that it has", commit_section,
     Scope::decoder, capture_adjusts},
    {"decoder/files-apart", "each open file has formats of its own",
     "V4L2 API, Video Memory-To-Memory Interface", Scope::decoder, files_stand_apart},
    {"decoder/format-busy", "the coded format cannot change while either queue has buffers: EBUSY",
     commit_section, Scope::decoder, format_is_busy},
    {"decoder/output-alone", "OUTPUT streams without CAPTURE, and before anything is queued",
     initialization_section, Scope::decoder, output_streams_alone},
    {"decoder/copies-stamps", "the flags of both queues say that time stamps are copied",
     "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Decoding", Scope::decoder,
     stamps_are_copied},
    {"decoder/min-buffers", "V4L2_CID_MIN_BUFFERS_FOR_CAPTURE is the number of buffers that CAPTURE needs",
     "V4L2 API, Memory-to-Memory Stateful Video Decoder Interface, Capture Setup", Scope::decoder,
     min_buffers},
    {"decoder/subscriptions", "source changes and the end of the stream can be subscribed to",
     initialization_section, Scope::decoder, events_can_be_had},
    {"decoder/commands", "START and STOP are known, other commands are EINVAL",
     "V4L2 API, ioctls VIDIOC_DECODER_CMD and VIDIOC_TRY_DECODER_CMD", Scope::decoder, commands_are_known},
    {"decoder/idle-stop", "STOP succeeds while a queue does not stream, and does nothing", drain_section,
     Scope::decoder, idle_stop},
    {"decoder/idle-start", "START succeeds while no queue streams, and does nothing", drain_section,
     Scope::decoder, idle_start},
};

}  // namespace vumedia::client::compliance::detail::decoder
