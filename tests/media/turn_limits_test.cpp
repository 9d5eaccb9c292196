// The worst that each command may ask of one turn of the loop, counted in what it does: events, ranges that
// are read, buffers and chains that are tried, memory that is freed; and that none of it is lost.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>
#include <sys/stat.h>

#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/media/statistics.hpp>

#include "support/guest_ram.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test::turn_limits {
namespace {

namespace tag = v4l2::tag;
using memory::Work;
using vumedia::test::Bytes;
using vumedia::test::bytes_of;
using vumedia::test::RamFile;
using vumedia::test::Reply;

// A turn of commands, and one of what they have left to be done.
constexpr std::int64_t both = 2 * Work::a_turn;
constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;

// Turns of the loop until `done()`, for some time at most; `each()` after each.
template <class Guest, class Done, class Each>
int run_turns(Guest& guest, Done done, Each each) {
  int count = 0;
  const auto deadline = io::Clock::now() + std::chrono::seconds(60);
  bool finished = done();
  for (; !finished && io::Clock::now() < deadline; ++count) {
    guest.reactor->run_once(false);
    each();
    finished = done();
  }
  EXPECT_TRUE(finished);
  return count;
}

using Replies = std::vector<std::pair<std::uint16_t, int>>;
template <class Guest>
void take_replies(Guest& guest, Replies& all) {
  while (const auto reply = guest.take_reply()) all.emplace_back(reply->first, reply->second.status());
}
template <class Guest>
std::uint16_t ask_format(Guest& guest, std::uint32_t session) {
  v4l2_format format{};
  format.type = capture;
  return guest.add(Guest::template ioctl_command<tag::G_FMT>(session, format), 8 + sizeof format);
}

Bytes controls_command(std::uint32_t session, std::uint32_t code,
                       const std::vector<v4l2_ext_control>& controls) {
  Bytes bytes = vumedia::test::MediaGuest<backends::TestPattern>::ioctl_command(session, code);
  v4l2_ext_controls head{};
  head.which = V4L2_CTRL_WHICH_CUR_VAL;
  head.count = static_cast<std::uint32_t>(controls.size());
  const Bytes tail = bytes_of(head);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  const auto raw = std::as_bytes(std::span(controls));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
  return bytes;
}
std::size_t controls_room(std::size_t count) {
  return 8 + sizeof(v4l2_ext_controls) + count * sizeof(v4l2_ext_control);
}

// ---- Events of controls

class ControlEvents : public testing::Test {
 protected:
  using Camera = Counted<backends::TestPattern>;
  using Guest = vumedia::test::MediaGuest<Camera>;

  explicit ControlEvents(DeviceOptions options = {})
      : guest({.queue_size = 4096, .memory_size = std::uint64_t{32} << 20}, options, statistics) {}

  std::uint32_t listen() {
    const std::uint32_t id = guest.open();
    v4l2_event_subscription subscription{};
    subscription.type = V4L2_EVENT_CTRL;
    subscription.id = V4L2_CID_BRIGHTNESS;
    EXPECT_EQ(guest.ioctl<tag::SUBSCRIBE_EVENT>(id, subscription), 0);
    return id;
  }
  // As many changes of one control as a request may have.
  static std::vector<v4l2_ext_control> changes() {
    std::vector<v4l2_ext_control> all(V4L2_CID_MAX_CTRLS);
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].id = V4L2_CID_BRIGHTNESS;
      all[i].value = i % 2 == 0 ? 10 : 20;
    }
    return all;
  }
  std::uint64_t events() const {
    return statistics.events[wire::event_event].get() + statistics.events_waited.get();
  }

  Statistics statistics;
  Guest guest;
};

TEST_F(ControlEvents, AreSentAFewATurnAndOthersAreServedMeanwhile) {
  constexpr std::uint32_t listeners = 200;
  for (std::uint32_t i = 0; i < listeners; ++i) listen();
  const std::uint32_t setter = guest.open();
  const std::uint32_t bystander = guest.open();
  std::uint64_t before = events();
  const std::uint64_t none = before;
  std::uint64_t most = 0;
  const auto count = [&] {
    most = std::max(most, events() - before);
    before = events();
  };
  const auto slow = guest.add(controls_command(setter, tag::S_EXT_CTRLS::number, changes()),
                              controls_room(V4L2_CID_MAX_CTRLS));
  const auto asked = ask_format(guest, bystander);
  guest.device->process(wire::commandq);
  count();
  Replies all;
  run_turns(
      guest,
      [&] {
        take_replies(guest, all);
        return !all.empty();
      },
      count);
  EXPECT_EQ(all, (Replies{{asked, 0}}));
  run_turns(
      guest,
      [&] {
        take_replies(guest, all);
        return all.size() >= 2;
      },
      count);
  EXPECT_EQ(all, (Replies{{asked, 0}, {slow, 0}}));
  EXPECT_EQ(events() - none, std::uint64_t{V4L2_CID_MAX_CTRLS} * listeners);
  // One control may be told to all when the turn is over.
  EXPECT_LE(most, static_cast<std::uint64_t>(both / Work::event) + 2 * listeners);
  // No event buffer was there: each has one event that waits, which tells of the last change.
  EXPECT_EQ(guest.device->waiting_events(), listeners);
  guest.lend_event_buffers(listeners);
  run_turns(guest, [&] { return guest.device->waiting_events() == 0; }, [] {});
  for (std::uint32_t i = 0; i < listeners; ++i) {
    const auto event = guest.take_event();
    ASSERT_TRUE(event);
    const auto body = event->as<wire::virtio_media_event_event>().event;
    EXPECT_EQ(body.u.ctrl.value, 20);
    EXPECT_EQ(body.u.ctrl.changes, std::uint32_t{V4L2_EVENT_CTRL_CH_VALUE});
    EXPECT_EQ(body.sequence, V4L2_CID_MAX_CTRLS - 1);
  }
}

// With a buffer for each, each comes, in order.
TEST_F(ControlEvents, NoneIsLostOrOutOfOrder) {
  const std::uint32_t first = listen();
  const std::uint32_t second = listen();
  const std::uint32_t setter = guest.open();
  guest.lend_event_buffers(2 * V4L2_CID_MAX_CTRLS);
  const auto slow = guest.add(controls_command(setter, tag::S_EXT_CTRLS::number, changes()),
                              controls_room(V4L2_CID_MAX_CTRLS));
  guest.device->process(wire::commandq);
  Replies all;
  const int turns = run_turns(
      guest,
      [&] {
        take_replies(guest, all);
        return !all.empty();
      },
      [] {});
  EXPECT_GE(turns, 1);
  EXPECT_EQ(all, (Replies{{slow, 0}}));
  std::map<std::uint32_t, std::uint32_t> next;
  while (const auto event = guest.take_event()) {
    const auto told = event->as<wire::virtio_media_event_event>();
    EXPECT_EQ(told.event.sequence, next[told.hdr.session_id]);
    EXPECT_EQ(told.event.u.ctrl.value, next[told.hdr.session_id] % 2 == 0 ? 10 : 20);
    ++next[told.hdr.session_id];
  }
  EXPECT_EQ(next[first], std::uint32_t{V4L2_CID_MAX_CTRLS});
  EXPECT_EQ(next[second], std::uint32_t{V4L2_CID_MAX_CTRLS});
}

// What others set in between is set, and told in its order.
TEST_F(ControlEvents, OthersMaySetControlsInBetween) {
  const std::uint32_t listener = listen();
  for (int i = 0; i < 100; ++i) listen();
  const std::uint32_t setter = guest.open();
  const std::uint32_t other = guest.open();
  const auto slow = guest.add(controls_command(setter, tag::S_EXT_CTRLS::number, changes()),
                              controls_room(V4L2_CID_MAX_CTRLS));
  std::vector<v4l2_ext_control> one(1);
  one[0].id = V4L2_CID_TEST_PATTERN;
  one[0].value = 1;
  const auto quick = guest.add(controls_command(other, tag::S_EXT_CTRLS::number, one), controls_room(1));
  guest.device->process(wire::commandq);
  Replies all;
  run_turns(
      guest,
      [&] {
        take_replies(guest, all);
        return all.size() >= 2;
      },
      [] {});
  EXPECT_EQ(all, (Replies{{quick, 0}, {slow, 0}}));
  for (const auto& [id, value] : {std::pair{V4L2_CID_TEST_PATTERN, 1}, {V4L2_CID_BRIGHTNESS, 20}}) {
    v4l2_control control{};
    control.id = static_cast<std::uint32_t>(id);
    EXPECT_EQ(guest.ioctl<tag::G_CTRL>(listener, control), 0);
    EXPECT_EQ(control.value, value);
  }
}

TEST_F(ControlEvents, OtherRequestsOfManyControlsAreBounded) {
  const std::uint32_t id = guest.open();
  for (const std::uint32_t code :
       {std::uint32_t{tag::G_EXT_CTRLS::number}, std::uint32_t{tag::TRY_EXT_CTRLS::number}}) {
    guest.add(controls_command(id, code, changes()), controls_room(V4L2_CID_MAX_CTRLS));
    guest.add(controls_command(id, code, changes()), controls_room(V4L2_CID_MAX_CTRLS));
    guest.device->process(wire::commandq);
    EXPECT_GE(guest.device->work().left(), -Work::a_turn / 2);
    Replies all;
    run_turns(
        guest,
        [&] {
          take_replies(guest, all);
          return all.size() >= 2;
        },
        [] {});
    EXPECT_EQ(all[0].second, 0);
    EXPECT_EQ(all[1].second, 0);
  }
}

// ---- Buffers that a guest lends for events

// Of one turn, not more are tried than there is time for, however they lie in memory.
TEST(EventBuffers, OfManyPiecesAreFewATurn) {
  using Guest = vumedia::test::MediaGuest<backends::TestPattern>;
  Guest guest({.queue_size = 1024, .memory_size = std::uint64_t{32} << 20}, {});
  std::vector<std::uint32_t> sessions;
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = V4L2_CID_BRIGHTNESS;
  for (int i = 0; i < 100; ++i) {
    sessions.push_back(guest.open());
    EXPECT_EQ(guest.ioctl<tag::SUBSCRIBE_EVENT>(sessions.back(), subscription), 0);
  }
  v4l2_control control{};
  control.id = V4L2_CID_BRIGHTNESS;
  control.value = 7;
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(guest.open(), control), 0);
  EXPECT_EQ(guest.device->waiting_events(), 100u);
  // All of them in the same table of single bytes.
  constexpr std::uint16_t pieces = 1000;
  const auto room = guest.host.allocate(2 * pieces);
  const auto table = guest.host.allocate(pieces * sizeof(virtio::Descriptor));
  for (std::uint16_t i = 0; i < pieces; ++i) {
    const bool last = i + 1 == pieces;
    const virtio::Descriptor byte{
        room.value + 2 * std::uint64_t{i}, 1,
        static_cast<std::uint16_t>(virtio::desc_f_write | (last ? 0 : virtio::desc_f_next)),
        static_cast<std::uint16_t>(last ? 0 : i + 1)};
    std::memcpy(guest.host.bytes(table) + i * sizeof byte, &byte, sizeof byte);
  }
  auto& driver = guest.host.driver_queue(wire::eventq);
  const virtio::Descriptor whole{table.value, pieces * sizeof(virtio::Descriptor), virtio::desc_f_indirect,
                                 0};
  const virtio::Piece stand_in{table, whole.length, true};
  for (int i = 0; i < 100; ++i) {
    const auto head = driver.add(std::span(&stand_in, 1));
    ASSERT_TRUE(head);
    std::memcpy(guest.host.bytes(driver.descriptors()) + *head * sizeof whole, &whole, sizeof whole);
  }
  static_cast<void>(driver.publish());
  std::size_t before = guest.device->waiting_events();
  std::size_t most = 0;
  const auto count = [&] {
    const std::size_t now = guest.device->waiting_events();
    most = std::max(most, before - now);
    before = now;
  };
  guest.device->process(wire::eventq);
  count();
  run_turns(guest, [&] { return guest.device->waiting_events() == 0; }, count);
  EXPECT_LE(most, static_cast<std::size_t>(both / (Work::event + pieces * Work::descriptor)) + 1);
}

// Those that are too short are tried and given back, as many as there is time for.
TEST(EventBuffers, ThatAreTooShortAreFewATurn) {
  using Guest = vumedia::test::MediaGuest<backends::TestPattern>;
  Guest guest({.queue_size = 4096, .memory_size = std::uint64_t{16} << 20}, {});
  const std::uint32_t id = guest.open();
  const std::uint32_t setter = guest.open();
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = V4L2_CID_BRIGHTNESS;
  EXPECT_EQ(guest.ioctl<tag::SUBSCRIBE_EVENT>(id, subscription), 0);
  guest.lend_event_buffers(4000, 8);
  std::vector<v4l2_ext_control> changes(V4L2_CID_MAX_CTRLS);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    changes[i].id = V4L2_CID_BRIGHTNESS;
    changes[i].value = i % 2 == 0 ? 10 : 20;
  }
  guest.add(controls_command(setter, tag::S_EXT_CTRLS::number, changes), controls_room(changes.size()));
  std::size_t tried = 0;
  std::size_t most = 0;
  const auto count = [&] {
    std::size_t now = 0;
    while (guest.take_event()) ++now;
    most = std::max(most, now);
    tried += now;
  };
  guest.device->process(wire::commandq);
  count();
  run_turns(guest, [&] { return tried == 4000; }, count);
  EXPECT_LE(most, static_cast<std::size_t>(both / Work::event) + 2 * 64);
}

// ---- Files that are opened and closed

TEST(Files, AreOpenedAndClosedAFewATurn) {
  using Guest = vumedia::test::MediaGuest<backends::TestPattern>;
  Guest guest({.queue_size = 256, .memory_size = std::uint64_t{4} << 20}, {});
  constexpr std::uint32_t count = 100;
  for (std::uint32_t i = 0; i < count; ++i)
    guest.add(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
  std::vector<std::uint32_t> ids;
  std::uint32_t before = 0;
  std::uint32_t most = 0;
  const auto sessions = [&] {
    const std::uint32_t now = guest.device->session_count();
    most = std::max(most, now > before ? now - before : before - now);
    before = now;
  };
  guest.device->process(wire::commandq);
  sessions();
  run_turns(guest, [&] { return guest.device->session_count() == count; }, sessions);
  while (const auto reply = guest.take_reply())
    ids.push_back(reply->second.as<wire::virtio_media_resp_open>().session_id);
  ASSERT_EQ(ids.size(), count);
  for (const std::uint32_t id : ids) guest.add(Guest::close_command(id), 0);
  guest.device->process(wire::commandq);
  sessions();
  run_turns(guest, [&] { return guest.device->session_count() == 0; }, sessions);
  EXPECT_EQ(most, static_cast<std::uint32_t>(Work::a_turn / Work::command));
}

// ---- Places of commands that wait

// However many commands a session has waiting, others find places.
TEST(Places, AreNotAllOneSessions) {
  struct Keeper {
    struct Session {
      std::vector<Completion> owed;
    };
    Config config() const { return {}; }
    Result<std::unique_ptr<Session>> open(media::Context) { return std::make_unique<Session>(); }
    void ioctl(Session& session, tag::S_CTRL, v4l2_control&, Completion completion) {
      session.owed.push_back(std::move(completion));
    }
  };
  using Guest = vumedia::test::MediaGuest<Keeper>;
  Guest guest({.queue_size = 1024, .memory_size = std::uint64_t{4} << 20}, {});
  const auto ask = [&](std::uint32_t id, int count) {
    const std::uint32_t before = guest.device->in_flight(wire::commandq);
    for (int i = 0; i < count; ++i)
      guest.add(Guest::ioctl_command<tag::S_CTRL>(id, v4l2_control{.id = V4L2_CID_GAIN, .value = i}), 16);
    // As many turns as it takes for all to be looked at.
    for (int i = 0; i < count; ++i) guest.device->process(wire::commandq);
    return guest.device->in_flight(wire::commandq) - before;
  };
  std::vector<std::uint32_t> ids;
  for (int i = 0; i < 8; ++i) ids.push_back(guest.open());
  EXPECT_EQ(ask(ids[0], 200), 64u) << "half of the places";
  EXPECT_EQ(ask(ids[1], 200), 32u) << "half of those that are left";
  for (std::size_t i = 2; i < ids.size(); ++i) EXPECT_GE(ask(ids[i], 1), 1u);
  guest.host.reset(*guest.device);
}

}  // namespace
}  // namespace vumedia::media::test::turn_limits
