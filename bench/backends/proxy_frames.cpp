// proxy_frames SOCKET FRAMES PID: streams 1920x1080 from the camera at a vhost-user socket as a guest would,
// and prints on one line the frames that came, those that were lost between the first and the last (according
// to their sequence numbers), the seconds from the first to the last, the CPU time of process PID in that
// time in milliseconds, and the bytes that its system calls have read and written.
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <variant>

#include <linux/videodev2.h>
#include <time.h>

#include <vumedia/client/guest.hpp>

namespace {

using vumedia::client::Guest;
namespace tag = vumedia::v4l2::tag;

constexpr std::uint32_t camera = V4L2_BUF_TYPE_VIDEO_CAPTURE;
constexpr std::uint32_t buffers = 4;

[[noreturn]] void stop(const char* what, int error) {
  std::fprintf(stderr, "proxy_frames: %s: errno %d\n", what, error);
  std::exit(1);
}

template <class Tag>
void call(Guest& guest, std::uint32_t session, typename Tag::Payload& payload) {
  if (const auto done = guest.ioctl<Tag>(session, payload); !done) stop(Tag::name, done.error().value);
}

vumedia::v4l2::BufferPayload buffer(std::uint32_t index) {
  vumedia::v4l2::BufferPayload payload{};
  payload.buffer.head.type = camera;
  payload.buffer.head.memory = V4L2_MEMORY_MMAP;
  payload.buffer.head.index = index;
  return payload;
}

// What a process has used so far.
struct Use {
  double cpu_milliseconds = 0;
  std::uint64_t bytes = 0;
};
Use use_of(const std::string& pid) {
  Use use;
  clockid_t clock{};
  if (::clock_getcpuclockid(std::atoi(pid.c_str()), &clock) == 0) {
    timespec time{};
    ::clock_gettime(clock, &time);
    use.cpu_milliseconds = static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
  }
  std::ifstream io("/proc/" + pid + "/io");
  std::string name;
  std::uint64_t value = 0;
  while (io >> name >> value) {
    if (name == "rchar:" || name == "wchar:") use.bytes += value;
  }
  return use;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: proxy_frames SOCKET FRAMES PID\n");
    return 2;
  }
  const auto wanted = static_cast<std::uint64_t>(std::atoll(argv[2]));
  auto guest = Guest::connect(argv[1]);
  if (!guest) {
    std::fprintf(stderr, "proxy_frames: %s\n", guest.error().message.c_str());
    return 1;
  }
  Guest& device = **guest;
  const auto session = device.open();
  if (!session) stop("OPEN", session.error().value);

  v4l2_format format{};
  format.type = camera;
  format.fmt.pix.width = 1920;
  format.fmt.pix.height = 1080;
  format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
  call<tag::S_FMT>(device, *session, format);
  v4l2_requestbuffers request{};
  request.type = camera;
  request.memory = V4L2_MEMORY_MMAP;
  request.count = buffers;
  call<tag::REQBUFS>(device, *session, request);
  for (std::uint32_t index = 0; index < request.count; ++index) {
    auto payload = buffer(index);
    call<tag::QUERYBUF>(device, *session, payload);
    if (const auto mapped = device.mmap(*session, payload.buffer.head.m.offset); !mapped)
      stop("MMAP", mapped.error().value);
    payload = buffer(index);
    call<tag::QBUF>(device, *session, payload);
  }
  tag::BufferType type = camera;
  call<tag::STREAMON>(device, *session, type);

  std::uint64_t frames = 0, lost = 0;
  std::uint32_t last = 0;
  Use before;
  std::chrono::steady_clock::time_point start;
  while (frames < wanted) {
    const auto event = device.wait_event(std::chrono::seconds(10));
    if (!event || !*event) stop("no frame came", ETIMEDOUT);
    const auto* const filled = std::get_if<vumedia::client::DqbufEvent>(&**event);
    if (filled == nullptr) stop("an event that is not a frame", EIO);
    const std::uint32_t sequence = filled->buffer.head.sequence;
    if (frames != 0 && sequence > last + 1) lost += sequence - last - 1;
    last = sequence;
    if (frames++ == 0) {
      before = use_of(argv[3]);
      start = std::chrono::steady_clock::now();
    }
    auto payload = buffer(filled->buffer.head.index);
    call<tag::QBUF>(device, *session, payload);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const Use after = use_of(argv[3]);
  std::printf("%llu %llu %.3f %.1f %llu\n", static_cast<unsigned long long>(frames),
              static_cast<unsigned long long>(lost), seconds.count(),
              after.cpu_milliseconds - before.cpu_milliseconds,
              static_cast<unsigned long long>(after.bytes - before.bytes));
  return 0;
}
