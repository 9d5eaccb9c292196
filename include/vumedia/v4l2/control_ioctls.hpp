// The ioctls of controls, for a backend to inherit (<vumedia/v4l2/ioctls.hpp>).
#pragma once

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/session_members.hpp>

namespace vumedia::v4l2 {

/// The backend has
///   Controls& controls_of(Session&);
/// and its sessions have `context`, and `subscriptions`: a session is not told of what it changed itself,
/// unless it asked for that.
template <class Backend>
class ControlIoctls {
 public:
  /// See Controls::queryctrl().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::QUERYCTRL, v4l2_queryctrl& query) {
    return controls(session).queryctrl(query);
  }
  /// See Controls::query_ext_ctrl().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::QUERY_EXT_CTRL, v4l2_query_ext_ctrl& query) {
    return controls(session).query_ext_ctrl(query);
  }
  /// See Controls::querymenu().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::QUERYMENU, v4l2_querymenu& query) {
    return controls(session).querymenu(query);
  }
  /// See Controls::g_ctrl().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::G_CTRL, v4l2_control& control) {
    return controls(session).g_ctrl(control);
  }
  /// See Controls::s_ctrl(). EBUSY: may_run() refuses.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::S_CTRL, v4l2_control& control) {
    if (auto allowed = may_run<tag::S_CTRL>(session, control); !allowed) return allowed;
    return controls(session).s_ctrl(control, &session.subscriptions);
  }
  /// See Controls::g_ext_ctrls().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::G_EXT_CTRLS, ExtControls& request) {
    return controls(session).g_ext_ctrls(request, *session.context.memory(), &session.context.work());
  }
  /// See Controls::s_ext_ctrls(). EBUSY: may_run() refuses.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::S_EXT_CTRLS, ExtControls& request) {
    if (auto allowed = may_run<tag::S_EXT_CTRLS>(session, request); !allowed) return allowed;
    return controls(session).s_ext_ctrls(request, *session.context.memory(), &session.subscriptions,
                                         &session.context.work());
  }
  /// See Controls::try_ext_ctrls().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::TRY_EXT_CTRLS, ExtControls& request) {
    return controls(session).try_ext_ctrls(request, *session.context.memory(), &session.context.work());
  }

 protected:
  /// Compiled once the backend is complete, so it can look at all of it.
  ControlIoctls() noexcept {
    using S = typename Backend::Session;
    static_assert(
        HasControls<Backend, S>,
        "v4l2::ControlIoctls<Backend>: Backend needs a public `v4l2::Controls& controls_of(Session&)`");
    static_assert(HasContext<S>,
                  "v4l2::ControlIoctls<Backend>: Backend::Session needs a public member `context`, the "
                  "media::Context that open() was given");
    static_assert(HasSubscriptions<S>,
                  "v4l2::ControlIoctls<Backend>: Backend::Session needs a public member "
                  "`v4l2::Subscriptions subscriptions`");
    static_assert(detail::ShowsIoctl<Backend, tag::QUERYCTRL> && detail::ShowsIoctl<Backend, tag::S_CTRL>,
                  "v4l2::ControlIoctls<Backend>: Backend's own overloads of `ioctl` hide these; it needs "
                  "`using v4l2::ControlIoctls<Backend>::ioctl;`, or that of v4l2::Ioctls");
  }

 private:
  template <class Session>
  [[nodiscard]] Controls& controls(Session& session) noexcept {
    return static_cast<Backend&>(*this).controls_of(session);
  }
};

}  // namespace vumedia::v4l2
