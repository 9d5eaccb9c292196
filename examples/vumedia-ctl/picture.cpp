#include "picture.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include <vumedia/core/checked.hpp>
#include <vumedia/v4l2/formats.hpp>

namespace ctl {
namespace {

using vumedia::failure;
using vumedia::format_text;

// Where a component of a format is stored: in which V4L2 plane, after how many planes of luma, at which byte.
struct Component {
  std::uint32_t memory = 0;         // index of the V4L2 plane
  std::uint32_t quarter_lumas = 0;  // quarters of the luma plane that precede it in the same memory
  std::uint32_t offset = 0;
  std::uint32_t step = 1;
  std::uint32_t quarter_strides = 4;  // quarters of the plane's stride from row to row
};

struct Format {
  std::uint32_t fourcc = 0;
  Model model = Model::yuv;
  std::uint32_t shift_x = 0;
  std::uint32_t shift_y = 0;
  std::array<Component, 3> components{};
  std::uint32_t bits = 8;
};

constexpr std::array formats{
    Format{V4L2_PIX_FMT_YUV420, Model::yuv, 1, 1, {{{0, 0, 0, 1}, {0, 4, 0, 1, 2}, {0, 5, 0, 1, 2}}}},
    Format{V4L2_PIX_FMT_YVU420, Model::yuv, 1, 1, {{{0, 0, 0, 1}, {0, 5, 0, 1, 2}, {0, 4, 0, 1, 2}}}},
    Format{V4L2_PIX_FMT_NV12, Model::yuv, 1, 1, {{{0, 0, 0, 1}, {0, 4, 0, 2}, {0, 4, 1, 2}}}},
    Format{V4L2_PIX_FMT_NV21, Model::yuv, 1, 1, {{{0, 0, 0, 1}, {0, 4, 1, 2}, {0, 4, 0, 2}}}},
    Format{V4L2_PIX_FMT_P010, Model::yuv, 1, 1, {{{0, 0, 0, 2}, {0, 4, 0, 4}, {0, 4, 2, 4}}}, 10},
    Format{V4L2_PIX_FMT_NV12M, Model::yuv, 1, 1, {{{0, 0, 0, 1}, {1, 0, 0, 2}, {1, 0, 1, 2}}}},
    Format{V4L2_PIX_FMT_YUV420M, Model::yuv, 1, 1, {{{0, 0, 0, 1}, {1, 0, 0, 1}, {2, 0, 0, 1}}}},
    Format{V4L2_PIX_FMT_YUV422P, Model::yuv, 1, 0, {{{0, 0, 0, 1}, {0, 4, 0, 1, 2}, {0, 6, 0, 1, 2}}}},
    Format{V4L2_PIX_FMT_NV16, Model::yuv, 1, 0, {{{0, 0, 0, 1}, {0, 4, 0, 2}, {0, 4, 1, 2}}}},
    Format{V4L2_PIX_FMT_NV61, Model::yuv, 1, 0, {{{0, 0, 0, 1}, {0, 4, 1, 2}, {0, 4, 0, 2}}}},
    Format{V4L2_PIX_FMT_NV16M, Model::yuv, 1, 0, {{{0, 0, 0, 1}, {1, 0, 0, 2}, {1, 0, 1, 2}}}},
    Format{V4L2_PIX_FMT_YUV422M, Model::yuv, 1, 0, {{{0, 0, 0, 1}, {1, 0, 0, 1}, {2, 0, 0, 1}}}},
    Format{V4L2_PIX_FMT_NV24, Model::yuv, 0, 0, {{{0, 0, 0, 1}, {0, 4, 0, 2, 8}, {0, 4, 1, 2, 8}}}},
    Format{V4L2_PIX_FMT_YUV444M, Model::yuv, 0, 0, {{{0, 0, 0, 1}, {1, 0, 0, 1}, {2, 0, 0, 1}}}},
    Format{V4L2_PIX_FMT_YUV411P, Model::yuv, 2, 0, {{{0, 0, 0, 1}, {0, 4, 0, 1, 1}, {0, 5, 0, 1, 1}}}},
    Format{vumedia::v4l2::pix_fmt_y210, Model::yuv, 1, 0, {{{0, 0, 0, 4}, {0, 0, 2, 8}, {0, 0, 6, 8}}}, 10},
    Format{V4L2_PIX_FMT_YUYV, Model::yuv, 1, 0, {{{0, 0, 0, 2}, {0, 0, 1, 4}, {0, 0, 3, 4}}}},
    Format{V4L2_PIX_FMT_UYVY, Model::yuv, 1, 0, {{{0, 0, 1, 2}, {0, 0, 0, 4}, {0, 0, 2, 4}}}},
    Format{V4L2_PIX_FMT_RGB24, Model::rgb, 0, 0, {{{0, 0, 0, 3}, {0, 0, 1, 3}, {0, 0, 2, 3}}}},
    Format{V4L2_PIX_FMT_BGR24, Model::rgb, 0, 0, {{{0, 0, 2, 3}, {0, 0, 1, 3}, {0, 0, 0, 3}}}},
    Format{V4L2_PIX_FMT_GREY, Model::grey, 0, 0, {{{0, 0, 0, 1}}}},
};

const Format* find_format(std::uint32_t fourcc) {
  const auto found = std::ranges::find(formats, fourcc, &Format::fourcc);
  return found != formats.end() ? &*found : nullptr;
}

std::uint8_t byte(std::int32_t value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0, 255));
}

// One pixel to RGB, in 16.16 fixed point.
struct Converter {
  explicit Converter(const Picture& picture) {
    const double kr = picture.bt709 ? 0.2126 : 0.299;
    const double kb = picture.bt709 ? 0.0722 : 0.114;
    const double kg = 1 - kr - kb;
    const double luma_gain = picture.full_range ? 1.0 : 255.0 / 219;
    const double chroma_gain = picture.full_range ? 1.0 : 255.0 / 224;
    const auto fixed = [](double value) { return static_cast<std::int32_t>(std::lround(value * 65536)); };
    black = picture.full_range ? 0 : 16;
    luma = fixed(luma_gain);
    red_cr = fixed(2 * (1 - kr) * chroma_gain);
    blue_cb = fixed(2 * (1 - kb) * chroma_gain);
    green_cb = fixed(2 * (1 - kb) * kb / kg * chroma_gain);
    green_cr = fixed(2 * (1 - kr) * kr / kg * chroma_gain);
  }

  std::array<std::uint8_t, 3> operator()(std::int32_t y, std::int32_t cb, std::int32_t cr) const {
    const std::int32_t base = (y - black) * luma + 32768;
    cb -= 128;
    cr -= 128;
    return {byte((base + cr * red_cr) >> 16), byte((base - cb * green_cb - cr * green_cr) >> 16),
            byte((base + cb * blue_cb) >> 16)};
  }

  std::int32_t black = 0, luma = 0, red_cr = 0, blue_cb = 0, green_cb = 0, green_cr = 0;
};

std::array<std::uint8_t, 3> pixel(const Picture& picture, const Converter& convert, std::size_t x,
                                  std::size_t y) {
  const auto sample = [&](std::uint32_t plane) {
    const std::size_t shift_x = plane == 0 ? 0 : picture.shift_x;
    const std::size_t shift_y = plane == 0 ? 0 : picture.shift_y;
    // Eight bits are enough to look at.
    return static_cast<std::uint8_t>(picture.sample(plane, x >> shift_x, y >> shift_y) >> (picture.bits - 8));
  };
  switch (picture.model) {
    case Model::rgb:
      return {sample(0), sample(1), sample(2)};
    case Model::grey:
      return {sample(0), sample(0), sample(0)};
    case Model::yuv:
      break;
  }
  return convert(sample(0), sample(1), sample(2));
}

}  // namespace

Layout layout_of(const v4l2_format& format) {
  Layout layout;
  if (format.type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE || format.type == V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE) {
    const auto& pix = format.fmt.pix_mp;
    layout.fourcc = pix.pixelformat;
    layout.width = pix.width;
    layout.height = pix.height;
    layout.planes = std::clamp<std::uint32_t>(pix.num_planes, 1, VIDEO_MAX_PLANES);
    for (std::uint32_t plane = 0; plane < layout.planes; ++plane) {
      layout.stride[plane] = pix.plane_fmt[plane].bytesperline;
      layout.size[plane] = pix.plane_fmt[plane].sizeimage;
    }
    layout.colorspace = pix.colorspace;
    layout.encoding = pix.ycbcr_enc;
    layout.quantization = pix.quantization;
  } else {
    const auto& pix = format.fmt.pix;
    layout.fourcc = pix.pixelformat;
    layout.width = pix.width;
    layout.height = pix.height;
    layout.stride[0] = pix.bytesperline;
    layout.size[0] = pix.sizeimage;
    layout.colorspace = pix.colorspace;
    layout.encoding = pix.ycbcr_enc;
    layout.quantization = pix.quantization;
  }
  return layout;
}

bool is_known(std::uint32_t fourcc) {
  return find_format(fourcc) != nullptr;
}

bool is_yuv(std::uint32_t fourcc) {
  const Format* const format = find_format(fourcc);
  return format != nullptr && format->model != Model::rgb;
}

vumedia::Outcome<Picture> make_picture(const Layout& layout, const Rectangle& visible,
                                       std::span<const std::span<const std::byte>> memory) {
  const Format* const format = find_format(layout.fourcc);
  if (format == nullptr)
    return failure("cannot read pixels of format %s", fourcc_text(layout.fourcc).c_str());
  if (visible.width == 0 || visible.height == 0 ||
      !vumedia::range_fits(visible.left, visible.width, layout.width) ||
      !vumedia::range_fits(visible.top, visible.height, layout.height)) {
    return failure("the visible rectangle %ux%u+%u+%u is not within the %ux%u frame", visible.width,
                   visible.height, visible.left, visible.top, layout.width, layout.height);
  }
  // With these bounds no product or sum below overflows 64 bits.
  constexpr std::uint32_t longest = 1 << 20;
  if (layout.width > longest || layout.height > longest ||
      std::ranges::any_of(layout.stride, [](std::uint32_t stride) { return stride > 16 * longest; })) {
    return failure("frames of %ux%u cannot be read here", layout.width, layout.height);
  }
  Picture picture;
  picture.model = format->model;
  picture.width = visible.width;
  picture.height = visible.height;
  picture.shift_x = format->shift_x;
  picture.shift_y = format->shift_y;
  picture.bits = format->bits;
  picture.spare_bits = format->bits > 8 ? 16 - format->bits : 0;
  const bool limited_by_default = format->model != Model::rgb && layout.colorspace != V4L2_COLORSPACE_JPEG;
  picture.full_range = layout.quantization == V4L2_QUANTIZATION_FULL_RANGE ||
                       (layout.quantization == V4L2_QUANTIZATION_DEFAULT && !limited_by_default);
  picture.bt709 = layout.encoding == V4L2_YCBCR_ENC_709 ||
                  (layout.encoding == V4L2_YCBCR_ENC_DEFAULT && layout.colorspace == V4L2_COLORSPACE_REC709);
  for (std::uint32_t index = 0; index < picture.plane_count(); ++index) {
    const Component& component = format->components[index];
    if (component.memory >= memory.size()) return failure("the frame lacks plane %u", component.memory);
    const auto bytes = memory[component.memory];
    const std::uint64_t luma = std::uint64_t{layout.stride[0]} * layout.height;
    const std::uint64_t stride =
        std::uint64_t{layout.stride[component.memory]} * component.quarter_strides / 4;
    const std::uint64_t left = visible.left >> (index == 0 ? 0 : picture.shift_x);
    const std::uint64_t top = visible.top >> (index == 0 ? 0 : picture.shift_y);
    const std::uint64_t start =
        luma / 4 * component.quarter_lumas + top * stride + left * component.step + component.offset;
    const std::uint64_t row =
        std::uint64_t{picture.plane_width(index) - 1} * component.step + picture.sample_bytes();
    const std::uint64_t length = (picture.plane_height(index) - 1) * stride + row;
    if ((stride < row && picture.plane_height(index) > 1) ||
        !vumedia::range_fits(start, length, bytes.size())) {
      return failure("a frame of %ux%u %s does not fit its buffer of %zu bytes", layout.width, layout.height,
                     fourcc_text(layout.fourcc).c_str(), bytes.size());
    }
    picture.planes[index] = {bytes.data() + start, stride, component.step};
  }
  return picture;
}

bool can_average(const Picture& picture, const Picture& like) {
  const bool sampled_alike = picture.shift_x == like.shift_x && picture.shift_y == like.shift_y;
  if (like.model != Model::yuv || picture.model == Model::rgb) return false;
  return picture.model == Model::grey || (!sampled_alike && like.shift_x == 1 && like.shift_y == 1);
}

std::uint32_t averaged_sample(const Picture& picture, const Picture& like, std::uint32_t plane, std::size_t x,
                              std::size_t y) {
  if (plane == 0) return picture.sample(plane, x, y);
  if (picture.model == Model::grey) return 1u << (picture.bits - 1);
  const std::size_t width = picture.plane_width(plane);
  const std::size_t height = picture.plane_height(plane);
  // The samples that it stands for are side by side and on top of each other; with fields, in lines of the
  // same field.
  std::array<std::size_t, 2> columns{x, x};
  std::array<std::size_t, 2> rows{y, y};
  if (picture.shift_x < like.shift_x) columns = {2 * x, std::min(2 * x + 1, width - 1)};
  if (picture.shift_x > like.shift_x) columns = {x / 2, x / 2};
  if (picture.shift_y < like.shift_y) {
    const std::size_t first = picture.fields ? y / 2 * 4 + y % 2 : 2 * y;
    const std::size_t second = first + (picture.fields ? 2 : 1);
    rows = {first, second < height ? second : first};
  }
  std::uint32_t sum = 2;
  for (const std::size_t row : rows) {
    for (const std::size_t column : columns) sum += picture.sample(plane, column, row);
  }
  return sum / 4;
}

void append_plane(const Picture& picture, std::uint32_t plane, std::vector<std::byte>& out) {
  const std::size_t width = picture.plane_width(plane);
  const std::size_t height = picture.plane_height(plane);
  const std::size_t start = out.size();
  const std::size_t bytes = width * picture.sample_bytes();
  out.resize(start + bytes * height);
  std::byte* to = out.data() + start;
  const Plane& from = picture.planes[plane];
  for (std::size_t y = 0; y < height; ++y, to += bytes) {
    const std::byte* const row = from.at(0, y);
    if (from.step == picture.sample_bytes() && picture.spare_bits == 0) {
      std::memcpy(to, row, bytes);
    } else if (picture.bits > 8) {
      for (std::size_t x = 0; x < width; ++x) {
        const std::uint32_t sample = picture.sample(plane, x, y);
        to[2 * x] = static_cast<std::byte>(sample & 0xff);
        to[2 * x + 1] = static_cast<std::byte>(sample >> 8);
      }
    } else {
      for (std::size_t x = 0; x < width; ++x) to[x] = row[x * from.step];
    }
  }
}

void append_planar(const Picture& picture, std::vector<std::byte>& out) {
  if (picture.model != Model::rgb) {
    for (std::uint32_t plane = 0; plane < picture.plane_count(); ++plane) append_plane(picture, plane, out);
    return;
  }
  // Full-range RGB to limited-range BT.601 at full resolution, in 16.16 fixed point.
  const std::size_t size = std::size_t{picture.width} * picture.height;
  const std::size_t start = out.size();
  out.resize(start + 3 * size);
  std::byte* to = out.data() + start;
  for (std::size_t y = 0; y < picture.height; ++y) {
    for (std::size_t x = 0; x < picture.width; ++x, ++to) {
      const auto sample = [&](std::uint32_t plane) {
        return std::to_integer<std::int32_t>(*picture.planes[plane].at(x, y));
      };
      const std::int32_t red = sample(0), green = sample(1), blue = sample(2);
      to[0] = std::byte{byte(16 + ((16829 * red + 33039 * green + 6416 * blue + 32768) >> 16))};
      to[size] = std::byte{byte(128 + ((-9714 * red - 19070 * green + 28784 * blue + 32768) >> 16))};
      to[2 * size] = std::byte{byte(128 + ((28784 * red - 24103 * green - 4681 * blue + 32768) >> 16))};
    }
  }
}

std::vector<std::uint8_t> to_rgb(const Picture& picture, std::uint32_t width, std::uint32_t height) {
  const Converter convert(picture);
  std::vector<std::uint8_t> out(std::size_t{width} * height * 3);
  std::uint8_t* to = out.data();
  for (std::uint32_t y = 0; y < height; ++y) {
    const std::size_t top = std::uint64_t{y} * picture.height / height;
    const std::size_t bottom = std::max<std::size_t>(top + 1, std::uint64_t{y + 1} * picture.height / height);
    for (std::uint32_t x = 0; x < width; ++x, to += 3) {
      const std::size_t left = std::uint64_t{x} * picture.width / width;
      const std::size_t right = std::max<std::size_t>(left + 1, std::uint64_t{x + 1} * picture.width / width);
      std::array<std::uint64_t, 3> sum{};
      for (std::size_t v = top; v < bottom; ++v) {
        for (std::size_t u = left; u < right; ++u) {
          const auto rgb = pixel(picture, convert, u, v);
          for (std::size_t channel = 0; channel < 3; ++channel) sum[channel] += rgb[channel];
        }
      }
      const std::uint64_t count = (bottom - top) * (right - left);
      for (std::size_t channel = 0; channel < 3; ++channel) {
        to[channel] = static_cast<std::uint8_t>((sum[channel] + count / 2) / count);
      }
    }
  }
  return out;
}

std::string fourcc_text(std::uint32_t fourcc) {
  const bool big_endian = (fourcc & (1u << 31)) != 0;
  std::string text(4, ' ');
  for (std::size_t index = 0; index < 4; ++index) {
    const auto letter = static_cast<char>((fourcc >> (8 * index)) & 0x7f);
    if (letter < ' ' || letter > '~') return format_text("0x%08x", fourcc);
    text[index] = letter;
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return big_endian ? text + "-BE" : text;
}

std::uint32_t parse_fourcc(const std::string& text) {
  if (text.empty() || text.size() > 4) return 0;
  std::uint32_t fourcc = 0;
  for (std::size_t index = 0; index < 4; ++index) {
    const auto letter = static_cast<unsigned char>(index < text.size() ? text[index] : ' ');
    fourcc |= std::uint32_t{letter} << (8 * index);
  }
  return fourcc;
}

}  // namespace ctl
