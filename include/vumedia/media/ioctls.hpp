// The ioctls of a device (VIRTIO 1.4, 5.22.6.3): from an ioctl's number to the backend's overload
// (media/dispatch.hpp), and from its result to the answer.
//
// An ioctl runs in one pass, from the chain to the backend and back. What is more than a turn of the loop has
// time for, and what its backend answers later, goes on in DeferredCommands.
#pragma once

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <vumedia/core/result.hpp>
#include <vumedia/media/answers.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/count.hpp>
#include <vumedia/media/deferred.hpp>
#include <vumedia/media/dispatch.hpp>
#include <vumedia/media/event_sender.hpp>
#include <vumedia/media/sessions.hpp>
#include <vumedia/media/trace.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/virtio/chain.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::media {

/// Carries out the ioctls of all sessions. For the host's loop.
template <virtio::Host Host, class BackendType>
class Ioctls {
 public:
  /// The backend's session, and the device's record of it.
  ///@{
  using Session = typename BackendType::Session;
  using Record = typename Sessions<Session>::Record;
  ///@}

  /// What is around the ioctls, which it outlives.
  struct Surroundings {
    /// Of the device.
    ///@{
    BackendType& backend;
    Sessions<Session>& sessions;
    EventSender<Host, BackendType>& events;
    Answers<Host, BackendType>& answers;
    DeferredCommands<Host, BackendType>& deferred;
    memory::Work& work;
    ///@}
    std::shared_ptr<memory::Budget> budget;  ///< for lists of guest ranges, and chains that have them
    /// Of the device.
    Trace trace;
  };
  /// `around` is copied; what it refers to outlives this.
  explicit Ioctls(Surroundings around) noexcept : around_(std::move(around)) {}
  Ioctls(const Ioctls&) = delete;
  Ioctls& operator=(const Ioctls&) = delete;

  /// Carries out the ioctl of this number, whose payload is what `payload` has not read of the chain.
  [[nodiscard, gnu::always_inline]] Written carry_out(Record& record, const virtio::Chain& chain,
                                                      std::uint32_t number, const virtio::Reader& payload) {
    if (number >= Table::functions.size()) [[unlikely]]
      return around_.answers.status(chain, ENOTTY);
    // A copy, because an object whose address is taken cannot live in registers.
    const virtio::Reader behind_command = payload;
    return Table::functions[number](*this, record, chain, behind_command, number);
  }

 private:
  using Deferred = std::shared_ptr<detail::Deferred>;
  using Function = Written (*)(Ioctls& self, Record& record, const virtio::Chain& chain,
                               const virtio::Reader& behind_command, std::uint32_t number);
  template <class Tag>
  struct Entry;
  struct Table;

  static Written refuse_controls(Ioctls& self, Record& record, const virtio::Chain& chain,
                                 const virtio::Reader& behind_command, std::uint32_t number);
  template <class Tag>
  [[nodiscard, gnu::always_inline]] Written answer(std::uint32_t session, virtio::Writer writer,
                                                   const typename Tag::Payload& payload,
                                                   Result<> result) noexcept;
  template <class Tag>
  void purge_after(std::uint32_t session, const typename Tag::Payload& payload) noexcept;

  Surroundings around_;
  v4l2::PayloadStorage payload_;  // of the ioctl that is being carried out
};

/// How the backend supports one ioctl of the table.
template <virtio::Host H, class B>
template <class Tag>
struct Ioctls<H, B>::Entry {
  using Payload = typename Tag::Payload;
  static constexpr IoctlShape shape = ioctl_shape<B, Tag>();
  static constexpr bool carries_lists = v4l2::carries_lists<Payload>;
  static constexpr bool supported = shape != IoctlShape::missing || v4l2::answers_failure<Tag>;

  static constexpr Function run() {
    if constexpr (shape == IoctlShape::deferred) {
      return &hand_over;
    } else if constexpr (shape == IoctlShape::immediate) {
      return &carry_out;
    } else {
      static_assert(std::same_as<Payload, v4l2::ExtControls>);
      return &refuse_controls;
    }
  }

  static Written carry_out(Ioctls& self, Record& record, const virtio::Chain& chain,
                           const virtio::Reader& behind_command, std::uint32_t) {
    virtio::Reader reader = behind_command;  // a local copy, so that it lives in registers
    if constexpr (std::same_as<Payload, typename Tag::Wire>) {
      // The common case, without the detour through the storage: one struct, read in one step.
      Payload payload;
      if constexpr (v4l2::carries_input<Tag>) {
        if (!reader.read_to(payload)) [[unlikely]]
          return self.around_.answers.status(chain, EINVAL);
      } else {
        payload = {};
      }
      return call(self, record, chain, payload);
    } else {
      const auto payload = v4l2::read_payload<Tag>(reader, self.payload_, &self.around_.work);
      if (!payload) [[unlikely]] {
        if (payload.error().value != memory::again)
          return self.around_.answers.status(chain, payload.error().value);
        return read_later(self, record, chain, reader, self.payload_.template make<Payload>());
      }
      return call(self, record, chain, **payload);
    }
  }

  static Written call(Ioctls& self, Record& record, const virtio::Chain& chain, Payload& payload) {
    if (!has_room(chain, payload)) [[unlikely]]
      return self.around_.answers.status(chain, EINVAL);
    const Result<> result = self.around_.backend.ioctl(*record.session, Tag{}, payload);
    if (!result && result.error().value == memory::again) [[unlikely]]
      return begin(self, record, chain, payload);
    return self.template answer<Tag>(record.id, chain.writer(), payload, result);
  }

  /// Checked before the backend acts: what it has done must not go unanswered for lack of room.
  static bool has_room(const virtio::Chain& chain, const Payload& payload) noexcept {
    return chain.writable_size() >= room(payload);
  }
  static std::size_t room(const Payload& payload) noexcept {
    return sizeof(wire::virtio_media_resp_ioctl) + v4l2::payload_size<Tag>(payload);
  }

  // -- Later

  /// Keeps a command of which the backend has done a part.
  [[gnu::cold]] static Written begin(Ioctls& self, Record& record, const virtio::Chain& chain,
                                     Payload& payload) {
    auto deferred = self.around_.deferred.make();
    Payload& kept = deferred->storage.template make<Payload>();
    kept = std::move(payload);
    std::size_t ranges = 0;
    if constexpr (carries_lists) ranges = kept.ranges.range_count();
    DeferredCommand* const command = keep(self, record, chain, std::move(deferred), kept, ranges);
    if (command == nullptr) return self.around_.answers.status(chain, EBUSY);
    self.around_.deferred.begin_steps(*command, record.order, &act_again);
    return not_now;
  }

  static Result<> act_again(void* owner, DeferredCommand& command) noexcept {
    return static_cast<Ioctls*>(owner)->around_.backend.ioctl(*record_of(command).session, Tag{},
                                                              payload_of(command));
  }

  /// Null if no more commands may wait, or their lists, of so many ranges, are too long.
  static DeferredCommand* keep(Ioctls& self, Record& record, const virtio::Chain& chain, Deferred deferred,
                               Payload& payload, [[maybe_unused]] std::size_t ranges) {
    if (self.around_.answers.too_many(record.id)) return nullptr;
    if constexpr (carries_lists) {
      auto bytes = memory::Share::take(self.around_.budget, ranges * sizeof(v4l2::GuestRange));
      if (!bytes) return nullptr;
      deferred->list_bytes = std::move(*bytes);
    }
    DeferredCommand& command =
        self.around_.deferred.add(chain, room(payload), record.id, std::move(deferred), &finish, &self);
    command.payload = &payload;
    command.session_record = &record;
    return &command;
  }

  [[gnu::cold]] static void finish(void* owner, DeferredCommand& command, Result<> result) noexcept {
    Ioctls& self = *static_cast<Ioctls*>(owner);
    // It ends while it is read: the payload is wrong, as if it had been at once.
    if (command.unread != nullptr) return self.around_.deferred.refuse(command, result.error().value);
    const Written written =
        self.template answer<Tag>(command.session, command.writer(), payload_of(command), result);
    self.around_.deferred.give(command, written);
  }

  static Payload& payload_of(DeferredCommand& command) noexcept {
    return *static_cast<Payload*>(command.payload);
  }
  static Record& record_of(DeferredCommand& command) noexcept {
    return *static_cast<Record*>(command.session_record);
  }

  static Written hand_over(Ioctls& self, Record& record, const virtio::Chain& chain,
                           const virtio::Reader& behind_command, std::uint32_t) {
    virtio::Reader reader = behind_command;
    auto deferred = self.around_.deferred.make();
    const auto payload = v4l2::read_payload<Tag>(reader, deferred->storage, &self.around_.work);
    std::size_t ranges = 0;
    if constexpr (carries_lists) {
      Payload& begun = deferred->storage.template make<Payload>();
      if (!payload && payload.error().value == memory::again) [[unlikely]]
        return read_later(self, record, chain, reader, begun);
      ranges = begun.ranges.range_count();
    }
    if (!payload) [[unlikely]]
      return self.around_.answers.status(chain, payload.error().value);
    if (!has_room(chain, **payload)) [[unlikely]]
      return self.around_.answers.status(chain, EINVAL);
    if (keep(self, record, chain, deferred, **payload, ranges) == nullptr) [[unlikely]]
      return self.around_.answers.status(chain, EBUSY);
    self.around_.backend.ioctl(*record.session, Tag{}, **payload, Completion(std::move(deferred)));
    return not_now;
  }

  /// Keeps a command whose lists are longer than this turn of the loop has time for.
  [[gnu::cold]] static Written read_later(Ioctls& self, Record& record, const virtio::Chain& chain,
                                          const virtio::Reader& reader, Payload& begun)
    requires carries_lists
  {
    if (!has_room(chain, begun)) return self.around_.answers.status(chain, EINVAL);
    auto deferred = self.around_.deferred.make();
    Payload& kept = deferred->storage.template make<Payload>();
    kept = std::move(begun);
    const std::size_t ranges = std::min(
        v4l2::max_guest_ranges, kept.ranges.range_count() + reader.remaining() / sizeof(v4l2::GuestRange));
    auto segments =
        memory::Share::take(self.around_.budget, chain.readable().size() * sizeof(virtio::Segment));
    DeferredCommand* const command =
        segments ? keep(self, record, chain, std::move(deferred), kept, ranges) : nullptr;
    if (command == nullptr) return self.around_.answers.status(chain, EBUSY);
    command->unread = std::make_unique<UnreadPart>(chain, reader, std::move(*segments));
    self.around_.deferred.begin_steps(*command, record.order, &go_on_reading);
    return not_now;
  }

  static Result<> go_on_reading(void* owner, DeferredCommand& command) noexcept
    requires carries_lists
  {
    Ioctls& self = *static_cast<Ioctls*>(owner);
    Payload& payload = payload_of(command);
    if (const auto read = v4l2::read_lists(command.unread->reader, payload, &self.around_.work); !read)
      return read;
    command.unread.reset();
    if constexpr (shape == IoctlShape::deferred) {
      self.around_.backend.ioctl(*record_of(command).session, Tag{}, payload, Completion(command.deferred));
      return fail(DeferredCommand::handed_over);
    } else {
      command.step = &act_again;
      return self.around_.work.left() > 0 ? act_again(owner, command) : fail(memory::again);
    }
  }
};

// An ioctl of controls that the backend does not have: its failure carries its payload nevertheless. One
// function for all of them; guest ranges are not read, because nobody wants them.
template <virtio::Host H, class B>
Written Ioctls<H, B>::refuse_controls(Ioctls& self, Record& record, const virtio::Chain& chain,
                                      const virtio::Reader& behind_command, std::uint32_t number) {
  virtio::Reader reader = behind_command;
  auto& payload = self.payload_.template make<v4l2::ExtControls>();
  if (!v4l2::detail::read_controls(reader, payload)) return self.around_.answers.status(chain, EINVAL);
  self.around_.work.spend(static_cast<std::int64_t>(payload.controls.size()) * memory::Work::control);
  if (chain.writable_size() < sizeof(wire::virtio_media_resp_ioctl) + v4l2::detail::size_of(payload))
    return self.around_.answers.status(chain, EINVAL);
  if (self.around_.trace.enabled())
    self.around_.trace.write(v4l2::ioctl_name(number), record.id, fail(ENOTTY), number, &payload);
  self.around_.answers.count_error(ENOTTY);
  virtio::Writer writer = chain.writer();
  static_cast<void>(writer.write(wire::virtio_media_resp_ioctl{{ENOTTY, 0}}));
  static_cast<void>(v4l2::detail::write_controls(writer, payload));
  return static_cast<Written>(writer.written());
}

/// The functions, by the number of their ioctl. For this class alone.
template <virtio::Host H, class B>
struct Ioctls<H, B>::Table {
  /// Answers ENOTTY.
  static Written unsupported(Ioctls& self, Record& record, const virtio::Chain& chain, const virtio::Reader&,
                             std::uint32_t number) {
    self.around_.trace.command(v4l2::ioctl_name(number), record.id, fail(ENOTTY));
    return self.around_.answers.status(chain, ENOTTY);
  }
  static_assert(detail::check_overloads<B>());
  static constexpr auto functions = make_dispatch_table<Function, Entry>(&unsupported);  ///< by number
};

template <virtio::Host H, class B>
template <class Tag>
inline Written Ioctls<H, B>::answer(std::uint32_t session, virtio::Writer writer,
                                    const typename Tag::Payload& payload, Result<> result) noexcept {
  if (around_.trace.enabled()) [[unlikely]]
    around_.trace.write(Tag::name, session, result, Tag::number, &payload);
  std::uint32_t status = 0;
  if (result) [[likely]] {
    purge_after<Tag>(session, payload);
  } else {
    status = static_cast<std::uint32_t>(result.error().value > 0 ? result.error().value : EIO);
    around_.answers.count_error(static_cast<int>(status));
  }
  // Both have room: has_room() has checked that.
  static_cast<void>(writer.write(wire::virtio_media_resp_ioctl{{status, 0}}));
  constexpr Written head = sizeof(wire::virtio_media_resp_ioctl);
  if (!v4l2::answers_failure<Tag> && status != 0) [[unlikely]] {
    return head;  // the answer of this one is only a status
  } else if constexpr (!std::same_as<typename Tag::Payload, typename Tag::Wire>) {
    static_cast<void>(v4l2::write_payload<Tag>(writer, payload));
    return static_cast<Written>(writer.written());
  } else if constexpr (v4l2::carries_output<Tag>) {
    static_cast<void>(writer.write(payload));
    return head + static_cast<Written>(sizeof payload);
  } else {
    return head;
  }
}

// The driver has forgotten the buffers of a queue that it stopped, and would miscount if it got them now. It
// also does not want events that it unsubscribed.
template <virtio::Host H, class B>
template <class Tag>
void Ioctls<H, B>::purge_after(std::uint32_t session, const typename Tag::Payload& payload) noexcept {
  const auto purge = [&](auto unwanted) {
    if (Record* const record = around_.sessions.find(session)) around_.events.purge(record->events, unwanted);
  };
  if constexpr (std::same_as<Tag, v4l2::tag::STREAMOFF>) {
    purge([&](const Event& event) { return event.is_dqbuf_of(payload); });
  } else if constexpr (std::same_as<Tag, v4l2::tag::REQBUFS>) {
    purge([&](const Event& event) { return event.is_dqbuf_of(payload.type); });
  } else if constexpr (std::same_as<Tag, v4l2::tag::UNSUBSCRIBE_EVENT>) {
    // Waiting events of a subscription are removed with it: a new one must not begin with an old event.
    purge([&](const Event& event) { return event.is_of(payload); });
  }
}

}  // namespace vumedia::media
