// Several devices on one loop share its turns; and what a device leaves when it ends is freed in turns as
// well. Counted in mappings and memory of files, as the system sees them.
#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/vhost_user/session_host.hpp>

#include "support/footprint.hpp"
#include "support/guest_ram.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test::shared_turns {
namespace {

namespace tag = v4l2::tag;
using memory::Work;
using vumedia::test::Bytes;
using vumedia::test::bytes_of;
using vumedia::test::bytes_of_arenas;
using vumedia::test::mappings_of_guest_ram;
using vumedia::test::RamFile;

constexpr std::uint64_t guest_pages = 0x8000'0000;
constexpr std::int64_t both = 2 * Work::a_turn;
constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;

using LoopHost = vumedia::test::SharedLoopHost<io::UringReactor>;
static_assert(requires(vhost_user::SessionHost<io::UringReactor>& host) {
  { host.turn() } -> std::same_as<io::Turn&>;
});

using Guest = vumedia::test::MediaGuest<backends::TestPattern, LoopHost>;

std::shared_ptr<io::UringReactor> make_loop() {
  auto made = io::UringReactor::create();
  if (!made) std::abort();
  return std::move(*made);
}

// A camera whose buffers are large, and its driver.
struct Camera {
  explicit Camera(const std::shared_ptr<io::UringReactor>& loop, std::uint32_t width = 1920)
      : guest(loop, {.queue_size = 256, .memory_size = std::uint64_t{8} << 20}, DeviceOptions{}) {
    guest.host.more_memory = {&ram};
    guest.host.replace_memory();
    id = guest.open();
    v4l2_format format{};
    format.type = capture;
    format.fmt.pix.width = width;
    format.fmt.pix.height = width * 9 / 16;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
    EXPECT_EQ(guest.ioctl<tag::S_FMT>(id, format), 0);
    size = format.fmt.pix.sizeimage;
  }
  void request(std::uint32_t count, std::uint32_t memory) {
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = capture;
    request.memory = memory;
    ASSERT_EQ(guest.ioctl<tag::REQBUFS>(id, request), 0);
    ASSERT_EQ(request.count, count);
  }
  // Single pages, none next to the one before. Not served yet.
  void queue(std::uint32_t index) {
    v4l2_buffer head{};
    head.index = index;
    head.type = capture;
    head.memory = V4L2_MEMORY_USERPTR;
    head.length = size;
    head.m.userptr = 0x7000;
    Bytes bytes = Guest::ioctl_command(id, tag::QBUF::number);
    const Bytes tail = bytes_of(head);
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    for (std::uint64_t done = 0, i = 0; done < size; done += page_size, ++i) {
      const std::uint64_t page = index + 2 * (i % 1000);
      const Bytes range =
          bytes_of(guest_pages + page * page_size,
                   static_cast<std::uint32_t>(std::min<std::uint64_t>(page_size, size - done)), 0U);
      bytes.insert(bytes.end(), range.begin(), range.end());
    }
    guest.add(bytes, 8 + sizeof head);
  }

  RamFile ram{guest_pages, std::uint64_t{8} << 20};
  Guest guest;
  std::uint32_t id = 0;
  std::uint32_t size = 0;
};

template <class Done, class Each>
int run_turns(io::UringReactor& loop, Done done, Each each) {
  int count = 0;
  const auto deadline = io::Clock::now() + std::chrono::seconds(60);
  bool finished = done();
  for (; !finished && io::Clock::now() < deadline; ++count) {
    loop.run_once(false);
    each();
    finished = done();
  }
  EXPECT_TRUE(finished);
  return count;
}

TEST(SharedTurns, SeveralDevicesSpendNoMoreThanOne) {
  const auto loop = make_loop();
  constexpr std::size_t count = 6;
  std::vector<std::unique_ptr<Camera>> cameras;
  for (std::size_t i = 0; i < count; ++i) {
    cameras.push_back(std::make_unique<Camera>(loop));
    cameras.back()->request(2, V4L2_MEMORY_USERPTR);
    cameras.back()->queue(0);
    cameras.back()->queue(1);
  }
  loop->run_once(false);
  const std::size_t none = mappings_of_guest_ram();
  std::size_t before = none;
  std::size_t most = 0;
  const auto mapped = [&] {
    const std::size_t now = mappings_of_guest_ram();
    most = std::max(most, now - std::min(before, now));
    before = now;
  };
  // All are kicked in the same turn; each maps its table first.
  for (const auto& camera : cameras) camera->guest.device->process(wire::commandq);
  mapped();
  std::vector<std::size_t> answered(count);
  std::size_t all = 0;
  std::size_t first_done = 0;
  const int turns = run_turns(
      *loop,
      [&] {
        for (std::size_t i = 0; i < count; ++i) {
          while (const auto reply = cameras[i]->guest.take_reply()) {
            EXPECT_EQ(reply->second.status(), 0);
            ++answered[i];
            if (++all == 1) first_done = before - none;
          }
        }
        return all == 2 * count;
      },
      mapped);
  const std::size_t pieces = (cameras[0]->size + page_size - 1) / page_size;
  EXPECT_GE(before - none, 2 * count * pieces);
  EXPECT_LE(most, static_cast<std::size_t>(both / Work::mapping) + 2 * count);
  EXPECT_GE(turns, static_cast<int>(2 * count * pieces / static_cast<std::size_t>(both / Work::mapping)));
  // Each has its part: when the first one is served, the others are nearly as far.
  EXPECT_GE(first_done, count * pieces / 2);
}

// What a device has left to be freed, others are not kept waiting for.
TEST(EndedDevices, AreUnmappedAndClearedAFewPagesATurn) {
  const auto loop = make_loop();
  auto ended = std::make_unique<Camera>(loop);
  auto other = std::make_unique<Camera>(loop, 640);
  ended->request(2, V4L2_MEMORY_USERPTR);
  const std::size_t none = mappings_of_guest_ram();
  ended->queue(0);
  ended->queue(1);
  ended->guest.device->process(wire::commandq);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(ended->guest.wait_reply());
  EXPECT_GT(mappings_of_guest_ram(), none + 1000);
  std::size_t before = mappings_of_guest_ram();
  std::size_t most = 0;
  const auto unmapped = [&] {
    const std::size_t now = mappings_of_guest_ram();
    most = std::max(most, before - std::min(before, now));
    before = now;
  };
  ended->guest.device.reset();
  unmapped();
  v4l2_format format{};
  format.type = capture;
  EXPECT_EQ(other->guest.ioctl<tag::G_FMT>(other->id, format), 0);
  EXPECT_GT(mappings_of_guest_ram(), none + 500) << "the other one is served first";
  EXPECT_GT(run_turns(*loop, [&] { return mappings_of_guest_ram() <= none + 1; }, unmapped), 0);
  EXPECT_LE(most, static_cast<std::size_t>(both / Work::unmapped_page) + 1);
  // The same of memory.
  other->request(30, V4L2_MEMORY_MMAP);
  for (std::uint32_t i = 0; i < 30; ++i) {
    const auto mapped =
        other->guest.mmap(other->id, i * VIDEO_MAX_PLANES * static_cast<std::uint32_t>(page_size));
    ASSERT_EQ(mapped.hdr.status, 0u);
    std::memset(other->guest.host.frontend.at(mapped.driver_addr, other->size), 0x5a, other->size);
  }
  std::uint64_t taken = bytes_of_arenas();
  EXPECT_GE(taken, std::uint64_t{30} * other->size);
  std::uint64_t most_bytes = 0;
  const auto freed = [&] {
    const std::uint64_t now = bytes_of_arenas();
    most_bytes = std::max(most_bytes, taken - std::min(taken, now));
    taken = now;
  };
  other->guest.device.reset();
  freed();
  EXPECT_GT(run_turns(*loop, [&] { return bytes_of_arenas() == 0; }, freed), 0);
  EXPECT_LE(most_bytes, static_cast<std::uint64_t>(both / Work::cleared_page) * page_size);
  EXPECT_EQ(loop->turn().waiting, 0u);
}

TEST(EndedDevices, LeaveNothingWhenTheirLoopEnds) {
  const std::size_t none = mappings_of_guest_ram();
  {
    auto camera = std::make_unique<Camera>(make_loop());
    camera->request(2, V4L2_MEMORY_USERPTR);
    camera->queue(0);
    camera->guest.device->process(wire::commandq);
    ASSERT_TRUE(camera->guest.wait_reply());
    EXPECT_GT(mappings_of_guest_ram(), none + 500);
  }
  EXPECT_EQ(mappings_of_guest_ram(), none);
  EXPECT_EQ(bytes_of_arenas(), 0u);
}

}  // namespace
}  // namespace vumedia::media::test::shared_turns
