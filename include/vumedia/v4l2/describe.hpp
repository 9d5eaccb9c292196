// The payload of an ioctl in words, for logs: its fields under the kernel's own names, and values by their
// names where they have one, as in
//
// clang-format off
//   {type=V4L2_BUF_TYPE_VIDEO_CAPTURE, fmt.pix={width=640, height=480, pixelformat='NV12', ...}}
// clang-format on
//
// Driven by tables (detail/describe_tables.hpp); an ioctl whose payload they do not know does not compile.
// What a guest wrote is shown, never trusted: text ends within its array and is escaped, counts are bounded
// by their arrays.
#pragma once

#include <algorithm>
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/detail/describe_tables.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::v4l2 {

/// The payload of the ioctl with this number: `payload` points to its tag's Payload, as a backend is given
/// it. Two ioctls that are not in the table are known as well: VIDIOC_DQBUF, whose payload is a v4l2::Buffer,
/// and VIDIOC_DQEVENT, whose payload is a v4l2_event. Any other number gives "{}", and so does an ioctl
/// without a payload.
[[nodiscard]] inline std::string describe_payload(std::uint32_t ioctl, const void* payload);

namespace detail {

// Lists longer than this are cut: a guest may send a thousand controls.
inline constexpr std::size_t longest_list = 16;

inline void append_hex(std::string& out, std::uint64_t value) {
  out += format_text("0x%" PRIx64, value);
}

inline void append_text(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text.substr(0, text.find('\0'))) {
    if (c >= ' ' && c <= '~' && c != '"' && c != '\\')
      out += c;
    else
      out += format_text("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  out += '"';
}

// The four characters of a format, and the kernel's mark if it is big-endian.
inline void append_fourcc(std::string& out, std::uint64_t value) {
  constexpr std::uint64_t big_endian = std::uint64_t{1} << 31;
  std::string text;
  for (unsigned shift = 0; shift < 32; shift += 8) {
    const auto c = static_cast<char>((value & ~big_endian) >> shift & 0xff);
    if (c < ' ' || c > '~' || c == '\'' || c == '\\') return append_hex(out, value);
    text += c;
  }
  out += "'" + text + ((value & big_endian) != 0 ? "-BE'" : "'");
}

inline void append_one_of(std::string& out, std::uint64_t value, Names names) {
  const auto found = std::ranges::find(names, value, &Name::value);
  if (found != names.end())
    out += found->name;
  else
    append_hex(out, value);
}

inline void append_bits(std::string& out, std::uint64_t value, Names names) {
  if (value == 0) {
    out += '0';
    return;
  }
  const char* separator = "";
  for (const Name& bit : names) {
    if ((value & bit.value) != bit.value) continue;
    value &= ~bit.value;
    out += separator;
    out += bit.name;
    separator = "|";
  }
  if (value == 0) return;
  out += separator;
  append_hex(out, value);
}

inline void append_fields(std::string& out, const std::byte* object, std::span<const Field> fields);

inline void append_value(std::string& out, const std::byte* at, const Field& field) {
  if (field.show == Show::structure) return append_fields(out, at, field.fields);
  if (field.show == Show::text) {
    // Copied from a struct that may be packed, whatever the type.
    std::string text(field.size, '\0');
    std::memcpy(text.data(), at, text.size());
    return append_text(out, text);
  }
  // Little-endian (core/result.hpp asserts it): the bytes that are copied are the low ones.
  std::uint64_t value = 0;
  std::memcpy(&value, at, std::min<std::size_t>(field.size, sizeof value));
  switch (field.show) {
    case Show::signed_number: {
      const unsigned unused = 64 - 8 * field.size;
      out += format_text("%" PRId64, static_cast<std::int64_t>(value << unused) >> unused);
      break;
    }
    case Show::hex:
      append_hex(out, value);
      break;
    case Show::fourcc:
      append_fourcc(out, value);
      break;
    case Show::one_of:
      append_one_of(out, value, field.names);
      break;
    case Show::bits:
      append_bits(out, value, field.names);
      break;
    default:
      out += format_text("%" PRIu64, value);
  }
}

// "a=1, b=2" in braces.
inline void append_fields(std::string& out, const std::byte* object, std::span<const Field> fields) {
  out += '{';
  const char* separator = "";
  for (const Field& field : fields) {
    out += separator;
    out += field.name;
    out += '=';
    append_value(out, object + field.offset, field);
    separator = ", ";
  }
  out += '}';
}

template <class T>
void append_struct(std::string& out, const T& value) {
  append_fields(out, reinterpret_cast<const std::byte*>(&value), Fields<T>::list);
}

// Puts `name` and what `append` writes into the braces that `out` ends with.
template <class F>
void append_member(std::string& out, const char* name, F&& append) {
  out.pop_back();
  out += ", ";
  out += name;
  out += '=';
  append(out);
  out += '}';
}
template <class T>
void append_member_struct(std::string& out, const char* name, const T& value) {
  append_member(out, name, [&value](std::string& text) { append_struct(text, value); });
}

// `count` items, each written by `append(out, index)`, in brackets.
template <class F>
void append_list(std::string& out, std::size_t count, F&& append) {
  out += '[';
  for (std::size_t i = 0; i < std::min(count, longest_list); ++i) {
    if (i > 0) out += ", ";
    append(out, i);
  }
  if (count > longest_list) out += ", ...";
  out += ']';
}

// -- One overload for each payload whose unions or lists depend on other fields, and one for the rest.

template <HasFields T>
void describe(std::string& out, const T& value) {
  append_struct(out, value);
}

inline void describe(std::string& out, const v4l2_format& format) {
  out += "{type=";
  append_one_of(out, format.type, buffer_types);
  out += '}';
  switch (format.type) {
    case V4L2_BUF_TYPE_VIDEO_CAPTURE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT:
      return append_member_struct(out, "fmt.pix", format.fmt.pix);
    case V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE:
      append_member_struct(out, "fmt.pix_mp", format.fmt.pix_mp);
      return append_member(out, "fmt.pix_mp.plane_fmt", [&format](std::string& text) {
        const std::size_t planes = std::min<std::size_t>(format.fmt.pix_mp.num_planes, VIDEO_MAX_PLANES);
        append_list(text, planes, [&format](std::string& item, std::size_t p) {
          const v4l2_plane_pix_format plane = format.fmt.pix_mp.plane_fmt[p];
          append_struct(item, plane);
        });
      });
    case V4L2_BUF_TYPE_VIDEO_OVERLAY:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY:
      return append_member_struct(out, "fmt.win", format.fmt.win);
    case V4L2_BUF_TYPE_VBI_CAPTURE:
    case V4L2_BUF_TYPE_VBI_OUTPUT:
      return append_member_struct(out, "fmt.vbi", format.fmt.vbi);
    case V4L2_BUF_TYPE_SLICED_VBI_CAPTURE:
    case V4L2_BUF_TYPE_SLICED_VBI_OUTPUT:
      return append_member_struct(out, "fmt.sliced", format.fmt.sliced);
    case V4L2_BUF_TYPE_SDR_CAPTURE:
    case V4L2_BUF_TYPE_SDR_OUTPUT:
      return append_member_struct(out, "fmt.sdr", format.fmt.sdr);
    case V4L2_BUF_TYPE_META_CAPTURE:
    case V4L2_BUF_TYPE_META_OUTPUT:
      return append_member_struct(out, "fmt.meta", format.fmt.meta);
    default:
      return;
  }
}

inline void describe(std::string& out, const v4l2_create_buffers& create) {
  append_struct(out, create);
  append_member(out, "format", [&create](std::string& text) { describe(text, create.format); });
}

inline void describe(std::string& out, const v4l2_streamparm& parameters) {
  out += "{type=";
  append_one_of(out, parameters.type, buffer_types);
  out += '}';
  if (is_output(parameters.type))
    append_member_struct(out, "parm.output", parameters.parm.output);
  else
    append_member_struct(out, "parm.capture", parameters.parm.capture);
}

inline void describe(std::string& out, const v4l2_frmsizeenum& size) {
  append_struct(out, size);
  if (size.type == V4L2_FRMSIZE_TYPE_DISCRETE)
    append_member_struct(out, "discrete", size.discrete);
  else
    append_member_struct(out, "stepwise", size.stepwise);
}

inline void describe(std::string& out, const v4l2_frmivalenum& interval) {
  append_struct(out, interval);
  if (interval.type == V4L2_FRMIVAL_TYPE_DISCRETE)
    append_member_struct(out, "discrete", interval.discrete);
  else
    append_member_struct(out, "stepwise", interval.stepwise);
}

inline void describe(std::string& out, const v4l2_event& event) {
  append_struct(out, event);
  if (event.type == V4L2_EVENT_CTRL) append_member_struct(out, "u.ctrl", event.u.ctrl);
  if (event.type == V4L2_EVENT_SOURCE_CHANGE) append_member_struct(out, "u.src_change", event.u.src_change);
}

// The member of a buffer's or plane's union `m` that `memory` chooses.
template <class M>
void append_memory(std::string& out, const M& m, std::uint32_t offset, std::uint32_t memory) {
  if (memory == V4L2_MEMORY_USERPTR)
    append_member(out, "m.userptr", [&m](std::string& text) { append_hex(text, m.userptr); });
  else if (memory == V4L2_MEMORY_DMABUF)
    append_member(out, "m.fd", [&m](std::string& text) { text += std::to_string(m.fd); });
  else
    append_member(out, "m.offset", [offset](std::string& text) { append_hex(text, offset); });
}

inline void describe(std::string& out, const Buffer& buffer) {
  const v4l2_buffer& head = buffer.head;
  append_struct(out, head);
  if (!is_multiplanar(head.type)) return append_memory(out, head.m, head.m.offset, head.memory);
  append_member(out, "m.planes", [&buffer](std::string& text) {
    const std::size_t planes = std::min<std::size_t>(buffer.head.length, VIDEO_MAX_PLANES);
    append_list(text, planes, [&buffer](std::string& item, std::size_t p) {
      const v4l2_plane& plane = buffer.planes[p];
      append_struct(item, plane);
      append_memory(item, plane.m, plane.m.mem_offset, buffer.head.memory);
    });
  });
}

inline void describe(std::string& out, const BufferPayload& payload) {
  describe(out, payload.buffer);
}

inline void describe(std::string& out, const ExtControls& payload) {
  append_struct(out, payload.head);
  append_member(out, "controls", [&payload](std::string& text) {
    append_list(text, payload.controls.size(), [&payload](std::string& item, std::size_t i) {
      const v4l2_ext_control control = payload.controls[i];
      item += "{id=";
      append_one_of(item, control.id, detail::controls);
      // What a guest's pointer points to is not shown.
      if (control.size > 0)
        item += format_text(", size=%" PRIu32 "}", control.size);
      else
        item += format_text(", value=%" PRId64 "}", static_cast<std::int64_t>(control.value64));
    });
  });
}

// -- One overload of describe_as for each body that is a plain number, and one for the rest.

template <class Body>
struct As {};

inline void describe_as(std::string& out, As<body::Index>, std::uint32_t value) {
  out += std::to_string(value);
}
inline void describe_as(std::string& out, As<body::Switch>, std::int32_t value) {
  out += std::to_string(value);
}
inline void describe_as(std::string& out, As<body::BufferType>, std::uint32_t value) {
  append_one_of(out, value, buffer_types);
}
inline void describe_as(std::string& out, As<body::PriorityLevel>, std::uint32_t value) {
  append_one_of(out, value, priorities);
}
inline void describe_as(std::string& out, As<body::Standards>, v4l2_std_id value) {
  append_hex(out, value);
}
template <class Body, class Payload>
  requires requires(std::string& out, const Payload& payload) { describe(out, payload); }
void describe_as(std::string& out, As<Body>, const Payload& payload) {
  describe(out, payload);
}

template <class Tag>
concept Described = requires(std::string& out, const typename Tag::Payload& payload) {
  describe_as(out, As<typename Tag::Body>{}, payload);
};

template <class Tag>
void describe_payload_of(std::string& out, const void* payload) {
  describe_as(out, As<typename Tag::Body>{}, *static_cast<const typename Tag::Payload*>(payload));
}

}  // namespace detail

inline std::string describe_payload(std::uint32_t ioctl, const void* payload) {
  std::string out;
  const auto describe_one = [&]<class... Tags>() {
    static_cast<void>(
        ((ioctl == Tags::number && (detail::describe_payload_of<Tags>(out, payload), true)) || ...));
  };
  with_ioctl_tags([&]<class... Tags>() {
    static_assert(
        (detail::Described<Tags> && ...),
        "an ioctl of ioctl_table.hpp carries a struct without a description: its fields belong into "
        "detail/describe_tables.hpp");
    describe_one.template operator()<Tags...>();
  });
  describe_one.template operator()<uncarried::DQBUF, uncarried::DQEVENT>();
  return out.empty() ? "{}" : out;
}

}  // namespace vumedia::v4l2
