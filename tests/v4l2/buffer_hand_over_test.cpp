// Buffers that go from the guest to a backend and back: what QBUF and PREPARE_BUF take, refuse and answer,
// and what DQBUF returns; videobuf2's rules, field by field.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_queue.hpp>

#include "v4l2/queue_user.hpp"

namespace vumedia::v4l2::test {
namespace {

TEST(BufferHandOver, StatesAndFlags) {
  QueueUser f;
  ASSERT_EQ(f.reqbufs(3), 0);
  EXPECT_EQ(f.flags(0), static_cast<std::uint32_t>(V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC));
  EXPECT_EQ(f.prepare(0), 0);
  EXPECT_EQ(f.flags(0) & kStates, static_cast<std::uint32_t>(V4L2_BUF_FLAG_PREPARED));
  EXPECT_EQ(f.prepare(0), EINVAL);
  EXPECT_EQ(f.qbuf(0), 0);
  EXPECT_EQ(f.last.buffer.head.flags & kStates, static_cast<std::uint32_t>(V4L2_BUF_FLAG_QUEUED));
  EXPECT_EQ(f.qbuf(0), EINVAL);
  EXPECT_EQ(f.prepare(0), EINVAL);
  EXPECT_EQ(f.qbuf(1), 0);
  EXPECT_EQ(f.queue.take_next(), 0U);
  EXPECT_EQ(f.flags(0) & kStates, static_cast<std::uint32_t>(V4L2_BUF_FLAG_QUEUED));
  EXPECT_EQ(f.qbuf(0), EINVAL);
  BufferQueue::Completion done;
  done.bytesused[0] = 77;
  done.sequence = 5;
  done.timestamp_ns = 3'000'004'999;
  done.flags =
      V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_LAST | V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_TSTAMP_SRC_SOE;
  const auto dequeued = f.queue.complete(0, done);
  ASSERT_TRUE(dequeued);
  EXPECT_EQ(dequeued->head.flags, static_cast<std::uint32_t>(V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC |
                                                             V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_LAST));
  EXPECT_EQ(dequeued->head.bytesused, 77U);
  EXPECT_EQ(dequeued->head.sequence, 5U);
  EXPECT_EQ(dequeued->head.timestamp.tv_sec, 3);
  EXPECT_EQ(dequeued->head.timestamp.tv_usec, 4);
  EXPECT_EQ(dequeued->head.field, static_cast<std::uint32_t>(V4L2_FIELD_NONE));
  EXPECT_EQ(f.flags(0) & kStates, 0U);
  EXPECT_FALSE(f.queue.complete(0, done));
  EXPECT_FALSE(f.queue.complete(1, done));  // queued, not taken
  EXPECT_FALSE(f.queue.complete(99, done));
  // The next use starts with cleared fields.
  EXPECT_EQ(f.qbuf(0), 0);
  EXPECT_EQ(f.last.buffer.head.flags & (V4L2_BUF_FLAG_LAST | V4L2_BUF_FLAG_KEYFRAME), 0U);
  EXPECT_EQ(f.last.buffer.head.sequence, 0U);
  EXPECT_EQ(f.last.buffer.head.bytesused, 0U);
  EXPECT_EQ(f.last.buffer.head.timestamp.tv_sec, 0);
}

TEST(BufferHandOver, ErrorsAreFlaggedOnce) {
  QueueUser f;
  ASSERT_EQ(f.reqbufs(1), 0);
  ASSERT_EQ(f.qbuf(0), 0);
  ASSERT_TRUE(f.queue.take_next());
  const auto dequeued = f.queue.complete(0, {.bytesused = {UINT32_MAX}, .error = true});
  ASSERT_TRUE(dequeued);
  EXPECT_EQ(dequeued->head.flags & kStates, static_cast<std::uint32_t>(V4L2_BUF_FLAG_ERROR));
  EXPECT_EQ(dequeued->head.bytesused, kSize);
  EXPECT_EQ(f.flags(0) & kStates, 0U);
}

TEST(BufferHandOver, QbufErrno) {
  QueueUser f;
  ASSERT_EQ(f.reqbufs(2), 0);
  struct Case {
    const char* what;
    void (*break_it)(BufferPayload&);
    int qbuf, prepare, query;
  };
  const Case cases[] = {
      {"index", [](BufferPayload& p) { p.buffer.head.index = 2; }, EINVAL, EINVAL, EINVAL},
      {"huge index", [](BufferPayload& p) { p.buffer.head.index = UINT32_MAX; }, EINVAL, EINVAL, EINVAL},
      {"type", [](BufferPayload& p) { p.buffer.head.type = V4L2_BUF_TYPE_VIDEO_OUTPUT; }, EINVAL, EINVAL,
       EINVAL},
      {"memory", [](BufferPayload& p) { p.buffer.head.memory = V4L2_MEMORY_USERPTR; }, EINVAL, EINVAL, 0},
      {"request", [](BufferPayload& p) { p.buffer.head.flags = V4L2_BUF_FLAG_REQUEST_FD; }, EBADR, EINVAL, 0},
      {"nothing", [](BufferPayload&) {}, 0, 0, 0}};
  for (const Case& test : cases) {
    BufferPayload payload = f.make(0);
    test.break_it(payload);
    EXPECT_EQ(code(f.queue.querybuf(payload)), test.query) << test.what;
    payload = f.make(0);
    test.break_it(payload);
    EXPECT_EQ(code(f.queue.qbuf(payload)), test.qbuf) << test.what;
    payload = f.make(1);
    test.break_it(payload);
    EXPECT_EQ(code(f.queue.prepare_buf(payload)), test.prepare) << test.what;
  }
  ASSERT_EQ(f.stream_off(), 0);
  f.queue.set_error();
  EXPECT_EQ(f.qbuf(0), EIO);
  ASSERT_EQ(f.stream_off(), 0);
  EXPECT_EQ(f.qbuf(0), 0);
}

TEST(BufferHandOver, CaptureIgnoresWhatOnlyOutputMaySay) {
  QueueUser f;
  ASSERT_EQ(f.reqbufs(1), 0);
  BufferPayload payload = f.make(0);
  payload.buffer.head.bytesused = UINT32_MAX;
  payload.buffer.head.field = V4L2_FIELD_ALTERNATE;
  payload.buffer.head.timestamp = {77, 1};
  payload.buffer.head.flags = V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_LAST |
                              V4L2_BUF_FLAG_ERROR | V4L2_BUF_FLAG_NO_CACHE_CLEAN |
                              V4L2_BUF_FLAG_TSTAMP_SRC_SOE;
  ASSERT_TRUE(f.queue.qbuf(payload));
  EXPECT_EQ(payload.buffer.head.flags,
            static_cast<std::uint32_t>(V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC));
  EXPECT_EQ(payload.buffer.head.bytesused, 0U);
  EXPECT_EQ(payload.buffer.head.timestamp.tv_sec, 0);
}

TEST(BufferHandOver, OutputBytesused) {
  struct Case {
    bool allows_zero;
    std::uint32_t bytesused;
    int error;
    std::uint32_t used;
  };
  const Case cases[] = {{false, 0, 0, kSize},          {false, 5, 0, 5}, {false, kSize, 0, kSize},
                        {false, kSize + 1, EINVAL, 0}, {true, 0, 0, 0},  {true, UINT32_MAX, EINVAL, 0}};
  for (const Case& test : cases) {
    QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .allows_zero_bytesused = test.allows_zero});
    ASSERT_EQ(f.reqbufs(1), 0);
    BufferPayload payload = f.make(0);
    payload.buffer.head.bytesused = test.bytesused;
    EXPECT_EQ(code(f.queue.qbuf(payload)), test.error);
    if (test.error == 0) {
      EXPECT_EQ(payload.buffer.head.bytesused, test.used);
      EXPECT_EQ(f.queue.slot(0)->planes[0].bytesused, test.used);
    } else {
      EXPECT_EQ(f.flags(0) & kStates, 0U);
    }
  }
}

TEST(BufferHandOver, OutputPlanesAndDataOffset) {
  struct Case {
    std::uint32_t bytesused, data_offset;
    int error;
  };
  const Case cases[] = {{100, 0, 0},  {100, 99, 0},      {100, 100, EINVAL},
                        {0, 3999, 0}, {0, 4000, EINVAL}, {4001, 0, EINVAL}};
  for (const Case& test : cases) {
    QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE});
    ASSERT_EQ(f.reqbufs(1), 0);
    BufferPayload payload = f.make(0);
    payload.buffer.planes[1].bytesused = test.bytesused;
    payload.buffer.planes[1].data_offset = test.data_offset;
    EXPECT_EQ(code(f.queue.qbuf(payload)), test.error) << test.bytesused << ' ' << test.data_offset;
    if (test.error == 0) {
      EXPECT_EQ(payload.buffer.planes[1].data_offset, test.data_offset);
      EXPECT_EQ(payload.buffer.planes[0].bytesused, 8000U);
      EXPECT_EQ(payload.buffer.head.bytesused, 0U);
    }
  }
}

TEST(BufferHandOver, PreparedValuesAreTheOnesThatCount) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .copies_timestamps = true});
  ASSERT_EQ(f.reqbufs(1), 0);
  BufferPayload payload = f.make(0);
  payload.buffer.head.timestamp = {5, 6};
  ASSERT_TRUE(f.queue.prepare_buf(payload));
  EXPECT_EQ(payload.buffer.head.timestamp.tv_sec, 0);
  payload.buffer.head.bytesused = 0xdeadbeef;
  payload.buffer.head.timestamp = {7, 8};
  ASSERT_TRUE(f.queue.qbuf(payload));
  EXPECT_EQ(payload.buffer.head.bytesused, kSize);
  EXPECT_EQ(payload.buffer.head.timestamp.tv_sec, 7);
}

TEST(BufferHandOver, OutputTimestampsAndFlagsAreCopied) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .copies_timestamps = true});
  ASSERT_EQ(f.reqbufs(1), 0);
  BufferPayload payload = f.make(0);
  v4l2_buffer& head = payload.buffer.head;
  head.timestamp = {12, 345678};
  head.flags =
      V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_TSTAMP_SRC_SOE | V4L2_BUF_FLAG_DONE;
  head.timecode.hours = 9;
  ASSERT_TRUE(f.queue.qbuf(payload));
  const std::uint32_t said = V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_TSTAMP_SRC_SOE |
                             V4L2_BUF_FLAG_TIMESTAMP_COPY;
  EXPECT_EQ(head.flags, said | V4L2_BUF_FLAG_QUEUED);
  ASSERT_TRUE(f.queue.take_next());
  EXPECT_EQ(f.queue.slot(0)->timestamp_ns, 12'345'678'000U);
  const auto dequeued = f.queue.complete(0, {.timestamp_ns = 1, .sequence = 3});
  EXPECT_EQ(dequeued->head.flags, said);
  EXPECT_EQ(dequeued->head.timestamp.tv_usec, 345678);
  EXPECT_EQ(dequeued->head.timecode.hours, 9);
  EXPECT_EQ(dequeued->head.field, static_cast<std::uint32_t>(V4L2_FIELD_NONE));
  // Negative and huge times neither trap nor matter.
  head.timestamp = {INT64_MIN, INT64_MAX};
  payload.buffer.head.flags = 0;
  EXPECT_TRUE(f.queue.qbuf(payload));
}

TEST(BufferHandOver, AlternateIsNoFieldOfAnOutputBuffer) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT});
  ASSERT_EQ(f.reqbufs(1), 0);
  BufferPayload payload = f.make(0);
  payload.buffer.head.field = V4L2_FIELD_ALTERNATE;
  EXPECT_EQ(code(f.queue.qbuf(payload)), EINVAL);
  payload.buffer.head.field = V4L2_FIELD_TOP;
  EXPECT_EQ(code(f.queue.qbuf(payload)), 0);
  EXPECT_EQ(payload.buffer.head.field, static_cast<std::uint32_t>(V4L2_FIELD_TOP));
}

TEST(BufferHandOver, AnyFieldOfAnOutputBufferIsChosenAtOnce) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT});
  ASSERT_EQ(f.reqbufs(1), 0);
  ASSERT_EQ(f.qbuf(0), 0);
  EXPECT_EQ(f.last.buffer.head.field, static_cast<std::uint32_t>(V4L2_FIELD_NONE));
}

TEST(BufferHandOver, MultiplanarNeedsRoomForItsPlanes) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, .mem_offset_base = 1U << 30});
  ASSERT_EQ(f.reqbufs(2), 0);
  BufferPayload payload = f.make(1);
  payload.sent.planes = 1;
  EXPECT_EQ(code(f.queue.querybuf(payload)), EINVAL);
  EXPECT_EQ(code(f.queue.qbuf(payload)), EINVAL);
  payload.sent.planes = 8;
  payload.buffer.head.m.userptr = 0x1234;
  ASSERT_EQ(code(f.queue.querybuf(payload)), 0);
  EXPECT_EQ(payload.buffer.head.length, 2U);
  EXPECT_EQ(payload.buffer.head.m.userptr, 0x1234U);
  EXPECT_EQ(payload.buffer.planes[0].length, 8000U);
  EXPECT_EQ(payload.buffer.planes[1].length, 4000U);
  EXPECT_EQ(payload.buffer.planes[0].m.mem_offset, (1U << 30) + 8 * 4096);
  EXPECT_EQ(payload.buffer.planes[1].m.mem_offset, (1U << 30) + 9 * 4096);
}

// With several faults, the error is videobuf2's: first for what the buffer states about itself, then
// requests, then the state of the queue, then that of the buffer.
TEST(BufferHandOver, TheFirstOfSeveralFaultsCounts) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT});
  ASSERT_EQ(f.reqbufs(2), 0);
  ASSERT_EQ(f.qbuf(1U), 0);
  f.queue.set_error();
  BufferPayload payload = f.make(0);
  payload.buffer.head.flags = V4L2_BUF_FLAG_REQUEST_FD;
  payload.buffer.head.bytesused = kSize + 1;
  EXPECT_EQ(f.qbuf(payload), EINVAL);
  payload.buffer.head.bytesused = 0;
  EXPECT_EQ(f.qbuf(payload), EBADR);
  payload.buffer.head.flags = 0;
  payload.buffer.head.bytesused = kSize + 1;
  EXPECT_EQ(f.qbuf(payload), EINVAL);
  EXPECT_EQ(f.prepare(payload), EINVAL);
  payload.buffer.head.bytesused = 0;
  EXPECT_EQ(f.qbuf(payload), EIO);
  EXPECT_EQ(f.prepare(payload), EIO);
  EXPECT_EQ(f.qbuf(1U), EIO) << "not EINVAL for its being queued";
  EXPECT_EQ(f.prepare(1U), EINVAL);
  payload = f.make(1);
  payload.buffer.head.flags = V4L2_BUF_FLAG_REQUEST_FD;
  EXPECT_EQ(f.qbuf(payload), EINVAL) << "queued";
}

// A queue with copied time stamps leaves the old one of a buffer until it gets the next.
TEST(BufferHandOver, CopiedTimestampsStayUntilTheNext) {
  for (const bool copies : {false, true}) {
    QueueUser f({.copies_timestamps = copies});
    ASSERT_EQ(f.reqbufs(1), 0);
    ASSERT_EQ(f.qbuf(0U), 0);
    EXPECT_EQ(f.last.buffer.head.timestamp.tv_sec, 0);
    ASSERT_TRUE(f.queue.take_next());
    ASSERT_TRUE(f.queue.complete(0, {.timestamp_ns = 7'000'000'000}));
    (void)f.flags(0);
    EXPECT_EQ(f.last.buffer.head.timestamp.tv_sec, 7);
    ASSERT_EQ(f.qbuf(0U), 0);
    EXPECT_EQ(f.last.buffer.head.timestamp.tv_sec, copies ? 7 : 0);
    EXPECT_EQ(f.last.buffer.head.sequence, 0U);
  }
}

TEST(BufferHandOver, TimestampKindsAndSources) {
  struct Case {
    BufferQueueOptions options;
    std::uint32_t flags;
  };
  const Case cases[] = {{{.type = V4L2_BUF_TYPE_VIDEO_CAPTURE},
                         V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_TSTAMP_SRC_EOF},
                        {{.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .start_of_exposure = true},
                         V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_TSTAMP_SRC_SOE},
                        {{.type = V4L2_BUF_TYPE_VIDEO_OUTPUT},
                         V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_TSTAMP_SRC_EOF},
                        // A CAPTURE queue with copied time stamps takes the source from the OUTPUT buffer, in
                        // complete().
                        {{.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .copies_timestamps = true},
                         V4L2_BUF_FLAG_TIMESTAMP_COPY | V4L2_BUF_FLAG_TSTAMP_SRC_EOF},
                        {{.type = V4L2_BUF_TYPE_VIDEO_OUTPUT, .copies_timestamps = true},
                         V4L2_BUF_FLAG_TIMESTAMP_COPY | V4L2_BUF_FLAG_TSTAMP_SRC_SOE}};
  constexpr std::uint32_t of_time = V4L2_BUF_FLAG_TIMESTAMP_MASK | V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
  for (const Case& test : cases) {
    QueueUser f(test.options);
    ASSERT_EQ(f.reqbufs(1), 0);
    BufferPayload payload = f.make(0);
    payload.buffer.head.flags = V4L2_BUF_FLAG_TSTAMP_SRC_SOE | V4L2_BUF_FLAG_TIMESTAMP_MASK;
    ASSERT_EQ(f.qbuf(payload), 0);
    EXPECT_EQ(payload.buffer.head.flags & of_time, test.flags);
    EXPECT_EQ(f.flags(0) & of_time, test.flags);
    ASSERT_TRUE(f.queue.take_next());
    EXPECT_EQ(f.queue.complete(0, {})->head.flags & of_time, test.flags);
  }
}

TEST(BufferHandOver, ReservedFieldsAreZeroAndPlanesBeyondTheBuffersOwnAreLeftAlone) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE});
  ASSERT_EQ(f.reqbufs(1), 0);
  BufferPayload payload = f.make(0);
  std::memset(&payload.buffer.head.reserved2, 0xff, sizeof payload.buffer.head.reserved2);
  payload.buffer.head.request_fd = -1;
  payload.buffer.head.length = payload.sent.planes = 3;
  std::memset(payload.buffer.planes.data(), 0x41, sizeof payload.buffer.planes);
  payload.buffer.planes[0].bytesused = payload.buffer.planes[1].bytesused = 9;
  payload.buffer.planes[0].data_offset = payload.buffer.planes[1].data_offset = 4;
  ASSERT_EQ(f.qbuf(payload), 0);
  EXPECT_EQ(payload.buffer.head.reserved2, 0U);
  EXPECT_EQ(payload.buffer.head.request_fd, 0);
  EXPECT_EQ(payload.buffer.head.length, 2U);
  for (int p = 0; p < 2; ++p) {
    const v4l2_plane& plane = payload.buffer.planes[static_cast<std::size_t>(p)];
    EXPECT_EQ(plane.data_offset, 4U);
    for (const auto word : plane.reserved) EXPECT_EQ(word, 0U);
  }
  EXPECT_EQ(payload.buffer.planes[2].length, 0x41414141U);
}

// Flags that do not concern the queue come back; cache hints and held buffers, which it does not support, do
// not.
TEST(BufferHandOver, FlagsOfTheGuest) {
  constexpr std::uint32_t picture = V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME | V4L2_BUF_FLAG_BFRAME;
  constexpr std::uint32_t refused = V4L2_BUF_FLAG_NO_CACHE_INVALIDATE | V4L2_BUF_FLAG_NO_CACHE_CLEAN |
                                    V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF | V4L2_BUF_FLAG_IN_REQUEST |
                                    V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_ERROR |
                                    V4L2_BUF_FLAG_PREPARED;
  for (const std::uint32_t type : {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT}) {
    QueueUser f({.type = type});
    ASSERT_EQ(f.reqbufs(1), 0);
    BufferPayload payload = f.make(0);
    payload.buffer.head.flags = picture | refused | V4L2_BUF_FLAG_LAST | V4L2_BUF_FLAG_TIMECODE;
    payload.buffer.head.timecode.frames = 3;
    ASSERT_EQ(f.qbuf(payload), 0);
    const std::uint32_t kept = picture | V4L2_BUF_FLAG_LAST | V4L2_BUF_FLAG_TIMECODE;
    EXPECT_EQ(payload.buffer.head.flags,
              V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | (is_output(type) ? kept : 0U));
    EXPECT_EQ(payload.buffer.head.timecode.frames, is_output(type) ? 3 : 0);
    // After STREAMOFF the buffer is unchanged except for its state.
    ASSERT_EQ(f.stream_off(), 0);
    EXPECT_EQ(f.flags(0), V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | (is_output(type) ? kept : 0U));
  }
}

TEST(BufferHandOver, UserptrRules) {
  for (const std::uint32_t type : {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
                                   V4L2_BUF_TYPE_VIDEO_OUTPUT, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE}) {
    QueueUser f({.type = type, .userptr = true}, V4L2_MEMORY_USERPTR);
    const std::uint32_t needed = f.sizes()[0];
    ASSERT_EQ(f.reqbufs(1), 0);
    EXPECT_NE(f.request.capabilities & V4L2_BUF_CAP_SUPPORTS_USERPTR, 0U);
    EXPECT_EQ(f.arenas.used_bytes(), 0U);
    EXPECT_FALSE(f.queue.mappable(0));
    (void)f.flags(0);
    const v4l2_buffer& head = f.last.buffer.head;
    const v4l2_plane& first = f.last.buffer.planes[0];
    const bool multiplanar = is_multiplanar(type);
    const auto length = [&] { return multiplanar ? first.length : head.length; };
    const auto pointer = [&] { return multiplanar ? first.m.userptr : head.m.userptr; };
    EXPECT_EQ(length(), needed) << "at first";
    EXPECT_EQ(pointer(), 0U);

    const auto send = [&](auto&& change) {
      f.last = f.make(0);
      change(f.last);
      return f.qbuf(f.last);
    };
    const auto set_planes = [&](BufferPayload& payload, std::uint32_t bytes) {
      for (std::uint32_t p = 0; p < f.sizes().size(); ++p) QueueUser::set_plane(payload, p, bytes);
    };
    EXPECT_EQ(send([&](BufferPayload& p) { set_planes(p, needed - 1); }), EINVAL)
        << "less than the format needs";
    EXPECT_EQ(send([&](BufferPayload& p) {
                (multiplanar ? p.buffer.planes[0].m.userptr : p.buffer.head.m.userptr) = 0;
              }),
              EFAULT);
    EXPECT_EQ(send([&](BufferPayload& p) {
                p.ranges.clear();
                const GuestRange outside[] = {{{QueueUser::ram_at - 1}, kSize}};
                p.ranges.add_list(outside);
                p.ranges.add_list(outside);
              }),
              EFAULT);
    EXPECT_EQ(send([&](BufferPayload& p) {
                (multiplanar ? p.buffer.planes[0].bytesused : p.buffer.head.bytesused) = kSize + 1;
              }),
              is_output(type) ? EINVAL : 0);
    ASSERT_EQ(f.stream_off(), 0);
    // The length belongs to the buffer, and may change each time.
    for (const std::uint32_t bytes : {kSize, kSize + 500, std::max(needed, 8000U)}) {
      ASSERT_EQ(send([&](BufferPayload& p) { set_planes(p, bytes); }), 0);
      EXPECT_EQ(length(), bytes);
      EXPECT_EQ(pointer(), QueueUser::pointer_at);
      EXPECT_EQ(f.queue.slot(0)->planes[0].bytes().size(), bytes);
      ASSERT_EQ(f.queue.take_next(), 0U);
      const auto done = f.queue.complete(0, {.bytesused = {UINT32_MAX}});
      ASSERT_TRUE(done);
      EXPECT_EQ(multiplanar ? done->planes[0].bytesused : done->head.bytesused, bytes);
      EXPECT_EQ(multiplanar ? done->planes[0].m.userptr : done->head.m.userptr, QueueUser::pointer_at);
    }
    // The prepared values are queued, whatever QBUF says.
    ASSERT_EQ(f.prepare(0U), 0);
    EXPECT_EQ(send([&](BufferPayload& p) {
                set_planes(p, 0);
                (multiplanar ? p.buffer.planes[0].m.userptr : p.buffer.head.m.userptr) = 0;
              }),
              0);
    EXPECT_EQ(length(), kSize);
    EXPECT_EQ(pointer(), QueueUser::pointer_at);
    EXPECT_EQ(f.create_bufs(1), 0);
    f.memory_kind = V4L2_MEMORY_MMAP;
    EXPECT_EQ(f.create_bufs(1), EINVAL) << "the memory of a queue is one";
    EXPECT_EQ(f.reqbufs(1), 0) << "and new with REQBUFS";
    EXPECT_EQ(f.request.count, 1U);
    EXPECT_NE(f.queue.slot(0)->planes[0].block, nullptr);
  }
}

}  // namespace
}  // namespace vumedia::v4l2::test
