// The stateful decoder interface of the kernel's documentation, step by step: what a client may do out of the
// ordinary, and in which order.
#include <algorithm>
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

// CAPTURE buffers that are the client's go to the device.
void queue_all(DecoderGuest& guest) {
  for (std::uint32_t i = 0; i < guest.raw.size(); ++i) {
    if (!guest.raw[i].queued) {
      EXPECT_EQ(guest.queue(guest.capture_type, i), 0);
    }
  }
}

Clip slice(const Clip& clip, std::size_t first, std::size_t end) {
  Clip part;
  part.codec = clip.codec;
  part.units.assign(clip.units.begin() + static_cast<std::ptrdiff_t>(first),
                    clip.units.begin() + static_cast<std::ptrdiff_t>(end));
  return part;
}

// ---- Drain

TEST(DecoderDrainTest, IsBetweenQueuesThatStream) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest;
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  guest.start(clip);
  // OUTPUT alone streams: the command has no effect, and does not stand in the way of the one that has.
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  ASSERT_TRUE(guest.play(clip));
  EXPECT_FALSE(guest.last_seen);
  EXPECT_FALSE(guest.ended);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0) << "running already";
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

TEST(DecoderDrainTest, TakesNoCommandUntilItIsComplete) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  // NV12: of YU12 buffers some would be lent to frames that are shown later.
  DecoderGuest guest(Options{}, V4L2_PIX_FMT_NV12);
  guest.queues_again = false;
  guest.capture_count = 6;
  guest.start(clip);
  for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  // No buffer is left for LAST as long as the client keeps those it has.
  for (std::size_t i = 4; i < 12; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.frames.size() == guest.raw.size(); }));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), EBUSY);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), EBUSY);
  // TRY says what there is, not when.
  v4l2_decoder_cmd command{};
  command.cmd = V4L2_DEC_CMD_START;
  EXPECT_EQ(guest.ioctl<tag::TRY_DECODER_CMD>(command), 0);
  guest.queues_again = true;
  queue_all(guest);
  ASSERT_TRUE(guest.run_until([&] { return guest.last_seen && guest.ended; }));
  EXPECT_EQ(guest.frames.size(), 12u);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "stopped already";
  // What is queued now waits for START.
  guest.last_seen = guest.ended = false;
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  queue_all(guest);
  ASSERT_TRUE(guest.play(slice(clip, 12, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  // The drain gives out frames that are shown behind some that came later.
  auto decoded = md5s(guest);
  auto expected = decode_plainly(clip);
  std::ranges::sort(decoded);
  std::ranges::sort(expected);
  EXPECT_EQ(decoded, expected);
}

TEST(DecoderDrainTest, WaitsWithWhatIsQueuedBehindIt) {
  const Clip& clip = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest;
  guest.start(clip);
  ASSERT_TRUE(guest.play(slice(clip, 0, 10)));
  ASSERT_TRUE(guest.finish());
  const std::size_t shown = guest.frames.size();
  ASSERT_TRUE(guest.run_until(
      [&] { return std::ranges::none_of(guest.coded, [](const auto& buffer) { return buffer.queued; }); }));
  // Accepted, and not decoded: QBUF is answered, and all stay with the device.
  for (std::size_t i = 10; i < 14; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  guest.take_events();
  EXPECT_TRUE(std::ranges::all_of(guest.coded, [](const auto& buffer) { return buffer.queued; }));
  EXPECT_EQ(guest.frames.size(), shown);
  // CAPTURE restarted by itself resumes, too; with all that was before, for none of those is a key frame.
  guest.restart_capture();
  ASSERT_TRUE(guest.play(slice(clip, 14, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// `units` of the clip as NV12, with a drain behind them that is not complete since the client keeps its
// buffers.
void begin_drain(DecoderGuest& guest, const Clip& clip, std::size_t units, std::uint32_t buffers) {
  guest.queues_again = false;
  guest.capture_count = buffers;
  guest.start(clip);
  for (std::size_t i = 0; i < units; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  ASSERT_TRUE(guest.run_until([&] { return guest.frames.size() == buffers; }));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), EBUSY);
  guest.queues_again = true;
}

TEST(DecoderDrainTest, IsAbortedByOutput) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const auto& [units, buffers] : {std::pair(std::size_t{6}, 3u), std::pair(std::size_t{3}, 1u)}) {
    DecoderGuest guest(Options{}, V4L2_PIX_FMT_NV12);
    begin_drain(guest, clip, units, buffers);
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(guest.stream(guest.output_type, false), 0);
    guest.take_events();
    for (auto& buffer : guest.coded) buffer.queued = false;
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "nothing streams that could be drained";
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
    guest.restart_capture();
    guest.frames.clear();
    EXPECT_FALSE(guest.last_seen);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
  }
}

TEST(DecoderDrainTest, IsAbortedByCapture) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  // With the command still behind frames that wait for buffers, and in the midst of libavcodec's own drain.
  for (const auto& [units, buffers] : {std::pair(std::size_t{6}, 3u), std::pair(std::size_t{3}, 1u)}) {
    DecoderGuest guest(Options{}, V4L2_PIX_FMT_NV12);
    begin_drain(guest, clip, units, buffers);
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
    guest.take_events();
    EXPECT_FALSE(guest.last_seen);
    EXPECT_FALSE(guest.ended);
    EXPECT_EQ(guest.request(guest.capture_type, 0), 0);
    guest.capture_count = 0;
    guest.start_capture();
    // Decoding goes on behind it, and a drain can begin anew.
    ASSERT_TRUE(guest.play(slice(clip, units, clip.units.size())));
    ASSERT_TRUE(guest.finish());
    // The frames that CAPTURE had are lost with it, none else.
    auto decoded = md5s(guest);
    EXPECT_GE(decoded.size() + 2, expected.size());
    std::ranges::sort(decoded);
    auto all = expected;
    std::ranges::sort(all);
    EXPECT_TRUE(std::ranges::includes(all, decoded)) << "a frame that the stream does not have";
    EXPECT_EQ(guest.frames.back().md5, expected.back());
  }
}

// ---- Dynamic resolution change

// Sends units of `clip` from `next` on until LAST of a change comes, which nobody answers. Returns the first
// unit that was not sent.
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

TEST(DecoderChangeTest, GoesOnInBuffersThatAreLargeEnough) {
  const Clip clip = make_changing_clip({{640, 360}, {320, 180}, {640, 360}});
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
    DecoderGuest guest(Options{}, fourcc);
    guest.start(clip);
    // START in place of new buffers, with those of the old size queued all the while; down, and up again.
    const auto resume = [&] {
      if (!guest.last_seen || !guest.change_pending) return;
      guest.change_pending = guest.last_seen = false;
      guest.in_force = guest.get_raw_format();
      guest.visible = guest.get_visible();
      EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
      queue_all(guest);
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

TEST(DecoderChangeTest, WantsLargerBuffersBeforeItGoesOn) {
  const Clip clip = make_changing_clip({{160, 96}, {640, 360}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest;
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  const std::size_t next = send_until_last(guest, clip, 1);
  ASSERT_TRUE(guest.last_seen);
  // The queries say what will be, the buffers are what they were.
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

// A change behind a single frame of the change before it, and one that comes as the drain is waited for.
TEST(DecoderChangeTest, FollowsOneUponAnother) {
  const Clip clip = make_clip_of_parts(
      {moving_picture(320, 180, 6) + " " + x264_quickly, moving_picture(640, 360, 1) + " " + x264_quickly,
       moving_picture(160, 96, 1) + " " + x264_quickly,
       moving_picture(320, 180, 1, "yuv420p10le") + " " + x264_quickly,
       moving_picture(320, 180, 1) + " " + x264_quickly},
      "264");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const std::uint32_t coded : {1u, 4u, 32u}) {
    DecoderGuest guest(Options{}, V4L2_PIX_FMT_NV12);
    guest.start(clip, coded);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.changes, 5u);
  }
}

TEST(DecoderChangeTest, IsAbortedByASeek) {
  const Clip clip = make_changing_clip({{320, 180}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest;
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units.front().bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  (void)send_until_last(guest, clip, 1);
  ASSERT_TRUE(guest.last_seen);
  // Back to the beginning, of the old size, without a look at the new one.
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

TEST(DecoderChangeTest, TakesAnotherCodecBehindIt) {
  const Clip first = make_changing_clip({{320, 180}, {160, 96}});
  const Clip& second = clip_of("vp9_10bit.ivf");
  const Clip& third = clip_of("mpeg2.m2v");
  VUMEDIA_SKIP_WITHOUT(first);
  VUMEDIA_SKIP_WITHOUT(second);
  DecoderGuest guest(Options{}, V4L2_PIX_FMT_NV12);
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

// ---- Clients of all depths

TEST(DecoderDepthTest, OneBufferAtATimeAndMany) {
  for (const char* const name : {"h264.264", "vp9.ivf", "hevc_10bit.265"}) {
    SCOPED_TRACE(name);
    const Clip& clip = clip_of(name);
    if (clip.units.empty()) continue;
    const auto expected = decode_plainly(clip);
    for (const auto& [coded, raw] : {std::pair(1u, 1u), std::pair(1u, 32u), std::pair(32u, 1u),
                                     std::pair(32u, 32u), std::pair(2u, 3u)}) {
      SCOPED_TRACE(std::to_string(coded) + " and " + std::to_string(raw));
      for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
        DecoderGuest guest(Options{}, fourcc);
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

// ---- Errors

TEST(DecoderErrorTest, FlagsTheFrameAndGoesOn) {
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
  DecoderGuest guest;
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
