// Which session owns a queue that all of a device's sessions share: whoever allocated its buffers, until they
// are freed ("Opening and Closing Devices" and VIDIOC_REQBUFS of the kernel's V4L2 documentation).
#pragma once

#include <cerrno>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/buffer_queue.hpp>
#include <vumedia/v4l2/buffer_requests.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::v4l2 {

/// The answers to a file that calls these while another one owns the queue: EBUSY, unless the request is
/// invalid for any file (EINVAL) or changes nothing. Of the other ioctls, QUERYBUF is open to all, and the
/// rest take a type: QBUF, PREPARE_BUF, STREAMON, STREAMOFF.
[[nodiscard]] inline Result<> refuse_other(const BufferQueue& queue, v4l2_requestbuffers& request) noexcept {
  if (auto valid = begin_request(queue.options(), request); !valid) return valid;
  return fail(EBUSY);
}
/// VIDIOC_CREATE_BUFS. A request of 0 buffers succeeds.
[[nodiscard]] inline Result<> refuse_other(const BufferQueue& queue, v4l2_create_buffers& request) noexcept {
  const auto valid = begin_request(queue.options(), queue.count(), request);
  if (!valid || request.count == 0) return valid;
  return fail(EBUSY);
}
/// VIDIOC_REMOVE_BUFS. A request of 0 buffers succeeds.
[[nodiscard]] inline Result<> refuse_other(const BufferQueue& queue, const RemoveBuffers& request) noexcept {
  if (request.type != queue.type()) return fail(EINVAL);
  if (request.count == 0) return {};
  return fail(EBUSY);
}
/// Any ioctl that names the queue by its type. EINVAL: it is not this queue's.
[[nodiscard]] inline Result<> refuse_other(const BufferQueue& queue, std::uint32_t type) noexcept {
  return fail(type == queue.type() ? EBUSY : EINVAL);
}

/// One owner at a time, or none. For the device's loop.
template <class Session>
class QueueOwner {
 public:
  /// Null while there are no buffers.
  [[nodiscard]] Session* session() const noexcept { return session_; }
  /// Whether the buffers, if there are any, belong to this session. To others refuse_other()
  /// gives the answer.
  [[nodiscard]] bool admits(const Session& session) const noexcept {
    return session_ == nullptr || session_ == &session;
  }

  /// After a call of this session, which admits() let in, that may have made the first buffers or freed the
  /// last ones.
  void update(Session& session, const BufferQueue& queue) noexcept {
    session_ = queue.is_busy() ? &session : nullptr;
  }
  /// There are no buffers any more.
  void reset() noexcept { session_ = nullptr; }

 private:
  Session* session_ = nullptr;
};

/// Of queues that belong to one session from the start.
struct NoQueueOwner {
  /// Always.
  template <class Session>
  [[nodiscard]] static constexpr bool admits(const Session&) noexcept {
    return true;
  }
  /// Does nothing.
  template <class Session>
  static constexpr void update(Session&, const BufferQueue&) noexcept {}
};

}  // namespace vumedia::v4l2
