// The decoder as a guest sees it: ioctls and events on real rings, frames in mapped memory.
#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

using Options = backends::FfmpegDecoderOptions;
namespace tag = v4l2::tag;

class FfmpegDecoderTest : public testing::TestWithParam<std::pair<std::uint32_t, bool>> {
 protected:
  static Options options() {
    Options options;
    options.session.multiplanar = GetParam().second;
    return options;
  }
  static std::uint32_t fourcc() { return GetParam().first; }
};

TEST_P(FfmpegDecoderTest, DecodesTheVectorsBitExactly) {
  const auto vectors = vectors_of_turn((fourcc() == V4L2_PIX_FMT_NV12 ? 1 : 0) + (GetParam().second ? 1 : 0));
  if (vectors.empty()) {
    GTEST_SKIP()
        << "no test vectors: neither VUMEDIA_TEST_VECTORS nor ../shared/vectors beside the checkout exists";
  }
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.file);
    const Clip clip = read_clip(vectors_folder() / vector.file);
    DecoderGuest guest(options(), fourcc());
    guest.start(clip);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(guest.frames.size(), vector.frames);
    EXPECT_EQ(guest.total.hex(), vector.md5);
    EXPECT_EQ(guest.visible.width, vector.width);
    EXPECT_EQ(guest.visible.height, vector.height);
    EXPECT_EQ(guest.in_force.fourcc, fourcc());
    for (std::size_t i = 0; i < guest.frames.size(); ++i) EXPECT_EQ(guest.frames[i].sequence, i);
  }
}

TEST_P(FfmpegDecoderTest, DecodesEveryFormat) {
  for (const auto& recipe : clip_recipes) {
    SCOPED_TRACE(recipe.name);
    const Clip& clip = clip_of(recipe);
    if (clip.units.empty()) continue;
    DecoderGuest guest(options(), fourcc());
    guest.start(clip);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.damaged, 0u);
    EXPECT_EQ(guest.bad_frames, 0u);
    EXPECT_EQ(guest.changes, 1u);
  }
}

TEST_P(FfmpegDecoderTest, FollowsChangesOfSize) {
  const Clip clip = make_changing_clip({{320, 180}, {160, 96}, {640, 360}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options(), fourcc());
  guest.start(clip);
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
  EXPECT_EQ(guest.changes, 3u);
  // The time stamps are those of the units, in display order, across the changes.
  std::vector<std::int64_t> stamps;
  for (const auto& frame : guest.frames)
    stamps.push_back(frame.timestamp.tv_sec * 1000000 + frame.timestamp.tv_usec);
  std::ranges::sort(stamps);
  for (std::size_t i = 0; i < stamps.size(); ++i)
    EXPECT_EQ(stamps[i], static_cast<std::int64_t>(i + 1) * 1000);
}

TEST_P(FfmpegDecoderTest, Seeks) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  std::size_t key = clip.units.size() - 1;
  while (key > 0 && !clip.units[key].key) --key;
  ASSERT_GT(key, 0u);
  Clip rest = clip;
  rest.units.erase(rest.units.begin(), rest.units.begin() + static_cast<std::ptrdiff_t>(key));
  for (const bool restart_capture : {false, true}) {
    DecoderGuest guest(options(), fourcc());
    guest.start(clip);
    for (std::size_t i = 0; i < 12; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
    ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
    EXPECT_EQ(guest.stream(guest.output_type, false), 0);
    for (auto& buffer : guest.coded) buffer.queued = false;
    if (restart_capture) {
      guest.restart_capture();
      guest.take_events();
      guest.frames.clear();
    }
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
    ASSERT_TRUE(guest.play(rest, 5'000'000));
    ASSERT_TRUE(guest.finish());
    if (restart_capture) {
      for (const auto& frame : guest.frames)
        EXPECT_GE(frame.timestamp.tv_sec, 5) << "a frame from before the seek";
    }
    std::erase_if(guest.frames, [](const auto& frame) { return frame.timestamp.tv_sec < 5; });
    EXPECT_EQ(md5s(guest), decode_plainly(rest));
  }
}

TEST_P(FfmpegDecoderTest, DrainsAndGoesOn) {
  const Clip& clip = clip_of("mpeg2.m2v");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  DecoderGuest guest(options(), fourcc());
  guest.start(clip);
  for (int round = 0; round < 3; ++round) {
    guest.frames.clear();
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), expected);
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "nothing more to drain";
    guest.last_seen = false;
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
    for (std::uint32_t i = 0; i < guest.raw.size(); ++i) {
      if (!guest.raw[i].queued) {
        EXPECT_EQ(guest.queue(guest.capture_type, i), 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, FfmpegDecoderTest,
                         testing::Values(std::pair(V4L2_PIX_FMT_YUV420, true),
                                         std::pair(V4L2_PIX_FMT_NV12, true),
                                         std::pair(V4L2_PIX_FMT_NV12, false)),
                         [](const auto& parameter) {
                           const std::string name =
                               parameter.param.first == V4L2_PIX_FMT_NV12 ? "nv12" : "yu12";
                           return name + (parameter.param.second ? "_multiplanar" : "_singleplanar");
                         });

TEST(FfmpegDecoderInterfaceTest, SaysWhatItIs) {
  DecoderGuest guest;
  const auto config = guest.guest.backend().config();
  EXPECT_EQ(config.device_caps, static_cast<std::uint32_t>(V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING |
                                                           V4L2_CAP_EXT_PIX_FORMAT));
  Options single;
  single.session.multiplanar = false;
  EXPECT_TRUE(DecoderGuest(single).guest.backend().config().device_caps & V4L2_CAP_VIDEO_M2M);
}

TEST(FfmpegDecoderInterfaceTest, EnumeratesFormats) {
  DecoderGuest guest;
  std::vector<std::uint32_t> coded;
  v4l2_fmtdesc description{};
  for (description.type = guest.output_type; guest.ioctl<tag::ENUM_FMT>(description) == 0;
       ++description.index) {
    coded.push_back(description.pixelformat);
    EXPECT_EQ(description.flags,
              static_cast<std::uint32_t>(V4L2_FMT_FLAG_COMPRESSED | V4L2_FMT_FLAG_DYN_RESOLUTION));
    v4l2_frmsizeenum size{};
    size.pixel_format = description.pixelformat;
    EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), 0);
    EXPECT_EQ(size.type, static_cast<std::uint32_t>(V4L2_FRMSIZE_TYPE_STEPWISE));
    size.index = 1;
    EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), EINVAL);
  }
  // Every libavcodec has these.
  for (const std::uint32_t fourcc : {V4L2_PIX_FMT_H264, V4L2_PIX_FMT_VP8, V4L2_PIX_FMT_MPEG2}) {
    EXPECT_TRUE(std::ranges::find(coded, fourcc) != coded.end());
  }
  std::vector<std::uint32_t> raw;
  description = {};
  for (description.type = guest.capture_type; guest.ioctl<tag::ENUM_FMT>(description) == 0;
       ++description.index) {
    raw.push_back(description.pixelformat);
  }
  // All that H.264 may have.
  EXPECT_EQ(raw, (std::vector<std::uint32_t>{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_P010,
                                             V4L2_PIX_FMT_YUV422P, V4L2_PIX_FMT_NV16, V4L2_PIX_FMT_YUYV,
                                             v4l2::pix_fmt_y210, V4L2_PIX_FMT_NV24}));
  description = {};
  description.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::ENUM_FMT>(description), EINVAL);
  v4l2_frmsizeenum size{};
  size.pixel_format = V4L2_PIX_FMT_RGB24;
  EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), EINVAL);
}

std::vector<std::uint32_t> raw_formats(DecoderGuest& guest) {
  std::vector<std::uint32_t> all;
  v4l2_fmtdesc description{};
  for (description.type = guest.capture_type; guest.ioctl<tag::ENUM_FMT>(description) == 0;
       ++description.index) {
    all.push_back(description.pixelformat);
    v4l2_frmsizeenum size{};
    size.pixel_format = description.pixelformat;
    EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), 0);
  }
  return all;
}

using Fourccs = std::vector<std::uint32_t>;

TEST(FfmpegDecoderInterfaceTest, ListsTheRawFormatsOfTheStream) {
  const Clip clip = make_clip_of_depths(x264_quickly, "264");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const bool multiplanar : {true, false}) {
    Options options;
    options.session.multiplanar = multiplanar;
    DecoderGuest guest(options, V4L2_PIX_FMT_NV12);
    // Without a stream: what the codec may have.
    EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), 0);
    EXPECT_EQ(raw_formats(guest), (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}));
    v4l2_frmsizeenum size{};
    size.pixel_format = V4L2_PIX_FMT_P010;
    EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), EINVAL);
    EXPECT_EQ(guest.set_raw_format(V4L2_PIX_FMT_P010), 0);
    EXPECT_EQ(guest.get_raw_format().fourcc, V4L2_PIX_FMT_YUV420) << "adjusted: VP8 has 8 bits";
    EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_HEVC), 0);
    EXPECT_EQ(raw_formats(guest),
              (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_P010, V4L2_PIX_FMT_YUV422P,
                       V4L2_PIX_FMT_NV16, V4L2_PIX_FMT_YUYV, v4l2::pix_fmt_y210, V4L2_PIX_FMT_NV24}));
    // A guess, with its size; another codec makes it void.
    const auto eight = guest.get_raw_format();
    EXPECT_EQ(guest.set_raw_format(V4L2_PIX_FMT_P010), 0);
    const auto ten = guest.get_raw_format();
    EXPECT_EQ(ten.fourcc, V4L2_PIX_FMT_P010);
    EXPECT_EQ(ten.layout.width, eight.layout.width);
    EXPECT_GE(ten.layout.stride(), 2 * eight.layout.width);
    EXPECT_GE(ten.size_image, ten.layout.payload());
    EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264), 0);
    EXPECT_EQ(guest.get_raw_format().fourcc, V4L2_PIX_FMT_YUV420);

    // With one: what it has, at each of its changes.
    guest.start(clip);
    std::vector<Fourccs> listed;
    for (std::size_t i = 0; i < clip.units.size(); ++i) {
      ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
      while (listed.size() < guest.changes) listed.push_back(raw_formats(guest));
    }
    ASSERT_TRUE(guest.finish());
    while (listed.size() < guest.changes) listed.push_back(raw_formats(guest));
    ASSERT_EQ(guest.changes, 4u);
    EXPECT_EQ(listed.back(), (Fourccs{V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}));
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    // The choice among the formats of 8 bits outlives the part of 10.
    Fourccs used;
    for (const auto& frame : guest.frames) {
      if (used.empty() || used.back() != frame.fourcc) used.push_back(frame.fourcc);
    }
    EXPECT_EQ(used, (Fourccs{V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_P010, V4L2_PIX_FMT_NV12}));
  }
}

TEST(FfmpegDecoderInterfaceTest, ListsNothingButP010ForTenBits) {
  const Clip& clip = clip_of("hevc_10bit.265");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(Options{}, V4L2_PIX_FMT_NV12);
  guest.follow_changes = false;
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
  EXPECT_EQ(raw_formats(guest), (Fourccs{V4L2_PIX_FMT_P010}));
  EXPECT_EQ(guest.get_raw_format().fourcc, V4L2_PIX_FMT_P010);
  v4l2_frmsizeenum size{};
  size.pixel_format = V4L2_PIX_FMT_NV12;
  EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), EINVAL);
  // Impossible requests are adjusted, and buffers of the format hold a frame.
  EXPECT_EQ(guest.set_raw_format(V4L2_PIX_FMT_NV12), 0);
  EXPECT_EQ(guest.get_raw_format().fourcc, V4L2_PIX_FMT_P010);
  guest.follow_changes = true;
  guest.change_pending = false;
  guest.start_capture();
  for (const auto& buffer : guest.raw) EXPECT_GE(buffer.length, guest.in_force.layout.payload());
  Clip rest = clip;
  rest.units.erase(rest.units.begin());
  ASSERT_TRUE(guest.play(rest));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// A client that sets up CAPTURE before the stream is known: correctly, or with the wrong depth.
TEST(FfmpegDecoderInterfaceTest, LetsAClientGuessTheDepth) {
  const Clip& clip = clip_of("hevc_10bit.265");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const std::uint32_t guess : {V4L2_PIX_FMT_P010, V4L2_PIX_FMT_NV12}) {
    DecoderGuest guest(Options{}, guess);
    v4l2_format format{};
    format.type = guest.output_type;
    format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_HEVC;
    format.fmt.pix_mp.width = find_recipe("hevc_10bit.265").width;
    format.fmt.pix_mp.height = find_recipe("hevc_10bit.265").height;
    EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
    EXPECT_EQ(guest.subscribe(V4L2_EVENT_SOURCE_CHANGE), 0);
    EXPECT_EQ(guest.subscribe(V4L2_EVENT_EOS), 0);
    EXPECT_EQ(guest.request(guest.output_type, 4), 0);
    guest.start_capture(4);
    EXPECT_EQ(guest.in_force.fourcc, guess);
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.changes, guess == V4L2_PIX_FMT_P010 ? 0u : 1u);
  }
}

TEST(FfmpegDecoderInterfaceTest, SaysHowFramesAreMadeOfFields) {
  struct Row {
    std::string options;
    const char* name;
    std::uint32_t field;
  };
  const Row rows[] = {
      {fields_picture("tff", x264_quickly), "fields.264", V4L2_FIELD_INTERLACED_TB},
      {fields_picture("bff", x264_quickly), "fields.264", V4L2_FIELD_INTERLACED_BT},
      {fields_picture("tff", "-c:v mpeg2video"), "fields.m2v", V4L2_FIELD_INTERLACED_TB},
      {fields_picture("bff", "-c:v mpeg2video"), "fields.m2v", V4L2_FIELD_INTERLACED_BT},
      {moving_picture(176, 144, 8) + " " + x264_quickly, "frames.264", V4L2_FIELD_NONE},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.options);
    const Clip clip = make_clip(row.options, row.name);
    if (clip.units.empty()) continue;
    Options options;
    options.session.multiplanar = row.field != V4L2_FIELD_INTERLACED_BT;
    DecoderGuest guest(options);
    guest.start(clip);
    EXPECT_EQ(guest.get_raw_format().field, static_cast<std::uint32_t>(V4L2_FIELD_NONE));
    ASSERT_TRUE(guest.send(clip.units[0].bytes, 1000));
    ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
    // From the event on. A stream may state in two ways which field comes first, as x264's do here with the
    // lower one: in a message, and by the order of pictures, which counts in the end.
    const auto announced = guest.get_raw_format().field;
    EXPECT_EQ(announced == V4L2_FIELD_NONE, row.field == V4L2_FIELD_NONE);
    if (std::string(row.name) == "fields.m2v") {
      EXPECT_EQ(announced, row.field);
    }
    ASSERT_TRUE(guest.play(slice(clip, 1, clip.units.size())));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(guest.get_raw_format().field, row.field);
    ASSERT_EQ(guest.frames.size(), 8u);
    for (const auto& frame : guest.frames) EXPECT_EQ(frame.field, row.field);
    EXPECT_EQ(guest.changes, 1u);
  }
}

// The items of a menu, by their values.
std::map<std::uint32_t, std::string> menu_of(DecoderGuest& guest, std::uint32_t id) {
  std::map<std::uint32_t, std::string> items;
  v4l2_queryctrl control{};
  control.id = id;
  EXPECT_EQ(guest.ioctl<tag::QUERYCTRL>(control), 0) << id;
  EXPECT_EQ(control.type, static_cast<std::uint32_t>(V4L2_CTRL_TYPE_MENU));
  EXPECT_TRUE(control.flags & V4L2_CTRL_FLAG_READ_ONLY);
  for (std::int32_t i = control.minimum; i <= control.maximum; ++i) {
    v4l2_querymenu item{};
    item.id = id;
    item.index = static_cast<std::uint32_t>(i);
    if (guest.ioctl<tag::QUERYMENU>(item) == 0) items[item.index] = reinterpret_cast<const char*>(item.name);
  }
  EXPECT_TRUE(items.contains(static_cast<std::uint32_t>(control.default_value)));
  return items;
}

TEST(FfmpegDecoderInterfaceTest, SaysWhichProfilesAndLevelsItTakes) {
  using Menu = std::map<std::uint32_t, std::string>;
  DecoderGuest guest;
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_H264_PROFILE), (Menu{{0, "Baseline"},
                                                                    {1, "Constrained Baseline"},
                                                                    {2, "Main"},
                                                                    {4, "High"},
                                                                    {5, "High 10"},
                                                                    {8, "High 10 Intra"},
                                                                    {17, "Constrained High"}}));
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_HEVC_PROFILE),
            (Menu{{0, "Main"}, {1, "Main Still Picture"}, {2, "Main 10"}}));
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_VP8_PROFILE).size(), 4u);
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_VP9_PROFILE), (Menu{{0, "0"}, {2, "2"}}));
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE),
            (Menu{{0, "Simple"}, {1, "Main"}, {4, "High"}}));
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_MPEG2_LEVEL).size(), 4u);
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_HEVC_TIER), (Menu{{0, "Main"}, {1, "High"}}));
  EXPECT_EQ(menu_of(guest, ffmpeg::cid_av1_profile), (Menu{{0, "Main"}}));
  // 4096 x 2304 is the largest picture unless a program says otherwise.
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_H264_LEVEL).rbegin()->second, "5.2");
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_HEVC_LEVEL).rbegin()->second, "5.2");
  EXPECT_EQ(menu_of(guest, V4L2_CID_MPEG_VIDEO_VP9_LEVEL).rbegin()->second, "5.2");
  EXPECT_EQ(menu_of(guest, ffmpeg::cid_av1_level).rbegin()->second, "5.3");
  Options small;
  small.session.engine.codec.max_pixels = 1280 * 720;
  DecoderGuest other(small);
  EXPECT_EQ(menu_of(other, V4L2_CID_MPEG_VIDEO_H264_LEVEL).rbegin()->second, "3.1");
  EXPECT_EQ(menu_of(other, V4L2_CID_MPEG_VIDEO_HEVC_LEVEL).rbegin()->second, "3");
  EXPECT_EQ(menu_of(other, V4L2_CID_MPEG_VIDEO_VP9_LEVEL).rbegin()->second, "3");
  Options large;
  large.session.engine.codec.max_pixels = 8192 * 8192;
  EXPECT_EQ(DecoderGuest(large).get_control(V4L2_CID_MPEG_VIDEO_H264_LEVEL), V4L2_MPEG_VIDEO_H264_LEVEL_6_2);
  // Clients may read, but not set; and only encoders state how many OUTPUT buffers they need.
  v4l2_control control{};
  control.id = V4L2_CID_MPEG_VIDEO_H264_PROFILE;
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(control), EACCES);
  v4l2_queryctrl query{};
  query.id = V4L2_CID_MIN_BUFFERS_FOR_OUTPUT;
  EXPECT_EQ(guest.ioctl<tag::QUERYCTRL>(query), EINVAL);
}

TEST(FfmpegDecoderInterfaceTest, SaysOfWhichProfileAndLevelTheStreamIs) {
  struct Row {
    std::string options;
    const char* name;
    std::uint32_t profile_id;
    int profile;
    std::uint32_t level_id = 0;
    int level = 0;
  };
  const std::string quiet = " -x264-params threads=1:log-level=none";
  const std::string x265 = " -c:v libx265 -preset ultrafast -x265-params log-level=none";
  const Row rows[] = {
      {moving_picture(64, 64, 2) + " -c:v libx264 -profile:v baseline -level 2.1" + quiet, "baseline.264",
       V4L2_CID_MPEG_VIDEO_H264_PROFILE, V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE,
       V4L2_CID_MPEG_VIDEO_H264_LEVEL, V4L2_MPEG_VIDEO_H264_LEVEL_2_1},
      {moving_picture(64, 64, 2) + " -c:v libx264 -profile:v main -level 4.2" + quiet, "main.264",
       V4L2_CID_MPEG_VIDEO_H264_PROFILE, V4L2_MPEG_VIDEO_H264_PROFILE_MAIN, V4L2_CID_MPEG_VIDEO_H264_LEVEL,
       V4L2_MPEG_VIDEO_H264_LEVEL_4_2},
      {moving_picture(64, 64, 2, "yuv420p10le") + " -c:v libx264 -level 3.0" + quiet, "high10.264",
       V4L2_CID_MPEG_VIDEO_H264_PROFILE, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10, V4L2_CID_MPEG_VIDEO_H264_LEVEL,
       V4L2_MPEG_VIDEO_H264_LEVEL_3_0},
      {moving_picture(64, 64, 2, "yuv420p10le") + x265 + ":level-idc=4.1", "main10.265",
       V4L2_CID_MPEG_VIDEO_HEVC_PROFILE, V4L2_MPEG_VIDEO_HEVC_PROFILE_MAIN_10, V4L2_CID_MPEG_VIDEO_HEVC_LEVEL,
       V4L2_MPEG_VIDEO_HEVC_LEVEL_4_1},
      {moving_picture(64, 64, 2) + x265 + ":level-idc=4.1:high-tier=1:vbv-maxrate=30000:vbv-bufsize=30000",
       "high.265", V4L2_CID_MPEG_VIDEO_HEVC_TIER, V4L2_MPEG_VIDEO_HEVC_TIER_HIGH,
       V4L2_CID_MPEG_VIDEO_HEVC_LEVEL, V4L2_MPEG_VIDEO_HEVC_LEVEL_4_1},
      {moving_picture(64, 64, 2) + x265 + ":level-idc=4.1:high-tier=0", "main.265",
       V4L2_CID_MPEG_VIDEO_HEVC_TIER, V4L2_MPEG_VIDEO_HEVC_TIER_MAIN},
      {moving_picture(64, 64, 2, "yuv420p10le") + " -c:v libvpx-vp9 -profile:v 2 -cpu-used 8", "two.ivf",
       V4L2_CID_MPEG_VIDEO_VP9_PROFILE, V4L2_MPEG_VIDEO_VP9_PROFILE_2, V4L2_CID_MPEG_VIDEO_VP9_LEVEL,
       V4L2_MPEG_VIDEO_VP9_LEVEL_1_0},
      {moving_picture(640, 360, 2) + " -c:v libvpx-vp9 -cpu-used 8 -deadline realtime", "zero.ivf",
       V4L2_CID_MPEG_VIDEO_VP9_PROFILE, V4L2_MPEG_VIDEO_VP9_PROFILE_0, V4L2_CID_MPEG_VIDEO_VP9_LEVEL,
       V4L2_MPEG_VIDEO_VP9_LEVEL_2_1},
      {moving_picture(64, 64, 2) + " -c:v mpeg2video -profile:v 5 -level:v 10 -bf 0", "simple.m2v",
       V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE, V4L2_MPEG_VIDEO_MPEG2_PROFILE_SIMPLE,
       V4L2_CID_MPEG_VIDEO_MPEG2_LEVEL, V4L2_MPEG_VIDEO_MPEG2_LEVEL_LOW},
      {moving_picture(64, 64, 2) + " -c:v libaom-av1 -cpu-used 8 -usage realtime", "main.ivf",
       ffmpeg::cid_av1_profile, 0, ffmpeg::cid_av1_level, 0},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.options);
    const Clip clip = make_clip(row.options, row.name);
    if (clip.units.empty()) continue;
    DecoderGuest guest;
    guest.follow_changes = false;
    guest.start(clip);
    ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
    // From the event on.
    ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
    EXPECT_EQ(guest.get_control(row.profile_id), row.profile);
    if (row.level_id != 0) {
      EXPECT_EQ(guest.get_control(row.level_id), row.level);
    }
  }
}

// Chromium's client considers a decoder broken if it asks for more than 16.
TEST(FfmpegDecoderInterfaceTest, AsksForNoMoreBuffersThanClientsTake) {
  const Clip clip = make_clip(moving_picture(64, 64, 4) + " -c:v libx264 -refs 16 -bf 3" +
                                  " -x264-params ref=16:b-pyramid=strict:threads=1:log-level=none",
                              "references.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest;
  guest.follow_changes = false;
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
  EXPECT_EQ(guest.get_control(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE), 16);
}

TEST(FfmpegDecoderInterfaceTest, OffersWhatItIsTold) {
  Options options;
  // Unknown formats and duplicates are left out.
  options.codecs = {V4L2_PIX_FMT_MPEG2, V4L2_PIX_FMT_RGB24, V4L2_PIX_FMT_H264, V4L2_PIX_FMT_MPEG2};
  DecoderGuest guest(options);
  std::vector<std::uint32_t> coded;
  v4l2_fmtdesc description{};
  for (description.type = guest.output_type; guest.ioctl<tag::ENUM_FMT>(description) == 0;
       ++description.index) {
    coded.push_back(description.pixelformat);
  }
  EXPECT_EQ(coded, (std::vector<std::uint32_t>{V4L2_PIX_FMT_MPEG2, V4L2_PIX_FMT_H264}));
  // The first is what others are adjusted to.
  v4l2_format format{};
  format.type = guest.output_type;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(format), 0);
  EXPECT_EQ(format.fmt.pix_mp.pixelformat, V4L2_PIX_FMT_MPEG2);
  format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_VP8;
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
  EXPECT_EQ(format.fmt.pix_mp.pixelformat, V4L2_PIX_FMT_MPEG2);
  v4l2_frmsizeenum size{};
  size.pixel_format = V4L2_PIX_FMT_VP8;
  EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), EINVAL);
}

TEST(FfmpegDecoderInterfaceTest, AdjustsFormats) {
  DecoderGuest guest;
  v4l2_format format{};
  format.type = guest.output_type;
  format.fmt.pix_mp.pixelformat = 0x12345678;
  format.fmt.pix_mp.width = ~0u;
  format.fmt.pix_mp.height = ~0u;
  format.fmt.pix_mp.plane_fmt[0].sizeimage = ~0u;
  format.fmt.pix_mp.colorspace = 12345;
  EXPECT_EQ(guest.ioctl<tag::TRY_FMT>(format), 0);
  EXPECT_EQ(format.fmt.pix_mp.pixelformat, V4L2_PIX_FMT_H264);
  EXPECT_LE(std::uint64_t{format.fmt.pix_mp.width} * format.fmt.pix_mp.height,
            Options().session.engine.codec.max_pixels);
  EXPECT_EQ(format.fmt.pix_mp.plane_fmt[0].sizeimage, Options().session.max_coded_bytes);
  EXPECT_EQ(format.fmt.pix_mp.num_planes, 1u);
  EXPECT_EQ(format.fmt.pix_mp.colorspace, static_cast<std::uint32_t>(V4L2_COLORSPACE_REC709));

  // CAPTURE is derived from OUTPUT's size, and so are its colours.
  format.fmt.pix_mp.width = 640;
  format.fmt.pix_mp.height = 360;
  format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_VP8;
  format.fmt.pix_mp.colorspace = V4L2_COLORSPACE_SMPTE170M;
  format.fmt.pix_mp.quantization = V4L2_QUANTIZATION_FULL_RANGE;
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
  const auto raw = guest.get_raw_format();
  EXPECT_EQ(raw.layout.width, 640u);
  EXPECT_GE(raw.layout.height, 360u);
  EXPECT_GE(raw.size_image, raw.layout.payload());
  EXPECT_EQ(raw.quantization, static_cast<std::uint32_t>(V4L2_QUANTIZATION_FULL_RANGE));
  EXPECT_EQ(guest.get_visible().width, 640u);
  EXPECT_EQ(guest.get_visible().height, 360u);
  EXPECT_EQ(guest.get_visible(V4L2_SEL_TGT_CROP_BOUNDS).height, raw.layout.height);

  // The client does not choose CAPTURE's size.
  format = {};
  format.type = guest.capture_type;
  format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12;
  format.fmt.pix_mp.width = 17;
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
  EXPECT_EQ(format.fmt.pix_mp.width, 640u);
  EXPECT_EQ(guest.get_raw_format().fourcc, V4L2_PIX_FMT_NV12);

  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(format), EINVAL);
  EXPECT_EQ(guest.ioctl<tag::TRY_FMT>(format), EINVAL);
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), EINVAL);
}

TEST(FfmpegDecoderInterfaceTest, KeepsFormatsOfBuffers) {
  DecoderGuest guest;
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264), 0);
  EXPECT_EQ(guest.request(guest.output_type, 2), 0);
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), EBUSY);
  EXPECT_EQ(guest.request(guest.output_type, 0), 0);
  EXPECT_EQ(guest.request(guest.capture_type, 2), 0);
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), EBUSY);
  EXPECT_EQ(guest.request(guest.capture_type, 0), 0);
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), 0);
}

TEST(FfmpegDecoderInterfaceTest, SelectsWhatTheStreamShows) {
  if (vectors_folder().empty()) GTEST_SKIP() << "no test vectors";
  const Clip clip = read_clip(vectors_folder() / "h264/CVFC1_Sony_C.jsv");
  DecoderGuest guest;
  guest.start(clip);
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.finish());
  for (const std::uint32_t target :
       std::initializer_list<std::uint32_t>{V4L2_SEL_TGT_CROP, V4L2_SEL_TGT_CROP_DEFAULT,
                                            V4L2_SEL_TGT_COMPOSE, V4L2_SEL_TGT_COMPOSE_DEFAULT}) {
    const auto rectangle = guest.get_visible(target);
    EXPECT_EQ(rectangle.left, 26);
    EXPECT_EQ(rectangle.width, 300u);
    EXPECT_EQ(rectangle.height, 168u);
  }
  v4l2_selection selection{};
  selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  selection.target = V4L2_SEL_TGT_NATIVE_SIZE;
  EXPECT_EQ(guest.ioctl<tag::G_SELECTION>(selection), EINVAL);
  EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), EINVAL);
  selection.target = V4L2_SEL_TGT_COMPOSE;
  selection.r = {0, 0, 10, 10};
  selection.flags = V4L2_SEL_FLAG_LE;
  EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), ERANGE);
  selection.flags = 0;
  EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), 0);
  EXPECT_EQ(selection.r.left, 26);
  selection.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  EXPECT_EQ(guest.ioctl<tag::G_SELECTION>(selection), EINVAL);
}

TEST(FfmpegDecoderInterfaceTest, RefusesWhatIsOutOfOrder) {
  DecoderGuest guest;
  EXPECT_EQ(guest.stream(guest.output_type, true), EINVAL) << "no buffers";
  EXPECT_EQ(guest.stream(guest.capture_type, true), EINVAL);
  EXPECT_EQ(guest.stream(V4L2_BUF_TYPE_VBI_CAPTURE, true), EINVAL);
  EXPECT_EQ(guest.stream(V4L2_BUF_TYPE_VBI_CAPTURE, false), EINVAL);
  EXPECT_EQ(guest.stream(guest.output_type, false), 0);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_PAUSE), EINVAL);
  EXPECT_EQ(guest.command(77), EINVAL);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "nothing streams";
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  EXPECT_EQ(guest.subscribe(V4L2_EVENT_VSYNC), EINVAL);
  EXPECT_EQ(guest.subscribe(V4L2_EVENT_CTRL, V4L2_CID_BRIGHTNESS), EINVAL);
  EXPECT_EQ(guest.subscribe(V4L2_EVENT_CTRL, V4L2_CID_MIN_BUFFERS_FOR_CAPTURE), 0);
  v4l2_control control{};
  control.id = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
  control.value = 3;
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(control), EACCES);
  EXPECT_EQ(guest.guest.mmap(guest.session, 0).hdr.status, static_cast<std::uint32_t>(EINVAL));

  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264), 0);
  EXPECT_EQ(guest.request(guest.output_type, 2), 0);
  EXPECT_EQ(guest.stream(guest.output_type, true), 0);
  EXPECT_EQ(guest.stream(guest.output_type, true), 0) << "again";
  v4l2_requestbuffers request{};
  request.type = guest.output_type;
  request.memory = V4L2_MEMORY_MMAP;
  request.count = 4;
  EXPECT_EQ(guest.ioctl<tag::REQBUFS>(request), EBUSY);
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::REQBUFS>(request), EINVAL);
  EXPECT_EQ(guest.queue(guest.output_type, 0, 100), 0);
  EXPECT_EQ(guest.queue(guest.output_type, 0, 100), EINVAL) << "queued already";
  EXPECT_EQ(guest.queue(guest.output_type, 1, ~0u), EINVAL) << "more than the buffer has";
  v4l2_buffer buffer{};
  buffer.type = guest.output_type;
  buffer.index = 99;
  v4l2_plane plane{};
  EXPECT_EQ(guest.buffer_ioctl<tag::QUERYBUF>(buffer, plane), EINVAL);
  EXPECT_EQ(guest.buffer_ioctl<tag::QBUF>(buffer, plane), EINVAL);
}

TEST(FfmpegDecoderInterfaceTest, CapturesOnlyIntoBuffersThatAreLargeEnough) {
  DecoderGuest guest;
  v4l2_format format{};
  format.type = guest.output_type;
  format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_H264;
  format.fmt.pix_mp.width = format.fmt.pix_mp.height = 64;
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
  EXPECT_EQ(guest.request(guest.capture_type, 2), 0);
  EXPECT_EQ(guest.queue(guest.capture_type, 0), 0);
  // CREATE_BUFS takes more than the format needs, but not less.
  v4l2_create_buffers create{};
  create.count = 1;
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = guest.capture_type;
  create.format.fmt.pix_mp.num_planes = 1;
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 100;
  EXPECT_EQ(guest.ioctl<tag::CREATE_BUFS>(create), EINVAL);
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 1u << 20;
  EXPECT_EQ(guest.ioctl<tag::CREATE_BUFS>(create), 0);
  EXPECT_EQ(create.index, 2u);
  v4l2::RemoveBuffers remove{};
  remove.type = guest.capture_type;
  remove.index = 2;
  remove.count = 1;
  EXPECT_EQ(guest.ioctl<tag::REMOVE_BUFS>(remove), 0);
}

TEST(FfmpegDecoderInterfaceTest, LimitsSessionsAndBuffers) {
  Options options;
  options.max_sessions = 2;
  // 8 MiB, and what the engine needs: as much as a coded buffer, which here is more than a sixteenth.
  options.session.max_buffer_bytes = (8u << 20) + (2u << 20);
  DecoderGuest guest(options);
  EXPECT_NE(guest.guest.open(), 0u);
  const auto refused = guest.guest.command(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}),
                                           sizeof(wire::virtio_media_resp_open));
  EXPECT_EQ(refused.status(), ENFILE);
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264, 2u << 20), 0);
  EXPECT_EQ(guest.request(guest.output_type, 32), 0);
  EXPECT_EQ(guest.coded.size(), 4u);
  EXPECT_EQ(guest.request(guest.capture_type, 1), ENOMEM);
  v4l2_create_buffers create{};
  create.count = 1;
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = guest.capture_type;
  create.format.fmt.pix_mp.num_planes = 1;
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 4u << 20;
  EXPECT_EQ(guest.ioctl<tag::CREATE_BUFS>(create), ENOMEM);
}

TEST(FfmpegDecoderInterfaceTest, LimitsCodedBuffersHoweverTheyAreMade) {
  Options options;
  options.session.max_coded_bytes = 1u << 20;
  DecoderGuest guest(options);
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264, 1u << 16), 0);
  v4l2_create_buffers create{};
  create.count = 1;
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = guest.output_type;
  create.format.fmt.pix_mp.num_planes = 1;
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = (1u << 20) + 1;
  EXPECT_EQ(guest.ioctl<tag::CREATE_BUFS>(create), EINVAL);
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 1u << 20;
  EXPECT_EQ(guest.ioctl<tag::CREATE_BUFS>(create), 0);
}

TEST(FfmpegDecoderInterfaceTest, LimitsThreads) {
  Options options;
  options.workers = std::make_shared<ffmpeg::Workers>(0);
  DecoderGuest guest(options);
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264), 0);
  EXPECT_EQ(guest.request(guest.output_type, 2), 0);
  EXPECT_EQ(guest.stream(guest.output_type, true), EBUSY);
}

TEST(FfmpegDecoderInterfaceTest, RefusesLargePicturesAndGoesOn) {
  const Clip& large = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(large);
  Options options;
  options.session.engine.codec.max_pixels = 64 * 64;
  DecoderGuest guest(options);
  guest.start(large);
  ASSERT_TRUE(guest.play(large));
  ASSERT_TRUE(guest.run_until([&] { return guest.damaged == large.units.size(); }));
  EXPECT_EQ(guest.changes, 0u);
}

TEST(FfmpegDecoderInterfaceTest, FlagsDamagedBuffersAndGoesOn) {
  const Clip& clip = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  Clip damaged = clip;
  damaged.units[5].bytes.assign(100, 0xff);
  DecoderGuest guest;
  guest.start(clip);
  ASSERT_TRUE(guest.play(damaged));
  ASSERT_TRUE(guest.finish());
  EXPECT_GE(guest.damaged, 1u);
  EXPECT_GE(guest.frames.size(), clip.units.size() / 2);
}

TEST(FfmpegDecoderInterfaceTest, ForgetsSessionsInTheMidstOfTheirWork) {
  const Clip& clip = clip_of("hevc.265");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest;
  for (int round = 0; round < 6; ++round) {
    guest.start(clip);
    for (std::size_t i = 0; i < 4; ++i) {
      std::memcpy(guest.memory(guest.coded[i]), clip.units[i].bytes.data(), clip.units[i].bytes.size());
      EXPECT_EQ(guest.queue(guest.output_type, static_cast<std::uint32_t>(i),
                            static_cast<std::uint32_t>(clip.units[i].bytes.size())),
                0);
    }
    if (round % 2 == 0) {
      guest.guest.close(guest.session);
      for (auto& buffer : guest.coded) EXPECT_EQ(guest.guest.munmap(buffer.address), 0);
    } else {
      guest.guest.host.reset(*guest.guest.device);
      guest.guest.lend_event_buffers(16);
    }
    guest.coded.clear();
    guest.session = guest.guest.open();
  }
}

}  // namespace
}  // namespace vumedia::test
