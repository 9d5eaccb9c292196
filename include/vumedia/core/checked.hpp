// Arithmetic on numbers that a peer chose.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace vumedia {

/// Guest pages, shared-memory granules and our memfds all count in this unit (x86-64 and, here, arm64).
inline constexpr std::uint64_t page_size = 4096;

/// `a + b`, or nothing if it does not fit T.
template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) noexcept {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// `a * b`, or nothing if it does not fit T.
template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_multiply(T a, T b) noexcept {
  T product{};
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Whether exactly one bit of `value` is set.
[[nodiscard]] constexpr bool is_power_of_two(std::uint64_t value) noexcept {
  return value != 0 && (value & (value - 1)) == 0;
}

/// `alignment` is a power of two.
[[nodiscard]] constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) noexcept {
  return (value & (alignment - 1)) == 0;
}

/// The next multiple of `alignment` (a power of two), or nothing if it does not fit 64 bits.
[[nodiscard]] constexpr std::optional<std::uint64_t> align_up(std::uint64_t value,
                                                              std::uint64_t alignment) noexcept {
  const auto raised = checked_add(value, alignment - 1);
  if (!raised) return std::nullopt;
  return *raised & ~(alignment - 1);
}

/// Whether [offset, offset + length) lies within [0, size), with no overflow on the way.
[[nodiscard]] constexpr bool range_fits(std::uint64_t offset, std::uint64_t length,
                                        std::uint64_t size) noexcept {
  return offset <= size && length <= size - offset;
}

}  // namespace vumedia
