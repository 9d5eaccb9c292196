// The pictures of the test pattern: what is in them, and that nothing is written beside them.
#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/test_pattern/painter.hpp>

namespace vumedia::backends::test_pattern {
namespace {

constexpr std::array numbers{0u, 1u, 7u, 1234567u, 0x80000001u, 0xffffffffu};

struct Case {
  PixelFormat format;
  FrameSize size;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& format : pixel_formats) {
    for (const auto& size : frame_sizes) cases.push_back({format, size});
  }
  return cases;
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string name(4, ' ');
  std::memcpy(name.data(), &info.param.format.fourcc, 4);
  return name + "_" + std::to_string(info.param.size.width) + "x" + std::to_string(info.param.size.height);
}

class Picture : public testing::TestWithParam<Case> {
 protected:
  v4l2_pix_format pix() const { return make_pix_format(GetParam().format, GetParam().size); }
  static Painter painter(const v4l2_pix_format& pix, Pattern pattern = Pattern::bars,
                         std::int32_t brightness = brightness_default) {
    Painter made;
    made.configure(pix, pattern, brightness);
    return made;
  }
};
INSTANTIATE_TEST_SUITE_P(All, Picture, testing::ValuesIn(all_cases()), case_name);

TEST_P(Picture, CarriesItsNumberWhateverTheControlsSay) {
  for (const auto pattern : {Pattern::bars, Pattern::gradient, Pattern::checkerboard, Pattern::noise}) {
    for (const auto brightness : {brightness_minimum, brightness_default, brightness_maximum}) {
      const auto made = painter(pix(), pattern, brightness);
      std::vector<std::byte> frame(pix().sizeimage);
      for (const auto number : numbers) {
        made.paint(number, frame);
        EXPECT_EQ(read_frame_number(pix(), frame), number);
      }
    }
  }
}

TEST_P(Picture, WritesEveryByteOfTheFrameAndNoneBehindIt) {
  const auto made = painter(pix(), Pattern::noise);
  constexpr std::size_t guard = 4096;
  std::vector<std::byte> zeros(pix().sizeimage + guard, std::byte{0x00});
  std::vector<std::byte> ones(pix().sizeimage + guard, std::byte{0xff});
  made.paint(42, std::span(zeros).first(pix().sizeimage));
  made.paint(42, std::span(ones).first(pix().sizeimage));
  // What the painter wrote is the same in both; what it left alone differs.
  EXPECT_TRUE(std::equal(zeros.begin(), zeros.end() - guard, ones.begin()));
  EXPECT_EQ(std::count(zeros.end() - guard, zeros.end(), std::byte{0x00}), guard);
  EXPECT_EQ(std::count(ones.end() - guard, ones.end(), std::byte{0xff}), guard);
}

TEST_P(Picture, SlicesGiveTheSamePicture) {
  const auto made = painter(pix(), Pattern::gradient);
  std::vector<std::byte> whole(pix().sizeimage);
  std::vector<std::byte> sliced(pix().sizeimage);
  made.paint(99, whole);
  for (std::uint32_t row = 0; row < pix().height; row += 38) {
    made.paint(99, row, std::min(row + 38, pix().height), sliced);
  }
  EXPECT_TRUE(whole == sliced);
}

TEST_P(Picture, Moves) {
  for (const auto pattern : {Pattern::bars, Pattern::gradient, Pattern::checkerboard, Pattern::noise}) {
    const auto made = painter(pix(), pattern);
    std::vector<std::byte> one(pix().sizeimage);
    std::vector<std::byte> next(pix().sizeimage);
    made.paint(10, one);
    made.paint(11, next);
    // Below the code, and away from the digits: the last line of the first plane.
    const auto row = std::size_t{pix().height - 1} * pix().bytesperline;
    EXPECT_NE(std::memcmp(&one[row], &next[row], pix().bytesperline), 0)
        << pattern_names[std::size_t(pattern)];
  }
}

TEST_P(Picture, BrightnessRaisesTheBackground) {
  const auto mean = [&](std::int32_t brightness) {
    std::vector<std::byte> frame(pix().sizeimage);
    painter(pix(), Pattern::bars, brightness).paint(0, frame);
    const auto row = std::size_t{pix().height - 1} * pix().bytesperline;
    std::uint64_t sum = 0;
    for (std::uint32_t x = 0; x < pix().width; ++x) {
      sum +=
          std::to_integer<unsigned>(frame[row + x * GetParam().format.step + (GetParam().format.step == 3)]);
    }
    return sum / pix().width;
  };
  EXPECT_LT(mean(90), mean(128));
  EXPECT_LT(mean(128), mean(170));
}

// All four formats show one picture: what NV12 and YU12 and YUYV hold in luma and chroma is the same, and
// RGB3 is its conversion.
TEST(PictureFormats, Agree) {
  for (const auto pattern : {Pattern::bars, Pattern::gradient, Pattern::checkerboard, Pattern::noise}) {
    std::vector<std::vector<std::byte>> frames;
    std::vector<v4l2_pix_format> pixes;
    for (const auto& format : pixel_formats) {
      pixes.push_back(make_pix_format(format, {640, 480, 60}));
      Painter painter;
      painter.configure(pixes.back(), pattern, 140);
      frames.emplace_back(pixes.back().sizeimage);
      painter.paint(1000, frames.back());
    }
    const auto at = [](const std::vector<std::byte>& frame, std::size_t offset) {
      return std::to_integer<std::uint8_t>(frame[offset]);
    };
    for (std::size_t y = 0; y < 480; y += 2) {
      for (std::size_t x = 0; x < 640; x += 2) {
        const std::uint8_t luma = at(frames[2], y * 640 + x);
        const std::uint8_t cb = at(frames[2], 640 * 480 + y / 2 * 640 + x);
        const std::uint8_t cr = at(frames[2], 640 * 480 + y / 2 * 640 + x + 1);
        ASSERT_EQ(luma, at(frames[3], y * 640 + x));
        ASSERT_EQ(cb, at(frames[3], 640 * 480 + y / 2 * 320 + x / 2));
        ASSERT_EQ(cr, at(frames[3], 640 * 480 * 5 / 4 + y / 2 * 320 + x / 2));
        ASSERT_EQ(luma, at(frames[1], (y * 640 + x) * 2));
        ASSERT_EQ(cb, at(frames[1], (y * 640 + x) * 2 + 1));
        ASSERT_EQ(cr, at(frames[1], (y * 640 + x) * 2 + 3));
        const Rgb rgb = detail::to_rgb({luma, cb, cr});
        ASSERT_EQ(rgb.red, at(frames[0], (y * 640 + x) * 3)) << x << "," << y;
        ASSERT_EQ(rgb.green, at(frames[0], (y * 640 + x) * 3 + 1));
        ASSERT_EQ(rgb.blue, at(frames[0], (y * 640 + x) * 3 + 2));
      }
    }
  }
}

TEST(PictureDigits, DifferForEachDigit) {
  const auto pix = make_pix_format(pixel_formats[2], {320, 240, 60});
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
  auto pix = make_pix_format(pixel_formats[0], {320, 240, 60});
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

TEST(Modes, AdjustsToWhatExists) {
  v4l2_pix_format asked{};
  asked.width = 1;
  asked.height = 0xffffffff;
  asked.pixelformat = V4L2_PIX_FMT_H264;
  const auto pix = adjust_pix_format(asked);
  EXPECT_EQ(pix.pixelformat, unsigned{V4L2_PIX_FMT_RGB24});
  EXPECT_NE(find_frame_size(pix.width, pix.height), nullptr);
  for (const auto& format : pixel_formats) {
    for (const auto& size : frame_sizes) {
      const auto exact = make_pix_format(format, size);
      EXPECT_EQ(exact.width % code_cells, 0u);
      EXPECT_EQ(exact.height % 2, 0u);
      v4l2_pix_format near{};
      near.pixelformat = format.fourcc;
      near.width = size.width + 3;
      near.height = size.height - 5;
      const auto adjusted = adjust_pix_format(near);
      EXPECT_EQ(std::memcmp(&adjusted, &exact, sizeof exact), 0);
    }
  }
}

TEST(Modes, FindsTheNearestRate) {
  const FrameSize small{640, 480, 60};
  const FrameSize large{1920, 1080, 30};
  EXPECT_EQ(rates_of(small).front(), 60u);
  EXPECT_EQ(rates_of(large).front(), 30u);
  EXPECT_EQ(nearest_rate(small, {0, 0}), default_rate);
  EXPECT_EQ(nearest_rate(small, {1, 0}), default_rate);
  EXPECT_EQ(nearest_rate(small, {1, 25}), 25u);
  EXPECT_EQ(nearest_rate(small, {1001, 30000}), 30u);
  EXPECT_EQ(nearest_rate(small, {1, 0xffffffff}), 60u);
  EXPECT_EQ(nearest_rate(small, {0xffffffff, 1}), 5u);
  EXPECT_EQ(nearest_rate(large, {1, 60}), 30u);
}

}  // namespace
}  // namespace vumedia::backends::test_pattern
