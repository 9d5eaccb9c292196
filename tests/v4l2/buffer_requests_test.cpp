// What REQBUFS and CREATE_BUFS say and are told, apart from any queue.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_requests.hpp>

namespace vumedia::v4l2::test {
namespace requests {
namespace {

int code(const Result<>& result) {
  return result ? 0 : result.error().value;
}
std::vector<std::uint32_t> sizes_of(const v4l2_format& format) {
  const auto sizes = requested_sizes(format);
  return sizes ? std::vector(sizes->begin(), sizes->end()) : std::vector<std::uint32_t>();
}

TEST(RequestedSizes, AreWhereTheTypeHasThem) {
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  format.fmt.pix.sizeimage = 11;
  EXPECT_EQ(sizes_of(format), (std::vector{11U}));
  format = {};
  format.type = V4L2_BUF_TYPE_SLICED_VBI_CAPTURE;
  format.fmt.sliced.io_size = 12;
  EXPECT_EQ(sizes_of(format), (std::vector{12U}));
  format = {};
  format.type = V4L2_BUF_TYPE_SDR_OUTPUT;
  format.fmt.sdr.buffersize = 13;
  EXPECT_EQ(sizes_of(format), (std::vector{13U}));
  format = {};
  format.type = V4L2_BUF_TYPE_META_CAPTURE;
  format.fmt.meta.buffersize = 14;
  EXPECT_EQ(sizes_of(format), (std::vector{14U}));
  format = {};
  format.type = V4L2_BUF_TYPE_VBI_CAPTURE;
  format.fmt.vbi.samples_per_line = 100;
  format.fmt.vbi.count[0] = 3;
  format.fmt.vbi.count[1] = 4;
  EXPECT_EQ(sizes_of(format), (std::vector{700U}));
  format.fmt.vbi.samples_per_line = 0x80000000;
  EXPECT_TRUE(sizes_of(format).empty()) << "more than 32 bits";
}

TEST(RequestedSizes, OfSeveralPlanes) {
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
  EXPECT_TRUE(sizes_of(format).empty()) << "none";
  for (std::uint32_t p = 0; p < VIDEO_MAX_PLANES; ++p) format.fmt.pix_mp.plane_fmt[p].sizeimage = p + 1;
  format.fmt.pix_mp.num_planes = 3;
  EXPECT_EQ(sizes_of(format), (std::vector{1U, 2U, 3U}));
  format.fmt.pix_mp.num_planes = VIDEO_MAX_PLANES;
  EXPECT_EQ(sizes_of(format).size(), std::size_t{VIDEO_MAX_PLANES});
  format.fmt.pix_mp.num_planes = VIDEO_MAX_PLANES + 1;
  EXPECT_TRUE(sizes_of(format).empty());
  format.fmt.pix_mp.num_planes = 3;
  format.fmt.pix_mp.plane_fmt[1].sizeimage = 0;
  EXPECT_TRUE(sizes_of(format).empty()) << "a plane without bytes";
  for (const std::uint32_t type : {0U, unsigned{V4L2_BUF_TYPE_VIDEO_OVERLAY}, UINT32_MAX}) {
    format.type = type;
    EXPECT_TRUE(sizes_of(format).empty()) << type;
  }
}

TEST(BufferRequests, AreAnsweredWithCapabilitiesInAnyCase) {
  BufferQueueOptions options;
  for (const bool userptr : {false, true}) {
    options.userptr = userptr;
    for (const std::uint32_t memory : {V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR, V4L2_MEMORY_DMABUF}) {
      v4l2_requestbuffers request;
      std::memset(&request, 0xff, sizeof request);
      request.type = options.type;
      request.memory = memory;
      const bool has = memory == V4L2_MEMORY_MMAP || (userptr && memory == V4L2_MEMORY_USERPTR);
      EXPECT_EQ(code(begin_request(options, request)), has ? 0 : EINVAL);
      EXPECT_EQ(request.capabilities, buffer_capabilities(options) | buf_cap_supports_remove_bufs)
          << "the last one comes from the driver";
      EXPECT_EQ(unsigned{request.flags}, 0U);
      for (const auto reserved : request.reserved) EXPECT_EQ(unsigned{reserved}, 0U);
      request.capabilities = 0;
      request.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
      EXPECT_EQ(code(begin_request(options, request)), EINVAL);
      EXPECT_EQ(request.capabilities, buffer_capabilities(options));
    }
  }
}

TEST(BufferRequests, ToCreateAreToldTheNextIndexAndTheMost) {
  BufferQueueOptions options;
  options.max_buffers = 33;
  v4l2_create_buffers request;
  std::memset(&request, 0xff, sizeof request);
  request.memory = V4L2_MEMORY_MMAP;
  request.format.type = options.type;
  EXPECT_EQ(code(begin_request(options, 5, request)), 0);
  EXPECT_EQ(request.index, 5U);
  EXPECT_EQ(request.flags, 0U);
  EXPECT_NE(request.capabilities & buf_cap_supports_max_num_buffers, 0U);
  std::uint32_t words[6];
  std::memcpy(words, &request.flags + 1, sizeof words);
  EXPECT_EQ(words[0], 33U);
  for (std::size_t i = 1; i < 6; ++i) EXPECT_EQ(words[i], 0U);
}

}  // namespace
}  // namespace requests
}  // namespace vumedia::v4l2::test
