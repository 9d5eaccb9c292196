// How the proxy changes payloads that go to the kernel and back. The kernel is a function here, which keeps
// what it is given; the tests in tests/vivid use a real one.
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/v4l2_proxy/controls.hpp>
#include <vumedia/backends/v4l2_proxy/queues.hpp>
#include <vumedia/backends/v4l2_proxy/sanitize.hpp>
#include <vumedia/backends/v4l2_proxy/shared.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::backends::v4l2_proxy::test {
namespace {

namespace tag = v4l2::tag;
using vumedia::test::make_table;
using vumedia::test::RamFile;

constexpr std::uint64_t first_page = 0x1000'0000;
void* const guest_pointer = reinterpret_cast<void*>(0x7777'0000);  // NOLINT(performance-no-int-to-ptr)

TEST(Sanitize, PointersOfOverlaysAreNotTheHosts) {
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY;
  format.fmt.win.clips = static_cast<v4l2_clip*>(guest_pointer);
  format.fmt.win.clipcount = 12;
  format.fmt.win.bitmap = guest_pointer;
  const v4l2_format sent = format;
  ASSERT_TRUE(before<tag::S_FMT>(format, 0));
  EXPECT_EQ(format.fmt.win.clips, nullptr);
  EXPECT_EQ(format.fmt.win.clipcount, 0u);
  EXPECT_EQ(format.fmt.win.bitmap, nullptr);
  after<tag::S_FMT>(format, sent);
  EXPECT_EQ(format.fmt.win.clips, sent.fmt.win.clips);
  EXPECT_EQ(format.fmt.win.bitmap, guest_pointer);
  EXPECT_EQ(format.fmt.win.clipcount, 0u);

  format.type = V4L2_BUF_TYPE_VIDEO_OVERLAY;
  EXPECT_EQ(before<tag::G_FMT>(format, ~0u), fail(EINVAL));
  v4l2_create_buffers create{};
  create.memory = V4L2_MEMORY_MMAP;
  create.format = sent;
  ASSERT_TRUE(before<tag::CREATE_BUFS>(create, 0));
  EXPECT_EQ(create.format.fmt.win.bitmap, nullptr);
}

TEST(Sanitize, OtherFormatsPassAsTheyAre) {
  v4l2_format format{};
  std::memset(&format.fmt, 0x5a, sizeof format.fmt);
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  const v4l2_format sent = format;
  ASSERT_TRUE(before<tag::TRY_FMT>(format, 0));
  EXPECT_EQ(std::memcmp(&format, &sent, sizeof sent), 0);
  after<tag::TRY_FMT>(format, sent);
  EXPECT_EQ(std::memcmp(&format, &sent, sizeof sent), 0);
}

TEST(Sanitize, BuffersAreOfMemoryThatTheGuestHas) {
  v4l2_requestbuffers request{};
  for (const std::uint32_t memory : {V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR}) {
    request.memory = memory;
    EXPECT_TRUE(before<tag::REQBUFS>(request, 0));
  }
  for (const std::uint32_t memory :
       {0u, std::uint32_t{V4L2_MEMORY_OVERLAY}, std::uint32_t{V4L2_MEMORY_DMABUF}, 99u}) {
    request.memory = memory;
    EXPECT_EQ(before<tag::REQBUFS>(request, V4L2_CAP_STREAMING), fail(EINVAL)) << memory;
    // A radio has no buffers in any type of memory.
    EXPECT_EQ(before<tag::REQBUFS>(request, V4L2_CAP_RADIO), fail(ENOTTY)) << memory;
    v4l2_create_buffers create{};
    create.memory = memory;
    EXPECT_EQ(before<tag::CREATE_BUFS>(create, V4L2_CAP_STREAMING), fail(EINVAL)) << memory;
    EXPECT_EQ(before<tag::CREATE_BUFS>(create, V4L2_CAP_RADIO), fail(ENOTTY)) << memory;
  }
  request.capabilities = V4L2_BUF_CAP_SUPPORTS_MMAP | V4L2_BUF_CAP_SUPPORTS_USERPTR |
                         V4L2_BUF_CAP_SUPPORTS_DMABUF | V4L2_BUF_CAP_SUPPORTS_REQUESTS |
                         V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS;
  after<tag::REQBUFS>(request, request);
  EXPECT_EQ(request.capabilities, std::uint32_t{V4L2_BUF_CAP_SUPPORTS_MMAP | V4L2_BUF_CAP_SUPPORTS_USERPTR |
                                                V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS});
}

TEST(Sanitize, PhysicalAddressesOfTheHostAreNobodysBusiness) {
  v4l2_framebuffer buffer{};
  buffer.base = guest_pointer;
  v4l2_framebuffer asked = buffer;
  EXPECT_EQ(before<tag::S_FBUF>(asked, V4L2_CAP_VIDEO_CAPTURE), fail(ENOTTY));
  ASSERT_TRUE(before<tag::S_FBUF>(asked, V4L2_CAP_VIDEO_OUTPUT_OVERLAY));
  EXPECT_EQ(asked.base, nullptr);
  after<tag::G_FBUF>(buffer, {});
  EXPECT_EQ(buffer.base, nullptr);
  std::int32_t on = 1;
  EXPECT_EQ(before<tag::OVERLAY>(on, V4L2_CAP_VIDEO_CAPTURE), fail(ENOTTY));
}

TEST(Sanitize, BlocksOfRdsAreNotRead) {
  v4l2_tuner tuner{};
  tuner.capability = V4L2_TUNER_CAP_RDS | V4L2_TUNER_CAP_RDS_BLOCK_IO | V4L2_TUNER_CAP_RDS_CONTROLS;
  after<tag::G_TUNER>(tuner, tuner);
  EXPECT_EQ(tuner.capability, std::uint32_t{V4L2_TUNER_CAP_RDS | V4L2_TUNER_CAP_RDS_CONTROLS});
}

TEST(Sanitize, WhatCarriesPointersOrRegistersIsNotPassedOn) {
  std::set<std::string> held_back;
  v4l2::with_ioctl_tags(
      [&]<class... Tags>() { ((is_passed_on<Tags> ? void() : void(held_back.insert(Tags::name))), ...); });
  EXPECT_EQ(held_back,
            (std::set<std::string>{"VIDIOC_EXPBUF", "VIDIOC_G_EDID", "VIDIOC_S_EDID", "VIDIOC_DBG_G_REGISTER",
                                   "VIDIOC_DBG_S_REGISTER", "VIDIOC_DBG_G_CHIP_INFO"}));
}

TEST(Offsets, AreUniqueAndAlignedAndKnowTheirBuffer) {
  std::set<std::uint32_t> seen;
  for (const std::uint32_t type : {1u, 2u, 9u, 10u, 14u}) {
    for (const std::uint32_t index : {0u, 1u, 31u, 8191u}) {
      for (const std::uint32_t plane : {0u, 1u, 7u}) {
        const auto offset = guest_offset(type, index, plane);
        ASSERT_TRUE(offset);
        EXPECT_NE(*offset, 0u);
        EXPECT_EQ(*offset % page_size, 0u);
        EXPECT_TRUE(seen.insert(*offset).second);
        EXPECT_EQ(type_of_offset(*offset), type);
        EXPECT_EQ(index_of_offset(*offset), index);
      }
    }
  }
  EXPECT_FALSE(guest_offset(0, 0, 0));
  EXPECT_FALSE(guest_offset(16, 0, 0));
  EXPECT_FALSE(guest_offset(1, 8192, 0));
  EXPECT_FALSE(guest_offset(1, 0, 8));
}

// -- USERPTR

class UserPointers : public testing::Test {
 protected:
  static v4l2::BufferPayload buffer(std::uint32_t index, const std::vector<v4l2::GuestRange>& ranges,
                                    std::uint64_t pointer = 0x1234'5000) {
    v4l2::BufferPayload payload{};
    payload.buffer.head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    payload.buffer.head.memory = V4L2_MEMORY_USERPTR;
    payload.buffer.head.index = index;
    payload.buffer.head.m.userptr = pointer;
    payload.sent.buffer.head.m.userptr = pointer;
    for (const auto& range : ranges) payload.buffer.head.length += range.length;
    payload.ranges.add_list(ranges);
    return payload;
  }
  static std::vector<v4l2::GuestRange> pages(std::initializer_list<std::uint64_t> numbers) {
    std::vector<v4l2::GuestRange> ranges;
    for (const std::uint64_t number : numbers)
      ranges.push_back({{first_page + number * page_size}, page_size});
    return ranges;
  }
  // What QBUF does, with a kernel that answers `accepted`. The address that the kernel saw, or the errno.
  Result<std::uint64_t> queue(const v4l2::BufferPayload& payload, bool accepted = true) {
    KernelBuffer kernel(payload.buffer);
    UserPlanes fresh;
    if (const auto taken = queues.take_pages(payload, *table, kernel, fresh); !taken)
      return std::unexpected(taken.error());
    queues.keep_pages(payload, kernel.plane_count(), fresh, accepted);
    return kernel.head.m.userptr;
  }
  std::uint64_t told_to_guest(std::uint32_t index) {
    KernelBuffer kernel(V4L2_BUF_TYPE_VIDEO_CAPTURE);
    kernel.head.memory = V4L2_MEMORY_USERPTR;
    kernel.head.index = index;
    kernel.head.m.userptr = 0x7fff'dead'0000;
    v4l2::Buffer answer;
    queues.to_guest(kernel, answer);
    return answer.head.m.userptr;
  }
  UserPointers() { queues.replace_buffers(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 2); }

  RamFile ram{first_page, 64 * page_size};
  std::shared_ptr<const memory::GuestMemory> table = make_table({&ram});
  std::shared_ptr<memory::Budget> budget = std::make_shared<memory::Budget>(16);
  Queues queues{budget};
};

TEST_F(UserPointers, TheSamePagesKeepTheirAddress) {
  const auto first = queue(buffer(0, pages({5, 2})));
  ASSERT_TRUE(first);
  EXPECT_EQ(queue(buffer(0, pages({5, 2}))), first) << "the kernel need not look at the pages again";
  EXPECT_EQ(told_to_guest(0), 0x1234'5000u);
  // The guest's name for them may still change.
  EXPECT_EQ(queue(buffer(0, pages({5, 2}), 0x9999'0000)), first);
  EXPECT_EQ(told_to_guest(0), 0x9999'0000u);
  EXPECT_EQ(budget->used(), 2u);
}

TEST_F(UserPointers, OtherPagesAreAtAnotherAddress) {
  const auto first = queue(buffer(0, pages({5, 2})));
  const auto second = queue(buffer(0, pages({7, 9})));
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second) << "the kernel would go on with the old pages";
  EXPECT_EQ(budget->used(), 2u) << "the old ones are given up once the kernel has the new";
}

TEST_F(UserPointers, ATableThatWasReplacedMayMeanOtherPages) {
  const auto first = queue(buffer(0, pages({5})));
  const RamFile other(first_page, 64 * page_size);
  table = make_table({&other});
  const auto second = queue(buffer(0, pages({5})));
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second);
  std::memset(other.data() + 5 * page_size, 0x42, 1);
  EXPECT_EQ(*reinterpret_cast<unsigned char*>(*second), 0x42);  // NOLINT(performance-no-int-to-ptr)
}

TEST_F(UserPointers, AfterAFailureTheAddressesOfBothAreKept) {
  const auto first = queue(buffer(0, pages({5})));
  const auto failed = queue(buffer(0, pages({6})), false);
  const auto third = queue(buffer(0, pages({7})), false);
  ASSERT_TRUE(first && failed && third);
  EXPECT_EQ((std::set{*first, *failed, *third}.size()), 3u);
  EXPECT_EQ(budget->used(), 3u);
  EXPECT_EQ(told_to_guest(0), 0x1234'5000u);
  EXPECT_TRUE(queue(buffer(0, pages({8}))));
  EXPECT_EQ(budget->used(), 1u);
}

TEST_F(UserPointers, ManyFailuresEndInEnomemUntilTheBuffersGo) {
  for (std::uint64_t i = 0; i < 16; ++i) ASSERT_TRUE(queue(buffer(0, pages({i})), false));
  EXPECT_EQ(queue(buffer(1, pages({20}))), Result<std::uint64_t>(fail(ENOMEM)));
  queues.replace_buffers(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 0);
  EXPECT_EQ(budget->used(), 0u);
}

TEST_F(UserPointers, BuffersThatAreNotThereAreRefused) {
  EXPECT_EQ(queue(buffer(2, pages({1}))), Result<std::uint64_t>(fail(EINVAL)));
  EXPECT_EQ(queue(buffer(0xffff'ffff, pages({1}))), Result<std::uint64_t>(fail(EINVAL)));
  auto other = buffer(0, pages({1}));
  other.buffer.head.type = 77;
  EXPECT_EQ(queue(other), Result<std::uint64_t>(fail(EINVAL)));
  other.buffer.head.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  EXPECT_EQ(queue(other), Result<std::uint64_t>(fail(EINVAL))) << "a queue of other memory";
  EXPECT_EQ(queue(buffer(0, {})), Result<std::uint64_t>(fail(EINVAL)));
  EXPECT_EQ(queue(buffer(0, pages({64}))), Result<std::uint64_t>(fail(EFAULT)));
  EXPECT_EQ(told_to_guest(7), 0u);
  queues.add_buffers(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 3);
  EXPECT_TRUE(queue(buffer(2, pages({1}))));
  queues.remove_buffers(V4L2_BUF_TYPE_VIDEO_CAPTURE, 2, ~0u);
  EXPECT_EQ(budget->used(), 0u);
}

// No format limits a plane, whose pages the kernel lists, so its bytes count, each as often as it is named.
TEST_F(UserPointers, BytesAreThoseOfAllBuffers) {
  const auto bytes = std::make_shared<memory::Budget>(8 * page_size);
  queues = Queues(budget, bytes);
  queues.replace_buffers(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 2);
  const auto repeated = [](std::uint32_t times) {
    return std::vector<v4l2::GuestRange>(times, {{first_page}, page_size});
  };
  EXPECT_EQ(queue(buffer(0, repeated(9))), Result<std::uint64_t>(fail(ENOMEM)));
  EXPECT_EQ(bytes->used(), 0u);
  ASSERT_TRUE(queue(buffer(0, repeated(6))));
  EXPECT_EQ(bytes->used(), 6 * page_size);
  EXPECT_EQ(queue(buffer(1, repeated(3))), Result<std::uint64_t>(fail(ENOMEM)));
  EXPECT_TRUE(queue(buffer(1, repeated(2)), false));
  EXPECT_EQ(bytes->used(), 8 * page_size) << "the kernel may hold on to what failed";
  EXPECT_TRUE(queue(buffer(0, repeated(6)))) << "the same pages are there already";
  queues.replace_buffers(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 0);
  EXPECT_EQ(bytes->used(), 0u);
}

TEST_F(UserPointers, EachPlaneHasItsOwn) {
  queues.replace_buffers(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, V4L2_MEMORY_USERPTR, 1);
  v4l2::BufferPayload payload{};
  payload.buffer.head.type = V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
  payload.buffer.head.memory = V4L2_MEMORY_USERPTR;
  payload.buffer.head.length = 2;
  for (std::uint32_t p = 0; p < 2; ++p) {
    payload.buffer.planes[p].length = page_size;
    payload.sent.buffer.planes[p].m.userptr = 0x1000u * (p + 1);
    payload.ranges.add_list(pages({p + 3}));
  }
  KernelBuffer kernel(payload.buffer);
  EXPECT_EQ(kernel.head.m.planes, kernel.planes.data());
  UserPlanes fresh;
  ASSERT_TRUE(queues.take_pages(payload, *table, kernel, fresh));
  ram.data()[4 * page_size] = std::byte{0x55};
  EXPECT_EQ(*reinterpret_cast<unsigned char*>(kernel.planes[1].m.userptr), 0x55);  // NOLINT
  queues.keep_pages(payload, 2, fresh, true);
  v4l2::Buffer answer;
  queues.to_guest(kernel, answer);
  EXPECT_EQ(answer.head.m.planes, nullptr);
  EXPECT_EQ(answer.planes[0].m.userptr, 0x1000u);
  EXPECT_EQ(answer.planes[1].m.userptr, 0x2000u);
}

TEST(Buffers, AnswersNameOffsetsOfTheSessionAndNoFds) {
  Queues queues(std::make_shared<memory::Budget>(0));
  KernelBuffer kernel(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE);
  kernel.head.memory = V4L2_MEMORY_MMAP;
  kernel.head.index = 3;
  kernel.head.length = 2;
  kernel.head.flags = V4L2_BUF_FLAG_REQUEST_FD | V4L2_BUF_FLAG_LAST;
  kernel.head.request_fd = 9;
  for (auto& plane : kernel.planes) {
    plane.m.mem_offset = 0x1000;
    plane.bytesused = 7;
  }
  v4l2::Buffer answer;
  queues.to_guest(kernel, answer);
  EXPECT_EQ(answer.head.m.planes, nullptr);
  EXPECT_EQ(answer.head.request_fd, 0);
  EXPECT_EQ(answer.head.flags, std::uint32_t{V4L2_BUF_FLAG_LAST});
  EXPECT_EQ(answer.head.length, 2u);
  EXPECT_EQ(answer.planes[0].m.mem_offset, guest_offset(9, 3, 0));
  EXPECT_EQ(answer.planes[1].m.mem_offset, guest_offset(9, 3, 1));
  EXPECT_EQ(answer.planes[1].bytesused, 7u);
  EXPECT_EQ(answer.planes[2].bytesused, 0u);
  EXPECT_EQ(answer.planes[2].m.userptr, 0u);
}

TEST(Buffers, AQueueIsAskedOnlyWhileItHasSomething) {
  Queues queues(std::make_shared<memory::Budget>(0));
  const std::uint32_t type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  queues.replace_buffers(type, V4L2_MEMORY_MMAP, 2);
  Queue& queue = *queues.find(type);
  queue.queued.push_back(0);
  EXPECT_FALSE(queue.wanted());
  queues.started(type);
  EXPECT_TRUE(queue.wanted());
  queue.drained = true;
  EXPECT_FALSE(queue.wanted()) << "LAST was seen: EPIPE until something starts";
  queues.resumed();
  EXPECT_TRUE(queue.wanted());
  queue.drained = true;
  queues.stopped(type);
  queues.started(type);
  EXPECT_FALSE(queue.wanted()) << "STREAMOFF takes the buffers back";
  queue.queued.push_back(0);
  EXPECT_TRUE(queue.wanted());
  queues.replace_buffers(type, V4L2_MEMORY_MMAP, 2);
  EXPECT_FALSE(queue.wanted());
  EXPECT_EQ(queues.find(0), nullptr);
  EXPECT_EQ(queues.find(16), nullptr);
  EXPECT_EQ(queues.find(V4L2_BUF_TYPE_PRIVATE), nullptr);
}

// -- Controls

// A copy, because the struct is packed and its pointer is not aligned for a reference.
void* pointer_of(const v4l2_ext_control& control) {
  return control.ptr;
}

class PassControls : public testing::Test {
 protected:
  static constexpr std::uint32_t text = 1, array = 2, number = 3, growing = 4, enormous = 5;

  Result<> kernel_ioctl(unsigned long code, void* argument) {
    if (code == VIDIOC_QUERY_EXT_CTRL) {
      auto& query = *static_cast<v4l2_query_ext_ctrl*>(argument);
      query.flags = V4L2_CTRL_FLAG_HAS_PAYLOAD;
      query.elems = 1;
      switch (query.id) {
        case text:
          query.type = V4L2_CTRL_TYPE_STRING;
          query.elem_size = 32;
          return {};
        case array:
          query.type = V4L2_CTRL_TYPE_U16;
          query.elem_size = 2;
          query.elems = 10;
          return {};
        case growing:
          query.type = V4L2_CTRL_TYPE_U32;
          query.elem_size = 4;
          query.elems = 1;
          query.dims[0] = 5;
          query.flags |= V4L2_CTRL_FLAG_DYNAMIC_ARRAY;
          return {};
        case enormous:
          query.type = V4L2_CTRL_TYPE_U8;
          query.elem_size = 1u << 20;
          query.elems = 1u << 20;
          return {};
        case number:
          query.flags = 0;
          return {};
        default:
          return fail(EINVAL);
      }
    }
    ++calls;
    return act(code, *static_cast<v4l2_ext_controls*>(argument));
  }
  Result<> pass(unsigned long code, v4l2::ExtControls& request) {
    request.head.count = static_cast<std::uint32_t>(request.controls.size());
    auto kernel = [this](unsigned long inner, void* argument) { return kernel_ioctl(inner, argument); };
    return pass_controls(kernel, code, request, *table, bytes);
  }
  static void add(v4l2::ExtControls& request, std::uint32_t id, std::uint32_t size,
                  std::uint64_t at = first_page) {
    v4l2_ext_control control{};
    control.id = id;
    control.size = size;
    control.ptr = guest_pointer;
    request.controls.push_back(control);
    const v4l2::GuestRange range{{at}, size};
    request.ranges.add_list(std::span(&range, size != 0 ? 1u : 0u));
  }

  RamFile ram{first_page, 64 * page_size};
  std::shared_ptr<const memory::GuestMemory> table = make_table({&ram});
  std::function<Result<>(unsigned long, v4l2_ext_controls&)> act = [](unsigned long, v4l2_ext_controls&) {
    return Result<>{};
  };
  std::shared_ptr<memory::Budget> bytes = nullptr;
  int calls = 0;
};

TEST_F(PassControls, AValueGoesToTheKernelInMemoryOfOursAndBack) {
  std::memcpy(ram.data(), "a text\0and more", 15);
  v4l2::ExtControls request{};
  add(request, text, 100);
  act = [&](unsigned long code, v4l2_ext_controls& controls) -> Result<> {
    EXPECT_EQ(code, static_cast<unsigned long>(VIDIOC_S_EXT_CTRLS));
    EXPECT_EQ(controls.count, 1u);
    EXPECT_EQ(controls.controls[0].size, 32u) << "no more than the driver can want";
    EXPECT_NE(pointer_of(controls.controls[0]), guest_pointer);
    EXPECT_STREQ(controls.controls[0].string, "a text");
    std::strcpy(controls.controls[0].string, "b");  // NOLINT: rounded, so to speak
    return {};
  };
  ASSERT_TRUE(pass(VIDIOC_S_EXT_CTRLS, request));
  EXPECT_EQ(std::memcmp(ram.data(), "b\0text", 6), 0) << "as far as its end, and not further";
  EXPECT_EQ(request.controls[0].size, 100u);
  EXPECT_EQ(pointer_of(request.controls[0]), guest_pointer);
}

TEST_F(PassControls, AReadNeedsNothingOfTheGuests) {
  std::memset(ram.data(), 0xee, 64);
  v4l2::ExtControls request{};
  add(request, array, 60);
  add(request, number, 0);
  request.controls[1].value = 5;
  act = [&](unsigned long, v4l2_ext_controls& controls) -> Result<> {
    EXPECT_EQ(controls.controls[0].size, 20u);
    EXPECT_EQ(controls.controls[0].p_u8[0], 0) << "what the guest has there is not read";
    EXPECT_EQ(controls.controls[1].value, 5);
    std::memset(controls.controls[0].p_u8, 0x11, 20);
    controls.controls[1].value = 6;
    return {};
  };
  ASSERT_TRUE(pass(VIDIOC_G_EXT_CTRLS, request));
  EXPECT_EQ(ram.data()[19], std::byte{0x11});
  EXPECT_EQ(ram.data()[20], std::byte{0xee});
  EXPECT_EQ(request.controls[0].size, 20u);
  EXPECT_EQ(request.controls[1].value, 6);
}

TEST_F(PassControls, AFailureCarriesErrorIndexAndSizeAndChangesNothing) {
  std::memset(ram.data(), 0xee, 64);
  v4l2::ExtControls request{};
  add(request, array, 4);
  act = [](unsigned long, v4l2_ext_controls& controls) -> Result<> {
    EXPECT_EQ(controls.controls[0].size, 4u);
    controls.controls[0].p_u8[0] = 1;
    controls.controls[0].size = 20;
    controls.error_idx = 0;
    return fail(ENOSPC);
  };
  request.head.error_idx = 77;
  EXPECT_EQ(pass(VIDIOC_G_EXT_CTRLS, request), fail(ENOSPC));
  EXPECT_EQ(request.head.error_idx, 0u);
  EXPECT_EQ(request.controls[0].size, 20u);
  EXPECT_EQ(pointer_of(request.controls[0]), guest_pointer);
  EXPECT_EQ(ram.data()[0], std::byte{0xee});
}

TEST_F(PassControls, WhatTheDriverDoesNotKnowReachesItWithoutAPointer) {
  v4l2::ExtControls request{};
  add(request, 99, 100);
  act = [](unsigned long, v4l2_ext_controls& controls) -> Result<> {
    EXPECT_EQ(controls.controls[0].size, 0u);
    EXPECT_EQ(pointer_of(controls.controls[0]), nullptr);
    controls.error_idx = 0;
    return fail(EINVAL);
  };
  EXPECT_EQ(pass(VIDIOC_S_EXT_CTRLS, request), fail(EINVAL));
  EXPECT_EQ(request.controls[0].size, 100u);
  EXPECT_EQ(calls, 1);
}

TEST_F(PassControls, AnArrayThatGrowsMayBeSeenToBeTooLong) {
  v4l2::ExtControls request{};
  add(request, growing, 4000);
  act = [](unsigned long, v4l2_ext_controls& controls) -> Result<> {
    EXPECT_EQ(controls.controls[0].size, 24u) << "one element more than it may have";
    return {};
  };
  EXPECT_TRUE(pass(VIDIOC_S_EXT_CTRLS, request));
  EXPECT_EQ(calls, 1);
}

TEST_F(PassControls, RefusalsComeBeforeTheKernel) {
  v4l2::ExtControls huge{};
  add(huge, enormous, 0xffff'f000);
  EXPECT_EQ(pass(VIDIOC_G_EXT_CTRLS, huge), fail(ENOMEM));
  EXPECT_EQ(huge.head.error_idx, 1u);
  v4l2::ExtControls of_number{};
  add(of_number, number, 8);
  EXPECT_EQ(pass(VIDIOC_S_EXT_CTRLS, of_number), fail(EINVAL));
  v4l2::ExtControls outside{};
  add(outside, text, 32, first_page + 64 * page_size);
  EXPECT_EQ(pass(VIDIOC_S_EXT_CTRLS, outside), fail(EFAULT));
  v4l2::ExtControls of_request{};
  of_request.head.which = V4L2_CTRL_WHICH_REQUEST_VAL;
  of_request.head.request_fd = 0;
  EXPECT_EQ(pass(VIDIOC_G_EXT_CTRLS, of_request), fail(EINVAL));
  EXPECT_EQ(calls, 0);
}

TEST_F(PassControls, ValuesUnderWayAreCounted) {
  bytes = std::make_shared<memory::Budget>(51);
  v4l2::ExtControls request{};
  add(request, text, 32);
  add(request, array, 20);
  EXPECT_EQ(pass(VIDIOC_G_EXT_CTRLS, request), fail(ENOMEM));
  EXPECT_EQ(calls, 0);
  bytes = std::make_shared<memory::Budget>(52);
  act = [this](unsigned long, v4l2_ext_controls&) {
    EXPECT_EQ(bytes->used(), 52u);
    return Result<>{};
  };
  EXPECT_TRUE(pass(VIDIOC_G_EXT_CTRLS, request));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(bytes->used(), 0u);
}

// -- Closings

TEST(Closings, OrderWhatFollowsAndNothingElse) {
  Closings closings;
  closings.wait(closings.last());
  const auto before = closings.last();
  const auto first = closings.begin();
  closings.wait(before);  // one's own, for example
  std::thread closer([&] { closings.end(first); });
  closings.wait(closings.last());
  closer.join();
  const auto hung = closings.begin();
  closings.wait(hung);  // given up after a while
  closings.wait(hung);  // and not waited for again
  closings.end(hung);
}

}  // namespace
}  // namespace vumedia::backends::v4l2_proxy::test
