// Rules on data formats: VIDIOC_G_FMT, VIDIOC_TRY_FMT and VIDIOC_S_FMT.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <vumedia/client/compliance/buffers.hpp>
#include <vumedia/client/compliance/enumeration.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

[[nodiscard]] inline v4l2_format format_question(std::uint32_t type) noexcept {
  v4l2_format format{};
  format.type = type;
  return format;
}

[[nodiscard]] inline bool lists(const Queue& queue, std::uint32_t fourcc) noexcept {
  return std::ranges::any_of(queue.formats,
                             [&](const v4l2_fmtdesc& format) { return format.pixelformat == fourcc; });
}

// Whether a picture is plausible.
inline Finding sensible(const Queue& queue, const v4l2_format& format) {
  const Pixels pixels = pixels_of(format);
  const std::string name = format_name(format);
  if (!lists(queue, pixels.fourcc)) return failed("the format is not one of those listed: %s", name.c_str());
  if (pixels.plane_count == 0 || pixels.plane_count > VIDEO_MAX_PLANES)
    return failed("its number of planes is not possible: %s", name.c_str());
  const bool coded = coding_of(pixels.fourcc) == Coding::coded;
  // A codec may learn the size from its stream.
  if (!coded && (pixels.width == 0 || pixels.height == 0))
    return failed("the picture is empty: %s", name.c_str());
  for (const Pixels::Plane& plane : pixels.used_planes()) {
    if (plane.size == 0) return failed("a plane has no bytes: %s", name.c_str());
  }
  if (coding_of(pixels.fourcc) != Coding::raw) return passed();
  if (pixels.planes[0].stride < pixels.width) return failed("a line is too short: %s", name.c_str());
  if (std::uint64_t{pixels.planes[0].stride} * pixels.height > pixels.planes[0].size)
    return failed("the lines do not fit into the picture: %s", name.c_str());
  return passed();
}

// ---- VIDIOC_G_FMT

inline Finding get_answers(Subject& s) {
  v4l2_format first = format_question(s.type()), second = format_question(s.type());
  if (auto found = s.expect<v4l2::tag::G_FMT>(first)) return found;
  if (first.type != s.type()) return failed("type %u came back as %u", s.type(), first.type);
  if (auto found = s.expect<v4l2::tag::G_FMT>(second)) return found;
  if (same_format(first, second)) return passed();
  return failed("%s, and then %s", format_name(first).c_str(), format_name(second).c_str());
}

inline Finding get_unknown_types(Subject& s) {
  if (s.facts().queues.empty()) return not_applicable("it has no queues");
  for (const std::uint32_t type : foreign_types(s.facts())) {
    v4l2_format format = format_question(type);
    const int got = s.call<v4l2::tag::G_FMT>(format);
    if (got != EINVAL)
      return failed("VIDIOC_G_FMT of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

inline Finding get_sensible(Subject& s) {
  v4l2_format format = format_question(s.type());
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  return sensible(s.queue(), format);
}

inline Finding known_field(const Pixels& pixels) {
  if (pixels.field != V4L2_FIELD_ANY && pixels.field <= V4L2_FIELD_INTERLACED_BT) return passed();
  return failed("field is %u", pixels.field);
}

inline Finding get_field(Subject& s) {
  v4l2_format format = format_question(s.type());
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  return known_field(pixels_of(format));
}

// Defined numbers, and no colorspace that V4L2 has withdrawn.
inline Finding known_colours(const Pixels& pixels) {
  // The field also holds the encodings of HSV.
  const bool encoding =
      pixels.ycbcr <= 8 || pixels.ycbcr == V4L2_HSV_ENC_180 || pixels.ycbcr == V4L2_HSV_ENC_256;
  const bool known = pixels.colorspace != 0 && pixels.colorspace <= 0x0c && pixels.colorspace != 5 &&
                     encoding && pixels.quantization <= 2 && pixels.transfer <= 7;
  if (known) return passed();
  return failed("colorspace %u, transfer %u, encoding %u, quantization %u", pixels.colorspace,
                pixels.transfer, pixels.ycbcr, pixels.quantization);
}

inline Finding get_colours(Subject& s) {
  v4l2_format format = format_question(s.type());
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  return known_colours(pixels_of(format));
}

// ---- VIDIOC_TRY_FMT

// Requests that no device can fulfil.
[[nodiscard]] inline std::vector<v4l2_format> wild_wishes(const Queue& queue) {
  std::vector<v4l2_format> wishes;
  const auto add = [&](std::uint32_t fourcc, std::uint32_t width, std::uint32_t height, std::uint32_t field) {
    v4l2_format format = queue.initial;
    set_size(format, width, height);
    if (fourcc != 0) set_fourcc(format, fourcc);
    set_field(format, field);
    wishes.push_back(format);
  };
  add(0, 0, 0, V4L2_FIELD_NONE);
  add(0, 1, 1, V4L2_FIELD_ANY);
  add(0, 0xffffffff, 0xffffffff, V4L2_FIELD_NONE);
  add(0, 641, 479, V4L2_FIELD_NONE);
  add(0xffffffff, 640, 480, V4L2_FIELD_NONE);
  add(0, 640, 480, 0xffff);
  return wishes;
}

inline Finding try_never_refuses(Subject& s) {
  for (v4l2_format format : wild_wishes(s.queue())) {
    const std::string name = format_name(format);
    const int got = s.call<v4l2::tag::TRY_FMT>(format);
    if (got != 0) return failed("VIDIOC_TRY_FMT of %s: %s", name.c_str(), errno_name(got).c_str());
    if (auto found = sensible(s.queue(), format)) {
      found.text += "; asked for " + name;
      return found;
    }
  }
  return passed();
}

inline Finding try_field(Subject& s) {
  for (v4l2_format format : wild_wishes(s.queue())) {
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(format)) return found;
    if (auto found = known_field(pixels_of(format))) return found;
  }
  return passed();
}

inline Finding try_colours(Subject& s) {
  for (const v4l2_fmtdesc& description : s.queue().formats) {
    v4l2_format format = s.queue().initial;
    set_fourcc(format, description.pixelformat);
    // As programs do that know nothing about colours.
    if (s.queue().multiplanar()) {
      format.fmt.pix_mp.colorspace = 0;
    } else {
      format.fmt.pix.colorspace = 0;
    }
    if (s.queue().output()) continue;
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(format)) return found;
    if (auto found = known_colours(pixels_of(format))) {
      found.text = fourcc_name(description.pixelformat) + ": " + found.text;
      return found;
    }
  }
  return passed();
}

inline Finding try_each_format(Subject& s) {
  for (const v4l2_fmtdesc& description : s.queue().formats) {
    v4l2_format format = s.queue().initial;
    set_fourcc(format, description.pixelformat);
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(format)) return found;
    const Pixels pixels = pixels_of(format);
    if (pixels.fourcc != description.pixelformat)
      return failed("%s is listed, but becomes %s", fourcc_name(description.pixelformat).c_str(),
                    fourcc_name(pixels.fourcc).c_str());
    if (auto found = sensible(s.queue(), format)) return found;
  }
  return passed();
}

inline Finding try_settles(Subject& s) {
  for (v4l2_format format : wild_wishes(s.queue())) {
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(format)) return found;
    v4l2_format again = format;
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(again, 0, "of its own answer")) return found;
    if (!same_format(format, again))
      return failed("%s is answered, but when that is tried, %s", format_name(format).c_str(),
                    format_name(again).c_str());
  }
  return passed();
}

inline Finding try_changes_nothing(Subject& s) {
  v4l2_format before = format_question(s.type()), after = format_question(s.type());
  if (auto found = s.expect<v4l2::tag::G_FMT>(before)) return found;
  auto wishes = wild_wishes(s.queue());
  for (const v4l2_fmtdesc& description : s.queue().formats) {
    v4l2_format format = before;
    set_fourcc(format, description.pixelformat);
    wishes.push_back(format);
  }
  for (v4l2_format& wish : wishes) {
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(wish)) return found;
  }
  if (auto found = s.expect<v4l2::tag::G_FMT>(after)) return found;
  if (same_format(before, after)) return passed();
  return failed("%s became %s", format_name(before).c_str(), format_name(after).c_str());
}

inline Finding try_stride_wish(Subject& s) {
  for (const std::uint32_t wish : {1u, 0x7fffffffu, 0xffffffffu}) {
    v4l2_format format = s.queue().initial;
    if (s.queue().multiplanar()) {
      for (auto& plane : format.fmt.pix_mp.plane_fmt) plane.bytesperline = wish;
    } else {
      format.fmt.pix.bytesperline = wish;
    }
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(format, 0, "with a requested bytesperline")) return found;
    if (auto found = sensible(s.queue(), format)) return found;
  }
  return passed();
}

inline Finding try_unknown_types(Subject& s) {
  if (s.facts().queues.empty()) return not_applicable("it has no queues");
  for (const std::uint32_t type : foreign_types(s.facts())) {
    v4l2_format format = format_question(type);
    const int got = s.call<v4l2::tag::TRY_FMT>(format);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_TRY_FMT");
    if (got != EINVAL)
      return failed("VIDIOC_TRY_FMT of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

template <class Tag>
Finding clears_reserved(Subject& s) {
  v4l2_format format = s.queue().initial;
  if (!s.queue().multiplanar()) return not_applicable("struct v4l2_pix_format has no reserved words");
  scribble(format.fmt.pix_mp.reserved);
  for (auto& plane : format.fmt.pix_mp.plane_fmt) std::memset(plane.reserved, 0xff, sizeof plane.reserved);
  if (auto found = s.expect<Tag>(format)) return found;
  const v4l2_pix_format_mplane pix = format.fmt.pix_mp;
  if (!all_zero(pix.reserved)) return failed("%s leaves reserved words as they were", Tag::name);
  for (std::uint32_t p = 0; p < std::min<std::uint32_t>(pix.num_planes, VIDEO_MAX_PLANES); ++p) {
    for (std::size_t i = 0; i < std::size(pix.plane_fmt[p].reserved); ++i) {
      if (pix.plane_fmt[p].reserved[i] != 0)
        return failed("%s leaves the reserved words of plane %u as they were", Tag::name, p);
    }
  }
  return passed();
}

// ---- VIDIOC_S_FMT

inline Finding set_is_got(Subject& s) {
  for (const v4l2_fmtdesc& description : s.queue().formats) {
    v4l2_format set = s.queue().initial;
    set_fourcc(set, description.pixelformat);
    if (auto found = s.expect<v4l2::tag::S_FMT>(set)) return found;
    v4l2_format got = format_question(s.type());
    if (auto found = s.expect<v4l2::tag::G_FMT>(got)) return found;
    if (!same_format(set, got))
      return failed("%s was set, but %s is returned", format_name(set).c_str(), format_name(got).c_str());
  }
  return passed();
}

inline Finding set_does_what_try_says(Subject& s) {
  auto wishes = wild_wishes(s.queue());
  for (const v4l2_fmtdesc& description : s.queue().formats) {
    v4l2_format format = s.queue().initial;
    set_fourcc(format, description.pixelformat);
    wishes.push_back(format);
  }
  for (const v4l2_format& wish : wishes) {
    v4l2_format tried = wish, set = wish;
    if (auto found = s.expect<v4l2::tag::TRY_FMT>(tried)) return found;
    if (auto found = s.expect<v4l2::tag::S_FMT>(set)) return found;
    if (!same_format(tried, set))
      return failed("%s was tried, but %s was set", format_name(tried).c_str(), format_name(set).c_str());
  }
  return passed();
}

inline Finding set_unknown_types(Subject& s) {
  if (s.facts().queues.empty()) return not_applicable("it has no queues");
  for (const std::uint32_t type : foreign_types(s.facts())) {
    v4l2_format format = format_question(type);
    const int got = s.call<v4l2::tag::S_FMT>(format);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_S_FMT");
    if (got != EINVAL)
      return failed("VIDIOC_S_FMT of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

// While buffers of a format exist, another format must wait.
inline Finding set_while_buffers_exist(Subject& s) {
  if (!is_video(s.type())) return not_applicable("it is not a video queue");
  v4l2_format before = format_question(s.type());
  if (auto found = s.expect<v4l2::tag::G_FMT>(before)) return found;
  // Something else that the device can do.
  v4l2_format other = before;
  bool differs = false;
  for (const v4l2_fmtdesc& description : s.queue().formats) {
    other = before;
    set_fourcc(other, description.pixelformat);
    differs = s.call<v4l2::tag::TRY_FMT>(other) == 0 && pixels_of(other).fourcc != pixels_of(before).fourcc;
    if (differs) break;
  }
  if (!differs) {
    other = before;
    set_size(other, 0x7fffffff, 0x7fffffff);
    differs = s.call<v4l2::tag::TRY_FMT>(other) == 0 && pixels_of(other).width != pixels_of(before).width;
  }
  if (!differs) return not_applicable("it has only one format of one size");
  Buffers buffers(s);
  if (auto found = buffers.allocate(2)) return found;
  if (auto found = s.expect<v4l2::tag::S_FMT>(other, EBUSY, "to another format while buffers exist"))
    return found;
  v4l2_format after = format_question(s.type());
  if (auto found = s.expect<v4l2::tag::G_FMT>(after)) return found;
  if (same_format(before, after)) return passed();
  return failed("%s became %s anyway", format_name(before).c_str(), format_name(after).c_str());
}

inline constexpr Rule format_rules[] = {
    {"g-fmt/answers", "each queue has a format, and returns the same format twice",
     "V4L2 API, ioctl VIDIOC_G_FMT", Scope::queue, get_answers},
    {"g-fmt/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_G_FMT, Return Value", Scope::device, get_unknown_types},
    {"g-fmt/sensible", "the format is listed, its picture is not empty and fits into its planes",
     "V4L2 API, struct v4l2_pix_format and v4l2_pix_format_mplane", Scope::video, get_sensible},
    {"g-fmt/field", "the field order is a real one", "V4L2 API, Field Order, enum v4l2_field", Scope::video,
     get_field},
    {"g-fmt/colorimetry", "the numbers for colours are defined ones",
     "V4L2 API, Colorspaces, Defining Colorspaces in V4L2", Scope::video, get_colours},
    {"try-fmt/never-refuses", "requests that cannot be fulfilled are adjusted, not refused",
     "V4L2 API, ioctl VIDIOC_TRY_FMT", Scope::video, try_never_refuses},
    {"try-fmt/each-format", "each format that is listed can be set", "V4L2 API, ioctl VIDIOC_ENUM_FMT",
     Scope::video, try_each_format},
    {"try-fmt/field", "any field order becomes a real one", "V4L2 API, Field Order, V4L2_FIELD_ANY",
     Scope::video, try_field},
    {"try-fmt/colorimetry", "the device fills in the colours of what it captures",
     "V4L2 API, Colorspaces, Defining Colorspaces in V4L2", Scope::video, try_colours},
    {"try-fmt/settles", "what was adjusted once is not adjusted again", "V4L2 API, ioctl VIDIOC_TRY_FMT",
     Scope::video, try_settles},
    {"try-fmt/changes-nothing", "VIDIOC_TRY_FMT does not change the current format",
     "V4L2 API, ioctl VIDIOC_TRY_FMT", Scope::video, try_changes_nothing},
    {"try-fmt/stride-wish", "any requested bytesperline gives lines that fit into the picture",
     "V4L2 API, struct v4l2_pix_format, bytesperline", Scope::video, try_stride_wish},
    {"try-fmt/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_TRY_FMT, Return Value", Scope::device, try_unknown_types},
    {"try-fmt/reserved-is-zero", "reserved words are set to zero",
     "V4L2 API, struct v4l2_pix_format_mplane, reserved", Scope::video, clears_reserved<v4l2::tag::TRY_FMT>},
    {"s-fmt/is-got", "the format that was set is the one that is returned", "V4L2 API, ioctl VIDIOC_S_FMT",
     Scope::video, set_is_got},
    {"s-fmt/equals-try-fmt", "VIDIOC_S_FMT sets what VIDIOC_TRY_FMT answers",
     "V4L2 API, ioctl VIDIOC_TRY_FMT", Scope::video, set_does_what_try_says},
    {"s-fmt/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_S_FMT, Return Value", Scope::device, set_unknown_types},
    {"s-fmt/reserved-is-zero", "reserved words are set to zero",
     "V4L2 API, struct v4l2_pix_format_mplane, reserved", Scope::video, clears_reserved<v4l2::tag::S_FMT>},
    {"s-fmt/busy-with-buffers", "the format cannot be changed while buffers of it exist",
     "V4L2 API, ioctl VIDIOC_S_FMT, EBUSY", Scope::buffers, set_while_buffers_exist},
};

}  // namespace vumedia::client::compliance::detail::rules
