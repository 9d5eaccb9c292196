// A device at work on its rings, without a session: who calls it when, and what a stop, a reset, and other
// features do.
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "vhost_user/served_echo.hpp"

namespace vumedia::vhost_user::test::served_device_test {
namespace {

using io::test::take;

class ServedDeviceTest : public ::testing::Test, public ServedEcho {
 protected:
  void hold_a_command() {
    state.hold = true;
    kick(0);
    ASSERT_EQ(state.held.size(), 1U);
  }
  // Completes it, and lets the loop look at the queue until that has been told.
  void release() {
    served.device().release();
    while (owner.stopped.empty() && !owner.failure) reactor->run_once(true);
  }
};

static_assert(ServedDeviceOwner<ServedOwner>);
static_assert(DrainOwner<ServedEcho::Served>);

TEST_F(ServedDeviceTest, AnswersAKickWithACall) {
  start(0);
  EXPECT_EQ(processed(0), 1U) << "buffers may have been there";
  kick(0);
  EXPECT_EQ(processed(0), 2U);
  EXPECT_EQ(take(guest.call[0]), 1U);
  kick(0);
  EXPECT_EQ(processed(0), 3U) << "it waits for the next kick";
}

TEST_F(ServedDeviceTest, ServesAnEnabledRingOnly) {
  served.rings().set_features({.event_idx = true, .indirect = true, .start_enabled = false});
  start(0);
  kick(0);
  EXPECT_EQ(processed(0), 0U);
  served.rings()[0].set_enabled(true);
  served.update(0);
  EXPECT_EQ(processed(0), 1U);
  served.rings()[0].set_enabled(false);
  served.update(0);
  kick(0);
  EXPECT_EQ(processed(0), 1U);
}

TEST_F(ServedDeviceTest, MapsFromTheFirstRunUntilARingStops) {
  const auto error = [&] {
    state.shm_results.clear();
    served.device().map({0, guest.ram.fd(), 0, {0}, page_size, true});
    return state.shm_results.empty() ? 0 : state.shm_results.front();
  };
  EXPECT_EQ(error(), ENXIO) << "there is no channel";
  auto [ours, theirs] = io::test::socket_pair();
  served.host().set_shm_negotiated(true);
  served.host().open_channel(std::move(ours));
  EXPECT_TRUE(served.host().has_shm());
  EXPECT_EQ(error(), ECANCELED) << "no ring runs";
  start(0);
  start(1);
  EXPECT_EQ(error(), 0) << "it waits for its answer";
  EXPECT_TRUE(served.stop(1));
  EXPECT_EQ(error(), ECANCELED);
}

TEST_F(ServedDeviceTest, StopsAtOnceWhatHasNoCommand) {
  start(0);
  kick(0);
  const auto stopped = served.stop(0);
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->index, 0U);
  EXPECT_EQ(stopped->num, 1U);
  EXPECT_EQ(state.stopped, std::vector<std::uint16_t>{0});
  EXPECT_FALSE(served.rings()[0].started());
  // The device is not asked again to stop what is stopped.
  EXPECT_TRUE(served.stop(0));
  EXPECT_EQ(state.stopped.size(), 1U);
}

TEST_F(ServedDeviceTest, StopsWhenTheLastCommandIsCompleted) {
  start(0);
  start(1);
  hold_a_command();
  EXPECT_FALSE(served.stop(0));
  EXPECT_TRUE(owner.stopped.empty());
  // Until then the device is not called for the other ring.
  const auto before = processed(1);
  kick(1);
  EXPECT_EQ(processed(1), before);
  release();
  EXPECT_EQ(owner.stopped, std::vector<std::uint32_t>{1});
  EXPECT_FALSE(served.rings()[0].started());
  EXPECT_EQ(processed(1), before);
  served.resume();
  EXPECT_EQ(processed(1), before + 1) << "what was held back";
  kick(1);
  EXPECT_EQ(processed(1), before + 2) << "and it is heard again";
}

TEST_F(ServedDeviceTest, GivesUpAStopWhenTheFrontendHasLeft) {
  start(0);
  hold_a_command();
  EXPECT_FALSE(served.stop(0));
  owner.left = true;
  while (!owner.failure) reactor->run_once(true);
  EXPECT_EQ(*owner.failure, "");
  EXPECT_TRUE(owner.stopped.empty());
}

TEST_F(ServedDeviceTest, ResetsTheDeviceWhenARingIsSetUpThatWasNotStopped) {
  start(0);
  EXPECT_FALSE(served.may_set_up(0)) << "it runs";
  served.rings()[0].set_enabled(false);
  served.update(0);
  EXPECT_TRUE(served.may_set_up(0));
  EXPECT_EQ(state.resets, 1);
  EXPECT_FALSE(served.rings()[0].started());
}

TEST_F(ServedDeviceTest, ResetsTheDeviceWhenARingStartsAtZeroAgain) {
  start(0);
  kick(0);
  EXPECT_TRUE(served.stop(0));
  start(0, 1);
  EXPECT_EQ(state.resets, 0) << "it continues";
  kick(0);
  EXPECT_TRUE(served.stop(0));
  guest.queues[0].reset();
  start(0);
  EXPECT_EQ(state.resets, 1);
  EXPECT_TRUE(served.stop(0));
  start(0);
  EXPECT_EQ(state.resets, 1) << "it stopped at 0";
}

TEST_F(ServedDeviceTest, StartsRingsAgainWithOtherFeatures) {
  served.rings().set_features({.start_enabled = false});
  start(0);
  EXPECT_TRUE(served.may_change_features()) << "it has never run";
  const RingFeatures features{.event_idx = true, .indirect = true, .start_enabled = true};
  EXPECT_TRUE(served.change_features(features, true));
  EXPECT_TRUE(served.rings()[0].running());
  EXPECT_FALSE(served.may_change_features());
  EXPECT_TRUE(served.rings()[0].running()) << "a refusal changes nothing";
  served.rings()[0].set_enabled(false);
  served.update(0);
  EXPECT_TRUE(served.may_change_features());
  EXPECT_EQ(state.resets, 1);
}

TEST_F(ServedDeviceTest, SaysWhichRingCannotStartAgain) {
  served.rings().set_features({.start_enabled = false});
  start(0);
  served.host().replace_memory(memory::GuestMemory::empty());
  const auto changed = served.change_features({}, true);
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().message, "the rings of queue 0 are not in guest memory");
  EXPECT_EQ(changed.error().code, EFAULT);
  EXPECT_FALSE(served.rings()[0].started());
}

TEST_F(ServedDeviceTest, TakesAnotherKickDescriptorOfARunningRing) {
  start(0);
  const OwnedFd other = io::test::event_fd();
  const auto before = processed(0);
  ASSERT_TRUE(served.set_kick(0, copy(other)));
  EXPECT_EQ(processed(0), before + 1) << "a kick may have been taken from the old one";
  settle(*reactor);
  io::test::add(other);
  settle(*reactor);
  EXPECT_EQ(processed(0), before + 2);
  const auto [socket, peer] = io::test::socket_pair();
  const auto refused = served.set_kick(0, copy(socket));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "the descriptor for queue 0 is not an event fd");
}

TEST_F(ServedDeviceTest, FailsRingsThatANewTableLacks) {
  start(0);
  ASSERT_TRUE(served.rings()[0].set_err(copy(guest.err[0])));
  served.host().replace_memory(memory::GuestMemory::empty());
  EXPECT_TRUE(served.rings()[0].failed());
  settle(*reactor);
  EXPECT_EQ(take(guest.err[0]), 1U);
  const auto before = processed(0);
  kick(0);
  EXPECT_EQ(processed(0), before);
}

TEST_F(ServedDeviceTest, ReturnsToTheInitialStateAtAReset) {
  start(0);
  start(1);
  kick(0);
  served.reset();
  EXPECT_EQ(state.resets, 1);
  for (std::uint16_t i = 0; i < 2; ++i) {
    EXPECT_EQ(served.rings()[i].state(), RingState::stopped);
    EXPECT_EQ(served.rings()[i].base(), 0);
  }
}

}  // namespace
}  // namespace vumedia::vhost_user::test::served_device_test
