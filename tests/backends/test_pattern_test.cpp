// The test pattern camera as a V4L2 device: formats, rates, controls, buffers, and the contents of its
// frames.
#include <algorithm>
#include <array>
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

int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}

// With each plane API: true for the multi-planar one.
class Camera : public testing::TestWithParam<bool> {
 protected:
  // A format in the terms that both APIs share.
  struct Format {
    std::uint32_t code = 0, width = 0, height = 0, planes = 1;
    std::array<v4l2::Layout::Plane, 3> plane{};
  };

  ~Camera() override {
    if (session) camera.close(*session);
  }

  template <class Tag>
  int call(Tag, typename Tag::Payload& payload) {
    return code(camera.ioctl(*session, Tag{}, payload));
  }

  v4l2_format empty_format() const {
    v4l2_format format{};
    format.type = capture;
    return format;
  }
  v4l2_format ask_for(std::uint32_t fourcc, std::uint32_t width, std::uint32_t height,
                      std::uint32_t stride = 0) const {
    v4l2_format format = empty_format();
    if (multiplanar) {
      format.fmt.pix_mp.pixelformat = fourcc;
      format.fmt.pix_mp.width = width;
      format.fmt.pix_mp.height = height;
      format.fmt.pix_mp.plane_fmt[0].bytesperline = stride;
    } else {
      format.fmt.pix.pixelformat = fourcc;
      format.fmt.pix.width = width;
      format.fmt.pix.height = height;
      format.fmt.pix.bytesperline = stride;
    }
    return format;
  }
  Format read(const v4l2_format& format) const {
    EXPECT_EQ(format.type, capture);
    if (!multiplanar) {
      const v4l2_pix_format& pix = format.fmt.pix;
      return {pix.pixelformat, pix.width, pix.height, 1, {{{pix.bytesperline, pix.sizeimage}}}};
    }
    const v4l2_pix_format_mplane& pix = format.fmt.pix_mp;
    Format read{pix.pixelformat, pix.width, pix.height, pix.num_planes, {}};
    EXPECT_LE(read.planes, 3u);
    for (std::size_t p = 0; p < VIDEO_MAX_PLANES; ++p) {
      const v4l2_plane_pix_format plane = pix.plane_fmt[p];
      if (p < std::min(read.planes, 3u)) {
        read.plane[p] = {plane.bytesperline, plane.sizeimage};
      } else {
        EXPECT_EQ(std::uint32_t{plane.sizeimage}, 0u) << "a plane that is not there";
      }
    }
    return read;
  }
  Format set_format(std::uint32_t fourcc, std::uint32_t width, std::uint32_t height,
                    std::uint32_t stride = 0) {
    v4l2_format format = ask_for(fourcc, width, height, stride);
    EXPECT_EQ(call(tag::S_FMT{}, format), 0);
    return read(format);
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
  v4l2::BufferPayload make_payload(std::uint32_t index, std::uint32_t memory = V4L2_MEMORY_MMAP) const {
    v4l2::BufferPayload payload{};
    payload.buffer.head.index = index;
    payload.buffer.head.type = capture;
    payload.buffer.head.memory = memory;
    if (multiplanar) payload.sent.planes = payload.buffer.head.length = VIDEO_MAX_PLANES;
    return payload;
  }
  // For one buffer of one plane.
  v4l2_create_buffers make_create(std::uint32_t size) const {
    v4l2_create_buffers create{};
    create.count = 1;
    create.memory = V4L2_MEMORY_MMAP;
    create.format.type = capture;
    if (multiplanar) {
      create.format.fmt.pix_mp.num_planes = 1;
      create.format.fmt.pix_mp.plane_fmt[0].sizeimage = size;
    } else {
      create.format.fmt.pix.sizeimage = size;
    }
    return create;
  }
  // The planes of a buffer, each mapped by its own offset.
  std::vector<std::span<std::byte>> map_planes(std::uint32_t index) {
    v4l2::BufferPayload payload = make_payload(index);
    EXPECT_EQ(call(tag::QUERYBUF{}, payload), 0);
    std::vector<std::span<std::byte>> planes;
    const v4l2_buffer& head = payload.buffer.head;
    for (std::size_t p = 0; p < (multiplanar ? head.length : 1); ++p) {
      const v4l2_plane& plane = payload.buffer.planes[p];
      auto mappable = camera.mmap(*session, multiplanar ? plane.m.mem_offset : head.m.offset);
      EXPECT_TRUE(mappable);
      EXPECT_EQ(mappable->length, multiplanar ? plane.length : head.length);
      mapped.push_back(mappable->block);
      planes.push_back(mapped.back()->bytes().first(mappable->length));
    }
    return planes;
  }
  // The first plane, which has the frame number in it.
  std::span<std::byte> map(std::uint32_t index) { return map_planes(index).front(); }
  int queue(std::uint32_t index) {
    v4l2::BufferPayload payload = make_payload(index);
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
  // The filled bytes of a plane according to a returned buffer.
  std::uint32_t used(const v4l2::Buffer& buffer, std::size_t plane = 0) const {
    return multiplanar ? buffer.planes[plane].bytesused : buffer.head.bytesused;
  }
  static std::optional<std::uint32_t> number_in(const Format& format, std::span<const std::byte> plane) {
    v4l2_pix_format pix{};
    pix.pixelformat = format.code;
    pix.width = format.width;
    pix.height = format.height;
    pix.bytesperline = format.plane[0].bytesperline;
    return test_pattern::read_frame_number(pix, plane);
  }

  const bool multiplanar = GetParam();
  const std::uint32_t capture =
      multiplanar ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
  FakeServices services;
  TestPattern camera{TestPatternOptions{.multiplanar = multiplanar}};
  std::unique_ptr<TestPattern::Session> session = *camera.open(services.context(7));
  std::vector<std::shared_ptr<const memory::Block>> mapped;
};
INSTANTIATE_TEST_SUITE_P(Planes, Camera, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "Multi" : "Single"; });

std::uint64_t time_ns(const v4l2::Buffer& buffer) {
  return static_cast<std::uint64_t>(buffer.head.timestamp.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(buffer.head.timestamp.tv_usec) * 1000;
}

TEST_P(Camera, EnumeratesFormatsSizesAndRates) {
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
      const auto format = set_format(description.pixelformat, size.discrete.width, size.discrete.height);
      EXPECT_EQ(format.width, size.discrete.width);
      EXPECT_EQ(format.height, size.discrete.height);
      EXPECT_EQ(format.code, description.pixelformat);
    }
    EXPECT_EQ(size.index, test_pattern::frame_sizes.size());
  }
  std::set<std::uint32_t> expected{V4L2_PIX_FMT_RGB24, V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12,
                                   V4L2_PIX_FMT_YUV420};
  if (multiplanar) expected.insert({V4L2_PIX_FMT_NV12M, V4L2_PIX_FMT_YUV420M});
  EXPECT_EQ(fourccs, expected);
}

TEST_P(Camera, KeepsTheFormatWhileBuffersExist) {
  ASSERT_EQ(request(2), 0);
  v4l2_format format = empty_format();
  EXPECT_EQ(call(tag::S_FMT{}, format), EBUSY);
  EXPECT_EQ(call(tag::TRY_FMT{}, format), 0);
  ASSERT_EQ(request(0), 0);
  EXPECT_EQ(call(tag::S_FMT{}, format), 0);
}

TEST_P(Camera, HasOneInputInGoodOrder) {
  v4l2_input input;
  std::memset(&input, 0xa5, sizeof input);
  input.index = 0;
  ASSERT_EQ(call(tag::ENUMINPUT{}, input), 0);
  EXPECT_EQ(input.type, unsigned{V4L2_INPUT_TYPE_CAMERA});
  EXPECT_STRNE(reinterpret_cast<const char*>(input.name), "");
  EXPECT_EQ(input.status, 0u) << "no power, no signal, ... : none of it";
  EXPECT_EQ(input.capabilities, 0u) << "neither standards nor timings";
  EXPECT_EQ(input.std, 0u);
  EXPECT_EQ(input.audioset + input.tuner, 0u);
  EXPECT_EQ(input.reserved[0] + input.reserved[1] + input.reserved[2], 0u);
  input.index = 1;
  EXPECT_EQ(call(tag::ENUMINPUT{}, input), EINVAL);
  std::uint32_t index = 99;
  EXPECT_EQ(call(tag::G_INPUT{}, index), 0);
  EXPECT_EQ(index, 0u);
  EXPECT_EQ(call(tag::S_INPUT{}, index), 0);
  index = 1;
  EXPECT_EQ(call(tag::S_INPUT{}, index), EINVAL);
}

// The part of the selection API that a camera without cropping has; its rectangles are checked with the
// formats.
TEST_P(Camera, HasNoRectangleToBeSet) {
  constexpr std::array<std::uint32_t, 5> targets{V4L2_SEL_TGT_CROP, V4L2_SEL_TGT_CROP_DEFAULT,
                                                 V4L2_SEL_TGT_CROP_BOUNDS, V4L2_SEL_TGT_COMPOSE, 0xffff};
  for (const auto target : targets) {
    v4l2_selection selection{};
    selection.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    selection.target = target;
    EXPECT_EQ(call(tag::S_SELECTION{}, selection), EINVAL) << target;
    const bool bounds = target == V4L2_SEL_TGT_CROP_DEFAULT || target == V4L2_SEL_TGT_CROP_BOUNDS;
    EXPECT_EQ(call(tag::G_SELECTION{}, selection), bounds ? 0 : EINVAL) << target;
  }
}

TEST_P(Camera, SaysWhichApiItHas) {
  const auto config = camera.config();
  EXPECT_EQ(config.device_caps & (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_VIDEO_CAPTURE_MPLANE),
            static_cast<unsigned>(multiplanar ? V4L2_CAP_VIDEO_CAPTURE_MPLANE : V4L2_CAP_VIDEO_CAPTURE));
  EXPECT_EQ(config.device_caps & (V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT),
            unsigned{V4L2_CAP_STREAMING | V4L2_CAP_EXT_PIX_FORMAT});
  EXPECT_EQ(config.device_caps & (V4L2_CAP_IO_MC | V4L2_CAP_READWRITE), 0u);
}

TEST_P(Camera, WritesLinesAsFarApartAsWasAskedFor) {
  const auto format = set_format(V4L2_PIX_FMT_NV12, 320, 240, 512);
  EXPECT_EQ(format.plane[0].bytesperline, 512u);
  EXPECT_EQ(format.plane[0].sizeimage, 512u * 360);
  ASSERT_EQ(request(1), 0);
  const auto memory = map(0);
  ASSERT_EQ(queue(0), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  EXPECT_EQ(number_in(format, memory), 0u);
  for (std::size_t line = 0; line < 360; ++line)
    EXPECT_EQ(memory[line * 512 + 320], std::byte{0}) << "padding in line " << line;
}

TEST_P(Camera, FramesCarryNumberSequenceAndDueTime) {
  const auto before = io::Clock::now();
  struct Row {
    std::uint32_t fourcc, width, height;
  };
  std::vector<Row> rows{{V4L2_PIX_FMT_RGB24, 640, 480},
                        {V4L2_PIX_FMT_YUYV, 1280, 720},
                        {V4L2_PIX_FMT_NV12, 1920, 1080},
                        {V4L2_PIX_FMT_YUV420, 800, 600}};
  if (multiplanar) {
    rows.push_back({V4L2_PIX_FMT_NV12M, 320, 240});
    rows.push_back({V4L2_PIX_FMT_YUV420M, 640, 480});
  }
  for (const auto& [fourcc, width, height] : rows) {
    const auto format = set_format(fourcc, width, height);
    ASSERT_EQ(set_rate(1, 30), 30u);
    ASSERT_EQ(request(3), 0);
    std::vector<std::span<std::byte>> buffers;
    for (std::uint32_t index = 0; index < 3; ++index) {
      const auto planes = map_planes(index);
      ASSERT_EQ(planes.size(), format.planes);
      for (std::size_t p = 0; p < planes.size(); ++p) {
        ASSERT_EQ(planes[p].size(), format.plane[p].sizeimage);
        std::ranges::fill(planes[p], std::byte{1});  // a value that no picture consists of alone
      }
      buffers.push_back(planes.front());
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
      if (multiplanar) {
        EXPECT_EQ(buffer.head.length, format.planes) << "planes";
      }
      for (std::size_t p = 0; p < format.planes; ++p) EXPECT_EQ(used(buffer, p), format.plane[p].sizeimage);
      EXPECT_EQ(buffer.head.field, unsigned{V4L2_FIELD_NONE});
      EXPECT_EQ(buffer.head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK,
                unsigned{V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC});
      EXPECT_EQ(buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0u);
      EXPECT_EQ(number_in(format, buffers[number % 3]), number);
      EXPECT_GE(time_ns(buffer), static_cast<std::uint64_t>(before.time_since_epoch() / 1ns) / 1000 * 1000);
      ASSERT_EQ(queue(number % 3), 0);
    }
    // On a grid of 1/30 s from the first on; a stamp is cut to whole microseconds. Frames that come late
    // because this machine was busy may skip points of the grid, but never leave it.
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

TEST_P(Camera, WritesWithinTheBufferOnly) {
  const auto format = set_format(V4L2_PIX_FMT_YUV420, 320, 240);
  ASSERT_EQ(request(3), 0);
  // Neighbours in one arena; only the one in the middle is queued.
  std::vector<std::span<std::byte>> buffers;
  for (std::uint32_t index = 0; index < 3; ++index) buffers.push_back(map(index));
  for (const auto& block : mapped) std::memset(block->data(), 0x5a, block->size());
  ASSERT_EQ(queue(1), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  EXPECT_EQ(number_in(format, buffers[1]), 0u);
  const auto untouched = [](std::byte byte) { return byte == std::byte{0x5a}; };
  EXPECT_TRUE(std::ranges::all_of(mapped[0]->bytes(), untouched));
  EXPECT_TRUE(std::ranges::all_of(mapped[2]->bytes(), untouched));
  EXPECT_TRUE(std::ranges::all_of(mapped[1]->bytes().subspan(format.plane[0].sizeimage), untouched));
}

TEST_P(Camera, MakesNoFrameWithoutABuffer) {
  const auto format = set_format(V4L2_PIX_FMT_NV12, 320, 240);
  ASSERT_EQ(request(2), 0);
  const auto memory = map(0);
  const auto before = io::Clock::now();
  ASSERT_EQ(stream(true), 0);
  EXPECT_FALSE(services.has_timer()) << "a wake-up for nothing";
  ASSERT_EQ(queue(0), 0);
  ASSERT_TRUE(services.has_timer());
  EXPECT_GE(services.deadline(), before);
  ASSERT_TRUE(services.fire());
  EXPECT_FALSE(services.fire());
  ASSERT_EQ(queue(0), 0);
  ASSERT_TRUE(services.fire());
  ASSERT_EQ(services.dqbufs.size(), 2u);
  EXPECT_EQ(services.dqbufs[1].buffer.head.sequence, 1u) << "no gap";
  EXPECT_EQ(number_in(format, memory), 1u);
}

TEST_P(Camera, StartsAnewWithEachStreamOn) {
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

TEST_P(Camera, ControlsChangeThePicture) {
  const auto format = set_format(V4L2_PIX_FMT_NV12, 320, 240);
  ASSERT_EQ(control(V4L2_CID_BRIGHTNESS), test_pattern::brightness_default);
  ASSERT_EQ(control(V4L2_CID_TEST_PATTERN), 0);
  EXPECT_EQ(control(V4L2_CID_JPEG_COMPRESSION_QUALITY), std::nullopt) << "it compresses nothing";
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
  EXPECT_EQ(number_in(format, memory), 3u);
  v4l2_querymenu menu{};
  menu.id = V4L2_CID_TEST_PATTERN;
  std::set<std::string> names;
  for (; call(tag::QUERYMENU{}, menu) == 0; ++menu.index)
    names.insert(reinterpret_cast<const char*>(menu.name));
  EXPECT_EQ(names.size(), test_pattern::pattern_names.size());
}

TEST_P(Camera, TellsOtherSessionsOfControlChanges) {
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

TEST_P(Camera, GivesTheStreamToOneSession) {
  auto other = *camera.open(services.context(8));
  ASSERT_EQ(request(2), 0);
  v4l2_requestbuffers buffers{};
  buffers.count = 1;
  buffers.type = capture;
  buffers.memory = V4L2_MEMORY_MMAP;
  EXPECT_EQ(code(camera.ioctl(*other, tag::REQBUFS{}, buffers)), EBUSY);
  v4l2_create_buffers create = make_create(1 << 20);
  EXPECT_EQ(code(camera.ioctl(*other, tag::CREATE_BUFS{}, create)), EBUSY);
  v4l2::BufferPayload payload = make_payload(0);
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

TEST_P(Camera, HonoursPriorities) {
  auto other = *camera.open(services.context(8));
  std::uint32_t priority = V4L2_PRIORITY_RECORD;
  ASSERT_EQ(code(camera.ioctl(*other, tag::S_PRIORITY{}, priority)), 0);
  ASSERT_EQ(call(tag::G_PRIORITY{}, priority), 0);
  EXPECT_EQ(priority, unsigned{V4L2_PRIORITY_RECORD});
  v4l2_format format = empty_format();
  EXPECT_EQ(call(tag::S_FMT{}, format), EBUSY);
  EXPECT_EQ(call(tag::TRY_FMT{}, format), 0);
  EXPECT_EQ(set_control(V4L2_CID_BRIGHTNESS, 1), EBUSY);
  EXPECT_EQ(call(tag::S_PRIORITY{}, priority), EBUSY);
  // Priority comes before any other error of a request, because the kernel checks it first.
  v4l2_selection selection{};
  EXPECT_EQ(call(tag::S_SELECTION{}, selection), EBUSY);
  v4l2_streamparm parameters{};
  EXPECT_EQ(call(tag::S_PARM{}, parameters), EBUSY);
  std::uint32_t input = 5;
  EXPECT_EQ(call(tag::S_INPUT{}, input), EBUSY);
  EXPECT_EQ(request(1), EBUSY);
  EXPECT_EQ(call(tag::G_PARM{}, parameters), EINVAL) << "who only looks needs none";
  priority = 17;
  EXPECT_EQ(code(camera.ioctl(*other, tag::S_PRIORITY{}, priority)), EINVAL);
  camera.close(*other);
  other.reset();
  EXPECT_EQ(call(tag::S_FMT{}, format), 0);
}

TEST_P(Camera, ChangesItsRateWhileStreaming) {
  ASSERT_EQ(request(2), 0);
  ASSERT_EQ(set_rate(1, 5), 5u);
  ASSERT_EQ(queue(0), 0);
  ASSERT_EQ(stream(true), 0);
  const auto slow = services.deadline();
  ASSERT_EQ(set_rate(1, 60), 60u);
  EXPECT_TRUE(services.has_timer());
  EXPECT_LT(services.deadline(), slow);
}

// USERPTR buffers lie in guest memory, in pieces, and are painted there.
TEST_P(Camera, FillsScatteredUserMemory) {
  const auto format =
      multiplanar ? set_format(V4L2_PIX_FMT_YUV420M, 320, 240) : set_format(V4L2_PIX_FMT_YUYV, 320, 240);
  const std::uint64_t size = 64 * page_size;
  auto fd = make_sealed_memfd("guest", size);
  ASSERT_TRUE(fd);
  auto view = Mapping::map(fd->get(), 0, size);
  ASSERT_TRUE(view);
  std::memset(view->data(), 0x5a, size);
  std::vector<memory::RegionSpec> regions;
  regions.push_back(
      {memory::GuestAddress{0x100000}, memory::FrontendAddress{0x7f0000000000}, size, 0, std::move(*fd)});
  auto table = memory::GuestMemory::create(std::move(regions));
  ASSERT_TRUE(table);
  services.memory = *table;

  ASSERT_EQ(request(1, V4L2_MEMORY_USERPTR), 0);
  // Two pages of three, backwards.
  std::vector<std::vector<v4l2::GuestRange>> planes;
  std::uint64_t page = 63;
  for (std::uint32_t p = 0; p < format.planes; ++p) {
    auto& pages = planes.emplace_back();
    for (std::uint32_t left = format.plane[p].sizeimage; left > 0; --page) {
      ASSERT_GT(page, 0u);
      if (page % 3 == 0) continue;
      const auto length = std::min<std::uint32_t>(left, page_size);
      pages.push_back({memory::GuestAddress{0x100000 + page * page_size}, length});
      left -= length;
    }
  }
  const auto queue_user = [&] {
    v4l2::BufferPayload payload = make_payload(0, V4L2_MEMORY_USERPTR);
    for (std::size_t p = 0; p < planes.size(); ++p) {
      v4l2_plane& plane = payload.buffer.planes[p];
      (multiplanar ? plane.length : payload.buffer.head.length) = format.plane[p].sizeimage;
      (multiplanar ? plane.m.userptr : payload.buffer.head.m.userptr) = 0x1234 + p;
      payload.ranges.add_list(planes[p]);
    }
    return call(tag::QBUF{}, payload);
  };
  const auto gather = [&](std::size_t p) {
    std::vector<std::byte> bytes;
    for (const auto& range : planes[p]) {
      const auto piece = view->bytes().subspan(range.start.value - 0x100000, range.length);
      bytes.insert(bytes.end(), piece.begin(), piece.end());
    }
    return bytes;
  };
  const auto expect_frame = [&](std::uint32_t number) {
    ASSERT_EQ(services.dqbufs.size(), number + 1);
    const v4l2::Buffer& buffer = services.dqbufs[number].buffer;
    EXPECT_EQ(buffer.head.flags & V4L2_BUF_FLAG_ERROR, 0u);
    EXPECT_EQ(number_in(format, gather(0)), number);
    for (std::size_t p = 0; p < planes.size(); ++p) {
      EXPECT_EQ(used(buffer, p), format.plane[p].sizeimage);
      EXPECT_EQ(multiplanar ? buffer.planes[p].m.userptr : buffer.head.m.userptr, 0x1234 + p);
      EXPECT_EQ(std::ranges::count(gather(p), std::byte{0x5a}), 0) << "a gap in plane " << p;
    }
  };
  ASSERT_EQ(queue_user(), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  expect_frame(0);
  EXPECT_EQ(services.arenas.used_bytes(), 0u) << "painted aside and copied";
  for (page = 0; page < 64; page += 3)
    EXPECT_EQ(view->bytes()[page * page_size], std::byte{0x5a}) << "someone else's page " << page;

  // A table without that memory comes while the buffer waits: the memory stays valid until the buffer
  // returns, and cannot be queued again.
  ASSERT_EQ(queue_user(), 0);
  services.memory = memory::GuestMemory::empty();
  ASSERT_TRUE(services.fire());
  expect_frame(1);
  EXPECT_EQ(queue_user(), EFAULT);
}

TEST_P(Camera, TakesBuffersLargerThanItsFrames) {
  const auto format = set_format(V4L2_PIX_FMT_NV12, 320, 240);
  v4l2_create_buffers create = make_create(format.plane[0].sizeimage + 10000);
  ASSERT_EQ(call(tag::CREATE_BUFS{}, create), 0);
  const auto memory = map(create.index);
  EXPECT_EQ(memory.size(), format.plane[0].sizeimage + 10000);
  ASSERT_EQ(queue(create.index), 0);
  ASSERT_EQ(stream(true), 0);
  ASSERT_TRUE(services.fire());
  EXPECT_EQ(used(services.dqbufs[0].buffer), format.plane[0].sizeimage);
  create = make_create(format.plane[0].sizeimage - 1);
  EXPECT_EQ(call(tag::CREATE_BUFS{}, create), EINVAL);
}

}  // namespace
}  // namespace vumedia::backends
