// Controls compared with v4l2-ctrls' rules: single numbers, the backend's side, and random requests.
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "v4l2/controls_fixture.hpp"

namespace vumedia::v4l2::test {
namespace {

// What a table must not contain.
constexpr bool valid_one(ControlInfo info) {
  return valid_controls(std::span(&info, 1));
}
static_assert(!valid_one({.id = 0, .name = "x", .maximum = 1}));
static_assert(!valid_one({.id = V4L2_CID_GAIN, .name = "", .maximum = 1}));
static_assert(!valid_one({.id = V4L2_CID_GAIN, .name = "x", .maximum = 1, .default_value = 2}));
static_assert(!valid_one({.id = V4L2_CID_GAIN, .name = "x", .maximum = 1, .step = 0}));
static_assert(!valid_one({.id = V4L2_CID_GAIN, .type = V4L2_CTRL_TYPE_MENU, .name = "x", .maximum = 1}));
static_assert(!valid_one({.id = V4L2_CID_GAIN, .type = V4L2_CTRL_TYPE_AREA, .name = "x"}));
static_assert(!valid_one({.id = V4L2_CID_GAIN,
                          .type = V4L2_CTRL_TYPE_U32,
                          .name = "x",
                          .dimensions = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}}));

TEST_F(ControlsTest, SetsRoundsAndRefuses) {
  struct Case {
    std::uint32_t id;
    std::int32_t value;
    int error;
    std::int32_t result;
  };
  const Case cases[] = {{V4L2_CID_BRIGHTNESS, 200, 0, 200},
                        {V4L2_CID_BRIGHTNESS, -1, 0, 0},
                        {V4L2_CID_BRIGHTNESS, INT32_MAX, 0, 255},
                        {V4L2_CID_BRIGHTNESS, INT32_MIN, 0, 0},
                        {V4L2_CID_CONTRAST, 2, 0, 0},
                        {V4L2_CID_CONTRAST, 3, 0, 5},
                        {V4L2_CID_CONTRAST, 8, 0, 10},
                        {V4L2_CID_CONTRAST, -9, 0, -10},
                        {V4L2_CID_HFLIP, 2, 0, 1},
                        {V4L2_CID_HFLIP, 0, 0, 0},
                        {V4L2_CID_TEST_PATTERN, 2, 0, 2},
                        {V4L2_CID_TEST_PATTERN, 1, EINVAL, 0},
                        {V4L2_CID_TEST_PATTERN, 3, EINVAL, 0},
                        {V4L2_CID_TEST_PATTERN, 5, ERANGE, 0},
                        {V4L2_CID_TEST_PATTERN, -1, ERANGE, 0},
                        {kBitmask, -1, 0, static_cast<std::int32_t>(0x80000005)},
                        {kBitmask, 6, 0, 4},
                        {kButton, 9, 0, 0},
                        {kReadOnly, 3, EACCES, 0},
                        {kInteger64, 3, EINVAL, 0},
                        {kString, 3, EINVAL, 0},
                        {kArray, 3, EINVAL, 0},
                        {V4L2_CID_USER_CLASS, 3, EACCES, 0},
                        {V4L2_CID_HUE, 3, EINVAL, 0},
                        {0, 3, EINVAL, 0}};
  for (const Case& test : cases) {
    EXPECT_EQ(set(test.id, test.value), test.error) << test.id << ' ' << test.value;
    if (test.error != 0) continue;
    EXPECT_EQ(last.value, test.result) << test.id << ' ' << test.value;
    EXPECT_EQ(static_cast<std::int32_t>(controls.value(test.id)), test.result);
  }
  EXPECT_EQ(get(kButton), EACCES);
  EXPECT_EQ(get(V4L2_CID_USER_CLASS), EACCES);
  EXPECT_EQ(get(kInteger64), EINVAL);
  EXPECT_EQ(get(kReadOnly), 0);
  EXPECT_EQ(last.value, 4);
  EXPECT_EQ(get(kVolatile), 0);
  EXPECT_EQ(last.value, 42);
}

TEST_F(ControlsTest, AppliesChangesOnly) {
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 128), 0);
  EXPECT_TRUE(applied.empty());
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 129), 0);
  EXPECT_EQ(set(kButton, 0), 0);
  EXPECT_EQ(set(kButton, 0), 0);
  EXPECT_EQ(applied.size(), 3U);
  EXPECT_EQ(set(kVolatile, 7), 0);
  EXPECT_EQ(applied.size(), 3U);
  refused = V4L2_CID_BRIGHTNESS;
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 5), EIO);
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 129);
}

TEST_F(ControlsTest, GrabbedIsBusyForGuestsOnly) {
  controls.set_flag(V4L2_CID_BRIGHTNESS, V4L2_CTRL_FLAG_GRABBED, true);
  EXPECT_EQ(set(V4L2_CID_BRIGHTNESS, 5), EBUSY);
  ExtControls request = make({{V4L2_CID_HFLIP, 0}, {V4L2_CID_BRIGHTNESS, 0}});
  request.controls[0].value = 1;
  EXPECT_EQ(attempt(request), 0);
  EXPECT_EQ(set(request), EBUSY);
  EXPECT_EQ(request.head.error_idx, 2U);
  EXPECT_EQ(controls.value(V4L2_CID_HFLIP), 0);
  controls.set_value(V4L2_CID_BRIGHTNESS, 5);
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 5);
}

TEST_F(ControlsTest, BackendMayPassAnything) {
  controls.set_value(12345, 1);
  controls.set_payload(V4L2_CID_BRIGHTNESS, {});
  controls.set_flag(12345, 1, true);
  EXPECT_EQ(controls.value(12345), 0);
  EXPECT_TRUE(controls.payload(12345).empty());
  EXPECT_EQ(controls.string(12345), "");
  controls.set_payload(kString, std::as_bytes(std::span("abcd")));
  EXPECT_EQ(controls.string(kString), "abcd");
  controls.set_payload(kString, std::as_bytes(std::span("much too long a text")));
  EXPECT_EQ(controls.string(kString), "abcd");
}

TEST_F(ControlsTest, SurvivesRandomRequests) {
  std::mt19937 random(3);
  const std::uint32_t whiches[] = {0, V4L2_CTRL_WHICH_DEF_VAL, V4L2_CTRL_CLASS_USER, 0x0f020000, 0xffffffff,
                                   1};
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ids;
    for (std::uint32_t i = 0; i < random() % 4; ++i) {
      const std::uint32_t id =
          random() % 8 ? kControls[random() % std::size(kControls)].id : static_cast<std::uint32_t>(random());
      ids.emplace_back(id, random() % 2 ? 0 : static_cast<std::uint32_t>(random() % 5000));
    }
    ExtControls request = make(ids, whiches[random() % std::size(whiches)]);
    for (auto& control : request.controls)
      control.value64 = static_cast<std::int64_t>(random() * 0x123456789ULL);
    for (std::size_t i = 0; i < 64; ++i) page(i % 4)[random() % 64] = static_cast<std::byte>(random());
    const int done = random() % 3 == 0 ? get(request) : random() % 2 ? set(request) : attempt(request);
    ASSERT_LE(request.head.error_idx, request.controls.size());
    ASSERT_GE(done, 0);
    ASSERT_GE(controls.value(V4L2_CID_CONTRAST), -10);
    ASSERT_EQ((controls.value(V4L2_CID_CONTRAST) + 10) % 5, 0);
    ASSERT_LE(controls.string(kString).size(), 8U);
    ASSERT_LE(controls.payload(kDynamic).size(), 20U);
  }
}

}  // namespace
}  // namespace vumedia::v4l2::test
