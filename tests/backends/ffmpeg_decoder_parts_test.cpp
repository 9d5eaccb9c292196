// The parts of a decoder's instance, each alone: formats, buffers, controls, and events on the loop.
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/buffers.hpp>
#include <vumedia/backends/ffmpeg/decoder_controls.hpp>
#include <vumedia/backends/ffmpeg/decoder_formats.hpp>
#include <vumedia/backends/ffmpeg/event_inbox.hpp>
#include <vumedia/backends/m2m/queues.hpp>

#include "backends/fake_services.hpp"

namespace vumedia::test {
namespace decoder_parts_test {

using namespace backends::ffmpeg;
namespace tag = v4l2::tag;

class DecoderFormatsTest : public testing::TestWithParam<bool> {
 protected:
  // A format of `type`, as G_FMT returns it.
  FormatDescription get(std::uint32_t type) {
    v4l2_format format{};
    format.type = type;
    EXPECT_TRUE(formats.get(format));
    return read_format(format);
  }
  FormatDescription adjusted(std::uint32_t type, FormatDescription wanted) {
    v4l2_format format{};
    format.type = type;
    write_format(format, wanted);
    const FormatDescription description = formats.adjusted(format);
    // TRY_FMT says the same.
    EXPECT_TRUE(formats.adjust(format));
    EXPECT_EQ(read_format(format).fourcc, description.fourcc);
    EXPECT_EQ(read_format(format).size_image, description.size_image);
    return description;
  }
  std::vector<std::uint32_t> offered() {
    std::vector<std::uint32_t> all;
    v4l2_fmtdesc description{};
    description.type = types.capture;
    while (formats.enumerate(description)) {
      all.push_back(description.pixelformat);
      description.index = static_cast<std::uint32_t>(all.size());
    }
    return all;
  }
  static PictureChanged changed(std::uint32_t width, std::uint32_t height, Samples samples = {}) {
    return {{*CodedSize::of(width, height), samples, {0, 0, width, height}, {}}, 7, 4};
  }

  const QueueTypes types = QueueTypes::of(GetParam());
  const std::array<const CodedFormat*, 2> known{find_coded_format(V4L2_PIX_FMT_H264),
                                                find_coded_format(V4L2_PIX_FMT_VP8)};
  DecoderFormats formats{types, known, {4096 * 2304, 16u << 20}};
};

INSTANTIATE_TEST_SUITE_P(BothApis, DecoderFormatsTest, testing::Bool(), [](const auto& parameter) {
  return parameter.param ? "Multiplanar" : "Singleplanar";
});

TEST_P(DecoderFormatsTest, CaptureFollowsOutputUntilTheStreamIsKnown) {
  EXPECT_EQ(get(types.output).fourcc, std::uint32_t{V4L2_PIX_FMT_H264});
  EXPECT_EQ(get(types.capture).width, 1920u);
  const auto vp8 = adjusted(types.output, {640, 360, V4L2_PIX_FMT_VP8, 0, 0, {}});
  formats.set_coded(vp8, false);
  EXPECT_EQ(formats.codec(), AV_CODEC_ID_VP8);
  EXPECT_EQ(get(types.capture).width, 640u);
  EXPECT_EQ(get(types.capture).height, 384u);
  // Buffers that exist keep their format.
  formats.set_coded(adjusted(types.output, {1280, 720, V4L2_PIX_FMT_VP8, 0, 0, {}}), true);
  EXPECT_EQ(get(types.capture).width, 640u);
  EXPECT_EQ(formats.size_image(types.capture), formats.capture_setup().layout.size_image());
  EXPECT_EQ(formats.size_image(types.output), formats.coded().size_image);
}

TEST_P(DecoderFormatsTest, TheStreamDecidesWhatCaptureOffers) {
  EXPECT_GT(offered().size(), 3u) << "all that H.264 may have";
  EXPECT_TRUE(formats.change(changed(320, 180, {Sampling::yuv420, 2}), false));
  EXPECT_EQ(offered(), std::vector<std::uint32_t>{V4L2_PIX_FMT_P010});
  EXPECT_EQ(get(types.capture).fourcc, std::uint32_t{V4L2_PIX_FMT_P010});
  // Anything else becomes that.
  EXPECT_EQ(adjusted(types.capture, {320, 180, V4L2_PIX_FMT_NV12, 0, 0, {}}).fourcc,
            std::uint32_t{V4L2_PIX_FMT_P010});
  EXPECT_EQ(formats.capture_setup().serial, 7u);
  EXPECT_EQ(formats.capture_setup().visible.height, 180u);
}

TEST_P(DecoderFormatsTest, RemembersTheClientsChoice) {
  formats.set_raw(V4L2_PIX_FMT_NV12);
  (void)formats.change(changed(320, 180, {Sampling::yuv420, 2}), false);
  (void)formats.change(changed(320, 180), false);
  EXPECT_EQ(get(types.capture).fourcc, std::uint32_t{V4L2_PIX_FMT_NV12});
}

// A client that guessed right is not told, so that it does not begin again; later it is.
TEST_P(DecoderFormatsTest, AGuessThatIsRightIsNoNews) {
  formats.set_coded(adjusted(types.output, {320, 180, V4L2_PIX_FMT_H264, 0, 0, {}}), false);
  const PictureChanged change = changed(320, 180);
  EXPECT_FALSE(formats.change(change, true));
  EXPECT_TRUE(formats.change(change, true));
  formats.set_coded(formats.coded(), false);
  EXPECT_TRUE(formats.change(change, false)) << "CAPTURE does not stream";
  formats.set_coded(formats.coded(), false);
  EXPECT_TRUE(formats.change(changed(640, 360), true));
}

TEST_P(DecoderFormatsTest, ReportsAnotherLook) {
  (void)formats.change(changed(320, 180), false);
  LookChanged look;
  look.colours.colorspace = V4L2_COLORSPACE_SMPTE170M;
  look.field = V4L2_FIELD_INTERLACED_TB;
  formats.change(look);
  EXPECT_EQ(get(types.capture).colours.colorspace, std::uint32_t{V4L2_COLORSPACE_SMPTE170M});
  EXPECT_EQ(get(types.output).colours.colorspace, std::uint32_t{V4L2_COLORSPACE_SMPTE170M});
  EXPECT_EQ(formats.picture().field, std::uint32_t{V4L2_FIELD_INTERLACED_TB});
}

// S_FMT of OUTPUT, which CAPTURE follows or not.
TEST_P(DecoderFormatsTest, OnlyTheSameOutputKeepsCapture) {
  v4l2_format format{};
  format.type = types.output;
  ASSERT_TRUE(formats.get(format));
  EXPECT_TRUE(formats.keeps_other(format));
  PictureChanged change = changed(320, 180);
  change.picture.colours.colorspace = V4L2_COLORSPACE_REC709;
  (void)formats.change(change, false);
  EXPECT_FALSE(formats.keeps_other(format)) << "the stream has another size";
  ASSERT_TRUE(formats.get(format));
  ASSERT_TRUE(formats.keeps_other(format));
  ASSERT_TRUE(formats.set(format, true));
  EXPECT_EQ(formats.capture_setup().visible.height, 180u) << "CAPTURE's buffers are for that";
  ASSERT_TRUE(formats.set(format, false));
  EXPECT_GT(offered().size(), 3u) << "the stream is not known any more";
  format.type = types.capture;
  ASSERT_TRUE(formats.get(format));
  EXPECT_TRUE(formats.keeps_other(format));
  (format.type == V4L2_BUF_TYPE_VIDEO_CAPTURE ? format.fmt.pix.pixelformat : format.fmt.pix_mp.pixelformat) =
      V4L2_PIX_FMT_NV12;
  ASSERT_TRUE(formats.set(format, true));
  EXPECT_EQ(get(types.capture).fourcc, std::uint32_t{V4L2_PIX_FMT_NV12});
}

TEST_P(DecoderFormatsTest, RefusesOtherQueues) {
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VBI_CAPTURE;
  EXPECT_EQ(formats.get(format).error().value, EINVAL);
  EXPECT_EQ(formats.adjust(format).error().value, EINVAL);
  EXPECT_EQ(formats.set(format, false).error().value, EINVAL);
  format.type = QueueTypes::of(!GetParam()).output;
  EXPECT_EQ(formats.get(format).error().value, EINVAL);
}

TEST_P(DecoderFormatsTest, CropsNothing) {
  (void)formats.change(changed(318, 178), false);
  v4l2_selection selection{};
  selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  selection.target = V4L2_SEL_TGT_COMPOSE;
  selection.r = {0, 0, 100, 100};
  EXPECT_TRUE(formats.ioctl(tag::S_SELECTION{}, selection));
  EXPECT_EQ(selection.r.width, 318u);
  selection.flags = V4L2_SEL_FLAG_LE;
  selection.r = {0, 0, 100, 100};
  EXPECT_EQ(formats.ioctl(tag::S_SELECTION{}, selection).error().value, ERANGE);
  selection.target = V4L2_SEL_TGT_CROP_BOUNDS;
  EXPECT_EQ(formats.ioctl(tag::S_SELECTION{}, selection).error().value, EINVAL);
}

class DecoderBuffersTest : public testing::Test {
 protected:
  void request(v4l2::BufferQueue& queue, std::uint32_t count, std::uint32_t size) {
    v4l2_requestbuffers request{};
    request.type = queue.type();
    request.memory = V4L2_MEMORY_MMAP;
    request.count = count;
    EXPECT_TRUE(queue.reqbufs(request, std::array{size}, queues.arenas()));
  }
  void queue(v4l2::BufferQueue& queue, std::uint32_t index, std::uint32_t used = 0) {
    v4l2::BufferPayload payload = payload_of(queue.type(), index);
    payload.buffer.planes[0].bytesused = used;
    payload.buffer.head.timestamp.tv_sec = 5;
    EXPECT_TRUE(queue.qbuf(payload));
  }
  static v4l2::BufferPayload payload_of(std::uint32_t type, std::uint32_t index) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.type = type;
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    payload.buffer.head.index = index;
    payload.buffer.head.length = payload.sent.planes = 1;
    return payload;
  }

  backends::test::FakeServices services;
  backends::m2m::Queues queues{
      services.context(3), {}, {4u << 20, 4u << 20, true}, 8u << 20, std::make_shared<memory::Budget>(64)};
  v4l2::BufferQueue& output = queues.output();
  v4l2::BufferQueue& capture = queues.capture();
};

TEST_F(DecoderBuffersTest, HaveALength) {
  request(capture, 2, 1u << 20);
  EXPECT_EQ(length_of(capture, payload_of(capture.type(), 1)), 1u << 20);
  EXPECT_FALSE(length_of(capture, payload_of(capture.type(), 2)));
  v4l2::BufferPayload user = payload_of(capture.type(), 0);
  user.buffer.head.memory = V4L2_MEMORY_USERPTR;
  user.buffer.planes[0].length = 1234;
  EXPECT_EQ(length_of(capture, user), 1234u);
  EXPECT_TRUE(any_holds(capture, 1u << 20));
  EXPECT_FALSE(any_holds(capture, (1u << 20) + 1));
}

TEST_F(DecoderBuffersTest, GoToTheEngineAndBack) {
  request(output, 2, 4096);
  request(capture, 2, 4096);
  for (const std::uint32_t index : {1u, 0u}) queue(output, index, 100 + index);
  queue(capture, 0);
  std::vector<CodedBuffer> coded;
  const auto keep = [&](CodedBuffer buffer) { coded.push_back(std::move(buffer)); };
  take_coded(output, keep);
  EXPECT_TRUE(coded.empty()) << "OUTPUT does not stream";
  ASSERT_TRUE(output.stream_on(output.type()));
  ASSERT_TRUE(capture.stream_on(capture.type()));
  take_coded(output, keep);
  ASSERT_EQ(coded.size(), 2u);
  EXPECT_EQ(coded[0].index, 1u);
  EXPECT_EQ(coded[0].bytes.size(), 101u);
  EXPECT_EQ(coded[0].stamp.timestamp_ns, 5'000'000'000u);
  std::vector<std::uint32_t> raw;
  take_raw(capture, [&](std::uint32_t index, BufferMemory memory) {
    raw.push_back(index);
    EXPECT_EQ(memory.size, 4096u);
  });
  EXPECT_EQ(raw, std::vector<std::uint32_t>{0});

  queues.complete(output, 1, completion_of(CodedBufferDone{1, false}));
  queues.complete(output, 0, completion_of(CodedBufferDone{0, true}));
  const FrameDone frame{0, 4000, V4L2_BUF_FLAG_KEYFRAME, V4L2_FIELD_NONE, coded[1].stamp};
  EXPECT_TRUE(capture.store(0, completion_of(frame), nullptr)) << "our own memory is where the guest sees it";
  queues.complete(capture, 0, completion_of(frame));
  ASSERT_EQ(services.dqbufs.size(), 3u);
  EXPECT_EQ(services.dqbufs[0].session, 3u);
  EXPECT_EQ(services.dqbufs[0].buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0u);
  EXPECT_NE(services.dqbufs[1].buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0u);
  EXPECT_EQ(services.dqbufs[1].buffer.head.sequence, 1u);
  EXPECT_EQ(services.dqbufs[2].buffer.head.sequence, 0u);
  EXPECT_EQ(services.dqbufs[2].buffer.planes[0].bytesused, 4000u);
  EXPECT_EQ(services.dqbufs[2].buffer.head.timestamp.tv_sec, 5);
  EXPECT_NE(services.dqbufs[2].buffer.head.flags & V4L2_BUF_FLAG_KEYFRAME, 0u);
}

TEST(DecoderControlsTest, SayWhatTheStreamHas) {
  DecoderControls controls(4096 * 2304);
  const auto value_of = [&](std::uint32_t id) {
    v4l2_control control{};
    control.id = id;
    EXPECT_TRUE(controls.all().g_ctrl(control));
    return control.value;
  };
  PictureChanged change;
  change.picture.visible = {0, 0, 320, 180};
  change.min_buffers = 9;
  change.profile = 77;
  change.level = 31;
  controls.set(change, AV_CODEC_ID_H264);
  EXPECT_EQ(value_of(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE), 9);
  EXPECT_EQ(value_of(V4L2_CID_MPEG_VIDEO_H264_PROFILE), V4L2_MPEG_VIDEO_H264_PROFILE_MAIN);
  EXPECT_EQ(value_of(V4L2_CID_MPEG_VIDEO_H264_LEVEL), V4L2_MPEG_VIDEO_H264_LEVEL_3_1);
  LookChanged look;
  look.min_buffers = 5;
  controls.set(look);
  EXPECT_EQ(value_of(V4L2_CID_MIN_BUFFERS_FOR_CAPTURE), 5);
  v4l2_control control{};
  control.id = V4L2_CID_MIN_BUFFERS_FOR_CAPTURE;
  control.value = 3;
  EXPECT_EQ(controls.all().s_ctrl(control, nullptr).error().value, EACCES);
}

// An engine that has these events, batch by batch.
struct FakeEngine {
  std::vector<std::vector<Event>> batches;
  std::size_t next = 0;
  void take_events(std::vector<Event>& events) {
    events = next < batches.size() ? batches[next++] : std::vector<Event>{};
  }
};

TEST(EventInboxTest, HandlesAllInOrder) {
  FakeEngine engine{{{CodedBufferDone{1, false}, CodedBufferDone{2, false}}, {CodedBufferDone{3, false}}}};
  EventInbox inbox;
  std::vector<std::uint32_t> seen;
  EXPECT_TRUE(inbox.handle(engine, [&](const Event& event) {
    seen.push_back(std::get<CodedBufferDone>(event).index);
    return true;
  }));
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{1, 2, 3}));
}

TEST(EventInboxTest, ContinuesWithTheEventThatHadToWait) {
  FakeEngine engine{{{CodedBufferDone{1, false}, FrameDone{}, EndOfStream{}}, {CodedBufferDone{3, false}}}};
  EventInbox inbox;
  std::vector<std::size_t> seen;
  const auto handle_until = [&](std::size_t type) {
    return inbox.handle(engine, [&](const Event& event) {
      if (event.index() == type) return false;
      seen.push_back(event.index());
      return true;
    });
  };
  EXPECT_FALSE(handle_until(1));
  EXPECT_EQ(seen, std::vector<std::size_t>{0});
  EXPECT_FALSE(handle_until(4));
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 1}));
  // A queue stops: the rest of its events are forgotten, and those of others are not.
  inbox.forget<EndOfStream>();
  EXPECT_TRUE(handle_until(4));
  EXPECT_EQ(seen, (std::vector<std::size_t>{0, 1, 0}));
}

}  // namespace decoder_parts_test
}  // namespace vumedia::test
