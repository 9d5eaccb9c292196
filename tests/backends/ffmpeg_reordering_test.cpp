// Every picture that a stream has to show comes out, in order, and no later than the stream's headers make
// necessary.
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/engine_client.hpp"
#include "support/h264_pictures.hpp"
#include "support/h264_writer.hpp"

namespace vumedia::test {
namespace {

using Md5s = std::vector<std::string>;

ClientOptions with_threads(unsigned threads) {
  ClientOptions options;
  options.engine.codec.threads = threads;
  options.engine.codec.frame_threads = threads > 1;
  return options;
}

// The engine's output; fails if anything was wrong with it.
Md5s decode(const Clip& clip, const ClientOptions& options = {}) {
  EngineClient client(options);
  EXPECT_TRUE(client.start(clip.codec));
  EXPECT_TRUE(client.play(clip));
  EXPECT_EQ(client.damaged_buffers, 0u);
  for (const auto& frame : client.frames) EXPECT_FALSE(frame.flags & V4L2_BUF_FLAG_ERROR);
  return client.frame_md5s();
}

// Sends packet by packet, each only when the frame of the previous one has come out.
void expect_no_delay(EngineClient& client, std::span<const Clip::Unit> units) {
  std::size_t frames = client.frames.size();
  for (const auto& unit : units) {
    ASSERT_TRUE(client.send(unit.bytes, 1000));
    ++frames;
    while (client.frames.size() < frames) ASSERT_TRUE(client.wait()) << "no frame " << frames;
  }
}

// A size at which a stream of level 1 may hold back exactly that many.
SpsRecipe sps_of_depth(unsigned depth) {
  constexpr std::array<std::pair<unsigned, unsigned>, 17> sizes{{{0, 0},
                                                                 {22, 18},
                                                                 {22, 9},
                                                                 {12, 11},
                                                                 {11, 9},
                                                                 {11, 7},
                                                                 {11, 6},
                                                                 {8, 7},
                                                                 {7, 7},
                                                                 {11, 4},
                                                                 {13, 3},
                                                                 {6, 6},
                                                                 {11, 3},
                                                                 {6, 5},
                                                                 {7, 4},
                                                                 {13, 2},
                                                                 {6, 4}}};
  return {.width = sizes.at(depth).first, .height = sizes.at(depth).second};
}

// A single frame comes first, then pictures of which `depth` precede one that is shown before them. At 16
// libavcodec takes the picture for a break in the order.
class DepthTest : public testing::TestWithParam<unsigned> {};

TEST_P(DepthTest, FollowsFromLevelAndSize) {
  H264Writer writer(sps_of_depth(GetParam()));
  writer.add_reordered(GetParam(), 4);
  for (const unsigned threads : {1u, 3u}) {
    SCOPED_TRACE(threads);
    EXPECT_EQ(decode(writer.clip, with_threads(threads)), writer.expected);
  }
}

TEST_P(DepthTest, IsAsWritten) {
  SpsRecipe sps{.level = 62, .vui = VuiRecipe{.restriction = {{GetParam(), 16}}}};
  H264Writer writer(sps);
  writer.add_reordered(GetParam(), 4);
  EXPECT_EQ(decode(writer.clip), writer.expected);
  // And it does not wait for more: the first comes out with the first picture beyond that number.
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
  for (unsigned i = 0; i <= GetParam(); ++i) ASSERT_TRUE(client.send(writer.clip.units[i].bytes, 1000));
  while (client.frames.empty()) ASSERT_TRUE(client.wait());
}

TEST_P(DepthTest, StopsNoClientOfOneBuffer) {
  H264Writer writer(sps_of_depth(GetParam()));
  writer.add_reordered(GetParam(), 3);
  for (const unsigned threads : {1u, 3u}) {
    ClientOptions options = with_threads(threads);
    options.coded_buffers = 1;
    options.capture_buffers = 1;
    EXPECT_EQ(decode(writer.clip, options), writer.expected);
  }
}

// Some keep frames until they have more, whether they have made buffers for that or fewer than they should.
TEST_P(DepthTest, StopsNoClientThatKeepsFrames) {
  H264Writer writer(sps_of_depth(GetParam()));
  writer.add_reordered(GetParam(), 4);
  const std::uint32_t asked = std::min(GetParam() + 3, 16u);
  const std::pair<std::uint32_t, std::size_t> clients[] = {
      {asked, 1}, {asked + 1, 2}, {asked + 5, 6}, {asked + 8, 9}, {12, 5}, {8, 3}, {4, 1}, {3, 1}};
  for (const auto& [buffers, kept] : clients) {
    SCOPED_TRACE(testing::Message() << buffers << " buffers, of which " << kept << " are kept");
    ClientOptions options;
    options.capture_buffers = buffers;
    options.hold = kept;
    EXPECT_EQ(decode(writer.clip, options), writer.expected);
  }
}

TEST_P(DepthTest, TellsHowManyBuffersItTakes) {
  H264Writer writer(sps_of_depth(GetParam()));
  writer.add_reordered(GetParam(), 1);
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
  ASSERT_TRUE(client.play(writer.clip));
  ASSERT_TRUE(client.announced);
  // Those held back, the current one, and two that are never lent.
  EXPECT_EQ(client.announced->min_buffers, std::min(GetParam() + 3, 16u));
}

INSTANTIATE_TEST_SUITE_P(Depths, DepthTest, testing::Range(1u, 16u));

TEST(ReorderingTest, DelaysNothingThatCannotReorder) {
  constexpr unsigned set1 = 0x40;
  constexpr unsigned set3 = 0x10;
  constexpr unsigned set4_and_5 = 0x0c;
  const SpsRecipe recipes[] = {
      {.profile = 66},
      {.profile = 66, .constraints = set1, .order_type = 2},
      {.profile = 77, .order_type = 2},
      {.profile = 100, .order_type = 2},
      {.profile = 100, .constraints = set4_and_5},
      {.profile = 100, .constraints = set3},
      {.profile = 100, .vui = VuiRecipe{.restriction = {{0, 4}}}},
  };
  for (const auto& sps : recipes) {
    SCOPED_TRACE(testing::Message() << sps.profile << " " << sps.constraints << " " << sps.order_type);
    H264Writer writer(sps);
    writer.add_reordered(0, 12);
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
    expect_no_delay(client, writer.clip.units);
    EXPECT_EQ(client.frame_md5s(), writer.expected);
  }
}

// Profiles without B pictures may have their pictures in any order all the same, in one sequence or another.
TEST(ReorderingTest, ShowsAllOfProfilesThatSeldomReorder) {
  constexpr unsigned set0 = 0x80;
  constexpr unsigned set1 = 0x40;
  constexpr unsigned set4_and_5 = 0x0c;
  for (const auto& [profile, constraints] :
       {std::pair{66u, 0u}, std::pair{66u, set1}, std::pair{77u, set0}, std::pair{100u, set4_and_5}}) {
    const SpsRecipe sps{.profile = profile, .constraints = constraints, .width = 11, .height = 9};
    for (unsigned depth = 1; depth <= 4; ++depth) {
      for (const unsigned threads : {1u, 3u}) {
        SCOPED_TRACE(testing::Message() << profile << " " << constraints << " " << depth << " " << threads);
        H264Writer writer(sps);
        writer.add_reordered(0, 6);
        writer.add_reordered(depth, 3);
        writer.add_reordered(0, 5);
        writer.add_reordered(depth, 2);
        EXPECT_EQ(decode(writer.clip, with_threads(threads)), writer.expected);
      }
    }
  }
}

// What libavcodec cannot do (see README, Limits): of 16 it takes the one that comes last for a break in the
// order. All are there.
TEST(ReorderingTest, ShowsAllOfTheGreatestDepthIfNotInOrder) {
  for (const bool written : {false, true}) {
    SpsRecipe sps = sps_of_depth(16);
    if (written) sps = {.level = 62, .vui = VuiRecipe{.restriction = {{16, 16}}}};
    H264Writer writer(sps);
    writer.add_reordered(16, 3);
    auto md5s = decode(writer.clip);
    ASSERT_EQ(md5s.size(), writer.expected.size());
    std::ranges::sort(md5s);
    auto sorted = writer.expected;
    std::ranges::sort(sorted);
    EXPECT_EQ(md5s, sorted);
  }
}

// Likewise a field without its other one, which it keeps for reference alone. The next pictures are there.
TEST(ReorderingTest, LosesFieldsWithoutTheirOtherOneAlone) {
  using Structure = PictureRecipe::Structure;
  for (const unsigned threads : {1u, 3u}) {
    H264Writer writer({.width = 11, .height = 9, .frames_only = false});
    writer.add({.idr = true, .shade = 10});
    writer.expect(10);
    writer.add({.frame_num = 1, .order = 2, .shade = 20, .structure = Structure::top});
    for (unsigned i = 0; i < 5; ++i) {
      const auto shade = static_cast<std::uint8_t>(30 + i);
      writer.add({.frame_num = 2 + i, .order = 4 + 2 * i, .shade = shade});
      writer.expect(shade);
    }
    EXPECT_EQ(decode(writer.clip, with_threads(threads)), writer.expected);
  }
}

// Of one in which places are left free, as by an encoder that leaves out pictures, one is held back.
TEST(ReorderingTest, HoldsBackOneWherePicturesAreLeftOut) {
  const SpsRecipe sps{.profile = 66, .width = 11, .height = 9};
  H264Writer writer(sps);
  for (unsigned i = 0; i < 12; ++i) {
    const auto shade = static_cast<std::uint8_t>(10 + i);
    writer.add({.idr = i == 0, .frame_num = i, .order = i < 6 ? 2 * i : 2 * i + 6, .shade = shade});
    writer.expect(shade);
  }
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
  expect_no_delay(client, std::span(writer.clip.units).first(6));
  ASSERT_TRUE(client.send(writer.clip.units[6].bytes, 1000));
  expect_no_delay(client, std::span(writer.clip.units).subspan(7));
  ASSERT_TRUE(client.finish());
  EXPECT_EQ(client.frame_md5s(), writer.expected);
}

// If the stream's own limit is wrong, the first pictures that come too late show it.
TEST(ReorderingTest, LosesFewOfStreamsThatReorderFurtherThanTheySay) {
  for (unsigned written = 0; written <= 2; ++written) {
    SCOPED_TRACE(written);
    H264Writer writer({.width = 11, .height = 9, .vui = VuiRecipe{.restriction = {{written, 4}}}});
    writer.add_reordered(4, 6);
    const auto md5s = decode(writer.clip);
    // All but some of the first five.
    ASSERT_GE(md5s.size(), writer.expected.size() - 4 + written);
    EXPECT_TRUE(std::ranges::equal(std::span(md5s).last(25), std::span(writer.expected).last(25)));
  }
}

TEST(ReorderingTest, DelaysNothingOfOtherCodecsThatCannotReorder) {
  const std::pair<const char*, const char*> encoders[] = {
      {"-c:v libx264 -preset veryfast -bf 0 -x264-params threads=1:log-level=none", "still.264"},
      {"-c:v libx265 -preset ultrafast -bf 0 -x265-params log-level=none", "still.265"},
      {"-c:v mpeg2video -bf 0 -flags low_delay", "still.m2v"},
      {"-c:v libvpx -deadline realtime -cpu-used 8", "still_8.ivf"},
      {"-c:v libvpx-vp9 -deadline realtime -cpu-used 8", "still_9.ivf"},
      {"-c:v libaom-av1 -cpu-used 8 -usage realtime", "still_1.ivf"},
  };
  for (const auto& [encoder, name] : encoders) {
    SCOPED_TRACE(encoder);
    const Clip clip = make_clip(moving_picture(176, 144, 14) + " " + encoder, name);
    if (clip.units.empty()) continue;
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(clip.codec));
    expect_no_delay(client, clip.units);
    EXPECT_EQ(client.frame_md5s(), decode_plainly(clip));
  }
}

// Each sequence has its own depth, whether its parameter sets replace others or are added to them.
TEST(ReorderingTest, FollowsEachSequence) {
  for (const bool same_ids : {true, false}) {
    for (const unsigned threads : {1u, 3u}) {
      SCOPED_TRACE(testing::Message() << same_ids << threads);
      // The size stays.
      constexpr std::array<SpsRecipe, 4> sequences{{{.profile = 66, .width = 11, .height = 9},
                                                    {.level = 10, .width = 11, .height = 9},
                                                    {.level = 11, .width = 11, .height = 9},
                                                    {.order_type = 2, .width = 11, .height = 9}}};
      constexpr std::array<unsigned, 4> depths{0, 4, 9, 0};
      H264Writer writer(sequences[0]);
      writer.add_reordered(0, 6);
      for (unsigned i = 1; i < sequences.size(); ++i) {
        SpsRecipe sps = sequences[i];
        sps.id = same_ids ? 0 : i;
        writer.set(sps, same_ids ? 0 : i);
        writer.add_reordered(depths[i], 2);
      }
      const std::size_t last = writer.clip.units.size();
      writer.add_reordered(0, 6);
      EXPECT_EQ(decode(writer.clip, with_threads(threads)), writer.expected);
      if (threads > 1) continue;
      EngineClient client(ClientOptions{});
      ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
      for (std::size_t i = 0; i < last; ++i) ASSERT_TRUE(client.send(writer.clip.units[i].bytes, 1000));
      // There is no delay again, because the held-back pictures came out first.
      while (client.frames.size() < last) ASSERT_TRUE(client.wait());
      expect_no_delay(client, std::span(writer.clip.units).subspan(last));
      EXPECT_EQ(client.frame_md5s(), writer.expected);
      EXPECT_EQ(client.changes, 1u);
      // The number of buffers follows, and the existing ones are still enough.
      EXPECT_EQ(client.look_changes, 3u);
      EXPECT_EQ(client.announced->min_buffers, 4u);
    }
  }
}

// Parameter sets that came early are those of the sequence that refers to them, not the latest.
TEST(ReorderingTest, KnowsParameterSetsThatCameLongBefore) {
  const SpsRecipe still{.id = 0, .order_type = 2, .width = 11, .height = 9};
  const SpsRecipe deep{.id = 1, .width = 11, .height = 9};
  for (const bool alone : {false, true}) {
    for (const unsigned threads : {1u, 3u}) {
      SCOPED_TRACE(testing::Message() << alone << threads);
      H264Writer writer(deep);
      writer.set(deep, 1);
      writer.set(still, 0);
      if (alone) writer.send_headers_alone();
      for (int round = 0; round < 2; ++round) {
        writer.use(still, 0);
        writer.add_reordered(0, 4);
        writer.use(deep, 1);
        writer.add_reordered(4, 2);
      }
      EngineClient client(with_threads(threads));
      ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
      ASSERT_TRUE(client.play(writer.clip));
      EXPECT_EQ(client.frame_md5s(), writer.expected);
    }
  }
}

// A clip, and the frames that are shown for any part of it.
class Parts {
 public:
  explicit Parts(Clip clip) : clip_(std::move(clip)) {
    md5s_ = decode_plainly(clip_, &units_, Chroma::as_coded, 15);
  }
  [[nodiscard]] Clip part(std::size_t first, std::size_t end) const {
    Clip part{clip_.codec, {}};
    const auto begin = clip_.units.begin();
    part.units.assign(begin + static_cast<std::ptrdiff_t>(first), begin + static_cast<std::ptrdiff_t>(end));
    return part;
  }
  // The frames of those units that are shown with the first of them, or later.
  [[nodiscard]] Md5s shown(std::size_t first, std::size_t end) const {
    Md5s shown;
    bool begun = false;
    for (std::size_t i = 0; i < units_.size(); ++i) {
      begun = begun || units_[i] == first;
      if (begun && units_[i] >= first && units_[i] < end) shown.push_back(md5s_[i]);
    }
    return shown;
  }
  [[nodiscard]] const std::vector<Clip::Unit>& units() const { return clip_.units; }

 private:
  Clip clip_;
  Md5s md5s_;
  std::vector<std::size_t> units_;  // of which each frame is made
};

Clip open_gop_clip() {
  return make_clip(moving_picture(176, 144, 60) +
                       " -c:v libx264 -bf 7 -g 20 -x264-params "
                       "open-gop=1:b-pyramid=normal:b-adapt=0:threads=1:log-level=none",
                   "open.264");
}

// A stream is joined at a picture that is not an IDR picture, and ends soon, before that has come out or
// later.
TEST(ReorderingTest, ShowsAllOfAStreamThatIsJoinedInItsMiddle) {
  const Clip clip = open_gop_clip();
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const bool restricted : {true, false}) {
    const Parts parts(restricted ? clip : without_vui(clip));
    for (std::size_t first = 0; first < parts.units().size(); ++first) {
      if (first != 0 && !parts.units()[first].key) continue;
      for (const std::size_t count : {1u, 2u, 5u, 9u, 12u, 15u, 60u}) {
        const std::size_t end = std::min(first + count, parts.units().size());
        for (const unsigned threads : {1u, 3u}) {
          SCOPED_TRACE(testing::Message() << restricted << " " << first << " to " << end << ", " << threads);
          EXPECT_EQ(decode(parts.part(first, end), with_threads(threads)), parts.shown(first, end));
        }
      }
    }
  }
}

// A stream that is joined where it cannot begin waits for a place where it can, drained or not.
TEST(ReorderingTest, ShowsNothingBeforeAStreamCanBegin) {
  const Clip clip = open_gop_clip();
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const bool restricted : {true, false}) {
    const Parts parts(restricted ? clip : without_vui(clip));
    std::size_t key = 1;
    while (!parts.units()[key].key) ++key;
    for (const std::size_t end : {key - 2, key, key + 1, key + 4, key + 9}) {
      SCOPED_TRACE(testing::Message() << restricted << " " << end);
      Clip part = parts.part(4, end);
      // The headers are those at the beginning.
      part.units.insert(part.units.begin(), parts.units().front());
      auto& headers = part.units.front().bytes;
      for (std::size_t i = 0; i + 3 < headers.size(); ++i) {
        if (headers[i] == 0 && headers[i + 1] == 0 && headers[i + 2] == 1 && (headers[i + 3] & 31) == 5)
          headers.resize(i);
      }
      EXPECT_EQ(decode(part), parts.shown(key, end));
    }
  }
}

// After a drain a stream continues as if there had been none, whatever the position of its pictures.
void expect_to_go_on(const Parts& parts, std::size_t first, std::size_t end) {
  const auto expected = parts.shown(first, end);
  for (std::size_t middle = first + 1; middle < end; ++middle) {
    SCOPED_TRACE(testing::Message() << first << " to " << middle << " to " << end);
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
    ASSERT_TRUE(client.play(parts.part(first, middle)));
    client.last_seen = false;
    if (client.capture_on) {
      ASSERT_TRUE(
          client.engine->resume({V4L2_PIX_FMT_YUV420, client.in_force.layout, client.announced->serial}));
      client.queue_capture(client.last_index);
    }
    ASSERT_TRUE(client.play(parts.part(middle, end)));
    // A drain outputs everything: the order is that of two streams.
    auto md5s = client.frame_md5s();
    auto sorted = expected;
    std::ranges::sort(md5s);
    std::ranges::sort(sorted);
    EXPECT_EQ(md5s, sorted);
  }
}

TEST(ReorderingTest, GoesOnBehindDrains) {
  H264Writer writer(sps_of_depth(4));
  writer.add_reordered(4, 4);
  const Parts parts(writer.clip);
  expect_to_go_on(parts, 0, writer.clip.units.size());
}

TEST(ReorderingTest, GoesOnBehindDrainsFromARecoveryPoint) {
  const Clip clip = open_gop_clip();
  VUMEDIA_SKIP_WITHOUT(clip);
  const Parts parts(without_vui(clip));
  std::size_t key = 1;
  while (!clip.units[key].key) ++key;
  expect_to_go_on(parts, key, std::min(key + 34, clip.units.size()));
}

TEST(ReorderingTest, GoesOnBehindDrainsWithoutKeyPictures) {
  const Clip clip = make_clip(
      moving_picture(176, 144, 40) +
          " -c:v libx264 -bf 2 -g 10 -x264-params intra-refresh=1:b-adapt=0:threads=1:log-level=none",
      "refresh.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  expect_to_go_on(Parts(without_vui(clip)), 0, clip.units.size());
}

// A seek while the frames of one sequence come out and the packet that begins the next one waits for them.
TEST(ReorderingTest, SeeksBetweenSequences) {
  SpsRecipe deeper = sps_of_depth(4);
  deeper.level = 11;
  H264Writer writer(sps_of_depth(4));
  writer.add_reordered(2, 1);  // too few for any to come out by itself
  const std::size_t first = writer.clip.units.size();
  writer.set(deeper);
  writer.add_reordered(9, 1);
  for (const bool back : {false, true}) {
    for (const bool restart_capture : {false, true}) {
      SCOPED_TRACE(testing::Message() << back << restart_capture);
      EngineClient client(ClientOptions{});
      client.follow_changes = false;
      ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
      ASSERT_TRUE(client.send(writer.clip.units[0].bytes, 1000));
      while (!client.announced) ASSERT_TRUE(client.wait());
      // The client gives no buffers yet.
      const EngineClient::InForce set_up(client.announced->picture, V4L2_PIX_FMT_YUV420);
      client.engine->start_capture({V4L2_PIX_FMT_YUV420, set_up.layout, client.announced->serial});
      for (std::size_t i = 1; i <= first; ++i) ASSERT_TRUE(client.send(writer.clip.units[i].bytes, 1000));
      while (client.coded_in_flight > 1) ASSERT_TRUE(client.wait());
      client.engine->stop_output();
      client.coded_in_flight = 0;
      if (restart_capture) client.engine->stop_capture();
      client.start_capture();
      ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
      Clip rest = writer.clip;
      auto expected = writer.expected;
      if (!back) {
        rest.units.erase(rest.units.begin(), rest.units.begin() + static_cast<std::ptrdiff_t>(first));
        expected.erase(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(first));
      }
      ASSERT_TRUE(client.play(rest));
      EXPECT_EQ(client.frame_md5s(), expected);
    }
  }
}

// The encoder's own depths, with its limit on them and without.
TEST(ReorderingTest, ShowsAllOfEachPyramid) {
  for (unsigned b_pictures = 0; b_pictures <= 16; b_pictures += sanitized ? 5 : 1) {
    for (const char* const pyramid : {"none", "strict", "normal"}) {
      if (b_pictures < 2 && std::string_view(pyramid) != "none") continue;
      const Clip clip = make_clip(
          moving_picture(176, 144, 50) + " -c:v libx264 -preset veryfast -bf " + std::to_string(b_pictures) +
              " -g 40 -x264-params b-adapt=0:b-pyramid=" + pyramid + ":threads=1:log-level=none",
          "pyramid.264");
      VUMEDIA_SKIP_WITHOUT(clip);
      const auto expected = decode_plainly(clip, nullptr, Chroma::as_coded, 15);
      ASSERT_EQ(expected.size(), 50u);
      EXPECT_EQ(count_shown_pictures(clip), 50u);
      for (const bool restricted : {true, false}) {
        SCOPED_TRACE(testing::Message() << b_pictures << " " << pyramid << " " << restricted);
        const Clip other = restricted ? clip : without_vui(clip);
        const unsigned threads = b_pictures % 3 == 0 ? 3 : 1;
        EXPECT_EQ(decode(other, with_threads(threads)), expected);
      }
    }
  }
}

TEST(ReorderingTest, ShowsAllOfPairsOfFields) {
  const Clip clip = make_clip(fields_picture("tff",
                                             "-c:v libx264 -bf 4 -x264-params "
                                             "b-adapt=0:b-pyramid=normal:threads=1:log-level=none"),
                              "fields_pyramid.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip, nullptr, Chroma::as_coded, 15);
  ASSERT_EQ(expected.size(), 8u);
  EXPECT_EQ(count_shown_pictures(clip), 8u);
  EXPECT_EQ(decode(without_vui(clip)), expected);
  // In packets of their own.
  const SpsRecipe sps{.width = 11, .height = 9, .frames_only = false};  // 2 frames by level 1
  using Structure = PictureRecipe::Structure;
  for (const unsigned threads : {1u, 3u}) {
    H264Writer writer(sps);
    writer.add({.idr = true, .shade = 10, .structure = Structure::top});
    writer.add({.frame_num = 0, .order = 1, .shade = 110, .structure = Structure::bottom});
    writer.expect(10, 110);
    std::uint8_t shade = 20;
    for (unsigned i = 0; i < 5; ++i) {
      // The frame that is shown third comes first.
      for (const unsigned place : {2u, 1u, 0u}) {
        const unsigned order = 2 + 6 * i + 2 * place;
        const auto top = static_cast<std::uint8_t>(shade + place);
        const auto bottom = static_cast<std::uint8_t>(top + 100);
        const unsigned frame_num = 1 + 2 * i + (2 - place);
        const bool reference = place != 0;
        writer.add({.frame_num = frame_num,
                    .order = order,
                    .reference = reference,
                    .shade = top,
                    .structure = Structure::top});
        writer.add({.frame_num = frame_num,
                    .order = order + 1,
                    .reference = reference,
                    .shade = bottom,
                    .structure = Structure::bottom});
      }
      for (unsigned place = 0; place < 3; ++place)
        writer.expect(static_cast<std::uint8_t>(shade + place),
                      static_cast<std::uint8_t>(shade + place + 100));
      shade = static_cast<std::uint8_t>(shade + 3);
    }
    EXPECT_EQ(count_shown_pictures(writer.clip), writer.expected.size());
    EXPECT_EQ(decode(writer.clip, with_threads(threads)), writer.expected);
  }
}

// Operation 5 makes a picture the first of an order of its own. So does an IDR picture, even one that
// requests that held-back pictures be dropped, which a decoder need not do.
TEST(ReorderingTest, ShowsAllAcrossBreaksInTheOrder) {
  for (const bool idr : {true, false}) {
    for (const unsigned threads : {1u, 3u}) {
      SCOPED_TRACE(testing::Message() << idr << threads);
      H264Writer writer(sps_of_depth(4));
      std::uint8_t shade = 10;
      for (int part = 0; part < 3; ++part) {
        const bool whole = idr || part == 0;
        writer.add({.idr = whole,
                    .frame_num = whole ? 0u : 1u,
                    .order = whole ? 0u : 40u,
                    .shade = shade,
                    .no_output_of_prior = true,
                    .resets = !whole});
        const std::array<unsigned, 6> orders{3, 2, 1, 6, 5, 4};
        for (unsigned i = 0; i < orders.size(); ++i) {
          writer.add({.frame_num = 1,
                      .order = 2 * orders[i],
                      .reference = false,
                      .shade = static_cast<std::uint8_t>(shade + orders[i])});
        }
        for (unsigned i = 0; i <= orders.size(); ++i) writer.expect(static_cast<std::uint8_t>(shade + i));
        shade = static_cast<std::uint8_t>(shade + 10);
      }
      EXPECT_EQ(decode(writer.clip, with_threads(threads)), writer.expected);
    }
  }
}

// Pictures that were never sent are not shown, and take no place away from those that were.
TEST(ReorderingTest, ShowsAllAroundGaps) {
  SpsRecipe sps = sps_of_depth(4);
  sps.gaps = true;
  H264Writer writer(sps);
  writer.add({.idr = true, .shade = 10});
  writer.expect(10);
  for (unsigned i = 0; i < 6; ++i) {
    // Every other frame_num is left out.
    const unsigned frame_num = 2 + 2 * i;
    const auto shade = static_cast<std::uint8_t>(20 + 2 * i);
    writer.add({.frame_num = frame_num, .order = 4 + 4 * i, .shade = static_cast<std::uint8_t>(shade + 1)});
    writer.add({.frame_num = frame_num + 1, .order = 2 + 4 * i, .reference = false, .shade = shade});
    writer.expect(shade);
    writer.expect(static_cast<std::uint8_t>(shade + 1));
  }
  EXPECT_EQ(decode(writer.clip), writer.expected);
}

// libavcodec respects what other codecs say about the order of pictures: all come out, even where one
// sequence follows another with a different size, depth or order.
TEST(ReorderingTest, ShowsAllSequencesOfOtherCodecs) {
  struct Row {
    const char* suffix;
    std::vector<const char*> encoders;
  };
  const Row rows[] = {
      {"m2v", {"-c:v mpeg2video -bf 2", "-c:v mpeg2video -bf 0 -flags low_delay", "-c:v mpeg2video -bf 1"}},
      {"265",
       {"-c:v libx265 -preset ultrafast -bf 8 -x265-params b-pyramid=1:b-adapt=0:ref=4:log-level=none",
        "-c:v libx265 -preset ultrafast -bf 0 -x265-params log-level=none",
        "-c:v libx265 -preset ultrafast -bf 3 -x265-params b-adapt=0:open-gop=1:keyint=8:log-level=none"}},
      {"ivf",
       {"-c:v libvpx -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 12",
        "-c:v libvpx -deadline realtime -cpu-used 8"}},
      {"ivf",
       {"-c:v libvpx-vp9 -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 12 -b:v 200k",
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"}},
      {"ivf",
       {"-c:v libaom-av1 -cpu-used 8 -lag-in-frames 12 -b:v 100k",
        "-c:v libaom-av1 -cpu-used 8 -usage realtime"}},
      {"264", {x264_quickly, "-c:v libx264 -preset veryfast -bf 0 -x264-params threads=1:log-level=none"}},
  };
  constexpr std::array<std::pair<unsigned, unsigned>, 4> sizes{
      {{176, 144}, {176, 144}, {320, 180}, {176, 144}}};
  for (const auto& row : rows) {
    Clip all;
    Md5s expected;
    std::size_t part = 0;
    for (const auto& [width, height] : sizes) {
      const std::string encoder = row.encoders[part++ % row.encoders.size()];
      const Clip clip =
          make_clip(moving_picture(width, height, 14) + " " + encoder, "part." + std::string(row.suffix));
      if (clip.units.empty()) break;
      all.codec = clip.codec;
      all.units.insert(all.units.end(), clip.units.begin(), clip.units.end());
      const auto frames = decode_plainly(clip);
      EXPECT_EQ(frames.size(), 14u) << encoder;
      expected.insert(expected.end(), frames.begin(), frames.end());
    }
    if (expected.size() != 14 * sizes.size()) continue;
    for (const unsigned threads : {1u, 3u}) {
      SCOPED_TRACE(testing::Message() << row.encoders[0] << threads);
      EXPECT_EQ(decode(all, with_threads(threads)), expected);
    }
  }
}

TEST(ReorderingTest, ShowsEveryPictureOfTheVectors) {
  const auto vectors = vectors_of_turn(0);
  if (vectors.empty()) GTEST_SKIP() << "no test vectors";
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.file);
    const Clip clip = read_clip(vectors_folder() / vector.file);
    // As many come out, by VectorsTest.
    EXPECT_EQ(count_shown_pictures(clip), vector.frames);
    if (clip.codec != AV_CODEC_ID_H264) continue;
    const Clip other = without_vui(clip);
    if (other.units.front().bytes.size() == clip.units.front().bytes.size()) continue;
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(other.codec));
    ASSERT_TRUE(client.play(other));
    EXPECT_EQ(client.frames.size(), vector.frames);
    EXPECT_EQ(client.total_md5(), vector.md5);
  }
}

}  // namespace
}  // namespace vumedia::test
