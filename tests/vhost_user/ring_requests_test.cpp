// The requests that set up, start and stop rings, without a session.
#include <gtest/gtest.h>

#include <vumedia/vhost_user/ring_requests.hpp>

#include "vhost_user/served_echo.hpp"

namespace vumedia::vhost_user::test::ring_requests_test {
namespace {

class RingRequestsTest : public ::testing::Test, public ServedEcho {
 protected:
  template <class Spec>
  std::string state_of(std::uint32_t index, std::uint32_t number) {
    return text_of(call<Spec>(group, VringState{index, number}));
  }
  template <class Spec>
  std::string descriptor(std::uint64_t value, io::FdList fds = {}) {
    return text_of(call<Spec>(group, U64{value}, {}, std::move(fds)));
  }
  VringAddress addresses(std::uint32_t index) const {
    const RingAddresses at = guest.addresses(index);
    return {index, 0, at.descriptors.value, at.used.value, at.available.value, 0};
  }
  void set_up(std::uint32_t index) {
    EXPECT_EQ(state_of<request::SetVringNum>(index, GuestRings::size), "done");
    EXPECT_EQ(state_of<request::SetVringBase>(index, 0), "done");
    EXPECT_EQ(text_of(call<request::SetVringAddr>(group, addresses(index))), "done");
    EXPECT_EQ(descriptor<request::SetVringCall>(index, with(guest.call[index])), "done");
    EXPECT_EQ(descriptor<request::SetVringKick>(index, with(guest.kick[index])), "done");
  }

  RingRequests<ServedEcho::Served> group{served};
};

TEST_F(RingRequestsTest, TakeARingThroughItsLife) {
  set_up(1);
  EXPECT_TRUE(served.rings()[1].running());
  EXPECT_EQ(state_of<request::SetVringEnable>(1, 0), "done");
  EXPECT_EQ(served.rings()[1].state(), RingState::started);
  EXPECT_EQ(state_of<request::SetVringEnable>(1, 1), "done");
  EXPECT_TRUE(served.rings()[1].running());
  const auto stopped = answer_of<VringState>(call<request::GetVringBase>(group, VringState{1, 0}));
  EXPECT_EQ(stopped.index, 1U);
  EXPECT_EQ(stopped.num, 0U);
  EXPECT_EQ(served.rings()[1].state(), RingState::stopped);
}

TEST_F(RingRequestsTest, AnswerLaterWhileACommandIsOnItsWay) {
  set_up(0);
  state.hold = true;
  kick(0);
  EXPECT_EQ(state_of<request::GetVringBase>(0, 0), "later");
  served.device().release();
  while (owner.stopped.empty()) reactor->run_once(true);
  EXPECT_EQ(owner.stopped, std::vector<std::uint32_t>{1});
}

TEST_F(RingRequestsTest, KnowHowManyQueuesThereAre) {
  const std::string none = "refused 22: there is no queue 2";
  EXPECT_EQ(state_of<request::SetVringNum>(2, 16), none);
  EXPECT_EQ(state_of<request::SetVringBase>(2, 0), none);
  EXPECT_EQ(state_of<request::SetVringEnable>(2, 1), none);
  EXPECT_EQ(state_of<request::GetVringBase>(2, 0), none);
  EXPECT_EQ(text_of(call<request::SetVringAddr>(group, VringAddress{2, 0, 0, 0, 0, 0})), none);
  EXPECT_EQ(descriptor<request::SetVringKick>(2, with(guest.kick[0])), none);
  EXPECT_EQ(descriptor<request::SetVringCall>(2, with(guest.kick[0])), none);
  EXPECT_EQ(descriptor<request::SetVringErr>(2, with(guest.kick[0])), none);
}

TEST_F(RingRequestsTest, RefuseValuesThatNoRingHas) {
  EXPECT_EQ(state_of<request::SetVringNum>(0, 3),
            "refused 22: 3 is not a valid size for queue 0: it must be a power of two up to 32768");
  EXPECT_EQ(state_of<request::SetVringBase>(0, 65536),
            "refused 22: 65536 is not a valid base of a split ring");
  EXPECT_EQ(state_of<request::SetVringEnable>(0, 2), "refused 22: 2 is neither 0 nor 1");
  EXPECT_EQ(text_of(call<request::SetVringAddr>(group, VringAddress{0, 1, 0, 0, 0, 0})),
            "refused 22: flags 0x1 ask for a log, which was not negotiated");
  EXPECT_EQ(text_of(call<request::SetVringAddr>(group, VringAddress{0, 0, 16, 32, 48, 0})),
            "refused 14: the rings of queue 0 are not in guest memory");
}

TEST_F(RingRequestsTest, TakeAddressesBeforeThereIsMemory) {
  served.host().replace_memory(memory::GuestMemory::empty());
  EXPECT_EQ(text_of(call<request::SetVringAddr>(group, addresses(0))), "done");
  EXPECT_EQ(state_of<request::SetVringNum>(0, GuestRings::size), "done");
  EXPECT_EQ(descriptor<request::SetVringKick>(0, with(guest.kick[0])),
            "refused 14: the rings of queue 0 are not in guest memory");
  served.host().replace_memory(guest.table);
  EXPECT_EQ(descriptor<request::SetVringKick>(0, with(guest.kick[0])), "done");
}

TEST_F(RingRequestsTest, ChangeNothingOfARingThatRuns) {
  set_up(0);
  const std::string started = "refused 16: queue 0 is started";
  EXPECT_EQ(state_of<request::SetVringNum>(0, 8), started);
  EXPECT_EQ(state_of<request::SetVringBase>(0, 8), started);
  EXPECT_EQ(text_of(call<request::SetVringAddr>(group, addresses(0))), started);
}

TEST_F(RingRequestsTest, DemandThatBodyAndDescriptorAgree) {
  const auto all = [&](std::uint64_t value, bool with_fd, const char* expected) {
    const auto fds = [&] { return with_fd ? with(guest.kick[0]) : io::FdList(); };
    EXPECT_EQ(descriptor<request::SetVringKick>(value, fds()), expected);
    EXPECT_EQ(descriptor<request::SetVringCall>(value, fds()), expected);
    EXPECT_EQ(descriptor<request::SetVringErr>(value, fds()), expected);
  };
  all(0x1000, true, "malformed 71: 0x1000 has unknown bits");
  all(vring_no_fd, true, "malformed 71: a file descriptor came although the message says that there is none");
  all(0, false, "malformed 71: its file descriptor is missing");
}

TEST_F(RingRequestsTest, TakeEventFdsOnly) {
  const auto [socket, peer] = io::test::socket_pair();
  const std::string refused = "refused 22: the descriptor for queue 0 is not an event fd";
  EXPECT_EQ(descriptor<request::SetVringKick>(0, with(socket)), refused);
  EXPECT_EQ(descriptor<request::SetVringCall>(0, with(socket)), refused);
  EXPECT_EQ(descriptor<request::SetVringErr>(0, with(socket)), refused);
  EXPECT_EQ(descriptor<request::SetVringCall>(vring_no_fd), "done");
  EXPECT_EQ(descriptor<request::SetVringErr>(vring_no_fd), "done");
}

}  // namespace
}  // namespace vumedia::vhost_user::test::ring_requests_test
