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

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/encoding.hpp>
#include <vumedia/client/transport.hpp>
#include <vumedia/client/vhost_user_transport.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia::client {

struct GuestOptions {
  // How long a command may take; the Linux driver gives up after 5 s.
  std::chrono::milliseconds command_timeout{5000};
  // How long to poll for an answer before sleeping: costs CPU time and saves latency.
  std::chrono::microseconds spin{0};
  // Bytes of guest memory for the caller (user_memory): USERPTR buffers.
  std::size_t user_memory = 0;
};

// Events that the device sends.
struct ErrorEvent {
  std::uint32_t session = 0;
  int error = 0;
};
struct DqbufEvent {
  std::uint32_t session = 0;
  v4l2::Buffer buffer{};
};
struct V4l2Event {
  std::uint32_t session = 0;
  v4l2_event event{};
};
using Event = std::variant<ErrorEvent, DqbufEvent, V4l2Event>;

// One thread at a time may use it.
template <class Link>
class BasicGuest {
  static_assert(Transport<Link>, "the argument of client::BasicGuest does not satisfy client::Transport");

 public:
  // Connects to the device at a listening vhost-user socket.
  [[nodiscard]] static Outcome<std::unique_ptr<BasicGuest>> connect(const std::string& socket_path,
                                                                    const GuestOptions& options = {})
    requires requires { Link::connect(socket_path); }
  {
    auto transport = Link::connect(socket_path);
    if (!transport) return std::unexpected(std::move(transport.error()));
    return attach(std::move(*transport), options);
  }
  // Uses a transport that is connected to its device; for Guest, a connected vhost_user::Frontend will do.
  // Negotiates and starts the queues.
  [[nodiscard]] static Outcome<std::unique_ptr<BasicGuest>> attach(Link transport,
                                                                   const GuestOptions& options = {}) {
    std::unique_ptr<BasicGuest> guest(new BasicGuest(std::move(transport), options));
    if (auto done = guest->set_up(); !done) return std::unexpected(std::move(done.error()));
    return guest;
  }
  BasicGuest(const BasicGuest&) = delete;
  BasicGuest& operator=(const BasicGuest&) = delete;

  [[nodiscard]] const media::wire::virtio_media_config& config() const noexcept { return config_; }
  // Bytes of shared memory region 0; 0 if there is none, so that nothing can be mapped.
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return transport_.shm_size(); }

  [[nodiscard]] Result<std::uint32_t> open();
  [[nodiscard]] Result<> close(std::uint32_t session);

  // Sends `payload` and replaces it with the answer. A failed ioctl leaves it unchanged, except that
  // G/S/TRY_EXT_CTRLS return error_idx and sizes. `head.length` is the number of planes that travel. USERPTR
  // buffers without guest ranges get them from their pointers into user_memory(); controls with a size and no
  // ranges are copied from and to their `ptr`.
  template <class Tag>
  [[nodiscard]] Result<> ioctl(std::uint32_t session, typename Tag::Payload& payload);

  struct Mapped {
    memory::ShmOffset driver_addr;
    typename Link::SharedMemory memory;  // until munmap, or the device is gone
  };
  // Maps the buffer that has mem_offset `offset`. Each mmap needs its munmap.
  [[nodiscard]] Result<Mapped> mmap(std::uint32_t session, std::uint32_t offset, bool writable = true);
  [[nodiscard]] Result<> munmap(memory::ShmOffset driver_addr);

  // The next event, or nothing within `timeout`.
  [[nodiscard]] Result<std::optional<Event>> wait_event(std::chrono::milliseconds timeout);
  // The number of events that were too short for their type; the Linux driver drops them, too.
  [[nodiscard]] std::uint64_t dropped_events() const noexcept { return dropped_events_; }

  // Guest memory for the caller, and where the device finds it.
  [[nodiscard]] std::span<std::byte> user_memory() const noexcept;
  [[nodiscard]] Result<memory::GuestAddress> guest_address(const void* in_user_memory) const noexcept;

  // Sends any command, valid or not, and returns the length of the answer in `answer`; for tests of devices.
  [[nodiscard]] Result<std::uint32_t> command(std::span<const std::byte> command,
                                              std::span<std::byte> answer);

  // Does what a driver does when it is loaded again: all earlier sessions, mappings and events are gone.
  [[nodiscard]] Outcome<> reset();

  [[nodiscard]] Link& transport() noexcept { return transport_; }
  [[nodiscard]] auto& frontend() noexcept
    requires requires(Link& link) { link.frontend(); }
  {
    return transport_.frontend();
  }
  [[nodiscard]] const Error& error() const noexcept { return error_; }

 private:
  using Clock = io::Clock;
  struct Area {
    std::size_t offset = 0;
    std::size_t size = 0;
  };
  static constexpr std::uint16_t command_queue_size = 16;
  static constexpr std::uint16_t event_queue_size = 16;  // and as many buffers
  static constexpr std::size_t event_stride = 640;
  static constexpr std::size_t command_bytes = 256 * 1024;
  static constexpr std::size_t control_bytes = 256 * 1024;
  // Events kept for the caller. Beyond this limit no more buffers are lent, and the device keeps its events.
  static constexpr std::size_t max_kept_events = 4096;

  BasicGuest(Link transport, const GuestOptions& options)
      : options_(options), transport_(std::move(transport)) {}
  [[nodiscard]] Outcome<> set_up();
  [[nodiscard]] Outcome<> create_memory();
  [[nodiscard]] Outcome<> start();
  void lend_event_buffers();
  void lend_event_buffer(std::uint32_t slot);

  [[nodiscard]] std::span<std::byte> bytes(Area area) const noexcept {
    return memory_.subspan(area.offset, area.size);
  }
  [[nodiscard]] memory::GuestAddress guest(Area area) const noexcept {
    return {transport_.guest_base().value + area.offset};
  }

  [[nodiscard]] Result<std::uint32_t> run(std::size_t command_size, std::size_t answer_size);
  [[nodiscard]] Result<> wait(io::TimePoint until);
  [[nodiscard]] Result<> collect_events();
  void keep_event(std::span<const std::byte> event);

  [[nodiscard]] Result<> add_ranges(v4l2::BufferPayload& payload) const;
  [[nodiscard]] Result<> add_ranges(v4l2::ExtControls& payload) const;
  void take_controls(std::span<const v4l2_ext_control> sent) const noexcept;

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
  std::span<std::byte> memory_;  // the transport's
  Area events_, command_, answer_, controls_, user_;
  std::vector<virtio::DriverQueue> queues_;
  std::array<std::uint32_t, event_queue_size> slot_of_head_{};
  std::deque<Event> kept_;
  std::uint64_t dropped_events_ = 0;
  Error error_;
};

// Reaches its device over a vhost-user socket, like a VMM's guest.
using Guest = BasicGuest<VhostUserTransport>;

template <class Link>
template <class Tag>
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
  virtio::Writer writer(bytes(command_));
  if (auto done = detail::put(writer, head); !done) return done;
  const auto put = detail::put_payload<Tag>(writer, payload);
  if constexpr (has_controls || v4l2::detail::hands_over_buffer<Tag>) {
    if (own_ranges) payload.ranges.clear();
  }
  if (!put) return put;

  const std::size_t payload_bytes = detail::answer_size<Tag>(payload);
  const auto length = run(writer.written(), sizeof(wire::virtio_media_resp_ioctl) + payload_bytes);
  if (!length) return std::unexpected(length.error());
  virtio::Reader reader(std::span<const std::byte>(bytes(answer_)).first(*length));
  wire::virtio_media_resp_ioctl response;
  if (!detail::get(reader, response))
    return broken(EPROTO, std::string(Tag::name) + ": the answer has no status");

  const bool failed = response.hdr.status != 0;
  if (!failed || has_controls) {
    if (reader.remaining() >= payload_bytes) {
      if constexpr (has_controls) {
        const auto sent = payload.controls;
        if (auto done = detail::get_payload<Tag>(reader, payload); !done) return done;
        if (own_ranges) take_controls(sent);
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

}  // namespace vumedia::client

#include <vumedia/client/guest_commands.hpp>
