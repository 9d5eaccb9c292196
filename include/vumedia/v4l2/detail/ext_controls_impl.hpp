// Member functions of Controls: validation of values, and the ioctls for several controls at once. Included
// by <vumedia/v4l2/controls.hpp> only.
#pragma once

#include <vumedia/v4l2/controls.hpp>

namespace vumedia::v4l2 {

namespace detail {

__extension__ typedef __int128 WideInteger;

// The valid value nearest to `value`, for any 64-bit range and step.
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

// Whether VIDIOC_G_EXT_CTRLS asks for what a control could be rather than for its current value.
[[nodiscard]] constexpr bool is_which_limit(std::uint32_t which) noexcept {
  return which == V4L2_CTRL_WHICH_DEF_VAL || which == ctrl_which_min_val || which == ctrl_which_max_val;
}

}  // namespace detail

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
      // 32 unsigned bits in a signed field.
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
      // Bytes after the NUL are not part of the value.
      std::ranges::fill(element.subspan(length), std::byte{0});
    } else if (info.validate != nullptr) {
      if (auto valid = info.validate(element); !valid) return valid;
    }
  }
  return {};
}

inline std::int64_t Controls::number_of(const Control& control, std::uint32_t which) noexcept {
  const ControlInfo& info = control.info;
  const std::int64_t number = which == ctrl_which_min_val   ? info.minimum
                              : which == ctrl_which_max_val ? info.maximum
                                                            : info.default_value;
  // 32 unsigned bits in a signed field.
  return info.type == V4L2_CTRL_TYPE_BITMASK ? static_cast<std::int32_t>(number) : number;
}

inline void Controls::write_elements(const Control& control, std::uint32_t which,
                                     std::span<std::byte> bytes) noexcept {
  const ControlInfo& info = control.info;
  const std::int64_t number = number_of(control, which);
  const void* const compound = which == ctrl_which_min_val   ? info.minimum_element
                               : which == ctrl_which_max_val ? info.maximum_element
                                                             : info.default_element;
  const std::size_t size = control.element_bytes;
  for (std::size_t at = 0; at + size <= bytes.size(); at += size) {
    const std::span<std::byte> element = bytes.subspan(at, size);
    std::ranges::fill(element, std::byte{0});
    if (info.type == V4L2_CTRL_TYPE_STRING) {
      // The shortest string, unless the longest is asked for.
      const std::int64_t length = which == ctrl_which_max_val ? info.maximum : info.minimum;
      std::ranges::fill(element.first(static_cast<std::size_t>(length)), std::byte{' '});
    } else if (info.type == V4L2_CTRL_TYPE_INTEGER64) {
      detail::store(element, number);
    } else if (info.type == V4L2_CTRL_TYPE_U8) {
      detail::store(element, static_cast<std::uint8_t>(number));
    } else if (info.type == V4L2_CTRL_TYPE_U16) {
      detail::store(element, static_cast<std::uint16_t>(number));
    } else if (info.type == V4L2_CTRL_TYPE_U32) {
      detail::store(element, static_cast<std::uint32_t>(number));
    } else if (info.type < V4L2_CTRL_COMPOUND_TYPES) {
      detail::store(element, static_cast<std::int32_t>(number));
    } else if (compound != nullptr) {
      std::memcpy(element.data(), compound, size);
    }
  }
}

// ---- Extended controls

inline Result<> Controls::check_class(std::uint32_t which) const noexcept {
  if (which == V4L2_CTRL_WHICH_CUR_VAL || detail::is_which_limit(which)) return {};
  if (find(which | 1) == nullptr) return fail(EINVAL);
  return {};
}

// Finds the controls of a request and checks their sizes. error_idx is the one at fault.
inline Result<> Controls::prepare(ExtControls& request, bool get) {
  const std::uint32_t which = request.head.which;
  chosen_.assign(request.controls.size(), nullptr);
  for (std::size_t i = 0; i < request.controls.size(); ++i) {
    v4l2_ext_control& wire = request.controls[i];
    wire.reserved2[0] = 0;
    request.head.error_idx = static_cast<std::uint32_t>(i);
    const std::uint32_t id = wire.id & V4L2_CTRL_ID_MASK;
    const bool any_class = which == V4L2_CTRL_WHICH_CUR_VAL || detail::is_which_limit(which);
    if (!any_class && V4L2_CTRL_ID2WHICH(id) != which) return fail(EINVAL);
    if (id >= V4L2_CID_PRIVATE_BASE) return fail(EINVAL);
    Control* const control = find(id);
    if (control == nullptr || (control->info.flags & V4L2_CTRL_FLAG_DISABLED)) return fail(EINVAL);
    if ((which == ctrl_which_min_val || which == ctrl_which_max_val) &&
        !(control->info.flags & ctrl_flag_has_which_min_max)) {
      return fail(EINVAL);
    }
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

template <class One>
Result<> Controls::for_each_left(ExtControls& request, memory::Work* work, One&& one) {
  const auto count = static_cast<std::uint32_t>(request.controls.size());
  for (std::uint32_t i = std::exchange(request.done, 0); i < count;) {
    request.head.error_idx = i;
    // Looked up anew: `chosen_` may be another request's by now.
    Control& control = *find(request.controls[i].id & V4L2_CTRL_ID_MASK);
    if (work != nullptr) {
      const std::uint32_t size =
          std::max(control.size(), control.is_dynamic() ? request.controls[i].size : 0);
      const auto bytes = control.has_payload ? std::int64_t{size} : 0;
      const auto ranges = static_cast<std::int64_t>(request.ranges[i].size());
      work->spend(memory::Work::control + bytes * memory::Work::copied_byte +
                  ranges * memory::Work::listed_range);
    }
    if (auto done = one(control, i); !done) return done;
    ++i;
    if (work == nullptr || work->left() > 0 || i == count) continue;
    request.done = i;
    return fail(memory::again);
  }
  return {};
}

inline Result<> Controls::g_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory,
                                      memory::Work* work) {
  v4l2_ext_controls& head = request.head;
  const auto get = [&](const Control& control, std::uint32_t i) {
    return get_one(control, head.which, i, request, memory);
  };
  if (request.done != 0) return for_each_left(request, work, get);
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
  return for_each_left(request, work, get);
}

inline Result<> Controls::get_one(const Control& control, std::uint32_t which, std::size_t index,
                                  ExtControls& request, const memory::GuestMemory& memory) {
  v4l2_ext_control& wire = request.controls[index];
  const bool limit = detail::is_which_limit(which);
  if (control.has_payload) {
    if (!limit) return write_bytes(control, wire, request.ranges[index], control.bytes, memory);
    scratch_.resize(control.size());
    write_elements(control, which, scratch_);
    return write_bytes(control, wire, request.ranges[index], scratch_, memory);
  }
  const auto number = limit ? Result<std::int64_t>(number_of(control, which)) : current(control);
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

// Checks everything that can be checked before anything is set. Numbers are rounded in place.
inline Result<> Controls::validate_all(ExtControls& request, bool set) {
  for (std::size_t i = 0; i < request.controls.size(); ++i) {
    v4l2_ext_control& wire = request.controls[i];
    const Control& control = *chosen_[i];
    request.head.error_idx = static_cast<std::uint32_t>(i);
    if (control.info.flags & V4L2_CTRL_FLAG_READ_ONLY) return fail(EACCES);
    if (set && (control.info.flags & V4L2_CTRL_FLAG_GRABBED)) return fail(EBUSY);
    if (control.has_payload) continue;  // in guest memory; checked when it is read
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
                                  const Subscriptions* origin, bool set, memory::Work* work) {
  v4l2_ext_controls& head = request.head;
  const auto set_or_try = [&](Control& control, std::uint32_t i) {
    return set_one(control, i, request, memory, origin, set);
  };
  if (request.done != 0) return for_each_left(request, work, set_or_try);
  const auto count = static_cast<std::uint32_t>(request.controls.size());
  head.reserved[0] = 0;
  head.error_idx = count;
  // Limits and defaults cannot be changed; neither can a request, without a media device.
  if (head.which == V4L2_CTRL_WHICH_REQUEST_VAL || detail::is_which_limit(head.which)) return fail(EINVAL);
  head.which = V4L2_CTRL_ID2WHICH(head.which);
  if (count == 0) return check_class(head.which);

  auto done = prepare(request, false);
  if (done) done = validate_all(request, set);
  // error_idx == count means that nothing was set. TRY_EXT_CTRLS never sets anything, so it names the control
  // at fault.
  if (!done && set) head.error_idx = count;
  return done ? for_each_left(request, work, set_or_try) : done;
}

inline Result<> Controls::set_one(Control& control, std::size_t index, ExtControls& request,
                                  const memory::GuestMemory& memory, const Subscriptions* origin, bool set) {
  v4l2_ext_control& wire = request.controls[index];
  // What was found before may have changed with a control before it, or in an earlier turn.
  if (set && (control.info.flags & V4L2_CTRL_FLAG_GRABBED)) return fail(EBUSY);
  if (control.has_payload && !control.is_string() && !control.is_dynamic() && wire.size != control.size())
    return fail(EFAULT);
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

// A new value from guest memory into scratch_. Its size was checked against the control's own before.
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
  // Cut off where the guest's memory ends; a string that is too long is an error and is not cut.
  const bool cut = scratch_[size - 1] != std::byte{0};
  scratch_[size - 1] = std::byte{0};
  const std::size_t length = ::strnlen(reinterpret_cast<const char*>(scratch_.data()), scratch_.size());
  if (cut && length == static_cast<std::uint64_t>(control.info.maximum)) return fail(ERANGE);
  return {};
}

}  // namespace vumedia::v4l2
