// Controls compared with v4l2-ctrls' rules: several at a time, error_idx, payloads in guest memory.
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "v4l2/controls_fixture.hpp"

namespace vumedia::v4l2::test {
namespace {

TEST_F(ControlsTest, EmptyRequestsAskForAClass) {
  const std::pair<std::uint32_t, int> cases[] = {{0, 0},
                                                 {V4L2_CTRL_CLASS_USER, 0},
                                                 {V4L2_CTRL_CLASS_IMAGE_PROC, 0},
                                                 {V4L2_CTRL_CLASS_JPEG, EINVAL},
                                                 {0x00e00000, EINVAL}};
  for (const auto& [which, error] : cases) {
    ExtControls request = make({}, which);
    EXPECT_EQ(get(request), error) << which;
    EXPECT_EQ(set(request), error) << which;
    EXPECT_EQ(attempt(request), error) << which;
  }
  ExtControls request = make({}, V4L2_CTRL_WHICH_DEF_VAL);
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(set(request), EINVAL);
  request = make({}, V4L2_CTRL_WHICH_REQUEST_VAL);
  EXPECT_EQ(get(request), EINVAL);
  EXPECT_EQ(set(request), EINVAL);
}

TEST_F(ControlsTest, ErrorIndex) {
  struct Case {
    const char* what;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ids;
    std::uint32_t which;
    int get;
    std::uint32_t get_index;
    int set;  // of S and TRY
    std::uint32_t try_index;
  };
  const Case cases[] = {
      {"unknown",
       {{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_HUE, 0}, {V4L2_CID_HFLIP, 0}},
       0,
       EINVAL,
       3,
       EINVAL,
       1},
      {"zero", {{0, 0}}, 0, EINVAL, 1, EINVAL, 0},
      {"class",
       {{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_TEST_PATTERN, 0}},
       V4L2_CTRL_CLASS_USER,
       EINVAL,
       2,
       EINVAL,
       1},
      {"read-only", {{V4L2_CID_BRIGHTNESS, 0}, {kReadOnly, 0}}, 0, 0, 1, EACCES, 1},
      {"write-only", {{V4L2_CID_BRIGHTNESS, 0}, {kButton, 0}}, 0, EACCES, 2, 0, 1},
      {"class control", {{V4L2_CID_USER_CLASS, 0}}, 0, EACCES, 1, EACCES, 0},
      {"string too small", {{V4L2_CID_BRIGHTNESS, 0}, {kString, 2}}, 0, ENOSPC, 1, ERANGE, 1},
      {"array too small", {{V4L2_CID_BRIGHTNESS, 0}, {kArray, 5}}, 0, ENOSPC, 2, EFAULT, 1},
      {"fine", {{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_HFLIP, 0}}, 0, 0, 1, 0, 1}};
  for (const Case& test : cases) {
    ExtControls request = make(test.ids, test.which);
    EXPECT_EQ(get(request), test.get) << test.what;
    EXPECT_EQ(request.head.error_idx, test.get_index) << test.what;
    request = make(test.ids, test.which);
    std::memset(ram.data(), 0, ram.size());
    EXPECT_EQ(attempt(request), test.set) << test.what;
    EXPECT_EQ(request.head.error_idx, test.try_index) << test.what;
    request = make(test.ids, test.which);
    EXPECT_EQ(set(request), test.set) << test.what;
    // A string is checked when its turn comes; before that, nothing has been set.
    const bool late = std::string_view(test.what) == "string too small" || test.set == 0;
    EXPECT_EQ(request.head.error_idx, late ? 1 : test.ids.size()) << test.what;
  }
}

TEST_F(ControlsTest, AFailedSetChangesNothing) {
  ExtControls request = make({{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_TEST_PATTERN, 0}});
  request.controls[0].value = 1;
  request.controls[1].value = 3;
  EXPECT_EQ(set(request), EINVAL);
  EXPECT_EQ(request.head.error_idx, 2U);
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 128);
  EXPECT_EQ(attempt(request), EINVAL);
  EXPECT_EQ(request.head.error_idx, 1U);
  request.controls[1].value = 4;
  request.controls[0].value = 4000;
  EXPECT_EQ(attempt(request), 0);
  EXPECT_EQ(static_cast<int>(request.controls[0].value), 255);
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 128);
  EXPECT_EQ(set(request), 0);
  EXPECT_EQ(controls.value(V4L2_CID_TEST_PATTERN), 4);
}

TEST_F(ControlsTest, WideIntegersRoundWithoutOverflow) {
  const std::pair<std::int64_t, std::int64_t> cases[] = {
      {0, 0}, {INT64_MAX, INT64_MAX - 1}, {INT64_MIN, INT64_MIN}, {INT64_MIN + 1, INT64_MIN + 2}, {-3, -2}};
  for (const auto& [value, result] : cases) {
    ExtControls request = make({{kInteger64, 0}});
    request.controls[0].value64 = value;
    EXPECT_EQ(set(request), 0);
    EXPECT_EQ(static_cast<std::int64_t>(request.controls[0].value64), result) << value;
    EXPECT_EQ(controls.value(kInteger64), result);
  }
  ExtControls request = make({{kInteger64, 0}}, V4L2_CTRL_WHICH_DEF_VAL);
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(static_cast<std::int64_t>(request.controls[0].value64), 0);
}

TEST_F(ControlsTest, Strings) {
  EXPECT_EQ(controls.string(kString), "  ");
  ExtControls request = make({{kString, 0}});
  EXPECT_EQ(get(request), ENOSPC);
  EXPECT_EQ(static_cast<std::uint32_t>(request.controls[0].size), 9U);
  request = make({{kString, 3}});
  EXPECT_EQ(get(request), 0);
  EXPECT_STREQ(reinterpret_cast<char*>(page(0)), "  ");

  struct Case {
    const char* text;
    std::uint32_t size;
    int error;
    const char* result;
  };
  const Case cases[] = {{"abcd", 5, 0, "abcd"},
                        {"abcd", 0, ERANGE, ""},
                        {"abc", 4, ERANGE, ""},  // step
                        {"", 1, ERANGE, ""},     // too short
                        {"abcdefgh", 9, 0, "abcdefgh"},
                        {"abcdefghi", 10, ERANGE, ""},  // too long
                        {"abcdefghijkl", 4000, ERANGE, ""},
                        {"abcdef", 5, 0, "abcd"}};  // cut off by its size
  for (const Case& test : cases) {
    const std::string before(controls.string(kString));
    std::memset(page(0), 0, 4096);
    std::memcpy(page(0), test.text, std::strlen(test.text));
    request = make({{kString, test.size}});
    EXPECT_EQ(set(request), test.error) << test.text;
    EXPECT_EQ(controls.string(kString), test.error == 0 ? test.result : before) << test.text;
  }
}

TEST_F(ControlsTest, ArraysAndCompounds) {
  ExtControls request = make({{kArray, 4096}, {kArea, 0}});
  EXPECT_EQ(get(request), ENOSPC);
  EXPECT_EQ(static_cast<std::uint32_t>(request.controls[0].size), 6U);
  EXPECT_EQ(static_cast<std::uint32_t>(request.controls[1].size), sizeof(v4l2_area));
  request = make({{kArray, 6}, {kArea, sizeof(v4l2_area)}});
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(std::memcmp(page(0), "\7\7\7\7\7\7", 6), 0);
  EXPECT_EQ(std::memcmp(page(1), &kDefaultArea, sizeof kDefaultArea), 0);

  std::memcpy(page(0), "\1\2\3\4\5\xff", 6);
  const v4l2_area bad = {0, 480};
  std::memcpy(page(1), &bad, sizeof bad);
  EXPECT_EQ(attempt(request), EINVAL);
  EXPECT_EQ(request.head.error_idx, 1U);
  EXPECT_EQ(controls.payload(kArray)[0], std::byte{7});
  EXPECT_EQ(static_cast<int>(*page(0) >> 0), 1);
  EXPECT_EQ(page(0)[5], std::byte{100});  // rounded, and reported
  const v4l2_area good = {1920, 1080};
  std::memcpy(page(1), &good, sizeof good);
  EXPECT_EQ(set(request), 0);
  EXPECT_EQ(controls.payload(kArray)[5], std::byte{100});
  EXPECT_EQ(std::memcmp(controls.payload(kArea).data(), &good, sizeof good), 0);
  request = make({{kArray, 6}}, V4L2_CTRL_WHICH_DEF_VAL);
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(page(0)[5], std::byte{7});
}

TEST_F(ControlsTest, DynamicArrays) {
  ExtControls request = make({{kDynamic, 13}});
  const std::uint32_t values[] = {1, 2, 5000};
  std::memcpy(page(0), values, sizeof values);
  EXPECT_EQ(set(request), 0);
  EXPECT_EQ(static_cast<std::uint32_t>(request.controls[0].size), 12U);
  EXPECT_EQ(controls.payload(kDynamic).size(), 12U);
  v4l2_query_ext_ctrl query{};
  query.id = kDynamic;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_EQ(query.elems, 3U);
  request = make({{kDynamic, 8}});
  EXPECT_EQ(get(request), ENOSPC);
  EXPECT_EQ(static_cast<std::uint32_t>(request.controls[0].size), 12U);
  request = make({{kDynamic, 100}});
  EXPECT_EQ(set(request), ENOSPC);
  EXPECT_EQ(static_cast<std::uint32_t>(request.controls[0].size), 20U);
  request = make({{kDynamic, 3}});
  EXPECT_EQ(set(request), EFAULT);
  request = make({{kDynamic, 20}});
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(static_cast<std::uint32_t>(request.controls[0].size), 12U);
  std::uint32_t rounded[3];
  std::memcpy(rounded, page(0), sizeof rounded);
  EXPECT_EQ(rounded[2], 1000U);
}

TEST_F(ControlsTest, PayloadsOutsideMemoryFault) {
  for (const std::uint32_t id : {kArray, kString, kArea}) {
    ExtControls request{};
    request.head.count = 1;
    v4l2_ext_control control{};
    control.id = id;
    control.size = 64;
    request.controls.push_back(control);
    const GuestRange range[] = {{{0x10}, 64}};
    request.ranges.add_list(range);
    EXPECT_EQ(get(request), EFAULT);
    EXPECT_EQ(set(request), EFAULT);
    EXPECT_EQ(attempt(request), EFAULT);
    // No list at all.
    request.ranges.clear();
    EXPECT_EQ(get(request), EFAULT);
  }
}

// A class in `which` admits only its own controls, wherever the other one is.
TEST_F(ControlsTest, ClassesDoNotMix) {
  const std::uint32_t user = V4L2_CID_BRIGHTNESS, image = V4L2_CID_TEST_PATTERN;
  for (const auto& ids : {std::vector{user, image}, std::vector{user, user, image}}) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> list;
    for (const std::uint32_t id : ids) list.emplace_back(id, 0);
    ExtControls request = make(list, V4L2_CTRL_CLASS_USER);
    EXPECT_EQ(get(request), EINVAL);
    EXPECT_EQ(request.head.error_idx, ids.size());
    EXPECT_EQ(set(request), EINVAL);
    EXPECT_EQ(request.head.error_idx, ids.size());
    EXPECT_EQ(attempt(request), EINVAL);
    EXPECT_EQ(request.head.error_idx, ids.size() - 1);
    request = make(list, V4L2_CTRL_WHICH_CUR_VAL);
    EXPECT_EQ(get(request), 0);
  }
  // Only the class counts; the lowest bits do not.
  ExtControls request = make({{user, 0}}, V4L2_CTRL_CLASS_USER | 0x905);
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(std::uint32_t{request.head.which}, unsigned{V4L2_CTRL_CLASS_USER});
}

TEST_F(ControlsTest, TheSameControlTwiceIsSetTwice) {
  subscribe(other, V4L2_CID_BRIGHTNESS);
  ExtControls request = make({{V4L2_CID_BRIGHTNESS, 0}, {V4L2_CID_BRIGHTNESS, 0}});
  request.controls[0].value = 7;
  request.controls[1].value = 1000;
  EXPECT_EQ(set(request), 0);
  EXPECT_EQ(static_cast<int>(request.controls[0].value), 7);
  EXPECT_EQ(static_cast<int>(request.controls[1].value), 255);
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 255);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].second.u.ctrl.value, 7);
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(static_cast<int>(request.controls[0].value), 255);
}

TEST_F(ControlsTest, ReservedFieldsAreZeroed) {
  ExtControls request = make({{V4L2_CID_BRIGHTNESS, 0}});
  request.head.reserved[0] = 5;
  request.controls[0].reserved2[0] = 6;
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(std::uint32_t{request.head.reserved[0]}, 0U);
  EXPECT_EQ(std::uint32_t{request.controls[0].reserved2[0]}, 0U);
}

// Sizes that are too small, zero, right and too large for a payload of fixed size, and `size` afterwards.
TEST_F(ControlsTest, SizesOfPayloads) {
  struct Case {
    std::uint32_t id, size;
    int get;
    std::uint32_t get_size;
    int set;
    std::uint32_t set_size;
  };
  const Case cases[] = {{kArray, 0, ENOSPC, 6, EFAULT, 0},
                        {kArray, 5, ENOSPC, 6, EFAULT, 5},
                        {kArray, 6, 0, 6, 0, 6},
                        {kArray, 4096, 0, 6, 0, 6},
                        {kArea, 7, ENOSPC, 8, EFAULT, 7},
                        {kArea, 9, 0, 8, 0, 8},
                        {kDynamic, 0, ENOSPC, 4, EFAULT, 0},
                        {kDynamic, 3, ENOSPC, 4, EFAULT, 0},
                        {kDynamic, 7, 0, 4, 0, 4},
                        {kDynamic, 20, 0, 4, 0, 20},
                        {kDynamic, 24, 0, 4, ENOSPC, 20},
                        {kString, 0, ENOSPC, 9, ERANGE, 0},
                        {kString, 2, ENOSPC, 9, ERANGE, 2},
                        {kString, 3, 0, 3, 0, 3},
                        {kString, 4096, 0, 4096, 0, 4096}};
  for (const Case& test : cases) {
    // Each begins with the defaults, and with these bytes in its memory.
    controls = Controls(kControls);
    ExtControls request = make({{test.id, test.size}});
    std::memset(page(0), 0, 4096);
    EXPECT_EQ(get(request), test.get) << test.id << ' ' << test.size;
    EXPECT_EQ(std::uint32_t{request.controls[0].size}, test.get_size) << test.id << ' ' << test.size;
    const v4l2_area area = {1, 1};
    std::memcpy(page(0), test.id == kString ? static_cast<const void*>("ab\0\0\0\0\0") : &area, sizeof area);
    request = make({{test.id, test.size}});
    EXPECT_EQ(set(request), test.set) << test.id << ' ' << test.size;
    EXPECT_EQ(std::uint32_t{request.controls[0].size}, test.set_size) << test.id << ' ' << test.size;
  }
}

// A control whose memory is out of reach fails when its turn comes, and earlier ones stay set.
TEST_F(ControlsTest, AFaultAmidARequestLeavesWhatWasDone) {
  ExtControls request = make({{V4L2_CID_BRIGHTNESS, 0}, {kArray, 6}, {V4L2_CID_CONTRAST, 0}});
  request.controls[0].value = 3;
  request.controls[2].value = 5;
  request.ranges.clear();
  request.ranges.add_list({});
  const GuestRange nowhere[] = {{{0x10}, 6}};
  request.ranges.add_list(nowhere);
  request.ranges.add_list({});
  EXPECT_EQ(get(request), EFAULT);
  EXPECT_EQ(request.head.error_idx, 1U);
  request.controls[0].value = 3;
  EXPECT_EQ(set(request), EFAULT);
  EXPECT_EQ(request.head.error_idx, 1U);
  EXPECT_EQ(controls.value(V4L2_CID_BRIGHTNESS), 3);
  EXPECT_EQ(controls.value(V4L2_CID_CONTRAST), 0);
}

}  // namespace
}  // namespace vumedia::v4l2::test
