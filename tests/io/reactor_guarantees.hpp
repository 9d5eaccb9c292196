// What every reactor of the library guarantees beyond the laws of io/reactor.hpp: how its turns, its signals
// and its end are, and that another loop can drive it. A typed suite like reactor_laws.hpp.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <support/io.hpp>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vumedia/io/reactor.hpp>

#include "support/patience.hpp"

namespace vumedia::io::test {

template <class R>
class ReactorGuarantees : public ::testing::Test {
 protected:
  static std::unique_ptr<R> make() {
    auto made = R::create();
    EXPECT_TRUE(made);
    return made ? std::move(*made) : nullptr;
  }
  static void settle(R& reactor) {
    while (reactor.run_once(false).value_or(0) > 0) {
    }
  }
  // Waits as a loop would that knows nothing of the reactor. False after a long time without anything.
  static bool wait_for(R& reactor) {
    if (reactor.run_once(false).value_or(0) != 0) return true;
    pollfd waits{reactor.fd(), POLLIN, 0};
    return ::poll(&waits, 1, vumedia::test::poll_patience) == 1;
  }
};

TYPED_TEST_SUITE_P(ReactorGuarantees);

TYPED_TEST_P(ReactorGuarantees, SignalsCoalesceUntilTheTurnEnds) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const auto reactor = this->make();
    const OwnedFd event = event_fd(flags);
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    this->settle(*reactor);
    take(event);
    for (int i = 0; i < 1000; ++i) notifier->signal();
    EXPECT_EQ(take(event), 0U);
    this->settle(*reactor);
    EXPECT_EQ(take(event), 1U);
    // A signal after that is a separate one.
    notifier->signal();
    this->settle(*reactor);
    EXPECT_EQ(take(event), 1U);
  }
}

TYPED_TEST_P(ReactorGuarantees, SignalsOfManyArriveTogether) {
  const auto reactor = this->make();
  std::vector<OwnedFd> events;
  std::vector<typename TypeParam::Notifier> notifiers;
  for (int i = 0; i < 200; ++i) {
    events.push_back(event_fd(i % 2 == 0 ? 0 : int{EFD_NONBLOCK}));
    auto notifier = reactor->make_notifier(std::move(*events.back().duplicate()));
    ASSERT_TRUE(notifier);
    notifiers.push_back(std::move(*notifier));
  }
  this->settle(*reactor);
  for (const OwnedFd& event : events) take(event);
  for (int round = 0; round < 3; ++round) {
    for (auto& notifier : notifiers) notifier.signal();
    this->settle(*reactor);
    for (const OwnedFd& event : events) ASSERT_EQ(take(event), 1U);
  }
}

// The flag belongs to the open file, which the peer shares.
TYPED_TEST_P(ReactorGuarantees, APeerThatMakesItsEventFdBlockingBlocksNobody) {
  const auto reactor = this->make();
  const OwnedFd event = event_fd(EFD_NONBLOCK);
  auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
  ASSERT_TRUE(notifier);
  this->settle(*reactor);
  add(event, ~std::uint64_t{0} - 1 - take(event));
  ASSERT_EQ(::fcntl(event.get(), F_SETFL, 0), 0);
  for (int i = 0; i < 100; ++i) {
    notifier->signal();
    this->settle(*reactor);
  }
}

TYPED_TEST_P(ReactorGuarantees, TellsAnEventFdFromOtherFiles) {
  const auto reactor = this->make();
  for (const int flags : {0, int{EFD_NONBLOCK}, int{EFD_SEMAPHORE}}) {
    const OwnedFd event = event_fd(flags);
    EXPECT_TRUE(reactor->check_event_fd(event.get()));
    EXPECT_TRUE(reactor->check_event_fd(event.get())) << "still registered";
  }
  const auto [socket, peer] = socket_pair();
  EXPECT_EQ(reactor->check_event_fd(socket.get()).error().value, EINVAL);
  EXPECT_EQ(reactor->check_event_fd(-1).error().value, EBADF);
}

TYPED_TEST_P(ReactorGuarantees, ASignalHandlerInterruptsNothing) {
  struct sigaction action{};
  struct sigaction previous{};
  action.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &previous), 0);
  const auto reactor = this->make();
  const pthread_t here = ::pthread_self();
  std::atomic<bool> enough{false};
  std::thread other([&] {
    while (!enough) ::pthread_kill(here, SIGUSR1), ::usleep(500);
  });
  Probe probe([&] { reactor->stop(); });
  reactor->timer(probe.operation(), Clock::now() + std::chrono::milliseconds(50));
  EXPECT_TRUE(reactor->run());
  enough = true;
  other.join();
  EXPECT_EQ(probe.calls, 1);
  EXPECT_EQ(probe.result, 0);
  ::sigaction(SIGUSR1, &previous, nullptr);
}

TYPED_TEST_P(ReactorGuarantees, ReleasesMemoryThatWasLeftPending) {
  const OwnedFd event = event_fd();
  const auto [here, there] = socket_pair();
  auto reactor = this->make();
  auto count = std::make_unique<std::uint64_t>(0);
  std::array<std::byte, 8> in{};
  ReceiveProbe receive;
  Probe read, timer, queued;
  reactor->read(read.operation(), event.get(), bytes_of(*count));
  reactor->receive(receive.operation(), here.get(), in);
  reactor->timer(timer.operation(), TimePoint::max());
  this->settle(*reactor);
  reactor->poll(queued.operation(), event.get(), POLLIN);  // not submitted yet
  reactor.reset();
  count.reset();
  add(event, 3);
  EXPECT_EQ(take(event), 3U) << "somebody still reads";
  EXPECT_EQ(read.calls + receive.calls + timer.calls + queued.calls, 0);
}

TYPED_TEST_P(ReactorGuarantees, LeavesNoDescriptorBehind) {
  const int next = event_fd().get();
  for (int i = 0; i < 10; ++i) {
    const auto reactor = this->make();
    const OwnedFd event = event_fd(0);
    auto notifier = reactor->make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    notifier->signal();
  }
  EXPECT_EQ(event_fd().get(), next);
}

TYPED_TEST_P(ReactorGuarantees, OneThatIsAlwaysReadyDoesNotShutOutOthers) {
  const auto reactor = this->make();
  const auto [here, there] = socket_pair();
  const OwnedFd event = event_fd();
  const std::byte byte{};
  FdMessage<> message;
  std::array<std::byte, 64> in{};
  std::optional<Probe> sender;
  sender.emplace([&] {
    while (::read(there.get(), in.data(), in.size()) == ssize_t{in.size()}) {
    }
    message.prepare_send(std::span(&byte, 1), std::span<const int>{});
    reactor->send(sender->operation(), here.get(), message.header());
  });
  message.prepare_send(std::span(&byte, 1), std::span<const int>{});
  reactor->send(sender->operation(), here.get(), message.header());
  Probe other([&] { reactor->stop(); });
  reactor->poll(other.operation(), event.get(), POLLIN);
  add(event);
  EXPECT_TRUE(reactor->run());
  EXPECT_EQ(other.calls, 1);
  reactor->cancel(sender->operation());
}

TYPED_TEST_P(ReactorGuarantees, ASocketIsReadAndWrittenAtTheSameTime) {
  const auto reactor = this->make();
  const auto [here, there] = socket_pair();
  const std::vector<std::byte> much(4U << 20);  // more than the socket holds
  FdMessage<> outgoing;
  std::array<std::byte, 16> in{};
  ReceiveProbe receive;
  Probe first, second;
  reactor->receive(receive.operation(), here.get(), in);
  outgoing.prepare_send(much, std::span<const int>{});
  // Until one waits for room.
  for (int i = 0; i < 100 && !second.pending(); ++i) {
    reactor->send(second.operation(), here.get(), outgoing.header());
    this->settle(*reactor);
  }
  ASSERT_TRUE(second.pending());
  ASSERT_TRUE(receive.pending());
  ASSERT_EQ(::write(there.get(), "abc", 3), 3);
  this->settle(*reactor);
  EXPECT_EQ(receive.result, 3);
  EXPECT_TRUE(second.pending());
  std::vector<std::byte> taken(1U << 20);
  while (second.pending()) {
    ASSERT_GT(::recv(there.get(), taken.data(), taken.size(), MSG_DONTWAIT), 0);
    this->settle(*reactor);
  }
  EXPECT_GT(second.result, 0);
}

// ---- In a foreign loop

TYPED_TEST_P(ReactorGuarantees, WakesALoopThatWaitsForItsDescriptor) {
  const auto reactor = std::move(*TypeParam::create_for_other_loop());
  ASSERT_GE(reactor->fd(), 0);

  // By what completes by itself, by another thread, and by a peer.
  for (int i = 0; i < 5; ++i) {
    Probe timer, later;
    reactor->timer(later.operation(), TimePoint::max());
    reactor->timer(timer.operation(), Clock::now() + std::chrono::milliseconds(5));
    while (timer.calls == 0) ASSERT_TRUE(this->wait_for(*reactor));
    reactor->cancel(later.operation());
  }

  const auto inbox = reactor->inbox();
  bool posted = false;
  std::thread other([&] { inbox->post([&] { posted = true; }); });
  while (!posted) ASSERT_TRUE(this->wait_for(*reactor));
  other.join();

  for (int round = 0; round < 10; ++round) {
    const auto event = make_event_fd();
    ASSERT_TRUE(event);
    Probe readable;
    reactor->poll(readable.operation(), event->get(), POLLIN);
    this->settle(*reactor);
    std::thread peer([&] { ::eventfd_write(event->get(), 1); });
    while (readable.calls == 0) ASSERT_TRUE(this->wait_for(*reactor));
    peer.join();
  }
}

TYPED_TEST_P(ReactorGuarantees, HasNoDescriptorForOthersUnlessItIsMadeForThem) {
  EXPECT_EQ(this->make()->fd(), -1);
}

REGISTER_TYPED_TEST_SUITE_P(ReactorGuarantees, SignalsCoalesceUntilTheTurnEnds, SignalsOfManyArriveTogether,
                            APeerThatMakesItsEventFdBlockingBlocksNobody, TellsAnEventFdFromOtherFiles,
                            ASignalHandlerInterruptsNothing, ReleasesMemoryThatWasLeftPending,
                            LeavesNoDescriptorBehind, OneThatIsAlwaysReadyDoesNotShutOutOthers,
                            ASocketIsReadAndWrittenAtTheSameTime, WakesALoopThatWaitsForItsDescriptor,
                            HasNoDescriptorForOthersUnlessItIsMadeForThem);

}  // namespace vumedia::io::test
