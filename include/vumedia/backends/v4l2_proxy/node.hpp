// A V4L2 device node of the host: examining and opening it.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>

namespace vumedia::backends::v4l2_proxy {

/// ioctl(2) on a node, repeated when a signal interrupts it. The argument is of the type that `code` demands.
[[nodiscard]] inline Result<> call(int fd, unsigned long code, void* argument) noexcept {
  for (;;) {
    if (::ioctl(fd, code, argument) >= 0) return {};
    if (errno != EINTR) return fail(errno);
  }
}

/// The capabilities that a guest may see, without those that the protocol does not carry: read() and write(),
/// asynchronous I/O, and DEVICE_CAPS, which concerns another field. Overlays over the host's screen are left
/// out as well, because VIDIOC_S_FBUF of such a device names physical memory to write to.
[[nodiscard]] constexpr std::uint32_t guest_capabilities(const v4l2_capability& of) noexcept {
  const std::uint32_t all = (of.capabilities & V4L2_CAP_DEVICE_CAPS) != 0 ? of.device_caps : of.capabilities;
  return all & ~std::uint32_t{V4L2_CAP_READWRITE | V4L2_CAP_ASYNCIO | V4L2_CAP_DEVICE_CAPS |
                              V4L2_CAP_VIDEO_OVERLAY};
}

/// A fixed-size text of a kernel struct.
template <std::size_t Size>
[[nodiscard]] std::string_view text_of(const std::uint8_t (&field)[Size]) noexcept {
  const auto* const text = reinterpret_cast<const char*>(field);
  return {text, ::strnlen(text, Size)};
}

/// The node that a device passes on, as it was when the program started.
struct NodeInfo {
  std::string
      path;  ///< as it was given: a link in /dev/v4l/by-id leads to the device wherever it is plugged in
  media::DeviceType type = media::DeviceType::video;  ///< by its name in the kernel
  std::uint32_t capabilities = 0;                     ///< as the guest gets them
  std::string card;                                   ///< VIDIOC_QUERYCAP's
  std::string driver;                                 ///< VIDIOC_QUERYCAP's
};

namespace detail {

// "video0", "swradio1", ...: the kernel's name of the node, from the path with all links resolved, or else (a
// node made elsewhere under another name) from its number.
[[nodiscard]] inline std::string kernel_name(const std::string& path, dev_t number) {
  const auto last_part = [](std::string_view of) { return std::string(of.substr(of.rfind('/') + 1)); };
  std::array<char, 64> link_name{};
  static_cast<void>(
      std::snprintf(link_name.data(), link_name.size(), "/sys/dev/char/%u:%u", major(number), minor(number)));
  std::array<char, 4096> target{};
  const ssize_t length = ::readlink(link_name.data(), target.data(), target.size() - 1);
  const std::string by_number =
      length > 0 ? last_part({target.data(), static_cast<std::size_t>(length)}) : std::string{};

  const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr), std::free);
  const std::string by_path = resolved != nullptr ? last_part(resolved.get()) : last_part(path);
  const bool digits = !by_path.empty() && by_path.back() >= '0' && by_path.back() <= '9';
  return digits || by_number.empty() ? by_path : by_number;
}

// The name without its number.
[[nodiscard]] inline std::string_view kind_of(std::string_view name) noexcept {
  while (!name.empty() && name.back() >= '0' && name.back() <= '9') name.remove_suffix(1);
  return name;
}

struct Kind {
  std::string_view name;
  media::DeviceType type;
};
inline constexpr std::array kinds{
    Kind{"video", media::DeviceType::video},     Kind{"vbi", media::DeviceType::vbi},
    Kind{"radio", media::DeviceType::radio},     Kind{"swradio", media::DeviceType::sdr},
    Kind{"v4l-touch", media::DeviceType::touch},
};

}  // namespace detail

/// The type that a kernel's name such as "vbi0" stands for; nothing if it is not one of these.
[[nodiscard]] inline std::optional<media::DeviceType> device_type_of(std::string_view kernel_name) noexcept {
  for (const detail::Kind& kind : detail::kinds) {
    if (kind.name == detail::kind_of(kernel_name)) return kind.type;
  }
  return std::nullopt;
}

/// Opens a node for a guest's file: each gets a non-blocking file of its own.
[[nodiscard]] inline Result<OwnedFd> open_node(const char* path) noexcept {
  OwnedFd fd(::open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (!fd) return fail(errno);
  return fd;
}

/// Looks at the node at `path`. The error is a line for whoever starts the program: the node does not exist,
/// cannot be opened, or cannot be passed through.
[[nodiscard]] inline Outcome<NodeInfo> examine_node(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return system_failure(errno, "cannot open %s", path.c_str());
  // Checked before it is opened, because opening can affect devices of other kinds.
  if (!S_ISCHR(status.st_mode))
    return failure("%s is not a V4L2 device: it is not a character device", path.c_str());
  const std::string name = detail::kernel_name(path, status.st_rdev);
  const std::string_view kind = detail::kind_of(name);
  if (kind == "media")
    return failure("%s is a media controller, not a V4L2 device that streams; name one of its video nodes",
                   path.c_str());
  if (kind == "v4l-subdev")
    return failure("%s is a sub-device; name a video node of its media device", path.c_str());

  const auto fd = open_node(path.c_str());
  if (!fd) return system_failure(fd.error().value, "cannot open %s", path.c_str());
  v4l2_capability capability{};
  if (const auto queried = call(fd->get(), VIDIOC_QUERYCAP, &capability); !queried)
    return system_failure(queried.error().value, "%s is not a V4L2 device", path.c_str());
  const auto type = device_type_of(name);
  if (!type)
    return failure("%s is a V4L2 device of a kind that cannot be passed through (%s)", path.c_str(),
                   name.c_str());

  NodeInfo info{path, *type, guest_capabilities(capability), std::string(text_of(capability.card)),
                std::string(text_of(capability.driver))};
  // A radio is tuned and listened to, without buffers.
  if ((info.capabilities & V4L2_CAP_STREAMING) == 0 && *type != media::DeviceType::radio)
    return failure("%s (%s) cannot stream: it offers only read() and write(), which do not reach a guest",
                   path.c_str(), info.card.c_str());
  return info;
}

/// Whether this file belongs to the device that was examined: the path may lead to a different one by now.
[[nodiscard]] inline bool is_node(int fd, const NodeInfo& info) noexcept {
  v4l2_capability capability{};
  return call(fd, VIDIOC_QUERYCAP, &capability) && text_of(capability.driver) == info.driver &&
         text_of(capability.card) == info.card && guest_capabilities(capability) == info.capabilities;
}

}  // namespace vumedia::backends::v4l2_proxy
