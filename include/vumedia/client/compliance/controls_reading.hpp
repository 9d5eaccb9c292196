// Rules on reading the values of controls.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include <vumedia/client/compliance/controls_access.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::controls {

inline Finding all_can_be_read(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& control : all) {
    Value value;
    if (!readable(control)) continue;
    if (auto found = read(s, control, value)) return found;
  }
  return passed();
}

inline Finding values_are_within(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& control : all) {
    Value value;
    // A control that cannot be read is left to another rule.
    if (!readable(control) || get(s, control, value) != 0) continue;
    if (!within(control, value))
      return failed("%s has the value %lld, which is outside of %lld to %lld by %llu",
                    name_of(control).c_str(), static_cast<long long>(value.number),
                    static_cast<long long>(control.minimum), static_cast<long long>(control.maximum),
                    static_cast<unsigned long long>(control.step));
    if (is_menu(control) && !has_payload(control) && !has_item(s, control, value.number))
      return failed("%s has the value %lld, which is none of its items", name_of(control).c_str(),
                    static_cast<long long>(value.number));
  }
  return passed();
}

inline Finding write_only_cannot_be_read(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if ((control.flags & V4L2_CTRL_FLAG_WRITE_ONLY) == 0 || payload_bytes(control) > max_payload) continue;
    any = true;
    Value value;
    if (auto found = Subject::judge("VIDIOC_G_EXT_CTRLS", get(s, control, value), EACCES,
                                    ("of " + name_of(control)).c_str()))
      return found;
  }
  return any ? passed() : not_applicable("the device has no control that is write-only");
}

inline Finding g_ctrl_agrees(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!readable(control) || !fits_g_ctrl(control)) continue;
    v4l2_control one{};
    one.id = control.id;
    const int got = s.call<tag::G_CTRL>(one);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_G_CTRL");
    any = true;
    if (auto found = Subject::judge("VIDIOC_G_CTRL", got, 0, ("of " + name_of(control)).c_str()))
      return found;
    Value value;
    if ((control.flags & V4L2_CTRL_FLAG_VOLATILE) != 0 || get(s, control, value) != 0) continue;
    if (one.id != control.id || one.value != static_cast<std::int32_t>(value.number))
      return failed("%s is %d in VIDIOC_G_CTRL, and %lld in VIDIOC_G_EXT_CTRLS", name_of(control).c_str(),
                    one.value, static_cast<long long>(value.number));
  }
  return any ? passed() : not_applicable("no control is a number that can be read");
}

inline Finding g_ctrl_wants_small(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!has_payload(control) && control.type != V4L2_CTRL_TYPE_INTEGER64) continue;
    v4l2_control one{};
    one.id = control.id;
    const int got = s.call<tag::G_CTRL>(one);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_G_CTRL");
    any = true;
    if (auto found = Subject::judge("VIDIOC_G_CTRL", got, EINVAL, ("of " + name_of(control)).c_str()))
      return found;
  }
  return any ? passed() : not_applicable("all controls fit into VIDIOC_G_CTRL");
}

inline Finding defaults_can_be_read(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!readable(control)) continue;
    any = true;
    Value value;
    if (auto found = read(s, control, value, V4L2_CTRL_WHICH_DEF_VAL)) return found;
    const std::int64_t expected = value_of_limit(control, control.default_value);
    if (is_number(control) && value.number != expected)
      return failed("V4L2_CTRL_WHICH_DEF_VAL of %s is %lld, but its default is %lld",
                    name_of(control).c_str(), static_cast<long long>(value.number),
                    static_cast<long long>(expected));
  }
  return any ? passed() : not_applicable("no control can be read");
}

inline Finding limits_can_be_read(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!readable(control) || (control.flags & flag_has_which_min_max) == 0) continue;
    any = true;
    Value least, most;
    if (auto found = read(s, control, least, which_min_value)) return found;
    if (auto found = read(s, control, most, which_max_value)) return found;
    if (is_number(control) && (least.number != value_of_limit(control, control.minimum) ||
                               most.number != value_of_limit(control, control.maximum)))
      return failed(
          "%s goes from %lld to %lld according to its values, and from %lld to %lld according to its query",
          name_of(control).c_str(), static_cast<long long>(least.number), static_cast<long long>(most.number),
          static_cast<long long>(control.minimum), static_cast<long long>(control.maximum));
  }
  return any ? passed() : not_applicable("no control has V4L2_CTRL_FLAG_HAS_WHICH_MIN_MAX");
}

inline Finding small_memory_is_told(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!readable(control) || !has_payload(control)) continue;
    any = true;
    Request request;
    const Value none;
    request.add(control, &none);
    const std::string name = name_of(control);
    if (auto found = Subject::judge("VIDIOC_G_EXT_CTRLS", request.run<tag::G_EXT_CTRLS>(s), ENOSPC,
                                    ("into no memory, of " + name).c_str()))
      return found;
    if (request.wire(0).size != payload_bytes(control))
      return failed("%s needs %u bytes according to the size that came back, and %llu according to its query",
                    name.c_str(), request.wire(0).size,
                    static_cast<unsigned long long>(payload_bytes(control)));
  }
  return any ? passed() : not_applicable("no control has a payload");
}

inline constexpr Rule reading_rules[] = {
    {"controls/readable", "every control that is not write-only can be read", extended_section, Scope::device,
     all_can_be_read},
    {"controls/within-range", "values are within the control's stated range, or are items of its menu",
     extended_section, Scope::device, values_are_within},
    {"controls/write-only", "controls that are write-only cannot be read: EACCES", extended_section,
     Scope::device, write_only_cannot_be_read},
    {"controls/g-ctrl-agrees", "VIDIOC_G_CTRL reads what VIDIOC_G_EXT_CTRLS reads", single_section,
     Scope::device, g_ctrl_agrees},
    {"controls/g-ctrl-wide", "VIDIOC_G_CTRL of a control that is not a 32-bit number is EINVAL",
     single_section, Scope::device, g_ctrl_wants_small},
    {"controls/default-values", "V4L2_CTRL_WHICH_DEF_VAL reads the default that the query reported",
     extended_section, Scope::device, defaults_can_be_read},
    {"controls/limit-values", "V4L2_CTRL_WHICH_MIN_VAL and MAX_VAL read the limits that the query reported",
     extended_section, Scope::device, limits_can_be_read},
    {"controls/small-memory", "reading into too little memory is ENOSPC, with the size that is needed",
     extended_section, Scope::device, small_memory_is_told},
};

}  // namespace vumedia::client::compliance::detail::controls
