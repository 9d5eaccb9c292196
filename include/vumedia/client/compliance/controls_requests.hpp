// Rules on requests for several controls or for none, and on the meaning of `which` and error_idx.
#pragma once

#include <cstdint>
#include <vector>

#include <vumedia/client/compliance/controls_access.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::controls {

// A request with a valid control and an unknown one.
inline Finding add_good_and_unknown(Subject& s, const std::vector<Control>& all, Request& request) {
  const Control* const good = find_if(all, settable);
  if (good == nullptr) return not_applicable("no control can be set");
  Value value;
  if (auto found = read(s, *good, value)) return found;
  request.add(*good, &value);
  request.add_unknown(unknown_id(all));
  return passed();
}

inline Finding get_error_index(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  const Control* const good = find_if(all, readable);
  if (good == nullptr) return not_applicable("no control can be read");
  Request request;
  request.add(*good);
  request.add_unknown(unknown_id(all));
  if (auto found = Subject::judge("VIDIOC_G_EXT_CTRLS", request.run<tag::G_EXT_CTRLS>(s), EINVAL,
                                  "with an unknown control after a known one"))
    return found;
  if (request.error_idx() == 2) return passed();
  return failed("VIDIOC_G_EXT_CTRLS, before any of 2 controls was read: error_idx is %u, not 2",
                request.error_idx());
}

inline Finding set_error_index(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  Request request;
  if (auto found = add_good_and_unknown(s, all, request)) return found;
  if (auto found = Subject::judge("VIDIOC_S_EXT_CTRLS", request.run<tag::S_EXT_CTRLS>(s), EINVAL,
                                  "with an unknown control after a known one"))
    return found;
  if (request.error_idx() == 2) return passed();
  return failed("VIDIOC_S_EXT_CTRLS, before any of 2 controls was set: error_idx is %u, not 2",
                request.error_idx());
}

inline Finding try_error_index(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  Request request;
  if (auto found = add_good_and_unknown(s, all, request)) return found;
  if (auto found = Subject::judge("VIDIOC_TRY_EXT_CTRLS", request.run<tag::TRY_EXT_CTRLS>(s), EINVAL,
                                  "with an unknown control after a known one"))
    return found;
  if (request.error_idx() == 1) return passed();
  return failed("VIDIOC_TRY_EXT_CTRLS of 2 controls, the second of them unknown: error_idx is %u, not 1",
                request.error_idx());
}

inline Finding all_or_none(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  Changeable it;
  if (auto found = find_changeable(s, all, it)) return found;
  const Restore restore(s, it.control, it.present);
  Request request;
  request.add(it.control, &it.other);
  request.add_unknown(unknown_id(all));
  // Another rule checks which errno it is.
  if (request.run<tag::S_EXT_CTRLS>(s) == 0) return failed("VIDIOC_S_EXT_CTRLS takes an unknown control");
  Value after;
  if (auto found = read(s, it.control, after)) return found;
  if (after == it.present) return passed();
  return failed("VIDIOC_S_EXT_CTRLS failed for another control, but changed %s", name_of(it.control).c_str());
}

inline Finding defaults_cannot_be_set(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  const Control* const control = find_if(all, settable);
  if (control == nullptr) return not_applicable("no control can be set");
  Value value;
  if (auto found = read(s, *control, value)) return found;
  Request change(V4L2_CTRL_WHICH_DEF_VAL), attempt(V4L2_CTRL_WHICH_DEF_VAL);
  change.add(*control, &value);
  attempt.add(*control, &value);
  if (auto found =
          Subject::judge("VIDIOC_S_EXT_CTRLS", change.run<tag::S_EXT_CTRLS>(s), EINVAL, "of a default"))
    return found;
  return Subject::judge("VIDIOC_TRY_EXT_CTRLS", attempt.run<tag::TRY_EXT_CTRLS>(s), EINVAL, "of a default");
}

inline Finding class_as_which(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  const Control* const control = find_if(all, readable);
  if (control == nullptr) return not_applicable("no control can be read");
  const std::uint32_t which = V4L2_CTRL_ID2WHICH(control->id);
  Request own(which);
  own.add(*control);
  if (auto found = Subject::judge("VIDIOC_G_EXT_CTRLS", own.run<tag::G_EXT_CTRLS>(s), 0, "by its class"))
    return found;
  Request other(which == V4L2_CTRL_CLASS_USER ? V4L2_CTRL_CLASS_CODEC : V4L2_CTRL_CLASS_USER);
  other.add(*control);
  return Subject::judge("VIDIOC_G_EXT_CTRLS", other.run<tag::G_EXT_CTRLS>(s), EINVAL,
                        "by a class that is not its own");
}

inline Finding nothing_can_be_asked(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  const char* const circumstances = "of no control";
  for (const bool known : {true, false}) {
    // A class that does not exist: classes go up from USER and stop far below this.
    const std::uint32_t which = known ? V4L2_CTRL_WHICH_CUR_VAL : 0x0ef00000;
    Request get(which), set(which), attempt(which);
    const int wanted = known ? 0 : EINVAL;
    if (auto found =
            Subject::judge("VIDIOC_G_EXT_CTRLS", get.run<tag::G_EXT_CTRLS>(s), wanted, circumstances))
      return found;
    if (auto found =
            Subject::judge("VIDIOC_S_EXT_CTRLS", set.run<tag::S_EXT_CTRLS>(s), wanted, circumstances))
      return found;
    if (auto found =
            Subject::judge("VIDIOC_TRY_EXT_CTRLS", attempt.run<tag::TRY_EXT_CTRLS>(s), wanted, circumstances))
      return found;
  }
  return passed();
}

inline constexpr Rule request_rules[] = {
    {"controls/get-error-idx", "if reading fails before it begins, error_idx is the count", extended_section,
     Scope::device, get_error_index},
    {"controls/set-error-idx", "if setting fails before it begins, error_idx is the count", extended_section,
     Scope::device, set_error_index},
    {"controls/try-error-idx", "if trying fails, error_idx is the control at fault", extended_section,
     Scope::device, try_error_index},
    {"controls/set-all-or-none", "if one of the controls is refused, none is set", extended_section,
     Scope::device, all_or_none},
    {"controls/set-default", "defaults cannot be set or tried: EINVAL", extended_section, Scope::device,
     defaults_cannot_be_set},
    {"controls/which-class", "a class in `which` is accepted only for its own controls", extended_section,
     Scope::device, class_as_which},
    {"controls/count-zero", "a request for no controls succeeds, unless its class does not exist",
     extended_section, Scope::device, nothing_can_be_asked},
};

}  // namespace vumedia::client::compliance::detail::controls
