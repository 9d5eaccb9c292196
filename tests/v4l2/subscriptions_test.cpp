// Event subscriptions: the kernel's rules, limits, and how waiting events merge.
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::v4l2::test {
namespace {

constexpr std::uint32_t kTypes[] = {V4L2_EVENT_EOS, V4L2_EVENT_SOURCE_CHANGE};

v4l2_event_subscription make(std::uint32_t type, std::uint32_t id = 0, std::uint32_t flags = 0) {
  v4l2_event_subscription request{};
  request.type = type;
  request.id = id;
  request.flags = flags;
  return request;
}

struct SubscriptionsTest : testing::Test {
  auto send() {
    return [this](const v4l2_event& event) { sent.push_back(event); };
  }
  int subscribe(std::uint32_t type, std::uint32_t id = 0, std::uint32_t flags = 0) {
    const auto done = subscribe_event(subscriptions, make(type, id, flags), kTypes, nullptr, send());
    return done ? 0 : done.error().value;
  }
  Subscriptions subscriptions;
  std::vector<v4l2_event> sent;
};

TEST_F(SubscriptionsTest, AcceptsWhatTheBackendSends) {
  EXPECT_EQ(subscribe(V4L2_EVENT_ALL), EINVAL);
  EXPECT_EQ(subscribe(V4L2_EVENT_VSYNC), EINVAL);
  EXPECT_EQ(subscribe(V4L2_EVENT_CTRL, V4L2_CID_BRIGHTNESS), EINVAL);  // no controls at all
  EXPECT_EQ(subscribe(V4L2_EVENT_PRIVATE_START + 5), EINVAL);
  EXPECT_EQ(subscribe(UINT32_MAX, UINT32_MAX, UINT32_MAX), EINVAL);
  EXPECT_EQ(subscribe(V4L2_EVENT_EOS, 0, UINT32_MAX), 0);
  EXPECT_EQ(subscribe(V4L2_EVENT_EOS), 0);
  EXPECT_EQ(subscriptions.size(), 1U);
}

TEST_F(SubscriptionsTest, DeliversByTypeAndId) {
  EXPECT_FALSE(subscriptions.deliver(make_event(V4L2_EVENT_EOS), send()));
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS), 0);
  ASSERT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE, 3), 0);
  EXPECT_TRUE(subscriptions.deliver(make_event(V4L2_EVENT_EOS), send()));
  EXPECT_FALSE(subscriptions.deliver(source_change_event(), send()));  // of source 0
  ASSERT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE), 0);
  EXPECT_TRUE(subscriptions.deliver(source_change_event(), send()));
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(sent[0].sequence, 0U);
  EXPECT_EQ(sent[1].sequence, 1U);
  EXPECT_EQ(sent[1].u.src_change.changes, static_cast<std::uint32_t>(V4L2_EVENT_SRC_CH_RESOLUTION));
  EXPECT_EQ(sent[1].pending, 0U);
}

TEST_F(SubscriptionsTest, UnsubscribesOneAllAndNone) {
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS), 0);
  ASSERT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE, 1), 0);
  subscriptions.remove(make(V4L2_EVENT_SOURCE_CHANGE, 2));
  subscriptions.remove(make(UINT32_MAX, UINT32_MAX));
  EXPECT_EQ(subscriptions.size(), 2U);
  subscriptions.remove(make(V4L2_EVENT_SOURCE_CHANGE, 1));
  EXPECT_FALSE(subscriptions.has(V4L2_EVENT_SOURCE_CHANGE, 1));
  subscriptions.remove(make(V4L2_EVENT_ALL, 77));
  EXPECT_EQ(subscriptions.size(), 0U);
}

TEST_F(SubscriptionsTest, IsBounded) {
  for (std::uint32_t id = 0; id < Subscriptions::max_subscriptions; ++id) {
    ASSERT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE, id), 0);
  }
  EXPECT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE, UINT32_MAX), ENOMEM);
  EXPECT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE, 5), 0);
}

// v4l2_event_subscribe(): "Already listening" is not an error and changes nothing, not even the flags.
TEST_F(SubscriptionsTest, TheFirstSubscriptionCounts) {
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS), 0);
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS, 0, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK), 0);
  EXPECT_FALSE(subscriptions.deliver(make_event(V4L2_EVENT_EOS), &subscriptions, send()));
  subscriptions.remove(make(V4L2_EVENT_EOS));
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS, 0, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK), 0);
  EXPECT_TRUE(subscriptions.deliver(make_event(V4L2_EVENT_EOS), &subscriptions, send()));
}

// The sequence counts the events that the session gets; not events elsewhere, or those that it does not get.
TEST_F(SubscriptionsTest, NumbersWhatIsDelivered) {
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS), 0);
  ASSERT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE), 0);
  subscriptions.deliver(make_event(V4L2_EVENT_EOS), send());
  subscriptions.deliver(make_event(V4L2_EVENT_VSYNC), send());                // not subscribed
  subscriptions.deliver(make_event(V4L2_EVENT_EOS), &subscriptions, send());  // caused by itself
  subscriptions.deliver(source_change_event(), send());
  subscriptions.remove(make(V4L2_EVENT_ALL));
  subscriptions.deliver(make_event(V4L2_EVENT_EOS), send());
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS), 0);
  subscriptions.deliver(make_event(V4L2_EVENT_EOS), send());
  ASSERT_EQ(sent.size(), 3U);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(sent[i].sequence, i) << "it goes on after ALL was ended";
}

TEST_F(SubscriptionsTest, EventsHaveTheTimeOfTheMonotonicClock) {
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS), 0);
  timespec before{}, after{};
  ::clock_gettime(CLOCK_MONOTONIC, &before);
  subscriptions.deliver(make_event(V4L2_EVENT_EOS), send());
  ::clock_gettime(CLOCK_MONOTONIC, &after);
  ASSERT_EQ(sent.size(), 1U);
  const auto nanoseconds = [](const auto& time) { return time.tv_sec * 1'000'000'000LL + time.tv_nsec; };
  EXPECT_LE(nanoseconds(before), nanoseconds(sent[0].timestamp));
  EXPECT_LE(nanoseconds(sent[0].timestamp), nanoseconds(after));
}

// Kernel drivers do not check the ids of these: any can be subscribed to, and only events that are sent
// arrive.
TEST_F(SubscriptionsTest, IdsOfStatelessEventsAreNotChecked) {
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS, 5), 0);
  ASSERT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE, UINT32_MAX), 0);
  EXPECT_FALSE(subscriptions.deliver(make_event(V4L2_EVENT_EOS), send()));
  EXPECT_FALSE(subscriptions.deliver(source_change_event(), send()));
  EXPECT_TRUE(sent.empty());
}

// SEND_INITIAL is for events with a state; for others there is nothing to send.
TEST_F(SubscriptionsTest, OnlyControlsHaveAFirstEvent) {
  ASSERT_EQ(subscribe(V4L2_EVENT_SOURCE_CHANGE, 0, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0);
  ASSERT_EQ(subscribe(V4L2_EVENT_EOS, 0, V4L2_EVENT_SUB_FL_SEND_INITIAL), 0);
  EXPECT_TRUE(sent.empty());
}

}  // namespace
}  // namespace vumedia::v4l2::test
