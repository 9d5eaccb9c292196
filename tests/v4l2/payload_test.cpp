// Payloads as bytes in chains: whole, split anywhere, cut short anywhere, and with hostile counts.
#include <cstring>
#include <random>
#include <vector>

#include <boost/hana/for_each.hpp>
#include <gtest/gtest.h>

#include <vumedia/v4l2/payload.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::v4l2::test {
namespace {

using Bytes = std::vector<std::byte>;
using vumedia::test::RamFile;

template <class T>
void append(Bytes& bytes, const T& value) {
  const auto* const data = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), data, data + sizeof value);
}
void append_range(Bytes& bytes, std::uint64_t start, std::uint32_t length) {
  append(bytes, start);
  append(bytes, length);
  append(bytes, std::uint32_t{0xdeadbeef});  // reserved: may be uninitialised
}

// The bytes as a chain of segments, cut at random places, with some empty ones.
struct SplitChain {
  SplitChain(Bytes& bytes, std::mt19937& random) {
    std::size_t at = 0;
    while (at < bytes.size()) {
      const std::size_t length = std::min<std::size_t>(random() % 97, bytes.size() - at);
      segments.emplace_back(bytes.data() + at, length);
      at += length;
    }
  }
  std::vector<virtio::Segment> segments;
};

template <class Tag>
Result<typename Tag::Payload*> read(const Bytes& bytes, PayloadStorage& storage) {
  virtio::Reader reader{std::span<const std::byte>(bytes)};
  return read_payload<Tag>(reader, storage);
}

template <class Tag>
Bytes write(const typename Tag::Payload& payload) {
  Bytes bytes(4096 * 8, std::byte{0x5a});
  virtio::Writer writer{std::span(bytes)};
  EXPECT_TRUE(write_payload<Tag>(writer, payload)) << Tag::name;
  EXPECT_EQ(writer.written(), payload_size<Tag>(payload)) << Tag::name;
  bytes.resize(writer.written());
  return bytes;
}

template <class Tag>
void expect_error_at_every_cut(const Bytes& bytes, PayloadStorage& storage) {
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const auto result = read<Tag>(cut, storage);
    ASSERT_FALSE(result) << Tag::name << " of " << size << " bytes";
    ASSERT_EQ(result.error().value, EINVAL);
  }
  ASSERT_TRUE(read<Tag>(bytes, storage));
}

v4l2_buffer make_buffer(std::uint32_t type, std::uint32_t memory, std::uint32_t length) {
  v4l2_buffer buffer{};
  buffer.type = type;
  buffer.memory = memory;
  buffer.length = length;
  buffer.index = 3;
  return buffer;
}

TEST(Payload, PlainStructsTravelByTheirDirection) {
  PayloadStorage storage;
  std::mt19937 random(1);
  boost::hana::for_each(ioctl_tags, [&](auto type) {
    using Tag = typename decltype(type)::type;
    if constexpr (std::is_same_v<typename Tag::Payload, typename Tag::Wire>) {
      Bytes bytes(sizeof(typename Tag::Wire));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
      SplitChain chain(bytes, random);
      virtio::Reader reader{std::span<const virtio::Segment>(chain.segments)};
      const auto payload = read_payload<Tag>(reader, storage);
      ASSERT_TRUE(payload) << Tag::name;
      const Bytes zeros(bytes.size());
      EXPECT_EQ(std::memcmp(*payload, carries_input<Tag> ? bytes.data() : zeros.data(), bytes.size()), 0)
          << Tag::name;
      if constexpr (carries_output<Tag>) {
        EXPECT_EQ(write<Tag>(**payload), carries_input<Tag> ? bytes : zeros) << Tag::name;
      } else {
        EXPECT_TRUE(write<Tag>(**payload).empty()) << Tag::name;
      }
      if constexpr (carries_input<Tag>) expect_error_at_every_cut<Tag>(bytes, storage);
    }
  });
}

TEST(Payload, WritesNothingBeyondTheRoomThereIs) {
  PayloadStorage storage;
  const auto& format = storage.make<v4l2_format>();
  for (std::size_t room = 0; room < sizeof(v4l2_format); ++room) {
    Bytes bytes(room);
    virtio::Writer writer{std::span(bytes)};
    const auto done = write_payload<tag::G_FMT>(writer, format);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().value, ENOSPC);
  }
}

TEST(BufferPayload, SinglePlanarGoesBothWays) {
  PayloadStorage storage;
  Bytes bytes;
  v4l2_buffer buffer = make_buffer(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_MMAP, 12345);
  buffer.m.offset = 0x1000;
  append(bytes, buffer);
  expect_error_at_every_cut<tag::QBUF>(bytes, storage);
  const auto payload = read<tag::QBUF>(bytes, storage);
  ASSERT_TRUE(payload);
  EXPECT_TRUE((*payload)->ranges.empty());
  (*payload)->buffer.head.m.offset = 0x2000;
  const Bytes answer = write<tag::QBUF>(**payload);
  ASSERT_EQ(answer.size(), sizeof(v4l2_buffer));
  v4l2_buffer out;
  std::memcpy(&out, answer.data(), sizeof out);
  // A mem_offset is chosen by the device.
  EXPECT_EQ(out.m.offset, 0x2000U);
  EXPECT_EQ(out.length, 12345U);
}

TEST(BufferPayload, PlanesFollowAndThePointerComesBack) {
  PayloadStorage storage;
  for (std::uint32_t planes = 0; planes <= VIDEO_MAX_PLANES; ++planes) {
    Bytes bytes;
    v4l2_buffer buffer = make_buffer(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, V4L2_MEMORY_MMAP, planes);
    buffer.m.userptr = 0x1122334455667788;
    append(bytes, buffer);
    for (std::uint32_t p = 0; p < planes; ++p) {
      v4l2_plane plane{};
      plane.length = 100 + p;
      append(bytes, plane);
    }
    expect_error_at_every_cut<tag::QUERYBUF>(bytes, storage);
    const auto payload = read<tag::QUERYBUF>(bytes, storage);
    ASSERT_TRUE(payload);
    for (std::uint32_t p = 0; p < VIDEO_MAX_PLANES; ++p) {
      EXPECT_EQ((*payload)->buffer.planes[p].length, p < planes ? 100 + p : 0);
    }
    // The backend answers with more planes than the driver provided room for, and with a pointer of its own.
    (*payload)->buffer.head.length = 8;
    (*payload)->buffer.head.m.userptr = 0x4141414141414141;
    const Bytes answer = write<tag::QUERYBUF>(**payload);
    ASSERT_EQ(answer.size(), bytes.size());
    v4l2_buffer out;
    std::memcpy(&out, answer.data(), sizeof out);
    EXPECT_EQ(out.m.userptr, 0x1122334455667788U);
  }
}

TEST(BufferPayload, RefusesHostilePlaneCounts) {
  PayloadStorage storage;
  for (const std::uint32_t count : {9U, 16U, 0x80000000U, UINT32_MAX}) {
    Bytes bytes;
    append(bytes, make_buffer(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, V4L2_MEMORY_MMAP, count));
    bytes.resize(bytes.size() + 64 * sizeof(v4l2_plane));
    const auto payload = read<tag::QBUF>(bytes, storage);
    ASSERT_FALSE(payload);
    EXPECT_EQ(payload.error().value, EINVAL);
  }
}

// As v4l2-compliance queues a buffer that it has prepared.
TEST(BufferPayload, ToldNoMemoryItSaysWhichItWas) {
  PayloadStorage storage;
  Bytes single;
  append(single, make_buffer(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 0));
  auto payload = read<tag::QBUF>(single, storage);
  ASSERT_TRUE(payload);
  (*payload)->buffer.head.m.userptr = 0xabc000;
  Bytes answer = write<tag::QBUF>(**payload);
  v4l2_buffer head;
  std::memcpy(&head, answer.data(), sizeof head);
  EXPECT_EQ(head.m.userptr, 0xabc000U);

  Bytes multi;
  append(multi, make_buffer(V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, V4L2_MEMORY_USERPTR, 1));
  append(multi, v4l2_plane{});
  payload = read<tag::QBUF>(multi, storage);
  ASSERT_TRUE(payload);
  (*payload)->buffer.planes[0].m.userptr = 0xabc000;
  answer = write<tag::QBUF>(**payload);
  v4l2_plane plane;
  std::memcpy(&plane, answer.data() + sizeof head, sizeof plane);
  EXPECT_EQ(plane.m.userptr, 0xabc000U);
}

TEST(BufferPayload, UserptrListsCoverEachPlaneExactly) {
  PayloadStorage storage;
  Bytes bytes;
  v4l2_buffer buffer = make_buffer(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE, V4L2_MEMORY_USERPTR, 3);
  append(bytes, buffer);
  const std::uint32_t lengths[] = {8192, 0, 5000};
  for (std::uint32_t p = 0; p < 3; ++p) {
    v4l2_plane plane{};
    plane.length = lengths[p];
    plane.m.userptr = 0xabc000 + p;
    append(bytes, plane);
  }
  append_range(bytes, 0x10000, 4096);
  append_range(bytes, 0x30000, 4096);
  append_range(bytes, 0x50010, 5000);
  expect_error_at_every_cut<tag::QBUF>(bytes, storage);
  const auto payload = read<tag::QBUF>(bytes, storage);
  ASSERT_TRUE(payload);
  const GuestRangeLists& ranges = (*payload)->ranges;
  ASSERT_EQ(ranges.size(), 3U);
  ASSERT_EQ(ranges[0].size(), 2U);
  EXPECT_EQ(ranges[0][1], (GuestRange{{0x30000}, 4096}));
  EXPECT_TRUE(ranges[1].empty());
  ASSERT_EQ(ranges[2].size(), 1U);
  EXPECT_TRUE(ranges[3].empty());
  // The placeholders come back, whatever the backend put there; the ranges are not sent back.
  for (auto& plane : (*payload)->buffer.planes) plane.m.userptr = 0x4141;
  const Bytes answer = write<tag::QBUF>(**payload);
  ASSERT_EQ(answer.size(), sizeof(v4l2_buffer) + 3 * sizeof(v4l2_plane));
  for (std::uint32_t p = 0; p < 3; ++p) {
    v4l2_plane plane;
    std::memcpy(&plane, answer.data() + sizeof(v4l2_buffer) + p * sizeof plane, sizeof plane);
    EXPECT_EQ(plane.m.userptr, 0xabc000 + p);
  }
}

TEST(BufferPayload, RefusesBadRanges) {
  struct Case {
    const char* what;
    std::uint64_t start;
    std::uint32_t length;
    int error;
  };
  const Case cases[] = {{"empty: it would never end", 0x1000, 0, EINVAL},
                        {"longer than the buffer", 0x1000, 4097, EINVAL},
                        {"leaves 64 bits", UINT64_MAX - 4000, 4096, EINVAL},
                        {"exact", 0x1000, 4096, 0}};
  PayloadStorage storage;
  for (const Case& test : cases) {
    Bytes bytes;
    append(bytes, make_buffer(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, 4096));
    append_range(bytes, test.start, test.length);
    const auto payload = read<tag::QBUF>(bytes, storage);
    EXPECT_EQ(payload ? 0 : payload.error().value, test.error) << test.what;
    // QUERYBUF does not hand over memory.
    EXPECT_TRUE(read<tag::QUERYBUF>(bytes, storage)) << test.what;
  }
}

TEST(BufferPayload, BoundsTheNumberOfRanges) {
  PayloadStorage storage;
  Bytes bytes;
  append(bytes, make_buffer(V4L2_BUF_TYPE_VIDEO_CAPTURE, V4L2_MEMORY_USERPTR, UINT32_MAX));
  for (std::size_t i = 0; i < max_guest_ranges; ++i) append_range(bytes, i, 1);
  EXPECT_EQ(read<tag::QBUF>(bytes, storage).error().value, EINVAL);  // covers too little
  append_range(bytes, 0, 1);
  EXPECT_EQ(read<tag::QBUF>(bytes, storage).error().value, E2BIG);
}

v4l2_ext_controls make_head(std::uint32_t count) {
  v4l2_ext_controls head{};
  head.count = count;
  head.request_fd = 77;
  head.controls = reinterpret_cast<v4l2_ext_control*>(0x1234500000000000);
  return head;
}

TEST(ExtControlsPayload, ControlsAndTheirMemory) {
  PayloadStorage storage;
  Bytes bytes;
  append(bytes, make_head(3));
  v4l2_ext_control control{};
  control.id = 1;
  control.value = -5;
  append(bytes, control);
  control.id = 2;
  control.size = 300;
  control.ptr = reinterpret_cast<void*>(0xcafe);
  append(bytes, control);
  control.id = 3;
  control.size = 16;
  append(bytes, control);
  append_range(bytes, 0x1000, 100);
  append_range(bytes, 0x9000, 200);
  append_range(bytes, 0x4000, 16);
  expect_error_at_every_cut<tag::S_EXT_CTRLS>(bytes, storage);

  std::mt19937 random(7);
  SplitChain chain(bytes, random);
  virtio::Reader reader{std::span<const virtio::Segment>(chain.segments)};
  const auto result = read_payload<tag::S_EXT_CTRLS>(reader, storage);
  ASSERT_TRUE(result);
  ExtControls& payload = **result;
  ASSERT_EQ(payload.controls.size(), 3U);
  EXPECT_EQ(static_cast<int>(payload.controls[0].value), -5);
  EXPECT_TRUE(payload.ranges[0].empty());
  EXPECT_EQ(payload.ranges[1].size(), 2U);
  EXPECT_EQ(payload.ranges[2].size(), 1U);

  payload.head.error_idx = 2;
  payload.head.controls = nullptr;
  payload.head.request_fd = -1;
  payload.controls[0].value = 6;
  payload.controls[1].ptr = &payload;  // a host pointer must not leave
  payload.controls[2].size = 64;
  const Bytes answer = write<tag::S_EXT_CTRLS>(payload);
  ASSERT_EQ(answer.size(), sizeof(v4l2_ext_controls) + 3 * sizeof(v4l2_ext_control));
  v4l2_ext_controls head;
  std::memcpy(&head, answer.data(), sizeof head);
  EXPECT_EQ(head.error_idx, 2U);
  EXPECT_EQ(head.count, 3U);
  EXPECT_EQ(head.request_fd, 77);
  EXPECT_EQ(head.controls, reinterpret_cast<v4l2_ext_control*>(0x1234500000000000));
  v4l2_ext_control out[3];
  std::memcpy(out, answer.data() + sizeof head, sizeof out);
  EXPECT_EQ(static_cast<int>(out[0].value), 6);
  EXPECT_EQ(static_cast<void*>(out[1].ptr), reinterpret_cast<void*>(0xcafe));
  EXPECT_EQ(static_cast<std::uint32_t>(out[2].size), 64U);
}

TEST(ExtControlsPayload, RefusesHostileCountsBeforeAllocating) {
  PayloadStorage storage;
  for (const std::uint32_t count : {1025U, 0x10000000U, UINT32_MAX}) {
    Bytes bytes;
    append(bytes, make_head(count));
    bytes.resize(bytes.size() + 2000 * sizeof(v4l2_ext_control));
    EXPECT_EQ(read<tag::G_EXT_CTRLS>(bytes, storage).error().value, EINVAL);
  }
  Bytes bytes;
  append(bytes, make_head(V4L2_CID_MAX_CTRLS));
  EXPECT_EQ(read<tag::G_EXT_CTRLS>(bytes, storage).error().value, EINVAL);
  EXPECT_EQ(storage.make<ExtControls>().controls.capacity(), 0U);
  bytes.resize(bytes.size() + V4L2_CID_MAX_CTRLS * sizeof(v4l2_ext_control));
  EXPECT_TRUE(read<tag::G_EXT_CTRLS>(bytes, storage));
}

TEST(Payload, SurvivesRandomBytes) {
  PayloadStorage storage;
  std::mt19937 random(42);
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes(random() % 400);
    for (std::byte& byte : bytes) byte = random() % 3 ? std::byte{0} : static_cast<std::byte>(random());
    // Mostly valid heads get further.
    if (bytes.size() > 100 && random() % 2) {
      v4l2_buffer head = make_buffer(random() % 2 ? 9 : 1, 1 + static_cast<std::uint32_t>(random() % 4),
                                     static_cast<std::uint32_t>(random() % 10));
      std::memcpy(bytes.data(), &head, sizeof head);
    }
    if (const auto payload = read<tag::QBUF>(bytes, storage)) {
      (void)write<tag::QBUF>(**payload);
    }
    if (bytes.size() > 40 && random() % 2) {
      const v4l2_ext_controls head = make_head(static_cast<std::uint32_t>(random() % 4));
      std::memcpy(bytes.data(), &head, sizeof head);
    }
    if (const auto payload = read<tag::G_EXT_CTRLS>(bytes, storage)) {
      (void)write<tag::G_EXT_CTRLS>(**payload);
    }
  }
}

TEST(GuestRanges, CopyBetweenScatteredPages) {
  RamFile ram(0x100000, 16 * 4096);
  const auto memory = vumedia::test::make_table({&ram});
  const GuestRange ranges[] = {{{0x100010}, 5}, {{0x105000}, 4096}, {{0x103ffe}, 4}};
  Bytes data(4105);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
  ASSERT_TRUE(copy_to_ranges(*memory, ranges, data));
  EXPECT_EQ(std::memcmp(ram.data() + 0x10, data.data(), 5), 0);
  EXPECT_EQ(std::memcmp(ram.data() + 0x5000, data.data() + 5, 4096), 0);
  EXPECT_EQ(std::memcmp(ram.data() + 0x3ffe, data.data() + 4101, 4), 0);
  Bytes back(data.size());
  ASSERT_TRUE(copy_from_ranges(*memory, ranges, back));
  EXPECT_EQ(back, data);
  Bytes head(7);
  ASSERT_TRUE(copy_from_ranges(*memory, ranges, head));
  EXPECT_TRUE(std::equal(head.begin(), head.end(), data.begin()));
}

TEST(GuestRanges, FaultOutsideMemoryAndWhenTooShort) {
  RamFile ram(0x100000, 4 * 4096);
  const auto memory = vumedia::test::make_table({&ram});
  Bytes data(8);
  const GuestRange outside[] = {{{0x100000 + 4 * 4096 - 4}, 8}};
  EXPECT_EQ(copy_from_ranges(*memory, outside, data).error().value, EFAULT);
  EXPECT_EQ(copy_to_ranges(*memory, outside, data).error().value, EFAULT);
  const GuestRange shorter[] = {{{0x100000}, 7}};
  EXPECT_EQ(copy_from_ranges(*memory, shorter, data).error().value, EFAULT);
  EXPECT_EQ(copy_from_ranges(*memory, {}, data).error().value, EFAULT);
  EXPECT_TRUE(copy_from_ranges(*memory, {}, {}));
}

}  // namespace
}  // namespace vumedia::v4l2::test
