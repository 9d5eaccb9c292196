// What the pictures of an H.264 stream themselves show of how far it reorders.
//
// Two kinds of streams reorder further than one would think before they come: those whose profile has no B
// pictures, which by the letter may be in any order but never are where they come from usual encoders; and
// those whose own limit (max_num_reorder_frames) is not the truth. Pictures carry their place in the order
// (8.2.1), and one that leaves a place free is a sign that another is still to come.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <vumedia/backends/ffmpeg/h264_parameter_sets.hpp>

namespace vumedia::backends::ffmpeg {

/// Of one stream, in the order of decoding.
class PictureOrder {
 public:
  /// The next picture in the order of decoding, by its first slice. Returns how many pictures a decoder has
  /// to hold back, at the least, before it gets this one.
  [[nodiscard]] unsigned note(const H264Slice& slice) noexcept {
    if (slice.idr) {
      restart();
      if (sequence_ != *slice.sps) *this = {};
      sequence_ = *slice.sps;
      if (!reorders_) needed_ = 0;
    }
    if (!slice.order) return needed_;
    const bool pairs =
        field_ && slice.field && field_->frame_num == slice.frame_num && field_->bottom != slice.bottom;
    field_.reset();
    if (pairs) return needed_;
    if (slice.field) field_ = Field{slice.frame_num, slice.bottom};
    const std::int64_t order = unwrapped(*slice.order, std::int64_t{1} << slice.sps->order_bits);
    const auto later = std::count_if(orders_.begin(), orders_.begin() + static_cast<std::ptrdiff_t>(count_),
                                     [order](std::int64_t other) { return other > order; });
    const unsigned most = max_reorder_depth_of_level(slice);
    const bool seldom = seldom_reorders(*slice.sps);
    if (later > 0) {
      reorders_ = true;
      // Of a profile that has no limit but that of its level, more is to be expected.
      needed_ = std::max(needed_, seldom ? most : std::min(static_cast<unsigned>(later), most));
    } else if (seldom && !slice.idr && order - latest_ > step) {
      needed_ = std::max(needed_, std::min(reorders_ ? most : 1u, most));
    }
    latest_ = std::max(latest_, order);
    orders_[next_++ % orders_.size()] = order;
    count_ = std::min(count_ + 1, orders_.size());
    return needed_;
  }

  /// What comes next is not related to what came before.
  void restart() noexcept {
    count_ = next_ = 0;
    latest_ = previous_ = 0;
    field_.reset();
  }

  /// Whether pictures have come that are shown before others that came before them, in such a sequence.
  [[nodiscard]] bool reorders() const noexcept { return reorders_; }

 private:
  struct Field {
    unsigned frame_num = 0;
    bool bottom = false;
  };
  // From one frame to the next: two fields.
  static constexpr std::int64_t step = 2;

  // What the level permits, whatever the stream says.
  [[nodiscard]] static unsigned max_reorder_depth_of_level(const H264Slice& slice) noexcept {
    H264Sps sps = *slice.sps;
    sps.reorder_frames.reset();
    return max_reorder_depth(sps);
  }
  [[nodiscard]] std::int64_t unwrapped(unsigned bits, std::int64_t range) noexcept {
    if (count_ == 0) return previous_ = bits >= range / 2 ? bits - range : bits;
    std::int64_t distance = (bits - previous_) % range;
    if (distance < -(range / 2)) distance += range;
    if (distance >= range / 2) distance -= range;
    return previous_ += distance;
  }

  std::array<std::int64_t, 16> orders_{};  // of the latest pictures
  std::size_t count_ = 0;
  std::size_t next_ = 0;
  std::int64_t latest_ = 0;     // of all, that which is shown last
  std::int64_t previous_ = 0;   // in the order of decoding
  std::optional<Field> field_;  // that came by itself
  std::optional<H264Sps> sequence_;
  unsigned needed_ = 0;
  bool reorders_ = false;
};

}  // namespace vumedia::backends::ffmpeg
