// Values of controls by their declaration alone: which are valid, how others are rounded, and what the
// default, the least and the greatest are (v4l2-ctrls of the kernel has the same rules).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/control_info.hpp>

namespace vumedia::v4l2 {

/// Whether VIDIOC_G_EXT_CTRLS asks for what a control could be rather than for its current value.
[[nodiscard]] constexpr bool is_which_limit(std::uint32_t which) noexcept {
  return which == V4L2_CTRL_WHICH_DEF_VAL || which == ctrl_which_min_val || which == ctrl_which_max_val;
}

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

}  // namespace detail

/// Rounds a number in place. ERANGE, EINVAL: there is no such item in the menu.
[[nodiscard]] inline Result<> validate_number(const ControlInfo& info, std::int64_t& number) noexcept {
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

/// Checks each element, of `size` bytes, of a string, an array or a compound, and rounds the numbers in
/// place. ERANGE: a string is too short or too long, or has a wrong length; and what its check says of a
/// compound.
[[nodiscard]] inline Result<> validate_elements(const ControlInfo& info, std::uint32_t size,
                                                std::span<std::byte> bytes) noexcept {
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

  for (std::size_t at = 0; at + size <= bytes.size(); at += size) {
    const std::span<std::byte> element = bytes.subspan(at, size);
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

/// The default, the least or the greatest value of a number. `which` is V4L2_CTRL_WHICH_MIN_VAL or MAX_VAL;
/// any other value means the default.
[[nodiscard]] inline std::int64_t limit_of(const ControlInfo& info, std::uint32_t which) noexcept {
  const std::int64_t number = which == ctrl_which_min_val   ? info.minimum
                              : which == ctrl_which_max_val ? info.maximum
                                                            : info.default_value;
  // 32 unsigned bits in a signed field.
  return info.type == V4L2_CTRL_TYPE_BITMASK ? static_cast<std::int32_t>(number) : number;
}

/// The same in each element, of `size` bytes.
inline void write_limits(const ControlInfo& info, std::uint32_t size, std::uint32_t which,
                         std::span<std::byte> bytes) noexcept {
  const std::int64_t number = limit_of(info, which);
  const void* const compound = which == ctrl_which_min_val   ? info.minimum_element
                               : which == ctrl_which_max_val ? info.maximum_element
                                                             : info.default_element;
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

}  // namespace vumedia::v4l2
