// What one turn of the loop does for a guest that asks for as much as it can: measured in mappings, bytes and
// freed memory, as the system sees them, not in time. And the order of commands while one takes several
// turns.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern.hpp>

#include "support/footprint.hpp"
#include "support/guest_ram.hpp"
#include "support/media_guest.hpp"
#include "support/patience.hpp"

namespace vumedia::media::test {
namespace {

namespace tag = v4l2::tag;
using memory::Work;
using vumedia::test::Bytes;
using vumedia::test::bytes_of;
using vumedia::test::bytes_of_arenas;
using vumedia::test::mappings_of_guest_ram;
using vumedia::test::RamFile;
using vumedia::test::Reply;

constexpr std::uint64_t guest_pages = 0x8000'0000;
constexpr std::uint64_t user_bytes = std::uint64_t{32} << 20;
// A turn for commands, and one for work that they have left.
constexpr std::int64_t both = 2 * Work::a_turn;

struct Listed {
  std::uint64_t start = 0;
  std::uint32_t length = 0;
  std::uint32_t reserved = 0;
};
using List = std::vector<Listed>;

class Turns : public testing::Test {
 protected:
  using Guest = vumedia::test::MediaGuest<backends::TestPattern>;

  explicit Turns(DeviceOptions options = {})
      : guest({.queue_size = 256, .memory_size = std::uint64_t{16} << 20}, options) {
    guest.host.more_memory = {&ram};
    guest.host.replace_memory();
    guest.lend_event_buffers(8);
    bystander = guest.open();
    id = guest.open();
    // The longest possible lines: 26 MB per picture.
    v4l2_format format{};
    format.type = type;
    format.fmt.pix.width = 1920;
    format.fmt.pix.height = 1080;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
    format.fmt.pix.bytesperline = 16384;
    EXPECT_EQ(guest.ioctl<tag::S_FMT>(id, format), 0);
    size = format.fmt.pix.sizeimage;
    EXPECT_EQ(size, 16384u * 1080 * 3 / 2);
  }

  int request(std::uint32_t count, std::uint32_t memory = V4L2_MEMORY_USERPTR) {
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = type;
    request.memory = memory;
    const int status = guest.ioctl<tag::REQBUFS>(id, request);
    granted = request.count;
    return status;
  }
  // Single pages, none of them next to the previous one.
  List scattered(std::uint64_t first = 0) const {
    List list;
    for (std::uint64_t done = 0, i = 0; done < size; done += page_size, ++i)
      list.push_back({guest_pages + (first + 2 * (i % 3000)) * page_size,
                      static_cast<std::uint32_t>(std::min<std::uint64_t>(page_size, size - done))});
    return list;
  }
  List odd() const { return {{guest_pages + 1, size - 100}, {guest_pages + size + 1, 100}}; }
  List one_piece() const { return {{guest_pages, size}}; }

  Bytes hand_over(std::uint32_t index, const List& list, std::uint32_t code = tag::QBUF::number) const {
    v4l2_buffer head{};
    head.index = index;
    head.type = type;
    head.memory = V4L2_MEMORY_USERPTR;
    head.length = size;
    head.m.userptr = 0x7000;
    Bytes bytes = Guest::ioctl_command(id, code);
    const Bytes tail = bytes_of(head);
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    const auto raw = std::as_bytes(std::span(list));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
    return bytes;
  }
  static constexpr std::size_t hand_over_room = 8 + sizeof(v4l2_buffer);
  std::uint16_t add_question(std::uint32_t session) {
    v4l2_format format{};
    format.type = type;
    return guest.add(Guest::ioctl_command<tag::G_FMT>(session, format), 8 + sizeof format);
  }
  Bytes stream_command(bool on) const {
    tag::BufferType value = type;
    return on ? Guest::ioctl_command<tag::STREAMON>(id, value)
              : Guest::ioctl_command<tag::STREAMOFF>(id, value);
  }
  // All replies that have come, in order.
  using Replies = std::vector<std::pair<std::uint16_t, int>>;
  Replies replies() {
    Replies all;
    while (const auto reply = guest.take_reply()) all.emplace_back(reply->first, reply->second.status());
    return all;
  }
  // Runs one turn of the loop after another until `done()`, for a limited time; calls `each()` after each.
  template <class Done, class Each>
  int run_turns(Done done, Each each) {
    int count = 0;
    const auto deadline = io::Clock::now() + vumedia::test::patience;
    bool finished = done();  // which may consume what it finds
    for (; !finished && io::Clock::now() < deadline; ++count) {
      guest.reactor->run_once(false);
      each();
      finished = done();
    }
    EXPECT_TRUE(finished);
    return count;
  }

  // Those that exist after the first turns, of which the first arrivals have their share.
  template <class Each>
  Replies first_replies(Each each) {
    Replies all;
    EXPECT_LE(run_turns(
                  [&] {
                    all = replies();
                    return !all.empty();
                  },
                  each),
              4)
        << "the reactor may take a round to find that the time has come";
    return all;
  }

  static constexpr std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  RamFile ram{guest_pages, user_bytes};
  Guest guest;
  std::uint32_t bystander = 0;
  std::uint32_t id = 0;
  std::uint32_t size = 0;
  std::uint32_t granted = 0;
};

// ---- Mappings

TEST_F(Turns, PagesAreMappedAFewATurnAndOthersAreServedMeanwhile) {
  ASSERT_EQ(request(2), 0);
  for (const std::uint32_t code :
       {std::uint32_t{tag::PREPARE_BUF::number}, std::uint32_t{tag::QBUF::number}}) {
    const std::uint32_t index = code == tag::QBUF::number ? 1 : 0;
    std::size_t before = mappings_of_guest_ram();
    const auto none = static_cast<std::ptrdiff_t>(before);
    const auto queued = guest.add(hand_over(index, scattered(index), code), hand_over_room);
    const auto asked = add_question(bystander);
    std::size_t most = 0;
    const auto count = [&] {
      const std::size_t now = mappings_of_guest_ram();
      most = std::max(most, now - before);
      before = now;
    };
    guest.device->process(wire::commandq);
    count();
    EXPECT_EQ(first_replies(count), (Replies{{asked, 0}}));
    Replies answers;
    const int turns = run_turns(
        [&] {
          for (const auto& reply : replies()) answers.push_back(reply);
          return !answers.empty();
        },
        count);
    EXPECT_EQ(answers, (Replies{{queued, 0}}));
    EXPECT_GT(static_cast<std::ptrdiff_t>(before) - none, 6000);
    EXPECT_LE(most, static_cast<std::size_t>(both / Work::mapping));
    EXPECT_GE(turns, 6000 / (both / Work::mapping));
    if (index == 0) {
      // There are mappings for only one of these. Unmapping them is bounded, too.
      ASSERT_EQ(request(2), 0);
      most = 0;
      const auto unmapped = [&] {
        const std::size_t now = mappings_of_guest_ram();
        most = std::max(most, before - now);
        before = now;
      };
      unmapped();
      run_turns([&] { return !guest.device->arenas().dirty(); }, unmapped);
      EXPECT_LE(static_cast<std::ptrdiff_t>(before), none + 1) << "the table's own is mapped by now";
      EXPECT_LE(most, static_cast<std::size_t>(both / Work::unmapped_page));
    }
  }
  // However the buffers end.
  std::size_t before = mappings_of_guest_ram();
  std::size_t most = 0;
  guest.close(id);
  const auto unmapped = [&] {
    const std::size_t now = mappings_of_guest_ram();
    most = std::max(most, before - now);
    before = now;
  };
  unmapped();
  EXPECT_GT(run_turns([&] { return !guest.device->arenas().dirty(); }, unmapped), 0);
  EXPECT_LE(before, 2u) << "the table's own";
  EXPECT_LE(most, static_cast<std::size_t>(both / Work::unmapped_page));
}

TEST_F(Turns, AResetUnmapsInTurns) {
  ASSERT_EQ(request(1), 0);
  guest.add(hand_over(0, scattered()), hand_over_room);
  guest.device->process(wire::commandq);
  ASSERT_TRUE(guest.wait_reply());
  std::size_t before = mappings_of_guest_ram();
  EXPECT_GT(before, 6000u);
  guest.host.reset(*guest.device);
  std::size_t most = 0;
  const auto unmapped = [&] {
    const std::size_t now = mappings_of_guest_ram();
    most = std::max(most, before - now);
    before = now;
  };
  unmapped();
  run_turns([&] { return !guest.device->arenas().dirty(); }, unmapped);
  EXPECT_LE(before, 2u);
  EXPECT_LE(most, static_cast<std::size_t>(both / Work::unmapped_page));
}

// The mappings of an unfinished QBUF are removed as well; and after the end of all nothing is left.
TEST_F(Turns, WhatIsUnderWayEndsWithItsDevice) {
  ASSERT_EQ(request(1), 0);
  guest.add(hand_over(0, scattered()), hand_over_room);
  guest.device->process(wire::commandq);
  for (int i = 0; i < 5; ++i) guest.reactor->run_once(true);
  EXPECT_GT(mappings_of_guest_ram(), 100u);
  guest.host.reset(*guest.device);
  EXPECT_TRUE(replies().empty());
  EXPECT_EQ(guest.device->in_flight(wire::commandq), 0u);
  id = guest.open();
  ASSERT_EQ(request(1), 0);
  guest.add(hand_over(0, scattered()), hand_over_room);
  guest.device->process(wire::commandq);
  guest.device.reset();
  run_turns([] { return mappings_of_guest_ram() <= 2; }, [] {});
}

// ---- Copies

TEST_F(Turns, FramesAreCopiedToTheGuestAFewBytesATurn) {
  ASSERT_EQ(request(2), 0);
  guest.add(hand_over(0, odd()), hand_over_room);
  guest.device->process(wire::commandq);
  ASSERT_EQ(guest.wait_reply()->status(), 0);
  std::memset(ram.data(), 0xa5, user_bytes);
  // What the camera has not painted is 0.
  const auto stored = [this] {
    const std::byte* const begin = ram.data() + 1;
    return static_cast<std::size_t>(
        std::partition_point(begin, begin + (size - 100),
                             [](std::byte byte) { return byte != std::byte{0xa5}; }) -
        begin);
  };
  EXPECT_EQ(stored(), 0u);
  tag::BufferType value = type;
  ASSERT_EQ(guest.ioctl<tag::STREAMON>(id, value), 0);
  std::size_t before = 0;
  std::size_t most = 0;
  std::optional<Reply> event;
  run_turns(
      [&] {
        event = guest.take_event();
        return event.has_value();
      },
      [&] {
        const std::size_t now = stored();
        most = std::max(most, now - before);
        before = now;
      });
  // A byte of the picture may be 0xa5, too.
  EXPECT_LE(most, static_cast<std::size_t>(both / Work::copied_byte) + (1u << 20));
  const auto dqbuf = event->as<wire::virtio_media_event_dqbuf>();
  EXPECT_EQ(dqbuf.buffer.bytesused, size);
  EXPECT_EQ(dqbuf.buffer.flags & V4L2_BUF_FLAG_ERROR, 0u);
  EXPECT_EQ(ram.data()[0], std::byte{0xa5});
  EXPECT_NE(ram.data()[size - 100], std::byte{0xa5});
  EXPECT_EQ(ram.data()[size - 99], std::byte{0xa5});
  EXPECT_NE(ram.data()[size + 100], std::byte{0xa5});
  EXPECT_EQ(ram.data()[size + 101], std::byte{0xa5});
}

// Nothing is stored in memory that was taken back.
TEST_F(Turns, AStopEndsACopy) {
  ASSERT_EQ(request(1), 0);
  guest.add(hand_over(0, odd()), hand_over_room);
  guest.device->process(wire::commandq);
  ASSERT_EQ(guest.wait_reply()->status(), 0);
  std::memset(ram.data(), 0xa5, user_bytes);
  tag::BufferType value = type;
  ASSERT_EQ(guest.ioctl<tag::STREAMON>(id, value), 0);
  run_turns([&] { return ram.data()[1] != std::byte{0xa5}; }, [] {});
  ASSERT_EQ(guest.ioctl<tag::STREAMOFF>(id, value), 0);
  EXPECT_EQ(ram.data()[size - 100], std::byte{0xa5}) << "it was under way";
  for (int i = 0; i < 200; ++i) guest.reactor->run_once(false);
  EXPECT_EQ(ram.data()[size - 100], std::byte{0xa5});
  EXPECT_FALSE(guest.take_event());
  guest.close(id);
}

// ---- Freed memory

class FreedMemory : public Turns {
 protected:
  FreedMemory() : Turns({.max_buffer_bytes = std::uint64_t{160} << 20}) {}
  // Maps and fills `count` buffers; `keep` of them stay mapped, the last one at `kept`.
  void fill(std::uint32_t count, std::uint32_t keep = 0) {
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto mapped = guest.mmap(id, i * VIDEO_MAX_PLANES * static_cast<std::uint32_t>(page_size));
      ASSERT_EQ(mapped.hdr.status, 0u);
      std::memset(guest.host.frontend.at(mapped.driver_addr, size), 0x5a, size);
      kept = mapped.driver_addr;
      if (i + keep < count) {
        ASSERT_EQ(guest.munmap(mapped.driver_addr), 0);
      }
    }
  }
  std::uint64_t kept = 0;
};

TEST_F(FreedMemory, IsClearedAFewPagesATurnAndMayBeWaitedFor) {
  ASSERT_EQ(request(5, V4L2_MEMORY_MMAP), 0);
  ASSERT_EQ(granted, 5u);
  fill(5);
  EXPECT_GE(bytes_of_arenas(), std::uint64_t{5} * size);
  std::uint64_t before = bytes_of_arenas();
  std::uint64_t most = 0;
  const auto freed = [&] {
    const std::uint64_t now = bytes_of_arenas();
    most = std::max(most, before - std::min(before, now));
    before = now;
  };
  // The budget has no room for as many more before the old ones are clean.
  v4l2_requestbuffers again{};
  again.count = 5;
  again.type = type;
  again.memory = V4L2_MEMORY_MMAP;
  const auto requested = guest.add(Guest::ioctl_command<tag::REQBUFS>(id, again), 8 + sizeof again);
  const auto asked = add_question(bystander);
  guest.device->process(wire::commandq);
  freed();
  EXPECT_EQ(first_replies(freed), (Replies{{asked, 0}}));
  std::optional<std::pair<std::uint16_t, Reply>> answer;
  run_turns(
      [&] {
        answer = guest.take_reply();
        return answer.has_value();
      },
      freed);
  EXPECT_EQ(answer->first, requested);
  EXPECT_EQ(answer->second.status(), 0);
  EXPECT_EQ(answer->second.as<v4l2_requestbuffers>(8).count, 5u);
  // The last holder releases it: a close, then an unmapping.
  fill(5, 1);
  guest.close(id);
  freed();
  run_turns([&] { return !guest.device->arenas().dirty(); }, freed);
  EXPECT_GE(before, size);
  EXPECT_EQ(guest.munmap(kept), 0);
  freed();
  EXPECT_GT(run_turns([&] { return !guest.device->arenas().dirty(); }, freed), 0);
  EXPECT_LE(most, static_cast<std::uint64_t>(both / Work::cleared_page) * page_size);
  EXPECT_EQ(bytes_of_arenas(), 0u);
  EXPECT_EQ(guest.device->arenas().used_bytes(), 0u);
}

// ---- Order

class Order : public Turns {
 protected:
  explicit Order(DeviceOptions options = {}) : Turns(options) { EXPECT_EQ(request(3), 0); }
  Replies all_replies(std::size_t count) {
    Replies all;
    run_turns(
        [&] {
          for (const auto& reply : replies()) all.push_back(reply);
          return all.size() >= count;
        },
        [] {});
    return all;
  }
};

TEST_F(Order, CommandsOfASessionDoNotOvertakeItsQbuf) {
  const auto slow = guest.add(hand_over(1, scattered()), hand_over_room);
  const auto quick = guest.add(hand_over(0, one_piece()), hand_over_room);
  const auto twice = guest.add(hand_over(1, scattered()), hand_over_room);
  const auto on = guest.add(stream_command(true), 8);
  const auto others = add_question(bystander);
  guest.device->process(wire::commandq);
  EXPECT_EQ(first_replies([] {}), (Replies{{others, 0}}));
  EXPECT_EQ(guest.device->in_flight(wire::commandq), 4u);
  EXPECT_EQ(all_replies(4), (Replies{{slow, 0}, {quick, 0}, {twice, EINVAL}, {on, 0}}));
  EXPECT_EQ(guest.device->in_flight(wire::commandq), 0u);
  // The one that was queued first is filled first.
  for (const std::uint32_t index : {1u, 0u}) {
    const auto event = guest.wait_event();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->as<wire::virtio_media_event_dqbuf>().buffer.index, index);
  }
}

TEST_F(Order, AStopAndAnAllocationWaitForAQbuf) {
  const auto on = guest.add(stream_command(true), 8);
  const auto slow = guest.add(hand_over(1, scattered()), hand_over_room);
  const auto off = guest.add(stream_command(false), 8);
  v4l2_requestbuffers none{};
  none.type = type;
  none.memory = V4L2_MEMORY_USERPTR;
  const auto freed = guest.add(Guest::ioctl_command<tag::REQBUFS>(id, none), 8 + sizeof none);
  const auto gone = guest.add(hand_over(1, scattered()), hand_over_room);
  const auto mapped = guest.add(Guest::mmap_command(id, 0), 24);
  guest.device->process(wire::commandq);
  EXPECT_EQ(all_replies(6),
            (Replies{{on, 0}, {slow, 0}, {off, 0}, {freed, 0}, {gone, EINVAL}, {mapped, EINVAL}}));
  EXPECT_FALSE(guest.take_event());
}

// A frontend's new table does not change the place of a buffer that is being queued.
TEST_F(Order, TheMemoryIsThatOfTheTimeItWasQueued) {
  const auto slow = guest.add(hand_over(0, scattered()), hand_over_room);
  const auto behind = guest.add(hand_over(1, one_piece()), hand_over_room);
  guest.device->process(wire::commandq);
  EXPECT_TRUE(replies().empty());
  const RamFile other(guest_pages, user_bytes);
  guest.host.more_memory = {&other};
  guest.host.replace_memory();
  EXPECT_EQ(all_replies(2), (Replies{{slow, 0}, {behind, 0}}));
  std::memset(ram.data(), 0, user_bytes);
  std::memset(other.data(), 0, user_bytes);
  tag::BufferType value = type;
  ASSERT_EQ(guest.ioctl<tag::STREAMON>(id, value), 0);
  ASSERT_TRUE(guest.wait_event());
  EXPECT_NE(ram.data()[0], std::byte{0});
  ASSERT_TRUE(guest.wait_event());
  EXPECT_NE(other.data()[0], std::byte{0}) << "this one had not begun";
  guest.close(id);
  guest.host.more_memory = {&ram};
  guest.host.replace_memory();
}

TEST_F(Order, ACloseEndsWhatIsUnderWay) {
  const auto slow = guest.add(hand_over(1, scattered()), hand_over_room);
  const auto behind = guest.add(stream_command(true), 8);
  const auto closed = guest.add(Guest::close_command(id), 0);
  guest.device->process(wire::commandq);
  const auto all = all_replies(3);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_TRUE(std::ranges::find(all, std::pair(slow, EIO)) != all.end());
  EXPECT_TRUE(std::ranges::find(all, std::pair(behind, EINVAL)) != all.end());
  EXPECT_TRUE(std::ranges::find(all, std::pair(closed, -1)) != all.end());
  run_turns([&] { return !guest.device->arenas().dirty(); }, [] {});
  EXPECT_LE(mappings_of_guest_ram(), 2u);
  EXPECT_EQ(guest.device->arenas().budget()->used(), 0u);
  EXPECT_EQ(guest.device->in_flight(wire::commandq), 0u);
}

TEST_F(Order, NoMoreWaitThanThereIsRoomFor) {
  guest.add(hand_over(1, scattered()), hand_over_room);
  guest.device->process(wire::commandq);
  std::size_t refused = 0;
  for (int i = 0; i < 20; ++i) {
    for (int k = 0; k < 5; ++k) {
      add_question(id);
      ++refused;
    }
    // No turn except that of the commands.
    guest.device->process(wire::commandq);
  }
  const auto all = all_replies(1 + refused);
  const auto with = [&all](int status) {
    return std::ranges::count(all, status, [](const auto& one) { return one.second; });
  };
  // It is one of those that are kept.
  EXPECT_EQ(with(0), 64);
  EXPECT_EQ(with(EBUSY), static_cast<std::ptrdiff_t>(refused) - 63);
}

class Hurry : public Order {
 protected:
  Hurry() : Order({.command_timeout = std::chrono::milliseconds(0)}) {}
};

// A driver that gave up must not be answered; later commands are served.
TEST_F(Hurry, WhatTakesTooLongIsEnded) {
  const auto slow = guest.add(hand_over(1, scattered()), hand_over_room);
  guest.device->process(wire::commandq);
  EXPECT_EQ(all_replies(1), (Replies{{slow, ETIMEDOUT}}));
  EXPECT_EQ(guest.device->in_flight(wire::commandq), 0u);
  // The next one is not affected.
  const auto quick = guest.add(hand_over(1, one_piece()), hand_over_room);
  guest.device->process(wire::commandq);
  EXPECT_EQ(replies(), (Replies{{quick, 0}}));
  guest.close(id);
  run_turns([&] { return !guest.device->arenas().dirty(); }, [] {});
  EXPECT_LE(mappings_of_guest_ram(), 2u);
  EXPECT_EQ(guest.device->arenas().budget()->used(), 0u);
}

// ---- Chains

// A chain may have as many descriptors as its queue: with a large one, fewer are served in a turn.
TEST(TurnsOfLargeQueues, TakeFewerCommands) {
  for (const auto& [queue_size, commands] : {std::pair{std::uint16_t{64}, 16}, {std::uint16_t{4096}, 4}}) {
    vumedia::test::MediaGuest<backends::TestPattern> guest(
        {.queue_size = queue_size, .memory_size = std::uint64_t{4} << 20}, {});
    const std::uint32_t id = guest.open();
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    for (int i = 0; i < 20; ++i)
      guest.add(vumedia::test::MediaGuest<backends::TestPattern>::ioctl_command<tag::G_FMT>(id, format),
                8 + sizeof format);
    guest.device->process(wire::commandq);
    int answered = 0;
    while (guest.take_reply()) ++answered;
    EXPECT_EQ(answered, commands);
  }
}

}  // namespace
}  // namespace vumedia::media::test
