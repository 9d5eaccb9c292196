// Which of a device's open files may change it: VIDIOC_G_PRIORITY and VIDIOC_S_PRIORITY ("Application
// Priority" of the kernel's V4L2 documentation; v4l2_prio_state in its code).
//
// A file with less than the highest priority of all gets EBUSY from ioctls that change the device, whether
// the files share its state or not: the kernel checks this before it calls a driver. A backend holds the
// Priorities, and each of its sessions a Priority, named `priority`. The mix-ins of <vumedia/v4l2/ioctls.hpp>
// check it; what a backend serves itself begins with
//
// clang-format off
//   if (auto allowed = v4l2::may_run<v4l2::tag::S_FMT>(session, format); !allowed) return allowed;
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

/// The ioctls that are refused to files whose priority is too low.
template <class Tag>
inline constexpr bool needs_priority = Tag::allowed == Allowed::by_priority;

/// The priorities of all files of a device. Not thread-safe: it belongs to one loop.
class Priorities {
 public:
  Priorities() = default;
  Priorities(const Priorities&) = delete;
  Priorities& operator=(const Priorities&) = delete;

  /// V4L2_PRIORITY_UNSET if no file is open.
  [[nodiscard]] std::uint32_t highest() const noexcept {
    std::uint32_t priority = V4L2_PRIORITY_RECORD;
    while (priority > V4L2_PRIORITY_UNSET && files_[priority] == 0) --priority;
    return priority;
  }

  /// A file has this priority from now on, or has it no more. For Priority, which pairs them.
  void add(std::uint32_t priority) noexcept { ++files_[priority]; }
  /// Undoes one add().
  void remove(std::uint32_t priority) noexcept { --files_[priority]; }

 private:
  std::array<std::uint32_t, V4L2_PRIORITY_RECORD + 1> files_{};  // that have each priority
};

/// The priority of a file, from its open to its close. `all` outlives it.
class Priority {
 public:
  /// Begins as V4L2_PRIORITY_DEFAULT.
  explicit Priority(Priorities& all) noexcept : all_(all) { all_.add(own_); }
  ~Priority() { all_.remove(own_); }
  Priority(const Priority&) = delete;
  Priority& operator=(const Priority&) = delete;

  /// EBUSY: another file has a higher one.
  [[nodiscard]] Result<> may_change() const noexcept {
    if (own_ < all_.highest()) return fail(EBUSY);
    return {};
  }

  /// VIDIOC_G_PRIORITY: the highest of all files.
  void get(std::uint32_t& priority) const noexcept { priority = all_.highest(); }
  /// VIDIOC_S_PRIORITY: this file's own. EBUSY: may_change() refuses. EINVAL: it is none of the three.
  [[nodiscard]] Result<> set(std::uint32_t priority) noexcept {
    if (auto allowed = may_change(); !allowed) return allowed;
    if (priority < V4L2_PRIORITY_BACKGROUND || priority > V4L2_PRIORITY_RECORD) return fail(EINVAL);
    all_.remove(own_);
    own_ = priority;
    all_.add(own_);
    return {};
  }

 private:
  Priorities& all_;
  std::uint32_t own_ = V4L2_PRIORITY_DEFAULT;
};

/// A session whose file has a priority.
template <class Session>
concept HasPriority = requires(const Session& session) {
  { session.priority } -> std::same_as<const Priority&>;
};

/// Whether the session's file may have this ioctl carried out. EBUSY: `Tag` changes the device, and another
/// file has a higher priority. A request that goes on in a later turn was allowed in its first one.
template <class Tag, class Session>
[[nodiscard]] Result<> may_run([[maybe_unused]] const Session& session,
                               [[maybe_unused]] const typename Tag::Payload& payload) noexcept {
  if constexpr (needs_priority<Tag> && HasPriority<Session>) {
    if constexpr (requires { payload.done; }) {
      if (payload.done != 0) return {};
    }
    return session.priority.may_change();
  } else {
    return {};
  }
}

}  // namespace vumedia::v4l2
