#include <cstddef>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/core/mapping.hpp>

namespace vumedia::test {
namespace {

OwnedFd memory_file(std::uint64_t size) {
  auto fd = make_sealed_memfd("mapping test", size);
  EXPECT_TRUE(fd);
  return fd ? std::move(*fd) : OwnedFd();
}

// Whether a page at `address` is mapped.
bool is_mapped(std::byte* address) {
  unsigned char resident = 0;
  return ::mincore(address, page_size, &resident) == 0;
}

TEST(Mapping, SharesTheFile) {
  const OwnedFd file = memory_file(2 * page_size);
  const auto whole = Mapping::map(file.get(), 0, 2 * page_size);
  const auto second = Mapping::map(file.get(), page_size, page_size);
  ASSERT_TRUE(whole && second);
  EXPECT_EQ(whole->size(), 2 * page_size);
  EXPECT_EQ(whole->bytes().size(), 2 * page_size);
  whole->data()[page_size + 5] = std::byte{42};
  EXPECT_EQ(second->data()[5], std::byte{42});
  EXPECT_EQ(second->data()[6], std::byte{0});
}

TEST(Mapping, UnmapsWhatItOwns) {
  const OwnedFd file = memory_file(page_size);
  auto made = Mapping::map(file.get(), 0, page_size);
  ASSERT_TRUE(made);
  std::byte* const address = made->data();
  {
    Mapping moved = std::move(*made);
    EXPECT_FALSE(*made);
    EXPECT_EQ(made->size(), 0U);
    EXPECT_EQ(moved.data(), address);
    Mapping assigned;
    EXPECT_FALSE(assigned);
    assigned = std::move(moved);
    Mapping& itself = assigned;
    assigned = std::move(itself);
    EXPECT_EQ(assigned.data(), address);
    EXPECT_TRUE(is_mapped(address));
  }
  EXPECT_FALSE(is_mapped(address));
}

TEST(Mapping, AssignmentUnmapsTheOldOne) {
  const OwnedFd file = memory_file(2 * page_size);
  auto first = Mapping::map(file.get(), 0, page_size);
  auto second = Mapping::map(file.get(), page_size, page_size);
  ASSERT_TRUE(first && second);
  std::byte* const old = first->data();
  *first = std::move(*second);
  EXPECT_FALSE(is_mapped(old));
  EXPECT_TRUE(is_mapped(first->data()));
}

TEST(Mapping, KeepsTheProtectionAskedFor) {
  const OwnedFd file = memory_file(page_size);
  const auto read_only = Mapping::map(file.get(), 0, page_size, PROT_READ);
  ASSERT_TRUE(read_only);
  EXPECT_EQ(read_only->data()[0], std::byte{0});
  // The kernel refuses to store there (a store of our own would raise SIGSEGV).
  EXPECT_EQ(::pread(file.get(), read_only->data(), 1, 0), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST(Mapping, ReportsWhatCannotBeMapped) {
  const OwnedFd file = memory_file(page_size);
  EXPECT_EQ(Mapping::map(-1, 0, page_size).error().value, EBADF);
  EXPECT_EQ(Mapping::map(file.get(), 0, 0).error().value, EINVAL);
  EXPECT_EQ(Mapping::map(file.get(), 1, page_size).error().value, EINVAL);
}

TEST(SealedMemfd, HasWholePages) {
  for (const auto& [asked, given] :
       {std::pair{1, 4096}, {4096, 4096}, {4097, 8192}, {765 * 4096 - 1, 765 * 4096}})
    EXPECT_EQ(file_size(memory_file(static_cast<std::uint64_t>(asked)).get()).value_or(0),
              static_cast<std::uint64_t>(given));
}

TEST(SealedMemfd, KeepsItsSize) {
  const OwnedFd file = memory_file(page_size);
  EXPECT_EQ(::fcntl(file.get(), F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  EXPECT_EQ(::ftruncate(file.get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(file.get(), 2 * page_size), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE), -1) << "a peer could stop us from writing";
  EXPECT_EQ(::fcntl(file.get(), F_GETFD), FD_CLOEXEC);
  // Holes may be punched, which is how buffers give their memory back.
  EXPECT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page_size), 0);
}

TEST(SealedMemfd, RefusesSizesThatAreNone) {
  EXPECT_EQ(make_sealed_memfd("none", 0).error().value, EINVAL);
  EXPECT_EQ(make_sealed_memfd("overflow", UINT64_MAX).error().value, EINVAL);
  EXPECT_EQ(make_sealed_memfd("negative", std::uint64_t{1} << 63).error().value, EINVAL);
}

}  // namespace
}  // namespace vumedia::test
