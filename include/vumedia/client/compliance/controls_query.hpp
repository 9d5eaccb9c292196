// Rules on which controls exist: their list, their description, their menus.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include <vumedia/client/compliance/controls_access.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::controls {

inline Finding list_ascends(Subject& s) {
  std::vector<Control> all;
  return list_some(s, all);
}

inline Finding walks_agree(Subject& s) {
  std::vector<Control> all, simple, compound;
  if (auto found = list_some(s, all)) return found;
  if (auto found = list(s, simple, V4L2_CTRL_FLAG_NEXT_CTRL)) return found;
  if (auto found = list(s, compound, V4L2_CTRL_FLAG_NEXT_COMPOUND)) return found;
  for (const Control& control : simple) {
    if (is_compound(control))
      return failed("NEXT_CTRL alone finds the compound control %s", name_of(control).c_str());
  }
  for (const Control& control : compound) {
    if (!is_compound(control))
      return failed("NEXT_COMPOUND alone finds %s, which is not compound", name_of(control).c_str());
  }
  if (simple.size() + compound.size() == all.size()) return passed();
  return failed("%zu controls with both flags, but %zu with NEXT_CTRL and %zu with NEXT_COMPOUND", all.size(),
                simple.size(), compound.size());
}

inline Finding query_by_id_agrees(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& listed : all) {
    Control control{};
    control.id = listed.id;
    if (auto found = s.expect<tag::QUERY_EXT_CTRL>(control, 0, ("of " + name_of(listed)).c_str()))
      return found;
    // Whether a control is active may change by itself.
    control.flags = listed.flags;
    if (std::memcmp(&control, &listed, sizeof control) != 0)
      return failed("%s differs between a query by its id and the list", name_of(listed).c_str());
  }
  return passed();
}

inline Finding unknown_is_refused(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  const std::uint32_t id = unknown_id(all);
  Control query{};
  query.id = id;
  if (auto found = s.expect<tag::QUERY_EXT_CTRL>(query, EINVAL, "of a control that is not listed"))
    return found;
  Request get, set, attempt;
  for (Request* request : {&get, &set, &attempt}) request->add_unknown(id);
  if (auto found = Subject::judge("VIDIOC_G_EXT_CTRLS", get.run<tag::G_EXT_CTRLS>(s), EINVAL,
                                  "of a control that is not listed"))
    return found;
  if (auto found = Subject::judge("VIDIOC_S_EXT_CTRLS", set.run<tag::S_EXT_CTRLS>(s), EINVAL,
                                  "of a control that is not listed"))
    return found;
  return Subject::judge("VIDIOC_TRY_EXT_CTRLS", attempt.run<tag::TRY_EXT_CTRLS>(s), EINVAL,
                        "of a control that is not listed");
}

inline Finding names_are_text(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& control : all) {
    const std::size_t length = ::strnlen(control.name, sizeof control.name);
    if (length == 0) return failed("control 0x%08x has no name", control.id);
    if (length == sizeof control.name) return failed("the name of control 0x%08x does not end", control.id);
  }
  return passed();
}

inline Finding reserved_is_zero(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& control : all) {
    for (const std::uint32_t word : control.reserved) {
      if (word != 0) return failed("%s has 0x%x in reserved", name_of(control).c_str(), word);
    }
  }
  return passed();
}

// The size of an element of a type if the type determines it, otherwise 0.
[[nodiscard]] inline std::uint32_t fixed_element_size(const Control& control) noexcept {
  switch (control.type) {
    case V4L2_CTRL_TYPE_INTEGER:
    case V4L2_CTRL_TYPE_BOOLEAN:
    case V4L2_CTRL_TYPE_MENU:
    case V4L2_CTRL_TYPE_INTEGER_MENU:
    case V4L2_CTRL_TYPE_BITMASK:
    case V4L2_CTRL_TYPE_U32:
      return 4;
    case V4L2_CTRL_TYPE_INTEGER64:
      return 8;
    case V4L2_CTRL_TYPE_U8:
      return 1;
    case V4L2_CTRL_TYPE_U16:
      return 2;
    default:
      return 0;
  }
}

inline Finding shape_fits(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& control : all) {
    const std::string name = name_of(control);
    if (control.nr_of_dims > V4L2_CTRL_MAX_DIMS)
      return failed("%s has %u dimensions", name.c_str(), control.nr_of_dims);
    std::uint64_t elements = 1;
    for (std::uint32_t d = 0; d < V4L2_CTRL_MAX_DIMS; ++d) {
      const bool used = d < control.nr_of_dims;
      if (used == (control.dims[d] == 0))
        return failed("dims[%u] of %s is %u", d, name.c_str(), control.dims[d]);
      if (used && elements <= 0xffffffff) elements *= control.dims[d];
    }
    const bool dynamic = (control.flags & V4L2_CTRL_FLAG_DYNAMIC_ARRAY) != 0;
    if (dynamic && control.nr_of_dims != 1)
      return failed("the dynamic array %s has %u dimensions", name.c_str(), control.nr_of_dims);
    if (dynamic ? control.elems > elements : control.elems != elements)
      return failed("%s has %u elements, but its dimensions give %llu", name.c_str(), control.elems,
                    static_cast<unsigned long long>(elements));
    const std::uint32_t size = fixed_element_size(control);
    if (size != 0 && control.elem_size != size)
      return failed("an element of %s has %u bytes, not %u", name.c_str(), control.elem_size, size);
    if (control.type == V4L2_CTRL_TYPE_STRING &&
        control.elem_size != static_cast<std::uint64_t>(control.maximum) + 1)
      return failed("%s takes %u bytes for %lld characters", name.c_str(), control.elem_size,
                    static_cast<long long>(control.maximum));
    const bool payload = is_compound(control) || control.type == V4L2_CTRL_TYPE_STRING;
    if (has_payload(control) != payload)
      return failed("HAS_PAYLOAD is %s for %s", has_payload(control) ? "set" : "not set", name.c_str());
  }
  return passed();
}

[[nodiscard]] inline bool range_makes_sense(const Control& control) noexcept {
  const std::int64_t minimum = control.minimum, maximum = control.maximum, preset = control.default_value;
  const bool preset_within = preset >= minimum && preset <= maximum;
  switch (control.type) {
    case V4L2_CTRL_TYPE_BOOLEAN:
      return minimum >= 0 && maximum <= 1 && control.step == 1 && preset_within;
    case V4L2_CTRL_TYPE_INTEGER:
    case V4L2_CTRL_TYPE_INTEGER64:
    case V4L2_CTRL_TYPE_U8:
    case V4L2_CTRL_TYPE_U16:
    case V4L2_CTRL_TYPE_U32:
      return minimum <= maximum && control.step != 0 && preset_within;
    case V4L2_CTRL_TYPE_MENU:
    case V4L2_CTRL_TYPE_INTEGER_MENU:
      return minimum >= 0 && minimum <= maximum && control.step == 1 && preset_within;
    case V4L2_CTRL_TYPE_BITMASK:
      return minimum == 0 && maximum != 0 && control.step == 0 && (preset & ~maximum) == 0;
    case V4L2_CTRL_TYPE_STRING:
      return minimum >= 0 && minimum <= maximum && control.step != 0;
    case V4L2_CTRL_TYPE_BUTTON:
    case V4L2_CTRL_TYPE_CTRL_CLASS:
      return minimum == 0 && maximum == 0 && control.step == 0 && preset == 0;
    default:
      return true;
  }
}

inline Finding ranges_make_sense(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& control : all) {
    if (range_makes_sense(control)) continue;
    return failed("%s, of type %u: from %lld to %lld by %llu, default %lld", name_of(control).c_str(),
                  control.type, static_cast<long long>(control.minimum),
                  static_cast<long long>(control.maximum), static_cast<unsigned long long>(control.step),
                  static_cast<long long>(control.default_value));
  }
  return passed();
}

inline Finding button_is_write_only(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (control.type != V4L2_CTRL_TYPE_BUTTON) continue;
    any = true;
    constexpr std::uint32_t both = V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_EXECUTE_ON_WRITE;
    if ((control.flags & both) != both)
      return failed("%s is a button with flags 0x%x", name_of(control).c_str(), control.flags);
  }
  return any ? passed() : not_applicable("the device has no button");
}

inline Finding classes_lead(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  std::uint32_t led = 0;
  for (const Control& control : all) {
    const std::uint32_t which = control.id & 0x0fff0000;
    if (is_class(control)) {
      if ((control.id & 0xffff) != 1) return failed("%s is not the id of a class", name_of(control).c_str());
      constexpr std::uint32_t both = V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY;
      if ((control.flags & both) != both)
        return failed("the class %s has flags 0x%x", name_of(control).c_str(), control.flags);
      led = which;
    } else if (led != which) {
      return failed("%s is listed without its class", name_of(control).c_str());
    }
  }
  return passed();
}

inline Finding queryctrl_agrees(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  for (const Control& control : all) {
    v4l2_queryctrl query{};
    query.id = control.id;
    const int got = s.call<tag::QUERYCTRL>(query);
    if (got == ENOTTY) return not_applicable("the device has no VIDIOC_QUERYCTRL");
    const std::string name = name_of(control);
    if (auto found = Subject::judge("VIDIOC_QUERYCTRL", got, 0, ("of " + name).c_str())) return found;
    if (query.id != control.id || query.type != control.type || query.flags != control.flags ||
        ::strncmp(reinterpret_cast<const char*>(query.name), control.name, sizeof query.name - 1) != 0)
      return failed("VIDIOC_QUERYCTRL and VIDIOC_QUERY_EXT_CTRL disagree about %s", name.c_str());
    const bool has_range = control.type <= V4L2_CTRL_TYPE_INTEGER_MENU &&
                           control.type != V4L2_CTRL_TYPE_INTEGER64 && !is_class(control) &&
                           control.type != V4L2_CTRL_TYPE_BUTTON;
    const bool same = query.minimum == static_cast<std::int32_t>(control.minimum) &&
                      query.maximum == static_cast<std::int32_t>(control.maximum) &&
                      query.step == static_cast<std::int32_t>(control.step) &&
                      query.default_value == static_cast<std::int32_t>(control.default_value);
    const bool none = query.minimum == 0 && query.maximum == 0 && query.step == 0 && query.default_value == 0;
    if (has_range ? !same : !none)
      return failed("VIDIOC_QUERYCTRL gives %s a different range: from %d to %d by %d, default %d",
                    name.c_str(), query.minimum, query.maximum, query.step, query.default_value);
  }
  return passed();
}

// -- Menus

inline Finding menus_can_be_read(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!is_menu(control) || control.minimum < 0) continue;
    any = true;
    const std::string name = name_of(control);
    if (control.maximum > max_menu_items)
      return failed("%s has items up to %lld", name.c_str(), static_cast<long long>(control.maximum));
    for (std::int64_t index = control.minimum; index <= control.maximum; ++index) {
      v4l2_querymenu item{};
      item.id = control.id;
      item.index = static_cast<std::uint32_t>(index);
      const int got = s.call<tag::QUERYMENU>(item);
      if (got == EINVAL) continue;  // a gap
      if (auto found = Subject::judge("VIDIOC_QUERYMENU", got, 0, ("of " + name).c_str())) return found;
      if (item.id != control.id || item.index != static_cast<std::uint32_t>(index) || item.reserved != 0)
        return failed("VIDIOC_QUERYMENU: item %lld of %s comes back as item %u of 0x%08x, reserved %u",
                      static_cast<long long>(index), name.c_str(), item.index, item.id, item.reserved);
      if (control.type != V4L2_CTRL_TYPE_MENU) continue;
      const std::size_t length = ::strnlen(reinterpret_cast<const char*>(item.name), sizeof item.name);
      if (length == 0 || length == sizeof item.name)
        return failed("item %lld of %s has %s", static_cast<long long>(index), name.c_str(),
                      length == 0 ? "no name" : "a name that does not end");
    }
  }
  return any ? passed() : not_applicable("the device has no menu");
}

inline Finding menu_has_its_default(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!is_menu(control)) continue;
    any = true;
    if (!has_item(s, control, control.default_value))
      return failed("%s has no item %lld, its default", name_of(control).c_str(),
                    static_cast<long long>(control.default_value));
  }
  return any ? passed() : not_applicable("the device has no menu");
}

inline Finding menu_ends(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  bool any = false;
  for (const Control& control : all) {
    if (!is_menu(control) || control.maximum < 0 || control.maximum >= 0xffffffff) continue;
    any = true;
    v4l2_querymenu item{};
    item.id = control.id;
    item.index = static_cast<std::uint32_t>(control.maximum + 1);
    if (auto found =
            s.expect<tag::QUERYMENU>(item, EINVAL, ("after the last item of " + name_of(control)).c_str()))
      return found;
  }
  return any ? passed() : not_applicable("the device has no menu");
}

inline Finding only_menus_have_items(Subject& s) {
  std::vector<Control> all;
  if (auto found = list_some(s, all)) return found;
  v4l2_querymenu item{};
  item.id = unknown_id(all);
  if (const int got = s.call<tag::QUERYMENU>(item); got == ENOTTY) {
    if (find_if(all, is_menu) == nullptr) return not_applicable("the device has no menu");
    return Subject::judge("VIDIOC_QUERYMENU", got, EINVAL, "of an unknown control");
  } else if (auto found = Subject::judge("VIDIOC_QUERYMENU", got, EINVAL, "of an unknown control")) {
    return found;
  }
  for (const Control& control : all) {
    if (is_menu(control)) continue;
    item = {};
    item.id = control.id;
    if (auto found = s.expect<tag::QUERYMENU>(item, EINVAL, ("of " + name_of(control)).c_str())) return found;
  }
  return passed();
}

inline constexpr const char* query_section =
    "V4L2 API, ioctls VIDIOC_QUERYCTRL, VIDIOC_QUERY_EXT_CTRL and VIDIOC_QUERYMENU";

inline constexpr Rule query_rules[] = {
    {"controls/list-ascends", "the NEXT flags walk through all controls by ascending id and end with EINVAL",
     query_section, Scope::device, list_ascends},
    {"controls/walks-agree",
     "NEXT_CTRL alone finds the controls with a single value, NEXT_COMPOUND alone arrays and compound ones, "
     "both together find all",
     query_section, Scope::device, walks_agree},
    {"controls/query-by-id", "a control has the same description by its id and in the walk that finds it",
     query_section, Scope::device, query_by_id_agrees},
    {"controls/unknown-refused", "querying, reading, trying or setting an id that is not listed is EINVAL",
     query_section, Scope::device, unknown_is_refused},
    {"controls/names", "each control has a name that ends with a NUL", query_section, Scope::device,
     names_are_text},
    {"controls/query-reserved", "reserved fields of a described control are 0", query_section, Scope::device,
     reserved_is_zero},
    {"controls/shape",
     "dimensions, elements, their size and HAS_PAYLOAD are consistent with each other and with the type",
     query_section, Scope::device, shape_fits},
    {"controls/ranges", "limits, step and default of a control make sense for its type", query_section,
     Scope::device, ranges_make_sense},
    {"controls/buttons", "buttons are WRITE_ONLY and EXECUTE_ON_WRITE", query_section, Scope::device,
     button_is_write_only},
    {"controls/classes-lead",
     "the control that names a class leads its controls, and can be neither read nor set",
     "V4L2 API, Extended Controls API", Scope::device, classes_lead},
    {"controls/queryctrl-agrees", "VIDIOC_QUERYCTRL describes a control as VIDIOC_QUERY_EXT_CTRL does",
     query_section, Scope::device, queryctrl_agrees},
    {"controls/menu-items",
     "menu items have names that end with a NUL, and come back as the items that were asked for",
     query_section, Scope::device, menus_can_be_read},
    {"controls/menu-default", "the default of a menu is one of its items", query_section, Scope::device,
     menu_has_its_default},
    {"controls/menu-end", "an item after the last one of a menu is EINVAL", query_section, Scope::device,
     menu_ends},
    {"controls/menu-only", "VIDIOC_QUERYMENU of a control that is not a menu is EINVAL", query_section,
     Scope::device, only_menus_have_items},
};

}  // namespace vumedia::client::compliance::detail::controls
