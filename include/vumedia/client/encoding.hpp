// Ioctl payloads as a driver sends and receives them (VIRTIO 1.4, 5.22.6.3.3): the counterpart of
// v4l2/payload.hpp.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/guest_ranges.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::client::detail {

// A status of the device as an errno.
[[nodiscard]] constexpr int status_errno(std::uint32_t status) noexcept {
  return status < 4096 ? static_cast<int>(status) : EIO;
}

template <class T>
[[nodiscard]] Result<> put(virtio::Writer& writer, const T& value) noexcept {
  return writer.write_bytes(std::as_bytes(std::span<const T, 1>(&value, 1)));
}
template <class T>
[[nodiscard]] Result<> get(virtio::Reader& reader, T& value) noexcept {
  return reader.read_bytes(std::as_writable_bytes(std::span<T, 1>(&value, 1)));
}

// A list of guest ranges, which must cover `length` bytes.
[[nodiscard]] inline Result<> put_ranges(virtio::Writer& writer, std::span<const v4l2::GuestRange> ranges,
                                         std::uint64_t length) noexcept {
  std::uint64_t covered = 0;
  for (const v4l2::GuestRange& range : ranges) {
    const struct {
      std::uint64_t start;
      std::uint32_t length;
      std::uint32_t reserved;
    } wire{range.start.value, range.length, 0};
    static_assert(sizeof wire == 16);
    if (auto done = put(writer, wire); !done) return done;
    covered += range.length;
  }
  if (covered != length) return fail(EFAULT);
  return {};
}

// Planes that travel with a buffer; EINVAL if its length is not a valid number of planes.
[[nodiscard]] inline Result<std::uint32_t> plane_count(const v4l2_buffer& head) noexcept {
  if (!v4l2::is_multiplanar(head.type)) return 0;
  if (head.length > VIDEO_MAX_PLANES) return fail(EINVAL);
  return head.length;
}

template <class Tag>
[[nodiscard]] Result<> put_payload(virtio::Writer& writer, const typename Tag::Payload& payload) noexcept {
  using Payload = typename Tag::Payload;
  if constexpr (!v4l2::carries_input<Tag>) {
    return {};
  } else if constexpr (std::same_as<Payload, v4l2::BufferPayload>) {
    const v4l2::Buffer& buffer = payload.buffer;
    const auto planes = plane_count(buffer.head);
    if (!planes) return std::unexpected(planes.error());
    if (auto done = put(writer, buffer.head); !done) return done;
    for (std::uint32_t p = 0; p < *planes; ++p) {
      if (auto done = put(writer, buffer.planes[p]); !done) return done;
    }
    if (v4l2::detail::hands_over_buffer<Tag> && buffer.head.memory == V4L2_MEMORY_USERPTR) {
      const bool multiplanar = v4l2::is_multiplanar(buffer.head.type);
      for (std::uint32_t p = 0; p < (multiplanar ? *planes : 1); ++p) {
        const std::uint32_t length = multiplanar ? buffer.planes[p].length : buffer.head.length;
        if (auto done = put_ranges(writer, payload.ranges[p], length); !done) return done;
      }
    }
    return {};
  } else if constexpr (std::same_as<Payload, v4l2::ExtControls>) {
    if (payload.head.count != payload.controls.size()) return fail(EINVAL);
    if (auto done = put(writer, payload.head); !done) return done;
    if (auto done = writer.write_bytes(std::as_bytes(std::span(payload.controls))); !done) return done;
    for (std::size_t i = 0; i < payload.controls.size(); ++i) {
      if (auto done = put_ranges(writer, payload.ranges[i], payload.controls[i].size); !done) return done;
    }
    return {};
  } else {
    return put(writer, payload);
  }
}

// Bytes of the answer after its header.
template <class Tag>
[[nodiscard]] std::size_t answer_size(const typename Tag::Payload& payload) noexcept {
  using Payload = typename Tag::Payload;
  if constexpr (!v4l2::carries_output<Tag>) {
    return 0;
  } else if constexpr (std::same_as<Payload, v4l2::BufferPayload>) {
    return sizeof(v4l2_buffer) + plane_count(payload.buffer.head).value_or(0) * sizeof(v4l2_plane);
  } else if constexpr (std::same_as<Payload, v4l2::ExtControls>) {
    return sizeof(v4l2_ext_controls) + payload.controls.size() * sizeof(v4l2_ext_control);
  } else {
    return sizeof(payload);
  }
}

// Reads what `answer_size` announced, planes and controls in the number they were sent.
template <class Tag>
[[nodiscard]] Result<> get_payload(virtio::Reader& reader, typename Tag::Payload& payload) {
  using Payload = typename Tag::Payload;
  if constexpr (!v4l2::carries_output<Tag>) {
    return {};
  } else if constexpr (std::same_as<Payload, v4l2::BufferPayload>) {
    const auto planes = plane_count(payload.buffer.head);
    if (!planes) return std::unexpected(planes.error());
    if (auto done = get(reader, payload.buffer.head); !done) return done;
    return reader.read_bytes(std::as_writable_bytes(std::span(payload.buffer.planes).first(*planes)));
  } else if constexpr (std::same_as<Payload, v4l2::ExtControls>) {
    const auto controls = payload.controls;
    auto* const array = payload.head.controls;
    if (auto done = get(reader, payload.head); !done) return done;
    if (auto done = reader.read_bytes(std::as_writable_bytes(std::span(payload.controls))); !done)
      return done;
    // What a device puts in place of a pointer does not reach the caller.
    payload.head.controls = array;
    payload.head.count = static_cast<std::uint32_t>(controls.size());
    for (std::size_t i = 0; i < controls.size(); ++i) {
      if (controls[i].size > 0) payload.controls[i].ptr = controls[i].ptr;
    }
    return {};
  } else {
    return get(reader, payload);
  }
}

}  // namespace vumedia::client::detail
