// From which frame on a stream that is joined in its middle is fit to be shown.
//
// libavcodec's decoder of H.264 finds that out by itself where one frame comes out for another that goes in:
// behind an IDR picture, or at a recovery point. But when it is drained before it has given out the picture
// of the recovery point, it drops all that it has decoded since, good as it is. So at a drain it is told to
// give out whatever it has, and what is shown before that picture is dropped here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/history.hpp>

namespace vumedia::backends::ffmpeg {

class Recovery {
 public:
  // The decoder knows of no pictures, and is not brought back to where it was.
  void restart() noexcept { *this = {}; }

  // A packet that is about to be decoded, with its id (its pts), which is not 0.
  void note(AVCodecID codec, std::span<const std::byte> bytes, std::int64_t id) noexcept {
    if (codec != AV_CODEC_ID_H264 || id_ != 0) return;
    const auto slice =
        detail::find_unit(bytes, [](unsigned unit) { return (unit & 31) >= 1 && (unit & 31) <= 5; });
    if (!slice) return;
    const auto header = std::to_integer<unsigned>(bytes[*slice]);
    const bool is_reference = (header & 0x60) != 0;
    if (references_left_) {
      if (is_reference) --*references_left_;
    } else {
      references_left_ = detail::h264_recovery_frames(bytes.first(*slice));
    }
    if ((header & 31) == 5 || references_left_ == 0u) id_ = id;
  }

  // Whether a decoder that is about to be drained should give out what it does not take for right, too.
  [[nodiscard]] bool knows_more() const noexcept { return id_ != 0; }

  // Whether a frame, the next in the order of display, is to be shown. `drained`: it comes because of a
  // drain.
  [[nodiscard]] bool passes(std::int64_t id, bool drained) noexcept {
    if (!drained || id_ == 0 || id == id_) shown_ = true;
    return shown_;
  }

 private:
  bool shown_ = false;
  std::int64_t id_ = 0;  // of the packet with the first picture that is right; 0: none has come yet
  std::optional<unsigned> references_left_;  // before it
};

}  // namespace vumedia::backends::ffmpeg
