// Events that have come from a decoder's worker, on the loop.
#pragma once

#include <cstddef>
#include <variant>
#include <vector>

#include <vumedia/backends/ffmpeg/events.hpp>

namespace vumedia::backends::ffmpeg {

/// For the loop's thread.
class EventInbox {
 public:
  /// Calls `handle` for each event, in order: those left from before, and all that `source` (an Engine) has,
  /// until there are none. False if `handle` returned false, which says that the event has to wait, and so
  /// have all after it.
  template <class Source, class Handle>
  bool handle(Source& source, Handle handle) {
    while (true) {
      for (; next_ < events_.size(); ++next_) {
        if (!handle(events_[next_])) return false;
      }
      next_ = 0;
      source.take_events(events_);
      if (events_.empty()) return true;
    }
  }

  /// Drops all events of these types that wait.
  template <class... Gone>
  void forget() noexcept {
    events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(next_));
    next_ = 0;
    std::erase_if(events_, [](const Event& event) { return (std::holds_alternative<Gone>(event) || ...); });
  }

 private:
  std::vector<Event> events_;
  std::size_t next_ = 0;  // the first that waits
};

}  // namespace vumedia::backends::ffmpeg
