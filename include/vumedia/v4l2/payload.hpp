// Reading and writing ioctl payloads (VIRTIO 1.4, 5.22.6.3.3): 64-bit little-endian V4L2 structs, with planes
// after v4l2_buffer, controls after v4l2_ext_controls, and lists of guest ranges in place of user pointers.
//
// Everything is read once, into our own storage, and checked there; counts and lengths that the guest chose
// bound every loop and every allocation. Errors are errnos for the guest's status:
// clang-format off
//   EINVAL  the payload is shorter than its structs and counts say, a count is over V4L2's own limit, or a
//           list of guest ranges does not cover its buffer exactly;
//   E2BIG   more guest ranges than `max_guest_ranges`;
//   ENOSPC  (writing) the writable part has no room for the payload.
// clang-format on
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::v4l2 {

/// Whether buffers of this type (V4L2_BUF_TYPE_*) are of the multi-planar API.
[[nodiscard]] constexpr bool is_multiplanar(std::uint32_t type) noexcept {
  return type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE || type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
}

/// Whether the guest fills buffers of this type. Unlike V4L2_TYPE_IS_OUTPUT, false for overlays, which have
/// none.
[[nodiscard]] constexpr bool is_output(std::uint32_t type) noexcept {
  return type == V4L2_BUF_TYPE_VIDEO_OUTPUT || type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE ||
         type == V4L2_BUF_TYPE_VBI_OUTPUT || type == V4L2_BUF_TYPE_SLICED_VBI_OUTPUT ||
         type == V4L2_BUF_TYPE_SDR_OUTPUT || type == V4L2_BUF_TYPE_META_OUTPUT;
}

/// A v4l2_buffer and its planes, as DQBUF events carry them. `head.m.planes` never points to `planes`: it is
/// the guest's placeholder, or null.
struct Buffer {
  v4l2_buffer head;                                 ///< as it travels
  std::array<v4l2_plane, VIDEO_MAX_PLANES> planes;  ///< the first head.length, if it is multi-planar
};
static_assert(std::is_trivially_copyable_v<Buffer> && sizeof(Buffer) == 88 + 8 * 64);

/// QUERYBUF, QBUF, PREPARE_BUF. In a multi-planar buffer `head.length` counts the planes that travelled (at
/// most VIDEO_MAX_PLANES) until the backend changes it; the remaining `planes` are zero.
struct BufferPayload {
  Buffer buffer;  ///< what is to be answered, and what came
  /// Different for each one that is read into a storage.
  std::uint64_t serial = 0;
  /// For USERPTR buffers, on QBUF and PREPARE_BUF: list p covers exactly the length of plane p (0 if
  /// single-planar).
  GuestRangeLists ranges;
  std::uint32_t lists = 0;  ///< that came with it

  /// What the guest sent. It decides the shape of the answer, and replaces pointers in the answer.
  struct Sent {
    std::uint32_t planes = 0;      ///< that travelled
    std::uint32_t memory = 0;      ///< V4L2_MEMORY_*
    bool restores_memory = false;  ///< QBUF, PREPARE_BUF: m.userptr, unless null, and m.fd come back as well
    Buffer buffer;                 ///< as it came
  };
  Sent sent;  ///< to put together the answer
};

/// G/S/TRY_EXT_CTRLS. `controls` is what travels; `head.controls` is the guest's placeholder.
struct ExtControls {
  v4l2_ext_controls head;                  ///< what is to be answered, and what came
  std::vector<v4l2_ext_control> controls;  ///< head.count of them, at most V4L2_CID_MAX_CTRLS
  /// List i covers `controls[i].ptr`, with exactly the `controls[i].size` bytes that were sent.
  GuestRangeLists ranges;
  /// Of a command that takes several calls, between two of them: controls that are got, tried or set.
  std::uint32_t done = 0;

  /// What the guest sent. It decides the shape of the answer, and replaces pointers in the answer.
  struct Sent {
    std::uint32_t count = 0;                 ///< of controls
    v4l2_ext_control* array = nullptr;       ///< its placeholder
    std::int32_t request_fd = 0;             ///< as it came
    std::vector<v4l2_ext_control> controls;  ///< as they came
  };
  Sent sent;  ///< to put together the answer
};

namespace detail {

inline constexpr std::size_t plain_payload_size = [] {
  std::size_t size = 0;
  with_ioctl_tags([&size]<class... Tags>() { ((size = std::max(size, sizeof(typename Tags::Wire))), ...); });
  return size;
}();

}  // namespace detail

/// Room for one payload of any ioctl, reused from command to command: plain payloads and MMAP buffers are
/// read with no allocation, and controls and guest ranges are, too, once the vectors have grown to what a
/// guest uses. A deferred command needs a storage of its own until it is answered.
class PayloadStorage {
 public:
  /// Returns a zeroed payload of this type and ends the previous one. It is valid until the next call.
  template <class Payload>
  [[nodiscard]] Payload& make() noexcept {
    if constexpr (std::same_as<Payload, BufferPayload>) {
      return buffer_;
    } else if constexpr (std::same_as<Payload, ExtControls>) {
      return controls_;
    } else {
      static_assert(std::is_trivially_copyable_v<Payload> && sizeof(Payload) <= sizeof(plain_) &&
                    alignof(Payload) <= 16);
      return *::new (static_cast<void*>(plain_)) Payload{};
    }
  }

 private:
  alignas(16) std::byte plain_[detail::plain_payload_size];
  BufferPayload buffer_{};
  ExtControls controls_{};
};

namespace detail {

template <class T>
[[nodiscard]] Result<> read_into(virtio::Reader& reader, T& value) noexcept {
  if (!reader.read_to(value)) return fail(EINVAL);
  return {};
}

template <class T>
[[nodiscard]] Result<> write_from(virtio::Writer& writer, const T& value) noexcept {
  if (!writer.write(value)) return fail(ENOSPC);
  return {};
}

// `with_ranges`: the buffer is handed over, so the guest's memory is listed after the planes.
[[nodiscard]] inline Result<> read_buffer(virtio::Reader& reader, BufferPayload& payload, bool with_ranges) {
  payload.ranges.clear();
  payload.lists = 0;
  ++payload.serial;
  v4l2_buffer& head = payload.buffer.head;
  if (auto done = read_into(reader, head); !done) return done;

  const bool multiplanar = is_multiplanar(head.type);
  const std::uint32_t planes = multiplanar ? head.length : 0;
  if (planes > VIDEO_MAX_PLANES) return fail(EINVAL);
  payload.buffer.planes = {};
  for (std::uint32_t p = 0; p < planes; ++p) {
    if (auto done = read_into(reader, payload.buffer.planes[p]); !done) return done;
  }

  if (with_ranges && head.memory == V4L2_MEMORY_USERPTR) payload.lists = multiplanar ? planes : 1;
  payload.sent.planes = planes;
  payload.sent.memory = head.memory;
  payload.sent.restores_memory = with_ranges && head.memory != V4L2_MEMORY_MMAP;
  payload.sent.buffer.head.m = head.m;
  for (std::uint32_t p = 0; p < planes; ++p) payload.sent.buffer.planes[p].m = payload.buffer.planes[p].m;
  return {};
}

[[nodiscard]] inline Result<> read_lists(virtio::Reader& reader, BufferPayload& payload, memory::Work* work) {
  const v4l2_buffer& head = payload.buffer.head;
  while (payload.ranges.size() < payload.lists) {
    const std::size_t p = payload.ranges.size();
    const std::uint32_t length = is_multiplanar(head.type) ? payload.buffer.planes[p].length : head.length;
    if (auto done = payload.ranges.read_list(reader, length, work); !done) return done;
  }
  return {};
}

[[nodiscard]] inline std::size_t size_of(const BufferPayload& payload) noexcept {
  return sizeof(v4l2_buffer) + payload.sent.planes * sizeof(v4l2_plane);
}

[[nodiscard]] inline Result<> write_buffer(virtio::Writer& writer, const BufferPayload& payload) noexcept {
  v4l2_buffer head = payload.buffer.head;
  const BufferPayload::Sent& sent = payload.sent;
  // A driver that queues a prepared buffer need not name its memory again, and is told which it was.
  const auto comes_back = [&sent](const auto& m) {
    return sent.restores_memory && (sent.memory != V4L2_MEMORY_USERPTR || m.userptr != 0);
  };
  // The answer has the shape of the request: a driver provides room for as many planes as it sent.
  if (is_multiplanar(head.type) || comes_back(sent.buffer.head.m)) head.m = sent.buffer.head.m;
  if (auto done = write_from(writer, head); !done) return done;
  for (std::uint32_t p = 0; p < sent.planes; ++p) {
    v4l2_plane plane = payload.buffer.planes[p];
    if (comes_back(sent.buffer.planes[p].m)) plane.m = sent.buffer.planes[p].m;
    if (auto done = write_from(writer, plane); !done) return done;
  }
  return {};
}

[[nodiscard]] inline Result<> read_controls(virtio::Reader& reader, ExtControls& payload) {
  payload.ranges.clear();
  payload.controls.clear();
  payload.done = 0;
  payload.sent.controls.clear();
  if (auto done = read_into(reader, payload.head); !done) return done;
  if (payload.head.count > V4L2_CID_MAX_CTRLS) return fail(EINVAL);
  // Nothing is allocated for controls that did not come.
  if (payload.head.count > reader.remaining() / sizeof(v4l2_ext_control)) return fail(EINVAL);

  payload.controls.resize(payload.head.count);
  const std::span<std::byte> bytes(reinterpret_cast<std::byte*>(payload.controls.data()),
                                   payload.controls.size() * sizeof(v4l2_ext_control));
  if (!reader.read_bytes(bytes)) return fail(EINVAL);
  payload.sent.count = payload.head.count;
  payload.sent.array = payload.head.controls;
  payload.sent.request_fd = payload.head.request_fd;
  payload.sent.controls = payload.controls;
  return {};
}

[[nodiscard]] inline Result<> read_lists(virtio::Reader& reader, ExtControls& payload, memory::Work* work) {
  while (payload.ranges.size() < payload.controls.size()) {
    const v4l2_ext_control& control = payload.controls[payload.ranges.size()];
    if (auto done = payload.ranges.read_list(reader, control.size, work); !done) return done;
  }
  return {};
}

[[nodiscard]] inline std::size_t size_of(const ExtControls& payload) noexcept {
  return sizeof(v4l2_ext_controls) + payload.sent.count * sizeof(v4l2_ext_control);
}

[[nodiscard]] inline Result<> write_controls(virtio::Writer& writer, const ExtControls& payload) noexcept {
  v4l2_ext_controls head = payload.head;
  head.count = payload.sent.count;
  head.controls = payload.sent.array;
  head.request_fd = payload.sent.request_fd;
  if (auto done = write_from(writer, head); !done) return done;
  for (std::uint32_t i = 0; i < payload.sent.count; ++i) {
    v4l2_ext_control control = i < payload.controls.size() ? payload.controls[i] : payload.sent.controls[i];
    const v4l2_ext_control& sent = payload.sent.controls[i];
    // A control with a size was sent with a pointer; the answer has that pointer, whatever a backend put
    // there.
    if (sent.size > 0) control.ptr = sent.ptr;
    if (auto done = write_from(writer, control); !done) return done;
  }
  return {};
}

template <class Tag>
inline constexpr bool hands_over_buffer = std::same_as<typename Tag::Body, body::QueuedBuffer>;

}  // namespace detail

/// Bytes that write_payload will write.
template <class Tag>
[[nodiscard]] std::size_t payload_size(const typename Tag::Payload& payload) noexcept {
  if constexpr (!carries_output<Tag>) {
    return 0;
  } else if constexpr (std::same_as<typename Tag::Payload, typename Tag::Wire>) {
    return sizeof(payload);
  } else {
    return detail::size_of(payload);
  }
}

/// Whether a failed command should still carry its payload back: error_idx and sizes are part of the error.
template <class Tag>
inline constexpr bool answers_failure = std::same_as<typename Tag::Payload, ExtControls>;

/// Whether lists of guest ranges may come behind the payload.
template <class Payload>
inline constexpr bool carries_lists = requires(Payload& payload) { payload.ranges; };

/// Reads the lists of a payload, whose structs have been read, or what is left of them: memory::again until
/// all are read, if `work` does not allow it in one call.
template <class Payload>
  requires carries_lists<Payload>
[[nodiscard]] Result<> read_lists(virtio::Reader& reader, Payload& payload, memory::Work* work) {
  return detail::read_lists(reader, payload, work);
}

/// The payload of a command, from behind its header. What the guest does not send (_IOR, _IO) is zero. The
/// payload belongs to `storage` and lives until the next read into it. memory::again, if `work` is not null:
/// the structs are there, and read_lists() is to go on with the payload.
template <class Tag>
[[nodiscard]] Result<typename Tag::Payload*> read_payload(virtio::Reader& reader, PayloadStorage& storage,
                                                          memory::Work* work = nullptr) {
  using Payload = typename Tag::Payload;
  Payload& payload = storage.template make<Payload>();
  Result<> done;
  if constexpr (std::same_as<Payload, BufferPayload>) {
    done = detail::read_buffer(reader, payload, detail::hands_over_buffer<Tag>);
    if (done) done = detail::read_lists(reader, payload, work);
  } else if constexpr (std::same_as<Payload, ExtControls>) {
    done = detail::read_controls(reader, payload);
    if (work != nullptr)
      work->spend(static_cast<std::int64_t>(payload.controls.size()) * memory::Work::control);
    if (done) done = detail::read_lists(reader, payload, work);
  } else if constexpr (carries_input<Tag>) {
    done = detail::read_into(reader, payload);
  }
  if (!done) return std::unexpected(done.error());
  return &payload;
}

/// Writes the payload of an answer after the response header. Writes nothing for _IOW and _IO.
template <class Tag>
[[nodiscard]] Result<> write_payload(virtio::Writer& writer, const typename Tag::Payload& payload) noexcept {
  if constexpr (!carries_output<Tag>) {
    return {};
  } else if constexpr (std::same_as<typename Tag::Payload, BufferPayload>) {
    return detail::write_buffer(writer, payload);
  } else if constexpr (std::same_as<typename Tag::Payload, ExtControls>) {
    return detail::write_controls(writer, payload);
  } else {
    return detail::write_from(writer, payload);
  }
}

}  // namespace vumedia::v4l2
