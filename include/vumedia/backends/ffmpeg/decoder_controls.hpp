// A decoder's controls, as one file has them.
#pragma once

#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/stream_controls.hpp>
#include <vumedia/v4l2/controls.hpp>

namespace vumedia::backends::ffmpeg {

/// For the session's loop.
class DecoderControls {
 public:
  /// `max_pixels`: see CodecOptions.
  explicit DecoderControls(std::uint64_t max_pixels) : controls_(decoder_controls, false) {
    for (const LevelLimits& level : level_limits) {
      const auto highest = highest_level(level, max_pixels);
      (void)controls_.modify_range(level.id, 0, highest, 1, highest);  // within the menu
    }
  }
  DecoderControls(const DecoderControls&) = delete;
  DecoderControls& operator=(const DecoderControls&) = delete;

  /// All of them, for the ioctls of controls; they live as long as this.
  [[nodiscard]] v4l2::Controls& all() noexcept { return controls_; }

  /// The controls say what the stream has.
  void set(const PictureChanged& change, AVCodecID codec) {
    controls_.set_value(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, change.min_buffers);
    // A value that is not in the menu is ignored: libavcodec also tries profiles that it does not know.
    if (const auto profile = profile_control(codec, change.profile))
      controls_.set_value(profile->id, profile->value);
    const Rectangle& visible = change.picture.visible;
    const std::uint64_t samples = std::uint64_t{visible.width} * visible.height;
    if (const auto level = level_control(codec, change.level, samples))
      controls_.set_value(level->id, level->value);
    if (change.tier >= 0) controls_.set_value(V4L2_CID_MPEG_VIDEO_HEVC_TIER, change.tier);
  }
  /// Likewise of what has changed only in its look.
  void set(const LookChanged& change) {
    controls_.set_value(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, change.min_buffers);
  }

 private:
  v4l2::Controls controls_;
};

}  // namespace vumedia::backends::ffmpeg
