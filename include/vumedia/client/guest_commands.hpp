// BasicGuest: its memory, and sending commands and receiving events. Included by guest.hpp.
#pragma once

#include <algorithm>
#include <cstring>

#include <vumedia/client/guest.hpp>

namespace vumedia::client {

template <class Link>
Outcome<> BasicGuest<Link>::set_up() {
  if (auto done = transport_.negotiate(std::as_writable_bytes(std::span(&config_, 1))); !done) return done;
  if (auto done = create_memory(); !done) return done;
  return start();
}

// One piece of memory holds the queues, the event buffers, one command and its answer, and the caller's
// memory.
template <class Link>
Outcome<> BasicGuest<Link>::create_memory() {
  std::size_t end = 0;
  const auto area = [&end](std::size_t size) {
    const Area result{end, size};
    end = (end + size + 63) & ~std::size_t{63};
    return result;
  };
  const Area rings[] = {area(virtio::DriverQueue::bytes(command_queue_size)),
                        area(virtio::DriverQueue::bytes(event_queue_size))};
  events_ = area(event_queue_size * event_stride);
  command_ = area(command_bytes);
  answer_ = area(command_bytes);
  controls_ = area(control_bytes);
  end = (end + page_size - 1) & ~(page_size - 1);
  user_ = area(options_.user_memory);

  auto memory = transport_.create_memory(end);
  if (!memory) return std::unexpected(std::move(memory.error()));
  memory_ = *memory;
  for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
    queues_.emplace_back(bytes(rings[i]).data(), guest(rings[i]),
                         i == media::wire::commandq ? command_queue_size : event_queue_size,
                         transport_.event_idx());
  }
  return {};
}

// The state of a driver at DRIVER_OK that has already lent its event buffers.
template <class Link>
Outcome<> BasicGuest<Link>::start() {
  lend_event_buffers();
  return transport_.start(queues_);
}

template <class Link>
Outcome<> BasicGuest<Link>::reset() {
  if (auto done = transport_.reset(); !done) return done;
  kept_.clear();
  for (auto& queue : queues_) queue.reset();
  return start();
}

template <class Link>
Result<std::uint32_t> BasicGuest<Link>::open() {
  namespace wire = media::wire;
  const wire::virtio_media_cmd_open request{{wire::cmd_open, 0}};
  wire::virtio_media_resp_open response{};
  const auto length = command(vhost_user::bytes_of(request), std::as_writable_bytes(std::span(&response, 1)));
  if (!length) return std::unexpected(length.error());
  if (*length < sizeof response.hdr) return broken(EPROTO, "OPEN: the answer has no status");
  if (response.hdr.status != 0) return fail(detail::status_errno(response.hdr.status));
  if (*length < sizeof response) return broken(EPROTO, "OPEN: the answer is too short");
  return response.session_id;
}

template <class Link>
Result<> BasicGuest<Link>::close(std::uint32_t session) {
  namespace wire = media::wire;
  const wire::virtio_media_cmd_close request{{wire::cmd_close, 0}, session, 0};
  const auto length = command(vhost_user::bytes_of(request), {});
  if (!length) return std::unexpected(length.error());
  // Nobody wants the remaining events of the session. The device has put them into the event queue before it
  // returned the command, and forgets those that wait for buffers.
  if (auto done = collect_events(); !done) return done;
  std::erase_if(kept_, [session](const Event& event) {
    return std::visit([session](const auto& each) { return each.session == session; }, event);
  });
  return {};
}

template <class Link>
Result<typename BasicGuest<Link>::Mapped> BasicGuest<Link>::mmap(std::uint32_t session, std::uint32_t offset,
                                                                 bool writable) {
  namespace wire = media::wire;
  const wire::virtio_media_cmd_mmap request{
      {wire::cmd_mmap, 0}, session, writable ? wire::mmap_flag_rw : 0, offset};
  wire::virtio_media_resp_mmap response{};
  const auto length = command(vhost_user::bytes_of(request), std::as_writable_bytes(std::span(&response, 1)));
  if (!length) return std::unexpected(length.error());
  if (*length < sizeof response.hdr) return broken(EPROTO, "MMAP: the answer has no status");
  if (response.hdr.status != 0) return fail(detail::status_errno(response.hdr.status));
  if (*length < sizeof response) return broken(EPROTO, "MMAP: the answer is too short");
  const auto memory = transport_.shared_memory({response.driver_addr}, response.len);
  if (memory.empty()) return broken(EPROTO, "MMAP: the answer names memory that was not mapped");
  return Mapped{{response.driver_addr}, memory};
}

template <class Link>
Result<> BasicGuest<Link>::munmap(memory::ShmOffset driver_addr) {
  namespace wire = media::wire;
  const wire::virtio_media_cmd_munmap request{{wire::cmd_munmap, 0}, driver_addr.value};
  wire::virtio_media_resp_munmap response{};
  const auto length = command(vhost_user::bytes_of(request), std::as_writable_bytes(std::span(&response, 1)));
  if (!length) return std::unexpected(length.error());
  if (*length < sizeof response) return broken(EPROTO, "MUNMAP: the answer has no status");
  if (response.hdr.status != 0) return fail(detail::status_errno(response.hdr.status));
  return {};
}

template <class Link>
Result<std::uint32_t> BasicGuest<Link>::command(std::span<const std::byte> command,
                                                std::span<std::byte> answer) {
  if (command.size() > command_.size || answer.size() > answer_.size) return fail(E2BIG);
  if (command.empty() && answer.empty()) return fail(EINVAL);
  std::ranges::copy(command, bytes(command_).begin());
  auto length = run(command.size(), answer.size());
  if (length)
    std::ranges::copy(bytes(answer_).first(std::min<std::size_t>(*length, answer.size())), answer.begin());
  return length;
}

// Sends the contents of the command area and waits for the answer.
template <class Link>
Result<std::uint32_t> BasicGuest<Link>::run(std::size_t command_size, std::size_t answer_size) {
  if (error_.code != 0) return fail(error_.code);
  if (answer_size > answer_.size) return fail(E2BIG);
  virtio::Piece pieces[2];
  std::size_t count = 0;
  if (command_size > 0) pieces[count++] = {guest(command_), static_cast<std::uint32_t>(command_size), false};
  if (answer_size > 0) pieces[count++] = {guest(answer_), static_cast<std::uint32_t>(answer_size), true};
  virtio::DriverQueue& queue = queues_[media::wire::commandq];
  const auto head = queue.add(std::span(pieces).first(count));
  if (!head) return std::unexpected(head.error());
  if (queue.publish()) transport_.kick(media::wire::commandq);

  const io::TimePoint begin = Clock::now();
  const io::TimePoint until = begin + options_.command_timeout;
  while (true) {
    const auto used = queue.pop_used();
    if (!used) return broken(EPROTO, "the device returned a command that it does not have");
    if (*used) return (*used)->length;
    if (options_.spin.count() > 0 && Clock::now() - begin < options_.spin) {
      // The answer may be waiting for a mapping.
      if (auto served = transport_.poll(); !served) return broken(std::move(served.error()));
      continue;
    }
    if (queue.enable_interrupts()) continue;
    if (Clock::now() >= until) return broken(ETIMEDOUT, "the device did not answer a command in time");
    if (auto done = wait(until); !done) return std::unexpected(done.error());
    // Events keep coming while a command is pending, and the device has few buffers for them.
    if (auto done = collect_events(); !done) return std::unexpected(done.error());
  }
}

template <class Link>
Result<std::optional<Event>> BasicGuest<Link>::wait_event(std::chrono::milliseconds timeout) {
  const io::TimePoint until = Clock::now() + timeout;
  while (true) {
    if (auto done = collect_events(); !done) return std::unexpected(done.error());
    if (!kept_.empty()) {
      Event event = std::move(kept_.front());
      kept_.pop_front();
      return event;
    }
    if (error_.code != 0) return fail(error_.code);
    if (Clock::now() >= until) return std::nullopt;
    if (queues_[media::wire::eventq].enable_interrupts()) continue;
    if (auto done = wait(until); !done) return std::unexpected(done.error());
  }
}

// Waits until something may have happened, or `until`.
template <class Link>
Result<> BasicGuest<Link>::wait(io::TimePoint until) {
  if (auto done = transport_.wait(until); !done) return broken(std::move(done.error()));
  return {};
}

template <class Link>
Result<> BasicGuest<Link>::collect_events() {
  virtio::DriverQueue& queue = queues_[media::wire::eventq];
  bool lent = false;
  while (kept_.size() < max_kept_events) {
    const auto used = queue.pop_used();
    if (!used) return broken(EPROTO, "the device returned an event buffer that it does not have");
    if (!*used) break;
    const std::uint32_t slot = slot_of_head_[(*used)->head];
    const Area area{events_.offset + slot * event_stride, media::wire::max_event_size};
    keep_event(std::span<const std::byte>(bytes(area)).first((*used)->length));
    lend_event_buffer(slot);
    lent = true;
  }
  if (lent && queue.publish()) transport_.kick(media::wire::eventq);
  return {};
}

template <class Link>
void BasicGuest<Link>::keep_event(std::span<const std::byte> bytes) {
  namespace wire = media::wire;
  wire::virtio_media_event_header head;
  const auto read = [&bytes](auto& event) {
    if (bytes.size() < sizeof event) return false;
    std::memcpy(&event, bytes.data(), sizeof event);
    return true;
  };
  if (read(head)) {
    switch (head.event) {
      case wire::event_error:
        if (wire::virtio_media_event_error event; read(event)) {
          kept_.emplace_back(ErrorEvent{event.hdr.session_id, detail::status_errno(event.error)});
          return;
        }
        break;
      case wire::event_dqbuf:
        if (wire::virtio_media_event_dqbuf event; read(event)) {
          DqbufEvent kept{event.hdr.session_id, {}};
          kept.buffer.head = event.buffer;
          std::copy(std::begin(event.planes), std::end(event.planes), kept.buffer.planes.begin());
          kept_.emplace_back(kept);
          return;
        }
        break;
      case wire::event_event:
        if (wire::virtio_media_event_event event; read(event)) {
          kept_.emplace_back(V4l2Event{event.hdr.session_id, event.event});
          return;
        }
        break;
      default:
        break;
    }
  }
  ++dropped_events_;
}

template <class Link>
void BasicGuest<Link>::lend_event_buffers() {
  for (std::uint32_t slot = 0; slot < event_queue_size; ++slot) lend_event_buffer(slot);
  static_cast<void>(queues_[media::wire::eventq].publish());
}

template <class Link>
void BasicGuest<Link>::lend_event_buffer(std::uint32_t slot) {
  const Area area{events_.offset + slot * event_stride, media::wire::max_event_size};
  const virtio::Piece piece{guest(area), media::wire::max_event_size, true};
  // There are as many descriptors as slots, and one of them has just come back, or the queue is empty.
  if (const auto head = queues_[media::wire::eventq].add(std::span(&piece, 1))) slot_of_head_[*head] = slot;
}

template <class Link>
std::span<std::byte> BasicGuest<Link>::user_memory() const noexcept {
  return bytes(user_);
}

template <class Link>
Result<memory::GuestAddress> BasicGuest<Link>::guest_address(const void* in_user_memory) const noexcept {
  const auto offset = reinterpret_cast<std::uintptr_t>(in_user_memory) -
                      reinterpret_cast<std::uintptr_t>(bytes(user_).data());
  if (offset >= user_.size) return fail(EFAULT);
  return memory::GuestAddress{guest(user_).value + offset};
}

// For USERPTR buffers, whose pointers point into user_memory().
template <class Link>
Result<> BasicGuest<Link>::add_ranges(v4l2::BufferPayload& payload) const {
  const v4l2_buffer& head = payload.buffer.head;
  if (head.memory != V4L2_MEMORY_USERPTR) return {};
  const auto planes = detail::plane_count(head);
  if (!planes) return std::unexpected(planes.error());
  const bool multiplanar = v4l2::is_multiplanar(head.type);
  for (std::uint32_t p = 0; p < (multiplanar ? *planes : 1); ++p) {
    const std::uint32_t length = multiplanar ? payload.buffer.planes[p].length : head.length;
    const unsigned long pointer = multiplanar ? payload.buffer.planes[p].m.userptr : head.m.userptr;
    const auto address = guest_address(reinterpret_cast<const void*>(pointer));
    if (!address || !range_fits(address->value - guest(user_).value, length, user_.size)) {
      payload.ranges.clear();
      return fail(EFAULT);
    }
    const v4l2::GuestRange range{*address, length};
    payload.ranges.add_list(std::span(&range, length > 0 ? 1 : 0));
  }
  return {};
}

// For controls that are more than a number: their bytes go through guest memory.
template <class Link>
Result<> BasicGuest<Link>::add_ranges(v4l2::ExtControls& payload) const {
  std::size_t used = 0;
  for (const v4l2_ext_control& control : payload.controls) {
    if (control.size > controls_.size - used || (control.size > 0 && control.ptr == nullptr)) {
      payload.ranges.clear();
      return fail(control.size > 0 && control.ptr == nullptr ? EFAULT : E2BIG);
    }
    const Area area{controls_.offset + used, control.size};
    if (control.size > 0) std::memcpy(bytes(area).data(), control.ptr, control.size);
    const v4l2::GuestRange range{guest(area), control.size};
    payload.ranges.add_list(std::span(&range, control.size > 0 ? 1 : 0));
    used += control.size;
  }
  return {};
}

template <class Link>
void BasicGuest<Link>::take_controls(std::span<const v4l2_ext_control> sent) const noexcept {
  std::size_t used = 0;
  for (const v4l2_ext_control& control : sent) {
    if (control.size > 0)
      std::memcpy(control.ptr, bytes({controls_.offset + used, control.size}).data(), control.size);
    used += control.size;
  }
}

}  // namespace vumedia::client
