// A device without pictures that has a control of every kind, for tests of controls.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/media/backend.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/ioctls.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::test {

namespace zoo {

// Ids without a meaning of their own, in the class of user controls.
inline constexpr std::uint32_t first = V4L2_CID_USER_BASE + 0x1000;
inline constexpr std::uint32_t integer = first, boolean = first + 1, menu = first + 2, gaps = first + 3,
                               integer_menu = first + 4, bitmask = first + 5, button = first + 6,
                               string = first + 7, integer64 = first + 8, bytes = first + 9,
                               words = first + 10, array = first + 11, compound = first + 12,
                               dynamic = first + 13, read_only = first + 14, write_only = first + 15,
                               ticking = first + 16, inactive = first + 17, grabbed = first + 18;

inline constexpr std::array<const char*, 3> animals{"Ape", "Bear", "Cat"};
inline constexpr std::array<const char*, 4> with_gaps{"Duck", "", "Eel", "Fox"};
inline constexpr std::array<std::int64_t, 3> legs{2, 4, std::int64_t{1} << 40};

inline constexpr std::array controls{
    v4l2::ControlInfo{.id = integer,
                      .name = "Integer",
                      .minimum = -10,
                      .maximum = 90,
                      .step = 5,
                      .default_value = 20,
                      .flags = v4l2::ctrl_flag_has_which_min_max},
    v4l2::ControlInfo{.id = boolean, .type = V4L2_CTRL_TYPE_BOOLEAN, .name = "Boolean", .maximum = 1},
    v4l2::ControlInfo{.id = menu,
                      .type = V4L2_CTRL_TYPE_MENU,
                      .name = "Menu",
                      .maximum = 2,
                      .default_value = 1,
                      .menu = animals},
    v4l2::ControlInfo{
        .id = gaps, .type = V4L2_CTRL_TYPE_MENU, .name = "Menu with Gaps", .maximum = 3, .menu = with_gaps},
    v4l2::ControlInfo{.id = integer_menu,
                      .type = V4L2_CTRL_TYPE_INTEGER_MENU,
                      .name = "Integer Menu",
                      .maximum = 2,
                      .integer_menu = legs},
    v4l2::ControlInfo{.id = bitmask,
                      .type = V4L2_CTRL_TYPE_BITMASK,
                      .name = "Bitmask",
                      .maximum = 0x800000f5,
                      .step = 0,
                      .default_value = 0x80000021},
    v4l2::ControlInfo{.id = button,
                      .type = V4L2_CTRL_TYPE_BUTTON,
                      .name = "Button",
                      .step = 0,
                      .flags = V4L2_CTRL_FLAG_WRITE_ONLY | V4L2_CTRL_FLAG_EXECUTE_ON_WRITE},
    v4l2::ControlInfo{
        .id = string, .type = V4L2_CTRL_TYPE_STRING, .name = "String", .minimum = 2, .maximum = 8},
    v4l2::ControlInfo{.id = integer64,
                      .type = V4L2_CTRL_TYPE_INTEGER64,
                      .name = "Integer 64 Bits",
                      .minimum = -(std::int64_t{1} << 40),
                      .maximum = std::int64_t{1} << 40,
                      .default_value = 7},
    v4l2::ControlInfo{.id = bytes,
                      .type = V4L2_CTRL_TYPE_U8,
                      .name = "Bytes",
                      .maximum = 200,
                      .default_value = 9,
                      .dimensions = {4, 2}},
    v4l2::ControlInfo{.id = words,
                      .type = V4L2_CTRL_TYPE_U16,
                      .name = "Words",
                      .maximum = 0xffff,
                      .default_value = 1,
                      .dimensions = {3}},
    v4l2::ControlInfo{.id = array, .name = "Array", .minimum = -100, .maximum = 100, .dimensions = {5}},
    v4l2::ControlInfo{
        .id = compound, .type = V4L2_CTRL_TYPE_AREA, .name = "Area", .element_size = sizeof(v4l2_area)},
    v4l2::ControlInfo{.id = dynamic,
                      .type = V4L2_CTRL_TYPE_U32,
                      .name = "Dynamic Array",
                      .maximum = 1000,
                      .flags = V4L2_CTRL_FLAG_DYNAMIC_ARRAY,
                      .dimensions = {8}},
    v4l2::ControlInfo{.id = read_only,
                      .name = "Read-Only",
                      .maximum = 9,
                      .default_value = 3,
                      .flags = V4L2_CTRL_FLAG_READ_ONLY},
    v4l2::ControlInfo{
        .id = write_only, .name = "Write-Only", .maximum = 9, .flags = V4L2_CTRL_FLAG_WRITE_ONLY},
    v4l2::ControlInfo{.id = ticking,
                      .name = "Volatile",
                      .maximum = 1 << 30,
                      .flags = V4L2_CTRL_FLAG_VOLATILE | V4L2_CTRL_FLAG_READ_ONLY},
    v4l2::ControlInfo{.id = inactive, .name = "Inactive", .maximum = 9, .flags = V4L2_CTRL_FLAG_INACTIVE},
    v4l2::ControlInfo{.id = grabbed, .name = "Grabbed", .maximum = 9},
};
static_assert(v4l2::valid_controls(controls));

}  // namespace zoo

// The controls belong to the device, and every file is told of their changes.
class ControlZoo : public v4l2::Ioctls<ControlZoo, v4l2::ControlIoctls, v4l2::EventIoctls> {
 public:
  struct Session {
    media::Context context;
    v4l2::Subscriptions subscriptions;
  };

  ControlZoo() : controls_(zoo::controls) {
    controls_.on_event([this](const v4l2_event& event, const v4l2::Subscriptions* origin) {
      v4l2::send_to_subscribers(sessions_, event, origin);
    });
    controls_.on_volatile([this](std::uint32_t) -> Result<std::int64_t> { return ++ticks_; });
    controls_.set_flag(zoo::grabbed, V4L2_CTRL_FLAG_GRABBED, true);
  }

  [[nodiscard]] media::Config config() const noexcept {
    return {.device_caps = V4L2_CAP_TUNER | V4L2_CAP_RADIO,
            .device_type = media::DeviceType::radio,
            .card = "control zoo"};
  }
  [[nodiscard]] Result<std::unique_ptr<Session>> open(media::Context context) {
    auto session = std::make_unique<Session>(Session{context, {}});
    sessions_.push_back(session.get());
    return session;
  }
  void close(Session& session) noexcept { std::erase(sessions_, &session); }

  // For what is inherited.
  [[nodiscard]] v4l2::Controls& controls_of(Session&) noexcept { return controls_; }

  [[nodiscard]] v4l2::Controls& controls() noexcept { return controls_; }

 private:
  v4l2::Controls controls_;
  std::vector<Session*> sessions_;
  std::int64_t ticks_ = 0;
};

}  // namespace vumedia::test
