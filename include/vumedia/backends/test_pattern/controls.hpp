// The controls of the test pattern camera.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern/painter.hpp>
#include <vumedia/v4l2/control_info.hpp>

namespace vumedia::backends::test_pattern {

// V4L2_CID_JPEG_COMPRESSION_QUALITY: larger is better and takes more bytes.
inline constexpr std::int32_t quality_minimum = 1;
inline constexpr std::int32_t quality_maximum = 100;
inline constexpr std::int32_t quality_default = 85;

// The last one is only for cameras that compress.
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
    v4l2::ControlInfo{.id = V4L2_CID_JPEG_COMPRESSION_QUALITY,
                      .name = "Compression Quality",
                      .minimum = quality_minimum,
                      .maximum = quality_maximum,
                      .default_value = quality_default,
                      .flags = V4L2_CTRL_FLAG_SLIDER},
};
static_assert(v4l2::valid_controls(all_controls));

}  // namespace vumedia::backends::test_pattern
