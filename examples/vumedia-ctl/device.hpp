// The device at the other end of the socket, as one open file: client::Guest with readable errors.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::client {
class VhostUserTransport;
struct GuestOptions;
template <class Link>
class BasicGuest;
using Guest = BasicGuest<VhostUserTransport>;
}  // namespace vumedia::client

namespace ctl {

// Connects to the device at a socket, or reports what is wrong and what to do about it.
[[nodiscard]] vumedia::Outcome<std::unique_ptr<vumedia::client::Guest>> connect(
    const std::string& socket_path, const vumedia::client::GuestOptions& options);

struct Event {
  enum class Kind : std::uint8_t { buffer, v4l2, error };
  Kind kind = Kind::error;
  vumedia::v4l2::Buffer buffer{};
  v4l2_event v4l2{};
  int error = 0;
};

// Where to stop reading a list that a device would continue forever.
inline constexpr std::uint32_t max_formats = 256;

class Device {
 public:
  [[nodiscard]] static vumedia::Outcome<std::unique_ptr<Device>> open(const std::string& socket_path);
  // Closes the file.
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // The configuration space.
  [[nodiscard]] std::uint32_t capabilities() const noexcept;
  [[nodiscard]] std::uint32_t device_type() const noexcept;
  [[nodiscard]] std::string card() const;
  [[nodiscard]] std::uint64_t shared_memory_size() const noexcept;

  // Types of the video queues that the device has according to its capabilities; 0: none.
  [[nodiscard]] std::uint32_t capture_type() const noexcept;
  [[nodiscard]] std::uint32_t output_type() const noexcept;
  [[nodiscard]] bool is_decoder() const noexcept { return capture_type() != 0 && output_type() != 0; }
  [[nodiscard]] bool is_camera() const noexcept { return capture_type() != 0 && output_type() == 0; }

  // An ioctl whose payload is one struct: fails with the device's errno, or with a sentence that names it.
  // Instantiated in device.cpp for the ioctls that this program uses.
  template <class Tag>
  [[nodiscard]] vumedia::Result<> try_call(typename Tag::Payload& payload);
  template <class Tag>
  [[nodiscard]] vumedia::Outcome<> call(typename Tag::Payload& payload) {
    return named(Tag::name, try_call<Tag>(payload));
  }
  // Ioctls on buffers, with their planes.
  [[nodiscard]] vumedia::Outcome<> query_buffer(vumedia::v4l2::Buffer& buffer);
  [[nodiscard]] vumedia::Outcome<> queue_buffer(vumedia::v4l2::Buffer& buffer);
  // A control that is a number; nothing if the device does not have it.
  [[nodiscard]] std::optional<std::int64_t> get_control(std::uint32_t id);

  // Maps the memory at a mem_offset until unmap().
  [[nodiscard]] vumedia::Outcome<std::span<std::byte>> map(std::uint32_t mem_offset);
  [[nodiscard]] vumedia::Outcome<> unmap(std::span<std::byte> memory);

  // The next event; nothing if none comes in time.
  [[nodiscard]] vumedia::Outcome<std::optional<Event>> wait(std::chrono::milliseconds timeout);

  // Fails with the reason once the connection is lost: an ioctl alone cannot tell that from a refusal.
  [[nodiscard]] vumedia::Outcome<> alive() const;
  // The file descriptor of the connection.
  [[nodiscard]] int socket() const noexcept;

 private:
  Device(std::unique_ptr<vumedia::client::Guest> guest, std::uint32_t session) noexcept;
  [[nodiscard]] vumedia::Outcome<> named(const char* name, const vumedia::Result<>& result) const;

  struct Mapping {
    const std::byte* data = nullptr;
    vumedia::memory::ShmOffset address;
  };

  std::unique_ptr<vumedia::client::Guest> guest_;
  std::uint32_t session_;
  std::vector<Mapping> mappings_;
};

}  // namespace ctl
