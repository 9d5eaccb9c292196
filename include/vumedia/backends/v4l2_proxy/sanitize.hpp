// Contents of payloads that only the guest, or only the host, may know.
//
// A payload goes to the kernel as the guest sent it, except for pointers and file descriptors, which the
// kernel would take for those of this process. `before` removes them (or refuses the command). `after`
// removes from the answer what a guest cannot use, and restores what it sent. Payloads with buffers or
// controls are handled in queues.hpp and controls.hpp instead.
#pragma once

#include <cerrno>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

namespace vumedia::backends::v4l2_proxy {

/// Ioctls that are passed on. These are not:
///  - EXPBUF: the buffer would be a virtio object, which the device does not offer;
///  - G_EDID, S_EDID: they carry a pointer, for which the specification has no guest ranges;
///  - DBG_*: registers of the host's hardware do not belong to the guest.
template <class Tag>
inline constexpr bool is_passed_on =
    !std::same_as<Tag, v4l2::tag::EXPBUF> && !std::same_as<Tag, v4l2::tag::G_EDID> &&
    !std::same_as<Tag, v4l2::tag::S_EDID> && !std::same_as<Tag, v4l2::tag::DBG_S_REGISTER> &&
    !std::same_as<Tag, v4l2::tag::DBG_G_REGISTER> && !std::same_as<Tag, v4l2::tag::DBG_G_CHIP_INFO>;

/// Only for the ioctls with these payloads.
template <class Tag>
inline constexpr bool is_sanitized =
    std::same_as<typename Tag::Payload, v4l2_format> ||
    std::same_as<typename Tag::Payload, v4l2_create_buffers> ||
    std::same_as<typename Tag::Payload, v4l2_requestbuffers> ||
    std::same_as<typename Tag::Payload, v4l2_framebuffer> || std::same_as<Tag, v4l2::tag::OVERLAY> ||
    std::same_as<typename Tag::Payload, v4l2_tuner> || std::same_as<typename Tag::Payload, v4l2_modulator>;

namespace detail {

[[nodiscard]] constexpr bool is_overlay(std::uint32_t type) noexcept {
  return type == V4L2_BUF_TYPE_VIDEO_OVERLAY || type == V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY;
}

// A window's clips and bitmap are pointers that drivers read and, on G_FMT, write to.
constexpr void forget_pointers(v4l2_format& format) noexcept {
  if (!is_overlay(format.type)) return;
  format.fmt.win.clips = nullptr;
  format.fmt.win.clipcount = 0;
  format.fmt.win.bitmap = nullptr;
}
constexpr void restore_pointers(v4l2_format& format, const v4l2_format& sent) noexcept {
  if (!is_overlay(format.type) || format.type != sent.type) return;
  format.fmt.win.clips = sent.fmt.win.clips;
  format.fmt.win.bitmap = sent.fmt.win.bitmap;
}

// The types of memory that buffers may have: file descriptors of DMABUF and media requests belong to the
// host.
[[nodiscard]] constexpr bool is_known_memory(std::uint32_t memory) noexcept {
  return memory == V4L2_MEMORY_MMAP || memory == V4L2_MEMORY_USERPTR;
}
// EINVAL if it is not allowed; but a node that has no buffers at all, such as a radio, does not know the
// ioctl.
[[nodiscard]] constexpr Result<> check_memory(std::uint32_t memory, std::uint32_t capabilities) noexcept {
  if (is_known_memory(memory)) return {};
  return fail((capabilities & V4L2_CAP_STREAMING) != 0 ? EINVAL : ENOTTY);
}
constexpr void hide_capabilities(std::uint32_t& capabilities) noexcept {
  capabilities &= ~std::uint32_t{V4L2_BUF_CAP_SUPPORTS_DMABUF | V4L2_BUF_CAP_SUPPORTS_REQUESTS};
}

// RDS blocks are obtained by read(), which does not reach the guest.
constexpr void hide_block_io(std::uint32_t& capability) noexcept {
  capability &= ~std::uint32_t{V4L2_TUNER_CAP_RDS_BLOCK_IO};
}

}  // namespace detail

/// `capabilities` are those of the device, as the guest sees them (guest_capabilities).
template <class Tag>
[[nodiscard]] constexpr Result<> before(typename Tag::Payload& payload, std::uint32_t capabilities) noexcept {
  using Payload = typename Tag::Payload;
  if constexpr (std::same_as<Payload, v4l2_format>) {
    if (payload.type == V4L2_BUF_TYPE_VIDEO_OVERLAY) return fail(EINVAL);
    detail::forget_pointers(payload);
  } else if constexpr (std::same_as<Payload, v4l2_create_buffers>) {
    if (auto known = detail::check_memory(payload.memory, capabilities); !known) return known;
    detail::forget_pointers(payload.format);
  } else if constexpr (std::same_as<Payload, v4l2_requestbuffers>) {
    if (auto known = detail::check_memory(payload.memory, capabilities); !known) return known;
  } else if constexpr (std::same_as<Payload, v4l2_framebuffer> || std::same_as<Tag, v4l2::tag::OVERLAY>) {
    // For an overlay over the device's output, which has no memory of its own.
    if ((capabilities & V4L2_CAP_VIDEO_OUTPUT_OVERLAY) == 0) return fail(ENOTTY);
    if constexpr (std::same_as<Payload, v4l2_framebuffer>) payload.base = nullptr;
  }
  return {};
}

/// `sent` is what before() was given; `payload`, the kernel's answer, becomes the guest's.
template <class Tag>
constexpr void after(typename Tag::Payload& payload, const typename Tag::Payload& sent) noexcept {
  using Payload = typename Tag::Payload;
  if constexpr (std::same_as<Payload, v4l2_format>) {
    detail::restore_pointers(payload, sent);
  } else if constexpr (std::same_as<Payload, v4l2_create_buffers>) {
    detail::restore_pointers(payload.format, sent.format);
    detail::hide_capabilities(payload.capabilities);
  } else if constexpr (std::same_as<Payload, v4l2_requestbuffers>) {
    detail::hide_capabilities(payload.capabilities);
  } else if constexpr (std::same_as<Payload, v4l2_framebuffer>) {
    payload.base = nullptr;  // a physical address of the host
  } else if constexpr (std::same_as<Payload, v4l2_tuner> || std::same_as<Payload, v4l2_modulator>) {
    detail::hide_block_io(payload.capability);
  }
}

}  // namespace vumedia::backends::v4l2_proxy
