#include <cstddef>
#include <cstdint>

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace vumedia::memory::shm_region_test
