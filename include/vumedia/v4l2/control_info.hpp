// How a backend declares its controls: a constant table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <linux/v4l2-controls.h>
#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>

namespace vumedia::v4l2 {

/// Linux 6.14 has these, older headers do not: VIDIOC_G_EXT_CTRLS returns the limits of controls with this
/// flag.
inline constexpr std::uint32_t ctrl_which_min_val = 0x0f020000;       ///< V4L2_CTRL_WHICH_MIN_VAL
inline constexpr std::uint32_t ctrl_which_max_val = 0x0f030000;       ///< V4L2_CTRL_WHICH_MAX_VAL
inline constexpr std::uint32_t ctrl_flag_has_which_min_max = 0x1000;  ///< V4L2_CTRL_FLAG_HAS_WHICH_MIN_MAX

/// One control, like the kernel's v4l2_ctrl_config. Names are in English and have at most 31 bytes.
///
// clang-format off
///   constexpr ControlInfo controls[] = {
///       {.id = V4L2_CID_BRIGHTNESS, .name = "Brightness", .maximum = 255, .default_value = 128},
///       {.id = V4L2_CID_TEST_PATTERN, .type = V4L2_CTRL_TYPE_MENU, .name = "Test Pattern", .maximum = 2,
///        .menu = names}};
///   static_assert(valid_controls(controls));
// clang-format on
struct ControlInfo {
  std::uint32_t id = 0;                         ///< V4L2_CID_*
  std::uint32_t type = V4L2_CTRL_TYPE_INTEGER;  ///< V4L2_CTRL_TYPE_*
  const char* name = "";                        ///< what a program shows
  /// For strings: the shortest and longest length without the NUL. For a bitmask: `maximum` is the mask,
  /// `step` is 0.
  std::int64_t minimum = 0;
  /// Likewise; `step` is at least 1 for numbers.
  ///@{
  std::int64_t maximum = 0;
  std::uint64_t step = 1;
  std::int64_t default_value = 0;
  ///@}
  /// V4L2_CTRL_FLAG_READ_ONLY, WRITE_ONLY, VOLATILE, SLIDER, UPDATE, INACTIVE, DYNAMIC_ARRAY, ...
  std::uint32_t flags = 0;
  /// Menus: an item for each value up to `maximum`. A null or empty name, or a bit in `skipped`, leaves a
  /// gap; with bits in `skipped`, `maximum` is at most 63.
  std::span<const char* const> menu = {};
  /// The same for V4L2_CTRL_TYPE_INTEGER_MENU, whose items are numbers.
  std::span<const std::int64_t> integer_menu = {};
  std::uint64_t skipped = 0;  ///< bit i: value i cannot be chosen
  /// Arrays: elements in each dimension, 0 after the last. A dynamic array has one dimension, its largest
  /// size.
  std::array<std::uint32_t, V4L2_CTRL_MAX_DIMS> dimensions = {};
  /// Compound types: bytes of an element, its initial value (null: zeros), and a check that may also clear
  /// padding (null: everything is valid). The least and the greatest element (null: zeros) count only if the
  /// flags have ctrl_flag_has_which_min_max.
  std::uint32_t element_size = 0;
  /// See element_size.
  ///@{
  const void* default_element = nullptr;
  const void* minimum_element = nullptr;
  const void* maximum_element = nullptr;
  ///@}
  /// Of one element; see element_size.
  Result<> (*validate)(std::span<std::byte> element) = nullptr;
};

/// Whether values are indices of a menu.
[[nodiscard]] constexpr bool is_menu_type(std::uint32_t type) noexcept {
  return type == V4L2_CTRL_TYPE_MENU || type == V4L2_CTRL_TYPE_INTEGER_MENU;
}

/// The number of elements in all dimensions; 1 if it is not an array. Not exact above 2^32, where no control
/// is valid.
[[nodiscard]] constexpr std::uint64_t element_count(const ControlInfo& info) noexcept {
  std::uint64_t count = 1;
  for (const std::uint32_t dimension : info.dimensions) {
    if (dimension == 0 || count >> 32 != 0) break;
    count *= dimension;
  }
  return count;
}

/// Bytes of one element; 0 for a compound type that does not state it.
[[nodiscard]] constexpr std::uint32_t element_size(const ControlInfo& info) noexcept {
  switch (info.type) {
    case V4L2_CTRL_TYPE_INTEGER64:
      return 8;
    case V4L2_CTRL_TYPE_STRING:
      return static_cast<std::uint32_t>(info.maximum + 1);
    case V4L2_CTRL_TYPE_U8:
      return 1;
    case V4L2_CTRL_TYPE_U16:
      return 2;
    case V4L2_CTRL_TYPE_U32:
      return 4;
    default:
      return info.type < V4L2_CTRL_COMPOUND_TYPES ? 4 : info.element_size;
  }
}

/// Whether the type can hold values as small as `minimum` and as large as `maximum`.
[[nodiscard]] constexpr bool fits_type(std::uint32_t type, std::int64_t minimum,
                                       std::int64_t maximum) noexcept {
  switch (type) {
    case V4L2_CTRL_TYPE_INTEGER:
      return minimum >= INT32_MIN && maximum <= INT32_MAX;
    case V4L2_CTRL_TYPE_BITMASK:
    case V4L2_CTRL_TYPE_U32:
      return minimum >= 0 && maximum <= UINT32_MAX;
    case V4L2_CTRL_TYPE_U8:
      return minimum >= 0 && maximum <= UINT8_MAX;
    case V4L2_CTRL_TYPE_U16:
      return minimum >= 0 && maximum <= UINT16_MAX;
    default:
      return true;
  }
}

/// The kernel's own sanity checks of a control's range, and that its type can hold it.
[[nodiscard]] constexpr bool valid_range(std::uint32_t type, std::int64_t minimum, std::int64_t maximum,
                                         std::uint64_t step, std::int64_t default_value) noexcept {
  if (!fits_type(type, minimum, maximum)) return false;
  switch (type) {
    case V4L2_CTRL_TYPE_BOOLEAN:
      if (step != 1 || maximum > 1 || minimum < 0) return false;
      [[fallthrough]];
    case V4L2_CTRL_TYPE_INTEGER:
    case V4L2_CTRL_TYPE_INTEGER64:
    case V4L2_CTRL_TYPE_U8:
    case V4L2_CTRL_TYPE_U16:
    case V4L2_CTRL_TYPE_U32:
      return step != 0 && minimum <= maximum && default_value >= minimum && default_value <= maximum;
    case V4L2_CTRL_TYPE_BITMASK:
      return step == 0 && minimum == 0 && maximum != 0 && (default_value & ~maximum) == 0;
    case V4L2_CTRL_TYPE_MENU:
    case V4L2_CTRL_TYPE_INTEGER_MENU:
      return minimum >= 0 && minimum <= maximum && default_value >= minimum && default_value <= maximum;
    case V4L2_CTRL_TYPE_STRING:
      return minimum >= 0 && minimum <= maximum && maximum < 65536 && step >= 1 && default_value == 0;
    default:
      return true;
  }
}

/// Whether menu value `index` can be chosen.
[[nodiscard]] constexpr bool has_menu_item(const ControlInfo& info, std::int64_t index) noexcept {
  if (index < 0) return false;
  if (index < 64 && ((info.skipped >> index) & 1) != 0) return false;
  const auto position = static_cast<std::uint64_t>(index);
  if (info.type == V4L2_CTRL_TYPE_INTEGER_MENU) return position < info.integer_menu.size();
  return position < info.menu.size() && info.menu[position] != nullptr && info.menu[position][0] != '\0';
}

/// The kernel's own sanity checks of a control, for a static_assert.
[[nodiscard]] constexpr bool valid_control(const ControlInfo& info) noexcept {
  if (info.id == 0 || info.id >= V4L2_CID_PRIVATE_BASE || (info.id & 0xffff) < 0x900) return false;
  if (info.name == nullptr || std::string_view(info.name).empty() || std::string_view(info.name).size() > 31)
    return false;
  // Classes are added automatically.
  if (info.type == V4L2_CTRL_TYPE_CTRL_CLASS) return false;
  if (!valid_range(info.type, info.minimum, info.maximum, info.step, info.default_value)) return false;
  if (element_size(info) == 0 || element_count(info) > (1U << 20) / element_size(info)) return false;
  if (is_menu_type(info.type) && !has_menu_item(info, info.default_value)) return false;
  if (info.skipped != 0 && info.maximum > 63) return false;
  const bool array = info.dimensions[0] != 0;
  if (array && info.type == V4L2_CTRL_TYPE_BUTTON) return false;
  const bool dynamic = (info.flags & V4L2_CTRL_FLAG_DYNAMIC_ARRAY) != 0;
  return !dynamic || (array && info.dimensions[1] == 0);
}

/// For a static_assert next to a table: every control is valid and none appears twice.
[[nodiscard]] constexpr bool valid_controls(std::span<const ControlInfo> table) noexcept {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (!valid_control(table[i])) return false;
    for (std::size_t j = 0; j < i; ++j) {
      if (table[i].id == table[j].id) return false;
    }
  }
  return true;
}

/// The kernel's name of a control class.
[[nodiscard]] constexpr const char* control_class_name(std::uint32_t id) noexcept {
  switch (id & 0x0fff0000U) {
    case 0x00980000:
      return "User Controls";
    case 0x00990000:
      return "Codec Controls";
    case 0x009a0000:
      return "Camera Controls";
    case 0x009b0000:
      return "FM Radio Modulator Controls";
    case 0x009c0000:
      return "Flash Controls";
    case 0x009d0000:
      return "JPEG Compression Controls";
    case 0x009e0000:
      return "Image Source Controls";
    case 0x009f0000:
      return "Image Processing Controls";
    case 0x00a00000:
      return "Digital Video Controls";
    case 0x00a10000:
      return "FM Radio Receiver Controls";
    case 0x00a20000:
      return "RF Tuner Controls";
    case 0x00a30000:
      return "Detection Controls";
    case 0x00a40000:
      return "Stateless Codec Controls";
    case 0x00a50000:
      return "Colorimetry Controls";
    default:
      return "Controls";
  }
}

}  // namespace vumedia::v4l2
