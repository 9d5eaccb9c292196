// Clips of every format, made once in a test program.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/media_file.hpp"

namespace vumedia::test {

struct ClipRecipe {
  const char* name;     // and container, by its suffix
  const char* options;  // of the encoder
  std::uint32_t width;
  std::uint32_t height;
  unsigned frames;
};

// Odd sizes, reordering, hidden frames and fields, which make buffers and their order interesting.
inline constexpr ClipRecipe clip_recipes[] = {
    {"h264.264", "-c:v libx264 -bf 3 -g 20 -x264-params threads=1:log-level=none", 318, 178, 45},
    {"h264_interlaced.264",
     "-flags +ilme+ildct -c:v libx264 -g 15 -x264-params tff=1:threads=1:log-level=none", 176, 144, 30},
    {"hevc.265", "-c:v libx265 -preset ultrafast -bf 3 -x265-params keyint=20:log-level=none", 322, 182, 45},
    {"vp8.ivf", "-c:v libvpx -deadline realtime -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 8 -g 20", 175, 143,
     45},
    {"vp9.ivf",
     "-c:v libvpx-vp9 -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 12 -g 30 -b:v 200k", 175, 143,
     60},
    {"av1.ivf", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 20 -b:v 100k", 178, 98, 30},
    {"mpeg2.m2v", "-c:v mpeg2video -bf 2 -g 12 -b:v 1M", 322, 182, 40},
    {"h264_10bit.264",
     "-pix_fmt yuv420p10le -c:v libx264 -preset veryfast -bf 3 -g 20 -x264-params threads=1:log-level=none",
     318, 178, 30},
    {"hevc_10bit.265",
     "-pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -bf 3 -x265-params keyint=20:log-level=none", 322,
     182, 30},
    {"vp9_10bit.ivf",
     "-pix_fmt yuv420p10le -c:v libvpx-vp9 -profile:v 2 -deadline realtime -cpu-used 8 -g 20 -b:v 200k", 175,
     143, 30},
    {"av1_10bit.ivf", "-pix_fmt yuv420p10le -c:v libaom-av1 -cpu-used 8 -usage realtime -g 20 -b:v 100k", 178,
     98, 20},
    {"mjpeg.mjpeg", "-c:v mjpeg -pix_fmt yuvj420p -q:v 4", 227, 149, 12},
};

// Empty if the ffmpeg program or the encoder is missing.
inline const Clip& clip_of(const ClipRecipe& recipe) {
  static std::map<std::string, Clip> made;
  const auto found = made.find(recipe.name);
  if (found != made.end()) return found->second;
  const auto options = moving_picture(recipe.width, recipe.height, recipe.frames) + " " + recipe.options;
  return made[recipe.name] = make_clip(options, recipe.name);
}

inline const ClipRecipe& find_recipe(const std::string& name) {
  for (const auto& recipe : clip_recipes) {
    if (name == recipe.name) return recipe;
  }
  return clip_recipes[0];
}
inline const Clip& clip_of(const std::string& name) {
  return clip_of(find_recipe(name));
}

// H.264 at several sizes, one after another in one stream; empty as above.
inline Clip make_changing_clip(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& sizes,
                               unsigned frames = 12) {
  Clip all;
  for (const auto& [width, height] : sizes) {
    const Clip part = make_clip(
        moving_picture(width, height, frames) + " -c:v libx264 -bf 2 -x264-params threads=1:log-level=none",
        "part.264");
    if (part.units.empty()) return {};
    all.codec = part.codec;
    all.units.insert(all.units.end(), part.units.begin(), part.units.end());
  }
  return all;
}

// Clips one after another in one stream, each made by `ffmpeg <options>`; empty as above.
inline Clip make_clip_of_parts(const std::vector<std::string>& parts, const std::string& suffix) {
  Clip all;
  for (const auto& options : parts) {
    const Clip part = make_clip(options, "part." + suffix);
    if (part.units.empty()) return {};
    all.codec = part.codec;
    all.units.insert(all.units.end(), part.units.begin(), part.units.end());
  }
  return all;
}

// A stream with 8 and 10 bits alternating, with changes of size in between and at the same time.
inline Clip make_clip_of_depths(const std::string& encoder, const std::string& suffix) {
  return make_clip_of_parts({moving_picture(320, 180, 10) + " " + encoder,
                             moving_picture(320, 180, 10, "yuv420p10le") + " " + encoder,
                             moving_picture(160, 96, 10, "yuv420p10le") + " " + encoder,
                             moving_picture(640, 360, 10) + " " + encoder},
                            suffix);
}
// Frames that consist of two fields, encoded as such; `order` is tff or bff. `encoder` takes interlaced
// pictures.
inline std::string fields_picture(const std::string& order, const std::string& encoder) {
  return "-f lavfi -i testsrc2=size=176x144:rate=25 -vf setfield=" + order +
         " -frames:v 8 -pix_fmt yuv420p -flags +ilme+ildct " + encoder;
}

inline constexpr const char* x264_quickly =
    "-c:v libx264 -preset veryfast -bf 2 -x264-params threads=1:log-level=none";
inline constexpr const char* x265_quickly = "-c:v libx265 -preset ultrafast -x265-params log-level=none";

#define VUMEDIA_SKIP_WITHOUT(clip) \
  if ((clip).units.empty())        \
  GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it"

}  // namespace vumedia::test
