#include <array>
#include <string>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/listener.hpp>

#include "support/temporary_folder.hpp"

namespace vumedia::io::listener_test {
namespace {

class ListenerTest : public testing::Test {
 protected:
  [[nodiscard]] bool connects() const {
    sockaddr_un address{AF_UNIX, {}};
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    const OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  [[nodiscard]] mode_t mode() const {
    struct stat file{};
    return ::lstat(path_.c_str(), &file) == 0 ? file.st_mode & 07777 : 0;
  }
  [[nodiscard]] bool exists() const {
    struct stat file{};
    return ::lstat(path_.c_str(), &file) == 0;
  }

  vumedia::test::TemporaryFolder folder_;
  const std::string path_ = folder_.path("socket");
};

TEST_F(ListenerTest, ListensAndRemovesItsFile) {
  {
    const auto listener = Listener::at(path_);
    ASSERT_TRUE(listener) << listener.error().message;
    EXPECT_TRUE(connects());
    EXPECT_NE(::fcntl(listener->socket().get(), F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_FALSE(exists());
}

// Whatever the umask is, and without a change of it.
TEST_F(ListenerTest, HasThePermissionsAskedFor) {
  for (const mode_t umask : {0000U, 0022U, 0077U}) {
    const mode_t before = ::umask(umask);
    for (const mode_t wanted : {0600U, 0660U, 0666U, 0700U}) {
      const auto listener = Listener::at(path_, wanted);
      EXPECT_TRUE(listener) << listener.error().message;
      EXPECT_EQ(mode(), wanted) << "with a umask of " << umask;
    }
    {
      const auto listener = Listener::at(path_);
      EXPECT_TRUE(listener) << listener.error().message;
      EXPECT_EQ(mode(), 0777 & ~umask);
    }
    EXPECT_EQ(::umask(before), umask);
  }
}

TEST_F(ListenerTest, ReplacesASocketOfNobody) {
  OwnedFd dead;
  {
    auto listener = Listener::at(path_);
    ASSERT_TRUE(listener) << listener.error().message;
    dead = std::move(listener->socket());
    // The file stays: it is taken for somebody else's.
    ASSERT_EQ(::rename(path_.c_str(), folder_.path("other").c_str()), 0);
  }
  ASSERT_EQ(::rename(folder_.path("other").c_str(), path_.c_str()), 0);
  dead.reset();
  EXPECT_FALSE(connects());
  const auto listener = Listener::at(path_);
  EXPECT_TRUE(listener) << listener.error().message;
  EXPECT_TRUE(connects());
}

TEST_F(ListenerTest, LeavesAloneWhatIsNotADeadSocket) {
  auto first = Listener::at(path_);
  ASSERT_TRUE(first);
  const auto second = Listener::at(path_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message, path_ + " is in use: another program listens on it");
  EXPECT_TRUE(connects());
  first->remove_file();
  EXPECT_FALSE(exists());

  const OwnedFd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(file);
  const auto refused = Listener::at(path_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, path_ + " exists and is not a socket");
  EXPECT_TRUE(exists());
}

// What took its place in the meantime is somebody else's.
TEST_F(ListenerTest, RemovesNoOtherFile) {
  auto listener = Listener::at(path_);
  ASSERT_TRUE(listener);
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  const OwnedFd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  listener->remove_file();
  EXPECT_TRUE(exists());
}

TEST_F(ListenerTest, RefusesPathsThatAreTooLong) {
  const auto listener = Listener::at(std::string(200, 'x'));
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().message,
            "the socket path has 200 bytes, more than the 107 that a Unix socket's may have");
}

TEST_F(ListenerTest, InheritsWhatListensOrIsConnected) {
  auto made = Listener::at(path_);
  ASSERT_TRUE(made);
  {
    auto inherited = Listener::inherited(::dup(made->socket().get()));
    ASSERT_TRUE(inherited) << inherited.error().message;
    EXPECT_NE(::fcntl(inherited->socket().get(), F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_TRUE(exists()) << "its file is not its own";

  std::array<int, 2> pair{-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.data()), 0);
  const OwnedFd other(pair[1]);
  auto connected = Listener::inherited(pair[0]);
  ASSERT_TRUE(connected) << connected.error().message;
  EXPECT_EQ(::fcntl(connected->socket().get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(ListenerTest, InheritsNothingElse) {
  const auto refusal = [](int fd) {
    const auto listener = Listener::inherited(fd);
    return listener ? std::string("taken") : listener.error().message;
  };
  EXPECT_EQ(refusal(9999), "file descriptor 9999 is not open");
  const OwnedFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_NE(refusal(file.get()).find("is not a socket"), std::string::npos);
  const OwnedFd datagrams(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  EXPECT_NE(refusal(datagrams.get()).find("is not a Unix stream socket"), std::string::npos);
  const OwnedFd idle(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_NE(refusal(idle.get()).find("is neither listening nor connected"), std::string::npos);
  // They stay the caller's.
  EXPECT_GE(::fcntl(idle.get(), F_GETFD), 0);
}

}  // namespace
}  // namespace vumedia::io::listener_test
