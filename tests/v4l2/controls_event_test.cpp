// Controls compared with v4l2-ctrls' rules: events.
#include <cstring>

#include <gtest/gtest.h>

#include "v4l2/controls_fixture.hpp"

namespace vumedia::v4l2::test {
namespace {

TEST_F(ControlsTest, EventsGoToOthersUnlessFeedbackIsAsked) {
  subscribe(session, V4L2_CID_BRIGHTNESS);
  subscribe(other, V4L2_CID_BRIGHTNESS);
  EXPECT_TRUE(events.empty());
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 1), 0);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].first, &other);
  const v4l2_event& event = events[0].second;
  EXPECT_EQ(event.type, static_cast<std::uint32_t>(V4L2_EVENT_CTRL));
  EXPECT_EQ(event.u.ctrl.changes, static_cast<std::uint32_t>(V4L2_EVENT_CTRL_CH_VALUE));
  EXPECT_EQ(event.u.ctrl.value, 1);
  EXPECT_EQ(event.u.ctrl.maximum, 255);
  EXPECT_EQ(event.u.ctrl.default_value, 128);
  EXPECT_EQ(event.sequence, 0U);
  EXPECT_GT(event.timestamp.tv_sec + event.timestamp.tv_nsec, 0);

  session.remove(v4l2_event_subscription{});  // V4L2_EVENT_ALL
  subscribe(session, V4L2_CID_BRIGHTNESS, V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK);
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 2), 0);
  EXPECT_EQ(events.size(), 3U);
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 2), 0);  // no change
  EXPECT_EQ(events.size(), 3U);
  controls.set_value(V4L2_CID_BRIGHTNESS, 3);
  EXPECT_EQ(events.size(), 5U);
  EXPECT_EQ(events.back().second.sequence, 2U);
}

TEST_F(ControlsTest, InitialEvents) {
  subscribe(session, V4L2_CID_BRIGHTNESS, V4L2_EVENT_SUB_FL_SEND_INITIAL);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].second.u.ctrl.changes,
            static_cast<std::uint32_t>(V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_FLAGS));
  EXPECT_EQ(events[0].second.u.ctrl.value, 128);
  subscribe(session, V4L2_CID_BRIGHTNESS, V4L2_EVENT_SUB_FL_SEND_INITIAL);  // already there
  EXPECT_EQ(events.size(), 1U);
  subscribe(session, kButton, V4L2_EVENT_SUB_FL_SEND_INITIAL);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].second.u.ctrl.changes, static_cast<std::uint32_t>(V4L2_EVENT_CTRL_CH_FLAGS));
  subscribe(session, V4L2_CID_USER_CLASS, V4L2_EVENT_SUB_FL_SEND_INITIAL);
  EXPECT_EQ(events.size(), 2U);
}

TEST_F(ControlsTest, FlagsRangesAndDimensionsChangeWithEvents) {
  for (const std::uint32_t id : {static_cast<std::uint32_t>(V4L2_CID_BRIGHTNESS), kArray})
    subscribe(session, id);
  controls.set_flag(V4L2_CID_BRIGHTNESS, V4L2_CTRL_FLAG_INACTIVE, true);
  controls.set_flag(V4L2_CID_BRIGHTNESS, V4L2_CTRL_FLAG_INACTIVE, true);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].second.u.ctrl.flags, V4L2_CTRL_FLAG_INACTIVE | ctrl_flag_has_which_min_max);
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 100), 0);  // inactive controls can be set
  EXPECT_TRUE(controls.modify_range(V4L2_CID_BRIGHTNESS, 0, 50, 1, 20));
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].second.u.ctrl.changes,
            static_cast<std::uint32_t>(V4L2_EVENT_CTRL_CH_RANGE | V4L2_EVENT_CTRL_CH_VALUE));
  EXPECT_EQ(events[1].second.u.ctrl.value, 50);
  EXPECT_TRUE(controls.modify_range(V4L2_CID_BRIGHTNESS, 0, 60, 1, 20));
  EXPECT_EQ(events[2].second.u.ctrl.changes, static_cast<std::uint32_t>(V4L2_EVENT_CTRL_CH_RANGE));
  EXPECT_EQ(control_error(controls.modify_range(V4L2_CID_BRIGHTNESS, 5, 4, 1, 4)), EINVAL);
  EXPECT_EQ(control_error(controls.modify_range(kString, 0, 4, 1, 0)), EINVAL);
  EXPECT_TRUE(controls.modify_dimensions(kArray, {4, 4}));
  EXPECT_EQ(controls.payload(kArray).size(), 16U);
  EXPECT_EQ(controls.payload(kArray)[15], std::byte{7});
  EXPECT_EQ(events.size(), 4U);
  EXPECT_EQ(control_error(controls.modify_dimensions(kArray, {0})), EINVAL);
  EXPECT_EQ(control_error(controls.modify_dimensions(kArray, {UINT32_MAX, UINT32_MAX})), EINVAL);
  EXPECT_EQ(control_error(controls.modify_dimensions(kDynamic, {4})), EINVAL);
}

// The contents of the event, as in fill_event().
TEST_F(ControlsTest, EventsDescribeTheControl) {
  const auto initial = [&](std::uint32_t id) { return controls.initial_event(id)->u.ctrl; };
  EXPECT_FALSE(controls.initial_event(V4L2_CID_HUE));
  EXPECT_FALSE(controls.initial_event(V4L2_CID_USER_CLASS));
  EXPECT_EQ(initial(V4L2_CID_TEST_PATTERN).type, unsigned{V4L2_CTRL_TYPE_MENU});
  EXPECT_EQ(initial(V4L2_CID_TEST_PATTERN).step, 1) << "not the mask of items";
  EXPECT_EQ(initial(V4L2_CID_CONTRAST).minimum, -10);
  EXPECT_EQ(initial(V4L2_CID_CONTRAST).step, 5);
  controls.set_value(kInteger64, -(1LL << 50));
  EXPECT_EQ(initial(kInteger64).value64, -(1LL << 50));
  // A payload is not part of it.
  controls.set_payload(kString, std::as_bytes(std::span("abcd")));
  for (const std::uint32_t id : {kString, kArray, kDynamic, kArea}) {
    EXPECT_EQ(initial(id).value64, 0) << id;
    EXPECT_TRUE(initial(id).flags & V4L2_CTRL_FLAG_HAS_PAYLOAD) << id;
  }
  EXPECT_EQ(initial(kVolatile).value, 0) << "what is volatile is not read for it";
}

TEST_F(ControlsTest, ChangedPayloadsAreTold) {
  for (const std::uint32_t id : {kString, kArray, kDynamic, kArea}) subscribe(other, id);
  ExtControls request = make({{kString, 5}, {kArray, 6}, {kDynamic, 8}, {kArea, sizeof(v4l2_area)}});
  std::memcpy(page(0), "abcd", 5);
  std::memset(page(1), 1, 6);
  std::memset(page(2), 0, 8);
  const v4l2_area area = {3, 4};
  std::memcpy(page(3), &area, sizeof area);
  EXPECT_EQ(attempt(request), 0);
  EXPECT_TRUE(events.empty());
  EXPECT_EQ(set(request), 0);
  ASSERT_EQ(events.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(events[i].second.id, request.controls[i].id);
    EXPECT_EQ(events[i].second.u.ctrl.changes, unsigned{V4L2_EVENT_CTRL_CH_VALUE});
    EXPECT_EQ(events[i].second.sequence, i);
  }
  EXPECT_EQ(set(request), 0);
  EXPECT_EQ(events.size(), 4U) << "the same once more changes nothing";
  // More elements of the same value are a change.
  request = make({{kDynamic, 12}});
  std::memset(page(0), 0, 12);
  EXPECT_EQ(set(request), 0);
  EXPECT_EQ(events.size(), 5U);
}

TEST_F(ControlsTest, DimensionsThatChangeAreTold) {
  subscribe(session, kArray);
  ASSERT_TRUE(controls.modify_dimensions(kArray, {1, 2}));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].second.u.ctrl.changes,
            unsigned{V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_DIMENSIONS});
}

TEST_F(ControlsTest, ClassesAreSubscribedToAndSilent) {
  subscribe(session, V4L2_CID_USER_CLASS, V4L2_EVENT_SUB_FL_SEND_INITIAL | V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK);
  EXPECT_TRUE(session.has(V4L2_EVENT_CTRL, V4L2_CID_USER_CLASS));
  EXPECT_EQ(set(V4L2_CID_USER_CLASS, 1), EACCES);
  EXPECT_TRUE(events.empty());
}

// A failed request reports the changes that it made before it failed, and nothing else.
TEST_F(ControlsTest, OnlyWhatWasSetIsTold) {
  for (const ControlInfo& info : kControls) subscribe(other, info.id);
  ExtControls request = make({{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_CONTRAST, 0}, {V4L2_CID_HFLIP, 0}});
  request.controls[0].value = 1;
  request.controls[1].value = 10;
  request.controls[2].value = 1;
  refused = V4L2_CID_CONTRAST;
  EXPECT_EQ(set(request), EIO);
  EXPECT_EQ(request.head.error_idx, 1U) << "those before it have been set";
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].second.id, unsigned{V4L2_CID_BRIGHTNESS});
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 1);
  EXPECT_EQ(controls.value(V4L2_CID_HFLIP), 0);
}

// As in v4l2_ctrl_auto_cluster(): an automatic control makes those that it takes over inactive and volatile,
// and everyone is told, whoever asked; when it ends they keep their last value.
TEST_F(ControlsTest, AnAutomatismTakesControlsOver) {
  controls.on_apply([this](std::uint32_t id, const ControlValue& value) -> Result<> {
    if (id != V4L2_CID_HFLIP) return {};
    controls.set_flag(V4L2_CID_BRIGHTNESS, V4L2_CTRL_FLAG_INACTIVE | V4L2_CTRL_FLAG_VOLATILE,
                      value.number != 0);
    if (value.number == 0) controls.set_value(V4L2_CID_BRIGHTNESS, 42);
    return {};
  });
  subscribe(session, V4L2_CID_BRIGHTNESS);
  EXPECT_EQ(set(V4L2_CID_HFLIP, 1), 0);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].second.u.ctrl.changes, unsigned{V4L2_EVENT_CTRL_CH_FLAGS});
  EXPECT_EQ(events[0].second.u.ctrl.flags,
            V4L2_CTRL_FLAG_INACTIVE | V4L2_CTRL_FLAG_VOLATILE | ctrl_flag_has_which_min_max);
  EXPECT_EQ(get(V4L2_CID_BRIGHTNESS), 0);
  EXPECT_EQ(last.value, 42);
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 7), 0) << "may be set, and has no effect";
  EXPECT_EQ(get(V4L2_CID_BRIGHTNESS), 0);
  EXPECT_EQ(last.value, 42);
  EXPECT_EQ(set(V4L2_CID_HFLIP, 0), 0);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[2].second.u.ctrl.changes, unsigned{V4L2_EVENT_CTRL_CH_VALUE});
  EXPECT_EQ(events[2].second.u.ctrl.flags, ctrl_flag_has_which_min_max);
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 42);
}

}  // namespace
}  // namespace vumedia::v4l2::test
