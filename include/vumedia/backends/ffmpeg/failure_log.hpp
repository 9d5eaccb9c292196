// Tells the operator what was wrong with a stream.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include <vumedia/backends/ffmpeg/formats.hpp>
#include <vumedia/core/log.hpp>

extern "C" {
#include <libavutil/error.h>
#include <libavutil/pixfmt.h>
}

namespace vumedia::backends::ffmpeg {

/// libavcodec's threads may call refused(); the other functions belong to the worker.
class FailureLog {
 public:
  /// `log` is copied.
  explicit FailureLog(Log log) noexcept : log_(log) {}

  /// Logs the first failures, then fewer and fewer: a hostile stream must not fill the log. `error`:
  /// libavcodec's, or 0 if `what` is sufficient.
  void report(const char* what, int error) {
    if (!std::has_single_bit(++failures_)) return;
    const auto count = static_cast<unsigned long long>(failures_);
    if (error == 0) {
      log_.write(LogLevel::warning, "decoder: %s, %llu in total", what, count);
      return;
    }
    char text[AV_ERROR_MAX_STRING_SIZE] = {};
    av_strerror(error, text, sizeof text);
    log_.write(LogLevel::warning, "decoder: %s (%s), %llu in total", what, text, count);
  }

  /// The same for a picture that did not come out as it should. libavcodec's error does not distinguish a
  /// format that we refused from data that makes no sense, nor does the error for a picture whose reference
  /// was refused.
  void report_damage(int error) {
    const int format = refused_;
    if (format == AV_PIX_FMT_NONE) {
      report("damaged data", error);
    } else if (is_supported(static_cast<AVPixelFormat>(format))) {
      report("a picture that is too large, or that has no visible part", 0);
    } else {
      const auto what =
          format_text("pixel format %s is not supported", name_of(static_cast<AVPixelFormat>(format)));
      report(what.c_str(), 0);
    }
  }

  /// A picture came that cannot be output, with this AVPixelFormat,
  void refused(int format) noexcept { refused_ = format; }
  /// or one that can, or another stream.
  void accepted() noexcept { refused_ = AV_PIX_FMT_NONE; }

 private:
  const Log log_;
  std::uint64_t failures_ = 0;
  std::atomic<int> refused_{AV_PIX_FMT_NONE};
};

}  // namespace vumedia::backends::ffmpeg
