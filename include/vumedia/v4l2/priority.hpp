// Which of a device's open files may change it: VIDIOC_G_PRIORITY and VIDIOC_S_PRIORITY ("Application
// Priority" of the kernel's V4L2 documentation; v4l2_prio_state in its code).
//
// A file with less than the highest priority of all gets EBUSY from ioctls that change the device, whether
// the files share its state or not: the kernel checks this before it calls a driver. A backend holds the
// Priorities, and each of its sessions a Priority:
//
// clang-format off
//   if constexpr (v4l2::needs_priority<Tag>) {
//     if (auto allowed = session.priority.may_change(); !allowed) return allowed;
//   }
// clang-format on
#pragma once

#include <array>
#include <cerrno>
#include <concepts>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

namespace vumedia::v4l2 {

namespace detail {
template <class Tag, class... Tags>
inline constexpr bool is_one_of = (std::same_as<Tag, Tags> || ...);
}  // namespace detail

// The ioctls that the kernel refuses to files whose priority is too low.
template <class Tag>
inline constexpr bool needs_priority =
    detail::is_one_of<Tag, tag::S_FMT, tag::REQBUFS, tag::CREATE_BUFS, tag::REMOVE_BUFS, tag::STREAMON,
                      tag::STREAMOFF, tag::S_PARM, tag::S_CTRL, tag::S_EXT_CTRLS, tag::S_SELECTION,
                      tag::S_CROP, tag::S_PRIORITY, tag::S_INPUT, tag::S_OUTPUT, tag::S_STD,
                      tag::S_DV_TIMINGS, tag::S_EDID, tag::S_FBUF, tag::OVERLAY, tag::S_AUDIO, tag::S_AUDOUT,
                      tag::S_TUNER, tag::S_MODULATOR, tag::S_FREQUENCY, tag::S_HW_FREQ_SEEK, tag::ENCODER_CMD,
                      tag::DECODER_CMD>;

// The priorities of all files of a device. Not thread-safe: it belongs to one loop.
class Priorities {
 public:
  Priorities() = default;
  Priorities(const Priorities&) = delete;
  Priorities& operator=(const Priorities&) = delete;

  // V4L2_PRIORITY_UNSET if no file is open.
  [[nodiscard]] std::uint32_t highest() const noexcept {
    std::uint32_t priority = V4L2_PRIORITY_RECORD;
    while (priority > V4L2_PRIORITY_UNSET && files_[priority] == 0) --priority;
    return priority;
  }

 private:
  friend class Priority;
  std::array<std::uint32_t, V4L2_PRIORITY_RECORD + 1> files_{};  // that have each priority
};

// The priority of a file, from its open to its close. `all` outlives it.
class Priority {
 public:
  explicit Priority(Priorities& all) noexcept : all_(all) { ++all_.files_[own_]; }
  ~Priority() { --all_.files_[own_]; }
  Priority(const Priority&) = delete;
  Priority& operator=(const Priority&) = delete;

  // EBUSY: another file has a higher one.
  [[nodiscard]] Result<> may_change() const noexcept {
    if (own_ < all_.highest()) return fail(EBUSY);
    return {};
  }

  // VIDIOC_G_PRIORITY: the highest of all files.
  void get(std::uint32_t& priority) const noexcept { priority = all_.highest(); }
  // VIDIOC_S_PRIORITY: this file's own. EBUSY: may_change() refuses. EINVAL: it is none of the three.
  [[nodiscard]] Result<> set(std::uint32_t priority) noexcept {
    if (auto allowed = may_change(); !allowed) return allowed;
    if (priority < V4L2_PRIORITY_BACKGROUND || priority > V4L2_PRIORITY_RECORD) return fail(EINVAL);
    --all_.files_[own_];
    own_ = priority;
    ++all_.files_[own_];
    return {};
  }

 private:
  Priorities& all_;
  std::uint32_t own_ = V4L2_PRIORITY_DEFAULT;
};

}  // namespace vumedia::v4l2
