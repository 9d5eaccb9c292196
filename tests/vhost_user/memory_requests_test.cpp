// The requests that tell where guest memory is, without a session.
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/vhost_user/memory_requests.hpp>

#include "vhost_user/served_echo.hpp"

namespace vumedia::vhost_user::test::memory_requests_test {
namespace {

// A host that has nothing but its table.
struct Table {
  [[nodiscard]] const std::shared_ptr<const memory::GuestMemory>& memory() const { return table; }
  void replace_memory(std::shared_ptr<const memory::GuestMemory> other) {
    table = std::move(other);
    ++replaced;
  }
  std::shared_ptr<const memory::GuestMemory> table = memory::GuestMemory::empty();
  int replaced = 0;
};

class MemoryRequestsTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t size = 2 * page_size;
  static MemoryRegion region(std::uint64_t guest) { return {guest, size, guest + 0x7f00'0000'0000, 0}; }
  [[nodiscard]] bool holds(std::uint64_t guest) const {
    return host.table->contiguous({guest}, size) != nullptr;
  }

  Table host;
  MemoryRequests<Table> group{host};
  OwnedFd file = std::move(*make_sealed_memfd("file", size));
};

TEST_F(MemoryRequestsTest, ReplaceTheTable) {
  const MemoryRegion regions[] = {region(0), region(0x10000)};
  EXPECT_EQ(text_of(call<request::SetMemTable>(group, {2, 0}, bytes_of(regions), with(file, file))), "done");
  EXPECT_TRUE(holds(0) && holds(0x10000));
  EXPECT_EQ(text_of(call<request::SetMemTable>(group, {1, 0}, bytes_of(region(0x20000)), with(file))),
            "done");
  EXPECT_TRUE(holds(0x20000));
  EXPECT_FALSE(holds(0) || holds(0x10000));
  EXPECT_EQ(text_of(call<request::SetMemTable>(group)), "done") << "a table of none";
  EXPECT_EQ(host.replaced, 3);
}

TEST_F(MemoryRequestsTest, DemandThatCountRegionsAndDescriptorsAgree) {
  const MemoryRegion regions[] = {region(0), region(0x10000)};
  const auto said = [&](std::uint32_t count, std::size_t length, io::FdList fds) {
    return text_of(
        call<request::SetMemTable>(group, {count, 0}, bytes_of(regions).first(length), std::move(fds)));
  };
  EXPECT_EQ(said(33, 64, {}), "malformed 71: 33 regions, at most 32 fit");
  EXPECT_EQ(said(1, 64, with(file)), "malformed 71: 1 regions in a body of 72 bytes");
  EXPECT_EQ(said(2, 64, with(file)), "malformed 71: 2 regions came with 1 file descriptors");
  EXPECT_EQ(host.replaced, 0);
}

TEST_F(MemoryRequestsTest, RefuseARegionThatCannotBe) {
  MemoryRegion beyond = region(0);
  beyond.mmap_offset = size;
  const Verdict verdict = call<request::SetMemTable>(group, {1, 0}, bytes_of(beyond), with(file));
  EXPECT_EQ(verdict.kind, Verdict::Kind::refused);
  EXPECT_EQ(verdict.error.code, EINVAL);
  EXPECT_EQ(host.replaced, 0);
}

TEST_F(MemoryRequestsTest, AddAndRemoveRegions) {
  EXPECT_EQ(answer_of<U64>(call<request::GetMaxMemSlots>(group)).value, max_mem_slots);
  EXPECT_EQ(text_of(call<request::AddMemReg>(group, {0, region(0)}, {}, with(file))), "done");
  EXPECT_EQ(text_of(call<request::AddMemReg>(group, {0, region(0x10000)}, {}, with(file))), "done");
  EXPECT_TRUE(holds(0) && holds(0x10000));
  EXPECT_EQ(call<request::AddMemReg>(group, {0, region(0)}, {}, with(file)).kind, Verdict::Kind::refused);
  EXPECT_EQ(text_of(call<request::RemMemReg>(group, {0, region(0)}, {}, with(file))), "done");
  EXPECT_FALSE(holds(0));
  EXPECT_EQ(call<request::RemMemReg>(group, {0, region(0)}).kind, Verdict::Kind::refused);
  EXPECT_EQ(host.replaced, 3);
}

}  // namespace
}  // namespace vumedia::vhost_user::test::memory_requests_test
