// Frames from a camera through the proxy, single- and multi-planar: they equal those from the node itself.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include "proxy.hpp"
#include "stream.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

constexpr std::uint32_t width = 320, height = 180;

struct Api {
  const char* name;
  std::uint32_t type;
  const char* options;
  std::vector<std::uint32_t> formats;
  const char* reactor = "auto";
  friend std::ostream& operator<<(std::ostream& out, const Api& api) { return out << api.name; }
};
const Api single{
    "single",
    V4L2_BUF_TYPE_VIDEO_CAPTURE,
    "n_devs=1",
    {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_RGB24, V4L2_PIX_FMT_GREY}};
const Api multiplanar{"multiplanar",
                      V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
                      "n_devs=1 multiplanar=2",
                      {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_NV12M, V4L2_PIX_FMT_YUV420M}};
const Api by_epoll{"epoll", V4L2_BUF_TYPE_VIDEO_CAPTURE, "n_devs=1", {V4L2_PIX_FMT_YUYV}, "epoll"};

// At vivid's maximum rate, to save time.
template <class File>
void set_fast(File& file, std::uint32_t type) {
  v4l2_streamparm parameters{};
  parameters.type = type;
  parameters.parm.capture.timeperframe = {1, 60};
  ASSERT_EQ(file.template ioctl<tag::S_PARM>(parameters), 0);
}

template <class File>
void set_format(File& file, std::uint32_t type, std::uint32_t pixel_format) {
  v4l2_format format{};
  format.type = type;
  if (v4l2::is_multiplanar(type)) {
    format.fmt.pix_mp.width = width;
    format.fmt.pix_mp.height = height;
    format.fmt.pix_mp.pixelformat = pixel_format;
  } else {
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = pixel_format;
  }
  ASSERT_EQ(file.template ioctl<tag::S_FMT>(format), 0);
  const std::uint32_t got =
      v4l2::is_multiplanar(type) ? format.fmt.pix_mp.pixelformat : format.fmt.pix.pixelformat;
  ASSERT_EQ(got, pixel_format);
  set_fast(file, type);
}

// Where two frames differ; nothing if they are equal.
std::optional<std::string> difference(const Frame& a, const Frame& b) {
  if (a.planes.size() != b.planes.size()) return "in the number of planes";
  for (std::size_t p = 0; p < a.planes.size(); ++p) {
    if (a.planes[p].size() != b.planes[p].size())
      return "plane " + std::to_string(p) + " has " + std::to_string(a.planes[p].size()) + " and " +
             std::to_string(b.planes[p].size()) + " bytes";
    if (std::memcmp(a.planes[p].data(), b.planes[p].data(), a.planes[p].size()) == 0) continue;
    const auto [at, other] = std::ranges::mismatch(a.planes[p], b.planes[p]);
    return "plane " + std::to_string(p) + " at byte " + std::to_string(at - a.planes[p].begin());
  }
  return std::nullopt;
}

class Capture : public testing::TestWithParam<Api> {
 protected:
  Capture()
      : driver(GetParam().options),
        path(node("vivid-000-vid-cap")),
        device("v4l2-proxy", {"--v4l2-device", path, "--reactor", GetParam().reactor}),
        guest(device.connect(2 << 20)) {
    // The same picture in every frame: no counters drawn into it.
    NodeFile file(path);
    set_control(file, cid::osd_text_mode, 2);
  }

  const std::uint32_t type = GetParam().type;
  Driver driver;
  std::string path;
  Served device;
  std::optional<ProxyGuest> guest;
};

TEST_P(Capture, FramesEqualThoseOfTheNode) {
  for (const std::uint32_t pixel_format : GetParam().formats) {
    for (const int pattern : {4, 20}) {
      SCOPED_TRACE("format " + std::to_string(pixel_format) + ", pattern " + std::to_string(pattern));
      std::optional<Frame> wanted;
      {
        NodeFile direct(path);
        set_control(direct, cid::test_pattern, pattern);
        set_format(direct, type, pixel_format);
        wanted = capture_one(direct, type);
      }
      ProxyFile proxied(*guest);
      set_format(proxied, type, pixel_format);
      Stream<ProxyFile> stream(proxied, type);
      stream.queue_all();
      ASSERT_EQ(stream.start(), 0);
      ASSERT_TRUE(wanted);
      ASSERT_FALSE(wanted->planes[0].empty());
      // Some of the buffers more than once.
      for (std::size_t i = 0; i < stream.size() + 2; ++i) {
        const auto frame = stream.next();
        ASSERT_TRUE(frame);
        EXPECT_EQ(difference(*frame, *wanted), std::nullopt);
      }
    }
  }
}

TEST_P(Capture, PicturesOfDifferentPatternsDiffer) {
  ProxyFile proxied(*guest);
  const auto bars = capture_one(proxied, type);
  set_control(proxied, cid::test_pattern, 6);
  const auto white = capture_one(proxied, type);
  ASSERT_TRUE(bars && white);
  EXPECT_NE(difference(*bars, *white), std::nullopt);
}

TEST_P(Capture, BuffersComeBackInOrderWithSequenceAndTime) {
  ProxyFile proxied(*guest);
  set_format(proxied, type, V4L2_PIX_FMT_YUYV);
  Stream<ProxyFile> stream(proxied, type, 4);
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  std::optional<std::uint32_t> sequence;
  std::int64_t time = 0;
  for (std::uint32_t i = 0; i < 20; ++i) {
    const auto buffer = stream.dequeue();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->head.index, i % 4);
    EXPECT_EQ(buffer->head.memory, std::uint32_t{V4L2_MEMORY_MMAP});
    if (sequence) {
      // vivid counts by the clock: when it is late, two frames may have one number.
      EXPECT_GE(buffer->head.sequence, *sequence);
    }
    sequence = buffer->head.sequence;
    const std::int64_t now = buffer->head.timestamp.tv_sec * 1'000'000 + buffer->head.timestamp.tv_usec;
    EXPECT_GT(now, time);
    time = now;
    EXPECT_EQ(buffer->head.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK,
              std::uint32_t{V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC});
    EXPECT_EQ(buffer->head.flags & (V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_ERROR), 0u);
    if (v4l2::is_multiplanar(type)) {
      EXPECT_EQ(buffer->head.length, 1u);
      // vivid puts other bytes before the picture.
      EXPECT_EQ(buffer->planes[0].bytesused, buffer->planes[0].data_offset + width * height * 2);
      EXPECT_GT(buffer->planes[0].data_offset, 0u);
    } else {
      EXPECT_EQ(buffer->head.bytesused, width * height * 2);
    }
    EXPECT_EQ(stream.queue(buffer->head.index), 0);
  }
}

// The clock is the one that a guest's driver would name.
TEST_P(Capture, WhatIsAskedOfABufferIsWhatItHolds) {
  ProxyFile proxied(*guest);
  Stream<ProxyFile> stream(proxied, type, 3);
  auto asked = make_buffer(type, 1);
  ASSERT_EQ(proxied.ioctl<tag::QUERYBUF>(asked), 0);
  EXPECT_EQ(asked.buffer.head.flags & V4L2_BUF_FLAG_QUEUED, 0u);
  ASSERT_EQ(stream.queue(1), 0);
  asked = make_buffer(type, 1);
  ASSERT_EQ(proxied.ioctl<tag::QUERYBUF>(asked), 0);
  EXPECT_NE(asked.buffer.head.flags & V4L2_BUF_FLAG_QUEUED, 0u);
  EXPECT_EQ(stream.queue(1), EINVAL) << "it is queued already";
  auto beyond = make_buffer(type, 3);
  EXPECT_EQ(proxied.ioctl<tag::QUERYBUF>(beyond), EINVAL);
  EXPECT_EQ(proxied.ioctl<tag::QBUF>(beyond), EINVAL);
  auto prepared = make_buffer(type, 0);
  EXPECT_EQ(proxied.ioctl<tag::PREPARE_BUF>(prepared), 0);
  EXPECT_NE(prepared.buffer.head.flags & V4L2_BUF_FLAG_PREPARED, 0u);
}

TEST_P(Capture, StreamoffGivesAllBuffersBack) {
  ProxyFile proxied(*guest);
  Stream<ProxyFile> stream(proxied, type, 4);
  for (int round = 0; round < 3; ++round) {
    stream.queue_all();
    ASSERT_EQ(stream.start(), 0);
    // Some frames may be in transit when it is stopped.
    for (int i = 0; i < round; ++i) ASSERT_TRUE(stream.next());
    stream.stop();
    for (std::uint32_t i = 0; i < stream.size(); ++i) {
      auto asked = make_buffer(type, i);
      ASSERT_EQ(proxied.ioctl<tag::QUERYBUF>(asked), 0);
      EXPECT_EQ(asked.buffer.head.flags & (V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_DONE), 0u) << i;
    }
    // Nothing follows the answer to STREAMOFF.
    EXPECT_TRUE(guest->waiting().empty());
  }
  // Then a new stream begins.
  stream.queue_all();
  ASSERT_EQ(stream.start(), 0);
  const auto first = stream.dequeue();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->head.index, 0u);
  EXPECT_LE(first->head.sequence, 8u);
}

TEST_P(Capture, BuffersMayBeGivenUpWhileMapped) {
  ProxyFile proxied(*guest);
  set_format(proxied, type, V4L2_PIX_FMT_YUYV);
  // Mapped by hand, since Stream unmaps first.
  ASSERT_EQ(request_buffers(proxied, type, 2), 2);
  auto asked = make_buffer(type, 0);
  ASSERT_EQ(proxied.ioctl<tag::QUERYBUF>(asked), 0);
  const bool planes = v4l2::is_multiplanar(type);
  const auto mapped = proxied.map(planes ? asked.buffer.planes[0].m.mem_offset : asked.buffer.head.m.offset,
                                  planes ? asked.buffer.planes[0].length : asked.buffer.head.length);
  ASSERT_FALSE(mapped.empty());
  asked = make_buffer(type, 0);
  if (planes) asked.buffer.head.length = 1;
  ASSERT_EQ(proxied.ioctl<tag::QBUF>(asked), 0);
  tag::BufferType stream_type = type;
  ASSERT_EQ(proxied.ioctl<tag::STREAMON>(stream_type), 0);
  ASSERT_TRUE(proxied.dequeue(type));
  const std::vector<std::byte> picture(mapped.begin(), mapped.end());
  EXPECT_NE(std::ranges::count(picture, std::byte{0}), static_cast<std::ptrdiff_t>(picture.size()));

  EXPECT_EQ(request_buffers(proxied, type, 0), -EBUSY) << "it streams";
  ASSERT_EQ(proxied.ioctl<tag::STREAMOFF>(stream_type), 0);
  EXPECT_EQ(request_buffers(proxied, type, 0), 0);
  EXPECT_TRUE(std::ranges::equal(mapped, picture)) << "the mapping lost its picture";
  // The next generation of buffers is different memory, with different mappings.
  const auto frame = capture_one(proxied, type);
  ASSERT_TRUE(frame);
  std::ranges::fill(mapped, std::byte{0x5a});
  const auto again = capture_one(proxied, type);
  ASSERT_TRUE(again);
  EXPECT_EQ(difference(*frame, *again), std::nullopt);
  EXPECT_TRUE(std::ranges::all_of(mapped, [](std::byte byte) { return byte == std::byte{0x5a}; }));
  proxied.unmap(mapped);
}

TEST_P(Capture, AMappingOutlivesItsSession) {
  std::span<std::byte> memory;
  memory::ShmOffset address;
  {
    ProxyFile proxied(*guest);
    ASSERT_EQ(request_buffers(proxied, type, 2), 2);
    auto asked = make_buffer(type, 1);
    ASSERT_EQ(proxied.ioctl<tag::QUERYBUF>(asked), 0);
    const auto mapped =
        (*guest)->mmap(proxied.session(), v4l2::is_multiplanar(type) ? asked.buffer.planes[0].m.mem_offset
                                                                     : asked.buffer.head.m.offset);
    ASSERT_TRUE(mapped);
    memory = mapped->memory;
    address = mapped->driver_addr;
    std::ranges::fill(memory, std::byte{0x33});
    EXPECT_TRUE(proxied.close());
  }
  EXPECT_TRUE(std::ranges::all_of(memory, [](std::byte byte) { return byte == std::byte{0x33}; }));
  EXPECT_TRUE((*guest)->munmap(address));
  EXPECT_FALSE((*guest)->munmap(address));
}

TEST_P(Capture, OneBufferIsMappedOnceHoweverOften) {
  ProxyFile proxied(*guest);
  ASSERT_EQ(request_buffers(proxied, type, 2), 2);
  auto asked = make_buffer(type, 0);
  ASSERT_EQ(proxied.ioctl<tag::QUERYBUF>(asked), 0);
  const std::uint32_t offset =
      v4l2::is_multiplanar(type) ? asked.buffer.planes[0].m.mem_offset : asked.buffer.head.m.offset;
  const auto first = (*guest)->mmap(proxied.session(), offset),
             second = (*guest)->mmap(proxied.session(), offset);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->driver_addr.value, second->driver_addr.value);
  EXPECT_TRUE((*guest)->munmap(first->driver_addr));
  first->memory[0] = std::byte{1};  // still there
  EXPECT_TRUE((*guest)->munmap(second->driver_addr));
  EXPECT_EQ((*guest)->mmap(proxied.session(), 0xffff'f000).error().value, EINVAL);
}

TEST_P(Capture, BuffersAreCreatedOneByOne) {
  ProxyFile proxied(*guest);
  set_format(proxied, type, V4L2_PIX_FMT_YUYV);
  v4l2_create_buffers create{};
  create.format.type = type;
  ASSERT_EQ(proxied.ioctl<tag::G_FMT>(create.format), 0);
  create.memory = V4L2_MEMORY_MMAP;
  // The driver may begin with more than it is asked for.
  std::uint32_t there = 0;
  for (std::uint32_t i = 0; i < 3; ++i) {
    create.count = 1;
    ASSERT_EQ(proxied.ioctl<tag::CREATE_BUFS>(create), 0);
    EXPECT_EQ(create.index, there);
    EXPECT_GE(create.count, 1u);
    there += create.count;
    EXPECT_EQ(create.capabilities & (V4L2_BUF_CAP_SUPPORTS_DMABUF | V4L2_BUF_CAP_SUPPORTS_REQUESTS), 0u);
    auto asked = make_buffer(type, i);
    ASSERT_EQ(proxied.ioctl<tag::QUERYBUF>(asked), 0);
    asked = make_buffer(type, i);
    if (v4l2::is_multiplanar(type)) asked.buffer.head.length = 1;
    ASSERT_EQ(proxied.ioctl<tag::QBUF>(asked), 0);
  }
  tag::BufferType stream_type = type;
  ASSERT_EQ(proxied.ioctl<tag::STREAMON>(stream_type), 0);
  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto buffer = proxied.dequeue(type);
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->head.index, i);
  }
}

// -- USERPTR

// A buffer of guest memory, given to the device in pieces.
v4l2::BufferPayload user_buffer(
    std::uint32_t type, std::uint32_t index,
    std::span<const std::pair<std::span<std::byte>, std::vector<v4l2::GuestRange>>> planes) {
  auto payload = make_buffer(type, index, V4L2_MEMORY_USERPTR);
  if (v4l2::is_multiplanar(type)) payload.buffer.head.length = static_cast<std::uint32_t>(planes.size());
  for (std::size_t p = 0; p < planes.size(); ++p) {
    const auto& [memory, ranges] = planes[p];
    const auto pointer = reinterpret_cast<std::uintptr_t>(memory.data());
    if (v4l2::is_multiplanar(type)) {
      payload.buffer.planes[p].m.userptr = pointer;
      payload.buffer.planes[p].length = static_cast<std::uint32_t>(memory.size());
    } else {
      payload.buffer.head.m.userptr = pointer;
      payload.buffer.head.length = static_cast<std::uint32_t>(memory.size());
    }
    payload.ranges.add_list(ranges);
  }
  return payload;
}

// How the guest's pages are laid out: like the buffer's, or each separately in reverse order.
enum class Layout { straight, scattered };

class UserPointers : public Capture {
 protected:
  // Captures into guest memory and compares with the node's frames.
  void expect_frames(std::uint32_t pixel_format, Layout layout, std::size_t skew) {
    std::optional<Frame> wanted;
    {
      NodeFile direct(path);
      set_format(direct, type, pixel_format);
      wanted = capture_one(direct, type);
    }
    ASSERT_TRUE(wanted);
    ProxyFile proxied(*guest);
    constexpr std::uint32_t count = 3;
    ASSERT_EQ(request_buffers(proxied, type, count, V4L2_MEMORY_USERPTR), static_cast<int>(count));
    const std::span<std::byte> all = (*guest)->user_memory();
    std::memset(all.data(), 0xee, all.size());
    std::size_t at = 0;
    struct Plane {
      std::size_t pages_at = 0;
      std::size_t size = 0;
    };
    std::vector<std::vector<Plane>> places;
    const auto payload_of = [&](std::uint32_t index) {
      std::vector<std::pair<std::span<std::byte>, std::vector<v4l2::GuestRange>>> planes;
      for (const Plane& plane : places[index])
        planes.push_back({all.subspan(plane.pages_at + skew, plane.size),
                          ranges(plane.pages_at, plane.size, layout, skew)});
      return user_buffer(type, index, planes);
    };
    for (std::uint32_t index = 0; index < count; ++index) {
      places.emplace_back();
      for (const auto& plane : wanted->planes) {
        places.back().push_back({at, plane.size()});
        at += *align_up(plane.size() + skew, page_size);
      }
      auto payload = payload_of(index);
      ASSERT_EQ(proxied.ioctl<tag::QBUF>(payload), 0);
    }
    ASSERT_LE(at, all.size());
    tag::BufferType stream_type = type;
    ASSERT_EQ(proxied.ioctl<tag::STREAMON>(stream_type), 0);
    for (std::uint32_t i = 0; i < 2 * count; ++i) {
      const auto buffer = proxied.dequeue(type);
      ASSERT_TRUE(buffer);
      ASSERT_EQ(buffer->head.index, i % count);
      auto again = payload_of(buffer->head.index);
      Frame frame{*buffer, {}};
      for (std::size_t p = 0; p < places[buffer->head.index].size(); ++p) {
        const Plane& plane = places[buffer->head.index][p];
        // The guest's own pointer comes back.
        EXPECT_EQ(v4l2::is_multiplanar(type) ? buffer->planes[p].m.userptr : buffer->head.m.userptr,
                  reinterpret_cast<std::uintptr_t>(all.data() + plane.pages_at + skew));
        frame.planes.push_back(gather(again.ranges[p]));
        // Erased, so that the next round shows what it has written.
        for (const v4l2::GuestRange& range : again.ranges[p])
          std::memset(bytes(range).data(), 0xee, range.length);
      }
      EXPECT_EQ(difference(frame, *wanted), std::nullopt) << "buffer " << i;
      ASSERT_EQ(proxied.ioctl<tag::QBUF>(again), 0);
    }
    ASSERT_EQ(proxied.ioctl<tag::STREAMOFF>(stream_type), 0);
    // A session ends asynchronously, but the node must be free now.
    EXPECT_EQ(request_buffers(proxied, type, 0, V4L2_MEMORY_USERPTR), 0);
  }

 private:
  [[nodiscard]] std::uint64_t base() const {
    return (*guest)->guest_address((*guest)->user_memory().data())->value;
  }
  [[nodiscard]] std::span<std::byte> bytes(const v4l2::GuestRange& range) const {
    return (*guest)->user_memory().subspan(range.start.value - base(), range.length);
  }
  [[nodiscard]] std::vector<std::byte> gather(std::span<const v4l2::GuestRange> list) const {
    std::vector<std::byte> all;
    for (const v4l2::GuestRange& range : list) {
      const auto piece = bytes(range);
      all.insert(all.end(), piece.begin(), piece.end());
    }
    return all;
  }
  [[nodiscard]] std::vector<v4l2::GuestRange> ranges(std::size_t pages_at, std::size_t size, Layout layout,
                                                     std::size_t skew) const {
    if (layout == Layout::straight)
      return {{memory::GuestAddress{base() + pages_at + skew}, static_cast<std::uint32_t>(size)}};
    std::vector<v4l2::GuestRange> list;
    const std::size_t pages = *align_up(size + skew, page_size) / page_size;
    for (std::size_t page = pages, left = size, offset = skew; page-- > 0; offset = 0) {
      const auto length = static_cast<std::uint32_t>(std::min(left, page_size - offset));
      list.push_back({memory::GuestAddress{base() + pages_at + page * page_size + offset}, length});
      left -= length;
    }
    return list;
  }
};

TEST_P(UserPointers, FramesLandInGuestMemory) {
  for (const std::uint32_t pixel_format : GetParam().formats) {
    SCOPED_TRACE(pixel_format);
    expect_frames(pixel_format, Layout::straight, 0);
  }
}
TEST_P(UserPointers, FramesLandInScatteredPages) {
  expect_frames(GetParam().formats.back(), Layout::scattered, 0);
}
TEST_P(UserPointers, FramesMayBeginWithinAPage) {
  expect_frames(GetParam().formats[0], Layout::straight, 256);
  expect_frames(GetParam().formats[0], Layout::scattered, 256);
}

// What a file answers for a buffer that is too short, for a good one, and for that one again.
template <class File, class MakeBuffer>
std::vector<int> queue_some(File& file, std::uint32_t type, MakeBuffer&& make) {
  std::vector<int> errors;
  EXPECT_EQ(request_buffers(file, type, 2, V4L2_MEMORY_USERPTR), 2);
  for (const std::uint32_t size : {4096u, width * height * 2 + 4096u, width * height * 2 + 4096u}) {
    auto payload = make(size);
    errors.push_back(file.template ioctl<tag::QBUF>(payload));
  }
  EXPECT_EQ(request_buffers(file, type, 0, V4L2_MEMORY_USERPTR), 0);
  return errors;
}

TEST_P(UserPointers, WhatIsNoBufferIsRefused) {
  using Plane = std::pair<std::span<std::byte>, std::vector<v4l2::GuestRange>>;
  const std::span<std::byte> memory = (*guest)->user_memory();
  std::vector<int> wanted;
  {
    NodeFile direct(path);
    set_format(direct, type, V4L2_PIX_FMT_YUYV);
    wanted = queue_some(direct, type, [&](std::uint32_t size) {
      const Plane plane{memory.first(size), {}};
      return user_buffer(type, 0, std::span(&plane, 1));
    });
  }
  EXPECT_EQ(wanted[0], EINVAL);
  ProxyFile proxied(*guest);
  ASSERT_EQ(request_buffers(proxied, type, 2, V4L2_MEMORY_USERPTR), 2);
  const auto size = static_cast<std::uint32_t>(memory.size());
  const Plane outside{memory, {{memory::GuestAddress{0xdead'0000}, size}}};
  auto payload = user_buffer(type, 0, std::span(&outside, 1));
  EXPECT_EQ(proxied.ioctl<tag::QBUF>(payload), EFAULT);
  const auto base = (*guest)->guest_address(memory.data());
  const auto got = queue_some(proxied, type, [&](std::uint32_t length) {
    const Plane plane{memory.first(length), {{*base, length}}};
    return user_buffer(type, 0, std::span(&plane, 1));
  });
  EXPECT_EQ(got, wanted);
}

// -- Several files

TEST_P(Capture, TwoSessionsAreTwoFiles) {
  ProxyFile owner(*guest), other(*guest);
  {
    Stream<ProxyFile> stream(owner, type);
    stream.queue_all();
    ASSERT_EQ(stream.start(), 0);
    ASSERT_TRUE(stream.next());
    // The queue belongs to the first one, as between two programs on the host.
    EXPECT_EQ(request_buffers(other, type, 2), -EBUSY);
    tag::BufferType stream_type = type;
    EXPECT_EQ(other.ioctl<tag::STREAMOFF>(stream_type), EBUSY);
    NodeFile direct(path);
    EXPECT_EQ(request_buffers(direct, type, 2), -EBUSY);
    // Each has its answers while the other streams.
    for (int i = 0; i < 20; ++i) {
      v4l2_format format{};
      format.type = type;
      ASSERT_EQ(other.ioctl<tag::G_FMT>(format), 0);
      ASSERT_TRUE(stream.next());
    }
    EXPECT_TRUE(std::ranges::none_of(guest->waiting(), [&](const auto& event) {
      const auto* const buffer = std::get_if<client::DqbufEvent>(&event);
      return buffer != nullptr && buffer->session == other.session();
    }));
  }
  // When it is given up, it belongs to the next one.
  EXPECT_TRUE(capture_one(other, type));
}

TEST_P(Capture, ClosingASessionGivesTheNodeBack) {
  {
    ProxyFile proxied(*guest);
    Stream<ProxyFile> stream(proxied, type);
    stream.queue_all();
    ASSERT_EQ(stream.start(), 0);
    ASSERT_TRUE(stream.next());
    // In the middle of it, with everything mapped.
    stream.abandon();
    EXPECT_TRUE(proxied.close());
    NodeFile direct(path);
    EXPECT_TRUE(eventually([&] { return request_buffers(direct, type, 2) == 2; }));
    EXPECT_EQ(request_buffers(direct, type, 0), 0);
  }
  NodeFile direct(path);
  EXPECT_TRUE(capture_one(direct, type));
}

// -- Errors in the driver

TEST_P(Capture, InjectedErrorsPassThrough) {
  ProxyFile proxied(*guest);
  set_control(proxied, cid::inject_reqbufs_error, 0);
  EXPECT_EQ(request_buffers(proxied, type, 4), -EINVAL);
  Stream<ProxyFile> stream(proxied, type, 4);
  set_control(proxied, cid::inject_qbuf_error, 0);
  EXPECT_EQ(stream.queue(0), EINVAL);
  stream.queue_all();
  set_control(proxied, cid::inject_streamon_error, 0);
  EXPECT_EQ(stream.start(), EINVAL);
  // If a stream does not start, the kernel returns the queued buffers to be queued again.
  ASSERT_EQ(stream.start(), 0);
  ASSERT_TRUE(stream.next());
  set_control(proxied, cid::inject_buffer_error, 0);
  for (int i = 0;; ++i) {
    ASSERT_LT(i, 20) << "no buffer was in error";
    const auto buffer = stream.dequeue();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(stream.queue(buffer->head.index), 0);
    if ((buffer->head.flags & V4L2_BUF_FLAG_ERROR) != 0) break;
  }
  // Then the stream continues.
  const auto good = stream.dequeue();
  ASSERT_TRUE(good);
  EXPECT_EQ(good->head.flags & V4L2_BUF_FLAG_ERROR, 0u);
}

INSTANTIATE_TEST_SUITE_P(Planes, Capture, testing::Values(single, multiplanar, by_epoll),
                         [](const auto& api) { return std::string(api.param.name); });
INSTANTIATE_TEST_SUITE_P(Planes, UserPointers, testing::Values(single, multiplanar),
                         [](const auto& api) { return std::string(api.param.name); });

}  // namespace
}  // namespace vumedia::vivid::test
