// vumedia-device on each reactor: which one it takes, also where a sandbox forbids io_uring, and that all its
// backends serve on both. A filter of system calls is for good, so whatever has one is started by a thread
// of its own.
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <vumedia/client/guest.hpp>

#include "support/capturing.hpp"
#include "support/child_process.hpp"
#include "support/forbidden.hpp"
#include "support/patience.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::device::test::reactor_test {
namespace {

using client::Guest;
using vumedia::test::ChildProcess;
using vumedia::test::forbid_system_call;

constexpr const char* says_epoll = "epoll is used";

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

class DeviceReactor : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name = "socket") const { return folder_.path(name); }
  [[nodiscard]] std::vector<std::string> words(std::vector<std::string> more) const {
    more.insert(more.begin(), VUMEDIA_BIN_DIR "/vumedia-device");
    return more;
  }
  [[nodiscard]] std::vector<std::string> camera(std::vector<std::string> more = {}) const {
    const std::vector<std::string> options{"--backend", "test-pattern", "--socket-path", path()};
    more.insert(more.begin(), options.begin(), options.end());
    return words(more);
  }
  // Starts it where `number` fails with `error`; 0: where nothing is forbidden.
  void start(std::vector<std::string> command, long number = 0, int error = EPERM) {
    std::thread([&] {
      if (number != 0) {
        ASSERT_TRUE(forbid_system_call(number, error));
      }
      device_ = std::make_unique<ChildProcess>(std::move(command));
    }).join();
  }
  static bool next_frame(Guest& guest) {
    const auto event = guest.wait_event(vumedia::test::patience);
    return event && *event && std::holds_alternative<client::DqbufEvent>(**event);
  }
  void expect_a_camera_at(const std::string& socket) const {
    auto guest = Guest::connect(socket, {.command_timeout = vumedia::test::patience});
    ASSERT_TRUE(guest) << guest.error().message;
    const auto session = (*guest)->open();
    ASSERT_TRUE(session);
    vumedia::test::start_capture(**guest, *session, 3);
    for (int frame = 0; frame < 8; ++frame) {
      // Of the buffers that were queued at first, one has come back already.
      if (frame < 2) {
        ASSERT_TRUE(next_frame(**guest));
        continue;
      }
      v4l2::BufferPayload buffer{};
      buffer.buffer.head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
      buffer.buffer.head.memory = V4L2_MEMORY_MMAP;
      ASSERT_TRUE((*guest)->ioctl<v4l2::tag::QBUF>(*session, buffer));
      ASSERT_TRUE(next_frame(**guest));
    }
    EXPECT_TRUE((*guest)->close(*session));
  }
  void expect_to_end() {
    device_->signal(SIGTERM);
    EXPECT_EQ(device_->wait(), 0) << device_->error_output();
  }

  const vumedia::test::TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> device_;
};

TEST_F(DeviceReactor, TakesTheOneThatIsAskedFor) {
  for (const char* const kind : {"auto", "io_uring", "epoll"}) {
    SCOPED_TRACE(kind);
    start(camera({"--reactor", kind}));
    ASSERT_TRUE(device_->wait_for_error_text("serving")) << device_->error_output();
    expect_a_camera_at(path());
    expect_to_end();
    EXPECT_EQ(count(device_->error_output(), says_epoll), 0u) << "nothing is refused here";
  }
}

TEST_F(DeviceReactor, ServesByEpollWhereIoUringIsForbiddenAndSaysWhy) {
  for (const auto& [number, error, reason] :
       {std::tuple{__NR_io_uring_setup, EPERM, "io_uring is not available"},
        std::tuple{__NR_io_uring_setup, ENOSYS, "io_uring is not available"},
        std::tuple{__NR_io_uring_setup, ENOMEM, "cannot create an io_uring"},
        std::tuple{__NR_io_uring_enter, EPERM, "io_uring cannot be used"}}) {
    SCOPED_TRACE(reason);
    start(camera(), number, error);
    ASSERT_TRUE(device_->wait_for_error_text("serving")) << device_->error_output();
    expect_a_camera_at(path());
    expect_to_end();
    EXPECT_EQ(count(device_->error_output(), says_epoll), 1u) << device_->error_output();
    EXPECT_EQ(count(device_->error_output(), reason), 1u) << device_->error_output();
  }
}

TEST_F(DeviceReactor, SaysItOnceForSeveralDevices) {
  start(words({"--device", "backend=test-pattern,name=one,socket=" + path("one"), "--device",
               "backend=test-pattern,name=two,socket=" + path("two"), "--device",
               "backend=null,name=three,socket=" + path("three")}),
        __NR_io_uring_setup);
  ASSERT_TRUE(device_->wait_for_error_text("three: serving")) << device_->error_output();
  expect_a_camera_at(path("one"));
  expect_a_camera_at(path("two"));
  expect_to_end();
  EXPECT_EQ(count(device_->error_output(), says_epoll), 1u) << device_->error_output();
}

TEST_F(DeviceReactor, DoesNotStartWithoutTheOneThatIsAskedFor) {
  start(camera({"--reactor", "io_uring"}), __NR_io_uring_setup);
  EXPECT_EQ(device_->wait(), 1);
  EXPECT_EQ(count(device_->error_output(), "io_uring is not available"), 1u) << device_->error_output();
  EXPECT_EQ(count(device_->error_output(), "\n"), 1u) << device_->error_output();
}

TEST_F(DeviceReactor, DoesNotTouchTheOneThatIsNot) {
  start(camera({"--reactor", "epoll"}), __NR_io_uring_setup);
  ASSERT_TRUE(device_->wait_for_error_text("serving")) << device_->error_output();
  EXPECT_EQ(count(device_->error_output(), "io_uring"), 0u) << device_->error_output();
  expect_to_end();
}

TEST_F(DeviceReactor, ServesGuestsThatComeAndGoByEpoll) {
  start(camera({"--reactor", "epoll"}));
  ASSERT_TRUE(device_->wait_for_error_text("serving")) << device_->error_output();
  for (int i = 0; i < 5; ++i) expect_a_camera_at(path());
  expect_to_end();
}

}  // namespace
}  // namespace vumedia::device::test::reactor_test
