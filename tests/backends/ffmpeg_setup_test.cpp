// "Initialization", "Capture Setup" and "Commit Points" of the stateful decoder interface: in which orders a
// client may set up its queues, and what it is told meanwhile.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

namespace tag = v4l2::tag;

class DecoderSetupTest : public DecoderApiTest {
 protected:
  // VIDIOC_S_FMT on OUTPUT with a size, as a client does if it has parsed the stream itself.
  static int set_coded_size(DecoderGuest& guest, std::uint32_t fourcc, std::uint32_t width,
                            std::uint32_t height) {
    v4l2_format format{};
    format.type = guest.output_type;
    if (GetParam()) {
      format.fmt.pix_mp.pixelformat = fourcc;
      format.fmt.pix_mp.width = width;
      format.fmt.pix_mp.height = height;
    } else {
      format.fmt.pix.pixelformat = fourcc;
      format.fmt.pix.width = width;
      format.fmt.pix.height = height;
    }
    return guest.ioctl<tag::S_FMT>(format);
  }
  static std::pair<std::uint32_t, std::uint32_t> coded_size(DecoderGuest& guest) {
    v4l2_format format{};
    format.type = guest.output_type;
    EXPECT_EQ(guest.ioctl<tag::G_FMT>(format), 0);
    if (GetParam()) return {+format.fmt.pix_mp.width, +format.fmt.pix_mp.height};
    return {format.fmt.pix.width, format.fmt.pix.height};
  }
  static void subscribe(DecoderGuest& guest) {
    EXPECT_EQ(guest.subscribe(V4L2_EVENT_SOURCE_CHANGE), 0);
    EXPECT_EQ(guest.subscribe(V4L2_EVENT_EOS), 0);
  }
};
VUMEDIA_FOR_BOTH_APIS(DecoderSetupTest);

// ---- Initialization

TEST_P(DecoderSetupTest, ExpectsOfCaptureWhatOutputSays) {
  DecoderGuest guest(options());
  EXPECT_EQ(set_coded_size(guest, V4L2_PIX_FMT_H264, 640, 360), 0);
  EXPECT_EQ(guest.get_raw_format().layout.width, 640u);
  EXPECT_EQ(guest.get_visible().height, 360u);
  // OUTPUT set again resets CAPTURE, its format included.
  EXPECT_EQ(guest.set_raw_format(V4L2_PIX_FMT_NV12), 0);
  EXPECT_EQ(set_coded_size(guest, V4L2_PIX_FMT_VP8, 320, 180), 0);
  EXPECT_EQ(guest.get_raw_format().layout.width, 320u);
  EXPECT_EQ(guest.get_visible().width, 320u);
  EXPECT_EQ(guest.get_visible().height, 180u);
  // TRY changes nothing.
  v4l2_format format{};
  format.type = guest.output_type;
  (GetParam() ? format.fmt.pix_mp.pixelformat : format.fmt.pix.pixelformat) = V4L2_PIX_FMT_H264;
  EXPECT_EQ(guest.ioctl<tag::TRY_FMT>(format), 0);
  EXPECT_EQ(coded_size(guest), std::pair(320u, 180u));
  EXPECT_EQ(guest.get_raw_format().layout.width, 320u);
}

// CAPTURE completely set up before OUTPUT has anything, for a size that is correct, too small, and too large.
TEST_P(DecoderSetupTest, TakesCaptureFirst) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto& recipe = find_recipe("h264.264");
  struct Guess {
    std::uint32_t width, height;
    bool right;
  };
  for (const Guess guess :
       {Guess{recipe.width, recipe.height, true}, Guess{64, 64, false}, Guess{640, 480, false},
        Guess{recipe.width + 2, recipe.height,
              false}}) {  // in buffers of the same size, of which more is visible
    SCOPED_TRACE(guess.width);
    DecoderGuest guest(options());
    EXPECT_EQ(set_coded_size(guest, V4L2_PIX_FMT_H264, guess.width, guess.height), 0);
    subscribe(guest);
    EXPECT_EQ(guest.request(guest.output_type, 4), 0);
    guest.start_capture(8);
    guest.take_events();
    EXPECT_TRUE(guest.log.empty()) << "nothing comes without a stream";
    EXPECT_EQ(guest.stream(guest.output_type, true), 0);
    ASSERT_TRUE(guest.send(clip.units[0].bytes, 1000));
    // What the client expected is not a change: if told about one it would restart CAPTURE, and lose its
    // first frames.
    if (!guess.right) {
      ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1 || guest.last_seen; }));
    }
    ASSERT_TRUE(guest.play(slice(clip, 1, clip.units.size()), 2000));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.changes, guess.right ? 0u : 1u);
    EXPECT_EQ(std::ranges::count(guest.log, "last"), guess.right ? 1 : 2);
  }
}

// Only OUTPUT: the stream is read until its format is known, then waits; the buffer that brought the event
// stays.
TEST_P(DecoderSetupTest, WaitsForCaptureWithWhatItHasRead) {
  for (const char* const name : {"h264.264", "vp8.ivf", "mpeg2.m2v", "vp9.ivf"}) {
    SCOPED_TRACE(name);
    const Clip& clip = clip_of(name);
    if (clip.units.empty()) continue;
    DecoderGuest guest(options());
    guest.follow_changes = false;
    guest.start(clip, 4);
    for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
    ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
    // An answer from the device: events about the units would have come before it.
    EXPECT_EQ(guest.command(V4L2_DEC_CMD_STOP), 0) << "CAPTURE does not stream";
    EXPECT_EQ(guest.log, (std::vector<std::string>{"change"}));
    EXPECT_TRUE(std::ranges::none_of(guest.coded, DecoderGuest::is_free));
    guest.follow_changes = true;
    guest.change_pending = false;
    guest.start_capture();
    ASSERT_TRUE(guest.play(slice(clip, 4, clip.units.size())));
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.changes, 1u);
  }
}

TEST_P(DecoderSetupTest, ReadsOnUntilThereIsAPicture) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.start(clip, 2);
  // Nothing, an access unit delimiter, then pictures that cannot be decoded: all come back, in order.
  ASSERT_TRUE(guest.send({}, 1));
  const std::vector<std::uint8_t> delimiter{0, 0, 0, 1, 9, 0x10};
  ASSERT_TRUE(guest.send(delimiter, 2));
  for (std::size_t i = 1; i < 4; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 3));
  ASSERT_TRUE(guest.run_until([&] { return std::ranges::all_of(guest.coded, DecoderGuest::is_free); }));
  EXPECT_EQ(guest.log, (std::vector<std::string>(5, "coded")));
  EXPECT_EQ(guest.changes, 0u);
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// An empty OUTPUT buffer contains no data anywhere, and is not the end of the stream.
TEST_P(DecoderSetupTest, TakesEmptyBuffers) {
  for (const char* const name : {"h264.264", "vp9.ivf"}) {
    const Clip& clip = clip_of(name);
    if (clip.units.empty()) continue;
    DecoderGuest guest(options());
    guest.start(clip);
    for (std::size_t i = 0; i < clip.units.size(); ++i) {
      if (i % 5 == 0) {
        ASSERT_TRUE(guest.send({}, 7));
      }
      ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
    }
    EXPECT_FALSE(guest.ended || guest.last_seen);
    ASSERT_TRUE(guest.finish());
    EXPECT_EQ(md5s(guest), decode_plainly(clip));
    EXPECT_EQ(guest.damaged, 0u);
  }
}

// ---- Capture setup

// After the event, queries describe the stream, including G_FMT of OUTPUT.
TEST_P(DecoderSetupTest, SaysWhatTheStreamIs) {
  const Clip clip = make_changing_clip({{318, 178}, {160, 96}});
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.follow_changes = false;
  guest.start(clip);
  EXPECT_EQ(coded_size(guest), std::pair(16u, 16u)) << "set_coded_format gives none";
  ASSERT_TRUE(guest.send(clip.units[0].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
  const auto check = [&](std::uint32_t width, std::uint32_t height) {
    const auto raw = guest.get_raw_format();
    EXPECT_EQ(coded_size(guest), std::pair(raw.layout.width, raw.layout.height));
    EXPECT_GE(raw.layout.width, width);
    EXPECT_LT(raw.layout.width, width + 16);
    const auto is = [](const v4l2_rect& a, std::uint32_t w, std::uint32_t h) {
      return a.left == 0 && a.top == 0 && a.width == w && a.height == h;
    };
    // Neither scaled nor composed: both rectangles are the visible part; the rest of the buffer is
    // overwritten, and v4l2-compliance wants that within the bounds.
    for (const std::uint32_t target :
         std::initializer_list<std::uint32_t>{V4L2_SEL_TGT_CROP, V4L2_SEL_TGT_CROP_DEFAULT,
                                              V4L2_SEL_TGT_COMPOSE, V4L2_SEL_TGT_COMPOSE_DEFAULT})
      EXPECT_TRUE(is(guest.get_visible(target), width, height)) << target;
    for (const std::uint32_t target : std::initializer_list<std::uint32_t>{
             V4L2_SEL_TGT_CROP_BOUNDS, V4L2_SEL_TGT_COMPOSE_BOUNDS, V4L2_SEL_TGT_COMPOSE_PADDED})
      EXPECT_TRUE(is(guest.get_visible(target), raw.layout.width, raw.layout.height)) << target;
    // Every size of a buffer is among those enumerated.
    v4l2_frmsizeenum size{};
    size.pixel_format = raw.fourcc;
    EXPECT_EQ(guest.ioctl<tag::ENUM_FRAMESIZES>(size), 0);
    EXPECT_EQ((raw.layout.width - size.stepwise.min_width) % size.stepwise.step_width, 0u);
    EXPECT_EQ((raw.layout.height - size.stepwise.min_height) % size.stepwise.step_height, 0u);
    // So is the visible size, with which GStreamer negotiates.
    EXPECT_EQ((width - size.stepwise.min_width) % size.stepwise.step_width, 0u);
    EXPECT_EQ((height - size.stepwise.min_height) % size.stepwise.step_height, 0u);
    EXPECT_GE(raw.layout.height, size.stepwise.min_height);
    EXPECT_LE(raw.layout.width, size.stepwise.max_width);
  };
  check(318, 178);
  guest.start_capture();
  guest.change_pending = false;
  ASSERT_TRUE(guest.play(slice(clip, 1, 16)));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 2; }));
  check(160, 96);
}

TEST_P(DecoderSetupTest, AdjustsWishesToWhatThereIs) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  guest.follow_changes = false;
  guest.start(clip);
  ASSERT_TRUE(guest.send(clip.units[0].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
  const auto before = guest.get_raw_format();
  for (const std::uint32_t width : {0u, 17u, ~0u}) {
    v4l2_format format{};
    format.type = guest.capture_type;
    if (GetParam()) {
      format.fmt.pix_mp.width = format.fmt.pix_mp.height = width;
      format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12;
      format.fmt.pix_mp.num_planes = 7;
      format.fmt.pix_mp.field = 77;
      format.fmt.pix_mp.plane_fmt[0].sizeimage = width;
      format.fmt.pix_mp.plane_fmt[0].bytesperline = width;
    } else {
      format.fmt.pix.width = format.fmt.pix.height = width;
      format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
      format.fmt.pix.field = 77;
      format.fmt.pix.sizeimage = format.fmt.pix.bytesperline = width;
    }
    EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
    const auto now = guest.get_raw_format();
    EXPECT_EQ(now.fourcc, V4L2_PIX_FMT_NV12);
    EXPECT_EQ(now.layout, before.layout) << "as many bytes in another order";
    EXPECT_EQ(now.size_image, before.size_image);
    EXPECT_EQ(now.field, std::uint32_t{V4L2_FIELD_NONE});
    if (GetParam()) {
      EXPECT_EQ(format.fmt.pix_mp.num_planes, 1u);
    }
  }
  // An impossible rectangle becomes the existing one; constraints that forbid that are respected.
  for (const std::uint32_t target :
       std::initializer_list<std::uint32_t>{V4L2_SEL_TGT_CROP, V4L2_SEL_TGT_COMPOSE}) {
    v4l2_selection selection{};
    selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    selection.target = target;
    selection.r = {-5, 1 << 30, ~0u, 3};
    EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), 0);
    EXPECT_EQ(selection.r.width, 318u);
    EXPECT_EQ(selection.r.height, 178u);
    selection.flags = V4L2_SEL_FLAG_LE | V4L2_SEL_FLAG_GE;
    EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), 0) << "exactly what there is";
    selection.r.width = 319;
    EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), ERANGE);
    selection.flags = V4L2_SEL_FLAG_LE;
    EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), 0);
    selection.flags = V4L2_SEL_FLAG_GE;
    EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), 0) << "adjusted by the one before";
    selection.r.height = 179;
    EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), ERANGE);
  }
  for (const std::uint32_t target : std::initializer_list<std::uint32_t>{
           V4L2_SEL_TGT_CROP_DEFAULT, V4L2_SEL_TGT_CROP_BOUNDS, V4L2_SEL_TGT_COMPOSE_DEFAULT,
           V4L2_SEL_TGT_COMPOSE_BOUNDS, V4L2_SEL_TGT_COMPOSE_PADDED}) {
    v4l2_selection selection{};
    selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    selection.target = target;
    EXPECT_EQ(guest.ioctl<tag::S_SELECTION>(selection), EINVAL) << "read only";
  }
}

// Buffers of both queues by CREATE_BUFS alone, a few at a time.
TEST_P(DecoderSetupTest, TakesBuffersThatWereCreated) {
  const Clip& clip = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest(options());
  subscribe(guest);
  guest.follow_changes = false;
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guest.create(guest.output_type, 1, 1u << 20), 0);
  EXPECT_EQ(guest.stream(guest.output_type, true), 0);
  ASSERT_TRUE(guest.send(clip.units[0].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.changes == 1; }));
  guest.in_force = guest.get_raw_format();
  guest.visible = guest.get_visible();
  EXPECT_EQ(guest.create(guest.capture_type, 2, guest.in_force.size_image), 0);
  for (std::uint32_t i = 0; i < 2; ++i) EXPECT_EQ(guest.queue(guest.capture_type, i), 0);
  EXPECT_EQ(guest.stream(guest.capture_type, true), 0);
  guest.capture_on = true;
  // More while streaming.
  EXPECT_EQ(guest.create(guest.capture_type, 3, guest.in_force.size_image + 4096), 0);
  guest.queue_all();
  ASSERT_TRUE(guest.play(slice(clip, 1, clip.units.size())));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(guest.raw.size(), 5u);
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
}

// ---- Commit points

TEST_P(DecoderSetupTest, KeepsTheFormatOfOutputWhileThereAreBuffers) {
  DecoderGuest guest(options());
  EXPECT_EQ(set_coded_size(guest, V4L2_PIX_FMT_H264, 320, 180), 0);
  EXPECT_EQ(guest.request(guest.capture_type, 2), 0);
  EXPECT_EQ(set_coded_size(guest, V4L2_PIX_FMT_VP8, 320, 180), EBUSY);
  EXPECT_EQ(set_coded_size(guest, V4L2_PIX_FMT_H264, 640, 360), EBUSY) << "a change of the same codec";
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264, 1u << 21), EBUSY);
  EXPECT_EQ(coded_size(guest), std::pair(320u, 180u));
  // Setting the current format is not a change.
  v4l2_format format{};
  format.type = guest.output_type;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(format), 0);
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), 0);
  EXPECT_EQ(guest.request(guest.output_type, 2), 0);
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), EBUSY);
  EXPECT_EQ(guest.request(guest.capture_type, 0), 0);
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(format), EBUSY);
  EXPECT_EQ(guest.request(guest.output_type, 0), 0);
  EXPECT_EQ(set_coded_size(guest, V4L2_PIX_FMT_VP8, 640, 360), 0);
  // CAPTURE's format does not change what OUTPUT offers.
  const auto count = [&] {
    v4l2_fmtdesc description{};
    description.type = guest.output_type;
    while (guest.ioctl<tag::ENUM_FMT>(description) == 0) ++description.index;
    return description.index;
  };
  const auto all = count();
  EXPECT_EQ(guest.set_raw_format(V4L2_PIX_FMT_NV12), 0);
  EXPECT_EQ(count(), all);
}

// A program's second stream in the same file, with another codec, after one with several sizes.
TEST_P(DecoderSetupTest, TakesAnotherFormatBehindASourceChange) {
  const Clip first = make_changing_clip({{320, 180}, {160, 96}});
  const Clip& second = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(first);
  VUMEDIA_SKIP_WITHOUT(second);
  DecoderGuest guest(options());
  guest.start(first);
  ASSERT_TRUE(guest.send(first.units[0].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.capture_on; }));
  guest.follow_changes = false;
  // Up to the change, which stays unanswered.
  ASSERT_TRUE(guest.play(slice(first, 1, 16)));
  ASSERT_TRUE(guest.run_until([&] { return guest.last_seen; }));
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), EBUSY);
  guest.stop_output();
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), EBUSY) << "STREAMOFF frees no buffers";
  EXPECT_EQ(guest.request(guest.output_type, 0), 0);
  EXPECT_EQ(guest.set_coded_format(V4L2_PIX_FMT_VP8), EBUSY) << "CAPTURE has buffers";
  EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
  EXPECT_EQ(guest.request(guest.capture_type, 0), 0);
  guest.capture_on = guest.last_seen = guest.change_pending = false;
  guest.follow_changes = true;
  guest.frames.clear();
  guest.start(second);
  ASSERT_TRUE(guest.play(second));
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(second));
  EXPECT_EQ(guest.changes, 3u);
}

}  // namespace
}  // namespace vumedia::test
