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
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/media/dispatch.hpp>
#include <vumedia/media/event_queue.hpp>
#include <vumedia/media/leftovers.hpp>
#include <vumedia/media/mappings.hpp>
#include <vumedia/media/pending.hpp>
#include <vumedia/media/sessions.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/virtio/concepts.hpp>
#include <vumedia/virtio/queue.hpp>

namespace vumedia::media {

// Limits on what a guest can make the device hold.
struct DeviceOptions {
  // Bytes of shared memory region 0; rounded up to a power of two, at least a page.
  std::uint64_t shm_size = std::uint64_t{256} << 20;
  // Open files at a time, up to 65536.
  std::uint32_t max_sessions = 256;
  // Bytes of all buffers, and of each memory file that they are carved from (memory/arena.hpp).
  std::uint64_t max_buffer_bytes = std::uint64_t{256} << 20;
  std::uint64_t arena_bytes = std::uint64_t{64} << 20;
  // Events of one session that wait for the guest to lend buffers: room for the 64 buffers of two queues, and
  // for V4L2 events. A session that exceeds it ends with an error event.
  std::uint32_t max_waiting_events = 192;
  // How long until a deferred command is answered ETIMEDOUT. Linux gives up after 5 s.
  std::chrono::milliseconds command_timeout{4000};
  // Describes the payload of an ioctl in a trace line: v4l2::describe_payload (see v4l2/describe.hpp for its
  // arguments), or null for no description. Events are described as the ioctls that return them, DQBUF and
  // DQEVENT. Called at trace level only.
  std::string (*describe)(std::uint32_t ioctl, const void* payload) = nullptr;
};

// Lives on its host's loop and thread, both of which outlive it; never moves. Destroying it closes all
// sessions; memory of theirs is freed in turns of the loop, or with it.
template <class BackendType, virtio::Host Host>
class Device {
  static_assert(
      BackendIsCompleteHere<BackendType>,
      "media::Device<BackendType, Host>: BackendType is not complete here: its definition must come "
      "before the device");
  static_assert(
      !BackendIsCompleteHere<BackendType> || !std::is_final_v<BackendType>,
      "media::Device<BackendType, Host>: BackendType is `final`, which hides what is private in it: "
      "leave `final` out, so that members that cannot be called are not taken for missing");
  static_assert(!NamesSession<BackendType> || SessionIsCompleteHere<BackendType>,
                "media::Device<BackendType, Host>: BackendType::Session is not complete here: its definition "
                "must come before the device");
  static_assert(HasSession<BackendType>,
                "media::Device<BackendType, Host>: BackendType is not a media::Backend: it has no public "
                "type `Session`");
  static_assert(HasConfig<BackendType>,
                "media::Device<BackendType, Host>: BackendType is not a media::Backend: it has no public "
                "`media::Config config() const`");
  static_assert(Opens<BackendType> || OpensDeferred<BackendType>,
                "media::Device<BackendType, Host>: BackendType is not a media::Backend: it has no public "
                "`Result<std::unique_ptr<Session>> open(media::Context)`, nor one with a media::Completion "
                "as its second argument");
  static_assert(!(Opens<BackendType> && OpensDeferred<BackendType>),
                "media::Device<BackendType, Host>: BackendType has `open(context)` and "
                "`open(context, completion)`: keep one of them");

 public:
  using Session = typename BackendType::Session;

  // -- virtio::Device

  static constexpr std::uint32_t device_id = wire::device_id;
  static constexpr std::uint16_t queue_count = wire::queue_count;

  // The further arguments go to the backend's constructor.
  template <class... Arguments>
  explicit Device(Host& host, const DeviceOptions& options, Arguments&&... arguments);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] std::uint64_t features() const noexcept { return 0; }
  [[nodiscard]] std::span<const std::byte> config() const noexcept {
    return {reinterpret_cast<const std::byte*>(&config_), sizeof config_};
  }
  [[nodiscard]] std::span<const std::uint64_t> shm_regions() const noexcept { return {&shm_size_, 1}; }

  void process(std::uint16_t queue) noexcept;
  void stop(std::uint16_t queue) noexcept;
  [[nodiscard]] std::uint32_t in_flight(std::uint16_t queue) const noexcept {
    return queue == wire::commandq ? pending_.count() + static_cast<std::uint32_t>(held_.size()) : 0;
  }
  void reset() noexcept;

  // -- For backends, through context.hpp

  static const detail::Services services;

  void send_dqbuf(std::uint32_t session, const v4l2::Buffer& buffer) noexcept {
    if (Record* const record = sessions_.find(session)) send(*record, Event::dqbuf(session, buffer));
  }
  void send_event(std::uint32_t session, const v4l2_event& event) noexcept {
    if (Record* const record = sessions_.find(session)) send(*record, Event::v4l2(session, event));
  }
  void send_error(std::uint32_t session, int error) noexcept;
  void purge_dqbuf(std::uint32_t session, std::uint32_t buffer_type) noexcept {
    if (Record* const record = sessions_.find(session)) purge_dqbuf(*record, buffer_type);
  }
  [[nodiscard]] memory::Arenas& arenas() noexcept { return arenas_; }
  [[nodiscard]] memory::Work& work() noexcept { return work_; }
  void do_later(Chore& chore) noexcept {
    chores_.add(chore);
    arm_turn();
  }
  [[nodiscard]] Host& host() noexcept { return host_; }

  // -- For programs that embed the device

  [[nodiscard]] BackendType& backend() noexcept { return backend_; }
  [[nodiscard]] std::uint32_t session_count() const noexcept { return sessions_.count(); }
  [[nodiscard]] std::size_t waiting_events() const noexcept { return events_.size(); }

 private:
  using Record = typename Sessions<Session>::Record;
  using Pending = PendingCommand<Device>;

  // What one turn of the loop serves before others have theirs, besides its Work. Drivers that mean well have
  // few at a time.
  static constexpr std::uint32_t event_buffers_a_turn = 64;

  // The result of a command: the length of its answer, or that its chain must not be pushed now.
  using Written = std::uint32_t;
  static constexpr Written not_now = ~Written{0};  // no answer is that long

  using IoctlFunction = Written (*)(Device& device, Record& record, const virtio::Chain& chain,
                                    const virtio::Reader& behind_command);
  template <class Tag>
  struct IoctlEntry;
  struct IoctlTable;

  struct Timer final : io::Operation {
    Timer(Device& owner, Handler handler) noexcept : Operation(handler), device(owner) {}
    Device& device;
  };

  friend class Mappings<Host, Device>;

  // A command that waits for earlier ones.
  struct Held {
    std::uint32_t session_id = 0;
    std::vector<virtio::Segment> segments;
    virtio::Chain chain;
    std::shared_ptr<const memory::GuestMemory> memory;
    memory::Share bytes;  // of `segments`
    io::TimePoint deadline;
    std::uint64_t begun = 0;
  };

  void process_commands() noexcept;
  void turn() noexcept;
  void arm_turn() noexcept {
    if (!turn_.pending()) host_.timer(turn_, io::TimePoint{});
  }
  void run_chores() noexcept;
  [[nodiscard]] Written execute(const virtio::Chain& chain);
  [[nodiscard, gnu::noinline]] Written execute_other(const virtio::Chain& chain,
                                                     const wire::virtio_media_cmd_ioctl& command,
                                                     virtio::Reader reader);
  [[nodiscard, gnu::cold]] Written execute_short(const virtio::Chain& chain, virtio::Reader reader);
  [[nodiscard, gnu::cold]] Written unknown_command(const virtio::Chain& chain, std::uint32_t command);
  [[nodiscard]] Written open(const virtio::Chain& chain);
  [[nodiscard]] Written refuse_open(Record& record, const virtio::Chain& chain, int error);
  [[nodiscard]] Written open_now(Record& record, const virtio::Chain& chain)
    requires Opens<BackendType>;
  [[nodiscard]] Written open_later(Record& record, const virtio::Chain& chain)
    requires OpensDeferred<BackendType>;
  void finish_open(Pending& command, Result<> result) noexcept;
  void close(std::uint32_t id) noexcept;
  void close(Record& record) noexcept;
  [[nodiscard]] Written ioctl(const virtio::Chain& chain, const wire::virtio_media_cmd_ioctl& command,
                              const virtio::Reader& reader);
  [[nodiscard]] Written mmap(const virtio::Chain& chain, std::uint32_t session, std::uint32_t flags,
                             virtio::Reader& reader);
  [[nodiscard]] Written munmap(const virtio::Chain& chain, std::uint64_t address);
  [[nodiscard]] Result<Mappable> find_buffer(Record& record, std::uint32_t offset);

  template <class Tag>
  [[nodiscard, gnu::always_inline]] static Written answer_ioctl(Device& device, std::uint32_t session,
                                                                virtio::Writer writer,
                                                                const typename Tag::Payload& payload,
                                                                Result<> result) noexcept;
  template <class Tag>
  void purge_after(std::uint32_t session, const typename Tag::Payload& payload) noexcept;

  [[nodiscard, gnu::cold]] Written refuse_or_hold(Record& record, const virtio::Chain& chain);
  // In place of an errno: what a step has given to its backend, which answers it.
  static constexpr int handed_over = -EINPROGRESS;
  void begin_steps(Record& record, Pending& command) noexcept;
  void go_on(Pending& command) noexcept;
  void end_steps(const Pending& command) noexcept;
  void abandon(Record& record) noexcept;
  void end_step(Pending& command, Written written) noexcept;
  void serve_held() noexcept;
  void serve(Record* record, const Held& held) noexcept;
  // A session may have no more commands waiting than it leaves places for others: alone half of them, and
  // however many are greedy, one that has none finds a place.
  [[nodiscard]] bool too_many_wait(std::uint32_t session) const noexcept {
    const std::size_t all = pending_.count() + held_.size();
    const auto of_session = [session](const Held& held) { return held.session_id == session; };
    const auto held = static_cast<std::size_t>(std::ranges::count_if(held_, of_session));
    return all + held + pending_.count_of(session) >= pending_.max_count;
  }
  [[nodiscard]] Pending& defer(const virtio::Chain& chain, std::size_t room, std::uint32_t session);
  [[nodiscard]] std::shared_ptr<detail::Deferred> make_deferred();
  void finish(detail::Deferred& command) noexcept;
  void answer(Pending& command, Written written) noexcept;
  void forget(Pending& command) noexcept;
  void refuse(Pending& command, int status) noexcept {
    answer(command, write_status(command.writer(), status));
  }
  void on_mappings_changed() noexcept;
  void expire() noexcept;
  void arm_deadline() noexcept;

  void send(Record& record, const Event& event) noexcept;
  [[nodiscard]] bool send_or_keep(Record& record, const Event& event) noexcept;
  void fail_session(Record& record, int error) noexcept;
  void purge_dqbuf(Record& record, std::uint32_t buffer_type) noexcept {
    events_.purge(record.events, [=](const Event& event) { return event.is_dqbuf_of(buffer_type); });
  }
  enum class Delivery : std::uint8_t { done, no_buffer, broken };
  // Descriptors of no bytes give no segment and are passed over quickly, but there may be as many as the
  // queue has.
  [[nodiscard]] static std::int64_t event_cost(const virtio::Queue& queue, std::size_t segments) noexcept {
    return memory::Work::event + memory::Work::descriptor / 4 * queue.size() +
           memory::Work::descriptor * static_cast<std::int64_t>(segments);
  }
  [[nodiscard]] Delivery deliver(const Event& event, std::uint32_t& budget) noexcept;
  void deliver_waiting() noexcept;
  void flush_events() noexcept;

  void trace(const char* what, std::uint32_t session, Result<> result) const noexcept {
    if (host_.log().enabled(LogLevel::trace)) [[unlikely]]
      write_trace(what, session, result);
  }
  [[gnu::cold]] void write_trace(const char* what, std::uint32_t session, Result<> result,
                                 std::uint32_t ioctl = 0, const void* payload = nullptr) const noexcept;

  [[gnu::cold]] void write_trace(const Event& event) const noexcept;

  // Calls `f(statistics)` with the backend's statistics; does nothing if it has none.
  template <class F>
  [[gnu::always_inline]] void count([[maybe_unused]] F f) noexcept {
    if constexpr (HasStatistics<BackendType>) f(backend_.statistics());
  }
  void push(virtio::Queue& queue, std::uint16_t head, Written written) noexcept {
    if (!queue.push(*host_.memory(), head, written)) [[unlikely]]
      push_failed(head);
  }
  void push(std::uint16_t head, Written written) noexcept {
    push(host_.queue(wire::commandq), head, written);
  }
  [[gnu::cold]] void push_failed(std::uint16_t head) const noexcept;
  void queue_broken(std::uint16_t queue, virtio::ChainError error) noexcept;
  void resume_later(std::uint16_t queue) noexcept {
    (queue == wire::commandq ? resume_commands_ : resume_events_) = true;
    arm_turn();
  }

  // Writes a response that is only a status; 0 if there is no room for one.
  [[nodiscard]] Written write_status(virtio::Writer writer, int status) noexcept {
    const int error = status > 0 ? status : EIO;
    count([error](auto& statistics) { statistics.on_error(error); });
    const wire::virtio_media_resp_header header{static_cast<std::uint32_t>(error), 0};
    static_cast<void>(writer.write(header));
    return static_cast<Written>(writer.written());
  }
  [[nodiscard, gnu::cold, gnu::noinline]] Written write_status(const virtio::Chain& chain,
                                                               int status) noexcept {
    return write_status(chain.writer(), status);
  }
  template <class Response>
  [[nodiscard]] static Written write_response(virtio::Writer writer, const Response& response) noexcept {
    static_cast<void>(writer.write(response));
    return static_cast<Written>(writer.written());
  }
  [[nodiscard]] static wire::virtio_media_config make_config(const Config& config) noexcept;

  Host& host_;
  BackendType backend_;
  memory::Arenas arenas_;
  std::shared_ptr<detail::Anchor> anchor_;
  std::uint64_t shm_size_;
  wire::virtio_media_config config_;
  std::uint32_t max_waiting_events_;
  std::chrono::milliseconds command_timeout_;
  std::string (*describe_)(std::uint32_t ioctl, const void* payload);
  std::uint32_t ioctl_ = 0;          // the number of the one that is being carried out
  std::uint64_t command_begun_ = 0;  // of the command that is being carried out, for the statistics

  EventQueue events_;
  Sessions<Session> sessions_;
  PendingCommands<Device> pending_;
  Mappings<Host, Device> mappings_;
  v4l2::PayloadStorage payload_;  // of the command that is being carried out
  Timer deadline_{*this, [](io::Operation& operation, std::int32_t) noexcept {
                    static_cast<Timer&>(operation).device.expire();
                  }};
  // Continues work that was too much for one turn of the loop.
  Timer turn_{*this, [](io::Operation& operation, std::int32_t) noexcept {
                static_cast<Timer&>(operation).device.turn();
              }};
  struct OwnChore final : Chore {
    OwnChore(Device& owner, Handler handler) noexcept : Chore(handler), device(owner) {}
    Device& device;
  };
  // The loop's, if it has one that others use as well.
  static constexpr bool shares_turns = requires(Host& host) {
    { host.turn() } -> std::same_as<io::Turn&>;
  };
  [[nodiscard]] static io::Turn* turn_of([[maybe_unused]] Host& host) noexcept {
    if constexpr (shares_turns)
      return &host.turn();
    else
      return nullptr;
  }
  memory::Work work_;
  Chores chores_;
  OwnChore clean_{*this, [](Chore& chore) noexcept {
                    Device& self = static_cast<OwnChore&>(chore).device;
                    if (self.arenas_.clean(self.work_)) self.do_later(chore);
                  }};
  OwnChore serve_held_{*this,
                       [](Chore& chore) noexcept { static_cast<OwnChore&>(chore).device.serve_held(); }};
  std::deque<Held> held_;
  std::shared_ptr<const memory::GuestMemory>
      held_memory_;  // of the one that is being carried out, if it is one
  bool resume_commands_ = false;
  bool resume_events_ = false;
  bool in_commands_ = false;  // process_commands() is running, and will flush
  bool events_unflushed_ = false;
  bool mapping_ = false;  // on_mappings_changed() is running
  bool map_again_ = false;
};

}  // namespace vumedia::media

#include <vumedia/media/device_answers.hpp>
#include <vumedia/media/device_commands.hpp>
#include <vumedia/media/device_events.hpp>
#include <vumedia/media/device_ioctls.hpp>
