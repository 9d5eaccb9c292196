// The buffer queue compared with videobuf2's rules: allocation, mappings, streaming, and random operations
// compared with a model of its states.
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_queue.hpp>

#include "v4l2/queue_user.hpp"

namespace vumedia::v4l2::test {
namespace {

TEST(BufferQueue, RefusesWhatIsNotItsOwn) {
  QueueUser f;
  struct Case {
    std::uint32_t type, memory, count;
    int error;
  };
  const Case cases[] = {{V4L2_BUF_TYPE_VIDEO_OUTPUT, V4L2_MEMORY_MMAP, 2, EINVAL},
                        {0, V4L2_MEMORY_MMAP, 2, EINVAL},
                        {UINT32_MAX, V4L2_MEMORY_MMAP, 2, EINVAL},
                        {V4L2_BUF_TYPE_VIDEO_CAPTURE, 0, 2, EINVAL},
                        {V4L2_BUF_TYPE_VIDEO_CAPTURE, 99, 0, EINVAL},
                        {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 2, EINVAL},
                        {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_OVERLAY, 2, EINVAL},
                        {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_DMABUF, 2, EINVAL},
                        {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_MMAP, 0, 0},
                        {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_MMAP, 2, 0}};
  for (const Case& test : cases) {
    v4l2_requestbuffers request{};
    request.type = test.type;
    request.memory = test.memory;
    request.count = test.count;
    EXPECT_EQ(code(f.queue.reqbufs(request, kSizes, f.arenas)), test.error)
        << test.type << ' ' << test.memory;
    EXPECT_EQ(request.capabilities, V4L2_BUF_CAP_SUPPORTS_MMAP | V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS);
  }
  EXPECT_EQ(code(f.queue.stream_on(V4L2_BUF_TYPE_VIDEO_OUTPUT)), EINVAL);
  EXPECT_EQ(code(f.queue.stream_off(V4L2_BUF_TYPE_VIDEO_OUTPUT)), EINVAL);
}

TEST(BufferQueue, ReqbufsClampsAndReports) {
  QueueUser f({.min_buffers = 3});
  EXPECT_EQ(f.reqbufs(1), 0);
  EXPECT_EQ(f.request.count, 3U);
  EXPECT_EQ(f.request.flags, 0U);
  EXPECT_TRUE(f.queue.is_busy());
  EXPECT_EQ(f.reqbufs(UINT32_MAX), 0);
  EXPECT_EQ(f.request.count, 64U);
  EXPECT_EQ(f.queue.count(), 64U);
  EXPECT_EQ(f.reqbufs(0), 0);
  EXPECT_EQ(f.queue.count(), 0U);
  EXPECT_FALSE(f.queue.is_busy());
  EXPECT_EQ(f.arenas.used_bytes(), 0U);
}

TEST(BufferQueue, ReqbufsIsBusyWhileStreaming) {
  QueueUser f;
  EXPECT_EQ(f.stream_on(), EINVAL);  // no buffers
  EXPECT_EQ(f.stream_off(), 0);
  ASSERT_EQ(f.reqbufs(2), 0);
  EXPECT_EQ(f.stream_on(), 0);
  EXPECT_EQ(f.stream_on(), 0);
  EXPECT_EQ(f.reqbufs(3), EBUSY);
  EXPECT_EQ(f.reqbufs(0), EBUSY);
  EXPECT_EQ(f.create_bufs(1), 0);
  EXPECT_EQ(f.stream_off(), 0);
  EXPECT_EQ(f.reqbufs(0), 0);
}

TEST(BufferQueue, ReqbufsLowersTheCountWhenMemoryLacks) {
  QueueUser f({.min_buffers = 2});
  f.arenas = memory::Arenas({.arena_size = 12288, .total_bytes = 3 * 12288});
  EXPECT_EQ(f.reqbufs(8), 0);
  EXPECT_EQ(f.request.count, 3U);
  EXPECT_EQ(f.create_bufs(1), ENOMEM);
  EXPECT_EQ(f.queue.count(), 3U);
  EXPECT_EQ(f.reqbufs(0), 0);

  f.arenas = memory::Arenas({.arena_size = 12288, .total_bytes = 12288});
  EXPECT_EQ(f.reqbufs(8), ENOMEM);
  EXPECT_EQ(f.queue.count(), 0U);
  EXPECT_FALSE(f.queue.is_busy());
  EXPECT_EQ(f.arenas.used_bytes(), 0U);
}

TEST(BufferQueue, CreateBufsChecksSizesAndIndices) {
  QueueUser f({.max_buffers = 6});
  EXPECT_EQ(f.create_bufs(0), 0);  // only a query
  EXPECT_EQ(f.create.index, 0U);
  EXPECT_EQ(f.create.capabilities & buf_cap_supports_max_num_buffers, buf_cap_supports_max_num_buffers);
  std::uint32_t max_num_buffers = 0;
  std::memcpy(&max_num_buffers, &f.create.flags + 1, sizeof max_num_buffers);
  EXPECT_EQ(max_num_buffers, 6U);
  EXPECT_EQ(f.create_bufs(1, kSize - 1), EINVAL);
  EXPECT_EQ(f.create_bufs(1, 0), EINVAL);
  EXPECT_FALSE(f.queue.is_busy());
  ASSERT_EQ(f.reqbufs(2), 0);
  EXPECT_EQ(f.create_bufs(2, 2 * kSize), 0);
  EXPECT_EQ(f.create.index, 2U);
  EXPECT_EQ(f.create.count, 2U);
  (void)f.flags(2);
  EXPECT_EQ(f.last.buffer.head.length, 2 * kSize);
  EXPECT_EQ(f.create_bufs(100), 0);
  EXPECT_EQ(f.create.index, 4U);
  EXPECT_EQ(f.create.count, 2U);
  EXPECT_EQ(f.create_bufs(1), ENOBUFS);
  f.create.memory = V4L2_MEMORY_DMABUF;
  f.create.count = 0;
  EXPECT_EQ(code(f.queue.create_bufs(f.create, kSizes, f.arenas)), EINVAL);
}

TEST(BufferQueue, CreateBufsOfEveryTypeIsBounded) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE});
  v4l2_create_buffers create{};
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = f.queue.type();
  struct Case {
    std::uint8_t planes;
    std::uint32_t first, second;
    int error;
  };
  const Case cases[] = {{0, 8000, 4000, EINVAL}, {1, 8000, 4000, EINVAL}, {2, 8000, 4000, 0},
                        {2, 8000, 3999, EINVAL}, {2, 8000, 0, EINVAL},    {3, 8000, 4000, EINVAL},
                        {9, 8000, 4000, EINVAL}, {255, 1, 1, EINVAL}};
  for (const Case& test : cases) {
    create.count = 1;
    create.format.fmt.pix_mp.num_planes = test.planes;
    create.format.fmt.pix_mp.plane_fmt[0].sizeimage = test.first;
    create.format.fmt.pix_mp.plane_fmt[1].sizeimage = test.second;
    EXPECT_EQ(code(f.queue.create_bufs(create, kTwoSizes, f.arenas)), test.error) << int{test.planes};
  }
  v4l2_format vbi{};
  vbi.type = V4L2_BUF_TYPE_VBI_CAPTURE;
  vbi.fmt.vbi.samples_per_line = 0x10000;
  vbi.fmt.vbi.count[0] = 0x10000;
  EXPECT_FALSE(requested_sizes(vbi));
  vbi.type = V4L2_BUF_TYPE_VIDEO_OVERLAY;
  EXPECT_FALSE(requested_sizes(vbi));
}

TEST(BufferQueue, RemoveBufsLeavesHolesThatAreFilled) {
  QueueUser f({.max_buffers = 8});
  ASSERT_EQ(f.reqbufs(6), 0);
  const auto remove = [&](std::uint32_t index, std::uint32_t count) {
    RemoveBuffers request{};
    request.index = index;
    request.count = count;
    request.type = f.queue.type();
    return code(f.queue.remove_bufs(request));
  };
  EXPECT_EQ(remove(5, 2), EINVAL);
  EXPECT_EQ(remove(UINT32_MAX, 2), EINVAL);
  EXPECT_EQ(remove(1, UINT32_MAX), EINVAL);
  EXPECT_EQ(remove(99, 0), 0);
  ASSERT_EQ(f.qbuf(2), 0);
  EXPECT_EQ(remove(1, 3), EBUSY);
  EXPECT_EQ(remove(2, 7), EINVAL);  // more than there are
  EXPECT_EQ(f.queue.count(), 6U);
  ASSERT_EQ(f.stream_off(), 0);
  EXPECT_EQ(remove(1, 2), 0);
  EXPECT_EQ(f.queue.count(), 4U);
  EXPECT_EQ(f.qbuf(1), EINVAL);
  EXPECT_EQ(remove(2, 1), EINVAL);
  EXPECT_EQ(f.create_bufs(2), 0);
  EXPECT_EQ(f.create.index, 1U);
  EXPECT_EQ(f.create_bufs(3), 0);  // two indices are left
  EXPECT_EQ(f.create.index, 6U);
  EXPECT_EQ(f.create.count, 2U);
  EXPECT_EQ(remove(0, 8), 0);
  EXPECT_TRUE(f.queue.is_busy());  // until REQBUFS(0)
}

TEST(BufferQueue, AdvertisesRemoveBufsOnlyToWhoForwardsIt) {
  QueueUser f;
  f.request.type = f.queue.type();
  f.request.memory = V4L2_MEMORY_MMAP;
  f.request.capabilities = buf_cap_supports_remove_bufs | 0x80000000;
  ASSERT_TRUE(f.queue.reqbufs(f.request, kSizes, f.arenas));
  EXPECT_EQ(f.request.capabilities, f.queue.capabilities() | buf_cap_supports_remove_bufs);
}

TEST(BufferQueue, MappableFindsPlanesAndNothingElse) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, .mem_offset_base = 1U << 30});
  EXPECT_FALSE(f.queue.mappable(1U << 30));
  ASSERT_EQ(f.reqbufs(2), 0);
  const std::uint32_t base = 1U << 30;
  for (const std::uint32_t bad : {0U, base - 4096, base + 1, base + 2 * 4096, base + 16 * 4096,
                                  base + BufferQueue::mem_offset_span, UINT32_MAX, UINT32_MAX & ~4095U}) {
    const auto found = f.queue.mappable(bad);
    ASSERT_FALSE(found) << bad;
    EXPECT_EQ(found.error().value, EINVAL);
  }
  auto mapped = f.queue.mappable(base + 9 * 4096);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(mapped->block.get(), f.queue.plane(1, 1).get());
  EXPECT_EQ(mapped->foreign, nullptr);
  // The plane's own length, not that of its pages.
  EXPECT_EQ(mapped->length, kTwoSizes[1]);
  EXPECT_EQ(f.queue.mappable(base + 8 * 4096)->length, kTwoSizes[0]);
  EXPECT_EQ(f.queue.mappable(base + 9 * 4096)->block.get(), mapped->block.get());
  EXPECT_EQ(f.queue.mappable(base + 9 * 4096)->length, kTwoSizes[1]);
  EXPECT_NE(f.flags(1) & V4L2_BUF_FLAG_MAPPED, 0U);
  EXPECT_EQ(f.flags(0) & V4L2_BUF_FLAG_MAPPED, 0U);
  // A backend's share is not a mapping; the guest's outlives the buffers.
  const auto share = f.queue.plane(0, 0);
  EXPECT_EQ(f.flags(0) & V4L2_BUF_FLAG_MAPPED, 0U);
  EXPECT_EQ(f.queue.plane(0, 2), nullptr);
  EXPECT_EQ(f.queue.plane(2, 0), nullptr);
  ASSERT_EQ(f.reqbufs(2), 0);
  EXPECT_EQ(f.flags(1) & V4L2_BUF_FLAG_MAPPED, 0U);
  EXPECT_NE(f.queue.mappable(base + 9 * 4096)->block.get(), mapped->block.get());
  std::memset(mapped->block->data(), 1, mapped->block->size());
  ASSERT_EQ(f.reqbufs(0), 0);
  EXPECT_GT(f.arenas.used_bytes(), 0U);
}

TEST(BufferQueue, MappedFlagEndsWithTheMapping) {
  QueueUser f;
  ASSERT_EQ(f.reqbufs(1), 0);
  {
    const auto mapped = f.queue.mappable(0);
    ASSERT_TRUE(mapped);
    EXPECT_NE(f.flags(0) & V4L2_BUF_FLAG_MAPPED, 0U);
  }
  EXPECT_EQ(f.flags(0) & V4L2_BUF_FLAG_MAPPED, 0U);
}

TEST(BufferQueue, StreamoffTakesEverythingBack) {
  QueueUser f;
  ASSERT_EQ(f.reqbufs(4), 0);
  ASSERT_EQ(f.prepare(0), 0);
  ASSERT_EQ(f.qbuf(1), 0);
  ASSERT_EQ(f.qbuf(2), 0);
  ASSERT_EQ(f.queue.take_next(), 1U);
  const auto generation = f.queue.generation();
  ASSERT_EQ(f.stream_off(), 0);  // without STREAMON
  EXPECT_NE(f.queue.generation(), generation);
  EXPECT_FALSE(f.queue.is_active(1, generation));
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(f.flags(i) & kStates, 0U);
  EXPECT_FALSE(f.queue.take_next());
  // A late worker from before must not complete a buffer that was queued and taken again.
  ASSERT_EQ(f.qbuf(1), 0);
  ASSERT_EQ(f.queue.take_next(), 1U);
  EXPECT_TRUE(f.queue.is_active(1));
  EXPECT_FALSE(f.queue.is_active(1, generation));
}

TEST(BufferQueue, StartsWhenEnoughIsQueued) {
  QueueUser f({.min_queued = 2});
  ASSERT_EQ(f.reqbufs(1), 0);
  EXPECT_EQ(f.stream_on(), EINVAL);
  ASSERT_EQ(f.reqbufs(3), 0);
  EXPECT_EQ(f.stream_on(), 0);
  EXPECT_FALSE(f.queue.started());
  ASSERT_EQ(f.qbuf(0), 0);
  EXPECT_FALSE(f.queue.started());
  ASSERT_EQ(f.qbuf(1), 0);
  EXPECT_TRUE(f.queue.started());
  ASSERT_TRUE(f.queue.take_next());
  EXPECT_TRUE(f.queue.started());
  ASSERT_EQ(f.stream_off(), 0);
  EXPECT_FALSE(f.queue.started());
}

TEST(BufferQueue, KeepsTheOrder) {
  QueueUser f;
  ASSERT_EQ(f.reqbufs(5), 0);
  for (const std::uint32_t i : {3U, 0U, 4U, 1U}) ASSERT_EQ(f.qbuf(i), 0);
  EXPECT_EQ(f.queue.take_if([&](const BufferQueue::Slot& slot) { return &slot == f.queue.slot(4); }), 4U);
  EXPECT_EQ(f.queue.take_next(), 3U);
  f.queue.give_back(4);
  f.queue.give_back(4);
  f.queue.give_back(2);
  EXPECT_EQ(f.queue.queued_count(), 3U);
  EXPECT_EQ(f.queue.take_next(), 4U);
  EXPECT_EQ(f.queue.take_next(), 0U);
  EXPECT_EQ(f.queue.take_next(), 1U);
  EXPECT_EQ(f.queue.take_next(), std::nullopt);
}

// Random operations: the queue agrees with a model of states, keeps its counts, and never loses or repeats a
// buffer.
class BufferQueueModel : public testing::TestWithParam<std::uint32_t> {};

TEST_P(BufferQueueModel, AgreesOverRandomOperations) {
  enum class State { dequeued, prepared, queued, active };
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    QueueUser f({.type = GetParam(), .max_buffers = 64});
    std::mt19937 random(seed);
    std::map<std::uint32_t, State> model;
    std::vector<std::uint32_t> order;
    bool streaming = false;
    const auto dequeue_all = [&] {
      order.clear();
      for (auto& [index, state] : model) state = State::dequeued;
      streaming = false;
    };
    for (int step = 0; step < 600; ++step) {
      const std::uint32_t index = static_cast<std::uint32_t>(random() % 68);
      const auto entry = model.find(index);
      const bool there = entry != model.end();
      switch (random() % 12) {
        case 0: {
          if (random() % 8) break;
          const std::uint32_t count = static_cast<std::uint32_t>(random() % 70);
          ASSERT_EQ(f.reqbufs(count), streaming ? EBUSY : 0);
          if (streaming) break;
          dequeue_all();
          model.clear();
          for (std::uint32_t i = 0; i < f.queue.count(); ++i) model[i] = State::dequeued;
          ASSERT_EQ(f.queue.count(), std::min(count, 64U));
          break;
        }
        case 1: {
          RemoveBuffers request{};
          request.type = f.queue.type();
          request.index = index;
          request.count = 1;
          const bool lent = there && (entry->second == State::queued || entry->second == State::active);
          const int expected = !there ? EINVAL : lent ? EBUSY : 0;
          ASSERT_EQ(code(f.queue.remove_bufs(request)), expected);
          if (expected == 0) model.erase(entry);
          break;
        }
        case 2: {
          if (is_multiplanar(f.queue.type())) break;
          const int expected = model.size() == 64 ? ENOBUFS : 0;
          ASSERT_EQ(f.create_bufs(1), expected);
          if (expected == 0) {
            ASSERT_FALSE(model.contains(f.create.index));
            model[f.create.index] = State::dequeued;
          }
          break;
        }
        case 3:
          ASSERT_EQ(f.prepare(index), there && entry->second == State::dequeued ? 0 : EINVAL);
          if (there && entry->second == State::dequeued) entry->second = State::prepared;
          break;
        case 4:
        case 5:
        case 6: {
          const bool fine = there && (entry->second == State::dequeued || entry->second == State::prepared);
          ASSERT_EQ(f.qbuf(index), fine ? 0 : EINVAL);
          if (!fine) break;
          entry->second = State::queued;
          order.push_back(index);
          break;
        }
        case 7:
        case 8: {
          const auto taken = f.queue.take_next();
          ASSERT_EQ(taken.has_value(), !order.empty());
          if (!taken) break;
          ASSERT_EQ(*taken, order.front());
          order.erase(order.begin());
          model[*taken] = State::active;
          break;
        }
        case 9: {
          const bool fine = there && entry->second == State::active;
          if (random() % 3 == 0) {
            f.queue.give_back(index);
            if (fine) {
              entry->second = State::queued;
              order.insert(order.begin(), index);
            }
            break;
          }
          ASSERT_EQ(f.queue.complete(index, {}).has_value(), fine);
          if (fine) entry->second = State::dequeued;
          break;
        }
        case 10:
          ASSERT_EQ(f.stream_on(), model.empty() && !streaming ? EINVAL : 0);
          streaming = streaming || !model.empty();
          break;
        default:
          if (random() % 10) break;
          ASSERT_EQ(f.stream_off(), 0);
          dequeue_all();
      }
      ASSERT_EQ(f.queue.count(), model.size());
      ASSERT_EQ(f.queue.queued_count(), order.size());
      ASSERT_EQ(f.queue.streaming(), streaming);
      for (const auto& [i, state] : model) {
        const std::uint32_t expected = state == State::dequeued   ? 0
                                       : state == State::prepared ? V4L2_BUF_FLAG_PREPARED
                                                                  : V4L2_BUF_FLAG_QUEUED;
        ASSERT_EQ(f.flags(i) & kStates, expected);
      }
    }
    f.queue.release();
    EXPECT_EQ(f.arenas.used_bytes(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, BufferQueueModel,
                         testing::Values(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT,
                                         V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
                                         V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE));

}  // namespace
}  // namespace vumedia::v4l2::test
