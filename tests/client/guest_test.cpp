// A guest in user space against real devices over a real socket: commands, mappings, streaming, events,
// resets.
#include <future>
#include <memory>
#include <set>
#include <thread>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <vumedia/backends/null.hpp>
#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/client/guest.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/vhost_user/session.hpp>

#include "support/device_options.hpp"
#include "support/patience.hpp"

namespace vumedia::client::test {
namespace {

using namespace std::chrono_literals;
namespace tag = v4l2::tag;
constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;

// A device on a thread of its own, with one connected socket.
template <class Backend>
class DeviceThread {
 public:
  using Reactor = io::UringReactor;
  using Session = vhost_user::Session<media::Device<Backend, vhost_user::SessionHost<Reactor>>, Reactor>;

  explicit DeviceThread(bool mem_slots = false) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    socket_.reset(ends[1]);
    std::promise<void> ready;
    auto is_ready = ready.get_future();
    thread_ = std::thread([this, mem_slots, fd = ends[0], &ready] {
      auto reactor = Reactor::create();
      ASSERT_TRUE(reactor) << reactor.error().message;
      reactor_ = reactor->get();
      inbox_ = reactor_->inbox();
      {
        std::unique_ptr<Session> session;
        session = std::make_unique<Session>(
            *reactor_, OwnedFd(fd), vhost_user::SessionOptions{{}, mem_slots},
            [&](const Error&) { session.reset(); }, vumedia::test::patient());
        ready.set_value();
        EXPECT_TRUE(reactor_->run());
      }
    });
    is_ready.wait();
  }
  ~DeviceThread() { kill(); }

  [[nodiscard]] std::unique_ptr<Guest> guest(const GuestOptions& options = {}) {
    auto guest = Guest::attach(vhost_user::Frontend(std::move(socket_), vumedia::test::patience), options);
    EXPECT_TRUE(guest) << guest.error().message;
    return guest ? std::move(*guest) : nullptr;
  }
  // The device disappears, like a daemon that dies.
  void kill() {
    if (!thread_.joinable()) return;
    inbox_->post([this] { reactor_->stop(); });
    thread_.join();
  }

 private:
  OwnedFd socket_;
  Reactor* reactor_ = nullptr;
  std::shared_ptr<io::Inbox> inbox_;  // a post may still be in progress when the reactor ends
  std::thread thread_;
};

template <class T>
testing::AssertionResult ok(const Result<T>& result) {
  if (result) return testing::AssertionSuccess();
  return testing::AssertionFailure() << std::strerror(result.error().value);
}

TEST(Guest, ReadsTheConfiguration) {
  DeviceThread<backends::Null> device;
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  EXPECT_STREQ(guest->config().card.data(), "vumedia null");
  EXPECT_EQ(guest->config().device_type, 0u);
  EXPECT_TRUE(is_power_of_two(guest->shm_size()));
}

TEST(Guest, OpensAndCloses) {
  DeviceThread<backends::Null> device(true);
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  const auto one = guest->open(), two = guest->open();
  ASSERT_TRUE(ok(one));
  ASSERT_TRUE(ok(two));
  EXPECT_NE(*one, *two);
  v4l2_format format{};
  EXPECT_EQ(guest->ioctl<tag::G_FMT>(*one, format).error().value, ENOTTY);
  ASSERT_TRUE(ok(guest->close(*one)));
  EXPECT_EQ(guest->ioctl<tag::G_FMT>(*one, format).error().value, EINVAL);
  EXPECT_EQ(guest->ioctl<tag::G_FMT>(*two, format).error().value, ENOTTY);
  EXPECT_EQ(guest->error().code, 0);
}

TEST(Guest, SpinsForItsAnswers) {
  DeviceThread<backends::Null> device;
  GuestOptions options;
  options.spin = 50ms;
  const auto guest = device.guest(options);
  ASSERT_TRUE(guest);
  for (int i = 0; i < 50; ++i) {
    const auto session = guest->open();
    ASSERT_TRUE(ok(session));
    ASSERT_TRUE(ok(guest->close(*session)));
  }
}

// Sets the smallest format of `fourcc`, so that frames are cheap, and a rate that does not make the test
// wait.
v4l2_format start_format(Guest& guest, std::uint32_t session) {
  v4l2_format format{};
  format.type = capture;
  EXPECT_TRUE(ok(guest.ioctl<tag::G_FMT>(session, format)));
  format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
  format.fmt.pix.width = format.fmt.pix.height = 1;
  EXPECT_TRUE(ok(guest.ioctl<tag::S_FMT>(session, format)));
  EXPECT_GT(format.fmt.pix.sizeimage, 0u);
  v4l2_streamparm parameters{};
  parameters.type = capture;
  parameters.parm.capture.timeperframe = {1, 1000};
  EXPECT_TRUE(ok(guest.ioctl<tag::S_PARM>(session, parameters)));
  return format;
}

v4l2::Buffer next_frame(Guest& guest) {
  const auto event = guest.wait_event(vumedia::test::patience);
  EXPECT_TRUE(ok(event));
  if (!event || !*event || !std::holds_alternative<DqbufEvent>(**event)) {
    ADD_FAILURE() << "no frame came";
    return {};
  }
  return std::get<DqbufEvent>(**event).buffer;
}

void stream_mapped(Guest& guest) {
  const auto session = guest.open();
  ASSERT_TRUE(ok(session));
  const auto format = start_format(guest, *session);
  v4l2_requestbuffers request{};
  request.type = capture;
  request.memory = V4L2_MEMORY_MMAP;
  request.count = 3;
  ASSERT_TRUE(ok(guest.ioctl<tag::REQBUFS>(*session, request)));
  std::vector<Guest::Mapped> maps;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    v4l2::BufferPayload buffer{};
    buffer.buffer.head.type = capture;
    buffer.buffer.head.memory = V4L2_MEMORY_MMAP;
    buffer.buffer.head.index = i;
    ASSERT_TRUE(ok(guest.ioctl<tag::QUERYBUF>(*session, buffer)));
    auto mapped = guest.mmap(*session, buffer.buffer.head.m.offset);
    ASSERT_TRUE(ok(mapped));
    EXPECT_GE(mapped->memory.size(), format.fmt.pix.sizeimage);
    // The same buffer has one place, however often it is mapped.
    auto again = guest.mmap(*session, buffer.buffer.head.m.offset);
    ASSERT_TRUE(ok(again));
    EXPECT_EQ(again->driver_addr, mapped->driver_addr);
    EXPECT_TRUE(ok(guest.munmap(again->driver_addr)));
    mapped->memory[0] = std::byte{0x55};
    maps.push_back(*mapped);
    ASSERT_TRUE(ok(guest.ioctl<tag::QBUF>(*session, buffer)));
  }
  tag::BufferType type = capture;
  ASSERT_TRUE(ok(guest.ioctl<tag::STREAMON>(*session, type)));
  for (std::uint32_t frame = 0; frame < 12; ++frame) {
    v4l2::BufferPayload buffer{};
    buffer.buffer = next_frame(guest);
    ASSERT_LT(buffer.buffer.head.index, maps.size());
    EXPECT_EQ(buffer.buffer.head.sequence, frame);
    EXPECT_EQ(buffer.buffer.head.bytesused, format.fmt.pix.sizeimage);
    const auto memory = maps[buffer.buffer.head.index].memory;
    std::set<std::byte> values(memory.begin(), memory.begin() + format.fmt.pix.sizeimage);
    EXPECT_GT(values.size(), 2u) << "no picture";
    ASSERT_TRUE(ok(guest.ioctl<tag::QBUF>(*session, buffer)));
  }
  ASSERT_TRUE(ok(guest.ioctl<tag::STREAMOFF>(*session, type)));
  for (const auto& map : maps) EXPECT_TRUE(ok(guest.munmap(map.driver_addr)));
  ASSERT_TRUE(ok(guest.close(*session)));
}

TEST(Guest, StreamsFromMappedBuffers) {
  DeviceThread<backends::TestPattern> device;
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  stream_mapped(*guest);
}

TEST(Guest, StreamsIntoItsOwnMemory) {
  DeviceThread<backends::TestPattern> device;
  GuestOptions options;
  options.user_memory = 8 << 20;
  const auto guest = device.guest(options);
  ASSERT_TRUE(guest);
  const auto session = guest->open();
  ASSERT_TRUE(ok(session));
  const auto format = start_format(*guest, *session);
  const std::uint32_t size = format.fmt.pix.sizeimage;
  v4l2_requestbuffers request{};
  request.type = capture;
  request.memory = V4L2_MEMORY_USERPTR;
  request.count = 2;
  ASSERT_TRUE(ok(guest->ioctl<tag::REQBUFS>(*session, request)));
  v4l2::BufferPayload buffer{};
  buffer.buffer.head.type = capture;
  buffer.buffer.head.memory = V4L2_MEMORY_USERPTR;
  buffer.buffer.head.length = size;
  buffer.buffer.head.m.userptr = 16;  // not guest memory
  EXPECT_EQ(guest->ioctl<tag::QBUF>(*session, buffer).error().value, EFAULT);
  buffer.buffer.head.m.userptr = reinterpret_cast<unsigned long>(guest->user_memory().data());
  ASSERT_TRUE(ok(guest->ioctl<tag::QBUF>(*session, buffer)));
  EXPECT_EQ(buffer.buffer.head.m.userptr, reinterpret_cast<unsigned long>(guest->user_memory().data()));
  tag::BufferType type = capture;
  ASSERT_TRUE(ok(guest->ioctl<tag::STREAMON>(*session, type)));
  EXPECT_EQ(next_frame(*guest).head.bytesused, size);
  const auto memory = guest->user_memory().first(size);
  EXPECT_GT(std::set<std::byte>(memory.begin(), memory.end()).size(), 2u);
  EXPECT_EQ(guest->user_memory()[size], std::byte{0});
}

TEST(Guest, CarriesControlsAndTheirEvents) {
  DeviceThread<backends::TestPattern> device;
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  const auto session = guest->open();
  ASSERT_TRUE(ok(session));
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = V4L2_CID_BRIGHTNESS;
  subscription.flags = V4L2_EVENT_SUB_FL_SEND_INITIAL;
  ASSERT_TRUE(ok(guest->ioctl<tag::SUBSCRIBE_EVENT>(*session, subscription)));
  const auto event = guest->wait_event(vumedia::test::patience);
  ASSERT_TRUE(ok(event));
  ASSERT_TRUE(*event && std::holds_alternative<V4l2Event>(**event));
  EXPECT_EQ(std::get<V4l2Event>(**event).session, *session);
  EXPECT_EQ(std::get<V4l2Event>(**event).event.id, std::uint32_t{V4L2_CID_BRIGHTNESS});

  v4l2::ExtControls controls{};
  controls.controls.resize(1);
  controls.controls[0].id = V4L2_CID_BRIGHTNESS;
  controls.controls[0].value = 77;
  controls.head.count = 1;
  ASSERT_TRUE(ok(guest->ioctl<tag::S_EXT_CTRLS>(*session, controls)));
  controls.controls[0].value = 0;
  ASSERT_TRUE(ok(guest->ioctl<tag::G_EXT_CTRLS>(*session, controls)));
  EXPECT_EQ(controls.controls[0].value, 77);
  // A failure includes its index.
  controls.controls[0].id = V4L2_CID_BASE + 0xfff;
  controls.head.error_idx = 99;
  EXPECT_FALSE(guest->ioctl<tag::G_EXT_CTRLS>(*session, controls));
  EXPECT_LE(controls.head.error_idx, 1u);
}

// Including events that the device had put into the event queue before it read CLOSE.
TEST(Guest, KeepsNoEventsOfAClosedSession) {
  DeviceThread<backends::TestPattern> device;
  // A spinning guest does not look at events before it is asked to.
  const auto guest = device.guest({.spin = vumedia::test::patience});
  const std::uint32_t session = guest->open().value();
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = V4L2_CID_BRIGHTNESS;
  subscription.flags = V4L2_EVENT_SUB_FL_SEND_INITIAL;
  ASSERT_TRUE(guest->ioctl<tag::SUBSCRIBE_EVENT>(session, subscription));
  ASSERT_TRUE(guest->close(session));
  const auto event = guest->wait_event(0ms);
  ASSERT_TRUE(event);
  EXPECT_FALSE(*event);
}

TEST(Guest, TimesOutWithoutEvents) {
  DeviceThread<backends::Null> device;
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  const auto event = guest->wait_event(5ms);
  ASSERT_TRUE(ok(event));
  EXPECT_FALSE(*event);
}

TEST(Guest, StartsAnewAfterAReset) {
  DeviceThread<backends::TestPattern> device;
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  for (int round = 0; round < 3; ++round) {
    const auto stale = guest->open();
    ASSERT_TRUE(ok(stale));
    stream_mapped(*guest);
    const auto done = guest->reset();
    ASSERT_TRUE(done) << done.error().message;
    v4l2_format format{};
    format.type = capture;
    EXPECT_EQ(guest->ioctl<tag::G_FMT>(*stale, format).error().value, EINVAL);
  }
  stream_mapped(*guest);
}

TEST(Guest, SurvivesItsDevice) {
  DeviceThread<backends::Null> device;
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  device.kill();
  EXPECT_EQ(guest->open().error().value, EPIPE);
  EXPECT_EQ(guest->wait_event(vumedia::test::patience).error().value, EPIPE);
  EXPECT_EQ(guest->error().code, EPIPE);
}

TEST(Guest, SendsAnyBytes) {
  DeviceThread<backends::Null> device;
  const auto guest = device.guest();
  ASSERT_TRUE(guest);
  const std::uint32_t unknown[] = {99, 0};
  std::array<std::byte, 8> answer;
  const auto length = guest->command(std::as_bytes(std::span(unknown)), answer);
  ASSERT_TRUE(ok(length));
  EXPECT_EQ(*length, 8u);
  EXPECT_EQ(answer[0], static_cast<std::byte>(ENOTTY));
  EXPECT_TRUE(ok(guest->open()));
}

}  // namespace
}  // namespace vumedia::client::test
