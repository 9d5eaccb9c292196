// Controls as compliance rules handle them: listed, read, written and compared, whatever their type.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/compliance/finding.hpp>
#include <vumedia/client/compliance/subject.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::client::compliance::detail::controls {

namespace tag = v4l2::tag;

// What VIDIOC_QUERY_EXT_CTRL says of a control.
using Control = v4l2_query_ext_ctrl;

inline constexpr std::uint32_t next_any = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
// Linux 6.14; the headers of Debian 12 lack them.
inline constexpr std::uint32_t flag_has_which_min_max = 0x1000;
inline constexpr std::uint32_t which_min_value = 0x0f020000;
inline constexpr std::uint32_t which_max_value = 0x0f030000;
// Where to stop reading a list that a device would continue forever.
inline constexpr std::size_t max_controls = 1024;
inline constexpr std::int64_t max_menu_items = 1024;
// The limit for a control's payload: what fits through a guest's command. Devices may claim any size.
inline constexpr std::uint64_t max_payload = 64 * 1024;

[[nodiscard]] inline bool is_class(const Control& control) noexcept {
  return control.type == V4L2_CTRL_TYPE_CTRL_CLASS;
}
[[nodiscard]] inline bool is_menu(const Control& control) noexcept {
  return control.type == V4L2_CTRL_TYPE_MENU || control.type == V4L2_CTRL_TYPE_INTEGER_MENU;
}
[[nodiscard]] inline bool has_payload(const Control& control) noexcept {
  return (control.flags & V4L2_CTRL_FLAG_HAS_PAYLOAD) != 0;
}
[[nodiscard]] inline bool is_compound(const Control& control) noexcept {
  return control.nr_of_dims > 0 || control.type >= V4L2_CTRL_COMPOUND_TYPES;
}
// Whether it is a single number, which VIDIOC_G_CTRL can read too unless it is 64 bits wide.
[[nodiscard]] inline bool is_number(const Control& control) noexcept {
  return !has_payload(control) && !is_class(control) && control.type != V4L2_CTRL_TYPE_BUTTON;
}
[[nodiscard]] inline bool fits_g_ctrl(const Control& control) noexcept {
  return is_number(control) && control.type != V4L2_CTRL_TYPE_INTEGER64;
}
[[nodiscard]] inline std::uint64_t payload_bytes(const Control& control) noexcept {
  return std::uint64_t{control.elems} * control.elem_size;
}
[[nodiscard]] inline bool readable(const Control& control) noexcept {
  return (control.flags & (V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_DISABLED)) == 0 && !is_class(control) &&
         (!has_payload(control) || payload_bytes(control) <= max_payload);
}
// Whether a rule may write the control and expect to read the value back. Buttons are left alone, because
// nobody knows what they do; so are volatile, inactive and grabbed controls, whose value is determined by
// others.
[[nodiscard]] inline bool settable(const Control& control) noexcept {
  return readable(control) && control.type != V4L2_CTRL_TYPE_BUTTON &&
         (control.flags & (V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_VOLATILE | V4L2_CTRL_FLAG_INACTIVE |
                           V4L2_CTRL_FLAG_GRABBED)) == 0;
}
// A name for messages: the control's own, and its id.
[[nodiscard]] inline std::string name_of(const Control& control) {
  const std::string name(control.name, ::strnlen(control.name, sizeof control.name));
  return format_text("0x%08x (%s)", control.id, name.c_str());
}

// All controls that the device lists, in one walk. Not applicable if it has none.
inline Finding list(Subject& subject, std::vector<Control>& all, std::uint32_t next = next_any) {
  all.clear();
  Control control{};
  while (true) {
    const std::uint32_t last = control.id;
    control = {};
    control.id = last | next;
    const int got = subject.call<tag::QUERY_EXT_CTRL>(control);
    if (got == ENOTTY && all.empty()) return not_applicable("the device has no controls");
    if (got != 0) return Subject::judge("VIDIOC_QUERY_EXT_CTRL", got, EINVAL, "after the last control");
    if (control.id <= last)
      return failed("VIDIOC_QUERY_EXT_CTRL: 0x%08x comes after 0x%08x", control.id, last);
    if (all.size() == max_controls) return failed("the list of controls does not end");
    all.push_back(control);
  }
}
// Fails, or is not applicable, if there is no control to look at.
inline Finding list_some(Subject& subject, std::vector<Control>& all) {
  if (auto found = list(subject, all)) return found;
  if (all.empty()) return not_applicable("the device has no controls");
  return passed();
}

template <class Accepts>
[[nodiscard]] const Control* find_if(const std::vector<Control>& all, Accepts accepts) {
  const auto found = std::ranges::find_if(all, accepts);
  return found != all.end() ? &*found : nullptr;
}

// An id that no control has, in the class of user controls.
[[nodiscard]] inline std::uint32_t unknown_id(const std::vector<Control>& all) {
  std::uint32_t id = V4L2_CID_BASE + 0x6ff;
  while (find_if(all, [id](const Control& control) { return control.id == id; }) != nullptr) --id;
  return id;
}

// The value of a control: a number, or bytes.
struct Value {
  std::int64_t number = 0;
  std::vector<std::byte> bytes;
  friend bool operator==(const Value&, const Value&) = default;
};

// The controls of one VIDIOC_*_EXT_CTRLS. Not movable, because the ioctl's payload points into it.
class Request {
 public:
  explicit Request(std::uint32_t which = V4L2_CTRL_WHICH_CUR_VAL) { payload_.head.which = which; }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // With room for the control's value, or with `value` itself.
  void add(const Control& control, const Value* value = nullptr) {
    v4l2_ext_control wire{};
    wire.id = control.id;
    auto& bytes = values_.emplace_back();
    if (has_payload(control)) {
      bytes = value != nullptr ? value->bytes
                               : std::vector<std::byte>(std::min(payload_bytes(control), max_payload));
      wire.size = static_cast<std::uint32_t>(bytes.size());
      wire.ptr = bytes.data();
    } else if (value != nullptr) {
      wire.value64 = value->number;
      if (control.type != V4L2_CTRL_TYPE_INTEGER64) wire.value = static_cast<std::int32_t>(value->number);
    }
    payload_.controls.push_back(wire);
    payload_.head.count = static_cast<std::uint32_t>(payload_.controls.size());
  }
  void add_unknown(std::uint32_t id) {
    Control control{};
    control.id = id;
    add(control);
  }

  template <class Tag>
  [[nodiscard]] int run(Subject& subject) {
    return run_as<Tag>(subject, subject.session());
  }
  template <class Tag>
  [[nodiscard]] int run_as(Subject& subject, std::uint32_t session) {
    payload_.head.error_idx = 0xdead;
    return subject.call_as<Tag>(session, payload_);
  }
  [[nodiscard]] std::uint32_t error_idx() const noexcept { return payload_.head.error_idx; }
  [[nodiscard]] const v4l2_ext_control& wire(std::size_t index) const { return payload_.controls[index]; }
  // The control as it was answered.
  [[nodiscard]] Value value(std::size_t index, const Control& control) const {
    const v4l2_ext_control& wire = payload_.controls[index];
    if (!has_payload(control)) {
      return {control.type == V4L2_CTRL_TYPE_INTEGER64 ? std::int64_t{wire.value64} : wire.value, {}};
    }
    Value value{0, values_[index]};
    value.bytes.resize(std::min<std::size_t>(wire.size, value.bytes.size()));
    // Bytes after the NUL of a string are not part of it.
    if (control.type == V4L2_CTRL_TYPE_STRING && control.nr_of_dims == 0) {
      value.bytes.resize(std::min<std::size_t>(
          ::strnlen(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()) + 1,
          value.bytes.size()));
    }
    return value;
  }

 private:
  v4l2::ExtControls payload_{};
  // Vectors keep their memory when they are moved, so pointers into it stay valid.
  std::vector<std::vector<std::byte>> values_;
};

[[nodiscard]] inline int get_as(Subject& subject, std::uint32_t session, const Control& control, Value& value,
                                std::uint32_t which = V4L2_CTRL_WHICH_CUR_VAL) {
  Request request(which);
  request.add(control);
  const int got = request.run_as<tag::G_EXT_CTRLS>(subject, session);
  if (got == 0) value = request.value(0, control);
  return got;
}
[[nodiscard]] inline int get(Subject& subject, const Control& control, Value& value,
                             std::uint32_t which = V4L2_CTRL_WHICH_CUR_VAL) {
  return get_as(subject, subject.session(), control, value, which);
}
[[nodiscard]] inline int set(Subject& subject, const Control& control, const Value& value) {
  Request request;
  request.add(control, &value);
  return request.run<tag::S_EXT_CTRLS>(subject);
}

// The same, as a rule's step.
inline Finding read(Subject& subject, const Control& control, Value& value,
                    std::uint32_t which = V4L2_CTRL_WHICH_CUR_VAL) {
  return Subject::judge("VIDIOC_G_EXT_CTRLS", get(subject, control, value, which), 0,
                        ("of " + name_of(control)).c_str());
}
inline Finding write(Subject& subject, const Control& control, const Value& value) {
  return Subject::judge("VIDIOC_S_EXT_CTRLS", set(subject, control, value), 0,
                        ("of " + name_of(control)).c_str());
}

// Whether a number is one that its control can have.
[[nodiscard]] inline bool within(const Control& control, std::int64_t number) noexcept {
  switch (control.type) {
    case V4L2_CTRL_TYPE_BITMASK:
      return (static_cast<std::uint32_t>(number) & ~static_cast<std::uint32_t>(control.maximum)) == 0;
    case V4L2_CTRL_TYPE_INTEGER:
    case V4L2_CTRL_TYPE_BOOLEAN:
    case V4L2_CTRL_TYPE_MENU:
    case V4L2_CTRL_TYPE_INTEGER_MENU:
    case V4L2_CTRL_TYPE_INTEGER64:
    case V4L2_CTRL_TYPE_U8:
    case V4L2_CTRL_TYPE_U16:
    case V4L2_CTRL_TYPE_U32:
      if (number < control.minimum || number > control.maximum) return false;
      // As unsigned numbers the distance always fits.
      return control.step == 0 || (control.flags & V4L2_CTRL_FLAG_VOLATILE) != 0 ||
             (static_cast<std::uint64_t>(number) - static_cast<std::uint64_t>(control.minimum)) %
                     control.step ==
                 0;
    default:
      return true;
  }
}
[[nodiscard]] inline bool within(const Control& control, const Value& value) noexcept {
  if (!has_payload(control)) return within(control, value.number);
  if (control.type == V4L2_CTRL_TYPE_STRING) {
    if (is_compound(control)) return true;
    const auto length = static_cast<std::int64_t>(value.bytes.size()) - 1;
    return length >= control.minimum && length <= control.maximum && value.bytes.back() == std::byte{0};
  }
  const std::size_t size = control.elem_size;
  const bool is_signed = control.type < V4L2_CTRL_COMPOUND_TYPES;
  if (size == 0 || size > 8 || control.type > V4L2_CTRL_TYPE_U32) return true;
  for (std::size_t at = 0; at + size <= value.bytes.size(); at += size) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, value.bytes.data() + at, size);
    const auto number = size == 4 && is_signed ? std::int64_t{static_cast<std::int32_t>(bits)}
                                               : static_cast<std::int64_t>(bits);
    if (!within(control, number)) return false;
  }
  return true;
}

[[nodiscard]] inline bool has_item(Subject& subject, const Control& control, std::int64_t index) {
  if (index < 0 || index > 0xffffffff) return false;
  v4l2_querymenu query{};
  query.id = control.id;
  query.index = static_cast<std::uint32_t>(index);
  return subject.call<tag::QUERYMENU>(query) == 0;
}

// A limit from the query as a value: 32-bit numbers are signed, but limits of bitmasks are not.
[[nodiscard]] inline std::int64_t value_of_limit(const Control& control, std::int64_t limit) noexcept {
  return control.type == V4L2_CTRL_TYPE_INTEGER64 ? limit : std::int64_t{static_cast<std::int32_t>(limit)};
}

// Another value that a number may have.
[[nodiscard]] inline std::optional<Value> other_value(Subject& subject, const Control& control,
                                                      const Value& present) {
  if (!is_number(control)) return std::nullopt;
  if (is_menu(control)) {
    for (std::int64_t index = std::max<std::int64_t>(control.minimum, 0);
         index <= std::min<std::int64_t>(control.maximum, max_menu_items); ++index) {
      if (index != present.number && has_item(subject, control, index)) return Value{index, {}};
    }
    return std::nullopt;
  }
  for (const std::int64_t limit : {control.default_value, control.minimum}) {
    const Value value{value_of_limit(control, limit), {}};
    // NOLINTNEXTLINE(performance-no-automatic-move): a number, and no text.
    if (value != present) return value;
  }
  if (control.type == V4L2_CTRL_TYPE_BITMASK) return Value{value_of_limit(control, control.maximum), {}};
  // The largest value may not be on a step.
  std::int64_t next = 0;
  if (__builtin_add_overflow(present.number, control.step, &next) || next > control.maximum)
    return std::nullopt;
  return Value{next, {}};
}

// Restores a control's value at the end of a rule, whatever happened in it.
class Restore {
 public:
  Restore(Subject& subject, const Control& control, Value value)
      : subject_(subject), control_(control), value_(std::move(value)) {}
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  ~Restore() { static_cast<void>(set(subject_, control_, value_)); }

 private:
  Subject& subject_;
  const Control control_;
  const Value value_;
};

// A number that can be changed, and two values for it: most rules about changes need this.
struct Changeable {
  Control control{};
  Value present, other;
};
inline Finding find_changeable(Subject& subject, const std::vector<Control>& all, Changeable& result) {
  for (const Control& control : all) {
    if (!settable(control) || !is_number(control)) continue;
    Value present;
    if (auto found = read(subject, control, present)) return found;
    if (const auto other = other_value(subject, control, present)) {
      result = {control, present, *other};
      return passed();
    }
  }
  return not_applicable("no control is a number that can be changed");
}

inline constexpr const char* extended_section =
    "V4L2 API, ioctls VIDIOC_G_EXT_CTRLS, VIDIOC_S_EXT_CTRLS and VIDIOC_TRY_EXT_CTRLS";
inline constexpr const char* single_section = "V4L2 API, ioctls VIDIOC_G_CTRL and VIDIOC_S_CTRL";

}  // namespace vumedia::client::compliance::detail::controls
