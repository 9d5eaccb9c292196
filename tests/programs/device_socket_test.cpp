// vumedia-device and its socket: who may listen, who is served, and how it ends.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <support/child_process.hpp>
#include <support/temporary_folder.hpp>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "support/patience.hpp"

namespace vumedia::device::test {
namespace {

using vumedia::test::ChildProcess;

OwnedFd unix_socket() {
  return OwnedFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// A frontend that knows one request. Its waits are bounded.
class Frontend {
 public:
  explicit Frontend(const std::string& path) : fd_(unix_socket()) {
    const sockaddr_un address = address_of(path);
    if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd_.reset();
    bound_waits();
  }
  explicit Frontend(OwnedFd fd) : fd_(std::move(fd)) { bound_waits(); }

  [[nodiscard]] bool connected() const { return static_cast<bool>(fd_); }

  // GET_FEATURES, answered with 8 bytes.
  bool is_served() {
    const std::array<std::uint32_t, 3> request{1, 1, 0};
    if (::send(fd_.get(), request.data(), sizeof request, MSG_NOSIGNAL) != sizeof request) return false;
    std::array<std::uint32_t, 5> reply{};
    return ::recv(fd_.get(), reply.data(), sizeof reply, MSG_WAITALL) == sizeof reply && reply[0] == 1 &&
           reply[1] == 5 && reply[2] == 8;
  }

  // Sends an invalid message, and is disconnected for it.
  bool breaks_off() {
    const std::array<std::uint32_t, 3> rubbish{1, 2, 0};
    return ::send(fd_.get(), rubbish.data(), sizeof rubbish, MSG_NOSIGNAL) == sizeof rubbish && is_refused();
  }

  // The other side has closed it without sending anything.
  bool is_refused() {
    char byte = 0;
    const auto got = ::recv(fd_.get(), &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }

  void leave() { fd_.reset(); }

 private:
  void bound_waits() {
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &vumedia::test::socket_patience,
                 sizeof vumedia::test::socket_patience);
  }
  OwnedFd fd_;
};

class DeviceSocket : public testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> command(std::vector<std::string> more = {}) const {
    std::vector<std::string> words{VUMEDIA_BIN_DIR "/vumedia-device", "--socket-path", path_};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // Logs that it listens.
  static bool is_ready(ChildProcess& child) { return child.wait_for_error_text("serving"); }

  static std::optional<int> end(ChildProcess& child, int signal) {
    child.signal(signal);
    return child.wait();
  }

  [[nodiscard]] bool exists() const {
    struct stat file{};
    return ::lstat(path_.c_str(), &file) == 0;
  }

  const vumedia::test::TemporaryFolder folder_;
  const std::string path_ = folder_.path("socket");
};

TEST_F(DeviceSocket, EndsWithStatusZeroAndRemovesItsFile) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ChildProcess child(command());
    ASSERT_TRUE(is_ready(child)) << child.error_output();
    EXPECT_TRUE(exists());
    EXPECT_EQ(end(child, signal), 0) << child.error_output();
    EXPECT_FALSE(exists());
  }
}

TEST_F(DeviceSocket, EndsWhileAFrontendIsServed) {
  for (const char* const backend : {"null", "test-pattern"}) {
    ChildProcess child(command({"--backend", backend}));
    ASSERT_TRUE(is_ready(child)) << child.error_output();
    Frontend frontend(path_);
    EXPECT_TRUE(frontend.is_served());
    // Without waiting for the frontend, which stays.
    EXPECT_EQ(end(child, SIGTERM), 0) << child.error_output();
    EXPECT_FALSE(exists());
    EXPECT_TRUE(frontend.is_refused());
  }
}

// Whoever may connect must not be able to fill a disk.
TEST_F(DeviceSocket, BoundsWhatFrontendsMakeItSay) {
  ChildProcess child(command());
  ASSERT_TRUE(is_ready(child)) << child.error_output();
  for (int i = 0; i < 1500; ++i) {
    Frontend frontend(path_);
    ASSERT_TRUE(frontend.connected());
    EXPECT_TRUE(frontend.breaks_off());
  }
  EXPECT_TRUE(Frontend(path_).is_served());
  EXPECT_EQ(end(child, SIGTERM), 0);
  const std::string& said = child.error_output();
  EXPECT_NE(said.find("a frontend has connected"), std::string::npos);
  // The first 200, and one for each 10 seconds that this has taken at the very most.
  EXPECT_LT(std::count(said.begin(), said.end(), '\n'), 300) << said;
}

TEST_F(DeviceSocket, ServesTheNextFrontendWhenOneLeaves) {
  ChildProcess child(command());
  ASSERT_TRUE(is_ready(child)) << child.error_output();
  for (int round = 0; round < 20; ++round) {
    // At once, as when a VMM restarts: the device may not have seen yet that the previous one is gone.
    Frontend frontend(path_);
    ASSERT_TRUE(frontend.is_served()) << "round " << round << ": " << child.error_output();
  }
  EXPECT_EQ(end(child, SIGTERM), 0);
}

TEST_F(DeviceSocket, RefusesASecondFrontendMeanwhile) {
  ChildProcess child(command());
  ASSERT_TRUE(is_ready(child)) << child.error_output();
  Frontend first(path_);
  ASSERT_TRUE(first.is_served());
  Frontend second(path_);
  // While the first one stays: it is not kept waiting for the first one's end.
  EXPECT_TRUE(second.is_refused());
  EXPECT_TRUE(first.is_served());
  EXPECT_EQ(end(child, SIGTERM), 0);
}

TEST_F(DeviceSocket, KeepsServingAfterBytesThatAreNoRequest) {
  ChildProcess child(command());
  ASSERT_TRUE(is_ready(child)) << child.error_output();
  {
    OwnedFd fd = unix_socket();
    const sockaddr_un address = address_of(path_);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::array<std::uint32_t, 3> nonsense{0xdeadbeef, 0xffffffff, 0xffffffff};
    ASSERT_EQ(::send(fd.get(), nonsense.data(), sizeof nonsense, MSG_NOSIGNAL),
              static_cast<ssize_t>(sizeof nonsense));
    char byte = 0;
    EXPECT_LE(::recv(fd.get(), &byte, 1, 0), 0);
  }
  Frontend frontend(path_);
  EXPECT_TRUE(frontend.is_served());
  EXPECT_EQ(end(child, SIGTERM), 0);
}

TEST_F(DeviceSocket, ReplacesADeadSocket) {
  {
    const OwnedFd dead = unix_socket();
    const sockaddr_un address = address_of(path_);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(dead.get(), 1), 0);
  }
  ASSERT_TRUE(exists());
  ChildProcess child(command());
  ASSERT_TRUE(is_ready(child)) << child.error_output();
  EXPECT_TRUE(Frontend(path_).is_served());
  EXPECT_EQ(end(child, SIGTERM), 0);
}

TEST_F(DeviceSocket, ReplacesItsOwnSocketAfterAKill) {
  {
    ChildProcess child(command());
    ASSERT_TRUE(is_ready(child)) << child.error_output();
    EXPECT_EQ(end(child, SIGKILL), 128 + SIGKILL);
  }
  ASSERT_TRUE(exists());
  ChildProcess child(command());
  ASSERT_TRUE(is_ready(child)) << child.error_output();
  EXPECT_TRUE(Frontend(path_).is_served());
  EXPECT_EQ(end(child, SIGTERM), 0);
}

TEST_F(DeviceSocket, LeavesALiveSocketAlone) {
  ChildProcess first(command());
  ASSERT_TRUE(is_ready(first)) << first.error_output();
  ChildProcess second(command());
  EXPECT_EQ(second.wait(), 1);
  EXPECT_NE(second.error_output().find("in use"), std::string::npos) << second.error_output();
  EXPECT_TRUE(Frontend(path_).is_served());
  EXPECT_EQ(end(first, SIGTERM), 0);
}

TEST_F(DeviceSocket, LeavesFilesAndLinksAlone) {
  const std::string target = folder_.path("file");
  OwnedFd(::open(target.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  std::filesystem::create_symlink(target, path_);
  ChildProcess over_link(command());
  EXPECT_EQ(over_link.wait(), 1);
  EXPECT_NE(over_link.error_output().find("not a socket"), std::string::npos) << over_link.error_output();
  EXPECT_TRUE(std::filesystem::is_symlink(path_));

  std::filesystem::remove(path_);
  std::filesystem::rename(target, path_);
  ChildProcess over_file(command());
  EXPECT_EQ(over_file.wait(), 1);
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(DeviceSocket, LeavesAFileThatIsNoLongerItsOwn) {
  ChildProcess child(command());
  ASSERT_TRUE(is_ready(child)) << child.error_output();
  std::filesystem::remove(path_);
  OwnedFd(::open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_EQ(end(child, SIGTERM), 0);
  EXPECT_TRUE(exists());
}

TEST_F(DeviceSocket, OfManyStartedTogetherOneListens) {
  // Over a stale socket, where each may remove what another has just created.
  {
    const OwnedFd dead = unix_socket();
    const sockaddr_un address = address_of(path_);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  std::vector<std::unique_ptr<ChildProcess>> children;
  for (int i = 0; i < 6; ++i) children.push_back(std::make_unique<ChildProcess>(command()));
  int listening = 0;
  for (auto& child : children) listening += is_ready(*child) ? 1 : 0;
  EXPECT_EQ(listening, 1);
  EXPECT_TRUE(Frontend(path_).is_served());
}

TEST_F(DeviceSocket, TakesPermissionsFromItsOption) {
  for (const auto& [text, mode] : {std::pair{"0600", 0600u}, std::pair{"666", 0666u}}) {
    ChildProcess child(command({"--socket-mode", text}));
    ASSERT_TRUE(is_ready(child)) << child.error_output();
    struct stat file{};
    ASSERT_EQ(::lstat(path_.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, mode);
    EXPECT_EQ(end(child, SIGTERM), 0);
  }
}

TEST_F(DeviceSocket, TakesAListeningDescriptor) {
  const OwnedFd listening = unix_socket();
  const sockaddr_un address = address_of(path_);
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listening.get(), 1), 0);
  for (const char* const option : {"--fd", "--socket-fd"}) {
    ChildProcess child({VUMEDIA_BIN_DIR "/vumedia-device", option, "3"}, listening.get());
    ASSERT_TRUE(is_ready(child)) << child.error_output();
    EXPECT_TRUE(Frontend(path_).is_served());
    EXPECT_TRUE(Frontend(path_).is_served());
    EXPECT_EQ(end(child, SIGTERM), 0);
    EXPECT_TRUE(exists());  // whoever made it removes it
  }
}

TEST_F(DeviceSocket, TakesAConnectedDescriptorAndEndsWithIt) {
  std::array<int, 2> pair{-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  Frontend frontend{OwnedFd(pair[0])};
  OwnedFd theirs(pair[1]);
  ChildProcess child({VUMEDIA_BIN_DIR "/vumedia-device", "--fd", "3"}, theirs.get());
  theirs.reset();
  EXPECT_TRUE(frontend.is_served());
  frontend.leave();
  EXPECT_EQ(child.wait(), 0) << child.error_output();
}

TEST_F(DeviceSocket, RefusesADescriptorThatIsNeither) {
  const OwnedFd idle = unix_socket();
  ChildProcess child({VUMEDIA_BIN_DIR "/vumedia-device", "--fd", "3"}, idle.get());
  EXPECT_EQ(child.wait(), 1);
  EXPECT_NE(child.error_output().find("neither listening"), std::string::npos) << child.error_output();
}

}  // namespace
}  // namespace vumedia::device::test
