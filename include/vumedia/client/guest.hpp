// The driver's half of virtio-media (VIRTIO 1.4, 5.22) without a virtual machine: a guest in user space, for
// any virtio-media device. `Guest` reaches one over a vhost-user socket; BasicGuest takes any
// client::Transport.
//
// It offers what the Linux driver offers a V4L2 application: open files, ioctls, mappings, events. As there,
// one command is pending at a time. While it waits, events and the back-end's own requests (mappings) are
// served.
//
// Errors are errnos: the status that the device answered, or a failure of the transport: ETIMEDOUT (no answer
// in time), EPIPE (the back-end is gone), EPROTO (it broke the protocol). After one of these three every call
// fails with it; error() has the message.
#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/encoding.hpp>
#include <vumedia/client/event_receiver.hpp>
#include <vumedia/client/guest_area.hpp>
#include <vumedia/client/transport.hpp>
#include <vumedia/client/user_ranges.hpp>
#include <vumedia/client/vhost_user_transport.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia::client {

/// What a guest allows a device, and how it waits.
struct GuestOptions {
  /// How long a command may take; the Linux driver gives up after 5 s.
  std::chrono::milliseconds command_timeout{5000};
  /// How long to poll for an answer before sleeping: costs CPU time and saves latency.
  std::chrono::microseconds spin{0};
  /// Bytes of guest memory for the caller (user_memory): USERPTR buffers.
  std::size_t user_memory = 0;
};

/// One thread at a time may use it.
template <class Link>
class BasicGuest {
  static_assert(Transport<Link>, "the argument of client::BasicGuest does not satisfy client::Transport");

 public:
  /// Connects to the device at a listening vhost-user socket.
  [[nodiscard]] static Outcome<std::unique_ptr<BasicGuest>> connect(const std::string& socket_path,
                                                                    const GuestOptions& options = {})
    requires requires { Link::connect(socket_path); }
  {
    auto transport = Link::connect(socket_path);
    if (!transport) return std::unexpected(std::move(transport.error()));
    return attach(std::move(*transport), options);
  }
  /// Uses a transport that is connected to its device; for Guest, a connected vhost_user::Frontend will do.
  /// Negotiates and starts the queues.
  [[nodiscard]] static Outcome<std::unique_ptr<BasicGuest>> attach(Link transport,
                                                                   const GuestOptions& options = {}) {
    std::unique_ptr<BasicGuest> guest(new BasicGuest(std::move(transport), options));
    if (auto done = guest->set_up(); !done) return std::unexpected(std::move(done.error()));
    return guest;
  }
  BasicGuest(const BasicGuest&) = delete;
  BasicGuest& operator=(const BasicGuest&) = delete;

  /// The configuration space, as it was read at the start.
  [[nodiscard]] const media::wire::virtio_media_config& config() const noexcept { return config_; }
  /// Bytes of shared memory region 0; 0 if there is none, so that nothing can be mapped.
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return transport_.shm_size(); }

  /// Opens a session; its id.
  [[nodiscard]] Result<std::uint32_t> open();
  /// Closes a session, and drops its events.
  [[nodiscard]] Result<> close(std::uint32_t session);

  /// Sends `payload` and replaces it with the answer. A failed ioctl leaves it unchanged, except that
  /// G/S/TRY_EXT_CTRLS return error_idx and sizes. `head.length` is the number of planes that travel. USERPTR
  /// buffers without guest ranges get them from their pointers into user_memory(); controls with a size and
  /// no ranges are copied from and to their `ptr`.
  template <v4l2::ListedIoctl Tag>
  [[nodiscard]] Result<> ioctl(std::uint32_t session, typename Tag::Payload& payload);

  /// A mapped buffer.
  struct Mapped {
    memory::ShmOffset driver_addr;       ///< its offset in the region
    typename Link::SharedMemory memory;  ///< until munmap, or the device is gone
  };
  /// Maps the buffer that has mem_offset `offset`. Each mmap needs its munmap.
  [[nodiscard]] Result<Mapped> mmap(std::uint32_t session, std::uint32_t offset, bool writable = true);
  /// Undoes one mmap().
  [[nodiscard]] Result<> munmap(memory::ShmOffset driver_addr);

  /// The next event, or nothing within `timeout`.
  [[nodiscard]] Result<std::optional<Event>> wait_event(std::chrono::milliseconds timeout);
  /// The number of events that were too short for their type; the Linux driver drops them, too.
  [[nodiscard]] std::uint64_t dropped_events() const noexcept { return events_.dropped(); }

  /// Guest memory for the caller, and where the device finds it.
  [[nodiscard]] std::span<std::byte> user_memory() const noexcept { return user_.bytes; }
  /// Where the device has a byte of user_memory(). EFAULT: it is not in there.
  [[nodiscard]] Result<memory::GuestAddress> guest_address(const void* in_user_memory) const noexcept {
    return user_.address_of(in_user_memory);
  }

  /// Sends any command, valid or not, and returns the length of the answer in `answer`; for tests of devices.
  [[nodiscard]] Result<std::uint32_t> command(std::span<const std::byte> command,
                                              std::span<std::byte> answer);

  /// Does what a driver does when it is loaded again: all earlier sessions, mappings and events are gone.
  [[nodiscard]] Outcome<> reset();

  /// The transport, which the guest owns.
  [[nodiscard]] Link& transport() noexcept { return transport_; }
  /// The vhost-user frontend below it.
  [[nodiscard]] auto& frontend() noexcept
    requires requires(Link& link) { link.frontend(); }
  {
    return transport_.frontend();
  }
  /// Why every call fails; code 0 if none does.
  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  using Clock = io::Clock;
  static constexpr std::uint16_t command_queue_size = 16;
  static constexpr std::size_t command_bytes = 256 * 1024;
  static constexpr std::size_t control_bytes = 256 * 1024;

  BasicGuest(Link transport, const GuestOptions& options)
      : options_(options), transport_(std::move(transport)) {}
  [[nodiscard]] Outcome<> set_up();
  [[nodiscard]] Outcome<> create_memory();
  [[nodiscard]] Outcome<> start();

  [[nodiscard]] Result<std::uint32_t> run(std::size_t command_size, std::size_t answer_size);
  [[nodiscard]] Result<> wait(io::TimePoint until);
  [[nodiscard]] Result<> collect_events();

  // Makes the ranges of a payload that needs some.
  [[nodiscard]] Result<> add_ranges(v4l2::BufferPayload& payload) const {
    return client::add_ranges(payload, user_);
  }
  [[nodiscard]] Result<> add_ranges(v4l2::ExtControls& payload) const {
    return client::add_ranges(payload, controls_);
  }

  std::unexpected<Errno> broken(int code, std::string message) {
    return broken(Error{std::move(message), code});
  }
  std::unexpected<Errno> broken(Error error) {
    if (error.code == 0) error.code = EPROTO;
    if (error_.code == 0) error_ = std::move(error);
    return fail(error_.code);
  }

  GuestOptions options_;
  Link transport_;
  media::wire::virtio_media_config config_{};
  GuestArea command_, answer_, controls_, user_;  // of the transport's memory
  std::vector<virtio::DriverQueue> queues_;
  EventReceiver events_;
  Error error_;
};

/// Reaches its device over a vhost-user socket, like a VMM's guest.
using Guest = BasicGuest<VhostUserTransport>;

template <class Link>
template <v4l2::ListedIoctl Tag>
Result<> BasicGuest<Link>::ioctl(std::uint32_t session, typename Tag::Payload& payload) {
  using Payload = typename Tag::Payload;
  namespace wire = media::wire;
  constexpr bool has_controls = std::same_as<Payload, v4l2::ExtControls>;

  // Ranges that are made here do not belong to the caller.
  bool own_ranges = false;
  if constexpr (has_controls || v4l2::detail::hands_over_buffer<Tag>) {
    own_ranges = payload.ranges.empty();
    if (own_ranges) {
      if (auto done = add_ranges(payload); !done) return done;
    }
  }
  const wire::virtio_media_cmd_ioctl head{{wire::cmd_ioctl, 0}, session, Tag::number};
  virtio::Writer writer(command_.bytes);
  if (auto done = detail::put(writer, head); !done) return done;
  const auto put = detail::put_payload<Tag>(writer, payload);
  if constexpr (has_controls || v4l2::detail::hands_over_buffer<Tag>) {
    if (own_ranges) payload.ranges.clear();
  }
  if (!put) return put;

  const std::size_t payload_bytes = detail::answer_size<Tag>(payload);
  const auto length = run(writer.written(), sizeof(wire::virtio_media_resp_ioctl) + payload_bytes);
  if (!length) return std::unexpected(length.error());
  virtio::Reader reader(std::span<const std::byte>(answer_.bytes).first(*length));
  wire::virtio_media_resp_ioctl response;
  if (!detail::get(reader, response))
    return broken(EPROTO, std::string(Tag::name) + ": the answer has no status");

  const bool failed = response.hdr.status != 0;
  if (!failed || has_controls) {
    if (reader.remaining() >= payload_bytes) {
      if constexpr (has_controls) {
        const auto sent = payload.controls;
        if (auto done = detail::get_payload<Tag>(reader, payload); !done) return done;
        if (own_ranges) take_controls(sent, controls_);
      } else {
        if (auto done = detail::get_payload<Tag>(reader, payload); !done) return done;
      }
    } else if (!failed) {
      return broken(EPROTO, std::string(Tag::name) + ": the answer lacks its payload");
    }
  }
  if (failed) return fail(detail::status_errno(response.hdr.status));
  return {};
}

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
  const auto reserve = [&end](std::size_t size) {
    const std::size_t offset = end;
    end = (end + size + 63) & ~std::size_t{63};
    return offset;
  };
  const std::size_t rings[] = {reserve(virtio::DriverQueue::bytes(command_queue_size)),
                               reserve(virtio::DriverQueue::bytes(EventReceiver::queue_size))};
  const std::size_t events = reserve(EventReceiver::memory_size), command = reserve(command_bytes),
                    answer = reserve(command_bytes), controls = reserve(control_bytes);
  end = (end + page_size - 1) & ~(page_size - 1);
  const std::size_t user = reserve(options_.user_memory);

  const auto memory = transport_.create_memory(end);
  if (!memory) return std::unexpected(memory.error());
  const GuestArea all{*memory, transport_.guest_base()};
  events_.use(all.part(events, EventReceiver::memory_size));
  command_ = all.part(command, command_bytes);
  answer_ = all.part(answer, command_bytes);
  controls_ = all.part(controls, control_bytes);
  user_ = all.part(user, options_.user_memory);
  for (std::uint16_t i = 0; i < media::wire::queue_count; ++i) {
    const GuestArea ring = all.part(rings[i], 0);
    queues_.emplace_back(ring.bytes.data(), ring.address,
                         i == media::wire::commandq ? command_queue_size : EventReceiver::queue_size,
                         transport_.event_idx());
  }
  return {};
}

// The state of a driver at DRIVER_OK that has already lent its event buffers.
template <class Link>
Outcome<> BasicGuest<Link>::start() {
  events_.begin(queues_[media::wire::eventq]);
  return transport_.start(queues_);
}

template <class Link>
Outcome<> BasicGuest<Link>::reset() {
  if (auto done = transport_.reset(); !done) return done;
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
  events_.forget(session);
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
  if (command.size() > command_.size() || answer.size() > answer_.size()) return fail(E2BIG);
  if (command.empty() && answer.empty()) return fail(EINVAL);
  std::ranges::copy(command, command_.bytes.begin());
  auto length = run(command.size(), answer.size());
  if (length)
    std::ranges::copy(answer_.bytes.first(std::min<std::size_t>(*length, answer.size())), answer.begin());
  return length;
}

// Sends the contents of the command area and waits for the answer.
template <class Link>
Result<std::uint32_t> BasicGuest<Link>::run(std::size_t command_size, std::size_t answer_size) {
  if (error_.code != 0) return fail(error_.code);
  if (answer_size > answer_.size()) return fail(E2BIG);
  virtio::Piece pieces[2];
  std::size_t count = 0;
  if (command_size > 0) pieces[count++] = {command_.address, static_cast<std::uint32_t>(command_size), false};
  if (answer_size > 0) pieces[count++] = {answer_.address, static_cast<std::uint32_t>(answer_size), true};
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
    if (auto event = events_.take()) return event;
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
  const auto kick = events_.collect(queues_[media::wire::eventq]);
  if (!kick) return broken(EPROTO, "the device returned an event buffer that it does not have");
  if (*kick) transport_.kick(media::wire::eventq);
  return {};
}

}  // namespace vumedia::client
