// Ioctls that every backend serves in the same way, to be inherited instead of forwarded by hand:
//
// clang-format off
//   ControlIoctls   QUERYCTRL, QUERY_EXT_CTRL, QUERYMENU, G_CTRL, S_CTRL, G/S/TRY_EXT_CTRLS
//   QueueIoctls     REQBUFS, CREATE_BUFS, REMOVE_BUFS, QUERYBUF, PREPARE_BUF, QBUF, STREAMON, STREAMOFF; and
//                   mmap()
//   EventIoctls     SUBSCRIBE_EVENT, UNSUBSCRIBE_EVENT
//   PriorityIoctls  G_PRIORITY, S_PRIORITY
//
//   class Camera : public v4l2::Ioctls<Camera, v4l2::ControlIoctls, v4l2::EventIoctls> {
//    public:
//     using Ioctls::ioctl;  // beside its own overloads, which would hide them
//     struct Session {
//       media::Context context;
//       v4l2::Subscriptions subscriptions;
//       v4l2::Priority priority;
//     };
//     v4l2::Controls& controls_of(Session&) noexcept { return controls_; }
//     Result<> ioctl(Session&, v4l2::tag::G_FMT, v4l2_format&);
//     ...
// clang-format on
//
// The parts use what a Session has under these names: `context`, to reach memory and send events;
// `subscriptions`, if there are events; and `priority`, if files have one, which all parts check before they
// change anything. What else a part asks of the backend stands at its head. A backend that has an overload of
// its own for one of these ioctls is called in place of the part.
#pragma once

#include <vumedia/v4l2/control_ioctls.hpp>
#include <vumedia/v4l2/event_ioctls.hpp>
#include <vumedia/v4l2/priority_ioctls.hpp>
#include <vumedia/v4l2/queue_ioctls.hpp>

namespace vumedia::v4l2 {

/// Several parts, so that one using-declaration shows all their overloads.
template <class Backend, template <class> class... Parts>
class Ioctls : public Parts<Backend>... {
 public:
  using Parts<Backend>::ioctl...;
};

}  // namespace vumedia::v4l2
