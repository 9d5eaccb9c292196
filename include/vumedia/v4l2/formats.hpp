// Pixel formats: names, layout in memory, and the enumerations that follow from them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include <linux/videodev2.h>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/v4l2/payload.hpp>

namespace vumedia::v4l2 {

/// V4L2's code of a format, from its four characters.
[[nodiscard]] constexpr std::uint32_t fourcc(char a, char b, char c, char d) noexcept {
  return static_cast<std::uint32_t>(static_cast<unsigned char>(a)) |
         static_cast<std::uint32_t>(static_cast<unsigned char>(b)) << 8 |
         static_cast<std::uint32_t>(static_cast<unsigned char>(c)) << 16 |
         static_cast<std::uint32_t>(static_cast<unsigned char>(d)) << 24;
}

/// A stateful decoder's AV1 (temporal units of OBUs), which older headers lack.
inline constexpr std::uint32_t pix_fmt_av1 = fourcc('A', 'V', '0', '1');
/// YUYV with 10 bits per sample, in the upper bits of little-endian words, which they lack as well.
inline constexpr std::uint32_t pix_fmt_y210 = fourcc('Y', '2', '1', '0');

/// A readable fourcc: four characters, with '.' for those that cannot be printed, and "-BE" if bit 31 is set.
struct FourccText {
  std::array<char, 8> text{};  ///< with a NUL
  /// The text, which lives as long as this.
  [[nodiscard]] constexpr const char* c_str() const noexcept { return text.data(); }
};
/// The text of `code`, whatever it is.
[[nodiscard]] constexpr FourccText fourcc_to_string(std::uint32_t code) noexcept {
  FourccText result;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto c = static_cast<char>(code >> (8 * i) & 0x7f);
    result.text[i] = c >= ' ' && c <= '~' ? c : '.';
  }
  if (code >> 31) {
    result.text[4] = '-';
    result.text[5] = 'B';
    result.text[6] = 'E';
  }
  return result;
}

/// One component plane of a raw format: `bytes` for each group of `horizontal` x `vertical` pixels.
struct Component {
  std::uint8_t bytes = 0;       ///< for a group of pixels
  std::uint8_t horizontal = 1;  ///< pixels of a group side by side
  std::uint8_t vertical = 1;    ///< lines of a group
};

/// A format that is known here, and how its pictures lie in memory.
struct PixelFormat {
  std::uint32_t code = 0;        ///< V4L2_PIX_FMT_*
  const char* description = "";  ///< the kernel's
  bool compressed = false;       ///< coded data, without a layout
  /// Planes in separate memory; 1 for all formats of the single-planar API.
  std::uint8_t memory_planes = 1;
  std::uint8_t component_count = 0;       ///< 0 if compressed
  std::array<Component, 3> components{};  ///< the first component_count
  std::uint8_t bit_depth = 8;             ///< of a sample
};

/// All formats that are known here.
inline constexpr auto pixel_formats = std::to_array<PixelFormat>({
    {V4L2_PIX_FMT_RGB24, "24-bit RGB 8-8-8", false, 1, 1, {{{3, 1, 1}}}, 8},
    {V4L2_PIX_FMT_YUYV, "YUYV 4:2:2", false, 1, 1, {{{4, 2, 1}}}, 8},
    {V4L2_PIX_FMT_NV12, "Y/UV 4:2:0", false, 1, 2, {{{1, 1, 1}, {2, 2, 2}}}, 8},
    {V4L2_PIX_FMT_NV12M, "Y/UV 4:2:0 (N-C)", false, 2, 2, {{{1, 1, 1}, {2, 2, 2}}}, 8},
    {V4L2_PIX_FMT_YUV420, "Planar YUV 4:2:0", false, 1, 3, {{{1, 1, 1}, {1, 2, 2}, {1, 2, 2}}}, 8},
    {V4L2_PIX_FMT_YUV420M, "Planar YUV 4:2:0 (N-C)", false, 3, 3, {{{1, 1, 1}, {1, 2, 2}, {1, 2, 2}}}, 8},
    {V4L2_PIX_FMT_P010, "10-bit Y/UV 4:2:0", false, 1, 2, {{{2, 1, 1}, {4, 2, 2}}}, 10},
    {V4L2_PIX_FMT_YUV422P, "Planar YUV 4:2:2", false, 1, 3, {{{1, 1, 1}, {1, 2, 1}, {1, 2, 1}}}, 8},
    {V4L2_PIX_FMT_NV16, "Y/UV 4:2:2", false, 1, 2, {{{1, 1, 1}, {2, 2, 1}}}, 8},
    {pix_fmt_y210, "10-bit YUYV Packed", false, 1, 1, {{{8, 2, 1}}}, 10},
    {V4L2_PIX_FMT_NV24, "Y/UV 4:4:4", false, 1, 2, {{{1, 1, 1}, {2, 1, 1}}}, 8},
    {V4L2_PIX_FMT_YUV411P, "Planar YUV 4:1:1", false, 1, 3, {{{1, 1, 1}, {1, 4, 1}, {1, 4, 1}}}, 8},
    {V4L2_PIX_FMT_GREY, "8-bit Greyscale", false, 1, 1, {{{1, 1, 1}}}, 8},
    {V4L2_PIX_FMT_H264, "H.264", true},
    {V4L2_PIX_FMT_HEVC, "HEVC", true},
    {V4L2_PIX_FMT_VP8, "VP8", true},
    {V4L2_PIX_FMT_VP9, "VP9", true},
    {pix_fmt_av1, "AV1 OBU stream", true},
    {V4L2_PIX_FMT_MPEG2, "MPEG-2 ES", true},
    {V4L2_PIX_FMT_MJPEG, "Motion-JPEG", true},
    {V4L2_PIX_FMT_JPEG, "JFIF JPEG", true},
});

/// Null for a format that is not known here.
[[nodiscard]] constexpr const PixelFormat* find_pixel_format(std::uint32_t code) noexcept {
  const auto found = std::ranges::find(pixel_formats, code, &PixelFormat::code);
  return found == pixel_formats.end() ? nullptr : &*found;
}

/// Where the bytes of a raw picture are.
struct Layout {
  /// A plane of the buffer.
  struct Plane {
    std::uint32_t bytesperline = 0;  ///< as V4L2 states it
    std::uint32_t sizeimage = 0;     ///< as V4L2 states it
  };
  /// Where a component is.
  struct Place {
    std::uint32_t plane = 0;        ///< in memory
    std::uint32_t offset = 0;       ///< within it
    std::uint32_t stride = 0;       ///< bytes from line to line
    std::uint32_t width_bytes = 0;  ///< of a line that carry picture
    std::uint32_t lines = 0;        ///< how many there are
  };
  std::uint32_t plane_count = 0;      ///< planes in memory
  std::array<Plane, 3> planes{};      ///< the first plane_count
  std::uint32_t component_count = 0;  ///< of the format
  std::array<Place, 3> components{};  ///< the first component_count, in the format's order
};

/// How a layout may differ from the tightest one.
struct LayoutOptions {
  /// Bytes; the first component's stride is a multiple of it, a power of two.
  std::uint32_t stride_alignment = 1;
  /// Bytes that a client asked for; more than needed is granted up to `max_stride`.
  std::uint32_t stride = 0;
  std::uint32_t max_stride = 1U << 20;  ///< in bytes
  /// Lines; the height of the first component in memory is a multiple of it, a power of two.
  std::uint32_t height_alignment = 1;
  /// Bytes after the last component, for decoders that read beyond it.
  std::uint32_t slack = 0;
};

/// The layout of a raw format at a size, as V4L2 defines it: the stride of a chroma plane follows from that
/// of the luma plane. Nothing if it is compressed, if a side is 0, or if a plane does not fit 32 bits.
[[nodiscard]] constexpr std::optional<Layout> compute_layout(const PixelFormat& format, std::uint32_t width,
                                                             std::uint32_t height,
                                                             const LayoutOptions& options = {}) noexcept {
  if (format.component_count == 0 || width == 0 || height == 0) return std::nullopt;
  const auto divide_up = [](std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; };
  const Component& first = format.components[0];

  // A stride that gives a whole number for every component: a client halves it for the chroma planes of YU12.
  std::uint64_t alignment = std::max<std::uint64_t>(options.stride_alignment, 1);
  // In every line, words begin at multiples of their size, and so do pairs of pixels that share their chroma.
  if (is_power_of_two(first.bytes)) alignment = std::max<std::uint64_t>(alignment, first.bytes);
  for (std::size_t c = 1; c < format.component_count; ++c) {
    alignment =
        std::max<std::uint64_t>(alignment, std::uint64_t{first.bytes} * format.components[c].horizontal);
  }
  const std::uint64_t needed = divide_up(width, first.horizontal) * first.bytes;
  const std::uint64_t asked = std::min(options.stride, options.max_stride);
  const std::uint64_t stride = divide_up(std::max(needed, asked), alignment) * alignment;
  const std::uint64_t rows = divide_up(height, std::max(options.height_alignment, 1U)) *
                             std::max<std::uint64_t>(options.height_alignment, 1);
  // Keeps the products below within 64 bits, and the fields of V4L2 within 32.
  if (stride > UINT32_MAX || rows > UINT32_MAX) return std::nullopt;

  Layout layout;
  layout.plane_count = format.memory_planes;
  layout.component_count = format.component_count;
  std::array<std::uint64_t, 3> sizes{};
  for (std::uint32_t c = 0; c < format.component_count; ++c) {
    const Component& component = format.components[c];
    // Components beyond the planes in memory share the last one.
    const std::uint32_t plane = std::min<std::uint32_t>(c, format.memory_planes - 1U);
    const std::uint64_t component_stride =
        c == 0 ? stride : stride / first.bytes * component.bytes / component.horizontal;
    const std::uint64_t offset = sizes[plane];
    sizes[plane] += component_stride * divide_up(rows, component.vertical);
    if (sizes[plane] > UINT32_MAX) return std::nullopt;
    layout.components[c] = {
        .plane = plane,
        .offset = static_cast<std::uint32_t>(offset),
        .stride = static_cast<std::uint32_t>(component_stride),
        .width_bytes = static_cast<std::uint32_t>(divide_up(width, component.horizontal) * component.bytes),
        .lines = static_cast<std::uint32_t>(divide_up(height, component.vertical))};
    if (offset == 0) layout.planes[plane].bytesperline = static_cast<std::uint32_t>(component_stride);
  }
  for (std::uint32_t p = 0; p < layout.plane_count; ++p) {
    sizes[p] += options.slack;
    if (sizes[p] > UINT32_MAX) return std::nullopt;
    layout.planes[p].sizeimage = static_cast<std::uint32_t>(sizes[p]);
  }
  return layout;
}

/// The size of a buffer of coded data for pictures of this size: what the client asks for, or else what one
/// picture can reasonably need; at least 256 KiB and at most 64 MiB.
[[nodiscard]] constexpr std::uint32_t coded_buffer_size(std::uint32_t width, std::uint32_t height,
                                                        std::uint32_t asked) noexcept {
  constexpr std::uint64_t smallest = 256 << 10;
  constexpr std::uint64_t largest = 64 << 20;
  // Half of a raw 4:2:0 picture: more than any reasonable stream spends on one.
  const std::uint64_t typical = std::uint64_t{width} * height * 3 / 4;
  const std::uint64_t wanted = asked != 0 ? asked : typical;
  return static_cast<std::uint32_t>(std::clamp(wanted, smallest, largest));
}

/// Fills in the size, stride and fourcc fields of `format` for its type, single- or multi-planar; others stay
/// as they are, reserved ones become zero. `sizes`: bytes of each plane (bytesperline 0 for coded data).
inline void fill_format(v4l2_format& format, std::uint32_t code, std::uint32_t width, std::uint32_t height,
                        std::span<const Layout::Plane> planes) noexcept {
  if (is_multiplanar(format.type)) {
    v4l2_pix_format_mplane& pix = format.fmt.pix_mp;
    pix.width = width;
    pix.height = height;
    pix.pixelformat = code;
    pix.num_planes = static_cast<std::uint8_t>(std::min<std::size_t>(planes.size(), VIDEO_MAX_PLANES));
    for (std::size_t p = 0; p < VIDEO_MAX_PLANES; ++p) {
      v4l2_plane_pix_format plane{};
      if (p < pix.num_planes) {
        plane.sizeimage = planes[p].sizeimage;
        plane.bytesperline = planes[p].bytesperline;
      }
      pix.plane_fmt[p] = plane;
    }
    std::memset(pix.reserved, 0, sizeof pix.reserved);
    return;
  }
  v4l2_pix_format& pix = format.fmt.pix;
  pix.width = width;
  pix.height = height;
  pix.pixelformat = code;
  pix.bytesperline = planes.empty() ? 0 : planes[0].bytesperline;
  pix.sizeimage = planes.empty() ? 0 : planes[0].sizeimage;
  pix.priv = V4L2_PIX_FMT_PRIV_MAGIC;
}

/// The same with the code of `pixel_format` and the planes of its `layout`.
inline void fill_format(v4l2_format& format, const PixelFormat& pixel_format, std::uint32_t width,
                        std::uint32_t height, const Layout& layout) noexcept {
  fill_format(format, pixel_format.code, width, height, std::span(layout.planes).first(layout.plane_count));
}

// ---- Enumerations. EINVAL ends each, as in the kernel.

/// A format of a list.
struct EnumeratedFormat {
  std::uint32_t code = 0;   ///< V4L2_PIX_FMT_*
  std::uint32_t flags = 0;  ///< V4L2_FMT_FLAG_DYN_RESOLUTION, ... ; COMPRESSED is added
};

/// VIDIOC_ENUM_FMT for one buffer type, which the caller has checked. All formats must be in pixel_formats.
[[nodiscard]] inline Result<> enum_fmt(v4l2_fmtdesc& query,
                                       std::span<const EnumeratedFormat> formats) noexcept {
  if (query.index >= formats.size()) return fail(EINVAL);
  const EnumeratedFormat& format = formats[query.index];
  const PixelFormat* const known = find_pixel_format(format.code);
  const v4l2_fmtdesc asked = query;
  query = {};
  query.index = asked.index;
  query.type = asked.type;
  query.pixelformat = format.code;
  query.flags = format.flags | (known != nullptr && known->compressed ? V4L2_FMT_FLAG_COMPRESSED : 0U);
  const FourccText text = fourcc_to_string(format.code);
  const char* const description = known != nullptr ? known->description : text.c_str();
  const std::size_t length = std::min(std::strlen(description), sizeof query.description - 1);
  std::memcpy(query.description, description, length);
  return {};
}

/// In pixels.
struct FrameSize {
  std::uint32_t width = 0;   ///< of a line
  std::uint32_t height = 0;  ///< lines
  friend constexpr bool operator==(FrameSize, FrameSize) = default;
};

/// VIDIOC_ENUM_FRAMESIZES with a list of sizes, for a format the caller has checked.
[[nodiscard]] inline Result<> enum_framesizes(v4l2_frmsizeenum& query,
                                              std::span<const FrameSize> sizes) noexcept {
  if (query.index >= sizes.size()) return fail(EINVAL);
  const v4l2_frmsizeenum asked = query;
  query = {};
  query.index = asked.index;
  query.pixel_format = asked.pixel_format;
  query.type = V4L2_FRMSIZE_TYPE_DISCRETE;
  query.discrete = {.width = sizes[asked.index].width, .height = sizes[asked.index].height};
  return {};
}

/// The same with a range; both steps 1 make it continuous.
[[nodiscard]] inline Result<> enum_framesizes(v4l2_frmsizeenum& query,
                                              const v4l2_frmsize_stepwise& range) noexcept {
  if (query.index != 0) return fail(EINVAL);
  const std::uint32_t code = query.pixel_format;
  query = {};
  query.pixel_format = code;
  query.type = range.step_width == 1 && range.step_height == 1 ? V4L2_FRMSIZE_TYPE_CONTINUOUS
                                                               : V4L2_FRMSIZE_TYPE_STEPWISE;
  query.stepwise = range;
  return {};
}

/// VIDIOC_ENUM_FRAMEINTERVALS with a list of seconds per frame, for a format and size the caller has checked.
[[nodiscard]] inline Result<> enum_frameintervals(v4l2_frmivalenum& query,
                                                  std::span<const v4l2_fract> intervals) noexcept {
  if (query.index >= intervals.size()) return fail(EINVAL);
  const v4l2_frmivalenum asked = query;
  query = {};
  query.index = asked.index;
  query.pixel_format = asked.pixel_format;
  query.width = asked.width;
  query.height = asked.height;
  query.type = V4L2_FRMIVAL_TYPE_DISCRETE;
  query.discrete = intervals[asked.index];
  return {};
}

}  // namespace vumedia::v4l2
