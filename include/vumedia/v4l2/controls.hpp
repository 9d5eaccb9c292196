// Controls of a device or a session: what v4l2-ctrls is to a kernel driver, with its rounding, errors and
// error_idx.
//
// A backend declares its controls in a table (control_info.hpp), hands the control ioctls to a Controls, and
// defines with hooks what a new value does. Control classes are added automatically. Not thread-safe: it
// belongs to one loop.
//
// Each Controls has its own values: use one in the backend for what all sessions share (a camera), and one in
// each session where sessions are separate (a codec).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/control.hpp>
#include <vumedia/v4l2/control_info.hpp>
#include <vumedia/v4l2/control_set.hpp>
#include <vumedia/v4l2/ext_controls.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::v4l2 {

/// The value of a control: a number, or the bytes of a string (with its NUL), an array or a compound.
struct ControlValue {
  std::int64_t number = 0;                  ///< unless it has a payload
  std::span<const std::byte> payload = {};  ///< borrowed for the call
};

/// The controls that a backend has declared, with their values. For the device's loop.
class Controls {
 public:
  /// A guest is about to change `id`; the value is valid. An error keeps the old value and is returned to the
  /// guest.
  using Apply = std::move_only_function<Result<>(std::uint32_t id, const ControlValue& value)>;
  /// A control changed as `event` describes. Deliver it to the Subscriptions of every session that sees these
  /// controls; `origin` is the one that requested the change, null if none did (Subscriptions::deliver).
  using Notify = std::move_only_function<void(const v4l2_event& event, const Subscriptions* origin)>;
  /// The present value of a volatile control.
  using Read = std::move_only_function<Result<std::int64_t>(std::uint32_t id)>;

  /// The table must satisfy valid_controls() and outlive this. `limits`: support V4L2_CTRL_WHICH_MIN_VAL and
  /// MAX_VAL, which Linux has since 6.14, and the flag that announces them. Older kernels pass the flag to
  /// their programs and then refuse the values, so do not use it for a device whose guest may have one.
  explicit Controls(std::span<const ControlInfo> table, bool limits = true) : set_(table, limits) {}

  /// Sets a hook; without it every value is accepted, nobody is told, or the last value is read.
  ///@{
  void on_apply(Apply hook) { apply_ = std::move(hook); }
  void on_event(Notify hook) { notify_ = std::move(hook); }
  void on_volatile(Read hook) { read_ = std::move(hook); }
  ///@}

  // ---- Ioctls. EINVAL: no such control, or not with this ioctl. EACCES: read-only or write-only. EBUSY:
  // grabbed. ERANGE: a menu value or string length out of range. ENOSPC: the guest's memory is too small;
  // size states how large it must be. EFAULT: it is not guest memory. Numbers out of range are clamped and
  // rounded, not refused.
  /// As the ioctl of that name.
  ///@{
  [[nodiscard]] Result<> query_ext_ctrl(v4l2_query_ext_ctrl& query) const {
    return set_.query_ext_ctrl(query);
  }
  [[nodiscard]] Result<> queryctrl(v4l2_queryctrl& query) const { return set_.queryctrl(query); }
  [[nodiscard]] Result<> querymenu(v4l2_querymenu& query) const { return set_.querymenu(query); }
  [[nodiscard]] Result<> g_ctrl(v4l2_control& control);
  ///@}
  /// VIDIOC_S_CTRL: as the guest's, `origin` being the session's subscriptions.
  [[nodiscard]] Result<> s_ctrl(v4l2_control& control, const Subscriptions* origin = nullptr);
  /// These set error_idx as the kernel does; a failure is answered with the payload too. With `work` (a
  /// Context's), from which the hooks spend as well, they go as far as it allows and answer memory::again: to
  /// be called again in another turn, with the same request. What other requests do in between comes between
  /// two controls, as it may in the kernel.
  [[nodiscard]] Result<> g_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory,
                                     memory::Work* work = nullptr) {
    return access_.get(set_, request, {memory, work},
                       [this](const Control& control) { return current(control); });
  }
  /// VIDIOC_S_EXT_CTRLS: as the guest's, `origin` being the session's subscriptions.
  [[nodiscard]] Result<> s_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory,
                                     const Subscriptions* origin = nullptr, memory::Work* work = nullptr) {
    const auto change_one = [this, origin](Control& control, std::int64_t number,
                                           std::span<const std::byte> bytes) {
      return change(control, number, bytes, origin);
    };
    return access_.set(set_, request, {memory, work}, change_one);
  }
  /// VIDIOC_TRY_EXT_CTRLS: checks and rounds, and sets nothing.
  [[nodiscard]] Result<> try_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory,
                                       memory::Work* work = nullptr) {
    return access_.attempt(set_, request, {memory, work});
  }

  // ---- The backend's side. A control that does not exist has the value 0, and setting it does nothing.
  /// The number; that of a volatile control when it was last read.
  [[nodiscard]] std::int64_t value(std::uint32_t id) const noexcept;
  /// The bytes of what is not a number, valid until they change.
  [[nodiscard]] std::span<const std::byte> payload(std::uint32_t id) const noexcept;
  /// The text without its NUL, valid until it changes.
  [[nodiscard]] std::string_view string(std::uint32_t id) const noexcept;
  /// Can also set controls that guests may only read. Clamps the value, sends events to all and does not call
  /// the apply hook; sets nothing if the value is not valid. A string ends at a NUL. Elements of a fixed-size
  /// array that are not given get their default; a dynamic array has the elements that are given.
  void set_value(std::uint32_t id, std::int64_t value);
  /// The same for what is not a number.
  void set_payload(std::uint32_t id, std::span<const std::byte> bytes);
  /// Changes V4L2_CTRL_FLAG_INACTIVE, GRABBED, READ_ONLY and so on, several at once if needed, with one
  /// event. In the apply hook of V4L2_CID_AUTOGAIN and similar controls, INACTIVE | VOLATILE on the controls
  /// that it takes over has the effect of v4l2_ctrl_auto_cluster().
  void set_flag(std::uint32_t id, std::uint32_t flag, bool on);
  /// EINVAL: not a number, or not a sensible range. A value outside the new range is clamped to it. A menu's
  /// items stay as they are, whatever its `step`.
  [[nodiscard]] Result<> modify_range(std::uint32_t id, std::int64_t minimum, std::int64_t maximum,
                                      std::uint64_t step, std::int64_t default_value);
  /// EINVAL: not an array, a dynamic one, too large, or a different number of dimensions from before. Its
  /// values return to their defaults.
  [[nodiscard]] Result<> modify_dimensions(std::uint32_t id,
                                           std::array<std::uint32_t, V4L2_CTRL_MAX_DIMS> dimensions);

  /// Whether there is such a control, or class.
  [[nodiscard]] bool has(std::uint32_t id) const noexcept { return set_.find(id) != nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return set_.size(); }  ///< classes included
  /// The event that SEND_INITIAL sends; none for classes and for controls that do not exist.
  [[nodiscard]] std::optional<v4l2_event> initial_event(std::uint32_t id) const noexcept;

 private:
  [[nodiscard]] Result<std::int64_t> current(const Control& control);
  [[nodiscard]] Result<> change(Control& control, std::int64_t number, std::span<const std::byte> bytes,
                                const Subscriptions* origin);
  void notify(const Control& control, std::uint32_t changes, const Subscriptions* origin) {
    if (notify_) notify_(control.event(changes), origin);
  }

  ControlSet set_;
  ExtControlAccess access_;
  Apply apply_;
  Notify notify_;
  Read read_;
};

/// VIDIOC_SUBSCRIBE_EVENT for a session: `types` are the events without state that the backend sends
/// (V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_EOS, ...); V4L2_EVENT_CTRL is allowed for controls that exist.
/// Initial events are sent before this returns. EINVAL: no such event. ENOMEM: too many.
template <class Send>
[[nodiscard]] Result<> subscribe_event(Subscriptions& subscriptions, const v4l2_event_subscription& request,
                                       std::span<const std::uint32_t> types, const Controls* controls,
                                       Send&& send) {
  if (request.type == V4L2_EVENT_CTRL) {
    if (controls == nullptr || !controls->has(request.id)) return fail(EINVAL);
  } else if (std::ranges::find(types, request.type) == types.end()) {
    return fail(EINVAL);
  }
  const auto added = subscriptions.add(request);
  if (!added) return std::unexpected(added.error());
  if (*added && request.type == V4L2_EVENT_CTRL && controls != nullptr &&
      (request.flags & V4L2_EVENT_SUB_FL_SEND_INITIAL)) {
    if (const auto event = controls->initial_event(request.id)) {
      subscriptions.deliver(*event, static_cast<Send&&>(send));
    }
  }
  return {};
}

// ---- One number

inline Result<std::int64_t> Controls::current(const Control& control) {
  if (control.has_flag(V4L2_CTRL_FLAG_VOLATILE) && !control.has_payload() && read_)
    return read_(control.id());
  return control.number();
}

inline Result<> Controls::g_ctrl(v4l2_control& control) {
  const Control* const found = set_.find(control.id);
  if (found == nullptr || !found->is_int()) return fail(EINVAL);
  if (found->has_flag(V4L2_CTRL_FLAG_WRITE_ONLY)) return fail(EACCES);
  const auto number = current(*found);
  if (!number) return std::unexpected(number.error());
  control.value = static_cast<std::int32_t>(*number);
  return {};
}

inline Result<> Controls::s_ctrl(v4l2_control& control, const Subscriptions* origin) {
  Control* const found = set_.find(control.id);
  if (found == nullptr || !found->is_int()) return fail(EINVAL);
  if (found->has_flag(V4L2_CTRL_FLAG_READ_ONLY)) return fail(EACCES);
  std::int64_t number = control.value;
  if (auto valid = found->validate(number); !valid) return valid;
  if (found->has_flag(V4L2_CTRL_FLAG_GRABBED)) return fail(EBUSY);
  if (auto done = change(*found, number, {}, origin); !done) return done;
  control.value = static_cast<std::int32_t>(found->number());
  return {};
}

// Makes a valid value the current one, unless the backend refuses it. An unchanged value is not applied
// again.
inline Result<> Controls::change(Control& control, std::int64_t number, std::span<const std::byte> bytes,
                                 const Subscriptions* origin) {
  // The value of a volatile control belongs to the hardware; writing it means something only if every write
  // does.
  const bool is_volatile = control.has_flag(V4L2_CTRL_FLAG_VOLATILE);
  if (!control.has_flag(V4L2_CTRL_FLAG_EXECUTE_ON_WRITE) && (is_volatile || control.is_valued(number, bytes)))
    return {};
  if (apply_) {
    if (auto done = apply_(control.id(), ControlValue{number, bytes}); !done) return done;
  }
  if (is_volatile) return {};
  control.assign(number, bytes);
  notify(control, V4L2_EVENT_CTRL_CH_VALUE, origin);
  return {};
}

// ---- The backend's side

inline std::optional<v4l2_event> Controls::initial_event(std::uint32_t id) const noexcept {
  const Control* const control = set_.find(id);
  if (control == nullptr || control->info().type == V4L2_CTRL_TYPE_CTRL_CLASS) return std::nullopt;
  const bool readable = !control->has_flag(V4L2_CTRL_FLAG_WRITE_ONLY);
  return control->event(V4L2_EVENT_CTRL_CH_FLAGS | (readable ? V4L2_EVENT_CTRL_CH_VALUE : 0U));
}

inline std::int64_t Controls::value(std::uint32_t id) const noexcept {
  const Control* const control = set_.find(id);
  return control == nullptr ? 0 : control->number();
}

inline std::span<const std::byte> Controls::payload(std::uint32_t id) const noexcept {
  const Control* const control = set_.find(id);
  return control == nullptr ? std::span<const std::byte>() : control->bytes();
}

inline std::string_view Controls::string(std::uint32_t id) const noexcept {
  const auto bytes = payload(id);
  const char* const text = reinterpret_cast<const char*>(bytes.data());
  return bytes.empty() ? std::string_view() : std::string_view(text, ::strnlen(text, bytes.size()));
}

inline void Controls::set_value(std::uint32_t id, std::int64_t value) {
  Control* const control = set_.find(id);
  if (control == nullptr || control->has_payload()) return;
  if (!control->validate(value) || control->number() == value) return;
  control->assign(value, {});
  notify(*control, V4L2_EVENT_CTRL_CH_VALUE, nullptr);
}

inline void Controls::set_payload(std::uint32_t id, std::span<const std::byte> bytes) {
  Control* const control = set_.find(id);
  if (control == nullptr || !control->has_payload()) return;
  const auto value = control->complete(bytes);
  if (value.empty() || control->is_valued(0, value)) return;
  control->assign(0, value);
  notify(*control, V4L2_EVENT_CTRL_CH_VALUE, nullptr);
}

inline void Controls::set_flag(std::uint32_t id, std::uint32_t flag, bool on) {
  Control* const control = set_.find(id);
  if (control != nullptr && control->set_flag(flag, on)) notify(*control, V4L2_EVENT_CTRL_CH_FLAGS, nullptr);
}

inline Result<> Controls::modify_range(std::uint32_t id, std::int64_t minimum, std::int64_t maximum,
                                       std::uint64_t step, std::int64_t default_value) {
  Control* const control = set_.find(id);
  if (control == nullptr) return fail(EINVAL);
  const auto changes = control->modify_range(minimum, maximum, step, default_value);
  if (!changes) return std::unexpected(changes.error());
  if (*changes != 0) notify(*control, *changes, nullptr);
  return {};
}

inline Result<> Controls::modify_dimensions(std::uint32_t id,
                                            std::array<std::uint32_t, V4L2_CTRL_MAX_DIMS> dimensions) {
  Control* const control = set_.find(id);
  if (control == nullptr) return fail(EINVAL);
  if (auto modified = control->modify_dimensions(dimensions); !modified) return modified;
  notify(*control, V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_DIMENSIONS, nullptr);
  return {};
}

}  // namespace vumedia::v4l2
