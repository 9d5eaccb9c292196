// g_fmt_path [COMMANDS] [call]: sends that many VIDIOC_G_FMT through real rings to a media device, and counts
// what one of them costs from kick to call.
//
// By default over the io_uring reactor, with event fds: kick, read, serve, call. With `call`, the device's
// process() is called instead, so that what remains is the device alone. Instructions are counted from
// outside, as a difference:
//
//   valgrind --tool=callgrind --toggle-collect='*::on_kick*' g_fmt_path 1000
//   valgrind --tool=callgrind --toggle-collect='*::on_kick*' g_fmt_path 2000
//
// The guest runs on the device's thread, so its own instructions count as well unless the tool excludes them;
// its functions are not inlined and are named `driver_...` for that.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>

#include <unistd.h>

#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>

#include "support/embedded_host.hpp"

namespace {
std::atomic<std::uint64_t> allocations{0};
}

// Counted, to show that there are none. Not inlined, because otherwise g++ sees a free() of memory from new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace {

using namespace vumedia;
namespace wire = media::wire;

struct Camera {
  struct Session {
    v4l2_pix_format format{};
  };
  media::Config config() const { return {.device_caps = V4L2_CAP_VIDEO_CAPTURE, .card = "bench"}; }
  Result<std::unique_ptr<Session>> open(media::Context) { return std::make_unique<Session>(); }
  Result<> ioctl(Session& session, v4l2::tag::G_FMT, v4l2_format& format) {
    if (format.type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return fail(EINVAL);
    format.fmt.pix = session.format;
    return {};
  }
};

using Host = test::EmbeddedHost<io::UringReactor>;
using Device = media::Device<Camera, Host>;

struct Driver {
  Host& host;
  memory::GuestAddress command;
  memory::GuestAddress response;

  [[gnu::noinline]] void driver_send(std::uint32_t readable, std::uint32_t writable) {
    const virtio::Piece pieces[] = {{command, readable, false}, {response, writable, true}};
    if (!host.driver_queue(0).add(pieces)) std::abort();
    const bool kick = host.driver_queue(0).publish();
    if (kick && host.options.event_fds) {
      const std::uint64_t one = 1;
      if (::write(host.kick_fd(0), &one, sizeof one) != sizeof one) std::abort();
    }
  }
  [[gnu::noinline]] bool driver_receive() {
    const auto used = host.driver_queue(0).pop_used();
    if (!used || !*used) return false;
    static_cast<void>(host.driver_queue(0).enable_interrupts());
    return true;
  }
};

[[gnu::noinline]] void serve(io::UringReactor& reactor, Device& device, bool event_fds) {
  if (event_fds) {
    reactor.run_once(true);
  } else {
    device.process(wire::commandq);
  }
}

}  // namespace

int main(int count, char** arguments) {
  const long commands = count > 1 ? std::atol(arguments[1]) : 100000;
  const bool event_fds = !(count > 2 && std::string_view(arguments[2]) == "call");
  auto reactor = io::UringReactor::create();
  if (!reactor) return std::fprintf(stderr, "%s\n", reactor.error().message.c_str()), 1;
  test::EmbeddedOptions options;
  options.event_fds = event_fds;
  Host host(**reactor, options);
  Device device(host, media::DeviceOptions());
  host.attach(device);
  Driver driver{host, host.allocate(512), host.allocate(512)};
  const auto round_trip = [&](std::uint32_t readable, std::uint32_t writable) {
    driver.driver_send(readable, writable);
    do serve(**reactor, device, event_fds);
    while (!driver.driver_receive());
  };

  const wire::virtio_media_cmd_open open{{wire::cmd_open, 0}};
  std::memcpy(host.bytes(driver.command), &open, sizeof open);
  round_trip(sizeof open, sizeof(wire::virtio_media_resp_open));
  wire::virtio_media_resp_open opened;
  std::memcpy(&opened, host.bytes(driver.response), sizeof opened);

  struct {
    wire::virtio_media_cmd_ioctl head;
    v4l2_format format;
  } g_fmt{{{wire::cmd_ioctl, 0}, opened.session_id, v4l2::tag::G_FMT::number}, {}};
  g_fmt.format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  std::memcpy(host.bytes(driver.command), &g_fmt, sizeof g_fmt);
  for (int i = 0; i < 16; ++i) round_trip(sizeof g_fmt, 8 + sizeof(v4l2_format));

  const std::uint64_t allocated = allocations.load();
  const std::uint64_t entered = (*reactor)->counters().enters;
  for (long i = 0; i < commands; ++i) round_trip(sizeof g_fmt, 8 + sizeof(v4l2_format));
  wire::virtio_media_resp_header answer;
  std::memcpy(&answer, host.bytes(driver.response), sizeof answer);
  if (answer.status != 0) return std::fprintf(stderr, "G_FMT failed: %u\n", answer.status), 1;
  std::printf("commands %ld allocations %llu system_calls %llu\n", commands,
              static_cast<unsigned long long>(allocations.load() - allocated),
              static_cast<unsigned long long>((*reactor)->counters().enters - entered));
}
