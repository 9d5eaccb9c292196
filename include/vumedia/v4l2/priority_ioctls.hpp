// G_PRIORITY and S_PRIORITY, for a backend to inherit (<vumedia/v4l2/ioctls.hpp>).
#pragma once

#include <cstdint>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/session_members.hpp>

namespace vumedia::v4l2 {

/// Sessions have `priority`.
template <class Backend>
class PriorityIoctls {
 public:
  /// See Priority::get().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::G_PRIORITY, std::uint32_t& priority) noexcept {
    session.priority.get(priority);
    return {};
  }
  /// See Priority::set().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::S_PRIORITY, std::uint32_t& priority) noexcept {
    return session.priority.set(priority);
  }

 protected:
  PriorityIoctls() noexcept {
    static_assert(HasPriority<typename Backend::Session>,
                  "v4l2::PriorityIoctls<Backend>: Backend::Session needs a public member "
                  "`v4l2::Priority priority`");
    static_assert(detail::ShowsIoctl<Backend, tag::S_PRIORITY>,
                  "v4l2::PriorityIoctls<Backend>: Backend's own overloads of `ioctl` hide these; it needs "
                  "`using v4l2::PriorityIoctls<Backend>::ioctl;`, or that of v4l2::Ioctls");
  }
};

}  // namespace vumedia::v4l2
