// A log that nobody can flood.
//
// A frontend or a guest causes log lines: when it connects, when its requests are refused, when it breaks a
// queue. One that does so in a loop, or that keeps reconnecting, would fill a disk. A limiter between such
// sources and the sink prevents that.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string_view>

#include <vumedia/core/log.hpp>

namespace vumedia {

/// How many lines may pass at once, and how often one more may. The defaults let through 8,640 lines a day.
struct LogLimits {
  std::uint32_t burst = 200;                   ///< lines that may pass at once
  std::chrono::milliseconds interval{10'000};  ///< in which one more line is earned; 0: no more are
};

/// Allows that many lines, by the caller's clock. Used by one thread at a time.
class LineBudget {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;  ///< on the caller's clock

  /// All of the burst may pass from `now` on.
  LineBudget(const LogLimits& limits, TimePoint now) noexcept
      : limits_(limits), left_(limits.burst), filled_(now) {}

  /// Whether a line may pass at `now`. If so it uses up one of the allowed lines; otherwise it counts as left
  /// out.
  [[nodiscard]] bool take(TimePoint now) noexcept {
    if (limits_.interval.count() > 0 && now > filled_) {
      const auto earned = static_cast<std::uint64_t>((now - filled_) / limits_.interval);
      filled_ += limits_.interval * static_cast<std::int64_t>(earned);
      left_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(limits_.burst, left_ + earned));
    }
    if (left_ == 0) {
      ++left_out_;
      return false;
    }
    --left_;
    return true;
  }
  /// Lines that were left out since the last call.
  [[nodiscard]] std::uint64_t take_left_out() noexcept {
    const std::uint64_t count = left_out_;
    left_out_ = 0;
    return count;
  }

 private:
  LogLimits limits_;
  std::uint32_t left_;
  std::uint64_t left_out_ = 0;
  TimePoint filled_;
};

/// Passes lines on to `target` within limits, and says before the next one how many were left out. Lines of
/// the levels debug and trace always pass: whoever enables them wants all of them. Any thread may log; the
/// limiter outlives its Logs, and neither moves.
class LogLimiter {
 public:
  /// A copy of `target` is kept; what its sink needs outlives this.
  explicit LogLimiter(const Log& target, const LogLimits& limits = {}) noexcept
      : target_(target), budget_(limits, std::chrono::steady_clock::now()) {}
  LogLimiter(const LogLimiter&) = delete;
  LogLimiter& operator=(const LogLimiter&) = delete;

  /// A log whose lines pass through this limiter, with the target's level.
  [[nodiscard]] Log log() noexcept {
    return {[](void* self, LogLevel level, std::string_view line) {
              static_cast<LogLimiter*>(self)->pass(level, line);
            },
            this, target_.level()};
  }

 private:
  void pass(LogLevel level, std::string_view line) {
    if (level >= LogLevel::info) {
      std::uint64_t left_out = 0;
      {
        const std::lock_guard lock(mutex_);
        if (!budget_.take(std::chrono::steady_clock::now())) return;
        left_out = budget_.take_left_out();
      }
      if (left_out != 0)
        target_.write(LogLevel::warning, "%llu lines before this one were left out: too many came",
                      static_cast<unsigned long long>(left_out));
    }
    target_.write(level, "%.*s", static_cast<int>(line.size()), line.data());
  }

  const Log target_;
  std::mutex mutex_;
  LineBudget budget_;
};

}  // namespace vumedia
