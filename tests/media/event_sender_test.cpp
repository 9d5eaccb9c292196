// Events on a real queue, without a device.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/event_sender.hpp>

#include "media/parts.hpp"

namespace vumedia::media::test {
namespace event_sender {
namespace {

v4l2::Buffer numbered(std::uint32_t type, std::uint32_t index) {
  v4l2::Buffer made{};
  made.head.type = type;
  made.head.index = index;
  return made;
}

class EventSenderTest : public testing::Test {
 protected:
  explicit EventSenderTest(vumedia::test::EmbeddedOptions options = {}, std::uint32_t max_waiting = 192)
      : parts(options),
        sender(parts.host, parts.turns, parts.interrupts, parts.trace, Count<Counts>(parts.counts),
               max_waiting) {
    parts.resumed = [this] { sender.resume(); };
    parts.turns.begin();
    begin(one, 1);
    begin(two, 2);
  }
  ~EventSenderTest() override {
    sender.end(one);
    sender.end(two);
  }
  void begin(SessionEvents& events, std::uint32_t id) {
    ASSERT_TRUE(sender.begin(events, id));
    sender.introduce(events);
  }

  void send(SessionEvents& to, std::uint32_t index, std::uint32_t type = 1) {
    sender.send(to, Event::dqbuf(to.session, numbered(type, index)));
  }
  void add_buffers(int count, std::uint32_t room = wire::max_event_size) {
    for (int i = 0; i < count; ++i) {
      const auto at = parts.host.allocate(room);
      const virtio::Piece piece{at, room, true};
      const auto head = parts.host.driver_queue(wire::eventq).add(std::span(&piece, 1));
      ASSERT_TRUE(head);
      lent[*head] = at;
    }
    kicks = parts.host.driver_queue(wire::eventq).publish();
  }
  // As a kick has the device look.
  void lend(int count, std::uint32_t room = wire::max_event_size) {
    add_buffers(count, room);
    parts.turns.begin();
    sender.process();
  }

  struct Arrived {
    std::uint32_t length = 0;
    std::uint32_t kind = 0;
    std::uint32_t session = 0;
    std::uint32_t value = 0;  // an index, or an errno
  };
  std::optional<Arrived> take() {
    const auto used = parts.host.driver_queue(wire::eventq).pop_used();
    EXPECT_TRUE(used.has_value());
    if (!used || !*used) return std::nullopt;
    Arrived arrived;
    arrived.length = (*used)->length;
    if (arrived.length == 0) return arrived;
    wire::virtio_media_event_error head;
    std::memcpy(&head, parts.host.bytes(lent[(*used)->head]), sizeof head);
    arrived.kind = head.hdr.event;
    arrived.session = head.hdr.session_id;
    arrived.value = head.error;  // where a buffer has its index, too
    return arrived;
  }

  Parts parts;
  EventSender<Parts::Host, Counts> sender;
  SessionEvents one, two;
  std::map<std::uint16_t, memory::GuestAddress> lent;
  bool kicks = false;  // what the driver was told about its last buffers
};

TEST_F(EventSenderTest, FillsALentBufferAtOnce) {
  lend(2);
  const std::uint64_t interrupts = parts.host.calls(wire::eventq);
  send(one, 5);
  const auto arrived = take();
  ASSERT_TRUE(arrived);
  EXPECT_EQ(arrived->length, 608u);
  EXPECT_EQ(arrived->kind, wire::event_dqbuf);
  EXPECT_EQ(arrived->session, 1u);
  EXPECT_EQ(arrived->value, 5u);
  EXPECT_EQ(parts.host.calls(wire::eventq), interrupts + 1);
  EXPECT_EQ(parts.host.queue(wire::eventq).in_flight(), 0u) << "the other buffer stays on the queue";
  EXPECT_EQ(parts.counts.counted.events[wire::event_dqbuf].get(), 1u);
  EXPECT_EQ(parts.counts.counted.events_waited.get(), 0u);
}

TEST_F(EventSenderTest, KeepsWhatFindsNoBufferInOrder) {
  for (std::uint32_t i = 0; i < 6; ++i) send(i % 2 == 0 ? one : two, i);
  EXPECT_EQ(sender.waiting(), 6u);
  EXPECT_EQ(parts.counts.counted.events_waited.get(), 6u);
  for (std::uint32_t i = 0; i < 6; ++i) {
    lend(1);
    const auto arrived = take();
    ASSERT_TRUE(arrived);
    EXPECT_EQ(arrived->session, i % 2 + 1);
    EXPECT_EQ(arrived->value, i);
  }
  EXPECT_EQ(sender.waiting(), 0u);
}

TEST_F(EventSenderTest, AsksForKicksWhileSomethingWaits) {
  lend(1);
  add_buffers(1);
  EXPECT_FALSE(kicks);
  for (std::uint32_t i = 0; i < 3; ++i) send(one, i);
  EXPECT_EQ(sender.waiting(), 1u);
  add_buffers(1);
  EXPECT_TRUE(kicks);
  sender.process();
  EXPECT_EQ(sender.waiting(), 0u);
  add_buffers(1);
  EXPECT_FALSE(kicks);
}

TEST_F(EventSenderTest, FindsABufferThatCameBeforeItAskedForKicks) {
  sender.process();
  add_buffers(1);  // no kick
  send(one, 7);
  ASSERT_TRUE(take());
}

TEST_F(EventSenderTest, TellsTheDriverOnceForABatch) {
  lend(3);
  const std::uint64_t before = parts.host.calls(wire::eventq);
  parts.interrupts.begin();
  for (std::uint32_t i = 0; i < 3; ++i) send(one, i);
  EXPECT_EQ(parts.host.calls(wire::eventq), before);
  EXPECT_FALSE(take());
  parts.interrupts.end();
  EXPECT_EQ(parts.host.calls(wire::eventq), before + 1);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_TRUE(take());
}

TEST_F(EventSenderTest, KeepsBackWhatIsOfASessionThatTheGuestDoesNotKnow) {
  SessionEvents young;
  ASSERT_TRUE(sender.begin(young, 3));
  lend(3);
  send(young, 1);
  EXPECT_EQ(sender.waiting(), 1u);
  EXPECT_FALSE(take());
  send(one, 2);
  EXPECT_EQ(take()->session, 1u) << "others are not kept back";
  sender.introduce(young);
  const auto arrived = take();
  ASSERT_TRUE(arrived);
  EXPECT_EQ(arrived->session, 3u);
  sender.end(young);
}

TEST_F(EventSenderTest, GivesBuffersBackThatAreTooShort) {
  send(one, 4);
  lend(2, wire::max_event_size - 1);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(take()->length, 0u);
  EXPECT_EQ(sender.waiting(), 1u);
  lend(1);
  EXPECT_EQ(take()->value, 4u);
  // Of the shorter ones an error event has room.
  sender.fail(two, EPIPE);
  lend(1, sizeof(wire::virtio_media_event_error));
  const auto arrived = take();
  ASSERT_TRUE(arrived);
  EXPECT_EQ(arrived->kind, wire::event_error);
  EXPECT_EQ(arrived->value, static_cast<std::uint32_t>(EPIPE));
}

TEST_F(EventSenderTest, AnErrorIsTheLastEvent) {
  send(one, 1);
  send(two, 2);
  sender.fail(one, -3);
  EXPECT_EQ(one.error, EIO) << "what is no errno";
  send(one, 3);
  sender.fail(one, EPERM);
  lend(4);
  EXPECT_EQ(take()->session, 2u) << "what waited has gone";
  const auto last = take();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->kind, wire::event_error);
  EXPECT_EQ(last->value, static_cast<std::uint32_t>(EIO));
  EXPECT_FALSE(take());
  EXPECT_EQ(parts.counts.counted.sessions_failed.get(), 1u);
}

TEST_F(EventSenderTest, WithdrawsWhatIsUnwanted) {
  for (std::uint32_t i = 0; i < 4; ++i) {
    send(one, i, 1 + i % 2);
    send(two, i, 1 + i % 2);
  }
  sender.purge_dqbuf(one, 2);
  EXPECT_EQ(sender.waiting(), 6u);
  sender.end(two);
  EXPECT_EQ(sender.waiting(), 2u);
  lend(4);
  EXPECT_EQ(take()->value, 0u);
  EXPECT_EQ(take()->value, 2u);
  EXPECT_FALSE(take());
}

TEST_F(EventSenderTest, WaitsForAQueueThatIsStopped) {
  lend(1);
  static_cast<void>(parts.host.queue_failed(wire::eventq, Error{}));
  send(one, 1);
  EXPECT_EQ(sender.waiting(), 1u);
  sender.process();
  EXPECT_EQ(sender.waiting(), 1u);
  parts.host.resume();
  sender.process();
  EXPECT_EQ(take()->value, 1u);
}

TEST_F(EventSenderTest, ReportsABrokenQueue) {
  const virtio::Piece outside{{0xffff'0000'0000}, 608, true};
  ASSERT_TRUE(parts.host.driver_queue(wire::eventq).add(std::span(&outside, 1)));
  static_cast<void>(parts.host.driver_queue(wire::eventq).publish());
  send(one, 0);
  send(one, 1);
  EXPECT_EQ(parts.host.errors, std::vector<std::string>{"eventq: descriptor points outside guest memory"});
  EXPECT_EQ(sender.waiting(), 2u);
}

class FewPlaces : public EventSenderTest {
 protected:
  FewPlaces() : EventSenderTest({}, 4) {}
};

TEST_F(FewPlaces, ASessionThatNeedsMoreEndsAndNoOther) {
  for (std::uint32_t i = 0; i < 4; ++i) send(one, i);
  send(two, 7);
  EXPECT_EQ(one.error, 0);
  send(one, 4);
  EXPECT_EQ(one.error, ENOBUFS);
  EXPECT_EQ(two.error, 0);
  lend(4);
  EXPECT_EQ(take()->value, 7u);
  EXPECT_EQ(take()->value, static_cast<std::uint32_t>(ENOBUFS));
  EXPECT_FALSE(take());
}

class NoPlace : public EventSenderTest {
 protected:
  NoPlace() : EventSenderTest({}, 0) {}
};

TEST_F(NoPlace, IsEnoughForTheError) {
  send(one, 0);
  send(one, 1);
  lend(1);
  EXPECT_EQ(take()->kind, wire::event_error);
}

// -- Turns of the loop

class ManyEvents : public EventSenderTest {
 protected:
  ManyEvents() : EventSenderTest({.queue_size = 256}) {}
  int arrived() {
    int count = 0;
    while (take()) ++count;
    return count;
  }
};

TEST_F(ManyEvents, AreDeliveredInTurns) {
  for (std::uint32_t i = 0; i < 150; ++i) send(one, i);
  lend(150);
  EXPECT_EQ(arrived(), 64);
  // In between nothing overtakes them.
  send(two, 0);
  EXPECT_EQ(arrived(), 0);
  add_buffers(1);
  int count = 0;
  EXPECT_TRUE(parts.run_until([&] { return (count += arrived()) == 87; }));
  EXPECT_EQ(sender.waiting(), 0u);
}

TEST_F(ManyEvents, ManyBuffersTooShortAreGivenBackInTurns) {
  lend(200, 8);
  send(one, 0);
  int count = arrived();
  EXPECT_GT(count, 0);
  EXPECT_LT(count, 200);
  EXPECT_TRUE(parts.run_until([&] { return (count += arrived()) == 200; }));
  EXPECT_EQ(sender.waiting(), 1u);
}

TEST_F(ManyEvents, AreNoMoreThanTheTurnHasWorkFor) {
  for (std::uint32_t i = 0; i < 20; ++i) send(one, i);
  add_buffers(20);
  parts.turns.work().begin(1);
  sender.process();
  EXPECT_EQ(arrived(), 1);
  int count = 1;
  EXPECT_TRUE(parts.run_until([&] { return (count += arrived()) == 20; }));
}

TEST_F(ManyEvents, AResetForgetsTheOtherTurn) {
  for (std::uint32_t i = 0; i < 150; ++i) send(one, i);
  lend(150);
  EXPECT_EQ(arrived(), 64);
  sender.reset();
  sender.resume();
  EXPECT_EQ(arrived(), 0);
  sender.process();
  EXPECT_EQ(arrived(), 64);
}

}  // namespace
}  // namespace event_sender
}  // namespace vumedia::media::test
