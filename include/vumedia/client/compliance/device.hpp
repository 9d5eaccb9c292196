// Rules on the configuration space, on open files, and on ioctls in general (VIRTIO 1.4, 5.22.4 and 5.22.6).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <vumedia/client/compliance/rule.hpp>
#include <vumedia/media/wire.hpp>

namespace vumedia::client::compliance::detail::rules {

inline Finding known_type(Subject& s) {
  if (s.facts().device_type <= 5) return passed();
  return failed("device_type is %u, which has no meaning", s.facts().device_type);
}

inline Finding type_fits_capabilities(Subject& s) {
  constexpr std::uint32_t video =
      V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_VIDEO_OUTPUT |
      V4L2_CAP_VIDEO_OUTPUT_MPLANE | V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_VIDEO_OVERLAY |
      V4L2_CAP_VIDEO_OUTPUT_OVERLAY | V4L2_CAP_META_CAPTURE | V4L2_CAP_META_OUTPUT;
  constexpr std::uint32_t vbi =
      V4L2_CAP_VBI_CAPTURE | V4L2_CAP_VBI_OUTPUT | V4L2_CAP_SLICED_VBI_CAPTURE | V4L2_CAP_SLICED_VBI_OUTPUT;
  constexpr std::uint32_t sdr = V4L2_CAP_SDR_CAPTURE | V4L2_CAP_SDR_OUTPUT;
  struct Kind {
    std::uint32_t type, own, foreign;
    const char* name;
  };
  constexpr Kind kinds[] = {{0, 0, vbi | sdr | V4L2_CAP_TOUCH, "video"},
                            {1, vbi, video | sdr | V4L2_CAP_TOUCH, "VBI"},
                            {2, 0, video | vbi | sdr | V4L2_CAP_TOUCH, "radio"},
                            {4, sdr, video | vbi | V4L2_CAP_TOUCH, "software radio"},
                            {5, V4L2_CAP_TOUCH, vbi | sdr, "touch"}};
  const std::uint32_t capabilities = s.facts().capabilities;
  for (const Kind& kind : kinds) {
    if (kind.type != s.facts().device_type) continue;
    if ((capabilities & kind.foreign) != 0)
      return failed("a %s device has device_caps 0x%08x, of which 0x%08x belongs to another kind", kind.name,
                    capabilities, capabilities & kind.foreign);
    if (kind.own != 0 && (capabilities & kind.own) == 0)
      return failed("a %s device has device_caps 0x%08x, with none of 0x%08x", kind.name, capabilities,
                    kind.own);
  }
  return passed();
}

inline Finding device_caps_only(Subject& s) {
  const std::uint32_t capabilities = s.facts().capabilities;
  if ((capabilities & V4L2_CAP_DEVICE_CAPS) == 0) return passed();
  return failed("device_caps 0x%08x has V4L2_CAP_DEVICE_CAPS", capabilities);
}

inline Finding one_plane_api(Subject& s) {
  constexpr std::uint32_t single = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_M2M;
  constexpr std::uint32_t multi =
      V4L2_CAP_VIDEO_CAPTURE_MPLANE | V4L2_CAP_VIDEO_OUTPUT_MPLANE | V4L2_CAP_VIDEO_M2M_MPLANE;
  const std::uint32_t capabilities = s.facts().capabilities;
  if ((capabilities & single) == 0 || (capabilities & multi) == 0) return passed();
  return failed("device_caps 0x%08x", capabilities);
}

inline Finding m2m_stands_alone(Subject& s) {
  constexpr std::uint32_t m2m = V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE;
  constexpr std::uint32_t others = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE |
                                   V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_OUTPUT_MPLANE;
  const std::uint32_t capabilities = s.facts().capabilities;
  if ((capabilities & m2m) == 0) return not_applicable("it is not a memory-to-memory device");
  if ((capabilities & others) == 0 && std::has_single_bit(capabilities & m2m)) return passed();
  return failed("device_caps 0x%08x", capabilities);
}

inline Finding extended_formats(Subject& s) {
  bool single = false;
  for (const Queue& queue : s.facts().queues)
    single = single || (is_video(queue.type) && !queue.formats.empty());
  if (!single) return not_applicable("it has no video queue");
  if ((s.facts().capabilities & V4L2_CAP_EXT_PIX_FORMAT) != 0) return passed();
  return failed("device_caps 0x%08x lacks V4L2_CAP_EXT_PIX_FORMAT", s.facts().capabilities);
}

inline Finding streaming_has_buffers(Subject& s) {
  bool buffers = false;
  for (const Queue& queue : s.facts().queues) buffers = buffers || queue.has_buffers;
  const bool streaming = (s.facts().capabilities & V4L2_CAP_STREAMING) != 0;
  if (streaming == buffers) return passed();
  return streaming ? failed("it has V4L2_CAP_STREAMING, but no queue knows VIDIOC_REQBUFS")
                   : failed("VIDIOC_REQBUFS is known without V4L2_CAP_STREAMING");
}

inline Finding card_is_text(Subject& s) {
  const auto& card = s.guest().config().card;
  const std::size_t length = ::strnlen(card.data(), card.size());
  if (length == 0) return failed("card is empty");
  for (std::size_t i = 0; i < length; ++i) {
    if (static_cast<unsigned char>(card[i]) < 0x20) return failed("card has byte 0x%02x at %zu", card[i], i);
  }
  for (std::size_t i = length; i < card.size(); ++i) {
    if (card[i] != '\0') return failed("card continues after its end, with byte 0x%02x at %zu", card[i], i);
  }
  return passed();
}

// -- Open files

inline Finding ids_differ(Subject& s) {
  std::array<std::uint32_t, 4> ids{s.session()};
  for (std::size_t i = 1; i < ids.size(); ++i) {
    if (auto found = s.open(ids[i])) return found;
    for (std::size_t j = 0; j < i; ++j) {
      if (ids[i] == ids[j]) return failed("two open files have id %u", ids[i]);
    }
  }
  return passed();
}

inline Finding unknown_ioctl(Subject& s) {
  namespace wire = media::wire;
  for (const std::uint32_t code : {3u, 7u, 200u, 0xffffffffu}) {
    struct {
      wire::virtio_media_cmd_ioctl head;
      std::array<std::byte, 64> payload;
    } command{{{wire::cmd_ioctl, 0}, s.session(), code}, {}};
    std::array<std::byte, 72> answer{};
    const auto length = s.guest().command(std::as_bytes(std::span(&command, 1)), answer);
    if (!length) return failed("ioctl %u: %s", code, errno_name(length.error().value).c_str());
    std::uint32_t status = 0;
    std::memcpy(&status, answer.data(), sizeof status);
    if (*length < 8 || status != ENOTTY)
      return failed("ioctl %u: %u bytes with status %s, not ENOTTY", code, *length,
                    errno_name(static_cast<int>(status & 0xfff)).c_str());
  }
  return passed();
}

inline Finding unknown_command(Subject& s) {
  for (const std::uint32_t code : {0u, 6u, 0xffffffffu}) {
    const std::array<std::uint32_t, 8> command{code, 0, s.session()};
    std::array<std::byte, 64> answer{};
    const auto length = s.guest().command(std::as_bytes(std::span(command)), answer);
    if (!length) return failed("command %u: %s", code, errno_name(length.error().value).c_str());
    std::uint32_t status = 0;
    std::memcpy(&status, answer.data(), sizeof status);
    if (*length < 8 || status == 0) return failed("command %u was answered with success", code);
  }
  return passed();
}

// An ioctl that does not answer EINVAL on an open file: it succeeds if there is a queue.
inline v4l2_format harmless(Subject& s) noexcept {
  v4l2_format format{};
  format.type =
      s.facts().queues.empty() ? std::uint32_t{V4L2_BUF_TYPE_VIDEO_CAPTURE} : s.facts().queues.front().type;
  return format;
}

inline Finding closed_is_gone(Subject& s) {
  std::uint32_t id = 0;
  if (auto found = s.open(id)) return found;
  if (auto found = s.close(id)) return found;
  v4l2_format format = harmless(s);
  return s.expect_as<v4l2::tag::G_FMT>(id, format, EINVAL, "on a closed file");
}

inline Finding never_opened(Subject& s) {
  v4l2_format format = harmless(s);
  return s.expect_as<v4l2::tag::G_FMT>(s.session() ^ 0x40000000u, format, EINVAL,
                                       "on a file that was never opened");
}

inline Finding close_spares_others(Subject& s) {
  std::uint32_t first = 0, second = 0;
  if (auto found = s.open(first)) return found;
  if (auto found = s.open(second)) return found;
  v4l2_format format = harmless(s);
  const int before = s.call_as<v4l2::tag::G_FMT>(second, format);
  if (auto found = s.close(first)) return found;
  format = harmless(s);
  return s.expect_as<v4l2::tag::G_FMT>(second, format, before, "after another file was closed");
}

inline Finding many_opens(Subject& s) {
  // Far more than the ids that a device might keep for each open that it ever saw.
  for (int i = 0; i < 300; ++i) {
    std::uint32_t id = 0;
    if (auto found = s.open(id)) return failed("round %d of open and close: %s", i, found.text.c_str());
    if (auto found = s.close(id)) return found;
  }
  return passed();
}

inline constexpr Rule config_rules[] = {
    {"config/known-type", "device_type is a VFL_TYPE number",
     "VIRTIO 1.4, 5.22.4 Device configuration layout", Scope::device, known_type},
    {"config/type-fits-capabilities", "the capabilities are those of the device's type",
     "V4L2 API, ioctl VIDIOC_QUERYCAP, table device capabilities flags", Scope::device,
     type_fits_capabilities},
    {"config/no-device-caps-flag", "device_caps does not contain V4L2_CAP_DEVICE_CAPS",
     "V4L2 API, ioctl VIDIOC_QUERYCAP, V4L2_CAP_DEVICE_CAPS", Scope::device, device_caps_only},
    {"config/one-plane-api", "a device has the single-planar or the multi-planar API, not both",
     "V4L2 API, Single- and multi-planar APIs", Scope::device, one_plane_api},
    {"config/m2m-stands-alone", "a memory-to-memory device states its kind with one capability only",
     "V4L2 API, Video Memory-To-Memory Interface", Scope::device, m2m_stands_alone},
    {"config/extended-formats", "struct v4l2_pix_format has the fields after priv",
     "V4L2 API, struct v4l2_pix_format, priv; V4L2_CAP_EXT_PIX_FORMAT", Scope::device, extended_formats},
    {"config/streaming-has-buffers", "V4L2_CAP_STREAMING is set if buffers can be requested",
     "V4L2 API, Streaming I/O (Memory Mapping)", Scope::device, streaming_has_buffers},
    {"config/card-is-text", "card names the device, in text that ends with its first NUL",
     "VIRTIO 1.4, 5.22.4 Device configuration layout", Scope::device, card_is_text},
};

inline constexpr Rule file_rules[] = {
    {"open/ids-differ", "files that are open at the same time have different ids",
     "VIRTIO 1.4, 5.22.6.3.1 Open device", Scope::device, ids_differ},
    {"open/again-and-again", "a device can be opened and closed any number of times",
     "VIRTIO 1.4, 5.22.6.3.2 Close device", Scope::device, many_opens},
    {"close/ends-the-file", "a closed file takes no ioctls", "VIRTIO 1.4, 5.22.6.3.2 Close device",
     Scope::device, closed_is_gone},
    {"close/spares-others", "closing a file does not affect others", "VIRTIO 1.4, 5.22.6.3.2 Close device",
     Scope::device, close_spares_others},
    {"ioctl/unknown-file", "an ioctl on a file that was never opened is EINVAL",
     "VIRTIO 1.4, 5.22.6.3.3 V4L2 ioctls", Scope::device, never_opened},
    {"ioctl/unknown", "an ioctl that does not exist is ENOTTY", "V4L2 API, Generic Error Codes, ENOTTY",
     Scope::device, unknown_ioctl},
    {"command/unknown", "a command that does not exist fails", "VIRTIO 1.4, 5.22.6.3 Command Virtqueue",
     Scope::device, unknown_command},
};

}  // namespace vumedia::client::compliance::detail::rules
