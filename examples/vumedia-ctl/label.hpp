// Times as text in a picture: digits of three by five dots.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <vumedia/core/result.hpp>

namespace ctl {

inline constexpr std::size_t label_dot = 2;  // pixels across
inline constexpr std::size_t label_height = 5 * label_dot;

// As 0:01.50, or 1:02:03 from an hour on. A file may claim any time: 0 stands for those before the beginning,
// 999999:59:59 for those that are later.
[[nodiscard]] inline std::string time_text(double seconds) {
  constexpr double latest = 1e6 * 3600 - 1;
  const auto hundredths =
      static_cast<unsigned long long>(seconds > 0 ? std::min(seconds, latest) * 100 + 0.5 : 0);
  const unsigned long long whole = hundredths / 100;
  if (whole >= 3600)
    return vumedia::format_text("%llu:%02llu:%02llu", whole / 3600, whole / 60 % 60, whole % 60);
  return vumedia::format_text("%llu:%02llu.%02llu", whole / 60, whole % 60, hundredths % 100);
}

// Draws digits, colons and points in light grey into packed RGB of `width` pixels a row, with their upper
// left corner at left, top. What does not fit is cut off.
inline void draw_label(std::span<std::uint8_t> rgb, std::size_t width, std::size_t left, std::size_t top,
                       const std::string& text) {
  // Rows from the top, three bits each; the left dot is the highest bit.
  constexpr std::array<std::uint16_t, 12> glyphs = {
      0b111'101'101'101'111, 0b010'110'010'010'111, 0b111'001'111'100'111, 0b111'001'111'001'111,
      0b101'101'111'001'001, 0b111'100'111'001'111, 0b111'100'111'101'111, 0b111'001'001'001'001,
      0b111'101'111'101'111, 0b111'101'111'001'111, 0b000'010'000'010'000, 0b000'000'000'000'010};
  constexpr std::uint8_t light = 200;
  for (const char c : text) {
    const std::size_t glyph = c == ':' ? 10 : c == '.' ? 11 : static_cast<std::size_t>(c - '0');
    for (std::size_t y = 0; glyph < glyphs.size() && y < 5 * label_dot; ++y) {
      for (std::size_t x = 0; x < 3 * label_dot; ++x) {
        const std::size_t bit = 14 - (y / label_dot * 3 + x / label_dot);
        const std::size_t at = ((top + y) * width + left + x) * 3;
        if ((glyphs[glyph] >> bit & 1) == 0 || left + x >= width || at + 3 > rgb.size()) continue;
        rgb[at] = rgb[at + 1] = rgb[at + 2] = light;
      }
    }
    left += 4 * label_dot;
  }
}

}  // namespace ctl
