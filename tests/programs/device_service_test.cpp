// vumedia-device as a service: sockets that are passed in, notifications to the service manager, several
// devices in one process, and counters on demand.
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <vumedia/client/guest.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/vhost_user/frontend.hpp>

#include "support/capturing.hpp"
#include "support/child_process.hpp"
#include "support/json.hpp"
#include "support/patience.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::device::test {
namespace {

using client::Guest;
using vumedia::test::ChildProcess;
using vumedia::test::Json;
namespace tag = v4l2::tag;

constexpr const char* program = VUMEDIA_BIN_DIR "/vumedia-device";

OwnedFd make_socket(int type) {
  OwnedFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  // Waits end the test, not what it finds.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &vumedia::test::socket_patience,
               sizeof vumedia::test::socket_patience);
  return fd;
}

// `path` in the form of NOTIFY_SOCKET: with a leading @ it is abstract.
void bind_to(int fd, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const bool abstract = path.front() == '@';
  if (abstract) address.sun_path[0] = '\0';
  const auto size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), size), 0) << std::strerror(errno);
}

// Reads until the other side hangs up.
std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> chunk;
  for (ssize_t got = 0; (got = ::recv(fd, chunk.data(), chunk.size(), 0)) > 0;)
    text.append(chunk.data(), static_cast<std::size_t>(got));
  return text;
}

class DeviceService : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const { return folder_.path(name); }
  [[nodiscard]] bool exists(const std::string& name) const { return std::filesystem::exists(path(name)); }

  void start(std::vector<std::string> options, const std::vector<int>& inherited = {},
             std::vector<std::string> variables = {}) {
    options.insert(options.begin(), program);
    device_ = std::make_unique<ChildProcess>(std::move(options), inherited, std::move(variables));
  }
  // As a service manager does it: by the process's own id, which only it can know.
  void activate(std::vector<std::string> options, const std::vector<int>& sockets, const std::string& names,
                std::string count = {}) {
    if (count.empty()) count = std::to_string(sockets.size());
    std::vector<std::string> words{
        "/bin/sh", "-c",
        "LISTEN_PID=$$ LISTEN_FDS=" + count + " LISTEN_FDNAMES=" + names + " exec \"$0\" \"$@\"", program};
    words.insert(words.end(), options.begin(), options.end());
    device_ = std::make_unique<ChildProcess>(std::move(words), sockets, std::vector<std::string>{});
  }
  [[nodiscard]] OwnedFd listen(const std::string& name) const {
    OwnedFd fd = make_socket(SOCK_STREAM);
    bind_to(fd.get(), path(name));
    EXPECT_EQ(::listen(fd.get(), 4), 0);
    return fd;
  }
  [[nodiscard]] std::unique_ptr<Guest> connect(const std::string& name) const {
    auto guest = Guest::connect(path(name), {.command_timeout = vumedia::test::patience});
    EXPECT_TRUE(guest) << guest.error().message;
    return guest ? std::move(*guest) : nullptr;
  }
  static std::string card_of(Guest& guest) {
    const auto config = guest.config();
    return {config.card.data(), ::strnlen(config.card.data(), config.card.size())};
  }
  [[nodiscard]] std::string status(const std::string& name = "status") const {
    const OwnedFd fd = make_socket(SOCK_STREAM);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path(name).c_str(), path(name).size() + 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return read_all(fd.get());
  }
  bool says(const std::string& text) { return device_->wait_for_error_text(text); }
  std::optional<int> end(int signal = SIGTERM) {
    device_->signal(signal);
    return device_->wait();
  }

  const vumedia::test::TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> device_;
};

// -- Sockets that are passed in

TEST_F(DeviceService, ServesTheSocketThatItIsGiven) {
  const OwnedFd socket = listen("socket");
  activate({"--backend", "test-pattern"}, {socket.get()}, "any");
  ASSERT_TRUE(says("serving")) << device_->error_output();
  const auto guest = connect("socket");
  ASSERT_TRUE(guest);
  EXPECT_EQ(card_of(*guest), "vumedia test pattern");
  EXPECT_TRUE(guest->open());
  EXPECT_EQ(end(), 0);
  EXPECT_TRUE(exists("socket")) << "whoever made it removes it";
}

TEST_F(DeviceService, MatchesSocketsByNameAndThenInOrder) {
  const OwnedFd first = listen("first"), second = listen("second"), counters = listen("counters");
  activate({"--device", "backend=null,name=other", "--device", "backend=test-pattern,name=camera"},
           {counters.get(), first.get(), second.get()}, "status:camera:vumedia.socket");
  ASSERT_TRUE(says("other: serving") && says("camera: serving")) << device_->error_output();
  const auto camera = connect("first");
  const auto null = connect("second");
  ASSERT_TRUE(camera && null);
  EXPECT_EQ(card_of(*camera), "vumedia test pattern");
  EXPECT_EQ(card_of(*null), "vumedia null");
  EXPECT_NE(status("counters").find("camera (test-pattern): serving"), std::string::npos);
  EXPECT_EQ(end(), 0);
}

TEST_F(DeviceService, LeavesSocketsOfAnotherProcessAlone) {
  const OwnedFd socket = listen("socket");
  start({}, {socket.get()}, {"LISTEN_PID=1", "LISTEN_FDS=1"});
  EXPECT_EQ(device_->wait(), 2);
  EXPECT_NE(device_->error_output().find("no socket to serve"), std::string::npos) << device_->error_output();
}

TEST_F(DeviceService, EndsWhereSocketsAndDevicesDoNotMatch) {
  const OwnedFd one = listen("one"), two = listen("two"), idle = make_socket(SOCK_STREAM),
                datagrams = make_socket(SOCK_DGRAM);
  struct Case {
    std::vector<std::string> options;
    std::vector<int> sockets;
    std::string count;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{}, {one.get(), two.get()}, "2", "1 of them match no device"},
      {{"-s", path("mine")}, {one.get()}, "1", "1 of them match no device"},
      {{"--device", "name=a", "--device", "name=b"}, {one.get()}, "1", "no socket for the device b"},
      {{}, {idle.get()}, "1", "neither listening"},
      {{}, {datagrams.get()}, "1", "not a Unix stream socket"},
      {{}, {one.get()}, "3", "file descriptor"},
      {{}, {one.get()}, "-1", "not a number of sockets"},
      {{}, {one.get()}, "1x", "not a number of sockets"},
      {{}, {one.get()}, "99999999", "not a number of sockets"},
  };
  for (const Case& tried : cases) {
    SCOPED_TRACE(tried.says);
    activate(tried.options, tried.sockets, "", tried.count);
    EXPECT_EQ(device_->wait(), 1);
    EXPECT_NE(device_->error_output().find(tried.says), std::string::npos) << device_->error_output();
    EXPECT_EQ(std::count(device_->error_output().begin(), device_->error_output().end(), '\n'), 1);
    EXPECT_FALSE(exists("mine"));
  }
}

// -- Notifications to the service manager

class Manager {
 public:
  explicit Manager(const std::string& path) : socket_(make_socket(SOCK_DGRAM)) {
    bind_to(socket_.get(), path);
  }

  // The next message, or nothing if none comes.
  std::optional<std::string> next() {
    std::array<char, 4096> message;
    const ssize_t got = ::recv(socket_.get(), message.data(), message.size(), 0);
    if (got < 0) return std::nullopt;
    return std::string(message.data(), static_cast<std::size_t>(got));
  }
  // Reads what has come, and returns whether `text` was among it.
  bool heard(const std::string& text) {
    bool found = false;
    std::array<char, 4096> message;
    for (ssize_t got = 0; (got = ::recv(socket_.get(), message.data(), message.size(), MSG_DONTWAIT)) >= 0;)
      found = found || std::string_view(message.data(), static_cast<std::size_t>(got)) == text;
    return found;
  }

 private:
  OwnedFd socket_;
};

TEST_F(DeviceService, TellsTheManagerWhenItServesAndWhenItEnds) {
  // An abstract name is the same for all; this one is unique by the folder's.
  for (const std::string& address : {path("notify"), "@" + folder_.path()}) {
    SCOPED_TRACE(address);
    Manager manager(address);
    start({"--device", "backend=null,socket=" + path("a"), "--device",
           "backend=test-pattern,socket=" + path("b")},
          {}, {"NOTIFY_SOCKET=" + address});
    EXPECT_EQ(manager.next(), "READY=1\nSTATUS=serving 2 devices");
    for (const char* const name : {"a", "b"}) {
      const auto guest = connect(name);
      ASSERT_TRUE(guest);
      EXPECT_TRUE(guest->open()) << "it was said to be ready";
    }
    device_->signal(SIGTERM);
    EXPECT_EQ(manager.next(), "STOPPING=1\nSTATUS=ending");
    EXPECT_EQ(device_->wait(), 0) << device_->error_output();
  }
}

TEST_F(DeviceService, DoesNotCallItselfReadyIfItCannotStart) {
  Manager manager(path("notify"));
  start({"--device", "socket=" + path("a"), "--device", "socket=/nonexistent/b"}, {},
        {"NOTIFY_SOCKET=" + path("notify")});
  EXPECT_EQ(device_->wait(), 1);
  EXPECT_NE(device_->error_output().find("/nonexistent"), std::string::npos) << device_->error_output();
  EXPECT_FALSE(exists("a"));
  EXPECT_FALSE(manager.heard("READY=1\nSTATUS=serving 2 devices"));
}

TEST_F(DeviceService, EndsIfTheManagerCannotBeReached) {
  for (const std::string& address : {path("nobody"), std::string("vsock:2:1"), "/" + std::string(200, 'x')}) {
    start({"-s", path("socket")}, {}, {"NOTIFY_SOCKET=" + address});
    EXPECT_EQ(device_->wait(), 1);
    EXPECT_NE(device_->error_output().find("NOTIFY_SOCKET"), std::string::npos) << device_->error_output();
    EXPECT_FALSE(exists("socket"));
  }
}

// The thread of this name, or -1.
pid_t thread_of(pid_t process, const std::string& name) {
  for (const auto& thread :
       std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::ifstream file(thread.path() / "comm");
    std::string line;
    if (std::getline(file, line) && line == name) return std::stoi(thread.path().filename());
  }
  return -1;
}

TEST_F(DeviceService, TellsTheWatchdogOnlyWhileEveryLoopRuns) {
  Manager manager(path("notify"));
  start({"--device", "name=quick,socket=" + path("a"), "--device", "name=slow,socket=" + path("b")}, {},
        {"NOTIFY_SOCKET=" + path("notify"), "WATCHDOG_USEC=100000"});
  ASSERT_EQ(manager.next(), "READY=1\nSTATUS=serving 2 devices");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(manager.next(), "WATCHDOG=1");

  // One thread of the device is blocked, as by an endless loop.
  const pid_t thread = thread_of(device_->pid(), "slow");
  ASSERT_GT(thread, 0);
  if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) GTEST_SKIP() << "no permission to trace a child";
  ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr), 0);
  ASSERT_EQ(::waitpid(thread, nullptr, __WALL), thread);
  while (device_->read_more_errors(std::chrono::milliseconds(0))) {
  }
  const auto complaints = [this](const std::string& name) {
    std::size_t count = 0;
    const std::string& text = device_->error_output();
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) ++count;
    return count;
  };
  const auto of_slow = [&] { return complaints("slow: its loop does not answer"); };
  const auto of_quick = [&] { return complaints("quick: its loop does not answer"); };
  const std::size_t before = of_slow();
  while (of_slow() == before) ASSERT_TRUE(device_->read_more_errors()) << device_->error_output();
  manager.heard("");  // what was said before
  // On a busy machine the other loop may be late once, too, but not whenever this one is.
  while (of_slow() < before + 3 || of_slow() < 2 * of_quick()) ASSERT_TRUE(device_->read_more_errors());
  EXPECT_FALSE(manager.heard("WATCHDOG=1"));
  ASSERT_EQ(::ptrace(PTRACE_DETACH, thread, nullptr, nullptr), 0);
  EXPECT_EQ(manager.next(), "WATCHDOG=1");
  EXPECT_EQ(end(), 0);
}

TEST_F(DeviceService, LeavesAWatchdogOfAnotherProcessAlone) {
  Manager manager(path("notify"));
  start({"-s", path("a")}, {}, {"NOTIFY_SOCKET=" + path("notify"), "WATCHDOG_USEC=2000", "WATCHDOG_PID=1"});
  EXPECT_EQ(manager.next(), "READY=1\nSTATUS=serving 1 device");
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(connect("a"));
  device_->signal(SIGTERM);
  EXPECT_EQ(manager.next(), "STOPPING=1\nSTATUS=ending");
}

// -- Several devices

TEST_F(DeviceService, KeepsTheTroubleOfOneDeviceFromTheOthers) {
  start({"--shmem-size", "64M", "--device", "backend=test-pattern,socket=" + path("a"), "--device",
         "backend=test-pattern,socket=" + path("b") + ",shmem-size=32M,mem-slots,socket-mode=0600"});
  ASSERT_TRUE(says("test-pattern: serving") && says("test-pattern-2: serving")) << device_->error_output();
  const auto well = connect("a");
  ASSERT_TRUE(well);
  EXPECT_EQ(well->shm_size(), 64u << 20) << "what is said outside goes for all";
  const auto session = well->open();
  ASSERT_TRUE(session);
  EXPECT_EQ(std::filesystem::status(path("b")).permissions(), std::filesystem::perms{0600});
  {
    const auto other = connect("b");
    ASSERT_TRUE(other);
    EXPECT_EQ(other->shm_size(), 32u << 20);
    EXPECT_TRUE(other->open());
    EXPECT_TRUE(other->frontend().has(vhost_user::protocol_feature::configure_mem_slots));
    EXPECT_FALSE(well->frontend().has(vhost_user::protocol_feature::configure_mem_slots));
  }
  {
    const OwnedFd hostile = make_socket(SOCK_STREAM);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path("b").c_str(), path("b").size() + 1);
    ASSERT_EQ(::connect(hostile.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::array<std::uint32_t, 3> nonsense{0xdeadbeef, 0xffffffff, 0xffffffff};
    ASSERT_EQ(::send(hostile.get(), nonsense.data(), sizeof nonsense, MSG_NOSIGNAL),
              static_cast<ssize_t>(sizeof nonsense));
    EXPECT_EQ(read_all(hostile.get()), "");
  }
  EXPECT_TRUE(says("test-pattern-2: the frontend's connection has ended")) << device_->error_output();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_TRUE(well->ioctl<tag::G_FMT>(*session, format));
  EXPECT_TRUE(connect("b"));
  // Without waiting for the guest that is still there.
  EXPECT_EQ(end(), 0) << device_->error_output();
  EXPECT_FALSE(exists("a") || exists("b"));
}

// A frontend with one ring in a file of its own, which it then truncates.
void cut_off_memory(const std::string& path) {
  auto frontend = vhost_user::Frontend::connect(path);
  ASSERT_TRUE(frontend) << frontend.error().message;
  ASSERT_TRUE(frontend->negotiate());
  constexpr std::size_t size = 1 << 16;
  const OwnedFd file(::memfd_create("guest", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), size), 0);
  const auto memory = Mapping::map(file.get(), 0, size);
  ASSERT_TRUE(memory);
  constexpr std::uint64_t base = 0x7000'0000;
  const vhost_user::Frontend::Region region{{base}, {base}, size, 0, file.get()};
  ASSERT_TRUE(frontend->set_memory(std::span(&region, 1)));
  virtio::DriverQueue queue(memory->data(), {base}, 16, true);
  const auto kick = make_event_fd();
  ASSERT_TRUE(kick);
  const auto user = [](memory::GuestAddress address) { return memory::FrontendAddress{address.value}; };
  ASSERT_TRUE(frontend->set_vring_size(0, 16));
  ASSERT_TRUE(frontend->set_vring_base(0, 0));
  ASSERT_TRUE(frontend->set_vring_addresses(0, user(queue.descriptors()), user(queue.available()),
                                            user(queue.used())));
  ASSERT_TRUE(frontend->set_vring_kick(0, kick->get()));
  ASSERT_TRUE(frontend->enable_vring(0, true));
  ASSERT_TRUE(frontend->get_status()) << "it serves";
  ASSERT_EQ(::ftruncate(file.get(), 0), 0);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(kick->get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  // Answered until the connection is closed; a wait for that is bounded by the frontend's own.
  const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
  while (frontend->get_status()) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
}

TEST_F(DeviceService, DropsTheFrontendThatCutOffItsMemoryAndNoOther) {
  start({"--status-socket", path("status"), "--status-format", "json", "--device",
         "name=well,socket=" + path("a"), "--device", "name=ill,socket=" + path("b")});
  ASSERT_TRUE(says("well: serving") && says("ill: serving")) << device_->error_output();
  const auto well = connect("a");
  ASSERT_TRUE(well);
  ASSERT_NO_FATAL_FAILURE(cut_off_memory(path("b")));
  EXPECT_TRUE(says("ill: the frontend has truncated memory")) << device_->error_output();
  EXPECT_TRUE(well->open());
  EXPECT_TRUE(connect("b")) << "the next frontend is served";
  EXPECT_EQ(device_->error_output().find("well: the frontend has truncated"), std::string::npos);
  const auto counters = Json::parse(status());
  ASSERT_TRUE(counters);
  EXPECT_EQ(counters->at("devices.0.frontends.failed"), "0");
  EXPECT_EQ(counters->at("devices.1.frontends.failed"), "1");
  EXPECT_EQ(end(), 0);
}

TEST_F(DeviceService, GoesOnUntilTheLastOfItsConnectionsHasEnded) {
  std::array<int, 2> first{-1, -1}, second{-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first.data()), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second.data()), 0);
  OwnedFd ours(first[0]), theirs(first[1]), our_second(second[0]), their_second(second[1]);
  Manager manager(path("notify"));
  start({"--device", "fd=3,name=one", "--device", "fd=4,name=two"}, {theirs.get(), their_second.get()},
        {"NOTIFY_SOCKET=" + path("notify")});
  theirs.reset();
  their_second.reset();
  ASSERT_EQ(manager.next(), "READY=1\nSTATUS=serving 2 devices");
  ours.reset();
  EXPECT_EQ(manager.next(), "STATUS=one has ended; 1 of 2 devices serve");
  // GET_FEATURES of the other
  const std::array<std::uint32_t, 3> request{1, 1, 0};
  ASSERT_EQ(::send(our_second.get(), request.data(), sizeof request, MSG_NOSIGNAL),
            static_cast<ssize_t>(sizeof request));
  std::array<std::uint32_t, 5> reply{};
  EXPECT_EQ(::recv(our_second.get(), reply.data(), sizeof reply, MSG_WAITALL),
            static_cast<ssize_t>(sizeof reply));
  our_second.reset();
  EXPECT_EQ(device_->wait(), 0) << device_->error_output();
}

// -- Counters

TEST_F(DeviceService, CountsWhatAGuestDoes) {
  start({"--status-socket", path("status"), "--status-format", "json", "--device",
         "backend=test-pattern,name=camera,latency,socket=" + path("a"), "--device",
         "backend=null,socket=" + path("b")});
  ASSERT_TRUE(says("camera: serving") && says("null: serving")) << device_->error_output();
  const auto before = Json::parse(status());
  ASSERT_TRUE(before);
  EXPECT_EQ(before->at("program"), "vumedia-device");
  EXPECT_EQ(before->at("devices"), "2");
  EXPECT_EQ(before->at("devices.0.commands.total"), "0");
  {
    const auto guest = connect("a");
    ASSERT_TRUE(guest);
    const auto session = guest->open();
    ASSERT_TRUE(session);
    v4l2_format format{};
    format.type = 77;
    EXPECT_FALSE(guest->ioctl<tag::G_FMT>(*session, format));
    EXPECT_FALSE(guest->ioctl<tag::G_FMT>(*session, format));
    ASSERT_NO_FATAL_FAILURE(vumedia::test::start_capture(*guest, *session, 1));
    const auto now = Json::parse(status());
    ASSERT_TRUE(now);
    const std::vector<std::pair<const char*, const char*>> expected = {
        {"devices.0.name", "camera"},
        {"devices.0.backend", "test-pattern"},
        {"devices.0.state", "serving"},
        {"devices.0.frontends.connected", "1"},
        {"devices.0.frontends.served", "1"},
        {"devices.0.frontends.failed", "0"},
        {"devices.0.sessions.open", "1"},
        {"devices.0.commands.total", "8"},
        {"devices.0.commands.OPEN", "1"},
        {"devices.0.commands.MMAP", "1"},
        {"devices.0.commands.VIDIOC_G_FMT", "2"},
        {"devices.0.commands.VIDIOC_QBUF", "1"},
        {"devices.0.errors.total", "2"},
        {"devices.0.errors.EINVAL", "2"},
        {"devices.0.events.DQBUF", "1"},
        {"devices.0.captured.frames", "1"},
        {"devices.0.captured.bytes", "921600"},
        {"devices.0.output.frames", "0"},
        {"devices.0.latency_ns.count", "8"},
        {"devices.1.name", "null"},
        {"devices.1.commands.total", "0"},
        {"devices.1.frontends.connected", "0"},
    };
    for (const auto& [where, value] : expected) {
      ASSERT_TRUE(now->contains(where)) << where;
      EXPECT_EQ(now->at(where), value) << where;
    }
    EXPECT_FALSE(now->contains("devices.1.latency_ns"));
    std::uint64_t in_buckets = 0, last = 0;
    for (int i = 0; i < std::stoi(now->at("devices.0.latency_ns.buckets")); ++i) {
      const std::string bucket = "devices.0.latency_ns.buckets." + std::to_string(i);
      EXPECT_GT(std::stoull(now->at(bucket + ".0")), last);
      last = std::stoull(now->at(bucket + ".0"));
      in_buckets += std::stoull(now->at(bucket + ".1"));
    }
    EXPECT_EQ(in_buckets, 8u);
    EXPECT_EQ(std::stoull(now->at("devices.0.latency_ns.max")), last);
    EXPECT_LE(std::stoull(now->at("devices.0.latency_ns.p50")), last);
  }
  const auto next = connect("a");  // by now the other's end has been seen
  ASSERT_TRUE(next);
  const auto after = Json::parse(status());
  ASSERT_TRUE(after);
  EXPECT_EQ(after->at("devices.0.frontends.served"), "2");
  EXPECT_EQ(after->at("devices.0.frontends.connected"), "1");
  EXPECT_EQ(after->at("devices.0.sessions.open"), "0");
  EXPECT_EQ(after->at("devices.0.sessions.opened"), "1");
  EXPECT_EQ(end(), 0);
  EXPECT_FALSE(exists("status"));
}

TEST_F(DeviceService, WritesItsCountersWhenItIsSignalled) {
  // Whatever the log level, because they were asked for.
  Manager manager(path("notify"));
  start({"-s", path("a"), "--log-level", "off", "--name", "camera"}, {}, {"NOTIFY_SOCKET=" + path("notify")});
  ASSERT_TRUE(manager.next());
  const auto guest = connect("a");
  ASSERT_TRUE(guest);
  ASSERT_TRUE(guest->open());
  device_->signal(SIGUSR1);
  EXPECT_TRUE(says("camera (null): serving")) << device_->error_output();
  EXPECT_TRUE(says("commands   1: 1 OPEN")) << device_->error_output();
  device_->signal(SIGUSR1);
  EXPECT_EQ(end(), 0) << "a signal for the counters does not end it";
}

TEST_F(DeviceService, AnswersForItsCountersWhoeverAsks) {
  start({"-s", path("a"), "--status-socket", path("status")});
  ASSERT_TRUE(says("serving"));
  // Clients that connect and read nothing, or that send something, keep nobody waiting.
  std::vector<OwnedFd> idle;
  for (int i = 0; i < 40; ++i) {
    idle.push_back(make_socket(SOCK_STREAM));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path("status").c_str(), path("status").size() + 1);
    ASSERT_EQ(::connect(idle.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::send(idle.back().get(), "GET /\n", 6, MSG_NOSIGNAL);
  }
  EXPECT_NE(status().find("null (null): serving"), std::string::npos);
  EXPECT_NE(read_all(idle.front().get()).find("null (null): serving"), std::string::npos);
  EXPECT_EQ(end(), 0);
}

TEST_F(DeviceService, AnswersForItsCountersOnceThereAreDescriptorsAgain) {
  start({"-s", path("a"), "--status-socket", path("status")});
  ASSERT_TRUE(says("serving"));
  rlimit before{};
  ASSERT_EQ(::prlimit(device_->pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;  // for new ones
  ASSERT_EQ(::prlimit(device_->pid(), RLIMIT_NOFILE, &none, nullptr), 0);
  const OwnedFd asks = make_socket(SOCK_STREAM);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path("status").c_str(), path("status").size() + 1);
  ASSERT_EQ(::connect(asks.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  device_->signal(SIGUSR1);
  EXPECT_TRUE(says("null (null): serving")) << "it goes on without";
  ASSERT_EQ(::prlimit(device_->pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  EXPECT_NE(read_all(asks.get()).find("null (null): serving"), std::string::npos);
  EXPECT_TRUE(connect("a"));
  EXPECT_EQ(end(), 0);
}

// -- Log lines

TEST_F(DeviceService, TracesWhatAGuestAsksInTheKernelsWords) {
  start({"-s", path("a"), "--backend", "test-pattern", "--name", "camera", "--log-level", "trace"});
  ASSERT_TRUE(says("serving"));
  const auto guest = connect("a");
  ASSERT_TRUE(guest);
  const auto session = guest->open();
  ASSERT_TRUE(session);
  const std::string prefix = "camera: session " + std::to_string(*session) + ": ";
  EXPECT_TRUE(says(prefix + "OPEN: done")) << device_->error_output();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  format.fmt.pix.pixelformat = V4L2_PIX_FMT_NV12;
  EXPECT_TRUE(guest->ioctl<tag::S_FMT>(*session, format));
  EXPECT_TRUE(says(prefix + "VIDIOC_S_FMT {type=V4L2_BUF_TYPE_VIDEO_CAPTURE, fmt.pix={width="));
  EXPECT_TRUE(says("pixelformat='NV12'")) << device_->error_output();
  format.type = V4L2_BUF_TYPE_META_CAPTURE;
  EXPECT_FALSE(guest->ioctl<tag::G_FMT>(*session, format));
  EXPECT_TRUE(says(prefix + "VIDIOC_G_FMT {type=V4L2_BUF_TYPE_META_CAPTURE")) << device_->error_output();
  EXPECT_TRUE(says("}: EINVAL")) << device_->error_output();
  v4l2_modulator modulator{};
  EXPECT_FALSE(guest->ioctl<tag::S_MODULATOR>(*session, modulator));
  EXPECT_TRUE(says(prefix + "VIDIOC_S_MODULATOR: ENOTTY")) << device_->error_output();
  ASSERT_NO_FATAL_FAILURE(vumedia::test::start_capture(*guest, *session, 1));
  EXPECT_TRUE(says(prefix + "event DQBUF {index=0, type=V4L2_BUF_TYPE_VIDEO_CAPTURE, bytesused="))
      << device_->error_output();
  EXPECT_EQ(end(), 0);
}

// -- Discovery

TEST_F(DeviceService, IsDescribedForManagementSoftware) {
  std::ifstream file(VUMEDIA_SOURCE_DIR "/examples/vumedia-device/data/50-vumedia-device.json.in");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto descriptor = Json::parse(text);
  ASSERT_TRUE(descriptor) << text;
  EXPECT_FALSE(descriptor->at("description").empty());
  EXPECT_EQ(descriptor->at("binary"), "@CMAKE_INSTALL_FULL_BINDIR@/vumedia-device");

  start({"--print-capabilities"});
  EXPECT_EQ(device_->wait(), 0);
  const auto capabilities = Json::parse(device_->output());
  ASSERT_TRUE(capabilities) << device_->output();
  EXPECT_EQ(capabilities->at("type"), descriptor->at("type")) << "by which it is found";
  EXPECT_NE(capabilities->at("features"), "0");
}

}  // namespace
}  // namespace vumedia::device::test
