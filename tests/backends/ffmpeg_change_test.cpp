// "Dynamic Resolution Change" of the stateful decoder interface.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"
#include "support/vp9_resized.hpp"

namespace vumedia::test {
namespace {

class DecoderChangeTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderChangeTest);

// Sends units of `clip` from `next` on until the LAST of a change comes, without answering it. Returns the
// first unit that was not sent.
std::size_t send_until_last(DecoderGuest& guest, const Clip& clip, std::size_t next) {
  const auto free = [](const auto& buffer) { return !buffer.queued; };
  while (next < clip.units.size()) {
    if (!guest.run_until([&] { return guest.last_seen || std::ranges::any_of(guest.coded, free); })) break;
    if (guest.last_seen || !guest.send(clip.units[next].bytes, 1000)) break;
    ++next;
  }
  EXPECT_TRUE(guest.run_until([&] { return guest.last_seen; }));
  return next;
}

TEST_P(DecoderChangeTest, GoesOnInBuffersThatAreLargeEnough) {
  const Clip clip = make_changing_clip({{640, 360}, {320, 180}, {640, 360}});
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
    DecoderGuest guest(options(), fourcc);
    guest.start(clip);
    // START in place of new buffers, while those of the old size stay queued; to a smaller size and back.
    const auto resume = [&] {
      if (!guest.last_seen || !guest.change_pending) return;
      guest.change_pending = guest.last_seen = false;
      guest.in_force = guest.get_raw_format();
      guest.visible = guest.get_visible();
      EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
      guest.queue_all();
    };
    ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
    ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
    guest.follow_changes = false;
    for (std::size_t i = 1; i < clip.units.size(); ++i) {
      ASSERT_TRUE(guest.run_until([&] {
        resume();
        return std::ranges::any_of(guest.coded, [](const auto& buffer) { return !buffer.queued; });
      }));
      ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
    }
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
    ASSERT_TRUE(guest.run_until([&] {
      resume();
      return guest.ended && guest.last_seen;
    }));
    EXPECT_EQ(guest.changes, 3u);
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
  }
}

TEST_P(DecoderChangeTest, WantsLargerBuffersBeforeItGoesOn) {
  const Clip clip = make_changing_clip({{160, 96}, {640, 360}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  const std::size_t next = send_until_last(guest, clip, 1);
  ASSERT_TRUE(guest.last_seen);
  // The queries describe the new picture, the buffers are unchanged.
  EXPECT_EQ(guest.get_visible().width, 640u);
  const auto now = guest.get_raw_format();
  for (const auto& buffer : guest.raw) EXPECT_LT(buffer.length, now.size_image);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), EBUSY) << "the buffers are too small";
  EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
  for (auto& buffer : guest.raw) buffer.queued = false;
  EXPECT_EQ(guest.queue(guest.capture_type, 0), EINVAL);
  EXPECT_EQ(guest.stream(guest.capture_type, true), EINVAL);
  guest.change_pending = false;
  guest.follow_changes = true;
  EXPECT_EQ(guest.request(guest.capture_type, 0), 0);
  guest.start_capture();
  ASSERT_TRUE(guest.play(slice(clip, next, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// A change after a single frame of the previous one, and one that comes while the drain is waited for.
TEST_P(DecoderChangeTest, FollowsOneUponAnother) {
  const Clip clip = make_clip_of_parts(
      {moving_picture(320, 180, 6) + " " + x264_quickly, moving_picture(640, 360, 1) + " " + x264_quickly,
       moving_picture(160, 96, 1) + " " + x264_quickly,
       moving_picture(320, 180, 1, "yuv420p10le") + " " + x264_quickly,
       moving_picture(320, 180, 1) + " " + x264_quickly},
      "264");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const std::uint32_t coded : {1u, 4u, 32u}) {
    DecoderGuest guest(options(), V4L2_PIX_FMT_NV12);
    guest.start(clip, coded);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.changes, 5u);
  }
}

TEST_P(DecoderChangeTest, IsAbortedByASeek) {
  const Clip clip = make_changing_clip({{320, 180}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  (void)send_until_last(guest, clip, 1);
  ASSERT_TRUE(guest.last_seen);
  // Back to the beginning, with the old size, without looking at the new one.
  EXPECT_EQ(guest.stream(guest.output_type, false), 0);
  guest.take_events();
  for (auto& buffer : guest.coded) buffer.queued = false;
  EXPECT_EQ(guest.stream(guest.output_type, true), 0);
  guest.change_pending = false;
  guest.follow_changes = true;
  guest.restart_capture();
  guest.frames.clear();
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

TEST_P(DecoderChangeTest, TakesAnotherCodecBehindIt) {
  const Clip first = make_changing_clip({{320, 180}, {160, 96}});
  const Clip& second = clip_of("vp9_10bit.ivf");
  const Clip& third = clip_of("mpeg2.m2v");
  VUMEDIA_SKIP_WITHOUT(first);
  VUMEDIA_SKIP_WITHOUT(second);
  DecoderGuest guest(options(), V4L2_PIX_FMT_NV12);
  for (const Clip* const clip : {&first, &second, &third}) {
    guest.capture_on = guest.last_seen = guest.change_pending = false;
    guest.frames.clear();
    guest.start(*clip);
    ASSERT_TRUE(guest.play(*clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(*clip));
    EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), EBUSY) << "there are buffers";
    for (const std::uint32_t type : {guest.output_type, guest.capture_type}) {
      EXPECT_EQ(guest.stream(type, false), 0);
      guest.take_events();
      for (auto& buffer : guest.buffers(type)) buffer.queued = false;
      EXPECT_EQ(guest.request(type, 0), 0);
    }
  }
}

// Buffers for the new size, made in addition to the queued ones, which are too small for it.
TEST_P(DecoderChangeTest, GoesOnInLargerBuffersBesideTheOldOnes) {
  const Clip clip = make_changing_clip({{160, 96}, {640, 360}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  const std::size_t old = guest.raw.size();
  const std::size_t next = send_until_last(guest, clip, 1);
  ASSERT_TRUE(guest.last_seen);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), EBUSY) << "no buffer is large enough";
  guest.in_force = guest.get_raw_format();
  guest.visible = guest.get_visible();
  EXPECT_EQ(guest.create(guest.capture_type, 6, guest.in_force.size_image), 0);
  ASSERT_EQ(guest.raw.size(), old + 6);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  guest.last_seen = guest.change_pending = false;
  for (std::size_t i = old; i < guest.raw.size(); ++i)
    EXPECT_EQ(guest.queue(guest.capture_type, static_cast<std::uint32_t>(i)), 0);
  // The buffer that LAST came in has no room for a current frame.
  const auto spare = std::ranges::find_if(guest.raw, DecoderGuest::is_free);
  ASSERT_LT(spare - guest.raw.begin(), static_cast<std::ptrdiff_t>(old));
  EXPECT_EQ(guest.queue(guest.capture_type, static_cast<std::uint32_t>(spare - guest.raw.begin())), EINVAL);
  const std::size_t last = send_until_last(guest, clip, next);
  ASSERT_TRUE(guest.last_seen);
  // Smaller again: all are large enough, and the client still uses START.
  EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
  for (auto& buffer : guest.raw) buffer.queued = false;
  guest.last_seen = guest.change_pending = false;
  guest.in_force = guest.get_raw_format();
  guest.visible = guest.get_visible();
  guest.queue_all();
  EXPECT_EQ(guest.stream(guest.capture_type, true), 0);
  ASSERT_TRUE(guest.play(slice(clip, last, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
  EXPECT_EQ(guest.changes, 3u);
}

// Buffers for the largest picture from the beginning, which the size on OUTPUT makes possible.
TEST_P(DecoderChangeTest, NeedsNoNewBuffersIfTheyWereLargeFromTheStart) {
  const Clip clip = make_changing_clip({{320, 180}, {640, 360}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.follow_changes = false;
  const auto size = static_cast<std::uint32_t>(
      ffmpeg::Layout::of({640, 384}, *ffmpeg::raw_formats.front().pixels).size_image());
  guest.start(clip);
  const auto resume = [&](bool streams) {
    guest.change_pending = guest.last_seen = false;
    guest.in_force = guest.get_raw_format();
    guest.visible = guest.get_visible();
    if (streams) {
      EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
    }
    guest.queue_all();
  };
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
  EXPECT_EQ(guest.create(guest.capture_type, 8, size), 0);
  resume(false);
  EXPECT_EQ(guest.stream(guest.capture_type, true), 0);
  guest.capture_on = true;
  std::size_t next = send_until_last(guest, clip, 1);
  resume(true);
  next = send_until_last(guest, clip, next);
  resume(true);
  ASSERT_TRUE(guest.play(slice(clip, next, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
  EXPECT_EQ(guest.raw.size(), 8u);
}

// Only the visible part changes: buffers stay as they are, but the client is still told.
TEST_P(DecoderChangeTest, TellsOfAnotherVisiblePart) {
  const Clip clip = make_changing_clip({{320, 180}, {318, 178}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  const std::size_t next = send_until_last(guest, clip, 1);
  ASSERT_TRUE(guest.last_seen);
  EXPECT_EQ(guest.get_raw_format().layout, guest.in_force.layout);
  guest.visible = guest.get_visible();
  EXPECT_EQ(guest.visible.width, 318u);
  guest.last_seen = guest.change_pending = false;
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  guest.queue_all();
  ASSERT_TRUE(guest.play(slice(clip, next, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// The commands while the LAST of a change has not come yet, because there is no buffer to carry it.
TEST_P(DecoderChangeTest, TakesNoStartBeforeLastAndAStopBehindIt) {
  const Clip clip = make_changing_clip({{320, 180}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options(), V4L2_PIX_FMT_NV12);
  guest.queues_again = false;
  guest.capture_count = 12;
  guest.start(clip, 32);
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 2; }));
  EXPECT_FALSE(guest.last_seen);
  EXPECT_EQ(guest.frames.size(), 12u);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), EBUSY);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "a drain after the change";
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), EBUSY);
  guest.queues_again = true;
  guest.queue_all();
  ASSERT_TRUE(guest.run_until([&] { return guest.ended && guest.last_seen; }));
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
  EXPECT_EQ(std::ranges::count(guest.log, "last"), 2);
  EXPECT_EQ(std::ranges::count(guest.log, "end"), 1);
}

// CAPTURE stopped as the event comes, with LAST neither sent nor waited for; then both queues.
TEST_P(DecoderChangeTest, IsAnsweredBeforeLast) {
  const Clip clip = make_changing_clip({{160, 96}, {640, 360}});
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const bool both : {false, true}) {
    DecoderGuest guest(options(), V4L2_PIX_FMT_NV12);
    guest.queues_again = false;
    guest.capture_count = 12;
    guest.start(clip, 32);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.run_until([&] { return guest.changes == 2; }));
    EXPECT_FALSE(guest.last_seen);
    guest.change_pending = false;
    guest.queues_again = true;
    if (both) {
      guest.stop_output();
      guest.frames.clear();
    }
    guest.restart_capture();
    if (both) {
      EXPECT_EQ(guest.stream(guest.output_type, true), 0);
      ASSERT_TRUE(guest.play(clip));
    }
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
  }
}

// VP9 pictures of another size that refer to scaled earlier ones, whose buffers are gone by then.
TEST_P(DecoderChangeTest, KeepsReferencesOfOtherSizes) {
  const Clip clip = vp9_resized_clip();
  const auto expected = decode_plainly(clip);
  ASSERT_EQ(expected.size(), clip.units.size());
  for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
    for (const std::uint32_t memory : {V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR}) {
      DecoderGuest guest(options(), fourcc);
      guest.memory_kind = memory;
      guest.pages = DecoderGuest::Pages::scattered;
      guest.start(clip);
      ASSERT_TRUE(guest.play(clip));
      ASSERT_TRUE(guest.finish());
      EXPECT_EQ(md5s(guest), expected);
      EXPECT_EQ(guest.changes, 4u);
      EXPECT_EQ(guest.damaged + guest.bad_frames, 0u);
    }
  }
}

}  // namespace
}  // namespace vumedia::test
