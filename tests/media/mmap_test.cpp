// MMAP and MUNMAP with their windows, without a device and its sessions.
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/mappings.hpp>

#include "media/parts.hpp"

namespace vumedia::media::test {
namespace mmap_commands {
namespace {

using vumedia::test::EmbeddedOptions;
using Request = vumedia::test::Frontend::Request;

constexpr std::uint64_t region = 16 * page_size;
constexpr std::uint64_t arena_size = 4 * page_size;

wire::virtio_media_cmd_mmap mmap_command(std::uint32_t flags = wire::mmap_flag_rw) {
  return {{wire::cmd_mmap, 0xdeadbeef}, 1, flags, 0};
}

class MmapTest : public testing::Test {
 protected:
  explicit MmapTest(EmbeddedOptions options = {}, std::chrono::milliseconds timeout = vumedia::test::patience)
      : parts(options, timeout) {}

  std::shared_ptr<memory::ForeignMemory> foreign(std::uint64_t length) {
    auto memory = std::make_shared<memory::ForeignMemory>();
    memory->fd = *make_sealed_memfd("foreign", length);
    memory->length = length;
    kept.push_back(memory);
    return memory;
  }
  memory::Mappable block(std::uint64_t length) { return memory::Mappable(*arenas.allocate(length)); }

  // Reads the command as a device does, and maps; the head of its chain.
  std::uint16_t map(memory::Mappable buffer, std::uint32_t flags = wire::mmap_flag_rw) {
    const auto command = mmap_command(flags);
    virtio::Chain& chain = parts.pop(std::as_bytes(std::span(&command, 1)), 24);
    virtio::Reader reader = chain.reader();
    wire::virtio_media_cmd_ioctl head;
    EXPECT_TRUE(reader.read_to(head));
    const auto read = mappings.read(chain, head, reader);
    EXPECT_TRUE(read);
    const std::uint16_t taken = chain.head();
    mappings.map(chain, *read, std::move(buffer));
    return taken;
  }
  int unmap(std::uint64_t address, std::uint32_t room = 8) {
    const wire::virtio_media_cmd_munmap command{{wire::cmd_munmap, 0xdeadbeef}, address};
    virtio::Chain& chain = parts.pop(std::as_bytes(std::span(&command, 1)), room);
    virtio::Reader reader = chain.reader();
    wire::virtio_media_cmd_ioctl head;
    EXPECT_TRUE(reader.read_to(head));
    const Written written = mappings.unmap(chain, head, reader);
    parts.answers.push(chain.head(), written);
    parts.interrupts.answer_pushed();
    const auto given = parts.take();
    EXPECT_TRUE(given);
    return given->length == 0 ? -1 : static_cast<int>(given->status);
  }
  struct Mapped {
    std::uint16_t head = 0;
    int status = -1;
    std::uint64_t address = 0;
    std::uint64_t length = 0;
  };
  Mapped take() {
    const auto given = parts.take();
    if (!given) return {};
    Mapped mapped{given->head, static_cast<int>(given->status), 0, 0};
    if (given->length == 24) {
      wire::virtio_media_resp_mmap response;
      std::memcpy(&response, given->bytes, sizeof response);
      mapped.address = response.driver_addr;
      mapped.length = response.len;
    }
    return mapped;
  }
  // The frontend answers the request that came `which` after the oldest.
  void answer(std::size_t which = 0) {
    std::rotate(parts.host.held.begin(), parts.host.held.begin() + static_cast<std::ptrdiff_t>(which),
                parts.host.held.begin() + static_cast<std::ptrdiff_t>(which) + 1);
    parts.host.answer_shm();
  }
  void refuse(int error, std::size_t which = 0) {
    auto& [operation, result] = parts.host.held[which];
    // It has not carried it out.
    auto& ranges = parts.host.frontend.ranges;
    if (parts.host.frontend.requests.back().map) ranges.erase(parts.host.frontend.requests.back().offset);
    result = fail(error);
    answer(which);
  }

  std::vector<std::shared_ptr<memory::ForeignMemory>> kept;
  Parts parts;
  memory::Arenas arenas{memory::Arenas::Limits{arena_size, region}};
  Mappings<Parts::Host, Counts> mappings{parts.host, parts.answers, parts.trace, region, arena_size};
};

TEST_F(MmapTest, ReadsItsCommand) {
  const auto command = mmap_command(0);
  const auto bytes = std::as_bytes(std::span(&command, 1));
  const auto read = [&](std::size_t size, std::uint32_t room) {
    virtio::Chain& chain = parts.pop(bytes.first(size), room);
    virtio::Reader reader = chain.reader();
    wire::virtio_media_cmd_ioctl head;
    EXPECT_TRUE(reader.read_to(head));
    return mappings.read(chain, head, reader);
  };
  const auto whole = read(20, 24);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->session_id, 1u);
  EXPECT_EQ(whole->flags, 0u);
  EXPECT_EQ(whole->offset, 0u);
  EXPECT_EQ(read(19, 24).error().value, EINVAL);
  EXPECT_EQ(read(20, 23).error().value, EINVAL);
}

TEST_F(MmapTest, AnswersWithTheAddressAndCounts) {
  const auto memory = foreign(5000);
  map(memory::Mappable(memory));
  const auto first = take();
  EXPECT_EQ(first.status, 0);
  EXPECT_EQ(first.length, 5000u);
  map(memory::Mappable(memory));
  EXPECT_EQ(take().address, first.address);
  EXPECT_EQ(mappings.buffer_count(), 1u);
  EXPECT_EQ(unmap(first.address), 0);
  EXPECT_EQ(unmap(first.address, 7), -1) << "no room for an answer";
  EXPECT_EQ(mappings.buffer_count(), 1u) << "and so not carried out";
  EXPECT_EQ(unmap(first.address), 0);
  EXPECT_EQ(unmap(first.address), EINVAL);
  EXPECT_TRUE(parts.host.frontend.ranges.empty());
  EXPECT_EQ(mappings.window_count(), 0u);
}

TEST_F(MmapTest, RefusesWhatCannotBe) {
  const auto read_only = foreign(page_size);
  read_only->writable = false;
  map(memory::Mappable(read_only));
  EXPECT_EQ(take().status, EACCES);
  map(memory::Mappable(read_only), 0);
  EXPECT_EQ(take().status, 0);
  const auto odd = foreign(page_size);
  odd->fd_offset = 1;
  map(memory::Mappable(odd));
  EXPECT_EQ(take().status, EINVAL);
  map(memory::Mappable(foreign(2 * region)));
  EXPECT_EQ(take().status, ENOMEM);
  EXPECT_EQ(parts.answers.count(), 0u);
}

// A frontend that refuses everything at once is asked once for each map.
TEST_F(MmapTest, AFrontendThatRefusesAtOnceIsNotAskedForEver) {
  for (const int error : {EINVAL, EBUSY, ECANCELED, ENXIO}) {
    parts.host.refuse_shm = error;
    const auto memory = foreign(page_size);
    for (int i = 0; i < 3; ++i) {
      map(memory::Mappable(memory));
      EXPECT_EQ(take().status, EIO);
    }
    parts.host.refuse_shm = 0;
    map(memory::Mappable(memory));
    const auto mapped = take();
    EXPECT_EQ(mapped.status, 0);
    EXPECT_EQ(unmap(mapped.address), 0);
  }
  EXPECT_EQ(mappings.window_count(), 0u);
}

// -- A frontend that takes its time

class SlowMmapTest : public MmapTest {
 protected:
  explicit SlowMmapTest(std::chrono::milliseconds timeout = vumedia::test::patience)
      : MmapTest({.hold_shm_answers = true}, timeout) {}
  std::uint64_t map_now(memory::Mappable buffer) {
    map(std::move(buffer));
    while (!parts.host.held.empty()) answer();
    const auto mapped = take();
    EXPECT_EQ(mapped.status, 0);
    return mapped.address;
  }
};

TEST_F(SlowMmapTest, AWindowWakesThoseThatWaitForItAndNoOthers) {
  const auto first = foreign(page_size), second = foreign(page_size);
  const std::uint16_t one = map(memory::Mappable(first));
  const std::uint16_t two = map(memory::Mappable(second));
  const std::uint16_t three = map(memory::Mappable(second));
  ASSERT_EQ(parts.host.held.size(), 2u);
  answer(1);
  EXPECT_EQ(take().head, two);
  EXPECT_EQ(take().head, three);
  EXPECT_EQ(take().status, -1);
  EXPECT_EQ(parts.answers.count(), 1u);
  answer();
  EXPECT_EQ(take().head, one);
}

TEST_F(SlowMmapTest, AnArenaIsMappedOnceForAllThatWait) {
  std::vector<std::uint16_t> heads;
  for (int i = 0; i < 3; ++i) heads.push_back(map(block(page_size)));
  ASSERT_EQ(parts.host.held.size(), 1u);
  answer();
  for (const std::uint16_t head : heads) {
    const auto mapped = take();
    EXPECT_EQ(mapped.head, head);
    EXPECT_EQ(mapped.status, 0);
  }
  EXPECT_EQ(parts.host.frontend.requests.size(), 1u);
}

TEST_F(SlowMmapTest, OneIsToldOfAFailureAndTheOthersTryAgain) {
  const auto memory = foreign(page_size);
  const std::uint16_t one = map(memory::Mappable(memory));
  const std::uint16_t two = map(memory::Mappable(memory));
  const std::uint16_t three = map(memory::Mappable(memory));
  refuse(EPERM);
  const auto refused = take();
  EXPECT_EQ(refused.head, one);
  EXPECT_EQ(refused.status, EIO);
  EXPECT_EQ(take().status, -1);
  ASSERT_EQ(parts.host.held.size(), 1u) << "asked again";
  answer();
  for (const std::uint16_t head : {two, three}) {
    const auto mapped = take();
    EXPECT_EQ(mapped.head, head);
    EXPECT_EQ(mapped.status, 0);
  }
}

TEST_F(SlowMmapTest, WhatWasCutOffIsClearedFirst) {
  const auto memory = foreign(page_size);
  map(memory::Mappable(memory));
  map(memory::Mappable(memory));
  parts.host.held[0].second = fail(ECANCELED);  // it was carried out all the same
  answer();
  EXPECT_EQ(take().status, EIO);
  ASSERT_EQ(parts.host.frontend.requests.size(), 2u);
  EXPECT_FALSE(parts.host.frontend.requests[1].map);
  answer();
  answer();
  EXPECT_EQ(take().status, 0);
  EXPECT_EQ(parts.host.frontend.ranges.size(), 1u);
}

TEST_F(SlowMmapTest, AMapWaitsForAPlaceThatIsBeingLeft) {
  const std::uint64_t address = map_now(memory::Mappable(foreign(region)));
  EXPECT_EQ(unmap(address), 0);
  const std::uint16_t one = map(memory::Mappable(foreign(region / 2)));
  const std::uint16_t two = map(memory::Mappable(foreign(region / 2)));
  map(memory::Mappable(foreign(region / 2)));
  ASSERT_EQ(parts.host.held.size(), 1u);
  EXPECT_EQ(parts.answers.count(), 3u);
  answer();  // the unmap
  EXPECT_EQ(take().status, ENOMEM) << "there is no third place";
  ASSERT_EQ(parts.host.held.size(), 2u);
  answer();
  answer();
  EXPECT_EQ(take().head, one);
  EXPECT_EQ(take().head, two);
}

TEST_F(SlowMmapTest, AMapThatHopedForAPlaceInVainIsRefused) {
  const std::uint64_t address = map_now(memory::Mappable(foreign(region)));
  EXPECT_EQ(unmap(address), 0);
  map(memory::Mappable(foreign(region)));
  parts.host.refuse_shm = EBUSY;  // nor is it asked again
  parts.host.held[0].second = fail(EBUSY);
  answer();
  EXPECT_EQ(take().status, ENOMEM);
}

TEST_F(SlowMmapTest, WhatIsBeingUnmappedIsMappedAgainAfterwards) {
  const auto memory = foreign(page_size);
  EXPECT_EQ(unmap(map_now(memory::Mappable(memory))), 0);
  map(memory::Mappable(memory));
  ASSERT_EQ(parts.host.held.size(), 1u);
  answer();
  EXPECT_EQ(take().status, -1);
  answer();
  EXPECT_EQ(take().status, 0);
  EXPECT_EQ(parts.host.frontend.ranges.size(), 1u);
}

TEST_F(SlowMmapTest, AStopAnswersThemInTheOrderOfArrival) {
  const auto first = foreign(page_size), second = foreign(page_size);
  std::vector<std::uint16_t> heads;
  for (const auto& memory : {first, second, first}) heads.push_back(map(memory::Mappable(memory)));
  mappings.stop();
  EXPECT_TRUE(parts.host.held.empty());
  for (const std::uint16_t head : heads) {
    const auto refused = take();
    EXPECT_EQ(refused.head, head);
    EXPECT_EQ(refused.status, EIO);
  }
  EXPECT_EQ(parts.answers.count(), 0u);
  // The frontend may have carried them out.
  parts.host.frontend.requests.clear();
  map_now(memory::Mappable(first));
  EXPECT_FALSE(parts.host.frontend.requests.at(0).map);
}

TEST_F(SlowMmapTest, AResetAnswersNothing) {
  map(memory::Mappable(foreign(page_size)));
  map(block(page_size));
  mappings.reset();
  EXPECT_TRUE(parts.host.held.empty());
  EXPECT_EQ(take().status, -1);
  EXPECT_EQ(parts.answers.count(), 0u);
  EXPECT_EQ(mappings.buffer_count(), 0u);
}

class LateMmapTest : public SlowMmapTest {
 protected:
  LateMmapTest() : SlowMmapTest(std::chrono::milliseconds(1)) {}
};

TEST_F(LateMmapTest, AWindowThatNobodyWaitsForIsStillOfUse) {
  const auto memory = foreign(page_size);
  map(memory::Mappable(memory));
  Mapped late;
  EXPECT_TRUE(parts.run_until([&] { return (late = take()).status != -1; }));
  EXPECT_EQ(late.status, ETIMEDOUT);
  answer();
  EXPECT_EQ(mappings.buffer_count(), 0u);
  map(memory::Mappable(memory));
  EXPECT_EQ(take().status, 0) << "at once";
  EXPECT_EQ(parts.host.frontend.requests.size(), 1u);
}

}  // namespace
}  // namespace mmap_commands
}  // namespace vumedia::media::test
