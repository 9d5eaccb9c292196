// A BasicGuest with any transport as one type, so that rules are plain functions that are compiled once for
// all transports.
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include <vumedia/client/guest.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

namespace vumedia::client::compliance {

/// Memory that a device shows the guest, as returned by MMAP. AnyGuest::read and write access it.
struct MappedBuffer {
  memory::ShmOffset driver_addr;  ///< its offset in shared memory region 0
  std::uint64_t size = 0;         ///< in bytes
};

/// Does not own the guest, which outlives it.
class AnyGuest {
 public:
  /// A reference to any BasicGuest.
  template <class Link>
  explicit AnyGuest(BasicGuest<Link>& guest) noexcept : guest_(&guest), functions_(&functions_of<Link>) {}

  /// Those of the guest.
  ///@{
  [[nodiscard]] const media::wire::virtio_media_config& config() const noexcept {
    return functions_->config(guest_);
  }
  [[nodiscard]] std::uint64_t shm_size() const noexcept { return functions_->shm_size(guest_); }
  [[nodiscard]] Result<std::uint32_t> open() { return functions_->open(guest_); }
  [[nodiscard]] Result<> close(std::uint32_t session) { return functions_->close(guest_, session); }
  template <v4l2::ListedIoctl Tag>
  [[nodiscard]] Result<> ioctl(std::uint32_t session, typename Tag::Payload& payload) {
    return functions_->ioctls[Tag::number](guest_, session, &payload);
  }
  [[nodiscard]] Result<MappedBuffer> mmap(std::uint32_t session, std::uint32_t offset, bool writable) {
    return functions_->mmap(guest_, session, offset, writable);
  }
  [[nodiscard]] Result<> munmap(memory::ShmOffset driver_addr) {
    return functions_->munmap(guest_, driver_addr);
  }
  ///@}
  /// Copies from and to the start of mapped memory. False if it is not mapped, or is shorter.
  [[nodiscard]] bool read(const MappedBuffer& mapped, std::span<std::byte> out) {
    return functions_->read(guest_, mapped, out);
  }
  /// Likewise, into mapped memory.
  [[nodiscard]] bool write(const MappedBuffer& mapped, std::span<const std::byte> in) {
    return functions_->write(guest_, mapped, in);
  }
  /// Those of the guest.
  ///@{
  [[nodiscard]] Result<std::optional<Event>> wait_event(std::chrono::milliseconds timeout) {
    return functions_->wait_event(guest_, timeout);
  }
  [[nodiscard]] std::uint64_t dropped_events() const noexcept { return functions_->dropped_events(guest_); }
  [[nodiscard]] std::span<std::byte> user_memory() const noexcept { return functions_->user_memory(guest_); }
  [[nodiscard]] Result<std::uint32_t> command(std::span<const std::byte> command,
                                              std::span<std::byte> answer) {
    return functions_->command(guest_, command, answer);
  }
  ///@}
  /// Why the guest cannot be used any more; code 0 while it can.
  [[nodiscard]] const Error& error() const noexcept { return functions_->error(guest_); }

 private:
  using IoctlFunction = Result<> (*)(void* guest, std::uint32_t session, void* payload);
  struct Functions {
    const media::wire::virtio_media_config& (*config)(const void*) noexcept;
    std::uint64_t (*shm_size)(const void*) noexcept;
    Result<std::uint32_t> (*open)(void*);
    Result<> (*close)(void*, std::uint32_t);
    std::array<IoctlFunction, v4l2::ioctl_limit> ioctls;
    Result<MappedBuffer> (*mmap)(void*, std::uint32_t, std::uint32_t, bool);
    Result<> (*munmap)(void*, memory::ShmOffset);
    bool (*read)(void*, const MappedBuffer&, std::span<std::byte>);
    bool (*write)(void*, const MappedBuffer&, std::span<const std::byte>);
    Result<std::optional<Event>> (*wait_event)(void*, std::chrono::milliseconds);
    std::uint64_t (*dropped_events)(const void*) noexcept;
    std::span<std::byte> (*user_memory)(const void*) noexcept;
    Result<std::uint32_t> (*command)(void*, std::span<const std::byte>, std::span<std::byte>);
    const Error& (*error)(const void*) noexcept;
  };

  template <class Link>
  static BasicGuest<Link>& of(void* guest) noexcept {
    return *static_cast<BasicGuest<Link>*>(guest);
  }
  template <class Link>
  static const BasicGuest<Link>& of(const void* guest) noexcept {
    return *static_cast<const BasicGuest<Link>*>(guest);
  }
  template <class Link>
  static consteval Functions make_functions() {
    Functions functions{
        .config = [](const void* guest) noexcept -> const auto& { return of<Link>(guest).config(); },
        .shm_size = [](const void* guest) noexcept { return of<Link>(guest).shm_size(); },
        .open = [](void* guest) { return of<Link>(guest).open(); },
        .close = [](void* guest, std::uint32_t session) { return of<Link>(guest).close(session); },
        .ioctls = {},
        .mmap = [](void* guest, std::uint32_t session, std::uint32_t offset,
                   bool writable) -> Result<MappedBuffer> {
          const auto mapped = of<Link>(guest).mmap(session, offset, writable);
          if (!mapped) return std::unexpected(mapped.error());
          return MappedBuffer{mapped->driver_addr, mapped->memory.size()};
        },
        .munmap = [](void* guest, memory::ShmOffset at) { return of<Link>(guest).munmap(at); },
        .read = [](void* guest, const MappedBuffer& mapped, std::span<std::byte> out) -> bool {
          if (out.size() > mapped.size) return false;
          auto memory = of<Link>(guest).transport().shared_memory(mapped.driver_addr, mapped.size);
          if (memory.empty()) return false;
          if constexpr (requires { memory.data(); }) {
            std::memcpy(out.data(), memory.data(), out.size());
            return true;
          } else {
            return memory.read(0, out).has_value();
          }
        },
        .write = [](void* guest, const MappedBuffer& mapped, std::span<const std::byte> in) -> bool {
          if (in.size() > mapped.size) return false;
          auto memory = of<Link>(guest).transport().shared_memory(mapped.driver_addr, mapped.size);
          if (memory.empty()) return false;
          if constexpr (requires { memory.data(); }) {
            std::memcpy(memory.data(), in.data(), in.size());
            return true;
          } else {
            return memory.write(0, in).has_value();
          }
        },
        .wait_event = [](void* guest,
                         std::chrono::milliseconds timeout) { return of<Link>(guest).wait_event(timeout); },
        .dropped_events = [](const void* guest) noexcept { return of<Link>(guest).dropped_events(); },
        .user_memory = [](const void* guest) noexcept { return of<Link>(guest).user_memory(); },
        .command = [](void* guest, std::span<const std::byte> command,
                      std::span<std::byte> answer) { return of<Link>(guest).command(command, answer); },
        .error = [](const void* guest) noexcept -> const Error& { return of<Link>(guest).error(); },
    };
    v4l2::with_ioctl_tags([&functions]<class... Tags>() {
      ((functions.ioctls[Tags::number] = [](void* guest, std::uint32_t session, void* payload) -> Result<> {
         return of<Link>(guest).template ioctl<Tags>(session, *static_cast<typename Tags::Payload*>(payload));
       }),
       ...);
    });
    return functions;
  }
  template <class Link>
  static constexpr Functions functions_of = make_functions<Link>();

  void* guest_;
  const Functions* functions_;
};

}  // namespace vumedia::client::compliance
