// Rules on V4L2 events: subscriptions, and events about changes of controls.
//
// Whether an event fails to come is shown without waiting: events of one file keep their order, so one that
// has not come before the first event of a later subscription does not come at all.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/compliance/controls_access.hpp>
#include <vumedia/client/compliance/rule.hpp>

namespace vumedia::client::compliance::detail::events {

namespace tag = v4l2::tag;
using controls::Control;

[[nodiscard]] inline v4l2_event_subscription subscription_of(std::uint32_t type, std::uint32_t id = 0,
                                                             std::uint32_t flags = 0) {
  v4l2_event_subscription subscription{};
  subscription.type = type;
  subscription.id = id;
  subscription.flags = flags;
  return subscription;
}
[[nodiscard]] inline int subscribe(Subject& s, std::uint32_t session, std::uint32_t id, std::uint32_t flags) {
  auto subscription = subscription_of(V4L2_EVENT_CTRL, id, flags);
  return s.call_as<tag::SUBSCRIBE_EVENT>(session, subscription);
}

// What rules about control events need: a control whose number can be changed, and another whose first event
// is the fence.
struct Watched {
  controls::Changeable it;
  Control fence{};
};

inline Finding find_watched(Subject& s, Watched& watched) {
  std::vector<Control> all;
  if (auto found = controls::list_some(s, all)) return found;
  if (auto found = controls::find_changeable(s, all, watched.it)) return found;
  const Control* const fence = controls::find_if(all, [&](const Control& control) {
    return !controls::is_class(control) && control.id != watched.it.control.id;
  });
  if (fence == nullptr) return not_applicable("the device has only one control");
  watched.fence = *fence;
  // A device without events has no SUBSCRIBE_EVENT at all.
  auto nothing = subscription_of(V4L2_EVENT_ALL);
  if (s.call<tag::UNSUBSCRIBE_EVENT>(nothing) == ENOTTY) return not_applicable("the device has no events");
  return passed();
}

// The events of `watched` that a session got before the fence.
inline Finding events_so_far(Subject& s, std::uint32_t session, const Watched& watched,
                             std::vector<v4l2_event>& events) {
  events.clear();
  if (auto found = Subject::judge("VIDIOC_SUBSCRIBE_EVENT",
                                  subscribe(s, session, watched.fence.id, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0,
                                  "with SEND_INITIAL"))
    return found;
  while (true) {
    v4l2_event event{};
    if (auto found = s.next_event(session, V4L2_EVENT_CTRL, event)) return found;
    if (event.id == watched.fence.id) break;
    if (event.id == watched.it.control.id) events.push_back(event);
    if (events.size() > 16)
      return failed("events of %s do not end", controls::name_of(watched.it.control).c_str());
  }
  auto fence = subscription_of(V4L2_EVENT_CTRL, watched.fence.id);
  return s.expect_as<tag::UNSUBSCRIBE_EVENT>(session, fence);
}

[[nodiscard]] inline std::int64_t value_of(const v4l2_event& event, const Control& control) noexcept {
  return control.type == V4L2_CTRL_TYPE_INTEGER64 ? std::int64_t{event.u.ctrl.value64} : event.u.ctrl.value;
}

// -- Subscriptions

inline Finding unknown_type(Subject& s) {
  auto subscription = subscription_of(V4L2_EVENT_PRIVATE_START + 0x7fffff);
  const int got = s.call<tag::SUBSCRIBE_EVENT>(subscription);
  if (got == ENOTTY) return not_applicable("the device has no events");
  return Subject::judge("VIDIOC_SUBSCRIBE_EVENT", got, EINVAL, "to an event that does not exist");
}

inline Finding all_is_no_event(Subject& s) {
  auto subscription = subscription_of(V4L2_EVENT_ALL);
  const int got = s.call<tag::SUBSCRIBE_EVENT>(subscription);
  if (got == ENOTTY) return not_applicable("the device has no events");
  return Subject::judge("VIDIOC_SUBSCRIBE_EVENT", got, EINVAL, "to V4L2_EVENT_ALL");
}

inline Finding unknown_control(Subject& s) {
  std::vector<Control> all;
  if (auto found = controls::list_some(s, all)) return found;
  const int got = subscribe(s, s.session(), controls::unknown_id(all), 0);
  if (got == ENOTTY) return not_applicable("the device has no events");
  return Subject::judge("VIDIOC_SUBSCRIBE_EVENT", got, EINVAL, "to a control that does not exist");
}

inline Finding every_control(Subject& s) {
  std::vector<Control> all;
  if (auto found = controls::list_some(s, all)) return found;
  for (const Control& control : all) {
    const int got = subscribe(s, s.session(), control.id, 0);
    if (got == ENOTTY) return not_applicable("the device has no events");
    if (auto found =
            Subject::judge("VIDIOC_SUBSCRIBE_EVENT", got, 0, ("to " + controls::name_of(control)).c_str()))
      return found;
  }
  return passed();
}

inline Finding unsubscribing_what_is_not(Subject& s) {
  for (const std::uint32_t type : {std::uint32_t{V4L2_EVENT_EOS}, std::uint32_t{V4L2_EVENT_ALL}}) {
    auto subscription = subscription_of(type);
    const int got = s.call<tag::UNSUBSCRIBE_EVENT>(subscription);
    if (got == ENOTTY) return not_applicable("the device has no events");
    if (auto found = Subject::judge("VIDIOC_UNSUBSCRIBE_EVENT", got, 0, "of an event that is not subscribed"))
      return found;
  }
  return passed();
}

// -- Events of controls

inline Finding initial_event(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  const Control& control = watched.it.control;
  if (auto found = Subject::judge("VIDIOC_SUBSCRIBE_EVENT",
                                  subscribe(s, s.session(), control.id, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0,
                                  "with SEND_INITIAL"))
    return found;
  std::vector<v4l2_event> got;
  if (auto found = events_so_far(s, s.session(), watched, got)) return found;
  const std::string name = controls::name_of(control);
  if (got.size() != 1) return failed("SEND_INITIAL of %s brought %zu events", name.c_str(), got.size());
  const auto& told = got.front().u.ctrl;
  constexpr std::uint32_t both = V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_FLAGS;
  if (told.changes != both)
    return failed("the first event of %s has changes 0x%x", name.c_str(), told.changes);
  if (told.type != control.type || told.flags != control.flags ||
      value_of(got.front(), control) != watched.it.present.number)
    return failed(
        "the first event of %s has type %u, flags 0x%x and value %lld, which are not those of the control",
        name.c_str(), told.type, told.flags, static_cast<long long>(value_of(got.front(), control)));
  if (told.minimum != static_cast<std::int32_t>(control.minimum) ||
      told.maximum != static_cast<std::int32_t>(control.maximum) ||
      told.step != static_cast<std::int32_t>(control.step) ||
      told.default_value != static_cast<std::int32_t>(control.default_value))
    return failed("the first event of %s: from %d to %d by %d, default %d, which is not its range",
                  name.c_str(), told.minimum, told.maximum, told.step, told.default_value);
  return passed();
}

inline Finding no_initial_unasked(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  static_cast<void>(subscribe(s, s.session(), watched.it.control.id, 0));
  std::vector<v4l2_event> got;
  if (auto found = events_so_far(s, s.session(), watched, got)) return found;
  if (got.empty()) return passed();
  return failed("%zu events came from a subscription without SEND_INITIAL", got.size());
}

// Subscribes with `flags` in `session`, changes the control in the first session, and returns what came.
inline Finding change_and_listen(Subject& s, const Watched& watched, std::uint32_t session,
                                 std::uint32_t flags, int times, std::vector<v4l2_event>& got) {
  for (int i = 0; i < times; ++i) {
    if (auto found =
            Subject::judge("VIDIOC_SUBSCRIBE_EVENT", subscribe(s, session, watched.it.control.id, flags), 0,
                           i == 0 ? "" : "once more"))
      return found;
  }
  if (auto found = controls::write(s, watched.it.control, watched.it.other)) return found;
  return events_so_far(s, session, watched, got);
}

inline Finding feedback(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  const controls::Restore restore(s, watched.it.control, watched.it.present);
  std::vector<v4l2_event> got;
  if (auto found = change_and_listen(s, watched, s.session(), V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK, 1, got))
    return found;
  const std::string name = controls::name_of(watched.it.control);
  if (got.size() != 1) return failed("a change of %s brought %zu events", name.c_str(), got.size());
  if ((got.front().u.ctrl.changes & V4L2_EVENT_CTRL_CH_VALUE) == 0 ||
      value_of(got.front(), watched.it.control) != watched.it.other.number)
    return failed("%s was set to %lld, but the event has changes 0x%x and value %lld", name.c_str(),
                  static_cast<long long>(watched.it.other.number), got.front().u.ctrl.changes,
                  static_cast<long long>(value_of(got.front(), watched.it.control)));
  return passed();
}

inline Finding no_feedback(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  const controls::Restore restore(s, watched.it.control, watched.it.present);
  std::vector<v4l2_event> got;
  if (auto found = change_and_listen(s, watched, s.session(), 0, 1, got)) return found;
  if (got.empty()) return passed();
  return failed("a file got an event for its own change of %s without ALLOW_FEEDBACK",
                controls::name_of(watched.it.control).c_str());
}

inline Finding subscribing_twice(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  const controls::Restore restore(s, watched.it.control, watched.it.present);
  std::vector<v4l2_event> got;
  if (auto found = change_and_listen(s, watched, s.session(), V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK, 2, got))
    return found;
  if (got.size() == 1) return passed();
  return failed("subscribed twice, a change of %s brought %zu events",
                controls::name_of(watched.it.control).c_str(), got.size());
}

inline Finding others_hear(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  std::uint32_t other = 0;
  if (auto found = s.open(other)) return found;
  const controls::Restore restore(s, watched.it.control, watched.it.present);
  std::vector<v4l2_event> got;
  if (auto found = change_and_listen(s, watched, other, 0, 1, got)) return found;
  controls::Value seen;
  if (controls::get_as(s, other, watched.it.control, seen) != 0 || seen != watched.it.other)
    return not_applicable("each file has its own controls");
  const std::string name = controls::name_of(watched.it.control);
  if (got.size() != 1)
    return failed("another file's change of %s brought %zu events", name.c_str(), got.size());
  if (value_of(got.front(), watched.it.control) == watched.it.other.number) return passed();
  return failed("another file set %s to %lld, but the event has %lld", name.c_str(),
                static_cast<long long>(watched.it.other.number),
                static_cast<long long>(value_of(got.front(), watched.it.control)));
}

inline Finding no_change_no_event(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  if ((watched.it.control.flags & V4L2_CTRL_FLAG_EXECUTE_ON_WRITE) != 0)
    return not_applicable("the control treats every write as a change");
  const controls::Restore restore(s, watched.it.control, watched.it.present);
  watched.it.other = watched.it.present;
  std::vector<v4l2_event> got;
  if (auto found = change_and_listen(s, watched, s.session(), V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK, 1, got))
    return found;
  if (got.empty()) return passed();
  return failed("%s was set to the value it had, which brought an event",
                controls::name_of(watched.it.control).c_str());
}

// After `end(subscription)` a change must not bring an event.
template <class End>
inline Finding unheard_after(Subject& s, End end) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  const controls::Restore restore(s, watched.it.control, watched.it.present);
  if (auto found = Subject::judge(
          "VIDIOC_SUBSCRIBE_EVENT",
          subscribe(s, s.session(), watched.it.control.id, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK), 0, ""))
    return found;
  auto subscription = end(watched.it.control);
  if (auto found = s.expect<tag::UNSUBSCRIBE_EVENT>(subscription)) return found;
  if (auto found = controls::write(s, watched.it.control, watched.it.other)) return found;
  std::vector<v4l2_event> got;
  if (auto found = events_so_far(s, s.session(), watched, got)) return found;
  if (got.empty()) return passed();
  return failed("%zu events of %s came after its subscription had ended", got.size(),
                controls::name_of(watched.it.control).c_str());
}
inline Finding unsubscribed(Subject& s) {
  return unheard_after(s,
                       [](const Control& control) { return subscription_of(V4L2_EVENT_CTRL, control.id); });
}
inline Finding all_unsubscribed(Subject& s) {
  return unheard_after(s, [](const Control&) { return subscription_of(V4L2_EVENT_ALL); });
}

inline Finding events_are_numbered(Subject& s) {
  Watched watched;
  if (auto found = find_watched(s, watched)) return found;
  const controls::Restore restore(s, watched.it.control, watched.it.present);
  if (auto found = Subject::judge(
          "VIDIOC_SUBSCRIBE_EVENT",
          subscribe(s, s.session(), watched.it.control.id, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK), 0, ""))
    return found;
  v4l2_event last{};
  for (int i = 0; i < 4; ++i) {
    const auto& value = i % 2 == 0 ? watched.it.other : watched.it.present;
    if (auto found = controls::write(s, watched.it.control, value)) return found;
    v4l2_event event{};
    if (auto found = s.next_event(s.session(), V4L2_EVENT_CTRL, event)) return found;
    if (i > 0 && event.sequence != last.sequence + 1)
      return failed("event %u comes after event %u", event.sequence, last.sequence);
    const auto later = std::pair(event.timestamp.tv_sec, event.timestamp.tv_nsec);
    if (later < std::pair(last.timestamp.tv_sec, last.timestamp.tv_nsec))
      return failed("the time stamps of events go back");
    if (later.first == 0 && later.second == 0) return failed("an event has no time stamp");
    last = event;
  }
  return passed();
}

inline constexpr const char* subscribe_section =
    "V4L2 API, ioctls VIDIOC_SUBSCRIBE_EVENT and VIDIOC_UNSUBSCRIBE_EVENT";
inline constexpr const char* event_section = "V4L2 API, ioctl VIDIOC_DQEVENT";

inline constexpr Rule event_rules[] = {
    {"events/unknown-type", "subscribing to an event that does not exist is EINVAL", subscribe_section,
     Scope::device, unknown_type},
    {"events/all-not-subscribable", "V4L2_EVENT_ALL can only be unsubscribed", subscribe_section,
     Scope::device, all_is_no_event},
    {"events/unknown-control", "subscribing to a control that does not exist is EINVAL", subscribe_section,
     Scope::device, unknown_control},
    {"events/every-control", "changes of every control can be subscribed to, including those of classes",
     subscribe_section, Scope::device, every_control},
    {"events/unsubscribe-nothing", "ending a subscription that does not exist is not an error",
     subscribe_section, Scope::device, unsubscribing_what_is_not},
    {"events/initial", "SEND_INITIAL brings one event that describes the control completely",
     subscribe_section, Scope::device, initial_event},
    {"events/no-initial", "without SEND_INITIAL a subscription brings no event by itself", subscribe_section,
     Scope::device, no_initial_unasked},
    {"events/feedback", "with ALLOW_FEEDBACK a file gets an event for its own change, with the new value",
     subscribe_section, Scope::device, feedback},
    {"events/no-feedback", "without ALLOW_FEEDBACK a file gets no event for its own change",
     subscribe_section, Scope::device, no_feedback},
    {"events/subscribe-twice", "subscribing twice is not an error, and brings each event once",
     subscribe_section, Scope::device, subscribing_twice},
    {"events/others-hear", "a file gets events for what another file changes", event_section, Scope::device,
     others_hear},
    {"events/no-change", "setting a control to the value it has brings no event", event_section,
     Scope::device, no_change_no_event},
    {"events/unsubscribe", "after its subscription has ended a change of a control brings no event",
     subscribe_section, Scope::device, unsubscribed},
    {"events/unsubscribe-all", "V4L2_EVENT_ALL ends all subscriptions", subscribe_section, Scope::device,
     all_unsubscribed},
    {"events/sequence",
     "the events of a file are numbered without gaps, and their time stamps do not go back", event_section,
     Scope::device, events_are_numbered},
};

}  // namespace vumedia::client::compliance::detail::events
