// The ioctls of media::Device (VIRTIO 1.4, 5.22.6.3): from an ioctl's number to the backend's overload, and
// back. Part of device.hpp.
#pragma once

#include <vumedia/media/device.hpp>

namespace vumedia::media {

// How B supports one ioctl of the table.
template <class B, virtio::Host H>
template <class Tag>
struct Device<B, H>::IoctlEntry {
  using Payload = typename Tag::Payload;
  static constexpr IoctlShape shape = ioctl_shape<B, Tag>();
  static constexpr bool carries_lists = v4l2::carries_lists<Payload>;
  static constexpr bool supported = shape != IoctlShape::missing || v4l2::answers_failure<Tag>;

  // Checked before the backend acts: what it has done must not go unanswered for lack of room.
  static bool has_room(const virtio::Chain& chain, const Payload& payload) noexcept {
    return chain.writable_size() >= sizeof(wire::virtio_media_resp_ioctl) + v4l2::payload_size<Tag>(payload);
  }

  static Written carry_out(Device& device, Record& record, const virtio::Chain& chain,
                           const virtio::Reader& behind_command) {
    virtio::Reader reader = behind_command;  // a local copy, so that it lives in registers
    if constexpr (std::same_as<Payload, typename Tag::Wire>) {
      // The common case, without the detour through the storage: one struct, read in one step.
      Payload payload;
      if constexpr (v4l2::carries_input<Tag>) {
        if (!reader.read_to(payload)) [[unlikely]]
          return device.write_status(chain, EINVAL);
      } else {
        payload = {};
      }
      return call(device, record, chain, payload);
    } else {
      const auto payload = v4l2::read_payload<Tag>(reader, device.payload_, &device.work_);
      if (!payload) [[unlikely]] {
        if (payload.error().value != memory::again) return device.write_status(chain, payload.error().value);
        return read_later(device, record, chain, reader, device.payload_.template make<Payload>());
      }
      return call(device, record, chain, **payload);
    }
  }

  static Written call(Device& device, Record& record, const virtio::Chain& chain, Payload& payload) {
    if (!has_room(chain, payload)) [[unlikely]]
      return device.write_status(chain, EINVAL);
    const Result<> result = act(device, record, payload);
    if (!result && result.error().value == memory::again) [[unlikely]]
      return begin(device, record, chain, payload);
    return answer_ioctl<Tag>(device, record.id, chain.writer(), payload, result);
  }

  [[gnu::always_inline]] static Result<> act(Device& device, Record& record, Payload& payload) {
    if constexpr (shape == IoctlShape::immediate) {
      return device.backend_.ioctl(*record.session, Tag{}, payload);
    } else {
      return fail(ENOTTY);  // but with the payload, which failures of this ioctl must carry
    }
  }

  // Keeps a command of which the backend has done a part.
  [[gnu::cold]] static Written begin(Device& device, Record& record, const virtio::Chain& chain,
                                     Payload& payload) {
    auto command = device.make_deferred();
    Payload& kept = command->storage.template make<Payload>();
    kept = std::move(payload);
    std::size_t ranges = 0;
    if constexpr (carries_lists) ranges = kept.ranges.range_count();
    Pending* const pending = keep(device, record, chain, std::move(command), kept, ranges);
    if (pending == nullptr) return device.write_status(chain, EBUSY);
    pending->step = &act_again;
    device.begin_steps(record, *pending);
    return not_now;
  }

  static Result<> act_again(Device& device, Pending& command) noexcept {
    // There: a CLOSE abandons the command, and a reset forgets it.
    Record& record = *device.sessions_.find(command.session_id);
    return act(device, record, *static_cast<Payload*>(command.payload));
  }

  // Null if no more commands may wait, or their lists, of so many ranges, are too long.
  static Pending* keep(Device& device, Record& record, const virtio::Chain& chain,
                       std::shared_ptr<detail::Deferred> command, Payload& payload,
                       [[maybe_unused]] std::size_t ranges) {
    if (device.too_many_wait(record.id)) return nullptr;
    if constexpr (carries_lists) {
      auto bytes = memory::Share::take(device.arenas_.budget(), ranges * sizeof(v4l2::GuestRange));
      if (!bytes) return nullptr;
      command->list_bytes = std::move(*bytes);
    }
    const std::size_t room = sizeof(wire::virtio_media_resp_ioctl) + v4l2::payload_size<Tag>(payload);
    Pending& pending = device.defer(chain, room, record.id);
    command->slot = device.pending_.slot(pending);
    pending.deferred = std::move(command);
    pending.payload = &payload;
    pending.answer = &answer_later;
    return &pending;
  }

  [[gnu::cold]] static Written answer_later(Device& device, Pending& command, Result<> result) noexcept {
    return answer_ioctl<Tag>(device, command.session_id, command.writer(),
                             *static_cast<Payload*>(command.payload), result);
  }

  static Written hand_over(Device& device, Record& record, const virtio::Chain& chain,
                           const virtio::Reader& behind_command) {
    virtio::Reader reader = behind_command;
    auto command = device.make_deferred();
    const auto payload = v4l2::read_payload<Tag>(reader, command->storage, &device.work_);
    std::size_t ranges = 0;
    if constexpr (carries_lists) {
      Payload& begun = command->storage.template make<Payload>();
      if (!payload && payload.error().value == memory::again) [[unlikely]]
        return read_later(device, record, chain, reader, begun);
      ranges = begun.ranges.range_count();
    }
    if (!payload) [[unlikely]]
      return device.write_status(chain, payload.error().value);
    if (!has_room(chain, **payload)) [[unlikely]]
      return device.write_status(chain, EINVAL);
    if (keep(device, record, chain, command, **payload, ranges) == nullptr) [[unlikely]]
      return device.write_status(chain, EBUSY);
    device.backend_.ioctl(*record.session, Tag{}, **payload, Completion(std::move(command)));
    return not_now;
  }

  // Keeps a command whose lists are longer than this turn of the loop has time for.
  [[gnu::cold]] static Written read_later(Device& device, Record& record, const virtio::Chain& chain,
                                          const virtio::Reader& reader, Payload& begun)
    requires carries_lists
  {
    if (!has_room(chain, begun)) return device.write_status(chain, EINVAL);
    auto command = device.make_deferred();
    Payload& kept = command->storage.template make<Payload>();
    kept = std::move(begun);
    const std::size_t ranges = std::min(
        v4l2::max_guest_ranges, kept.ranges.range_count() + reader.remaining() / sizeof(v4l2::GuestRange));
    auto segments =
        memory::Share::take(device.arenas_.budget(), chain.readable().size() * sizeof(virtio::Segment));
    Pending* const pending =
        segments ? keep(device, record, chain, std::move(command), kept, ranges) : nullptr;
    if (pending == nullptr) return device.write_status(chain, EBUSY);
    pending->unread = std::make_unique<UnreadPart>(chain, reader, std::move(*segments));
    pending->step = &go_on_reading;
    device.begin_steps(record, *pending);
    return not_now;
  }

  static Result<> go_on_reading(Device& device, Pending& command) noexcept
    requires carries_lists
  {
    Payload& payload = *static_cast<Payload*>(command.payload);
    const auto read = v4l2::read_lists(command.unread->reader, payload, &device.work_);
    if (!read) {
      if (read.error().value != memory::again) command.answer = &refuse_later;
      return read;
    }
    command.unread.reset();
    if constexpr (shape == IoctlShape::deferred) {
      Record& record = *device.sessions_.find(command.session_id);
      device.backend_.ioctl(*record.session, Tag{}, payload, Completion(command.deferred));
      return fail(handed_over);
    } else {
      command.step = &act_again;
      return device.work_.left() > 0 ? act_again(device, command) : fail(memory::again);
    }
  }

  // As of a payload that is wrong at once.
  static Written refuse_later(Device& device, Pending& command, Result<> result) noexcept {
    return device.write_status(command.writer(), result.error().value);
  }

  static consteval IoctlFunction run() {
    if constexpr (shape == IoctlShape::deferred) {
      return &hand_over;
    } else {
      return &carry_out;
    }
  }
};

template <class B, virtio::Host H>
struct Device<B, H>::IoctlTable {
  static Written unsupported(Device& device, Record& record, const virtio::Chain& chain,
                             const virtio::Reader&) {
    device.trace(v4l2::ioctl_name(device.ioctl_), record.id, fail(ENOTTY));
    return device.write_status(chain, ENOTTY);
  }
  static_assert(detail::check_overloads<B>());
  static constexpr auto functions = make_dispatch_table<IoctlFunction, IoctlEntry>(&unsupported);
};

template <class B, virtio::Host H>
[[gnu::always_inline]] inline auto Device<B, H>::ioctl(const virtio::Chain& chain,
                                                       const wire::virtio_media_cmd_ioctl& command,
                                                       const virtio::Reader& reader) -> Written {
  count([&command](auto& statistics) { statistics.on_ioctl(command.code); });
  ioctl_ = command.code;
  Record* const record = sessions_.find(command.session_id);
  if (record == nullptr) [[unlikely]]
    return write_status(chain, EINVAL);
  if ((record->error | record->waiting) != 0) [[unlikely]]
    return refuse_or_hold(*record, chain);
  if (command.code >= IoctlTable::functions.size()) [[unlikely]]
    return write_status(chain, ENOTTY);
  // A copy, because an object whose address is taken cannot live in registers.
  const virtio::Reader behind_command = reader;
  return IoctlTable::functions[command.code](*this, *record, chain, behind_command);
}

template <class B, virtio::Host H>
template <class Tag>
inline auto Device<B, H>::answer_ioctl(Device& device, std::uint32_t session, virtio::Writer writer,
                                       const typename Tag::Payload& payload, Result<> result) noexcept
    -> Written {
  if (device.host_.log().enabled(LogLevel::trace)) [[unlikely]]
    device.write_trace(Tag::name, session, result, Tag::number, &payload);
  std::uint32_t status = 0;
  if (result) [[likely]] {
    device.purge_after<Tag>(session, payload);
  } else {
    status = static_cast<std::uint32_t>(result.error().value > 0 ? result.error().value : EIO);
    device.count([status](auto& statistics) { statistics.on_error(static_cast<int>(status)); });
  }
  // Both have room: IoctlEntry has checked that.
  static_cast<void>(writer.write(wire::virtio_media_resp_ioctl{{status, 0}}));
  if (!v4l2::answers_failure<Tag> && status != 0) [[unlikely]] {
    // The answer of this one is only a status.
  } else if constexpr (std::same_as<typename Tag::Payload, typename Tag::Wire>) {
    if constexpr (v4l2::carries_output<Tag>) static_cast<void>(writer.write(payload));
  } else {
    static_cast<void>(v4l2::write_payload<Tag>(writer, payload));
  }
  return static_cast<Written>(writer.written());
}

// The driver has forgotten the buffers of a queue that it stopped, and would miscount if it got them now. It
// also does not want events that it unsubscribed.
template <class B, virtio::Host H>
template <class Tag>
void Device<B, H>::purge_after(std::uint32_t session, const typename Tag::Payload& payload) noexcept {
  if constexpr (std::same_as<Tag, v4l2::tag::STREAMOFF>) {
    purge_dqbuf(session, payload);
  } else if constexpr (std::same_as<Tag, v4l2::tag::REQBUFS>) {
    purge_dqbuf(session, payload.type);
  } else if constexpr (std::same_as<Tag, v4l2::tag::UNSUBSCRIBE_EVENT>) {
    // Waiting events of a subscription are removed with it: a new one must not begin with an old event.
    if (Record* const record = sessions_.find(session))
      events_.purge(record->events, [&payload](const Event& event) { return event.is_of(payload); });
  }
}

}  // namespace vumedia::media
