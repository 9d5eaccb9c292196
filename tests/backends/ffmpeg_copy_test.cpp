#include <cstdint>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/copy.hpp>
#include <vumedia/backends/ffmpeg/layout.hpp>

namespace vumedia::backends::ffmpeg::test {
namespace {

std::vector<std::uint8_t> numbers(std::size_t size, unsigned first) {
  std::vector<std::uint8_t> all(size);
  for (std::size_t i = 0; i < size; ++i) all[i] = static_cast<std::uint8_t>(first + i * 7);
  return all;
}

TEST(CopyTest, InterleavesEveryWidthAndNothingBeyond) {
  for (std::size_t width = 0; width <= 70; ++width) {
    const auto u = numbers(width, 3);
    const auto v = numbers(width, 100);
    std::vector<std::uint8_t> to(2 * width + 1, 0xEE);
    interleave_line(to.data(), u.data(), v.data(), width);
    for (std::size_t x = 0; x < width; ++x) {
      EXPECT_EQ(to[2 * x], u[x]);
      EXPECT_EQ(to[2 * x + 1], v[x]);
    }
    EXPECT_EQ(to.back(), 0xEE);
  }
}

TEST(CopyTest, CopiesPlanesWithTheirStrides) {
  const auto from = numbers(5 * 10, 0);
  std::vector<std::uint8_t> to(4 * 8, 0xEE);
  copy_plane(to.data(), 8, {from.data(), 10}, 7, 4);
  for (std::size_t y = 0; y < 4; ++y) {
    for (std::size_t x = 0; x < 7; ++x) EXPECT_EQ(to[y * 8 + x], from[y * 10 + x]);
    EXPECT_EQ(to[y * 8 + 7], 0xEE);
  }
}

TEST(CopyTest, FollowsLinesThatRunBackwards) {
  const auto u = numbers(3 * 20, 0);
  const auto v = numbers(3 * 20, 50);
  std::vector<std::uint8_t> to(3 * 40);
  interleave_planes(to.data(), 40, {u.data() + 40, -20}, {v.data() + 40, -20}, 18, 3);
  EXPECT_EQ(to[0], u[40]);
  EXPECT_EQ(to[1], v[40]);
  EXPECT_EQ(to[2 * 40 + 34], u[17]);
  EXPECT_EQ(to[2 * 40 + 35], v[17]);
}

std::vector<std::uint8_t> words(std::size_t count, unsigned first) {
  std::vector<std::uint8_t> all;
  for (unsigned i = 0; i < count; ++i) {
    const unsigned value = (first + i * 37) & 1023;
    all.push_back(static_cast<std::uint8_t>(value));
    all.push_back(static_cast<std::uint8_t>(value >> 8));
  }
  return all;
}
unsigned word_at(const std::vector<std::uint8_t>& bytes, std::size_t at) {
  return bytes[at] | unsigned{bytes[at + 1]} << 8;
}

TEST(CopyTest, RaisesSamplesOfEveryWidthAndNothingBeyond) {
  for (std::size_t width = 0; width <= 40; ++width) {
    const auto u = words(width, 1000);
    const auto v = words(width, 3);
    std::vector<std::uint8_t> luma(2 * width + 1, 0xEE);
    std::vector<std::uint8_t> chroma(4 * width + 1, 0xEE);
    raise_line(luma.data(), u.data(), width);
    raise_and_interleave_line(chroma.data(), u.data(), v.data(), width);
    for (std::size_t x = 0; x < width; ++x) {
      EXPECT_EQ(word_at(luma, 2 * x), word_at(u, 2 * x) * 64);
      EXPECT_EQ(word_at(chroma, 4 * x), word_at(u, 2 * x) * 64);
      EXPECT_EQ(word_at(chroma, 4 * x + 2), word_at(v, 2 * x) * 64);
    }
    EXPECT_EQ(luma.back(), 0xEE);
    EXPECT_EQ(chroma.back(), 0xEE);
  }
}

TEST(CopyTest, RaisesLinesThatRunBackwards) {
  const auto u = words(3 * 10, 0);
  const auto v = words(3 * 10, 500);
  std::vector<std::uint8_t> to(3 * 64, 0xEE);
  raise_and_interleave_planes(to.data(), 64, {u.data() + 40, -20}, {v.data() + 40, -20}, 9, 3);
  EXPECT_EQ(word_at(to, 0), word_at(u, 40) * 64);
  EXPECT_EQ(word_at(to, 2 * 64 + 32), word_at(u, 16) * 64);
  EXPECT_EQ(word_at(to, 2 * 64 + 34), word_at(v, 16) * 64);
  EXPECT_EQ(to[36], 0xEE);
  raise_plane(to.data(), 64, {u.data() + 40, -20}, 10, 3);
  EXPECT_EQ(word_at(to, 2 * 64), word_at(u, 0) * 64);
}

TEST(LayoutTest, RefusesEmptyAndOversizedPictures) {
  EXPECT_FALSE(Layout::of(0, 16));
  EXPECT_FALSE(Layout::of(16, 0));
  EXPECT_FALSE(Layout::of(Layout::max_dimension + 1, 16));
  EXPECT_FALSE(Layout::of(16, Layout::max_dimension + 1));
  const auto largest = Layout::of(Layout::max_dimension, Layout::max_dimension, 2);
  ASSERT_TRUE(largest);
  EXPECT_LT(largest->size_image(), std::size_t{UINT32_MAX});
}

TEST(LayoutTest, GivesDecodersTheAlignmentTheyWant) {
  for (std::uint32_t width = 1; width < 300; width += 13) {
    for (std::uint32_t height = 1; height < 100; height += 7) {
      const auto layout = Layout::of(width, height);
      ASSERT_TRUE(layout);
      EXPECT_GE(layout->width, width);
      EXPECT_GE(layout->height, height);
      EXPECT_EQ(layout->chroma_stride() % 64, 0u);
      EXPECT_EQ(layout->height % 32, 0u);
      EXPECT_EQ(layout->payload(), std::size_t{layout->stride} * layout->height * 3 / 2);
      EXPECT_GE(layout->size_image(), layout->payload() + 1024);
      const auto deep = Layout::of(width, height, 2);
      ASSERT_TRUE(deep);
      EXPECT_EQ(deep->width, layout->width);
      EXPECT_EQ(deep->height, layout->height);
      EXPECT_GE(deep->stride, 2 * deep->width);
      EXPECT_EQ(deep->payload(), std::size_t{deep->stride} * deep->height * 3 / 2);
      EXPECT_NE(*deep, *layout);
    }
  }
}

}  // namespace
}  // namespace vumedia::backends::ffmpeg::test
