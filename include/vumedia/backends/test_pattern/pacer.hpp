// When frames are due: at the points of a grid that starts with the stream, so that frames neither drift by
// the time that making them takes nor, after a stall, come in a burst to catch up.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <vumedia/io/reactor.hpp>

namespace vumedia::backends::test_pattern {

class Pacer {
 public:
  // The first frame is due one period after `now`. `rate` > 0, in frames per second.
  void start(io::TimePoint now, std::uint32_t rate) noexcept {
    origin_ = now;
    rate_ = rate;
    tick_ = 1;
  }

  // When the next frame is due. Computed from the origin every time, because 1/30 s is not a whole number of
  // nanoseconds.
  [[nodiscard]] io::TimePoint due() const noexcept {
    // 2^63 ns are 292 years, and tick_ counts at most 60 per second of that clock.
    const auto whole = std::chrono::seconds(tick_ / rate_);
    return origin_ + whole + std::chrono::nanoseconds(tick_ % rate_ * 1'000'000'000 / rate_);
  }

  // Advances to the first point of the grid after both due() and `now`.
  void advance(io::TimePoint now) noexcept {
    ++tick_;
    if (now < due()) return;
    const auto elapsed = std::chrono::nanoseconds(now - origin_).count();  // positive: now >= due() > origin_
    const auto seconds = static_cast<std::uint64_t>(elapsed / 1'000'000'000);
    const auto rest = static_cast<std::uint64_t>(elapsed % 1'000'000'000);
    tick_ = std::max(tick_, seconds * rate_ + rest * rate_ / 1'000'000'000 + 1);
    if (due() <= now) ++tick_;  // due() rounds down to a nanosecond, the line above to a whole tick
  }

 private:
  io::TimePoint origin_{};
  std::uint64_t tick_ = 0;
  std::uint32_t rate_ = 1;
};

}  // namespace vumedia::backends::test_pattern
