// The buffer queues of one open node, as far as a proxy has to know them.
//
// Three fields of a buffer have different meanings for the guest and the kernel, and are translated both
// ways:
//  - m.offset and mem_offset. The kernel's are only unique within one queue, but a session has several. The
//    guest's encode which plane of which buffer of which queue it is, in page numbers: type (4 bits), index
//    (13), plane (3).
//  - m.userptr. The guest names pages of its own, which are mapped side by side for the kernel; its pointer
//    comes back in every answer.
//  - the media request's fd, which is refused.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/budget.hpp>
#include <vumedia/memory/contiguous.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::backends::v4l2_proxy {

/// Types 1 to 14 of enum v4l2_buf_type; place 0 stays empty.
inline constexpr std::uint32_t queue_types = 16;
inline constexpr std::uint32_t max_buffer_index = 8191;  ///< as far as an offset has room for it

/// The offset for MMAP of a plane: never 0, and page-aligned. Nothing for a buffer that has no place.
[[nodiscard]] constexpr std::optional<std::uint32_t> guest_offset(std::uint32_t type, std::uint32_t index,
                                                                  std::uint32_t plane) noexcept {
  if (type == 0 || type >= queue_types || index > max_buffer_index || plane >= VIDEO_MAX_PLANES)
    return std::nullopt;
  return (type << 16 | index << 3 | plane) * static_cast<std::uint32_t>(page_size);
}
/// The type in an offset that guest_offset() has made; any number may be asked about.
[[nodiscard]] constexpr std::uint32_t type_of_offset(std::uint32_t offset) noexcept {
  return offset >> 28;
}
/// The index in such an offset.
[[nodiscard]] constexpr std::uint32_t index_of_offset(std::uint32_t offset) noexcept {
  return (offset >> 15) & max_buffer_index;
}
static_assert(guest_offset(15, max_buffer_index, 7) == 0xffff'f000u);
static_assert(type_of_offset(*guest_offset(9, 5, 2)) == 9 && index_of_offset(*guest_offset(9, 5, 2)) == 5);

/// A guest's buffer in the form that ioctl(2) takes, together with its planes. Not movable.
struct KernelBuffer {
  /// A buffer to be filled in by the kernel.
  explicit KernelBuffer(std::uint32_t type) noexcept {
    head.type = type;
    if (!v4l2::is_multiplanar(type)) return;
    head.m.planes = planes.data();
    head.length = VIDEO_MAX_PLANES;
  }
  /// A buffer as the guest has sent it.
  explicit KernelBuffer(const v4l2::Buffer& guest) noexcept : head(guest.head), planes(guest.planes) {
    if (v4l2::is_multiplanar(head.type)) head.m.planes = planes.data();
    head.request_fd = 0;
  }
  KernelBuffer(const KernelBuffer&) = delete;
  KernelBuffer& operator=(const KernelBuffer&) = delete;

  /// Planes of the buffer: 1 for the single-planar API, VIDEO_MAX_PLANES at most.
  [[nodiscard]] std::uint32_t plane_count() const noexcept {
    return v4l2::is_multiplanar(head.type) ? std::min<std::uint32_t>(head.length, VIDEO_MAX_PLANES) : 1;
  }

  /// As ioctl(2) takes them.
  ///@{
  v4l2_buffer head{};
  std::array<v4l2_plane, VIDEO_MAX_PLANES> planes{};
  ///@}
};

/// Pages that the kernel may use for one plane, and the guest's name for them.
struct UserPlane {
  std::uint64_t pointer = 0;             ///< the guest's
  std::uint64_t generation = 0;          ///< of the table in which the ranges were found
  std::vector<v4l2::GuestRange> ranges;  ///< as the guest has listed them
  memory::ContiguousRange range;         ///< the pages, side by side
  memory::Share bytes;                   ///< of the plane, however often it contains a page
};

using UserPlanes = std::array<UserPlane, VIDEO_MAX_PLANES>;  ///< of one buffer

/// A USERPTR buffer. The kernel keeps pages, not addresses, but compares addresses to detect whether a buffer
/// has new pages. So an address must not get new pages while the kernel may still hold the old ones: a
/// plane's mapping is kept until the kernel has taken its successor, and so are the mappings of a failed
/// QBUF.
struct UserBuffer {
  UserPlanes planes;              ///< that the kernel has, or has had last
  std::vector<UserPlane> failed;  ///< of QBUFs that the kernel refused
};

/// What a proxy knows of one queue.
struct Queue {
  std::uint32_t memory = 0;           ///< 0: no buffers
  std::vector<std::uint32_t> queued;  ///< indices of buffers that the kernel has
  std::uint64_t bytes = 0;            ///< that the driver has taken for its buffers
  bool streaming = false;             ///< between STREAMON and STREAMOFF
  /// DQBUF would fail until something is started or queued again: LAST was seen, or it failed before.
  bool drained = false;
  bool paused = false;                               ///< likewise, until it is resumed
  std::vector<std::unique_ptr<UserBuffer>> buffers;  ///< of USERPTR memory, by index

  /// Whether it is worth asking the kernel for a buffer. Otherwise polling for one gives an error at once.
  [[nodiscard]] bool wanted() const noexcept { return streaming && !queued.empty() && !drained && !paused; }
};

/// All queues of one file, by their type. For the file's thread.
class Queues {
 public:
  /// `mappings`: of guest pages. `bytes`: of USERPTR planes, for which the kernel keeps lists of pages and
  /// which no format limits; null: not counted.
  explicit Queues(std::shared_ptr<memory::Budget> mappings,
                  std::shared_ptr<memory::Budget> bytes = nullptr) noexcept
      : mappings_(std::move(mappings)), bytes_(std::move(bytes)) {}

  /// Null if it is not the type of a queue.
  [[nodiscard]] Queue* find(std::uint32_t type) noexcept {
    return type == 0 || type >= queue_types ? nullptr : &queues_[type];
  }
  /// Null if it is not the type of a queue.
  [[nodiscard]] const Queue* find(std::uint32_t type) const noexcept {
    return const_cast<Queues*>(this)->find(type);
  }

  // -- Translation of the kernel's answers

  /// Replaces what the kernel knows with what the guest knows. `from` may be the kernel's own struct.
  void to_guest(const KernelBuffer& from, v4l2::Buffer& to) const noexcept {
    to.head = from.head;
    to.head.request_fd = 0;
    to.head.flags &= ~std::uint32_t{V4L2_BUF_FLAG_REQUEST_FD | V4L2_BUF_FLAG_IN_REQUEST};
    to.planes = from.planes;
    const UserBuffer* const user = user_buffer(from.head.type, from.head.index);
    const auto translate = [&](auto& m, std::uint32_t& offset, std::uint32_t plane) {
      switch (from.head.memory) {
        case V4L2_MEMORY_MMAP:
          offset = guest_offset(from.head.type, from.head.index, plane).value_or(0);
          break;
        case V4L2_MEMORY_USERPTR:
          m.userptr = user != nullptr ? user->planes[plane].pointer : 0;
          break;
        default:
          m.userptr = 0;  // not of a buffer that we have requested
      }
    };
    if (v4l2::is_multiplanar(from.head.type)) {
      to.head.m.planes = nullptr;
      for (std::uint32_t p = 0; p < from.plane_count(); ++p)
        translate(to.planes[p].m, to.planes[p].m.mem_offset, p);
      for (std::uint32_t p = from.plane_count(); p < VIDEO_MAX_PLANES; ++p) to.planes[p] = {};
    } else {
      to.planes = {};
      translate(to.head.m, to.head.m.offset, 0);
    }
  }

  // -- What the kernel has done

  /// VIDIOC_REQBUFS: `count` buffers, which replace the earlier ones.
  void replace_buffers(std::uint32_t type, std::uint32_t memory, std::uint32_t count) {
    Queue* const queue = find(type);
    if (queue == nullptr) return;
    *queue = {};
    add_buffers(type, memory, count);
  }
  /// VIDIOC_CREATE_BUFS: `end` is the index after the last one.
  void add_buffers(std::uint32_t type, std::uint32_t memory, std::uint64_t end) {
    Queue* const queue = find(type);
    if (queue == nullptr || end == 0) return;
    queue->memory = memory;
    end = std::min<std::uint64_t>(end, max_buffer_index + 1);
    if (memory == V4L2_MEMORY_USERPTR && end > queue->buffers.size()) queue->buffers.resize(end);
  }
  /// VIDIOC_REMOVE_BUFS: it has released their pages.
  void remove_buffers(std::uint32_t type, std::uint32_t first, std::uint64_t count) noexcept {
    Queue* const queue = find(type);
    if (queue == nullptr) return;
    const std::uint64_t end = std::min<std::uint64_t>(queue->buffers.size(), std::uint64_t{first} + count);
    for (std::uint64_t i = first; i < end; ++i) queue->buffers[i].reset();
  }
  /// VIDIOC_STREAMON.
  void started(std::uint32_t type) noexcept {
    if (Queue* const queue = find(type)) {
      queue->streaming = true;
      queue->drained = queue->paused = false;
    }
  }
  /// VIDIOC_STREAMOFF: the kernel has no buffers of it any more.
  void stopped(std::uint32_t type) noexcept {
    if (Queue* const queue = find(type)) {
      queue->streaming = queue->drained = queue->paused = false;
      queue->queued.clear();
    }
  }
  /// VIDIOC_DECODER_CMD and ENCODER_CMD with a start.
  void resumed() noexcept {
    for (Queue& queue : queues_) queue.drained = false;
  }

  // -- USERPTR

  /// Whether this file has requested such a buffer.
  [[nodiscard]] bool has_user_buffer(std::uint32_t type, std::uint32_t index) const noexcept {
    const Queue* const queue = find(type);
    return queue != nullptr && index < queue->buffers.size();
  }

  /// The pages of a buffer that is about to be queued in the kernel: those that it already has there, or new
  /// ones, in `fresh`. EINVAL: no such buffer; ENOMEM: more bytes than all buffers may have; and the errors
  /// of ContiguousRange.
  [[nodiscard]] Result<> take_pages(const v4l2::BufferPayload& payload, const memory::GuestMemory& memory,
                                    KernelBuffer& kernel, UserPlanes& fresh) {
    const v4l2_buffer& head = payload.buffer.head;
    const Queue* const queue = find(head.type);
    if (queue == nullptr || head.index >= queue->buffers.size()) return fail(EINVAL);
    const UserBuffer* const known = queue->buffers[head.index].get();
    const bool multiplanar = v4l2::is_multiplanar(head.type);
    for (std::uint32_t p = 0; p < kernel.plane_count(); ++p) {
      const auto ranges = payload.ranges[p];
      const UserPlane* use = known != nullptr ? &known->planes[p] : nullptr;
      if (use == nullptr || !use->range || use->generation != memory.generation() ||
          !std::equal(ranges.begin(), ranges.end(), use->ranges.begin(), use->ranges.end())) {
        auto bytes = memory::Share::take(bytes_, multiplanar ? payload.buffer.planes[p].length : head.length);
        if (!bytes) return std::unexpected(bytes.error());
        auto range = memory::ContiguousRange::create(memory, ranges, mappings_);
        if (!range) return std::unexpected(range.error());
        fresh[p].bytes = std::move(*bytes);
        fresh[p].ranges.assign(ranges.begin(), ranges.end());
        fresh[p].generation = memory.generation();
        fresh[p].range = std::move(*range);
        use = &fresh[p];
      }
      const auto address = reinterpret_cast<std::uintptr_t>(use->range.data());
      (multiplanar ? kernel.planes[p].m.userptr : kernel.head.m.userptr) = address;
    }
    return {};
  }

  /// Called after the kernel has seen what take_pages() returned, which must have succeeded.
  void keep_pages(const v4l2::BufferPayload& payload, std::uint32_t planes, UserPlanes& fresh,
                  bool accepted) {
    const v4l2_buffer& head = payload.buffer.head;
    auto& place = find(head.type)->buffers[head.index];
    if (place == nullptr) place = std::make_unique<UserBuffer>();
    if (!accepted) {
      for (UserPlane& plane : fresh) {
        if (plane.range) place->failed.push_back(std::move(plane));
      }
      return;
    }
    place->failed.clear();
    for (std::uint32_t p = 0; p < planes; ++p) {
      if (fresh[p].range) place->planes[p] = std::move(fresh[p]);
      place->planes[p].pointer = v4l2::is_multiplanar(head.type) ? payload.sent.buffer.planes[p].m.userptr
                                                                 : payload.sent.buffer.head.m.userptr;
    }
  }

  /// Calls `f(type, queue)` for each queue.
  template <class F>
  void for_each(F&& f) {
    for (std::uint32_t type = 1; type < queue_types; ++type) f(type, queues_[type]);
  }

 private:
  [[nodiscard]] const UserBuffer* user_buffer(std::uint32_t type, std::uint32_t index) const noexcept {
    const Queue* const queue = find(type);
    return queue != nullptr && index < queue->buffers.size() ? queue->buffers[index].get() : nullptr;
  }

  std::array<Queue, queue_types> queues_;
  std::shared_ptr<memory::Budget> mappings_;
  std::shared_ptr<memory::Budget> bytes_;
};

}  // namespace vumedia::backends::v4l2_proxy
