// A decoder's controls and V4L2 events, as one file has them.
#pragma once

#include <array>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/events.hpp>
#include <vumedia/backends/ffmpeg/stream_controls.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/media/backend.hpp>
#include <vumedia/v4l2/controls.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>
#include <vumedia/v4l2/subscriptions.hpp>

namespace vumedia::backends::ffmpeg {

class DecoderControls {
 public:
  // `max_pixels`: see CodecOptions.
  DecoderControls(media::Context context, std::uint64_t max_pixels)
      : context_(context), controls_(decoder_controls, false) {
    for (const LevelLimits& level : level_limits) {
      const auto highest = highest_level(level, max_pixels);
      (void)controls_.modify_range(level.id, 0, highest, 1, highest);  // within the menu
    }
    controls_.on_event([this](const v4l2_event& event, const v4l2::Subscriptions* origin) {
      subscriptions_.deliver(event, origin, [this](const v4l2_event& one) { context_.send_event(one); });
    });
  }
  DecoderControls(const DecoderControls&) = delete;
  DecoderControls& operator=(const DecoderControls&) = delete;

  [[nodiscard]] Result<> ioctl(v4l2::tag::SUBSCRIBE_EVENT, v4l2_event_subscription& request) {
    constexpr std::array<std::uint32_t, 2> types{V4L2_EVENT_SOURCE_CHANGE, V4L2_EVENT_EOS};
    return v4l2::subscribe_event(subscriptions_, request, types, &controls_,
                                 [this](const v4l2_event& event) { context_.send_event(event); });
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::UNSUBSCRIBE_EVENT, v4l2_event_subscription& request) {
    subscriptions_.remove(request);
    return {};
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::QUERYCTRL, v4l2_queryctrl& query) const {
    return controls_.queryctrl(query);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::QUERY_EXT_CTRL, v4l2_query_ext_ctrl& query) const {
    return controls_.query_ext_ctrl(query);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::QUERYMENU, v4l2_querymenu& query) const {
    return controls_.querymenu(query);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::G_CTRL, v4l2_control& control) { return controls_.g_ctrl(control); }
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_CTRL, v4l2_control& control) {
    return controls_.s_ctrl(control, &subscriptions_);
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::G_EXT_CTRLS, v4l2::ExtControls& controls) {
    return controls_.g_ext_ctrls(controls, *context_.memory(), &context_.work());
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::S_EXT_CTRLS, v4l2::ExtControls& controls) {
    return controls_.s_ext_ctrls(controls, *context_.memory(), &subscriptions_, &context_.work());
  }
  [[nodiscard]] Result<> ioctl(v4l2::tag::TRY_EXT_CTRLS, v4l2::ExtControls& controls) {
    return controls_.try_ext_ctrls(controls, *context_.memory(), &context_.work());
  }

  // The controls say what the stream has.
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
  void set(const LookChanged& change) {
    controls_.set_value(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, change.min_buffers);
  }

  // To those who have subscribed.
  void send(const v4l2_event& event) {
    subscriptions_.deliver(event, [this](const v4l2_event& one) { context_.send_event(one); });
  }

 private:
  const media::Context context_;
  v4l2::Subscriptions subscriptions_;
  v4l2::Controls controls_;
};

}  // namespace vumedia::backends::ffmpeg
