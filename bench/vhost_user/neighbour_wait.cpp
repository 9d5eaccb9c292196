// neighbour_wait SOCKET [PROBES]: how long VIDIOC_G_FMT of one session waits while another session of the
// same guest makes the device copy and map as much as possible. It needs vumedia-device with ffmpeg-decoder.
//
// The hostile session always has one command pending: QBUF of 16 MiB at odd addresses, which are copied,
// until 224 MiB are queued, then STREAMOFF; or QBUF of 4,096 single pages, twice, then REQBUFS, which unmaps
// them. The other session sends G_FMT now and then. Prints one line for each: the median, the 99.9th
// percentile and the longest of the times from kick to answer, in microseconds.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string>
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
using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::byte>;

constexpr std::uint32_t coded = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
constexpr std::uint32_t buffer_bytes = 16u << 20;

[[noreturn]] void fail_with(const std::string& what) {
  std::fprintf(stderr, "neighbour_wait: %s\n", what.c_str());
  std::exit(1);
}
void must(const Outcome<>& done) {
  if (!done) fail_with(done.error().message);
}

template <class... T>
Bytes bytes_of(const T&... values) {
  Bytes bytes((sizeof values + ...));
  std::byte* end = bytes.data();
  ((std::memcpy(end, &values, sizeof values), end += sizeof values), ...);
  return bytes;
}
template <class T>
Bytes ioctl_command(std::uint32_t session, unsigned long code, const T& payload) {
  return bytes_of(wire::virtio_media_cmd_ioctl{{wire::cmd_ioctl, 0}, session, _IOC_NR(code)}, payload);
}

// A guest with two places for commands, each with at most one pending command.
class Guest {
 public:
  static constexpr std::uint64_t ram_size = 64u << 20, user_at = 8u << 20, place_size = 1u << 20;
  enum Place : std::size_t { hostile = 1, neighbour = 2 };

  explicit Guest(Frontend frontend) : frontend_(std::move(frontend)) {
    must(frontend_.negotiate());
    const Frontend::Region region{{ram_.guest()}, {ram_.frontend()}, ram_.size(), 0, ram_.fd()};
    must(frontend_.set_memory(std::span(&region, 1)));
    for (std::uint32_t index = 0; index < wire::queue_count; ++index) {
      Ring& ring = rings_[index];
      const auto user = [this](memory::GuestAddress address) {
        return memory::FrontendAddress{ram_.frontend() + (address.value - ram_.guest())};
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

  [[nodiscard]] std::uint64_t guest_address(std::uint64_t offset) const { return ram_.guest() + offset; }

  void send(Place place, const Bytes& command) {
    Ring& ring = rings_[wire::commandq];
    const std::uint64_t at = place * place_size;
    std::memcpy(ram_.data() + at, command.data(), command.size());
    const std::array<virtio::Piece, 2> pieces{
        {{{ram_.guest() + at}, static_cast<std::uint32_t>(command.size()), false},
         {{ram_.guest() + answer_at(place)}, 512, true}}};
    const auto head = ring.queue.add(pieces, true);
    if (!head) fail_with("the queue is full");
    heads_[place] = *head;
    if (!ring.queue.publish()) return;
    const std::uint64_t one = 1;
    if (::write(ring.kick.get(), &one, sizeof one) != ssize_t{sizeof one}) fail_with("cannot kick");
  }
  // Waits until the command at `place` is answered, and returns its status.
  std::uint32_t wait(Place place) {
    while (heads_[place]) take(true);
    return status(place);
  }
  [[nodiscard]] bool answered(Place place) {
    while (take(false)) {
    }
    return !heads_[place];
  }
  [[nodiscard]] std::uint32_t status(Place place) const {
    wire::virtio_media_resp_header header{};
    std::memcpy(&header, ram_.data() + answer_at(place), sizeof header);
    return header.status;
  }
  std::uint32_t open() {
    send(neighbour, bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}));
    if (wait(neighbour) != 0) fail_with("OPEN failed");
    wire::virtio_media_resp_open opened{};
    std::memcpy(&opened, ram_.data() + answer_at(neighbour), sizeof opened);
    return opened.session_id;
  }

 private:
  struct Ring {
    Ring(test::RamFile& ram, std::uint64_t offset)
        : queue(ram.data() + offset, {ram.guest() + offset}, 64, true), kick(make_fd()), call(make_fd()) {}
    static OwnedFd make_fd() {
      auto fd = make_event_fd();
      if (!fd) fail_with("cannot make an event fd");
      return std::move(*fd);
    }
    virtio::DriverQueue queue;
    OwnedFd kick, call;
  };
  static constexpr std::uint64_t answer_at(std::size_t place) { return (place + 1) * place_size - 512; }

  // Takes one answer. False if there is none and it should not wait for one.
  bool take(bool waits) {
    Ring& ring = rings_[wire::commandq];
    for (;;) {
      const auto used = ring.queue.pop_used();
      if (!used) fail_with("the device broke the queue");
      if (*used) {
        for (auto& head : heads_) {
          if (head == (*used)->head) head.reset();
        }
        return true;
      }
      if (!waits) return false;
      if (ring.queue.enable_interrupts()) continue;
      pollfd called{ring.call.get(), POLLIN, 0};
      if (::poll(&called, 1, 10'000) != 1) fail_with("no answer in 10 s");
      std::uint64_t count = 0;
      static_cast<void>(::read(ring.call.get(), &count, sizeof count));
    }
  }

  Frontend frontend_;
  test::RamFile ram_{0, ram_size};
  std::array<Ring, 2> rings_{Ring(ram_, 0), Ring(ram_, 0x8000)};
  std::array<std::optional<std::uint16_t>, 3> heads_;
};

struct Range {
  std::uint64_t start;
  std::uint32_t length, reserved;
};

Bytes qbuf(std::uint32_t session, std::uint32_t index, const std::vector<Range>& ranges) {
  v4l2_buffer head{};
  head.index = index;
  head.type = coded;
  head.memory = V4L2_MEMORY_USERPTR;
  head.length = 1;
  v4l2_plane plane{};
  plane.length = plane.bytesused = buffer_bytes;
  plane.m.userptr = 0x1000;
  Bytes command = ioctl_command(session, VIDIOC_QBUF, head);
  const Bytes tail = bytes_of(plane);
  command.insert(command.end(), tail.begin(), tail.end());
  const auto list = std::as_bytes(std::span(ranges));
  command.insert(command.end(), list.begin(), list.end());
  return command;
}
Bytes reqbufs(std::uint32_t session, std::uint32_t count) {
  v4l2_requestbuffers request{};
  request.count = count;
  request.type = coded;
  request.memory = V4L2_MEMORY_USERPTR;
  return ioctl_command(session, VIDIOC_REQBUFS, request);
}

// The commands of a hostile session, over and over.
std::vector<Bytes> script(const Guest& guest, std::uint32_t session, bool copied) {
  std::vector<Bytes> commands;
  if (copied) {
    const std::vector<Range> odd(2, Range{guest.guest_address(Guest::user_at + 1), buffer_bytes / 2, 0});
    commands.push_back(reqbufs(session, 14));
    for (std::uint32_t i = 0; i < 14; ++i) commands.push_back(qbuf(session, i, odd));
    commands.push_back(ioctl_command(session, VIDIOC_STREAMOFF, coded));
    for (std::uint32_t i = 0; i < 14; ++i) commands.push_back(qbuf(session, i, odd));
  } else {
    std::vector<Range> pages;
    for (std::uint64_t i = 0; i < buffer_bytes / page_size; ++i)
      pages.push_back({guest.guest_address(Guest::user_at + i % 2 * 2 * page_size), page_size, 0});
    commands.push_back(reqbufs(session, 2));
    for (std::uint32_t i = 0; i < 2; ++i) commands.push_back(qbuf(session, i, pages));
  }
  return commands;
}

void probe(Guest& guest, std::uint32_t session, std::size_t probes, const char* name,
           const std::vector<Bytes>& hostile) {
  std::vector<double> waits;
  std::size_t next = 0, failures = 0;
  const auto keep_busy = [&] {
    if (hostile.empty() || !guest.answered(Guest::hostile)) return;
    if (next != 0 && guest.status(Guest::hostile) != 0) ++failures;
    guest.send(Guest::hostile, hostile[next++ % hostile.size()]);
  };
  v4l2_format format{};
  format.type = coded;
  const Bytes question = ioctl_command(session, VIDIOC_G_FMT, format);
  for (std::size_t i = 0; i < probes; ++i) {
    keep_busy();
    const auto begin = Clock::now();
    guest.send(Guest::neighbour, question);
    if (guest.wait(Guest::neighbour) != 0) fail_with("G_FMT failed");
    waits.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    keep_busy();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  if (!hostile.empty()) guest.wait(Guest::hostile);
  std::ranges::sort(waits);
  const auto at = [&](double part) {
    return waits[static_cast<std::size_t>(part * static_cast<double>(waits.size() - 1))];
  };
  std::printf("%s median %.0f p99.9 %.0f max %.0f hostile %zu failed %zu\n", name, at(0.5), at(0.999),
              waits.back(), next, failures);
}

int run(const std::string& path, std::size_t probes) {
  auto frontend = Frontend::connect(path);
  if (!frontend) fail_with(frontend.error().message);
  Guest guest(std::move(*frontend));
  const std::uint32_t hostile = guest.open();
  const std::uint32_t neighbour = guest.open();
  v4l2_format format{};
  format.type = coded;
  format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_H264;
  format.fmt.pix_mp.width = 64;
  format.fmt.pix_mp.height = 64;
  format.fmt.pix_mp.num_planes = 1;
  format.fmt.pix_mp.plane_fmt[0].sizeimage = 1u << 20;
  guest.send(Guest::hostile, ioctl_command(hostile, VIDIOC_S_FMT, format));
  if (guest.wait(Guest::hostile) != 0) fail_with("S_FMT failed: is this a decoder?");
  probe(guest, neighbour, probes, "idle", {});
  probe(guest, neighbour, probes, "copied", script(guest, hostile, true));
  guest.send(Guest::hostile, reqbufs(hostile, 0));
  guest.wait(Guest::hostile);
  probe(guest, neighbour, probes, "scattered", script(guest, hostile, false));
  return 0;
}

}  // namespace
}  // namespace vumedia

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s SOCKET [PROBES]\n", argv[0]);
    return 2;
  }
  const unsigned long probes = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 4000;
  if (probes == 0) {
    std::fprintf(stderr, "%s: at least one probe\n", argv[0]);
    return 2;
  }
  return vumedia::run(argv[1], probes);
}
