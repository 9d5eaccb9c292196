// Clients of a decoder: with all queue depths, several at once, and with damaged streams.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

class DecoderStampTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderStampTest);
class DecoderSessionsTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderSessionsTest);
class DecoderErrorTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderErrorTest);

// ---- Clients with all queue depths

// Buffers of OUTPUT and CAPTURE: one of each, many, and one against many.
TEST(DecoderDepthTest, OneBufferAtATimeAndMany) {
  std::size_t turn = 0;
  for (const auto& recipe : clip_recipes) {
    SCOPED_TRACE(recipe.name);
    const Clip& clip = clip_of(recipe);
    if (clip.units.empty()) continue;
    const auto expected = decode_plainly(clip);
    for (const auto& [coded, raw] :
         {std::pair(1u, 1u), std::pair(32u, 32u), std::pair(1u, 64u), std::pair(64u, 1u)}) {
      SCOPED_TRACE(std::to_string(coded) + " and " + std::to_string(raw));
      if (coded != raw && std::string(recipe.name) != "h264.264") continue;
      // The formats and APIs take turns.
      backends::FfmpegDecoderOptions options;
      options.session.multiplanar = turn % 4 < 2;
      DecoderGuest guest(options, turn++ % 2 == 0 ? V4L2_PIX_FMT_YUV420 : V4L2_PIX_FMT_NV12);
      guest.capture_count = raw;
      guest.start(clip, coded);
      ASSERT_EQ(guest.coded.size(), coded);
      ASSERT_TRUE(guest.play(clip));
      ASSERT_TRUE(guest.finish());
      EXPECT_EQ(guest.raw.size(), raw);
      EXPECT_EQ(md5s(guest), expected);
    }
  }
}

// ---- Errors

TEST_P(DecoderErrorTest, FlagsTheFrameAndGoesOn) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  Clip damaged = clip;
  // Replaces the second half of some pictures, but never of a key frame, with the first.
  for (const std::size_t at : {std::size_t{3}, std::size_t{7}, std::size_t{12}}) {
    auto& bytes = damaged.units[at].bytes;
    ASSERT_FALSE(damaged.units[at].key);
    for (std::size_t i = bytes.size() / 2; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::uint8_t>(i * 89 | 1);
  }
  DecoderGuest guest(options());
  guest.start(clip);
  ASSERT_TRUE(guest.play(damaged));
  ASSERT_TRUE(guest.finish());
  EXPECT_GE(guest.damaged + guest.bad_frames, 1u);
  EXPECT_GE(guest.bad_frames, 1u);
  // From the next key frame on everything is correct again.
  const auto expected = decode_plainly(clip);
  ASSERT_GE(guest.frames.size(), 10u);
  for (std::size_t i = 1; i <= 10; ++i) {
    EXPECT_EQ(guest.frames[guest.frames.size() - i].md5, expected[expected.size() - i]);
    EXPECT_FALSE(guest.frames[guest.frames.size() - i].flags & V4L2_BUF_FLAG_ERROR);
  }
}

// ---- Frames and their units

// Each frame has the time stamp of its own unit, in whatever order they are shown.
TEST_P(DecoderStampTest, IsThatOfTheUnit) {
  for (const auto& recipe : clip_recipes) {
    SCOPED_TRACE(recipe.name);
    const Clip& clip = clip_of(recipe);
    if (clip.units.empty()) continue;
    std::vector<std::size_t> units;
    const auto expected = decode_plainly(clip, &units);
    DecoderGuest guest(options());
    guest.start(clip, 3);
    ASSERT_TRUE(guest.play(clip));  // unit n at n + 1 milliseconds
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), expected);
    std::vector<std::int64_t> wanted;
    for (const std::size_t unit : units) wanted.push_back(1000 * (static_cast<std::int64_t>(unit) + 1));
    EXPECT_EQ(stamps(guest), wanted);
  }
}

// Headers in a buffer of their own: the picture's time stamp counts.
TEST_P(DecoderStampTest, IsThatOfThePictureNotOfItsHeaders) {
  const Clip& clip = clip_of("hevc.265");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto& bytes = clip.units.front().bytes;
  std::size_t picture = 0;
  for (std::size_t i = 0; i + 3 < bytes.size() && picture == 0; ++i) {
    if (bytes[i] == 0 && bytes[i + 1] == 0 && bytes[i + 2] == 1 && ((bytes[i + 3] >> 1) & 63) < 32)
      picture = i;
  }
  ASSERT_GT(picture, 0u);
  DecoderGuest guest(options());
  guest.start(clip);
  ASSERT_TRUE(guest.send(std::span(bytes).first(picture), 500));
  ASSERT_TRUE(guest.send(std::span(bytes).subspan(picture), 1000));
  ASSERT_TRUE(guest.play(slice(clip, 1, clip.units.size()), 2000));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
  EXPECT_EQ(stamps(guest).front(), 1000);
  EXPECT_EQ(guest.damaged, 0u);
}

// ---- Several programs

// One takes no frame, another one frame for each clip that the third decodes from beginning to end.
TEST_P(DecoderSessionsTest, DoNotWaitForOneAnother) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  DecoderGuest idle(options());
  DecoderGuest slow(DecoderGuest::Beside{idle});
  for (DecoderGuest* const one : {&idle, &slow}) {
    one->queues_again = false;
    one->capture_count = 2;
    one->start(clip, 32);
    ASSERT_TRUE(one->play(slice(clip, 0, 30)));
    ASSERT_TRUE(one->run_until([&] { return one->frames.size() == 2; }));
  }
  for (std::size_t round = 0; round < 4; ++round) {
    DecoderGuest quick(DecoderGuest::Beside{idle});
    quick.start(clip);
    ASSERT_TRUE(quick.play(clip));
    ASSERT_TRUE(quick.finish());
    EXPECT_EQ(md5s(quick), expected);
    quick.guest.close(quick.session);
    // All of that came while the others had not moved.
    EXPECT_EQ(idle.frames.size(), 2u);
    EXPECT_EQ(slow.frames.size(), 2 + round);
    EXPECT_EQ(slow.queue(slow.capture_type,
                         static_cast<std::uint32_t>(std::ranges::find_if(slow.raw, DecoderGuest::is_free) -
                                                    slow.raw.begin())),
              0);
    ASSERT_TRUE(slow.run_until([&] { return slow.frames.size() == 3 + round; }));
  }
  // And now their frames come.
  for (DecoderGuest* const one : {&slow, &idle}) {
    one->queues_again = true;
    one->queue_all();
    ASSERT_TRUE(one->play(slice(clip, 30, clip.units.size())));
    ASSERT_TRUE(one->finish());
    EXPECT_EQ(md5s(*one), expected);
  }
}

// With different codecs, alternating unit by unit, with a seek of one in the middle.
TEST_P(DecoderSessionsTest, HaveNothingInCommon) {
  const Clip& first = clip_of("vp8.ivf");
  const Clip& second = clip_of("hevc.265");
  const Clip& third = clip_of("mpeg2.m2v");
  VUMEDIA_SKIP_WITHOUT(first);
  VUMEDIA_SKIP_WITHOUT(second);
  DecoderGuest one(options());
  DecoderGuest two(DecoderGuest::Beside{one});
  DecoderGuest three(DecoderGuest::Beside{one});
  one.start(first);
  two.start(second);
  three.start(third);
  for (std::size_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(one.send(first.units[i].bytes, 1000));
    ASSERT_TRUE(two.send(second.units[i].bytes, 1000));
    ASSERT_TRUE(three.send(third.units[i].bytes, 1000));
    if (i == 20) {
      three.stop_output();
      EXPECT_EQ(three.stream(three.output_type, true), 0);
    }
  }
  ASSERT_TRUE(one.play(slice(first, 40, first.units.size())));
  ASSERT_TRUE(two.play(slice(second, 40, second.units.size())));
  for (DecoderGuest* const program : {&one, &two, &three}) ASSERT_TRUE(program->finish());
  EXPECT_EQ(md5s(one), decode_plainly(first));
  EXPECT_EQ(md5s(two), decode_plainly(second));
}

}  // namespace
}  // namespace vumedia::test
