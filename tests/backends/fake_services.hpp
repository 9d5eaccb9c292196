// The services of a media device, for a backend on its own: events are kept, timers fire when a test says so.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include <vumedia/core/log.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/media/context.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/guest_memory.hpp>

namespace vumedia::backends::test {

class FakeServices {
 public:
  struct Sent {
    std::uint32_t session = 0;
    v4l2::Buffer buffer{};
  };

  [[nodiscard]] media::Context context(std::uint32_t session) { return {this, services, {session, nullptr}}; }

  // Completes the one timer that is set. False if none is.
  bool fire() {
    if (timer_ == nullptr) return false;
    io::Operation& operation = *std::exchange(timer_, nullptr);
    operation.complete(0);
    return true;
  }
  [[nodiscard]] bool has_timer() const { return timer_ != nullptr; }
  [[nodiscard]] io::TimePoint deadline() const { return deadline_; }

  std::vector<Sent> dqbufs;
  std::vector<std::pair<std::uint32_t, v4l2_event>> events;
  memory::Arenas arenas;
  memory::Work work;
  media::Chores chores;  // to be run when a test says so
  std::shared_ptr<const memory::GuestMemory> memory = memory::GuestMemory::empty();
  Log log;  // drops everything unless a test sets it

 private:
  io::Operation* timer_ = nullptr;
  io::TimePoint deadline_{};

  static FakeServices& self(void* device) { return *static_cast<FakeServices*>(device); }

  static const media::detail::Services services;
};

inline constexpr media::detail::Services FakeServices::services{
    .session_type = nullptr,  // no session is ever found
    .find_session = [](void*, const media::detail::SessionKey&) noexcept -> void* { return nullptr; },
    .send_dqbuf =
        [](void* device, const media::detail::SessionKey& session, const v4l2::Buffer& buffer) noexcept {
          self(device).dqbufs.push_back({session.id, buffer});
        },
    .send_event =
        [](void* device, const media::detail::SessionKey& session, const v4l2_event& event) noexcept {
          self(device).events.emplace_back(session.id, event);
        },
    .send_error = [](void*, const media::detail::SessionKey&, int) noexcept {},
    .purge_dqbuf = [](void*, const media::detail::SessionKey&, std::uint32_t) noexcept {},
    .arenas = [](void* device) noexcept -> memory::Arenas& { return self(device).arenas; },
    .memory = [](void* device) noexcept -> const std::shared_ptr<const memory::GuestMemory>& {
      return self(device).memory;
    },
    .work = [](void* device) noexcept -> memory::Work& { return self(device).work; },
    .do_later = [](void* device, media::Chore& chore) noexcept { self(device).chores.add(chore); },
    .log = [](void* device) noexcept -> const Log& { return self(device).log; },
    .timer =
        [](void* device, io::Operation& operation, io::TimePoint deadline) noexcept {
          self(device).timer_ = &operation;
          self(device).deadline_ = deadline;
          operation.start();
        },
    .poll = [](void*, io::Operation&, int, unsigned) noexcept {},
    .cancel =
        [](void* device, io::Operation& operation) noexcept {
          if (self(device).timer_ == &operation) self(device).timer_ = nullptr;
          operation.cancelled();
        },
    .inbox = [](void*) noexcept { return std::shared_ptr<io::Inbox>(); },
    .anchor = [](void*) noexcept -> const std::shared_ptr<media::detail::Anchor>& {
      static const std::shared_ptr<media::detail::Anchor> none;
      return none;
    },
};

}  // namespace vumedia::backends::test
