// A media device inside a VMM: media::Device on the program's own guest memory and loop, with no socket and
// no thread. What follows plays the guest: it captures three frames of the test-pattern camera.
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

#include <poll.h>

#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/client/embedded_transport.hpp>
#include <vumedia/client/guest.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/virtio/basic_host.hpp>

using namespace vumedia;
namespace tag = v4l2::tag;

// The value, or the end of the program with a line that says why.
template <class T>
static T must(const char* what, Result<T> result) {
  if (!result) std::exit((std::fprintf(stderr, "%s: error %d\n", what, result.error().value), 1));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
template <class T>
static T must(Outcome<T> outcome) {
  if (!outcome) std::exit((std::fprintf(stderr, "%s\n", outcome.error().message.c_str()), 1));
  return std::move(*outcome);
}

int main() {
  // What a VMM has: guest memory, and a loop, in which the library's reactor is one descriptor among others.
  constexpr memory::GuestAddress ram_base{0x4000'0000};
  constexpr std::uint64_t ram_size = 4 << 20;
  auto file = must("guest memory", make_sealed_memfd("guest-ram", ram_size));
  const auto view = must("guest memory", Mapping::map(file.get(), 0, ram_size));
  std::vector<memory::RegionSpec> regions;
  regions.push_back({ram_base, {0}, ram_size, 0, std::move(file)});
  const auto reactor = must(io::UringReactor::create_for_other_loop());

  // What it adds: an interrupt, the host made of these, and the device.
  int interrupts = 0;
  virtio::BasicHost host(*reactor, must(memory::GuestMemory::create(std::move(regions))),
                         [&](std::uint16_t) { ++interrupts; });
  using Device = media::Device<backends::TestPattern, decltype(host)>;
  Device device(host, media::DeviceOptions());
  must("shared memory", host.reserve_shm(device.shm_regions()[0]));

  // A turn of the VMM's loop.
  const auto turn = [&](io::TimePoint until) {
    if (reactor->run_once(false).value_or(0) != 0) return;  // what it did may be what is waited for
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - io::Clock::now()).count();
    pollfd waits[] = {{reactor->fd(), POLLIN, 0}};
    ::poll(waits, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
  };

  // The guest.
  using Guest = client::BasicGuest<client::EmbeddedTransport<Device, decltype(host), decltype(turn)>>;
  const auto guest = must(Guest::attach({device, host, {{view.data(), ram_size}, ram_base}, turn}));
  const std::uint32_t session = must("open", guest->open());
  v4l2_format format{.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .fmt = {}};
  must("G_FMT", guest->ioctl<tag::G_FMT>(session, format));
  const auto& picture = format.fmt.pix;
  std::printf("%ux%u %.4s, %u bytes per frame\n", picture.width, picture.height,
              reinterpret_cast<const char*>(&picture.pixelformat), picture.sizeimage);

  v4l2_requestbuffers request{};
  request.count = 1;
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  request.memory = V4L2_MEMORY_MMAP;
  must("REQBUFS", guest->ioctl<tag::REQBUFS>(session, request));
  v4l2::BufferPayload buffer{};
  buffer.buffer.head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  buffer.buffer.head.memory = V4L2_MEMORY_MMAP;
  must("QUERYBUF", guest->ioctl<tag::QUERYBUF>(session, buffer));
  const auto mapped = must("mmap", guest->mmap(session, buffer.buffer.head.m.offset));
  std::printf("buffer 0 is at 0x%llx in shared memory, %zu bytes\n",
              static_cast<unsigned long long>(mapped.driver_addr.value), mapped.memory.size());

  std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  must("QBUF", guest->ioctl<tag::QBUF>(session, buffer));
  must("STREAMON", guest->ioctl<tag::STREAMON>(session, type));
  for (int i = 0; i < 3; ++i) {
    const auto event = must("event", guest->wait_event(std::chrono::seconds(60)));
    const auto* const frame = event ? std::get_if<client::DqbufEvent>(&*event) : nullptr;
    if (frame == nullptr) return std::fprintf(stderr, "no frame came\n"), 1;
    const auto& head = frame->buffer.head;
    unsigned long long sum = 0;
    for (const std::byte pixel : mapped.memory.first(head.bytesused)) sum += std::to_integer<unsigned>(pixel);
    std::printf("frame %u: %u bytes, mean %llu\n", head.sequence, head.bytesused, sum / head.bytesused);
    must("QBUF", guest->ioctl<tag::QBUF>(session, buffer));
  }
  must("STREAMOFF", guest->ioctl<tag::STREAMOFF>(session, type));
  must("munmap", guest->munmap(mapped.driver_addr));
  std::printf("%d interrupts\n", interrupts);
}
