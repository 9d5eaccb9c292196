// Which events a session asked for: VIDIOC_SUBSCRIBE_EVENT and VIDIOC_UNSUBSCRIBE_EVENT.
//
// A subscribed event goes to the guest at once; the guest's kernel keeps the queue that its programs see.
// When event buffers are missing, the device holds the waiting events, merges them as the kernel does, and
// forgets them when they are unsubscribed (media/event_queue.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <linux/videodev2.h>
#include <time.h>

#include <vumedia/core/result.hpp>

namespace vumedia::v4l2 {

/// Of one session. For the device's loop.
class Subscriptions {
 public:
  /// No device has so many controls and sources that a guest needs more.
  static constexpr std::size_t max_subscriptions = 512;

  /// True if the subscription is new, false if it existed already (which changes nothing, as in the kernel).
  /// EINVAL: V4L2_EVENT_ALL. ENOMEM: too many. The caller checks which types and ids exist.
  [[nodiscard]] Result<bool> add(const v4l2_event_subscription& request) {
    if (request.type == V4L2_EVENT_ALL) return fail(EINVAL);
    if (find(request.type, request.id) != nullptr) return false;
    if (entries_.size() == max_subscriptions) return fail(ENOMEM);
    entries_.push_back({request.type, request.id, request.flags});
    return true;
  }

  /// VIDIOC_UNSUBSCRIBE_EVENT. V4L2_EVENT_ALL ends all; it is not an error if the event is not subscribed.
  void remove(const v4l2_event_subscription& request) noexcept {
    if (request.type == V4L2_EVENT_ALL) {
      entries_.clear();
      return;
    }
    std::erase_if(entries_,
                  [&](const Entry& entry) { return entry.type == request.type && entry.id == request.id; });
  }

  /// Whether that event is subscribed to; `id` is a control's, or 0.
  [[nodiscard]] bool has(std::uint32_t type, std::uint32_t id) const noexcept {
    return find(type, id) != nullptr;
  }
  /// How many there are.
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

  /// Passes the event to `send(const v4l2_event&)`, numbered and stamped, if it is subscribed. `origin` is
  /// the session whose own request caused it: that one receives it only with
  /// V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK.
  template <class Send>
  bool deliver(v4l2_event event, const Subscriptions* origin, Send&& send) {
    const Entry* const entry = find(event.type, event.id);
    if (entry == nullptr) return false;
    if (origin == this && !(entry->flags & V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK)) return false;
    event.sequence = sequence_++;
    event.pending = 0;
    static_cast<void>(::clock_gettime(CLOCK_MONOTONIC, &event.timestamp));
    send(static_cast<const v4l2_event&>(event));
    return true;
  }
  /// The same for what no session has caused.
  template <class Send>
  bool deliver(const v4l2_event& event, Send&& send) {
    return deliver(event, nullptr, static_cast<Send&&>(send));
  }

 private:
  struct Entry {
    std::uint32_t type;
    std::uint32_t id;
    std::uint32_t flags;
  };
  [[nodiscard]] const Entry* find(std::uint32_t type, std::uint32_t id) const noexcept {
    const auto found = std::ranges::find_if(
        entries_, [&](const Entry& entry) { return entry.type == type && entry.id == id; });
    return found == entries_.end() ? nullptr : &*found;
  }

  std::vector<Entry> entries_;
  std::uint32_t sequence_ = 0;  // of the next event
};

/// An event of that type (V4L2_EVENT_*), otherwise zero.
[[nodiscard]] inline v4l2_event make_event(std::uint32_t type, std::uint32_t id = 0) noexcept {
  v4l2_event event{};
  event.type = type;
  event.id = id;
  return event;
}

/// A V4L2_EVENT_SOURCE_CHANGE, with what has changed (V4L2_EVENT_SRC_CH_*).
[[nodiscard]] inline v4l2_event source_change_event(
    std::uint32_t changes = V4L2_EVENT_SRC_CH_RESOLUTION) noexcept {
  v4l2_event event = make_event(V4L2_EVENT_SOURCE_CHANGE);
  event.u.src_change.changes = changes;
  return event;
}

}  // namespace vumedia::v4l2
