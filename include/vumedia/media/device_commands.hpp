// The command queue of media::Device (VIRTIO 1.4, 5.22.6): dispatch, OPEN and CLOSE, and the start and end of
// the queues. Part of device.hpp.
#pragma once

#include <vumedia/media/device.hpp>

namespace vumedia::media {

template <class B, virtio::Host H>
template <class... Arguments>
Device<B, H>::Device(H& host, const DeviceOptions& options, Arguments&&... arguments)
    : host_(host),
      backend_(std::forward<Arguments>(arguments)...),
      arenas_(memory::Arenas::Limits{options.arena_bytes, options.max_buffer_bytes}),
      anchor_(std::make_shared<detail::Anchor>()),
      shm_size_(std::bit_ceil(std::clamp(options.shm_size, page_size, std::uint64_t{1} << 62))),
      config_(make_config(std::as_const(backend_).config())),
      // Without at least one place the end of a session could not even be reported.
      max_waiting_events_(std::max(options.max_waiting_events, 1u)),
      command_timeout_(options.command_timeout),
      describe_(options.describe),
      sessions_(options.max_sessions),
      mappings_(host, *this, shm_size_, options.arena_bytes),
      work_(shares_turns ? &turn_of(host)->spent : nullptr),
      chores_(turn_of(host)) {
  anchor_->device = this;
  arenas_.clean_later(
      [](void* self) noexcept {
        auto& device = *static_cast<Device*>(self);
        device.do_later(device.clean_);
      },
      this);
}

template <class B, virtio::Host H>
Device<B, H>::~Device() {
  // This comes before the sessions end: what their workers post from now on finds no device.
  anchor_->device = nullptr;
  reset();
  // After it there may be other devices on the loop, or the next frontend.
  Leftovers::free(host_.inbox(), arenas_.leave(), turn_of(host_));
  host_.cancel(turn_);
}

template <class B, virtio::Host H>
wire::virtio_media_config Device<B, H>::make_config(const Config& config) noexcept {
  wire::virtio_media_config out{config.device_caps, static_cast<std::uint32_t>(config.device_type), {}};
  std::copy_n(config.card.begin(), std::min(config.card.size(), out.card.size()), out.card.begin());
  return out;
}

template <class B, virtio::Host H>
void Device<B, H>::process(std::uint16_t queue) noexcept {
  if constexpr (!shares_turns) work_.begin();
  if (queue == wire::commandq) {
    process_commands();
    // Where it has a loop's turns to itself, this is one.
    if constexpr (!shares_turns) {
      if (!in_commands_ && !chores_.empty()) run_chores();
    }
  } else if (queue == wire::eventq) {
    deliver_waiting();
  }
}

// A turn of the loop that follows one that left work.
template <class B, virtio::Host H>
void Device<B, H>::turn() noexcept {
  if constexpr (!shares_turns) work_.begin();
  if (std::exchange(resume_events_, false)) deliver_waiting();
  if (std::exchange(resume_commands_, false)) process_commands();
  run_chores();
}

template <class B, virtio::Host H>
void Device<B, H>::run_chores() noexcept {
  chores_.run(work_);
  if (!chores_.empty()) arm_turn();
}

template <class B, virtio::Host H>
void Device<B, H>::process_commands() noexcept {
  if (in_commands_ || !host_.queue_running(wire::commandq)) return;
  in_commands_ = true;
  virtio::Queue& queue = host_.queue(wire::commandq);
  while (true) {
    // A command may replace the memory table, so it is fetched each time.
    const virtio::PopResult popped = queue.pop(*host_.memory());
    if (popped) [[likely]] {
      const std::uint16_t head = popped->head();
      count([this](auto& statistics) { command_begun_ = statistics.begin(); });
      const Written written = execute(*popped);
      if (written != not_now) [[likely]] {
        push(queue, head, written);
        count([this](auto& statistics) { statistics.on_answer(command_begun_); });
      }
    } else if (popped.failed()) {
      queue_broken(wire::commandq, popped.error);
      break;
    }
    // Usually there is one command. Asking for the next kick now saves a pop that finds nothing.
    if (!queue.enable_notifications(*host_.memory())) break;
    // A chain may have as many descriptors as its queue.
    work_.spend(std::max(memory::Work::command, memory::Work::descriptor * queue.size()));
    if (work_.left() <= 0) {
      resume_later(wire::commandq);
      break;
    }
  }
  in_commands_ = false;
  // Events of a command reach the driver before its answer.
  if (events_unflushed_) flush_events();
  host_.flush(wire::commandq);
}

template <class B, virtio::Host H>
[[gnu::always_inline]] inline auto Device<B, H>::execute(const virtio::Chain& chain) -> Written {
  virtio::Reader reader = chain.reader();
  // All commands except OPEN are at least as long as the head of an IOCTL, so one read is enough for each.
  wire::virtio_media_cmd_ioctl command;
  if (!reader.read_to(command)) [[unlikely]]
    return execute_short(chain, reader);
  if (command.hdr.cmd == wire::cmd_ioctl) [[likely]]
    return ioctl(chain, command, reader);
  return execute_other(chain, command, reader);
}

template <class B, virtio::Host H>
auto Device<B, H>::execute_other(const virtio::Chain& chain, const wire::virtio_media_cmd_ioctl& command,
                                 virtio::Reader reader) -> Written {
  count([&command](auto& statistics) { statistics.on_command(command.hdr.cmd); });
  switch (command.hdr.cmd) {
    case wire::cmd_open:
      return open(chain);
    case wire::cmd_close:
      close(command.session_id);
      return 0;
    case wire::cmd_mmap:
      return mmap(chain, command.session_id, command.code, reader);
    case wire::cmd_munmap:
      return munmap(chain, std::uint64_t{command.code} << 32 | command.session_id);
    default:
      return unknown_command(chain, command.hdr.cmd);
  }
}

// Shorter than the head of an IOCTL: an OPEN, or an error.
template <class B, virtio::Host H>
auto Device<B, H>::execute_short(const virtio::Chain& chain, virtio::Reader reader) -> Written {
  wire::virtio_media_cmd_header header{};
  const bool complete = reader.read_to(header).has_value();
  count([&header](auto& statistics) { statistics.on_command(header.cmd); });
  if (!complete) return write_status(chain, EINVAL);
  switch (header.cmd) {
    case wire::cmd_open:
      return open(chain);
    case wire::cmd_close:
      return 0;
    case wire::cmd_ioctl:
    case wire::cmd_mmap:
    case wire::cmd_munmap:
      return write_status(chain, EINVAL);
    default:
      return unknown_command(chain, header.cmd);
  }
}

template <class B, virtio::Host H>
auto Device<B, H>::unknown_command(const virtio::Chain& chain, std::uint32_t command) -> Written {
  host_.log().write(LogLevel::debug, "unknown command %u", command);
  return write_status(chain, ENOTTY);
}

// -- Sessions

template <class B, virtio::Host H>
auto Device<B, H>::open(const virtio::Chain& chain) -> Written {
  if (chain.writable_size() < sizeof(wire::virtio_media_resp_open)) return write_status(chain, EINVAL);
  const auto reserved = sessions_.reserve();
  if (!reserved) return write_status(chain, reserved.error().value);
  Record& record = **reserved;
  if (const auto room = record.events.reserve(max_waiting_events_); !room)
    return refuse_open(record, chain, room.error().value);

  // Events that the backend sends while it opens wait until the guest knows the id.
  record.events.hold(true);
  if constexpr (OpensDeferred<B>) {
    return open_later(record, chain);
  } else {
    return open_now(record, chain);
  }
}

template <class B, virtio::Host H>
auto Device<B, H>::refuse_open(Record& record, const virtio::Chain& chain, int error) -> Written {
  trace("OPEN", record.id, fail(error));
  events_.purge(record.events);
  sessions_.release(record);
  return write_status(chain, error);
}

template <class B, virtio::Host H>
auto Device<B, H>::open_now(Record& record, const virtio::Chain& chain) -> Written
  requires Opens<B>
{
  Result<std::unique_ptr<Session>> session = backend_.open(Context(this, services, record.id));
  if (!session || *session == nullptr)
    return refuse_open(record, chain, session ? EIO : session.error().value);
  record.session = std::move(*session);
  trace("OPEN", record.id, {});

  push(chain.head(), write_response(chain.writer(), wire::virtio_media_resp_open{{0, 0}, record.id, 0}));
  count([this](auto& statistics) {
    statistics.on_open();
    statistics.on_answer(command_begun_);
  });
  if (events_unflushed_) {
    events_unflushed_ = false;
    host_.flush(wire::eventq);
  }
  host_.flush(wire::commandq);
  record.events.hold(false);
  deliver_waiting();
  return not_now;
}

// The session exists at once, for the backend; the guest gets it when the backend completes.
template <class B, virtio::Host H>
auto Device<B, H>::open_later(Record& record, const virtio::Chain& chain) -> Written
  requires OpensDeferred<B>
{
  if (too_many_wait(record.id)) return refuse_open(record, chain, EBUSY);
  auto command = make_deferred();
  Pending& pending = defer(chain, sizeof(wire::virtio_media_resp_open), record.id);
  command->slot = pending_.slot(pending);
  pending.deferred = command;
  pending.opens = true;
  Result<std::unique_ptr<Session>> session =
      backend_.open(Context(this, services, record.id), Completion(std::move(command)));
  if (!session || *session == nullptr) {
    pending_.remove(pending);
    return refuse_open(record, chain, session ? EIO : session.error().value);
  }
  record.session = std::move(*session);
  return not_now;
}

template <class B, virtio::Host H>
void Device<B, H>::finish_open(Pending& command, Result<> result) noexcept {
  // The session exists: only a reset could have ended it before, and that forgets the command as well.
  Record& record = *sessions_.find(command.session_id);
  trace("OPEN", record.id, result);
  if (!result) {
    close(record);
    return refuse(command, result.error().value);
  }
  answer(command, write_response(command.writer(), wire::virtio_media_resp_open{{0, 0}, record.id, 0}));
  count([](auto& statistics) { statistics.on_open(); });
  record.events.hold(false);
  deliver_waiting();
}

template <class B, virtio::Host H>
void Device<B, H>::close(std::uint32_t id) noexcept {
  Record* const record = sessions_.find(id);
  // The guest does not know a session that is still being opened.
  const bool found = record != nullptr && !record->events.held();
  trace("CLOSE", id, found ? Result<>{} : fail(EINVAL));
  if (!found) return;
  if (record->waiting != 0) abandon(*record);
  close(*record);
}

template <class B, virtio::Host H>
void Device<B, H>::close(Record& record) noexcept {
  detail::check_optional_members<B>();
  if constexpr (Closes<B>) backend_.close(*record.session);
  const bool was_open = !record.events.held();
  events_.purge(record.events);
  sessions_.release(record);
  if (was_open) count([](auto& statistics) { statistics.on_close(); });
}

// -- Life of the queues

template <class B, virtio::Host H>
void Device<B, H>::stop(std::uint16_t queue) noexcept {
  if (queue != wire::commandq) return;
  mappings_.stop();
  for (Pending* pending = pending_.first(); pending != nullptr;) {
    Pending& command = *pending;
    pending = pending_.next(command);
    if (command.mappable) refuse(command, EIO);
  }
}

template <class B, virtio::Host H>
void Device<B, H>::reset() noexcept {
  host_.cancel(deadline_);
  host_.cancel(turn_);
  resume_commands_ = resume_events_ = events_unflushed_ = false;
  while (Pending* const first = pending_.first()) forget(*first);
  held_.clear();
  mappings_.reset();
  sessions_.for_each([this](Record& record) { close(record); });
  if (!chores_.empty()) run_chores();
}

template <class B, virtio::Host H>
void Device<B, H>::push_failed(std::uint16_t head) const noexcept {
  host_.log().write(LogLevel::warning, "the answer to chain %u found no queue", unsigned{head});
}

template <class B, virtio::Host H>
void Device<B, H>::queue_broken(std::uint16_t queue, virtio::ChainError error) noexcept {
  host_.queue_failed(queue, Error{format_text("%s: %s", queue == wire::commandq ? "commandq" : "eventq",
                                              virtio::to_string(error)),
                                  EPROTO});
}

template <class B, virtio::Host H>
void Device<B, H>::write_trace(const char* what, std::uint32_t session, Result<> result, std::uint32_t ioctl,
                               const void* payload) const noexcept {
  const char* const name = result ? "done" : strerrorname_np(result.error().value);
  std::string fields;
  if (describe_ != nullptr && payload != nullptr) fields = " " + describe_(ioctl, payload);
  host_.log().write(LogLevel::trace, "session %u: %s%s: %s", session, what, fields.c_str(),
                    name != nullptr ? name : "an unknown errno");
}

}  // namespace vumedia::media
