// A device queue that several files share: whoever allocates its buffers owns it until they are freed, and
// the others get the same answers as from videobuf2. And what applies to the owner: 64 buffers, formats, and
// sequences.
#include <cerrno>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern.hpp>

#include "support/media_guest.hpp"

namespace vumedia::media::test {
namespace {

namespace tag = v4l2::tag;
using vumedia::test::bytes_of;

class QueueOfADevice : public testing::Test {
 protected:
  static constexpr std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  using Guest = vumedia::test::MediaGuest<backends::TestPattern>;

  int request(std::uint32_t id, std::uint32_t count, std::uint32_t of_type = type,
              std::uint32_t memory = V4L2_MEMORY_MMAP) {
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = of_type;
    request.memory = memory;
    const int error = guest.ioctl<tag::REQBUFS>(id, request);
    made = request.count;
    return error;
  }
  int create(std::uint32_t id, std::uint32_t count, std::uint32_t of_type = type,
             std::uint32_t memory = V4L2_MEMORY_MMAP) {
    created = {};
    created.count = count;
    created.memory = memory;
    created.format.type = of_type;
    created.format.fmt.pix.sizeimage = 4 << 20;
    return guest.ioctl<tag::CREATE_BUFS>(id, created);
  }
  int remove(std::uint32_t id, std::uint32_t count, std::uint32_t of_type = type) {
    v4l2::RemoveBuffers request{};
    request.count = count;
    request.type = of_type;
    return guest.ioctl<tag::REMOVE_BUFS>(id, request);
  }
  template <class Tag>
  int with_buffer(std::uint32_t id, std::uint32_t index, std::uint32_t of_type = type) {
    v4l2_buffer buffer{};
    buffer.index = index;
    buffer.type = of_type;
    buffer.memory = V4L2_MEMORY_MMAP;
    vumedia::test::Bytes bytes = Guest::ioctl_command(id, Tag::number);
    const auto tail = bytes_of(buffer);
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    return guest.command(bytes, 8 + sizeof buffer).status();
  }
  template <class Tag>
  int with_type(std::uint32_t id, tag::BufferType value = type) {
    return guest.ioctl<Tag>(id, value);
  }
  // S_FMT with the current format except for another width.
  int set_width(std::uint32_t id, std::uint32_t width) {
    v4l2_format format{};
    format.type = type;
    EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0);
    format.fmt.pix.width = width;
    return guest.ioctl<tag::S_FMT>(id, format);
  }
  wire::virtio_media_event_dqbuf next_frame() {
    const auto event = guest.wait_event();
    EXPECT_TRUE(event.has_value());
    guest.lend_event_buffers(1);
    return event ? event->as<wire::virtio_media_event_dqbuf>() : wire::virtio_media_event_dqbuf{};
  }

  Guest guest{{.memory_size = std::uint64_t{16} << 20}, {}};
  std::uint32_t made = 0;
  v4l2_create_buffers created{};
};

TEST_F(QueueOfADevice, IsItsOwnersUntilTheBuffersAreFreed) {
  const std::uint32_t owner = guest.open(), other = guest.open();
  constexpr std::uint32_t wrong = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  // No owner: whatever fails, fails as for anyone.
  EXPECT_EQ(request(other, 0), 0);
  EXPECT_EQ(with_type<tag::STREAMON>(other), EINVAL);
  EXPECT_EQ(with_type<tag::STREAMOFF>(other), 0);
  EXPECT_EQ(with_buffer<tag::QBUF>(other, 0), EINVAL);

  ASSERT_EQ(request(owner, 2), 0);
  for (const bool streaming : {false, true}) {
    SCOPED_TRACE(streaming);
    if (streaming) {
      ASSERT_EQ(with_type<tag::STREAMON>(owner), 0);
    }
    EXPECT_EQ(request(other, 2), EBUSY);
    EXPECT_EQ(request(other, 0), EBUSY);
    EXPECT_EQ(request(other, 2, wrong), EINVAL);
    EXPECT_EQ(request(other, 2, type, 77), EINVAL);
    EXPECT_EQ(create(other, 1), EBUSY);
    EXPECT_EQ(create(other, 1, wrong), EINVAL);
    EXPECT_EQ(create(other, 1, type, V4L2_MEMORY_DMABUF), EINVAL);
    EXPECT_EQ(create(other, 0), 0) << "a question, which anyone may ask";
    EXPECT_EQ(created.index, 2U);
    EXPECT_NE(created.capabilities & V4L2_BUF_CAP_SUPPORTS_MMAP, 0U);
    EXPECT_EQ(remove(other, 1), EBUSY);
    EXPECT_EQ(remove(other, 0), 0);
    EXPECT_EQ(remove(other, 1, wrong), EINVAL);
    EXPECT_EQ(with_buffer<tag::QUERYBUF>(other, 1), 0) << "anyone may look";
    EXPECT_EQ(with_buffer<tag::QUERYBUF>(other, 2), EINVAL);
    EXPECT_EQ(with_buffer<tag::QBUF>(other, 0), EBUSY);
    EXPECT_EQ(with_buffer<tag::PREPARE_BUF>(other, 0), EBUSY);
    EXPECT_EQ(with_buffer<tag::QBUF>(other, 0, wrong), EINVAL);
    EXPECT_EQ(with_type<tag::STREAMON>(other), EBUSY);
    EXPECT_EQ(with_type<tag::STREAMOFF>(other), EBUSY);
    EXPECT_EQ(with_type<tag::STREAMOFF>(other, wrong), EINVAL);
  }
  // The owner does not lose it with a request that fails, nor with the last buffer.
  EXPECT_EQ(request(owner, 0), EBUSY);
  EXPECT_EQ(remove(owner, 2), 0);
  EXPECT_EQ(request(other, 2), EBUSY);
  EXPECT_EQ(with_type<tag::STREAMOFF>(owner), 0);
  EXPECT_EQ(create(owner, 1), 0);
  EXPECT_EQ(request(owner, 0), 0);
  // Nor does it belong to the first one forever.
  EXPECT_EQ(create(other, 1), 0);
  EXPECT_EQ(request(owner, 1), EBUSY);
  guest.close(other);
  EXPECT_EQ(request(owner, 1), 0);
  guest.close(owner);
}

TEST_F(QueueOfADevice, KeepsItsFormatWhileThereAreBuffers) {
  const std::uint32_t owner = guest.open(), other = guest.open();
  ASSERT_EQ(set_width(owner, 320), 0);
  ASSERT_EQ(request(owner, 2), 0);
  EXPECT_EQ(set_width(owner, 640), EBUSY);
  EXPECT_EQ(set_width(other, 640), EBUSY);
  ASSERT_EQ(remove(owner, 2), 0);
  EXPECT_EQ(set_width(owner, 640), EBUSY) << "until they are freed by REQBUFS";
  ASSERT_EQ(request(owner, 0), 0);
  EXPECT_EQ(set_width(other, 640), 0);
  // CREATE_BUFS takes larger buffers than the format needs, but no smaller ones.
  ASSERT_EQ(create(owner, 1), 0);
  v4l2_create_buffers small{};
  small.count = 1;
  small.memory = V4L2_MEMORY_MMAP;
  small.format.type = type;
  small.format.fmt.pix.sizeimage = 320 * 240 * 3;
  EXPECT_EQ(guest.ioctl<tag::CREATE_BUFS>(owner, small), EINVAL);
}

TEST_F(QueueOfADevice, HasSixtyFourBuffersWithAPlaceEach) {
  const std::uint32_t id = guest.open();
  ASSERT_EQ(set_width(id, 320), 0);
  ASSERT_EQ(request(id, 1000), 0);
  EXPECT_EQ(made, 64U);
  EXPECT_EQ(create(id, 1), ENOBUFS);
  std::set<std::uint32_t> offsets;
  for (std::uint32_t i = 0; i < 64; ++i) {
    v4l2_buffer buffer{};
    buffer.index = i;
    buffer.type = type;
    vumedia::test::Bytes bytes = Guest::ioctl_command(id, tag::QUERYBUF::number);
    const auto tail = bytes_of(buffer);
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    const auto reply = guest.command(bytes, 8 + sizeof buffer);
    ASSERT_EQ(reply.status(), 0);
    offsets.insert(reply.as<v4l2_buffer>(8).m.offset);
    ASSERT_EQ(with_buffer<tag::QBUF>(id, i), 0);
  }
  EXPECT_EQ(offsets.size(), 64U);
  EXPECT_EQ(with_buffer<tag::QBUF>(id, 64), EINVAL);
  std::set<std::uint64_t> addresses;
  for (const std::uint32_t offset : offsets) addresses.insert(guest.mmap(id, offset).driver_addr);
  EXPECT_EQ(addresses.size(), 64U);
  for (const std::uint64_t address : addresses) EXPECT_EQ(guest.munmap(address), 0);
  guest.close(id);
  // Freed in parts, one each turn of the loop.
  guest.run_until([&] { return !guest.device->arenas().dirty(); });
  EXPECT_EQ(guest.device->arenas().used_bytes(), 0U);
}

TEST_F(QueueOfADevice, CountsItsFramesFromEachStreamon) {
  const std::uint32_t id = guest.open();
  ASSERT_EQ(set_width(id, 320), 0);
  ASSERT_EQ(request(id, 3), 0);
  guest.lend_event_buffers(8);
  std::uint64_t last = 0;
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t i = 0; i < 3; ++i) ASSERT_EQ(with_buffer<tag::QBUF>(id, i), 0);
    ASSERT_EQ(with_type<tag::STREAMON>(id), 0);
    for (std::uint32_t i = 0; i < 2; ++i) {
      const auto frame = next_frame();
      EXPECT_EQ(frame.buffer.sequence, i);
      EXPECT_EQ(frame.buffer.index, i);
      EXPECT_EQ(frame.buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK,
                std::uint32_t{V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC});
      const auto time = static_cast<std::uint64_t>(frame.buffer.timestamp.tv_sec) * 1'000'000 +
                        static_cast<std::uint64_t>(frame.buffer.timestamp.tv_usec);
      EXPECT_GT(time, last) << "CLOCK_MONOTONIC, also over STREAMOFF";
      last = time;
    }
    ASSERT_EQ(with_type<tag::STREAMOFF>(id), 0);
  }
  guest.close(id);
}

}  // namespace
}  // namespace vumedia::media::test
