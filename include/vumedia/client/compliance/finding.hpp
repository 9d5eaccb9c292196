// What a compliance rule found: that the rule is kept, a violation with what was seen, or that the rule does
// not apply to the device.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <vumedia/core/result.hpp>

namespace vumedia::client::compliance {

/// What came of a rule.
enum class Verdict : std::uint8_t { passed, failed, not_applicable };

/// What a rule returns, and each step of it that may end it.
struct [[nodiscard]] Finding {
  Verdict verdict = Verdict::passed;  ///< passed: go on
  std::string text;                   ///< what was seen, or why the rule is not applicable

  /// Whether it ends a rule: `if (auto found = subject.expect(...)) return found;`
  [[nodiscard]] explicit operator bool() const noexcept { return verdict != Verdict::passed; }
};

/// The rule, or the step, is kept.
[[nodiscard]] inline Finding passed() noexcept {
  return {};
}

/// The rule is broken. The text, as printf makes it, says what was seen and what was wanted.
[[gnu::format(printf, 1, 2)]] inline Finding failed(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::string text = vumedia::detail::format_list(format, arguments);
  va_end(arguments);
  return {Verdict::failed, std::move(text)};
}

/// The rule cannot be examined. The text, as printf makes it, says what the device lacks.
[[gnu::format(printf, 1, 2)]] inline Finding not_applicable(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::string text = vumedia::detail::format_list(format, arguments);
  va_end(arguments);
  return {Verdict::not_applicable, std::move(text)};
}

/// EINVAL and so on; 0 is "success".
[[nodiscard]] inline std::string errno_name(int error) {
  if (error == 0) return "success";
  const char* const name = ::strerrorname_np(error);
  return name != nullptr ? name : format_text("errno %d", error);
}

/// NV12 and so on, with a dot for what cannot be printed.
[[nodiscard]] inline std::string fourcc_name(std::uint32_t fourcc) {
  std::string name;
  for (int i = 0; i < 4; ++i) {
    const auto c = static_cast<char>(fourcc >> (8 * i) & 0x7f);
    name += c >= ' ' && c < 0x7f ? c : '.';
  }
  return name;
}

}  // namespace vumedia::client::compliance
