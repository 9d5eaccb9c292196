// Controls compared with v4l2-ctrls' rules: what each type and each flag means.
#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "v4l2/controls_fixture.hpp"

namespace vumedia::v4l2::test {
namespace {

constexpr std::uint32_t kOwn = V4L2_CID_USER_BASE + 0x1100;
constexpr std::uint32_t kGappyMenu = kOwn + 0;
constexpr std::uint32_t kGappyRates = kOwn + 1;
constexpr std::uint32_t kBytes = kOwn + 2;
constexpr std::uint32_t kWords = kOwn + 3;
constexpr std::uint32_t kLongs = kOwn + 4;
constexpr std::uint32_t kQuads = kOwn + 5;
constexpr std::uint32_t kInts = kOwn + 6;
constexpr std::uint32_t kChoices = kOwn + 7;
constexpr std::uint32_t kNames = kOwn + 8;
constexpr std::uint32_t kFrame = kOwn + 9;
constexpr std::uint32_t kAlways = kOwn + 10;
constexpr std::uint32_t kRegister = kOwn + 11;
constexpr std::uint32_t kSecret = kOwn + 12;
constexpr std::uint32_t kGone = kOwn + 13;
constexpr std::uint32_t kHighBits = kOwn + 14;
constexpr std::uint32_t kClock = kOwn + 15;
constexpr std::uint32_t kPress = kOwn + 16;
constexpr std::uint32_t kLabel = kOwn + 17;
constexpr std::uint32_t kQuality = V4L2_CID_JPEG_COMPRESSION_QUALITY;

constexpr const char* kItems[] = {"Never offered", "One", "Two", "Three", "Four"};
constexpr std::int64_t kRates[] = {10, 20, 30, -40};
constexpr v4l2_area kSmallest = {16, 8};
constexpr v4l2_area kLargest = {4096, 2304};
constexpr v4l2_area kUsual = {640, 480};

constexpr ControlInfo kKinds[] = {
    {.id = kGappyMenu,
     .type = V4L2_CTRL_TYPE_MENU,
     .name = "Menu",
     .minimum = 1,
     .maximum = 4,
     .default_value = 3,
     .menu = kItems,
     .skipped = 1 << 2},
    {.id = kGappyRates,
     .type = V4L2_CTRL_TYPE_INTEGER_MENU,
     .name = "Rates",
     .maximum = 3,
     .default_value = 2,
     .integer_menu = kRates,
     .skipped = 1 << 1},
    {.id = kBytes,
     .type = V4L2_CTRL_TYPE_U8,
     .name = "Bytes",
     .minimum = 10,
     .maximum = 250,
     .step = 20,
     .default_value = 30,
     .dimensions = {4}},
    {.id = kWords,
     .type = V4L2_CTRL_TYPE_U16,
     .name = "Words",
     .maximum = 60000,
     .default_value = 500,
     .dimensions = {2, 3}},
    {.id = kLongs,
     .type = V4L2_CTRL_TYPE_U32,
     .name = "Longs",
     .minimum = 1,
     .maximum = 0xffffffff,
     .default_value = 0xfffffffe,
     .dimensions = {2, 2, 2}},
    {.id = kQuads,
     .type = V4L2_CTRL_TYPE_INTEGER64,
     .name = "Quads",
     .minimum = -(1LL << 40),
     .maximum = 1LL << 40,
     .default_value = -1,
     .dimensions = {1, 2, 1, 2}},
    {.id = kInts, .name = "Ints", .minimum = -5, .maximum = 5, .default_value = -2, .dimensions = {2}},
    {.id = kChoices,
     .type = V4L2_CTRL_TYPE_MENU,
     .name = "Choices",
     .maximum = 4,
     .default_value = 1,
     .menu = kItems,
     .skipped = 1 << 2,
     .dimensions = {2}},
    {.id = kNames,
     .type = V4L2_CTRL_TYPE_STRING,
     .name = "Names",
     .minimum = 1,
     .maximum = 3,
     .dimensions = {2}},
    {.id = kFrame,
     .type = V4L2_CTRL_TYPE_AREA,
     .name = "Frame",
     .flags = ctrl_flag_has_which_min_max,
     .element_size = sizeof(v4l2_area),
     .default_element = &kUsual,
     .minimum_element = &kSmallest,
     .maximum_element = &kLargest,
     .validate = validate_area},
    {.id = kAlways, .name = "Always", .maximum = 9, .flags = V4L2_CTRL_FLAG_EXECUTE_ON_WRITE},
    {.id = kRegister,
     .name = "Register",
     .maximum = 9,
     .flags = V4L2_CTRL_FLAG_EXECUTE_ON_WRITE | V4L2_CTRL_FLAG_VOLATILE},
    {.id = kSecret, .name = "Secret", .maximum = 9, .default_value = 4, .flags = V4L2_CTRL_FLAG_WRITE_ONLY},
    {.id = kGone, .name = "Gone", .maximum = 9, .flags = V4L2_CTRL_FLAG_DISABLED},
    {.id = kHighBits,
     .type = V4L2_CTRL_TYPE_BITMASK,
     .name = "High bits",
     .maximum = 0x80000005,
     .step = 0,
     .default_value = 0x80000001},
    {.id = kClock,
     .type = V4L2_CTRL_TYPE_INTEGER64,
     .name = "Clock",
     .maximum = INT64_MAX,
     .flags = V4L2_CTRL_FLAG_VOLATILE | V4L2_CTRL_FLAG_READ_ONLY},
    {.id = kPress, .type = V4L2_CTRL_TYPE_BUTTON, .name = "Press"},
    {.id = kLabel, .type = V4L2_CTRL_TYPE_STRING, .name = "Label", .minimum = 3, .maximum = 6},
    {.id = kQuality, .name = "Quality", .minimum = 1, .maximum = 100, .default_value = 80},
};
static_assert(valid_controls(kKinds));
constexpr bool valid_kind(ControlInfo info) {
  info.id = kOwn;
  info.name = "x";
  return valid_control(info);
}
// A type must be able to hold its range, and a menu's mask has 64 bits.
static_assert(!valid_kind({.maximum = 1LL << 31}));
static_assert(!valid_kind({.type = V4L2_CTRL_TYPE_U8, .maximum = 256}));
static_assert(!valid_kind({.type = V4L2_CTRL_TYPE_U16, .minimum = -1}));
static_assert(!valid_kind({.type = V4L2_CTRL_TYPE_BITMASK, .maximum = 1LL << 32, .step = 0}));
static_assert(valid_kind({.type = V4L2_CTRL_TYPE_MENU, .maximum = 4, .menu = kItems, .skipped = 2}));
static_assert(!valid_kind({.type = V4L2_CTRL_TYPE_MENU, .maximum = 4, .menu = kItems, .skipped = 1}));
static_assert(!valid_kind({.type = V4L2_CTRL_TYPE_MENU, .maximum = 64, .menu = kItems, .skipped = 2}));

struct ControlKindsTest : ControlsFixture {
  ControlKindsTest() : ControlsFixture(kKinds) {}

  int item(std::uint32_t id, std::uint32_t index) {
    v4l2_querymenu query{};
    query.id = id;
    query.index = index;
    return control_error(controls.querymenu(query));
  }
  template <class T, std::size_t n>
  std::array<T, n> at(std::size_t index) {
    std::array<T, n> values;
    std::memcpy(values.data(), page(index), sizeof values);
    return values;
  }
  // What G_EXT_CTRLS with this `which` returns for a number, or -errno.
  std::int64_t which_value(std::uint32_t which, std::uint32_t id) {
    ExtControls request = make({{id, 0}}, which);
    if (const int error = get(request); error != 0) return -error;
    const v4l2_ext_control& control = request.controls[0];
    return id == kClock ? static_cast<std::int64_t>(control.value64)
                        : static_cast<std::int64_t>(control.value);
  }
};

TEST_F(ControlKindsTest, MenusHaveOnlyTheItemsThatAreNotSkipped) {
  const std::pair<std::uint32_t, std::array<int, 6>> menus[] = {
      {kGappyMenu, {EINVAL, 0, EINVAL, 0, 0, EINVAL}},
      {kGappyRates, {0, EINVAL, 0, 0, EINVAL, EINVAL}},
      {kChoices, {0, 0, EINVAL, 0, 0, EINVAL}}};  // an array's element is a menu item, too
  for (const auto& [id, errors] : menus) {
    for (std::uint32_t i = 0; i < errors.size(); ++i) EXPECT_EQ(item(id, i), errors[i]) << id << ' ' << i;
    EXPECT_EQ(item(id, 64), EINVAL);
    EXPECT_EQ(item(id, UINT32_MAX), EINVAL);
  }
  v4l2_querymenu query{};
  query.id = kGappyRates;
  query.index = 3;
  ASSERT_TRUE(controls.querymenu(query));
  EXPECT_EQ(static_cast<std::int64_t>(query.value), -40);
}

TEST_F(ControlKindsTest, OnlyMenusHaveItems) {
  for (const ControlInfo& info : kKinds) {
    if (is_menu_type(info.type)) continue;
    EXPECT_EQ(item(info.id, 0), EINVAL) << info.name;
  }
  EXPECT_EQ(item(V4L2_CID_USER_CLASS, 0), EINVAL);
  EXPECT_EQ(item(V4L2_CID_HUE, 0), EINVAL);
  EXPECT_EQ(item(kGappyMenu | V4L2_CTRL_FLAG_NEXT_CTRL, 1), 0);  // the kernel looks at the id only
}

TEST_F(ControlKindsTest, MenuValuesOutOfRangeAndGapsAreRefused) {
  const std::pair<std::int32_t, int> values[] = {{0, ERANGE}, {1, 0},      {2, EINVAL},
                                                 {4, 0},      {5, ERANGE}, {-1, ERANGE}};
  for (const auto& [value, error] : values) {
    EXPECT_EQ(set(kGappyMenu, value), error) << value;
    ExtControls request = make({{kGappyMenu, 0}});
    request.controls[0].value = value;
    EXPECT_EQ(attempt(request), error) << value;
  }
  EXPECT_EQ(controls.value(kGappyMenu), 4);
  EXPECT_EQ(set(kGappyRates, 1), EINVAL);
  EXPECT_EQ(set(kGappyRates, 4), ERANGE);
}

TEST_F(ControlKindsTest, QuerySaysHowAnArrayIsMade) {
  struct Case {
    std::uint32_t id, element, elements, dimensions;
    std::array<std::uint32_t, 4> sizes;
  };
  const Case cases[] = {{kBytes, 1, 4, 1, {4}},       {kWords, 2, 6, 2, {2, 3}},
                        {kLongs, 4, 8, 3, {2, 2, 2}}, {kQuads, 8, 4, 4, {1, 2, 1, 2}},
                        {kInts, 4, 2, 1, {2}},        {kChoices, 4, 2, 1, {2}},
                        {kNames, 4, 2, 1, {2}},       {kFrame, sizeof(v4l2_area), 1, 0, {}},
                        {kGappyMenu, 4, 1, 0, {}},    {kLabel, 7, 1, 0, {}}};
  for (const Case& test : cases) {
    v4l2_query_ext_ctrl query;
    std::memset(&query, 0xff, sizeof query);
    query.id = test.id;
    ASSERT_TRUE(controls.query_ext_ctrl(query));
    EXPECT_EQ(query.elem_size, test.element) << query.name;
    EXPECT_EQ(query.elems, test.elements) << query.name;
    EXPECT_EQ(query.nr_of_dims, test.dimensions) << query.name;
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(query.dims[i], test.sizes[i]) << query.name;
    const bool payload = test.dimensions != 0 || test.id == kFrame || test.id == kLabel;
    EXPECT_EQ((query.flags & V4L2_CTRL_FLAG_HAS_PAYLOAD) != 0, payload) << query.name;
  }
}

TEST_F(ControlKindsTest, ElementsOfArraysAreRoundedOrRefusedLikeNumbers) {
  ExtControls request = make({{kBytes, 4}, {kWords, 12}, {kLongs, 32}, {kQuads, 32}, {kInts, 8}});
  const std::uint8_t bytes[] = {0, 255, 19, 21};
  const std::uint16_t words[] = {0, 60000, 60001, 65535, 1, 2};
  const std::uint32_t longs[] = {0, 1, 0xffffffff, 2, 3, 4, 5, 6};
  const std::int64_t quads[] = {INT64_MIN, INT64_MAX, 5, -(1LL << 40)};
  const std::int32_t ints[] = {INT32_MIN, 6};
  std::memcpy(page(0), bytes, sizeof bytes);
  std::memcpy(page(1), words, sizeof words);
  std::memcpy(page(2), longs, sizeof longs);
  std::memcpy(page(3), quads, sizeof quads);
  std::memcpy(page(4), ints, sizeof ints);
  ASSERT_EQ(set(request), 0);
  EXPECT_EQ((at<std::uint8_t, 4>(0)), (std::array<std::uint8_t, 4>{10, 250, 10, 30}));
  EXPECT_EQ((at<std::uint16_t, 6>(1)), (std::array<std::uint16_t, 6>{0, 60000, 60000, 60000, 1, 2}));
  EXPECT_EQ((at<std::uint32_t, 8>(2)), (std::array<std::uint32_t, 8>{1, 1, 0xffffffff, 2, 3, 4, 5, 6}));
  EXPECT_EQ((at<std::int64_t, 4>(3)),
            (std::array<std::int64_t, 4>{-(1LL << 40), 1LL << 40, 5, -(1LL << 40)}));
  EXPECT_EQ((at<std::int32_t, 2>(4)), (std::array<std::int32_t, 2>{-5, 5}));
  EXPECT_EQ(controls.payload(kQuads)[16], std::byte{5});

  request = make({{kChoices, 8}});
  const std::pair<std::array<std::int32_t, 2>, int> choices[] = {
      {{0, 4}, 0}, {{0, 2}, EINVAL}, {{5, 0}, ERANGE}, {{0, -1}, ERANGE}};
  for (const auto& [values, error] : choices) {
    std::memcpy(page(0), values.data(), 8);
    EXPECT_EQ(set(request), error) << values[0] << ' ' << values[1];
  }
  request = make({{kNames, 8}});
  const std::pair<const char*, int> names[] = {
      {"abc\0x\0\0", 0}, {"a\0zzxy\0", 0}, {"abcdx\0\0", ERANGE}, {"\0bcdx\0\0", ERANGE}};
  for (const auto& [text, error] : names) {
    std::memcpy(page(0), text, 8);
    EXPECT_EQ(attempt(request), error) << text;
  }
}

// V4L2_CTRL_WHICH_DEF_VAL; MIN_VAL and MAX_VAL for controls with the flag, EINVAL for the others.
TEST_F(ControlKindsTest, DefaultsAndLimitsAreRead) {
  struct Case {
    std::uint32_t id;
    std::int64_t usual, least, most;
  };
  const Case cases[] = {
      {kGappyMenu, 3, 1, 4},
      {kGappyRates, 2, 0, 3},
      {kHighBits, static_cast<std::int32_t>(0x80000001), 0, static_cast<std::int32_t>(0x80000005)},
      {kClock, 0, 0, INT64_MAX},
      {kQuality, 80, 1, 100},
      {kSecret, -EACCES, -EACCES, -EACCES},
      {kPress, -EACCES, -EINVAL, -EINVAL},
      {kGone, -EINVAL, -EINVAL, -EINVAL},
      {V4L2_CID_USER_CLASS, -EACCES, -EINVAL, -EINVAL}};
  for (const Case& test : cases) {
    EXPECT_EQ(which_value(V4L2_CTRL_WHICH_DEF_VAL, test.id), test.usual) << test.id;
    EXPECT_EQ(which_value(ctrl_which_min_val, test.id), test.least) << test.id;
    EXPECT_EQ(which_value(ctrl_which_max_val, test.id), test.most) << test.id;
  }
  EXPECT_EQ(which_value(V4L2_CTRL_WHICH_CUR_VAL, kClock), 42) << "the present value is read anew";

  ExtControls request = make({{kInts, 8}, {kQuads, 32}, {kFrame, sizeof(v4l2_area)}}, ctrl_which_min_val);
  ASSERT_EQ(get(request), 0);
  EXPECT_EQ((at<std::int32_t, 2>(0)), (std::array<std::int32_t, 2>{-5, -5}));
  EXPECT_EQ((at<std::int64_t, 4>(1)[3]), -(1LL << 40));
  EXPECT_EQ(std::memcmp(page(2), &kSmallest, sizeof kSmallest), 0);
  request.head.which = ctrl_which_max_val;
  ASSERT_EQ(get(request), 0);
  EXPECT_EQ((at<std::int32_t, 2>(0)), (std::array<std::int32_t, 2>{5, 5}));
  EXPECT_EQ(std::memcmp(page(2), &kLargest, sizeof kLargest), 0);
  request.head.which = V4L2_CTRL_WHICH_DEF_VAL;
  ASSERT_EQ(get(request), 0);
  EXPECT_EQ(std::memcmp(page(2), &kUsual, sizeof kUsual), 0);

  // Types of 0x100 and above, and strings, have them only if the driver says so.
  for (const std::uint32_t id : {kBytes, kWords, kLongs, kLabel}) {
    request = make({{kQuality, 0}, {id, 4096}}, ctrl_which_max_val);
    EXPECT_EQ(get(request), EINVAL) << id;
    EXPECT_EQ(request.head.error_idx, 2U);
  }
  for (const std::uint32_t which :
       {0U, unsigned{V4L2_CTRL_WHICH_DEF_VAL}, ctrl_which_min_val, ctrl_which_max_val}) {
    request = make({}, which);
    EXPECT_EQ(get(request), 0) << which;
  }
}

TEST_F(ControlKindsTest, DefaultsAndLimitsCannotBeSet) {
  for (const std::uint32_t which : {unsigned{V4L2_CTRL_WHICH_DEF_VAL}, ctrl_which_min_val, ctrl_which_max_val,
                                    unsigned{V4L2_CTRL_WHICH_REQUEST_VAL}}) {
    for (const bool empty : {false, true}) {
      ExtControls request = empty ? make({}, which) : make({{kQuality, 0}}, which);
      EXPECT_EQ(set(request), EINVAL) << which;
      EXPECT_EQ(request.head.error_idx, request.head.count);
      request.head.error_idx = 7;
      EXPECT_EQ(attempt(request), EINVAL) << which;
      EXPECT_EQ(request.head.error_idx, request.head.count);
    }
  }
  EXPECT_EQ(controls.value(kQuality), 80);
}

// V4L2_CTRL_FLAG_HAS_WHICH_MIN_MAX is set automatically if the value is a number.
TEST_F(ControlKindsTest, FlagsSayWhetherThereAreLimits) {
  for (const ControlInfo& info : kKinds) {
    v4l2_query_ext_ctrl query{};
    query.id = info.id;
    ASSERT_TRUE(controls.query_ext_ctrl(query));
    const bool counted = info.type < V4L2_CTRL_COMPOUND_TYPES && info.type != V4L2_CTRL_TYPE_STRING &&
                         info.type != V4L2_CTRL_TYPE_BUTTON;
    EXPECT_EQ((query.flags & ctrl_flag_has_which_min_max) != 0, counted || info.id == kFrame) << info.name;
  }
  v4l2_query_ext_ctrl query{};
  query.id = V4L2_CID_JPEG_CLASS;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_EQ(query.flags, std::uint32_t{V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY});
}

// For guests whose kernel is older than 6.14: neither the flag nor the values.
TEST_F(ControlKindsTest, LimitsCanBeLeftOut) {
  controls = Controls(kKinds, false);
  v4l2_query_ext_ctrl query{};
  query.id = kQuality;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_EQ(query.flags, 0U);
  EXPECT_EQ(controls.initial_event(kQuality)->u.ctrl.flags, 0U);
  EXPECT_EQ(which_value(ctrl_which_min_val, kQuality), -EINVAL);
  EXPECT_EQ(which_value(ctrl_which_max_val, kQuality), -EINVAL);
  EXPECT_EQ(which_value(V4L2_CTRL_WHICH_DEF_VAL, kQuality), 80);
}

TEST_F(ControlKindsTest, ExecuteOnWriteActsEachTime) {
  subscribe(other, kAlways);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(set(kAlways, 5), 0);
  EXPECT_EQ(applied.size(), 3U);
  EXPECT_EQ(events.size(), 3U);
  // The value of a volatile control stays the hardware's: the write is carried out, and no value changes.
  subscribe(other, kRegister);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(set(kRegister, 5), 0);
  EXPECT_EQ(applied.size(), 5U);
  EXPECT_EQ(events.size(), 3U);
  EXPECT_EQ(last.value, 0);
  EXPECT_EQ(get(kRegister), 0);
  EXPECT_EQ(last.value, 42);
}

TEST_F(ControlKindsTest, VolatileValuesAreReadAndTheirErrorsTold) {
  ExtControls request = make({{kQuality, 0}, {kClock, 0}});
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(static_cast<std::int64_t>(request.controls[1].value64), 42);
  controls.on_volatile([](std::uint32_t) -> Result<std::int64_t> { return fail(EIO); });
  EXPECT_EQ(get(request), EIO);
  EXPECT_EQ(request.head.error_idx, 1U);
  EXPECT_EQ(get(kRegister), EIO);
  request = make({{kClock, 0}}, V4L2_CTRL_WHICH_DEF_VAL);
  EXPECT_EQ(get(request), 0);
  EXPECT_EQ(set(request), EINVAL);
  request = make({{kClock, 0}});
  EXPECT_EQ(set(request), EACCES);
}

TEST_F(ControlKindsTest, WriteOnlyIsSetAndNotRead) {
  EXPECT_EQ(set(kSecret, 7), 0);
  EXPECT_EQ(last.value, 7);
  EXPECT_EQ(controls.value(kSecret), 7);
  EXPECT_EQ(get(kSecret), EACCES);
  ExtControls request = make({{kQuality, 0}, {kSecret, 0}, {kQuality, 0}});
  request.controls[0].value = 55;
  EXPECT_EQ(get(request), EACCES);
  EXPECT_EQ(request.head.error_idx, 3U);
  EXPECT_EQ(static_cast<int>(request.controls[0].value), 55) << "nothing was read";
}

TEST_F(ControlKindsTest, DisabledIsListedAndNoMore) {
  v4l2_query_ext_ctrl query{};
  query.id = kGone;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_TRUE(query.flags & V4L2_CTRL_FLAG_DISABLED);
  ExtControls request = make({{kQuality, 0}, {kGone, 0}});
  EXPECT_EQ(get(request), EINVAL);
  EXPECT_EQ(request.head.error_idx, 2U);
  EXPECT_EQ(attempt(request), EINVAL);
  EXPECT_EQ(request.head.error_idx, 1U);
  EXPECT_EQ(set(request), EINVAL);
  EXPECT_EQ(request.head.error_idx, 2U);
}

TEST_F(ControlKindsTest, AllBitsOfABitmaskCount) {
  subscribe(other, kHighBits);
  EXPECT_EQ(get(kHighBits), 0);
  EXPECT_EQ(last.value, static_cast<std::int32_t>(0x80000001));
  EXPECT_EQ(set(kHighBits, last.value), 0);
  EXPECT_TRUE(applied.empty()) << "the default, set again, is no change";
  EXPECT_TRUE(events.empty());
  EXPECT_EQ(set(kHighBits, -1), 0);
  EXPECT_EQ(last.value, static_cast<std::int32_t>(0x80000005));
  EXPECT_EQ(events.size(), 1U);
  v4l2_queryctrl query{};
  query.id = kHighBits;
  ASSERT_TRUE(controls.queryctrl(query));
  EXPECT_EQ(static_cast<std::uint32_t>(query.maximum), 0x80000005);
  EXPECT_EQ(static_cast<std::uint32_t>(query.default_value), 0x80000001);
  EXPECT_EQ(query.step, 0);
}

// A control that does not fit G_CTRL and S_CTRL is EINVAL, before its flags are checked.
TEST_F(ControlKindsTest, OldIoctlsKnowOnly32Bits) {
  for (const std::uint32_t id : {kBytes, kQuads, kInts, kChoices, kNames, kFrame, kClock, kLabel}) {
    EXPECT_EQ(get(id), EINVAL) << id;
    EXPECT_EQ(set(id, 1), EINVAL) << id;
  }
  EXPECT_EQ(get(kGone), 0) << "only the extended ioctls look at V4L2_CTRL_FLAG_DISABLED";
  EXPECT_EQ(set(V4L2_CID_JPEG_CLASS, 1), EACCES);
  EXPECT_EQ(get(V4L2_CID_JPEG_CLASS), EACCES);
}

TEST_F(ControlKindsTest, BackendsSetArraysOfAnySizeThatFits) {
  const std::uint16_t two[] = {7, 65535};
  controls.set_payload(kWords, std::as_bytes(std::span(two)));
  ASSERT_EQ(controls.payload(kWords).size(), 12U);
  std::array<std::uint16_t, 6> words;
  std::memcpy(words.data(), controls.payload(kWords).data(), sizeof words);
  EXPECT_EQ(words, (std::array<std::uint16_t, 6>{7, 60000, 500, 500, 500, 500}));
  const std::vector<std::byte> much(13);
  controls.set_payload(kWords, much);
  EXPECT_EQ(controls.payload(kWords)[0], std::byte{7});

  constexpr ControlInfo dynamic[] = {{.id = kLongs,
                                      .type = V4L2_CTRL_TYPE_U32,
                                      .name = "Grows",
                                      .maximum = 9,
                                      .flags = V4L2_CTRL_FLAG_DYNAMIC_ARRAY,
                                      .dimensions = {4}}};
  Controls own{dynamic};
  const std::uint32_t three[] = {1, 2, 30};
  own.set_payload(kLongs, std::as_bytes(std::span(three)));
  v4l2_query_ext_ctrl query{};
  query.id = kLongs;
  ASSERT_TRUE(own.query_ext_ctrl(query));
  EXPECT_EQ(query.elems, 3U);
  EXPECT_EQ(own.payload(kLongs).size(), 12U);
  EXPECT_EQ(own.payload(kLongs)[8], std::byte{9});
  own.set_payload(kLongs, {});
  own.set_payload(kLongs, std::as_bytes(std::span(three)).first(5));
  own.set_payload(kLongs, std::vector<std::byte>(20));
  EXPECT_EQ(own.payload(kLongs).size(), 12U) << "none, a part of one, or too many";
}

TEST_F(ControlKindsTest, RangesOfMenusKeepTheirItems) {
  EXPECT_EQ(control_error(controls.modify_range(kGappyMenu, 1, 3, 1, 2)), EINVAL) << "the default is a gap";
  EXPECT_EQ(control_error(controls.modify_range(kGappyMenu, 1, 9, 1, 9)), EINVAL)
      << "there are no such items";
  EXPECT_EQ(set(kGappyMenu, 4), 0);
  ASSERT_TRUE(controls.modify_range(kGappyMenu, 1, 3, 1, 1));
  EXPECT_EQ(controls.value(kGappyMenu), 1) << "what is no item any more becomes the default";
  EXPECT_EQ(item(kGappyMenu, 2), EINVAL);
  EXPECT_EQ(item(kGappyMenu, 4), EINVAL);
  EXPECT_EQ(control_error(controls.modify_range(kQuality, 1, 1LL << 31, 1, 1)), EINVAL);
  EXPECT_EQ(control_error(controls.modify_range(kBytes, 0, 1, 1, 1)), EINVAL);
  EXPECT_EQ(control_error(controls.modify_range(kFrame, 0, 1, 1, 1)), EINVAL);
}

TEST_F(ControlKindsTest, DimensionsChangeAndTheirNumberDoesNot) {
  ASSERT_TRUE(controls.modify_dimensions(kLongs, {3, 1, 4}));
  v4l2_query_ext_ctrl query{};
  query.id = kLongs;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_EQ(query.elems, 12U);
  EXPECT_EQ(query.dims[2], 4U);
  EXPECT_EQ(control_error(controls.modify_dimensions(kLongs, {3, 1})), EINVAL);
  EXPECT_EQ(control_error(controls.modify_dimensions(kLongs, {3, 1, 4, 1})), EINVAL);
  EXPECT_EQ(control_error(controls.modify_dimensions(kQuality, {1})), EINVAL);
  EXPECT_EQ(control_error(controls.modify_dimensions(kFrame, {1})), EINVAL);
}

// Whatever is requested, values stay in their range, elements keep their type, and error_idx names one of
// them.
TEST_F(ControlKindsTest, StayInRangeWhateverIsAsked) {
  std::mt19937 random(11);
  const std::uint32_t whiches[] = {
      0, 0, V4L2_CTRL_WHICH_DEF_VAL, ctrl_which_min_val, ctrl_which_max_val, V4L2_CTRL_CLASS_USER};
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ids;
    for (std::uint32_t i = random() % 4; i > 0; --i) {
      const ControlInfo& info = kKinds[random() % std::size(kKinds)];
      const auto exact = static_cast<std::uint32_t>(element_count(info)) * element_size(info);
      ids.emplace_back(info.id, random() % 4 == 0 ? static_cast<std::uint32_t>(random() % 100) : exact);
    }
    ExtControls request = make(ids, whiches[random() % std::size(whiches)]);
    for (v4l2_ext_control& control : request.controls)
      control.value64 = static_cast<std::int64_t>(random() * 0x123456789ULL);
    for (std::size_t i = 0; i < 64; ++i) page(i % 4)[random() % 32] = static_cast<std::byte>(random());
    const int kind = static_cast<int>(random() % 3);
    ASSERT_GE(kind == 0 ? get(request) : kind == 1 ? set(request) : attempt(request), 0);
    ASSERT_LE(request.head.error_idx, request.controls.size());
  }
  const auto each = [&]<class T>(T, std::uint32_t id, std::int64_t least, std::int64_t most) {
    const auto bytes = controls.payload(id);
    for (std::size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
      T value;
      std::memcpy(&value, bytes.data() + i, sizeof value);
      EXPECT_TRUE(static_cast<std::int64_t>(value) >= least && static_cast<std::int64_t>(value) <= most)
          << id;
    }
  };
  each(std::uint8_t{}, kBytes, 10, 250);
  each(std::uint16_t{}, kWords, 0, 60000);
  each(std::uint32_t{}, kLongs, 1, 0xffffffff);
  each(std::int64_t{}, kQuads, -(1LL << 40), 1LL << 40);
  each(std::int32_t{}, kInts, -5, 5);
  each(std::int32_t{}, kChoices, 0, 4);
  EXPECT_TRUE(has_menu_item(kKinds[0], controls.value(kGappyMenu)));
  EXPECT_TRUE(has_menu_item(kKinds[1], controls.value(kGappyRates)));
  EXPECT_GE(controls.string(kLabel).size(), 3U);
  EXPECT_GE(controls.value(kQuality), 1);
  EXPECT_LE(controls.value(kQuality), 100);
  EXPECT_FALSE(applied.empty()) << "some of it must have been right";
}

}  // namespace
}  // namespace vumedia::v4l2::test
