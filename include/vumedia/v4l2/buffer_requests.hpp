// What REQBUFS and CREATE_BUFS carry (VIDIOC_REQBUFS and VIDIOC_CREATE_BUFS of the kernel's V4L2
// documentation): what a queue answers whether or not it has the memory, and the sizes that a guest states.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/buffer_queue_options.hpp>

namespace vumedia::v4l2 {

/// Capabilities that the headers of Debian 12 lack (Linux 6.8 and 6.10).
inline constexpr std::uint32_t buf_cap_supports_max_num_buffers = 1U << 7;
inline constexpr std::uint32_t buf_cap_supports_remove_bufs = 1U << 8;  ///< REMOVE_BUFS is known

/// V4L2_BUF_CAP_* of a queue with these options.
[[nodiscard]] inline std::uint32_t buffer_capabilities(const BufferQueueOptions& options) noexcept {
  return V4L2_BUF_CAP_SUPPORTS_MMAP | V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS |
         (options.userptr ? V4L2_BUF_CAP_SUPPORTS_USERPTR : 0U);
}

/// Bytes of each plane; a range of up to VIDEO_MAX_PLANES of them.
class PlaneSizes {
 public:
  constexpr PlaneSizes() = default;
  /// `count` planes without bytes.
  explicit constexpr PlaneSizes(std::uint32_t count) noexcept : count_(count) {}

  /// How many planes.
  [[nodiscard]] constexpr std::size_t size() const noexcept { return count_; }
  /// Of `plane` < size().
  ///@{
  [[nodiscard]] constexpr std::uint32_t& operator[](std::size_t plane) noexcept { return sizes_[plane]; }
  [[nodiscard]] constexpr const std::uint32_t& operator[](std::size_t plane) const noexcept {
    return sizes_[plane];
  }
  ///@}
  /// A range of the sizes.
  ///@{
  [[nodiscard]] constexpr const std::uint32_t* begin() const noexcept { return sizes_.data(); }
  [[nodiscard]] constexpr const std::uint32_t* end() const noexcept { return sizes_.data() + count_; }
  ///@}

 private:
  std::array<std::uint32_t, VIDEO_MAX_PLANES> sizes_{};
  std::uint32_t count_ = 0;
};

namespace detail {

// The same, without a look at whether planes have bytes.
[[nodiscard]] inline Result<PlaneSizes> stated_sizes(const v4l2_format& format) noexcept {
  PlaneSizes sizes(1);
  switch (format.type) {
    case V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE: {
      const std::uint32_t count = format.fmt.pix_mp.num_planes;
      if (count == 0 || count > VIDEO_MAX_PLANES) return fail(EINVAL);
      sizes = PlaneSizes(count);
      for (std::uint32_t p = 0; p < count; ++p) {
        const v4l2_plane_pix_format plane = format.fmt.pix_mp.plane_fmt[p];
        sizes[p] = plane.sizeimage;
      }
      return sizes;
    }
    case V4L2_BUF_TYPE_VIDEO_CAPTURE:
    case V4L2_BUF_TYPE_VIDEO_OUTPUT:
      sizes[0] = format.fmt.pix.sizeimage;
      return sizes;
    case V4L2_BUF_TYPE_VBI_CAPTURE:
    case V4L2_BUF_TYPE_VBI_OUTPUT: {
      const v4l2_vbi_format& vbi = format.fmt.vbi;
      const auto lines = checked_add(vbi.count[0], vbi.count[1]);
      const auto size = lines ? checked_multiply(vbi.samples_per_line, *lines) : std::nullopt;
      if (!size) return fail(EINVAL);
      sizes[0] = *size;
      return sizes;
    }
    case V4L2_BUF_TYPE_SLICED_VBI_CAPTURE:
    case V4L2_BUF_TYPE_SLICED_VBI_OUTPUT:
      sizes[0] = format.fmt.sliced.io_size;
      return sizes;
    case V4L2_BUF_TYPE_SDR_CAPTURE:
    case V4L2_BUF_TYPE_SDR_OUTPUT:
      sizes[0] = format.fmt.sdr.buffersize;
      return sizes;
    case V4L2_BUF_TYPE_META_CAPTURE:
    case V4L2_BUF_TYPE_META_OUTPUT:
      sizes[0] = format.fmt.meta.buffersize;
      return sizes;
    default:
      return fail(EINVAL);
  }
}

}  // namespace detail

/// The bytes that a format asks for. EINVAL: an unknown type, or a plane without bytes.
[[nodiscard]] inline Result<PlaneSizes> requested_sizes(const v4l2_format& format) noexcept {
  auto sizes = detail::stated_sizes(format);
  if (!sizes) return sizes;
  for (const std::uint32_t size : *sizes) {
    if (size == 0) return fail(EINVAL);
  }
  return sizes;
}

namespace detail {

// struct v4l2_create_buffers got max_num_buffers in Linux 6.8, in the first of its reserved words.
inline void set_max_num_buffers(v4l2_create_buffers& request, std::uint32_t value) noexcept {
  constexpr std::size_t offset = offsetof(v4l2_create_buffers, flags) + sizeof(std::uint32_t);
  static_assert(offset + 6 * sizeof(std::uint32_t) == sizeof(v4l2_create_buffers));
  std::memset(reinterpret_cast<std::byte*>(&request) + offset, 0, sizeof request - offset);
  std::memcpy(reinterpret_cast<std::byte*>(&request) + offset, &value, sizeof value);
}

[[nodiscard]] inline Result<> check_memory_and_type(const BufferQueueOptions& options, std::uint32_t memory,
                                                    std::uint32_t type) noexcept {
  if (type != options.type) return fail(EINVAL);
  if (memory == V4L2_MEMORY_MMAP || (memory == V4L2_MEMORY_USERPTR && options.userptr)) return {};
  return fail(EINVAL);
}

}  // namespace detail

/// Fill in what is answered whether or not the request succeeds. EINVAL: the queue has not this type or this
/// kind of memory.
[[nodiscard]] inline Result<> begin_request(const BufferQueueOptions& options,
                                            v4l2_requestbuffers& request) noexcept {
  // Linux sets this bit itself, before it calls a driver, if the driver forwards the ioctl. Otherwise we
  // would promise guests something that only we can do.
  request.capabilities = buffer_capabilities(options) | (request.capabilities & buf_cap_supports_remove_bufs);
  request.flags = 0;  // V4L2_MEMORY_FLAG_NON_COHERENT is a cache hint
  std::memset(request.reserved, 0, sizeof request.reserved);
  return detail::check_memory_and_type(options, request.memory, request.type);
}
/// `count`: the buffers that the queue has.
[[nodiscard]] inline Result<> begin_request(const BufferQueueOptions& options, std::uint32_t count,
                                            v4l2_create_buffers& request) noexcept {
  request.capabilities = buffer_capabilities(options) | buf_cap_supports_max_num_buffers |
                         (request.capabilities & buf_cap_supports_remove_bufs);
  request.flags = 0;
  detail::set_max_num_buffers(request, options.max_buffers);
  request.index = count;
  return detail::check_memory_and_type(options, request.memory, request.format.type);
}

}  // namespace vumedia::v4l2
