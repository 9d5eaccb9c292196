// A virtio::Host that consists only of declarations.
#pragma once

#include <cstdint>
#include <memory>

#include <vumedia/virtio/concepts.hpp>

struct Host {
  const std::shared_ptr<const vumedia::memory::GuestMemory>& memory() const;
  vumedia::virtio::Queue& queue(std::uint16_t index);
  bool queue_running(std::uint16_t index) const;
  void flush(std::uint16_t index);
  void queue_failed(std::uint16_t index, vumedia::Error error);
  bool has_shm() const;
  void shm_map(vumedia::virtio::ShmOperation& operation, const vumedia::virtio::ShmMapping& mapping);
  void shm_unmap(vumedia::virtio::ShmOperation& operation, const vumedia::virtio::ShmMapping& mapping);
  void shm_abandon(vumedia::virtio::ShmOperation& operation);
  const vumedia::Log& log() const;
  void poll(vumedia::io::Operation& operation, int fd, unsigned events);
  void timer(vumedia::io::Operation& operation, vumedia::io::TimePoint deadline);
  void cancel(vumedia::io::Operation& operation);
  std::shared_ptr<vumedia::io::Inbox> inbox();
};
