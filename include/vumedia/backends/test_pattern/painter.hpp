// Paints the moving test pattern into a frame.
//
// Most of a frame is copied: each pattern is one or two lines of pixels, twice as long as the picture is wide
// and made when format or controls change, and a frame copies a window of them per row that moves with the
// frame number. Over that lie the frame number as a code for machines (frame_code.hpp) and as digits for
// people; neither follows the controls. A 1080p frame costs about what copying its memory costs, and can be
// painted in slices.
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

#include <vumedia/backends/test_pattern/frame_code.hpp>
#include <vumedia/backends/test_pattern/glyphs.hpp>
#include <vumedia/backends/test_pattern/modes.hpp>

namespace vumedia::backends::test_pattern {

// The values of the V4L2_CID_TEST_PATTERN menu.
enum class Pattern : std::uint8_t { bars, gradient, checkerboard, noise };
inline constexpr std::array<const char*, 4> pattern_names{"Colour bars", "Gradient", "Checkerboard", "Noise"};

// V4L2_CID_BRIGHTNESS: the offset that is added to luma, plus 128.
inline constexpr std::int32_t brightness_minimum = 0;
inline constexpr std::int32_t brightness_maximum = 255;
inline constexpr std::int32_t brightness_default = 128;

// BT.601, limited range.
struct Colour {
  std::uint8_t y = 16;
  std::uint8_t cb = 128;
  std::uint8_t cr = 128;
};

struct Rgb {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
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

// A well mixed number of its argument (the finaliser of SplitMix64).
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

// The columns [first, last) of a row that get one grey level. Both are even.
struct Span {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  bool white = false;
};

}  // namespace detail

class Painter {
 public:
  // Prepares for `format`, one that make_pix_format made. The one function here that allocates.
  void configure(const v4l2_pix_format& format, Pattern pattern, std::int32_t brightness) {
    format_ = format;
    pixels_ = find_pixel_format(format.pixelformat);
    assert(pixels_ != nullptr);
    pattern_ = pattern;
    // A whole turn takes at least 160 frames; even, so that chroma samples stay whole.
    speed_ = std::max(2u, format.width / 160 & ~1u);
    for (std::uint32_t variant = 0; variant < lines_.size(); ++variant)
      build(lines_[variant], variant, brightness);
  }

  [[nodiscard]] const v4l2_pix_format& format() const noexcept { return format_; }

  // Paints rows [first, last) of frame `number`, and no byte outside them. Both are even, or `last` is the
  // height; `frame` has format().sizeimage bytes at least.
  void paint(std::uint32_t number, std::uint32_t first, std::uint32_t last,
             std::span<std::byte> frame) const noexcept {
    assert(pixels_ != nullptr && first <= last && last <= format_.height &&
           frame.size() >= format_.sizeimage);
    const Digits digits = layout_digits(number);
    for (std::uint32_t row = first; row < last; ++row) {
      paint_background(number, row, frame);
      if (row < code_lines) {
        paint_code(number, row, frame);
      } else if (row >= digits.top && row < digits.bottom) {
        paint_digits(digits, row, frame);
      }
    }
  }

  // A whole frame.
  void paint(std::uint32_t number, std::span<std::byte> frame) const noexcept {
    paint(number, 0, format_.height, frame);
  }

 private:
  // Two turns of a pattern's line, so that a window of one turn can start anywhere in the first.
  struct Line {
    std::vector<std::byte> pixels;  // RGB3, YUYV or the luma plane
    std::vector<std::byte> chroma;  // NV12: Cb and Cr in turn; YU12: Cb
    std::vector<std::byte> second;  // YU12: Cr
  };

  // The box with the frame number in decimal.
  struct Digits {
    std::uint32_t scale = 0;  // picture lines and columns a dot
    std::uint32_t left = 0, right = 0, top = 0, bottom = 0;
    std::array<char, 10> text{};
    std::uint32_t count = 0;
  };

  [[nodiscard]] std::uint32_t step() const noexcept { return pixels_->step; }
  [[nodiscard]] bool subsampled() const noexcept { return pixels_->bytes_a_pair == 3; }
  [[nodiscard]] bool semi_planar() const noexcept { return format_.pixelformat == V4L2_PIX_FMT_NV12; }

  [[nodiscard]] Colour colour_at(std::uint32_t column, std::uint32_t variant) const noexcept {
    const std::uint32_t width = format_.width;
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

  void build(Line& line, std::uint32_t variant, std::int32_t brightness) {
    const std::uint32_t width = format_.width;
    line.pixels.resize(std::size_t{2} * width * step());
    line.chroma.resize(subsampled() ? std::size_t{width} * (semi_planar() ? 2 : 1) : 0);
    line.second.resize(subsampled() && !semi_planar() ? width : 0);
    for (std::uint32_t x = 0; x < 2 * width; ++x) {
      // Two columns share their chroma in all formats, so that all show the same picture.
      Colour colour = colour_at((x & ~1u) % width, variant);
      colour.y = colour_at(x % width, variant).y;
      colour.y = detail::clamp_byte(colour.y + brightness - brightness_default, 16, 235);
      const auto at = std::size_t{x} * step();
      switch (format_.pixelformat) {
        case V4L2_PIX_FMT_RGB24: {
          const Rgb rgb = detail::to_rgb(colour);
          line.pixels[at] = std::byte{rgb.red};
          line.pixels[at + 1] = std::byte{rgb.green};
          line.pixels[at + 2] = std::byte{rgb.blue};
          break;
        }
        case V4L2_PIX_FMT_YUYV:
          line.pixels[at] = std::byte{colour.y};
          line.pixels[at + 1] = std::byte{x % 2 == 0 ? colour.cb : colour.cr};
          break;
        case V4L2_PIX_FMT_NV12:
          line.pixels[at] = std::byte{colour.y};
          line.chroma[x] = std::byte{x % 2 == 0 ? colour.cb : colour.cr};
          break;
        default:
          line.pixels[at] = std::byte{colour.y};
          line.chroma[x / 2] = std::byte{colour.cb};
          line.second[x / 2] = std::byte{colour.cr};
          break;
      }
    }
  }

  // Where planes and rows start. Chroma rows exist for every second luma row of the 4:2:0 formats.
  [[nodiscard]] std::byte* luma_row(std::uint32_t row, std::span<std::byte> frame) const noexcept {
    return frame.data() + std::size_t{row} * format_.bytesperline;
  }
  [[nodiscard]] std::byte* chroma_row(std::uint32_t row, std::uint32_t plane,
                                      std::span<std::byte> frame) const noexcept {
    const std::size_t luma = std::size_t{format_.bytesperline} * format_.height;
    const std::size_t stride = semi_planar() ? format_.bytesperline : format_.bytesperline / 2;
    return frame.data() + luma + plane * (luma / 4) + row / 2 * stride;
  }

  // The window's first column in row `row`: even and < width.
  [[nodiscard]] std::uint32_t shift(std::uint32_t number, std::uint32_t row) const noexcept {
    const std::uint64_t moved = std::uint64_t{number} * speed_;
    std::uint64_t start = moved;
    if (pattern_ == Pattern::gradient) start += row;
    if (pattern_ == Pattern::noise) start = detail::mix((std::uint64_t{number} << 16) ^ (row + 1)) >> 32;
    return static_cast<std::uint32_t>(start % format_.width) & ~1u;
  }

  void paint_background(std::uint32_t number, std::uint32_t row, std::span<std::byte> frame) const noexcept {
    const std::uint32_t width = format_.width;
    const std::uint32_t square = format_.width / 20;
    const bool odd = pattern_ == Pattern::noise ? row % 2 != 0 : (row / square) % 2 != 0;
    const Line& line = lines_[odd ? 1 : 0];
    const std::uint32_t from = shift(number, row);
    std::memcpy(luma_row(row, frame), line.pixels.data() + std::size_t{from} * step(),
                std::size_t{width} * step());
    if (!subsampled() || row % 2 != 0) return;
    if (semi_planar()) {
      std::memcpy(chroma_row(row, 0, frame), line.chroma.data() + from, width);
    } else {
      std::memcpy(chroma_row(row, 0, frame), line.chroma.data() + from / 2, width / 2);
      std::memcpy(chroma_row(row, 1, frame), line.second.data() + from / 2, width / 2);
    }
  }

  void fill(detail::Span span, std::uint32_t row, std::span<std::byte> frame) const noexcept {
    const std::uint32_t count = span.last - span.first;
    std::byte* const pixel = luma_row(row, frame) + std::size_t{span.first} * step();
    const std::byte luma{span.white ? std::uint8_t{235} : std::uint8_t{16}};
    constexpr std::byte neutral{128};
    switch (format_.pixelformat) {
      case V4L2_PIX_FMT_RGB24:
        std::memset(pixel, span.white ? 255 : 0, std::size_t{count} * 3);
        return;
      case V4L2_PIX_FMT_YUYV:
        for (std::uint32_t x = 0; x < count; ++x) {
          pixel[2 * x] = luma;
          pixel[2 * x + 1] = neutral;
        }
        return;
      default:
        std::memset(pixel, std::to_integer<int>(luma), count);
        break;
    }
    if (row % 2 != 0) return;
    if (semi_planar()) {
      std::memset(chroma_row(row, 0, frame) + span.first, 128, count);
    } else {
      std::memset(chroma_row(row, 0, frame) + span.first / 2, 128, count / 2);
      std::memset(chroma_row(row, 1, frame) + span.first / 2, 128, count / 2);
    }
  }

  void paint_code(std::uint32_t number, std::uint32_t row, std::span<std::byte> frame) const noexcept {
    const std::uint64_t cells = encode_frame_number(number);
    for (std::uint32_t index = 0; index < code_cells; ++index) {
      const bool white = ((cells >> (code_cells - 1 - index)) & 1) != 0;
      fill({code_column(format_.width, index), code_column(format_.width, index + 1), white}, row, frame);
    }
  }

  // Six digits or more in the middle of the picture, one dot of margin around them and between two.
  [[nodiscard]] Digits layout_digits(std::uint32_t number) const noexcept {
    Digits digits;
    digits.scale = std::max(2u, format_.width / 120 & ~1u);
    std::array<char, 10> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
    const auto length = static_cast<std::uint32_t>(end - text.data());
    digits.count = std::max(length, 6u);
    digits.text.fill('0');
    std::copy_n(text.data(), length, digits.text.data() + (digits.count - length));
    const std::uint32_t width = digits.scale * (digits.count * (glyph_width + 1) + 1);
    const std::uint32_t height = digits.scale * (glyph_height + 2);
    digits.left = ((format_.width - width) / 2) & ~1u;
    digits.right = digits.left + width;
    digits.top = ((format_.height - height) / 2) & ~1u;
    digits.bottom = digits.top + height;
    return digits;
  }

  void paint_digits(const Digits& digits, std::uint32_t row, std::span<std::byte> frame) const noexcept {
    fill({digits.left, digits.right, false}, row, frame);
    const std::uint32_t dot_row = (row - digits.top) / digits.scale;
    if (dot_row == 0 || dot_row > glyph_height) return;
    for (std::uint32_t index = 0; index < digits.count; ++index) {
      const auto dots = digit_glyphs[static_cast<std::size_t>(digits.text[index] - '0')][dot_row - 1];
      const std::uint32_t left = digits.left + digits.scale * (index * (glyph_width + 1) + 1);
      for (std::uint32_t dot = 0; dot < glyph_width; ++dot) {
        if (((dots >> (glyph_width - 1 - dot)) & 1) == 0) continue;
        fill({left + dot * digits.scale, left + (dot + 1) * digits.scale, true}, row, frame);
      }
    }
  }

  v4l2_pix_format format_{};
  const PixelFormat* pixels_ = nullptr;
  Pattern pattern_ = Pattern::bars;
  std::uint32_t speed_ = 2;
  std::array<Line, 2> lines_;
};

}  // namespace vumedia::backends::test_pattern
