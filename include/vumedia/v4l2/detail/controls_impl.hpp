// Member functions of Controls. Included by <vumedia/v4l2/controls.hpp> only.
#pragma once

#include <vumedia/v4l2/controls.hpp>

namespace vumedia::v4l2 {

namespace detail {

// V4L2_CTRL_WHICH_MIN_VAL and MAX_VAL (Linux 6.14). No control of ours has limits of its own for compounds.
inline constexpr std::uint32_t ctrl_which_min_val = 0x0f020000;
inline constexpr std::uint32_t ctrl_which_max_val = 0x0f030000;

__extension__ typedef __int128 WideInteger;

// The legal value nearest to `value`, for any range and step of 64 bits.
[[nodiscard]] constexpr std::int64_t round_to_range(std::int64_t value, const ControlInfo& info) noexcept {
  const WideInteger minimum = info.minimum;
  const WideInteger maximum = info.maximum;
  const WideInteger step = info.step == 0 ? 1 : info.step;
  WideInteger wide = value;
  if (maximum >= 0 && wide >= maximum - step / 2) {
    wide = maximum;
  } else {
    wide += step / 2;
  }
  wide = wide < minimum ? minimum : wide > maximum ? maximum : wide;
  return static_cast<std::int64_t>(minimum + (wide - minimum) / step * step);
}

inline void copy_name(void* to, std::size_t size, const char* name) noexcept {
  const std::size_t length = std::min(std::strlen(name), size - 1);
  std::memset(to, 0, size);
  std::memcpy(to, name, length);
}

template <class T>
[[nodiscard]] T load(std::span<const std::byte> bytes) noexcept {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}
template <class T>
void store(std::span<std::byte> bytes, T value) noexcept {
  std::memcpy(bytes.data(), &value, sizeof value);
}

}  // namespace detail

// ---- The set of controls

inline Controls::Controls(std::span<const ControlInfo> table) {
  controls_.reserve(table.size() * 2);
  for (const ControlInfo& info : table) add(info);
  // Each class once, unless it has compound controls only.
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
  control.number = info.default_value;
  if (control.has_payload) {
    control.bytes.resize(control.size());
    write_defaults(control, 0, control.bytes);
  }
}

inline const Controls::Control* Controls::find(std::uint32_t id) const noexcept {
  id &= V4L2_CTRL_ID_MASK;
  if (id >= V4L2_CID_PRIVATE_BASE) {
    // The way of old to count the driver's own user controls.
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
  // Of other types, limits have no place in 32 bits.
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

// Makes a valid value the current one, unless the backend objects. What does not change is not applied again.
inline Result<> Controls::change(Control& control, std::int64_t number, std::span<const std::byte> bytes,
                                 const Subscriptions* origin) {
  const std::uint32_t flags = control.info.flags;
  const bool differs =
      control.has_payload ? !std::ranges::equal(control.bytes, bytes) : control.number != number;
  // The value of a volatile control is the hardware's; writing it means something only if every write does.
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

// ---- Validation

inline Result<> Controls::validate_number(const ControlInfo& info, std::int64_t& number) noexcept {
  switch (info.type) {
    case V4L2_CTRL_TYPE_BOOLEAN:
      number = number != 0 ? 1 : 0;
      return {};
    case V4L2_CTRL_TYPE_MENU:
    case V4L2_CTRL_TYPE_INTEGER_MENU:
      if (number < info.minimum || number > info.maximum) return fail(ERANGE);
      if (!has_menu_item(info, number)) return fail(EINVAL);
      return {};
    case V4L2_CTRL_TYPE_BITMASK:
      // 32 bits without a sign, in a field that has one.
      number = static_cast<std::int32_t>(static_cast<std::uint32_t>(number & info.maximum));
      return {};
    case V4L2_CTRL_TYPE_BUTTON:
    case V4L2_CTRL_TYPE_CTRL_CLASS:
      number = 0;
      return {};
    default:
      number = detail::round_to_range(number, info);
      return {};
  }
}

// Checks each element of a string, an array or a compound, and rounds the numbers in place.
inline Result<> Controls::validate_bytes(const Control& control, std::span<std::byte> bytes) noexcept {
  const ControlInfo& info = control.info;
  const auto each_number = [&]<class T>(T) -> Result<> {
    for (std::size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
      std::int64_t number = detail::load<T>(bytes.subspan(at));
      if (auto valid = validate_number(info, number); !valid) return valid;
      detail::store(bytes.subspan(at), static_cast<T>(number));
    }
    return {};
  };
  switch (info.type) {
    case V4L2_CTRL_TYPE_U8:
      return each_number(std::uint8_t{});
    case V4L2_CTRL_TYPE_U16:
      return each_number(std::uint16_t{});
    case V4L2_CTRL_TYPE_U32:
      return each_number(std::uint32_t{});
    case V4L2_CTRL_TYPE_INTEGER64:
      return each_number(std::int64_t{});
    default:
      break;
  }
  if (info.type < V4L2_CTRL_COMPOUND_TYPES && info.type != V4L2_CTRL_TYPE_STRING)
    return each_number(std::int32_t{});

  for (std::size_t at = 0; at + control.element_bytes <= bytes.size(); at += control.element_bytes) {
    const std::span<std::byte> element = bytes.subspan(at, control.element_bytes);
    if (info.type == V4L2_CTRL_TYPE_STRING) {
      const std::size_t length = ::strnlen(reinterpret_cast<const char*>(element.data()), element.size());
      if (length == element.size() || length < static_cast<std::uint64_t>(info.minimum)) return fail(ERANGE);
      if ((length - static_cast<std::uint64_t>(info.minimum)) % info.step != 0) return fail(ERANGE);
      // What stands behind the NUL is no part of the value.
      std::ranges::fill(element.subspan(length), std::byte{0});
    } else if (info.validate != nullptr) {
      if (auto valid = info.validate(element); !valid) return valid;
    }
  }
  return {};
}

// The default values of all elements in `bytes` behind the first `from`.
inline void Controls::write_defaults(const Control& control, std::uint32_t from,
                                     std::span<std::byte> bytes) noexcept {
  const ControlInfo& info = control.info;
  const std::size_t size = control.element_bytes;
  for (std::size_t at = from * size; at + size <= bytes.size(); at += size) {
    const std::span<std::byte> element = bytes.subspan(at, size);
    std::ranges::fill(element, std::byte{0});
    if (info.type == V4L2_CTRL_TYPE_STRING) {
      std::ranges::fill(element.first(static_cast<std::size_t>(info.minimum)), std::byte{' '});
    } else if (info.type == V4L2_CTRL_TYPE_INTEGER64) {
      detail::store(element, info.default_value);
    } else if (info.type == V4L2_CTRL_TYPE_U8) {
      detail::store(element, static_cast<std::uint8_t>(info.default_value));
    } else if (info.type == V4L2_CTRL_TYPE_U16) {
      detail::store(element, static_cast<std::uint16_t>(info.default_value));
    } else if (info.type == V4L2_CTRL_TYPE_U32) {
      detail::store(element, static_cast<std::uint32_t>(info.default_value));
    } else if (info.type < V4L2_CTRL_COMPOUND_TYPES) {
      detail::store(element, static_cast<std::int32_t>(info.default_value));
    } else if (info.default_element != nullptr) {
      std::memcpy(element.data(), info.default_element, size);
    }
  }
}

// ---- Extended controls

inline Result<> Controls::check_class(std::uint32_t which) const noexcept {
  if (which == V4L2_CTRL_WHICH_CUR_VAL || which == V4L2_CTRL_WHICH_DEF_VAL ||
      which == detail::ctrl_which_min_val || which == detail::ctrl_which_max_val) {
    return {};
  }
  if (find(which | 1) == nullptr) return fail(EINVAL);
  return {};
}

// Finds the controls of a request and settles their sizes. error_idx is the one at fault.
inline Result<> Controls::prepare(ExtControls& request, bool get) {
  const std::uint32_t which = request.head.which;
  chosen_.assign(request.controls.size(), nullptr);
  for (std::size_t i = 0; i < request.controls.size(); ++i) {
    v4l2_ext_control& wire = request.controls[i];
    wire.reserved2[0] = 0;
    request.head.error_idx = static_cast<std::uint32_t>(i);
    const std::uint32_t id = wire.id & V4L2_CTRL_ID_MASK;
    if (which != V4L2_CTRL_WHICH_CUR_VAL && which != V4L2_CTRL_WHICH_DEF_VAL &&
        V4L2_CTRL_ID2WHICH(id) != which) {
      return fail(EINVAL);
    }
    if (id >= V4L2_CID_PRIVATE_BASE) return fail(EINVAL);
    Control* const control = find(id);
    if (control == nullptr || (control->info.flags & V4L2_CTRL_FLAG_DISABLED)) return fail(EINVAL);
    chosen_[i] = control;

    if (control->is_dynamic()) {
      const std::uint32_t largest = control->info.dimensions[0] * control->element_bytes;
      const std::uint32_t present = control->size();
      const std::uint32_t size = wire.size / control->element_bytes * control->element_bytes;
      if (get) {
        wire.size = present;
        if (size < present) return fail(ENOSPC);
      } else {
        wire.size = std::min(size, largest);
        if (size > largest) return fail(ENOSPC);
        if (size == 0) return fail(EFAULT);
      }
    } else if (control->has_payload && !control->is_string()) {
      const bool fits = wire.size >= control->size();
      if (fits || get) wire.size = control->size();
      if (!fits) return fail(get ? ENOSPC : EFAULT);
    }
  }
  return {};
}

inline Result<> Controls::g_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory) {
  v4l2_ext_controls& head = request.head;
  const auto count = static_cast<std::uint32_t>(request.controls.size());
  head.reserved[0] = 0;
  head.error_idx = count;
  // Requests need a media device, which a virtio-media device is not.
  if (head.which == V4L2_CTRL_WHICH_REQUEST_VAL) return fail(EINVAL);
  head.which = V4L2_CTRL_ID2WHICH(head.which);
  if (count == 0) return check_class(head.which);

  const auto prepared = prepare(request, true);
  head.error_idx = count;
  if (!prepared) return prepared;
  for (const Control* control : chosen_) {
    if (control->info.flags & V4L2_CTRL_FLAG_WRITE_ONLY) return fail(EACCES);
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    head.error_idx = i;
    if (auto done = get_one(*chosen_[i], head.which, i, request, memory); !done) return done;
  }
  return {};
}

inline Result<> Controls::get_one(const Control& control, std::uint32_t which, std::size_t index,
                                  ExtControls& request, const memory::GuestMemory& memory) {
  v4l2_ext_control& wire = request.controls[index];
  const bool defaults = which == V4L2_CTRL_WHICH_DEF_VAL;
  if (control.has_payload) {
    if (!defaults) return write_bytes(control, wire, request.ranges[index], control.bytes, memory);
    scratch_.resize(control.size());
    write_defaults(control, 0, scratch_);
    return write_bytes(control, wire, request.ranges[index], scratch_, memory);
  }
  const auto number = defaults ? Result<std::int64_t>(control.info.default_value) : current(control);
  if (!number) return std::unexpected(number.error());
  if (control.info.type == V4L2_CTRL_TYPE_INTEGER64) {
    wire.value64 = *number;
  } else {
    wire.value = static_cast<std::int32_t>(*number);
  }
  return {};
}

inline Result<> Controls::write_bytes(const Control& control, v4l2_ext_control& wire,
                                      std::span<const GuestRange> ranges, std::span<const std::byte> bytes,
                                      const memory::GuestMemory& memory) const {
  if (control.is_string()) {
    const std::size_t size = ::strnlen(reinterpret_cast<const char*>(bytes.data()), bytes.size() - 1) + 1;
    if (wire.size < size) {
      wire.size = control.element_bytes;
      return fail(ENOSPC);
    }
    bytes = bytes.first(size);
  }
  return copy_to_ranges(memory, ranges, bytes);
}

// Everything that can be found wrong before anything is set. Numbers are rounded where they stand.
inline Result<> Controls::validate_all(ExtControls& request, bool set) {
  for (std::size_t i = 0; i < request.controls.size(); ++i) {
    v4l2_ext_control& wire = request.controls[i];
    const Control& control = *chosen_[i];
    request.head.error_idx = static_cast<std::uint32_t>(i);
    if (control.info.flags & V4L2_CTRL_FLAG_READ_ONLY) return fail(EACCES);
    if (set && (control.info.flags & V4L2_CTRL_FLAG_GRABBED)) return fail(EBUSY);
    if (control.has_payload) continue;  // in guest memory; when it is read
    const bool wide = control.info.type == V4L2_CTRL_TYPE_INTEGER64;
    std::int64_t number =
        wide ? static_cast<std::int64_t>(wire.value64) : static_cast<std::int64_t>(wire.value);
    if (auto valid = validate_number(control.info, number); !valid) return valid;
    if (wide) {
      wire.value64 = number;
    } else {
      wire.value = static_cast<std::int32_t>(number);
    }
  }
  return {};
}

inline Result<> Controls::set_all(ExtControls& request, const memory::GuestMemory& memory,
                                  const Subscriptions* origin, bool set) {
  v4l2_ext_controls& head = request.head;
  const auto count = static_cast<std::uint32_t>(request.controls.size());
  head.reserved[0] = 0;
  head.error_idx = count;
  switch (head.which) {
    case V4L2_CTRL_WHICH_DEF_VAL:
    case V4L2_CTRL_WHICH_REQUEST_VAL:
    case detail::ctrl_which_min_val:
    case detail::ctrl_which_max_val:
      return fail(EINVAL);
    default:
      break;
  }
  head.which = V4L2_CTRL_ID2WHICH(head.which);
  if (count == 0) return check_class(head.which);

  auto done = prepare(request, false);
  if (done) done = validate_all(request, set);
  // error_idx == count says that nothing was set; trying sets nothing anyway, and names the culprit.
  if (!done && set) head.error_idx = count;
  for (std::uint32_t i = 0; done && i < count; ++i) {
    head.error_idx = i;
    done = set_one(*chosen_[i], i, request, memory, origin, set);
  }
  return done;
}

inline Result<> Controls::set_one(Control& control, std::size_t index, ExtControls& request,
                                  const memory::GuestMemory& memory, const Subscriptions* origin, bool set) {
  v4l2_ext_control& wire = request.controls[index];
  if (!control.has_payload) {
    const bool wide = control.info.type == V4L2_CTRL_TYPE_INTEGER64;
    const std::int64_t number =
        wide ? static_cast<std::int64_t>(wire.value64) : static_cast<std::int64_t>(wire.value);
    return set ? change(control, number, {}, origin) : Result<>();
  }
  if (auto read = read_bytes(control, wire, request.ranges[index], memory); !read) return read;
  if (auto valid = validate_bytes(control, scratch_); !valid) return valid;
  if (set) {
    if (auto done = change(control, 0, scratch_, origin); !done) return done;
  }
  // The guest sees what its value was rounded to.
  return write_bytes(control, wire, request.ranges[index], scratch_, memory);
}

// A new value from guest memory into scratch_. It has been bounded by the control's own size before.
inline Result<> Controls::read_bytes(const Control& control, v4l2_ext_control& wire,
                                     std::span<const GuestRange> ranges, const memory::GuestMemory& memory) {
  if (!control.is_string()) {
    scratch_.assign(wire.size, std::byte{0});
    return copy_from_ranges(memory, ranges, scratch_);
  }
  if (wire.size == 0) return fail(ERANGE);
  const std::size_t size = std::min(wire.size + std::size_t{0}, std::size_t{control.element_bytes});
  scratch_.assign(control.element_bytes, std::byte{0});
  if (auto read = copy_from_ranges(memory, ranges, std::span(scratch_).first(size)); !read) return read;
  // Cut off where the guest's memory ends; longer than the longest is an error, not a cut.
  const bool cut = scratch_[size - 1] != std::byte{0};
  scratch_[size - 1] = std::byte{0};
  const std::size_t length = ::strnlen(reinterpret_cast<const char*>(scratch_.data()), scratch_.size());
  if (cut && length == static_cast<std::uint64_t>(control.info.maximum)) return fail(ERANGE);
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
  if (control == nullptr || !control->has_payload || bytes.size() > control->size()) return;
  std::vector<std::byte> next(control->size());
  std::ranges::copy(bytes, next.begin());
  if (!validate_bytes(*control, next) || next == control->bytes) return;
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
  const bool range_changes = info.minimum != control->info.minimum || info.maximum != control->info.maximum ||
                             info.step != control->info.step ||
                             info.default_value != control->info.default_value;
  control->info = info;
  std::int64_t number = control->number;
  if (!validate_number(info, number)) number = default_value;
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
  info.dimensions = dimensions;
  if (dimensions[0] == 0 || !valid_control(info)) return fail(EINVAL);
  control->info = info;
  control->elements = static_cast<std::uint32_t>(element_count(info));
  control->bytes.resize(control->size());
  write_defaults(*control, 0, control->bytes);
  // V4L2_EVENT_CTRL_CH_DIMENSIONS
  notify(*control, V4L2_EVENT_CTRL_CH_VALUE | (1U << 3), nullptr);
  return {};
}

}  // namespace vumedia::v4l2
