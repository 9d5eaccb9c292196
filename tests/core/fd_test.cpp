#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/mapping.hpp>

namespace vumedia::test {
namespace {

static_assert(!std::is_copy_constructible_v<OwnedFd> && std::is_nothrow_move_constructible_v<OwnedFd>);
static_assert(!std::is_convertible_v<int, OwnedFd> && !std::is_convertible_v<OwnedFd, int>);

OwnedFd some_fd() {
  auto fd = make_event_fd();
  EXPECT_TRUE(fd);
  return std::move(*fd);
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(OwnedFd, OwnsNothingByDefault) {
  const OwnedFd none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.get(), -1);
}

TEST(OwnedFd, ClosesWhatItOwns) {
  int number = -1;
  {
    const OwnedFd fd = some_fd();
    number = fd.get();
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(OwnedFd, MovesLeaveNothingBehind) {
  OwnedFd first = some_fd();
  const int number = first.get();
  OwnedFd second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(second.get(), number);
  OwnedFd third = some_fd();
  const int replaced = third.get();
  third = std::move(second);
  EXPECT_EQ(third.get(), number);
  EXPECT_FALSE(is_open(replaced));
  OwnedFd& itself = third;
  third = std::move(itself);
  EXPECT_TRUE(is_open(number));
}

TEST(OwnedFd, ReleaseGivesItAway) {
  OwnedFd fd = some_fd();
  const int number = fd.release();
  EXPECT_FALSE(fd);
  EXPECT_TRUE(is_open(number));
  fd.reset(number);
  fd.reset();
  EXPECT_FALSE(is_open(number));
}

TEST(OwnedFd, ClosingKeepsErrno) {
  OwnedFd fd(1'000'000);  // closing it fails with EBADF
  errno = EXDEV;
  fd.reset();
  EXPECT_EQ(errno, EXDEV);
}

TEST(OwnedFd, DuplicatesAreCloseOnExec) {
  const OwnedFd fd = some_fd();
  const auto copy = fd.duplicate();
  ASSERT_TRUE(copy);
  EXPECT_NE(copy->get(), fd.get());
  EXPECT_EQ(::fcntl(copy->get(), F_GETFD), FD_CLOEXEC);
  const std::uint64_t seven = 7;
  std::uint64_t seen = 0;
  ASSERT_EQ(::write(fd.get(), &seven, sizeof seven), ssize_t{sizeof seven});
  ASSERT_EQ(::read(copy->get(), &seen, sizeof seen), ssize_t{sizeof seen});
  EXPECT_EQ(seen, 7U);
  EXPECT_EQ(OwnedFd().duplicate().error().value, EBADF);
}

TEST(EventFd, HasTheFlagsAskedFor) {
  const OwnedFd standard = some_fd();
  EXPECT_EQ(::fcntl(standard.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_NE(::fcntl(standard.get(), F_GETFL) & O_NONBLOCK, 0);
  const auto blocking = make_event_fd(0);
  ASSERT_TRUE(blocking);
  EXPECT_EQ(::fcntl(blocking->get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(make_event_fd(1 << 30).error().value, EINVAL);
}

TEST(FileSize, IsTheFiles) {
  const auto file = make_sealed_memfd("sized", 3 * page_size);
  ASSERT_TRUE(file);
  EXPECT_EQ(file_size(file->get()).value_or(0), 3 * page_size);
  EXPECT_EQ(file_size(-1).error().value, EBADF);
}

}  // namespace
}  // namespace vumedia::test
