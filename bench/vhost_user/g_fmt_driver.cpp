// g_fmt_driver SOCKET COUNT [nonblocking|blocking] [REGIONS]: a frontend and guest that opens a session and
// sends COUNT VIDIOC_G_FMT commands, one after another, as the Linux driver does: one indirect chain of four
// pieces, one kick, one call. Any vhost-user media device will do. The cost of a command is the difference
// between two counts.
//
// QEMU's event fds are non-blocking and its tables have several regions; crosvm's fds block, and it has one.
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <linux/videodev2.h>
#include <poll.h>
#include <support/guest_ram.hpp>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/virtio/driver_queue.hpp>

namespace vumedia {
namespace {

using vhost_user::Frontend;
namespace wire = media::wire;

[[noreturn]] void fail_with(const std::string& what) {
  std::fprintf(stderr, "g_fmt_driver: %s\n", what.c_str());
  std::exit(1);
}

void must(const Outcome<>& done) {
  if (!done) fail_with(done.error().message);
}
template <class T>
T must(Outcome<T> made) {
  if (!made) fail_with(made.error().message);
  return std::move(*made);
}

// The peer may still be starting.
Frontend connect(const std::string& path) {
  for (int attempt = 0;; ++attempt) {
    auto frontend = Frontend::connect(path);
    if (frontend) return std::move(*frontend);
    if (attempt == 200) fail_with(frontend.error().message);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

class Guest {
 public:
  static constexpr std::uint64_t region_size = 1u << 20;
  static constexpr std::uint64_t command_at = 0x10000, response_at = 0x11000;

  Guest(Frontend frontend, int event_flags, std::size_t regions)
      : frontend_(std::move(frontend)), ram_(make_ram(regions)) {
    must(frontend_.negotiate());
    std::vector<Frontend::Region> table;
    for (const auto& file : ram_)
      table.push_back({{file->guest()}, {file->frontend()}, file->size(), 0, file->fd()});
    must(frontend_.set_memory(table));
    for (std::uint32_t index = 0; index < wire::queue_count; ++index) {
      Ring& ring = rings_[index];
      ring.kick = make_fd(event_flags);
      ring.call = make_fd(event_flags);
      const auto user = [this](memory::GuestAddress address) {
        return memory::FrontendAddress{ram_.back()->frontend() + (address.value - ram_.back()->guest())};
      };
      must(frontend_.set_vring_size(index, ring.queue.size()));
      must(frontend_.set_vring_base(index, 0));
      must(frontend_.set_vring_addresses(index, user(ring.queue.descriptors()), user(ring.queue.available()),
                                         user(ring.queue.used())));
      must(frontend_.set_vring_call(index, ring.call.get()));
      must(frontend_.set_vring_kick(index, ring.kick.get()));
      must(frontend_.enable_vring(index, true));
    }
  }

  // Sends the command at command_at and waits for the answer at response_at.
  void command(std::uint32_t readable, std::uint32_t readable_payload, std::uint32_t writable,
               std::uint32_t writable_payload) {
    Ring& ring = rings_[wire::commandq];
    std::array<virtio::Piece, 4> pieces;
    std::size_t count = 0;
    const auto add = [&](std::uint64_t at, std::uint32_t length, bool device_writes) {
      if (length > 0) pieces[count++] = {{ram_.back()->guest() + at}, length, device_writes};
    };
    add(command_at, readable, false);
    add(command_at + readable, readable_payload, false);
    add(response_at, writable, true);
    add(response_at + writable, writable_payload, true);
    if (!ring.queue.add(std::span(pieces).first(count), true)) fail_with("the queue is full");
    if (ring.queue.publish()) {
      const std::uint64_t one = 1;
      if (::write(ring.kick.get(), &one, sizeof one) != ssize_t{sizeof one}) fail_with("cannot kick");
    }
    for (;;) {
      const auto used = ring.queue.pop_used();
      if (!used) fail_with("the device broke the queue");
      if (*used) return;
      if (ring.queue.enable_interrupts()) continue;
      pollfd called{ring.call.get(), POLLIN, 0};
      if (::poll(&called, 1, 10'000) != 1) fail_with("no answer in 10 s");
      std::uint64_t taken = 0;
      if (::read(ring.call.get(), &taken, sizeof taken) != ssize_t{sizeof taken})
        fail_with("cannot read the call fd");
    }
  }

  [[nodiscard]] std::byte* at(std::uint64_t offset) { return ram_.back()->data() + offset; }

 private:
  struct Ring {
    explicit Ring(test::RamFile& ram, std::uint64_t offset)
        : queue(ram.data() + offset, {ram.guest() + offset}, 64, true) {}
    virtio::DriverQueue queue;
    OwnedFd kick, call;
  };

  static OwnedFd make_fd(int flags) {
    auto fd = make_event_fd(EFD_CLOEXEC | flags);
    if (!fd) fail_with("cannot make an event fd");
    return std::move(*fd);
  }

  // The queues are in the last region, so that a table that is searched in order is searched to its end.
  static std::vector<std::unique_ptr<test::RamFile>> make_ram(std::size_t regions) {
    std::vector<std::unique_ptr<test::RamFile>> ram;
    for (std::size_t i = 0; i < regions; ++i)
      ram.push_back(std::make_unique<test::RamFile>(i * 2 * region_size, region_size));
    return ram;
  }

  Frontend frontend_;
  std::vector<std::unique_ptr<test::RamFile>> ram_;
  std::array<Ring, 2> rings_{Ring(*ram_.back(), 0), Ring(*ram_.back(), 0x8000)};
};

int run(const std::string& path, std::uint64_t count, int event_flags, std::size_t regions) {
  Guest guest(connect(path), event_flags, regions);

  const wire::virtio_media_cmd_open open{{wire::cmd_open, 0}};
  std::memcpy(guest.at(Guest::command_at), &open, sizeof open);
  guest.command(sizeof open, 0, sizeof(wire::virtio_media_resp_open), 0);
  wire::virtio_media_resp_open opened{};
  std::memcpy(&opened, guest.at(Guest::response_at), sizeof opened);
  if (opened.hdr.status != 0) fail_with("OPEN failed");

  // _IOC_NR of VIDIOC_G_FMT.
  const wire::virtio_media_cmd_ioctl command{{wire::cmd_ioctl, 0}, opened.session_id, 4};
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < count; ++i) {
    std::memcpy(guest.at(Guest::command_at), &command, sizeof command);
    std::memcpy(guest.at(Guest::command_at) + sizeof command, &format, sizeof format);
    guest.command(sizeof command, sizeof format, sizeof(wire::virtio_media_resp_header), sizeof format);
  }
  const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;

  wire::virtio_media_resp_header status{};
  std::memcpy(&status, guest.at(Guest::response_at), sizeof status);
  std::printf("%llu commands, %.1f us each, last status %u\n", static_cast<unsigned long long>(count),
              spent.count() / static_cast<double>(count), status.status);
  return 0;
}

}  // namespace
}  // namespace vumedia

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s SOCKET COUNT [nonblocking|blocking] [REGIONS]\n", argv[0]);
    return 2;
  }
  const bool blocking = argc > 3 && std::string_view(argv[3]) == "blocking";
  const std::size_t regions = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 1;
  if (regions < 1 || regions > 8) {
    std::fprintf(stderr, "%s: from 1 to 8 regions\n", argv[0]);
    return 2;
  }
  return vumedia::run(argv[1], std::strtoull(argv[2], nullptr, 10), blocking ? 0 : EFD_NONBLOCK, regions);
}
