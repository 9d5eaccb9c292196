// A virtio::Device that consists only of declarations.
#pragma once

#include <cstdint>
#include <span>

#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/vhost_user/session.hpp>

struct SmallDevice {
  static constexpr std::uint32_t device_id = 48;
  static constexpr std::uint16_t queue_count = 2;
  explicit SmallDevice(vumedia::vhost_user::SessionHost<vumedia::io::UringReactor>& host);
  std::uint64_t features() const;
  std::span<const std::byte> config() const;
  std::span<const std::uint64_t> shm_regions() const;
  void process(std::uint16_t index);
  void stop(std::uint16_t index);
  std::uint32_t in_flight(std::uint16_t index) const;
  void reset();
};
