// A frontend that truncates memory that vumedia-device has mapped in addition to its regions.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/media/wire.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "support/child_process.hpp"
#include "support/patience.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::device::test {
namespace {

using vumedia::test::ChildProcess;
using namespace std::chrono_literals;
namespace wire = media::wire;

// A guest whose rings and commands are in one file, and whose buffers are in another, which may shrink.
class TwoFileGuest {
 public:
  static constexpr std::uint64_t base = 0x1000'0000, pages_base = 0x2000'0000;
  static constexpr std::size_t size = 1 << 20, pages_size = 16 << 20;
  static constexpr std::size_t command_at = 0x10000, answer_at = 0x40000, event_at = 0x60000;

  explicit TwoFileGuest(vhost_user::Frontend connected)
      : file_(*make_sealed_memfd("rings", size)),
        pages_(::memfd_create("pages", MFD_CLOEXEC)),
        memory_(*Mapping::map(file_.get(), 0, size)),
        commands_(memory_.data(), {base}, 16, true),
        events_(memory_.data() + 0x4000, {base + 0x4000}, 16, true),
        frontend_(std::move(connected)) {
    EXPECT_EQ(::ftruncate(pages_.get(), pages_size), 0);
  }

  void start() {
    ASSERT_TRUE(frontend_.negotiate());
    const std::array<vhost_user::Frontend::Region, 2> regions{
        {{{base}, {base}, size, 0, file_.get()}, {{pages_base}, {pages_base}, pages_size, 0, pages_.get()}}};
    ASSERT_TRUE(frontend_.set_memory(regions));
    std::uint32_t index = 0;
    for (auto* const queue : {&commands_, &events_}) {
      ASSERT_TRUE(frontend_.set_vring_size(index, 16));
      ASSERT_TRUE(frontend_.set_vring_base(index, 0));
      ASSERT_TRUE(frontend_.set_vring_addresses(index, {queue->descriptors().value},
                                                {queue->available().value}, {queue->used().value}));
      ASSERT_TRUE(frontend_.set_vring_call(index, call_[index].get()));
      ASSERT_TRUE(frontend_.set_vring_kick(index, kick_[index].get()));
      ASSERT_TRUE(frontend_.enable_vring(index, true));
      ++index;
    }
  }

  // Sends one command and waits for its answer, of `room` bytes at most. Returns its status, or -1.
  int command(std::span<const std::byte> bytes, std::size_t room) {
    std::memcpy(memory_.data() + command_at, bytes.data(), bytes.size());
    const std::array<virtio::Piece, 2> pieces{
        {{{base + command_at}, static_cast<std::uint32_t>(bytes.size()), false},
         {{base + answer_at}, static_cast<std::uint32_t>(room), true}}};
    EXPECT_TRUE(commands_.add(pieces));
    static_cast<void>(commands_.publish());
    EXPECT_EQ(::eventfd_write(kick_[0].get(), 1), 0);
    while (true) {
      const auto used = commands_.pop_used();
      if (!used) return -1;
      if (*used) return answer<int>(0);
      if (commands_.enable_interrupts()) continue;
      pollfd state{call_[0].get(), POLLIN, 0};
      if (::poll(&state, 1, vumedia::test::poll_patience) != 1) return -1;
      eventfd_t count = 0;
      ::eventfd_read(call_[0].get(), &count);
    }
  }
  template <class Payload>
  int ioctl(unsigned long code, const Payload& payload, std::span<const std::byte> more = {}) {
    const wire::virtio_media_cmd_ioctl head{
        {wire::cmd_ioctl, 0}, session_, static_cast<std::uint32_t>(_IOC_NR(code))};
    std::vector<std::byte> bytes(sizeof head + sizeof payload + more.size());
    std::memcpy(bytes.data(), &head, sizeof head);
    std::memcpy(bytes.data() + sizeof head, &payload, sizeof payload);
    std::ranges::copy(more, bytes.begin() + sizeof head + sizeof payload);
    return command(bytes, sizeof(wire::virtio_media_resp_ioctl) + sizeof payload);
  }
  int open() {
    const wire::virtio_media_cmd_open open{{wire::cmd_open, 0}};
    const int status = command(std::as_bytes(std::span(&open, 1)), sizeof(wire::virtio_media_resp_open));
    session_ = answer<std::uint32_t>(sizeof(wire::virtio_media_resp_header));
    return status;
  }
  template <class Value>
  [[nodiscard]] Value answer(std::size_t offset) const {
    Value value;
    std::memcpy(&value, memory_.data() + answer_at + offset, sizeof value);
    return value;
  }

  void cut_off() { ASSERT_EQ(::ftruncate(pages_.get(), 0), 0); }
  // Whether the connection ends; requests are answered until then.
  bool is_dropped() {
    const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
    while (frontend_.get_status()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
    }
    return true;
  }

 private:
  OwnedFd file_, pages_;
  Mapping memory_;
  virtio::DriverQueue commands_, events_;
  std::array<OwnedFd, 2> kick_{*make_event_fd(), *make_event_fd()};
  std::array<OwnedFd, 2> call_{*make_event_fd(), *make_event_fd()};
  std::uint32_t session_ = 0;
  vhost_user::Frontend frontend_;
};

struct Range {
  std::uint64_t start;
  std::uint32_t length;
  std::uint32_t padding;
};

TEST(DeviceMemory, DropsTheFrontendThatCutsOffPagesSideBySide) {
  const vumedia::test::TemporaryFolder folder;
  ChildProcess device({VUMEDIA_BIN_DIR "/vumedia-device", "--backend", "test-pattern", "--socket-path",
                       folder.path("socket")});
  ASSERT_TRUE(device.wait_for_error_text("serving")) << device.error_output();
  auto frontend = vhost_user::Frontend::connect(folder.path("socket"));
  ASSERT_TRUE(frontend) << frontend.error().message;
  TwoFileGuest guest(std::move(*frontend));
  ASSERT_NO_FATAL_FAILURE(guest.start());
  ASSERT_EQ(guest.open(), 0);
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  ASSERT_EQ(guest.ioctl(VIDIOC_G_FMT, format), 0);
  format = guest.answer<v4l2_format>(sizeof(wire::virtio_media_resp_ioctl));
  v4l2_requestbuffers request{};
  request.count = 1;
  request.type = format.type;
  request.memory = V4L2_MEMORY_USERPTR;
  ASSERT_EQ(guest.ioctl(VIDIOC_REQBUFS, request), 0);

  // Every second page, so that no two are one piece.
  const auto pages = static_cast<std::uint32_t>((format.fmt.pix.sizeimage + page_size - 1) / page_size);
  ASSERT_LE(2 * pages * page_size, TwoFileGuest::pages_size);
  std::vector<Range> ranges;
  for (std::uint64_t page = 0; page < pages; ++page)
    ranges.push_back({TwoFileGuest::pages_base + 2 * page * page_size, page_size, 0});
  v4l2_buffer buffer{};
  buffer.type = format.type;
  buffer.memory = V4L2_MEMORY_USERPTR;
  buffer.m.userptr = 0x1000;
  buffer.length = pages * page_size;
  ASSERT_EQ(guest.ioctl(VIDIOC_QBUF, buffer, std::as_bytes(std::span(ranges))), 0);

  ASSERT_NO_FATAL_FAILURE(guest.cut_off());
  const int type = static_cast<int>(format.type);
  EXPECT_EQ(guest.ioctl(VIDIOC_STREAMON, type), 0);
  EXPECT_TRUE(guest.is_dropped()) << device.error_output();
  EXPECT_TRUE(device.wait_for_error_text("the frontend has truncated memory")) << device.error_output();
  device.signal(SIGTERM);
  EXPECT_EQ(device.wait(), 0);
}

}  // namespace
}  // namespace vumedia::device::test
