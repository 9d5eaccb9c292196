// Digits for people: 5 by 7 dots each, one byte for each row, with the leftmost dot in bit 4.
#pragma once

#include <array>
#include <cstdint>

namespace vumedia::backends::test_pattern {

inline constexpr std::uint32_t glyph_width = 5;   ///< dots
inline constexpr std::uint32_t glyph_height = 7;  ///< dots

/// By the digit.
inline constexpr std::array<std::array<std::uint8_t, glyph_height>, 10> digit_glyphs{{
    {0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110},
    {0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110},
    {0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111},
    {0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110},
    {0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010},
    {0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110},
    {0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110},
    {0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000},
    {0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110},
    {0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100},
}};

}  // namespace vumedia::backends::test_pattern
