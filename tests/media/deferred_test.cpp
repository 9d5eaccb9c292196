// Answers that come later, from anywhere, or never.
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <thread>
#include <tuple>
#include <utility>
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

class DeferredTest : public testing::Test {
 protected:
  explicit DeferredTest(DeviceOptions options = {}) : guest(EmbeddedOptions{}, options), id(guest.open()) {}

  // Sends an S_CTRL, which the backend does not answer by itself.
  std::uint16_t defer(std::int32_t value = 1) {
    const v4l2_control control{.id = V4L2_CID_GAIN, .value = value};
    const std::uint16_t head = guest.add(Guest::ioctl_command<tag::S_CTRL>(id, control), 16);
    guest.device->process(wire::commandq);
    return head;
  }
  TestBackend::Session& session() { return *guest.backend().last; }
  int serve_another() {
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    return guest.ioctl<tag::G_FMT>(id, format);
  }

  Guest guest;
  std::uint32_t id;
};

TEST_F(DeferredTest, AreAnsweredFromAnotherThreadWithThePayloadAsItIsThen) {
  defer(5);
  EXPECT_FALSE(guest.take_reply());
  EXPECT_EQ(guest.device->in_flight(0), 1u);
  EXPECT_EQ(serve_another(), 0) << "others do not wait";
  std::thread worker([completion = std::move(session().owed[0]), payload = session().payloads[0]]() mutable {
    EXPECT_EQ(payload->value, 5);
    payload->value = 6;
    EXPECT_TRUE(completion);
    completion.complete({});
    EXPECT_FALSE(completion);
  });
  const auto reply = guest.wait_reply();
  worker.join();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), 0);
  EXPECT_EQ(reply->length, 16u);
  EXPECT_EQ(reply->as<v4l2_control>(8).value, 6);
  EXPECT_EQ(guest.device->in_flight(0), 0u);
}

TEST_F(DeferredTest, MayBeAnsweredWithinTheCallAndOnlyOnce) {
  const v4l2_control control{};
  guest.add(Guest::ioctl_command<tag::G_CTRL>(id, control), 16);
  guest.device->process(wire::commandq);
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), 0);
  EXPECT_EQ(reply->as<v4l2_control>(8).value, 11);
}

TEST_F(DeferredTest, ErrorsAndDroppedAnswers) {
  defer();
  session().owed[0].complete(fail(ERANGE));
  auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), ERANGE);
  EXPECT_EQ(reply->length, 8u);
  session().owed.clear();
  defer();
  session().owed.clear();
  reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), EIO);
  // Assigning over one drops it, too.
  defer();
  defer();
  session().owed[0] = std::move(session().owed[1]);
  reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), EIO);
  EXPECT_EQ(guest.device->in_flight(0), 1u);
}

TEST_F(DeferredTest, CompleteOutOfOrder) {
  const std::uint16_t first = defer(1), second = defer(2), third = defer(3);
  session().owed[2].complete({});
  session().owed[0].complete({});
  session().owed[1].complete({});
  for (const std::uint16_t head : {third, first, second}) {
    std::optional<std::pair<std::uint16_t, Reply>> reply;
    ASSERT_TRUE(guest.run_until([&] { return (reply = guest.take_reply()).has_value(); }));
    EXPECT_EQ(reply->first, head);
  }
}

TEST_F(DeferredTest, AnswersOfAClosedSessionStillArrive) {
  guest.backend().keep_owed = true;
  defer();
  guest.close(id);
  EXPECT_EQ(guest.device->in_flight(0), 1u);
  guest.backend().kept[0].complete({});
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), 0);
}

TEST(Deferred, MoreThanTheDeviceCanRememberAreRefused) {
  Guest guest(EmbeddedOptions{.queue_size = 256}, DeviceOptions{});
  const std::uint32_t id = guest.open();
  for (int i = 0; i < 100; ++i)
    guest.add(Guest::ioctl_command<tag::S_CTRL>(id, v4l2_control{.id = V4L2_CID_GAIN, .value = i}), 16);
  guest.device->process(wire::commandq);
  int refused = 0;
  EXPECT_TRUE(guest.run_until([&] {
    while (const auto reply = guest.take_reply()) {
      EXPECT_EQ(reply->second.status(), EBUSY);
      ++refused;
    }
    return refused == 36;
  }));
  EXPECT_EQ(guest.device->in_flight(0), 64u);
  for (auto& completion : guest.backend().last->owed) completion.complete({});
  EXPECT_TRUE(guest.run_until([&] { return guest.device->in_flight(0) == 0; }));
  for (int i = 0; i < 64; ++i) {
    const auto reply = guest.take_reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->second.status(), 0);
  }
}

TEST_F(DeferredTest, AnswersFindTheirMemoryAfterTheTableWasReplaced) {
  defer(3);
  const std::weak_ptr<const memory::GuestMemory> table = guest.host.memory();
  guest.host.replace_memory();
  EXPECT_FALSE(table.expired()) << "the chain's buffers are in the old mapping";
  session().owed[0].complete({});
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->as<v4l2_control>(8).value, 3);
  EXPECT_TRUE(table.expired());
}

TEST_F(DeferredTest, StoppingWaitsForAnswers) {
  defer();
  EXPECT_FALSE(guest.host.stop(*guest.device));
  guest.host.resume();
  session().owed[0].complete({});
  EXPECT_TRUE(guest.run_until([&] { return guest.device->in_flight(0) == 0; }));
  EXPECT_TRUE(guest.take_reply());
}

TEST_F(DeferredTest, AnswersAfterAResetAreDiscarded) {
  guest.backend().keep_owed = true;
  defer();
  guest.host.reset(*guest.device);
  EXPECT_EQ(guest.device->in_flight(0), 0u);
  // The same head is in flight again, with another command, in the same slot.
  id = guest.open();
  defer();
  guest.backend().kept[0].complete(fail(EPERM));
  guest.backend().kept.clear();
  session().owed[0].complete({});
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), 0);
  EXPECT_FALSE(guest.take_reply());
}

TEST_F(DeferredTest, AnswersAfterTheDeviceAreDiscarded) {
  guest.backend().keep_owed = true;
  defer();
  auto completion = std::move(session().owed[0]);
  guest.device.reset();
  completion.complete({});
  int turns = 0;
  guest.run_until([&] { return ++turns > 3; });
  EXPECT_FALSE(guest.take_reply());
}

constexpr std::chrono::milliseconds short_timeout{30};

// Where this thread gets no processor for so long, what it answers at once is late, too, and rightly told
// ETIMEDOUT: then `attempt` is made again. It returns since when the answer was owed, and its status.
template <class Attempt>
void expect_prompt_answer(Attempt&& attempt) {
  int status = ETIMEDOUT;
  for (int i = 0; i < 100 && status == ETIMEDOUT && !testing::Test::HasFailure(); ++i) {
    io::TimePoint since;
    std::tie(since, status) = attempt();
    EXPECT_TRUE(status != ETIMEDOUT || io::Clock::now() - since >= short_timeout);
  }
  EXPECT_EQ(status, 0);
}

class TimeoutTest : public DeferredTest {
 protected:
  TimeoutTest() : DeferredTest(DeviceOptions{.command_timeout = short_timeout}) {}
  // Of the next reply; -1 if none comes.
  int next_status() {
    const auto reply = guest.wait_reply();
    return reply ? reply->status() : -1;
  }
};

TEST_F(TimeoutTest, LateAnswersAreDiscarded) {
  expect_prompt_answer([&] {
    session().owed.clear();
    session().payloads.clear();
    const auto before = io::Clock::now();
    defer();
    EXPECT_EQ(next_status(), ETIMEDOUT);
    const auto after = io::Clock::now();
    EXPECT_GE(after - before, short_timeout);
    // In the meantime another command takes the slot.
    defer();
    session().payloads[0]->value = 99;  // still the backend's
    session().owed[0].complete(fail(EPERM));
    session().owed[1].complete({});
    const int status = next_status();
    EXPECT_FALSE(guest.take_reply());
    return std::pair(after, status);
  });
  EXPECT_EQ(serve_another(), 0);
}

TEST_F(TimeoutTest, IsEachCommandsOwn) {
  expect_prompt_answer([&] {
    session().owed.clear();
    const auto begin = io::Clock::now();
    defer();
    defer();
    session().owed[0].complete({});
    const int status = next_status();
    EXPECT_EQ(next_status(), ETIMEDOUT);
    return std::pair(begin, status);
  });
  defer();
  EXPECT_EQ(next_status(), ETIMEDOUT);
}

// A backend whose OPEN is answered later.
struct SlowBackend {
  struct Session {
    SlowBackend* backend;
    ~Session() { ++backend->destroyed; }
  };
  Config config() const { return {.device_caps = 1, .device_type = DeviceType::video, .card = "slow"}; }
  Result<std::unique_ptr<Session>> open(Context context, Completion completion) {
    if (refuse != 0) return fail(refuse);
    v4l2_event event{};
    event.type = V4L2_EVENT_EOS;
    context.send_event(event);
    owed.push_back(std::move(completion));
    ids.push_back(context.session_id());
    return std::make_unique<Session>(this);
  }
  int refuse = 0;
  int destroyed = 0;
  std::vector<Completion> owed;
  std::vector<std::uint32_t> ids;
};

class DeferredOpenTest : public testing::Test {
 protected:
  explicit DeferredOpenTest(DeviceOptions options = {}) : guest(EmbeddedOptions{}, options) {}
  void begin_open() {
    guest.add(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
    guest.device->process(wire::commandq);
    EXPECT_FALSE(guest.take_reply());
  }
  MediaGuest<SlowBackend> guest;
};

TEST_F(DeferredOpenTest, IsAnsweredWhenTheBackendSaysSoAndBeforeTheFirstEvent) {
  guest.lend_event_buffers(2);
  begin_open();
  EXPECT_FALSE(guest.take_event()) << "of a session that the guest does not know";
  EXPECT_EQ(guest.device->in_flight(0), 1u);
  std::thread worker(
      [completion = std::move(guest.backend().owed[0])]() mutable { completion.complete({}); });
  const auto reply = guest.wait_reply();
  worker.join();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), 0);
  EXPECT_EQ(reply->length, 16u);
  EXPECT_EQ(reply->as<wire::virtio_media_resp_open>().session_id, guest.backend().ids[0]);
  EXPECT_TRUE(guest.take_event());
  guest.close(guest.backend().ids[0]);
  EXPECT_EQ(guest.backend().destroyed, 1);
}

TEST_F(DeferredOpenTest, AFailureClosesTheSession) {
  begin_open();
  guest.backend().owed[0].complete(fail(ENODEV));
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), ENODEV);
  EXPECT_EQ(guest.device->session_count(), 0u);
  EXPECT_EQ(guest.backend().destroyed, 1);
}

TEST_F(DeferredOpenTest, MayBeRefusedAtOnce) {
  guest.backend().refuse = EMFILE;
  guest.add(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
  guest.device->process(wire::commandq);
  const auto reply = guest.take_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->second.status(), EMFILE);
  EXPECT_EQ(guest.device->session_count(), 0u);
  EXPECT_EQ(guest.device->in_flight(0), 0u);
}

TEST_F(DeferredOpenTest, AGuessedIdClosesNothing) {
  begin_open();
  guest.close(guest.backend().ids[0]);
  EXPECT_EQ(guest.device->session_count(), 1u);
  guest.backend().owed[0].complete({});
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), 0);
}

TEST_F(DeferredOpenTest, AResetForgetsIt) {
  begin_open();
  guest.device->reset();
  EXPECT_EQ(guest.backend().destroyed, 1);
  EXPECT_EQ(guest.device->in_flight(0), 0u);
  guest.backend().owed[0].complete({});
  begin_open();
  guest.backend().owed[1].complete({});
  EXPECT_TRUE(guest.wait_reply());
  EXPECT_FALSE(guest.take_reply()) << "no answer to the earlier command";
}

class SlowOpenTest : public DeferredOpenTest {
 protected:
  SlowOpenTest() : DeferredOpenTest(DeviceOptions{.command_timeout = short_timeout}) {}
};

TEST_F(SlowOpenTest, TimesOutAndIsClosed) {
  begin_open();
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), ETIMEDOUT);
  EXPECT_EQ(guest.backend().destroyed, 1);
  guest.backend().owed[0].complete({});
  expect_prompt_answer([&] {
    const auto begin = io::Clock::now();
    begin_open();
    guest.backend().owed.back().complete({});
    const auto next = guest.wait_reply();
    return std::pair(begin, next ? next->status() : -1);
  });
}

}  // namespace
}  // namespace vumedia::media::test
