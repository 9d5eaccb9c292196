// What the mix-ins of <vumedia/v4l2/ioctls.hpp> need of a backend's Session and of the backend: a concept for
// each, so that a diagnostic can name the one that is missing.
#pragma once

#include <concepts>
#include <memory>

#include <linux/videodev2.h>

#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::v4l2 {

/// `context`: what open() was given; the mix-ins know of it only these.
template <class Session>
concept HasContext = requires(Session& session, const v4l2_event& event) {
  { session.context.memory() } -> std::same_as<const std::shared_ptr<const memory::GuestMemory>&>;
  { session.context.arenas() } -> std::same_as<memory::Arenas&>;
  { session.context.work() } -> std::same_as<memory::Work&>;
  session.context.send_event(event);
};

/// `subscriptions`: the events that the session asked for.
template <class Session>
concept HasSubscriptions = requires(Session& session) {
  { session.subscriptions } -> std::same_as<Subscriptions&>;
};

/// `controls_of(session)`: the controls that the session sees; the device's, or its own.
template <class Backend, class Session>
concept HasControls = requires(Backend& backend, Session& session) {
  { backend.controls_of(session) } -> std::same_as<Controls&>;
};

namespace detail {

// Whether the backend has an overload for this ioctl, its own or an inherited one that is not hidden.
template <class Backend, class Tag>
concept ShowsIoctl = requires(Backend& backend, typename Backend::Session& session,
                              typename Tag::Payload& payload) { backend.ioctl(session, Tag{}, payload); };

}  // namespace detail

}  // namespace vumedia::v4l2
