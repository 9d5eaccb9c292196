// The requests that negotiate features, without a session.
#include <gtest/gtest.h>

#include <vumedia/vhost_user/feature_requests.hpp>

#include "vhost_user/served_echo.hpp"

namespace vumedia::vhost_user::test::feature_requests_test {
namespace {

namespace pf = protocol_feature;

class FeatureRequestsTest : public ::testing::Test, public ServedEcho {
 protected:
  static constexpr std::uint64_t ring_bits = feature::ring_event_idx | feature::ring_indirect_desc;

  template <class Spec>
  std::string set(std::uint64_t features) {
    return text_of(call<Spec>(group, U64{features}));
  }
  std::uint64_t offered() { return answer_of<U64>(call<request::GetFeatures>(group)).value; }
  std::uint64_t offered_protocol() { return answer_of<U64>(call<request::GetProtocolFeatures>(group)).value; }

  FeatureRequests<ServedEcho::Served> group{served, false};
};

TEST_F(FeatureRequestsTest, OffersItsOwnAndTheDevices) {
  EXPECT_EQ(offered(),
            feature::version_1 | ring_bits | feature::protocol_features | EchoDevice<Host>::feature_bit);
  EXPECT_EQ(offered_protocol(), offerable_protocol_features & ~pf::configure_mem_slots);
  FeatureRequests<Served> with_slots(served, true);
  EXPECT_EQ(answer_of<U64>(call<request::GetProtocolFeatures>(with_slots)).value,
            offerable_protocol_features);
  EXPECT_EQ(answer_of<U64>(call<request::GetQueueNum>(group)).value, 2U);
  EXPECT_EQ(text_of(call<request::SetOwner>(group)), "done");
  EXPECT_EQ(text_of(call<request::ResetOwner>(group)), "done");
}

TEST_F(FeatureRequestsTest, TakesWhatItOffers) {
  EXPECT_EQ(set<request::SetFeatures>(offered()), "done");
  EXPECT_EQ(group.features(), offered());
  EXPECT_EQ(set<request::SetProtocolFeatures>(offered_protocol()), "done");
  EXPECT_TRUE(group.has(pf::reply_ack));
  EXPECT_TRUE(group.has(0));
  EXPECT_FALSE(group.has(pf::configure_mem_slots));
  EXPECT_FALSE(group.has(pf::reply_ack | pf::configure_mem_slots)) << "both are asked for";
}

TEST_F(FeatureRequestsTest, RefusesWhatItDoesNotOffer) {
  EXPECT_EQ(set<request::SetFeatures>(1ULL << 34), "refused 22: features 0x400000000 were not offered");
  EXPECT_EQ(set<request::SetProtocolFeatures>(pf::configure_mem_slots),
            "refused 22: protocol features 0x8000 were not offered");
  EXPECT_EQ(group.features(), 0U);
  EXPECT_EQ(group.protocol_features(), 0U);
}

TEST_F(FeatureRequestsTest, DecideHowRingsStart) {
  const auto& rings = served.rings().features();
  EXPECT_TRUE(rings.start_enabled) << "before anything is negotiated";
  EXPECT_FALSE(rings.event_idx || rings.indirect);
  // Some frontends set the protocol features first.
  set<request::SetProtocolFeatures>(pf::reply_ack);
  EXPECT_FALSE(rings.start_enabled);
  set<request::SetFeatures>(feature::version_1 | feature::ring_event_idx);
  EXPECT_TRUE(rings.start_enabled) << "there is no SET_VRING_ENABLE after all";
  EXPECT_TRUE(rings.event_idx);
  set<request::SetFeatures>(feature::protocol_features | feature::ring_indirect_desc);
  EXPECT_FALSE(rings.start_enabled || rings.event_idx);
  EXPECT_TRUE(rings.indirect);
}

TEST_F(FeatureRequestsTest, ChangeNothingOfRingsThatRun) {
  start(0);
  EXPECT_EQ(set<request::SetFeatures>(ring_bits), "refused 16: ring features change while rings are started");
  EXPECT_EQ(set<request::SetFeatures>(feature::version_1), "done") << "which does not concern them";
  EXPECT_EQ(set<request::SetProtocolFeatures>(pf::reply_ack),
            "refused 16: protocol features change while rings are started");
  EXPECT_EQ(set<request::SetProtocolFeatures>(0), "done") << "it is no change";
}

TEST_F(FeatureRequestsTest, NeedThreeFeaturesForSharedMemory) {
  auto [ours, theirs] = io::test::socket_pair();
  served.host().open_channel(std::move(ours));
  constexpr std::uint64_t all = pf::shmem | pf::backend_req | pf::reply_ack;
  for (const std::uint64_t features : {all, all & ~pf::reply_ack, all & ~pf::shmem, all & ~pf::backend_req}) {
    set<request::SetProtocolFeatures>(features);
    EXPECT_EQ(served.host().has_shm(), features == all);
  }
}

}  // namespace
}  // namespace vumedia::vhost_user::test::feature_requests_test
