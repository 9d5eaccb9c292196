#pragma once

#include <chrono>
#include <cstdint>

#include <vumedia/media/trace.hpp>

namespace vumedia::media {

/// Limits on what a guest can make the device hold.
struct DeviceOptions {
  /// Bytes of shared memory region 0; rounded up to a power of two, at least a page.
  std::uint64_t shm_size = std::uint64_t{256} << 20;
  /// Open files at a time, up to 65536.
  std::uint32_t max_sessions = 256;
  /// Bytes of all buffers, and of each memory file that they are carved from (memory/arena.hpp).
  std::uint64_t max_buffer_bytes = std::uint64_t{256} << 20;
  std::uint64_t arena_bytes = std::uint64_t{64} << 20;  ///< likewise
  /// Events of one session that wait for the guest to lend buffers: room for the 64 buffers of two queues,
  /// and for V4L2 events. A session that exceeds it ends with an error event.
  std::uint32_t max_waiting_events = 192;
  /// How long until a deferred command is answered ETIMEDOUT. Linux gives up after 5 s.
  std::chrono::milliseconds command_timeout{4000};
  /// Describes the payload of an ioctl in a trace line: v4l2::describe_payload (see v4l2/describe.hpp for its
  /// arguments), or null for no description. Events are described as the ioctls that return them, DQBUF and
  /// DQEVENT. Called at trace level only.
  Trace::Describe describe = nullptr;
};

}  // namespace vumedia::media
