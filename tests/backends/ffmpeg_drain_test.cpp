// "Drain" and "End of Stream" of the stateful decoder interface: LAST, the commands, and in which orders.
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

class DecoderDrainTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderDrainTest);

TEST_P(DecoderDrainTest, IsBetweenQueuesThatStream) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  guest.start(clip);
  // Only OUTPUT streams: the command has no effect, and does not prevent a later one.
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

TEST_P(DecoderDrainTest, TakesNoCommandUntilItIsComplete) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  // NV12: of YU12 buffers some would be lent to frames that are shown later.
  DecoderGuest guest(options(), V4L2_PIX_FMT_NV12);
  guest.queues_again = false;
  guest.capture_count = 6;
  guest.start(clip);
  for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  // No buffer is left for LAST as long as the client keeps its own.
  for (std::size_t i = 4; i < 12; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.frames.size() == guest.raw.size(); }));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), EBUSY);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), EBUSY);
  // TRY says which commands exist, not when they may be used.
  v4l2_decoder_cmd command{};
  command.cmd = V4L2_DEC_CMD_START;
  EXPECT_EQ(guest.ioctl<tag::TRY_DECODER_CMD>(command), 0);
  guest.queues_again = true;
  guest.queue_all();
  ASSERT_TRUE(guest.run_until([&] { return guest.last_seen && guest.ended; }));
  EXPECT_EQ(guest.frames.size(), 12u);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "stopped already";
  // What is queued now waits for START.
  guest.last_seen = guest.ended = false;
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  guest.queue_all();
  ASSERT_TRUE(guest.play(slice(clip, 12, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  // The drain outputs frames that are shown after some that came later.
  auto decoded = md5s(guest);
  auto expected = decode_plainly(clip);
  std::ranges::sort(decoded);
  std::ranges::sort(expected);
  EXPECT_EQ(decoded, expected);
}

TEST_P(DecoderDrainTest, WaitsWithWhatIsQueuedBehindIt) {
  const Clip& clip = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  ASSERT_TRUE(guest.play(slice(clip, 0, 10)));
  ASSERT_TRUE(guest.finish());
  const std::size_t shown = guest.frames.size();
  ASSERT_TRUE(guest.run_until(
      [&] { return std::ranges::none_of(guest.coded, [](const auto& buffer) { return buffer.queued; }); }));
  // Accepted, but not decoded: QBUF is answered, and the device keeps all of them.
  for (std::size_t i = 10; i < 14; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  guest.take_events();
  EXPECT_TRUE(std::ranges::all_of(guest.coded, [](const auto& buffer) { return buffer.queued; }));
  EXPECT_EQ(guest.frames.size(), shown);
  // Restarting only CAPTURE resumes, too, with the earlier state, because none of these is a key frame.
  guest.restart_capture();
  ASSERT_TRUE(guest.play(slice(clip, 14, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// `units` of the clip as NV12, followed by a drain that is not complete because the client keeps its buffers.
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

TEST_P(DecoderDrainTest, IsAbortedByOutput) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const auto& [units, buffers] : {std::pair(std::size_t{6}, 3u), std::pair(std::size_t{3}, 1u)}) {
    DecoderGuest guest(options(), V4L2_PIX_FMT_NV12);
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

TEST_P(DecoderDrainTest, IsAbortedByCapture) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  // With the command still waiting for frames that need buffers, and in the middle of libavcodec's own drain.
  for (const auto& [units, buffers] : {std::pair(std::size_t{6}, 3u), std::pair(std::size_t{3}, 1u)}) {
    DecoderGuest guest(options(), V4L2_PIX_FMT_NV12);
    begin_drain(guest, clip, units, buffers);
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
    guest.take_events();
    EXPECT_FALSE(guest.last_seen);
    EXPECT_FALSE(guest.ended);
    EXPECT_EQ(guest.request(guest.capture_type, 0), 0);
    guest.capture_count = 0;
    guest.start_capture();
    // Decoding continues after it, and another drain can begin.
    ASSERT_TRUE(guest.play(slice(clip, units, clip.units.size())));
    ASSERT_TRUE(guest.finish());
    // Only the frames that CAPTURE had are lost with it.
    auto decoded = md5s(guest);
    EXPECT_GE(decoded.size() + 2, expected.size());
    std::ranges::sort(decoded);
    auto all = expected;
    std::ranges::sort(all);
    EXPECT_TRUE(std::ranges::includes(all, decoded)) << "a frame that the stream does not have";
    EXPECT_EQ(guest.frames.back().md5, expected.back());
  }
}

// Both queues stream, and nothing was ever sent: LAST and the event come at once, each time.
TEST_P(DecoderDrainTest, EndsWithoutData) {
  const Clip& clip = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  guest.start_capture();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(guest.log, (std::vector<std::string>{"last", "end"}));
    EXPECT_TRUE(guest.frames.empty());
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "stopped already";
    guest.take_events();
    EXPECT_EQ(guest.log.size(), 2u);
    guest.last_seen = false;
    guest.log.clear();
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
    guest.queue_all();
  }
  // CAPTURE was set up for something other than what comes.
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// All buffers queued before STOP come back before LAST, and those queued after it do not.
TEST_P(DecoderDrainTest, ComesBehindAllThatWasQueued) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip, 32);
  ASSERT_TRUE(guest.send(clip.units[0].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  for (std::size_t i = 1; i < 20; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  for (std::size_t i = 20; i < 30; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.last_seen && guest.ended; }));
  EXPECT_EQ(guest.frames.size(), 20u);
  const auto last = std::ranges::find(guest.log, "last");
  EXPECT_EQ(std::count(guest.log.begin(), last, "coded"), 20);
  EXPECT_EQ(std::ranges::count(guest.log, "coded"), 20);
  for (const auto& frame : guest.frames) EXPECT_FALSE(frame.flags & V4L2_BUF_FLAG_LAST) << "it is empty";
  // START continues with those that wait.
  guest.last_seen = guest.ended = false;
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0) << "running already";
  guest.queue_all();
  ASSERT_TRUE(guest.play(slice(clip, 30, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  auto decoded = md5s(guest);
  auto expected = decode_plainly(clip);
  std::ranges::sort(decoded);
  std::ranges::sort(expected);
  EXPECT_EQ(decoded, expected);
}

// A client that has not subscribed to the event still gets LAST, and no event.
TEST_P(DecoderDrainTest, TellsOfTheEndWhomItConcerns) {
  const Clip& clip = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_EOS;
  EXPECT_EQ(guest.ioctl<tag::UNSUBSCRIBE_EVENT>(subscription), 0);
  ASSERT_TRUE(guest.play(clip));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0);
  ASSERT_TRUE(guest.run_until([&] { return guest.last_seen; }));
  EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
  guest.take_events();
  EXPECT_FALSE(guest.ended);
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

}  // namespace
}  // namespace vumedia::test
