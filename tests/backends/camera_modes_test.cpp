// What a camera can deliver and when: sizes and intervals that are nearest to a wish, tables that no camera
// can have, the grid of due times, and pictures that are lent.
#include <array>
#include <chrono>
#include <cstdint>
#include <span>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/camera/lending.hpp>
#include <vumedia/backends/camera/modes.hpp>
#include <vumedia/backends/camera/pacer.hpp>
#include <vumedia/backends/test_pattern/modes.hpp>

namespace vumedia::backends::camera::modes_test {
namespace {

using namespace std::chrono_literals;
namespace pattern = test_pattern;

double rate_of(const v4l2_fract& interval) {
  return static_cast<double>(interval.denominator) / interval.numerator;
}
double nearest(const FrameSize& size, const v4l2_fract& asked, const v4l2_fract& usual = {1, 30}) {
  return rate_of(nearest_interval(size, asked, usual));
}

TEST(CameraModes, FindTheNearestRate) {
  const FrameSize& small = pattern::frame_sizes.front();
  const FrameSize& large = pattern::frame_sizes.back();
  EXPECT_EQ(rate_of(small.intervals.front()), 60);
  EXPECT_EQ(rate_of(large.intervals.front()), 30);
  EXPECT_EQ(nearest(small, {0, 0}), 30);
  EXPECT_EQ(nearest(small, {1, 0}), 30);
  EXPECT_EQ(nearest(small, {0, 60}), 30);
  EXPECT_EQ(nearest(small, {0, 0}, {1, 10}), 10);
  EXPECT_EQ(nearest(small, {1, 25}), 25);
  EXPECT_EQ(nearest(small, {1001, 30000}), 30);
  EXPECT_EQ(nearest(small, {1, 0xffffffff}), 60);
  EXPECT_EQ(nearest(small, {0xffffffff, 1}), 5);
  EXPECT_EQ(nearest(large, {1, 60}), 30);
}

TEST(CameraModes, RatesNeedNotBeWholeNumbers) {
  constexpr std::array<v4l2_fract, 4> film{{{1001, 30000}, {1001, 24000}, {1, 24}, {3, 1}}};
  const FrameSize size{640, 480, film};
  EXPECT_EQ(nearest(size, {1, 30}), 30000.0 / 1001);
  EXPECT_EQ(nearest(size, {1001, 24000}), 24000.0 / 1001);
  EXPECT_EQ(nearest(size, {1, 24}), 24);
  EXPECT_EQ(nearest(size, {0xffffffff, 0xfffffffe}), 1.0 / 3);
  EXPECT_EQ(nearest(size, {1, 0xffffffff}), 30000.0 / 1001);
}

TEST(CameraModes, FindTheNearestSize) {
  EXPECT_EQ(find_size(pattern::modes, 800, 600), &pattern::frame_sizes[2]);
  EXPECT_EQ(find_size(pattern::modes, 800, 601), nullptr);
  EXPECT_EQ(&nearest_size(pattern::modes, 0, 0), &pattern::frame_sizes[1]);
  EXPECT_EQ(&nearest_size(pattern::modes, UINT32_MAX, UINT32_MAX), &pattern::frame_sizes[4]);
}

constexpr std::array<v4l2_fract, 1> one_interval{{{1, 30}}};
constexpr std::array one_size{FrameSize{64, 48, one_interval}};
constexpr std::array<std::uint32_t, 1> one_format{V4L2_PIX_FMT_YUV420};

constexpr bool valid(std::span<const std::uint32_t> formats, const FrameSize& size,
                     v4l2_fract usual = {1, 30}) {
  return valid_modes({formats, std::span(&size, 1), usual});
}
static_assert(valid(one_format, one_size[0]));
static_assert(!valid({}, one_size[0]) && !valid_modes({one_format, {}}));
static_assert(!valid(one_format, {0, 48, one_interval}) && !valid(one_format, {64, 0, one_interval}));
static_assert(!valid(one_format, {20000, 48, one_interval}) && !valid(one_format, {64, 20000, one_interval}));
static_assert(!valid(one_format, {64, 48, {}}) && !valid(one_format, one_size[0], {1, 0}));
constexpr std::array<v4l2_fract, 1> no_time{{{0, 30}}};
static_assert(!valid(one_format, {64, 48, no_time}));
constexpr std::array<std::uint32_t, 1> compressed{V4L2_PIX_FMT_MJPEG};
constexpr std::array<std::uint32_t, 1> unknown{0x12345678};
constexpr std::array<std::uint32_t, 1> separate_first{V4L2_PIX_FMT_NV12M};
static_assert(!valid(compressed, one_size[0]) && !valid(unknown, one_size[0]));
static_assert(!valid(separate_first, one_size[0]), "the single-planar API would have no format");

TEST(PacerGrid, NeitherDriftsNorBursts) {
  const io::TimePoint start{12345678901ns};
  Pacer pacer;
  pacer.start(start, {1, 30});
  // In time: an hour of frames ends exactly an hour later.
  for (int frame = 1; frame < 30 * 3600; ++frame) pacer.advance(pacer.due());
  EXPECT_EQ(pacer.due(), start + 3600s);
  // A little late: the next frame comes at its old time.
  pacer.advance(pacer.due() + 20ms);
  EXPECT_EQ(pacer.due(), start + 3600s + 33333333ns);
  // After a stall: the next point of the grid, and one frame for all that were missed.
  const auto late = start + 4000s + 1ms;
  pacer.advance(late);
  EXPECT_EQ(pacer.due(), start + 4000s + 33333333ns);
  // At any time, the next point is ahead, and no more than a period away.
  for (int step = 0; step < 1000; ++step) {
    const auto now = pacer.due() + 7ms * step;
    pacer.advance(now);
    ASSERT_GT(pacer.due(), now);
    ASSERT_LE(pacer.due() - now, 33333334ns);
  }
}

TEST(PacerGrid, OfAFilmIsExactToo) {
  const io::TimePoint start{1ns};
  Pacer pacer;
  pacer.start(start, {1001, 30000});
  for (int frame = 1; frame < 30000; ++frame) pacer.advance(pacer.due());
  EXPECT_EQ(pacer.due(), start + 1001s);
  pacer.advance(start + 2002s);
  EXPECT_EQ(pacer.due(), start + 2002s + 33366666ns);
  pacer.start(start, {5, 1});
  EXPECT_EQ(pacer.due(), start + 5s);
  pacer.advance(start + 11s);
  EXPECT_EQ(pacer.due(), start + 15s);
  // Ten years later it still counts in nanoseconds.
  pacer.start(start, {1001, 60000});
  pacer.advance(start + 87600h);
  EXPECT_GT(pacer.due(), start + 87600h);
  EXPECT_LE(pacer.due(), start + 87600h + 16683334ns);
}

TEST(Lending, CopiesLinesToWhereTheGuestHasThem) {
  constexpr FrameSize size{6, 4, one_interval};
  const Mode tight = make_mode(*v4l2::find_pixel_format(V4L2_PIX_FMT_YUV420), size);
  EXPECT_EQ(lent_size(tight), 6u * 4 + 2 * 3 * 2);
  std::array<std::byte, 36> picture{};
  for (std::size_t i = 0; i < picture.size(); ++i) picture[i] = static_cast<std::byte>(i + 1);

  const Mode wide = make_mode(*v4l2::find_pixel_format(V4L2_PIX_FMT_YUV420), size, 16);
  std::array<std::byte, 16 * 4 + 2 * 8 * 2> buffer{};
  ASSERT_EQ(wide.layout.planes[0].sizeimage, buffer.size());
  ASSERT_TRUE(copy_lent(wide, picture, {buffer.data()}));
  EXPECT_EQ(buffer[0], std::byte{1});
  EXPECT_EQ(buffer[5], std::byte{6});
  EXPECT_EQ(buffer[6], std::byte{0}) << "between lines";
  EXPECT_EQ(buffer[16], std::byte{7});
  EXPECT_EQ(buffer[64], std::byte{25});
  EXPECT_EQ(buffer[64 + 8], std::byte{28});
  EXPECT_EQ(buffer[64 + 16], std::byte{31});
  EXPECT_FALSE(copy_lent(wide, std::span(picture).first(35), {buffer.data()}));

  // Planes that are apart in the guest's memory follow one another in what is lent.
  const Mode apart = make_mode(*v4l2::find_pixel_format(V4L2_PIX_FMT_NV12M), size);
  EXPECT_EQ(lent_size(apart), 36u);
  std::array<std::byte, 24> luma{};
  std::array<std::byte, 12> chroma{};
  ASSERT_TRUE(copy_lent(apart, picture, {luma.data(), chroma.data()}));
  EXPECT_EQ(luma[23], std::byte{24});
  EXPECT_EQ(chroma[0], std::byte{25});
  EXPECT_EQ(chroma[11], std::byte{36});
}

}  // namespace
}  // namespace vumedia::backends::camera::modes_test
