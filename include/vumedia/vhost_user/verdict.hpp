// What comes of a request.
#pragma once

#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <vumedia/core/result.hpp>
#include <vumedia/vhost_user/wire.hpp>

namespace vumedia::vhost_user {

/// By default: done.
struct Verdict {
  /// How the session goes on.
  enum class Kind : std::uint8_t {
    done,       ///< to be acknowledged if the frontend asks for it
    answered,   ///< has a reply of its own
    later,      ///< will have one; until then no message is read
    refused,    ///< a valid request that cannot be served
    tolerated,  ///< the same, but the connection goes on even without acknowledgements
    malformed,  ///< the connection ends
  };
  Kind kind = Kind::done;           ///< set by those who make one
  Error error{};                    ///< of the last three
  std::vector<std::byte> answer{};  ///< the body of the reply

  /// Whether `error` says what is wrong.
  [[nodiscard]] bool is_error() const noexcept { return kind >= Kind::refused; }
};

/// A reply with this body.
[[nodiscard]] inline Verdict answered(std::span<const std::byte> body) {
  return {Verdict::Kind::answered, {}, {body.begin(), body.end()}};
}
/// A reply whose body is the bytes of `body`.
template <class Body>
[[nodiscard]] Verdict answered(const Body& body) {
  return answered(bytes_of(body));
}

/// Refused, for this reason.
[[nodiscard]] inline Verdict refused(Error error) {
  return {Verdict::Kind::refused, std::move(error), {}};
}
/// Done, or refused for the reason given.
[[nodiscard]] inline Verdict verdict_of(Outcome<> outcome) {
  return outcome ? Verdict{} : refused(std::move(outcome.error()));
}

/// For %llx.
[[nodiscard]] constexpr unsigned long long printable(std::uint64_t value) noexcept {
  return value;
}

/// The text as printf makes it.
[[nodiscard, gnu::cold, gnu::format(printf, 2, 3)]] inline Verdict refused(int code, const char* format,
                                                                           ...) {
  std::va_list arguments;
  va_start(arguments, format);
  Verdict verdict{Verdict::Kind::refused, {vumedia::detail::format_list(format, arguments), code}, {}};
  va_end(arguments);
  return verdict;
}
/// The text as printf makes it; the session adds the request's name. The connection ends.
[[nodiscard, gnu::cold, gnu::format(printf, 1, 2)]] inline Verdict malformed(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  Verdict verdict{Verdict::Kind::malformed, {vumedia::detail::format_list(format, arguments), EPROTO}, {}};
  va_end(arguments);
  return verdict;
}

}  // namespace vumedia::vhost_user
