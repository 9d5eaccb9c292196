// Rules on what a device lists: formats, frame sizes and frame intervals.
#pragma once

#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

// Formats with raw pictures in memory are not compressed, others are. 0: not known here.
enum class Coding : std::uint8_t { unknown, raw, coded };
[[nodiscard]] constexpr Coding coding_of(std::uint32_t fourcc) noexcept {
  switch (fourcc) {
    case V4L2_PIX_FMT_RGB24:
    case V4L2_PIX_FMT_BGR24:
    case V4L2_PIX_FMT_YUYV:
    case V4L2_PIX_FMT_UYVY:
    case V4L2_PIX_FMT_GREY:
    case V4L2_PIX_FMT_NV12:
    case V4L2_PIX_FMT_NV21:
    case V4L2_PIX_FMT_NV12M:
    case V4L2_PIX_FMT_YUV420:
    case V4L2_PIX_FMT_YVU420:
    case V4L2_PIX_FMT_YUV420M:
    case V4L2_PIX_FMT_P010:
    case V4L2_PIX_FMT_YUV422P:
    case V4L2_PIX_FMT_YUV422M:
    case V4L2_PIX_FMT_NV16:
    case V4L2_PIX_FMT_NV16M:
    case V4L2_PIX_FMT_NV24:
    case V4L2_PIX_FMT_YUV444M:
    case V4L2_PIX_FMT_YUV411P:
    case v4l2_fourcc('Y', '2', '1', '0'):
      return Coding::raw;
    case V4L2_PIX_FMT_MJPEG:
    case V4L2_PIX_FMT_JPEG:
    case V4L2_PIX_FMT_MPEG2:
    case V4L2_PIX_FMT_MPEG4:
    case V4L2_PIX_FMT_H264:
    case V4L2_PIX_FMT_HEVC:
    case V4L2_PIX_FMT_VP8:
    case V4L2_PIX_FMT_VP9:
    case v4l2_fourcc('A', 'V', '0', '1'):
      return Coding::coded;
    default:
      return Coding::unknown;
  }
}

// Types that the device has no queue for, including the opposite direction of its own.
[[nodiscard]] inline std::vector<std::uint32_t> foreign_types(const Facts& facts) {
  std::vector<std::uint32_t> types;
  for (std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE; type <= V4L2_BUF_TYPE_META_OUTPUT; ++type) {
    // Overlays have formats, too, and no queue.
    const bool overlay = type == V4L2_BUF_TYPE_VIDEO_OVERLAY || type == V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY;
    if (!overlay && facts.find(type) == nullptr) types.push_back(type);
  }
  types.insert(types.end(), {0, 0x80, 0xffffffff});
  return types;
}

// ---- VIDIOC_ENUM_FMT

inline Finding formats_are_listed(Subject& s) {
  if (!is_video(s.type())) return not_applicable("it is not a video queue");
  if (!s.queue().formats.empty()) return passed();
  return failed("no format is listed for %s", type_name(s.type()));
}

inline Finding format_indexes(Subject& s) {
  for (std::uint32_t index = 0; index < max_listed; ++index) {
    v4l2_fmtdesc description{};
    description.index = index;
    description.type = s.type();
    const int got = s.call<v4l2::tag::ENUM_FMT>(description);
    if (got == EINVAL) {
      for (const std::uint32_t behind : {index + 1, index + 100, 0xffffffffu}) {
        description = {};
        description.index = behind;
        description.type = s.type();
        if (auto found = s.expect<v4l2::tag::ENUM_FMT>(description, EINVAL, "of an index after the last"))
          return found;
      }
      return passed();
    }
    if (auto found = Subject::judge("VIDIOC_ENUM_FMT", got, 0, "of an index")) return found;
    if (description.index != index || description.type != s.type())
      return failed("index %u came back as %u, type %u as %u", index, description.index, s.type(),
                    description.type);
  }
  return failed("the list does not end within %u formats", max_listed);
}

inline Finding format_reserved(Subject& s) {
  v4l2_fmtdesc description{};
  scribble(description.reserved);
  description.type = s.type();
  if (s.queue().formats.empty()) return not_applicable("it lists no formats");
  if (auto found = s.expect<v4l2::tag::ENUM_FMT>(description)) return found;
  if (all_zero(description.reserved)) return passed();
  return failed("VIDIOC_ENUM_FMT leaves reserved words as they were");
}

inline Finding format_descriptions(Subject& s) {
  if (s.queue().formats.empty()) return not_applicable("it lists no formats");
  for (const v4l2_fmtdesc& format : s.queue().formats) {
    const auto* const text = reinterpret_cast<const char*>(format.description);
    const std::size_t length = ::strnlen(text, sizeof format.description);
    if (length == 0 || length == sizeof format.description)
      return failed("%s has %s", fourcc_name(format.pixelformat).c_str(),
                    length == 0 ? "no description" : "a description without an end");
  }
  return passed();
}

inline Finding format_fourccs(Subject& s) {
  if (s.queue().formats.empty()) return not_applicable("it lists no formats");
  std::set<std::uint32_t> seen;
  for (const v4l2_fmtdesc& format : s.queue().formats) {
    if (format.pixelformat == 0) return failed("format %u has no pixelformat", format.index);
    if (!seen.insert(format.pixelformat).second)
      return failed("%s is listed twice", fourcc_name(format.pixelformat).c_str());
  }
  return passed();
}

inline Finding format_flags(Subject& s) {
  if (s.queue().formats.empty()) return not_applicable("it lists no formats");
  for (const v4l2_fmtdesc& format : s.queue().formats) {
    const std::string name = fourcc_name(format.pixelformat);
    const bool compressed = (format.flags & V4L2_FMT_FLAG_COMPRESSED) != 0;
    const Coding coding = coding_of(format.pixelformat);
    if ((coding == Coding::raw && compressed) || (coding == Coding::coded && !compressed))
      return failed("%s is %s", name.c_str(), compressed ? "compressed" : "not compressed");
    constexpr std::uint32_t of_streams = V4L2_FMT_FLAG_CONTINUOUS_BYTESTREAM | V4L2_FMT_FLAG_DYN_RESOLUTION;
    if (!compressed && (format.flags & of_streams) != 0)
      return failed("%s is not compressed, and has flags of coded streams: 0x%x", name.c_str(), format.flags);
    // With room for flags of later kernels, of which there were nine in 2026.
    if ((format.flags & 0xffff0000) != 0) return failed("%s has flags 0x%x", name.c_str(), format.flags);
  }
  return passed();
}

inline Finding format_unknown_types(Subject& s) {
  if (s.facts().queues.empty()) return not_applicable("it has no queues");
  for (const std::uint32_t type : foreign_types(s.facts())) {
    v4l2_fmtdesc description{};
    description.type = type;
    const int got = s.call<v4l2::tag::ENUM_FMT>(description);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_ENUM_FMT");
    if (got != EINVAL)
      return failed("VIDIOC_ENUM_FMT of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

inline Finding format_mbus_code(Subject& s) {
  if (!is_video(s.type()) || s.queue().formats.empty()) return not_applicable("it lists no video formats");
  if ((s.facts().capabilities & V4L2_CAP_IO_MC) != 0)
    return not_applicable("it belongs to a media controller");
  v4l2_fmtdesc description{};
  description.type = s.type();
  description.mbus_code = 0x2006;
  if (auto found = s.expect<v4l2::tag::ENUM_FMT>(description, 0, "with a media bus code")) return found;
  if (description.pixelformat != s.queue().formats.front().pixelformat)
    return failed("a media bus code changes the list: %s instead of %s",
                  fourcc_name(description.pixelformat).c_str(),
                  fourcc_name(s.queue().formats.front().pixelformat).c_str());
  return passed();
}

// ---- VIDIOC_ENUM_FRAMESIZES

// Calls `look(size)` for each size of each format until a finding; not applicable if no size is listed.
template <class Look>
Finding for_each_size(Subject& s, Look&& look) {
  bool any = false;
  for (const v4l2_fmtdesc& format : s.queue().formats) {
    for (std::uint32_t index = 0; index <= max_listed; ++index) {
      v4l2_frmsizeenum size{};
      scribble(size.reserved);
      size.index = index;
      size.pixel_format = format.pixelformat;
      const int got = s.call<v4l2::tag::ENUM_FRAMESIZES>(size);
      if (got == ENOTTY) return not_applicable("the device has no VIDIOC_ENUM_FRAMESIZES");
      if (got == EINVAL) break;
      if (auto found = Subject::judge("VIDIOC_ENUM_FRAMESIZES", got, 0, "of an index")) return found;
      if (index == max_listed)
        return failed("the sizes of %s do not end within %u", fourcc_name(format.pixelformat).c_str(),
                      max_listed);
      any = true;
      if (auto found = look(format, index, size)) return found;
      if (size.type != V4L2_FRMSIZE_TYPE_DISCRETE) break;
    }
  }
  if (!any) return not_applicable("it lists no sizes");
  return passed();
}

inline Finding size_indexes(Subject& s) {
  return for_each_size(
      s, [&](const v4l2_fmtdesc& format, std::uint32_t index, v4l2_frmsizeenum size) -> Finding {
        if (size.index != index || size.pixel_format != format.pixelformat)
          return failed("index %u of %s came back as %u of %s", index,
                        fourcc_name(format.pixelformat).c_str(), size.index,
                        fourcc_name(size.pixel_format).c_str());
        if (size.type != V4L2_FRMSIZE_TYPE_DISCRETE) {
          if (index != 0) return failed("a range of sizes is at index %u", index);
          size.index = 1;
          return s.expect<v4l2::tag::ENUM_FRAMESIZES>(size, EINVAL, "after a range of sizes");
        }
        size.index = 0xffffffff;
        return s.expect<v4l2::tag::ENUM_FRAMESIZES>(size, EINVAL, "of an index after the last");
      });
}

inline Finding size_values(Subject& s) {
  return for_each_size(
      s, [](const v4l2_fmtdesc&, std::uint32_t index, const v4l2_frmsizeenum& size) -> Finding {
        switch (size.type) {
          case V4L2_FRMSIZE_TYPE_DISCRETE:
            if (size.discrete.width != 0 && size.discrete.height != 0) return passed();
            return failed("size %u is %ux%u", index, size.discrete.width, size.discrete.height);
          case V4L2_FRMSIZE_TYPE_CONTINUOUS:
          case V4L2_FRMSIZE_TYPE_STEPWISE: {
            const auto& range = size.stepwise;
            const bool whole = range.step_width != 0 && range.step_height != 0 &&
                               range.min_width <= range.max_width && range.min_height <= range.max_height &&
                               range.min_width != 0 && range.min_height != 0 &&
                               (range.max_width - range.min_width) % range.step_width == 0 &&
                               (range.max_height - range.min_height) % range.step_height == 0;
            const bool single = range.step_width == 1 && range.step_height == 1;
            if (whole && (size.type == V4L2_FRMSIZE_TYPE_STEPWISE || single)) return passed();
            return failed("%ux%u to %ux%u in steps of %ux%u", range.min_width, range.min_height,
                          range.max_width, range.max_height, range.step_width, range.step_height);
          }
          default:
            return failed("size %u has type %u", index, size.type);
        }
      });
}

inline Finding size_reserved(Subject& s) {
  return for_each_size(s, [](const v4l2_fmtdesc&, std::uint32_t, const v4l2_frmsizeenum& size) -> Finding {
    if (all_zero(size.reserved)) return passed();
    return failed("VIDIOC_ENUM_FRAMESIZES leaves reserved words as they were");
  });
}

inline Finding size_unknown_format(Subject& s) {
  v4l2_frmsizeenum size{};
  size.pixel_format = 0xffffffff;
  const int got = s.call<v4l2::tag::ENUM_FRAMESIZES>(size);
  if (got == ENOTTY) return not_applicable("the device has no VIDIOC_ENUM_FRAMESIZES");
  return Subject::judge("VIDIOC_ENUM_FRAMESIZES", got, EINVAL, "of a format that does not exist");
}

// Each listed size can be set.
inline Finding sizes_can_be_had(Subject& s) {
  if (s.facts().m2m) return not_applicable("the sizes of a codec depend on its stream");
  return for_each_size(
      s, [&](const v4l2_fmtdesc& description, std::uint32_t, const v4l2_frmsizeenum& size) -> Finding {
        if (size.type != V4L2_FRMSIZE_TYPE_DISCRETE) return passed();
        v4l2_format format = s.queue().initial;
        set_fourcc(format, description.pixelformat);
        set_size(format, size.discrete.width, size.discrete.height);
        if (auto found = s.expect<v4l2::tag::TRY_FMT>(format)) return found;
        const Pixels pixels = pixels_of(format);
        if (pixels.width == size.discrete.width && pixels.height == size.discrete.height) return passed();
        return failed("%ux%u is listed for %s, but becomes %ux%u", size.discrete.width, size.discrete.height,
                      fourcc_name(description.pixelformat).c_str(), pixels.width, pixels.height);
      });
}

// ---- VIDIOC_ENUM_FRAMEINTERVALS

// Calls `look(asked, interval)` for each interval of the first size of each format: a device may have a
// hundred formats of many sizes, and the same intervals for all.
template <class Look>
Finding for_each_interval(Subject& s, Look&& look) {
  bool any = false;
  auto found = for_each_size(
      s, [&](const v4l2_fmtdesc& format, std::uint32_t place, const v4l2_frmsizeenum& size) -> Finding {
        if (place != 0) return passed();
        const bool discrete = size.type == V4L2_FRMSIZE_TYPE_DISCRETE;
        for (std::uint32_t index = 0; index <= max_listed; ++index) {
          v4l2_frmivalenum interval{};
          scribble(interval.reserved);
          interval.index = index;
          interval.pixel_format = format.pixelformat;
          interval.width = discrete ? size.discrete.width : size.stepwise.min_width;
          interval.height = discrete ? size.discrete.height : size.stepwise.min_height;
          const v4l2_frmivalenum asked = interval;
          const int got = s.call<v4l2::tag::ENUM_FRAMEINTERVALS>(interval);
          if (got == ENOTTY) return not_applicable("the device has no VIDIOC_ENUM_FRAMEINTERVALS");
          if (got == EINVAL) break;
          if (auto failure = Subject::judge("VIDIOC_ENUM_FRAMEINTERVALS", got, 0, "of an index"))
            return failure;
          if (index == max_listed) return failed("the intervals do not end within %u", max_listed);
          any = true;
          if (auto failure = look(asked, interval)) return failure;
          if (interval.type != V4L2_FRMIVAL_TYPE_DISCRETE) break;
        }
        return passed();
      });
  if (found) return found;
  if (!any) return not_applicable("it lists no intervals");
  return passed();
}

inline Finding interval_indexes(Subject& s) {
  return for_each_interval(s, [&](const v4l2_frmivalenum& asked, v4l2_frmivalenum interval) -> Finding {
    if (interval.index != asked.index || interval.pixel_format != asked.pixel_format ||
        interval.width != asked.width || interval.height != asked.height)
      return failed("index %u of %s %ux%u came back as %u of %s %ux%u", asked.index,
                    fourcc_name(asked.pixel_format).c_str(), asked.width, asked.height, interval.index,
                    fourcc_name(interval.pixel_format).c_str(), interval.width, interval.height);
    const bool discrete = interval.type == V4L2_FRMIVAL_TYPE_DISCRETE;
    if (!discrete && interval.index != 0)
      return failed("a range of intervals is at index %u", interval.index);
    interval.index = discrete ? 0xffffffff : 1;
    return s.expect<v4l2::tag::ENUM_FRAMEINTERVALS>(interval, EINVAL, "after the last interval");
  });
}

inline Finding interval_values(Subject& s) {
  const auto less = [](const v4l2_fract& a, const v4l2_fract& b) {
    return std::uint64_t{a.numerator} * b.denominator < std::uint64_t{b.numerator} * a.denominator;
  };
  const auto time = [](const v4l2_fract& f) { return f.numerator != 0 && f.denominator != 0; };
  return for_each_interval(s, [&](const v4l2_frmivalenum&, const v4l2_frmivalenum& interval) -> Finding {
    switch (interval.type) {
      case V4L2_FRMIVAL_TYPE_DISCRETE:
        if (time(interval.discrete)) return passed();
        return failed("interval %u is %u/%u", interval.index, interval.discrete.numerator,
                      interval.discrete.denominator);
      case V4L2_FRMIVAL_TYPE_CONTINUOUS:
      case V4L2_FRMIVAL_TYPE_STEPWISE:
        if (time(interval.stepwise.min) && time(interval.stepwise.max) && time(interval.stepwise.step) &&
            !less(interval.stepwise.max, interval.stepwise.min))
          return passed();
        return failed("%u/%u to %u/%u in steps of %u/%u", interval.stepwise.min.numerator,
                      interval.stepwise.min.denominator, interval.stepwise.max.numerator,
                      interval.stepwise.max.denominator, interval.stepwise.step.numerator,
                      interval.stepwise.step.denominator);
      default:
        return failed("interval %u has type %u", interval.index, interval.type);
    }
  });
}

inline Finding interval_reserved(Subject& s) {
  return for_each_interval(s, [](const v4l2_frmivalenum&, const v4l2_frmivalenum& interval) -> Finding {
    if (all_zero(interval.reserved)) return passed();
    return failed("VIDIOC_ENUM_FRAMEINTERVALS leaves reserved words as they were");
  });
}

inline Finding interval_unknown(Subject& s) {
  bool discrete = true;
  auto found = for_each_interval(s, [&](const v4l2_frmivalenum& asked, const v4l2_frmivalenum&) -> Finding {
    v4l2_frmivalenum other = asked;
    other.index = 0;
    other.pixel_format = 0xffffffff;
    if (auto failure = s.expect<v4l2::tag::ENUM_FRAMEINTERVALS>(other, EINVAL, "of an unknown format"))
      return failure;
    v4l2_frmsizeenum size{};
    size.pixel_format = asked.pixel_format;
    discrete = s.call<v4l2::tag::ENUM_FRAMESIZES>(size) == 0 && size.type == V4L2_FRMSIZE_TYPE_DISCRETE;
    if (!discrete) return passed();
    other = asked;
    other.index = 0;
    // No device lists such a width.
    other.width = 0x10001;
    return s.expect<v4l2::tag::ENUM_FRAMEINTERVALS>(other, EINVAL, "of a size that is not listed");
  });
  return found;
}

inline constexpr Rule enumeration_rules[] = {
    {"enum-fmt/lists-some", "a video queue lists at least one format", "V4L2 API, ioctl VIDIOC_ENUM_FMT",
     Scope::queue, formats_are_listed},
    {"enum-fmt/indexes", "formats have indexes from 0 on without gaps, and EINVAL after the last",
     "V4L2 API, ioctl VIDIOC_ENUM_FMT", Scope::video, format_indexes},
    {"enum-fmt/reserved-is-zero", "reserved words are set to zero",
     "V4L2 API, ioctl VIDIOC_ENUM_FMT, struct v4l2_fmtdesc", Scope::video, format_reserved},
    {"enum-fmt/description", "each format has a description that ends with a NUL",
     "V4L2 API, ioctl VIDIOC_ENUM_FMT, struct v4l2_fmtdesc", Scope::video, format_descriptions},
    {"enum-fmt/distinct", "each format is listed once", "V4L2 API, ioctl VIDIOC_ENUM_FMT", Scope::video,
     format_fourccs},
    {"enum-fmt/flags", "only coded formats are flagged as compressed",
     "V4L2 API, ioctl VIDIOC_ENUM_FMT, Image Format Description Flags", Scope::video, format_flags},
    {"enum-fmt/mbus-code", "without a media controller a media bus code selects nothing",
     "V4L2 API, ioctl VIDIOC_ENUM_FMT, mbus_code", Scope::video, format_mbus_code},
    {"enum-fmt/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_ENUM_FMT, Return Value", Scope::device, format_unknown_types},
    {"enum-framesizes/indexes",
     "sizes have indexes from 0 on, and EINVAL after the last; a range is the only entry",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMESIZES", Scope::video, size_indexes},
    {"enum-framesizes/values", "sizes are not empty, and ranges consist of whole steps",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMESIZES, Structs", Scope::video, size_values},
    {"enum-framesizes/reserved-is-zero", "reserved words are set to zero",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMESIZES, struct v4l2_frmsizeenum", Scope::video, size_reserved},
    {"enum-framesizes/unknown-format", "a format that does not exist is EINVAL",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMESIZES, Return Value", Scope::device, size_unknown_format},
    {"enum-framesizes/can-be-had", "each size that is listed can be set",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMESIZES", Scope::video, sizes_can_be_had},
    {"enum-frameintervals/indexes", "intervals have indexes from 0 on, and EINVAL after the last",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMEINTERVALS", Scope::video, interval_indexes},
    {"enum-frameintervals/values", "intervals are valid times, and ranges go upwards",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMEINTERVALS, Structs", Scope::video, interval_values},
    {"enum-frameintervals/reserved-is-zero", "reserved words are set to zero",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMEINTERVALS, struct v4l2_frmivalenum", Scope::video, interval_reserved},
    {"enum-frameintervals/unknown", "formats and sizes that are not listed are EINVAL",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMEINTERVALS, Return Value", Scope::video, interval_unknown},
};

}  // namespace vumedia::client::compliance::detail::rules
