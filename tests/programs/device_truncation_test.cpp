// The guard of vumedia-device against a frontend that truncates its memory file.
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <vumedia-device/truncation_guard.hpp>

#include <vumedia/core/mapping.hpp>

namespace vumedia::device::test {
namespace {

OwnedFd make_file(std::uint64_t size) {
  OwnedFd fd(::memfd_create("frontend", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

// One access that the compiler does not leave out, of one byte.
int read_byte(const Mapping& mapping, std::size_t offset) {
  return static_cast<int>(*static_cast<volatile std::byte*>(mapping.data() + offset));
}
void write_byte(const Mapping& mapping, std::size_t offset, int value) {
  *static_cast<volatile std::byte*>(mapping.data() + offset) = static_cast<std::byte>(value);
}

bool readable(int fd) {
  pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) == 1;
}

TEST(TruncationGuard, CoversThePagesThatAreGone) {
  auto guard = TruncationGuard::install();
  ASSERT_TRUE(guard) << guard.error().message;
  const OwnedFd file = make_file(3 * page_size);
  auto mapping = Mapping::map(file.get(), 0, 3 * page_size);
  ASSERT_TRUE(mapping);
  write_byte(*mapping, 0, 1);
  write_byte(*mapping, page_size, 2);
  ASSERT_EQ(::ftruncate(file.get(), page_size), 0);

  EXPECT_EQ(read_byte(*mapping, 0), 1);
  EXPECT_FALSE(readable(guard->fd()));
  EXPECT_EQ(read_byte(*mapping, page_size), 0);
  EXPECT_TRUE(readable(guard->fd()));
  write_byte(*mapping, 2 * page_size + 5, 7);
  EXPECT_EQ(read_byte(*mapping, 2 * page_size + 5), 7);
  EXPECT_EQ(read_byte(*mapping, 0), 1);
}

// Needs two free huge pages and Linux 6.11.
TEST(TruncationGuard, CoversHugePages) {
  constexpr std::size_t huge = std::size_t{2} << 20;
  constexpr unsigned two_megabytes = 21U << 26;  // of linux/memfd.h
  const OwnedFd file(::memfd_create("frontend", MFD_CLOEXEC | MFD_HUGETLB | two_megabytes));
  if (!file || ::ftruncate(file.get(), 2 * huge) != 0)
    GTEST_SKIP() << "the kernel has no huge pages (CONFIG_HUGETLBFS)";
  auto mapping = Mapping::map(file.get(), 0, 2 * huge);
  if (!mapping) GTEST_SKIP() << "no two huge pages are free: sysctl vm.nr_hugepages=2 makes them";
  utsname system{};
  ASSERT_EQ(::uname(&system), 0);
  unsigned major = 0, minor = 0;
  ASSERT_EQ(std::sscanf(system.release, "%u.%u", &major, &minor), 2);
  if (major < 6 || (major == 6 && minor < 11)) GTEST_SKIP() << "the kernel has no PROCMAP_QUERY";
  auto guard = TruncationGuard::install();
  ASSERT_TRUE(guard) << guard.error().message;
  write_byte(*mapping, 0, 1);
  write_byte(*mapping, huge + 5, 2);
  ASSERT_EQ(::ftruncate(file.get(), huge), 0);
  EXPECT_EQ(read_byte(*mapping, huge + 5), 0);
  EXPECT_TRUE(readable(guard->fd()));
  write_byte(*mapping, 2 * huge - 1, 7);
  EXPECT_EQ(read_byte(*mapping, 2 * huge - 1), 7);
  EXPECT_EQ(read_byte(*mapping, 0), 1);
  // By several threads at once.
  ASSERT_EQ(::ftruncate(file.get(), 0), 0);
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&] { EXPECT_EQ(read_byte(*mapping, huge / 2), 0); });
}

TEST(TruncationGuard, LetsAFileBeMappedAgainAfterwards) {
  auto guard = TruncationGuard::install();
  ASSERT_TRUE(guard) << guard.error().message;
  const OwnedFd file = make_file(page_size);
  {
    auto mapping = Mapping::map(file.get(), 0, page_size);
    ASSERT_TRUE(mapping);
    ASSERT_EQ(::ftruncate(file.get(), 0), 0);
    EXPECT_EQ(read_byte(*mapping, 0), 0);
  }
  ASSERT_EQ(::ftruncate(file.get(), page_size), 0);
  auto mapping = Mapping::map(file.get(), 0, page_size);
  ASSERT_TRUE(mapping);
  const char text[] = "again";
  std::memcpy(mapping->data(), text, sizeof text);
  char read_back[sizeof text] = {};
  ASSERT_EQ(::pread(file.get(), read_back, sizeof read_back, 0), static_cast<ssize_t>(sizeof read_back));
  EXPECT_STREQ(read_back, text);
}

TEST(TruncationGuard, ServesThreadsThatFaultTogether) {
  auto guard = TruncationGuard::install();
  ASSERT_TRUE(guard) << guard.error().message;
  constexpr std::size_t pages = 256;
  const OwnedFd file = make_file(pages * page_size);
  auto mapping = Mapping::map(file.get(), 0, pages * page_size);
  ASSERT_TRUE(mapping);
  ASSERT_EQ(::ftruncate(file.get(), 0), 0);
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      // All of them the same pages, so that several threads fault on one. What they read is not defined: a
      // page may be covered twice.
      for (std::size_t page = 0; page < pages; ++page) read_byte(*mapping, page * page_size);
    });
  }
  threads.clear();
  for (std::size_t page = 0; page < pages; ++page) EXPECT_EQ(read_byte(*mapping, page * page_size), 0);
  EXPECT_TRUE(readable(guard->fd()));
}

TEST(TruncationGuardDeathTest, LeavesPrivateMappingsToTheirFate) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        auto guard = TruncationGuard::install();
        const OwnedFd file = make_file(page_size);
        // In the way in which code and data of the program are mapped.
        auto* const bytes = static_cast<volatile std::byte*>(
            ::mmap(nullptr, page_size, PROT_READ, MAP_PRIVATE, file.get(), 0));
        [[maybe_unused]] const int cut = ::ftruncate(file.get(), 0);
        [[maybe_unused]] const std::byte byte = *bytes;
      },
      testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace vumedia::device::test
