// G_EXT_CTRLS, S_EXT_CTRLS and TRY_EXT_CTRLS: several controls in one request, whose values may be in the
// guest's memory ("Extended Controls API" of the kernel's V4L2 documentation, with its errors and its
// error_idx).
//
// A request is checked as a whole first, and then carried out control by control, in as many turns of the
// loop as its Work says (memory::again; the request remembers how many controls are done). What other
// requests do in between comes between two controls, as it may in the kernel.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/control.hpp>
#include <vumedia/v4l2/control_set.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::v4l2 {

/// Carries out such requests; those of several sessions may take turns. For the device's loop.
class ExtControlAccess {
 public:
  /// Where a request's values are, and how much may be done now (null: everything).
  struct Means {
    const memory::GuestMemory& memory;  ///< where values of the guest are
    memory::Work* work = nullptr;       ///< how much may be done; null: all
  };

  /// `current(control)`: the present number of a control without payload, as Result<std::int64_t>.
  template <class Current>
  [[nodiscard]] Result<> get(ControlSet& set, ExtControls& request, const Means& means, Current&& current);

  /// `change(control, number, bytes)`: makes a valid value the current one, or refuses, as Result<>.
  template <class Change>
  [[nodiscard]] Result<> set(ControlSet& set, ExtControls& request, const Means& means, Change&& change);

  /// TRY_EXT_CTRLS: checks and rounds the values as set() does, and sets nothing.
  [[nodiscard]] Result<> attempt(ControlSet& set, ExtControls& request, const Means& means);

 private:
  enum class Purpose : std::uint8_t { get, set, attempt };

  // The part that is the same in all: checks the request unless it goes on.
  [[nodiscard]] Result<> begin(ControlSet& set, ExtControls& request, Purpose purpose);
  [[nodiscard]] Result<> choose(ControlSet& set, ExtControls& request, Purpose purpose);
  [[nodiscard]] Result<> check_access(ExtControls& request, Purpose purpose);
  // Does `one(control, index)` for each that is not done, as far as `work` allows.
  template <class One>
  [[nodiscard]] static Result<> for_each_left(ControlSet& set, ExtControls& request, memory::Work* work,
                                              One&& one);
  template <class Change>
  [[nodiscard]] Result<> set_one(Control& control, std::size_t index, ExtControls& request,
                                 const Means& means, Change&& change);
  [[nodiscard]] Result<> write_payload(const Control& control, std::size_t index, ExtControls& request,
                                       const memory::GuestMemory& memory);
  [[nodiscard]] Result<> read_bytes(const Control& control, const v4l2_ext_control& wire,
                                    std::span<const GuestRange> ranges, const memory::GuestMemory& memory);

  std::vector<Control*> chosen_;    // of the request that is being checked, index by index
  std::vector<std::byte> scratch_;  // a value on its way
};

namespace detail {

[[nodiscard]] inline std::int64_t number_in(const Control& control, const v4l2_ext_control& wire) noexcept {
  return control.is_wide() ? static_cast<std::int64_t>(wire.value64) : static_cast<std::int64_t>(wire.value);
}
inline void put_number(const Control& control, std::int64_t number, v4l2_ext_control& wire) noexcept {
  if (control.is_wide()) {
    wire.value64 = number;
  } else {
    wire.value = static_cast<std::int32_t>(number);
  }
}

[[nodiscard]] inline bool is_any_class(std::uint32_t which) noexcept {
  return which == V4L2_CTRL_WHICH_CUR_VAL || is_which_limit(which);
}

// A request without controls only asks whether there is such a class.
[[nodiscard]] inline Result<> check_class(const ControlSet& set, std::uint32_t which) noexcept {
  if (!is_any_class(which) && set.find(which | 1) == nullptr) return fail(EINVAL);
  return {};
}

// Checks the size that the guest gives a payload, and says the one that it takes.
[[nodiscard]] inline Result<> check_size(const Control& control, bool get, v4l2_ext_control& wire) noexcept {
  if (control.is_dynamic()) {
    const std::uint32_t size = wire.size / control.element_bytes() * control.element_bytes();
    if (get) {
      wire.size = control.size();
      return size < control.size() ? fail(ENOSPC) : Result<>();
    }
    wire.size = std::min(size, control.largest_size());
    if (size > control.largest_size()) return fail(ENOSPC);
    return size == 0 ? fail(EFAULT) : Result<>();
  }
  if (!control.has_payload() || control.is_string()) return {};
  const bool fits = wire.size >= control.size();
  if (fits || get) wire.size = control.size();
  if (!fits) return fail(get ? ENOSPC : EFAULT);
  return {};
}

// Writes a value to the guest; of a string, as far as its NUL.
[[nodiscard]] inline Result<> write_value(const Control& control, v4l2_ext_control& wire,
                                          std::span<const GuestRange> ranges,
                                          std::span<const std::byte> bytes,
                                          const memory::GuestMemory& memory) {
  if (control.is_string()) {
    const std::size_t size = ::strnlen(reinterpret_cast<const char*>(bytes.data()), bytes.size() - 1) + 1;
    if (wire.size < size) {
      wire.size = control.element_bytes();
      return fail(ENOSPC);
    }
    bytes = bytes.first(size);
  }
  return copy_to_ranges(memory, ranges, bytes);
}

}  // namespace detail

// ---- Checks

inline Result<> ExtControlAccess::begin(ControlSet& set, ExtControls& request, Purpose purpose) {
  if (request.done != 0) return {};
  v4l2_ext_controls& head = request.head;
  const auto count = static_cast<std::uint32_t>(request.controls.size());
  head.reserved[0] = 0;
  head.error_idx = count;
  // Requests need a media device, which a virtio-media device is not. Limits and defaults cannot be changed.
  const bool get = purpose == Purpose::get;
  if (head.which == V4L2_CTRL_WHICH_REQUEST_VAL || (!get && is_which_limit(head.which))) return fail(EINVAL);
  head.which = V4L2_CTRL_ID2WHICH(head.which);
  if (count == 0) return detail::check_class(set, head.which);

  auto done = choose(set, request, purpose);
  // error_idx == count means that nothing was set or read. TRY_EXT_CTRLS never sets anything, so it names the
  // control at fault.
  if (get) head.error_idx = count;
  if (done) done = check_access(request, purpose);
  if (!done && purpose == Purpose::set) head.error_idx = count;
  return done;
}

// Finds the controls of a request and checks their sizes. error_idx is the one at fault.
inline Result<> ExtControlAccess::choose(ControlSet& set, ExtControls& request, Purpose purpose) {
  const std::uint32_t which = request.head.which;
  chosen_.assign(request.controls.size(), nullptr);
  for (std::size_t i = 0; i < request.controls.size(); ++i) {
    v4l2_ext_control& wire = request.controls[i];
    wire.reserved2[0] = 0;
    request.head.error_idx = static_cast<std::uint32_t>(i);
    const std::uint32_t id = wire.id & V4L2_CTRL_ID_MASK;
    if (!detail::is_any_class(which) && V4L2_CTRL_ID2WHICH(id) != which) return fail(EINVAL);
    if (id >= V4L2_CID_PRIVATE_BASE) return fail(EINVAL);
    Control* const control = set.find(id);
    if (control == nullptr || control->has_flag(V4L2_CTRL_FLAG_DISABLED)) return fail(EINVAL);
    if ((which == ctrl_which_min_val || which == ctrl_which_max_val) &&
        !control->has_flag(ctrl_flag_has_which_min_max))
      return fail(EINVAL);
    chosen_[i] = control;
    if (auto fits = detail::check_size(*control, purpose == Purpose::get, wire); !fits) return fits;
  }
  return {};
}

// Checks everything else that can be checked before anything is read or set. Numbers to be set are rounded in
// place.
inline Result<> ExtControlAccess::check_access(ExtControls& request, Purpose purpose) {
  for (std::size_t i = 0; i < request.controls.size(); ++i) {
    const Control& control = *chosen_[i];
    if (purpose == Purpose::get) {
      if (control.has_flag(V4L2_CTRL_FLAG_WRITE_ONLY)) return fail(EACCES);
      continue;
    }
    request.head.error_idx = static_cast<std::uint32_t>(i);
    if (control.has_flag(V4L2_CTRL_FLAG_READ_ONLY)) return fail(EACCES);
    if (purpose == Purpose::set && control.has_flag(V4L2_CTRL_FLAG_GRABBED)) return fail(EBUSY);
    if (control.has_payload()) continue;  // in guest memory; checked when it is read
    std::int64_t number = detail::number_in(control, request.controls[i]);
    if (auto valid = control.validate(number); !valid) return valid;
    detail::put_number(control, number, request.controls[i]);
  }
  return {};
}

// ---- One control after another

template <class One>
Result<> ExtControlAccess::for_each_left(ControlSet& set, ExtControls& request, memory::Work* work,
                                         One&& one) {
  const auto count = static_cast<std::uint32_t>(request.controls.size());
  for (std::uint32_t i = std::exchange(request.done, 0); i < count;) {
    request.head.error_idx = i;
    // Looked up anew: `chosen_` may be another request's by now.
    Control& control = *set.find(request.controls[i].id & V4L2_CTRL_ID_MASK);
    if (work != nullptr) {
      const std::uint32_t size =
          std::max(control.size(), control.is_dynamic() ? request.controls[i].size : 0);
      const auto bytes = control.has_payload() ? std::int64_t{size} : 0;
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

template <class Current>
Result<> ExtControlAccess::get(ControlSet& set, ExtControls& request, const Means& means, Current&& current) {
  if (auto valid = begin(set, request, Purpose::get); !valid) return valid;
  const std::uint32_t which = request.head.which;
  return for_each_left(set, request, means.work, [&](const Control& control, std::uint32_t i) -> Result<> {
    if (control.has_payload()) return write_payload(control, i, request, means.memory);
    const auto number =
        is_which_limit(which) ? Result<std::int64_t>(limit_of(control.info(), which)) : current(control);
    if (!number) return std::unexpected(number.error());
    detail::put_number(control, *number, request.controls[i]);
    return {};
  });
}

inline Result<> ExtControlAccess::write_payload(const Control& control, std::size_t index,
                                                ExtControls& request, const memory::GuestMemory& memory) {
  std::span<const std::byte> bytes = control.bytes();
  if (is_which_limit(request.head.which)) {
    scratch_.resize(control.size());
    write_limits(control.info(), control.element_bytes(), request.head.which, scratch_);
    bytes = scratch_;
  }
  return detail::write_value(control, request.controls[index], request.ranges[index], bytes, memory);
}

template <class Change>
Result<> ExtControlAccess::set(ControlSet& set, ExtControls& request, const Means& means, Change&& change) {
  if (auto valid = begin(set, request, Purpose::set); !valid) return valid;
  return for_each_left(set, request, means.work, [&](Control& control, std::uint32_t i) -> Result<> {
    // What was found before may have changed with a control before it, or in an earlier turn.
    if (control.has_flag(V4L2_CTRL_FLAG_GRABBED)) return fail(EBUSY);
    return set_one(control, i, request, means, change);
  });
}

inline Result<> ExtControlAccess::attempt(ControlSet& set, ExtControls& request, const Means& means) {
  if (auto valid = begin(set, request, Purpose::attempt); !valid) return valid;
  const auto nothing = [](Control&, std::int64_t, std::span<const std::byte>) { return Result<>(); };
  return for_each_left(set, request, means.work, [&](Control& control, std::uint32_t i) {
    return set_one(control, i, request, means, nothing);
  });
}

template <class Change>
Result<> ExtControlAccess::set_one(Control& control, std::size_t index, ExtControls& request,
                                   const Means& means, Change&& change) {
  v4l2_ext_control& wire = request.controls[index];
  if (!control.has_payload()) return change(control, detail::number_in(control, wire), {});
  // Its size was checked when the request came, and may have changed since.
  if (!control.is_string() && !control.is_dynamic() && wire.size != control.size()) return fail(EFAULT);
  const std::span<const GuestRange> ranges = request.ranges[index];
  if (auto read = read_bytes(control, wire, ranges, means.memory); !read) return read;
  if (auto valid = control.validate(scratch_); !valid) return valid;
  if (auto done = change(control, 0, scratch_); !done) return done;
  // The guest sees what its value was rounded to.
  return detail::write_value(control, wire, ranges, scratch_, means.memory);
}

// A new value from guest memory into scratch_.
inline Result<> ExtControlAccess::read_bytes(const Control& control, const v4l2_ext_control& wire,
                                             std::span<const GuestRange> ranges,
                                             const memory::GuestMemory& memory) {
  if (!control.is_string()) {
    scratch_.assign(wire.size, std::byte{0});
    return copy_from_ranges(memory, ranges, scratch_);
  }
  if (wire.size == 0) return fail(ERANGE);
  const std::size_t size = std::min(wire.size + std::size_t{0}, std::size_t{control.element_bytes()});
  scratch_.assign(control.element_bytes(), std::byte{0});
  if (auto read = copy_from_ranges(memory, ranges, std::span(scratch_).first(size)); !read) return read;
  // Cut off where the guest's memory ends; a string that is too long is an error and is not cut.
  const bool cut = scratch_[size - 1] != std::byte{0};
  scratch_[size - 1] = std::byte{0};
  const std::size_t length = ::strnlen(reinterpret_cast<const char*>(scratch_.data()), scratch_.size());
  if (cut && length == static_cast<std::uint64_t>(control.info().maximum)) return fail(ERANGE);
  return {};
}

}  // namespace vumedia::v4l2
