#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/memory/shm_region.hpp>

namespace vumedia::memory::shm_region_test {
namespace {

TEST(ShmRegion, ShowsAndHides) {
  auto region = ShmRegion::reserve(16 * page_size);
  ASSERT_TRUE(region);
  auto file = make_sealed_memfd("piece", 4 * page_size);
  ASSERT_TRUE(file);
  auto own = Mapping::map(file->get(), 0, 4 * page_size);
  ASSERT_TRUE(own);
  own->data()[page_size] = std::byte{9};

  ASSERT_TRUE(region->map(file->get(), page_size, {2 * page_size}, 2 * page_size, true));
  ASSERT_TRUE(region->map(file->get(), 0, {4 * page_size}, page_size, false));
  EXPECT_EQ(region->bytes({2 * page_size}, 3 * page_size)[0], std::byte{9});  // across two pieces
  EXPECT_TRUE(region->bytes({2 * page_size}, 4 * page_size).empty());
  EXPECT_TRUE(region->bytes({page_size}, 2 * page_size).empty());
  EXPECT_TRUE(region->bytes({~std::uint64_t{0}}, 2).empty());

  EXPECT_EQ(region->map(file->get(), 0, {3 * page_size}, page_size, true).error().value, EEXIST);
  EXPECT_EQ(region->map(file->get(), 0, {page_size}, 2 * page_size, true).error().value, EEXIST);
  EXPECT_EQ(region->map(file->get(), 0, {15 * page_size}, 2 * page_size, true).error().value, EINVAL);
  EXPECT_EQ(region->map(file->get(), 3 * page_size, {8 * page_size}, 2 * page_size, true).error().value,
            ENXIO);
  EXPECT_EQ(region->unmap({2 * page_size}, page_size).error().value, ENOENT);
  EXPECT_EQ(region->unmap({3 * page_size}, page_size).error().value, ENOENT);
  ASSERT_TRUE(region->unmap({2 * page_size}, 2 * page_size));
  EXPECT_TRUE(region->bytes({2 * page_size}, page_size).empty());
  ASSERT_TRUE(region->map(file->get(), 0, {2 * page_size}, page_size, true));
  region->unmap_all();
  EXPECT_EQ(region->mapping_count(), 0u);
}

// A file that refuses to be mapped leaves no hole in which other memory of this process could come to lie.
TEST(ShmRegion, StaysReservedWhereAMapFails) {
  auto region = ShmRegion::reserve(16 * page_size);
  ASSERT_TRUE(region);
  auto file = make_sealed_memfd("piece", page_size);
  ASSERT_TRUE(file);
  ASSERT_TRUE(region->map(file->get(), 0, {0}, page_size, true));
  const OwnedFd unwritable(::memfd_create("unwritable", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unwritable.get(), static_cast<off_t>(page_size)), 0);
  ASSERT_EQ(::fcntl(unwritable.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);

  EXPECT_EQ(region->map(unwritable.get(), 0, {2 * page_size}, page_size, true).error().value, EPERM);
  // ENOMEM if anything of it is not mapped.
  EXPECT_EQ(::msync(region->bytes({0}, page_size).data(), 16 * page_size, MS_ASYNC), 0);
  EXPECT_TRUE(region->bytes({2 * page_size}, page_size).empty());
  EXPECT_TRUE(region->map(unwritable.get(), 0, {2 * page_size}, page_size, false));
}

}  // namespace
}  // namespace vumedia::memory::shm_region_test
