// Which session owns a queue that all of a device's sessions share: whoever allocated its buffers, until they
// are freed ("Opening and Closing Devices" and VIDIOC_REQBUFS of the kernel's V4L2 documentation).
#pragma once

#include <vumedia/v4l2/buffer_queue.hpp>

namespace vumedia::v4l2 {

template <class Session>
class QueueOwner {
 public:
  // Null while there are no buffers.
  [[nodiscard]] Session* session() const noexcept { return session_; }
  // Whether the buffers, if there are any, belong to this session. To others BufferQueue::refuse_other()
  // gives the answer.
  [[nodiscard]] bool admits(const Session& session) const noexcept {
    return session_ == nullptr || session_ == &session;
  }

  // After a call of this session, which admits() let in, that may have made the first buffers or freed the
  // last ones.
  void update(Session& session, const BufferQueue& queue) noexcept {
    session_ = queue.is_busy() ? &session : nullptr;
  }
  void reset() noexcept { session_ = nullptr; }

 private:
  Session* session_ = nullptr;
};

// Of queues that belong to one session from the start.
struct NoQueueOwner {
  template <class Session>
  [[nodiscard]] static constexpr bool admits(const Session&) noexcept {
    return true;
  }
  template <class Session>
  static constexpr void update(Session&, const BufferQueue&) noexcept {}
};

}  // namespace vumedia::v4l2
