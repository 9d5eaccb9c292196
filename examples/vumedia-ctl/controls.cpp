// Controls: listing them, reading their values, and setting them.
#include "controls.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <optional>

#include "commands.hpp"
#include "text.hpp"

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::format_text;
using vumedia::Outcome;
namespace tag = vumedia::v4l2::tag;
using Control = v4l2_query_ext_ctrl;

struct FlagName {
  std::uint32_t value = 0;
  const char* text = "";
};

const char* type_name(std::uint32_t type) {
  switch (type) {
    case V4L2_CTRL_TYPE_INTEGER:
      return "integer";
    case V4L2_CTRL_TYPE_BOOLEAN:
      return "boolean";
    case V4L2_CTRL_TYPE_MENU:
      return "menu";
    case V4L2_CTRL_TYPE_BUTTON:
      return "button";
    case V4L2_CTRL_TYPE_INTEGER64:
      return "64-bit integer";
    case V4L2_CTRL_TYPE_STRING:
      return "string";
    case V4L2_CTRL_TYPE_BITMASK:
      return "bit mask";
    case V4L2_CTRL_TYPE_INTEGER_MENU:
      return "integer menu";
    case V4L2_CTRL_TYPE_U8:
      return "8-bit number";
    case V4L2_CTRL_TYPE_U16:
      return "16-bit number";
    case V4L2_CTRL_TYPE_U32:
      return "32-bit number";
    default:
      return "compound";
  }
}

std::string flags_text(std::uint32_t flags) {
  constexpr std::array names{
      FlagName{V4L2_CTRL_FLAG_DISABLED, "disabled"},     FlagName{V4L2_CTRL_FLAG_GRABBED, "grabbed"},
      FlagName{V4L2_CTRL_FLAG_READ_ONLY, "read-only"},   FlagName{V4L2_CTRL_FLAG_INACTIVE, "inactive"},
      FlagName{V4L2_CTRL_FLAG_WRITE_ONLY, "write-only"}, FlagName{V4L2_CTRL_FLAG_VOLATILE, "volatile"}};
  std::string text;
  for (const auto& name : names) {
    if ((flags & name.value) != 0) text += std::string(", ") + name.text;
  }
  return text;
}

void print_menu(Device& device, const Control& control) {
  for (std::int64_t index = control.minimum; index <= control.maximum && index - control.minimum < 256;
       ++index) {
    v4l2_querymenu item{};
    item.id = control.id;
    item.index = static_cast<std::uint32_t>(index);
    if (!device.try_call<tag::QUERYMENU>(item)) continue;
    if (control.type == V4L2_CTRL_TYPE_INTEGER_MENU) {
      std::printf("      %" PRId64 ": %" PRId64 "\n", index, static_cast<std::int64_t>(item.value));
    } else {
      std::printf("      %" PRId64 ": %s\n", index, text_of(item.name).c_str());
    }
  }
}

void print_control(Device& device, const Control& control) {
  const std::string name = text_of(control.name);
  if (control.type == V4L2_CTRL_TYPE_CTRL_CLASS) {
    std::printf("%s\n", name.c_str());
    return;
  }
  std::printf("  %-32s 0x%08x  %s", name.c_str(), control.id, type_name(control.type));
  const bool number = control.type < V4L2_CTRL_COMPOUND_TYPES && control.type != V4L2_CTRL_TYPE_STRING &&
                      control.type != V4L2_CTRL_TYPE_BUTTON && control.nr_of_dims == 0;
  if (number) {
    std::printf(", %" PRId64 " to %" PRId64, static_cast<std::int64_t>(control.minimum),
                static_cast<std::int64_t>(control.maximum));
    if (control.step > 1) std::printf(" by %" PRIu64, static_cast<std::uint64_t>(control.step));
    std::printf(", default %" PRId64, static_cast<std::int64_t>(control.default_value));
    const bool readable = (control.flags & (V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_DISABLED)) == 0;
    if (const auto value = readable ? device.get_control(control.id) : std::nullopt) {
      std::printf(", now %" PRId64, *value);
    }
  }
  std::printf("%s\n", flags_text(control.flags).c_str());
  if (control.type == V4L2_CTRL_TYPE_MENU || control.type == V4L2_CTRL_TYPE_INTEGER_MENU)
    print_menu(device, control);
}

// All controls, with the titles of their classes.
Outcome<std::vector<Control>> all_controls(Device& device) {
  constexpr std::uint32_t next = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
  std::vector<Control> controls;
  for (std::uint32_t last = 0; controls.size() < 4096;) {
    Control control{};
    control.id = last | next;
    if (!device.try_call<tag::QUERY_EXT_CTRL>(control)) break;
    if (control.id <= last) return failure("VIDIOC_QUERY_EXT_CTRL loops");
    last = control.id;
    controls.push_back(control);
  }
  if (auto connection = device.alive(); !connection) return std::unexpected(connection.error());
  return controls;
}

// Names as v4l2-ctl writes them: lower-case letters and digits, with one underscore for anything in between.
std::string plain_name(const std::string& name) {
  std::string plain;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!plain.empty() && plain.back() != '_') {
      plain += '_';
    }
  }
  while (!plain.empty() && plain.back() == '_') plain.pop_back();
  return plain;
}

// Decimal, or hexadecimal after 0x; whole.
std::optional<std::int64_t> parse_number(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  std::uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, hexadecimal ? 16 : 10);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (number > std::uint64_t{INT64_MAX} + (negative ? 1 : 0)) return std::nullopt;
  return static_cast<std::int64_t>(negative ? 0 - number : number);
}

bool is_number(const Control& control) {
  return control.type < V4L2_CTRL_COMPOUND_TYPES && control.type != V4L2_CTRL_TYPE_STRING &&
         control.type != V4L2_CTRL_TYPE_BUTTON && control.type != V4L2_CTRL_TYPE_CTRL_CLASS &&
         control.nr_of_dims == 0;
}
bool is_menu(const Control& control) {
  return control.type == V4L2_CTRL_TYPE_MENU || control.type == V4L2_CTRL_TYPE_INTEGER_MENU;
}

// In words, for what is not a single number or text.
std::string kind(const Control& control) {
  if (control.nr_of_dims != 0)
    return format_text("an array of %u elements", static_cast<unsigned>(control.elems));
  if (control.type >= V4L2_CTRL_COMPOUND_TYPES) return "of a compound type";
  return std::string("a ") + type_name(control.type);
}

// The one that is meant: by its name as it is listed or as v4l2-ctl writes it, or by its number.
Outcome<Control> find_control(std::span<const Control> controls, const std::string& name) {
  const auto id = parse_number(name);
  const std::string plain = plain_name(name);
  for (const Control& control : controls) {
    if (control.type == V4L2_CTRL_TYPE_CTRL_CLASS) continue;
    if (plain_name(text_of(control.name)) == plain || (id && *id == std::int64_t{control.id})) return control;
  }
  return failure("the device has no control '%s'; see list-ctrls", name.c_str());
}

// The text of a menu entry; nothing if there is none.
std::optional<std::string> entry(Device& device, const Control& control, std::int64_t index) {
  v4l2_querymenu item{};
  item.id = control.id;
  item.index = static_cast<std::uint32_t>(index);
  if (!device.try_call<tag::QUERYMENU>(item)) return std::nullopt;
  if (control.type == V4L2_CTRL_TYPE_INTEGER_MENU)
    return format_text("%" PRId64, static_cast<std::int64_t>(item.value));
  return text_of(item.name);
}

// The entry of a menu with this number or name.
Outcome<std::int64_t> find_entry(Device& device, const Control& control, const std::string& value) {
  std::string entries;
  const auto number = parse_number(value);
  for (std::int64_t index = control.minimum; index <= control.maximum && index - control.minimum < 256;
       ++index) {
    const auto text = entry(device, control, index);
    if (!text) continue;
    // Text that looks like a number is the number of an entry.
    if (number ? *number == index : plain_name(*text) == plain_name(value)) return index;
    entries += format_text("%s%" PRId64 " (%s)", entries.empty() ? "" : ", ", index, text->c_str());
  }
  return failure("%s: there is no entry '%s'; there are %s", text_of(control.name).c_str(), value.c_str(),
                 entries.c_str());
}

Outcome<std::int64_t> parse_value(Device& device, const Control& control, const std::string& value) {
  const std::string name = text_of(control.name);
  if (is_menu(control)) return find_entry(device, control, value);
  auto number = parse_number(value);
  if (control.type == V4L2_CTRL_TYPE_BOOLEAN) {
    const std::string plain = plain_name(value);
    if (plain == "on" || plain == "true" || plain == "yes") number = 1;
    if (plain == "off" || plain == "false" || plain == "no") number = 0;
  }
  if (!number) {
    return failure("%s: '%s' is no number from %" PRId64 " to %" PRId64, name.c_str(), value.c_str(),
                   static_cast<std::int64_t>(control.minimum), static_cast<std::int64_t>(control.maximum));
  }
  const auto step = static_cast<std::int64_t>(std::max<std::uint64_t>(control.step, 1));
  if (control.type == V4L2_CTRL_TYPE_BITMASK) {
    const auto bits = static_cast<std::uint64_t>(control.maximum);
    if ((static_cast<std::uint64_t>(*number) & ~bits) != 0)
      return failure("%s: %s is not within the bits 0x%" PRIx64, name.c_str(), value.c_str(), bits);
    return *number;
  }
  if (*number < control.minimum || *number > control.maximum) {
    return failure("%s: %s is not within %" PRId64 " to %" PRId64, name.c_str(), value.c_str(),
                   static_cast<std::int64_t>(control.minimum), static_cast<std::int64_t>(control.maximum));
  }
  if ((static_cast<std::uint64_t>(*number) - static_cast<std::uint64_t>(control.minimum)) %
          static_cast<std::uint64_t>(step) !=
      0) {
    return failure("%s: %s is not %" PRId64 " plus a multiple of %" PRId64, name.c_str(), value.c_str(),
                   static_cast<std::int64_t>(control.minimum), step);
  }
  return *number;
}

// Room for the text of a control, with the terminating zero.
std::string string_room(const Control& control) {
  return std::string(std::min<std::size_t>(control.elem_size, 65536), '\0');
}

// Text goes through `text`, which must live until the ioctl is done.
Outcome<v4l2_ext_control> value_for(Device& device, const Control& control, const std::string& value,
                                    std::string& text) {
  const std::string name = text_of(control.name);
  if ((control.flags & V4L2_CTRL_FLAG_DISABLED) != 0) return failure("%s is disabled", name.c_str());
  if ((control.flags & V4L2_CTRL_FLAG_READ_ONLY) != 0) return failure("%s is read-only", name.c_str());
  v4l2_ext_control made{};
  made.id = control.id;
  if (control.type == V4L2_CTRL_TYPE_STRING && control.nr_of_dims == 0) {
    text = string_room(control);
    if (value.size() >= text.size() || value.size() < static_cast<std::uint64_t>(control.minimum)) {
      return failure("%s: the text must have %" PRId64 " to %zu characters", name.c_str(),
                     static_cast<std::int64_t>(control.minimum), std::max<std::size_t>(text.size(), 1) - 1);
    }
    std::ranges::copy(value, text.begin());
    made.size = static_cast<std::uint32_t>(text.size());
    made.string = text.data();
    return made;
  }
  if (control.type == V4L2_CTRL_TYPE_BUTTON) return made;
  if (!is_number(control))
    return failure("%s is %s and cannot be set here", name.c_str(), kind(control).c_str());
  const auto number = parse_value(device, control, value);
  if (!number) return std::unexpected(number.error());
  if (control.type == V4L2_CTRL_TYPE_INTEGER64) {
    made.value64 = *number;
  } else {
    made.value = static_cast<std::int32_t>(*number);
  }
  return made;
}

std::unexpected<vumedia::Error> refused(const Control& control, int error) {
  const std::string name = text_of(control.name);
  if (error == EBUSY) return failure("%s cannot be set now: something streams or uses it", name.c_str());
  return vumedia::system_failure(error, "the device does not set %s", name.c_str());
}

// All at once if the device supports it.
Outcome<> apply(Device& device, std::span<const Control> controls, std::span<const v4l2_ext_control> values) {
  vumedia::v4l2::ExtControls request{};
  request.head.which = V4L2_CTRL_WHICH_CUR_VAL;
  request.head.count = static_cast<std::uint32_t>(values.size());
  request.controls.assign(values.begin(), values.end());
  const auto done = device.try_call<tag::S_EXT_CTRLS>(request);
  if (done) return {};
  if (auto connection = device.alive(); !connection) return connection;
  if (done.error().value != ENOTTY) {
    const std::uint32_t index = request.head.error_idx;
    return refused(controls[index < controls.size() ? index : 0], done.error().value);
  }
  for (std::size_t index = 0; index < values.size(); ++index) {
    const std::uint32_t type = controls[index].type;
    if (type == V4L2_CTRL_TYPE_INTEGER64 || type == V4L2_CTRL_TYPE_STRING)
      return refused(controls[index], ENOTTY);
    v4l2_control one{values[index].id, values[index].value};
    if (const auto set = device.try_call<tag::S_CTRL>(one); !set)
      return refused(controls[index], set.error().value);
  }
  return {};
}

Outcome<> print_value(Device& device, const Control& control) {
  const std::string name = text_of(control.name);
  if ((control.flags & (V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_DISABLED)) != 0)
    return failure("%s cannot be read: it is%s", name.c_str(), flags_text(control.flags).substr(1).c_str());
  if (control.type == V4L2_CTRL_TYPE_STRING && control.nr_of_dims == 0) {
    std::string text = string_room(control);
    vumedia::v4l2::ExtControls request{};
    request.head.count = 1;
    v4l2_ext_control value{};
    value.id = control.id;
    value.size = static_cast<std::uint32_t>(text.size());
    value.string = text.data();
    request.controls.push_back(value);
    if (auto done = device.call<tag::G_EXT_CTRLS>(request); !done) return done;
    std::printf("%s: %s\n", name.c_str(), text.c_str());
    return {};
  }
  if (!is_number(control))
    return failure("%s is %s and has no value to print", name.c_str(), kind(control).c_str());
  const auto value = device.get_control(control.id);
  if (auto connection = device.alive(); !connection) return connection;
  if (!value) return failure("the device does not tell what %s is at", name.c_str());
  std::string text = control.type == V4L2_CTRL_TYPE_BITMASK
                         ? format_text("0x%08x", static_cast<std::uint32_t>(*value))
                         : format_text("%" PRId64, *value);
  if (is_menu(control)) {
    if (const auto words = entry(device, control, *value)) text += " (" + *words + ")";
  }
  std::printf("%s: %s\n", name.c_str(), text.c_str());
  return {};
}

}  // namespace

std::optional<Assignment> parse_assignment(const std::string& text) {
  const std::size_t sign = text.find('=');
  if (sign == std::string::npos || sign == 0) return std::nullopt;
  return Assignment{text.substr(0, sign), text.substr(sign + 1)};
}

Outcome<> apply_controls(Device& device, std::span<const std::string> assignments) {
  if (assignments.empty()) return {};
  const auto controls = all_controls(device);
  if (!controls) return std::unexpected(controls.error());
  std::vector<Control> chosen;
  std::vector<v4l2_ext_control> values;
  std::vector<std::string> texts(assignments.size());
  for (std::size_t index = 0; index < assignments.size(); ++index) {
    const Assignment assignment = parse_assignment(assignments[index]).value_or(Assignment{});
    const auto control = find_control(*controls, assignment.name);
    if (!control) return std::unexpected(control.error());
    const auto value = value_for(device, *control, assignment.value, texts[index]);
    if (!value) return std::unexpected(value.error());
    chosen.push_back(*control);
    values.push_back(*value);
  }
  return apply(device, chosen, values);
}

Outcome<> set_controls(Device& device, std::span<const std::string> assignments) {
  if (auto done = apply_controls(device, assignments); !done) return done;
  std::vector<std::string> names;
  for (const std::string& text : assignments)
    names.push_back(parse_assignment(text).value_or(Assignment{}).name);
  return print_controls(device, names, true);
}

Outcome<> print_controls(Device& device, std::span<const std::string> names, bool readable_only) {
  const auto controls = all_controls(device);
  if (!controls) return std::unexpected(controls.error());
  for (const std::string& name : names) {
    const auto control = find_control(*controls, name);
    if (!control) return std::unexpected(control.error());
    const bool readable = (control->flags & V4L2_CTRL_FLAG_WRITE_ONLY) == 0 &&
                          (is_number(*control) || control->type == V4L2_CTRL_TYPE_STRING);
    if (readable_only && !readable) continue;
    if (auto done = print_value(device, *control); !done) return done;
  }
  return {};
}

Outcome<> list_controls(Device& device) {
  const auto controls = all_controls(device);
  if (!controls) return std::unexpected(controls.error());
  for (const Control& control : *controls) print_control(device, control);
  if (controls->empty()) std::printf("no controls\n");
  return device.alive();
}

}  // namespace ctl
