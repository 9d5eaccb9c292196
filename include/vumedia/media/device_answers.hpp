// The commands that media::Device answers later: MMAP, which waits for the host (and MUNMAP, which does not),
// and those that a backend defers. Part of device.hpp.
#pragma once

#include <vumedia/media/device.hpp>

namespace vumedia::media {

// -- Mappings

template <class B, virtio::Host H>
auto Device<B, H>::mmap(const virtio::Chain& chain, std::uint32_t session, std::uint32_t flags,
                        virtio::Reader& reader) -> Written {
  std::uint32_t offset = 0;
  if (!reader.read_to(offset)) return write_status(chain, EINVAL);
  if (chain.writable_size() < sizeof(wire::virtio_media_resp_mmap)) return write_status(chain, EINVAL);
  Record* const record = sessions_.find(session);
  if (record == nullptr) return write_status(chain, EINVAL);
  if ((record->error | record->waiting) != 0) return refuse_or_hold(*record, chain);
  if (too_many_wait(session)) return write_status(chain, EBUSY);
  auto buffer = find_buffer(*record, offset);
  trace("MMAP", record->id, buffer ? Result<>{} : fail(buffer.error().value));
  if (!buffer) return write_status(chain, buffer.error().value);

  Pending& pending = defer(chain, sizeof(wire::virtio_media_resp_mmap), record->id);
  pending.mappable = std::move(*buffer);
  pending.map_writable = (flags & wire::mmap_flag_rw) != 0;
  on_mappings_changed();
  return not_now;
}

template <class B, virtio::Host H>
Result<Mappable> Device<B, H>::find_buffer(Record& record, std::uint32_t offset) {
  if constexpr (Maps<B>) {
    return backend_.mmap(*record.session, offset);
  } else {
    return fail(ENODEV);
  }
}

template <class B, virtio::Host H>
auto Device<B, H>::munmap(const virtio::Chain& chain, std::uint64_t address) -> Written {
  if (chain.writable_size() < sizeof(wire::virtio_media_resp_munmap)) return 0;
  const auto done = mappings_.unmap(address);
  trace("MUNMAP", 0, done);
  if (!done) return write_status(chain, done.error().value);
  return write_response(chain.writer(), wire::virtio_media_resp_munmap{});
}

// Tries all waiting maps again; each is either answered or keeps waiting.
template <class B, virtio::Host H>
void Device<B, H>::on_mappings_changed() noexcept {
  if (std::exchange(mapping_, true)) {
    map_again_ = true;
    return;
  }
  do {
    map_again_ = false;
    for (Pending* pending = pending_.first(); pending != nullptr;) {
      Pending& command = *pending;
      pending = pending_.next(command);
      if (!command.mappable) continue;
      const auto address = mappings_.map(*command.mappable, command.map_writable);
      if (!address) {
        refuse(command, address.error().value);
      } else if (*address) {
        answer(command, write_response(command.writer(), wire::virtio_media_resp_mmap{
                                                             {0, 0}, **address, command.mappable->length}));
      }
    }
  } while (map_again_);
  mapping_ = false;
}

// -- Answers that come later

template <class B, virtio::Host H>
auto Device<B, H>::defer(const virtio::Chain& chain, std::size_t room, std::uint32_t session) -> Pending& {
  const auto& memory = held_memory_ != nullptr ? held_memory_ : host_.memory();
  Pending& pending = pending_.add(chain, room, memory, io::Clock::now() + command_timeout_);
  pending.session_id = session;
  pending.begun = command_begun_;
  arm_deadline();
  return pending;
}

template <class B, virtio::Host H>
std::shared_ptr<detail::Deferred> Device<B, H>::make_deferred() {
  auto command = std::make_shared<detail::Deferred>();
  command->inbox = host_.inbox();
  command->anchor = anchor_;
  command->finish = [](void* self, detail::Deferred& finished) noexcept {
    static_cast<Device*>(self)->finish(finished);
  };
  return command;
}

template <class B, virtio::Host H>
void Device<B, H>::finish(detail::Deferred& command) noexcept {
  Pending* const pending = pending_.find(command);
  if (pending == nullptr) return;
  if (pending->opens) return finish_open(*pending, command.result);
  answer(*pending, pending->answer(*this, *pending, command.result));
}

template <class B, virtio::Host H>
void Device<B, H>::answer(Pending& command, Written written) noexcept {
  const std::uint16_t head = command.head;
  const std::uint64_t begun = command.begun;
  forget(command);
  push(head, written);
  count([begun](auto& statistics) { statistics.on_answer(begun); });
  if (!in_commands_) host_.flush(wire::commandq);
}

template <class B, virtio::Host H>
void Device<B, H>::forget(Pending& command) noexcept {
  // Long lists are freed in turns, as many commands may end in one.
  constexpr std::size_t large = std::size_t{64} << 10;
  if (command.deferred != nullptr && command.deferred->list_bytes.count() >= large) [[unlikely]] {
    const std::size_t bytes = command.deferred->list_bytes.count();
    arenas_.discard(std::move(command.deferred), bytes);
  }
  pending_.remove(command);
}

template <class B, virtio::Host H>
void Device<B, H>::expire() noexcept {
  const io::TimePoint now = io::Clock::now();
  while (Pending* const first = pending_.first()) {
    if (first->deadline > now) break;
    host_.log().write(LogLevel::warning, "session %u: a command was not answered in time", first->session_id);
    if (first->opens) {
      finish_open(*first, fail(ETIMEDOUT));
    } else if (first->step != nullptr) {
      end_step(*first, write_status(first->writer(), ETIMEDOUT));
    } else {
      refuse(*first, ETIMEDOUT);
    }
  }
  arm_deadline();
}

// -- Commands that take several turns, and those after them

template <class B, virtio::Host H>
void Device<B, H>::begin_steps(Record& record, Pending& command) noexcept {
  command.device = this;
  command.go_on = [](Pending& stepped) noexcept { stepped.device->go_on(stepped); };
  ++record.waiting;
  record.under_way = true;
  do_later(command.step_chore);
}

template <class B, virtio::Host H>
void Device<B, H>::go_on(Pending& command) noexcept {
  const Result<> result = command.step(*this, command);
  if (!result && result.error().value == memory::again) return do_later(command.step_chore);
  if (!result && result.error().value == handed_over) {
    command.step = nullptr;
    return end_steps(command);
  }
  end_step(command, command.answer(*this, command, result));
}

template <class B, virtio::Host H>
void Device<B, H>::end_step(Pending& command, Written written) noexcept {
  end_steps(command);
  answer(command, written);
}

// Those behind it need not wait any more.
template <class B, virtio::Host H>
void Device<B, H>::end_steps(const Pending& command) noexcept {
  if (Record* const record = sessions_.find(command.session_id)) {
    --record->waiting;
    record->under_way = false;
  }
  if (!held_.empty()) do_later(serve_held_);
}

// For a session that has ended with an error, or that has unfinished commands.
template <class B, virtio::Host H>
auto Device<B, H>::refuse_or_hold(Record& record, const virtio::Chain& chain) -> Written {
  if (record.error != 0) return write_status(chain, record.error);
  if (too_many_wait(record.id)) return write_status(chain, EBUSY);
  const auto segments = chain.segments();
  auto bytes = memory::Share::take(arenas_.budget(), segments.size_bytes());
  if (!bytes) return write_status(chain, EBUSY);
  Held& held = held_.emplace_back();
  held.session_id = record.id;
  held.segments.assign(segments.begin(), segments.end());
  held.chain = virtio::Chain(chain, held.segments);
  held.memory = host_.memory();
  held.bytes = std::move(*bytes);
  held.deadline = io::Clock::now() + command_timeout_;
  held.begun = command_begun_;
  ++record.waiting;
  return not_now;
}

// Serves the held commands that no longer wait for an earlier one.
template <class B, virtio::Host H>
void Device<B, H>::serve_held() noexcept {
  const bool outer = std::exchange(in_commands_, true);
  for (auto next = held_.begin(); next != held_.end();) {
    Record* const record = sessions_.find(next->session_id);
    if (record != nullptr && record->under_way) {
      ++next;
      continue;
    }
    if (work_.left() <= 0) {
      do_later(serve_held_);
      break;
    }
    work_.spend(memory::Work::command);
    const Held held = std::move(*next);
    next = held_.erase(next);
    serve(record, held);
  }
  in_commands_ = outer;
  if (outer) return;
  if (events_unflushed_) flush_events();
  host_.flush(wire::commandq);
}

template <class B, virtio::Host H>
void Device<B, H>::serve(Record* record, const Held& held) noexcept {
  // No command is before it any more, and those after it must not keep it from being carried out.
  const int waiting = record != nullptr ? std::exchange(record->waiting, 0) : 0;
  held_memory_ = held.memory;
  count([&](auto&) { command_begun_ = held.begun; });
  const bool late = io::Clock::now() >= held.deadline;
  const Written written = late ? write_status(held.chain, ETIMEDOUT) : execute(held.chain);
  held_memory_.reset();
  // CLOSE is never held: the session is still there.
  if (record != nullptr) record->waiting += waiting - 1;
  if (written == not_now) return;
  push(held.chain.head(), written);
  count([&](auto& statistics) { statistics.on_answer(held.begun); });
}

// After CLOSE nobody waits for the session's commands any more.
template <class B, virtio::Host H>
void Device<B, H>::abandon(Record& record) noexcept {
  for (Pending* pending = pending_.first(); pending != nullptr;) {
    Pending& command = *pending;
    pending = pending_.next(command);
    if (command.step != nullptr && command.session_id == record.id) refuse(command, EIO);
  }
  if (!held_.empty()) do_later(serve_held_);
}

// The timer is not cancelled when the command that it was set for is answered: it then finds nothing, or the
// next one.
template <class B, virtio::Host H>
void Device<B, H>::arm_deadline() noexcept {
  if (pending_.first() != nullptr && !deadline_.pending()) host_.timer(deadline_, pending_.first()->deadline);
}

}  // namespace vumedia::media
