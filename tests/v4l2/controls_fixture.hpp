// Controls of most kinds, and helpers for their tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/v4l2/controls.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {

using vumedia::test::RamFile;

inline constexpr std::uint32_t kPrivate = V4L2_CID_USER_BASE + 0x1000;
inline constexpr std::uint32_t kInteger64 = kPrivate + 1;
inline constexpr std::uint32_t kString = kPrivate + 2;
inline constexpr std::uint32_t kArray = kPrivate + 3;
inline constexpr std::uint32_t kDynamic = kPrivate + 4;
inline constexpr std::uint32_t kArea = kPrivate + 5;
inline constexpr std::uint32_t kBitmask = kPrivate + 6;
inline constexpr std::uint32_t kButton = kPrivate + 7;
inline constexpr std::uint32_t kIntegerMenu = kPrivate + 8;
inline constexpr std::uint32_t kReadOnly = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
inline constexpr std::uint32_t kVolatile = V4L2_CID_GAIN;

inline constexpr const char* kMenu[] = {"Bars", "", "Noise", nullptr, "Ball"};
inline constexpr std::int64_t kIntegers[] = {10, 1LL << 40};

inline Result<> validate_area(std::span<std::byte> bytes) {
  v4l2_area area;
  std::memcpy(&area, bytes.data(), sizeof area);
  if (area.width == 0 || area.height == 0) return fail(EINVAL);
  return {};
}

inline constexpr v4l2_area kDefaultArea = {640, 480};
inline constexpr ControlInfo kControls[] = {
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

inline int control_error(const Result<>& result) {
  return result ? 0 : result.error().value;
}

// Controls, two sessions that get their events, and guest memory for their payloads.
struct ControlsFixture : testing::Test {
  explicit ControlsFixture(std::span<const ControlInfo> table) : controls(table) {
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
  Controls controls;
  Subscriptions session, other;
  std::vector<std::pair<std::uint32_t, std::int64_t>> applied;
  std::vector<std::pair<Subscriptions*, v4l2_event>> events;
  std::uint32_t refused = 0;
  v4l2_control last{};
};

struct ControlsTest : ControlsFixture {
  ControlsTest() : ControlsFixture(kControls) {}
};

}  // namespace vumedia::v4l2::test
