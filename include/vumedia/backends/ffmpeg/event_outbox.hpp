// Events on their way from a decoder's worker to the loop.
#pragma once

#include <functional>
#include <utility>
#include <variant>
#include <vector>

#include <vumedia/backends/ffmpeg/events.hpp>

namespace vumedia::backends::ffmpeg {

/// Used with the mutex of the engine's state held.
class EventOutbox {
 public:
  using Notify = std::move_only_function<void()>;  ///< must only post a notification

  /// `notify` is called when there is something to take again; it must not use this object.
  explicit EventOutbox(Notify notify) noexcept : notify_(std::move(notify)) {}

  /// Adds an event, and notifies if there was none.
  void push(Event event) {
    events_.push_back(std::move(event));
    if (events_.size() == 1) notify_();
  }

  /// Moves what is there, in order, to `events`, which is empty.
  void take(std::vector<Event>& events) noexcept { events.swap(events_); }

  /// Drops all events of these types.
  template <class... Gone>
  void drop() noexcept {
    std::erase_if(events_, [](const Event& event) { return (std::holds_alternative<Gone>(event) || ...); });
  }
  /// Drops all events.
  void clear() noexcept { events_.clear(); }

 private:
  Notify notify_;
  std::vector<Event> events_;
};

}  // namespace vumedia::backends::ffmpeg
