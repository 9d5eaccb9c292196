// A media device inside a VMM: media::Device on the program's own memory and queues, with no socket and no
// thread.
//
// The program also plays the guest: it opens the test-pattern camera, asks for its format, maps a buffer,
// streams, and prints what it sees in the first frames.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "vmm.hpp"

using namespace vumedia;
namespace wire = media::wire;
namespace tag = v4l2::tag;
using Device = media::Device<backends::TestPattern, Vmm>;

// A driver for one command at a time. Its guest memory holds two rings, a command, a response and an event
// buffer.
class Guest {
 public:
  Guest(Vmm& vmm, Device& device) : vmm_(vmm), device_(device) {
    for (std::uint16_t index = 0; index < wire::queue_count; ++index) {
      virtio::Queue& queue = vmm.queue(index);
      static_cast<void>(queue.set_size(ring_size));
      queue.set_addresses(rings_[index].descriptors(), rings_[index].available(), rings_[index].used());
      queue.set_event_idx(true);
      if (!queue.start(*vmm.memory())) std::abort();
      device.process(index);
    }
  }

  // Sends `command` and returns the response, or ends the program with the response's status.
  template <class Response, class... Command>
  Response send(const char* what, const Command&... command) {
    std::size_t size = 0;
    const auto append = [&](const void* data, std::size_t length) {
      std::memcpy(vmm_.ram(command_) + size, data, length);
      size += length;
    };
    (append(&command, sizeof command), ...);
    const virtio::Piece pieces[] = {{command_, static_cast<std::uint32_t>(size), false},
                                    {response_, sizeof(Response), true}};
    if (!rings_[0].add(pieces)) std::abort();
    if (rings_[0].publish()) device_.process(wire::commandq);
    for (;;) {
      const auto used = rings_[0].pop_used();
      if (used && *used) break;
      vmm_.turn();
    }
    Response response;
    std::memcpy(&response, vmm_.ram(response_), sizeof response);
    wire::virtio_media_resp_header header;
    std::memcpy(&header, &response, sizeof header);
    if (header.status != 0) {
      std::fprintf(stderr, "%s: %s\n", what, std::strerror(static_cast<int>(header.status)));
      std::exit(1);
    }
    return response;
  }

  template <class Payload>
  struct Answer {
    wire::virtio_media_resp_header header;
    Payload payload;
  };
  template <class Tag>
  typename Tag::Wire ioctl(typename Tag::Wire payload) {
    const wire::virtio_media_cmd_ioctl command{{wire::cmd_ioctl, 0}, session_, Tag::number};
    if constexpr (v4l2::carries_output<Tag>) {
      return send<Answer<typename Tag::Wire>>(Tag::name, command, payload).payload;
    } else {
      send<wire::virtio_media_resp_ioctl>(Tag::name, command, payload);
      return payload;
    }
  }

  void open() {
    session_ = send<wire::virtio_media_resp_open>("open", wire::virtio_media_cmd_open{{wire::cmd_open, 0}})
                   .session_id;
  }
  wire::virtio_media_resp_mmap map(std::uint32_t offset) {
    return send<wire::virtio_media_resp_mmap>(
        "mmap", wire::virtio_media_cmd_mmap{{wire::cmd_mmap, 0}, session_, wire::mmap_flag_rw, offset});
  }
  void unmap(std::uint64_t driver_addr) {
    send<wire::virtio_media_resp_munmap>("munmap",
                                         wire::virtio_media_cmd_munmap{{wire::cmd_munmap, 0}, driver_addr});
  }

  // Lends the device a buffer for one event and runs the VMM until it comes back.
  wire::virtio_media_event_dqbuf wait_frame() {
    const virtio::Piece piece{event_, wire::max_event_size, true};
    if (!rings_[1].add(std::span(&piece, 1))) std::abort();
    if (rings_[1].publish()) device_.process(wire::eventq);
    for (;;) {
      const auto used = rings_[1].pop_used();
      if (used && *used) break;
      vmm_.turn();
    }
    wire::virtio_media_event_dqbuf event;
    std::memcpy(&event, vmm_.ram(event_), sizeof event);
    return event;
  }

 private:
  static constexpr std::uint16_t ring_size = 16;
  static constexpr std::uint64_t ring_space = 0x10000;

  Vmm& vmm_;
  Device& device_;
  virtio::DriverQueue rings_[wire::queue_count]{
      {vmm_.ram({Vmm::ram_base}), {Vmm::ram_base}, ring_size, true},
      {vmm_.ram({Vmm::ram_base + ring_space}), {Vmm::ram_base + ring_space}, ring_size, true}};
  memory::GuestAddress command_{Vmm::ram_base + 2 * ring_space};
  memory::GuestAddress response_{Vmm::ram_base + 3 * ring_space};
  memory::GuestAddress event_{Vmm::ram_base + 4 * ring_space};
  std::uint32_t session_ = 0;
};

int main() {
  Vmm vmm;
  if (!vmm.start()) return 1;
  Device device(vmm, media::DeviceOptions());
  if (!vmm.make_window(device.shm_regions()[0])) return 1;
  Guest guest(vmm, device);

  guest.open();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  format = guest.ioctl<tag::G_FMT>(format);
  const auto& picture = format.fmt.pix;
  std::printf("%ux%u %.4s, %u bytes per frame\n", picture.width, picture.height,
              reinterpret_cast<const char*>(&picture.pixelformat), picture.sizeimage);

  v4l2_requestbuffers request{};
  request.count = 1;
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  request.memory = V4L2_MEMORY_MMAP;
  guest.ioctl<tag::REQBUFS>(request);
  v4l2_buffer buffer{};
  buffer.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  buffer.memory = V4L2_MEMORY_MMAP;
  buffer = guest.ioctl<tag::QUERYBUF>(buffer);
  const auto mapped = guest.map(buffer.m.offset);
  std::printf("buffer 0 is at 0x%llx in shared memory, %llu bytes\n",
              static_cast<unsigned long long>(mapped.driver_addr),
              static_cast<unsigned long long>(mapped.len));

  guest.ioctl<tag::QBUF>(buffer);
  guest.ioctl<tag::STREAMON>(V4L2_BUF_TYPE_VIDEO_CAPTURE);
  for (int i = 0; i < 3; ++i) {
    const auto frame = guest.wait_frame();
    unsigned long long sum = 0;
    const std::byte* const pixels = vmm.window(mapped.driver_addr);
    for (std::uint32_t at = 0; at < frame.buffer.bytesused; ++at)
      sum += std::to_integer<unsigned>(pixels[at]);
    std::printf("frame %u: %u bytes, mean %llu\n", frame.buffer.sequence, frame.buffer.bytesused,
                sum / std::max(frame.buffer.bytesused, 1u));
    guest.ioctl<tag::QBUF>(buffer);
  }
  guest.ioctl<tag::STREAMOFF>(V4L2_BUF_TYPE_VIDEO_CAPTURE);
  guest.unmap(mapped.driver_addr);
}
