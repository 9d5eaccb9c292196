// vumedia-device with well-behaved and hostile guests: what it releases when they leave, how it ends while
// they stream, what it answers to nonsense, and whether its limits are those of its options.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <vumedia/client/guest.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "support/capturing.hpp"
#include "support/child_process.hpp"
#include "support/patience.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::device::test {
namespace {

using client::Guest;
using vumedia::test::ChildProcess;
using namespace std::chrono_literals;
namespace tag = v4l2::tag;
namespace wire = media::wire;

constexpr std::uint32_t capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;

#ifdef VUMEDIA_WITH_FFMPEG
constexpr const char* all_backends[] = {"null", "test-pattern", "ffmpeg-decoder"};
#else
constexpr const char* all_backends[] = {"null", "test-pattern"};
#endif

template <class Condition>
bool eventually(Condition&& condition) {
  const auto deadline = std::chrono::steady_clock::now() + vumedia::test::patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// Resources of a process that a session may have left behind.
struct Holdings {
  std::size_t descriptors = 0;
  std::size_t memory_files = 0;  // mappings of them
  std::size_t threads = 0;
  friend bool operator==(const Holdings&, const Holdings&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Holdings& holdings) {
    return out << holdings.descriptors << " descriptors, " << holdings.memory_files
               << " mapped memory files, " << holdings.threads << " threads";
  }
};

Holdings holdings_of(pid_t pid) {
  const auto entries = [&](const char* name) {
    std::error_code error;
    const std::filesystem::directory_iterator folder("/proc/" + std::to_string(pid) + "/" + name, error);
    return static_cast<std::size_t>(std::distance(begin(folder), end(folder)));
  };
  Holdings holdings{entries("fd"), 0, entries("task")};
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);)
    holdings.memory_files += line.find("/memfd:") != std::string::npos ? 1 : 0;
  return holdings;
}

class DeviceGuest : public testing::Test {
 protected:
  void start(const std::string& backend, std::vector<std::string> more = {}) {
    std::vector<std::string> words{VUMEDIA_BIN_DIR "/vumedia-device", "--backend", backend, "--socket-path",
                                   path()};
    words.insert(words.end(), more.begin(), more.end());
    device_ = std::make_unique<ChildProcess>(std::move(words));
    ASSERT_TRUE(device_->wait_for_error_text("serving")) << device_->error_output();
  }
  [[nodiscard]] std::string path() const { return folder_.path("socket"); }
  [[nodiscard]] std::unique_ptr<Guest> connect() const {
    auto guest = Guest::connect(path(), {.command_timeout = vumedia::test::patience});
    EXPECT_TRUE(guest) << guest.error().message;
    return guest ? std::move(*guest) : nullptr;
  }

  // A camera that has delivered its first frame, its buffers mapped. The session, or 0.
  static std::uint32_t stream(Guest& guest) {
    const auto session = guest.open();
    EXPECT_TRUE(session);
    if (!session) return 0;
    vumedia::test::start_capture(guest, *session, 3);
    return *session;
  }

  const vumedia::test::TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> device_;
};

TEST_F(DeviceGuest, EndsWhileItStreams) {
  for (const int signal : {SIGTERM, SIGINT}) {
    start("test-pattern");
    const auto guest = connect();
    ASSERT_TRUE(guest);
    ASSERT_NE(stream(*guest), 0u);
    // Without waiting for the guest, which stays.
    device_->signal(signal);
    EXPECT_EQ(device_->wait(), 0) << device_->error_output();
    EXPECT_FALSE(std::filesystem::exists(path()));
    EXPECT_EQ(guest->open().error().value, EPIPE);
  }
}

TEST_F(DeviceGuest, GivesEverythingBackWhenAGuestLeaves) {
  start("test-pattern");
  // Closed first, after a reset, and without notice.
  const auto round = [&](int way) {
    const auto guest = connect();
    ASSERT_TRUE(guest);
    const auto session = stream(*guest);
    EXPECT_TRUE(way != 0 || guest->close(session));
    EXPECT_TRUE(way != 1 || guest->reset());
  };
  const auto empty = holdings_of(device_->pid());
  for (int i = 0; i < 8; ++i) {
    round(i % 3);
    EXPECT_TRUE(eventually([&] { return holdings_of(device_->pid()) == empty; }))
        << "at first " << empty << ", now " << holdings_of(device_->pid());
  }
}

TEST_F(DeviceGuest, AnswersNonsenseWithItsErrnoAndGoesOn) {
  for (const char* const backend : all_backends) {
    SCOPED_TRACE(backend);
    start(backend);
    const auto guest = connect();
    ASSERT_TRUE(guest);
    const auto session = guest->open();
    ASSERT_TRUE(session);
    const auto status = [&](std::vector<std::uint32_t> command, std::size_t bytes) {
      command.resize(256);
      std::array<std::uint32_t, 256> answer;
      answer.fill(~0u);
      const auto length = guest->command(std::as_bytes(std::span(command)).first(bytes),
                                         std::as_writable_bytes(std::span(answer)));
      EXPECT_TRUE(length);
      return length && *length == 0 ? -1 : static_cast<int>(answer[0]);
    };
    constexpr int no_answer = -1;
    const bool has_nothing = std::string_view(backend) == "null";
    const int no_queue = has_nothing ? ENOTTY : EINVAL;
    const int no_offset = has_nothing ? ENODEV : EINVAL;  // it maps nothing at all
    EXPECT_EQ(status({99, 0}, 8), ENOTTY) << "an unknown command";
    for (std::size_t cut = 1; cut < 16; ++cut)
      EXPECT_EQ(status({wire::cmd_ioctl, 0, *session, tag::G_FMT::number}, cut), EINVAL) << cut;
    EXPECT_EQ(status({wire::cmd_ioctl, 0, *session + 1, tag::G_FMT::number}, 512), EINVAL) << "a session";
    EXPECT_EQ(status({wire::cmd_ioctl, 0, *session, 200}, 512), ENOTTY) << "an ioctl";
    EXPECT_EQ(status({wire::cmd_mmap, 0, *session, 1, 0xfffff000}, 20), no_offset) << "an offset";
    EXPECT_EQ(status({wire::cmd_mmap, 0, *session + 1, 1, 0}, 20), EINVAL) << "a session";
    EXPECT_EQ(status({wire::cmd_munmap, 0, 4096, 0}, 16), EINVAL) << "an address";
    EXPECT_EQ(status({wire::cmd_close, 0, *session + 1, 0}, 16), no_answer);
    EXPECT_EQ(status({wire::cmd_ioctl, 0, *session, tag::STREAMON::number, 77}, 20), no_queue) << "a type";
    v4l2_format format{};
    format.type = 77;
    EXPECT_EQ(guest->ioctl<tag::G_FMT>(*session, format).error().value, no_queue) << "a type";
    EXPECT_TRUE(guest->open()) << "the device no longer serves";
    EXPECT_EQ(guest->error().code, 0);
    device_.reset();
  }
}

// Random commands from a fixed seed: each comes back, and the next guest is served.
TEST_F(DeviceGuest, SurvivesCommandsByDice) {
  std::mt19937 dice(48);
  const auto any = [&] { return static_cast<std::uint32_t>(dice()); };
  const auto roll = [&](std::uint32_t n) { return any() % n; };
  for (const char* const backend : all_backends) {
    SCOPED_TRACE(backend);
    start(backend);
    {
      const auto guest = connect();
      ASSERT_TRUE(guest);
      std::vector<std::uint32_t> sessions;
      for (int i = 0; i < 4; ++i) sessions.push_back(guest->open().value_or(0));
      for (int i = 0; i < 3000; ++i) {
        std::array<std::uint32_t, 128> words{};
        for (auto& word : words) word = roll(4) == 0 ? any() : roll(6);
        words[0] = roll(30) == 0 ? any() : roll(8) == 0 ? 1 + roll(5) : wire::cmd_ioctl;
        words[2] = roll(30) == 0 ? any() : sessions[roll(4)];
        // One of them is never closed, so that something always happens.
        if (words[0] == wire::cmd_close && words[2] == sessions[0]) continue;
        words[3] = words[0] == wire::cmd_ioctl ? roll(110) : words[3];
        words[4] = roll(3) == 0 ? 1 + roll(10) : words[4];
        std::array<std::byte, 700> answer;
        const std::size_t size = roll(20) == 0 ? 1 + roll(500) : 16 + 4 * roll(120);
        const auto done = guest->command(std::as_bytes(std::span(words)).first(std::min(size, sizeof words)),
                                         std::span(answer).first(8 + roll(690)));
        ASSERT_TRUE(done) << guest->error().message << ", command " << i << ": " << words[0] << ", ioctl "
                          << words[3] << "\n"
                          << device_->error_output();
        // The resulting events are consumed, or the device would have to end the session.
        while (true) {
          const auto event = guest->wait_event(0ms);
          ASSERT_TRUE(event) << guest->error().message;
          if (!*event) break;
        }
      }
    }
    const auto next = connect();
    ASSERT_TRUE(next);
    EXPECT_TRUE(next->open());
    device_->signal(SIGTERM);
    EXPECT_EQ(device_->wait(), 0) << device_->error_output();
  }
}

TEST_F(DeviceGuest, SurvivesAFrontendThatTruncatesItsMemory) {
  start("null");
  {
    auto frontend = vhost_user::Frontend::connect(path());
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
    EXPECT_TRUE(eventually([&] { return !frontend->get_status(); })) << "it should lose its connection";
  }
  const auto next = connect();
  ASSERT_TRUE(next);
  EXPECT_TRUE(next->open());
  device_->signal(SIGTERM);
  EXPECT_EQ(device_->wait(), 0) << device_->error_output();
}

TEST_F(DeviceGuest, KeepsToTheLimitsOfItsOptions) {
  start("test-pattern", {"--shmem-size", "32M", "--max-sessions", "2", "--max-buffer-bytes", "3M"});
  auto guest = connect();
  ASSERT_TRUE(guest);
  EXPECT_EQ(guest->shm_size(), 32u << 20);
  EXPECT_FALSE(guest->frontend().has(vhost_user::protocol_feature::configure_mem_slots));
  const auto session = guest->open();
  ASSERT_TRUE(session);
  ASSERT_TRUE(guest->open());
  EXPECT_EQ(guest->open().error().value, ENFILE);
  v4l2_requestbuffers request{};
  request.type = capture;
  request.memory = V4L2_MEMORY_MMAP;
  request.count = 8;  // of 640 x 480 x 3 bytes
  ASSERT_TRUE(guest->ioctl<tag::REQBUFS>(*session, request));
  EXPECT_EQ(request.count, 3u);
  guest.reset();
  device_.reset();

  start("null", {"--mem-slots"});
  guest = connect();
  ASSERT_TRUE(guest);
  EXPECT_TRUE(guest->frontend().has(vhost_user::protocol_feature::configure_mem_slots));
  EXPECT_EQ(guest->frontend().max_memory_slots().value_or(0), 509u);
}

}  // namespace
}  // namespace vumedia::device::test
