// Pictures from damaged packets: they are flagged, and contain nothing of what was there before.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/engine_client.hpp"

namespace vumedia::test {
namespace {

using CodedBytes = std::vector<std::uint8_t>;

// Where the units of an Annex B stream begin, each with its start code of three bytes.
std::vector<std::size_t> units_of(const CodedBytes& bytes) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i + 3 < bytes.size(); ++i) {
    if (bytes[i] == 0 && bytes[i + 1] == 0 && bytes[i + 2] == 1) found.push_back(i);
  }
  return found;
}

// Where the codec's slices in a unit begin and end.
std::vector<std::pair<std::size_t, std::size_t>> slices_of(AVCodecID codec, const CodedBytes& bytes) {
  std::vector<std::pair<std::size_t, std::size_t>> slices;
  const auto units = units_of(bytes);
  for (std::size_t i = 0; i < units.size(); ++i) {
    const std::size_t end = i + 1 < units.size() ? units[i + 1] : bytes.size();
    const unsigned header = bytes[units[i] + 3];
    const bool slice = codec == AV_CODEC_ID_H264   ? (header & 31) == 1 || (header & 31) == 5
                       : codec == AV_CODEC_ID_HEVC ? ((header >> 1) & 63) < 32
                                                   : header >= 1 && header <= 0xaf;
    if (slice) slices.emplace_back(units[i], end);
  }
  return slices;
}

enum class Damage { cut, hole, first_slice, inner_slice, last_slice };

const char* name_of(Damage kind) {
  constexpr const char* names[] = {"cut", "hole", "first slice", "inner slice", "last slice"};
  return names[static_cast<std::size_t>(kind)];
}

// False if the codec has nothing of the kind.
bool damage(AVCodecID codec, CodedBytes& bytes, Damage kind) {
  if (kind == Damage::cut) {
    bytes.resize(bytes.size() * 6 / 10);
    return true;
  }
  if (kind == Damage::hole) {
    // Some of it is missing in the middle, but the end is there.
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 2);
    bytes.erase(at, at + static_cast<std::ptrdiff_t>(bytes.size() / 4));
    return true;
  }
  const auto slices = slices_of(codec, bytes);
  if (slices.size() < 3) return false;
  const auto& [begin, end] = kind == Damage::first_slice   ? slices.front()
                             : kind == Damage::inner_slice ? slices[slices.size() / 2]
                                                           : slices.back();
  bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
              bytes.begin() + static_cast<std::ptrdiff_t>(end));
  return true;
}

struct Kind {
  const char* name;
  const char* options;
  // Arithmetic decoders read past a cut, and libavcodec's for H.265 and VP9 do not notice that within a slice
  // or tile.
  bool notices = true;
  std::uint32_t width = 318;
  std::uint32_t height = 178;
};

const Kind kinds[] = {
    {"plain.264", "-c:v libx264 -bf 0 -g 6 -x264-params threads=1:log-level=none"},
    {"slices.264", "-c:v libx264 -bf 0 -g 6 -x264-params slices=4:threads=1:log-level=none"},
    {"cavlc.264", "-c:v libx264 -bf 0 -g 6 -x264-params cabac=0:slices=4:threads=1:log-level=none"},
    {"fields.264",
     "-vf setfield=tff -flags +ilme+ildct -c:v libx264 -bf 0 -g 6 -x264-params "
     "tff=1:slices=4:threads=1:log-level=none"},
    {"slices.265",
     "-c:v libx265 -preset ultrafast -bf 0 -x265-params "
     "slices=4:keyint=6:ctu=16:max-tu-size=16:log-level=none",
     false, 320, 256},
    {"slices_10bit.265",
     "-pix_fmt yuv420p10le -c:v libx265 -preset ultrafast -bf 0 -x265-params "
     "slices=4:keyint=6:log-level=none",
     false, 640, 360},
    {"rows.m2v", "-c:v mpeg2video -bf 0 -g 6 -b:v 1M"},
    {"vp8.ivf", "-c:v libvpx -deadline realtime -cpu-used 8 -g 6"},
    {"vp9.ivf", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0 -g 6 -b:v 400k", false},
    {"av1.ivf", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 6 -b:v 400k"},
    {"mjpeg.mjpeg", "-c:v mjpeg -pix_fmt yuvj420p -q:v 4"},
};

class DamageTest : public testing::TestWithParam<Kind> {
 protected:
  static constexpr std::size_t frames = 18;
  static constexpr std::size_t next_key = 12;
  // In H.265, whole slices are missing after a cut. A tile of VP9 continues past it.
  [[nodiscard]] static bool is_silent(Damage how) {
    const bool is_vp9 = std::string(GetParam().name).starts_with("vp9");
    return !GetParam().notices && (how == Damage::hole || (is_vp9 && how == Damage::cut));
  }
  [[nodiscard]] static Clip clip() {
    const Kind& kind = GetParam();
    return make_clip(moving_picture(kind.width, kind.height, frames) + " " + kind.options, kind.name);
  }
};

std::size_t number_of(const Delivered& frame) {
  return static_cast<std::size_t>(frame.timestamp_ns / 1'000'000 - 1);
}

TEST_P(DamageTest, IsToldOfAndShowsNothingOfBefore) {
  const Clip whole = clip();
  VUMEDIA_SKIP_WITHOUT(whole);
  const auto expected = decode_plainly(whole);
  ASSERT_EQ(expected.size(), frames);
  for (const Damage how :
       {Damage::cut, Damage::hole, Damage::first_slice, Damage::inner_slice, Damage::last_slice}) {
    // A key frame, and one that others refer to.
    for (const std::size_t victim : {std::size_t{6}, std::size_t{9}}) {
      Clip damaged = whole;
      if (!damage(whole.codec, damaged.units[victim].bytes, how)) continue;
      for (const unsigned threads : {1u, 2u}) {
        SCOPED_TRACE(std::string(name_of(how)) + " " + std::to_string(victim) + " threads " +
                     std::to_string(threads));
        std::vector<std::vector<std::string>> seen;
        for (const int fill : {0x11, 0xee}) {
          ClientOptions options;
          options.fill = fill;
          options.engine.codec.threads = threads;
          options.engine.codec.frame_threads = threads > 1;
          EngineClient client(options);
          ASSERT_TRUE(client.start(whole.codec));
          ASSERT_TRUE(client.play(damaged));
          bool came_out = false;
          std::size_t unhurt = 0;
          for (const auto& frame : client.frames) {
            const std::size_t number = number_of(frame);
            const bool is_marked = (frame.flags & V4L2_BUF_FLAG_ERROR) != 0;
            if (number < victim || number >= next_key) {
              ++unhurt;
              EXPECT_FALSE(is_marked) << number;
              EXPECT_EQ(frame.md5, expected.at(number)) << number;
            } else if (number == victim) {
              came_out = true;
              EXPECT_TRUE(is_marked || is_silent(how)) << number;
            }
          }
          EXPECT_EQ(unhurt, victim + frames - next_key);
          EXPECT_TRUE(came_out || client.damaged_buffers > 0);
          seen.push_back(client.frame_md5s());
        }
        // With threads for frames, others may already refer to a picture whose damage is found later.
        EXPECT_TRUE(threads > 1 || seen[0] == seen[1]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, DamageTest, testing::ValuesIn(kinds), [](const auto& parameter) {
  std::string name = parameter.param.name;
  std::ranges::replace(name, '.', '_');
  return name;
});

// The position of the last marker `code` in a JPEG picture.
std::size_t find_marker(const CodedBytes& bytes, std::uint8_t code) {
  for (std::size_t i = bytes.size() - 1; i-- > 0;) {
    if (bytes[i] == 0xff && bytes[i + 1] == code) return i;
  }
  return 0;
}

TEST(JpegDamageTest, PicturesWithoutTheirEndSaySo) {
  Clip clip = clip_of("mjpeg.mjpeg");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  auto& bytes = clip.units[3].bytes;
  bytes.resize(find_marker(bytes, 0xd9));
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(clip.codec));
  ASSERT_TRUE(client.play(clip));
  ASSERT_EQ(client.frames.size(), clip.units.size());
  for (const auto& frame : client.frames)
    EXPECT_EQ((frame.flags & V4L2_BUF_FLAG_ERROR) != 0, number_of(frame) == 3) << number_of(frame);
  // All samples are there anyway.
  EXPECT_EQ(client.frame_md5s(), expected);
}

TEST(JpegDamageTest, RefusesPicturesMadeToTakeTime) {
  const Clip whole = clip_of("mjpeg.mjpeg");
  VUMEDIA_SKIP_WITHOUT(whole);
  auto expected = decode_plainly(whole);
  expected.erase(expected.begin() + 3);
  // A scan, or a table, repeated many times.
  for (const auto& [from, to, times] : {std::tuple{0xda, 0xd9, 200}, std::tuple{0xdb, 0xc4, 5000}}) {
    Clip clip = whole;
    auto& bytes = clip.units[3].bytes;
    const std::size_t begin = find_marker(bytes, static_cast<std::uint8_t>(from));
    std::size_t end = find_marker(bytes, static_cast<std::uint8_t>(to));
    if (end <= begin) end = begin + 69;
    const CodedBytes part(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                          bytes.begin() + static_cast<std::ptrdiff_t>(end));
    for (int i = 0; i < times; ++i)
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(begin), part.begin(), part.end());
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(clip.codec));
    ASSERT_TRUE(client.play(clip));
    EXPECT_EQ(client.damaged_buffers, 1u);
    EXPECT_EQ(client.frame_md5s(), expected);
  }
}

TEST(JpegDamageTest, ReadsMarkers) {
  const auto of = [](std::initializer_list<unsigned> bytes) {
    std::vector<std::byte> all;
    for (const unsigned byte : bytes) all.push_back(static_cast<std::byte>(byte));
    return ffmpeg::JpegMarkers::of(all);
  };
  EXPECT_TRUE(of({0xff, 0xd8, 0xff, 0xda, 1, 2, 0xff, 0xd9}).complete);
  EXPECT_TRUE(of({0xff, 0xd8, 0xff, 0xda, 1, 0xff, 0xff, 0xd9, 0, 0}).complete);
  EXPECT_FALSE(of({0xff, 0xd8, 0xff, 0xda, 1, 2, 0xff}).complete);
  EXPECT_FALSE(of({0xff, 0xd8, 0xff, 0xda, 1, 0xff, 0, 0xd9}).complete);
  // That of a thumbnail is not the picture's.
  EXPECT_FALSE(of({0xff, 0xd8, 0xff, 0xda, 0xff, 0xd9, 0xff, 0xda, 1}).complete);
  EXPECT_FALSE(of({0xff, 0xd9}).complete);
  EXPECT_FALSE(of({}).complete);
  EXPECT_FALSE(of({0xff}).complete);
  const auto markers = of({0xff, 0xd8, 0xff, 0xc4, 0xff, 0xda, 0xff, 0xd0, 0xff, 0, 0xff, 0xda, 0xff, 0xd9});
  EXPECT_EQ(markers.scans, 2u);
  EXPECT_EQ(markers.segments, 5u);
}

struct MarkedFormat {
  AVPixelFormat format;
  int width;
  int height;
};

class MarksTest : public testing::TestWithParam<MarkedFormat> {
 protected:
  void SetUp() override {
    frame->format = GetParam().format;
    frame->width = GetParam().width;
    frame->height = GetParam().height;
    ASSERT_GE(av_frame_get_buffer(frame.get(), 64), 0);
    write_all();
  }
  // What a decoder writes: no sample has the value of black.
  void write_all() {
    for (int i = 0; i < 3; ++i) write(i, 0, rows(i), 0, columns(i));
  }
  void write(int plane, int top, int bottom, int left, int right) {
    for (int y = top; y < bottom; ++y) {
      for (int x = left; x < right; ++x) {
        std::uint8_t* const at = frame->data[plane] + y * frame->linesize[plane] + x * bytes;
        at[0] = 0x33;
        if (bytes == 2) at[1] = 1;
      }
    }
  }
  [[nodiscard]] int value(int plane, int x, int y) const {
    const std::uint8_t* const at = frame->data[plane] + y * frame->linesize[plane] + x * bytes;
    return bytes == 2 ? at[0] | at[1] << 8 : at[0];
  }
  [[nodiscard]] int columns(int plane) const { return plane == 0 ? frame->width : (frame->width + 1) / 2; }
  [[nodiscard]] int rows(int plane) const { return plane == 0 ? frame->height : (frame->height + 1) / 2; }

  ffmpeg::Frame frame{av_frame_alloc()};
  const int bytes = GetParam().format == AV_PIX_FMT_YUV420P10 ? 2 : 1;
  const int black = bytes == 2 ? 64 : 16;
  const int grey = bytes == 2 ? 512 : 128;
  const int written = bytes == 2 ? 0x133 : 0x33;
};

TEST_P(MarksTest, StayWhereNothingIsWritten) {
  const ffmpeg::Marks marks(*frame, frame->width, frame->height, ffmpeg::Marks::Planes::all);
  using Found = ffmpeg::Marks::Found;
  EXPECT_EQ(marks.find(), Found::none);
  marks.set();
  EXPECT_EQ(marks.find(), Found::some);
  for (int plane = 0; plane < 3; ++plane) {
    for (int y = 0; y < rows(plane); ++y) {
      for (int x = 0; x < columns(plane); ++x) EXPECT_LT(value(plane, x, y), bytes == 2 ? 1024 : 256);
    }
  }
  write_all();
  EXPECT_EQ(marks.find(), Found::none);
  marks.paint();
  EXPECT_EQ(value(0, 0, 0), written);
  // One field of all.
  marks.set();
  for (int plane = 0; plane < 3; ++plane) {
    for (int y = 0; y < rows(plane); y += 2) write(plane, y, y + 1, 0, columns(plane));
  }
  EXPECT_EQ(marks.find(), Found::a_field);
}

TEST_P(MarksTest, BlocksWithThemArePaintedBlack) {
  // In each block one plane is left out, or the end of its lines.
  for (int plane = 0; plane < 3; ++plane) {
    const int block = plane == 0 ? 16 : 8;
    for (int row = 0; row * 16 < frame->height; ++row) {
      for (int column = 0; (column + 1) * 16 <= frame->width; ++column) {
        const ffmpeg::Marks marks(*frame, frame->width, frame->height, ffmpeg::Marks::Planes::all);
        marks.set();
        for (int i = 0; i < 3; ++i) {
          if (i != plane) write(i, 0, rows(i), 0, columns(i));
        }
        const int top = row * block;
        const int bottom = std::min(top + block, rows(plane));
        write(plane, 0, top, 0, columns(plane));
        write(plane, bottom, rows(plane), 0, columns(plane));
        write(plane, top, bottom, 0, column * block);
        write(plane, top, bottom, (column + 1) * block, columns(plane));
        ASSERT_EQ(marks.find(), ffmpeg::Marks::Found::some) << plane << " " << column << " " << row;
        marks.paint();
        EXPECT_EQ(marks.find(), ffmpeg::Marks::Found::none);
        EXPECT_EQ(value(0, column * 16, row * 16), black);
        EXPECT_EQ(value(0, column * 16 + 15, std::min(row * 16 + 15, frame->height - 1)), black);
        EXPECT_EQ(value(1, column * 8, row * 8), grey);
        EXPECT_EQ(value(2, column * 8 + 7, row * 8), grey);
        EXPECT_TRUE(column == 0 || value(0, column * 16 - 1, row * 16) == written);
        write_all();
      }
    }
  }
}

// Where chroma is written with its luma, that alone is marked, and both are painted.
TEST_P(MarksTest, MayStandForTheirChroma) {
  const ffmpeg::Marks marks(*frame, frame->width, frame->height, ffmpeg::Marks::Planes::luma);
  marks.set();
  for (int plane = 1; plane < 3; ++plane) {
    for (int y = 0; y < rows(plane); ++y) {
      for (int x = 0; x < columns(plane); ++x) ASSERT_EQ(value(plane, x, y), written);
    }
  }
  write(0, 0, 16, 0, columns(0));
  write(0, 16, 32, 32, columns(0));
  write(0, 32, rows(0), 0, columns(0));
  EXPECT_EQ(marks.find(), ffmpeg::Marks::Found::some);
  marks.paint();
  EXPECT_EQ(value(0, 20, 15), written);
  EXPECT_EQ(value(0, 20, 16), black);
  EXPECT_EQ(value(1, 10, 7), written);
  EXPECT_EQ(value(1, 10, 8), grey);
  EXPECT_EQ(value(2, 10, 15), grey);
  EXPECT_EQ(value(2, 10, 16), written);
  EXPECT_EQ(value(2, 16, 10), written);
}

// Of a field a block is every other line of two, one below the other.
TEST_P(MarksTest, BlocksOfFieldsHaveThem) {
  const ffmpeg::Marks marks(*frame, frame->width, frame->height, ffmpeg::Marks::Planes::luma);
  for (int row = 0; (row + 1) * 32 <= frame->height; ++row) {
    for (int column = 0; (column + 1) * 16 <= frame->width; ++column) {
      for (const int parity : {0, 1}) {
        marks.set();
        for (int y = 0; y < rows(0); ++y) {
          if (y / 32 != row || y % 2 != parity) {
            write(0, y, y + 1, 0, columns(0));
          } else {
            write(0, y, y + 1, 0, column * 16);
            write(0, y, y + 1, (column + 1) * 16, columns(0));
          }
        }
        EXPECT_EQ(marks.find(), ffmpeg::Marks::Found::some) << column << " " << row << " " << parity;
        write_all();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, MarksTest,
                         testing::Values(MarkedFormat{AV_PIX_FMT_YUV420P, 64, 48},
                                         MarkedFormat{AV_PIX_FMT_YUV420P, 227, 149},
                                         MarkedFormat{AV_PIX_FMT_YUV420P10, 175, 65}),
                         [](const auto& parameter) {
                           return std::string(av_get_pix_fmt_name(parameter.param.format)) + "_" +
                                  std::to_string(parameter.param.width);
                         });

}  // namespace
}  // namespace vumedia::test
