// DQBUF, EVENT and ERROR, with and without event buffers.
#include <cerrno>
#include <cstdint>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/device.hpp>

#include "media/test_backend.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test {
namespace {

namespace tag = v4l2::tag;
using namespace vumedia::test;
using Guest = MediaGuest<TestBackend>;

v4l2::Buffer buffer(std::uint32_t type, std::uint32_t index) {
  v4l2::Buffer made{};
  made.head.type = type;
  made.head.index = index;
  return made;
}
std::uint32_t kind(const Reply& event) {
  return event.as<wire::virtio_media_event_header>().event;
}
std::uint32_t session(const Reply& event) {
  return event.as<wire::virtio_media_event_header>().session_id;
}
std::uint32_t index_of(const Reply& event) {
  return event.as<wire::virtio_media_event_dqbuf>().buffer.index;
}

class EventsTest : public testing::Test {
 protected:
  // So few that a test can use up all places.
  EventsTest() : guest(EmbeddedOptions{}, DeviceOptions{.max_sessions = 64}), id(guest.open()) {}
  Context context() { return guest.backend().last->context; }

  Guest guest;
  std::uint32_t id;
};

TEST_F(EventsTest, GoToALentBufferAtOnce) {
  guest.lend_event_buffers(2);
  EXPECT_FALSE(guest.take_event());
  const std::uint64_t calls = guest.host.calls(1);
  context().send_dqbuf(buffer(1, 3));
  const auto event = guest.take_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->length, 608u);
  EXPECT_EQ(kind(*event), wire::event_dqbuf);
  EXPECT_EQ(session(*event), id);
  EXPECT_EQ(index_of(*event), 3u);
  EXPECT_EQ(guest.host.calls(1), calls + 1);
  EXPECT_EQ(guest.host.queue(1).in_flight(), 0u);
  EXPECT_FALSE(guest.take_event());
}

TEST_F(EventsTest, WaitForBuffersInOrder) {
  for (std::uint32_t i = 0; i < 20; ++i) context().send_dqbuf(buffer(1, i));
  EXPECT_EQ(guest.device->waiting_events(), 20u);
  for (std::uint32_t i = 0; i < 20; ++i) {
    guest.lend_event_buffers(1);
    const auto event = guest.take_event();
    ASSERT_TRUE(event);
    EXPECT_EQ(index_of(*event), i);
    EXPECT_FALSE(guest.take_event());
  }
  EXPECT_EQ(guest.device->waiting_events(), 0u);
}

TEST_F(EventsTest, AskForKicksOnlyWhileOneWaits) {
  // With event indices avail_event informs the driver; publish() returns whether it would kick.
  const auto lend = [&] {
    const auto at = guest.host.allocate(608);
    const virtio::Piece piece{at, 608, true};
    EXPECT_TRUE(guest.host.driver_queue(1).add(std::span(&piece, 1)));
    return guest.host.driver_queue(1).publish();
  };
  EXPECT_TRUE(lend());  // the first is announced: the device has not looked yet
  guest.device->process(wire::eventq);
  EXPECT_FALSE(lend());
  context().send_dqbuf(buffer(1, 0));
  context().send_dqbuf(buffer(1, 1));
  context().send_dqbuf(buffer(1, 2));
  EXPECT_EQ(guest.device->waiting_events(), 1u);
  EXPECT_TRUE(lend());
}

TEST_F(EventsTest, OfACommandComeBeforeItsAnswer) {
  guest.lend_event_buffers(1);
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = 77;
  guest.add(Guest::ioctl_command<tag::SUBSCRIBE_EVENT>(id, subscription), 8);
  guest.device->process(wire::commandq);
  const auto event = guest.take_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->length, 144u);
  EXPECT_EQ(event->as<wire::virtio_media_event_event>().event.id, 77u);
  EXPECT_TRUE(guest.take_reply());
}

TEST_F(EventsTest, OfAnOpenComeAfterItsAnswer) {
  guest.backend().send_in_open = true;
  guest.lend_event_buffers(2);
  const std::uint32_t other = guest.open();
  const auto event = guest.take_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(session(*event), other);
  // And none from an open that failed.
  guest.backend().refuse_open = EBUSY;
  guest.command(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
  EXPECT_FALSE(guest.take_event());
}

TEST_F(EventsTest, OfAStoppedQueueArePurged) {
  for (std::uint32_t i = 0; i < 4; ++i) {
    context().send_dqbuf(buffer(1, i));
    context().send_dqbuf(buffer(2, i));
  }
  std::uint32_t type = 1;
  guest.backend().refuse_streamoff = EBUSY;
  EXPECT_EQ(guest.ioctl<tag::STREAMOFF>(id, type), EBUSY);
  EXPECT_EQ(guest.device->waiting_events(), 8u);
  guest.backend().refuse_streamoff = 0;
  EXPECT_EQ(guest.ioctl<tag::STREAMOFF>(id, type), 0);
  EXPECT_EQ(guest.device->waiting_events(), 4u);
  v4l2_requestbuffers request{};
  request.type = 2;
  EXPECT_EQ(guest.ioctl<tag::REQBUFS>(id, request), 0);
  EXPECT_EQ(guest.device->waiting_events(), 0u);
}

TEST_F(EventsTest, OfAClosedSessionArePurged) {
  const std::uint32_t other = guest.open();
  const Context gone = context();
  gone.send_dqbuf(buffer(1, 0));
  guest.close(other);
  EXPECT_EQ(guest.device->waiting_events(), 0u);
  // The handle of a session that is gone does nothing, even if its place is taken again.
  for (int i = 0; i < 63; ++i) guest.open();
  gone.send_dqbuf(buffer(1, 0));
  gone.send_error(EIO);
  EXPECT_EQ(guest.device->waiting_events(), 0u);
}

TEST_F(EventsTest, BuffersTooShortAreGivenBackAndTheEventWaits) {
  context().send_dqbuf(buffer(1, 5));
  guest.lend_event_buffers(3, 600);
  for (int i = 0; i < 3; ++i) {
    const auto returned = guest.take_event();
    ASSERT_TRUE(returned);
    EXPECT_EQ(returned->length, 0u);
  }
  EXPECT_EQ(guest.device->waiting_events(), 1u);
  guest.lend_event_buffers(1);
  const auto event = guest.take_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(index_of(*event), 5u);
}

TEST_F(EventsTest, MoreThanMayWaitEndTheSessionLoudly) {
  Guest small(EmbeddedOptions{}, DeviceOptions{.max_waiting_events = 4});
  const std::uint32_t noisy = small.open();
  const Context noisy_context = small.backend().last->context;
  const std::uint32_t other = small.open();
  for (std::uint32_t i = 0; i < 10; ++i) noisy_context.send_dqbuf(buffer(1, i));
  EXPECT_EQ(small.device->waiting_events(), 1u);
  small.lend_event_buffers(2);
  const auto event = small.take_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(kind(*event), wire::event_error);
  EXPECT_EQ(event->length, 16u);
  EXPECT_EQ(event->as<wire::virtio_media_event_error>().error, static_cast<std::uint32_t>(ENOBUFS));
  EXPECT_FALSE(small.take_event());
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(small.ioctl<tag::G_FMT>(noisy, format), ENOBUFS);
  EXPECT_EQ(small.ioctl<tag::G_FMT>(other, format), 0);
}

TEST_F(EventsTest, AfterAnErrorTheSessionAnswersErrorsUntilClose) {
  guest.lend_event_buffers(4);
  context().send_error(EPIPE);
  const auto event = guest.take_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(kind(*event), wire::event_error);
  EXPECT_EQ(event->as<wire::virtio_media_event_error>().error, static_cast<std::uint32_t>(EPIPE));
  context().send_dqbuf(buffer(1, 0));
  context().send_error(EIO);
  EXPECT_FALSE(guest.take_event()) << "something came after ERROR";
  v4l2_format format{};
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), EPIPE);
  EXPECT_EQ(guest.mmap(id, 0).hdr.status, static_cast<std::uint32_t>(EPIPE));
  for (int i = 0; i < 63; ++i) EXPECT_NE(guest.open(), id);
  guest.close(id);
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), EINVAL);
}

// v4l2_event_unsubscribe(): unread events of a subscription end with it, and nothing else does.
TEST_F(EventsTest, UnsubscribingTakesBackWhatWaits) {
  const auto send = [&](std::uint32_t type, std::uint32_t event_id) {
    v4l2_event event{};
    event.type = type;
    event.id = event_id;
    context().send_event(event);
  };
  const auto unsubscribe = [&](std::uint32_t type, std::uint32_t event_id) {
    v4l2_event_subscription request{};
    request.type = type;
    request.id = event_id;
    return guest.ioctl<tag::UNSUBSCRIBE_EVENT>(id, request);
  };
  const std::uint32_t other = guest.open();
  send(V4L2_EVENT_CTRL, 1);
  send(V4L2_EVENT_CTRL, 2);
  EXPECT_EQ(unsubscribe(V4L2_EVENT_CTRL, 1), 0);
  EXPECT_EQ(guest.device->waiting_events(), 2u) << "they are another session's";
  guest.close(other);
  EXPECT_EQ(guest.device->waiting_events(), 0u);

  const std::uint32_t again = guest.open();
  send(V4L2_EVENT_CTRL, 1);
  send(V4L2_EVENT_CTRL, 2);
  send(V4L2_EVENT_EOS, 0);
  context().send_dqbuf(buffer(1, 0));
  v4l2_event_subscription request{};
  request.type = V4L2_EVENT_CTRL;
  request.id = 1;
  EXPECT_EQ(guest.ioctl<tag::UNSUBSCRIBE_EVENT>(again, request), 0);
  EXPECT_EQ(guest.device->waiting_events(), 3u);
  request.id = 9;
  EXPECT_EQ(guest.ioctl<tag::UNSUBSCRIBE_EVENT>(again, request), 0) << "what is not subscribed is no error";
  EXPECT_EQ(guest.device->waiting_events(), 3u);
  request.type = V4L2_EVENT_ALL;
  EXPECT_EQ(guest.ioctl<tag::UNSUBSCRIBE_EVENT>(again, request), 0);
  EXPECT_EQ(guest.device->waiting_events(), 1u) << "buffers come back all the same";
}

TEST_F(EventsTest, AreNotSentWhileTheQueueIsStopped) {
  guest.lend_event_buffers(1);
  static_cast<void>(guest.host.stop(*guest.device));
  context().send_dqbuf(buffer(1, 0));
  EXPECT_FALSE(guest.take_event());
  guest.host.resume();
  guest.device->process(wire::eventq);
  EXPECT_TRUE(guest.take_event());
}

TEST_F(EventsTest, ABrokenQueueIsReportedOnce) {
  const virtio::Piece outside{{0xffff'0000'0000}, 608, true};
  ASSERT_TRUE(guest.host.driver_queue(1).add(std::span(&outside, 1)));
  static_cast<void>(guest.host.driver_queue(1).publish());
  context().send_dqbuf(buffer(1, 0));
  context().send_dqbuf(buffer(1, 1));
  ASSERT_EQ(guest.host.errors.size(), 1u);
  EXPECT_EQ(guest.host.errors[0], "eventq: descriptor points outside guest memory");
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0);
}

TEST_F(EventsTest, MoreThanAQueueFullWaitingAreDeliveredInTurns) {
  Guest tiny(EmbeddedOptions{.queue_size = 4}, DeviceOptions{});
  tiny.open();
  const Context sender = tiny.backend().last->context;
  for (std::uint32_t i = 0; i < 50; ++i) sender.send_dqbuf(buffer(1, i));
  for (std::uint32_t next = 0; next < 50;) {
    tiny.lend_event_buffers(2);
    while (const auto event = tiny.take_event()) EXPECT_EQ(index_of(*event), next++);
  }
  EXPECT_EQ(tiny.device->waiting_events(), 0u);
}

TEST_F(EventsTest, ManyBuffersTooShortAreGivenBackInTurns) {
  Guest many(EmbeddedOptions{.queue_size = 256}, DeviceOptions{});
  many.open();
  many.lend_event_buffers(200, 16);
  many.backend().last->context.send_dqbuf(buffer(1, 0));
  int returned = 0;
  const auto count = [&] {
    while (const auto event = many.take_event()) {
      EXPECT_EQ(event->length, 0u);
      ++returned;
    }
    return returned;
  };
  EXPECT_LT(count(), 200);
  EXPECT_TRUE(many.run_until([&] { return count() == 200; }));
  EXPECT_EQ(many.device->waiting_events(), 1u);
  many.lend_event_buffers(1);
  EXPECT_TRUE(many.take_event());
}

// -- From other threads

TEST_F(EventsTest, ComeFromWorkersThroughAPoster) {
  guest.lend_event_buffers(16);
  const auto poster = guest.backend().last->poster;
  EXPECT_EQ(poster.session_id(), id);
  std::thread worker([poster] {
    for (std::uint32_t i = 0; i < 8; ++i) {
      EXPECT_TRUE(poster.post([i](TestBackend::Session& owner, Context context) {
        EXPECT_EQ(owner.id, context.session_id());
        context.send_dqbuf(buffer(1, i));
      }));
    }
  });
  for (std::uint32_t i = 0; i < 8; ++i) {
    const auto event = guest.wait_event();
    ASSERT_TRUE(event);
    EXPECT_EQ(index_of(*event), i);
  }
  worker.join();
}

TEST_F(EventsTest, PostedTasksOfAGoneSessionAreDestroyedUnrun) {
  const auto poster = guest.backend().last->poster;
  auto alive = std::make_shared<int>(0);
  const auto post = [&] { return poster.post([alive](TestBackend::Session&, Context) { ++*alive; }); };
  EXPECT_TRUE(post());
  guest.close(id);
  EXPECT_TRUE(guest.run_until([&] { return alive.use_count() == 1; }));
  for (int i = 0; i < 64; ++i) guest.open();
  EXPECT_TRUE(post());
  EXPECT_TRUE(guest.run_until([&] { return alive.use_count() == 1; }));
  // Nor is the device needed...
  EXPECT_TRUE(post());
  guest.device.reset();
  EXPECT_TRUE(guest.run_until([&] { return alive.use_count() == 1; }));
  EXPECT_EQ(*alive, 0);
  // ...or a session at all.
  EXPECT_FALSE(Poster<TestBackend::Session>().post([](TestBackend::Session&, Context) {}));
}

TEST(Poster, PostsNothingToSessionsOfAnotherType) {
  Guest guest;
  guest.open();
  const Context context = guest.backend().last->context;
  EXPECT_FALSE(context.poster<int>().post([](int&, Context) { FAIL(); }));
  EXPECT_TRUE(context.poster<TestBackend::Session>().post([](TestBackend::Session&, Context) {}));
}

TEST(Poster, OutlivesTheLoop) {
  Poster<TestBackend::Session> poster;
  {
    Guest guest;
    guest.open();
    poster = guest.backend().last->poster;
  }
  EXPECT_FALSE(poster.post([](TestBackend::Session&, Context) { FAIL(); }));
}

}  // namespace
}  // namespace vumedia::media::test
