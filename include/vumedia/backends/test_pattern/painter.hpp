// Paints the moving test pattern into a frame.
//
// Most of a frame is copied: each pattern is one or two lines of pixels, twice as long as the picture is wide
// and made when format or controls change, and a frame copies a window of them per row that moves with the
// frame number. The frame number is painted over that, as a code for machines (frame_code.hpp) and as digits
// for people; neither depends on the controls. A 1080p frame costs about as much as copying its memory, and
// can be painted in slices.
//
// All formats are painted in the same way: as components (v4l2/formats.hpp), each of which is a line of
// groups of bytes and a place in one of the planes in memory.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/backends/camera/source.hpp>
#include <vumedia/backends/test_pattern/frame_code.hpp>
#include <vumedia/backends/test_pattern/glyphs.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace vumedia::backends::test_pattern {

/// The values of the V4L2_CID_TEST_PATTERN menu.
enum class Pattern : std::uint8_t { bars, gradient, checkerboard, noise };
/// The items of that menu.
inline constexpr std::array<const char*, 4> pattern_names{"Colour bars", "Gradient", "Checkerboard", "Noise"};

/// V4L2_CID_BRIGHTNESS: the offset that is added to luma, plus 128.
inline constexpr std::int32_t brightness_minimum = 0;
inline constexpr std::int32_t brightness_maximum = 255;  ///< see brightness_minimum
inline constexpr std::int32_t brightness_default = 128;  ///< see brightness_minimum

/// BT.601, limited range.
struct Colour {
  std::uint8_t y = 16;    ///< 16 to 235
  std::uint8_t cb = 128;  ///< 16 to 240
  std::uint8_t cr = 128;  ///< 16 to 240
};

/// The full range of a byte.
struct Rgb {
  /// 0 to 255.
  ///@{
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
  ///@}
};

namespace detail {

[[nodiscard]] constexpr std::uint8_t clamp_byte(std::int32_t value, std::int32_t low,
                                                std::int32_t high) noexcept {
  return static_cast<std::uint8_t>(value < low ? low : value > high ? high : value);
}

// Limited-range BT.601 to full-range RGB, in 16.16 fixed point.
[[nodiscard]] constexpr Rgb to_rgb(Colour colour) noexcept {
  const std::int32_t y = (colour.y - 16) * 76309 + 32768;
  const std::int32_t cb = colour.cb - 128;
  const std::int32_t cr = colour.cr - 128;
  return {clamp_byte((y + cr * 104597) >> 16, 0, 255),
          clamp_byte((y - cb * 25675 - cr * 53279) >> 16, 0, 255),
          clamp_byte((y + cb * 132201) >> 16, 0, 255)};
}

// A hash of its argument (the finaliser of SplitMix64).
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// White, yellow, cyan, green, magenta, red, blue, black: the 75 % bars of BT.801.
inline constexpr std::array<Colour, 8> colour_bars{{{180, 128, 128},
                                                    {162, 44, 142},
                                                    {131, 156, 44},
                                                    {112, 72, 58},
                                                    {84, 184, 198},
                                                    {65, 100, 212},
                                                    {35, 212, 114},
                                                    {16, 128, 128}}};

// The full range of a byte, as in JPEG.
[[nodiscard]] constexpr Colour to_full_range(Colour colour) noexcept {
  const auto chroma = [](std::uint8_t value) {
    return clamp_byte(((value - 128) * 255 + 128 * 224 + 112) / 224, 0, 255);
  };
  return {clamp_byte(((colour.y - 16) * 255 + 109) / 219, 0, 255), chroma(colour.cb), chroma(colour.cr)};
}
static_assert(to_full_range({235, 16, 240}).y == 255 && to_full_range({235, 16, 240}).cb == 1);
static_assert(to_full_range({16, 128, 240}).y == 0 && to_full_range({16, 128, 240}).cr == 255);
static_assert(to_full_range({16, 128, 128}).cb == 128);

// The columns [first, last) of a row that get one grey level. Both are even.
struct Span {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  bool white = false;
};

}  // namespace detail

// Where a picture is painted: a raw format with 8 bits per sample; a width that is a multiple of 40 and at
// least 320, and an even height of at least 240.
using camera::Canvas;
using camera::Planes;

/// Configured before it paints. One thread at a time may use it.
class Painter {
 public:
  /// The one function here that allocates.
  void configure(const Canvas& canvas, Pattern pattern, std::int32_t brightness) {
    assert(canvas.format != nullptr && !canvas.format->compressed && canvas.format->bit_depth == 8);
    canvas_ = canvas;
    pattern_ = pattern;
    // A whole turn takes at least 160 frames; even, so that chroma samples stay whole.
    speed_ = std::max(2u, canvas.width / 160 & ~1u);
    for (std::uint32_t variant = 0; variant < lines_.size(); ++variant)
      build(lines_[variant], variant, brightness);
    for (const bool white : {false, true}) {
      const Colour grey = in_range({white ? std::uint8_t{235} : std::uint8_t{16}, 128, 128});
      for (std::size_t c = 0; c < component_count(); ++c) encode(c, grey, grey, greys_[white ? 1 : 0][c]);
    }
  }
  /// For one plane in memory, described in V4L2 terms: a format and size of this camera.
  void configure(const v4l2_pix_format& pix, Pattern pattern, std::int32_t brightness) {
    const v4l2::PixelFormat* const format = v4l2::find_pixel_format(pix.pixelformat);
    assert(format != nullptr);
    const auto layout = v4l2::compute_layout(*format, pix.width, pix.height, {.stride = pix.bytesperline});
    assert(layout);
    configure({format, pix.width, pix.height, *layout}, pattern, brightness);
  }

  /// As configured.
  [[nodiscard]] const Canvas& canvas() const noexcept { return canvas_; }

  /// Paints rows [first, last) of frame `number`, and no byte outside them or between them. Both are even, or
  /// `last` is the height.
  void paint(std::uint32_t number, std::uint32_t first, std::uint32_t last,
             const Planes& planes) const noexcept {
    assert(canvas_.format != nullptr && first <= last && last <= canvas_.height);
    const Digits digits = layout_digits(number);
    for (std::uint32_t row = first; row < last; ++row) {
      paint_background(number, row, planes);
      if (row < code_lines) {
        paint_code(number, row, planes);
      } else if (row >= digits.top && row < digits.bottom) {
        paint_digits(digits, row, planes);
      }
    }
  }

  /// A whole frame.
  void paint(std::uint32_t number, const Planes& planes) const noexcept {
    paint(number, 0, canvas_.height, planes);
  }
  /// A whole frame of one plane in memory; `frame` has the bytes of its layout.
  void paint(std::uint32_t number, std::span<std::byte> frame) const noexcept {
    assert(canvas_.layout.plane_count == 1 && frame.size() >= canvas_.layout.planes[0].sizeimage);
    paint(number, Planes{frame.data()});
  }

 private:
  // Two turns of a pattern's line, so that a window of one turn can start anywhere in the first.
  using Line = std::array<std::vector<std::byte>, 3>;  // one for each component
  using Group = std::array<std::byte, 4>;              // of a component, at most

  // The box with the frame number in decimal.
  struct Digits {
    std::uint32_t scale = 0;  // picture lines and columns of a dot
    std::uint32_t left = 0, right = 0, top = 0, bottom = 0;
    std::array<char, 10> text{};
    std::uint32_t count = 0;
  };

  [[nodiscard]] std::size_t component_count() const noexcept { return canvas_.format->component_count; }
  [[nodiscard]] const v4l2::Component& component(std::size_t c) const noexcept {
    return canvas_.format->components[c];
  }
  [[nodiscard]] Colour in_range(Colour colour) const noexcept {
    return canvas_.full_range ? detail::to_full_range(colour) : colour;
  }

  [[nodiscard]] Colour colour_at(std::uint32_t column, std::uint32_t variant) const noexcept {
    const std::uint32_t width = canvas_.width;
    switch (pattern_) {
      case Pattern::bars:
        return detail::colour_bars[std::uint64_t{column} * 8 / width];
      case Pattern::gradient: {
        // Up over the first half of the turn and down over the second, so that the ends meet.
        const std::uint32_t ramp = column < width / 2 ? column : width - 1 - column;
        const auto level = static_cast<std::int32_t>(ramp * 2 * 219 / width);
        return {detail::clamp_byte(16 + level, 16, 235), detail::clamp_byte(64 + level / 2, 16, 240),
                detail::clamp_byte(192 - level / 2, 16, 240)};
      }
      case Pattern::checkerboard: {
        const std::uint32_t square = width / 20;
        return {((column / square) & 1) == variant ? std::uint8_t{210} : std::uint8_t{40}, 128, 128};
      }
      case Pattern::noise:
        break;
    }
    return {static_cast<std::uint8_t>(16 + detail::mix(column + 1 + (std::uint64_t{variant} << 32)) % 220),
            128, 128};
  }

  // The bytes of component `c` for two columns; only one column counts if it is not subsampled.
  void encode(std::size_t c, Colour left, Colour right, Group& group) const noexcept {
    switch (canvas_.format->code) {
      case V4L2_PIX_FMT_RGB24: {
        const Rgb rgb = detail::to_rgb(left);
        group = {std::byte{rgb.red}, std::byte{rgb.green}, std::byte{rgb.blue}};
        return;
      }
      case V4L2_PIX_FMT_YUYV:
        group = {std::byte{left.y}, std::byte{left.cb}, std::byte{right.y}, std::byte{left.cr}};
        return;
      default:
        break;
    }
    // Planes of luma, and of both chroma components alternating or separate.
    if (c == 0) {
      group = {std::byte{left.y}};
    } else if (component(c).bytes == 2) {
      group = {std::byte{left.cb}, std::byte{left.cr}};
    } else {
      group = {std::byte{c == 1 ? left.cb : left.cr}};
    }
  }

  void build(Line& line, std::uint32_t variant, std::int32_t brightness) {
    const std::uint32_t width = canvas_.width;
    // Two columns share their chroma in all formats, so that all formats show the same picture.
    const auto colour = [&](std::uint32_t x) {
      Colour mixed = colour_at((x & ~1u) % width, variant);
      mixed.y = colour_at(x % width, variant).y;
      mixed.y = detail::clamp_byte(mixed.y + brightness - brightness_default, 16, 235);
      return in_range(mixed);
    };
    for (std::size_t c = 0; c < component_count(); ++c) {
      const auto [bytes, horizontal, vertical] = component(c);
      line[c].resize(std::size_t{2} * width / horizontal * bytes);
      std::byte* to = line[c].data();
      for (std::uint32_t x = 0; x < 2 * width; x += horizontal, to += bytes) {
        Group group{};
        encode(c, colour(x), colour(x + horizontal - 1), group);
        std::memcpy(to, group.data(), bytes);
      }
    }
  }

  // Where row `row` of the picture starts in component `c`, which must have that row.
  [[nodiscard]] std::byte* row_of(std::size_t c, std::uint32_t row, const Planes& planes) const noexcept {
    const v4l2::Layout::Place& place = canvas_.layout.components[c];
    return planes[place.plane] + place.offset + std::size_t{row / component(c).vertical} * place.stride;
  }

  // The window's first column in row `row`: even and < width.
  [[nodiscard]] std::uint32_t shift(std::uint32_t number, std::uint32_t row) const noexcept {
    const std::uint64_t moved = std::uint64_t{number} * speed_;
    std::uint64_t start = moved;
    if (pattern_ == Pattern::gradient) start += row;
    if (pattern_ == Pattern::noise) start = detail::mix((std::uint64_t{number} << 16) ^ (row + 1)) >> 32;
    return static_cast<std::uint32_t>(start % canvas_.width) & ~1u;
  }

  void paint_background(std::uint32_t number, std::uint32_t row, const Planes& planes) const noexcept {
    const std::uint32_t square = canvas_.width / 20;
    const bool odd = pattern_ == Pattern::noise ? row % 2 != 0 : (row / square) % 2 != 0;
    const Line& line = lines_[odd ? 1 : 0];
    const std::uint32_t from = shift(number, row);
    for (std::size_t c = 0; c < component_count(); ++c) {
      const auto [bytes, horizontal, vertical] = component(c);
      if (row % vertical != 0) continue;
      std::memcpy(row_of(c, row, planes), line[c].data() + std::size_t{from} / horizontal * bytes,
                  std::size_t{canvas_.width} / horizontal * bytes);
    }
  }

  void fill(detail::Span span, std::uint32_t row, const Planes& planes) const noexcept {
    for (std::size_t c = 0; c < component_count(); ++c) {
      const auto [bytes, horizontal, vertical] = component(c);
      if (row % vertical != 0) continue;
      const Group& grey = greys_[span.white ? 1 : 0][c];
      std::byte* const to = row_of(c, row, planes) + std::size_t{span.first} / horizontal * bytes;
      const std::size_t length = std::size_t{span.last - span.first} / horizontal * bytes;
      if (std::all_of(grey.begin(), grey.begin() + bytes, [&](std::byte b) { return b == grey[0]; })) {
        std::memset(to, std::to_integer<int>(grey[0]), length);
        continue;
      }
      for (std::size_t at = 0; at < length; at += bytes) std::memcpy(to + at, grey.data(), bytes);
    }
  }

  void paint_code(std::uint32_t number, std::uint32_t row, const Planes& planes) const noexcept {
    const std::uint64_t cells = encode_frame_number(number);
    for (std::uint32_t index = 0; index < code_cells; ++index) {
      const bool white = ((cells >> (code_cells - 1 - index)) & 1) != 0;
      fill({code_column(canvas_.width, index), code_column(canvas_.width, index + 1), white}, row, planes);
    }
  }

  // Six digits or more in the middle of the picture, with a margin of one dot around and between them.
  [[nodiscard]] Digits layout_digits(std::uint32_t number) const noexcept {
    Digits digits;
    digits.scale = std::max(2u, canvas_.width / 120 & ~1u);
    std::array<char, 10> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
    const auto length = static_cast<std::uint32_t>(end - text.data());
    digits.count = std::max(length, 6u);
    digits.text.fill('0');
    std::copy_n(text.data(), length, digits.text.data() + (digits.count - length));
    const std::uint32_t width = digits.scale * (digits.count * (glyph_width + 1) + 1);
    const std::uint32_t height = digits.scale * (glyph_height + 2);
    digits.left = ((canvas_.width - width) / 2) & ~1u;
    digits.right = digits.left + width;
    digits.top = ((canvas_.height - height) / 2) & ~1u;
    digits.bottom = digits.top + height;
    return digits;
  }

  void paint_digits(const Digits& digits, std::uint32_t row, const Planes& planes) const noexcept {
    fill({digits.left, digits.right, false}, row, planes);
    const std::uint32_t dot_row = (row - digits.top) / digits.scale;
    if (dot_row == 0 || dot_row > glyph_height) return;
    for (std::uint32_t index = 0; index < digits.count; ++index) {
      const auto dots = digit_glyphs[static_cast<std::size_t>(digits.text[index] - '0')][dot_row - 1];
      const std::uint32_t left = digits.left + digits.scale * (index * (glyph_width + 1) + 1);
      for (std::uint32_t dot = 0; dot < glyph_width; ++dot) {
        if (((dots >> (glyph_width - 1 - dot)) & 1) == 0) continue;
        fill({left + dot * digits.scale, left + (dot + 1) * digits.scale, true}, row, planes);
      }
    }
  }

  Canvas canvas_;
  Pattern pattern_ = Pattern::bars;
  std::uint32_t speed_ = 2;
  std::array<Line, 2> lines_;
  std::array<std::array<Group, 3>, 2> greys_{};  // black and white, for each component
};

}  // namespace vumedia::backends::test_pattern
