// A ring and its transitions, on its own.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/vhost_user/ring.hpp>

#include "vhost_user/guest_rings.hpp"

namespace vumedia::vhost_user::test::ring_test {
namespace {

using io::test::add;
using io::test::take;

class RingTest : public ::testing::Test {
 protected:
  using Ring = vhost_user::Ring<io::UringReactor>;

  static void on_kick(io::Operation& operation, std::int32_t result) noexcept {
    auto& wakeup = static_cast<Wakeup&>(operation);
    EXPECT_EQ(wakeup.index, 1);
    static_cast<RingTest*>(wakeup.owner)->results.push_back(result);
  }
  // With everything that a frontend sends before the kick descriptor.
  void configure() {
    guest.configure(ring);
    EXPECT_TRUE(ring.set_kick(copy(guest.kick[1])));
  }
  void start() {
    configure();
    const auto started = ring.start(*guest.table, features);
    EXPECT_TRUE(started) << started.error().message;
  }
  void run() {
    start();
    ring.run();
  }
  // Whether a kick now reaches the ring.
  bool hears() {
    settle(*reactor);
    results.clear();
    add(guest.kick[1]);
    settle(*reactor);
    take(guest.kick[1]);
    return results.size() == 1;
  }

  std::unique_ptr<io::UringReactor> reactor = make_reactor();
  GuestRings guest;
  RingFeatures features{.event_idx = true, .indirect = true};
  std::vector<std::int32_t> results;
  Ring ring{*reactor, &on_kick, this, 1};
};

TEST_F(RingTest, IsStoppedAtFirst) {
  EXPECT_EQ(ring.state(), RingState::stopped);
  EXPECT_FALSE(ring.started() || ring.running() || ring.failed() || ring.was_running());
  EXPECT_FALSE(ring.enabled());
  EXPECT_FALSE(ring.stopped_at());
  EXPECT_EQ(ring.index(), 1);
}

TEST_F(RingTest, IsHeardWhileItRuns) {
  start();
  EXPECT_EQ(ring.state(), RingState::started);
  EXPECT_FALSE(hears());
  ring.run();
  EXPECT_EQ(ring.state(), RingState::running);
  EXPECT_TRUE(ring.was_running());
  EXPECT_TRUE(hears());
  EXPECT_FALSE(hears()) << "it waits for one kick only";
  EXPECT_EQ(ring.woken(8), Ring::Wake::process);
  ring.arm();
  EXPECT_TRUE(hears());
}

TEST_F(RingTest, IsNotHeardWhileItIsSuspended) {
  run();
  EXPECT_TRUE(ring.suspend());
  EXPECT_EQ(ring.state(), RingState::started);
  EXPECT_TRUE(ring.was_running());
  EXPECT_FALSE(hears());
  EXPECT_FALSE(ring.suspend()) << "it was not running";
  ring.run();
  EXPECT_TRUE(hears());
}

TEST_F(RingTest, KeepsItsKickWhenItIsWithdrawn) {
  start();
  ring.withdraw();
  EXPECT_EQ(ring.state(), RingState::stopped);
  EXPECT_FALSE(ring.stopped_at());
  ASSERT_TRUE(ring.start(*guest.table, features));
  ring.run();
  EXPECT_TRUE(hears());
}

TEST_F(RingTest, RemembersWhereItStopped) {
  run();
  guest.offer(1);
  EXPECT_TRUE(ring.queue().pop(*guest.table));
  ring.suspend();
  ring.stop();
  EXPECT_EQ(ring.state(), RingState::stopped);
  ASSERT_TRUE(ring.stopped_at());
  EXPECT_EQ(ring.stopped_at()->base, 1);
  EXPECT_EQ(ring.stopped_at()->size, GuestRings::size);
  EXPECT_EQ(ring.stopped_at()->place, ring.place());
  EXPECT_EQ(ring.place().descriptors, guest.queues[1].descriptors());
  EXPECT_TRUE(ring.was_running()) << "until the next start";
  EXPECT_EQ(ring.base(), 1);
  ring.forget_stop();
  EXPECT_FALSE(ring.stopped_at());
  EXPECT_FALSE(hears());
  // It has no kick descriptor now, and is looked at in intervals.
  ASSERT_TRUE(ring.start(*guest.table, features));
  EXPECT_FALSE(ring.was_running());
  ring.run();
  results.clear();
  reactor->run_once(true);
  EXPECT_EQ(results, std::vector<std::int32_t>{0});
}

TEST_F(RingTest, SaysWhyItCannotStart) {
  const auto why = [&](const memory::GuestMemory& memory) {
    const auto started = ring.start(memory, features);
    EXPECT_FALSE(started);
    EXPECT_EQ(ring.state(), RingState::stopped);
    return started ? std::string() : std::to_string(started.error().code) + " " + started.error().message;
  };
  const auto number = [](int code) { return std::to_string(code) + " "; };
  EXPECT_EQ(why(*guest.table), number(EINVAL) + "queue 1 has no size or no addresses yet");
  ASSERT_TRUE(ring.set_size(GuestRings::size));
  EXPECT_EQ(why(*guest.table), number(EINVAL) + "queue 1 has no size or no addresses yet");
  ring.set_addresses(guest.addresses(1));
  EXPECT_EQ(why(*memory::GuestMemory::empty()),
            number(EFAULT) + "the rings of queue 1 are not in guest memory");
  RingAddresses moved = guest.addresses(1);
  moved.used.value = guest.ram.frontend() + guest.ram.size() - 8;
  ring.set_addresses(moved);
  EXPECT_EQ(why(*guest.table),
            number(EFAULT) + "the rings of queue 1 are not within a region of guest memory");
  moved = guest.addresses(1);
  moved.descriptors.value += 8;
  ring.set_addresses(moved);
  EXPECT_EQ(why(*guest.table),
            number(EINVAL) + "queue 1 cannot start: no memory, or its rings are not aligned");
  EXPECT_FALSE(ring.set_size(3));
  ring.set_addresses(guest.addresses(1));
  EXPECT_TRUE(ring.start(*guest.table, features));
}

TEST_F(RingTest, TellsThatItHasFailed) {
  run();
  ASSERT_TRUE(ring.set_err(copy(guest.err[1])));
  settle(*reactor);
  EXPECT_EQ(take(guest.err[1]), 0U);
  ring.fail();
  EXPECT_EQ(ring.state(), RingState::failed);
  EXPECT_TRUE(ring.started());
  EXPECT_FALSE(ring.running());
  EXPECT_FALSE(hears());
  EXPECT_EQ(take(guest.err[1]), 1U);
  // Another descriptor is told as well.
  ASSERT_TRUE(ring.set_err(copy(guest.err[0])));
  settle(*reactor);
  EXPECT_EQ(take(guest.err[0]), 1U);
  ring.stop();
  EXPECT_EQ(ring.state(), RingState::stopped);
  ASSERT_TRUE(ring.set_err(copy(guest.err[1])));
  settle(*reactor);
  EXPECT_EQ(take(guest.err[1]), 0U);
  ASSERT_TRUE(ring.set_err({}));
}

// A ring that was never served can be set up anew without a stop.
TEST_F(RingTest, TellsOfAFailureUntilItStartsAgain) {
  start();
  ring.fail();
  ring.withdraw();
  ASSERT_TRUE(ring.set_err(copy(guest.err[1])));
  settle(*reactor);
  EXPECT_EQ(take(guest.err[1]), 1U);
  start();
  EXPECT_EQ(ring.state(), RingState::started);
  ASSERT_TRUE(ring.set_err(copy(guest.err[0])));
  settle(*reactor);
  EXPECT_EQ(take(guest.err[0]), 0U);
  // Neither does a reset leave anything to tell.
  ring.fail();
  settle(*reactor);
  EXPECT_EQ(take(guest.err[0]), 1U);
  ring.reset();
  ASSERT_TRUE(ring.set_err(copy(guest.err[1])));
  settle(*reactor);
  EXPECT_EQ(take(guest.err[1]), 0U);
}

TEST_F(RingTest, DoesNotFailWhileItIsStopped) {
  ASSERT_TRUE(ring.set_err(copy(guest.err[1])));
  ring.fail();
  EXPECT_EQ(ring.state(), RingState::stopped);
  start();
  EXPECT_EQ(ring.state(), RingState::started);
}

TEST_F(RingTest, InterruptsOrOwesAnInterrupt) {
  run();
  const auto give = [&] {
    guest.offer(1);
    auto popped = ring.queue().pop(*guest.table);
    ASSERT_TRUE(popped);
    EXPECT_TRUE(ring.queue().push(*guest.table, popped->head(), 0));
    ring.flush(*guest.table);
    EXPECT_FALSE(guest.queues[1].pop_used()->value_or(virtio::Used{9, 0}).head == 9);
    static_cast<void>(guest.queues[1].enable_interrupts());
    settle(*reactor);
  };
  give();  // nobody can be told yet
  ASSERT_TRUE(ring.set_call(copy(guest.call[1])));
  settle(*reactor);
  EXPECT_EQ(take(guest.call[1]), 1U);
  give();
  EXPECT_EQ(take(guest.call[1]), 1U);
  // The last one may have gone to a descriptor that nobody looked at any more.
  ASSERT_TRUE(ring.set_call(copy(guest.call[0])));
  settle(*reactor);
  EXPECT_EQ(take(guest.call[0]), 1U);
  EXPECT_EQ(take(guest.call[1]), 0U);
  // Also if there is none for a while.
  ASSERT_TRUE(ring.set_call({}));
  ASSERT_TRUE(ring.set_call(copy(guest.call[1])));
  settle(*reactor);
  EXPECT_EQ(take(guest.call[1]), 1U);
}

TEST_F(RingTest, OwesNothingBeforeItHasRun) {
  start();
  for (const std::size_t i : {0U, 1U}) {
    ASSERT_TRUE(ring.set_call(copy(guest.call[i])));
    settle(*reactor);
    EXPECT_EQ(take(guest.call[i]), 0U);
  }
}

TEST_F(RingTest, TakesEventFdsOnly) {
  run();
  ASSERT_TRUE(ring.set_call(copy(guest.call[1])));
  const auto [socket, peer] = io::test::socket_pair();
  for (const auto& taken :
       {ring.set_kick(copy(socket)), ring.set_call(copy(socket)), ring.set_err(copy(socket))}) {
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().value, EINVAL);
  }
  EXPECT_TRUE(hears()) << "the former descriptor is kept";
}

TEST_F(RingTest, IsAsNewAfterAReset) {
  run();
  guest.offer(1);
  EXPECT_TRUE(ring.queue().pop(*guest.table));
  ring.set_enabled(true);
  ring.hold_back();
  ring.suspend();
  ring.stop();
  start();
  ring.fail();
  ring.reset();
  EXPECT_EQ(ring.state(), RingState::stopped);
  EXPECT_EQ(ring.base(), 0);
  EXPECT_FALSE(ring.enabled());
  EXPECT_FALSE(ring.stopped_at());
  EXPECT_FALSE(ring.take_held_back());
  EXPECT_FALSE(hears());
  ASSERT_TRUE(ring.start(*guest.table, features)) << "size and addresses are kept";
}

TEST_F(RingTest, NotesAWakeUpUntilItIsTaken) {
  EXPECT_FALSE(ring.take_held_back());
  ring.hold_back();
  EXPECT_TRUE(ring.take_held_back());
  EXPECT_FALSE(ring.take_held_back());
}

TEST_F(RingTest, KnowsWhetherItLiesInATable) {
  start();
  EXPECT_TRUE(ring.lies_in(*guest.table));
  EXPECT_FALSE(ring.lies_in(*memory::GuestMemory::empty()));
  const vumedia::test::RamFile low(GuestRings::base, GuestRings::stride);
  EXPECT_FALSE(ring.lies_in(*vumedia::test::make_table({&low}))) << "only the other ring is in there";
}

// What the completion of a wait means.
TEST_F(RingTest, UnderstandsItsWakeUps) {
  run();
  EXPECT_EQ(ring.woken(8), Ring::Wake::process);
  EXPECT_EQ(ring.woken(-EINTR), Ring::Wake::nothing);
  EXPECT_EQ(ring.woken(-EBADF), Ring::Wake::broken);
  // An old kernel: a poll comes first.
  EXPECT_EQ(ring.woken(-EAGAIN), Ring::Wake::nothing);
  EXPECT_EQ(ring.woken(POLLIN), Ring::Wake::nothing);
  EXPECT_EQ(ring.woken(8), Ring::Wake::process);
  EXPECT_EQ(ring.woken(-EAGAIN), Ring::Wake::nothing);
  EXPECT_EQ(ring.woken(POLLERR), Ring::Wake::broken);
}

}  // namespace
}  // namespace vumedia::vhost_user::test::ring_test
