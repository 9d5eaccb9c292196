// The controls that a backend declared, by their id, and what a guest may ask about them: VIDIOC_QUERYCTRL,
// QUERY_EXT_CTRL and QUERYMENU. Classes are added automatically.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/control.hpp>
#include <vumedia/v4l2/control_info.hpp>

namespace vumedia::v4l2 {

/// Ordered by id. For the device's loop.
class ControlSet {
 public:
  /// See Controls.
  ControlSet(std::span<const ControlInfo> table, bool limits);

  /// By a guest's id, whose flags do not count; null if there is none.
  [[nodiscard]] const Control* find(std::uint32_t id) const noexcept;
  /// The same.
  [[nodiscard]] Control* find(std::uint32_t id) noexcept {
    return const_cast<Control*>(static_cast<const ControlSet*>(this)->find(id));
  }
  /// Classes included.
  [[nodiscard]] std::size_t size() const noexcept { return controls_.size(); }

  /// EINVAL: there is no such control, or no more of them; no such item.
  [[nodiscard]] Result<> query_ext_ctrl(v4l2_query_ext_ctrl& query) const noexcept;
  /// Likewise.
  ///@{
  [[nodiscard]] Result<> queryctrl(v4l2_queryctrl& query) const noexcept;
  [[nodiscard]] Result<> querymenu(v4l2_querymenu& query) const noexcept;
  ///@}

 private:
  [[nodiscard]] const Control* next(std::uint32_t id) const noexcept;

  std::vector<Control> controls_;  // by ascending id
};

namespace detail {

inline void copy_name(void* to, std::size_t size, const char* name) noexcept {
  const std::size_t length = std::min(std::strlen(name), size - 1);
  std::memset(to, 0, size);
  std::memcpy(to, name, length);
}

}  // namespace detail

inline ControlSet::ControlSet(std::span<const ControlInfo> table, bool limits) {
  controls_.reserve(table.size() * 2);
  for (const ControlInfo& info : table) controls_.emplace_back(info, limits);
  // Adds each class once, unless it has only compound controls.
  for (const ControlInfo& info : table) {
    const std::uint32_t id = V4L2_CTRL_ID2CLASS(info.id) | 1;
    const bool there =
        std::ranges::any_of(controls_, [id](const Control& control) { return control.id() == id; });
    if (there || info.type >= V4L2_CTRL_COMPOUND_TYPES) continue;
    const ControlInfo whole{.id = id,
                            .type = V4L2_CTRL_TYPE_CTRL_CLASS,
                            .name = control_class_name(id),
                            .step = 0,
                            .flags = V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY};
    controls_.emplace_back(whole, limits);
  }
  std::ranges::sort(controls_, {}, &Control::id);
}

inline const Control* ControlSet::find(std::uint32_t id) const noexcept {
  id &= V4L2_CTRL_ID_MASK;
  if (id >= V4L2_CID_PRIVATE_BASE) {
    // The old way to enumerate a driver's private user controls.
    std::uint32_t left = id - V4L2_CID_PRIVATE_BASE;
    for (const Control& control : controls_) {
      const std::uint32_t own = control.id();
      if (V4L2_CTRL_ID2CLASS(own) != V4L2_CTRL_CLASS_USER || !V4L2_CTRL_DRIVER_PRIV(own) || !control.is_int())
        continue;
      if (left-- == 0) return &control;
    }
    return nullptr;
  }
  const auto found =
      std::ranges::lower_bound(controls_, id, {}, [](const Control& control) { return control.id(); });
  return found != controls_.end() && found->id() == id ? &*found : nullptr;
}

// For NEXT_CTRL (plain controls), NEXT_COMPOUND (the others), or both.
inline const Control* ControlSet::next(std::uint32_t id) const noexcept {
  const bool plain = (id & V4L2_CTRL_FLAG_NEXT_CTRL) != 0;
  const bool compound = (id & V4L2_CTRL_FLAG_NEXT_COMPOUND) != 0;
  id &= V4L2_CTRL_ID_MASK;
  for (const Control& control : controls_) {
    if (control.id() > id && (control.is_compound() ? compound : plain)) return &control;
  }
  return nullptr;
}

inline Result<> ControlSet::query_ext_ctrl(v4l2_query_ext_ctrl& query) const noexcept {
  constexpr std::uint32_t next_flags = V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;
  const std::uint32_t asked = query.id;
  const Control* const control = (asked & next_flags) ? next(asked) : find(asked);
  if (control == nullptr) return fail(EINVAL);

  const ControlInfo& info = control->info();
  const std::uint32_t id = asked & V4L2_CTRL_ID_MASK;
  query = {};
  query.id = id >= V4L2_CID_PRIVATE_BASE ? id : info.id;
  query.type = info.type;
  detail::copy_name(query.name, sizeof query.name, info.name);
  query.minimum = info.minimum;
  query.maximum = info.maximum;
  query.step = is_menu_type(info.type) ? 1 : info.step;
  query.default_value = info.default_value;
  query.flags = control->visible_flags();
  query.elem_size = control->element_bytes();
  query.elems = control->elements();
  while (query.nr_of_dims < V4L2_CTRL_MAX_DIMS && info.dimensions[query.nr_of_dims] != 0) {
    query.dims[query.nr_of_dims] = info.dimensions[query.nr_of_dims];
    ++query.nr_of_dims;
  }
  return {};
}

inline Result<> ControlSet::queryctrl(v4l2_queryctrl& query) const noexcept {
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

inline Result<> ControlSet::querymenu(v4l2_querymenu& query) const noexcept {
  const Control* const control = find(query.id);
  if (control == nullptr || !is_menu_type(control->info().type)) return fail(EINVAL);
  query.reserved = 0;
  const ControlInfo& info = control->info();
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

}  // namespace vumedia::v4l2
