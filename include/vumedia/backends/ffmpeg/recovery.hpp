// Finds the frame from which on a stream that is joined in the middle is fit to be shown.
//
// libavcodec's H.264 decoder finds that out by itself while a frame comes out for each one that goes in:
// after an IDR picture, or at a recovery point. But if it is drained before it has output the picture of the
// recovery point, it drops everything that it has decoded since, although it is good. So at a drain it is
// told to output whatever it has, and frames shown before that picture are dropped here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <vumedia/backends/ffmpeg/codec.hpp>
#include <vumedia/backends/ffmpeg/history.hpp>

namespace vumedia::backends::ffmpeg {

/// Of one stream, for the worker.
class Recovery {
 public:
  /// The decoder has no pictures, and its earlier state is not restored.
  void restart() noexcept { *this = {}; }

  /// A packet that is about to be decoded, with its id (its pts), which is not 0.
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

  /// Whether a decoder that is about to be drained should also output frames that it considers incorrect.
  [[nodiscard]] bool knows_more() const noexcept { return id_ != 0; }

  /// Whether the next frame in display order is to be shown. `drained`: it comes because of a drain.
  [[nodiscard]] bool passes(std::int64_t id, bool drained) noexcept {
    if (!drained || id_ == 0 || id == id_) shown_ = true;
    return shown_;
  }

 private:
  bool shown_ = false;
  std::int64_t id_ = 0;  // of the packet with the first correct picture; 0: none has come yet
  std::optional<unsigned> references_left_;  // before it
};

}  // namespace vumedia::backends::ffmpeg
