// The laws of io/reactor.hpp as a typed suite, which runs for every reactor (INSTANTIATE_TYPED_TEST_SUITE_P).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <support/io.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/io/fd_passing.hpp>
#include <vumedia/io/reactor.hpp>

#include "support/patience.hpp"

namespace vumedia::io::test {

using namespace std::chrono_literals;

template <class R>
class ReactorLaws : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = R::create();
    ASSERT_TRUE(made) << made.error().message;
    reactor_ = std::move(*made);
  }

  // Runs the loop until `done` was called `count` times; a test that would hang fails.
  void run(int count = 1) {
    awaited_ = count;
    Probe watchdog([this] {
      ADD_FAILURE() << "nothing completed in time";
      reactor_->stop();
    });
    reactor_->timer(watchdog.operation(), Clock::now() + vumedia::test::patience);
    EXPECT_TRUE(reactor_->run());
    reactor_->cancel(watchdog.operation());
  }
  std::function<void()> done() {
    return [this] {
      if (--awaited_ == 0) reactor_->stop();
    };
  }
  // Lets everything complete that needs no outside help.
  void settle() {
    for (int turn = 0; turn < 3; ++turn) {
      Probe fence(done());
      reactor_->timer(fence.operation(), TimePoint::min());
      run();
    }
  }

  R& reactor() { return *reactor_; }

  std::unique_ptr<R> reactor_;
  int awaited_ = 0;
};

TYPED_TEST_SUITE_P(ReactorLaws);

TYPED_TEST_P(ReactorLaws, CompletesOnceAndLater) {
  const OwnedFd event = event_fd();
  add(event, 7);
  std::uint64_t count = 0;
  Probe probe(this->done());
  this->reactor().read(probe.operation(), event.get(), bytes_of(count));
  EXPECT_EQ(probe.calls, 0) << "called from within the start";
  EXPECT_TRUE(probe.pending());
  this->run();
  EXPECT_EQ(probe.calls, 1);
  EXPECT_EQ(probe.result, 8);
  EXPECT_EQ(count, 7U);
  EXPECT_FALSE(probe.pending());
  EXPECT_FALSE(probe.pending_in_handler);
  EXPECT_EQ(probe.thread, std::this_thread::get_id());
  add(event);
  this->settle();
  EXPECT_EQ(probe.calls, 1);
}

TYPED_TEST_P(ReactorLaws, WaitsForWhatIsNotThereYet) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const OwnedFd event = event_fd(flags);
    std::uint64_t count = 0;
    Probe probe(this->done());
    this->reactor().read(probe.operation(), event.get(), bytes_of(count));
    this->settle();
    EXPECT_EQ(probe.calls, 0);
    add(event, 3);
    this->run();
    EXPECT_EQ(probe.result, 8);
    EXPECT_EQ(count, 3U);
  }
  for (const int flags : {0, int{SOCK_NONBLOCK}}) {
    const auto [here, there] = socket_pair(flags);
    std::array<std::byte, 4> in{};
    ReceiveProbe probe(this->done());
    this->reactor().receive(probe.operation(), here.get(), in);
    this->settle();
    EXPECT_EQ(probe.calls, 0);
    ASSERT_EQ(::write(there.get(), "abc", 3), 3);
    this->run();
    EXPECT_EQ(probe.result, 3);
  }
  for (const int flags : {0, int{O_NONBLOCK}}) {
    const auto [here, there] = pipe_pair(flags);
    std::array<std::byte, 4> in{};
    Probe probe(this->done());
    this->reactor().read(probe.operation(), here.get(), in);
    this->settle();
    EXPECT_EQ(probe.calls, 0);
    ASSERT_EQ(::write(there.get(), "abcd", 4), 4);
    this->run();
    EXPECT_EQ(probe.result, 4);
  }
}

TYPED_TEST_P(ReactorLaws, AHandlerMayStartItsOperationAnew) {
  const OwnedFd event = event_fd();
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  std::optional<Probe> probe;
  probe.emplace([&] {
    sum += count;
    if (probe->calls == 100) return this->reactor().stop();
    this->reactor().read(probe->operation(), event.get(), bytes_of(count));
    add(event, 2);
  });
  this->reactor().read(probe->operation(), event.get(), bytes_of(count));
  add(event, 2);
  this->run();
  EXPECT_EQ(probe->calls, 100);
  EXPECT_EQ(sum, 200U);
}

TYPED_TEST_P(ReactorLaws, AHandlerMayDestroyItsOperation) {
  std::unique_ptr<Probe> probe;
  probe = std::make_unique<Probe>([&] {
    auto keep_the_closure = std::move(probe);
    this->reactor().stop();
  });
  this->reactor().timer(probe->operation(), TimePoint::min());
  this->run();
  EXPECT_EQ(probe, nullptr);
}

TYPED_TEST_P(ReactorLaws, CancelEndsWhatWaits) {
  // Once before the loop can have told the kernel, once after.
  for (const bool told : {false, true}) {
    const OwnedFd event = event_fd();
    auto count = std::make_unique<std::uint64_t>(0);
    Probe probe;
    this->reactor().read(probe.operation(), event.get(), bytes_of(*count));
    if (told) this->settle();
    this->reactor().cancel(probe.operation());
    EXPECT_FALSE(probe.pending());
    count.reset();  // a late write into it would be found by the address sanitizer
    add(event, 5);
    this->settle();
    EXPECT_EQ(probe.calls, 0);
    EXPECT_EQ(take(event), 5U) << "taken by a read that was cancelled";
  }
}

TYPED_TEST_P(ReactorLaws, CancelEndsEveryKind) {
  const auto [socket, peer] = socket_pair();
  const OwnedFd event = event_fd();
  add(event, ~std::uint64_t{0} - 1);  // full: a write waits
  const OwnedFd empty = event_fd();
  const std::uint64_t one = 1;
  std::array<std::byte, 8> in{};
  const std::vector<std::byte> much(4U << 20);  // more than the socket holds
  FdMessage<> outgoing;
  outgoing.prepare_send(much, std::span<const int>{});
  for (const bool told : {false, true}) {
    ReceiveProbe receive;
    Probe send, write, poll, timer;
    this->reactor().receive(receive.operation(), socket.get(), in);
    this->reactor().write(write.operation(), event.get(), std::as_bytes(std::span(&one, 1)));
    this->reactor().poll(poll.operation(), empty.get(), POLLIN);
    this->reactor().timer(timer.operation(), TimePoint::max());
    if (told) this->settle();
    for (Operation* operation : {static_cast<Operation*>(&receive.operation()), &write.operation(),
                                 &poll.operation(), &timer.operation()}) {
      EXPECT_TRUE(operation->pending());
      this->reactor().cancel(*operation);
      EXPECT_FALSE(operation->pending());
    }
    EXPECT_EQ(receive.calls + write.calls + poll.calls + timer.calls, 0);
    // A send may be partly done at once; what matters is that no handler is called.
    this->reactor().send(send.operation(), socket.get(), outgoing.header());
    this->reactor().cancel(send.operation());
    EXPECT_FALSE(send.pending());
    this->settle();
    EXPECT_EQ(send.calls + receive.calls + write.calls + poll.calls + timer.calls, 0);
  }
}

TYPED_TEST_P(ReactorLaws, CancelOfAnIdleOperationDoesNothing) {
  Probe probe;
  this->reactor().cancel(probe.operation());
  EXPECT_FALSE(probe.pending());
  this->settle();
  EXPECT_EQ(probe.calls, 0);
}

TYPED_TEST_P(ReactorLaws, ACancelledOperationStartsAfresh) {
  const OwnedFd first = event_fd();
  const OwnedFd second = event_fd();
  for (const bool told : {false, true}) {
    std::uint64_t count = 0;
    Probe probe(this->done());
    this->reactor().read(probe.operation(), first.get(), bytes_of(count));
    if (told) this->settle();
    this->reactor().cancel(probe.operation());
    this->reactor().read(probe.operation(), second.get(), bytes_of(count));
    add(second, 9);
    this->run();
    this->settle();
    EXPECT_EQ(probe.calls, 1);
    EXPECT_EQ(probe.result, 8);
    EXPECT_EQ(count, 9U);
  }
}

TYPED_TEST_P(ReactorLaws, AHandlerMayCancelWhatHasCompletedToo) {
  const OwnedFd event = event_fd();
  add(event);
  std::vector<std::unique_ptr<Probe>> probes;
  int calls = 0;
  for (int i = 0; i < 8; ++i)
    probes.push_back(std::make_unique<Probe>([&] {
      ++calls;
      for (auto& probe : probes) this->reactor().cancel(probe->operation());
    }));
  for (auto& probe : probes) this->reactor().poll(probe->operation(), event.get(), POLLIN);
  this->settle();
  EXPECT_EQ(calls, 1);
  // The same with destruction: the first to run takes all the others with it.
  calls = 0;
  std::vector<std::unique_ptr<Probe>> doomed;
  for (int i = 0; i < 8; ++i)
    doomed.push_back(std::make_unique<Probe>([&, i] {
      ++calls;
      for (int other = 0; other < 8; ++other) {
        if (other == i) continue;
        this->reactor().cancel(doomed[static_cast<std::size_t>(other)]->operation());
        doomed[static_cast<std::size_t>(other)].reset();
      }
    }));
  for (auto& probe : doomed) this->reactor().poll(probe->operation(), event.get(), POLLIN);
  this->settle();
  EXPECT_EQ(calls, 1);
}

TYPED_TEST_P(ReactorLaws, ABadDescriptorIsACompletion) {
  const OwnedFd event = event_fd();
  std::array<std::byte, 8> memory{};
  FdMessage<> message;
  message.prepare_send(memory, std::span<const int>{});
  constexpr int closed = 1'000'000;
  Probe read(this->done()), write(this->done()), poll(this->done()), send(this->done());
  ReceiveProbe receive(this->done());
  this->reactor().read(read.operation(), closed, memory);
  this->reactor().write(write.operation(), -1, memory);
  this->reactor().poll(poll.operation(), closed, POLLIN);
  this->reactor().receive(receive.operation(), event.get(), memory);
  this->reactor().send(send.operation(), closed, message.header());
  this->run(5);
  EXPECT_EQ(read.result, -EBADF);
  EXPECT_EQ(write.result, -EBADF);
  EXPECT_EQ(poll.result, -EBADF);
  EXPECT_EQ(receive.result, -ENOTSOCK);
  EXPECT_EQ(send.result, -EBADF);
  // One that is open, but not for this.
  const auto [reader, writer] = pipe_pair();
  Probe wrong_end(this->done());
  this->reactor().read(wrong_end.operation(), writer.get(), memory);
  this->run();
  EXPECT_EQ(wrong_end.result, -EBADF);
}

TYPED_TEST_P(ReactorLaws, EndOfFileAndABrokenPipe) {
  auto [here, there] = socket_pair();
  there.reset();
  std::array<std::byte, 8> memory{};
  FdMessage<> message;
  ReceiveProbe receive(this->done());
  Probe send(this->done());
  this->reactor().receive(receive.operation(), here.get(), memory);
  this->run();
  EXPECT_EQ(receive.result, 0);
  message.prepare_send(memory, std::span<const int>{});
  this->reactor().send(send.operation(), here.get(), message.header());  // a SIGPIPE would end the test
  this->run();
  EXPECT_EQ(send.result, -EPIPE);
}

TYPED_TEST_P(ReactorLaws, PollTellsTheMaskOnce) {
  auto [reader, writer] = pipe_pair();
  Probe readable(this->done()), writable(this->done()), hangup(this->done());
  this->reactor().poll(readable.operation(), reader.get(), POLLIN);
  this->reactor().poll(writable.operation(), writer.get(), POLLOUT);
  this->run();
  EXPECT_EQ(writable.result, POLLOUT);
  EXPECT_EQ(readable.calls, 0);
  ASSERT_EQ(::write(writer.get(), "x", 1), 1);
  this->run();
  EXPECT_EQ(readable.result, POLLIN);
  this->settle();
  EXPECT_EQ(readable.calls, 1);
  writer.reset();
  this->reactor().poll(hangup.operation(), reader.get(), POLLIN);
  this->run();
  EXPECT_EQ(hangup.result, POLLIN | POLLHUP);
}

TYPED_TEST_P(ReactorLaws, ATimerCompletesNotBeforeItsDeadline) {
  std::vector<int> order;
  const TimePoint begin = Clock::now();
  Probe late([&] { order.push_back(2), this->done()(); });
  Probe early([&] { order.push_back(1), this->done()(); });
  this->reactor().timer(late.operation(), begin + 40ms);
  this->reactor().timer(early.operation(), begin + 20ms);
  this->run(2);
  EXPECT_GE(Clock::now(), begin + 40ms);
  EXPECT_EQ(order, (std::vector{1, 2}));
  EXPECT_EQ(early.result, 0);
  EXPECT_EQ(late.result, 0);
}

TYPED_TEST_P(ReactorLaws, ADeadlineInThePastCompletesAtOnce) {
  for (const TimePoint deadline : {TimePoint::min(), TimePoint(), TimePoint(-1ns), Clock::now() - 1h}) {
    Probe probe(this->done());
    this->reactor().timer(probe.operation(), deadline);
    EXPECT_EQ(probe.calls, 0);
    this->run();
    EXPECT_EQ(probe.result, 0);
  }
}

TYPED_TEST_P(ReactorLaws, DescriptorsArriveCloseOnExec) {
  const auto [here, there] = socket_pair();
  const OwnedFd event = event_fd();
  std::array<std::byte, 1> memory{};
  FdMessage<> outgoing;
  const int sent = event.get();
  outgoing.prepare_send(memory, std::span(&sent, 1));
  ReceiveProbe receive(this->done());
  Probe send(this->done());
  this->reactor().receive(receive.operation(), here.get(), memory);
  this->reactor().send(send.operation(), there.get(), outgoing.header());
  this->run(2);
  EXPECT_EQ(send.result, 1);
  EXPECT_EQ(receive.result, 1);
  FdList fds;
  ASSERT_TRUE(receive.operation().collect(fds));
  ASSERT_EQ(fds.size(), 1U);
  EXPECT_EQ(::fcntl(fds.get(0), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  const OwnedFd arrived = fds.take(0);
  add(arrived, 4);
  EXPECT_EQ(take(event), 4U);
}

// Each way in which a receive ends without its handler, in each state that it may be in.
TYPED_TEST_P(ReactorLaws, DescriptorsThatNoHandlerTakesAreClosed) {
  enum State { not_submitted, submitted, completed };
  enum End { cancelled, destroyed, without_reactor };
  for (const State state : {not_submitted, submitted, completed}) {
    for (const End end : {cancelled, destroyed, without_reactor}) {
      SCOPED_TRACE("state " + std::to_string(state) + ", end " + std::to_string(end));
      if (this->reactor_ == nullptr) this->SetUp();
      auto [here, there] = socket_pair();
      const OwnedFd silent = event_fd();
      Travellers travellers(FdList::capacity);
      std::array<std::byte, 8> memory{};
      auto receive = std::make_unique<ReceiveProbe>();
      Probe other;
      if (state == not_submitted) travellers.send(there);
      this->reactor().receive(receive->operation(), here.get(), memory);
      this->reactor().poll(other.operation(), silent.get(), POLLIN);
      if (state != not_submitted) {
        this->settle();
        travellers.send(there);
      }
      // Completions that come while the reactor waits for this are kept for a handler.
      if (state == completed) this->reactor().cancel(other.operation());
      if (end == cancelled) this->reactor().cancel(receive->operation());
      if (end == destroyed) receive.reset();
      if (end == without_reactor) {
        this->reactor().cancel(other.operation());
        this->reactor_.reset();
      } else {
        this->reactor().cancel(other.operation());
        this->settle();
      }
      if (receive != nullptr) {
        EXPECT_FALSE(receive->pending());
        EXPECT_EQ(receive->calls, 0);
      }
      here.reset();
      there.reset();
      EXPECT_TRUE(travellers.all_closed());
    }
  }
}

TYPED_TEST_P(ReactorLaws, DescriptorsAreClosedIfAHandlerEndsTheirReceive) {
  for (const bool destroyed : {false, true}) {
    auto [here, there] = socket_pair();
    auto [here_too, there_too] = socket_pair();
    Travellers travellers(FdList::capacity);
    Travellers others(FdList::capacity);
    travellers.send(there);
    others.send(there_too);
    std::array<std::byte, 8> memory{};
    std::unique_ptr<ReceiveProbe> first, second;
    int calls = 0;
    const auto end = [&](std::unique_ptr<ReceiveProbe>& self, std::unique_ptr<ReceiveProbe>& other) {
      ++calls;
      FdList fds;
      EXPECT_TRUE(self->operation().collect(fds));
      EXPECT_EQ(fds.size(), FdList::capacity);
      if (destroyed)
        other.reset();
      else
        this->reactor().cancel(other->operation());
    };
    first = std::make_unique<ReceiveProbe>([&] { end(first, second); });
    second = std::make_unique<ReceiveProbe>([&] { end(second, first); });
    this->reactor().receive(first->operation(), here.get(), memory);
    this->reactor().receive(second->operation(), here_too.get(), memory);
    this->settle();
    EXPECT_EQ(calls, 1);
    for (OwnedFd* const fd : {&here, &there, &here_too, &there_too}) fd->reset();
    EXPECT_TRUE(travellers.all_closed());
    EXPECT_TRUE(others.all_closed());
  }
}

// The memory that the system call filled last time is not read again when a later one brings nothing.
TYPED_TEST_P(ReactorLaws, AFailedReceiveOwnsNothing) {
  const auto [here, there] = socket_pair();
  const OwnedFd event = event_fd();
  Travellers travellers(2);
  travellers.send(there);
  std::array<std::byte, 8> memory{};
  ReceiveProbe receive(this->done());
  this->reactor().receive(receive.operation(), here.get(), memory);
  this->run();
  FdList fds;
  ASSERT_TRUE(receive.operation().collect(fds));
  ASSERT_EQ(fds.size(), 2U);
  for (const int fd : {here.get(), event.get()}) {
    Probe other;
    this->reactor().receive(receive.operation(), fd, memory);
    this->reactor().poll(other.operation(), event.get(), POLLIN);
    if (fd == here.get()) this->settle();
    this->reactor().cancel(other.operation());
    this->reactor().cancel(receive.operation());
    EXPECT_GE(::fcntl(fds.get(0), F_GETFD), 0);
    EXPECT_GE(::fcntl(fds.get(1), F_GETFD), 0);
  }
}

TYPED_TEST_P(ReactorLaws, MoreOperationsThanAnyQueueHolds) {
  constexpr int count = 3000;
  const OwnedFd event = event_fd();
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < count; ++i) {
    probes.push_back(std::make_unique<Probe>(this->done()));
    if (i % 2 == 0)
      this->reactor().poll(probes.back()->operation(), event.get(), POLLIN);
    else
      this->reactor().timer(probes.back()->operation(), TimePoint::max());
  }
  this->settle();
  for (int i = 0; i < count; i += 3) this->reactor().cancel(probes[static_cast<std::size_t>(i)]->operation());
  add(event);  // completes all remaining polls together
  this->run(count / 2 - count / 6);
  for (int i = 0; i < count; ++i) {
    const Probe& probe = *probes[static_cast<std::size_t>(i)];
    EXPECT_EQ(probe.calls, i % 2 == 0 && i % 3 != 0 ? 1 : 0) << i;
    EXPECT_EQ(probe.pending(), i % 2 != 0 && i % 3 != 0) << i;
  }
  for (auto& probe : probes) this->reactor().cancel(probe->operation());
}

TYPED_TEST_P(ReactorLaws, WhatIsPendingOutlivesAStop) {
  const OwnedFd event = event_fd();
  std::uint64_t count = 0;
  Probe probe(this->done());
  this->reactor().read(probe.operation(), event.get(), bytes_of(count));
  this->reactor().stop();
  EXPECT_TRUE(this->reactor().run());  // returns at once
  EXPECT_TRUE(probe.pending());
  EXPECT_EQ(probe.calls, 0);
  add(event, 6);
  this->run();
  EXPECT_EQ(probe.calls, 1);
  EXPECT_EQ(count, 6U);
}

TYPED_TEST_P(ReactorLaws, AnotherThreadStops) {
  for (int round = 0; round < 50; ++round) {
    std::thread other([&] { this->reactor().stop(); });
    EXPECT_TRUE(this->reactor().run());
    other.join();
  }
}

TYPED_TEST_P(ReactorLaws, TasksOfOtherThreadsRunHereAndInOrder) {
  constexpr int posts = 500;
  std::array<std::vector<int>, 3> seen;
  std::vector<std::thread> threads;
  const auto here = std::this_thread::get_id();
  for (std::size_t t = 0; t < seen.size(); ++t)
    threads.emplace_back([&, t, inbox = std::shared_ptr<Inbox>(this->reactor().inbox())] {
      for (int i = 0; i < posts; ++i)
        EXPECT_TRUE(inbox->post([&, t, i] {
          EXPECT_EQ(std::this_thread::get_id(), here);
          seen[t].push_back(i);
          this->done()();
        }));
    });
  this->run(posts * static_cast<int>(seen.size()));
  for (auto& thread : threads) thread.join();
  for (const auto& order : seen) {
    ASSERT_EQ(order.size(), std::size_t{posts});
    for (int i = 0; i < posts; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  }
}

TYPED_TEST_P(ReactorLaws, TheInboxOutlivesTheLoop) {
  const std::shared_ptr<Inbox> inbox = this->reactor().inbox();
  bool ran = false;
  EXPECT_TRUE(inbox->post([&] { ran = true; }));
  this->reactor_.reset();
  EXPECT_FALSE(inbox->post([&] { ran = true; }));
  EXPECT_FALSE(ran);
}

// Event fds as QEMU (non-blocking) and crosvm (blocking) have them.
TYPED_TEST_P(ReactorLaws, ANotifierSignals) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const OwnedFd event = event_fd(flags);
    auto notifier = this->reactor().make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    this->settle();
    take(event);  // making a notifier may signal once
    notifier->signal();
    this->settle();
    EXPECT_EQ(take(event), 1U);
    this->settle();
    EXPECT_EQ(take(event), 0U);
    for (int i = 0; i < 100; ++i) notifier->signal();
    this->settle();
    const std::uint64_t seen = take(event);
    EXPECT_GE(seen, 1U);
    EXPECT_LE(seen, 100U);
    // Signals that the peer has not consumed are not lost.
    for (int i = 0; i < 300; ++i) {
      notifier->signal();
      if (i % 100 == 0) this->settle();
    }
    this->settle();
    EXPECT_GE(take(event), 1U);
  }
}

TYPED_TEST_P(ReactorLaws, ANotifierNeverBlocksOnAFullCounter) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const OwnedFd event = event_fd(flags);
    auto notifier = this->reactor().make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    take(event);
    add(event, ~std::uint64_t{0} - 1);
    for (int i = 0; i < 20; ++i) {
      notifier->signal();
      this->settle();
    }
    EXPECT_GE(take(event), ~std::uint64_t{0} - 1);
    notifier->signal();
    this->settle();
    EXPECT_EQ(take(event), 1U) << "a full counter must not leave anything behind";
  }
}

TYPED_TEST_P(ReactorLaws, ANotifierThatGoesStillDelivers) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const OwnedFd event = event_fd(flags);
    auto notifier = this->reactor().make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    take(event);
    const int number = notifier->fd();
    notifier->signal();
    typename TypeParam::Notifier moved = std::move(*notifier);
    {
      const auto gone = std::exchange(moved, typename TypeParam::Notifier());
    }
    // Its descriptor's number is reused for another file, which the signal must not reach.
    const OwnedFd other = event_fd(flags);
    EXPECT_EQ(other.get(), number);
    this->settle();
    EXPECT_EQ(take(other), 0U);
    EXPECT_EQ(take(event), 1U);
  }
}

TYPED_TEST_P(ReactorLaws, NotifiersOfOneEventFd) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    const OwnedFd event = event_fd(flags);
    auto first = this->reactor().make_notifier(std::move(*event.duplicate()));
    auto second = this->reactor().make_notifier(std::move(*event.duplicate()));
    ASSERT_TRUE(first && second);
    this->settle();
    take(event);
    first->signal();
    second->signal();
    this->settle();
    EXPECT_EQ(take(event), 2U);
  }
}

TYPED_TEST_P(ReactorLaws, ANotifierIsForEventFdsOnly) {
  for (const int flags : {0, int{O_NONBLOCK}}) {
    auto [reader, writer] = pipe_pair(flags);
    EXPECT_EQ(this->reactor().check_event_fd(reader.get()).error().value, EINVAL);
    const auto pipe = this->reactor().make_notifier(std::move(writer));
    ASSERT_FALSE(pipe);
    EXPECT_EQ(pipe.error().value, EINVAL);
  }
  const auto file = this->reactor().make_notifier(std::move(*make_sealed_memfd("not an event fd", 4096)));
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().value, EINVAL);
  const auto none = this->reactor().make_notifier(OwnedFd());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().value, EBADF);
  EXPECT_EQ(this->reactor().check_event_fd(-1).error().value, EBADF);
  EXPECT_TRUE(this->reactor().check_event_fd(event_fd().get()));
}

REGISTER_TYPED_TEST_SUITE_P(ReactorLaws, CompletesOnceAndLater, WaitsForWhatIsNotThereYet,
                            AHandlerMayStartItsOperationAnew, AHandlerMayDestroyItsOperation,
                            CancelEndsWhatWaits, CancelEndsEveryKind, CancelOfAnIdleOperationDoesNothing,
                            ACancelledOperationStartsAfresh, AHandlerMayCancelWhatHasCompletedToo,
                            ABadDescriptorIsACompletion, EndOfFileAndABrokenPipe, PollTellsTheMaskOnce,
                            ATimerCompletesNotBeforeItsDeadline, ADeadlineInThePastCompletesAtOnce,
                            DescriptorsArriveCloseOnExec, DescriptorsThatNoHandlerTakesAreClosed,
                            DescriptorsAreClosedIfAHandlerEndsTheirReceive, AFailedReceiveOwnsNothing,
                            MoreOperationsThanAnyQueueHolds, WhatIsPendingOutlivesAStop, AnotherThreadStops,
                            TasksOfOtherThreadsRunHereAndInOrder, TheInboxOutlivesTheLoop, ANotifierSignals,
                            ANotifierNeverBlocksOnAFullCounter, ANotifierThatGoesStillDelivers,
                            NotifiersOfOneEventFd, ANotifierIsForEventFdsOnly);

}  // namespace vumedia::io::test
