// What the test pattern camera can deliver: pixel formats, sizes and frame rates.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/backends/camera/modes.hpp>

namespace vumedia::backends::test_pattern {

/// The raw formats; the first is the one in which the Rust program's camera starts. Those with several planes
/// in memory come last: only the multi-planar API has them.
inline constexpr std::array<std::uint32_t, 6> raw_formats{
    V4L2_PIX_FMT_RGB24,  V4L2_PIX_FMT_YUYV,    V4L2_PIX_FMT_NV12,
    V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_YUV420M, V4L2_PIX_FMT_NV12M,
};

/// Of every size, in seconds.
inline constexpr std::array<v4l2_fract, 6> frame_intervals{
    {{1, 60}, {1, 30}, {1, 25}, {1, 15}, {1, 10}, {1, 5}}};

/// All widths are multiples of the 40 cells of the frame code, all heights even.
inline constexpr std::array frame_sizes{
    camera::FrameSize{640, 480, frame_intervals},
    camera::FrameSize{320, 240, frame_intervals},
    camera::FrameSize{800, 600, frame_intervals},
    camera::FrameSize{1280, 720, frame_intervals},
    camera::FrameSize{1920, 1080, std::span(frame_intervals).subspan(1)},
};

/// All of these, at 30 frames in a second.
inline constexpr camera::Modes modes{raw_formats, frame_sizes, {1, 30}};
static_assert(camera::valid_modes(modes));

}  // namespace vumedia::backends::test_pattern
