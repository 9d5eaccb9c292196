// The ioctls of buffers and streaming, for a backend to inherit (<vumedia/v4l2/ioctls.hpp>).
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/arena.hpp>
#include <vumedia/memory/mappable.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/v4l2/priority.hpp>
#include <vumedia/v4l2/queue_owner.hpp>
#include <vumedia/v4l2/session_members.hpp>

namespace vumedia::v4l2 {

/// `queues_of(session)`: the queues, in the order of their mem_offsets.
template <class Backend, class Session>
concept HasOneQueue = requires(Backend& backend, Session& session) {
  { backend.queues_of(session) } -> std::same_as<BufferQueue&>;
};
/// `queues_of(session)`: one queue, or several.
template <class Backend, class Session>
concept HasQueues = HasOneQueue<Backend, Session> || requires(Backend& backend, Session& session) {
  { *backend.queues_of(session).begin() } -> std::convertible_to<BufferQueue*>;
};
/// `plane_sizes(session, queue)`: the bytes of each plane in the queue's current format.
template <class Backend, class Session>
concept HasPlaneSizes = requires(Backend& backend, Session& session, const BufferQueue& queue) {
  std::span<const std::uint32_t>(backend.plane_sizes(session, queue));
};

/// The backend has
///   BufferQueue& queues_of(Session&);                     the device's one queue, or the session's; or, of
///   std::array<BufferQueue*, 2> queues_of(Session&);      several, those of the session
///   std::array<std::uint32_t, N> plane_sizes(Session&, const BufferQueue&);
///                                                         or anything else that is a span of them
/// and sessions have `context`. It declares those of the hooks below that it needs, as public members, with
/// the parameters that they have here: a declaration hides the default of that name.
template <class Backend>
class QueueIoctls {
 public:
  /// What BufferQueue::mappable() has at the offset, of any of the queues. EINVAL.
  template <class Session>
  [[nodiscard]] Result<memory::Mappable> mmap(Session& session, std::uint32_t mem_offset) {
    if constexpr (HasOneQueue<Backend, Session>) {
      return backend().queues_of(session).mappable(mem_offset);
    } else {
      for (BufferQueue* const queue : backend().queues_of(session)) {
        if (auto found = queue->mappable(mem_offset)) return found;
      }
      return fail(EINVAL);
    }
  }

  /// See BufferQueue::reqbufs(). EBUSY: another session owns the queue, or may_run() refuses.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::REQBUFS, v4l2_requestbuffers& request) {
    return allocate<tag::REQBUFS>(session, request.type, request, [&](BufferQueue& queue) -> Result<> {
      if (auto allowed = backend().may_allocate(session, queue, request); !allowed) return allowed;
      const std::uint64_t before = queue.generation();
      const auto sizes = backend().plane_sizes(session, queue);
      const auto done = queue.reqbufs(request, sizes, backend().arenas_of(session));
      if (queue.generation() != before) {
        backend().cancelled(session, queue);
        backend().removed(session, queue, 0, queue.options().max_buffers);
      }
      return done;
    });
  }
  /// See BufferQueue::create_bufs(). EBUSY: another session owns the queue, or may_run() refuses.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::CREATE_BUFS, v4l2_create_buffers& request) {
    return allocate<tag::CREATE_BUFS>(
        session, request.format.type, request, [&](BufferQueue& queue) -> Result<> {
          if (auto allowed = backend().may_allocate(session, queue, request); !allowed) return allowed;
          const auto sizes = backend().plane_sizes(session, queue);
          return queue.create_bufs(request, sizes, backend().arenas_of(session));
        });
  }
  /// See BufferQueue::remove_bufs(). EBUSY: another session owns the queue, or may_run() refuses.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::REMOVE_BUFS, RemoveBuffers& request) {
    return allocate<tag::REMOVE_BUFS>(session, request.type, request, [&](BufferQueue& queue) -> Result<> {
      if (auto removed = queue.remove_bufs(request); !removed) return removed;
      backend().removed(session, queue, request.index, request.count);
      return {};
    });
  }

  /// See BufferQueue::querybuf().
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::QUERYBUF, BufferPayload& payload) {
    const BufferQueue* const queue = find(session, payload.buffer.head.type);
    if (queue == nullptr) return fail(EINVAL);
    return queue->querybuf(payload);
  }
  /// See BufferQueue::prepare_buf(). EBUSY: another session owns the queue.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::PREPARE_BUF, BufferPayload& payload) {
    BufferQueue* const queue = find(session, payload.buffer.head.type);
    if (queue == nullptr) return fail(EINVAL);
    if (!backend().queue_owner().admits(session)) return refuse_other(*queue, payload.buffer.head.type);
    return queue->prepare_buf(payload, user_memory(session));
  }
  /// See BufferQueue::qbuf(). EBUSY: another session owns the queue.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::QBUF, BufferPayload& payload) {
    BufferQueue* const queue = find(session, payload.buffer.head.type);
    if (queue == nullptr) return fail(EINVAL);
    if (!backend().queue_owner().admits(session)) return refuse_other(*queue, payload.buffer.head.type);
    if (auto allowed = backend().may_queue(session, *queue, payload); !allowed) return allowed;
    if (auto queued = queue->qbuf(payload, user_memory(session)); !queued) return queued;
    backend().queued(session, *queue);
    return {};
  }

  /// See BufferQueue::stream_on(). EBUSY: another session owns the queue, or may_run() refuses.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::STREAMON, std::uint32_t& type) {
    if (auto allowed = may_run<tag::STREAMON>(session, type); !allowed) return allowed;
    BufferQueue* const queue = find(session, type);
    if (queue == nullptr || queue->type() != type) return fail(EINVAL);
    if (!backend().queue_owner().admits(session)) return refuse_other(*queue, type);
    if (queue->streaming()) return {};
    if (auto allowed = backend().may_start(session, *queue); !allowed) return allowed;
    if (auto started = queue->stream_on(type); !started) return started;
    backend().started(session, *queue);
    return {};
  }
  /// See BufferQueue::stream_off(). EBUSY: another session owns the queue, or may_run() refuses.
  template <class Session>
  [[nodiscard]] Result<> ioctl(Session& session, tag::STREAMOFF, std::uint32_t& type) {
    if (auto allowed = may_run<tag::STREAMOFF>(session, type); !allowed) return allowed;
    BufferQueue* const queue = find(session, type);
    if (queue == nullptr) return fail(EINVAL);
    if (!backend().queue_owner().admits(session)) return refuse_other(*queue, type);
    if (auto stopped = queue->stream_off(type); !stopped) return stopped;
    backend().cancelled(session, *queue);
    return {};
  }

 protected:
  // ---- Hooks

  /// Where MMAP buffers, and copies of USERPTR buffers, come from.
  template <class Session>
  [[nodiscard]] static memory::Arenas& arenas_of(Session& session) noexcept {
    return session.context.arenas();
  }
  /// The owner of a queue that all sessions share: `v4l2::QueueOwner<Session>& queue_owner()`.
  [[nodiscard]] static constexpr NoQueueOwner queue_owner() noexcept { return {}; }

  /// REQBUFS and CREATE_BUFS: `request` is a v4l2_requestbuffers or a v4l2_create_buffers of the queue's
  /// type. May lower its count.
  template <class Session, class Request>
  [[nodiscard]] static Result<> may_allocate(Session&, BufferQueue&, Request&) noexcept {
    return {};
  }
  /// QBUF, checked for nothing yet.
  template <class Session>
  [[nodiscard]] static Result<> may_queue(Session&, BufferQueue&, const BufferPayload&) noexcept {
    return {};
  }
  /// QBUF has succeeded.
  template <class Session>
  static void queued(Session&, BufferQueue&) noexcept {}
  /// STREAMON of a queue that does not stream, before BufferQueue has looked at it; and after it succeeded.
  template <class Session>
  [[nodiscard]] static Result<> may_start(Session&, BufferQueue&) noexcept {
    return {};
  }
  /// STREAMON has succeeded.
  template <class Session>
  static void started(Session&, BufferQueue&) noexcept {}
  /// STREAMOFF, or REQBUFS of new buffers or none, has taken all buffers from the backend.
  template <class Session>
  static void cancelled(Session&, BufferQueue&) noexcept {}
  /// Buffers [first, first + count) are gone, or, after REQBUFS, are new ones.
  template <class Session>
  static void removed(Session&, BufferQueue&, std::uint32_t /*first*/, std::uint32_t /*count*/) noexcept {}

  QueueIoctls() noexcept {
    using S = typename Backend::Session;
    static_assert(HasQueues<Backend, S>,
                  "v4l2::QueueIoctls<Backend>: Backend needs a public `queues_of(Session&)` that returns a "
                  "v4l2::BufferQueue&, or an array of pointers to several");
    static_assert(HasPlaneSizes<Backend, S>,
                  "v4l2::QueueIoctls<Backend>: Backend needs a public `plane_sizes(Session&, const "
                  "v4l2::BufferQueue&)` that returns the bytes of each plane, as an array or the like");
    static_assert(HasContext<S>,
                  "v4l2::QueueIoctls<Backend>: Backend::Session needs a public member `context`, the "
                  "media::Context that open() was given");
    static_assert(detail::ShowsIoctl<Backend, tag::QBUF> && detail::ShowsIoctl<Backend, tag::REQBUFS>,
                  "v4l2::QueueIoctls<Backend>: Backend's own overloads of `ioctl` hide these; it needs "
                  "`using v4l2::QueueIoctls<Backend>::ioctl;`, or that of v4l2::Ioctls");
  }

 private:
  [[nodiscard]] Backend& backend() noexcept { return static_cast<Backend&>(*this); }

  // The queue of that type, or null. The only one is not compared: it refuses other types itself.
  template <class Session>
  [[nodiscard]] BufferQueue* find(Session& session, [[maybe_unused]] std::uint32_t type) {
    if constexpr (HasOneQueue<Backend, Session>) {
      return &backend().queues_of(session);
    } else {
      for (BufferQueue* const queue : backend().queues_of(session)) {
        if (queue->type() == type) return queue;
      }
      return nullptr;
    }
  }

  template <class Session>
  [[nodiscard]] UserMemory user_memory(Session& session) {
    return {session.context.memory(), backend().arenas_of(session), &session.context.work()};
  }

  // Wraps what may make a queue's first buffers or free its last ones, and so decides who owns it.
  template <class Tag, class Session, class Change>
  [[nodiscard]] Result<> allocate(Session& session, std::uint32_t type, typename Tag::Payload& request,
                                  Change&& change) {
    if (auto allowed = may_run<Tag>(session, request); !allowed) return allowed;
    BufferQueue* const queue = find(session, type);
    if (queue == nullptr || queue->type() != type) return fail(EINVAL);
    auto&& owner = backend().queue_owner();
    if (!owner.admits(session)) return refuse_other(*queue, request);
    const auto done = change(*queue);
    owner.update(session, *queue);
    return done;
  }
};

}  // namespace vumedia::v4l2
