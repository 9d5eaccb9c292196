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

#include <cstddef>
#include <cstdint>
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
#include <vumedia/v4l2/control_info.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::v4l2 {

// The value of a control: a number, or the bytes of a string (with its NUL), an array or a compound.
struct ControlValue {
  std::int64_t number = 0;
  std::span<const std::byte> payload = {};
};

class Controls {
 public:
  // A guest is about to change `id`; the value is valid. An error keeps the old value and is returned to the
  // guest.
  using Apply = std::move_only_function<Result<>(std::uint32_t id, const ControlValue& value)>;
  // A control changed as `event` describes. Deliver it to the Subscriptions of every session that sees these
  // controls; `origin` is the one that requested the change, null if none did (Subscriptions::deliver).
  using Notify = std::move_only_function<void(const v4l2_event& event, const Subscriptions* origin)>;
  // The present value of a volatile control.
  using Read = std::move_only_function<Result<std::int64_t>(std::uint32_t id)>;

  // The table must satisfy valid_controls() and outlive this. `limits`: support V4L2_CTRL_WHICH_MIN_VAL and
  // MAX_VAL, which Linux has since 6.14, and the flag that announces them. Older kernels pass the flag to
  // their programs and then refuse the values, so do not use it for a device whose guest may have one.
  explicit Controls(std::span<const ControlInfo> table, bool limits = true);

  void on_apply(Apply hook) { apply_ = std::move(hook); }
  void on_event(Notify hook) { notify_ = std::move(hook); }
  void on_volatile(Read hook) { read_ = std::move(hook); }

  // ---- Ioctls. EINVAL: no such control, or not with this ioctl. EACCES: read-only or write-only. EBUSY:
  // grabbed. ERANGE: a menu value or string length out of range. ENOSPC: the guest's memory is too small;
  // size states how large it must be. EFAULT: it is not guest memory. Numbers out of range are clamped and
  // rounded, not refused.
  [[nodiscard]] Result<> query_ext_ctrl(v4l2_query_ext_ctrl& query) const;
  [[nodiscard]] Result<> queryctrl(v4l2_queryctrl& query) const;
  [[nodiscard]] Result<> querymenu(v4l2_querymenu& query) const;
  [[nodiscard]] Result<> g_ctrl(v4l2_control& control);
  [[nodiscard]] Result<> s_ctrl(v4l2_control& control, const Subscriptions* origin = nullptr);
  // These set error_idx as the kernel does; a failure is answered with the payload too. With `work` (a
  // Context's), from which the hooks spend as well, they go as far as it allows and answer memory::again: to
  // be called again in another turn, with the same request. What other requests do in between comes between
  // two controls, as it may in the kernel.
  [[nodiscard]] Result<> g_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory,
                                     memory::Work* work = nullptr);
  [[nodiscard]] Result<> s_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory,
                                     const Subscriptions* origin = nullptr, memory::Work* work = nullptr) {
    return set_all(request, memory, origin, true, work);
  }
  [[nodiscard]] Result<> try_ext_ctrls(ExtControls& request, const memory::GuestMemory& memory,
                                       memory::Work* work = nullptr) {
    return set_all(request, memory, nullptr, false, work);
  }

  // ---- The backend's side. A control that does not exist has the value 0, and setting it does nothing.
  [[nodiscard]] std::int64_t value(std::uint32_t id) const noexcept;
  [[nodiscard]] std::span<const std::byte> payload(std::uint32_t id) const noexcept;
  [[nodiscard]] std::string_view string(std::uint32_t id) const noexcept;
  // Can also set controls that guests may only read. Clamps the value, sends events to all and does not call
  // the apply hook; sets nothing if the value is not valid. A string ends at a NUL. Elements of a fixed-size
  // array that are not given get their default; a dynamic array has the elements that are given.
  void set_value(std::uint32_t id, std::int64_t value);
  void set_payload(std::uint32_t id, std::span<const std::byte> bytes);
  // Changes V4L2_CTRL_FLAG_INACTIVE, GRABBED, READ_ONLY and so on, several at once if needed, with one event.
  // In the apply hook of V4L2_CID_AUTOGAIN and similar controls, INACTIVE | VOLATILE on the controls that it
  // takes over has the effect of v4l2_ctrl_auto_cluster().
  void set_flag(std::uint32_t id, std::uint32_t flag, bool on);
  // EINVAL: not a number, or not a sensible range. A value outside the new range is clamped to it. A menu's
  // items stay as they are, whatever its `step`.
  [[nodiscard]] Result<> modify_range(std::uint32_t id, std::int64_t minimum, std::int64_t maximum,
                                      std::uint64_t step, std::int64_t default_value);
  // EINVAL: not an array, a dynamic one, too large, or a different number of dimensions from before. Its
  // values return to their defaults.
  [[nodiscard]] Result<> modify_dimensions(std::uint32_t id,
                                           std::array<std::uint32_t, V4L2_CTRL_MAX_DIMS> dimensions);

  [[nodiscard]] bool has(std::uint32_t id) const noexcept { return find(id) != nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return controls_.size(); }  // classes included
  // The event that SEND_INITIAL sends; none for classes and for controls that do not exist.
  [[nodiscard]] std::optional<v4l2_event> initial_event(std::uint32_t id) const noexcept;

 private:
  struct Control {
    ControlInfo info;  // a copy: range and dimensions change
    std::uint32_t elements = 1;
    std::uint32_t element_bytes = 4;
    bool array = false;
    bool has_payload = false;  // the value is `bytes`
    std::int64_t number = 0;
    std::vector<std::byte> bytes;

    [[nodiscard]] bool is_dynamic() const noexcept {
      return (info.flags & V4L2_CTRL_FLAG_DYNAMIC_ARRAY) != 0;
    }
    [[nodiscard]] bool is_string() const noexcept { return !array && info.type == V4L2_CTRL_TYPE_STRING; }
    [[nodiscard]] bool is_int() const noexcept {
      return !has_payload && info.type != V4L2_CTRL_TYPE_INTEGER64;
    }
    [[nodiscard]] bool is_compound() const noexcept { return array || info.type >= V4L2_CTRL_COMPOUND_TYPES; }
    [[nodiscard]] std::uint32_t size() const noexcept { return elements * element_bytes; }
  };

  void add(const ControlInfo& info);
  [[nodiscard]] const Control* find(std::uint32_t id) const noexcept;
  [[nodiscard]] Control* find(std::uint32_t id) noexcept {
    return const_cast<Control*>(static_cast<const Controls*>(this)->find(id));
  }
  [[nodiscard]] const Control* next(std::uint32_t id) const noexcept;
  [[nodiscard]] static std::uint32_t visible_flags(const Control& control) noexcept {
    return control.info.flags | (control.has_payload ? V4L2_CTRL_FLAG_HAS_PAYLOAD : 0U);
  }
  [[nodiscard]] static v4l2_event make_control_event(const Control& control, std::uint32_t changes) noexcept;
  void notify(const Control& control, std::uint32_t changes, const Subscriptions* origin);

  [[nodiscard]] static Result<> validate_number(const ControlInfo& info, std::int64_t& number) noexcept;
  [[nodiscard]] static Result<> validate_bytes(const Control& control, std::span<std::byte> bytes) noexcept;
  // The default, the least or the greatest value of a number, or of each element in `bytes`. `which` is
  // V4L2_CTRL_WHICH_MIN_VAL or MAX_VAL; any other value means the default.
  [[nodiscard]] static std::int64_t number_of(const Control& control, std::uint32_t which) noexcept;
  static void write_elements(const Control& control, std::uint32_t which,
                             std::span<std::byte> bytes) noexcept;

  [[nodiscard]] Result<> check_class(std::uint32_t which) const noexcept;
  [[nodiscard]] Result<> prepare(ExtControls& request, bool get);
  [[nodiscard]] Result<> validate_all(ExtControls& request, bool set);
  [[nodiscard]] Result<> get_one(const Control& control, std::uint32_t which, std::size_t index,
                                 ExtControls& request, const memory::GuestMemory& memory);
  [[nodiscard]] Result<> set_all(ExtControls& request, const memory::GuestMemory& memory,
                                 const Subscriptions* origin, bool set, memory::Work* work);
  // Does `one(control, index)` for each that is not done, as far as `work` allows.
  template <class One>
  [[nodiscard]] Result<> for_each_left(ExtControls& request, memory::Work* work, One&& one);
  [[nodiscard]] Result<> set_one(Control& control, std::size_t index, ExtControls& request,
                                 const memory::GuestMemory& memory, const Subscriptions* origin, bool set);
  [[nodiscard]] Result<> read_bytes(const Control& control, v4l2_ext_control& wire,
                                    std::span<const GuestRange> ranges, const memory::GuestMemory& memory);
  [[nodiscard]] Result<> write_bytes(const Control& control, v4l2_ext_control& wire,
                                     std::span<const GuestRange> ranges, std::span<const std::byte> bytes,
                                     const memory::GuestMemory& memory) const;
  [[nodiscard]] Result<> change(Control& control, std::int64_t number, std::span<const std::byte> bytes,
                                const Subscriptions* origin);
  [[nodiscard]] Result<std::int64_t> current(const Control& control);

  bool limits_;
  std::vector<Control> controls_;  // by ascending id
  std::vector<Control*> chosen_;   // of the current request, index by index
  std::vector<std::byte> scratch_;
  Apply apply_;
  Notify notify_;
  Read read_;
};

// VIDIOC_SUBSCRIBE_EVENT for a session: `types` are the events without state that the backend sends
// (V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_EOS, ...); V4L2_EVENT_CTRL is allowed for controls that exist.
// Initial events are sent before this returns. EINVAL: no such event. ENOMEM: too many.
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

}  // namespace vumedia::v4l2

#include <vumedia/v4l2/detail/controls_impl.hpp>
#include <vumedia/v4l2/detail/ext_controls_impl.hpp>
