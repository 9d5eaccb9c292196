// Each ioctl in each state of a buffer: the errno, and the state after it, for all kinds of queues.
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/v4l2/buffer_queue.hpp>

#include "v4l2/queue_user.hpp"

namespace vumedia::v4l2::test {
namespace {

// The state of buffer 0.
enum class Stage : std::uint8_t {
  absent,
  fresh,
  prepared,
  queued,
  active,
  done,
  stopped,
  failed,
  failed_queued
};
constexpr std::size_t stage_count = 9;
constexpr const char* stage_names[stage_count] = {"absent", "fresh",   "prepared", "queued",       "active",
                                                  "done",   "stopped", "failed",   "failed queued"};

constexpr std::uint32_t P = V4L2_BUF_FLAG_PREPARED;
constexpr std::uint32_t Q = V4L2_BUF_FLAG_QUEUED;
constexpr std::uint32_t is_gone = UINT32_MAX;

constexpr std::array<std::uint32_t, stage_count> flags_at{is_gone, 0, P, Q, Q, 0, 0, 0, Q};

struct StateCase {
  const char* name;
  int (*run)(QueueUser&);
  std::array<int, stage_count> errors;  // by Stage
  std::uint32_t flags_after;            // if it succeeds
};
constexpr std::uint32_t as_before = UINT32_MAX - 1;

template <std::uint32_t Flags>
int with_flags(QueueUser& f, bool prepare) {
  BufferPayload payload = f.make(0);
  payload.buffer.head.flags = Flags;
  return prepare ? f.prepare(payload) : f.qbuf(payload);
}

int with_other_memory(QueueUser& f, bool prepare) {
  BufferPayload payload = f.make(0);
  payload.buffer.head.memory = f.memory_kind == V4L2_MEMORY_MMAP ? std::uint32_t{V4L2_MEMORY_USERPTR}
                                                                 : std::uint32_t{V4L2_MEMORY_MMAP};
  return prepare ? f.prepare(payload) : f.qbuf(payload);
}

constexpr int I = EINVAL;
constexpr std::array<int, stage_count> all_invalid{I, I, I, I, I, I, I, I, I};
constexpr std::array<int, stage_count> no_error{};

const StateCase state_cases[] = {
    {"QUERYBUF",
     [](QueueUser& f) {
       BufferPayload payload = f.make(0);
       return code(f.queue.querybuf(payload));
     },
     {I, 0, 0, 0, 0, 0, 0, 0, 0},
     as_before},
    {"PREPARE_BUF", [](QueueUser& f) { return f.prepare(0U); }, {I, 0, I, I, I, 0, 0, EIO, I}, P},
    {"QBUF", [](QueueUser& f) { return f.qbuf(0U); }, {I, 0, 0, I, I, 0, 0, EIO, EIO}, Q},
    {"QBUF in a request",
     [](QueueUser& f) { return with_flags<V4L2_BUF_FLAG_REQUEST_FD>(f, false); },
     {I, EBADR, EBADR, I, I, EBADR, EBADR, EBADR, I},
     as_before},
    {"PREPARE_BUF in a request", [](QueueUser& f) { return with_flags<V4L2_BUF_FLAG_REQUEST_FD>(f, true); },
     all_invalid, as_before},
    {"QBUF of other memory", [](QueueUser& f) { return with_other_memory(f, false); }, all_invalid,
     as_before},
    {"PREPARE_BUF of other memory", [](QueueUser& f) { return with_other_memory(f, true); }, all_invalid,
     as_before},
    {"REMOVE_BUFS",
     [](QueueUser& f) { return f.remove_bufs(0, 1); },
     {I, 0, 0, EBUSY, EBUSY, 0, 0, 0, EBUSY},
     is_gone},
    {"REMOVE_BUFS of none", [](QueueUser& f) { return f.remove_bufs(0, 0); }, no_error, as_before},
    {"CREATE_BUFS", [](QueueUser& f) { return f.create_bufs(1); }, no_error, as_before},
    {"CREATE_BUFS of none", [](QueueUser& f) { return f.create_bufs(0); }, no_error, as_before},
    {"STREAMON", [](QueueUser& f) { return f.stream_on(); }, no_error, as_before},
    {"STREAMOFF", [](QueueUser& f) { return f.stream_off(); }, no_error, 0},
    {"STREAMOFF of another type",
     [](QueueUser& f) { return code(f.queue.stream_off(V4L2_BUF_TYPE_VBI_CAPTURE)); }, all_invalid,
     as_before},
    {"REQBUFS of another type",
     [](QueueUser& f) {
       v4l2_requestbuffers request{};
       request.type = V4L2_BUF_TYPE_VBI_CAPTURE;
       request.memory = f.memory_kind;
       return code(f.queue.reqbufs(request, f.sizes(), f.arenas));
     },
     all_invalid, as_before},
};

// Buffer 0 at `stage`, and another one that belongs to the guest.
void bring_to(QueueUser& f, Stage stage, bool streaming) {
  ASSERT_EQ(f.reqbufs(2), 0);
  const auto act = [&](bool once_queued) {
    if (streaming) {
      ASSERT_EQ(f.stream_on(), 0);
    }
    if (once_queued) {
      ASSERT_EQ(f.qbuf(0U), 0);
    }
  };
  switch (stage) {
    case Stage::absent:
      ASSERT_EQ(f.remove_bufs(0, 1), 0);
      return act(false);
    case Stage::fresh:
      return act(false);
    case Stage::prepared:
      act(false);
      ASSERT_EQ(f.prepare(0U), 0);
      return;
    case Stage::queued:
      return act(true);
    case Stage::active:
      act(true);
      ASSERT_EQ(f.queue.take_next(), 0U);
      return;
    case Stage::done:
      act(true);
      ASSERT_EQ(f.queue.take_next(), 0U);
      ASSERT_TRUE(f.queue.complete(0, {.error = true}));
      return;
    case Stage::stopped:
      ASSERT_EQ(f.qbuf(0U), 0);
      ASSERT_EQ(f.stream_off(), 0);
      return act(false);
    case Stage::failed:
    case Stage::failed_queued:
      act(stage == Stage::failed_queued);
      f.queue.set_error();
      return;
  }
}

struct StateQueue {
  std::uint32_t type;
  std::uint32_t memory;
  bool streaming;
};

class BufferStates : public testing::TestWithParam<StateQueue> {
 protected:
  static QueueUser make_user() {
    return QueueUser({.type = GetParam().type, .max_buffers = 8, .userptr = true}, GetParam().memory);
  }
};

TEST_P(BufferStates, EachIoctlInEachState) {
  for (std::size_t stage = 0; stage < stage_count; ++stage) {
    for (const StateCase& test : state_cases) {
      SCOPED_TRACE(std::string(test.name) + ", buffer " + stage_names[stage]);
      QueueUser f = make_user();
      bring_to(f, static_cast<Stage>(stage), GetParam().streaming);
      if (HasFatalFailure()) return;
      EXPECT_EQ(test.run(f), test.errors[stage]);
      // A new buffer replaces the missing one.
      if (stage == 0) continue;
      const std::uint32_t expected =
          test.errors[stage] != 0 || test.flags_after == as_before ? flags_at[stage] : test.flags_after;
      if (expected == is_gone) {
        EXPECT_EQ(f.queue.slot(0), nullptr);
      } else {
        EXPECT_EQ(f.flags(0) & kStates, expected);
      }
    }
  }
}

TEST_P(BufferStates, ReqbufsInEachState) {
  for (std::size_t stage = 0; stage < stage_count; ++stage) {
    for (const std::uint32_t count : {0U, 3U}) {
      SCOPED_TRACE(std::string(stage_names[stage]) + ", count " + std::to_string(count));
      QueueUser f = make_user();
      bring_to(f, static_cast<Stage>(stage), GetParam().streaming);
      if (HasFatalFailure()) return;
      const std::uint32_t before = f.queue.count();
      ASSERT_EQ(f.reqbufs(count), GetParam().streaming ? EBUSY : 0);
      EXPECT_EQ(f.queue.count(), GetParam().streaming ? before : count);
      EXPECT_EQ(f.queue.is_busy(), GetParam().streaming || count != 0);
      if (GetParam().streaming) continue;
      for (std::uint32_t i = 0; i < count; ++i) EXPECT_EQ(f.flags(i) & kStates, 0U);
      EXPECT_EQ(f.queue.take_next(), std::nullopt);
      EXPECT_FALSE(f.queue.complete(0, {})) << "what a backend had is not its any more";
      if (count != 0) {
        EXPECT_EQ(f.qbuf(0U), 0) << "an error is over";
      }
    }
  }
}

TEST_P(BufferStates, MmapInEachState) {
  for (std::size_t stage = 1; stage < stage_count; ++stage) {
    SCOPED_TRACE(stage_names[stage]);
    QueueUser f = make_user();
    bring_to(f, static_cast<Stage>(stage), GetParam().streaming);
    if (HasFatalFailure()) return;
    const auto mapped = f.queue.mappable(0);
    EXPECT_EQ(mapped.has_value(), GetParam().memory == V4L2_MEMORY_MMAP);
    EXPECT_EQ(f.flags(0) & V4L2_BUF_FLAG_MAPPED,
              GetParam().memory == V4L2_MEMORY_MMAP ? std::uint32_t{V4L2_BUF_FLAG_MAPPED} : 0U);
    EXPECT_EQ(f.flags(0) & kStates, flags_at[stage]);
  }
}

std::vector<StateQueue> all_state_queues() {
  std::vector<StateQueue> queues;
  for (const std::uint32_t type : {V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_BUF_TYPE_VIDEO_OUTPUT,
                                   V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE}) {
    for (const std::uint32_t memory : {V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR}) {
      for (const bool streaming : {false, true}) queues.push_back({type, memory, streaming});
    }
  }
  return queues;
}

INSTANTIATE_TEST_SUITE_P(Queues, BufferStates, testing::ValuesIn(all_state_queues()),
                         [](const testing::TestParamInfo<StateQueue>& test) {
                           return std::string(is_output(test.param.type) ? "Output" : "Capture") +
                                  (is_multiplanar(test.param.type) ? "Mplane" : "") +
                                  (test.param.memory == V4L2_MEMORY_MMAP ? "Mmap" : "Userptr") +
                                  (test.param.streaming ? "Streaming" : "");
                         });

// ---- Capabilities and counts

TEST(BufferLimits, CapabilitiesSayWhatIsSupportedAndNoMore) {
  for (const bool userptr : {false, true}) {
    QueueUser f({.userptr = userptr});
    const std::uint32_t expected = V4L2_BUF_CAP_SUPPORTS_MMAP | V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS |
                                   (userptr ? V4L2_BUF_CAP_SUPPORTS_USERPTR : 0U);
    ASSERT_EQ(f.reqbufs(1), 0);
    EXPECT_EQ(f.request.capabilities, expected);
    ASSERT_EQ(f.create_bufs(0), 0);
    EXPECT_EQ(f.create.capabilities, expected | buf_cap_supports_max_num_buffers);
    // Cache hints are not supported, so the memory is no_error "non-coherent".
    f.create.flags = f.request.flags = V4L2_MEMORY_FLAG_NON_COHERENT;
    f.create.count = 1;
    f.create.format.fmt.pix.sizeimage = kSize;
    ASSERT_TRUE(f.queue.create_bufs(f.create, kSizes, f.arenas));
    EXPECT_EQ(f.create.flags, 0U);
    std::memset(f.request.reserved, 0xff, sizeof f.request.reserved);
    ASSERT_TRUE(f.queue.reqbufs(f.request, kSizes, f.arenas));
    EXPECT_EQ(f.request.flags, 0U);
    for (const auto byte : f.request.reserved) EXPECT_EQ(byte, 0U);
  }
}

TEST(BufferLimits, SixtyFourBuffersGoRound) {
  for (const std::uint32_t memory : {V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR}) {
    QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, .userptr = true}, memory);
    ASSERT_EQ(f.create_bufs(100), 0);
    EXPECT_EQ(f.create.count, 64U);
    EXPECT_EQ(f.create_bufs(1), ENOBUFS);
    EXPECT_EQ(f.create.index, 64U);
    ASSERT_EQ(f.stream_on(), 0);
    for (int round = 0; round < 3; ++round) {
      for (std::uint32_t i = 0; i < 64; ++i) ASSERT_EQ(f.qbuf(63 - i), 0);
      for (std::uint32_t i = 0; i < 64; ++i) {
        ASSERT_EQ(f.queue.take_next(), 63 - i);
        ASSERT_TRUE(f.queue.complete(63 - i, {.sequence = i}));
      }
    }
    if (memory == V4L2_MEMORY_MMAP) {
      EXPECT_EQ(f.queue.mappable(f.queue.options().mem_offset_base + BufferQueue::mem_offset_span - 7 * 4096)
                    ->block.get(),
                f.queue.plane(63, 1).get());
    }
    EXPECT_EQ(f.remove_bufs(0, 64), 0);
    EXPECT_EQ(f.queue.count(), 0U);
    EXPECT_TRUE(f.queue.is_busy());
    ASSERT_EQ(f.stream_off(), 0);
    EXPECT_EQ(f.reqbufs(0), 0);
    EXPECT_FALSE(f.queue.is_busy());
  }
}

// A failed CREATE_BUFS keeps the existing buffers, and a failed REQBUFS leaves none.
TEST(BufferLimits, WhatFailsHalfwayLeavesNothingBehind) {
  QueueUser f({.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, .min_buffers = 2});
  f.arenas = memory::Arenas({.arena_size = 3 * page_size, .total_bytes = 9 * page_size});
  EXPECT_EQ(f.create_bufs(5, 3 * page_size), 0);
  EXPECT_EQ(f.create.count, 1U) << "two planes of three pages; the second buffer's second has no room";
  EXPECT_EQ(f.arenas.used_bytes(), 6 * page_size);
  EXPECT_EQ(f.create_bufs(5, 3 * page_size), ENOMEM);
  EXPECT_EQ(f.queue.count(), 1U);
  EXPECT_EQ(f.qbuf(0U), 0);
  f.arenas = memory::Arenas({.arena_size = 2 * page_size, .total_bytes = 3 * page_size});
  EXPECT_EQ(f.reqbufs(2), ENOMEM);
  EXPECT_EQ(f.queue.count(), 0U);
  EXPECT_FALSE(f.queue.is_busy());
  EXPECT_EQ(f.arenas.used_bytes(), 0U);
  EXPECT_EQ(f.stream_on(), EINVAL);
}

}  // namespace
}  // namespace vumedia::v4l2::test
