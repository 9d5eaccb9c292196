// Rules on trying and setting the value of a control.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include <vumedia/client/compliance/controls_access.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::controls {

inline Finding present_value_can_be_set(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!settable(control)) continue;
    any = true;
    Value value, after;
    if (auto found = read(s, control, value)) return found;
    if (auto found = write(s, control, value)) return found;
    if (auto found = read(s, control, after)) return found;
    if (after != value)
      return failed("%s changed when it was set to the value it had", name_of(control).c_str());
  }
  return any ? passed() : not_applicable("no control can be set");
}

inline Finding set_value_is_kept(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!settable(control)) continue;
    Value value, after;
    if (auto found = read(s, control, value)) return found;
    const auto other = other_value(s, control, value);
    if (!other) continue;
    any = true;
    const Restore restore(s, control, value);
    if (auto found = write(s, control, *other)) return found;
    if (auto found = read(s, control, after)) return found;
    if (after != *other)
      return failed("%s was set from %lld to %lld, and is %lld", name_of(control).c_str(),
                    static_cast<long long>(value.number), static_cast<long long>(other->number),
                    static_cast<long long>(after.number));
  }
  return any ? passed() : not_applicable("no control has a number that can be changed");
}

inline Finding s_ctrl_agrees(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!settable(control) || !fits_g_ctrl(control)) continue;
    Value value, after;
    if (auto found = read(s, control, value)) return found;
    const auto other = other_value(s, control, value);
    if (!other) continue;
    v4l2_control one{};
    one.id = control.id;
    one.value = static_cast<std::int32_t>(other->number);
    const Restore restore(s, control, value);
    const int got = s.call<tag::S_CTRL>(one);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_S_CTRL");
    any = true;
    if (auto found = Subject::judge("VIDIOC_S_CTRL", got, 0, ("of " + name_of(control)).c_str()))
      return found;
    if (auto found = read(s, control, after)) return found;
    if (one.value != static_cast<std::int32_t>(other->number) || after != *other)
      return failed("VIDIOC_S_CTRL of %s to %lld answers %d, and the control is %lld",
                    name_of(control).c_str(), static_cast<long long>(other->number), one.value,
                    static_cast<long long>(after.number));
  }
  return any ? passed() : not_applicable("no control has a number that can be changed");
}

// A number outside a control's range, if its width has one.
[[nodiscard]] inline std::optional<std::int64_t> outside(const Control& control) noexcept {
  const bool wide = control.type == V4L2_CTRL_TYPE_INTEGER64;
  const std::int64_t highest =
      wide ? std::numeric_limits<std::int64_t>::max() : std::numeric_limits<std::int32_t>::max();
  const std::int64_t lowest =
      wide ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int32_t>::min();
  if (control.maximum < highest) return control.maximum + 1;
  if (control.minimum > lowest) return control.minimum - 1;
  return std::nullopt;
}

inline Finding numbers_are_clamped(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!settable(control) || !is_number(control) || is_menu(control)) continue;
    const auto number = outside(control);
    if (!number) continue;
    any = true;
    Value value, after;
    if (auto found = read(s, control, value)) return found;
    const Restore restore(s, control, value);
    const std::string name = name_of(control);
    const int got = set(s, control, Value{*number, {}});
    if (got != 0 && got != ERANGE)
      return Subject::judge("VIDIOC_S_EXT_CTRLS", got, ERANGE, ("out of the range of " + name).c_str());
    if (auto found = read(s, control, after)) return found;
    if (!within(control, after))
      return failed("%s, from %lld to %lld, was set to %lld, and is %lld", name.c_str(),
                    static_cast<long long>(control.minimum), static_cast<long long>(control.maximum),
                    static_cast<long long>(*number), static_cast<long long>(after.number));
  }
  return any ? passed() : not_applicable("no control is a number that can be out of range");
}

inline Finding menus_refuse_others(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!settable(control) || !is_number(control) || !is_menu(control)) continue;
    any = true;
    Value value, after;
    if (auto found = read(s, control, value)) return found;
    const Restore restore(s, control, value);
    const std::string name = name_of(control);
    if (const int got = set(s, control, Value{control.maximum + 1, {}}); got != ERANGE && got != EINVAL)
      return Subject::judge("VIDIOC_S_EXT_CTRLS", got, ERANGE, ("after the last item of " + name).c_str());
    for (std::int64_t index = std::max<std::int64_t>(control.minimum, 0);
         index <= std::min<std::int64_t>(control.maximum, max_menu_items); ++index) {
      if (has_item(s, control, index)) continue;
      if (const int got = set(s, control, Value{index, {}}); got != EINVAL && got != ERANGE)
        return Subject::judge("VIDIOC_S_EXT_CTRLS", got, EINVAL, ("to a gap in " + name).c_str());
    }
    if (auto found = read(s, control, after)) return found;
    if (after != value) return failed("%s changed to a value that it refused", name.c_str());
  }
  return any ? passed() : not_applicable("the device has no menu that can be set");
}

inline Finding long_strings_are_refused(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!settable(control) || control.type != V4L2_CTRL_TYPE_STRING || is_compound(control)) continue;
    any = true;
    const Value longer{0, std::vector<std::byte>(control.elem_size + std::size_t{8}, std::byte{'x'})};
    if (auto found = Subject::judge("VIDIOC_S_EXT_CTRLS", set(s, control, longer), ERANGE,
                                    ("to a longer string than " + name_of(control) + " takes").c_str()))
      return found;
  }
  return any ? passed() : not_applicable("the device has no string that can be set");
}

inline Finding read_only_stays(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if ((control.flags & V4L2_CTRL_FLAG_READ_ONLY) == 0 || payload_bytes(control) > max_payload) continue;
    any = true;
    Value value{0, std::vector<std::byte>(has_payload(control) ? payload_bytes(control) : 0)};
    static_cast<void>(get(s, control, value));
    const std::string of = "of " + name_of(control);
    Request change, attempt;
    change.add(control, &value);
    attempt.add(control, &value);
    if (auto found =
            Subject::judge("VIDIOC_S_EXT_CTRLS", change.run<tag::S_EXT_CTRLS>(s), EACCES, of.c_str()))
      return found;
    if (auto found =
            Subject::judge("VIDIOC_TRY_EXT_CTRLS", attempt.run<tag::TRY_EXT_CTRLS>(s), EACCES, of.c_str()))
      return found;
    if (has_payload(control) || control.type == V4L2_CTRL_TYPE_INTEGER64) continue;
    v4l2_control one{};
    one.id = control.id;
    one.value = static_cast<std::int32_t>(value.number);
    const int got = s.call<tag::S_CTRL>(one);
    if (got == ENOTTY) continue;
    if (auto found = Subject::judge("VIDIOC_S_CTRL", got, EACCES, of.c_str())) return found;
  }
  return any ? passed() : not_applicable("the device has no control that is read-only");
}

inline Finding grabbed_is_busy(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    constexpr std::uint32_t closed = V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_VOLATILE;
    if ((control.flags & V4L2_CTRL_FLAG_GRABBED) == 0 || (control.flags & closed) != 0 || !readable(control))
      continue;
    any = true;
    Value value;
    if (auto found = read(s, control, value)) return found;
    if (auto found = Subject::judge("VIDIOC_S_EXT_CTRLS", set(s, control, value), EBUSY,
                                    ("of " + name_of(control) + ", which is grabbed").c_str()))
      return found;
  }
  return any ? passed() : not_applicable("no control is grabbed");
}

// -- Trying

inline Finding trying_changes_nothing(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  Changeable it;
  if (auto found = find_changeable(s, all, it)) return found;
  const Restore restore(s, it.control, it.present);
  Request request;
  request.add(it.control, &it.other);
  const std::string name = name_of(it.control);
  if (auto found = Subject::judge("VIDIOC_TRY_EXT_CTRLS", request.run<tag::TRY_EXT_CTRLS>(s), 0,
                                  ("of " + name).c_str()))
    return found;
  Value after;
  if (auto found = read(s, it.control, after)) return found;
  if (after == it.present) return passed();
  return failed("VIDIOC_TRY_EXT_CTRLS changed %s from %lld to %lld", name.c_str(),
                static_cast<long long>(it.present.number), static_cast<long long>(after.number));
}

inline Finding dynamic_array_changes_size(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  const Control* const control = find_if(all, [](const Control& each) {
    return settable(each) && (each.flags & V4L2_CTRL_FLAG_DYNAMIC_ARRAY) != 0 && each.dims[0] > 1 &&
           each.elem_size > 0 && each.elem_size <= max_payload / 2;
  });
  if (control == nullptr) return not_applicable("the device has no dynamic array that can be set");
  Value before;
  if (auto found = read(s, *control, before)) return found;
  if (before.bytes.size() < control->elem_size) return failed("%s is empty", name_of(*control).c_str());
  const Restore restore(s, *control, before);
  Value other = before;
  const bool one = before.bytes.size() == control->elem_size;
  other.bytes.resize(control->elem_size);
  if (one)
    other.bytes.insert(other.bytes.end(), before.bytes.begin(), before.bytes.begin() + control->elem_size);
  if (auto found = write(s, *control, other)) return found;
  Control now{};
  now.id = control->id;
  if (auto found = s.expect<tag::QUERY_EXT_CTRL>(now)) return found;
  if (now.elems == (one ? 2 : 1)) return passed();
  return failed("%s was set to %d elements, and has %u", name_of(*control).c_str(), one ? 2 : 1, now.elems);
}

inline constexpr Rule setting_rules[] = {
    {"controls/set-present", "a control can be set to the value it has, and keeps it", extended_section,
     Scope::device, present_value_can_be_set},
    {"controls/set-other", "a control that is set to another value has that value", extended_section,
     Scope::device, set_value_is_kept},
    {"controls/s-ctrl-agrees", "VIDIOC_S_CTRL sets what VIDIOC_G_EXT_CTRLS reads", single_section,
     Scope::device, s_ctrl_agrees},
    {"controls/out-of-range", "a number out of range is clamped to it, or refused with ERANGE",
     extended_section, Scope::device, numbers_are_clamped},
    {"controls/menu-values", "a value that is not an item of a menu is refused, and changes nothing",
     extended_section, Scope::device, menus_refuse_others},
    {"controls/long-string", "a string that is too long is ERANGE", extended_section, Scope::device,
     long_strings_are_refused},
    {"controls/read-only", "controls that are read-only cannot be set or tried: EACCES", extended_section,
     Scope::device, read_only_stays},
    {"controls/grabbed", "controls that are grabbed cannot be set now: EBUSY", extended_section,
     Scope::device, grabbed_is_busy},
    {"controls/try-changes-nothing", "VIDIOC_TRY_EXT_CTRLS leaves values as they are", extended_section,
     Scope::device, trying_changes_nothing},
    {"controls/dynamic-size", "a dynamic array has as many elements as it was set to", extended_section,
     Scope::device, dynamic_array_changes_size},
};

}  // namespace vumedia::client::compliance::detail::controls
