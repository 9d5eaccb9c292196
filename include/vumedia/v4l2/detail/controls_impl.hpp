// Member functions of Controls: queries, single numbers, events and the backend's side. Included by
// <vumedia/v4l2/controls.hpp> only.
#pragma once

#include <vumedia/v4l2/controls.hpp>

namespace vumedia::v4l2 {

namespace detail {

inline void copy_name(void* to, std::size_t size, const char* name) noexcept {
  const std::size_t length = std::min(std::strlen(name), size - 1);
  std::memset(to, 0, size);
  std::memcpy(to, name, length);
}

}  // namespace detail

// ---- The set of controls

inline Controls::Controls(std::span<const ControlInfo> table, bool limits) : limits_(limits) {
  controls_.reserve(table.size() * 2);
  for (const ControlInfo& info : table) add(info);
  // Adds each class once, unless it has only compound controls.
  for (const ControlInfo& info : table) {
    const std::uint32_t id = V4L2_CTRL_ID2CLASS(info.id) | 1;
    const bool there =
        std::ranges::any_of(controls_, [id](const Control& control) { return control.info.id == id; });
    if (there || info.type >= V4L2_CTRL_COMPOUND_TYPES) continue;
    add({.id = id,
         .type = V4L2_CTRL_TYPE_CTRL_CLASS,
         .name = control_class_name(id),
         .step = 0,
         .flags = V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY});
  }
  std::ranges::sort(controls_, {}, [](const Control& control) { return control.info.id; });
}

inline void Controls::add(const ControlInfo& info) {
  Control& control = controls_.emplace_back();
  control.info = info;
  if (info.type == V4L2_CTRL_TYPE_BUTTON) {
    control.info.flags |= V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_EXECUTE_ON_WRITE;
    control.info.minimum = control.info.maximum = control.info.default_value = 0;
    control.info.step = 0;
  }
  control.element_bytes = element_size(info);
  control.array = info.dimensions[0] != 0;
  control.elements = control.is_dynamic() ? 1 : static_cast<std::uint32_t>(element_count(info));
  control.has_payload = control.array || control.is_string() || info.type >= V4L2_CTRL_COMPOUND_TYPES;
  control.number = number_of(control, V4L2_CTRL_WHICH_DEF_VAL);
  // The kernel sets it for these, and for others that its driver names.
  const bool counted = info.type < V4L2_CTRL_COMPOUND_TYPES && info.type != V4L2_CTRL_TYPE_BUTTON &&
                       info.type != V4L2_CTRL_TYPE_CTRL_CLASS && info.type != V4L2_CTRL_TYPE_STRING;
  if (counted && limits_) control.info.flags |= ctrl_flag_has_which_min_max;
  if (control.has_payload) {
    control.bytes.resize(control.size());
    write_elements(control, V4L2_CTRL_WHICH_DEF_VAL, control.bytes);
  }
}

inline const Controls::Control* Controls::find(std::uint32_t id) const noexcept {
  id &= V4L2_CTRL_ID_MASK;
  if (id >= V4L2_CID_PRIVATE_BASE) {
    // The old way to enumerate a driver's private user controls.
    std::uint32_t left = id - V4L2_CID_PRIVATE_BASE;
    for (const Control& control : controls_) {
      const std::uint32_t own = control.info.id;
      if (V4L2_CTRL_ID2CLASS(own) != V4L2_CTRL_CLASS_USER || !V4L2_CTRL_DRIVER_PRIV(own) || !control.is_int())
        continue;
      if (left-- == 0) return &control;
    }
    return nullptr;
  }
  const auto found =
      std::ranges::lower_bound(controls_, id, {}, [](const Control& control) { return control.info.id; });
  return found != controls_.end() && found->info.id == id ? &*found : nullptr;
}

// For NEXT_CTRL (plain controls), NEXT_COMPOUND (the others), or both.
inline const Controls::Control* Controls::next(std::uint32_t id) const noexcept {
  const bool plain = (id & V4L2_CTRL_FLAG_NEXT_CTRL) != 0;
  const bool compound = (id & V4L2_CTRL_FLAG_NEXT_COMPOUND) != 0;
  id &= V4L2_CTRL_ID_MASK;
  for (const Control& control : controls_) {
    if (control.info.id > id && (control.is_compound() ? compound : plain)) return &control;
  }
  return nullptr;
}

// ---- Queries

inline Result<> Controls::query_ext_ctrl(v4l2_query_ext_ctrl& query) const {
  constexpr std::uint32_t next_flags = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
  const std::uint32_t asked = query.id;
  const Control* const control = (asked & next_flags) ? next(asked) : find(asked);
  if (control == nullptr) return fail(EINVAL);

  const ControlInfo& info = control->info;
  const std::uint32_t id = asked & V4L2_CTRL_ID_MASK;
  query = {};
  query.id = id >= V4L2_CID_PRIVATE_BASE ? id : info.id;
  query.type = info.type;
  detail::copy_name(query.name, sizeof query.name, info.name);
  query.minimum = info.minimum;
  query.maximum = info.maximum;
  query.step = is_menu_type(info.type) ? 1 : info.step;
  query.default_value = info.default_value;
  query.flags = visible_flags(*control);
  query.elem_size = control->element_bytes;
  query.elems = control->elements;
  while (query.nr_of_dims < V4L2_CTRL_MAX_DIMS && info.dimensions[query.nr_of_dims] != 0) {
    query.dims[query.nr_of_dims] = info.dimensions[query.nr_of_dims];
    ++query.nr_of_dims;
  }
  return {};
}

inline Result<> Controls::queryctrl(v4l2_queryctrl& query) const {
  v4l2_query_ext_ctrl wide{};
  wide.id = query.id;
  if (auto done = query_ext_ctrl(wide); !done) return done;
  query = {};
  query.id = wide.id;
  query.type = wide.type;
  query.flags = wide.flags;
  detail::copy_name(query.name, sizeof query.name, wide.name);
  // The limits of other types do not fit into 32 bits.
  switch (wide.type) {
    case V4L2_CTRL_TYPE_INTEGER:
    case V4L2_CTRL_TYPE_BOOLEAN:
    case V4L2_CTRL_TYPE_MENU:
    case V4L2_CTRL_TYPE_INTEGER_MENU:
    case V4L2_CTRL_TYPE_STRING:
    case V4L2_CTRL_TYPE_BITMASK:
      query.minimum = static_cast<std::int32_t>(wide.minimum);
      query.maximum = static_cast<std::int32_t>(wide.maximum);
      query.step = static_cast<std::int32_t>(wide.step);
      query.default_value = static_cast<std::int32_t>(wide.default_value);
      break;
    default:
      break;
  }
  return {};
}

inline Result<> Controls::querymenu(v4l2_querymenu& query) const {
  const Control* const control = find(query.id);
  if (control == nullptr || !is_menu_type(control->info.type)) return fail(EINVAL);
  query.reserved = 0;
  const ControlInfo& info = control->info;
  const std::uint32_t index = query.index;
  if (index < info.minimum || index > info.maximum || !has_menu_item(info, index)) return fail(EINVAL);
  if (info.type == V4L2_CTRL_TYPE_MENU) {
    detail::copy_name(query.name, sizeof query.name, info.menu[index]);
  } else {
    std::memset(query.name, 0, sizeof query.name);
    query.value = info.integer_menu[index];
  }
  return {};
}

// ---- One number

inline Result<std::int64_t> Controls::current(const Control& control) {
  if ((control.info.flags & V4L2_CTRL_FLAG_VOLATILE) && !control.has_payload && read_)
    return read_(control.info.id);
  return control.number;
}

inline Result<> Controls::g_ctrl(v4l2_control& control) {
  const Control* const found = find(control.id);
  if (found == nullptr || !found->is_int()) return fail(EINVAL);
  if (found->info.flags & V4L2_CTRL_FLAG_WRITE_ONLY) return fail(EACCES);
  const auto number = current(*found);
  if (!number) return std::unexpected(number.error());
  control.value = static_cast<std::int32_t>(*number);
  return {};
}

inline Result<> Controls::s_ctrl(v4l2_control& control, const Subscriptions* origin) {
  Control* const found = find(control.id);
  if (found == nullptr || !found->is_int()) return fail(EINVAL);
  if (found->info.flags & V4L2_CTRL_FLAG_READ_ONLY) return fail(EACCES);
  std::int64_t number = control.value;
  if (auto valid = validate_number(found->info, number); !valid) return valid;
  if (found->info.flags & V4L2_CTRL_FLAG_GRABBED) return fail(EBUSY);
  if (auto done = change(*found, number, {}, origin); !done) return done;
  control.value = static_cast<std::int32_t>(found->number);
  return {};
}

// Makes a valid value the current one, unless the backend refuses it. An unchanged value is not applied
// again.
inline Result<> Controls::change(Control& control, std::int64_t number, std::span<const std::byte> bytes,
                                 const Subscriptions* origin) {
  const std::uint32_t flags = control.info.flags;
  const bool differs =
      control.has_payload ? !std::ranges::equal(control.bytes, bytes) : control.number != number;
  // The value of a volatile control belongs to the hardware; writing it means something only if every write
  // does.
  const bool applies =
      (flags & V4L2_CTRL_FLAG_EXECUTE_ON_WRITE) || (differs && !(flags & V4L2_CTRL_FLAG_VOLATILE));
  if (!applies) return {};
  if (apply_) {
    if (auto done = apply_(control.info.id, ControlValue{number, bytes}); !done) return done;
  }
  if (flags & V4L2_CTRL_FLAG_VOLATILE) return {};
  if (control.has_payload) {
    control.bytes.assign(bytes.begin(), bytes.end());
    if (control.is_dynamic())
      control.elements = static_cast<std::uint32_t>(bytes.size() / control.element_bytes);
  } else {
    control.number = number;
  }
  notify(control, V4L2_EVENT_CTRL_CH_VALUE, origin);
  return {};
}

// ---- Events

inline v4l2_event Controls::make_control_event(const Control& control, std::uint32_t changes) noexcept {
  const ControlInfo& info = control.info;
  v4l2_event event = make_event(V4L2_EVENT_CTRL, info.id);
  v4l2_event_ctrl& ctrl = event.u.ctrl;
  ctrl.changes = changes;
  ctrl.type = info.type;
  ctrl.flags = visible_flags(control);
  if (info.type == V4L2_CTRL_TYPE_INTEGER64 && !control.has_payload) {
    ctrl.value64 = control.number;
  } else if (!control.has_payload) {
    ctrl.value = static_cast<std::int32_t>(control.number);
  }
  ctrl.minimum = static_cast<std::int32_t>(info.minimum);
  ctrl.maximum = static_cast<std::int32_t>(info.maximum);
  ctrl.step = is_menu_type(info.type) ? 1 : static_cast<std::int32_t>(info.step);
  ctrl.default_value = static_cast<std::int32_t>(info.default_value);
  return event;
}

inline void Controls::notify(const Control& control, std::uint32_t changes, const Subscriptions* origin) {
  if (notify_) notify_(make_control_event(control, changes), origin);
}

inline std::optional<v4l2_event> Controls::initial_event(std::uint32_t id) const noexcept {
  const Control* const control = find(id);
  if (control == nullptr || control->info.type == V4L2_CTRL_TYPE_CTRL_CLASS) return std::nullopt;
  const bool readable = !(control->info.flags & V4L2_CTRL_FLAG_WRITE_ONLY);
  return make_control_event(*control, V4L2_EVENT_CTRL_CH_FLAGS | (readable ? V4L2_EVENT_CTRL_CH_VALUE : 0U));
}

// ---- The backend's side

inline std::int64_t Controls::value(std::uint32_t id) const noexcept {
  const Control* const control = find(id);
  return control == nullptr ? 0 : control->number;
}

inline std::span<const std::byte> Controls::payload(std::uint32_t id) const noexcept {
  const Control* const control = find(id);
  return control == nullptr ? std::span<const std::byte>() : std::span<const std::byte>(control->bytes);
}

inline std::string_view Controls::string(std::uint32_t id) const noexcept {
  const auto bytes = payload(id);
  const char* const text = reinterpret_cast<const char*>(bytes.data());
  return bytes.empty() ? std::string_view() : std::string_view(text, ::strnlen(text, bytes.size()));
}

inline void Controls::set_value(std::uint32_t id, std::int64_t value) {
  Control* const control = find(id);
  if (control == nullptr || control->has_payload) return;
  if (!validate_number(control->info, value) || control->number == value) return;
  control->number = value;
  notify(*control, V4L2_EVENT_CTRL_CH_VALUE, nullptr);
}

inline void Controls::set_payload(std::uint32_t id, std::span<const std::byte> bytes) {
  Control* const control = find(id);
  if (control == nullptr || !control->has_payload) return;
  std::size_t size = control->size();
  if (control->is_dynamic()) {
    const std::size_t largest = std::size_t{control->info.dimensions[0]} * control->element_bytes;
    if (bytes.empty() || bytes.size() > largest || bytes.size() % control->element_bytes != 0) return;
    size = bytes.size();
  }
  if (bytes.size() > size) return;
  std::vector<std::byte> next(size);
  if (!control->is_string()) write_elements(*control, V4L2_CTRL_WHICH_DEF_VAL, next);
  std::ranges::copy(bytes, next.begin());
  if (!validate_bytes(*control, next) || next == control->bytes) return;
  control->elements = static_cast<std::uint32_t>(size / control->element_bytes);
  control->bytes = std::move(next);
  notify(*control, V4L2_EVENT_CTRL_CH_VALUE, nullptr);
}

inline void Controls::set_flag(std::uint32_t id, std::uint32_t flag, bool on) {
  Control* const control = find(id);
  if (control == nullptr) return;
  const std::uint32_t flags = on ? control->info.flags | flag : control->info.flags & ~flag;
  if (flags == control->info.flags) return;
  control->info.flags = flags;
  notify(*control, V4L2_EVENT_CTRL_CH_FLAGS, nullptr);
}

inline Result<> Controls::modify_range(std::uint32_t id, std::int64_t minimum, std::int64_t maximum,
                                       std::uint64_t step, std::int64_t default_value) {
  Control* const control = find(id);
  if (control == nullptr || control->has_payload) return fail(EINVAL);
  ControlInfo info = control->info;
  info.minimum = minimum;
  info.maximum = maximum;
  info.step = is_menu_type(info.type) ? info.step : step;
  info.default_value = default_value;
  if (!valid_range(info.type, minimum, maximum, info.step, default_value)) return fail(EINVAL);
  if (is_menu_type(info.type) && !has_menu_item(info, default_value)) return fail(EINVAL);
  const bool range_changes = info.minimum != control->info.minimum || info.maximum != control->info.maximum ||
                             info.step != control->info.step ||
                             info.default_value != control->info.default_value;
  control->info = info;
  std::int64_t number = control->number;
  if (!validate_number(info, number)) number = default_value;  // of a menu
  const bool value_changes = number != control->number;
  control->number = number;
  const std::uint32_t changes =
      (range_changes ? V4L2_EVENT_CTRL_CH_RANGE : 0U) | (value_changes ? V4L2_EVENT_CTRL_CH_VALUE : 0U);
  if (changes != 0) notify(*control, changes, nullptr);
  return {};
}

inline Result<> Controls::modify_dimensions(std::uint32_t id,
                                            std::array<std::uint32_t, V4L2_CTRL_MAX_DIMS> dimensions) {
  Control* const control = find(id);
  if (control == nullptr || !control->array || control->is_dynamic()) return fail(EINVAL);
  ControlInfo info = control->info;
  for (std::size_t i = 0; i < dimensions.size(); ++i) {
    if ((dimensions[i] == 0) != (info.dimensions[i] == 0)) return fail(EINVAL);
  }
  info.dimensions = dimensions;
  if (!valid_control(info)) return fail(EINVAL);
  control->info = info;
  control->elements = static_cast<std::uint32_t>(element_count(info));
  control->bytes.resize(control->size());
  write_elements(*control, V4L2_CTRL_WHICH_DEF_VAL, control->bytes);
  notify(*control, V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_DIMENSIONS, nullptr);
  return {};
}

}  // namespace vumedia::v4l2
