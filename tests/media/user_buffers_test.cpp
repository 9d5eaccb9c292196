// USERPTR buffers through a whole device: frames in the guest's own pages, however they are mapped, tables
// that change meanwhile, wrong lists, and what is left behind.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/test_pattern.hpp>

#include "support/effort.hpp"
#include "support/footprint.hpp"
#include "support/guest_ram.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test {
namespace {

namespace tag = v4l2::tag;
using vumedia::test::Bytes;
using vumedia::test::bytes_of;
using vumedia::test::RamFile;
using vumedia::test::Reply;

constexpr std::uint64_t user_at = 0x8000'0000;
constexpr std::uint64_t user_pages = 1024;

struct ListedRange {
  std::uint64_t start = 0;
  std::uint32_t length = 0;
  std::uint32_t reserved = 0xdead;
};
using RangeList = std::vector<ListedRange>;

enum class Layout : std::uint8_t { direct, scattered, odd };
constexpr std::array layouts{Layout::direct, Layout::scattered, Layout::odd};

// Lines of this process's table of mappings that name `file`.
std::size_t mappings_of(const std::string& file) {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(file) != std::string::npos ? 1 : 0;
  return count;
}

// Parameter: whether the device has the multi-planar API.
class UserBuffersOfAGuest : public testing::TestWithParam<bool> {
 protected:
  UserBuffersOfAGuest()
      : guest({.memory_size = std::uint64_t{64} << 20}, {},
              backends::TestPatternOptions{.multiplanar = GetParam()}) {
    show({&ram});
    guest.lend_event_buffers(16);
  }

  // The guest's memory, in addition to the one with its rings.
  void show(std::vector<const RamFile*> files) {
    guest.host.more_memory = std::move(files);
    guest.host.replace_memory();
  }

  // Opens a session with a small format and `count` buffers.
  std::uint32_t open(std::uint32_t count, std::uint32_t memory = V4L2_MEMORY_USERPTR) {
    const std::uint32_t id = guest.open();
    v4l2_format format{};
    format.type = type;
    if (GetParam()) {
      format.fmt.pix_mp.width = 320;
      format.fmt.pix_mp.height = 240;
      format.fmt.pix_mp.pixelformat = V4L2_PIX_FMT_NV12M;
    } else {
      format.fmt.pix.width = 320;
      format.fmt.pix.height = 240;
      format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
    }
    EXPECT_EQ(guest.ioctl<tag::S_FMT>(id, format), 0);
    sizes.clear();
    if (GetParam()) {
      for (std::uint32_t p = 0; p < format.fmt.pix_mp.num_planes; ++p) {
        const v4l2_plane_pix_format plane = format.fmt.pix_mp.plane_fmt[p];
        sizes.push_back(plane.sizeimage);
      }
    } else {
      sizes.push_back(format.fmt.pix.sizeimage);
    }
    EXPECT_EQ(request(id, count, memory), 0);
    return id;
  }
  int request(std::uint32_t id, std::uint32_t count, std::uint32_t memory = V4L2_MEMORY_USERPTR) {
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = type;
    request.memory = memory;
    return guest.ioctl<tag::REQBUFS>(id, request);
  }
  int stream(std::uint32_t id, bool on) {
    tag::BufferType value = type;
    return on ? guest.ioctl<tag::STREAMON>(id, value) : guest.ioctl<tag::STREAMOFF>(id, value);
  }

  // Places for the planes of a buffer that no other buffer has.
  std::vector<RangeList> place(Layout layout) {
    std::vector<RangeList> lists;
    for (const std::uint32_t size : sizes) {
      RangeList& list = lists.emplace_back();
      if (layout == Layout::direct) {
        list.push_back({user_at + take_pages(align_up(size, page_size).value() / page_size) + 8, size});
        (void)take_pages(1);
        continue;
      }
      const std::uint32_t step = layout == Layout::odd ? 3000 : static_cast<std::uint32_t>(page_size);
      for (std::uint32_t done = 0; done < size; done += step)
        list.push_back({user_at + take_pages(1), std::min(step, size - done)});
      if (layout == Layout::scattered) {
        // From the last page to the first; the plane's own last piece stays the last.
        std::reverse(list.begin(), list.end() - 1);
      }
    }
    return lists;
  }
  std::uint64_t take_pages(std::uint64_t count) {
    const std::uint64_t at = next_page;
    next_page += count;
    EXPECT_LE(next_page, user_pages);
    return at * page_size;
  }
  static Bytes gather(const RamFile& file, const std::vector<RangeList>& lists) {
    Bytes bytes;
    for (const RangeList& list : lists) {
      for (const ListedRange& range : list) {
        const std::byte* const from = file.data() + (range.start - user_at);
        bytes.insert(bytes.end(), from, from + range.length);
      }
    }
    return bytes;
  }

  template <class Tag = tag::QBUF>
  Reply hand_over(std::uint32_t id, std::uint32_t index, const std::vector<RangeList>& lists,
                  std::uint32_t memory = V4L2_MEMORY_USERPTR) {
    v4l2_buffer head{};
    head.index = index;
    head.type = type;
    head.memory = memory;
    std::vector<v4l2_plane> planes(GetParam() ? sizes.size() : 0);
    if (GetParam()) {
      head.length = static_cast<std::uint32_t>(planes.size());
      for (std::size_t p = 0; p < planes.size(); ++p) {
        planes[p].length = sizes[p];
        planes[p].m.userptr = 0x7f00'0000 + p;
      }
    } else {
      head.length = sizes[0];
      head.m.userptr = 0x7f00'0000;
    }
    Bytes bytes = Guest::ioctl_command(id, Tag::number);
    const auto append = [&bytes](const Bytes& more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
    append(bytes_of(head));
    for (const v4l2_plane& plane : planes) append(bytes_of(plane));
    for (const RangeList& list : lists) {
      const auto raw = std::as_bytes(std::span(list));
      bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    return guest.command(bytes, 8 + sizeof head + planes.size() * sizeof(v4l2_plane));
  }
  int qbuf(std::uint32_t id, std::uint32_t index, const std::vector<RangeList>& lists) {
    return hand_over(id, index, lists).status();
  }

  // The next frame, which must be valid and in the buffer that it names.
  wire::virtio_media_event_dqbuf next_frame() {
    const auto event = guest.wait_event();
    EXPECT_TRUE(event.has_value());
    if (!event) return {};
    guest.lend_event_buffers(1);
    const auto dqbuf = event->as<wire::virtio_media_event_dqbuf>();
    EXPECT_EQ(dqbuf.hdr.event, wire::event_dqbuf);
    EXPECT_EQ(dqbuf.buffer.flags & V4L2_BUF_FLAG_ERROR, 0U);
    if (dqbuf.buffer.memory != V4L2_MEMORY_USERPTR) return dqbuf;
    if (GetParam()) {
      EXPECT_EQ(dqbuf.buffer.length, sizes.size());
      for (std::size_t p = 0; p < sizes.size(); ++p) {
        EXPECT_EQ(dqbuf.planes[p].bytesused, sizes[p]);
        EXPECT_EQ(dqbuf.planes[p].m.userptr, 0x7f00'0000 + p);
      }
    } else {
      EXPECT_EQ(dqbuf.buffer.bytesused, sizes[0]);
      EXPECT_EQ(dqbuf.buffer.m.userptr, 0x7f00'0000U);
    }
    return dqbuf;
  }

  // The first picture of a stream, in the device's memory.
  Bytes mapped_picture() {
    const std::uint32_t id = open(1, V4L2_MEMORY_MMAP);
    EXPECT_EQ(hand_over(id, 0, {}, V4L2_MEMORY_MMAP).status(), 0);
    EXPECT_EQ(stream(id, true), 0);
    (void)next_frame();
    Bytes bytes;
    for (std::size_t p = 0; p < sizes.size(); ++p) {
      const auto mapped = guest.mmap(id, static_cast<std::uint32_t>(p * page_size));
      const std::byte* const data = guest.host.frontend.at(mapped.driver_addr, sizes[p]);
      EXPECT_NE(data, nullptr);
      if (data != nullptr) bytes.insert(bytes.end(), data, data + sizes[p]);
      EXPECT_EQ(guest.munmap(mapped.driver_addr), 0);
    }
    guest.close(id);
    return bytes;
  }

  using Guest = vumedia::test::MediaGuest<backends::TestPattern>;

  const std::uint32_t type = GetParam() ? std::uint32_t{V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE}
                                        : std::uint32_t{V4L2_BUF_TYPE_VIDEO_CAPTURE};
  RamFile ram{user_at, user_pages* page_size};
  Guest guest;
  std::vector<std::uint32_t> sizes;
  std::uint64_t next_page = 0;
};

// The sequence starts again with each STREAMON, so that each time the picture is the same.
TEST_P(UserBuffersOfAGuest, HoldTheSamePictureWhicheverWay) {
  const Bytes expected = mapped_picture();
  const std::uint32_t id = open(1);
  for (const Layout layout : layouts) {
    SCOPED_TRACE(static_cast<int>(layout));
    std::memset(ram.data(), 0xa5, user_pages * page_size);
    next_page = 0;
    const auto lists = place(layout);
    ASSERT_EQ(qbuf(id, 0, lists), 0);
    ASSERT_EQ(stream(id, true), 0);
    EXPECT_EQ(next_frame().buffer.sequence, 0U);
    EXPECT_TRUE(gather(ram, lists) == expected);
    // Nothing else was written.
    std::size_t listed = 0;
    for (const RangeList& list : lists) {
      for (const ListedRange& range : list) {
        std::memset(ram.data() + (range.start - user_at), 0xa5, range.length);
        listed += range.length;
      }
    }
    EXPECT_EQ(listed, expected.size());
    EXPECT_TRUE(std::all_of(ram.data(), ram.data() + user_pages * page_size,
                            [](std::byte byte) { return byte == std::byte{0xa5}; }));
    ASSERT_EQ(stream(id, false), 0);
  }
  guest.close(id);
  EXPECT_EQ(guest.device->arenas().used_bytes(), 0U);
}

TEST_P(UserBuffersOfAGuest, AreFilledThoughTheirMemoryHasLeftTheTable) {
  const Bytes expected = mapped_picture();
  const std::uint32_t id = open(3);
  std::vector<std::vector<RangeList>> places;
  for (std::uint32_t i = 0; i < 3; ++i) {
    places.push_back(place(layouts[i]));
    ASSERT_EQ(qbuf(id, i, places[i]), 0);
  }
  // No frame was made yet: the loop has not run.
  ASSERT_EQ(stream(id, true), 0);
  show({});
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(next_frame().buffer.index, i);
  EXPECT_TRUE(gather(ram, places[0]) == expected);
  // The other two are later pictures: of the same size, and not empty.
  for (const std::size_t i : {1U, 2U}) {
    const Bytes picture = gather(ram, places[i]);
    EXPECT_EQ(picture.size(), expected.size());
    EXPECT_FALSE(picture == Bytes(picture.size()));
  }
  // Then they do not belong to the guest's memory any more.
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(qbuf(id, i, places[i]), EFAULT);
    EXPECT_EQ(hand_over<tag::PREPARE_BUF>(id, i, places[i]).status(), EFAULT);
  }
  show({&ram});
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(qbuf(id, i, places[i]), 0);
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(next_frame().buffer.index, i);
  guest.close(id);
}

// The memory that is at an address when a buffer is queued counts, whatever was there before or comes later.
TEST_P(UserBuffersOfAGuest, LieInTheMemoryOfTheTimeTheyWereQueued) {
  const RamFile other(user_at, user_pages * page_size);
  const std::uint32_t id = open(3);
  std::vector<std::vector<RangeList>> places;
  for (const Layout layout : layouts) places.push_back(place(layout));
  ASSERT_EQ(stream(id, true), 0);
  for (const RamFile* const queued : std::initializer_list<const RamFile*>{&ram, &other, &ram}) {
    const RamFile* const later = queued == &ram ? &other : &ram;
    std::memset(queued->data(), 0, user_pages * page_size);
    std::memset(later->data(), 0, user_pages * page_size);
    show({queued});
    for (std::uint32_t i = 0; i < 3; ++i) ASSERT_EQ(qbuf(id, i, places[i]), 0);
    show({later});
    for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(next_frame().buffer.index, i);
    for (const auto& lists : places)
      EXPECT_FALSE(gather(*queued, lists) == Bytes(gather(*queued, lists).size()));
    EXPECT_TRUE(std::all_of(later->data(), later->data() + user_pages * page_size,
                            [](std::byte byte) { return byte == std::byte{0}; }));
  }
  guest.close(id);
}

TEST_P(UserBuffersOfAGuest, ListsThatLieAreRefused) {
  const std::uint32_t id = open(2);
  const auto good = place(Layout::scattered);
  struct Case {
    const char* what;
    RangeList list;
    int error;
  };
  const std::uint32_t size = sizes[0];
  const std::uint64_t end = user_at + user_pages * page_size;
  std::vector<Case> cases{
      {"no memory of the guest's", {{0x10, size}}, EFAULT},
      {"behind its end", {{end, size}}, EFAULT},
      {"over its end", {{end - size + 1, size}}, EFAULT},
      {"before its start", {{user_at - 1, size}}, EFAULT},
      {"the last byte outside", {{user_at, size - 1}, {end, 1}}, EFAULT},
      {"over the end of 64 bits", {{UINT64_MAX - 10, size}}, EINVAL},
      {"longer than the plane", {{user_at, size + 1}}, EINVAL},
      {"an empty range", {{user_at, 0}, {user_at, size}}, EINVAL},
      {"a second range too long", {{user_at, 10}, {user_at, size}}, EINVAL},
      {"single bytes", RangeList(v4l2::max_guest_ranges + 1, ListedRange{user_at, 1}), E2BIG},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.what);
    auto lists = good;
    lists[0] = test.list;
    EXPECT_EQ(qbuf(id, 0, lists), test.error);
    EXPECT_EQ(hand_over<tag::PREPARE_BUF>(id, 0, lists).status(), test.error);
  }
  // Too short: the command ends before the list covers the plane.
  auto lists = good;
  lists.back().pop_back();
  EXPECT_EQ(qbuf(id, 0, lists), EINVAL);
  EXPECT_EQ(qbuf(id, 0, {}), EINVAL);
  EXPECT_EQ(guest.device->arenas().used_bytes(), 0U);
  // One page repeated is odd, but it is memory.
  lists = good;
  for (std::size_t p = 0; p < lists.size(); ++p) {
    lists[p].clear();
    for (std::uint32_t done = 0; done < sizes[p]; done += 4096)
      lists[p].push_back({user_at, std::min(4096U, sizes[p] - done)});
  }
  EXPECT_EQ(qbuf(id, 0, lists), 0);
  EXPECT_EQ(qbuf(id, 1, good), 0);
  ASSERT_EQ(stream(id, true), 0);
  EXPECT_EQ(next_frame().buffer.index, 0U);
  EXPECT_EQ(next_frame().buffer.index, 1U);
  guest.close(id);
}

// The camera's largest picture with its longest lines is what a plane may have room for.
TEST_P(UserBuffersOfAGuest, AreNoLongerThanThePicturesOfTheCamera) {
  const std::uint32_t id = open(2);
  const std::uint32_t most = 16384 * 1080 * 3 / 2;  // of NV12
  const auto repeated = [](std::uint32_t length) {
    RangeList list;
    for (std::uint32_t left = length; left > 0;) {
      const auto part = std::min<std::uint32_t>(left, user_pages * page_size);
      list.push_back({user_at, part});
      left -= part;
    }
    return list;
  };
  auto lists = place(Layout::direct);
  sizes.back() = most + 1;
  lists.back() = repeated(most + 1);
  EXPECT_EQ(qbuf(id, 0, lists), EINVAL);
  EXPECT_EQ(hand_over<tag::PREPARE_BUF>(id, 1, lists).status(), EINVAL);
  EXPECT_EQ(guest.device->arenas().budget()->used(), 0U);
  sizes.back() = most;
  lists.back() = repeated(most);
  EXPECT_EQ(qbuf(id, 0, lists), 0);
  EXPECT_EQ(hand_over<tag::PREPARE_BUF>(id, 1, lists).status(), 0);
  guest.close(id);
}

// However a stream ends, none of the guest's memory stays mapped, and none of ours stays in use.
TEST_P(UserBuffersOfAGuest, LeaveNothingBehind) {
  const std::string file = "guest-ram";
  show({&ram});
  const std::size_t before = mappings_of(file);
  const std::size_t fds = vumedia::test::Footprint::now().fds;
  std::vector<std::vector<RangeList>> places;
  enum class End : std::uint8_t { close, free, reset };
  const auto once = [&](int queued, bool streams, bool waits, End end) {
    const std::uint32_t id = open(6);
    if (places.empty()) {
      for (std::uint32_t i = 0; i < 6; ++i) places.push_back(place(layouts[i % 3]));
    }
    for (int i = 0; i < queued; ++i)
      ASSERT_EQ(qbuf(id, static_cast<std::uint32_t>(i), places[static_cast<std::size_t>(i)]), 0);
    if (streams) {
      ASSERT_EQ(stream(id, true), 0);
    }
    if (waits) (void)next_frame();
    show({&ram});
    if (queued > 3) {
      EXPECT_GT(mappings_of(file), before + 1) << "pages side by side";
    }
    if (end == End::free) {
      ASSERT_EQ(stream(id, false), 0);
      ASSERT_EQ(request(id, 0), 0);
      EXPECT_EQ(guest.device->arenas().used_bytes(), 0U);
    }
    if (end == End::reset) {
      guest.host.reset(*guest.device);
      guest.lend_event_buffers(16);
    } else {
      guest.close(id);
    }
  };
  for (const End end : {End::close, End::free, End::reset}) {
    for (int round = 0; round < vumedia::test::rounds(4); ++round) {
      once(0, false, false, end);
      once(3, false, false, end);
      once(6, true, false, end);
      once(6, true, true, end);
      if (HasFatalFailure()) return;
      // A table that no buffer holds any more has not mapped the memory, because nobody has used it.
      show({&ram});
      EXPECT_EQ(mappings_of(file), before);
      EXPECT_EQ(vumedia::test::Footprint::now().fds, fds);
      EXPECT_EQ(guest.device->arenas().used_bytes(), 0U);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(PlaneApis, UserBuffersOfAGuest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& test) {
                           return test.param ? std::string("Multiplanar") : std::string("SinglePlanar");
                         });

}  // namespace
}  // namespace vumedia::media::test
