// Event subscriptions: the kernel's rules, bounds, and how waiting events merge.
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

TEST(MergeEvents, KeepsTheNewestStateAndAllChanges) {
  v4l2_event waiting = make_event(V4L2_EVENT_CTRL, 7);
  waiting.u.ctrl.changes = V4L2_EVENT_CTRL_CH_VALUE;
  waiting.u.ctrl.value = 1;
  v4l2_event next = waiting;
  next.u.ctrl.changes = V4L2_EVENT_CTRL_CH_FLAGS;
  next.u.ctrl.value = 2;
  next.sequence = 9;
  EXPECT_TRUE(merge_events(waiting, next));
  EXPECT_EQ(waiting.u.ctrl.changes,
            static_cast<std::uint32_t>(V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_FLAGS));
  EXPECT_EQ(waiting.u.ctrl.value, 2);
  EXPECT_EQ(waiting.sequence, 9U);
  next.id = 8;
  EXPECT_FALSE(merge_events(waiting, next));
  EXPECT_FALSE(merge_events(waiting, source_change_event()));

  v4l2_event change = source_change_event(2);
  EXPECT_TRUE(merge_events(change, source_change_event(1)));
  EXPECT_EQ(change.u.src_change.changes, 3U);
  v4l2_event end = make_event(V4L2_EVENT_EOS);
  EXPECT_FALSE(merge_events(end, make_event(V4L2_EVENT_EOS)));
}

}  // namespace
}  // namespace vumedia::v4l2::test
