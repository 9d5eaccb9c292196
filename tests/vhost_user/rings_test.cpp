// The rings of a session as a set, without a session.
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/vhost_user/rings.hpp>

#include "vhost_user/guest_rings.hpp"

namespace vumedia::vhost_user::test::rings_test {
namespace {

class RingsTest : public ::testing::Test {
 public:
  using Rings = vhost_user::Rings<io::UringReactor>;
  using SetUp = Rings::SetUp;

  void start(std::size_t i, std::uint16_t first = 0) {
    guest.configure(rings[i], first);
    const auto started = rings[i].start(*guest.table, rings.features());
    EXPECT_TRUE(started) << started.error().message;
  }
  void run(std::size_t i) {
    start(i);
    rings[i].run();
  }
  // Stops ring `i` after `commands` of its commands.
  void stop(std::size_t i, int commands = 1) {
    for (int command = 0; command < commands; ++command) {
      guest.offer(i);
      const auto popped = rings[i].queue().pop(*guest.table);
      ASSERT_TRUE(popped);
      EXPECT_TRUE(rings[i].queue().push(*guest.table, popped->head(), 0));
    }
    rings[i].flush(*guest.table);
    rings[i].suspend();
    rings[i].stop();
  }

  std::unique_ptr<io::UringReactor> reactor = make_reactor();
  GuestRings guest;
  Rings rings{*reactor, 2, [](io::Operation&, std::int32_t) noexcept {}, nullptr};
};

TEST_F(RingsTest, KnowsWhetherAnyIsStartedOrRuns) {
  EXPECT_EQ(rings.size(), 2);
  EXPECT_FALSE(rings.any_started() || rings.any_running());
  start(1);
  EXPECT_TRUE(rings.any_started());
  EXPECT_FALSE(rings.any_running());
  rings[1].run();
  EXPECT_TRUE(rings.any_running());
  EXPECT_TRUE(rings.suspend());
  EXPECT_FALSE(rings.suspend());
  EXPECT_TRUE(rings.any_started());
  EXPECT_FALSE(rings.any_running());
  rings.reset();
  EXPECT_FALSE(rings.any_started());
}

TEST_F(RingsTest, ServesWhatIsStartedEnabledAndNotFailed) {
  EXPECT_FALSE(rings.should_run(rings[0]));
  start(0);
  EXPECT_TRUE(rings.should_run(rings[0])) << "as long as nothing is negotiated";
  // With PROTOCOL_FEATURES, SET_VRING_ENABLE decides.
  rings.set_features({.event_idx = true, .indirect = true, .start_enabled = false});
  EXPECT_FALSE(rings.should_run(rings[0]));
  rings[0].set_enabled(true);
  EXPECT_TRUE(rings.should_run(rings[0]));
  rings[0].run();
  EXPECT_TRUE(rings.should_run(rings[0]));
  rings[0].set_enabled(false);
  EXPECT_FALSE(rings.should_run(rings[0]));
  // It came once, so it counts for good.
  rings.set_features({});
  EXPECT_FALSE(rings.should_run(rings[0]));
  rings[0].set_enabled(true);
  rings[0].fail();
  EXPECT_FALSE(rings.should_run(rings[0]));
}

TEST_F(RingsTest, ChangesNoRingWhileAnyIsServed) {
  EXPECT_EQ(rings.prepare_set_up(rings[0]), SetUp::allowed);
  run(0);
  EXPECT_EQ(rings.prepare_set_up(rings[0]), SetUp::refused);
  EXPECT_EQ(rings.prepare_set_up(rings[1]), SetUp::allowed) << "it is stopped";
  start(1);
  EXPECT_EQ(rings.prepare_set_up(rings[1]), SetUp::refused);
  EXPECT_TRUE(rings[1].started());
}

TEST_F(RingsTest, WithdrawsARingThatWasNeverServed) {
  start(0);
  EXPECT_EQ(rings.prepare_set_up(rings[0]), SetUp::allowed);
  EXPECT_FALSE(rings[0].started());
}

TEST_F(RingsTest, SetsUpARingThatWasServedAfterAResetOnly) {
  run(0);
  rings.suspend();
  EXPECT_EQ(rings.prepare_set_up(rings[0]), SetUp::after_reset);
  EXPECT_TRUE(rings[0].started()) << "the caller resets it";
  rings.reset();
  EXPECT_EQ(rings.prepare_set_up(rings[0]), SetUp::allowed);
}

TEST_F(RingsTest, TellsAResetFromAPause) {
  struct Case {
    const char* name;
    int commands;  // before the ring stopped
    std::function<void(RingsTest&)> start_again;
    bool reset;
  };
  const Case cases[] = {
      {"continues where it stopped", 3, [](RingsTest& t) { t.start(0, 3); }, false},
      {"starts at 0 again", 3, [](RingsTest& t) { t.start(0); }, true},
      {"stopped at 0 and starts there", 0, [](RingsTest& t) { t.start(0); }, false},
      {"has another size", 0,
       [](RingsTest& t) {
         t.guest.configure(t.rings[0]);
         EXPECT_TRUE(t.rings[0].set_size(8));
         EXPECT_TRUE(t.rings[0].start(*t.guest.table, {}));
       },
       true},
      {"is elsewhere", 0,
       [](RingsTest& t) {
         t.guest.configure(t.rings[0]);
         t.rings[0].set_addresses(t.guest.addresses(1));
         EXPECT_TRUE(t.rings[0].start(*t.guest.table, {}));
       },
       true},
      {"starts while another runs", 3,
       [](RingsTest& t) {
         t.run(1);
         t.start(0);
       },
       false},
      {"starts after another has found the reset", 3,
       [](RingsTest& t) {
         t.rings.forget_stops();
         t.start(0);
       },
       false},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    rings.reset();
    for (auto& queue : guest.queues) queue.reset();
    run(0);
    EXPECT_FALSE(rings.looks_reset(rings[0])) << "it never stopped";
    stop(0, each.commands);
    each.start_again(*this);
    EXPECT_EQ(rings.looks_reset(rings[0]), each.reset);
  }
}

TEST_F(RingsTest, FindsTheRingsThatANewTableLacks) {
  const vumedia::test::RamFile low(GuestRings::base, GuestRings::stride);
  const auto smaller = vumedia::test::make_table({&low});
  const auto outside = [&](const memory::GuestMemory& memory) {
    std::vector<std::uint16_t> found;
    rings.for_each_outside(memory, [&](std::uint16_t index) { found.push_back(index); });
    return found;
  };
  using Indices = std::vector<std::uint16_t>;
  EXPECT_EQ(outside(*memory::GuestMemory::empty()), Indices{}) << "none is started";
  start(0);
  run(1);
  EXPECT_EQ(outside(*guest.table), Indices{});
  EXPECT_EQ(outside(*smaller), Indices{1});
  EXPECT_EQ(outside(*memory::GuestMemory::empty()), (Indices{0, 1}));
  rings[0].fail();
  EXPECT_EQ(outside(*memory::GuestMemory::empty()), Indices{1}) << "it has been found already";
}

}  // namespace
}  // namespace vumedia::vhost_user::test::rings_test
