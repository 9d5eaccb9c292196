// What the device does for a backend: events, memory, timers, and a way back from other threads.
//
// clang-format off
//   Context          is given to open() and kept in the Session that it makes, for what comes later.
//   Poster<Session>  for worker threads: posts a task that runs on the loop, with the session, if that still
//                    lives.
// clang-format on
// Both are small and freely copied, and do not depend on the types of the device and its host. A service
// costs one indirect call at most; commands reach their backend without one.
//
// A Context is for the loop's thread, and for as long as the device lives. When its session is gone, calls
// that concern the session do nothing; a session id is never mistaken for that of a later session.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>

#include <linux/videodev2.h>

#include <vumedia/core/log.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/media/chores.hpp>
#include <vumedia/media/completion.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::media {

namespace detail {

// Its address stands for a type.
template <class T>
inline constexpr char type_key = 0;

// A session, as a device knows whether it is still there without searching for it.
struct SessionKey {
  std::uint32_t id = 0;   // in the guest; never used for anything else later
  void* place = nullptr;  // the device's, where it keeps the session, and later perhaps another one
};

// The services of a device, for code that does not know its type.
struct Services {
  const void* session_type;  // the type_key of its sessions
  void* (*find_session)(void* device, const SessionKey& session) noexcept;
  void (*send_dqbuf)(void* device, const SessionKey& session, const v4l2::Buffer& buffer) noexcept;
  void (*send_event)(void* device, const SessionKey& session, const v4l2_event& event) noexcept;
  void (*send_error)(void* device, const SessionKey& session, int error) noexcept;
  void (*purge_dqbuf)(void* device, const SessionKey& session, std::uint32_t buffer_type) noexcept;
  memory::Arenas& (*arenas)(void* device) noexcept;
  const std::shared_ptr<const memory::GuestMemory>& (*memory)(void* device) noexcept;
  memory::Work& (*work)(void* device) noexcept;
  void (*do_later)(void* device, Chore& chore) noexcept;
  const Log& (*log)(void* device) noexcept;
  void (*timer)(void* device, io::Operation& operation, io::TimePoint deadline) noexcept;
  void (*poll)(void* device, io::Operation& operation, int fd, unsigned events) noexcept;
  void (*cancel)(void* device, io::Operation& operation) noexcept;
  std::shared_ptr<io::Inbox> (*inbox)(void* device) noexcept;
  const std::shared_ptr<Anchor>& (*anchor)(void* device) noexcept;
};

}  // namespace detail

template <class Session>
class Poster;

/// A session's view of its device.
class Context {
 public:
  /// Belongs to no session. It may only be assigned to and tested.
  Context() = default;
  /// `services` of `device`, for this session of it. A device makes these; so do tests of a backend alone.
  Context(void* device, const detail::Services& services, const detail::SessionKey& session) noexcept
      : device_(device), services_(&services), session_(session) {}

  /// Whether it belongs to a device (whose session may be gone).
  [[nodiscard]] explicit operator bool() const noexcept { return device_ != nullptr; }
  /// The session's id in the guest. It is never used for anything else later.
  [[nodiscard]] std::uint32_t session_id() const noexcept { return session_.id; }

  // -- Events

  /// Tells the guest that it owns `buffer` again. For a multi-planar buffer, head.length is the number of
  /// planes. The event goes to the guest at once, or waits for an event buffer: waiting events are delivered
  /// in order, and dropped by STREAMOFF and REQBUFS of the buffer's type (once the backend has carried them
  /// out) and by CLOSE. If more than DeviceOptions::max_waiting_events wait, the session ends with an error
  /// event.
  void send_dqbuf(const v4l2::Buffer& buffer) const noexcept {
    services_->send_dqbuf(device_, session_, buffer);
  }

  /// Queues a V4L2 event that the guest has subscribed to (v4l2/subscriptions.hpp keeps track). A control or
  /// source change that still waits is merged with its successor. If it is sent within SUBSCRIBE_EVENT, it
  /// arrives before the answer of that command.
  void send_event(const v4l2_event& event) const noexcept { services_->send_event(device_, session_, event); }

  /// Ends the session from the guest's point of view: waiting events are dropped, and its commands answer
  /// `error` until CLOSE. Linux then closes it although the file is still open, so report a bad frame by
  /// V4L2_BUF_FLAG_ERROR on its buffer instead.
  void send_error(int error) const noexcept { services_->send_error(device_, session_, error); }

  /// Drops waiting DQBUF events of this buffer type, as STREAMOFF and REQBUFS do anyway: for a backend that
  /// stops a queue for another reason.
  void purge_dqbuf(std::uint32_t buffer_type) const noexcept {
    services_->purge_dqbuf(device_, session_, buffer_type);
  }

  // -- Memory

  /// The arenas that buffers come from.
  [[nodiscard]] memory::Arenas& arenas() const noexcept { return services_->arenas(device_); }
  /// The guest's memory, for USERPTR buffers and control payloads. A worker keeps a copy of the pointer.
  [[nodiscard]] const std::shared_ptr<const memory::GuestMemory>& memory() const noexcept {
    return services_->memory(device_);
  }

  // -- The loop

  /// How much may be done now, in a command or a Chore. A command that has more to do returns memory::again
  /// and is called again with the same payload; until then other commands of its session wait.
  [[nodiscard]] memory::Work& work() const noexcept { return services_->work(device_); }
  /// Calls `chore` in a turn of the loop, with a share of the turn in work(): for work that is not part of a
  /// command.
  void do_later(Chore& chore) const noexcept { services_->do_later(device_, chore); }
  /// The device's log.
  [[nodiscard]] const Log& log() const noexcept { return services_->log(device_); }

  /// The loop's operations (io/reactor.hpp). A session cancels its own in close() or its destructor.
  void timer(io::Operation& operation, io::TimePoint deadline) const noexcept {
    services_->timer(device_, operation, deadline);
  }
  /// Likewise.
  ///@{
  void poll(io::Operation& operation, int fd, unsigned events) const noexcept {
    services_->poll(device_, operation, fd, events);
  }
  void cancel(io::Operation& operation) const noexcept { services_->cancel(device_, operation); }
  ///@}

  /// The loop's inbox: a way in from any thread, for what belongs to no session.
  [[nodiscard]] std::shared_ptr<io::Inbox> inbox() const noexcept { return services_->inbox(device_); }
  /// For the workers of this session, which is of the backend's type `Session`. With any other type, it posts
  /// nothing.
  template <class Session>
  [[nodiscard]] Poster<Session> poster() const;

 private:
  void* device_ = nullptr;
  const detail::Services* services_ = nullptr;
  detail::SessionKey session_;
};

/// A worker's way back to its session. Any thread may copy, use and destroy it at any time, even after the
/// session, the device and the loop are gone.
template <class Session>
class Poster {
 public:
  /// Posts nothing.
  Poster() = default;
  /// Context::poster() makes these.
  Poster(std::shared_ptr<io::Inbox> inbox, std::shared_ptr<detail::Anchor> anchor,
         const detail::Services& services, const detail::SessionKey& session) noexcept
      : inbox_(std::move(inbox)), anchor_(std::move(anchor)), services_(&services), session_(session) {}

  /// The session's id in the guest.
  [[nodiscard]] std::uint32_t session_id() const noexcept { return session_.id; }

  /// Runs `task(Session&, Context)` soon, on the loop's thread, in the order of posting; if the session is
  /// gone by then the task is destroyed without being run. False if the loop is gone already.
  template <class Task>
    requires std::invocable<Task&, Session&, Context>
  bool post(Task task) const {
    if (inbox_ == nullptr) return false;
    return inbox_->post(
        [anchor = anchor_, services = services_, key = session_, task = std::move(task)]() mutable {
          if (anchor->device == nullptr) return;
          void* const session = services->find_session(anchor->device, key);
          if (session == nullptr) return;
          task(*static_cast<Session*>(session), Context(anchor->device, *services, key));
        });
  }

 private:
  std::shared_ptr<io::Inbox> inbox_;
  std::shared_ptr<detail::Anchor> anchor_;
  const detail::Services* services_ = nullptr;
  detail::SessionKey session_;
};

template <class Session>
Poster<Session> Context::poster() const {
  if (services_->session_type != &detail::type_key<Session>) return {};
  return {services_->inbox(device_), services_->anchor(device_), *services_, session_};
}

}  // namespace vumedia::media
