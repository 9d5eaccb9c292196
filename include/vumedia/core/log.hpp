// Logging without globals: whoever embeds the library hands it a Log, and decides where lines go.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <string_view>

#include <vumedia/core/result.hpp>

namespace vumedia {

/// From the most to the least detailed; `off` as a threshold lets nothing pass.
enum class LogLevel : int { trace, debug, info, warning, error, off };

/// A sink for lines. The default drops everything. Copies share the sink's context but not the level.
///
/// Any thread may log; the sink must allow that. A line that is not enabled costs one load and one branch;
/// its arguments should therefore cost nothing to evaluate.
class Log {
 public:
  /// `line` has no newline and is valid during the call only.
  using Sink = void (*)(void* context, LogLevel level, std::string_view line);

  Log() = default;
  /// `sink` is called with `context` for each line of at least `level`. Both outlive the Log and its copies.
  Log(Sink sink, void* context, LogLevel level) noexcept : sink_(sink), context_(context), level_(level) {}

  /// Whether a line of `level` would reach the sink: for arguments that cost something.
  [[nodiscard]] bool enabled(LogLevel level) const noexcept { return level >= level_ && sink_ != nullptr; }
  /// The least level that passes; LogLevel::off if none does.
  [[nodiscard]] LogLevel level() const noexcept { return level_; }

  /// Formats a line as printf does and hands it to the sink, if `level` is enabled. It allocates then.
  [[gnu::format(printf, 3, 4), gnu::cold]] void write(LogLevel level, const char* format, ...) const {
    if (!enabled(level)) return;
    std::va_list arguments;
    va_start(arguments, format);
    const std::string line = detail::format_list(format, arguments);
    va_end(arguments);
    sink_(context_, level, line);
  }

 private:
  Sink sink_ = nullptr;
  void* context_ = nullptr;
  LogLevel level_ = LogLevel::off;
};

}  // namespace vumedia
