// One line on the terminal that counts frames; nothing if standard error is not a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>

#include <unistd.h>

namespace ctl {

class Progress {
 public:
  // `total` 0: not known.
  explicit Progress(const char* what, std::uint64_t total = 0)
      : what_(what), total_(total), shown_(::isatty(STDERR_FILENO) != 0) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  void update(std::uint64_t frames) {
    if (!shown_) return;
    const auto now = Clock::now();
    if (now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = seconds > 0 ? static_cast<double>(frames) / seconds : 0;
    if (total_ != 0) {
      std::fprintf(stderr, "\r\033[K%s: %llu of %llu frames, %.1f per second", what_,
                   static_cast<unsigned long long>(frames), static_cast<unsigned long long>(total_), rate);
    } else {
      std::fprintf(stderr, "\r\033[K%s: %llu frames, %.1f per second", what_,
                   static_cast<unsigned long long>(frames), rate);
    }
    std::fflush(stderr);
    drawn_ = true;
  }

  // Removes the line, so that the next output starts on an empty line.
  void clear() {
    if (!drawn_) return;
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
    drawn_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const char* what_;
  std::uint64_t total_;
  bool shown_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};
};

}  // namespace ctl
