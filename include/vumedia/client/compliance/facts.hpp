// What rules have to know about a device, read from its configuration and with ioctls that change nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/client/compliance/any_guest.hpp>
#include <vumedia/client/compliance/finding.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::client::compliance {

/// Where to stop reading a list that a device would continue forever.
inline constexpr std::uint32_t max_listed = 256;

/// The capabilities that name kinds of buffers, and the buffer types they stand for.
struct QueueCapability {
  std::uint32_t capability;  ///< V4L2_CAP_*
  std::uint32_t type;        ///< V4L2_BUF_TYPE_*
};
/// All of them.
inline constexpr QueueCapability queue_capabilities[] = {
    {V4L2_CAP_VIDEO_M2M_MPLANE, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE},
    {V4L2_CAP_VIDEO_M2M_MPLANE, V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE},
    {V4L2_CAP_VIDEO_M2M, V4L2_BUF_TYPE_VIDEO_OUTPUT},
    {V4L2_CAP_VIDEO_M2M, V4L2_BUF_TYPE_VIDEO_CAPTURE},
    {V4L2_CAP_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_CAPTURE},
    {V4L2_CAP_VIDEO_CAPTURE_MPLANE, V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE},
    {V4L2_CAP_VIDEO_OUTPUT, V4L2_BUF_TYPE_VIDEO_OUTPUT},
    {V4L2_CAP_VIDEO_OUTPUT_MPLANE, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE},
    {V4L2_CAP_VBI_CAPTURE, V4L2_BUF_TYPE_VBI_CAPTURE},
    {V4L2_CAP_VBI_OUTPUT, V4L2_BUF_TYPE_VBI_OUTPUT},
    {V4L2_CAP_SLICED_VBI_CAPTURE, V4L2_BUF_TYPE_SLICED_VBI_CAPTURE},
    {V4L2_CAP_SLICED_VBI_OUTPUT, V4L2_BUF_TYPE_SLICED_VBI_OUTPUT},
    {V4L2_CAP_SDR_CAPTURE, V4L2_BUF_TYPE_SDR_CAPTURE},
    {V4L2_CAP_SDR_OUTPUT, V4L2_BUF_TYPE_SDR_OUTPUT},
    {V4L2_CAP_META_CAPTURE, V4L2_BUF_TYPE_META_CAPTURE},
    {V4L2_CAP_META_OUTPUT, V4L2_BUF_TYPE_META_OUTPUT},
};

/// The name that the kernel's header has without V4L2_BUF_TYPE_.
[[nodiscard]] inline const char* type_name(std::uint32_t type) noexcept {
  constexpr const char* names[] = {"type 0",
                                   "VIDEO_CAPTURE",
                                   "VIDEO_OUTPUT",
                                   "VIDEO_OVERLAY",
                                   "VBI_CAPTURE",
                                   "VBI_OUTPUT",
                                   "SLICED_VBI_CAPTURE",
                                   "SLICED_VBI_OUTPUT",
                                   "VIDEO_OUTPUT_OVERLAY",
                                   "VIDEO_CAPTURE_MPLANE",
                                   "VIDEO_OUTPUT_MPLANE",
                                   "SDR_CAPTURE",
                                   "SDR_OUTPUT",
                                   "META_CAPTURE",
                                   "META_OUTPUT"};
  return type < std::size(names) ? names[type] : "an unknown type";
}
/// Likewise of MMAP and USERPTR.
[[nodiscard]] inline const char* memory_name(std::uint32_t memory) noexcept {
  return memory == V4L2_MEMORY_MMAP ? "MMAP" : memory == V4L2_MEMORY_USERPTR ? "USERPTR" : "no memory";
}
/// Whether buffers of that type are pictures of VIDEO_CAPTURE or VIDEO_OUTPUT.
[[nodiscard]] constexpr bool is_video(std::uint32_t type) noexcept {
  return v4l2::is_multiplanar(type) || type == V4L2_BUF_TYPE_VIDEO_CAPTURE ||
         type == V4L2_BUF_TYPE_VIDEO_OUTPUT;
}

/// The picture of a v4l2_format of either plane API. The kernel's multi-planar struct is packed, so it is
/// copied.
struct Pixels {
  /// A plane in memory.
  struct Plane {
    std::uint32_t size = 0;    ///< sizeimage
    std::uint32_t stride = 0;  ///< bytesperline
    friend bool operator==(const Plane&, const Plane&) = default;
  };
  /// In pixels, and the kernel's codes; 0 where they are left to the device.
  ///@{
  std::uint32_t width = 0, height = 0, fourcc = 0, field = 0;
  std::uint32_t colorspace = 0, ycbcr = 0, quantization = 0, transfer = 0;
  ///@}
  std::uint32_t flags = 0;                       ///< V4L2_PIX_FMT_FLAG_*
  std::array<Plane, VIDEO_MAX_PLANES> planes{};  ///< the first plane_count, if that many fit
  std::uint32_t plane_count = 0;                 ///< as the device states it, which may be anything
  /// The planes that there are; none beyond VIDEO_MAX_PLANES.
  [[nodiscard]] std::span<const Plane> used_planes() const noexcept {
    return {planes.data(), plane_count < planes.size() ? plane_count : planes.size()};
  }
  friend bool operator==(const Pixels&, const Pixels&) = default;
};

/// The picture of `format`, whose type says which member of the union counts.
[[nodiscard]] inline Pixels pixels_of(const v4l2_format& format) noexcept {
  Pixels pixels;
  if (v4l2::is_multiplanar(format.type)) {
    const v4l2_pix_format_mplane pix = format.fmt.pix_mp;
    pixels = {.width = pix.width,
              .height = pix.height,
              .fourcc = pix.pixelformat,
              .field = pix.field,
              .colorspace = pix.colorspace,
              .ycbcr = pix.ycbcr_enc,
              .quantization = pix.quantization,
              .transfer = pix.xfer_func,
              .flags = pix.flags,
              .planes = {},
              .plane_count = pix.num_planes};
    for (std::size_t p = 0; p < pixels.planes.size(); ++p) {
      const v4l2_plane_pix_format plane = pix.plane_fmt[p];
      pixels.planes[p] = {plane.sizeimage, plane.bytesperline};
    }
  } else {
    const v4l2_pix_format& pix = format.fmt.pix;
    pixels = {.width = pix.width,
              .height = pix.height,
              .fourcc = pix.pixelformat,
              .field = pix.field,
              .colorspace = pix.colorspace,
              .ycbcr = pix.ycbcr_enc,
              .quantization = pix.quantization,
              .transfer = pix.xfer_func,
              .flags = pix.flags,
              .planes = {},
              .plane_count = 1};
    pixels.planes[0] = {pix.sizeimage, pix.bytesperline};
  }
  return pixels;
}

/// Whether two answers are equal: for video the fields are compared, for other kinds the bytes.
[[nodiscard]] inline bool same_format(const v4l2_format& a, const v4l2_format& b) noexcept {
  if (a.type != b.type) return false;
  if (is_video(a.type)) return pixels_of(a) == pixels_of(b);
  // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): all its bytes are told.
  return std::memcmp(&a.fmt, &b.fmt, sizeof a.fmt) == 0;
}
/// Fourcc and size in words, for a report.
[[nodiscard]] inline std::string format_name(const v4l2_format& format) {
  if (!is_video(format.type)) return type_name(format.type);
  const Pixels pixels = pixels_of(format);
  return format_text("%s %ux%u, field %u, %u planes, %u bytes, %u per line, colours %u/%u/%u/%u",
                     fourcc_name(pixels.fourcc).c_str(), pixels.width, pixels.height, pixels.field,
                     pixels.plane_count, pixels.planes[0].size, pixels.planes[0].stride, pixels.colorspace,
                     pixels.transfer, pixels.ycbcr, pixels.quantization);
}

/// Sets the field, in either plane API.
///@{
inline void set_fourcc(v4l2_format& format, std::uint32_t fourcc) noexcept {
  (v4l2::is_multiplanar(format.type) ? format.fmt.pix_mp.pixelformat : format.fmt.pix.pixelformat) = fourcc;
}
inline void set_size(v4l2_format& format, std::uint32_t width, std::uint32_t height) noexcept {
  if (v4l2::is_multiplanar(format.type)) {
    format.fmt.pix_mp.width = width;
    format.fmt.pix_mp.height = height;
    for (auto& plane : format.fmt.pix_mp.plane_fmt) plane = {};
  } else {
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.bytesperline = format.fmt.pix.sizeimage = 0;
  }
}
inline void set_field(v4l2_format& format, std::uint32_t field) noexcept {
  if (v4l2::is_multiplanar(format.type)) {
    format.fmt.pix_mp.field = field;
  } else {
    format.fmt.pix.field = field;
  }
}
///@}

/// One kind of buffers that the device has.
struct Queue {
  std::uint32_t type = 0;             ///< V4L2_BUF_TYPE_*
  std::vector<v4l2_fmtdesc> formats;  ///< from VIDIOC_ENUM_FMT
  v4l2_format initial{};              ///< as it was found
  v4l2_format small{};                ///< the smallest picture that the device makes of it, for quick streams
  std::uint32_t capabilities = 0;     ///< V4L2_BUF_CAP_*, from VIDIOC_REQBUFS
  bool has_buffers = false;           ///< it knows VIDIOC_REQBUFS
  /// Whether the program fills its buffers.
  [[nodiscard]] bool output() const noexcept { return v4l2::is_output(type); }
  /// Whether it is of the multi-planar API.
  [[nodiscard]] bool multiplanar() const noexcept { return v4l2::is_multiplanar(type); }
  /// Whether buffers can be in memory of that type (V4L2_MEMORY_*).
  [[nodiscard]] bool has(std::uint32_t memory) const noexcept {
    return has_buffers && (capabilities & (memory == V4L2_MEMORY_MMAP      ? V4L2_BUF_CAP_SUPPORTS_MMAP
                                           : memory == V4L2_MEMORY_USERPTR ? V4L2_BUF_CAP_SUPPORTS_USERPTR
                                                                           : 0)) != 0;
  }
};

/// What is known of a device before the first rule runs.
struct Facts {
  std::uint32_t capabilities = 0;  ///< from the configuration space
  std::uint32_t device_type = 0;   ///< of the configuration space
  std::string card;                ///< likewise
  std::uint64_t shm_size = 0;      ///< bytes of region 0; 0: nothing can be mapped
  std::vector<Queue> queues;       ///< of all kinds of buffers that it has
  bool m2m = false;                ///< frames come only if frames go in
  bool stateful_decoder = false;   ///< a memory-to-memory device with coded OUTPUT that takes DECODER_CMD

  /// The queue of that buffer type, or null.
  [[nodiscard]] const Queue* find(std::uint32_t type) const noexcept {
    for (const Queue& queue : queues) {
      if (queue.type == type) return &queue;
    }
    return nullptr;
  }
  /// The first OUTPUT or CAPTURE queue of pictures, or null.
  [[nodiscard]] const Queue* queue(bool output) const noexcept {
    for (const Queue& queue : queues) {
      if (is_video(queue.type) && queue.output() == output) return &queue;
    }
    return nullptr;
  }
};

namespace detail {

inline Queue discover_queue(AnyGuest& guest, std::uint32_t session, std::uint32_t type, bool m2m) {
  namespace tag = v4l2::tag;
  Queue queue;
  queue.type = type;
  v4l2_fmtdesc description{};
  for (std::uint32_t index = 0; index < max_listed; ++index) {
    description = {};
    description.index = index;
    description.type = type;
    if (!guest.ioctl<tag::ENUM_FMT>(session, description)) break;
    queue.formats.push_back(description);
  }
  queue.initial.type = type;
  static_cast<void>(guest.ioctl<tag::G_FMT>(session, queue.initial));
  queue.initial.type = type;
  queue.small = queue.initial;
  if (is_video(type) && !m2m) {
    set_size(queue.small, 1, 1);
    if (!guest.ioctl<tag::TRY_FMT>(session, queue.small)) queue.small = queue.initial;
    queue.small.type = type;
  }
  v4l2_requestbuffers none{};
  none.type = type;
  none.memory = V4L2_MEMORY_MMAP;
  const auto done = guest.ioctl<tag::REQBUFS>(session, none);
  // A queue without MMAP buffers refuses this query, but answers it for another type of memory.
  if (!done && done.error().value == EINVAL) {
    none.memory = V4L2_MEMORY_USERPTR;
    queue.has_buffers = guest.ioctl<tag::REQBUFS>(session, none).has_value();
  } else {
    queue.has_buffers = done || done.error().value != ENOTTY;
  }
  if (queue.has_buffers) queue.capabilities = none.capabilities;
  return queue;
}

}  // namespace detail

/// Opens a session to do so, and closes it. Fails if there is no device to examine.
[[nodiscard]] inline Outcome<Facts> discover(AnyGuest& guest) {
  Facts facts;
  const auto& config = guest.config();
  facts.capabilities = config.device_caps;
  facts.device_type = config.device_type;
  facts.card.assign(config.card.data(), ::strnlen(config.card.data(), config.card.size()));
  facts.shm_size = guest.shm_size();
  facts.m2m = (facts.capabilities & (V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE)) != 0;
  const auto session = guest.open();
  if (!session) {
    if (guest.error().code != 0) return std::unexpected(guest.error());
    return failure("the device cannot be opened: %s", errno_name(session.error().value).c_str());
  }
  for (const auto& [capability, type] : queue_capabilities) {
    if ((facts.capabilities & capability) != 0 && facts.find(type) == nullptr)
      facts.queues.push_back(detail::discover_queue(guest, *session, type, facts.m2m));
  }
  v4l2_decoder_cmd stop{};
  stop.cmd = V4L2_DEC_CMD_STOP;
  const Queue* const output = facts.queue(true);
  facts.stateful_decoder = facts.m2m && output != nullptr && !output->formats.empty() &&
                           (output->formats.front().flags & V4L2_FMT_FLAG_COMPRESSED) != 0 &&
                           guest.ioctl<v4l2::tag::TRY_DECODER_CMD>(*session, stop).has_value();
  static_cast<void>(guest.close(*session));
  if (guest.error().code != 0) return std::unexpected(guest.error());
  return facts;
}

}  // namespace vumedia::client::compliance
