// The pictures of the test pattern: their contents, and that nothing is written outside them.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/test_pattern/modes.hpp>
#include <vumedia/backends/test_pattern/painter.hpp>

namespace vumedia::backends::test_pattern {
namespace {

constexpr std::array numbers{0u, 1u, 7u, 1234567u, 0x80000001u, 0xffffffffu};

using camera::FrameSize;
using camera::Mode;

Mode mode_of(std::uint32_t code, const FrameSize& size, std::uint32_t stride = 0) {
  return camera::make_mode(*v4l2::find_pixel_format(code), *camera::find_size(modes, size.width, size.height),
                           stride);
}

// The first plane in the terms of the single-planar API.
v4l2_pix_format pix_of(const Mode& mode) {
  v4l2_pix_format pix{};
  pix.pixelformat = mode.format->code;
  pix.width = mode.size->width;
  pix.height = mode.size->height;
  pix.bytesperline = mode.layout.planes[0].bytesperline;
  pix.sizeimage = mode.layout.planes[0].sizeimage;
  return pix;
}

Painter painter_of(const Mode& mode, Pattern pattern = Pattern::bars,
                   std::int32_t brightness = brightness_default, bool full_range = false) {
  Painter made;
  made.configure({mode.format, mode.size->width, mode.size->height, mode.layout, full_range}, pattern,
                 brightness);
  return made;
}

// Memory for a picture: one vector for each plane, each followed by unused room.
struct Memory {
  static constexpr std::size_t guard = 4096;

  explicit Memory(const Mode& mode, std::byte fill = std::byte{0}) {
    for (std::uint32_t p = 0; p < mode.layout.plane_count; ++p)
      bytes[p].resize(mode.layout.planes[p].sizeimage + guard, fill);
  }
  Planes planes() { return {bytes[0].data(), bytes[1].data(), bytes[2].data()}; }
  // The first plane.
  std::span<const std::byte> first() const { return std::span(bytes[0]).first(bytes[0].size() - guard); }

  std::array<std::vector<std::byte>, 3> bytes;
};

// In every format: all sizes, and one with padding after each line.
class Picture : public testing::TestWithParam<std::uint32_t> {
 protected:
  template <class Body>
  void for_each_mode(Body body) {
    for (const auto& size : frame_sizes) body(mode_of(GetParam(), size));
    body(mode_of(GetParam(), frame_sizes[1], 1026));
  }
};
INSTANTIATE_TEST_SUITE_P(All, Picture, testing::ValuesIn(raw_formats), [](const auto& parameter) {
  return std::string(v4l2::fourcc_to_string(parameter.param).c_str());
});

TEST_P(Picture, CarriesItsNumberWhateverTheControlsSay) {
  for_each_mode([](const Mode& mode) {
    SCOPED_TRACE(mode.size->width);
    for (const auto pattern : {Pattern::bars, Pattern::gradient, Pattern::checkerboard, Pattern::noise}) {
      for (const auto brightness : {brightness_minimum, brightness_default, brightness_maximum}) {
        const auto made = painter_of(mode, pattern, brightness, brightness == brightness_maximum);
        Memory memory(mode);
        for (const auto number : numbers) {
          made.paint(number, memory.planes());
          EXPECT_EQ(read_frame_number(pix_of(mode), memory.first()), number);
        }
      }
    }
  });
}

// Only the bytes of each line that carry the picture: neither padding nor bytes after a plane.
TEST_P(Picture, WritesItsPixelsAndNothingElse) {
  for_each_mode([](const Mode& mode) {
    SCOPED_TRACE(mode.size->width);
    const auto made = painter_of(mode, Pattern::noise);
    Memory zeros(mode, std::byte{0x00});
    Memory ones(mode, std::byte{0xff});
    made.paint(42, zeros.planes());
    made.paint(42, ones.planes());
    std::array<std::vector<bool>, 3> pixels;
    for (std::size_t p = 0; p < 3; ++p) pixels[p].resize(zeros.bytes[p].size());
    for (std::uint32_t c = 0; c < mode.layout.component_count; ++c) {
      const auto& place = mode.layout.components[c];
      for (std::size_t line = 0; line < place.lines; ++line) {
        const auto at = static_cast<std::ptrdiff_t>(place.offset + line * place.stride);
        std::fill_n(pixels[place.plane].begin() + at, place.width_bytes, true);
      }
    }
    // Bytes that the painter wrote are the same in both; bytes that it left alone differ.
    for (std::size_t p = 0; p < 3; ++p) {
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < pixels[p].size(); ++i)
        wrong += (zeros.bytes[p][i] == ones.bytes[p][i]) != pixels[p][i] ? 1 : 0;
      EXPECT_EQ(wrong, 0u) << "plane " << p;
    }
  });
}

TEST_P(Picture, SlicesGiveTheSamePicture) {
  for_each_mode([](const Mode& mode) {
    SCOPED_TRACE(mode.size->width);
    const auto made = painter_of(mode, Pattern::gradient);
    Memory whole(mode);
    Memory sliced(mode);
    made.paint(99, whole.planes());
    for (std::uint32_t row = 0; row < mode.size->height; row += 38)
      made.paint(99, row, std::min(row + 38, mode.size->height), sliced.planes());
    EXPECT_TRUE(whole.bytes == sliced.bytes);
  });
}

TEST_P(Picture, Moves) {
  for_each_mode([](const Mode& mode) {
    SCOPED_TRACE(mode.size->width);
    for (const auto pattern : {Pattern::bars, Pattern::gradient, Pattern::checkerboard, Pattern::noise}) {
      const auto made = painter_of(mode, pattern);
      Memory one(mode);
      Memory next(mode);
      made.paint(10, one.planes());
      made.paint(11, next.planes());
      // Below the code, and away from the digits: the last line of the first plane.
      const std::size_t stride = mode.layout.planes[0].bytesperline;
      const auto row = (mode.size->height - 1) * stride;
      EXPECT_NE(std::memcmp(&one.bytes[0][row], &next.bytes[0][row], stride), 0)
          << pattern_names[std::size_t(pattern)];
    }
  });
}

TEST_P(Picture, BrightnessRaisesTheBackground) {
  for_each_mode([](const Mode& mode) {
    SCOPED_TRACE(mode.size->width);
    const auto mean = [&](std::int32_t brightness) {
      Memory memory(mode);
      painter_of(mode, Pattern::bars, brightness).paint(0, memory.planes());
      const v4l2::Component& first = mode.format->components[0];
      const std::size_t step = first.bytes / first.horizontal;
      const auto row = std::size_t{mode.size->height - 1} * mode.layout.planes[0].bytesperline;
      std::uint64_t sum = 0;
      for (std::uint32_t x = 0; x < mode.size->width; ++x)
        sum += std::to_integer<unsigned>(memory.bytes[0][row + x * step + (step == 3 ? 1 : 0)]);
      return sum / mode.size->width;
    };
    EXPECT_LT(mean(90), mean(128));
    EXPECT_LT(mean(128), mean(170));
  });
}

// All formats show one picture: NV12, YU12, YUYV and those with separate planes have the same luma and
// chroma, and RGB3 is its conversion.
TEST(PictureFormats, Agree) {
  constexpr std::size_t width = 640, height = 480, luma_size = width * height;
  for (const auto pattern : {Pattern::bars, Pattern::gradient, Pattern::checkerboard, Pattern::noise}) {
    std::map<std::uint32_t, Memory> frames;
    for (const auto code : raw_formats) {
      const Mode mode = mode_of(code, frame_sizes[0]);
      Memory& memory = frames.try_emplace(code, mode).first->second;
      painter_of(mode, pattern, 140).paint(1000, memory.planes());
    }
    const auto at = [&](std::uint32_t code, std::size_t offset, std::size_t plane = 0) {
      return std::to_integer<std::uint8_t>(frames.at(code).bytes[plane][offset]);
    };
    for (std::size_t y = 0; y < height; y += 2) {
      for (std::size_t x = 0; x < width; x += 2) {
        const std::size_t pixel = y * width + x;
        const std::size_t pair = y / 2 * width + x;
        const std::size_t quarter = y / 2 * width / 2 + x / 2;
        const std::uint8_t luma = at(V4L2_PIX_FMT_NV12, pixel);
        const std::uint8_t cb = at(V4L2_PIX_FMT_NV12, luma_size + pair);
        const std::uint8_t cr = at(V4L2_PIX_FMT_NV12, luma_size + pair + 1);
        ASSERT_EQ(luma, at(V4L2_PIX_FMT_YUV420, pixel));
        ASSERT_EQ(cb, at(V4L2_PIX_FMT_YUV420, luma_size + quarter));
        ASSERT_EQ(cr, at(V4L2_PIX_FMT_YUV420, luma_size * 5 / 4 + quarter));
        ASSERT_EQ(luma, at(V4L2_PIX_FMT_NV12M, pixel));
        ASSERT_EQ(cb, at(V4L2_PIX_FMT_NV12M, pair, 1));
        ASSERT_EQ(cr, at(V4L2_PIX_FMT_NV12M, pair + 1, 1));
        ASSERT_EQ(luma, at(V4L2_PIX_FMT_YUV420M, pixel));
        ASSERT_EQ(cb, at(V4L2_PIX_FMT_YUV420M, quarter, 1));
        ASSERT_EQ(cr, at(V4L2_PIX_FMT_YUV420M, quarter, 2));
        ASSERT_EQ(luma, at(V4L2_PIX_FMT_YUYV, pixel * 2));
        ASSERT_EQ(cb, at(V4L2_PIX_FMT_YUYV, pixel * 2 + 1));
        ASSERT_EQ(cr, at(V4L2_PIX_FMT_YUYV, pixel * 2 + 3));
        const Rgb rgb = detail::to_rgb({luma, cb, cr});
        ASSERT_EQ(rgb.red, at(V4L2_PIX_FMT_RGB24, pixel * 3)) << x << "," << y;
        ASSERT_EQ(rgb.green, at(V4L2_PIX_FMT_RGB24, pixel * 3 + 1));
        ASSERT_EQ(rgb.blue, at(V4L2_PIX_FMT_RGB24, pixel * 3 + 2));
      }
    }
  }
}

// As in JPEG: black is 0, white 255, and every sample is the conversion of the other picture's.
TEST(PictureFormats, FullRangeIsTheSamePicture) {
  const Mode mode = mode_of(V4L2_PIX_FMT_YUV420M, frame_sizes[1]);
  Memory limited(mode);
  Memory full(mode);
  painter_of(mode, Pattern::gradient).paint(5, limited.planes());
  painter_of(mode, Pattern::gradient, brightness_default, true).paint(5, full.planes());
  std::set<std::byte> levels(full.bytes[0].begin(), full.bytes[0].begin() + 320 * 16);
  EXPECT_EQ(levels, (std::set{std::byte{0}, std::byte{255}})) << "the code";
  for (std::size_t p = 0; p < 3; ++p) {
    for (std::size_t i = 0; i < mode.layout.planes[p].sizeimage; ++i) {
      const auto sample = std::to_integer<std::uint8_t>(limited.bytes[p][i]);
      const Colour colour = detail::to_full_range({sample, sample, sample});
      ASSERT_EQ(std::to_integer<unsigned>(full.bytes[p][i]), p == 0 ? colour.y : colour.cb);
    }
  }
}

TEST(PictureDigits, DifferForEachDigit) {
  const auto pix = pix_of(mode_of(V4L2_PIX_FMT_NV12, frame_sizes[1]));
  Painter painter;
  painter.configure(pix, Pattern::bars, brightness_default);
  std::set<std::vector<std::byte>> boxes;
  for (std::uint32_t number = 0; number < 10; ++number) {
    std::vector<std::byte> frame(pix.sizeimage);
    painter.paint(number, frame);
    std::vector<std::byte> box;
    for (std::size_t y = 112; y < 128; ++y) {
      // The last of six digits at scale 2: 37 dots, so the box is 74 wide from column 122, and a digit ends
      // at 194.
      box.insert(box.end(), frame.begin() + std::ptrdiff_t(y * 320 + 184),
                 frame.begin() + std::ptrdiff_t(y * 320 + 194));
    }
    EXPECT_TRUE(
        std::ranges::all_of(box, [](std::byte b) { return b == std::byte{16} || b == std::byte{235}; }));
    boxes.insert(box);
  }
  EXPECT_EQ(boxes.size(), 10u);
}

TEST(FrameCode, RejectsWhatIsNoPictureOfOurs) {
  auto pix = pix_of(mode_of(V4L2_PIX_FMT_RGB24, frame_sizes[1]));
  std::vector<std::byte> frame(pix.sizeimage);
  EXPECT_FALSE(read_frame_number(pix, frame)) << "black";
  std::ranges::fill(frame, std::byte{255});
  EXPECT_FALSE(read_frame_number(pix, frame)) << "white";
  Painter painter;
  painter.configure(pix, Pattern::bars, brightness_default);
  painter.paint(5, frame);
  ASSERT_EQ(read_frame_number(pix, frame), 5u);
  EXPECT_FALSE(read_frame_number(pix, std::span(frame).first(pix.bytesperline * 8))) << "cut short";
  pix.pixelformat = V4L2_PIX_FMT_H264;
  EXPECT_FALSE(read_frame_number(pix, frame)) << "compressed";
  pix.pixelformat = V4L2_PIX_FMT_RGB24;
  pix.bytesperline = 0xffffffff;
  EXPECT_FALSE(read_frame_number(pix, frame)) << "a line longer than the picture";
  pix.width = 40;
  EXPECT_FALSE(read_frame_number(pix, frame)) << "too narrow";
}

TEST(FrameCode, DetectsEverySingleDamagedCell) {
  for (const auto number : numbers) {
    for (unsigned bit = 0; bit < code_cells; ++bit) {
      EXPECT_FALSE(decode_frame_number(encode_frame_number(number) ^ (std::uint64_t{1} << bit)));
    }
  }
}

}  // namespace
}  // namespace vumedia::backends::test_pattern
