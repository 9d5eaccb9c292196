// Subscription to events, for a backend to inherit (<vumedia/v4l2/ioctls.hpp>).
#pragma once

#include <cstdint>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/session_members.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::v4l2 {

/// Sessions have `context` and `subscriptions`. Events of controls can be subscribed to if the backend has
/// controls_of(session) (v4l2/control_ioctls.hpp); of others, those types that it names in
///   static constexpr std::array<std::uint32_t, N> event_types{V4L2_EVENT_EOS, ...};
template <class Backend>
class EventIoctls {
 public:
  /// See subscribe_event().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::SUBSCRIBE_EVENT, v4l2_event_subscription& request) {
    const Controls* controls = nullptr;
    if constexpr (HasControls<Backend, Session>)
      controls = &static_cast<Backend&>(*this).controls_of(session);
    return subscribe_event(session.subscriptions, request, Backend::event_types, controls,
                           [&session](const v4l2_event& event) { session.context.send_event(event); });
  }
  /// Ends the subscription, and withdraws events that wait. See Subscriptions::remove().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::UNSUBSCRIBE_EVENT, v4l2_event_subscription& request) {
    session.subscriptions.remove(request);
    return {};
  }

 protected:
  /// The events without state, for a backend to declare its own. None.
  static constexpr std::span<const std::uint32_t> event_types{};

  EventIoctls() noexcept {
    using S = typename Backend::Session;
    static_assert(HasContext<S>,
                  "v4l2::EventIoctls<Backend>: Backend::Session needs a public member `context`, the "
                  "media::Context that open() was given");
    static_assert(HasSubscriptions<S>,
                  "v4l2::EventIoctls<Backend>: Backend::Session needs a public member "
                  "`v4l2::Subscriptions subscriptions`");
    static_assert(detail::ShowsIoctl<Backend, tag::SUBSCRIBE_EVENT>,
                  "v4l2::EventIoctls<Backend>: Backend's own overloads of `ioctl` hide these; it needs "
                  "`using v4l2::EventIoctls<Backend>::ioctl;`, or that of v4l2::Ioctls");
  }
};

/// Sends the event to those of `sessions`, a range of pointers, that have subscribed to it. `origin`: as
/// Controls' Notify hook has it.
template <class Sessions>
void send_to_subscribers(const Sessions& sessions, const v4l2_event& event,
                         const Subscriptions* origin = nullptr) {
  for (auto* const session : sessions) {
    session->subscriptions.deliver(event, origin,
                                   [session](const v4l2_event& one) { session->context.send_event(one); });
  }
}

}  // namespace vumedia::v4l2
