// Streams that are not 4:2:0: in each format that V4L2 has for them, and as 4:2:0 with the mean of their
// chroma.
#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"
#include "support/small_jpeg.hpp"

namespace vumedia::test {
namespace {

namespace tag = v4l2::tag;
using Options = backends::FfmpegDecoderOptions;
using Fourccs = std::vector<std::uint32_t>;

constexpr std::uint32_t yu12 = V4L2_PIX_FMT_YUV420;
constexpr std::uint32_t nv12 = V4L2_PIX_FMT_NV12;
constexpr std::uint32_t p010 = V4L2_PIX_FMT_P010;
const Fourccs of_420{yu12, nv12};
const Fourccs of_422{yu12, nv12, V4L2_PIX_FMT_YUV422P, V4L2_PIX_FMT_NV16, V4L2_PIX_FMT_YUYV};
const Fourccs of_444{yu12, nv12, V4L2_PIX_FMT_NV24};
const Fourccs of_422_deep{p010, v4l2::pix_fmt_y210};
const Fourccs of_deep{p010};

bool is_420(std::uint32_t fourcc) {
  return fourcc == yu12 || fourcc == nv12 || fourcc == p010;
}

// The raw formats that are currently offered.
Fourccs offered(DecoderGuest& guest) {
  Fourccs all;
  v4l2_fmtdesc description{};
  for (description.type = guest.capture_type; guest.ioctl<tag::ENUM_FMT>(description) == 0;
       ++description.index) {
    all.push_back(description.pixelformat);
  }
  return all;
}

// Decodes `clip` to each of `formats`, which must be all that are offered for it, and compares the frames.
void expect_in_each(const Options& options, const Clip& clip, const Fourccs& formats) {
  const auto as_coded = decode_plainly(clip);
  const auto as_420 = decode_plainly(clip, nullptr, Chroma::yuv420);
  ASSERT_FALSE(as_coded.empty());
  for (const std::uint32_t fourcc : formats) {
    SCOPED_TRACE(v4l2::fourcc_to_string(fourcc).c_str());
    DecoderGuest guest(options, fourcc);
    guest.start(clip);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(offered(guest), formats);
    EXPECT_EQ(guest.in_force.fourcc, fourcc);
    EXPECT_EQ(guest.in_force.layout.payload(),
              layout_told(fourcc, guest.in_force.layout.width, guest.in_force.layout.height,
                          guest.in_force.layout.stride())
                  .payload());
    EXPECT_GE(guest.in_force.size_image, guest.in_force.layout.payload());
    EXPECT_EQ(md5s(guest), is_420(fourcc) ? as_420 : as_coded);
    EXPECT_EQ(guest.damaged, 0u);
    EXPECT_EQ(guest.bad_frames, 0u);
    EXPECT_EQ(guest.changes, 1u);
  }
}

struct SamplingClip {
  const char* name;
  std::string options;
  const Fourccs* formats;
};

std::string picture_of(const char* pixel_format, const std::string& encoder) {
  return moving_picture(178, 98, 6, pixel_format) + " " + encoder;
}

class DecoderSamplingsTest : public testing::TestWithParam<SamplingClip> {};

const std::string x264 = "-c:v libx264 -preset veryfast -bf 2 -x264-params threads=1:log-level=none";
const std::string x265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none";
const std::string vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k";
const std::string aom = "-c:v libaom-av1 -cpu-used 8 -usage realtime -b:v 100k";

INSTANTIATE_TEST_SUITE_P(
    Streams, DecoderSamplingsTest,
    testing::Values(
        SamplingClip{"h264_422.264", picture_of("yuv422p", x264), &of_422},
        SamplingClip{"h264_444.264", picture_of("yuv444p", x264), &of_444},
        SamplingClip{"h264_422_odd.264", moving_picture(178, 97, 6, "yuv422p") + " " + x264, &of_422},
        SamplingClip{"h264_444_odd.264", moving_picture(177, 97, 6, "yuv444p") + " " + x264, &of_444},
        SamplingClip{"h264_422_10_odd.264", moving_picture(178, 97, 6, "yuv422p10le") + " " + x264,
                     &of_422_deep},
        SamplingClip{"hevc_444_odd.265", moving_picture(177, 97, 6, "yuv444p") + " " + x265, &of_444},
        SamplingClip{"vp9_444_odd.ivf", moving_picture(177, 97, 6, "yuv444p") + " " + vp9, &of_444},
        SamplingClip{"av1_422_odd.ivf", moving_picture(177, 97, 6, "yuv422p") + " " + aom, &of_422},
        SamplingClip{"mjpeg_422_odd.mjpeg", moving_picture(177, 97, 6, "yuvj422p") + " -c:v mjpeg -q:v 3",
                     &of_422},
        SamplingClip{"h264_gray.264", picture_of("gray", x264), &of_420},
        SamplingClip{"h264_422_10.264", picture_of("yuv422p10le", x264), &of_422_deep},
        SamplingClip{"h264_444_10.264", picture_of("yuv444p10le", x264), &of_deep},
        SamplingClip{"h264_gray_10.264", picture_of("gray10le", x264), &of_deep},
        SamplingClip{
            "h264_422_fields.264",
            "-f lavfi -i testsrc2=size=176x144:rate=25 -vf setfield=tff -frames:v 6 -pix_fmt yuv422p "
            "-flags +ilme+ildct " +
                x264,
            &of_422},
        SamplingClip{"hevc_422.265", picture_of("yuv422p", x265), &of_422},
        SamplingClip{"hevc_444.265", picture_of("yuv444p", x265), &of_444},
        SamplingClip{"hevc_gray.265", picture_of("gray", x265), &of_420},
        SamplingClip{"hevc_422_10.265", picture_of("yuv422p10le", x265), &of_422_deep},
        SamplingClip{"hevc_444_10.265", picture_of("yuv444p10le", x265), &of_deep},
        SamplingClip{"hevc_gray_10.265", picture_of("gray10le", x265), &of_deep},
        SamplingClip{"vp9_422.ivf", picture_of("yuv422p", vp9), &of_422},
        SamplingClip{"vp9_440.ivf", picture_of("yuv440p", vp9), &of_420},
        SamplingClip{"vp9_444.ivf", picture_of("yuv444p", vp9), &of_444},
        SamplingClip{"vp9_422_10.ivf", picture_of("yuv422p10le", vp9), &of_422_deep},
        SamplingClip{"vp9_440_10.ivf", picture_of("yuv440p10le", vp9), &of_deep},
        SamplingClip{"vp9_444_10.ivf", picture_of("yuv444p10le", vp9), &of_deep},
        SamplingClip{"av1_422.ivf", picture_of("yuv422p", aom), &of_422},
        SamplingClip{"av1_444.ivf", picture_of("yuv444p", aom), &of_444},
        SamplingClip{"av1_gray.ivf", picture_of("gray", aom), &of_420},
        SamplingClip{"av1_422_10.ivf", picture_of("yuv422p10le", aom), &of_422_deep},
        SamplingClip{"av1_gray_10.ivf", picture_of("gray10le", aom), &of_deep},
        SamplingClip{"mpeg2_422.m2v", picture_of("yuv422p", "-c:v mpeg2video -bf 2 -b:v 2M"), &of_422},
        SamplingClip{
            "mpeg2_422_fields.m2v",
            "-f lavfi -i testsrc2=size=176x144:rate=25 -vf setfield=bff -frames:v 6 -pix_fmt yuv422p "
            "-flags +ilme+ildct -c:v mpeg2video -b:v 2M",
            &of_422},
        SamplingClip{"mjpeg_422.mjpeg", picture_of("yuvj422p", "-c:v mjpeg -q:v 3"), &of_422},
        SamplingClip{"mjpeg_422_limited.mjpeg",
                     picture_of("yuv422p", "-c:v mjpeg -q:v 3 -strict unofficial -color_range tv"), &of_422},
        SamplingClip{"mjpeg_444.mjpeg", picture_of("yuvj444p", "-c:v mjpeg -q:v 3"), &of_444}),
    [](const auto& parameter) {
      std::string name = parameter.param.name;
      std::ranges::replace(name, '.', '_');
      return name;
    });

TEST_P(DecoderSamplingsTest, AreDecodedToEachFormatThatSuits) {
  const Clip clip = make_clip(GetParam().options, GetParam().name);
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const bool multiplanar : {true, false}) {
    Options options;
    options.session.multiplanar = multiplanar;
    expect_in_each(options, clip, *GetParam().formats);
  }
}

// ---- Motion-JPEG, of all samplings, as webcams send it

struct JpegCase {
  const char* name;
  JpegShape shape;
  const Fourccs* formats;
};
const Fourccs of_411{yu12, nv12, V4L2_PIX_FMT_YUV411P};

Clip jpeg_clip(const JpegShape& shape) {
  Clip clip;
  clip.codec = AV_CODEC_ID_MJPEG;
  for (unsigned i = 0; i < 3; ++i) clip.units.push_back({SmallJpeg::make(shape, i + 1), true});
  return clip;
}

TEST(DecoderJpegTest, HasEverySamplingAndNeedsNoTables) {
  const JpegCase cases[] = {
      {"grey", {50, 33, {{1, 1}}}, &of_420},
      {"grey with odd factors", {50, 33, {{2, 2}}}, &of_420},
      {"4:1:1", {70, 33, {{4, 1}, {1, 1}, {1, 1}}}, &of_411},
      {"4:2:0", {50, 33, {{2, 2}, {1, 1}, {1, 1}}}, &of_420},
      {"4:2:2", {50, 33, {{2, 1}, {1, 1}, {1, 1}}}, &of_422},
      {"4:2:2 with odd factors", {51, 33, {{2, 2}, {1, 2}, {1, 2}}}, &of_422},
      {"4:4:0", {50, 33, {{1, 2}, {1, 1}, {1, 1}}}, &of_420},
      {"4:4:4", {50, 33, {{1, 1}, {1, 1}, {1, 1}}}, &of_444},
  };
  for (const JpegCase& one : cases) {
    SCOPED_TRACE(one.name);
    const Clip clip = jpeg_clip(one.shape);
    expect_in_each({}, clip, *one.formats);
    // JFIF has the full range, grey or not, and reports it.
    DecoderGuest guest;
    guest.start(clip);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(guest.in_force.quantization, std::uint32_t{V4L2_QUANTIZATION_FULL_RANGE});
  }
}

// The tables removed from a picture that was made with them.
TEST(DecoderJpegTest, TakesPicturesWhoseTablesWereLeftOut) {
  const Clip whole = make_clip(picture_of("yuvj422p", "-c:v mjpeg -huffman default -q:v 3"), "whole.mjpeg");
  VUMEDIA_SKIP_WITHOUT(whole);
  Clip bare = whole;
  for (auto& unit : bare.units) {
    auto& bytes = unit.bytes;
    for (std::size_t at = 2; at + 4 < bytes.size() && bytes[at + 1] != 0xda;) {
      const std::size_t size = 2 + std::size_t{bytes[at + 2]} * 256 + bytes[at + 3];
      const bool tables = bytes[at + 1] == 0xc4;
      const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
      if (tables) {
        bytes.erase(place, place + static_cast<std::ptrdiff_t>(size));
      } else {
        at += size;
      }
    }
    ASSERT_LT(bytes.size(), whole.units[static_cast<std::size_t>(&unit - bare.units.data())].bytes.size());
  }
  ASSERT_EQ(decode_plainly(bare), decode_plainly(whole));
  expect_in_each({}, bare, of_422);
}

// ---- A stream that changes its sampling

const Clip& changing_clip() {
  static const Clip clip =
      make_clip_of_parts({picture_of("yuv420p", x264), picture_of("yuv422p", x264), picture_of("gray", x264),
                          picture_of("yuv444p", x264), picture_of("yuv420p", x264)},
                         "264");
  return clip;
}

// 4:2:0 suits all of it, so nothing has to be set up again.
TEST(DecoderSamplingChangeTest, GoesOnWhereTheFormatStillSuits) {
  const Clip& clip = changing_clip();
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const std::uint32_t fourcc : of_420) {
    DecoderGuest guest(Options{}, fourcc);
    guest.start(clip);
    ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
    ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
    EXPECT_EQ(offered(guest), of_420);
    ASSERT_TRUE(guest.play(slice(clip, 1, clip.units.size())));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip, nullptr, Chroma::yuv420));
    EXPECT_EQ(guest.frames.size(), 30u);
    EXPECT_EQ(guest.changes, 1u);
    EXPECT_EQ(guest.damaged, 0u);
    EXPECT_EQ(std::ranges::count(guest.log, "last"), 1);
  }
}

// A program is told, and its choice returns with the sampling that it was made for.
TEST(DecoderSamplingChangeTest, TellsWhereItDoesNot) {
  const Clip clip = make_clip_of_parts({picture_of("yuv422p", x264), picture_of("yuv420p", x264),
                                        moving_picture(160, 96, 6, "yuv422p") + " " + x264},
                                       "264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto as_coded = decode_plainly(clip);
  for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV422P, V4L2_PIX_FMT_NV16, V4L2_PIX_FMT_YUYV}) {
    DecoderGuest guest(Options{}, fourcc);
    guest.start(clip);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), as_coded);
    EXPECT_EQ(guest.changes, 3u);
    Fourccs used;
    for (const auto& frame : guest.frames) {
      if (used.empty() || used.back() != frame.fourcc) used.push_back(frame.fourcc);
    }
    EXPECT_EQ(used, (Fourccs{fourcc, yu12, fourcc}));
    EXPECT_EQ(guest.damaged, 0u);
  }
}

// START in place of new buffers: those of 4:2:2 have room for 4:2:0.
TEST(DecoderSamplingChangeTest, GoesOnInTheSameBuffers) {
  // The second part is longer than what a decoder can take, so its change comes before the drain.
  const Clip clip =
      make_clip_of_parts({picture_of("yuv422p", x264), moving_picture(178, 98, 16) + " " + x264}, "264");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(Options{}, V4L2_PIX_FMT_YUV422P);
  guest.start(clip);
  const auto resume = [&] {
    if (!guest.last_seen || !guest.change_pending) return;
    guest.change_pending = guest.last_seen = false;
    guest.in_force = guest.get_raw_format();
    EXPECT_EQ(guest.in_force.fourcc, yu12);
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
    guest.queue_all();
  };
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  for (std::size_t i = 1; i < clip.units.size(); ++i) {
    ASSERT_TRUE(guest.run_until([&] {
      resume();
      return std::ranges::any_of(guest.coded, DecoderGuest::is_free);
    }));
    ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  }
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  ASSERT_TRUE(guest.run_until([&] {
    resume();
    return guest.ended && guest.last_seen;
  }));
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
  EXPECT_EQ(guest.changes, 2u);
}

// What a program sets up before the stream is known, right or wrong.
TEST(DecoderSamplingChangeTest, LetsAProgramGuess) {
  const Clip clip = make_clip(picture_of("yuvj422p", "-c:v mjpeg -q:v 3"), "guess.mjpeg");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const std::uint32_t guess : {V4L2_PIX_FMT_NV16, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_NV24}) {
    DecoderGuest guest(Options{}, guess);
    v4l2_format format{};
    format.type = guest.output_type;
    format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_MJPEG;
    format.fmt.pix_mp.width = 178;
    format.fmt.pix_mp.height = 98;
    EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
    EXPECT_EQ(guest.subscribe(V4L2_EVENT_SOURCE_CHANGE), 0);
    EXPECT_EQ(guest.subscribe(V4L2_EVENT_EOS), 0);
    EXPECT_EQ(guest.request(guest.output_type, 4), 0);
    guest.start_capture(8);
    EXPECT_EQ(guest.in_force.fourcc, guess);
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
    ASSERT_TRUE(guest.send(clip.units[0].bytes, 1000));
    const bool right = guess != V4L2_PIX_FMT_NV24;
    if (!right) {
      ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1 || guest.last_seen; }));
    }
    ASSERT_TRUE(guest.play(slice(clip, 1, clip.units.size()), 2000));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(guest.changes, right ? 0u : 1u);
    EXPECT_EQ(guest.in_force.fourcc, right ? guess : yu12);
    EXPECT_EQ(md5s(guest), decode_plainly(clip, nullptr,
                                          is_420(guest.in_force.fourcc) ? Chroma::yuv420 : Chroma::as_coded));
  }
}

// ---- In the engine

TEST(EngineSamplingsTest, DecodesPlanarFormatsWhereTheGuestSeesThem) {
  struct Case {
    std::string options;
    const char* name;
    std::uint32_t fourcc;
    bool in_place;
  };
  const Case cases[] = {
      {picture_of("yuv422p", x264), "in_place.264", V4L2_PIX_FMT_YUV422P, true},
      {picture_of("yuvj422p", "-c:v mjpeg"), "in_place.mjpeg", V4L2_PIX_FMT_YUV422P, true},
      {picture_of("yuv422p", x264), "in_place.264", V4L2_PIX_FMT_YUV420, false},
      {picture_of("yuv422p", x264), "in_place.264", V4L2_PIX_FMT_NV16, false},
      {picture_of("yuv422p", x264), "in_place.264", V4L2_PIX_FMT_YUYV, false},
      {picture_of("yuv422p10le", x264), "in_place_10.264", v4l2::pix_fmt_y210, false},
      {picture_of("yuv420p", x264), "in_place_420.264", V4L2_PIX_FMT_YUV420, true},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    const Clip clip = make_clip(one.options, one.name);
    if (clip.units.empty()) continue;
    const auto right = decode_plainly(clip, nullptr, is_420(one.fourcc) ? Chroma::yuv420 : Chroma::as_coded);
    for (const bool frame_threads : {false, true}) {
      ClientOptions options;
      options.fourcc = one.fourcc;
      options.engine.codec.threads = frame_threads ? 3 : 1;
      options.engine.codec.frame_threads = frame_threads;
      options.capture_buffers = 24;  // enough that there always is one, however long the client takes
      EngineClient client(options);
      ASSERT_TRUE(client.start(clip.codec));
      ASSERT_TRUE(client.play(clip));
      EXPECT_EQ(client.frame_md5s(), right);
      EXPECT_EQ(client.in_force.fourcc, one.fourcc);
      const auto counters = client.engine->counters();
      if (!one.in_place) {
        EXPECT_EQ(counters.in_place, 0u);
      } else if (!frame_threads) {
        // The first was decoded before there were buffers.
        EXPECT_GE(counters.in_place + 1, right.size());
      }
    }
  }
  const Clip quarter = jpeg_clip({70, 33, {{4, 1}, {1, 1}, {1, 1}}});
  ClientOptions options;
  options.fourcc = V4L2_PIX_FMT_YUV411P;
  options.capture_buffers = 24;
  EngineClient client(options);
  ASSERT_TRUE(client.start(quarter.codec));
  ASSERT_TRUE(client.play(quarter));
  EXPECT_EQ(client.frame_md5s(), decode_plainly(quarter));
  EXPECT_GE(client.engine->counters().in_place, 2u);
}

// Lines that an engine logs.
class Lines {
 public:
  [[nodiscard]] Log log() {
    return {[](void* context, LogLevel, std::string_view line) {
              auto& lines = *static_cast<Lines*>(context);
              const std::lock_guard lock(lines.mutex_);
              lines.all_.emplace_back(line);
            },
            this, LogLevel::debug};
  }
  [[nodiscard]] std::vector<std::string> all() {
    const std::lock_guard lock(mutex_);
    return all_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> all_;
};

// Each OUTPUT buffer comes back as damaged, and the log says why.
TEST(EngineSamplingsTest, NamesTheFormatThatItRefuses) {
  struct Case {
    const char* pixel_format;
    std::string encoder;
    const char* name;
    const char* refused;
  };
  const Case cases[] = {
      {"yuv420p12le", x265, "a.265", "yuv420p12le"},
      {"yuv422p12le", x265, "b.265", "yuv422p12le"},
      {"gray12le", x265, "c.265", "gray12le"},
      {"gbrp", x265, "d.265", "gbrp"},
      {"yuv444p12le", vp9, "a.ivf", "yuv444p12le"},
      {"gbrp", vp9, "b.ivf", "gbrp"},
      {"yuv420p12le", aom, "c.ivf", "yuv420p12le"},
      {"rgb24", "-c:v libx264rgb -x264-params threads=1:log-level=none", "a.264", "gbrp"},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.pixel_format + std::string(" ") + one.encoder);
    const Clip clip = make_clip(picture_of(one.pixel_format, one.encoder), one.name);
    if (clip.units.empty()) continue;
    for (const bool frame_threads : {false, true}) {
      Lines lines;
      ClientOptions options;
      options.engine.codec.threads = frame_threads ? 2 : 1;
      options.engine.codec.frame_threads = frame_threads;
      EngineClient client(options, lines.log());
      ASSERT_TRUE(client.start(clip.codec));
      ASSERT_TRUE(client.play(clip));
      EXPECT_EQ(client.changes, 0u);
      EXPECT_TRUE(client.frames.empty());
      EXPECT_EQ(client.coded_in_flight, 0u);
      if (!frame_threads) {
        EXPECT_EQ(client.damaged_buffers, clip.units.size());
      } else {
        EXPECT_GT(client.damaged_buffers, 0u);
      }
      const auto said = lines.all();
      ASSERT_FALSE(said.empty());
      EXPECT_EQ(said.front(),
                "decoder: pixel format " + std::string(one.refused) + " is not supported, 1 in total");
      for (const auto& line : said) EXPECT_EQ(line.find("damaged data"), std::string::npos) << line;
    }
  }
}

}  // namespace
}  // namespace vumedia::test
