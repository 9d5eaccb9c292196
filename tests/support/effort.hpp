// How much of a long test to run: instrumented code is many times slower.
#pragma once

namespace vumedia::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

// Rounds of a random test: all of them, or under a sanitizer a fourth.
constexpr int rounds(int all) {
  return sanitized ? all / 4 : all;
}

}  // namespace vumedia::test
