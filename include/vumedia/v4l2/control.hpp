// One control with its value: what v4l2_ctrl is to a kernel driver, with its rounding and its errors.
//
// The value is a number, or the bytes of a string, an array or a compound. This knows nothing of guests and
// events: Controls says who may read and change it and who is told (v4l2/controls.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/control_info.hpp>
#include <vumedia/v4l2/control_values.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::v4l2 {

/// For the device's loop.
class Control {
 public:
  /// A valid_control(), or a class. `limits`: announce V4L2_CTRL_WHICH_MIN_VAL and MAX_VAL where the kernel
  /// does.
  Control(const ControlInfo& info, bool limits);

  /// As it was declared, except for range, dimensions and flags that have changed since.
  [[nodiscard]] const ControlInfo& info() const noexcept { return info_; }
  /// V4L2_CID_*.
  [[nodiscard]] std::uint32_t id() const noexcept { return info_.id; }
  /// Whether it has this V4L2_CTRL_FLAG_* now.
  [[nodiscard]] bool has_flag(std::uint32_t flag) const noexcept { return (info_.flags & flag) != 0; }
  /// Those that guests see.
  [[nodiscard]] std::uint32_t visible_flags() const noexcept {
    return info_.flags | (has_payload_ ? V4L2_CTRL_FLAG_HAS_PAYLOAD : 0U);
  }

  /// Whether it is an array whose number of elements changes.
  [[nodiscard]] bool is_dynamic() const noexcept { return has_flag(V4L2_CTRL_FLAG_DYNAMIC_ARRAY); }
  /// Whether its value is text.
  [[nodiscard]] bool is_string() const noexcept { return !array_ && info_.type == V4L2_CTRL_TYPE_STRING; }
  /// Whether its value is a number of 64 bits.
  [[nodiscard]] bool is_wide() const noexcept { return info_.type == V4L2_CTRL_TYPE_INTEGER64; }
  /// A number of 32 bits, which VIDIOC_G_CTRL and S_CTRL take.
  [[nodiscard]] bool is_int() const noexcept { return !has_payload_ && !is_wide(); }
  /// Whether it is an array, or of a compound type: enumerated by NEXT_COMPOUND.
  [[nodiscard]] bool is_compound() const noexcept { return array_ || info_.type >= V4L2_CTRL_COMPOUND_TYPES; }
  /// Whether the value is bytes() rather than number().
  [[nodiscard]] bool has_payload() const noexcept { return has_payload_; }

  /// The present value, unless it has_payload().
  [[nodiscard]] std::int64_t number() const noexcept { return number_; }
  /// The present value, if it has_payload().
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// Elements of the present value; 1 if it is no array.
  [[nodiscard]] std::uint32_t elements() const noexcept { return elements_; }
  /// Bytes of an element.
  [[nodiscard]] std::uint32_t element_bytes() const noexcept { return element_bytes_; }
  /// Of the present value, if it is bytes.
  [[nodiscard]] std::uint32_t size() const noexcept { return elements_ * element_bytes_; }
  /// Of the largest value of a dynamic array.
  [[nodiscard]] std::uint32_t largest_size() const noexcept { return info_.dimensions[0] * element_bytes_; }

  /// Makes a value valid by rounding it in place, or says why it cannot be. EINVAL, ERANGE.
  [[nodiscard]] Result<> validate(std::int64_t& number) const noexcept {
    return validate_number(info_, number);
  }
  /// The same for a value that is bytes.
  [[nodiscard]] Result<> validate(std::span<std::byte> bytes) const noexcept {
    return validate_elements(info_, element_bytes_, bytes);
  }
  /// Whether the present value is this one: `number`, or `bytes` if it has_payload().
  [[nodiscard]] bool is_valued(std::int64_t number, std::span<const std::byte> bytes) const noexcept {
    return has_payload_ ? std::ranges::equal(bytes_, bytes) : number_ == number;
  }
  /// A valid value: `number`, or `bytes` if it has_payload(), whole elements and no more than it may have.
  void assign(std::int64_t number, std::span<const std::byte> bytes) {
    if (!has_payload_) {
      number_ = number;
      return;
    }
    bytes_.assign(bytes.begin(), bytes.end());
    elements_ = static_cast<std::uint32_t>(bytes.size() / element_bytes_);
  }
  /// The value that `bytes`, which may be fewer than all, give: elements that are missing have their default.
  /// Empty if there are too many, or if the value is not valid.
  [[nodiscard]] std::vector<std::byte> complete(std::span<const std::byte> bytes) const;

  /// False if nothing changed.
  [[nodiscard]] bool set_flag(std::uint32_t flag, bool on) noexcept {
    const std::uint32_t flags = on ? info_.flags | flag : info_.flags & ~flag;
    return std::exchange(info_.flags, flags) != flags;
  }
  /// Returns V4L2_EVENT_CTRL_CH_* of what changed: a value outside the new range is clamped to it. EINVAL:
  /// not a number, or not a sensible range.
  [[nodiscard]] Result<std::uint32_t> modify_range(std::int64_t minimum, std::int64_t maximum,
                                                   std::uint64_t step, std::int64_t default_value);
  /// The value returns to the default. EINVAL: not an array, a dynamic one, too large, or another number of
  /// dimensions.
  [[nodiscard]] Result<> modify_dimensions(std::array<std::uint32_t, V4L2_CTRL_MAX_DIMS> dimensions);

  /// The event that tells of V4L2_EVENT_CTRL_CH_* changes.
  [[nodiscard]] v4l2_event event(std::uint32_t changes) const noexcept;

 private:
  ControlInfo info_;
  std::uint32_t elements_ = 1;
  std::uint32_t element_bytes_ = 4;
  bool array_ = false;
  bool has_payload_ = false;
  std::int64_t number_ = 0;
  std::vector<std::byte> bytes_;
};

inline Control::Control(const ControlInfo& info, bool limits) : info_(info) {
  if (info.type == V4L2_CTRL_TYPE_BUTTON) {
    info_.flags |= V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_EXECUTE_ON_WRITE;
    info_.minimum = info_.maximum = info_.default_value = 0;
    info_.step = 0;
  }
  element_bytes_ = element_size(info);
  array_ = info.dimensions[0] != 0;
  elements_ = is_dynamic() ? 1 : static_cast<std::uint32_t>(element_count(info));
  has_payload_ = array_ || is_string() || info.type >= V4L2_CTRL_COMPOUND_TYPES;
  number_ = limit_of(info_, V4L2_CTRL_WHICH_DEF_VAL);
  // The kernel sets it for these, and for others that its driver names.
  const bool counted = info.type < V4L2_CTRL_COMPOUND_TYPES && info.type != V4L2_CTRL_TYPE_BUTTON &&
                       info.type != V4L2_CTRL_TYPE_CTRL_CLASS && info.type != V4L2_CTRL_TYPE_STRING;
  if (counted && limits) info_.flags |= ctrl_flag_has_which_min_max;
  if (has_payload_) {
    bytes_.resize(size());
    write_limits(info_, element_bytes_, V4L2_CTRL_WHICH_DEF_VAL, bytes_);
  }
}

inline std::vector<std::byte> Control::complete(std::span<const std::byte> bytes) const {
  std::size_t whole = size();
  if (is_dynamic()) {
    if (bytes.empty() || bytes.size() > largest_size() || bytes.size() % element_bytes_ != 0) return {};
    whole = bytes.size();
  }
  if (bytes.size() > whole) return {};
  std::vector<std::byte> value(whole);
  if (!is_string()) write_limits(info_, element_bytes_, V4L2_CTRL_WHICH_DEF_VAL, value);
  std::ranges::copy(bytes, value.begin());
  if (!validate(value)) return {};
  return value;
}

inline Result<std::uint32_t> Control::modify_range(std::int64_t minimum, std::int64_t maximum,
                                                   std::uint64_t step, std::int64_t default_value) {
  const bool counts = info_.type != V4L2_CTRL_TYPE_BUTTON && info_.type != V4L2_CTRL_TYPE_CTRL_CLASS;
  if (has_payload_ || !counts) return fail(EINVAL);
  ControlInfo info = info_;
  info.minimum = minimum;
  info.maximum = maximum;
  info.step = is_menu_type(info.type) ? info.step : step;
  info.default_value = default_value;
  if (!valid_range(info.type, minimum, maximum, info.step, default_value)) return fail(EINVAL);
  if (is_menu_type(info.type) && !has_menu_item(info, default_value)) return fail(EINVAL);
  const bool range_changes = info.minimum != info_.minimum || info.maximum != info_.maximum ||
                             info.step != info_.step || info.default_value != info_.default_value;
  info_ = info;
  std::int64_t number = number_;
  if (!validate(number)) number = default_value;  // of a menu
  const bool value_changes = std::exchange(number_, number) != number;
  return (range_changes ? V4L2_EVENT_CTRL_CH_RANGE : 0U) | (value_changes ? V4L2_EVENT_CTRL_CH_VALUE : 0U);
}

inline Result<> Control::modify_dimensions(std::array<std::uint32_t, V4L2_CTRL_MAX_DIMS> dimensions) {
  if (!array_ || is_dynamic()) return fail(EINVAL);
  ControlInfo info = info_;
  for (std::size_t i = 0; i < dimensions.size(); ++i) {
    if ((dimensions[i] == 0) != (info.dimensions[i] == 0)) return fail(EINVAL);
  }
  info.dimensions = dimensions;
  if (!valid_control(info)) return fail(EINVAL);
  info_ = info;
  elements_ = static_cast<std::uint32_t>(element_count(info));
  bytes_.resize(size());
  write_limits(info_, element_bytes_, V4L2_CTRL_WHICH_DEF_VAL, bytes_);
  return {};
}

inline v4l2_event Control::event(std::uint32_t changes) const noexcept {
  v4l2_event event = make_event(V4L2_EVENT_CTRL, info_.id);
  v4l2_event_ctrl& ctrl = event.u.ctrl;
  ctrl.changes = changes;
  ctrl.type = info_.type;
  ctrl.flags = visible_flags();
  if (is_wide() && !has_payload_) {
    ctrl.value64 = number_;
  } else if (!has_payload_) {
    ctrl.value = static_cast<std::int32_t>(number_);
  }
  ctrl.minimum = static_cast<std::int32_t>(info_.minimum);
  ctrl.maximum = static_cast<std::int32_t>(info_.maximum);
  ctrl.step = is_menu_type(info_.type) ? 1 : static_cast<std::int32_t>(info_.step);
  ctrl.default_value = static_cast<std::int32_t>(info_.default_value);
  return event;
}

}  // namespace vumedia::v4l2
