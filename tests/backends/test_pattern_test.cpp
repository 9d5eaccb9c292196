// The test pattern camera as a V4L2 device: formats, rates, controls, buffers, and what its frames say.
#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/test_pattern.hpp>

#include "backends/fake_services.hpp"

namespace vumedia::backends {
namespace {

using namespace std::chrono_literals;
namespace tag = v4l2::tag;
using test::FakeServices;

constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;

int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

class Camera : public testing::Test {
 protected:
  ~Camera() override {
    if (session) camera.close(*session);
  }

  template <class Tag>
  int call(Tag, typename Tag::Payload& payload) {
    return code(camera.ioctl(*session, Tag{}, payload));
  }

  v4l2_pix_format set_format(std::uint32_t fourcc, std::uint32_t width, std::uint32_t height) {
    v4l2_format format{};
    format.type = capture;
    format.fmt.pix.pixelformat = fourcc;
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    EXPECT_EQ(call(tag::S_FMT{}, format), 0);
    return format.fmt.pix;
  }
  std::uint32_t set_rate(std::uint32_t numerator, std::uint32_t denominator) {
    v4l2_streamparm parameters{};
    parameters.type = capture;
    parameters.parm.capture.timeperframe = {numerator, denominator};
    EXPECT_EQ(call(tag::S_PARM{}, parameters), 0);
    EXPECT_EQ(parameters.parm.capture.timeperframe.numerator, 1u);
    return parameters.parm.capture.timeperframe.denominator;
  }
  int request(std::uint32_t count, std::uint32_t memory = V4L2_MEMORY_MMAP) {
    v4l2_requestbuffers buffers{};
    buffers.count = count;
    buffers.type = capture;
    buffers.memory = memory;
    return call(tag::REQBUFS{}, buffers);
  }
  std::span<std::byte> map(std::uint32_t index) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.index = index;
    payload.buffer.head.type = capture;
    EXPECT_EQ(call(tag::QUERYBUF{}, payload), 0);
    auto mappable = camera.mmap(*session, payload.buffer.head.m.offset);
    EXPECT_TRUE(mappable);
    EXPECT_EQ(mappable->length, payload.buffer.head.length);
    mapped.push_back(mappable->block);
    return mapped.back()->bytes().first(mappable->length);
  }
  int queue(std::uint32_t index) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.index = index;
    payload.buffer.head.type = capture;
    payload.buffer.head.memory = V4L2_MEMORY_MMAP;
    return call(tag::QBUF{}, payload);
  }
  int stream(bool on) {
    std::uint32_t type = capture;
    return on ? call(tag::STREAMON{}, type) : call(tag::STREAMOFF{}, type);
  }
  std::optional<std::int32_t> control(std::uint32_t id) {
    v4l2_control value{id, 0};
    if (call(tag::G_CTRL{}, value) != 0) return std::nullopt;
    return value.value;
  }
  int set_control(std::uint32_t id, std::int32_t value) {
    v4l2_control control{id, value};
    return call(tag::S_CTRL{}, control);
  }

  FakeServices services;
  TestPattern camera;
  std::unique_ptr<TestPattern::Session> session = *camera.open(services.context(7));
  std::vector<std::shared_ptr<const memory::Block>> mapped;
};

std::uint64_t time_ns(const v4l2::Buffer& buffer) {
  return static_cast<std::uint64_t>(buffer.head.timestamp.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(buffer.head.timestamp.tv_usec) * 1000;
}

TEST_F(Camera, EnumeratesFormatsSizesAndRates) {
  std::set<std::uint32_t> fourccs;
  v4l2_fmtdesc description{};
  description.type = capture;
  for (; call(tag::ENUM_FMT{}, description) == 0; ++description.index) {
    fourccs.insert(description.pixelformat);
    EXPECT_NE(description.description[0], 0);
    v4l2_frmsizeenum size{};
    size.pixel_format = description.pixelformat;
    for (; call(tag::ENUM_FRAMESIZES{}, size) == 0; ++size.index) {
      ASSERT_EQ(size.type, unsigned{V4L2_FRMSIZE_TYPE_DISCRETE});
      v4l2_frmivalenum interval{};
      interval.pixel_format = description.pixelformat;
      interval.width = size.discrete.width;
      interval.height = size.discrete.height;
      for (; call(tag::ENUM_FRAMEINTERVALS{}, interval) == 0; ++interval.index) {
        EXPECT_GE(interval.discrete.denominator, 5u);
      }
      EXPECT_GE(interval.index, 4u);
      const auto pix = set_format(description.pixelformat, size.discrete.width, size.discrete.height);
      EXPECT_EQ(pix.width, size.discrete.width);
      EXPECT_EQ(pix.height, size.discrete.height);
      EXPECT_EQ(pix.pixelformat, description.pixelformat);
    }
    EXPECT_EQ(size.index, test_pattern::frame_sizes.size());
  }
  EXPECT_EQ(fourccs, (std::set<std::uint32_t>{V4L2_PIX_FMT_RGB24, V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12,
                                              V4L2_PIX_FMT_YUV420}));
  v4l2_frmsizeenum size{};
  size.pixel_format = V4L2_PIX_FMT_H264;
  EXPECT_EQ(call(tag::ENUM_FRAMESIZES{}, size), EINVAL);
  v4l2_frmivalenum interval{};
  interval.pixel_format = V4L2_PIX_FMT_NV12;
  interval.width = 641;
  interval.height = 480;
  EXPECT_EQ(call(tag::ENUM_FRAMEINTERVALS{}, interval), EINVAL);
}

TEST_F(Camera, NegotiatesFormats) {
  struct Row {
    std::uint32_t fourcc, width, height;
    std::uint32_t want_fourcc, want_width, want_height, want_line, want_size;
  };
  const std::array rows{
      Row{V4L2_PIX_FMT_RGB24, 640, 480, V4L2_PIX_FMT_RGB24, 640, 480, 1920, 921600},
      Row{V4L2_PIX_FMT_YUYV, 320, 240, V4L2_PIX_FMT_YUYV, 320, 240, 640, 153600},
      Row{V4L2_PIX_FMT_NV12, 1920, 1080, V4L2_PIX_FMT_NV12, 1920, 1080, 1920, 3110400},
      Row{V4L2_PIX_FMT_YUV420, 1280, 720, V4L2_PIX_FMT_YUV420, 1280, 720, 1280, 1382400},
      Row{V4L2_PIX_FMT_NV12, 0, 0, V4L2_PIX_FMT_NV12, 320, 240, 320, 115200},
      Row{V4L2_PIX_FMT_NV12, 0xffffffff, 0xffffffff, V4L2_PIX_FMT_NV12, 1920, 1080, 1920, 3110400},
      Row{V4L2_PIX_FMT_H264, 650, 470, V4L2_PIX_FMT_RGB24, 640, 480, 1920, 921600},
      Row{0, 1270, 730, V4L2_PIX_FMT_RGB24, 1280, 720, 3840, 2764800},
  };
  for (const auto& row : rows) {
    v4l2_format format{};
    std::memset(&format, 0xa5, sizeof format);  // a guest may leave anything there
    format.type = capture;
    format.fmt.pix.pixelformat = row.fourcc;
    format.fmt.pix.width = row.width;
    format.fmt.pix.height = row.height;
    v4l2_format before{};
    before.type = capture;
    ASSERT_EQ(call(tag::G_FMT{}, before), 0);
    v4l2_format tried = format;
    ASSERT_EQ(call(tag::TRY_FMT{}, tried), 0);
    v4l2_format after{};
    after.type = capture;
    ASSERT_EQ(call(tag::G_FMT{}, after), 0);
    EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0) << "TRY_FMT changes nothing";
    ASSERT_EQ(call(tag::S_FMT{}, format), 0);
    EXPECT_EQ(std::memcmp(&tried, &format, sizeof tried), 0);
    EXPECT_EQ(format.fmt.pix.pixelformat, row.want_fourcc);
    EXPECT_EQ(format.fmt.pix.width, row.want_width);
    EXPECT_EQ(format.fmt.pix.height, row.want_height);
    EXPECT_EQ(format.fmt.pix.bytesperline, row.want_line);
    EXPECT_EQ(format.fmt.pix.sizeimage, row.want_size);
    EXPECT_EQ(format.fmt.pix.field, unsigned{V4L2_FIELD_NONE});
    ASSERT_EQ(call(tag::G_FMT{}, after), 0);
    EXPECT_EQ(std::memcmp(&format, &after, sizeof format), 0);
  }
  for (const auto type :
       {0u, unsigned{V4L2_BUF_TYPE_VIDEO_OUTPUT}, unsigned{V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE}}) {
    v4l2_format format{};
    format.type = type;
    EXPECT_EQ(call(tag::G_FMT{}, format), EINVAL);
    EXPECT_EQ(call(tag::TRY_FMT{}, format), EINVAL);
    EXPECT_EQ(call(tag::S_FMT{}, format), EINVAL);
  }
}

TEST_F(Camera, KeepsTheFormatWhileBuffersExist) {
  ASSERT_EQ(request(2), 0);
  v4l2_format format{};
  format.type = capture;
  EXPECT_EQ(call(tag::S_FMT{}, format), EBUSY);
  EXPECT_EQ(call(tag::TRY_FMT{}, format), 0);
  ASSERT_EQ(request(0), 0);
  EXPECT_EQ(call(tag::S_FMT{}, format), 0);
}

TEST_F(Camera, LimitsTheRateToTheSize) {
  set_format(V4L2_PIX_FMT_NV12, 640, 480);
  EXPECT_EQ(set_rate(1, 60), 60u);
  EXPECT_EQ(set_rate(0, 0), test_pattern::default_rate);
  EXPECT_EQ(set_rate(1, 60), 60u);
  set_format(V4L2_PIX_FMT_NV12, 1920, 1080);
  v4l2_streamparm parameters{};
  parameters.type = capture;
  ASSERT_EQ(call(tag::G_PARM{}, parameters), 0);
  EXPECT_EQ(parameters.parm.capture.timeperframe.denominator, 30u);
  EXPECT_EQ(parameters.parm.capture.capability, unsigned{V4L2_CAP_TIMEPERFRAME});
  parameters.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  EXPECT_EQ(call(tag::G_PARM{}, parameters), EINVAL);
  EXPECT_EQ(call(tag::S_PARM{}, parameters), EINVAL);
}

TEST_F(Camera, HasOneInput) {
  v4l2_input input{};
  ASSERT_EQ(call(tag::ENUMINPUT{}, input), 0);
  EXPECT_EQ(input.type, unsigned{V4L2_INPUT_TYPE_CAMERA});
  EXPECT_STRNE(reinterpret_cast<const char*>(input.name), "");
  input.index = 1;
  EXPECT_EQ(call(tag::ENUMINPUT{}, input), EINVAL);
  std::uint32_t index = 99;
  EXPECT_EQ(call(tag::G_INPUT{}, index), 0);
  EXPECT_EQ(index, 0u);
  EXPECT_EQ(call(tag::S_INPUT{}, index), 0);
  index = 1;
  EXPECT_EQ(call(tag::S_INPUT{}, index), EINVAL);
}

TEST_F(Camera, FramesCarryNumberSequenceAndDueTime) {
  const auto before = io::Clock::now();
  for (const auto& [fourcc, width, height] :
       {std::tuple{V4L2_PIX_FMT_RGB24, 640u, 480u}, std::tuple{V4L2_PIX_FMT_YUYV, 1280u, 720u},
        std::tuple{V4L2_PIX_FMT_NV12, 1920u, 1080u}, std::tuple{V4L2_PIX_FMT_YUV420, 800u, 600u}}) {
    const auto pix = set_format(fourcc, width, height);
    ASSERT_EQ(set_rate(1, 30), 30u);
    ASSERT_EQ(request(3), 0);
    std::vector<std::span<std::byte>> buffers;
    for (std::uint32_t index = 0; index < 3; ++index) {
      buffers.push_back(map(index));
      ASSERT_EQ(buffers.back().size(), pix.sizeimage);
      ASSERT_EQ(queue(index), 0);
    }
    EXPECT_FALSE(services.has_timer()) << "before STREAMON";
    services.dqbufs.clear();
    ASSERT_EQ(stream(true), 0);
    for (std::uint32_t number = 0; number < 10; ++number) {
      ASSERT_TRUE(services.fire());
      ASSERT_EQ(services.dqbufs.size(), number + 1);
      const auto& [id, buffer] = services.dqbufs.back();
      EXPECT_EQ(id, 7u);
      EXPECT_EQ(buffer.head.sequence, number);
      EXPECT_EQ(buffer.head.index, number % 3) << "in the order of queueing";
      EXPECT_EQ(buffer.head.bytesused, pix.sizeimage);
      EXPECT_EQ(buffer.head.field, unsigned{V4L2_FIELD_NONE});
      EXPECT_EQ(buffer.head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK,
                unsigned{V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC});
      EXPECT_EQ(buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0u);
      EXPECT_EQ(test_pattern::read_frame_number(pix, buffers[number % 3]), number);
      EXPECT_GE(time_ns(buffer), static_cast<std::uint64_t>(before.time_since_epoch() / 1ns) / 1000 * 1000);
      ASSERT_EQ(queue(number % 3), 0);
    }
    // On a grid of 1/30 s from the first on; a stamp is cut to whole microseconds. Frames that come late
    // because this machine was busy may skip points of the grid, never leave it.
    for (std::size_t number = 1; number < services.dqbufs.size(); ++number) {
      const auto apart = time_ns(services.dqbufs[number].buffer) - time_ns(services.dqbufs[0].buffer);
      const auto ticks = (apart + 16'666'666) / 33'333'333;
      EXPECT_GE(ticks, number);
      EXPECT_NEAR(static_cast<double>(apart), static_cast<double>(ticks) * 1e9 / 30, 1001.0);
    }
    ASSERT_EQ(stream(false), 0);
    EXPECT_FALSE(services.has_timer());
    ASSERT_EQ(request(0), 0);
  }
}

TEST_F(Camera, WritesWithinTheBufferOnly) {
  const auto pix = set_format(V4L2_PIX_FMT_YUV420, 320, 240);
  ASSERT_EQ(request(3), 0);
  // Neighbours in one arena; only the one in the middle is queued.
  std::vector<std::span<std::byte>> buffers;
  for (std::uint32_t index = 0; index < 3; ++index) buffers.push_back(map(index));
  for (const auto& block : mapped) std::memset(block->data(), 0x5a, block->size());
  ASSERT_EQ(queue(1), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  EXPECT_EQ(test_pattern::read_frame_number(pix, buffers[1]), 0u);
  const auto untouched = [](std::byte byte) { return byte == std::byte{0x5a}; };
  EXPECT_TRUE(std::ranges::all_of(mapped[0]->bytes(), untouched));
  EXPECT_TRUE(std::ranges::all_of(mapped[2]->bytes(), untouched));
  EXPECT_TRUE(std::ranges::all_of(mapped[1]->bytes().subspan(pix.sizeimage), untouched));
}

TEST_F(Camera, MakesNoFrameWithoutABuffer) {
  const auto pix = set_format(V4L2_PIX_FMT_NV12, 320, 240);
  ASSERT_EQ(request(2), 0);
  const auto memory = map(0);
  ASSERT_EQ(stream(true), 0);
  EXPECT_FALSE(services.has_timer()) << "a wake-up for nothing";
  ASSERT_EQ(queue(0), 0);
  ASSERT_TRUE(services.has_timer());
  EXPECT_GT(services.deadline(), io::Clock::now() - 1s);
  ASSERT_TRUE(services.fire());
  EXPECT_FALSE(services.fire());
  ASSERT_EQ(queue(0), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 2u);
  EXPECT_EQ(services.dqbufs[1].buffer.head.sequence, 1u) << "no gap";
  EXPECT_EQ(test_pattern::read_frame_number(pix, memory), 1u);
}

TEST_F(Camera, StartsAnewWithEachStreamOn) {
  ASSERT_EQ(request(2), 0);
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(queue(0), 0);
    ASSERT_EQ(queue(1), 0);
    ASSERT_EQ(stream(true), 0);
    ASSERT_EQ(stream(true), 0) << "streaming already";
    services.dqbufs.clear();
    ASSERT_TRUE(services.fire());
    ASSERT_EQ(services.dqbufs.size(), 1u);
    EXPECT_EQ(services.dqbufs[0].buffer.head.sequence, 0u);
    ASSERT_EQ(stream(false), 0);
    EXPECT_FALSE(services.has_timer());
  }
  EXPECT_EQ(services.dqbufs.size(), 1u) << "what was queued comes back without an event";
}

TEST_F(Camera, ControlsChangeThePicture) {
  const auto pix = set_format(V4L2_PIX_FMT_NV12, 320, 240);
  ASSERT_EQ(control(V4L2_CID_BRIGHTNESS), test_pattern::brightness_default);
  ASSERT_EQ(control(V4L2_CID_TEST_PATTERN), 0);
  ASSERT_EQ(request(1), 0);
  const auto memory = map(0);
  ASSERT_EQ(stream(true), 0);
  const auto last_line = [&] {
    EXPECT_EQ(queue(0), 0);
    EXPECT_TRUE(services.fire());
    std::uint64_t sum = 0;
    for (const auto sample : memory.subspan(239 * 320, 320)) sum += std::to_integer<unsigned>(sample);
    return sum;
  };
  const auto plain = last_line();
  ASSERT_EQ(set_control(V4L2_CID_BRIGHTNESS, 180), 0);
  const auto bright = last_line();
  EXPECT_GT(bright, plain);
  ASSERT_EQ(set_control(V4L2_CID_BRIGHTNESS, 0), 0);
  EXPECT_LT(last_line(), plain);
  ASSERT_EQ(set_control(V4L2_CID_BRIGHTNESS, 100000), 0);
  EXPECT_EQ(control(V4L2_CID_BRIGHTNESS), test_pattern::brightness_maximum);
  ASSERT_EQ(set_control(V4L2_CID_BRIGHTNESS, 128), 0);
  ASSERT_EQ(set_control(V4L2_CID_TEST_PATTERN, 2), 0);
  last_line();
  std::set<std::byte> values(memory.begin() + 239 * 320, memory.begin() + 240 * 320);
  EXPECT_EQ(values, (std::set{std::byte{40}, std::byte{210}})) << "a checkerboard";
  EXPECT_EQ(set_control(V4L2_CID_TEST_PATTERN, 4), ERANGE);
  EXPECT_EQ(set_control(V4L2_CID_CONTRAST, 4), EINVAL);
  EXPECT_EQ(test_pattern::read_frame_number(pix, memory), 3u);
  v4l2_querymenu menu{};
  menu.id = V4L2_CID_TEST_PATTERN;
  std::set<std::string> names;
  for (; call(tag::QUERYMENU{}, menu) == 0; ++menu.index)
    names.insert(reinterpret_cast<const char*>(menu.name));
  EXPECT_EQ(names.size(), test_pattern::pattern_names.size());
}

TEST_F(Camera, TellsOtherSessionsOfControlChanges) {
  auto other = *camera.open(services.context(8));
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_CTRL;
  subscription.id = V4L2_CID_BRIGHTNESS;
  ASSERT_EQ(code(camera.ioctl(*other, tag::SUBSCRIBE_EVENT{}, subscription)), 0);
  ASSERT_EQ(call(tag::SUBSCRIBE_EVENT{}, subscription), 0);
  EXPECT_TRUE(services.events.empty());
  ASSERT_EQ(set_control(V4L2_CID_BRIGHTNESS, 99), 0);
  ASSERT_EQ(services.events.size(), 1u) << "not to the one who did it";
  EXPECT_EQ(services.events[0].first, 8u);
  EXPECT_EQ(services.events[0].second.type, unsigned{V4L2_EVENT_CTRL});
  EXPECT_EQ(services.events[0].second.u.ctrl.value, 99);
  ASSERT_EQ(code(camera.ioctl(*other, tag::UNSUBSCRIBE_EVENT{}, subscription)), 0);
  ASSERT_EQ(set_control(V4L2_CID_BRIGHTNESS, 98), 0);
  EXPECT_EQ(services.events.size(), 1u);
  subscription.flags = V4L2_EVENT_SUB_FL_SEND_INITIAL;
  ASSERT_EQ(code(camera.ioctl(*other, tag::SUBSCRIBE_EVENT{}, subscription)), 0);
  ASSERT_EQ(services.events.size(), 2u);
  EXPECT_EQ(services.events[1].second.u.ctrl.value, 98);
  subscription.type = V4L2_EVENT_EOS;
  EXPECT_EQ(code(camera.ioctl(*other, tag::SUBSCRIBE_EVENT{}, subscription)), EINVAL);
  camera.close(*other);
  ASSERT_EQ(set_control(V4L2_CID_BRIGHTNESS, 97), 0);
  EXPECT_EQ(services.events.size(), 2u) << "the session has gone";
}

TEST_F(Camera, GivesTheStreamToOneSession) {
  auto other = *camera.open(services.context(8));
  ASSERT_EQ(request(2), 0);
  v4l2_requestbuffers buffers{};
  buffers.count = 1;
  buffers.type = capture;
  buffers.memory = V4L2_MEMORY_MMAP;
  EXPECT_EQ(code(camera.ioctl(*other, tag::REQBUFS{}, buffers)), EBUSY);
  v4l2_create_buffers create{};
  create.count = 1;
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = capture;
  create.format.fmt.pix.sizeimage = 1 << 20;
  EXPECT_EQ(code(camera.ioctl(*other, tag::CREATE_BUFS{}, create)), EBUSY);
  v4l2::BufferPayload payload{};
  payload.buffer.head.type = capture;
  payload.buffer.head.memory = V4L2_MEMORY_MMAP;
  EXPECT_EQ(code(camera.ioctl(*other, tag::QBUF{}, payload)), EBUSY);
  EXPECT_EQ(code(camera.ioctl(*other, tag::QUERYBUF{}, payload)), 0) << "anyone may look";
  std::uint32_t type = capture;
  EXPECT_EQ(code(camera.ioctl(*other, tag::STREAMON{}, type)), EBUSY);
  EXPECT_EQ(code(camera.ioctl(*other, tag::STREAMOFF{}, type)), EBUSY);
  ASSERT_EQ(queue(0), 0);
  ASSERT_EQ(stream(true), 0);
  EXPECT_TRUE(services.has_timer());
  camera.close(*session);
  session.reset();
  EXPECT_FALSE(services.has_timer()) << "closed while streaming";
  EXPECT_EQ(services.arenas.used_bytes(), 0u);
  EXPECT_EQ(code(camera.ioctl(*other, tag::REQBUFS{}, buffers)), 0);
  camera.close(*other);
  EXPECT_EQ(services.arenas.used_bytes(), 0u);
}

TEST_F(Camera, HonoursPriorities) {
  auto other = *camera.open(services.context(8));
  std::uint32_t priority = V4L2_PRIORITY_RECORD;
  ASSERT_EQ(code(camera.ioctl(*other, tag::S_PRIORITY{}, priority)), 0);
  ASSERT_EQ(call(tag::G_PRIORITY{}, priority), 0);
  EXPECT_EQ(priority, unsigned{V4L2_PRIORITY_RECORD});
  v4l2_format format{};
  format.type = capture;
  EXPECT_EQ(call(tag::S_FMT{}, format), EBUSY);
  EXPECT_EQ(call(tag::TRY_FMT{}, format), 0);
  EXPECT_EQ(set_control(V4L2_CID_BRIGHTNESS, 1), EBUSY);
  EXPECT_EQ(call(tag::S_PRIORITY{}, priority), EBUSY);
  priority = 17;
  EXPECT_EQ(code(camera.ioctl(*other, tag::S_PRIORITY{}, priority)), EINVAL);
  camera.close(*other);
  EXPECT_EQ(call(tag::S_FMT{}, format), 0);
}

TEST_F(Camera, ChangesItsRateWhileStreaming) {
  ASSERT_EQ(request(2), 0);
  ASSERT_EQ(set_rate(1, 5), 5u);
  ASSERT_EQ(queue(0), 0);
  ASSERT_EQ(stream(true), 0);
  const auto slow = services.deadline();
  ASSERT_EQ(set_rate(1, 60), 60u);
  EXPECT_TRUE(services.has_timer());
  EXPECT_LT(services.deadline(), slow);
}

// USERPTR buffers lie in guest memory, in pieces.
TEST_F(Camera, FillsScatteredUserMemory) {
  const auto pix = set_format(V4L2_PIX_FMT_YUYV, 320, 240);
  const std::uint64_t size = 64 * page_size;
  auto fd = make_sealed_memfd("guest", size);
  ASSERT_TRUE(fd);
  auto view = Mapping::map(fd->get(), 0, size);
  ASSERT_TRUE(view);
  std::vector<memory::RegionSpec> regions;
  regions.push_back(
      {memory::GuestAddress{0x100000}, memory::FrontendAddress{0x7f0000000000}, size, 0, std::move(*fd)});
  auto table = memory::GuestMemory::create(std::move(regions));
  ASSERT_TRUE(table);
  services.memory = *table;

  ASSERT_EQ(request(1, V4L2_MEMORY_USERPTR), 0);
  // Two pages of three, backwards.
  std::vector<v4l2::GuestRange> pages;
  std::uint32_t left = pix.sizeimage;
  for (std::uint64_t page = 63; left > 0 && page > 0; page -= 1) {
    if (page % 3 == 0) continue;
    const auto length = std::min<std::uint32_t>(left, page_size);
    pages.push_back({memory::GuestAddress{0x100000 + page * page_size}, length});
    left -= length;
  }
  ASSERT_EQ(left, 0u);
  const auto queue_user = [&] {
    v4l2::BufferPayload payload{};
    payload.buffer.head.type = capture;
    payload.buffer.head.memory = V4L2_MEMORY_USERPTR;
    payload.buffer.head.length = pix.sizeimage;
    payload.buffer.head.m.userptr = 0x1234;
    payload.ranges.add_list(pages);
    return call(tag::QBUF{}, payload);
  };
  ASSERT_EQ(queue_user(), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 1u);
  EXPECT_EQ(services.dqbufs[0].buffer.head.bytesused, pix.sizeimage);
  EXPECT_EQ(services.dqbufs[0].buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0u);
  std::vector<std::byte> picture;
  for (const auto& page : pages) {
    const auto bytes = view->bytes().subspan(page.start.value - 0x100000, page.length);
    picture.insert(picture.end(), bytes.begin(), bytes.end());
  }
  EXPECT_EQ(test_pattern::read_frame_number(pix, picture), 0u);

  // The memory goes while the buffer waits: a bad frame, not a bad write.
  ASSERT_EQ(queue_user(), 0);
  services.memory = memory::GuestMemory::empty();
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 2u);
  EXPECT_NE(services.dqbufs[1].buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0u);
}

TEST_F(Camera, TakesBuffersLargerThanItsFrames) {
  const auto pix = set_format(V4L2_PIX_FMT_NV12, 320, 240);
  v4l2_create_buffers create{};
  create.count = 1;
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = capture;
  create.format.fmt.pix = pix;
  create.format.fmt.pix.sizeimage = pix.sizeimage + 10000;
  ASSERT_EQ(call(tag::CREATE_BUFS{}, create), 0);
  const auto memory = map(create.index);
  EXPECT_EQ(memory.size(), pix.sizeimage + 10000);
  ASSERT_EQ(queue(create.index), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  EXPECT_EQ(services.dqbufs[0].buffer.head.bytesused, pix.sizeimage);
  create.format.fmt.pix.sizeimage = pix.sizeimage - 1;
  EXPECT_EQ(call(tag::CREATE_BUFS{}, create), EINVAL);
}

TEST(PacerGrid, NeitherDriftsNorBursts) {
  const io::TimePoint start{12345678901ns};
  test_pattern::Pacer pacer;
  pacer.start(start, 30);
  // In time: an hour of frames ends exactly an hour later.
  for (int frame = 1; frame < 30 * 3600; ++frame) pacer.advance(pacer.due());
  EXPECT_EQ(pacer.due(), start + 3600s);
  // A little late: the next frame comes at its old time.
  pacer.advance(pacer.due() + 20ms);
  EXPECT_EQ(pacer.due(), start + 3600s + 33333333ns);
  // After a stall: the next point of the grid, and one frame for all that were missed.
  const auto late = start + 4000s + 1ms;
  pacer.advance(late);
  EXPECT_EQ(pacer.due(), start + 4000s + 33333333ns);
  // Wherever it is asked, the next point lies ahead, no more than a period away.
  for (int step = 0; step < 1000; ++step) {
    const auto now = pacer.due() + 7ms * step;
    pacer.advance(now);
    ASSERT_GT(pacer.due(), now);
    ASSERT_LE(pacer.due() - now, 33333334ns);
  }
}

}  // namespace
}  // namespace vumedia::backends
