// The event queue of media::Device (VIRTIO 1.4, 5.22.6.5). Part of device.hpp.
//
// Event buffers stay on the queue until an event needs one. Kicks of the queue matter only while an event
// waits.
#pragma once

#include <vumedia/media/device.hpp>

namespace vumedia::media {

template <class B, virtio::Host H>
void Device<B, H>::send(Record& record, const Event& event) noexcept {
  if (record.error != 0) return;  // ERROR was the last event of this session
  if (!send_or_keep(record, event)) {
    host_.log().write(LogLevel::warning, "session %u: more than %u events wait for the guest", record.id,
                      max_waiting_events_);
    fail_session(record, ENOBUFS);
  }
}

template <class B, virtio::Host H>
void Device<B, H>::send_error(std::uint32_t session, int error) noexcept {
  Record* const record = sessions_.find(session);
  if (record != nullptr && record->error == 0) fail_session(*record, error > 0 ? error : EIO);
}

template <class B, virtio::Host H>
void Device<B, H>::fail_session(Record& record, int error) noexcept {
  record.error = error;
  count([](auto& statistics) { statistics.on_session_failed(); });
  events_.purge(record.events);
  // Its store is empty now, so there is room.
  static_cast<void>(send_or_keep(record, Event::error(record.id, error)));
}

// False if there is neither an event buffer nor room to wait.
template <class B, virtio::Host H>
bool Device<B, H>::send_or_keep(Record& record, const Event& event) noexcept {
  if (!record.events.held() && events_.front() == nullptr && host_.queue_running(wire::eventq)) [[likely]] {
    std::uint32_t budget = event_buffers_a_turn;
    if (deliver(event, budget) == Delivery::done) [[likely]] {
      flush_events();
      return true;
    }
  }
  work_.spend(memory::Work::event);
  if (!events_.push(record.events, event)) return false;
  count([](auto& statistics) { statistics.on_event_waits(); });
  // Asks for kicks, and detects a buffer that came in the meantime.
  if (!resume_events_) deliver_waiting();
  return true;
}

// Fills the next buffer that has room for `event`. `budget` bounds the buffers that are tried; of those that
// are too short a turn of the loop takes no more than it has time for, then `budget` is 0.
template <class B, virtio::Host H>
auto Device<B, H>::deliver(const Event& event, std::uint32_t& budget) noexcept -> Delivery {
  virtio::Queue& queue = host_.queue(wire::eventq);
  for (; budget > 0; --budget) {
    const virtio::PopResult popped = queue.pop(*host_.memory());
    if (popped.failed()) [[unlikely]] {
      queue_broken(wire::eventq, popped.error);
      return Delivery::broken;
    }
    if (!popped) return Delivery::no_buffer;
    work_.spend(event_cost(queue, popped->segments().size()));
    virtio::Writer writer = popped->writer();
    const bool written = writer.write_bytes(event.bytes()).has_value();
    events_unflushed_ = true;
    if (!queue.push(*host_.memory(), popped->head(), static_cast<std::uint32_t>(writer.written())))
        [[unlikely]]
      return Delivery::broken;
    if (written) [[likely]] {
      count([&event](auto& statistics) { statistics.on_event(event); });
      if (host_.log().enabled(LogLevel::trace)) [[unlikely]]
        write_trace(event);
      return Delivery::done;
    }
    host_.log().write(LogLevel::debug, "event buffer of %u bytes is too short", popped->writable_size());
    if (work_.left() <= 0) budget = 1;  // the last one
  }
  return Delivery::no_buffer;
}

template <class B, virtio::Host H>
void Device<B, H>::write_trace(const Event& event) const noexcept {
  const char* name = "ERROR";
  std::string fields;
  if (const auto* const dqbuf = event.as_dqbuf()) {
    name = "DQBUF";
    v4l2::Buffer buffer;
    std::memcpy(&buffer.head, &dqbuf->buffer, sizeof buffer.head);
    std::memcpy(buffer.planes.data(), dqbuf->planes, sizeof dqbuf->planes);
    if (describe_ != nullptr) fields = " " + describe_(_IOC_NR(VIDIOC_DQBUF), &buffer);
  } else if (const v4l2_event* const body = event.as_v4l2()) {
    name = "EVENT";
    if (describe_ != nullptr) fields = " " + describe_(_IOC_NR(VIDIOC_DQEVENT), body);
  }
  host_.log().write(LogLevel::trace, "session %u: event %s%s", event.session(), name, fields.c_str());
}

template <class B, virtio::Host H>
void Device<B, H>::deliver_waiting() noexcept {
  if (!host_.queue_running(wire::eventq)) return;
  virtio::Queue& queue = host_.queue(wire::eventq);
  for (std::uint32_t budget = event_buffers_a_turn;;) {
    const Event* const event = events_.front();
    if (event == nullptr) {
      queue.disable_notifications(*host_.memory());
      break;
    }
    if (budget == 0) {
      resume_later(wire::eventq);
      break;
    }
    const Delivery delivery = deliver(*event, budget);
    if (delivery == Delivery::broken) break;
    if (delivery == Delivery::done) {
      events_.pop_front();
      budget = work_.left() > 0 ? budget - 1 : 0;
    } else if (budget != 0) {
      if (!queue.enable_notifications(*host_.memory())) break;
      --budget;
    }
  }
  flush_events();
}

template <class B, virtio::Host H>
void Device<B, H>::flush_events() noexcept {
  if (in_commands_ || !std::exchange(events_unflushed_, false)) return;
  host_.flush(wire::eventq);
}

// -- The services behind Context and Poster

template <class B, virtio::Host H>
inline const detail::Services Device<B, H>::services = {
    .session_type = &detail::type_key<Session>,
    .find_session = [](void* self, std::uint32_t id) noexcept -> void* {
      Record* const record = static_cast<Device*>(self)->sessions_.find(id);
      return record != nullptr ? record->session.get() : nullptr;
    },
    .send_dqbuf =
        [](void* self, std::uint32_t id, const v4l2::Buffer& buffer) noexcept {
          static_cast<Device*>(self)->send_dqbuf(id, buffer);
        },
    .send_event = [](void* self, std::uint32_t id,
                     const v4l2_event& event) noexcept { static_cast<Device*>(self)->send_event(id, event); },
    .send_error = [](void* self, std::uint32_t id,
                     int error) noexcept { static_cast<Device*>(self)->send_error(id, error); },
    .purge_dqbuf = [](void* self, std::uint32_t id,
                      std::uint32_t type) noexcept { static_cast<Device*>(self)->purge_dqbuf(id, type); },
    .arenas = [](void* self) noexcept -> memory::Arenas& { return static_cast<Device*>(self)->arenas(); },
    .memory = [](void* self) noexcept -> const std::shared_ptr<const memory::GuestMemory>& {
      return static_cast<Device*>(self)->host_.memory();
    },
    .work = [](void* self) noexcept -> memory::Work& { return static_cast<Device*>(self)->work_; },
    .do_later = [](void* self, Chore& chore) noexcept { static_cast<Device*>(self)->do_later(chore); },
    .log = [](void* self) noexcept -> const Log& { return static_cast<Device*>(self)->host_.log(); },
    .timer =
        [](void* self, io::Operation& operation, io::TimePoint deadline) noexcept {
          static_cast<Device*>(self)->host_.timer(operation, deadline);
        },
    .poll = [](void* self, io::Operation& operation, int fd,
               unsigned events) noexcept { static_cast<Device*>(self)->host_.poll(operation, fd, events); },
    .cancel = [](void* self,
                 io::Operation& operation) noexcept { static_cast<Device*>(self)->host_.cancel(operation); },
    .inbox = [](void* self) noexcept { return static_cast<Device*>(self)->host_.inbox(); },
    .anchor = [](void* self) noexcept -> const std::shared_ptr<detail::Anchor>& {
      return static_cast<Device*>(self)->anchor_;
    },
};

}  // namespace vumedia::media
