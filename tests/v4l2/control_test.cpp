// One control and its value, apart from the set that it is in; and requests of several, apart from who may
// make them.
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/control.hpp>
#include <vumedia/v4l2/control_set.hpp>
#include <vumedia/v4l2/ext_controls.hpp>

#include "v4l2/controls_fixture.hpp"

namespace vumedia::v4l2::test {
namespace one_control {
namespace {

const ControlInfo& info_of(std::uint32_t id) {
  for (const ControlInfo& info : kControls) {
    if (info.id == id) return info;
  }
  return kControls[0];
}
Control make(std::uint32_t id, bool limits = true) {
  return Control(info_of(id), limits);
}
std::vector<std::byte> bytes_of(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(Control, BeginsWithItsDefault) {
  EXPECT_EQ(make(V4L2_CID_BRIGHTNESS).number(), 128);
  EXPECT_EQ(make(kArray).bytes().size(), 6U);
  EXPECT_EQ(make(kArray).bytes()[5], std::byte{7});
  EXPECT_EQ(make(kDynamic).elements(), 1U);
  EXPECT_EQ(make(kDynamic).largest_size(), 20U);
  const Control area = make(kArea);
  EXPECT_EQ(0, std::memcmp(area.bytes().data(), &kDefaultArea, sizeof kDefaultArea));
  const Control string = make(kString);
  EXPECT_EQ(string.size(), 9U) << "with the NUL";
  EXPECT_EQ(string.bytes()[1], std::byte{' '}) << "the shortest";
}

TEST(Control, SaysWhatKindItIs) {
  const auto kinds = [](std::uint32_t id) {
    const Control control = make(id);
    return std::array{control.is_int(),    control.is_wide(),    control.has_payload(),
                      control.is_string(), control.is_dynamic(), control.is_compound()};
  };
  EXPECT_EQ(kinds(V4L2_CID_BRIGHTNESS), (std::array{true, false, false, false, false, false}));
  EXPECT_EQ(kinds(kInteger64), (std::array{false, true, false, false, false, false}));
  EXPECT_EQ(kinds(kString), (std::array{false, false, true, true, false, false}));
  EXPECT_EQ(kinds(kArray), (std::array{false, false, true, false, false, true}));
  EXPECT_EQ(kinds(kDynamic), (std::array{false, false, true, false, true, true}));
  EXPECT_EQ(kinds(kArea), (std::array{false, false, true, false, false, true}));
}

TEST(Control, ShowsFlagsThatFollowFromItsKind) {
  EXPECT_EQ(make(V4L2_CID_BRIGHTNESS).visible_flags(), ctrl_flag_has_which_min_max);
  EXPECT_EQ(make(V4L2_CID_BRIGHTNESS, false).visible_flags(), 0U);
  EXPECT_EQ(make(kButton).visible_flags(),
            unsigned{V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_EXECUTE_ON_WRITE});
  EXPECT_EQ(make(kArea).visible_flags(), unsigned{V4L2_CTRL_FLAG_HAS_PAYLOAD});
  Control control = make(V4L2_CID_BRIGHTNESS, false);
  EXPECT_TRUE(control.set_flag(V4L2_CTRL_FLAG_GRABBED | V4L2_CTRL_FLAG_INACTIVE, true));
  EXPECT_FALSE(control.set_flag(V4L2_CTRL_FLAG_GRABBED, true)) << "it has it";
  EXPECT_TRUE(control.has_flag(V4L2_CTRL_FLAG_GRABBED));
  EXPECT_TRUE(control.set_flag(V4L2_CTRL_FLAG_GRABBED, false));
  EXPECT_EQ(control.visible_flags(), unsigned{V4L2_CTRL_FLAG_INACTIVE});
}

TEST(Control, TakesAValueAsItIs) {
  Control control = make(V4L2_CID_BRIGHTNESS);
  EXPECT_TRUE(control.is_valued(128, {}));
  control.assign(3, {});
  EXPECT_TRUE(control.is_valued(3, {}));
  EXPECT_FALSE(control.is_valued(128, {}));
  Control dynamic = make(kDynamic);
  const auto twelve = bytes_of({1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0});
  dynamic.assign(0, twelve);
  EXPECT_EQ(dynamic.elements(), 3U);
  EXPECT_TRUE(dynamic.is_valued(99, twelve));
}

TEST(Control, CompletesAValueOfItsOwner) {
  const Control array = make(kArray);
  EXPECT_EQ(array.complete(bytes_of({1, 2})), bytes_of({1, 2, 7, 7, 7, 7}));
  EXPECT_EQ(array.complete(bytes_of({200})), bytes_of({100, 7, 7, 7, 7, 7})) << "clamped";
  EXPECT_TRUE(array.complete(bytes_of({1, 2, 3, 4, 5, 6, 7})).empty()) << "too many";
  const Control dynamic = make(kDynamic);
  EXPECT_EQ(dynamic.complete(bytes_of({1, 0, 0, 0, 2, 0, 0, 0})), bytes_of({1, 0, 0, 0, 2, 0, 0, 0}));
  EXPECT_TRUE(dynamic.complete({}).empty());
  EXPECT_TRUE(dynamic.complete(bytes_of({1, 0, 0})).empty()) << "not whole elements";
  EXPECT_TRUE(dynamic.complete(std::vector<std::byte>(24)).empty());
  EXPECT_TRUE(make(kArea).complete(std::vector<std::byte>(8)).empty()) << "its check refuses";
  EXPECT_EQ(make(kString).complete(bytes_of({'a', 'b'})), bytes_of({'a', 'b', 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Control, SaysWhatAnotherRangeChanges) {
  Control control = make(V4L2_CID_BRIGHTNESS);
  EXPECT_EQ(control.modify_range(0, 255, 1, 128), 0U);
  EXPECT_EQ(control.modify_range(0, 200, 1, 128), unsigned{V4L2_EVENT_CTRL_CH_RANGE});
  EXPECT_EQ(control.modify_range(0, 100, 1, 50),
            unsigned{V4L2_EVENT_CTRL_CH_RANGE | V4L2_EVENT_CTRL_CH_VALUE});
  EXPECT_EQ(control.number(), 100);
  EXPECT_FALSE(control.modify_range(5, 4, 1, 5));
  EXPECT_EQ(control.info().maximum, 100);
  EXPECT_FALSE(make(kArray).modify_range(0, 1, 1, 0));
  const ControlInfo button{.id = V4L2_CID_DO_WHITE_BALANCE, .type = V4L2_CTRL_TYPE_BUTTON, .name = "Button"};
  EXPECT_FALSE(Control(button, true).modify_range(0, 1, 1, 0)) << "it has no value";
  Control menu = make(V4L2_CID_TEST_PATTERN);
  menu.assign(4, {});
  EXPECT_EQ(menu.modify_range(0, 2, 1, 0), unsigned{V4L2_EVENT_CTRL_CH_RANGE | V4L2_EVENT_CTRL_CH_VALUE});
  EXPECT_EQ(menu.number(), 0) << "an item that is gone becomes the default";
}

TEST(Control, AnotherShapeBeginsAtTheDefaults) {
  Control array = make(kArray);
  array.assign(0, bytes_of({1, 2, 3, 4, 5, 6}));
  ASSERT_TRUE(array.modify_dimensions({2, 4}));
  EXPECT_EQ(array.elements(), 8U);
  EXPECT_TRUE(array.is_valued(0, bytes_of({7, 7, 7, 7, 7, 7, 7, 7})));
  EXPECT_FALSE(array.modify_dimensions({8})) << "of one dimension less";
  EXPECT_FALSE(make(kDynamic).modify_dimensions({4}));
  EXPECT_FALSE(make(V4L2_CID_BRIGHTNESS).modify_dimensions({4}));
}

TEST(Control, DescribesItselfInItsEvents) {
  Control control = make(V4L2_CID_CONTRAST);
  control.assign(-5, {});
  const v4l2_event event = control.event(V4L2_EVENT_CTRL_CH_VALUE);
  EXPECT_EQ(event.type, unsigned{V4L2_EVENT_CTRL});
  EXPECT_EQ(event.id, unsigned{V4L2_CID_CONTRAST});
  EXPECT_EQ(event.u.ctrl.changes, unsigned{V4L2_EVENT_CTRL_CH_VALUE});
  EXPECT_EQ(event.u.ctrl.value, -5);
  EXPECT_EQ(event.u.ctrl.step, 5);
  EXPECT_EQ(make(kArea).event(0).u.ctrl.value64, 0) << "a payload does not travel in events";
}

// ---- Requests of several

struct Access : testing::Test {
  ExtControls make_request(std::vector<std::pair<std::uint32_t, std::uint32_t>> ids) {
    ExtControls request{};
    request.head.count = static_cast<std::uint32_t>(ids.size());
    for (const auto& [id, size] : ids) {
      v4l2_ext_control control{};
      control.id = id;
      control.size = size;
      request.controls.push_back(control);
      const GuestRange range[] = {{{ram.guest()}, size}};
      request.ranges.add_list(std::span(range).first(size == 0 ? 0 : 1));
    }
    return request;
  }

  RamFile ram{0x100000, 4 * page_size};
  std::shared_ptr<const memory::GuestMemory> memory = vumedia::test::make_table({&ram});
  ControlSet set{kControls, true};
  ExtControlAccess access;
  std::vector<std::uint32_t> changed;
};

TEST_F(Access, AsksForNumbersThatAreCurrentOnly) {
  int asked = 0;
  const auto current = [&](const Control&) -> Result<std::int64_t> { return ++asked; };
  auto request = make_request({{V4L2_CID_BRIGHTNESS, 0}, {kArray, 6}, {kInteger64, 0}});
  ASSERT_TRUE(access.get(set, request, {*memory}, current));
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(request.controls[0].value, 1);
  EXPECT_EQ(std::int64_t{request.controls[2].value64}, 2) << "a copy, because the struct is packed";
  EXPECT_EQ(ram.data()[5], std::byte{7});
  request = make_request({{V4L2_CID_BRIGHTNESS, 0}});
  request.head.which = V4L2_CTRL_WHICH_DEF_VAL;
  ASSERT_TRUE(access.get(set, request, {*memory}, current));
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(request.controls[0].value, 128);
}

TEST_F(Access, ChangesAllThatAreValidAndNoneOtherwise) {
  const auto change = [&](Control& control, std::int64_t, std::span<const std::byte>) -> Result<> {
    changed.push_back(control.id());
    return control.id() == V4L2_CID_HFLIP ? fail(EIO) : Result<>();
  };
  auto request = make_request({{V4L2_CID_BRIGHTNESS, 0}, {kReadOnly, 0}});
  EXPECT_EQ(access.set(set, request, {*memory}, change), fail(EACCES));
  EXPECT_EQ(request.head.error_idx, 2U) << "nothing was set";
  EXPECT_TRUE(changed.empty());
  request = make_request({{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_HFLIP, 0}, {V4L2_CID_CONTRAST, 0}});
  EXPECT_EQ(access.set(set, request, {*memory}, change), fail(EIO));
  EXPECT_EQ(request.head.error_idx, 1U);
  EXPECT_EQ(changed, (std::vector<std::uint32_t>{V4L2_CID_BRIGHTNESS, V4L2_CID_HFLIP}));
}

TEST_F(Access, AnAttemptNamesTheFault) {
  auto request = make_request({{V4L2_CID_BRIGHTNESS, 0}, {kReadOnly, 0}});
  request.controls[0].value = 999;
  EXPECT_EQ(access.attempt(set, request, {*memory}), fail(EACCES));
  EXPECT_EQ(request.head.error_idx, 1U);
  EXPECT_EQ(request.controls[0].value, 255);
  EXPECT_EQ(set.find(V4L2_CID_BRIGHTNESS)->number(), 128);
}

}  // namespace
}  // namespace one_control
}  // namespace vumedia::v4l2::test
