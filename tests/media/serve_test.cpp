#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <vumedia/backends/null.hpp>
#include <vumedia/client/guest.hpp>
#include <vumedia/core/fd.hpp>
#include <vumedia/media/serve.hpp>

#include "support/patience.hpp"
#include "support/temporary_folder.hpp"

namespace vumedia::vhost_user::serve_test {
namespace {

// Says what it was made of.
struct Named {
  struct Session {};
  explicit Named(std::string text) : name(std::move(text)) {}
  media::Config config() const { return {.device_caps = V4L2_CAP_STREAMING, .card = name}; }
  Result<std::unique_ptr<Session>> open(media::Context) { return std::make_unique<Session>(); }
  const std::string name;
};

sigset_t blocked_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &set);
  return set;
}

// serve() on a thread of its own, and what it leaves.
class Daemon {
 public:
  explicit Daemon(bool signals) : stop_(::eventfd(0, EFD_CLOEXEC)) {
    auto listener = io::Listener::at(path());
    EXPECT_TRUE(listener) << listener.error().message;
    thread_ = std::thread([this, signals, made = std::move(*listener)]() mutable {
      MediaServeOptions options;
      options.stop_on_signals = signals;
      options.stop_fd = stop_.get();
      const auto served = serve<Named>(std::move(made), options, std::string("a named device"));
      succeeded_ = served.has_value();
      const sigset_t after = blocked_signals();
      restored_ = ::sigismember(&after, SIGINT) == 0 && ::sigismember(&after, SIGTERM) == 0;
    });
  }
  ~Daemon() {
    if (thread_.joinable()) stop();
  }

  [[nodiscard]] std::string path() const { return folder_.path("socket"); }
  [[nodiscard]] std::unique_ptr<client::Guest> connect() const {
    auto guest = client::Guest::connect(path(), {.command_timeout = vumedia::test::patience});
    EXPECT_TRUE(guest) << guest.error().message;
    return guest ? std::move(*guest) : nullptr;
  }
  void stop() {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  void signal(int number) {
    ::pthread_kill(thread_.native_handle(), number);
    thread_.join();
  }
  [[nodiscard]] bool ended_well() const {
    struct stat file{};
    return succeeded_ && restored_ && ::lstat(path().c_str(), &file) != 0;
  }

 private:
  vumedia::test::TemporaryFolder folder_;
  OwnedFd stop_;
  std::atomic<bool> succeeded_ = false;
  std::atomic<bool> restored_ = false;
  std::thread thread_;
};

TEST(Serve, OneGuestAfterAnotherUntilItIsStopped) {
  Daemon daemon(false);
  for (int i = 0; i < 3; ++i) {
    const auto guest = daemon.connect();
    ASSERT_NE(guest, nullptr);
    EXPECT_STREQ(guest->config().card.data(), "a named device");
    EXPECT_TRUE(guest->open());
  }
  daemon.stop();
  EXPECT_TRUE(daemon.ended_well());
}

TEST(Serve, EndsWhileAGuestIsThere) {
  Daemon daemon(false);
  const auto guest = daemon.connect();
  ASSERT_NE(guest, nullptr);
  ASSERT_TRUE(guest->open());
  daemon.stop();
  EXPECT_TRUE(daemon.ended_well());
  const auto gone = guest->open();
  EXPECT_EQ(gone ? 0 : gone.error().value, EPIPE);
}

TEST(Serve, EndsBySignalsAndRestoresThem) {
  for (const int number : {SIGTERM, SIGINT}) {
    Daemon daemon(true);
    ASSERT_NE(daemon.connect(), nullptr);
    daemon.signal(number);
    EXPECT_TRUE(daemon.ended_well()) << "after signal " << number;
  }
}

// A program that handles them itself keeps doing so.
TEST(Serve, LeavesSignalsAloneWhereItIsAskedTo) {
  static std::atomic<int> seen;
  seen = 0;
  struct sigaction action{}, before{};
  action.sa_handler = [](int) { ++seen; };
  ASSERT_EQ(::sigaction(SIGTERM, &action, &before), 0);
  Daemon daemon(false);
  ASSERT_NE(daemon.connect(), nullptr);
  ASSERT_EQ(::raise(SIGTERM), 0);
  EXPECT_EQ(seen, 1);
  EXPECT_NE(daemon.connect(), nullptr) << "it still serves";
  daemon.stop();
  EXPECT_TRUE(daemon.ended_well());
  ASSERT_EQ(::sigaction(SIGTERM, &before, nullptr), 0);
}

// Sends a signal when its guest has left, which is after the loop has found its reason to stop.
struct Signalling : Named {
  using Named::Named;
  Signalling(const Signalling&) = delete;
  Signalling& operator=(const Signalling&) = delete;
  ~Signalling() { EXPECT_EQ(::raise(SIGTERM), 0); }
};

TEST(Serve, LeavesASignalThatItDidNotStopFor) {
  static std::atomic<int> seen;
  seen = 0;
  struct sigaction action{}, before{};
  action.sa_handler = [](int) { ++seen; };
  ASSERT_EQ(::sigaction(SIGTERM, &action, &before), 0);
  std::array<int, 2> pair{-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  OwnedFd(pair[1]).reset();  // the frontend has left already
  auto listener = io::Listener::inherited(pair[0]);
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_TRUE(serve<Signalling>(std::move(*listener), {}, std::string("signals")));
  EXPECT_EQ(seen, 1);
  ASSERT_EQ(::sigaction(SIGTERM, &before, nullptr), 0);
}

TEST(Serve, AConnectedSocketUntilItsFrontendLeaves) {
  std::array<int, 2> pair{-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  OwnedFd frontend(pair[1]);
  auto listener = io::Listener::inherited(pair[0]);
  ASSERT_TRUE(listener) << listener.error().message;
  std::thread leaver([end = std::move(frontend)]() mutable { end.reset(); });
  EXPECT_TRUE(serve<backends::Null>(std::move(*listener)));
  leaver.join();
}

TEST(Serve, SaysWhatItCannotServe) {
  std::array<int, 2> pipe{-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pipe.data()), 0);
  const OwnedFd other(pipe[1]);
  auto listener = io::Listener::inherited(pipe[0]);
  ASSERT_TRUE(listener);
  listener->socket().reset();  // as if it had been moved away
  const auto served = serve<backends::Null>(std::move(*listener));
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().message, "the descriptor -1 is not a socket to serve: Bad file descriptor");
}

}  // namespace
}  // namespace vumedia::vhost_user::serve_test
