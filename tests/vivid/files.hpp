// Two ways to a V4L2 device with one interface, so that a test can do the same with both: the node itself,
// and a guest's session through the proxy.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vumedia/client/guest.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

#include "support/patience.hpp"

namespace vumedia::vivid {

namespace tag = v4l2::tag;

using vumedia::test::patience;

// A buffer that came back, or the errno of the failure (ETIMEDOUT if nothing came).
using Dequeued = Result<v4l2::Buffer>;

// The node itself, by ioctl(2).
class NodeFile {
 public:
  explicit NodeFile(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)) {
    EXPECT_TRUE(fd_) << path << ": " << std::strerror(errno);
  }
  NodeFile(const NodeFile&) = delete;
  NodeFile& operator=(const NodeFile&) = delete;
  ~NodeFile() {
    for (const auto& [address, size] : mappings_) ::munmap(address, size);
  }

  // 0 or an errno.
  template <class Tag>
  [[nodiscard]] int ioctl(typename Tag::Payload& payload) {
    using Payload = typename Tag::Payload;
    if constexpr (std::same_as<Payload, v4l2::BufferPayload>) {
      v4l2_buffer head = payload.buffer.head;
      const bool multiplanar = v4l2::is_multiplanar(head.type);
      if (multiplanar) head.m.planes = payload.buffer.planes.data();
      const int error = call(Tag::code, &head);
      if (multiplanar) head.m = payload.buffer.head.m;
      if (error == 0) payload.buffer.head = head;
      return error;
    } else if constexpr (std::same_as<Payload, v4l2::ExtControls>) {
      v4l2_ext_controls head = payload.head;
      head.controls = payload.controls.data();
      const int error = call(Tag::code, &head);
      head.controls = payload.head.controls;
      payload.head = head;
      return error;
    } else {
      return call(Tag::code, &payload);
    }
  }

  [[nodiscard]] std::span<std::byte> map(std::uint32_t offset, std::size_t size) {
    void* const address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), offset);
    EXPECT_NE(address, MAP_FAILED) << std::strerror(errno);
    if (address == MAP_FAILED) return {};
    mappings_[address] = size;
    return {static_cast<std::byte*>(address), size};
  }
  void unmap(std::span<std::byte> mapping) {
    EXPECT_EQ(mappings_.erase(mapping.data()), 1u);
    ::munmap(mapping.data(), mapping.size());
  }

  [[nodiscard]] Dequeued dequeue(std::uint32_t type) {
    const auto events = static_cast<short>(v4l2::is_output(type) ? POLLOUT : POLLIN);
    pollfd state{fd_.get(), events, 0};
    if (::poll(&state, 1, vumedia::test::poll_patience) != 1) return fail(ETIMEDOUT);
    v4l2::Buffer buffer{};
    buffer.head.type = type;
    buffer.head.memory = V4L2_MEMORY_MMAP;
    if (v4l2::is_multiplanar(type)) {
      buffer.head.length = VIDEO_MAX_PLANES;
      buffer.head.m.planes = buffer.planes.data();
    }
    const int error = call(VIDIOC_DQBUF, &buffer.head);
    if (v4l2::is_multiplanar(type)) buffer.head.m.planes = nullptr;
    if (error != 0) return fail(error);
    return buffer;
  }

  [[nodiscard]] std::optional<v4l2_event> event() {
    pollfd state{fd_.get(), POLLPRI, 0};
    if (::poll(&state, 1, vumedia::test::poll_patience) != 1) return std::nullopt;
    v4l2_event event{};
    if (call(VIDIOC_DQEVENT, &event) != 0) return std::nullopt;
    return event;
  }

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  [[nodiscard]] int call(unsigned long code, void* argument) const noexcept {
    return ::ioctl(fd_.get(), code, argument) == 0 ? 0 : errno;
  }

  OwnedFd fd_;
  std::map<void*, std::size_t> mappings_;
};

// A guest whose sessions each see their own events.
class ProxyGuest {
 public:
  explicit ProxyGuest(std::unique_ptr<client::Guest> guest) : guest_(std::move(guest)) {}

  [[nodiscard]] client::Guest& operator*() const noexcept { return *guest_; }
  [[nodiscard]] client::Guest* operator->() const noexcept { return guest_.get(); }

  // The next event of kind `Wanted` in `session`; those of other kinds and sessions are kept for later.
  // Nothing if none comes in `timeout`.
  template <class Wanted>
  [[nodiscard]] std::optional<Wanted> event(std::uint32_t session,
                                            std::chrono::milliseconds timeout = patience) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
      for (auto i = events_.begin(); i != events_.end(); ++i) {
        const auto* const wanted = std::get_if<Wanted>(&*i);
        if (wanted == nullptr || wanted->session != session) continue;
        const Wanted found = *wanted;
        events_.erase(i);
        return found;
      }
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      auto next = guest_->wait_event(std::max(left, std::chrono::milliseconds(0)));
      if (!next || !*next) return std::nullopt;
      events_.push_back(**next);
    }
  }
  // Drops what has come of buffers of this type in `session`.
  void forget_buffers(std::uint32_t session, std::uint32_t type) {
    static_cast<void>(waiting());
    std::erase_if(events_, [=](const client::Event& event) {
      const auto* const buffer = std::get_if<client::DqbufEvent>(&event);
      return buffer != nullptr && buffer->session == session && buffer->buffer.head.type == type;
    });
  }
  // What has come so far, of all kinds.
  [[nodiscard]] const std::deque<client::Event>& waiting() {
    while (true) {
      auto next = guest_->wait_event(std::chrono::milliseconds(0));
      if (!next || !*next) return events_;
      events_.push_back(**next);
    }
  }

 private:
  std::unique_ptr<client::Guest> guest_;
  std::deque<client::Event> events_;
};

// A session through the proxy. It is closed at the end, unless the device is gone.
class ProxyFile {
 public:
  explicit ProxyFile(ProxyGuest& guest) : guest_(&guest) {
    const auto session = guest->open();
    EXPECT_TRUE(session) << "OPEN: " << std::strerror(session.error().value);
    if (session) session_ = *session;
  }
  ProxyFile(const ProxyFile&) = delete;
  ProxyFile& operator=(const ProxyFile&) = delete;
  ~ProxyFile() {
    for (const auto& [memory, address] : mappings_) EXPECT_TRUE((*guest_)->munmap(address));
    if (session_) static_cast<void>((*guest_)->close(*session_));
  }

  template <class Tag>
  [[nodiscard]] int ioctl(typename Tag::Payload& payload) {
    const auto done = (*guest_)->template ioctl<Tag>(session(), payload);
    // Buffers that came back earlier are forgotten, as in a guest's driver.
    if constexpr (std::same_as<Tag, tag::STREAMOFF>) {
      if (done) guest_->forget_buffers(session(), payload);
    }
    return done ? 0 : done.error().value;
  }

  [[nodiscard]] std::span<std::byte> map(std::uint32_t offset, std::size_t size) {
    const auto mapped = (*guest_)->mmap(session(), offset);
    EXPECT_TRUE(mapped) << "MMAP: " << std::strerror(mapped.error().value);
    if (!mapped) return {};
    EXPECT_GE(mapped->memory.size(), size);
    mappings_[mapped->memory.data()] = mapped->driver_addr;
    return mapped->memory.first(std::min(size, mapped->memory.size()));
  }
  void unmap(std::span<std::byte> mapping) {
    const auto found = mappings_.find(mapping.data());
    ASSERT_NE(found, mappings_.end());
    EXPECT_TRUE((*guest_)->munmap(found->second));
    mappings_.erase(found);
  }

  [[nodiscard]] Dequeued dequeue(std::uint32_t type) {
    const auto event = guest_->event<client::DqbufEvent>(session());
    if (!event) return fail(ETIMEDOUT);
    EXPECT_EQ(event->buffer.head.type, type);
    return event->buffer;
  }
  [[nodiscard]] std::optional<v4l2_event> event() {
    const auto event = guest_->event<client::V4l2Event>(session());
    if (!event) return std::nullopt;
    return event->event;
  }

  [[nodiscard]] std::uint32_t session() const noexcept { return session_.value_or(0xffff'ffff); }
  [[nodiscard]] ProxyGuest& guest() const noexcept { return *guest_; }
  // The device, or the guest, is gone, and the session with it.
  void forget() noexcept {
    mappings_.clear();
    session_.reset();
  }
  // Closes the session now. What it has mapped stays.
  [[nodiscard]] bool close() {
    const auto closed = (*guest_)->close(session());
    session_.reset();
    return closed.has_value();
  }

 private:
  ProxyGuest* guest_;
  std::optional<std::uint32_t> session_;
  std::map<std::byte*, memory::ShmOffset> mappings_;
};

}  // namespace vumedia::vivid
