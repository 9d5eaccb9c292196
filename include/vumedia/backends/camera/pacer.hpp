// When frames are due: at the points of a grid that starts with the stream, so that frames neither drift by
// the time that making them takes nor, after a stall, come in a burst to catch up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <linux/videodev2.h>

#include <vumedia/io/reactor.hpp>

namespace vumedia::backends::camera {

/// A clock for one stream. It waits for nothing itself.
class Pacer {
 public:
  /// The first frame is due one interval, in seconds, after `now`. Neither part of it is 0.
  void start(io::TimePoint now, const v4l2_fract& interval) noexcept {
    origin_ = now;
    interval_ = interval;
    tick_ = 1;
  }

  /// When the next frame is due. Computed from the origin every time, because 1/30 s is not a whole number of
  /// nanoseconds.
  [[nodiscard]] io::TimePoint due() const noexcept {
    // 2^63 ns are 292 years, so of the product's 128 bits the quotient needs 63.
    const Wide elapsed = Wide{tick_} * interval_.numerator * second / interval_.denominator;
    return origin_ + std::chrono::nanoseconds(static_cast<std::int64_t>(elapsed));
  }

  /// Advances to the first point of the grid after both due() and `now`.
  void advance(io::TimePoint now) noexcept {
    ++tick_;
    if (now < due()) return;
    const auto elapsed = std::chrono::nanoseconds(now - origin_).count();  // positive: now >= due() > origin_
    const Wide passed = Wide{static_cast<std::uint64_t>(elapsed)} * interval_.denominator /
                        (Wide{second} * interval_.numerator);
    tick_ = std::max(tick_, static_cast<std::uint64_t>(passed) + 1);
    if (due() <= now) ++tick_;  // due() rounds down to a nanosecond, the line above to a whole tick
  }

 private:
  __extension__ typedef unsigned __int128 Wide;
  static constexpr std::uint64_t second = 1'000'000'000;  // in nanoseconds

  io::TimePoint origin_{};
  std::uint64_t tick_ = 0;
  v4l2_fract interval_{1, 1};
};

}  // namespace vumedia::backends::camera
