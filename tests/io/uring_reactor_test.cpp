// UringReactor: the laws of every reactor, and its further guarantees.
#include <cstddef>
#include <fstream>
#include <iterator>
#include <thread>

#include <dirent.h>
#include <io/reactor_guarantees.hpp>
#include <io/reactor_laws.hpp>
#include <sys/syscall.h>

#include <vumedia/io/uring_reactor.hpp>

#include "support/forbidden.hpp"
#include "support/patience.hpp"

namespace vumedia::io::test {

INSTANTIATE_TYPED_TEST_SUITE_P(Uring, ReactorLaws, ::testing::Types<UringReactor>);
INSTANTIATE_TYPED_TEST_SUITE_P(Uring, ReactorGuarantees, ::testing::Types<UringReactor>);

namespace {

std::unique_ptr<UringReactor> make_reactor(unsigned entries = 128) {
  auto made = UringReactor::create(entries);
  EXPECT_TRUE(made);
  return made ? std::move(*made) : nullptr;
}

// Kernel threads that work for this process's rings.
int ring_workers() {
  int count = 0;
  DIR* const tasks = ::opendir("/proc/self/task");
  EXPECT_NE(tasks, nullptr);
  while (tasks != nullptr) {
    const dirent* const entry = ::readdir(tasks);
    if (entry == nullptr) break;
    std::ifstream file("/proc/self/task/" + std::string(entry->d_name) + "/comm");
    std::string name;
    std::getline(file, name);
    if (name.starts_with("iou-")) ++count;
  }
  if (tasks != nullptr) ::closedir(tasks);
  return count;
}

void settle(UringReactor& reactor) {
  while (reactor.run_once(false).value_or(0) > 0) {
  }
}

TEST(UringReactor, RefusesNoNumberOfEntries) {
  for (const unsigned entries : {0U, 1U, 3U, 100'000U}) {
    const auto reactor = make_reactor(entries);
    Probe probe;
    reactor->timer(probe.operation(), TimePoint::min());
    reactor->run_once(true);
    EXPECT_EQ(probe.calls, 1);
  }
}

TEST(UringReactor, ServesARoundTripWithOneSystemCall) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const auto reactor = make_reactor();
    const OwnedFd kick = event_fd(flags);
    const OwnedFd call = event_fd(flags);
    auto notifier = reactor->make_notifier(std::move(*call.duplicate()));
    ASSERT_TRUE(notifier);
    std::uint64_t count = 0;
    std::optional<Probe> probe;
    probe.emplace([&] {
      notifier->signal();
      reactor->read(probe->operation(), kick.get(), bytes_of(count));
    });
    reactor->read(probe->operation(), kick.get(), bytes_of(count));
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
    // One for each, one for the stop, and those that another signal may interrupt.
    EXPECT_LE(after.enters - before.enters, std::uint64_t{rounds + 5});
    EXPECT_EQ(ring_workers(), 0);
    reactor->cancel(probe->operation());
  }
}

TEST(UringReactor, ASignalDoesNotEndTheWait) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const auto reactor = make_reactor();
    const OwnedFd event = event_fd(flags);
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    settle(*reactor);
    const TimePoint deadline = Clock::now() + 30ms;
    Probe probe;
    reactor->timer(probe.operation(), deadline);
    notifier->signal();
    const auto enters = reactor->counters().enters;
    reactor->run_once(true);
    EXPECT_EQ(reactor->counters().enters, enters + 1);
    EXPECT_EQ(probe.calls, 1);
    EXPECT_GE(Clock::now(), deadline);
  }
}

TEST(UringReactor, FullCountersNeedNoKernelThread) {
  const auto reactor = make_reactor();
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const OwnedFd event = event_fd(flags);
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    take(event);
    add(event, ~std::uint64_t{0} - 1);
    for (int i = 0; i < 100; ++i) {
      notifier->signal();
      settle(*reactor);
    }
    EXPECT_EQ(ring_workers(), 0);
  }
}

// The flag belongs to the open file, which the peer shares.
TEST(UringReactor, APeerThatMakesItsEventFdBlockingNeedsNoKernelThread) {
  const auto reactor = make_reactor();
  const OwnedFd event = event_fd(EFD_NONBLOCK);
  auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
  ASSERT_TRUE(notifier);
  settle(*reactor);
  add(event, ~std::uint64_t{0} - 1 - take(event));
  ASSERT_EQ(::fcntl(event.get(), F_SETFL, 0), 0);
  for (int i = 0; i < 100; ++i) {
    notifier->signal();
    settle(*reactor);
  }
  EXPECT_EQ(ring_workers(), 0);
}

TEST(UringReactor, ManyNotifiersOnASmallRing) {
  const auto reactor = make_reactor(2);
  const OwnedFd event = event_fd(0);
  std::vector<UringReactor::Notifier> notifiers;
  for (int i = 0; i < 40; ++i) {
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    notifiers.push_back(std::move(*notifier));
  }
  take(event);
  for (auto& notifier : notifiers) notifier.signal();
  settle(*reactor);
  EXPECT_EQ(take(event), 40U);
  for (auto& notifier : notifiers) notifier.signal();
  notifiers.clear();
  EXPECT_EQ(take(event), 40U);
}

TEST(UringReactor, MoreCompletionsAtOnceThanTheRingHolds) {
  const auto reactor = make_reactor(1);
  const OwnedFd event = event_fd();
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 500; ++i) {
    probes.push_back(std::make_unique<Probe>());
    reactor->poll(probes.back()->operation(), event.get(), POLLIN);
  }
  settle(*reactor);
  add(event);
  settle(*reactor);
  for (const auto& probe : probes) EXPECT_EQ(probe->calls, 1);
}

TEST(UringReactor, CancelGathersWhatElseCompletes) {
  const auto reactor = make_reactor();
  const OwnedFd ready = event_fd();
  const OwnedFd waiting = event_fd();
  add(ready);
  Probe first, second;
  reactor->poll(second.operation(), waiting.get(), POLLIN);
  settle(*reactor);
  reactor->poll(first.operation(), ready.get(), POLLIN);
  reactor->cancel(second.operation());  // submits both requests and waits
  EXPECT_FALSE(second.pending());
  EXPECT_TRUE(first.pending());
  EXPECT_EQ(first.calls, 0) << "a handler ran within cancel";
  EXPECT_EQ(reactor->run_once(false).value_or(0), 1U);
  EXPECT_EQ(first.calls, 1);
}

// Where the kernel refuses io_uring_enter, whoever runs the loop is told, and nothing hangs.

TEST(UringReactor, ReportsThatItRunsOnAnotherThread) {
  const auto reactor = make_reactor();
  Result<std::size_t> turn = 0;
  Result<> ran;
  std::thread([&] {
    turn = reactor->run_once(false);
    if (!turn) ran = reactor->run();
  }).join();
  if (turn) GTEST_SKIP() << "this kernel lets every thread use a ring";
  const auto is_refusal = [](Errno error) { return error.value == EINVAL || error.value == EEXIST; };
  EXPECT_TRUE(is_refusal(turn.error()));
  ASSERT_FALSE(ran);
  EXPECT_TRUE(is_refusal(ran.error()));
  // On its own thread it goes on.
  Probe probe([&] { reactor->stop(); });
  reactor->timer(probe.operation(), TimePoint::min());
  EXPECT_TRUE(reactor->run());
  EXPECT_EQ(probe.calls, 1);
}

TEST(UringReactor, SurvivesASandboxThatForbidsItsCall) {
  std::thread([] {
    const OwnedFd event = event_fd();
    const auto [here, there] = socket_pair();
    std::uint64_t count = 0;
    std::array<std::byte, 8> in{};
    Probe submitted, queued;
    const auto reactor = make_reactor(4);
    auto receive = std::make_unique<ReceiveProbe>();
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    reactor->read(submitted.operation(), event.get(), bytes_of(count));
    reactor->receive(receive->operation(), here.get(), in);
    settle(*reactor);
    ASSERT_TRUE(vumedia::test::forbid_system_call(__NR_io_uring_enter));
    const auto ran = reactor->run();
    ASSERT_FALSE(ran);
    EXPECT_EQ(ran.error().value, EPERM);
    // More than the queue holds.
    reactor->poll(queued.operation(), event.get(), POLLIN);
    std::vector<std::unique_ptr<Probe>> many;
    for (int i = 0; i < 10; ++i) {
      many.push_back(std::make_unique<Probe>());
      reactor->timer(many.back()->operation(), TimePoint::max());
    }
    notifier->signal();
    const auto turn = reactor->run_once(true);
    ASSERT_FALSE(turn);
    EXPECT_EQ(turn.error().value, EPERM);
    // All of it can be cancelled and destroyed.
    reactor->cancel(submitted.operation());
    EXPECT_FALSE(submitted.pending());
    reactor->cancel(queued.operation());
    for (const auto& each : many) {
      reactor->cancel(each->operation());
      EXPECT_FALSE(each->pending());
    }
    receive.reset();
    EXPECT_EQ(submitted.calls + queued.calls, 0);
  }).join();
}

}  // namespace
}  // namespace vumedia::io::test
