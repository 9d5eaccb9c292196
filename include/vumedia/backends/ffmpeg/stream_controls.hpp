// The controls of a decoder: which profiles and levels it takes (VIDIOC_QUERYCTRL, VIDIOC_QUERYMENU), and
// which the stream has (their values, which clients can only read).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <linux/v4l2-controls.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/control_info.hpp>

extern "C" {
#include <libavcodec/codec_id.h>
}

namespace vumedia::backends::ffmpeg {

/// Kernel headers from before 2023 lack these.
inline constexpr std::uint32_t cid_av1_profile = V4L2_CID_CODEC_BASE + 655;
inline constexpr std::uint32_t cid_av1_level = V4L2_CID_CODEC_BASE + 656;  ///< likewise

/// The items of the menus of profiles, tiers and levels.
namespace menus {

/// The items, in the order of the control's values.
///@{
inline constexpr std::array h264_profiles{"Baseline",
                                          "Constrained Baseline",
                                          "Main",
                                          "Extended",
                                          "High",
                                          "High 10",
                                          "High 422",
                                          "High 444 Predictive",
                                          "High 10 Intra",
                                          "High 422 Intra",
                                          "High 444 Intra",
                                          "CAVLC 444 Intra",
                                          "Scalable Baseline",
                                          "Scalable High",
                                          "Scalable High Intra",
                                          "Stereo High",
                                          "Multiview High",
                                          "Constrained High"};
inline constexpr std::array h264_levels{"1",   "1b", "1.1", "1.2", "1.3", "2",   "2.1", "2.2", "3",   "3.1",
                                        "3.2", "4",  "4.1", "4.2", "5",   "5.1", "5.2", "6.0", "6.1", "6.2"};
inline constexpr std::array hevc_profiles{"Main", "Main Still Picture", "Main 10"};
inline constexpr std::array hevc_tiers{"Main", "High"};
inline constexpr std::array hevc_levels{"1", "2",   "2.1", "3", "3.1", "4",  "4.1",
                                        "5", "5.1", "5.2", "6", "6.1", "6.2"};
inline constexpr std::array vpx_profiles{"0", "1", "2", "3"};
inline constexpr std::array vp9_levels{"1",   "1.1", "2",   "2.1", "3", "3.1", "4",
                                       "4.1", "5",   "5.1", "5.2", "6", "6.1", "6.2"};
inline constexpr std::array av1_profiles{"Main", "High", "Professional"};
inline constexpr std::array av1_levels{"2.0", "2.1", "2.2", "2.3", "3.0", "3.1", "3.2", "3.3",
                                       "4.0", "4.1", "4.2", "4.3", "5.0", "5.1", "5.2", "5.3",
                                       "6.0", "6.1", "6.2", "6.3", "7.0", "7.1", "7.2", "7.3"};
inline constexpr std::array mpeg2_profiles{"Simple", "Main",     "SNR Scalable", "Spatially Scalable",
                                           "High",   "Multiview"};
inline constexpr std::array mpeg2_levels{"Low", "Main", "High 1440", "High"};
///@}

}  // namespace menus

namespace detail {

// The bits of `skipped` that leave only the `items` of a menu.
template <std::size_t N>
[[nodiscard]] constexpr std::uint64_t all_but(const std::array<int, N>& items) noexcept {
  std::uint64_t left = 0;
  for (const int item : items) left |= std::uint64_t{1} << item;
  return ~left;
}

[[nodiscard]] constexpr v4l2::ControlInfo menu(std::uint32_t id, const char* name,
                                               std::span<const char* const> items, std::int64_t maximum,
                                               std::int64_t preset, std::uint64_t skipped = 0) noexcept {
  return {.id = id,
          .type = V4L2_CTRL_TYPE_MENU,
          .name = name,
          .maximum = maximum,
          .default_value = preset,
          .flags = V4L2_CTRL_FLAG_READ_ONLY,
          .menu = items,
          .skipped = skipped};
}

}  // namespace detail

/// Only profiles of 4:2:0 with 8 or 10 bits, because others would have to be converted. libavcodec lacks the
/// features that distinguish H.264's Baseline from Constrained Baseline (slices in any order, redundant
/// slices); streams that claim Baseline hardly ever use them, and clients ask for Baseline by name.
///
/// There is no V4L2_CID_MIN_BUFFERS_FOR_OUTPUT, because one buffer is enough, and V4L2's tools take a device
/// with this control for an encoder.
inline constexpr std::array decoder_controls{
    v4l2::ControlInfo{.id = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE,
                      .name = "Min Number of Capture Buffers",
                      .minimum = 1,
                      .maximum = VIDEO_MAX_FRAME,
                      .default_value = 4,
                      .flags = V4L2_CTRL_FLAG_READ_ONLY},
    detail::menu(V4L2_CID_MPEG_VIDEO_H264_PROFILE, "H264 Profile", menus::h264_profiles,
                 V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_HIGH, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH,
                 detail::all_but(std::array<int, 7>{
                     V4L2_MPEG_VIDEO_H264_PROFILE_BASELINE, V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE,
                     V4L2_MPEG_VIDEO_H264_PROFILE_MAIN, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH,
                     V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10_INTRA,
                     V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_HIGH})),
    detail::menu(V4L2_CID_MPEG_VIDEO_H264_LEVEL, "H264 Level", menus::h264_levels,
                 V4L2_MPEG_VIDEO_H264_LEVEL_6_2, V4L2_MPEG_VIDEO_H264_LEVEL_6_2),
    detail::menu(V4L2_CID_MPEG_VIDEO_HEVC_PROFILE, "HEVC Profile", menus::hevc_profiles,
                 V4L2_MPEG_VIDEO_HEVC_PROFILE_MAIN_10, V4L2_MPEG_VIDEO_HEVC_PROFILE_MAIN),
    detail::menu(V4L2_CID_MPEG_VIDEO_HEVC_LEVEL, "HEVC Level", menus::hevc_levels,
                 V4L2_MPEG_VIDEO_HEVC_LEVEL_6_2, V4L2_MPEG_VIDEO_HEVC_LEVEL_6_2),
    detail::menu(V4L2_CID_MPEG_VIDEO_HEVC_TIER, "HEVC Tier", menus::hevc_tiers,
                 V4L2_MPEG_VIDEO_HEVC_TIER_HIGH, V4L2_MPEG_VIDEO_HEVC_TIER_MAIN),
    detail::menu(V4L2_CID_MPEG_VIDEO_VP8_PROFILE, "VP8 Profile", menus::vpx_profiles,
                 V4L2_MPEG_VIDEO_VP8_PROFILE_3, V4L2_MPEG_VIDEO_VP8_PROFILE_0),
    detail::menu(
        V4L2_CID_MPEG_VIDEO_VP9_PROFILE, "VP9 Profile", menus::vpx_profiles, V4L2_MPEG_VIDEO_VP9_PROFILE_2,
        V4L2_MPEG_VIDEO_VP9_PROFILE_0,
        detail::all_but(std::array<int, 2>{V4L2_MPEG_VIDEO_VP9_PROFILE_0, V4L2_MPEG_VIDEO_VP9_PROFILE_2})),
    detail::menu(V4L2_CID_MPEG_VIDEO_VP9_LEVEL, "VP9 Level", menus::vp9_levels, V4L2_MPEG_VIDEO_VP9_LEVEL_6_2,
                 V4L2_MPEG_VIDEO_VP9_LEVEL_6_2),
    detail::menu(V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE, "MPEG2 Profile", menus::mpeg2_profiles,
                 V4L2_MPEG_VIDEO_MPEG2_PROFILE_HIGH, V4L2_MPEG_VIDEO_MPEG2_PROFILE_MAIN,
                 detail::all_but(std::array<int, 3>{V4L2_MPEG_VIDEO_MPEG2_PROFILE_SIMPLE,
                                                    V4L2_MPEG_VIDEO_MPEG2_PROFILE_MAIN,
                                                    V4L2_MPEG_VIDEO_MPEG2_PROFILE_HIGH})),
    detail::menu(V4L2_CID_MPEG_VIDEO_MPEG2_LEVEL, "MPEG2 Level", menus::mpeg2_levels,
                 V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH, V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH),
    detail::menu(cid_av1_profile, "AV1 Profile", menus::av1_profiles, 0, 0),
    detail::menu(cid_av1_level, "AV1 Level", menus::av1_levels, 19, 19),  // 6.3; 7.0 and up are not defined
};
static_assert(v4l2::valid_controls(decoder_controls));

/// A level control, and the luma samples that a picture of each level may have.
struct LevelLimits {
  std::uint32_t id = 0;                        ///< V4L2_CID_*
  std::span<const std::uint32_t> max_samples;  ///< by the control's values
};

namespace detail {

// H.264, table A-1 (macroblocks of 256 samples); H.265, table A.8; AV1, annex A.3; VP9, annex A ("Levels").
inline constexpr std::array<std::uint32_t, menus::h264_levels.size()> h264_samples{
    99u << 8,    99u << 8,    396u << 8,   396u << 8,    396u << 8,    396u << 8,   792u << 8,
    1620u << 8,  1620u << 8,  3600u << 8,  5120u << 8,   8192u << 8,   8192u << 8,  8704u << 8,
    22080u << 8, 36864u << 8, 36864u << 8, 139264u << 8, 139264u << 8, 139264u << 8};
inline constexpr std::array<std::uint32_t, menus::hevc_levels.size()> hevc_samples{
    36864,   122880,  245760,  552960,   983040,   2228224, 2228224,
    8912896, 8912896, 8912896, 35651584, 35651584, 35651584};
inline constexpr std::array<std::uint32_t, menus::vp9_levels.size()> vp9_samples{
    36864,   73728,   122880,  245760,  552960,   983040,   2228224,
    2228224, 8912896, 8912896, 8912896, 35651584, 35651584, 35651584};
inline constexpr std::array<std::uint32_t, 20> av1_samples{
    147456,  278784,  278784,  278784,  665856,  1065024, 1065024,  1065024,  2359296,  2359296,
    2359296, 2359296, 8912896, 8912896, 8912896, 8912896, 35651584, 35651584, 35651584, 35651584};

}  // namespace detail

/// Of all level controls.
inline constexpr std::array<LevelLimits, 4> level_limits{{
    {V4L2_CID_MPEG_VIDEO_H264_LEVEL, detail::h264_samples},
    {V4L2_CID_MPEG_VIDEO_HEVC_LEVEL, detail::hevc_samples},
    {V4L2_CID_MPEG_VIDEO_VP9_LEVEL, detail::vp9_samples},
    {cid_av1_level, detail::av1_samples},
}};

/// The highest level whose pictures all fit a decoder with `max_pixels`; the lowest level if there is none.
[[nodiscard]] constexpr std::int64_t highest_level(const LevelLimits& limits,
                                                   std::uint64_t max_pixels) noexcept {
  std::int64_t level = 0;
  for (std::size_t i = 0; i < limits.max_samples.size(); ++i) {
    if (limits.max_samples[i] <= max_pixels) level = static_cast<std::int64_t>(i);
  }
  return level;
}

/// The value of a control.
struct ControlSetting {
  std::uint32_t id = 0;    ///< V4L2_CID_*
  std::int64_t value = 0;  ///< an item of its menu
};

/// AVCodecContext::profile, which uses each codec's own numbers, as a control. Nothing for values that no
/// menu above has.
[[nodiscard]] constexpr std::optional<ControlSetting> profile_control(AVCodecID codec, int profile) noexcept {
  constexpr int constrained = 1 << 9;
  constexpr int intra = 1 << 11;
  constexpr auto h264 = [](std::int64_t value) {
    return ControlSetting{V4L2_CID_MPEG_VIDEO_H264_PROFILE, value};
  };
  constexpr auto hevc = [](std::int64_t value) {
    return ControlSetting{V4L2_CID_MPEG_VIDEO_HEVC_PROFILE, value};
  };
  constexpr auto mpeg2 = [](std::int64_t value) {
    return ControlSetting{V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE, value};
  };
  if (profile < 0) return std::nullopt;
  switch (codec) {
    case AV_CODEC_ID_H264:
      if (profile == 66) return h264(V4L2_MPEG_VIDEO_H264_PROFILE_BASELINE);
      if (profile == (66 | constrained)) return h264(V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE);
      if (profile == 77) return h264(V4L2_MPEG_VIDEO_H264_PROFILE_MAIN);
      if (profile == 100) return h264(V4L2_MPEG_VIDEO_H264_PROFILE_HIGH);
      if (profile == 110) return h264(V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10);
      if (profile == (110 | intra)) return h264(V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10_INTRA);
      return std::nullopt;
    case AV_CODEC_ID_HEVC:
      if (profile == 1) return hevc(V4L2_MPEG_VIDEO_HEVC_PROFILE_MAIN);
      if (profile == 2) return hevc(V4L2_MPEG_VIDEO_HEVC_PROFILE_MAIN_10);
      if (profile == 3) return hevc(V4L2_MPEG_VIDEO_HEVC_PROFILE_MAIN_STILL_PICTURE);
      return std::nullopt;
    case AV_CODEC_ID_VP8:
      return ControlSetting{V4L2_CID_MPEG_VIDEO_VP8_PROFILE, profile};
    case AV_CODEC_ID_VP9:
      return ControlSetting{V4L2_CID_MPEG_VIDEO_VP9_PROFILE, profile};
    case AV_CODEC_ID_MPEG2VIDEO:
      if (profile == 5) return mpeg2(V4L2_MPEG_VIDEO_MPEG2_PROFILE_SIMPLE);
      if (profile == 4) return mpeg2(V4L2_MPEG_VIDEO_MPEG2_PROFILE_MAIN);
      if (profile == 1) return mpeg2(V4L2_MPEG_VIDEO_MPEG2_PROFILE_HIGH);
      return std::nullopt;
    case AV_CODEC_ID_AV1:
      return ControlSetting{cid_av1_profile, profile};
    default:
      return std::nullopt;
  }
}

/// AVCodecContext::level likewise. VP9 streams do not state a level: theirs is the lowest one that allows
/// pictures of that many luma `samples`.
[[nodiscard]] constexpr std::optional<ControlSetting> level_control(AVCodecID codec, int level,
                                                                    std::uint64_t samples) noexcept {
  constexpr auto place_of = [](int number, std::uint32_t id,
                               std::span<const int> numbers) -> std::optional<ControlSetting> {
    const auto found = std::ranges::find(numbers, number);
    if (found == numbers.end()) return std::nullopt;
    return ControlSetting{id, found - numbers.begin()};
  };
  // level_idc, in the order of the menus.
  constexpr std::array h264{10, 9, 11, 12, 13, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52, 60, 61, 62};
  constexpr std::array hevc{30, 60, 63, 90, 93, 120, 123, 150, 153, 156, 180, 183, 186};
  constexpr std::array mpeg2{10, 8, 6, 4};
  static_assert(h264.size() == menus::h264_levels.size() && hevc.size() == menus::hevc_levels.size() &&
                mpeg2.size() == menus::mpeg2_levels.size());
  if (codec == AV_CODEC_ID_H264) return place_of(level, V4L2_CID_MPEG_VIDEO_H264_LEVEL, h264);
  if (codec == AV_CODEC_ID_HEVC) return place_of(level, V4L2_CID_MPEG_VIDEO_HEVC_LEVEL, hevc);
  if (codec == AV_CODEC_ID_MPEG2VIDEO) return place_of(level, V4L2_CID_MPEG_VIDEO_MPEG2_LEVEL, mpeg2);
  if (codec == AV_CODEC_ID_VP9) {
    const auto lowest = std::ranges::lower_bound(detail::vp9_samples, samples);
    if (lowest == detail::vp9_samples.end()) return std::nullopt;
    return ControlSetting{V4L2_CID_MPEG_VIDEO_VP9_LEVEL, lowest - detail::vp9_samples.begin()};
  }
  if (codec == AV_CODEC_ID_AV1 && level >= 0) return ControlSetting{cid_av1_level, level};
  return std::nullopt;
}

}  // namespace vumedia::backends::ffmpeg
