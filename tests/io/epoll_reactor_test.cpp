// EpollReactor: the laws of every reactor, and its further guarantees.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <io/reactor_guarantees.hpp>
#include <io/reactor_laws.hpp>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/io/epoll/timers.hpp>
#include <vumedia/io/epoll_reactor.hpp>

#include "support/forbidden.hpp"
#include "support/patience.hpp"

namespace vumedia::io::test {

INSTANTIATE_TYPED_TEST_SUITE_P(Epoll, ReactorLaws, ::testing::Types<EpollReactor>);
INSTANTIATE_TYPED_TEST_SUITE_P(Epoll, ReactorGuarantees, ::testing::Types<EpollReactor>);

namespace epoll_reactor_test {
namespace {

using vumedia::test::forbid_system_call;

std::unique_ptr<EpollReactor> make_reactor() {
  auto made = EpollReactor::create();
  EXPECT_TRUE(made);
  return made ? std::move(*made) : nullptr;
}

void settle(EpollReactor& reactor) {
  while (reactor.run_once(false).value_or(0) > 0) {
  }
}

// ---- What a command costs

// Answers each kick with a call, as a ring does.
class Echo {
 public:
  Echo(EpollReactor& reactor, const OwnedFd& kick, const OwnedFd& call)
      : reactor_(reactor),
        kick_(kick),
        notifier_(std::move(*reactor.make_notifier(std::move(*call.duplicate())))) {
    arm();
  }
  ~Echo() { reactor_.cancel(probe_.operation()); }

 private:
  void arm() { reactor_.read(probe_.operation(), kick_.get(), bytes_of(count_)); }

  EpollReactor& reactor_;
  const OwnedFd& kick_;
  EpollReactor::Notifier notifier_;
  std::uint64_t count_ = 0;
  Probe probe_{[this] {
    notifier_.signal();
    arm();
  }};
};

TEST(EpollReactor, ServesARoundTripWithThreeSystemCalls) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const auto reactor = make_reactor();
    const OwnedFd kick = event_fd(flags);
    const OwnedFd call = event_fd(flags);
    const Echo echo(*reactor, kick, call);
    settle(*reactor);
    take(call);
    constexpr int rounds = 2000;
    const auto before = reactor->counters();
    std::thread peer([&] {
      for (int i = 0; i < rounds; ++i) {
        add(kick);
        pollfd state{call.get(), POLLIN, 0};
        EXPECT_EQ(::poll(&state, 1, vumedia::test::poll_patience), 1);
        EXPECT_EQ(take(call), 1U);
      }
      reactor->stop();
    });
    EXPECT_TRUE(reactor->run());
    peer.join();
    const auto after = reactor->counters();
    EXPECT_EQ(after.signals - before.signals, std::uint64_t{rounds});
    // One of each for each, and a few for the stop.
    EXPECT_LE(after.waits - before.waits, std::uint64_t{rounds + 5});
    EXPECT_LE(after.transfers - before.transfers, std::uint64_t{rounds + 5});
    EXPECT_LE(after.changes - before.changes, 5U);
  }
}

// System calls of a process that this thread traces, from one getppid() to the next.
int count_between_marks(pid_t child) {
  int status = 0, marks = 0, count = 0;
  bool entering = true;
  while (marks < 2) {
    if (::ptrace(PTRACE_SYSCALL, child, 0, 0) != 0 || ::waitpid(child, &status, 0) != child) return -1;
    if (!WIFSTOPPED(status)) return -1;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
    if (std::exchange(entering, !entering)) {
      __ptrace_syscall_info info{};
      if (::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info) <= 0) return -1;
      if (info.entry.nr == __NR_getppid)
        ++marks;
      else if (marks == 1)
        ++count;
    }
  }
  return count;
}

// The same, counted by the kernel.
TEST(EpollReactor, MakesNoSystemCallsThatItDoesNotCount) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    constexpr int rounds = 100;
    const OwnedFd kick = event_fd(flags);
    const OwnedFd call = event_fd(flags);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto reactor = EpollReactor::create();
      if (!reactor || ::ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) ::_exit(1);
      const Echo echo(**reactor, kick, call);
      settle(**reactor);
      ::raise(SIGSTOP);
      const std::uint64_t one = 1;
      ::getppid();
      for (int i = 0; i < rounds; ++i) {
        // The peer's call, and all of the device's.
        if (::write(kick.get(), &one, sizeof one) != ssize_t{sizeof one}) ::_exit(2);
        if ((*reactor)->run_once(true).value_or(0) != 1) ::_exit(3);
      }
      ::getppid();
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (!WIFSTOPPED(status)) GTEST_SKIP() << "no process can be traced here";
    ASSERT_EQ(::ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
    const int count = count_between_marks(child);
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    EXPECT_GT(count, 2 * rounds);
    EXPECT_LE(count, (1 + 3) * rounds);
  }
}

// ---- Descriptors that are closed

// The peer keeps the file open, so the kernel goes on watching it.
TEST(EpollReactor, IsNotKeptBusyByAFileThatItCannotNameAnyMore) {
  const auto reactor = make_reactor();
  const OwnedFd peer = event_fd();
  OwnedFd own = std::move(*peer.duplicate());
  std::uint64_t count = 0;
  Probe probe([&] { own.reset(); });  // does not cancel the operation
  reactor->read(probe.operation(), own.get(), bytes_of(count));
  settle(*reactor);
  add(peer);
  settle(*reactor);
  ASSERT_EQ(probe.calls, 1);
  // Others go on, before and after it is noticed.
  const OwnedFd event = event_fd();
  Probe waits;
  reactor->poll(waits.operation(), event.get(), POLLIN);
  add(peer);
  settle(*reactor);
  const auto before = reactor->counters().waits;
  Probe timer;
  reactor->timer(timer.operation(), Clock::now() + 20ms);
  while (timer.calls == 0) ASSERT_TRUE(reactor->run_once(true));
  EXPECT_LE(reactor->counters().waits - before, 3U);
  EXPECT_EQ(waits.calls, 0);
  add(event);
  settle(*reactor);
  EXPECT_EQ(waits.calls, 1);
}

TEST(EpollReactor, ReplacesItsInstanceWithinAnotherLoop) {
  const auto reactor = std::move(*EpollReactor::create_for_other_loop());
  const OwnedFd peer = event_fd();
  OwnedFd own = std::move(*peer.duplicate());
  std::uint64_t count = 0;
  Probe probe([&] { own.reset(); });
  reactor->read(probe.operation(), own.get(), bytes_of(count));
  add(peer);
  settle(*reactor);
  add(peer);
  settle(*reactor);
  pollfd waits{reactor->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&waits, 1, 0), 0) << "nothing is to be done";
  const OwnedFd event = event_fd();
  Probe other;
  reactor->poll(other.operation(), event.get(), POLLIN);
  settle(*reactor);
  add(event);
  EXPECT_EQ(::poll(&waits, 1, vumedia::test::poll_patience), 1);
  settle(*reactor);
  EXPECT_EQ(other.calls, 1);
}

// A handler that cancels its own operation says that its descriptor may be closed, and its number reused.
TEST(EpollReactor, WatchesAFileThatHasTheNumberOfAnother) {
  const auto reactor = make_reactor();
  const OwnedFd peer = event_fd();
  OwnedFd own = std::move(*peer.duplicate());
  OwnedFd next;
  std::uint64_t count = 0;
  std::optional<Probe> probe;
  probe.emplace([&] {
    if (probe->calls > 1) return;
    const int number = own.get();
    reactor->cancel(probe->operation());
    own.reset();
    next = event_fd();
    EXPECT_EQ(next.get(), number);
    reactor->read(probe->operation(), next.get(), bytes_of(count));
  });
  reactor->read(probe->operation(), own.get(), bytes_of(count));
  settle(*reactor);
  add(peer);
  settle(*reactor);
  EXPECT_EQ(probe->calls, 1);
  add(next, 5);
  settle(*reactor);
  EXPECT_EQ(probe->calls, 2);
  EXPECT_EQ(count, 5U);
}

// ---- Files of other kinds

TEST(EpollReactor, ReadsAndPollsRegularFiles) {
  const auto reactor = make_reactor();
  const auto file = make_sealed_memfd("file", 4096);
  ASSERT_TRUE(file);
  ASSERT_EQ(::pwrite(file->get(), "abcdef", 6, 0), 6);
  std::array<std::byte, 3> in{};
  Probe read, poll, write;
  for (const char* const want : {"abc", "def"}) {
    reactor->read(read.operation(), file->get(), in);
    EXPECT_TRUE(read.pending());
    settle(*reactor);
    EXPECT_EQ(read.result, 3);
    EXPECT_EQ(std::memcmp(in.data(), want, 3), 0);
  }
  reactor->poll(poll.operation(), file->get(), POLLIN | POLLPRI);
  settle(*reactor);
  EXPECT_EQ(poll.result, POLLIN);
  reactor->write(write.operation(), file->get(), in);
  settle(*reactor);
  EXPECT_EQ(write.result, 3);
}

TEST(EpollReactor, FindsMoreReadyThanItAsksForAtOnce) {
  const auto reactor = make_reactor();
  std::vector<OwnedFd> events;
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 200; ++i) {
    events.push_back(event_fd());
    probes.push_back(std::make_unique<Probe>());
    reactor->poll(probes.back()->operation(), events.back().get(), POLLIN);
  }
  settle(*reactor);
  for (const OwnedFd& event : events) add(event);
  settle(*reactor);
  for (const auto& probe : probes) EXPECT_EQ(probe->calls, 1);
}

// ---- Conditions that no transfer takes away

// A UDP socket that has heard that nobody listens where it sends. Its error queue, which no receive empties,
// keeps a copy.
OwnedFd socket_with_an_error_queue() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  OwnedFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  OwnedFd gone(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  EXPECT_EQ(::bind(gone.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(gone.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  gone.reset();
  EXPECT_EQ(::setsockopt(socket.get(), IPPROTO_IP, IP_RECVERR, &on, sizeof on), 0);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::send(socket.get(), "x", 1, 0), 1);
  pollfd state{socket.get(), 0, 0};
  EXPECT_EQ(::poll(&state, 1, vumedia::test::poll_patience), 1);
  return socket;
}

TEST(EpollReactor, EndsAReceiveOnASocketThatHasAnErrorForGood) {
  const auto reactor = make_reactor();
  const OwnedFd socket = socket_with_an_error_queue();
  std::array<std::byte, 8> in{};
  ReceiveProbe first, second;
  reactor->receive(first.operation(), socket.get(), in);
  settle(*reactor);
  EXPECT_EQ(first.result, -ECONNREFUSED) << "the error itself is told once";
  reactor->receive(second.operation(), socket.get(), in);
  for (int turn = 0; turn < 100 && second.calls == 0; ++turn) ASSERT_TRUE(reactor->run_once(true));
  EXPECT_EQ(second.calls, 1);
  EXPECT_EQ(second.result, -EIO);
}

// Two that wait for one socket hear of its error at the same time; only one of them is told it.
TEST(EpollReactor, DoesNotEndAReceiveForAnErrorThatAnotherHasTaken) {
  const auto reactor = make_reactor();
  const OwnedFd socket = socket_with_an_error_queue();
  std::array<std::byte, 256> in{}, control{};
  iovec bytes{in.data(), in.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  EXPECT_GT(::recvmsg(socket.get(), &message, MSG_ERRQUEUE | MSG_DONTWAIT), 0);
  int error = 0;
  socklen_t size = sizeof error;
  EXPECT_EQ(::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
  ReceiveProbe first, second;
  reactor->receive(first.operation(), socket.get(), std::span(in).first(8));
  reactor->receive(second.operation(), socket.get(), std::span(in).last(8));
  settle(*reactor);
  EXPECT_EQ(first.calls + second.calls, 0);
  // Another datagram that nobody takes: an error, and a copy of it, which is taken out at once.
  EXPECT_EQ(::send(socket.get(), "x", 1, 0), 1);
  message.msg_controllen = control.size();
  pollfd state{socket.get(), 0, 0};
  EXPECT_EQ(::poll(&state, 1, vumedia::test::poll_patience), 1);
  const int off = 0;
  EXPECT_EQ(::setsockopt(socket.get(), IPPROTO_IP, IP_RECVERR, &off, sizeof off), 0) << "empties the queue";
  settle(*reactor);
  EXPECT_EQ(first.result, -ECONNREFUSED);
  EXPECT_EQ(second.calls, 0);
  reactor->cancel(second.operation());
}

// ---- Where more is forbidden. A filter is for good, so each has a thread.

class EpollReactorForbidden : public ::testing::TestWithParam<long> {};
INSTANTIATE_TEST_SUITE_P(AsynchronousIo, EpollReactorForbidden,
                         ::testing::Values(__NR_io_setup, __NR_io_submit));

TEST_P(EpollReactorForbidden, SignalsByWritingInstead) {
  std::thread([] {
    ASSERT_TRUE(forbid_system_call(GetParam(), ENOSYS));
    const auto reactor = make_reactor();
    const OwnedFd event = event_fd(EFD_NONBLOCK);
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    notifier->signal();
    settle(*reactor);
    EXPECT_EQ(take(event), 1U);
    add(event, ~std::uint64_t{0} - 1);
    notifier->signal();
    settle(*reactor);
    // One that could block the loop is refused.
    const OwnedFd blocking = event_fd(0);
    EXPECT_EQ(reactor->make_notifier(std::move(*blocking.duplicate())).error().value, ENOSYS);
  }).join();
}

TEST(EpollReactor, ReadsAndWritesWhereTheCallsWithFlagsAreForbidden) {
  for (const int error : {EPERM, ENOSYS}) {
    std::thread([error] {
      ASSERT_TRUE(forbid_system_call(__NR_preadv2, error));
      ASSERT_TRUE(forbid_system_call(__NR_pwritev2, error));
      const auto reactor = make_reactor();
      const OwnedFd event = event_fd(0);
      std::uint64_t count = 0, more = 2;
      Probe read, write;
      reactor->read(read.operation(), event.get(), bytes_of(count));
      settle(*reactor);
      EXPECT_EQ(read.calls, 0) << "it waits";
      reactor->write(write.operation(), event.get(), bytes_of(more));
      settle(*reactor);
      EXPECT_EQ(write.result, 8);
      EXPECT_EQ(read.result, 8);
      EXPECT_EQ(count, 2U);
      bool posted = false;
      reactor->inbox()->post([&] { posted = true; });
      settle(*reactor);
      EXPECT_TRUE(posted);
    }).join();
  }
}

TEST(EpollReactor, TriesSignalsAgainThatTheKernelHadNoMemoryFor) {
  for (const int error : {EAGAIN, ENOMEM}) {
    const auto reactor = std::move(*EpollReactor::create_for_other_loop());
    const OwnedFd event = event_fd(0);
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    settle(*reactor);
    std::thread([&] {
      ASSERT_TRUE(forbid_system_call(__NR_io_submit, error));
      notifier->signal();
      // Nothing else is to happen, so each would wait forever.
      EXPECT_EQ(reactor->run_once(true).value_or(1), 0U);
      pollfd waits{reactor->fd(), POLLIN, 0};
      EXPECT_EQ(::poll(&waits, 1, vumedia::test::poll_patience), 1);
      EXPECT_EQ(reactor->run_once(false).value_or(1), 0U);
      EXPECT_EQ(take(event), 0U);
    }).join();
    // The filter was that thread's.
    settle(*reactor);
    EXPECT_EQ(take(event), 1U);
    pollfd waits{reactor->fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&waits, 1, 0), 0) << "nothing is to be done any more";
  }
}

TEST(EpollReactor, KnowsEventFdsWithoutProc) {
  std::thread([] {
    ASSERT_TRUE(forbid_system_call(__NR_readlink, ENOENT));
    const auto reactor = make_reactor();
    const auto [socket, peer] = socket_pair();
    EXPECT_TRUE(reactor->check_event_fd(event_fd().get()));
    EXPECT_EQ(reactor->counters().signals, 1U) << "it was recognized by its name";
    EXPECT_EQ(reactor->check_event_fd(socket.get()).error().value, EINVAL);
    EXPECT_EQ(reactor->check_event_fd(-1).error().value, EBADF);
  }).join();
}

TEST(EpollReactor, RoundsTimersUpOnOldKernels) {
  std::thread([] {
    ASSERT_TRUE(forbid_system_call(__NR_epoll_pwait2, ENOSYS));
    const auto reactor = make_reactor();
    for (const auto delay : {100us, 1500us, 20'000us}) {
      const TimePoint deadline = Clock::now() + delay;
      Probe probe;
      reactor->timer(probe.operation(), deadline);
      while (probe.calls == 0) ASSERT_TRUE(reactor->run_once(true));
      EXPECT_GE(Clock::now(), deadline);
    }
  }).join();
}

TEST(EpollReactor, ReportsThatItCannotWait) {
  std::thread([] {
    const auto reactor = make_reactor();
    ASSERT_TRUE(forbid_system_call(__NR_epoll_pwait2));
    ASSERT_TRUE(forbid_system_call(__NR_epoll_wait));
    EXPECT_EQ(reactor->run().error().value, EPERM);
    EXPECT_EQ(reactor->run_once(true).error().value, EPERM);
  }).join();
}

// ---- Its timers, beside a multimap

TEST(EpollTimers, AreDueInOrder) {
  epoll::RequestTable table;
  epoll::Timers timers(table);
  std::multimap<TimePoint, std::uint32_t> model;
  std::minstd_rand random(1);
  Probe probe;
  const auto at = [](std::uint64_t time) { return TimePoint(std::chrono::nanoseconds(time)); };
  for (int step = 0; step < 20'000; ++step) {
    switch (random() % 4) {
      case 0:
      case 1: {
        const TimePoint deadline = at(random() % 1000);
        const std::uint32_t index = table.add({.operation = &probe.operation(), .deadline = deadline});
        ASSERT_TRUE(timers.add(index));
        model.emplace(deadline, index);
        break;
      }
      case 2:
        if (!model.empty()) {
          const auto any = std::next(model.begin(), static_cast<int>(random() % model.size()));
          timers.remove(any->second);
          table.remove(any->second);
          model.erase(any);
        }
        break;
      default: {
        const TimePoint now = at(random() % 1000);
        for (std::uint32_t index; (index = timers.pop_due(now)) != epoll::Request::none;) {
          ASSERT_FALSE(model.empty());
          ASSERT_EQ(table[index].deadline, model.begin()->first);
          auto same = model.begin();
          while (same != model.end() && same->second != index) ++same;
          ASSERT_NE(same, model.end());
          model.erase(same);
          table.remove(index);
        }
        ASSERT_TRUE(model.empty() || model.begin()->first > now);
      }
    }
    ASSERT_EQ(timers.empty(), model.empty());
    if (!model.empty()) {
      ASSERT_EQ(timers.deadline(), model.begin()->first);
    }
  }
}

}  // namespace
}  // namespace epoll_reactor_test
}  // namespace vumedia::io::test
