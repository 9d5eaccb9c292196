// A guest's driver at the level of bytes, for tests of media::Device on an EmbeddedHost: it can send what a
// driver must not.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "support/device_options.hpp"
#include "support/embedded_host.hpp"
#include "support/patience.hpp"

namespace vumedia::test {

namespace wire = media::wire;

using Bytes = std::vector<std::byte>;

template <class... T>
Bytes bytes_of(const T&... values) {
  Bytes bytes;
  const auto append = [&bytes](const void* data, std::size_t size) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), from, from + size);
  };
  (append(&values, sizeof values), ...);
  return bytes;
}

// A chain that came back.
struct Reply {
  std::uint32_t length = 0;
  Bytes bytes;  // the whole writable part

  template <class T>
  T as(std::size_t offset = 0) const {
    T value{};
    EXPECT_LE(offset + sizeof value, bytes.size());
    if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  }
  // The status of a reply that is long enough to have one, otherwise -1.
  int status() const {
    return length < sizeof(wire::virtio_media_resp_header)
               ? -1
               : static_cast<int>(as<wire::virtio_media_resp_header>().status);
  }
};

// A device with backend B, its host, and the driver.
template <class B, class HostType = EmbeddedHost<io::UringReactor>>
class MediaGuest {
 public:
  using Host = HostType;
  using Device = media::Device<B, Host>;

  template <class... Arguments>
  explicit MediaGuest(EmbeddedOptions host_options, media::DeviceOptions device_options,
                      Arguments&&... arguments)
      : MediaGuest(make_reactor(), host_options, device_options, std::forward<Arguments>(arguments)...) {}
  // One of several on a loop.
  template <class... Arguments>
  explicit MediaGuest(std::shared_ptr<io::UringReactor> loop, EmbeddedOptions host_options,
                      media::DeviceOptions device_options, Arguments&&... arguments)
      : reactor(std::move(loop)),
        host(*reactor, host_options),
        device(
            std::make_unique<Device>(host, patient(device_options), std::forward<Arguments>(arguments)...)) {}
  MediaGuest() : MediaGuest(EmbeddedOptions{}, media::DeviceOptions{}) {}

  // -- Commands

  // Puts a chain on the command queue without kicking.
  std::uint16_t add(const Bytes& command, std::size_t room, bool indirect = false) {
    Sent sent;
    std::vector<virtio::Piece> pieces;
    if (!command.empty()) {
      const auto readable = host.allocate(command.size());
      std::memcpy(host.bytes(readable), command.data(), command.size());
      pieces.push_back({readable, static_cast<std::uint32_t>(command.size()), false});
    }
    if (room != 0) {
      sent.writable = host.allocate(room);
      sent.room = room;
      std::memset(host.bytes(sent.writable), 0xee, room);
      pieces.push_back({sent.writable, static_cast<std::uint32_t>(room), true});
    }
    const auto head = host.driver_queue(wire::commandq).add(pieces, indirect);
    EXPECT_TRUE(head.has_value());
    static_cast<void>(host.driver_queue(wire::commandq).publish());
    sent_[head.value_or(0)] = sent;
    return head.value_or(0);
  }

  // The next reply that has come, and its chain.
  std::optional<std::pair<std::uint16_t, Reply>> take_reply() {
    const auto used = host.driver_queue(wire::commandq).pop_used();
    EXPECT_TRUE(used.has_value());
    if (!used || !*used) return std::nullopt;
    const Sent sent = sent_[(*used)->head];
    Reply reply;
    reply.length = (*used)->length;
    if (sent.room != 0) {
      const std::byte* const data = host.bytes(sent.writable);
      reply.bytes.assign(data, data + sent.room);
    }
    return std::pair{(*used)->head, reply};
  }

  // Sends a command that is answered at once.
  Reply command(const Bytes& bytes, std::size_t room) {
    const std::uint16_t head = add(bytes, room);
    device->process(wire::commandq);
    auto reply = take_reply();
    // Much work takes more than one turn of the loop.
    if (!reply && device->in_flight(wire::commandq) != 0) {
      run_until([&] {
        reply = take_reply();
        return reply.has_value();
      });
    }
    EXPECT_TRUE(reply.has_value()) << "the command was not answered";
    if (!reply) return {};
    EXPECT_EQ(reply->first, head);
    return reply->second;
  }

  // The id, or 0.
  std::uint32_t open() {
    // A backend may answer this later.
    add(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
    device->process(wire::commandq);
    const Reply reply = wait_reply().value_or(Reply{});
    EXPECT_EQ(reply.status(), 0);
    EXPECT_EQ(reply.length, 16u);
    return reply.as<wire::virtio_media_resp_open>().session_id;
  }
  void close(std::uint32_t id) {
    const Reply reply = command(close_command(id), 0);
    EXPECT_EQ(reply.length, 0u);
  }
  static Bytes close_command(std::uint32_t id) {
    return bytes_of(wire::virtio_media_cmd_close{{wire::cmd_close, 0xdeadbeef}, id, 0});
  }
  static Bytes ioctl_command(std::uint32_t id, std::uint32_t code) {
    return bytes_of(wire::virtio_media_cmd_ioctl{{wire::cmd_ioctl, 0xdeadbeef}, id, code});
  }
  template <class Tag>
  static Bytes ioctl_command(std::uint32_t id, const typename Tag::Wire& payload) {
    Bytes bytes = ioctl_command(id, Tag::number);
    const Bytes tail = bytes_of(payload);
    if (v4l2::carries_input<Tag>) bytes.insert(bytes.end(), tail.begin(), tail.end());
    return bytes;
  }
  template <class Tag>
  static constexpr std::size_t ioctl_room = 8 + (v4l2::carries_output<Tag> ? sizeof(typename Tag::Wire) : 0);

  // Carries out an ioctl whose payload is one struct; the status.
  template <class Tag>
  int ioctl(std::uint32_t id, typename Tag::Wire& payload) {
    const Reply reply = command(ioctl_command<Tag>(id, payload), ioctl_room<Tag>);
    if (reply.status() == 0) {
      EXPECT_EQ(reply.length, ioctl_room<Tag>);
      if (v4l2::carries_output<Tag>) payload = reply.template as<typename Tag::Wire>(8);
    }
    return reply.status();
  }
  static Bytes mmap_command(std::uint32_t id, std::uint32_t offset, bool writable = true) {
    return bytes_of(wire::virtio_media_cmd_mmap{
        {wire::cmd_mmap, 0xdeadbeef}, id, writable ? wire::mmap_flag_rw : 0, offset});
  }
  wire::virtio_media_resp_mmap mmap(std::uint32_t id, std::uint32_t offset, bool writable = true) {
    const Reply reply = command(mmap_command(id, offset, writable), 24);
    return reply.template as<wire::virtio_media_resp_mmap>();
  }
  int munmap(std::uint64_t address) {
    return command(bytes_of(wire::virtio_media_cmd_munmap{{wire::cmd_munmap, 0}, address}), 8).status();
  }

  // -- Events

  void lend_event_buffers(std::size_t count, std::uint32_t room = wire::max_event_size) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto buffer = host.allocate(room);
      const virtio::Piece piece{buffer, room, true};
      const auto head = host.driver_queue(wire::eventq).add(std::span(&piece, 1));
      ASSERT_TRUE(head.has_value());
      lent_[*head] = {buffer, room};
    }
    static_cast<void>(host.driver_queue(wire::eventq).publish());
    device->process(wire::eventq);
  }
  // The next event that has come.
  std::optional<Reply> take_event() {
    const auto used = host.driver_queue(wire::eventq).pop_used();
    EXPECT_TRUE(used.has_value());
    if (!used || !*used) return std::nullopt;
    const Sent lent = lent_[(*used)->head];
    const std::byte* const data = host.bytes(lent.writable);
    return Reply{(*used)->length, Bytes(data, data + lent.room)};
  }

  // -- The loop

  // Runs the loop until `done()`, or until patience ends.
  bool run_until(const std::function<bool()>& done) {
    const auto deadline = io::Clock::now() + patience;
    bool finished = done();  // may consume what it finds, so it is not called again once it was true
    while (!finished && io::Clock::now() < deadline) {
      if (!waker_.pending()) reactor->timer(waker_, io::Clock::now() + std::chrono::milliseconds(1));
      reactor->run_once(true);
      finished = done();
    }
    reactor->cancel(waker_);
    return finished;
  }
  std::optional<Reply> wait_reply() {
    std::optional<std::pair<std::uint16_t, Reply>> reply;
    run_until([&] {
      reply = take_reply();
      return reply.has_value();
    });
    if (!reply) return std::nullopt;
    return reply->second;
  }
  std::optional<Reply> wait_event() {
    std::optional<Reply> event;
    run_until([&] {
      event = take_event();
      return event.has_value();
    });
    return event;
  }
  B& backend() { return device->backend(); }

  std::shared_ptr<io::UringReactor> reactor;
  Host host;
  std::unique_ptr<Device> device;

 private:
  struct Sent {
    memory::GuestAddress writable;
    std::size_t room = 0;
  };
  // Ends a wait regularly, so that run_until can check.
  struct Waker final : io::Operation {
    Waker() : Operation([](io::Operation&, std::int32_t) noexcept {}) {}
  };
  static std::shared_ptr<io::UringReactor> make_reactor() {
    auto made = io::UringReactor::create();
    if (!made) std::abort();
    return std::move(*made);
  }

  std::map<std::uint16_t, Sent> sent_;
  std::map<std::uint16_t, Sent> lent_;
  Waker waker_;
};

}  // namespace vumedia::test
