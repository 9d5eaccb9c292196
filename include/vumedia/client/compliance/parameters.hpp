// Rules on what is set in addition to formats: streaming parameters and selections.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <vumedia/client/compliance/enumeration.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::rules {

// ---- VIDIOC_G_PARM, VIDIOC_S_PARM

// The fields that both directions have at the same place.
[[nodiscard]] inline v4l2_streamparm parameters_question(std::uint32_t type) noexcept {
  static_assert(offsetof(v4l2_captureparm, timeperframe) == offsetof(v4l2_outputparm, timeperframe) &&
                offsetof(v4l2_captureparm, reserved) == offsetof(v4l2_outputparm, reserved));
  v4l2_streamparm parameters{};
  parameters.type = type;
  return parameters;
}
[[nodiscard]] inline bool has_interval(const v4l2_streamparm& parameters) noexcept {
  return (parameters.parm.capture.capability & V4L2_CAP_TIMEPERFRAME) != 0;
}
[[nodiscard]] inline bool same_interval(const v4l2_fract& a, const v4l2_fract& b) noexcept {
  return std::uint64_t{a.numerator} * b.denominator == std::uint64_t{b.numerator} * a.denominator;
}

inline Finding get_parameters(Subject& s, v4l2_streamparm& parameters) {
  parameters = parameters_question(s.type());
  scribble(parameters.parm.capture.reserved);
  const int got = s.call<v4l2::tag::G_PARM>(parameters);
  if (got == ENOTTY) return not_applicable("the device has no VIDIOC_G_PARM");
  // A codec may have them for only one of its queues.
  if (got == EINVAL && s.facts().m2m) return not_applicable("this queue has no parameters");
  return Subject::judge("VIDIOC_G_PARM", got, 0, "");
}

inline Finding parameters_sensible(Subject& s) {
  v4l2_streamparm parameters{};
  if (auto found = get_parameters(s, parameters)) return found;
  if (parameters.type != s.type()) return failed("type %u came back as %u", s.type(), parameters.type);
  const v4l2_fract interval = parameters.parm.capture.timeperframe;
  if (has_interval(parameters) && (interval.numerator == 0 || interval.denominator == 0))
    return failed("timeperframe is %u/%u", interval.numerator, interval.denominator);
  const std::uint32_t buffers =
      s.queue().output() ? parameters.parm.output.writebuffers : parameters.parm.capture.readbuffers;
  if (buffers > VIDEO_MAX_FRAME) return failed("readbuffers or writebuffers is %u", buffers);
  return passed();
}

inline Finding parameters_reserved(Subject& s) {
  v4l2_streamparm parameters{};
  if (auto found = get_parameters(s, parameters)) return found;
  if (all_zero(parameters.parm.capture.reserved)) return passed();
  return failed("VIDIOC_G_PARM leaves reserved words as they were");
}

inline Finding parameters_unknown_types(Subject& s) {
  if (s.facts().queues.empty()) return not_applicable("it has no queues");
  for (const std::uint32_t type : foreign_types(s.facts())) {
    v4l2_streamparm parameters = parameters_question(type);
    const int got = s.call<v4l2::tag::G_PARM>(parameters);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_G_PARM");
    // A program may name the other plane API's type, and some drivers take it.
    if (is_video(type)) continue;
    if (got != EINVAL)
      return failed("VIDIOC_G_PARM of type %u: %s, not EINVAL", type, errno_name(got).c_str());
  }
  return passed();
}

inline Finding set_interval(Subject& s, v4l2_fract interval, v4l2_streamparm& parameters) {
  parameters = parameters_question(s.type());
  parameters.parm.capture.timeperframe = interval;
  return s.want<v4l2::tag::S_PARM>(parameters);
}

inline Finding interval_is_got(Subject& s) {
  v4l2_streamparm parameters{};
  if (auto found = get_parameters(s, parameters)) return found;
  if (!has_interval(parameters)) return not_applicable("its frame interval cannot be set");
  for (const v4l2_fract wish : {v4l2_fract{1, 30}, {1, 1000000}, {1000000, 1}, {1001, 24000}}) {
    v4l2_streamparm set, got;
    if (auto found = set_interval(s, wish, set)) return found;
    const v4l2_fract done = set.parm.capture.timeperframe;
    if (done.numerator == 0 || done.denominator == 0)
      return failed("%u/%u becomes %u/%u", wish.numerator, wish.denominator, done.numerator,
                    done.denominator);
    if (auto found = get_parameters(s, got)) return found;
    if (!same_interval(done, got.parm.capture.timeperframe))
      return failed("%u/%u was set, but %u/%u is returned", done.numerator, done.denominator,
                    got.parm.capture.timeperframe.numerator, got.parm.capture.timeperframe.denominator);
  }
  return passed();
}

inline Finding interval_zero(Subject& s) {
  v4l2_streamparm parameters{};
  if (auto found = get_parameters(s, parameters)) return found;
  if (!has_interval(parameters)) return not_applicable("its frame interval cannot be set");
  for (const v4l2_fract wish : {v4l2_fract{0, 0}, {0, 25}, {1, 0}}) {
    if (auto found = set_interval(s, wish, parameters)) return found;
    const v4l2_fract done = parameters.parm.capture.timeperframe;
    if (done.numerator == 0 || done.denominator == 0)
      return failed("%u/%u becomes %u/%u", wish.numerator, wish.denominator, done.numerator,
                    done.denominator);
  }
  return passed();
}

inline Finding intervals_can_be_had(Subject& s) {
  v4l2_streamparm parameters{};
  if (auto found = get_parameters(s, parameters)) return found;
  if (!has_interval(parameters)) return not_applicable("its frame interval cannot be set");
  v4l2_format format{};
  format.type = s.type();
  if (auto found = s.expect<v4l2::tag::G_FMT>(format)) return found;
  const Pixels pixels = pixels_of(format);
  bool any = false;
  for (std::uint32_t index = 0; index < max_listed; ++index) {
    v4l2_frmivalenum interval{};
    interval.index = index;
    interval.pixel_format = pixels.fourcc;
    interval.width = pixels.width;
    interval.height = pixels.height;
    if (s.call<v4l2::tag::ENUM_FRAMEINTERVALS>(interval) != 0) break;
    if (interval.type != V4L2_FRMIVAL_TYPE_DISCRETE) break;
    any = true;
    if (auto found = set_interval(s, interval.discrete, parameters)) return found;
    const v4l2_fract done = parameters.parm.capture.timeperframe;
    if (!same_interval(done, interval.discrete))
      return failed("%u/%u is listed for %s, but becomes %u/%u", interval.discrete.numerator,
                    interval.discrete.denominator, format_name(format).c_str(), done.numerator,
                    done.denominator);
  }
  if (!any) return not_applicable("it lists no intervals");
  return passed();
}

// ---- VIDIOC_G_SELECTION, VIDIOC_S_SELECTION

inline constexpr std::uint32_t selection_targets[] = {
    V4L2_SEL_TGT_CROP,           V4L2_SEL_TGT_CROP_DEFAULT,  V4L2_SEL_TGT_CROP_BOUNDS,
    V4L2_SEL_TGT_NATIVE_SIZE,    V4L2_SEL_TGT_COMPOSE,       V4L2_SEL_TGT_COMPOSE_DEFAULT,
    V4L2_SEL_TGT_COMPOSE_BOUNDS, V4L2_SEL_TGT_COMPOSE_PADDED};

// Selections have no multi-planar types, although kernels accept them.
[[nodiscard]] inline v4l2_selection selection_question(const Queue& queue, std::uint32_t target) noexcept {
  v4l2_selection selection{};
  selection.type = queue.output() ? V4L2_BUF_TYPE_VIDEO_OUTPUT : V4L2_BUF_TYPE_VIDEO_CAPTURE;
  selection.target = target;
  return selection;
}
[[nodiscard]] inline bool inside(const v4l2_rect& outer, const v4l2_rect& inner) noexcept {
  const auto right = [](const v4l2_rect& r) { return std::int64_t{r.left} + r.width; };
  const auto bottom = [](const v4l2_rect& r) { return std::int64_t{r.top} + r.height; };
  return inner.left >= outer.left && inner.top >= outer.top && right(inner) <= right(outer) &&
         bottom(inner) <= bottom(outer);
}
[[nodiscard]] inline std::string rectangle(const v4l2_rect& r) {
  return format_text("%ux%u at %d,%d", r.width, r.height, r.left, r.top);
}
// Not applicable unless the queue has a selection target.
inline Finding has_selections(Subject& s) {
  for (const std::uint32_t target : selection_targets) {
    v4l2_selection selection = selection_question(s.queue(), target);
    const int got = s.call<v4l2::tag::G_SELECTION>(selection);
    if (got == 0) return passed();
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_G_SELECTION");
    // No signal, or one without a size.
    if (got != EINVAL && got != ENODATA) return Subject::judge("VIDIOC_G_SELECTION", got, 0, "");
  }
  return not_applicable("the queue has no selections");
}

inline Finding selection_unknown(Subject& s) {
  if (auto found = has_selections(s)) return found;
  for (const std::uint32_t target : {0x0fffu, 0xffffffffu}) {
    v4l2_selection selection = selection_question(s.queue(), target);
    if (auto found = s.expect<v4l2::tag::G_SELECTION>(selection, EINVAL, "of a target that does not exist"))
      return found;
  }
  v4l2_selection selection = selection_question(s.queue(), V4L2_SEL_TGT_CROP);
  selection.type = 0xff;
  return s.expect<v4l2::tag::G_SELECTION>(selection, EINVAL, "of a type that does not exist");
}

inline Finding selection_bounds(Subject& s) {
  if (auto found = has_selections(s)) return found;
  bool any = false;
  struct Targets {
    std::uint32_t current, standard, bounds;
  };
  for (const auto& [current, standard, bounds] :
       {Targets{V4L2_SEL_TGT_CROP, V4L2_SEL_TGT_CROP_DEFAULT, V4L2_SEL_TGT_CROP_BOUNDS},
        Targets{V4L2_SEL_TGT_COMPOSE, V4L2_SEL_TGT_COMPOSE_DEFAULT, V4L2_SEL_TGT_COMPOSE_BOUNDS}}) {
    v4l2_selection outer = selection_question(s.queue(), bounds);
    if (s.call<v4l2::tag::G_SELECTION>(outer) != 0) continue;
    if (outer.r.width == 0 || outer.r.height == 0)
      return failed("target 0x%x is empty: %s", bounds, rectangle(outer.r).c_str());
    for (const std::uint32_t target : {current, standard}) {
      v4l2_selection inner = selection_question(s.queue(), target);
      if (s.call<v4l2::tag::G_SELECTION>(inner) != 0) {
        // Cameras that cannot be cropped may still report what they see.
        if (target == current) continue;
        return failed("target 0x%x exists, but 0x%x does not", bounds, target);
      }
      any = true;
      if (!inside(outer.r, inner.r))
        return failed("target 0x%x, %s, is not within its bounds, %s", target, rectangle(inner.r).c_str(),
                      rectangle(outer.r).c_str());
    }
  }
  if (!any) return not_applicable("the queue has no bounds");
  return passed();
}

inline Finding selection_read_only(Subject& s) {
  if (auto found = has_selections(s)) return found;
  bool any = false;
  constexpr std::uint32_t targets[] = {V4L2_SEL_TGT_CROP_DEFAULT, V4L2_SEL_TGT_CROP_BOUNDS,
                                       V4L2_SEL_TGT_COMPOSE_DEFAULT, V4L2_SEL_TGT_COMPOSE_BOUNDS};
  for (const std::uint32_t target : targets) {
    v4l2_selection selection = selection_question(s.queue(), target);
    if (s.call<v4l2::tag::G_SELECTION>(selection) != 0) continue;
    any = true;
    const int got = s.call<v4l2::tag::S_SELECTION>(selection);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_S_SELECTION");
    if (got != EINVAL)
      return failed("VIDIOC_S_SELECTION of target 0x%x: %s, not EINVAL", target, errno_name(got).c_str());
  }
  if (!any) return not_applicable("the queue has no bounds");
  return passed();
}

inline Finding selection_is_got(Subject& s) {
  if (auto found = has_selections(s)) return found;
  bool any = false;
  for (const std::uint32_t target : {std::uint32_t{V4L2_SEL_TGT_CROP}, std::uint32_t{V4L2_SEL_TGT_COMPOSE}}) {
    v4l2_selection set = selection_question(s.queue(), target);
    if (s.call<v4l2::tag::G_SELECTION>(set) != 0) continue;
    // Half of it, which a device may adjust to anything that it can do.
    set.r.width = (set.r.width + 1) / 2;
    set.r.height = (set.r.height + 1) / 2;
    const int got = s.call<v4l2::tag::S_SELECTION>(set);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_S_SELECTION");
    if (got == EINVAL) continue;
    if (auto found = Subject::judge("VIDIOC_S_SELECTION", got, 0, "")) return found;
    any = true;
    if (set.r.width == 0 || set.r.height == 0) return failed("target 0x%x became empty", target);
    v4l2_selection now = selection_question(s.queue(), target);
    if (auto found = s.expect<v4l2::tag::G_SELECTION>(now)) return found;
    if (std::memcmp(&set.r, &now.r, sizeof now.r) != 0)
      return failed("target 0x%x was set to %s, but is %s", target, rectangle(set.r).c_str(),
                    rectangle(now.r).c_str());
  }
  if (!any) return not_applicable("the queue has no selection that can be set");
  return passed();
}

inline constexpr Rule parameter_rules[] = {
    {"g-parm/sensible", "the frame interval is a valid time", "V4L2 API, ioctl VIDIOC_G_PARM", Scope::queue,
     parameters_sensible},
    {"g-parm/reserved-is-zero", "reserved words are set to zero",
     "V4L2 API, ioctl VIDIOC_G_PARM, struct v4l2_captureparm", Scope::queue, parameters_reserved},
    {"g-parm/unknown-type", "types of buffers that the device does not have are EINVAL",
     "V4L2 API, ioctl VIDIOC_G_PARM, Return Value", Scope::device, parameters_unknown_types},
    {"s-parm/is-got", "any frame interval becomes one that the device has and then returns",
     "V4L2 API, ioctl VIDIOC_S_PARM", Scope::queue, interval_is_got},
    {"s-parm/zero-is-nominal", "a frame interval of zero becomes one that the device has",
     "V4L2 API, ioctl VIDIOC_S_PARM, timeperframe", Scope::queue, interval_zero},
    {"s-parm/listed-can-be-had", "each frame interval that is listed can be set",
     "V4L2 API, ioctl VIDIOC_ENUM_FRAMEINTERVALS", Scope::video, intervals_can_be_had},
};

inline constexpr Rule selection_rules[] = {
    {"g-selection/unknown", "targets and types that do not exist are EINVAL",
     "V4L2 API, ioctl VIDIOC_G_SELECTION, Return Value", Scope::video, selection_unknown},
    {"g-selection/bounds", "bounds contain the current and the default rectangle",
     "V4L2 API, Cropping, composing and scaling, Selection targets", Scope::video, selection_bounds},
    {"s-selection/read-only", "defaults and bounds cannot be set",
     "V4L2 API, Cropping, composing and scaling, Selection targets", Scope::video, selection_read_only},
    {"s-selection/is-got", "the rectangle that was set is the one that is returned",
     "V4L2 API, ioctl VIDIOC_S_SELECTION", Scope::video, selection_is_got},
};

}  // namespace vumedia::client::compliance::detail::rules
