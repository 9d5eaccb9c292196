// Lists of guest ranges as long as a command may have: they are read a part a turn, others are served
// meanwhile, and what is wrong with them is found all the same.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "support/media_guest.hpp"

namespace vumedia::media::test::long_lists {
namespace {

namespace tag = v4l2::tag;
using memory::Work;
using vumedia::test::Bytes;
using vumedia::test::bytes_of;

constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;
constexpr std::uint32_t bytes_a_range = 64;

struct Listed {
  std::uint64_t start = 0;
  std::uint32_t length = 0;
  std::uint32_t reserved = 0;
};
using List = std::vector<Listed>;

// Keeps the lists that it is given, at once or by an answer that is owed.
template <bool deferred>
struct Reader {
  struct Session {};
  Config config() const { return {}; }
  Result<std::unique_ptr<Session>> open(media::Context) { return std::make_unique<Session>(); }
  Result<> ioctl(Session&, tag::G_FMT, v4l2_format&) { return {}; }
  Result<> ioctl(Session&, tag::QBUF, v4l2::BufferPayload& payload)
    requires(!deferred)
  {
    return take(payload.ranges[0]);
  }
  void ioctl(Session&, tag::QBUF, v4l2::BufferPayload& payload, Completion completion)
    requires deferred
  {
    completion.complete(take(payload.ranges[0]));
  }
  // Its own ranges are those of its only control.
  Result<> ioctl(Session&, tag::S_EXT_CTRLS, v4l2::ExtControls& request) {
    return take(request.ranges[request.ranges.size() - 1]);
  }
  Result<> take(std::span<const v4l2::GuestRange> ranges) {
    ++calls;
    taken.assign(ranges.begin(), ranges.end());
    return {};
  }
  int calls = 0;
  std::vector<v4l2::GuestRange> taken;
};

using Replies = std::vector<std::pair<std::uint16_t, int>>;

// Whose device does no more in a call than a turn's commands; the rest is the loop's.
using LoopHost = vumedia::test::SharedLoopHost<io::UringReactor>;

template <class Backend>
class LongLists : public testing::Test {
 protected:
  using Guest = vumedia::test::MediaGuest<Backend, LoopHost>;

  LongLists() {
    id = guest.open();
    bystander = guest.open();
  }

  static List list(std::size_t count) {
    List ranges;
    for (std::size_t i = 0; i < count; ++i)
      ranges.push_back({0x1000 + i * 2 * bytes_a_range, bytes_a_range, 0xffff'ffff});
    return ranges;
  }
  std::uint16_t hand_over(const List& ranges, std::uint32_t length,
                          std::size_t room = 8 + sizeof(v4l2_buffer)) {
    v4l2_buffer head{};
    head.type = capture;
    head.memory = V4L2_MEMORY_USERPTR;
    head.length = length;
    head.m.userptr = 0x7000;
    return add(tag::QBUF::number, bytes_of(head), ranges, room);
  }
  std::uint16_t set_controls(std::size_t count, const List& ranges) {
    v4l2_ext_controls head{};
    head.count = static_cast<std::uint32_t>(count);
    Bytes bytes = bytes_of(head);
    for (std::size_t i = 0; i < count; ++i) {
      v4l2_ext_control control{};
      control.id = static_cast<std::uint32_t>(i);
      if (i + 1 == count) control.size = static_cast<std::uint32_t>(ranges.size() * bytes_a_range);
      const Bytes one = bytes_of(control);
      bytes.insert(bytes.end(), one.begin(), one.end());
    }
    return add(tag::S_EXT_CTRLS::number, bytes, ranges, 8 + bytes.size());
  }
  std::uint16_t ask_format(std::uint32_t session) {
    v4l2_format format{};
    format.type = capture;
    return guest.add(Guest::template ioctl_command<tag::G_FMT>(session, format), 8 + sizeof format);
  }

  // Until so many have come, in turns of which none spends more than it has, but for what cannot be divided.
  Replies replies(std::size_t count) {
    Replies all;
    const auto take = [&] {
      EXPECT_GE(guest.device->work().left(),
                -(256 * Work::read_range + 1024 * Work::control + Work::command));
      while (const auto reply = guest.take_reply()) all.emplace_back(reply->first, reply->second.status());
    };
    guest.device->process(wire::commandq);
    take();
    const auto deadline = io::Clock::now() + std::chrono::seconds(60);
    for (turns = 1; all.size() < count && io::Clock::now() < deadline; ++turns) {
      guest.reactor->run_once(false);
      take();
    }
    return all;
  }
  std::size_t used() { return guest.device->arenas().budget()->used(); }
  void clean() {
    for (int i = 0; i < 1000 && guest.device->arenas().dirty(); ++i) guest.reactor->run_once(false);
  }
  void expect_all(const List& ranges) {
    const auto& taken = guest.backend().taken;
    ASSERT_EQ(taken.size(), ranges.size());
    for (std::size_t i = 0; i < ranges.size(); ++i)
      ASSERT_EQ(taken[i], (v4l2::GuestRange{{ranges[i].start}, ranges[i].length})) << i;
  }

  Guest guest{{.queue_size = 256, .memory_size = std::uint64_t{32} << 20}, {}};
  std::uint32_t id = 0;
  std::uint32_t bystander = 0;
  int turns = 0;

 private:
  std::uint16_t add(std::uint32_t code, const Bytes& structs, const List& ranges, std::size_t room) {
    Bytes bytes = Guest::ioctl_command(id, code);
    bytes.insert(bytes.end(), structs.begin(), structs.end());
    const auto raw = std::as_bytes(std::span(ranges));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
    return guest.add(bytes, room);
  }
};

using Shapes = testing::Types<Reader<false>, Reader<true>>;
TYPED_TEST_SUITE(LongLists, Shapes);

TYPED_TEST(LongLists, AreReadAFewRangesATurn) {
  const List ranges = this->list(v4l2::max_guest_ranges);
  const auto slow = this->hand_over(ranges, v4l2::max_guest_ranges * bytes_a_range);
  const auto behind = this->ask_format(this->id);
  const auto asked = this->ask_format(this->bystander);
  const auto all = this->replies(3);
  EXPECT_EQ(all.front(), std::pair(asked, 0));
  // What is handed over is answered when its backend likes.
  for (const auto head : {slow, behind}) EXPECT_NE(std::ranges::find(all, std::pair(head, 0)), all.end());
  EXPECT_EQ(this->guest.backend().calls, 1);
  this->expect_all(ranges);
  EXPECT_GE(this->turns, static_cast<int>(v4l2::max_guest_ranges * Work::read_range / (2 * Work::a_turn)));
  EXPECT_EQ(this->guest.device->in_flight(wire::commandq), 0u);
  this->clean();
  EXPECT_EQ(this->used(), 0u);
}

TYPED_TEST(LongLists, BehindControlsAsWell) {
  const List ranges = this->list(60000);
  const auto slow = this->set_controls(V4L2_CID_MAX_CTRLS, ranges);
  const auto asked = this->ask_format(this->bystander);
  EXPECT_EQ(this->replies(2), (Replies{{asked, 0}, {slow, 0}}));
  this->expect_all(ranges);
}

TYPED_TEST(LongLists, AreRefusedWhereverTheyAreWrong) {
  List ranges = this->list(v4l2::max_guest_ranges);
  constexpr std::uint32_t whole = v4l2::max_guest_ranges * bytes_a_range;
  auto head = this->hand_over(ranges, whole + 1);
  EXPECT_EQ(this->replies(1), (Replies{{head, EINVAL}})) << "it ends before it has covered the buffer";
  head = this->hand_over(ranges, whole, 8 + sizeof(v4l2_buffer) - 1);
  EXPECT_EQ(this->replies(1), (Replies{{head, EINVAL}})) << "there is no room for the answer";
  ranges.back().length = 0;
  head = this->hand_over(ranges, whole);
  EXPECT_EQ(this->replies(1), (Replies{{head, EINVAL}}));
  ranges.back() = {~std::uint64_t{0} - 1, bytes_a_range, 0};
  head = this->hand_over(ranges, whole);
  EXPECT_EQ(this->replies(1), (Replies{{head, EINVAL}}));
  ranges.back() = {0x1000, bytes_a_range, 0};
  ranges.push_back({0x1000, bytes_a_range, 0});
  head = this->hand_over(ranges, whole + bytes_a_range);
  EXPECT_EQ(this->replies(1), (Replies{{head, E2BIG}}));
  EXPECT_EQ(this->guest.backend().calls, 0);
  EXPECT_EQ(this->guest.device->in_flight(wire::commandq), 0u);
  this->clean();
  EXPECT_EQ(this->used(), 0u);
  // The session goes on.
  head = this->hand_over(this->list(1), bytes_a_range);
  EXPECT_EQ(this->replies(1), (Replies{{head, 0}}));
}

// The chain is read once: what the guest does to what has been read changes nothing, and a reset or a close
// in the midst of it leaves nothing.
TYPED_TEST(LongLists, EndWithTheirSession) {
  const List ranges = this->list(v4l2::max_guest_ranges);
  const auto slow = this->hand_over(ranges, v4l2::max_guest_ranges * bytes_a_range);
  const auto closed = this->guest.add(TestFixture::Guest::close_command(this->id), 0);
  EXPECT_EQ(this->replies(2), (Replies{{slow, EIO}, {closed, -1}}));
  this->clean();
  EXPECT_EQ(this->used(), 0u);
  this->id = this->guest.open();
  this->hand_over(ranges, v4l2::max_guest_ranges * bytes_a_range);
  this->guest.device->process(wire::commandq);
  EXPECT_EQ(this->guest.device->in_flight(wire::commandq), 1u);
  EXPECT_NE(this->used(), 0u);
  this->guest.host.reset(*this->guest.device);
  EXPECT_EQ(this->guest.device->in_flight(wire::commandq), 0u);
  this->clean();
  EXPECT_EQ(this->used(), 0u);
  EXPECT_EQ(this->guest.backend().calls, 0);
}

}  // namespace
}  // namespace vumedia::media::test::long_lists
