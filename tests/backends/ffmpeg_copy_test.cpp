#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/copy.hpp>
#include <vumedia/backends/ffmpeg/picture.hpp>

#include "support/engine_client.hpp"
#include "support/plain_frame.hpp"

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

// ---- Whole pictures, of each kind that libavcodec makes and in each format that suits it

class PictureOf {
 public:
  PictureOf(AVPixelFormat format, int width, int height) : frame_(av_frame_alloc()) {
    frame_->format = format;
    frame_->width = width;
    frame_->height = height;
    if (av_frame_get_buffer(frame_, 0) < 0) std::abort();
    std::minstd_rand random(static_cast<unsigned>(width * height));
    const int depth = av_pix_fmt_desc_get(format)->comp[0].depth;
    for (int plane = 0; plane < 3 && frame_->data[plane] != nullptr; ++plane) {
      // All of its lines, with bytes next to the picture, which must not count.
      const auto size =
          static_cast<std::size_t>(frame_->linesize[plane]) * static_cast<std::size_t>(rows(plane));
      for (std::size_t i = 0; i < size; ++i) {
        const auto value = static_cast<std::uint8_t>(random() >> 8);
        frame_->data[plane][i] = depth == 8 || i % 2 == 0 ? value : value & 3;
      }
    }
  }
  PictureOf(const PictureOf&) = delete;
  PictureOf& operator=(const PictureOf&) = delete;
  ~PictureOf() { av_frame_free(&frame_); }
  [[nodiscard]] AVFrame& frame() { return *frame_; }
  [[nodiscard]] int rows(int plane) const {
    const int shift =
        plane == 0 ? 0 : av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame_->format))->log2_chroma_h;
    return (frame_->height + (1 << shift) - 1) >> shift;
  }
  // The same picture, with lines that run backwards in memory, until it is turned again.
  void turn() {
    for (int plane = 0; plane < 3 && frame_->data[plane] != nullptr; ++plane) {
      const std::ptrdiff_t last = std::ptrdiff_t{rows(plane) - 1} * frame_->linesize[plane];
      frame_->data[plane] += last;
      frame_->linesize[plane] = -frame_->linesize[plane];
    }
  }
  void set_interlaced() {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
    frame_->flags |= AV_FRAME_FLAG_INTERLACED;
#else
    frame_->interlaced_frame = 1;
#endif
  }

 private:
  AVFrame* frame_;
};

constexpr AVPixelFormat decoded_formats[] = {AV_PIX_FMT_GRAY8,   AV_PIX_FMT_GRAY10,   AV_PIX_FMT_YUV411P,
                                             AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUVJ420P, AV_PIX_FMT_YUV420P10,
                                             AV_PIX_FMT_YUV422P, AV_PIX_FMT_YUVJ422P, AV_PIX_FMT_YUV422P10,
                                             AV_PIX_FMT_YUV440P, AV_PIX_FMT_YUVJ440P, AV_PIX_FMT_YUV440P10,
                                             AV_PIX_FMT_YUV444P, AV_PIX_FMT_YUVJ444P, AV_PIX_FMT_YUV444P10};

// The expected result for `picture` in a format, computed from the tests' own knowledge of where samples are.
std::vector<std::uint8_t> copied(PictureOf& picture, const RawFormat& format) {
  const AVFrame& frame = picture.frame();
  const auto width = static_cast<std::uint32_t>(frame.width);
  const auto height = static_cast<std::uint32_t>(frame.height);
  const Layout layout = Layout::of(*CodedSize::of(width, height), *format.pixels);
  // At an odd address, as a guest's own memory may be, and followed by another byte.
  std::vector<std::uint8_t> memory(layout.size_image() + 2, 0xEE);
  copy_frame(frame, {format.fourcc(), layout}, memory.data() + 1);
  EXPECT_EQ(memory.front(), 0xEE);
  for (std::size_t i = layout.payload() + 1; i < memory.size(); ++i) {
    EXPECT_EQ(memory[i], 0xEE) << "after the picture";
    if (memory[i] != 0xEE) break;
  }
  const auto told = vumedia::test::layout_told(format.fourcc(), layout.width, layout.height, layout.stride());
  EXPECT_EQ(told.payload(), layout.payload());
  return vumedia::test::visible_samples(told, {0, 0, width, height}, format.fourcc(), memory.data() + 1);
}

std::vector<std::uint8_t> expected(PictureOf& picture, const RawFormat& format) {
  using vumedia::test::Chroma;
  return vumedia::test::plain_samples(
      picture.frame(), format.samples.sampling == Sampling::yuv420 ? Chroma::yuv420 : Chroma::as_coded);
}

TEST(CopyTest, PutsEveryKindOfPictureIntoEveryFormatThatSuits) {
  for (const AVPixelFormat decoded : decoded_formats) {
    SCOPED_TRACE(name_of(decoded));
    const auto samples = samples_of(decoded);
    ASSERT_TRUE(samples);
    // Odd sides, shorter and longer than a strip of chroma, and one line or column alone.
    for (const auto& [width, height] : std::vector<std::pair<int, int>>{
             {64, 32}, {37, 23}, {1, 1}, {2, 3}, {513, 5}, {1030, 6}, {1027, 7}}) {
      SCOPED_TRACE(std::to_string(width) + "x" + std::to_string(height));
      PictureOf picture(decoded, width, height);
      for (const RawFormat& format : raw_formats) {
        if (!suits(format, *samples)) continue;
        SCOPED_TRACE(v4l2::fourcc_to_string(format.fourcc()).c_str());
        const auto right = expected(picture, format);
        EXPECT_EQ(copied(picture, format), right);
      }
    }
  }
}

TEST(CopyTest, FollowsLinesThatRunBackwards) {
  for (const AVPixelFormat decoded : decoded_formats) {
    SCOPED_TRACE(name_of(decoded));
    PictureOf picture(decoded, 37, 23);
    picture.turn();
    for (const RawFormat& format : raw_formats) {
      if (!suits(format, *samples_of(decoded))) continue;
      EXPECT_EQ(copied(picture, format), expected(picture, format));
    }
    picture.turn();
  }
}

// Lines of one field do not affect the chroma of the other, which was taken at another time.
TEST(CopyTest, KeepsFieldsApart) {
  for (const AVPixelFormat decoded : decoded_formats) {
    for (const int height : {1, 2, 3, 4, 5, 6, 7, 8, 33}) {
      SCOPED_TRACE(name_of(decoded) + std::string(" of height ") + std::to_string(height));
      PictureOf picture(decoded, 18, height);
      picture.set_interlaced();
      for (const RawFormat& format : raw_formats) {
        if (!suits(format, *samples_of(decoded))) continue;
        EXPECT_EQ(copied(picture, format), expected(picture, format));
      }
    }
  }
  PictureOf picture(AV_PIX_FMT_YUV422P, 16, 4);
  picture.set_interlaced();
  for (int y = 0; y < 4; ++y) {
    std::memset(picture.frame().data[1] + std::ptrdiff_t{y} * picture.frame().linesize[1],
                y % 2 == 0 ? 10 : 90, 8);
  }
  const auto all = copied(picture, *find_raw_format(V4L2_PIX_FMT_YUV420));
  EXPECT_EQ(all[16 * 4], 10) << "the first line of U";
  EXPECT_EQ(all[16 * 4 + 8], 90) << "the second";
}

// With numbers computed by hand: halves are rounded up, and only the rounding changes full-range values.
TEST(CopyTest, RoundsMeansToTheNearest) {
  PictureOf picture(AV_PIX_FMT_YUVJ444P, 2, 2);
  AVFrame& frame = picture.frame();
  const auto set = [&](int plane, std::array<std::uint8_t, 4> values) {
    for (int i = 0; i < 4; ++i)
      frame.data[plane][i / 2 * frame.linesize[plane] + i % 2] = values[std::size_t(i)];
  };
  set(0, {0, 255, 16, 235});
  set(1, {0, 0, 0, 2});
  set(2, {255, 255, 255, 252});
  EXPECT_EQ(copied(picture, *find_raw_format(V4L2_PIX_FMT_NV12)),
            (std::vector<std::uint8_t>{0, 255, 16, 235, 1, 254}));
  set(1, {0, 0, 0, 1});
  EXPECT_EQ(copied(picture, *find_raw_format(V4L2_PIX_FMT_NV12))[4], 0) << "a quarter";
  EXPECT_EQ(copied(picture, *find_raw_format(V4L2_PIX_FMT_NV24)),
            (std::vector<std::uint8_t>{0, 255, 16, 235, 0, 0, 0, 1, 255, 255, 255, 252}));
}

TEST(CopyTest, GivesGreyNeutralChroma) {
  PictureOf grey(AV_PIX_FMT_GRAY8, 4, 2);
  const auto eight = copied(grey, *find_raw_format(V4L2_PIX_FMT_NV12));
  EXPECT_EQ(std::vector(eight.begin() + 8, eight.end()), (std::vector<std::uint8_t>(4, 128)));
  PictureOf deep(AV_PIX_FMT_GRAY10, 4, 2);
  const auto ten = copied(deep, *find_raw_format(V4L2_PIX_FMT_P010));
  EXPECT_EQ(std::vector(ten.begin() + 16, ten.end()), (std::vector<std::uint8_t>{0, 2, 0, 2, 0, 2, 0, 2}));
}

// ---- Formats

TEST(RawFormatTest, SuitsNoOtherDepthAndNoFinerChroma) {
  const auto fourccs = [](const Samples& samples) {
    std::vector<std::uint32_t> all;
    for (std::uint32_t i = 0; const auto* format = raw_format_at(i, raw_formats_of(samples)); ++i)
      all.push_back(format->fourcc());
    return all;
  };
  using Fourccs = std::vector<std::uint32_t>;
  EXPECT_EQ(fourccs({Sampling::grey, 1}), (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}));
  EXPECT_EQ(fourccs({Sampling::yuv420, 1}), (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}));
  EXPECT_EQ(fourccs({Sampling::yuv422, 1}),
            (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_YUV422P, V4L2_PIX_FMT_NV16,
                     V4L2_PIX_FMT_YUYV}));
  EXPECT_EQ(fourccs({Sampling::yuv444, 1}),
            (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_NV24}));
  EXPECT_EQ(fourccs({Sampling::yuv440, 1}), (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}));
  EXPECT_EQ(fourccs({Sampling::yuv411, 1}),
            (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_YUV411P}));
  EXPECT_EQ(fourccs({Sampling::yuv422, 2}), (Fourccs{V4L2_PIX_FMT_P010, v4l2::pix_fmt_y210}));
  for (const Sampling sampling : {Sampling::grey, Sampling::yuv420, Sampling::yuv440, Sampling::yuv444})
    EXPECT_EQ(fourccs({sampling, 2}), (Fourccs{V4L2_PIX_FMT_P010}));
}

TEST(RawFormatTest, HasTheLatestChoiceThatSuits) {
  RawFormatChoices choices;
  const Samples plain;
  const Samples wide{Sampling::yuv422, 1};
  const Samples deep{Sampling::yuv420, 2};
  const auto best = [&](const Samples& samples) { return choices.best_for(samples).fourcc(); };
  EXPECT_EQ(best(plain), V4L2_PIX_FMT_YUV420);
  EXPECT_EQ(best(deep), V4L2_PIX_FMT_P010);
  choices.remember(*find_raw_format(V4L2_PIX_FMT_NV12));
  EXPECT_EQ(best(wide), V4L2_PIX_FMT_NV12);
  choices.remember(*find_raw_format(V4L2_PIX_FMT_NV16));
  EXPECT_EQ(best(wide), V4L2_PIX_FMT_NV16);
  EXPECT_EQ(best(plain), V4L2_PIX_FMT_NV12);
  for (const RawFormat& format : raw_formats) choices.remember(format);
  for (const RawFormat& format : raw_formats) choices.remember(format);
  EXPECT_EQ(best(wide), V4L2_PIX_FMT_YUYV);
  EXPECT_EQ(best(plain), V4L2_PIX_FMT_NV12);
}

TEST(LayoutTest, RefusesEmptyAndOversizedPictures) {
  EXPECT_FALSE(CodedSize::of(0, 16));
  EXPECT_FALSE(CodedSize::of(16, 0));
  EXPECT_FALSE(CodedSize::of(CodedSize::max_dimension + 1, 16));
  EXPECT_FALSE(CodedSize::of(16, CodedSize::max_dimension + 1));
  const auto largest = CodedSize::of(CodedSize::max_dimension, CodedSize::max_dimension);
  ASSERT_TRUE(largest);
  for (const RawFormat& format : raw_formats)
    EXPECT_LT(Layout::of(*largest, *format.pixels).size_image(), std::size_t{INT32_MAX});
}

TEST(LayoutTest, GivesDecodersTheAlignmentTheyWant) {
  for (std::uint32_t width = 1; width < 300; width += 13) {
    for (std::uint32_t height = 1; height < 100; height += 7) {
      const auto size = CodedSize::of(width, height);
      ASSERT_TRUE(size);
      EXPECT_GE(size->width, width);
      EXPECT_GE(size->height, height);
      EXPECT_EQ(size->height % 32, 0u);
      for (const RawFormat& format : raw_formats) {
        SCOPED_TRACE(v4l2::fourcc_to_string(format.fourcc()).c_str());
        const Layout layout = Layout::of(*size, *format.pixels);
        EXPECT_EQ(layout.width, size->width);
        EXPECT_EQ(layout.height, size->height);
        EXPECT_EQ(layout.payload(),
                  vumedia::test::layout_told(format.fourcc(), layout.width, layout.height, layout.stride())
                      .payload());
        EXPECT_GE(layout.size_image(), layout.payload() + 1024);
        for (std::size_t c = 0; c < 3; ++c) {
          EXPECT_EQ(layout.strides[c] % 64, 0u);
          EXPECT_EQ(layout.offsets[c] % 64, 0u);
        }
      }
    }
  }
}

}  // namespace
}  // namespace vumedia::backends::ffmpeg::test
