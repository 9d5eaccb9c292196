#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/event_queue.hpp>

namespace vumedia::media {
namespace {

v4l2::Buffer buffer(std::uint32_t type, std::uint32_t index) {
  v4l2::Buffer made{};
  made.head.type = type;
  made.head.index = index;
  return made;
}

v4l2_event control_change(std::uint32_t id, std::uint32_t changes, std::int32_t value) {
  v4l2_event event{};
  event.type = V4L2_EVENT_CTRL;
  event.id = id;
  event.u.ctrl.changes = changes;
  event.u.ctrl.value = value;
  return event;
}

template <class T>
T body(const Event& event) {
  T value{};
  EXPECT_EQ(event.bytes().size(), sizeof value);
  std::memcpy(&value, event.bytes().data(), sizeof value);
  return value;
}

TEST(Event, HasTheFullStructOfItsKind) {
  EXPECT_EQ(Event::error(5, EIO).bytes().size(), 16u);
  EXPECT_EQ(Event::dqbuf(5, buffer(1, 0)).bytes().size(), 608u);
  EXPECT_EQ(Event::v4l2(5, {}).bytes().size(), 144u);
  const auto error = body<wire::virtio_media_event_error>(Event::error(5, EIO));
  EXPECT_EQ(error.hdr.event, wire::event_error);
  EXPECT_EQ(error.hdr.session_id, 5u);
  EXPECT_EQ(error.error, static_cast<std::uint32_t>(EIO));
}

TEST(Event, ShowsNoPointerOfOurs) {
  v4l2::Buffer multiplanar = buffer(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, 1);
  multiplanar.head.m.planes = multiplanar.planes.data();
  multiplanar.head.length = 2;
  multiplanar.planes[1].bytesused = 77;
  const auto event = body<wire::virtio_media_event_dqbuf>(Event::dqbuf(5, multiplanar));
  EXPECT_EQ(event.buffer.m.planes, nullptr);
  EXPECT_EQ(event.buffer.length, 2u);
  EXPECT_EQ(event.planes[1].bytesused, 77u);
}

class EventQueueTest : public testing::Test {
 protected:
  EventQueueTest() {
    EXPECT_TRUE(first.reserve(4));
    EXPECT_TRUE(second.reserve(4));
  }
  std::vector<std::uint32_t> sessions() {
    std::vector<std::uint32_t> ids;
    while (const Event* const event = queue.front()) {
      ids.push_back(event->session());
      queue.pop_front();
    }
    return ids;
  }
  EventQueue::Store first, second;
  EventQueue queue;
};

TEST_F(EventQueueTest, KeepsTheOrderOfSendingAcrossSessions) {
  EXPECT_EQ(queue.front(), nullptr);
  EXPECT_TRUE(queue.push(first, Event::dqbuf(1, buffer(1, 0))));
  EXPECT_TRUE(queue.push(second, Event::dqbuf(2, buffer(1, 0))));
  EXPECT_TRUE(queue.push(first, Event::dqbuf(1, buffer(1, 1))));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(sessions(), (std::vector<std::uint32_t>{1, 2, 1}));
  EXPECT_EQ(queue.size(), 0u);
}

TEST_F(EventQueueTest, BoundsEachSessionByItself) {
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_TRUE(queue.push(first, Event::dqbuf(1, buffer(1, i))));
  EXPECT_FALSE(queue.push(first, Event::dqbuf(1, buffer(1, 4))));
  EXPECT_TRUE(queue.push(second, Event::dqbuf(2, buffer(1, 0))));
  queue.pop_front();
  EXPECT_TRUE(queue.push(first, Event::dqbuf(1, buffer(1, 4))));
  EXPECT_EQ(sessions(), (std::vector<std::uint32_t>{1, 1, 1, 2, 1}));
}

TEST_F(EventQueueTest, UsesItsRoomAgainForEver) {
  for (std::uint32_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(queue.push(first, Event::dqbuf(1, buffer(1, i))));
    ASSERT_TRUE(queue.push(first, Event::dqbuf(1, buffer(2, i))));
    queue.purge(first, [](const Event& event) { return event.is_dqbuf_of(2); });
    ASSERT_EQ(queue.size(), 1u);
    queue.pop_front();
  }
}

// v4l2_ctrl_replace(), and the list of events that can be dequeued: a merged event has the place of the last
// one.
TEST_F(EventQueueTest, MergesControlChanges) {
  EXPECT_TRUE(queue.push(first, Event::v4l2(1, control_change(9, V4L2_EVENT_CTRL_CH_RANGE, 1))));
  EXPECT_TRUE(queue.push(first, Event::v4l2(1, control_change(8, V4L2_EVENT_CTRL_CH_VALUE, 5))));
  EXPECT_TRUE(queue.push(first, Event::v4l2(1, control_change(9, V4L2_EVENT_CTRL_CH_VALUE, 2))));
  // Another session's event is a separate one.
  EXPECT_TRUE(queue.push(second, Event::v4l2(2, control_change(9, V4L2_EVENT_CTRL_CH_VALUE, 3))));
  ASSERT_EQ(queue.size(), 3u);
  EXPECT_EQ(body<wire::virtio_media_event_event>(*queue.front()).event.id, 8u);
  queue.pop_front();
  const auto merged = body<wire::virtio_media_event_event>(*queue.front());
  EXPECT_EQ(merged.event.id, 9u);
  EXPECT_EQ(merged.event.u.ctrl.value, 2);
  EXPECT_EQ(merged.event.u.ctrl.changes, std::uint32_t{V4L2_EVENT_CTRL_CH_RANGE | V4L2_EVENT_CTRL_CH_VALUE});
}

// v4l2_event_src_replace(); but the change that a LAST buffer stands for arrives before that buffer.
TEST_F(EventQueueTest, MergesSourceChangesBeforeTheBuffersThatFollow) {
  v4l2_event change{};
  change.type = V4L2_EVENT_SOURCE_CHANGE;
  change.u.src_change.changes = 1;
  EXPECT_TRUE(queue.push(first, Event::v4l2(1, change)));
  EXPECT_TRUE(queue.push(first, Event::dqbuf(1, buffer(1, 0))));
  change.u.src_change.changes = 2;
  change.sequence = 7;
  EXPECT_TRUE(queue.push(first, Event::v4l2(1, change)));
  ASSERT_EQ(queue.size(), 2u);
  const auto merged = body<wire::virtio_media_event_event>(*queue.front());
  EXPECT_EQ(merged.event.u.src_change.changes, 3u);
  EXPECT_EQ(merged.event.sequence, 7u);
  queue.pop_front();
  EXPECT_NE(queue.front()->as_dqbuf(), nullptr);
}

TEST_F(EventQueueTest, DropsTheOldestOfOtherEventsForWantOfRoom) {
  v4l2_event sync{};
  sync.type = V4L2_EVENT_FRAME_SYNC;
  for (std::uint32_t i = 0; i < 6; ++i) {
    sync.u.frame_sync.frame_sequence = i;
    EXPECT_TRUE(queue.push(first, Event::v4l2(1, sync)));
    EXPECT_EQ(queue.size(), std::min(i + 1, 4u));
  }
  v4l2_event eos{};
  eos.type = V4L2_EVENT_EOS;
  EXPECT_FALSE(queue.push(first, Event::v4l2(1, eos)));
  for (std::uint32_t i = 2; i < 6; ++i) {
    EXPECT_EQ(body<wire::virtio_media_event_event>(*queue.front()).event.u.frame_sync.frame_sequence, i);
    queue.pop_front();
  }
  EXPECT_EQ(queue.size(), 0u);
}

TEST(Event, KnowsItsSubscription) {
  const Event event = Event::v4l2(1, control_change(9, 1, 1));
  const auto is_of = [](const Event& tested, std::uint32_t type, std::uint32_t id) {
    v4l2_event_subscription request{};
    request.type = type;
    request.id = id;
    return tested.is_of(request);
  };
  EXPECT_TRUE(is_of(event, V4L2_EVENT_CTRL, 9));
  EXPECT_TRUE(is_of(event, V4L2_EVENT_ALL, 77));
  EXPECT_FALSE(is_of(event, V4L2_EVENT_CTRL, 8));
  EXPECT_FALSE(is_of(event, V4L2_EVENT_EOS, 9));
  EXPECT_FALSE(is_of(Event::dqbuf(1, buffer(1, 0)), V4L2_EVENT_ALL, 0));
  EXPECT_FALSE(is_of(Event::error(1, EIO), V4L2_EVENT_ALL, 0));
}

TEST_F(EventQueueTest, HoldsBackOneSessionAlone) {
  first.hold(true);
  EXPECT_TRUE(queue.push(first, Event::dqbuf(1, buffer(1, 0))));
  EXPECT_EQ(queue.front(), nullptr);
  EXPECT_TRUE(queue.push(second, Event::dqbuf(2, buffer(1, 0))));
  ASSERT_NE(queue.front(), nullptr);
  EXPECT_EQ(queue.front()->session(), 2u);
  queue.pop_front();
  EXPECT_EQ(queue.front(), nullptr);
  first.hold(false);
  EXPECT_EQ(sessions(), std::vector<std::uint32_t>{1});
}

TEST_F(EventQueueTest, PurgesOneSession) {
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(queue.push(first, Event::dqbuf(1, buffer(i % 2, i))));
    EXPECT_TRUE(queue.push(second, Event::dqbuf(2, buffer(i % 2, i))));
  }
  queue.purge(first, [](const Event& event) { return event.is_dqbuf_of(0); });
  EXPECT_EQ(queue.size(), 4u);
  queue.purge(first);
  EXPECT_EQ(sessions(), (std::vector<std::uint32_t>{2, 2, 2}));
}

}  // namespace
}  // namespace vumedia::media
