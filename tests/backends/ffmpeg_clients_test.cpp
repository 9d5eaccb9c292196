// Clients of a decoder: of all depths, several at once, and those with damaged streams.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

namespace tag = v4l2::tag;

class DecoderDepthTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderDepthTest);
class DecoderErrorTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderErrorTest);

TEST_P(DecoderDepthTest, OneBufferAtATimeAndMany) {
  for (const char* const name : {"h264.264", "vp9.ivf", "hevc_10bit.265"}) {
    SCOPED_TRACE(name);
    const Clip& clip = clip_of(name);
    if (clip.units.empty()) continue;
    const auto expected = decode_plainly(clip);
    for (const auto& [coded, raw] : {std::pair(1u, 1u), std::pair(1u, 32u), std::pair(32u, 1u),
                                     std::pair(32u, 32u), std::pair(2u, 3u)}) {
      SCOPED_TRACE(std::to_string(coded) + " and " + std::to_string(raw));
      for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
        DecoderGuest guest(options(), fourcc);
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
}

TEST_P(DecoderErrorTest, FlagsTheFrameAndGoesOn) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  Clip damaged = clip;
  // The second half of some pictures behind the first, never of a key frame.
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
  // With the next key frame all is well again.
  const auto expected = decode_plainly(clip);
  ASSERT_GE(guest.frames.size(), 10u);
  for (std::size_t i = 1; i <= 10; ++i) {
    EXPECT_EQ(guest.frames[guest.frames.size() - i].md5, expected[expected.size() - i]);
    EXPECT_FALSE(guest.frames[guest.frames.size() - i].flags & V4L2_BUF_FLAG_ERROR);
  }
}

}  // namespace
}  // namespace vumedia::test
