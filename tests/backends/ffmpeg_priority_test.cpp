// Priorities among the open files of a decoder, through a device.
#include <cerrno>
#include <cstdint>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg_decoder.hpp>

#include "support/media_guest.hpp"

namespace vumedia::backends::test {
namespace {

namespace tag = v4l2::tag;
using namespace vumedia::test;

struct DecoderPriorities : testing::Test {
  DecoderPriorities() {
    format.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
    EXPECT_EQ(guest.ioctl<tag::G_FMT>(first, format), 0);
    request.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
    request.memory = V4L2_MEMORY_MMAP;
    request.count = 1;
  }
  int set(std::uint32_t session, std::uint32_t priority) {
    return guest.ioctl<tag::S_PRIORITY>(session, priority);
  }

  MediaGuest<FfmpegDecoder> guest;
  const std::uint32_t first = guest.open();
  const std::uint32_t second = guest.open();
  v4l2_format format{};
  v4l2_requestbuffers request{};
};

TEST_F(DecoderPriorities, AHigherFileKeepsOthersFromChangingTheirs) {
  std::uint32_t type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
  v4l2_decoder_cmd stop{};
  stop.cmd = V4L2_DEC_CMD_STOP;
  v4l2_control control{V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, 1};
  std::uint32_t priority = 0;
  ASSERT_EQ(guest.ioctl<tag::G_PRIORITY>(first, priority), 0);
  EXPECT_EQ(priority, unsigned{V4L2_PRIORITY_DEFAULT});

  ASSERT_EQ(set(second, V4L2_PRIORITY_RECORD), 0);
  ASSERT_EQ(guest.ioctl<tag::G_PRIORITY>(first, priority), 0);
  EXPECT_EQ(priority, unsigned{V4L2_PRIORITY_RECORD});
  EXPECT_EQ(set(first, V4L2_PRIORITY_RECORD), EBUSY);
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(first, format), EBUSY);
  EXPECT_EQ(guest.ioctl<tag::REQBUFS>(first, request), EBUSY);
  EXPECT_EQ(guest.ioctl<tag::STREAMON>(first, type), EBUSY);
  EXPECT_EQ(guest.ioctl<tag::STREAMOFF>(first, type), EBUSY);
  EXPECT_EQ(guest.ioctl<tag::DECODER_CMD>(first, stop), EBUSY);
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(first, control), EBUSY);
  // Ioctls that change nothing still work.
  EXPECT_EQ(guest.ioctl<tag::TRY_FMT>(first, format), 0);
  EXPECT_EQ(guest.ioctl<tag::TRY_DECODER_CMD>(first, stop), 0);
  EXPECT_EQ(guest.ioctl<tag::G_CTRL>(first, control), 0);
  v4l2_event_subscription events{};
  events.type = V4L2_EVENT_EOS;
  EXPECT_EQ(guest.ioctl<tag::SUBSCRIBE_EVENT>(first, events), 0);
  // And the file with the priority may.
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(second, format), 0);
  EXPECT_EQ(guest.ioctl<tag::REQBUFS>(second, request), 0);

  guest.close(second);
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(first, format), 0);
  EXPECT_EQ(guest.ioctl<tag::S_CTRL>(first, control), EACCES);
  EXPECT_EQ(set(first, 9), EINVAL);
}

}  // namespace
}  // namespace vumedia::backends::test
