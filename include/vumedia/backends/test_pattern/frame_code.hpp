// The machine-readable frame number in every picture of the test pattern: 40 cells, black or white, side by
// side across the width of the picture, `code_lines` lines high and at its top. From left to right they are
// the bits, highest first, of the 32-bit frame number and of a CRC-8 over it. The cells do not depend on the
// controls, and are wide enough to survive scaling and lossy compression.
//
// Tests and tools read the number back with `read_frame_number`; nothing here needs the backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>

namespace vumedia::backends::test_pattern {

inline constexpr std::uint32_t code_cells = 40;  ///< 32 bits of the number and 8 of the check
inline constexpr std::uint32_t code_lines = 16;  ///< from the top of the picture

/// The column at which cell `index` (0..code_cells) starts; even, so that a cell never shares a chroma
/// sample.
[[nodiscard]] constexpr std::uint32_t code_column(std::uint32_t width, std::uint32_t index) noexcept {
  return static_cast<std::uint32_t>(std::uint64_t{width} * index / code_cells) & ~1u;
}

/// CRC-8 (polynomial 0x07, initially all ones) of the four bytes, highest first.
[[nodiscard]] constexpr std::uint8_t code_check(std::uint32_t number) noexcept {
  std::uint32_t crc = 0xff;
  for (int shift = 24; shift >= 0; shift -= 8) {
    crc ^= (number >> shift) & 0xff;
    for (int bit = 0; bit < 8; ++bit) crc = ((crc << 1) ^ ((crc & 0x80) != 0 ? 0x07u : 0u)) & 0xff;
  }
  return static_cast<std::uint8_t>(crc);
}

/// The 40 cells as bits; bit 39 is the leftmost cell, a set bit is white.
[[nodiscard]] constexpr std::uint64_t encode_frame_number(std::uint32_t number) noexcept {
  return (std::uint64_t{number} << 8) | code_check(number);
}

/// Nothing if the check does not match: the picture is not one of ours, or is damaged.
[[nodiscard]] constexpr std::optional<std::uint32_t> decode_frame_number(std::uint64_t cells) noexcept {
  const auto number = static_cast<std::uint32_t>(cells >> 8);
  if (encode_frame_number(number) != cells) return std::nullopt;
  return number;
}

static_assert(decode_frame_number(encode_frame_number(0x89abcdef)) == 0x89abcdef);
static_assert(!decode_frame_number(0) && !decode_frame_number((std::uint64_t{1} << code_cells) - 1));

/// Reads the number from a picture of RGB3, YUYV, NV12 or YU12 (or any format that starts with a plane of
/// 8-bit luma, like GREY or NM12): `format` gives pixelformat, width, height and bytesperline; `picture` is
/// the buffer or its first plane. Nothing if the format is not known, or if the picture is too small for the
/// code, is shorter than its format requires, or carries no valid number.
[[nodiscard]] constexpr std::optional<std::uint32_t> read_frame_number(
    const v4l2_pix_format& format, std::span<const std::byte> picture) noexcept {
  std::uint32_t step = 1;    // bytes from pixel to pixel
  std::uint32_t offset = 0;  // of the byte that distinguishes black from white
  switch (format.pixelformat) {
    case V4L2_PIX_FMT_RGB24:
      step = 3, offset = 1;
      break;
    case V4L2_PIX_FMT_YUYV:
      step = 2;
      break;
    case V4L2_PIX_FMT_NV12:
    case V4L2_PIX_FMT_NV12M:
    case V4L2_PIX_FMT_NV21:
    case V4L2_PIX_FMT_YUV420:
    case V4L2_PIX_FMT_YUV420M:
    case V4L2_PIX_FMT_YVU420:
    case V4L2_PIX_FMT_GREY:
      break;
    default:
      return std::nullopt;
  }
  // At least two columns for each cell, or neighbouring cells would start at the same (even) column.
  if (format.width < 2 * code_cells || format.height < code_lines) return std::nullopt;
  const std::uint64_t line = std::uint64_t{code_lines / 2} * format.bytesperline;
  if (!range_fits(line, std::uint64_t{format.width} * step, picture.size())) return std::nullopt;
  std::uint64_t cells = 0;
  for (std::uint32_t index = 0; index < code_cells; ++index) {
    const std::uint64_t middle =
        (code_column(format.width, index) + code_column(format.width, index + 1)) / 2;
    const auto level = picture[line + middle * step + offset];  // middle < width: see range_fits above
    cells = (cells << 1) | (level >= std::byte{128} ? 1u : 0u);
  }
  return decode_frame_number(cells);
}

}  // namespace vumedia::backends::test_pattern
