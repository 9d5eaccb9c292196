// USERPTR buffers of the decoder: the bitstream is read from the guest's own pages, and frames are decoded
// into them, whatever their layout.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

namespace tag = v4l2::tag;
using Pages = DecoderGuest::Pages;

class DecoderUserptrTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderUserptrTest);

TEST_P(DecoderUserptrTest, DecodesIntoPagesHoweverTheyLie) {
  struct Row {
    const char* name;
    std::uint32_t fourcc;
    Pages pages;
  };
  // Decoded in place, interleaved, and shifted into place.
  constexpr Row rows[] = {
      {"h264.264", V4L2_PIX_FMT_YUV420, Pages::whole},
      {"h264.264", V4L2_PIX_FMT_YUV420, Pages::unaligned},
      {"h264.264", V4L2_PIX_FMT_YUV420, Pages::scattered},
      {"h264.264", V4L2_PIX_FMT_YUV420, Pages::split},
      {"vp9.ivf", V4L2_PIX_FMT_NV12, Pages::scattered},
      {"vp9.ivf", V4L2_PIX_FMT_NV12, Pages::split},
      {"hevc_10bit.265", V4L2_PIX_FMT_P010, Pages::scattered},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string(row.name) + " " + std::to_string(static_cast<int>(row.pages)));
    const Clip& clip = clip_of(row.name);
    if (clip.units.empty()) continue;
    DecoderGuest guest(options(), row.fourcc);
    guest.memory_kind = V4L2_MEMORY_USERPTR;
    guest.pages = row.pages;
    guest.start(clip);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.damaged, 0u);
    EXPECT_TRUE(guest.guest.host.frontend.requests.empty()) << "nothing is mapped for the guest";
    // Pages side by side need mappings, and only they.
    EXPECT_EQ(guest.guest.backend().mappings().used() > 0, row.pages == Pages::scattered);
  }
}

// Programs that take frames from a pool of their own queue them with whatever index is free, even while they
// are still referred to.
TEST_P(DecoderUserptrTest, KeepsReferencesWhateverTheirIndex) {
  for (const char* const name : {"h264.264", "vp8.ivf"}) {
    SCOPED_TRACE(name);
    const Clip& clip = clip_of(name);
    if (clip.units.empty()) continue;
    for (const Pages pages : {Pages::whole, Pages::scattered}) {
      DecoderGuest guest(options());
      guest.memory_kind = V4L2_MEMORY_USERPTR;
      guest.pages = pages;
      guest.rotates = true;
      guest.start(clip);
      ASSERT_TRUE(guest.play(clip));
      ASSERT_TRUE(guest.finish());
      EXPECT_EQ(md5s(guest), decode_plainly(clip));
    }
  }
}

// Meanwhile the frontend sends other tables, with the same memory at other addresses here.
TEST_P(DecoderUserptrTest, OutlivesTables) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const Pages pages : {Pages::whole, Pages::scattered, Pages::split}) {
    SCOPED_TRACE(static_cast<int>(pages));
    DecoderGuest guest(options());
    guest.memory_kind = V4L2_MEMORY_USERPTR;
    guest.pages = pages;
    guest.start(clip);
    for (const auto& unit : clip.units) {
      ASSERT_TRUE(guest.send(unit.bytes, 1000));
      guest.guest.host.replace_memory();
    }
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
  }
}

// Buffers are freed, and the file closed, while libavcodec has frames in them; their mappings go with it.
TEST_P(DecoderUserptrTest, LeavesNoMappingBehind) {
  const Clip& clip = clip_of("vp9.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  auto settings = options();
  settings.workers = std::make_shared<ffmpeg::Workers>(32);
  DecoderGuest guest(settings);
  guest.memory_kind = V4L2_MEMORY_USERPTR;
  guest.pages = Pages::scattered;
  const auto& budget = guest.guest.backend().mappings();
  EXPECT_EQ(budget.used(), 0u);
  for (int round = 0; round < 4; ++round) {
    guest.start(clip);
    ASSERT_TRUE(guest.play(slice(clip, 0, 12)));
    ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
    EXPECT_GT(budget.used(), 0u);
    if (round % 2 == 0) {
      EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
      EXPECT_EQ(guest.request(guest.capture_type, 0), 0);
    }
    guest.guest.close(guest.session);
    guest.take_events();
    guest.coded.clear();
    guest.raw.clear();
    guest.capture_on = guest.last_seen = guest.change_pending = false;
    guest.session = guest.guest.open();
  }
  guest.guest.close(guest.session);
  // What a closed file leaves is unmapped a part a turn.
  EXPECT_TRUE(guest.run_until([&] { return settings.workers->running() == 0 && budget.used() == 0; }))
      << budget.used() << " mappings are left";
  guest.session = guest.guest.open();
}

TEST_P(DecoderUserptrTest, RefusesWhatIsNoMemory) {
  DecoderGuest guest(options());
  guest.memory_kind = V4L2_MEMORY_USERPTR;
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8, 1u << 16), 0);
  EXPECT_EQ(guest.request(guest.output_type, 2), 0);
  EXPECT_EQ(guest.request(guest.capture_type, 2), 0);
  for (const std::uint32_t type : {guest.output_type, guest.capture_type}) {
    auto& buffer = guest.buffers(type)[0];
    const auto whole = buffer;
    buffer.ranges[0].start = {1};
    EXPECT_EQ(guest.queue(type, 0, 100), EFAULT) << "not guest memory";
    buffer = whole;
    buffer.length -= 1;
    buffer.ranges[0].length -= 1;
    EXPECT_EQ(guest.queue(type, 0, 100), EINVAL) << "less than the format needs";
    buffer = whole;
    buffer.ranges[0].length += 1;
    EXPECT_NE(guest.queue(type, 0, 100), 0) << "more than the buffer has";
    buffer = whole;
    EXPECT_EQ(guest.queue(type, 0, 100), 0);
    EXPECT_EQ(guest.queue(type, 0, 100), EINVAL) << "queued already";
  }
}

// A frame becomes larger than the buffers that the guest has named; then it names larger ones.
TEST_P(DecoderUserptrTest, FollowsChangesOfSize) {
  const Clip clip = make_changing_clip({{160, 96}, {640, 360}, {320, 180}});
  VUMEDIA_SKIP_WITHOUT(clip);
  for (const Pages pages : {Pages::scattered, Pages::split}) {
    DecoderGuest guest(options());
    guest.memory_kind = V4L2_MEMORY_USERPTR;
    guest.pages = pages;
    guest.start(clip);
    ASSERT_TRUE(guest.play(clip));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.changes, 3u);
  }
}

}  // namespace
}  // namespace vumedia::test
