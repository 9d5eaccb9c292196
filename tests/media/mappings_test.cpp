// MMAP and MUNMAP, with a frontend that is as strict as any.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/device.hpp>

#include "media/test_backend.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test {
namespace {

using namespace vumedia::test;
using Guest = MediaGuest<TestBackend>;
using Request = Frontend::Request;

constexpr std::uint64_t arena = 1 << 20;
constexpr std::uint64_t region = 4 << 20;

class MappingsTest : public testing::Test {
 protected:
  explicit MappingsTest(EmbeddedOptions options = {})
      : guest(options, DeviceOptions{.shm_size = region, .max_buffer_bytes = region, .arena_bytes = arena}),
        id(guest.open()) {}

  std::shared_ptr<memory::Block> block(std::uint64_t size) {
    return *session().context.arenas().allocate(size);
  }
  TestBackend::Session& session() { return *guest.backend().last; }
  void add_block(std::uint32_t offset, std::uint64_t length) {
    session().buffers.insert_or_assign(offset, Mappable(block(length), length));
  }
  std::shared_ptr<ForeignMemory> foreign(std::uint64_t length, bool writable = true) {
    auto memory = std::make_shared<ForeignMemory>();
    memory->fd = *make_sealed_memfd("foreign", length + 2 * page_size);
    memory->fd_offset = page_size;
    memory->length = length;
    memory->writable = writable;
    return memory;
  }
  std::uint64_t map(std::uint32_t offset) {
    const auto response = guest.mmap(id, offset);
    EXPECT_EQ(response.hdr.status, 0u);
    return response.driver_addr;
  }
  int refused(std::uint32_t offset, bool writable = true) {
    return static_cast<int>(guest.mmap(id, offset, writable).hdr.status);
  }
  void restart() {
    guest.host.reset(*guest.device);
    id = guest.open();
  }

  Guest guest;
  std::uint32_t id;
};

TEST_F(MappingsTest, ShowBuffersWhereTheyAreFilled) {
  add_block(0, 5000);
  const auto response = guest.mmap(id, 0);
  EXPECT_EQ(response.hdr.status, 0u);
  EXPECT_EQ(response.len, 5000u) << "the length of the buffer, not of its pages";
  EXPECT_TRUE(is_aligned(response.driver_addr, page_size));
  std::byte* const seen = guest.host.frontend.at(response.driver_addr, 5000);
  ASSERT_NE(seen, nullptr);
  std::byte* const ours = session().buffers.at(0).block->data();
  ours[4999] = std::byte{42};
  EXPECT_EQ(seen[4999], std::byte{42});
  seen[0] = std::byte{43};
  EXPECT_EQ(ours[0], std::byte{43});
}

TEST_F(MappingsTest, MapAnArenaOnceForAllItsBuffers) {
  for (std::uint32_t i = 0; i < 8; ++i) add_block(i * 4096, 8192);
  std::vector<std::uint64_t> addresses;
  for (std::uint32_t i = 0; i < 8; ++i) addresses.push_back(map(i * 4096));
  ASSERT_EQ(guest.host.frontend.requests.size(), 1u);
  EXPECT_EQ(guest.host.frontend.requests[0].length, arena);
  for (std::size_t i = 1; i < 8; ++i) EXPECT_NE(addresses[i], addresses[0]);
  for (const std::uint64_t address : addresses) EXPECT_EQ(guest.munmap(address), 0);
  EXPECT_EQ(guest.host.frontend.requests.size(), 1u) << "the arena stays";
}

TEST_F(MappingsTest, CountReferencesToOneAddress) {
  add_block(0, 4096);
  const std::uint64_t address = map(0);
  EXPECT_EQ(map(0), address);
  EXPECT_EQ(map(0), address);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guest.munmap(address), 0);
  EXPECT_EQ(guest.munmap(address), EINVAL);
}

TEST_F(MappingsTest, OutliveTheBufferAndTheSession) {
  add_block(0, 4096);
  const std::uint64_t address = map(0);
  const std::weak_ptr<const memory::Block> memory = session().buffers.at(0).block;
  session().buffers.clear();
  guest.close(id);
  EXPECT_FALSE(memory.expired());
  EXPECT_NE(guest.host.frontend.at(address, 4096), nullptr);
  id = guest.open();
  add_block(0, 4096);
  EXPECT_NE(map(0), address) << "the place of a buffer that the guest still sees was given to another";
  EXPECT_EQ(guest.munmap(address), 0);
  EXPECT_TRUE(memory.expired());
}

TEST_F(MappingsTest, RefuseWhatNeverWas) {
  add_block(4096, 4096);
  for (const std::uint32_t offset : {0u, 1u, 4095u, 8192u, 0xfffff000u})
    EXPECT_EQ(refused(offset), EINVAL) << offset;
  EXPECT_EQ(guest.mmap(id + 1, 4096).hdr.status, static_cast<std::uint32_t>(EINVAL));
  const std::uint64_t address = map(4096);
  for (const std::uint64_t wrong : {address + 1, address + 4096, ~std::uint64_t{0}, region})
    EXPECT_EQ(guest.munmap(wrong), EINVAL);
  EXPECT_EQ(guest.command(Guest::mmap_command(id, 4096), 23).status(), EINVAL) << "no room for the answer";
  EXPECT_EQ(guest.munmap(address), 0);
}

TEST_F(MappingsTest, ForeignMemoryIsMappedAloneAndUnmappedExactly) {
  session().buffers.insert_or_assign(0, Mappable(foreign(5000)));
  const auto response = guest.mmap(id, 0);
  EXPECT_EQ(response.hdr.status, 0u);
  EXPECT_EQ(response.len, 5000u);
  EXPECT_EQ(map(0), response.driver_addr);
  const std::vector<Request> mapped{{true, response.driver_addr, 8192}};
  EXPECT_EQ(guest.host.frontend.requests, mapped);
  EXPECT_EQ(guest.munmap(response.driver_addr), 0);
  EXPECT_EQ(guest.host.frontend.ranges.size(), 1u);
  EXPECT_EQ(guest.munmap(response.driver_addr), 0);
  EXPECT_EQ(guest.host.frontend.requests.back(), (Request{false, response.driver_addr, 8192}));
  EXPECT_TRUE(guest.host.frontend.ranges.empty());
  EXPECT_EQ(map(0), response.driver_addr);
}

TEST_F(MappingsTest, ReadOnlyMemoryIsNotMappedForWriting) {
  session().buffers.insert_or_assign(0, Mappable(foreign(4096, false)));
  EXPECT_EQ(refused(0, true), EACCES);
  EXPECT_EQ(refused(0, false), 0);
}

TEST_F(MappingsTest, ABackendsMistakeIsAnError) {
  auto odd = foreign(4096);
  odd->fd_offset = 1;
  session().buffers.insert_or_assign(0, Mappable(std::move(odd)));
  auto empty = foreign(4096);
  empty->length = 0;
  session().buffers.insert_or_assign(4096, Mappable(std::move(empty)));
  session().buffers.insert_or_assign(8192, Mappable(block(4096), 4097));
  for (const std::uint32_t offset : {0u, 4096u, 8192u}) EXPECT_EQ(refused(offset), EINVAL);
  EXPECT_TRUE(guest.host.frontend.requests.empty());
}

TEST_F(MappingsTest, AFrontendsRefusalIsTheGuestsErrorAndNoMore) {
  auto beyond = foreign(4096);
  beyond->fd_offset = 1 << 20;
  session().buffers.insert_or_assign(0, Mappable(std::move(beyond)));
  EXPECT_EQ(refused(0), EIO);
  EXPECT_EQ(refused(0), EIO);
  EXPECT_EQ(guest.host.frontend.requests.size(), 2u);
  EXPECT_EQ(guest.host.frontend.requests[0].offset, guest.host.frontend.requests[1].offset)
      << "the place leaked";
  add_block(4096, 4096);
  map(4096);
}

TEST_F(MappingsTest, AFullRegionEvictsWhatNobodyNeedsThenRefuses) {
  std::vector<std::shared_ptr<ForeignMemory>> memories;
  for (std::uint32_t i = 0; i < 5; ++i) {
    memories.push_back(foreign(arena));
    session().buffers.insert_or_assign(i << 20, Mappable(memories.back()));
  }
  add_block(0xff000, 4096);
  EXPECT_EQ(guest.munmap(map(0xff000)), 0);  // the arena stays mapped, with nothing in use
  std::vector<std::uint64_t> addresses;
  for (std::uint32_t i = 0; i < 4; ++i) addresses.push_back(map(i << 20));
  EXPECT_EQ(guest.host.frontend.ranges.size(), 4u);
  EXPECT_EQ(refused(4 << 20), ENOMEM);
  EXPECT_EQ(guest.munmap(addresses[2]), 0);
  EXPECT_EQ(map(4 << 20), addresses[2]);
}

TEST_F(MappingsTest, AfterAResetPlacesAreClearedBeforeTheyAreUsed) {
  // A frontend that forgets everything at a reset, and one that forgets nothing.
  for (const bool forgets : {true, false}) {
    add_block(0, 4096);
    session().buffers.insert_or_assign(4096, Mappable(foreign(4096)));
    const std::uint64_t address = map(0);
    const std::uint64_t other = map(4096);
    restart();
    if (forgets) guest.host.frontend.ranges.clear();
    EXPECT_EQ(guest.munmap(address), EINVAL);
    EXPECT_EQ(guest.munmap(other), EINVAL);
    guest.host.frontend.requests.clear();
    add_block(0, 4096);
    session().buffers.insert_or_assign(4096, Mappable(foreign(4096)));
    const std::uint64_t again = map(0);
    map(4096);
    EXPECT_NE(guest.host.frontend.at(again, 4096), nullptr);
    EXPECT_EQ(guest.host.frontend.ranges.size(), 2u);
    EXPECT_FALSE(guest.host.frontend.requests.at(0).map) << "the stale range was not cleared first";
    restart();
    guest.host.frontend.ranges.clear();
  }
}

TEST_F(MappingsTest, NothingIsMappedWhileTheQueueIsStopped) {
  add_block(0, 4096);
  const std::uint64_t address = map(0);
  session().buffers.insert_or_assign(4096, Mappable(foreign(4096)));
  map(4096);
  guest.host.frontend.requests.clear();
  EXPECT_TRUE(guest.host.stop(*guest.device));
  guest.device->reset();
  EXPECT_TRUE(guest.host.frontend.requests.empty());
  static_cast<void>(address);
}

TEST_F(MappingsTest, ManySessionsOpenedInTurnDoNotUseUpTheRegion) {
  for (int i = 0; i < 40; ++i) {
    add_block(0, 3 * arena / 4);
    EXPECT_EQ(guest.munmap(map(0)), 0);
    add_block(4096, 3 * arena);  // an arena of its own
    EXPECT_EQ(guest.munmap(map(4096)), 0);
    guest.close(id);
    id = guest.open();
  }
}

TEST(Mappings, NeedSharedMemory) {
  Guest guest(EmbeddedOptions{.shm = false}, DeviceOptions{});
  const std::uint32_t id = guest.open();
  auto& session = *guest.backend().last;
  session.buffers.insert_or_assign(0, Mappable(*session.context.arenas().allocate(4096)));
  EXPECT_EQ(guest.mmap(id, 0).hdr.status, static_cast<std::uint32_t>(ENXIO));
}

// -- A frontend that takes its time

class SlowFrontendTest : public MappingsTest {
 protected:
  SlowFrontendTest() : MappingsTest(EmbeddedOptions{.hold_shm_answers = true}) {}
  std::uint16_t start(std::uint32_t offset) {
    const std::uint16_t head = guest.add(Guest::mmap_command(id, offset), 24);
    guest.device->process(wire::commandq);
    return head;
  }
  std::optional<int> status() {
    const auto reply = guest.take_reply();
    if (!reply) return std::nullopt;
    return reply->second.status();
  }
};

TEST_F(SlowFrontendTest, OtherCommandsGoOnAndOneMapServesAll) {
  add_block(0, 4096);
  add_block(4096, 4096);
  start(0);
  start(4096);
  start(0);
  EXPECT_EQ(guest.host.held.size(), 1u);
  EXPECT_EQ(guest.device->in_flight(0), 3u);
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<v4l2::tag::G_FMT>(id, format), 0);
  guest.host.answer_shm();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(status(), 0);
  EXPECT_EQ(guest.device->in_flight(0), 0u);
}

// The host has no room for a request, or has lost its connection to the frontend, which has never received
// it.
TEST_F(SlowFrontendTest, AnUnmapThatWasNotSentDoesNotFreeItsPlace) {
  for (const int reason : {EBUSY, ECANCELED, ENXIO}) {
    SCOPED_TRACE(reason);
    session().buffers.insert_or_assign(0, Mappable(foreign(4096)));
    start(0);
    guest.host.answer_shm();
    const auto mapped = guest.take_reply();
    ASSERT_TRUE(mapped);
    const auto address = mapped->second.as<wire::virtio_media_resp_mmap>().driver_addr;
    guest.host.refuse_shm = reason;
    EXPECT_EQ(guest.munmap(address), 0);
    EXPECT_TRUE(guest.host.held.empty());
    EXPECT_EQ(guest.host.frontend.ranges.size(), 1u) << "the frontend has it still";
    // Other memory is not shown there: this frontend refuses to map a range that is mapped already.
    session().buffers.insert_or_assign(4096, Mappable(foreign(4096)));
    start(4096);
    EXPECT_EQ(status(), EIO);
    guest.host.refuse_shm = 0;
    start(4096);
    while (!guest.host.held.empty()) guest.host.answer_shm();
    const auto reply = guest.take_reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->second.status(), 0);
    const auto other = reply->second.as<wire::virtio_media_resp_mmap>().driver_addr;
    EXPECT_EQ(guest.host.frontend.ranges.size(), 1u) << "the other one was unmapped first";
    EXPECT_EQ(guest.munmap(other), 0);
    while (!guest.host.held.empty()) guest.host.answer_shm();
    EXPECT_TRUE(guest.host.frontend.ranges.empty());
  }
}

// Nobody would report that there is a place, so a map only waits if an operation is pending for it.
TEST_F(SlowFrontendTest, AFullRegionWhoseUnmapsAreNotSentIsRefused) {
  session().buffers.insert_or_assign(0, Mappable(foreign(region)));
  start(0);
  guest.host.answer_shm();
  const auto mapped = guest.take_reply();
  ASSERT_TRUE(mapped);
  guest.host.refuse_shm = EBUSY;
  EXPECT_EQ(guest.munmap(mapped->second.as<wire::virtio_media_resp_mmap>().driver_addr), 0);
  session().buffers.insert_or_assign(4096, Mappable(foreign(region)));
  start(4096);
  EXPECT_EQ(status(), ENOMEM);
  guest.host.refuse_shm = 0;
  start(4096);
  while (!guest.host.held.empty()) guest.host.answer_shm();
  EXPECT_EQ(status(), 0);
}

// A device that waits for no map of its own learns from an answer to another request that there is room.
TEST_F(SlowFrontendTest, AnUnmapThatWasNotSentIsSentAfterTheNextAnswer) {
  session().buffers.insert_or_assign(0, Mappable(foreign(4096)));
  session().buffers.insert_or_assign(4096, Mappable(foreign(4096)));
  std::vector<std::uint64_t> addresses;
  for (const std::uint32_t offset : {0u, 4096u}) {
    start(offset);
    guest.host.answer_shm();
    const auto reply = guest.take_reply();
    ASSERT_TRUE(reply);
    addresses.push_back(reply->second.as<wire::virtio_media_resp_mmap>().driver_addr);
  }
  EXPECT_EQ(guest.munmap(addresses[0]), 0);
  ASSERT_EQ(guest.host.held.size(), 1u);
  guest.host.refuse_shm = EBUSY;
  EXPECT_EQ(guest.munmap(addresses[1]), 0);
  guest.host.refuse_shm = 0;
  guest.host.answer_shm();
  ASSERT_EQ(guest.host.held.size(), 1u);
  guest.host.answer_shm();
  EXPECT_TRUE(guest.host.frontend.ranges.empty());
}

TEST_F(SlowFrontendTest, StoppingFailsThemAndNothingIsAwaited) {
  add_block(0, 4096);
  start(0);
  EXPECT_TRUE(guest.host.stop(*guest.device));
  EXPECT_TRUE(guest.host.held.empty());
  EXPECT_EQ(status(), EIO);
  guest.host.resume();
  // The frontend may have carried it out, so it must be told to unmap before the place is used.
  guest.host.frontend.requests.clear();
  start(0);
  guest.host.answer_shm();
  guest.host.answer_shm();
  EXPECT_EQ(status(), 0);
  EXPECT_FALSE(guest.host.frontend.requests.at(0).map);
  EXPECT_TRUE(guest.host.frontend.requests.at(1).map);
}

TEST_F(SlowFrontendTest, NotMoreMayWaitThanTheDeviceCanRemember) {
  EmbeddedOptions slow{.queue_size = 512};
  slow.hold_shm_answers = true;
  Guest many(slow, DeviceOptions{});
  const std::uint32_t session_id = many.open();
  TestBackend::Session& opened = *many.backend().last;
  opened.buffers.insert_or_assign(0, Mappable(*opened.context.arenas().allocate(5000)));
  for (int i = 0; i < 100; ++i) many.add(Guest::mmap_command(session_id, 0), 24);
  many.device->process(wire::commandq);
  int refused = 0;
  EXPECT_TRUE(many.run_until([&] {
    while (const auto reply = many.take_reply()) refused += reply->second.status() == EBUSY ? 1 : 0;
    return refused == 36;
  }));
  EXPECT_EQ(many.device->in_flight(0), 64u);
  many.host.answer_shm();
  EXPECT_EQ(many.device->in_flight(0), 0u);
}

TEST_F(SlowFrontendTest, AnOperationThatIsCutOffIsAnError) {
  add_block(0, 4096);
  start(0);
  guest.host.held[0].second = fail(ECANCELED);
  guest.host.answer_shm();
  EXPECT_EQ(status(), EIO);
}

TEST_F(SlowFrontendTest, TheDeviceMayGoMeanwhile) {
  add_block(0, 4096);
  start(0);
  guest.device.reset();
  EXPECT_TRUE(guest.host.held.empty());
}

TEST_F(SlowFrontendTest, ForeignMapsUnderWayDoNotDisturbEachOther) {
  for (std::uint32_t i = 0; i < 4; ++i) session().buffers.insert_or_assign(i * 4096, Mappable(foreign(4096)));
  for (std::uint32_t i = 0; i < 4; ++i) start(i * 4096);
  EXPECT_EQ(guest.host.held.size(), 4u);
  while (!guest.host.held.empty()) {
    guest.host.answer_shm();
    EXPECT_EQ(status(), 0);
  }
  EXPECT_EQ(guest.host.frontend.ranges.size(), 4u);
}

TEST_F(SlowFrontendTest, AMapOfWhatIsBeingUnmappedWaitsForThat) {
  session().buffers.insert_or_assign(0, Mappable(foreign(4096)));
  start(0);
  guest.host.answer_shm();
  const auto reply = guest.take_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(guest.munmap(reply->second.as<wire::virtio_media_resp_mmap>().driver_addr), 0);
  start(0);
  EXPECT_FALSE(status());
  guest.host.answer_shm();  // the unmap
  EXPECT_FALSE(status());
  guest.host.answer_shm();  // the map
  EXPECT_EQ(status(), 0);
}

TEST_F(SlowFrontendTest, ARegionThatIsBeingClearedIsWaitedFor) {
  std::vector<std::shared_ptr<ForeignMemory>> memories;
  session().buffers.insert_or_assign(0, Mappable(foreign(region)));
  start(0);
  guest.host.answer_shm();
  const auto reply = guest.take_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(guest.munmap(reply->second.as<wire::virtio_media_resp_mmap>().driver_addr), 0);
  session().buffers.insert_or_assign(4096, Mappable(foreign(region)));
  start(4096);
  EXPECT_FALSE(status());
  guest.host.answer_shm();
  guest.host.answer_shm();
  EXPECT_EQ(status(), 0);
}

TEST(MapTimeout, TheGuestIsAnsweredAndTheMapStaysUsable) {
  Guest guest(EmbeddedOptions{.hold_shm_answers = true},
              DeviceOptions{.command_timeout = std::chrono::milliseconds(20)});
  const std::uint32_t id = guest.open();
  auto& session = *guest.backend().last;
  session.buffers.insert_or_assign(0, Mappable(*session.context.arenas().allocate(4096)));
  guest.add(Guest::mmap_command(id, 0), 24);
  guest.device->process(wire::commandq);
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), ETIMEDOUT);
  guest.host.answer_shm();
  EXPECT_EQ(guest.mmap(id, 0).hdr.status, 0u);
}

}  // namespace
}  // namespace vumedia::media::test
