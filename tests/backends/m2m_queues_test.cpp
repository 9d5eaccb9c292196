// The two queues of an open memory-to-memory device, what they share, and an open file's events.
#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/m2m/file.hpp>
#include <vumedia/backends/m2m/queues.hpp>

#include "backends/fake_services.hpp"

namespace vumedia::test {
namespace m2m_queues_test {

namespace m2m = backends::m2m;

class M2mQueuesTest : public testing::Test {
 protected:
  static constexpr std::uint64_t max_bytes = 8u << 20;

  int request(std::uint32_t type, std::uint32_t count, std::uint32_t size, std::uint64_t needed = 0) {
    v4l2_requestbuffers request{};
    request.type = type;
    request.memory = V4L2_MEMORY_MMAP;
    request.count = count;
    v4l2::BufferQueue& queue = *queues.find(type);
    auto done = queues.may_allocate(queue, request, size, needed);
    if (done) done = queue.reqbufs(request, std::array{size}, queues.arenas());
    made = request.count;
    return done ? 0 : done.error().value;
  }

  const m2m::QueueTypes types;
  backends::test::FakeServices services;
  m2m::File file{
      services.context(3), types, {4u << 20, 4u << 20}, max_bytes, std::make_shared<memory::Budget>(64)};
  m2m::Queues& queues = file.queues;
  std::uint32_t made = 0;
};

TEST_F(M2mQueuesTest, AreFoundByTheirTypes) {
  EXPECT_EQ(queues.find(types.output), &queues.output());
  EXPECT_EQ(queues.find(types.capture), &queues.capture());
  EXPECT_EQ(queues.find(V4L2_BUF_TYPE_VIDEO_CAPTURE), nullptr);
  EXPECT_EQ(&queues.other(queues.output()), &queues.capture());
  EXPECT_EQ(&queues.other(queues.capture()), &queues.output());
}

TEST_F(M2mQueuesTest, HaveAsManyBuffersAsThereIsMemoryFor) {
  EXPECT_EQ(request(types.output, 32, 1u << 20), 0);
  EXPECT_EQ(made, 8u);
  EXPECT_EQ(request(types.capture, 1, 1u << 20), ENOMEM);
  // Those of a request that replaces them do not count, but what the engine needs does.
  EXPECT_EQ(request(types.output, 32, 1u << 20, 3u << 20), 0);
  EXPECT_EQ(made, 5u);
  // The engine has taken part of that.
  const auto share = memory::Share::take(queues.engine_bytes(), 2u << 20);
  ASSERT_TRUE(share);
  EXPECT_EQ(request(types.output, 32, 1u << 20, 3u << 20), 0);
  EXPECT_EQ(made, 5u);
  v4l2_create_buffers create{};
  create.format.type = types.capture;
  create.memory = V4L2_MEMORY_MMAP;
  create.count = 1;
  create.format.fmt.pix_mp.num_planes = 1;
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 1u << 19;
  EXPECT_TRUE(queues.may_allocate(queues.capture(), create, 0));
  EXPECT_TRUE(queues.capture().create_bufs(create, std::array{1u << 19}, queues.arenas()));
  EXPECT_EQ(create.count, 1u);
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 1u << 30;
  EXPECT_EQ(queues.may_allocate(queues.capture(), create, 0).error().value, EINVAL);
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 0;
  EXPECT_EQ(queues.may_allocate(queues.capture(), create, 0).error().value, EINVAL);
  // The guest's memory costs nothing.
  create.format.fmt.pix_mp.plane_fmt[0].sizeimage = 4u << 20;
  create.memory = V4L2_MEMORY_USERPTR;
  create.count = 32;
  EXPECT_TRUE(queues.may_allocate(queues.capture(), create, 0));
  EXPECT_EQ(create.count, 32u);
}

TEST_F(M2mQueuesTest, NumberTheirBuffersEachByItself) {
  const auto pass = [this](v4l2::BufferQueue& queue) {
    ASSERT_EQ(request(queue.type(), 1, 4096), 0);
    ASSERT_TRUE(queue.stream_on(queue.type()));
    for (int i = 0; i < 2; ++i) {
      v4l2::BufferPayload payload{};
      payload.buffer.head.type = queue.type();
      payload.buffer.head.memory = V4L2_MEMORY_MMAP;
      payload.buffer.head.length = payload.sent.planes = 1;
      ASSERT_TRUE(queue.qbuf(payload));
      ASSERT_EQ(queue.take_next(), 0u);
      queues.complete(queue, 0, {});
    }
  };
  pass(queues.output());
  EXPECT_FALSE(queues.stream());
  pass(queues.capture());
  EXPECT_TRUE(queues.stream());
  ASSERT_TRUE(queues.output().stream_off(types.output));
  queues.restart_sequence(queues.output());
  pass(queues.output());
  ASSERT_EQ(services.dqbufs.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(services.dqbufs[i].buffer.head.sequence, i % 2);
}

TEST_F(M2mQueuesTest, EventsGoToWhoHasSubscribed) {
  file.send_end();
  EXPECT_TRUE(services.events.empty());
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_SOURCE_CHANGE;
  ASSERT_TRUE(file.subscriptions.add(subscription));
  file.send_end();
  EXPECT_TRUE(services.events.empty());
  file.send_source_change();
  EXPECT_EQ(services.events.size(), 1u);
}

}  // namespace m2m_queues_test
}  // namespace vumedia::test
