// A picture in a buffer, whatever its pixel format: three components, each a grid of samples with a step from
// sample to sample and a stride from row to row. NV12 and YUYV differ from planar formats only in the step,
// so writing, summing and comparing know only one layout. Samples are bytes, or little-endian words of which
// P010 and Y210 fill the upper bits and libavcodec the lower.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <linux/videodev2.h>

#include <vumedia/core/result.hpp>

namespace ctl {

struct Plane {
  const std::byte* data = nullptr;
  std::size_t stride = 0;
  std::size_t step = 1;

  [[nodiscard]] const std::byte* at(std::size_t x, std::size_t y) const noexcept {
    return data + y * stride + x * step;
  }
};

enum class Model : std::uint8_t { yuv, rgb, grey };

struct Picture {
  Model model = Model::yuv;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  // Y, Cb, Cr or R, G, B. Chroma is (width + shift) >> shift_x samples wide, and so on.
  std::array<Plane, 3> planes{};
  std::uint32_t shift_x = 0;
  std::uint32_t shift_y = 0;
  std::uint32_t bits = 8;        // of a sample: 8 in a byte, more in a word
  std::uint32_t spare_bits = 0;  // of a word, below the sample
  bool full_range = false;
  bool bt709 = false;
  bool fields = false;  // its lines alternate between two fields, as far as that is known

  [[nodiscard]] std::uint32_t plane_count() const noexcept { return model == Model::grey ? 1 : 3; }
  [[nodiscard]] std::size_t sample_bytes() const noexcept { return bits > 8 ? 2 : 1; }
  [[nodiscard]] std::uint32_t sample(std::uint32_t plane, std::size_t x, std::size_t y) const noexcept {
    const std::byte* const at = planes[plane].at(x, y);
    if (bits == 8) return std::to_integer<std::uint32_t>(at[0]);
    return (std::to_integer<std::uint32_t>(at[0]) | std::to_integer<std::uint32_t>(at[1]) << 8) >> spare_bits;
  }
  [[nodiscard]] std::uint32_t plane_width(std::uint32_t plane) const noexcept {
    return plane == 0 ? width : (width + (1u << shift_x) - 1) >> shift_x;
  }
  [[nodiscard]] std::uint32_t plane_height(std::uint32_t plane) const noexcept {
    return plane == 0 ? height : (height + (1u << shift_y) - 1) >> shift_y;
  }
};

// A V4L2 format, single- or multi-planar, in the terms needed to find pixels.
struct Layout {
  std::uint32_t fourcc = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t planes = 1;
  std::array<std::uint32_t, VIDEO_MAX_PLANES> stride{};
  std::array<std::uint32_t, VIDEO_MAX_PLANES> size{};
  std::uint32_t colorspace = 0;
  std::uint32_t encoding = 0;
  std::uint32_t quantization = 0;
};

[[nodiscard]] Layout layout_of(const v4l2_format& format);

struct Rectangle {
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  friend bool operator==(const Rectangle&, const Rectangle&) = default;
};

// Whether make_picture knows the pixel format.
[[nodiscard]] bool is_known(std::uint32_t fourcc);
// Whether it is known, and of luma and chroma or of luma alone.
[[nodiscard]] bool is_yuv(std::uint32_t fourcc);

// The visible part of the picture in `memory` (one span for each V4L2 plane). Fails for unknown formats, and
// if the buffer is shorter than the format requires: a device is not trusted.
[[nodiscard]] vumedia::Outcome<Picture> make_picture(const Layout& layout, const Rectangle& visible,
                                                     std::span<const std::span<const std::byte>> memory);

// Whether averaged_sample() can convert `picture` to the sampling of `like`: 4:2:0, or without colour.
[[nodiscard]] bool can_average(const Picture& picture, const Picture& like);
// The sample of `picture` at a position of `like`: for chroma, the rounded mean of the samples that it stands
// for.
[[nodiscard]] std::uint32_t averaged_sample(const Picture& picture, const Picture& like, std::uint32_t plane,
                                            std::size_t x, std::size_t y);

// Appends component `plane` to `out`, row after row without padding; samples of more than 8 bits as
// little-endian words with the value in the lower bits.
void append_plane(const Picture& picture, std::uint32_t plane, std::vector<std::byte>& out);

// All components, Y then Cb then Cr, as in y4m files and checksums. RGB becomes 4:4:4.
void append_planar(const Picture& picture, std::vector<std::byte>& out);

// Packed 24-bit RGB scaled to width by height, each output pixel the mean of what it covers.
[[nodiscard]] std::vector<std::uint8_t> to_rgb(const Picture& picture, std::uint32_t width,
                                               std::uint32_t height);

// Four characters, or the number where they are not printable.
[[nodiscard]] std::string fourcc_text(std::uint32_t fourcc);
// Up to four characters, padded with blanks as V4L2 pads them; 0 if empty or longer.
[[nodiscard]] std::uint32_t parse_fourcc(const std::string& text);

}  // namespace ctl
