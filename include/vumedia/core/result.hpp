// Results without exceptions.
//
// Two kinds of failure, two types. A guest's mistake becomes an errno in its response: `Result<T>`, which is
// tiny and is made on the hot path. A frontend or an operator has to read a sentence: `Outcome<T>`, which is
// made where a connection or a program ends.
#pragma once

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace vumedia {

static_assert(sizeof(void*) == 8, "vumedia serves 64-bit hosts only");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vumedia serves little-endian hosts only");

/// A positive errno. Never 0 inside a failed Result.
struct Errno {
  int value = 0;  ///< a positive errno, such as EINVAL
  friend constexpr bool operator==(Errno, Errno) = default;
};

/// A T, or the errno that a guest is answered with.
template <class T = void>
using Result = std::expected<T, Errno>;

/// `return fail(EINVAL);`
[[nodiscard]] constexpr std::unexpected<Errno> fail(int error) noexcept {
  return std::unexpected<Errno>(Errno{error});
}

/// What went wrong, in words, and the errno that caused it (0 if none). The message is one line without a
/// full stop.
struct Error {
  std::string message;  ///< one line, without a full stop
  int code = 0;         ///< a positive errno; 0 if none caused it
};

/// A T, or what went wrong in words, for a frontend or an operator.
template <class T = void>
using Outcome = std::expected<T, Error>;

namespace detail {
[[gnu::format(printf, 1, 0)]] inline std::string format_list(const char* format, std::va_list arguments) {
  std::va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  std::string text(length > 0 ? static_cast<std::size_t>(length) : 0, '\0');
  if (length > 0) static_cast<void>(std::vsnprintf(text.data(), text.size() + 1, format, again));
  va_end(again);
  return text;
}
}  // namespace detail

/// printf into a string.
[[gnu::format(printf, 1, 2)]] inline std::string format_text(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::string text = detail::format_list(format, arguments);
  va_end(arguments);
  return text;
}

/// `return failure("region %u exceeds its file", index);`
[[nodiscard, gnu::format(printf, 1, 2)]] inline std::unexpected<Error> failure(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::string text = detail::format_list(format, arguments);
  va_end(arguments);
  return std::unexpected<Error>(Error{std::move(text), 0});
}

/// The same, followed by ": " and the text of `error` (a positive errno).
[[nodiscard, gnu::format(printf, 2, 3)]] inline std::unexpected<Error> system_failure(int error,
                                                                                      const char* format,
                                                                                      ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::string text = detail::format_list(format, arguments);
  va_end(arguments);
  char buffer[128];
  // The GNU strerror_r returns its text and needs no locale lock shared with other threads.
  text += ": ";
  text += strerror_r(error, buffer, sizeof buffer);
  return std::unexpected<Error>(Error{std::move(text), error});
}

}  // namespace vumedia
