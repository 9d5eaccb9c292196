// The controls of the test pattern camera.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/backends/camera/encoding.hpp>
#include <vumedia/backends/test_pattern/painter.hpp>
#include <vumedia/v4l2/control_info.hpp>

namespace vumedia::backends::test_pattern {

// Of cameras that compress, which have this control in addition.
using camera::quality_default;
using camera::quality_maximum;
using camera::quality_minimum;

/// The controls of the source; with an encoder the camera adds the quality.
inline constexpr std::array all_controls{
    v4l2::ControlInfo{.id = V4L2_CID_BRIGHTNESS,
                      .name = "Brightness",
                      .minimum = brightness_minimum,
                      .maximum = brightness_maximum,
                      .default_value = brightness_default,
                      .flags = V4L2_CTRL_FLAG_SLIDER},
    v4l2::ControlInfo{.id = V4L2_CID_TEST_PATTERN,
                      .type = V4L2_CTRL_TYPE_MENU,
                      .name = "Test Pattern",
                      .maximum = pattern_names.size() - 1,
                      .menu = pattern_names},
};
static_assert(v4l2::valid_controls(all_controls));

}  // namespace vumedia::backends::test_pattern
