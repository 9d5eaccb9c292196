// The commands, responses and events of a media device as they travel (VIRTIO 1.4, 5.22.5 and 5.22.6), under
// the specification's names. All numbers are little-endian, which core/result.hpp asserts of the host.
//
// V4L2 structs of the kernel header are used as they are: virtio-media fixes their 64-bit layout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>

/// What travels on the queues, under the names of the specification.
namespace vumedia::media::wire {

/// Of a media device (VIRTIO 1.4, 5.22.1).
inline constexpr std::uint32_t device_id = 48;

/// Queues, by index.
inline constexpr std::uint16_t commandq = 0;
inline constexpr std::uint16_t eventq = 1;       ///< for events
inline constexpr std::uint16_t queue_count = 2;  ///< of a device

/// The shared memory region that mapped buffers appear in.
inline constexpr std::uint8_t mmap_region = 0;

/// The configuration space (5.22.4).
struct virtio_media_config {
  std::uint32_t device_caps;  ///< V4L2_CAP_*
  std::uint32_t device_type;  ///< VFL_TYPE_*
  std::array<char, 32> card;  ///< ends with a NUL only if it is shorter
};
static_assert(sizeof(virtio_media_config) == 40 && offsetof(virtio_media_config, card) == 8);

enum : std::uint32_t {
  cmd_open = 1,
  cmd_close = 2,
  cmd_ioctl = 3,
  cmd_mmap = 4,
  cmd_munmap = 5,
};

/// What every command begins with.
struct virtio_media_cmd_header {
  std::uint32_t cmd;       ///< cmd_*
  std::uint32_t reserved;  ///< drivers leave it uninitialised
};
/// What every response begins with.
struct virtio_media_resp_header {
  std::uint32_t status;    ///< 0 or a positive errno
  std::uint32_t reserved;  ///< 0
};
static_assert(sizeof(virtio_media_cmd_header) == 8 && sizeof(virtio_media_resp_header) == 8);

/// OPEN: opens a session.
struct virtio_media_cmd_open {
  virtio_media_cmd_header hdr;  ///< with cmd_open
};
/// The answer to OPEN.
struct virtio_media_resp_open {
  virtio_media_resp_header hdr;  ///< with its status
  std::uint32_t session_id;      ///< of the new session, never 0
  std::uint32_t reserved;        ///< 0
};
static_assert(sizeof(virtio_media_cmd_open) == 8 && sizeof(virtio_media_resp_open) == 16);

/// Has no response: its chain is returned with length 0.
struct virtio_media_cmd_close {
  virtio_media_cmd_header hdr;  ///< with cmd_close
  std::uint32_t session_id;     ///< as OPEN has returned it
  std::uint32_t reserved;       ///< ignored
};
static_assert(sizeof(virtio_media_cmd_close) == 16);

/// The payload follows if the ioctl is _IOW or _IOWR, and it follows the response if it is _IOR or _IOWR.
struct virtio_media_cmd_ioctl {
  virtio_media_cmd_header hdr;  ///< with cmd_ioctl
  std::uint32_t session_id;     ///< as OPEN has returned it
  std::uint32_t code;           ///< the number field of the ioctl's code
};
/// The answer to IOCTL.
struct virtio_media_resp_ioctl {
  virtio_media_resp_header hdr;  ///< with the errno of the ioctl
};
static_assert(sizeof(virtio_media_cmd_ioctl) == 16 && offsetof(virtio_media_cmd_ioctl, code) == 12);

/// MMAP's flag: the guest may write.
inline constexpr std::uint32_t mmap_flag_rw = 1u << 0;

/// MMAP: maps a buffer into the shared memory region.
struct virtio_media_cmd_mmap {
  virtio_media_cmd_header hdr;  ///< with cmd_mmap
  std::uint32_t session_id;     ///< as OPEN has returned it
  std::uint32_t flags;          ///< mmap_flag_rw or 0
  std::uint32_t offset;         ///< mem_offset of QUERYBUF
};
/// The answer to MMAP.
struct virtio_media_resp_mmap {
  virtio_media_resp_header hdr;  ///< with its status
  std::uint64_t driver_addr;     ///< offset into the shared memory region
  std::uint64_t len;             ///< of the buffer
};
static_assert(sizeof(virtio_media_cmd_mmap) == 20 && sizeof(virtio_media_resp_mmap) == 24);

/// MUNMAP: undoes one MMAP.
struct virtio_media_cmd_munmap {
  virtio_media_cmd_header hdr;  ///< with cmd_munmap
  std::uint64_t driver_addr;    ///< as MMAP has returned it
};
/// The answer to MUNMAP.
struct virtio_media_resp_munmap {
  virtio_media_resp_header hdr;  ///< with its status
};
static_assert(sizeof(virtio_media_cmd_munmap) == 16);

enum : std::uint32_t {
  event_error = 0,
  event_dqbuf = 1,
  event_event = 2,
};

/// What every event begins with.
struct virtio_media_event_header {
  std::uint32_t event;       ///< event_*
  std::uint32_t session_id;  ///< of the session that it is for
};

/// ERROR: the session has ended.
struct virtio_media_event_error {
  virtio_media_event_header hdr;  ///< with event_error
  std::uint32_t error;            ///< "errno" in the specification, which is a macro here
  std::uint32_t reserved;         ///< 0
};
static_assert(sizeof(virtio_media_event_error) == 16);

/// DQBUF: a buffer is the guest's again.
struct virtio_media_event_dqbuf {
  virtio_media_event_header hdr;        ///< with event_dqbuf
  v4l2_buffer buffer;                   ///< as VIDIOC_DQBUF would return it
  v4l2_plane planes[VIDEO_MAX_PLANES];  ///< of a multi-planar buffer
};
static_assert(sizeof(v4l2_buffer) == 88 && sizeof(v4l2_plane) == 64);
static_assert(sizeof(virtio_media_event_dqbuf) == 608 && offsetof(virtio_media_event_dqbuf, planes) == 96);

/// EVENT: what VIDIOC_DQEVENT would return.
struct virtio_media_event_event {
  virtio_media_event_header hdr;  ///< with event_event
  v4l2_event event;               ///< the event
};
static_assert(sizeof(v4l2_event) == 136 && sizeof(virtio_media_event_event) == 144);

inline constexpr std::size_t max_event_size = sizeof(virtio_media_event_dqbuf);  ///< of the longest one

}  // namespace vumedia::media::wire
