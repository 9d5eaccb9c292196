// Controls against v4l2-ctrls' rules: queries, rounding, errnos, error_idx, payloads in guest memory, events.
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/v4l2/controls.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {
namespace {

using vumedia::test::RamFile;

constexpr std::uint32_t kPrivate = V4L2_CID_USER_BASE + 0x1000;
constexpr std::uint32_t kInteger64 = kPrivate + 1;
constexpr std::uint32_t kString = kPrivate + 2;
constexpr std::uint32_t kArray = kPrivate + 3;
constexpr std::uint32_t kDynamic = kPrivate + 4;
constexpr std::uint32_t kArea = kPrivate + 5;
constexpr std::uint32_t kBitmask = kPrivate + 6;
constexpr std::uint32_t kButton = kPrivate + 7;
constexpr std::uint32_t kIntegerMenu = kPrivate + 8;
constexpr std::uint32_t kReadOnly = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
constexpr std::uint32_t kVolatile = V4L2_CID_GAIN;

constexpr const char* kMenu[] = {"Bars", "", "Noise", nullptr, "Ball"};
constexpr std::int64_t kIntegers[] = {10, 1LL << 40};

Result<> validate_area(std::span<std::byte> bytes) {
  v4l2_area area;
  std::memcpy(&area, bytes.data(), sizeof area);
  if (area.width == 0 || area.height == 0) return fail(EINVAL);
  return {};
}

constexpr v4l2_area kDefaultArea = {640, 480};
constexpr ControlInfo kControls[] = {
    {.id = V4L2_CID_BRIGHTNESS, .name = "Brightness", .maximum = 255, .default_value = 128},
    {.id = V4L2_CID_CONTRAST,
     .name = "Contrast",
     .minimum = -10,
     .maximum = 10,
     .step = 5,
     .default_value = 0},
    {.id = V4L2_CID_HFLIP, .type = V4L2_CTRL_TYPE_BOOLEAN, .name = "Flip", .maximum = 1},
    {.id = V4L2_CID_TEST_PATTERN,
     .type = V4L2_CTRL_TYPE_MENU,
     .name = "Pattern",
     .maximum = 4,
     .menu = kMenu},
    {.id = kReadOnly,
     .name = "Min",
     .minimum = 1,
     .maximum = 32,
     .default_value = 4,
     .flags = V4L2_CTRL_FLAG_READ_ONLY},
    {.id = kVolatile, .name = "Gain", .maximum = 100, .flags = V4L2_CTRL_FLAG_VOLATILE},
    {.id = kInteger64,
     .type = V4L2_CTRL_TYPE_INTEGER64,
     .name = "Wide",
     .minimum = INT64_MIN,
     .maximum = INT64_MAX,
     .step = 2},
    {.id = kString, .type = V4L2_CTRL_TYPE_STRING, .name = "Text", .minimum = 2, .maximum = 8, .step = 2},
    {.id = kArray,
     .type = V4L2_CTRL_TYPE_U8,
     .name = "Array",
     .maximum = 100,
     .default_value = 7,
     .dimensions = {3, 2}},
    {.id = kDynamic,
     .type = V4L2_CTRL_TYPE_U32,
     .name = "Dynamic",
     .maximum = 1000,
     .default_value = 9,
     .flags = V4L2_CTRL_FLAG_DYNAMIC_ARRAY,
     .dimensions = {5}},
    {.id = kArea,
     .type = V4L2_CTRL_TYPE_AREA,
     .name = "Area",
     .element_size = sizeof(v4l2_area),
     .default_element = &kDefaultArea,
     .validate = validate_area},
    {.id = kBitmask, .type = V4L2_CTRL_TYPE_BITMASK, .name = "Mask", .maximum = 0x80000005, .step = 0},
    {.id = kButton, .type = V4L2_CTRL_TYPE_BUTTON, .name = "Button"},
    {.id = kIntegerMenu,
     .type = V4L2_CTRL_TYPE_INTEGER_MENU,
     .name = "Rates",
     .maximum = 1,
     .integer_menu = kIntegers},
};
static_assert(valid_controls(kControls));

// What a table must not hold.
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

int control_error(const Result<>& result) {
  return result ? 0 : result.error().value;
}

struct ControlsTest : testing::Test {
  ControlsTest() {
    controls.on_apply([this](std::uint32_t id, const ControlValue& value) -> Result<> {
      if (id == refused) return fail(EIO);
      applied.emplace_back(id, value.number);
      return {};
    });
    controls.on_event([this](const v4l2_event& event, const Subscriptions* origin) {
      for (Subscriptions* s : {&session, &other}) {
        s->deliver(event, origin, [&](const v4l2_event& e) { events.emplace_back(s, e); });
      }
    });
    controls.on_volatile([](std::uint32_t) -> Result<std::int64_t> { return 42; });
  }

  // A request with payloads at consecutive pages of guest memory.
  ExtControls make(std::vector<std::pair<std::uint32_t, std::uint32_t>> ids, std::uint32_t which = 0) {
    ExtControls request{};
    request.head.which = which;
    request.head.count = static_cast<std::uint32_t>(ids.size());
    std::uint64_t page = ram.guest();
    for (const auto& [id, size] : ids) {
      v4l2_ext_control control{};
      control.id = id;
      control.size = size;
      request.controls.push_back(control);
      const GuestRange range[] = {{{page}, size}};
      request.ranges.add_list(std::span(range).first(size == 0 ? 0 : 1));
      page += 4096;
    }
    return request;
  }
  std::byte* page(std::size_t index) { return ram.data() + index * 4096; }
  int get(ExtControls& request) { return control_error(controls.g_ext_ctrls(request, *memory)); }
  int set(ExtControls& request) { return control_error(controls.s_ext_ctrls(request, *memory, &session)); }
  int attempt(ExtControls& request) { return control_error(controls.try_ext_ctrls(request, *memory)); }
  int set(std::uint32_t id, std::int32_t value) {
    last = {id, value};
    return control_error(controls.s_ctrl(last, &session));
  }
  int get(std::uint32_t id) {
    last = {id, 0};
    return control_error(controls.g_ctrl(last));
  }
  void subscribe(Subscriptions& to, std::uint32_t id, std::uint32_t flags = 0) {
    v4l2_event_subscription request{};
    request.type = V4L2_EVENT_CTRL;
    request.id = id;
    request.flags = flags;
    ASSERT_TRUE(subscribe_event(to, request, {}, &controls,
                                [&](const v4l2_event& e) { events.emplace_back(&to, e); }));
  }

  RamFile ram{0x100000, 64 * 4096};
  std::shared_ptr<const memory::GuestMemory> memory = vumedia::test::make_table({&ram});
  Controls controls{kControls};
  Subscriptions session, other;
  std::vector<std::pair<std::uint32_t, std::int64_t>> applied;
  std::vector<std::pair<Subscriptions*, v4l2_event>> events;
  std::uint32_t refused = 0;
  v4l2_control last{};
};
TEST_F(ControlsTest, ListsControlsAndTheirClassesInOrder) {
  std::vector<std::uint32_t> plain, compound, all;
  const auto list = [&](std::vector<std::uint32_t>& ids, std::uint32_t flags) {
    v4l2_query_ext_ctrl query;
    std::memset(&query, 0xff, sizeof query);
    query.id = flags;
    while (controls.query_ext_ctrl(query)) {
      ids.push_back(query.id);
      query.id |= flags;
    }
  };
  list(plain, V4L2_CTRL_FLAG_NEXT_CTRL);
  list(compound, V4L2_CTRL_FLAG_NEXT_COMPOUND);
  list(all, V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND);
  EXPECT_EQ(compound, (std::vector<std::uint32_t>{kArray, kDynamic, kArea}));
  EXPECT_EQ(plain.size() + compound.size(), all.size());
  EXPECT_EQ(all.size(), controls.size());
  EXPECT_TRUE(std::ranges::is_sorted(all));
  EXPECT_EQ(plain.front(), V4L2_CID_USER_CLASS);
  EXPECT_EQ(std::ranges::count(plain, V4L2_CID_IMAGE_PROC_CLASS), 1);
}

TEST_F(ControlsTest, DescribesAControl) {
  v4l2_query_ext_ctrl query;
  std::memset(&query, 0xff, sizeof query);
  query.id = kArray;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_STREQ(query.name, "Array");
  EXPECT_EQ(query.elem_size, 1U);
  EXPECT_EQ(query.elems, 6U);
  EXPECT_EQ(query.nr_of_dims, 2U);
  EXPECT_EQ(query.dims[1], 2U);
  EXPECT_EQ(query.dims[2], 0U);
  EXPECT_EQ(query.flags, static_cast<std::uint32_t>(V4L2_CTRL_FLAG_HAS_PAYLOAD));
  for (const std::uint32_t word : query.reserved) EXPECT_EQ(word, 0U);

  query.id = kDynamic;
  ASSERT_TRUE(controls.query_ext_ctrl(query));
  EXPECT_EQ(query.elems, 1U);
  EXPECT_EQ(query.dims[0], 5U);

  v4l2_queryctrl old;
  std::memset(&old, 0xff, sizeof old);
  old.id = V4L2_CID_CONTRAST;
  ASSERT_TRUE(controls.queryctrl(old));
  EXPECT_EQ(old.minimum, -10);
  EXPECT_EQ(old.step, 5);
  EXPECT_EQ(old.reserved[0], 0U);
  old.id = kInteger64;
  ASSERT_TRUE(controls.queryctrl(old));
  EXPECT_EQ(old.minimum, 0);
  EXPECT_EQ(old.step, 0);
  old.id = V4L2_CID_USER_CLASS;
  ASSERT_TRUE(controls.queryctrl(old));
  EXPECT_STREQ(reinterpret_cast<const char*>(old.name), "User Controls");
  EXPECT_EQ(old.flags, static_cast<std::uint32_t>(V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY));
  for (const std::uint32_t bad :
       {0U, 1U, static_cast<std::uint32_t>(V4L2_CID_HUE), UINT32_MAX, 0x7fffffffU}) {
    old.id = bad;
    EXPECT_EQ(control_error(controls.queryctrl(old)), EINVAL) << bad;
  }
}

TEST_F(ControlsTest, CountsPrivateControlsTheOldWay) {
  v4l2_queryctrl query{};
  query.id = V4L2_CID_PRIVATE_BASE;
  ASSERT_TRUE(controls.queryctrl(query));
  EXPECT_EQ(query.id, static_cast<std::uint32_t>(V4L2_CID_PRIVATE_BASE));
  EXPECT_STREQ(reinterpret_cast<const char*>(query.name), "Mask");  // the first that G_CTRL can read
  query.id = V4L2_CID_PRIVATE_BASE + 3;
  EXPECT_FALSE(controls.queryctrl(query));
  ExtControls request = make({{V4L2_CID_PRIVATE_BASE, 0}});
  EXPECT_EQ(get(request), EINVAL);
}

TEST_F(ControlsTest, Querymenu) {
  const std::pair<std::uint32_t, int> items[] = {
      {0, 0}, {1, EINVAL}, {2, 0}, {3, EINVAL}, {4, 0}, {5, EINVAL}, {UINT32_MAX, EINVAL}};
  for (const auto& [index, error] : items) {
    v4l2_querymenu query;
    std::memset(&query, 0xff, sizeof query);
    query.id = V4L2_CID_TEST_PATTERN;
    query.index = index;
    EXPECT_EQ(control_error(controls.querymenu(query)), error) << index;
    if (error == 0) {
      EXPECT_STREQ(reinterpret_cast<const char*>(query.name), kMenu[index]);
      EXPECT_EQ(static_cast<std::uint32_t>(query.reserved), 0U);
    }
  }
  v4l2_querymenu query{};
  query.id = kIntegerMenu;
  query.index = 1;
  ASSERT_TRUE(controls.querymenu(query));
  EXPECT_EQ(static_cast<std::int64_t>(query.value), 1LL << 40);
  query.id = V4L2_CID_BRIGHTNESS;
  EXPECT_EQ(control_error(controls.querymenu(query)), EINVAL);
}

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
    // A string is looked at when its turn comes; before that, nothing has been set.
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
  EXPECT_EQ(page(0)[5], std::byte{100});  // rounded, and told so
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
  EXPECT_EQ(events[0].second.u.ctrl.flags, static_cast<std::uint32_t>(V4L2_CTRL_FLAG_INACTIVE));
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
