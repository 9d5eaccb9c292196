// The event queue (VIRTIO 1.4, 5.22.6.5): events go into the buffers that the driver lends, at once or later.
//
// Event buffers stay on the queue until an event needs one. Kicks of the queue matter only while an event
// waits. A buffer that is too short for the next event is returned with length 0, and the event waits for
// another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/count.hpp>
#include <vumedia/media/event_queue.hpp>
#include <vumedia/media/interrupts.hpp>
#include <vumedia/media/trace.hpp>
#include <vumedia/media/turns.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/queue.hpp>

namespace vumedia::media {

/// Sends events, and keeps those that find no buffer. For the host's loop.
template <virtio::Host Host, class Backend>
class EventSender {
 public:
  /// Of each session up to `max_waiting` events wait for buffers, but at least one: without a place the end
  /// of a session could not even be reported.
  EventSender(Host& host, Turns<Host>& turns, Interrupts<Host>& interrupts, Trace trace, Count<Backend> count,
              std::uint32_t max_waiting) noexcept
      : host_(host),
        turns_(turns),
        interrupts_(interrupts),
        trace_(trace),
        count_(count),
        max_waiting_(std::max(max_waiting, 1u)) {}
  EventSender(const EventSender&) = delete;
  EventSender& operator=(const EventSender&) = delete;

  // -- Sessions

  /// A session begins. Its events are kept back until introduce(): the guest does not know it yet. ENOMEM.
  [[nodiscard]] Result<> begin(SessionEvents& events, std::uint32_t session) noexcept {
    events.session = session;
    events.error = 0;
    if (const auto room = events.waiting.reserve(max_waiting_); !room) return room;
    events.waiting.hold(true);
    return {};
  }
  /// The guest knows the session now: what was kept back goes out.
  void introduce(SessionEvents& events) noexcept {
    events.waiting.hold(false);
    process();
  }
  /// The session ends, and so do its events.
  void end(SessionEvents& events) noexcept { queue_.purge(events.waiting); }

  // -- Sending

  /// Sends the event, or keeps it until there is a buffer. If there is no room to keep it, the session ends
  /// with an error event.
  void send(SessionEvents& to, const Event& event) noexcept {
    if (to.error != 0) return;  // ERROR was the last event of this session
    if (send_or_keep(to, event)) [[likely]]
      return;
    host_.log().write(LogLevel::warning, "session %u: more than %u events wait for the guest", to.session,
                      max_waiting_);
    end_with(to, ENOBUFS);
  }
  /// Ends the session with an error event. `error` is a positive errno; anything else stands for EIO.
  void fail(SessionEvents& of, int error) noexcept {
    if (of.error == 0) end_with(of, error > 0 ? error : EIO);
  }
  /// Withdraws what waits: the events for which `unwanted(const Event&)` holds.
  template <class Predicate>
  void purge(SessionEvents& of, Predicate unwanted) noexcept {
    queue_.purge(of.waiting, unwanted);
  }
  /// The same for DQBUF events of that buffer type.
  void purge_dqbuf(SessionEvents& of, std::uint32_t buffer_type) noexcept {
    purge(of, [=](const Event& event) { return event.is_dqbuf_of(buffer_type); });
  }

  // -- The queue

  /// There may be buffers: sends what waits, as much of it as a turn allows.
  void process() noexcept;
  /// In another turn: continues.
  void resume() noexcept {
    if (std::exchange(resume_, false)) process();
  }
  /// The queues were reset: nothing is to be continued.
  void reset() noexcept { resume_ = false; }

  /// Events that wait, of all sessions.
  [[nodiscard]] std::size_t waiting() const noexcept { return queue_.size(); }

 private:
  // What one turn of the loop serves before others have theirs, besides its Work. Drivers that mean well have
  // few at a time.
  static constexpr std::uint32_t buffers_a_turn = 64;

  enum class Delivery : std::uint8_t { done, no_buffer, broken };

  void end_with(SessionEvents& of, int error) noexcept {
    of.error = error;
    count_([](auto& statistics) { statistics.on_session_failed(); });
    queue_.purge(of.waiting);
    // Its store is empty now, so there is room.
    static_cast<void>(send_or_keep(of, Event::error(of.session, error)));
  }
  [[nodiscard]] bool send_or_keep(SessionEvents& to, const Event& event) noexcept;
  [[nodiscard]] Delivery deliver(const Event& event, std::uint32_t& budget) noexcept;

  // Descriptors of no bytes give no segment and are passed over quickly, but there may be as many as the
  // queue has.
  [[nodiscard]] static std::int64_t cost(const virtio::Queue& queue, std::size_t segments) noexcept {
    return memory::Work::event + memory::Work::descriptor / 4 * queue.size() +
           memory::Work::descriptor * static_cast<std::int64_t>(segments);
  }

  Host& host_;
  Turns<Host>& turns_;
  Interrupts<Host>& interrupts_;
  const Trace trace_;
  const Count<Backend> count_;
  const std::uint32_t max_waiting_;
  EventQueue queue_;
  bool resume_ = false;
};

// False if there is neither an event buffer nor room to wait.
template <virtio::Host H, class B>
bool EventSender<H, B>::send_or_keep(SessionEvents& to, const Event& event) noexcept {
  if (!to.waiting.held() && queue_.front() == nullptr && host_.queue_running(wire::eventq)) [[likely]] {
    std::uint32_t budget = buffers_a_turn;
    if (deliver(event, budget) == Delivery::done) [[likely]] {
      interrupts_.events_done();
      return true;
    }
  }
  turns_.work().spend(memory::Work::event);
  if (!queue_.push(to.waiting, event)) return false;
  count_([](auto& statistics) { statistics.on_event_waits(); });
  // Asks for kicks, and detects a buffer that came in the meantime.
  if (!resume_) process();
  return true;
}

// Fills the next buffer that has room for `event`. `budget` bounds the buffers that are tried; of those that
// are too short a turn of the loop takes no more than it has time for, then `budget` is 0.
template <virtio::Host H, class B>
auto EventSender<H, B>::deliver(const Event& event, std::uint32_t& budget) noexcept -> Delivery {
  virtio::Queue& queue = host_.queue(wire::eventq);
  for (; budget > 0; --budget) {
    const virtio::PopResult popped = queue.pop(*host_.memory());
    if (popped.failed()) [[unlikely]] {
      host_.queue_failed(wire::eventq,
                         Error{format_text("eventq: %s", virtio::to_string(popped.error)), EPROTO});
      return Delivery::broken;
    }
    if (!popped) return Delivery::no_buffer;
    turns_.work().spend(cost(queue, popped->segments().size()));
    virtio::Writer writer = popped->writer();
    const bool written = writer.write_bytes(event.bytes()).has_value();
    interrupts_.event_pushed();
    if (!queue.push(*host_.memory(), popped->head(), static_cast<std::uint32_t>(writer.written())))
        [[unlikely]]
      return Delivery::broken;
    if (written) [[likely]] {
      count_([&event](auto& statistics) { statistics.on_event(event); });
      trace_.event(event);
      return Delivery::done;
    }
    host_.log().write(LogLevel::debug, "event buffer of %u bytes is too short", popped->writable_size());
    if (turns_.work().left() <= 0) budget = 1;  // the last one
  }
  return Delivery::no_buffer;
}

template <virtio::Host H, class B>
void EventSender<H, B>::process() noexcept {
  if (!host_.queue_running(wire::eventq)) return;
  virtio::Queue& queue = host_.queue(wire::eventq);
  for (std::uint32_t budget = buffers_a_turn;;) {
    Event* const event = queue_.front();
    if (event == nullptr) {
      queue.disable_notifications(*host_.memory());
      break;
    }
    if (budget == 0) {
      resume_ = true;
      turns_.wake();
      break;
    }
    const Delivery delivery = deliver(*event, budget);
    if (delivery == Delivery::broken) break;
    if (delivery == Delivery::done) {
      queue_.pop(*event);
      budget = turns_.work().left() > 0 ? budget - 1 : 0;
    } else if (budget != 0) {
      if (!queue.enable_notifications(*host_.memory())) break;
      --budget;
    }
  }
  interrupts_.events_done();
}

}  // namespace vumedia::media
