// bench/run measures what it costs to compile a VMM that embeds the device in a host of its own.
#include <array>
#include <cstdint>
#include <memory>

#include <vumedia/backends/null.hpp>
#include <vumedia/media/device.hpp>

// What a Host must have, on the VMM's own loop, memory and queues.
struct OwnHost {
  void poll(vumedia::io::Operation& operation, int fd, unsigned events);
  void timer(vumedia::io::Operation& operation, vumedia::io::TimePoint deadline);
  void cancel(vumedia::io::Operation& operation);
  std::shared_ptr<vumedia::io::Inbox> inbox();

  const std::shared_ptr<const vumedia::memory::GuestMemory>& memory() const { return table; }
  vumedia::virtio::Queue& queue(std::uint16_t index) { return queues[index]; }
  bool queue_running(std::uint16_t index) const { return queues[index].started(); }
  void flush(std::uint16_t index) { static_cast<void>(queues[index].flush(*table)); }
  void queue_failed(std::uint16_t index, const vumedia::Error& error);
  bool has_shm() const;
  void shm_map(vumedia::virtio::ShmOperation& operation, const vumedia::virtio::ShmMapping& mapping);
  void shm_unmap(vumedia::virtio::ShmOperation& operation, const vumedia::virtio::ShmMapping& mapping);
  void shm_abandon(vumedia::virtio::ShmOperation& operation);
  const vumedia::Log& log() const { return sink; }

  std::shared_ptr<const vumedia::memory::GuestMemory> table;
  std::array<vumedia::virtio::Queue, 2> queues;
  vumedia::Log sink;
};

template class vumedia::media::Device<vumedia::backends::Null, OwnHost>;
