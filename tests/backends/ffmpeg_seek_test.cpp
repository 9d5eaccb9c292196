// "Seek" of the stateful decoder interface, and queues that are restarted singly.
#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

class DecoderSeekTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderSeekTest);

std::size_t last_key(const Clip& clip) {
  std::size_t key = clip.units.size() - 1;
  while (key > 0 && !clip.units[key].key) --key;
  return key;
}

// A client may begin anywhere: units before the next key frame give no frame, or a flagged one.
TEST_P(DecoderSeekTest, LooksForAResumePoint) {
  for (const auto& recipe : clip_recipes) {
    SCOPED_TRACE(recipe.name);
    const Clip& clip = clip_of(recipe);
    if (clip.units.empty()) continue;
    const std::size_t key = last_key(clip);
    if (key < 3) continue;
    std::size_t first = key - 1;
    while (first > 1 && first + 6 > key && !clip.units[first - 1].key) --first;
    if (clip.units[first].key) ++first;
    if (first >= key) continue;  // every picture is a key frame
    std::vector<std::size_t> units;
    const auto all = decode_plainly(clip, &units);
    std::map<std::int64_t, std::string> expected;
    for (std::size_t i = 0; i < units.size(); ++i)
      expected[5'000'000 + 1000 * (static_cast<std::int64_t>(units[i]) - static_cast<std::int64_t>(first))] =
          all[i];
    DecoderGuest guest(options());
    guest.start(clip);
    ASSERT_TRUE(guest.play(slice(clip, 0, 4)));
    ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
    guest.stop_output();
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
    ASSERT_TRUE(guest.play(slice(clip, first, clip.units.size()), 5'000'000));
    ASSERT_TRUE(guest.finish());
    std::size_t good = 0;
    for (const auto& frame : guest.frames) {
      const auto stamp = frame.timestamp.tv_sec * 1'000'000 + frame.timestamp.tv_usec;
      if (stamp < 5'000'000) continue;
      const bool right = expected[stamp] == frame.md5;
      EXPECT_TRUE(right || (frame.flags & V4L2_BUF_FLAG_ERROR) != 0) << stamp;
      if (right) ++good;
    }
    EXPECT_GE(good, clip.units.size() - key - 4);
  }
}

// The same at the beginning of a stream.
TEST_P(DecoderSeekTest, BeginsAnywhere) {
  for (const char* const name : {"h264.264", "hevc.265", "vp8.ivf"}) {
    SCOPED_TRACE(name);
    const Clip& clip = clip_of(name);
    if (clip.units.empty()) continue;
    const std::size_t key = last_key(clip);
    ASSERT_GT(key, 4u);
    DecoderGuest guest(options());
    guest.start(clip);
    ASSERT_TRUE(guest.play(slice(clip, key - 3, clip.units.size())));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(slice(clip, key, clip.units.size())));
  }
}

// To a part with another size, and back, with only OUTPUT stopped and started: the change is like any other.
TEST_P(DecoderSeekTest, LeadsToAnotherSize) {
  const Clip clip = make_changing_clip({{320, 180}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  const Clip parts[] = {slice(clip, 0, 12), slice(clip, 12, 24)};
  DecoderGuest guest(options());
  guest.start(clip);
  std::int64_t stamp = 1'000'000;
  for (const std::size_t part : {std::size_t{0}, std::size_t{1}, std::size_t{0}, std::size_t{0}}) {
    ASSERT_TRUE(guest.play(parts[part], stamp));
    ASSERT_TRUE(guest.run_until([&] { return guest.frames.size() > 4 && stamps(guest).back() >= stamp; }));
    stamp += 1'000'000;
    guest.stop_output();
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
  }
  ASSERT_TRUE(guest.play(parts[1], stamp));
  ASSERT_TRUE(guest.finish());
  // Frames left from before may still come, but none that belong to neither part.
  const auto expected = decode_plainly(parts[1]);
  std::vector<std::string> last;
  for (const auto& frame : guest.frames) {
    if (frame.timestamp.tv_sec * 1'000'000 >= stamp) last.push_back(frame.md5);
  }
  EXPECT_EQ(last, expected);
  EXPECT_EQ(guest.changes, 4u);
}

// Only CAPTURE: frames that it had are lost, none comes twice, and decoding continues with the next.
TEST_P(DecoderSeekTest, RestartsCaptureAlone) {
  for (const std::uint32_t fourcc : {V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12}) {
    const Clip& clip = clip_of("vp9.ivf");
    VUMEDIA_SKIP_WITHOUT(clip);
    const auto expected = decode_plainly(clip);
    DecoderGuest guest(options(), fourcc);
    guest.start(clip);
    for (std::size_t i = 0; i < clip.units.size(); ++i) {
      ASSERT_TRUE(guest.send(clip.units[i].bytes, static_cast<std::int64_t>(i + 1) * 1000));
      if (i % 8 != 7 || !guest.capture_on) continue;
      // With new buffers, or the old ones, which all belong to the program again.
      if (i % 16 == 7) {
        guest.restart_capture();
      } else {
        EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
        guest.take_events();
        for (auto& buffer : guest.raw) buffer.queued = false;
        guest.queue_all();
        EXPECT_EQ(guest.stream(guest.capture_type, true), 0);
      }
    }
    ASSERT_TRUE(guest.finish());
    const auto seen = stamps(guest);
    EXPECT_TRUE(std::ranges::is_sorted(seen)) << "VP9 is shown in the order of its packets";
    EXPECT_TRUE(std::ranges::adjacent_find(seen) == seen.end()) << "a frame came twice";
    std::size_t at = 0;
    for (const auto& md5 : md5s(guest)) {
      while (at < expected.size() && expected[at] != md5) ++at;
      ASSERT_LT(at, expected.size()) << "a frame that the stream does not have";
    }
    EXPECT_EQ(guest.frames.back().md5, expected.back());
    // Sequence numbers start again with each STREAMON.
    EXPECT_EQ(std::ranges::count(guest.frames, 0u, &DecoderGuest::Frame::sequence) > 1, true);
  }
}

// Both queues, in either order, at any moment; nothing from before is left.
TEST_P(DecoderSeekTest, RestartsBoth) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  DecoderGuest guest(options());
  guest.start(clip);
  for (std::size_t round = 0; round < 6; ++round) {
    ASSERT_TRUE(guest.play(slice(clip, 0, 4 + 3 * round)));
    ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
    if (round % 2 == 0) guest.stop_output();
    EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
    if (round % 2 != 0) guest.stop_output();
    guest.take_events();
    guest.frames.clear();
    for (auto& buffer : guest.raw) buffer.queued = false;
    const auto start_output = [&] { EXPECT_EQ(guest.stream(guest.output_type, true), 0); };
    if (round % 3 == 0) start_output();
    guest.queue_all();
    EXPECT_EQ(guest.stream(guest.capture_type, true), 0);
    if (round % 3 != 0) start_output();
    if (round % 3 == 2) {  // with nothing between
      guest.stop_output();
      start_output();
    }
  }
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), expected);
  EXPECT_EQ(guest.changes, 1u);
}

// Frames from before and after are separated by a drain: STOP, LAST, seek, START.
TEST_P(DecoderSeekTest, FollowsADrain) {
  const Clip& clip = clip_of("hevc.265");
  VUMEDIA_SKIP_WITHOUT(clip);
  const std::size_t key = last_key(clip);
  for (const bool start_command : {false, true}) {
    DecoderGuest guest(options());
    guest.start(clip);
    ASSERT_TRUE(guest.play(slice(clip, 0, 10)));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(guest.frames.size(), 10u);
    guest.frames.clear();
    guest.last_seen = guest.ended = false;
    // Waits for the drain, and is dropped by the seek.
    ASSERT_TRUE(guest.send(clip.units[10].bytes, 1000));
    guest.stop_output();
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
    if (start_command) {
      EXPECT_EQ(guest.command(V4L2_DEC_CMD_START), 0);
    }
    guest.queue_all();
    ASSERT_TRUE(guest.play(slice(clip, key, clip.units.size())));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(slice(clip, key, clip.units.size())));
  }
}

}  // namespace
}  // namespace vumedia::test
