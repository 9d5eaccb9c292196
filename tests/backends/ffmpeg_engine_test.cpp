// The engine with every codec: changes of size, drains, seeks, damaged and hostile streams.
#include <algorithm>
#include <future>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/engine_client.hpp"

namespace vumedia::test {
namespace {

std::vector<std::string> tail(const std::vector<std::string>& all, std::size_t count) {
  return {all.end() - static_cast<std::ptrdiff_t>(std::min(count, all.size())), all.end()};
}

class CodecTest : public testing::TestWithParam<ClipRecipe> {};

TEST_P(CodecTest, DecodesLikeLibavcodecAlone) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  ASSERT_EQ(expected.size(), GetParam().frames);
  struct Way {
    std::uint32_t fourcc;
    bool direct;
    unsigned threads;
    bool frame_threads;
    std::uint32_t buffers;
  };
  for (const Way way :
       {Way{V4L2_PIX_FMT_YUV420, true, 1, false, 0}, Way{V4L2_PIX_FMT_YUV420, true, 1, false, 2},
        Way{V4L2_PIX_FMT_YUV420, false, 1, false, 3}, Way{V4L2_PIX_FMT_YUV420, true, 3, true, 0},
        Way{V4L2_PIX_FMT_NV12, true, 1, false, 0}, Way{V4L2_PIX_FMT_NV12, true, 2, true, 3}}) {
    SCOPED_TRACE(std::to_string(way.fourcc) + " direct " + std::to_string(way.direct) + " threads " +
                 std::to_string(way.threads) + " buffers " + std::to_string(way.buffers));
    ClientOptions options;
    options.fourcc = way.fourcc;
    options.capture_buffers = way.buffers;
    options.engine.direct = way.direct;
    options.engine.codec.threads = way.threads;
    options.engine.codec.frame_threads = way.frame_threads;
    EngineClient client(options);
    ASSERT_TRUE(client.start(clip.codec));
    ASSERT_TRUE(client.play(clip));
    EXPECT_EQ(client.frame_md5s(), expected);
    EXPECT_EQ(client.damaged_buffers, 0u);
    for (const auto& frame : client.frames) EXPECT_EQ(frame.flags & V4L2_BUF_FLAG_ERROR, 0u);
    EXPECT_EQ(client.changes, 1u);
    ASSERT_FALSE(client.frames.empty());
    EXPECT_EQ(client.frames.front().visible.width, GetParam().width);
    EXPECT_EQ(client.frames.front().visible.height, GetParam().height);
    EXPECT_TRUE(client.frames.front().flags & V4L2_BUF_FLAG_KEYFRAME);
  }
}

TEST_P(CodecTest, SurvivesDamage) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  std::mt19937 random(20);
  for (const unsigned one_in : {2000u, 200u, 20u}) {
    if (sanitized && one_in == 2000) continue;
    for (const bool frame_threads : {false, true}) {
      SCOPED_TRACE(std::to_string(one_in) + (frame_threads ? " threads" : ""));
      ClientOptions options;
      options.engine.codec.threads = frame_threads ? 2 : 1;
      options.engine.codec.frame_threads = frame_threads;
      options.engine.codec.max_pixels = 1024 * 1024;
      EngineClient client(options);
      ASSERT_TRUE(client.start(clip.codec));
      Clip damaged = clip;
      for (auto& unit : damaged.units) {
        for (auto& byte : unit.bytes) {
          if (random() % one_in == 0) byte = static_cast<std::uint8_t>(random());
        }
        if (random() % 16 == 0) unit.bytes.resize(unit.bytes.size() / 2 + 1);
      }
      // All buffers come back and the drain ends, whatever is decoded.
      ASSERT_TRUE(client.play(damaged));
      EXPECT_EQ(client.coded_in_flight, 0u);
      // And the next stream is not affected.
      client.engine->stop_output();
      client.engine->reset_stream();
      client.stop_capture();
      client.announced.reset();
      client.frames.clear();
      ASSERT_TRUE(client.start(clip.codec));
      ASSERT_TRUE(client.play(clip));
      EXPECT_EQ(client.frames.size(), GetParam().frames);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CodecTest, testing::ValuesIn(clip_recipes), [](const auto& parameter) {
  std::string name = parameter.param.name;
  return name.substr(0, name.find('.'));
});

TEST(EngineTest, FollowsChangesOfSize) {
  const Clip clip = make_changing_clip({{320, 180}, {160, 96}, {640, 360}, {320, 180}});
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  ASSERT_EQ(expected.size(), 48u);
  for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
    for (const unsigned threads : {1u, 3u}) {
      ClientOptions options;
      options.fourcc = fourcc;
      options.engine.codec.threads = threads;
      options.engine.codec.frame_threads = threads > 1;
      EngineClient client(options);
      ASSERT_TRUE(client.start(clip.codec));
      ASSERT_TRUE(client.play(clip));
      EXPECT_EQ(client.changes, 4u);
      EXPECT_EQ(client.frame_md5s(), expected);
      ASSERT_EQ(client.frames.size(), 48u);
      EXPECT_EQ(client.frames[12].visible.width, 160u);
      EXPECT_EQ(client.frames[24].visible.width, 640u);
    }
  }
}

TEST(EngineTest, FollowsChangesOfDepth) {
  const std::pair<const char*, const char*> encoders[] = {{x264_quickly, "264"}, {x265_quickly, "265"}};
  for (const auto& [encoder, suffix] : encoders) {
    SCOPED_TRACE(encoder);
    const Clip clip = make_clip_of_depths(encoder, suffix);
    if (clip.units.empty()) continue;
    const auto expected = decode_plainly(clip);
    ASSERT_EQ(expected.size(), 40u);
    for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
      for (const unsigned threads : {1u, 3u}) {
        ClientOptions options;
        options.fourcc = fourcc;
        options.engine.codec.threads = threads;
        options.engine.codec.frame_threads = threads > 1;
        EngineClient client(options);
        ASSERT_TRUE(client.start(clip.codec));
        ASSERT_TRUE(client.play(clip));
        EXPECT_EQ(client.changes, 4u);
        EXPECT_EQ(client.frame_md5s(), expected);
      }
    }
  }
}

TEST(EngineTest, SaysWhichFieldComesFirst) {
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
  for (const auto& row : rows) {
    SCOPED_TRACE(row.options);
    const Clip clip = make_clip(row.options, row.name);
    if (clip.units.empty()) continue;
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(clip.codec));
    ASSERT_TRUE(client.play(clip));
    ASSERT_EQ(client.frames.size(), 8u);
    for (const auto& frame : client.frames) EXPECT_EQ(frame.field, row.field);
  }
}

TEST(EngineTest, GoesOnInTheSameBuffersIfTheyFit) {
  const Clip clip = make_changing_clip({{320, 180}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  ClientOptions options;
  options.capture_buffers = 6;
  EngineClient client(options);
  client.follow_changes = false;
  ASSERT_TRUE(client.start(clip.codec));
  std::size_t next = 0;
  while (!client.announced) {
    ASSERT_TRUE(client.send(clip.units[next++].bytes, 1000));
    ASSERT_TRUE(client.wait());
  }
  client.start_capture();
  for (; next < clip.units.size(); ++next) {
    // OUTPUT fills up once the change is reached: feed it no further than that.
    if (client.last_seen) break;
    while (client.coded_in_flight == 4 && !client.last_seen) ASSERT_TRUE(client.wait());
    if (client.last_seen) break;
    ASSERT_TRUE(client.send(clip.units[next].bytes, 1000));
  }
  while (!client.last_seen) ASSERT_TRUE(client.wait());
  EXPECT_TRUE(client.engine->stopped());
  EXPECT_EQ(client.frames.size(), 12u);
  EXPECT_EQ(client.announced->picture.visible.width, 160u);
  client.last_seen = false;
  client.in_force = client.announced->picture;
  ASSERT_TRUE(client.engine->resume({V4L2_PIX_FMT_YUV420, client.in_force.layout, client.announced->serial}));
  client.queue_capture(client.last_index);
  for (; next < clip.units.size(); ++next) ASSERT_TRUE(client.send(clip.units[next].bytes, 1000));
  ASSERT_TRUE(client.finish());
  EXPECT_EQ(client.frame_md5s(), decode_plainly(clip));
}

TEST(EngineTest, SeeksToAKeyFrame) {
  for (const char* const name : {"h264.264", "hevc.265", "vp9.ivf", "vp8.ivf", "mpeg2.m2v", "av1.ivf"}) {
    SCOPED_TRACE(name);
    const Clip& clip = clip_of(name);
    if (clip.units.empty()) continue;
    // The last key frame; before it there is something else.
    std::size_t key = clip.units.size() - 1;
    while (key > 0 && !clip.units[key].key) --key;
    if (key == 0) continue;
    Clip rest = clip;
    rest.units.erase(rest.units.begin(), rest.units.begin() + static_cast<std::ptrdiff_t>(key));
    const auto expected = decode_plainly(rest);
    for (const bool restart_capture : {false, true}) {
      EngineClient client(ClientOptions{});
      ASSERT_TRUE(client.start(clip.codec));
      for (std::size_t i = 0; i < 10; ++i) ASSERT_TRUE(client.send(clip.units[i].bytes, 1000));
      client.engine->stop_output();
      client.coded_in_flight = 0;
      if (restart_capture && client.capture_on) {
        client.stop_capture();
        client.start_capture();
      }
      ASSERT_TRUE(client.start(clip.codec));
      ASSERT_TRUE(client.play(rest, 5'000'000));
      // The client has to drop what was delivered before the seek.
      std::erase_if(client.frames, [](const Delivered& frame) { return frame.timestamp_ns < 5'000'000'000; });
      EXPECT_EQ(client.frame_md5s(), expected);
    }
  }
}

TEST(EngineTest, DrainsAgainAndAgain) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(clip.codec));
  for (int round = 0; round < 3; ++round) {
    client.frames.clear();
    ASSERT_TRUE(client.play(clip));
    EXPECT_EQ(client.frame_md5s(), expected);
    ASSERT_FALSE(client.frames.empty());
    for (const auto& frame : client.frames)
      EXPECT_FALSE(frame.flags & V4L2_BUF_FLAG_LAST) << "LAST comes in a buffer of its own";
    EXPECT_TRUE(client.last_seen);
    EXPECT_TRUE(client.engine->stopped());
    client.last_seen = false;
    if (round == 1) {
      client.stop_capture();
      client.start_capture();
    } else {
      const ffmpeg::CaptureSetup setup{V4L2_PIX_FMT_YUV420, client.in_force.layout, client.announced->serial};
      ASSERT_TRUE(client.engine->resume(setup));
      client.queue_capture(client.last_index);
    }
  }
}

TEST(EngineTest, DrainsWithNothingToDrain) {
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(AV_CODEC_ID_H264));
  // No CAPTURE yet: the end comes alone.
  ASSERT_TRUE(client.engine->drain());
  EXPECT_EQ(client.engine->drain().error().value, EBUSY);
  while (!client.ended) ASSERT_TRUE(client.wait());
  // LAST is pending, and comes when there is a buffer.
  client.announced = ffmpeg::PictureChanged{{*ffmpeg::CodedSize::of(64, 64), {}, {0, 0, 64, 64}, {}}, 0, 2};
  client.start_capture();
  while (!client.last_seen) ASSERT_TRUE(client.wait());
  EXPECT_TRUE(client.frames.empty());
}

TEST(EngineTest, TakesHeadersAlone) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  // Everything up to the first slice.
  const auto& first = clip.units.front().bytes;
  std::size_t slice = 0;
  for (std::size_t i = 0; i + 3 < first.size(); ++i) {
    if (first[i] == 0 && first[i + 1] == 0 && first[i + 2] == 1 && (first[i + 3] & 31) == 5) {
      slice = i;
      break;
    }
  }
  ASSERT_GT(slice, 0u);
  Clip split = clip;
  split.units.insert(split.units.begin(),
                     Clip::Unit{{first.begin(), first.begin() + static_cast<std::ptrdiff_t>(slice)}, false});
  split.units[1].bytes.erase(split.units[1].bytes.begin(),
                             split.units[1].bytes.begin() + static_cast<std::ptrdiff_t>(slice));
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(clip.codec));
  ASSERT_TRUE(client.play(split));
  EXPECT_EQ(client.damaged_buffers, 0u);
  EXPECT_EQ(client.frame_md5s(), decode_plainly(clip));
}

TEST(EngineTest, AnnouncesThePictureWithTheFirstUnit) {
  for (const auto& recipe : clip_recipes) {
    SCOPED_TRACE(recipe.name);
    const Clip& clip = clip_of(recipe);
    if (clip.units.empty()) continue;
    EngineClient client(ClientOptions{});
    client.follow_changes = false;
    ASSERT_TRUE(client.start(clip.codec));
    ASSERT_TRUE(client.send(clip.units.front().bytes, 1000));
    while (!client.announced) ASSERT_TRUE(client.wait());
    EXPECT_EQ(client.announced->picture.visible.width, recipe.width);
    EXPECT_EQ(client.announced->picture.visible.height, recipe.height);
    EXPECT_GE(client.announced->min_buffers, 1u);
  }
}

TEST(EngineTest, RefusesLargerPicturesThanAllowed) {
  for (const auto& recipe : clip_recipes) {
    SCOPED_TRACE(recipe.name);
    const Clip& clip = clip_of(recipe);
    if (clip.units.empty()) continue;
    ClientOptions options;
    options.engine.codec.max_pixels = 64 * 64;
    EngineClient client(options);
    ASSERT_TRUE(client.start(clip.codec));
    ASSERT_TRUE(client.play(clip));
    EXPECT_EQ(client.changes, 0u);
    EXPECT_EQ(client.damaged_buffers, clip.units.size());
  }
}

TEST(EngineTest, KeepsFramesThatTheClientHoldsWhole) {
  const Clip& clip = clip_of("vp9.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  ClientOptions options;
  options.hold = 8;
  options.capture_buffers = 16;
  EngineClient client(options);
  ASSERT_TRUE(client.start(clip.codec));
  ASSERT_TRUE(client.play(clip));
  EXPECT_EQ(client.frame_md5s(), decode_plainly(clip));
  EXPECT_GT(client.engine->counters().in_place, 0u);
}

TEST(EngineTest, RestartsCaptureAtAnyMoment) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(clip.codec));
    for (const auto& unit : clip.units) {
      ASSERT_TRUE(client.send(unit.bytes, 1000));
      if (client.capture_on && random() % 4 == 0) {
        client.stop_capture();
        client.start_capture();
      }
    }
    ASSERT_TRUE(client.finish());
    // Frames in transit are lost with the queue; the others are correct and in order.
    std::size_t at = 0;
    for (const auto& frame : client.frames) {
      while (at < expected.size() && expected[at] != frame.md5) ++at;
      ASSERT_LT(at, expected.size()) << "a frame that the stream does not have, or out of order";
      ++at;
    }
    EXPECT_EQ(tail(client.frame_md5s(), 1), tail(expected, 1));
  }
}

TEST(EngineTest, StopsAtAnyMoment) {
  const Clip& clip = clip_of("vp9.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  ffmpeg::Workers workers(64);
  for (int round = 0; round < 40; ++round) {
    ffmpeg::Engine engine({}, [] {});
    ASSERT_TRUE(engine.start_output(V4L2_PIX_FMT_VP9, workers));
    const auto count = static_cast<std::size_t>(round) % 8;
    std::vector<std::vector<std::uint8_t>> copies;
    for (std::size_t i = 0; i < count; ++i) {
      auto copy = std::make_shared<std::vector<std::uint8_t>>(clip.units[i].bytes);
      ffmpeg::CodedBuffer buffer;
      buffer.index = static_cast<std::uint32_t>(i);
      buffer.bytes = std::as_bytes(std::span(*copy));
      buffer.owner = copy;
      ASSERT_TRUE(engine.queue_output(std::move(buffer)));
    }
    if (round % 3 == 1) engine.stop_output();
    if (round % 5 == 1) {
      ASSERT_TRUE(engine.drain());
    }
    engine.close();
  }
}

TEST(WorkersTest, AreBounded) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  ffmpeg::Workers workers(2);
  ASSERT_TRUE(workers.run([released] { released.wait(); }));
  ASSERT_TRUE(workers.run([released] { released.wait(); }));
  EXPECT_EQ(workers.run([] {}).error().value, EBUSY);
  EXPECT_EQ(workers.running(), 2u);
  release.set_value();
  while (workers.running() != 0) std::this_thread::yield();
  EXPECT_TRUE(workers.run([] {}));
}

TEST(EngineTest, RefusesFormatsItDoesNotKnow) {
  ffmpeg::Workers workers(1);
  ffmpeg::Engine engine({}, [] {});
  EXPECT_EQ(engine.start_output(V4L2_PIX_FMT_H263, workers).error().value, EINVAL);
  EXPECT_EQ(engine.queue_capture(ffmpeg::CaptureSlots::max_slots, {}).error().value, ERANGE);
  engine.close();
}

}  // namespace
}  // namespace vumedia::test
