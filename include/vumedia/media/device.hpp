// A virtio-media device (VIRTIO 1.4, 5.22) on any host: Device<Backend, Host> is a virtio::Device.
//
// A command runs in one pass from the chain to the backend and back. Nothing is allocated for it, unless its
// backend defers the answer. A guest's mistake becomes the status of that command and affects no other:
//  - EINVAL: the chain is shorter than its command, payload or response; no such session, offset or driver
//    address
//  - ENOTTY: no such command, or no such ioctl
//  - ENFILE: OPEN beyond DeviceOptions::max_sessions
//  - the errno of an error event: the session has ended with it
//  - ENODEV: MMAP, and the backend has nothing to map; ENXIO: the host has no shared memory
//  - EBUSY: too many commands wait for their answer, or for one of their session that takes its time: 64 of
//    a session, fewer where others have many as well
//  - ETIMEDOUT: no answer in DeviceOptions::command_timeout
// One turn of the loop does a bounded part of a command (memory/work.hpp): a backend that has more to do
// returns memory::again and goes on in later turns. Devices on one loop share its turns (io::Turn). Commands
// of one session are carried out in order, except CLOSE, which ends a command that is under way with EIO.
//
// A chain without room for a response header is returned with length 0, and is carried out only if it is a
// CLOSE.
//
// An eventq buffer that is too short for the next event is returned with length 0, and the event waits for
// another buffer.
#pragma once

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/answers.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/media/count.hpp>
#include <vumedia/media/deferred.hpp>
#include <vumedia/media/device_options.hpp>
#include <vumedia/media/event_sender.hpp>
#include <vumedia/media/held_commands.hpp>
#include <vumedia/media/interrupts.hpp>
#include <vumedia/media/ioctls.hpp>
#include <vumedia/media/leftovers.hpp>
#include <vumedia/media/mappings.hpp>
#include <vumedia/media/near_miss.hpp>
#include <vumedia/media/services.hpp>
#include <vumedia/media/sessions.hpp>
#include <vumedia/media/trace.hpp>
#include <vumedia/media/turns.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/queue.hpp>

namespace vumedia::media {

/// Lives on its host's loop and thread, both of which outlive it; never moves. Destroying it closes all
/// sessions; memory of theirs is freed in turns of the loop, or with it.
template <class BackendType, virtio::Host Host>
class Device {
  static_assert(CheckedBackend<BackendType>::done);

 public:
  using Session = typename BackendType::Session;  ///< the backend's

  // -- virtio::Device

  static constexpr std::uint32_t device_id = wire::device_id;      ///< of a media device: 48
  static constexpr std::uint16_t queue_count = wire::queue_count;  ///< command and event queue

  /// The further arguments go to the backend's constructor.
  template <class... Arguments>
  explicit Device(Host& host, const DeviceOptions& options, Arguments&&... arguments)
      : host_(host),
        backend_(std::forward<Arguments>(arguments)...),
        arenas_(memory::Arenas::Limits{options.arena_bytes, options.max_buffer_bytes}),
        anchor_(std::make_shared<detail::Anchor>()),
        shm_size_(std::bit_ceil(std::clamp(options.shm_size, page_size, std::uint64_t{1} << 62))),
        config_(make_config(std::as_const(backend_).config())),
        trace_(host.log(), options.describe),
        turns_(
            host, [](void* self) noexcept { static_cast<Device*>(self)->resume(); }, this),
        interrupts_(host),
        events_(host, turns_, interrupts_, trace_, count_, options.max_waiting_events),
        sessions_(options.max_sessions),
        answers_(host, interrupts_, count_, options.command_timeout),
        held_(
            answers_, interrupts_, turns_, arenas_.budget(),
            [](void* self, const virtio::Chain& chain) { return static_cast<Device*>(self)->execute(chain); },
            this),
        deferred_(host, answers_, held_, turns_, arenas_),
        mappings_(host, answers_, trace_, shm_size_, options.arena_bytes),
        ioctls_(
            {backend_, sessions_, events_, answers_, deferred_, turns_.work(), arenas_.budget(), trace_}) {
    anchor_->device = this;
    arenas_.clean_later(
        [](void* self) noexcept {
          auto& device = *static_cast<Device*>(self);
          device.do_later(device.clean_);
        },
        this);
  }
  ~Device() {
    // This comes before the sessions end: what their workers post from now on finds no device.
    anchor_->device = nullptr;
    reset();
    // After it there may be other devices on the loop, or the next frontend.
    Leftovers::free(host_.inbox(), arenas_.leave(), Turns<Host>::of(host_));
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// No feature bits of its own.
  [[nodiscard]] std::uint64_t features() const noexcept { return 0; }
  /// The configuration space, which never changes (VIRTIO 1.4, 5.22.4).
  [[nodiscard]] std::span<const std::byte> config() const noexcept {
    return {reinterpret_cast<const std::byte*>(&config_), sizeof config_};
  }
  /// Bytes of each shared memory region; region 0 is where buffers are mapped.
  [[nodiscard]] std::span<const std::uint64_t> shm_regions() const noexcept { return {&shm_size_, 1}; }

  /// Serves what is on the queue; called when the driver has notified it.
  void process(std::uint16_t queue) noexcept {
    turns_.begin();
    if (queue == wire::commandq) {
      process_commands();
      // Where it has a loop's turns to itself, this is one.
      if constexpr (!Turns<Host>::shared) {
        if (!interrupts_.in_batch() && turns_.has_chores()) turns_.run_chores();
      }
    } else if (queue == wire::eventq) {
      events_.process();
    }
  }
  /// The queue is about to stop: its chains are taken no more, and what waits for the frontend is answered.
  void stop(std::uint16_t queue) noexcept {
    if (queue == wire::commandq) mappings_.stop();
  }
  /// Chains that were taken from the queue and not answered yet.
  [[nodiscard]] std::uint32_t in_flight(std::uint16_t queue) const noexcept {
    return queue == wire::commandq ? answers_.count() : 0;
  }
  /// The driver has reset the device: sessions, mappings and answers that are owed are gone.
  void reset() noexcept {
    answers_.stop();
    turns_.stop();
    resume_commands_ = false;
    events_.reset();
    interrupts_.reset();
    deferred_.clear();
    held_.clear();
    mappings_.reset();
    sessions_.for_each([this](Record& record) { close(record); });
    if (turns_.has_chores()) turns_.run_chores();
  }

  // -- For backends, through context.hpp

  /// `session` is an id, or the key of a context. Nothing happens if that session is gone.
  template <class Which>
  [[nodiscard]] Session* find_session(const Which& session) noexcept {
    Record* const record = sessions_.find(session);
    return record != nullptr ? record->session.get() : nullptr;
  }
  /// See Context.
  ///@{
  template <class Which>
  void send_dqbuf(const Which& session, const v4l2::Buffer& buffer) noexcept {
    if (Record* const record = sessions_.find(session))
      events_.send(record->events, Event::dqbuf(record->id, buffer));
  }
  template <class Which>
  void send_event(const Which& session, const v4l2_event& event) noexcept {
    if (Record* const record = sessions_.find(session))
      events_.send(record->events, Event::v4l2(record->id, event));
  }
  template <class Which>
  void send_error(const Which& session, int error) noexcept {
    if (Record* const record = sessions_.find(session)) events_.fail(record->events, error);
  }
  template <class Which>
  void purge_dqbuf(const Which& session, std::uint32_t buffer_type) noexcept {
    if (Record* const record = sessions_.find(session)) events_.purge_dqbuf(record->events, buffer_type);
  }
  ///@}
  /// See Context.
  ///@{
  [[nodiscard]] memory::Arenas& arenas() noexcept { return arenas_; }
  [[nodiscard]] memory::Work& work() noexcept { return turns_.work(); }
  void do_later(Chore& chore) noexcept { turns_.do_later(chore); }
  [[nodiscard]] Host& host() noexcept { return host_; }
  [[nodiscard]] const std::shared_ptr<detail::Anchor>& anchor() const noexcept { return anchor_; }
  ///@}

  // -- For programs that embed the device

  /// The backend that was constructed with the device.
  [[nodiscard]] BackendType& backend() noexcept { return backend_; }
  /// Open sessions.
  [[nodiscard]] std::uint32_t session_count() const noexcept { return sessions_.count(); }
  /// Events that wait for buffers of the driver, of all sessions.
  [[nodiscard]] std::size_t waiting_events() const noexcept { return events_.waiting(); }

 private:
  using Record = typename Sessions<Session>::Record;

  // -- The command queue

  // In a turn of the loop that follows one that left work.
  void resume() noexcept {
    events_.resume();
    if (std::exchange(resume_commands_, false)) process_commands();
  }

  void process_commands() noexcept {
    if (interrupts_.in_batch() || !host_.queue_running(wire::commandq)) return;
    interrupts_.begin();
    virtio::Queue& queue = host_.queue(wire::commandq);
    while (true) {
      // A command may replace the memory table, so it is fetched each time.
      const virtio::PopResult popped = queue.pop(*host_.memory());
      if (popped) [[likely]] {
        const std::uint16_t head = popped->head();
        answers_.begin();
        const Written written = execute(*popped);
        if (written != not_now) [[likely]]
          answers_.push(queue, head, written);
      } else if (popped.failed()) {
        host_.queue_failed(wire::commandq,
                           Error{format_text("commandq: %s", virtio::to_string(popped.error)), EPROTO});
        break;
      }
      // Usually there is one command. Asking for the next kick now saves a pop that finds nothing.
      if (!queue.enable_notifications(*host_.memory())) break;
      // A chain may have as many descriptors as its queue.
      memory::Work& work = turns_.work();
      work.spend(std::max(memory::Work::command, memory::Work::descriptor * queue.size()));
      if (work.left() <= 0) {
        resume_commands_ = true;
        turns_.wake();
        break;
      }
    }
    interrupts_.end();
  }

  [[nodiscard, gnu::always_inline]] Written execute(const virtio::Chain& chain) {
    virtio::Reader reader = chain.reader();
    // All commands except OPEN are at least as long as the head of an IOCTL, so one read is enough for each.
    wire::virtio_media_cmd_ioctl command;
    if (!reader.read_to(command)) [[unlikely]]
      return execute_short(chain, reader);
    if (command.hdr.cmd == wire::cmd_ioctl) [[likely]]
      return ioctl(chain, command, reader);
    return execute_other(chain, command, reader);
  }

  [[nodiscard, gnu::noinline]] Written execute_other(const virtio::Chain& chain,
                                                     const wire::virtio_media_cmd_ioctl& command,
                                                     virtio::Reader reader) {
    count_([&command](auto& statistics) { statistics.on_command(command.hdr.cmd); });
    switch (command.hdr.cmd) {
      case wire::cmd_open:
        return open(chain);
      case wire::cmd_close:
        close(command.session_id);
        return 0;
      case wire::cmd_mmap:
        return mmap(chain, command, reader);
      case wire::cmd_munmap:
        return mappings_.unmap(chain, command, reader);
      default:
        return unknown_command(chain, command.hdr.cmd);
    }
  }

  // Shorter than the head of an IOCTL: an OPEN, or an error.
  [[nodiscard, gnu::cold]] Written execute_short(const virtio::Chain& chain, virtio::Reader reader) {
    wire::virtio_media_cmd_header header{};
    const bool complete = reader.read_to(header).has_value();
    count_([&header](auto& statistics) { statistics.on_command(header.cmd); });
    if (!complete) return answers_.status(chain, EINVAL);
    switch (header.cmd) {
      case wire::cmd_open:
        return open(chain);
      case wire::cmd_close:
        return 0;
      case wire::cmd_ioctl:
      case wire::cmd_mmap:
      case wire::cmd_munmap:
        return answers_.status(chain, EINVAL);
      default:
        return unknown_command(chain, header.cmd);
    }
  }

  [[nodiscard, gnu::cold]] Written unknown_command(const virtio::Chain& chain, std::uint32_t command) {
    host_.log().write(LogLevel::debug, "unknown command %u", command);
    return answers_.status(chain, ENOTTY);
  }

  [[nodiscard, gnu::always_inline]] Written ioctl(const virtio::Chain& chain,
                                                  const wire::virtio_media_cmd_ioctl& command,
                                                  const virtio::Reader& reader) {
    count_([&command](auto& statistics) { statistics.on_ioctl(command.code); });
    Record* const record = sessions_.find(command.session_id);
    if (record == nullptr) [[unlikely]]
      return answers_.status(chain, EINVAL);
    if ((record->events.error | record->order.waiting) != 0) [[unlikely]]
      return refuse_or_hold(*record, chain);
    return ioctls_.carry_out(*record, chain, command.code, reader);
  }

  [[nodiscard]] Written mmap(const virtio::Chain& chain, const wire::virtio_media_cmd_ioctl& head,
                             virtio::Reader& reader) {
    const auto command = mappings_.read(chain, head, reader);
    if (!command) return answers_.status(chain, command.error().value);
    Record* const record = sessions_.find(command->session_id);
    if (record == nullptr) return answers_.status(chain, EINVAL);
    if ((record->events.error | record->order.waiting) != 0) return refuse_or_hold(*record, chain);
    if (answers_.too_many(record->id)) return answers_.status(chain, EBUSY);
    auto buffer = find_buffer(*record, command->offset);
    trace_.command("MMAP", record->id, buffer ? Result<>{} : fail(buffer.error().value));
    if (!buffer) return answers_.status(chain, buffer.error().value);
    mappings_.map(chain, *command, std::move(*buffer));
    return not_now;
  }

  [[nodiscard]] Result<Mappable> find_buffer(Record& record, std::uint32_t offset) {
    if constexpr (Maps<BackendType>) {
      return backend_.mmap(*record.session, offset);
    } else {
      return fail(ENODEV);
    }
  }

  // For a session that has ended with an error, or that has unfinished commands.
  [[nodiscard, gnu::cold]] Written refuse_or_hold(Record& record, const virtio::Chain& chain) {
    if (record.events.error != 0) return answers_.status(chain, record.events.error);
    if (const auto held = held_.hold(record.order, chain, record.id); !held)
      return answers_.status(chain, held.error().value);
    return not_now;
  }

  // -- Sessions

  [[nodiscard]] Written open(const virtio::Chain& chain) {
    if (chain.writable_size() < sizeof(wire::virtio_media_resp_open)) return answers_.status(chain, EINVAL);
    const auto reserved = sessions_.reserve();
    if (!reserved) return answers_.status(chain, reserved.error().value);
    Record& record = **reserved;
    // Events that the backend sends while it opens wait until the guest knows the id.
    if (const auto room = events_.begin(record.events, record.id); !room)
      return refuse_open(record, chain, room.error().value);
    if constexpr (OpensDeferred<BackendType>) {
      return open_later(record, chain);
    } else {
      return open_now(record, chain);
    }
  }

  [[nodiscard]] Written refuse_open(Record& record, const virtio::Chain& chain, int error) {
    trace_.command("OPEN", record.id, fail(error));
    events_.end(record.events);
    sessions_.release(record);
    return answers_.status(chain, error);
  }

  [[nodiscard]] Written open_now(Record& record, const virtio::Chain& chain)
    requires Opens<BackendType>
  {
    Result<std::unique_ptr<Session>> session =
        backend_.open(Context(this, services_of<Device>, sessions_.key(record)));
    if (!session || *session == nullptr)
      return refuse_open(record, chain, session ? EIO : session.error().value);
    record.session = std::move(*session);
    trace_.command("OPEN", record.id, {});
    answers_.push(chain.head(),
                  write_response(chain.writer(), wire::virtio_media_resp_open{{0, 0}, record.id, 0}));
    count_([](auto& statistics) { statistics.on_open(); });
    interrupts_.now();
    events_.introduce(record.events);
    return not_now;
  }

  // The session exists at once, for the backend; the guest gets it when the backend completes.
  [[nodiscard]] Written open_later(Record& record, const virtio::Chain& chain)
    requires OpensDeferred<BackendType>
  {
    if (answers_.too_many(record.id)) return refuse_open(record, chain, EBUSY);
    auto deferred = deferred_.make();
    DeferredCommand& command = deferred_.add(
        chain, sizeof(wire::virtio_media_resp_open), record.id, deferred,
        [](void* self, DeferredCommand& opening, Result<> result) noexcept {
          static_cast<Device*>(self)->finish_open(opening, result);
        },
        this);
    command.session_record = &record;
    command.finish_if_late = true;
    Result<std::unique_ptr<Session>> session = backend_.open(
        Context(this, services_of<Device>, sessions_.key(record)), Completion(std::move(deferred)));
    if (!session || *session == nullptr) {
      deferred_.drop(command);
      return refuse_open(record, chain, session ? EIO : session.error().value);
    }
    record.session = std::move(*session);
    return not_now;
  }

  void finish_open(DeferredCommand& command, Result<> result) noexcept {
    // The session exists: only a reset could have ended it before, and that forgets the command as well.
    Record& record = *static_cast<Record*>(command.session_record);
    trace_.command("OPEN", record.id, result);
    if (!result) {
      close(record);
      return deferred_.refuse(command, result.error().value);
    }
    deferred_.give(command,
                   write_response(command.writer(), wire::virtio_media_resp_open{{0, 0}, record.id, 0}));
    count_([](auto& statistics) { statistics.on_open(); });
    events_.introduce(record.events);
  }

  void close(std::uint32_t id) noexcept {
    Record* const record = sessions_.find(id);
    // The guest does not know a session that is still being opened.
    const bool found = record != nullptr && !record->events.waiting.held();
    trace_.command("CLOSE", id, found ? Result<>{} : fail(EINVAL));
    if (!found) return;
    if (record->order.waiting != 0) deferred_.abandon(record->order);
    close(*record);
  }

  void close(Record& record) noexcept {
    detail::check_optional_members<BackendType>();
    if constexpr (Closes<BackendType>) backend_.close(*record.session);
    const bool was_open = !record.events.waiting.held();
    events_.end(record.events);
    sessions_.release(record);
    if (was_open) count_([](auto& statistics) { statistics.on_close(); });
  }

  [[nodiscard]] static wire::virtio_media_config make_config(const Config& config) noexcept {
    wire::virtio_media_config out{config.device_caps, static_cast<std::uint32_t>(config.device_type), {}};
    std::copy_n(config.card.begin(), std::min(config.card.size(), out.card.size()), out.card.begin());
    return out;
  }

  struct Clean final : Chore {
    explicit Clean(Device& of) noexcept
        : Chore([](Chore& chore) noexcept {
            Device& self = static_cast<Clean&>(chore).device;
            if (self.arenas_.clean(self.work())) self.do_later(chore);
          }),
          device(of) {}
    Device& device;
  };

  Host& host_;
  BackendType backend_;
  memory::Arenas arenas_;
  std::shared_ptr<detail::Anchor> anchor_;
  const std::uint64_t shm_size_;
  const wire::virtio_media_config config_;
  const Count<BackendType> count_{backend_};
  const Trace trace_;
  bool resume_commands_ = false;

  Turns<Host> turns_;
  Clean clean_{*this};
  Interrupts<Host> interrupts_;
  EventSender<Host, BackendType> events_;
  Sessions<Session> sessions_;
  Answers<Host, BackendType> answers_;
  HeldCommands<Host, BackendType> held_;
  DeferredCommands<Host, BackendType> deferred_;
  Mappings<Host, BackendType> mappings_;
  Ioctls<Host, BackendType> ioctls_;
};

}  // namespace vumedia::media
