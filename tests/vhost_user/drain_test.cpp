// The wait of GET_VRING_BASE, on its own.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/vhost_user/drain.hpp>

#include "vhost_user/guest_rings.hpp"

namespace vumedia::vhost_user::test::drain_test {
namespace {

struct Owner {
  std::uint32_t commands_left(std::uint16_t index) {
    asked.push_back(index);
    return commands > 0 ? commands-- : 0;
  }
  bool peer_has_left() { return left; }
  void on_drained(std::uint16_t index) {
    drained = index;
    then();
  }
  void on_drain_failed(const Error& error) {
    failure = error.message;
    then();
  }

  std::uint32_t commands = 0;
  bool left = false;
  std::vector<std::uint16_t> asked;
  std::optional<std::uint16_t> drained;
  std::optional<std::string> failure;
  std::function<void()> then = [] {};
};
static_assert(DrainOwner<Owner>);

class DrainTest : public ::testing::Test {
 protected:
  using TestedDrain = Drain<io::UringReactor, Owner>;
  void run() {
    while (!owner.drained && !owner.failure) reactor->run_once(true);
  }

  std::unique_ptr<io::UringReactor> reactor = make_reactor();
  Owner owner;
  std::optional<TestedDrain> drain{std::in_place, *reactor, owner};
};

TEST_F(DrainTest, LooksUntilNothingIsLeft) {
  EXPECT_FALSE(drain->active());
  owner.commands = 3;
  bool active = true;
  owner.then = [&] { active = drain->active(); };
  drain->start(7);
  EXPECT_TRUE(drain->active());
  EXPECT_TRUE(owner.asked.empty()) << "not from within the call";
  run();
  EXPECT_EQ(owner.drained, 7);
  EXPECT_EQ(owner.asked, (std::vector<std::uint16_t>{7, 7, 7, 7}));
  EXPECT_FALSE(active) << "before its owner is told";
}

TEST_F(DrainTest, EndsWhenTheFrontendHasLeft) {
  owner.commands = 1000;
  owner.left = true;
  drain->start(0);
  run();
  EXPECT_EQ(owner.failure, "");
  EXPECT_FALSE(owner.drained);
  EXPECT_TRUE(drain->active()) << "nobody may call the device any more";
}

TEST_F(DrainTest, MayBeDestroyedByItsOwner) {
  owner.then = [&] { drain.reset(); };
  drain->start(0);
  run();
  EXPECT_FALSE(drain);
}

TEST_F(DrainTest, TellsNobodyWhenItIsDestroyed) {
  owner.commands = 1000;
  drain->start(0);
  reactor->run_once(true);
  drain.reset();
  const auto asked = owner.asked.size();
  io::test::Probe later;
  reactor->timer(later.operation(), io::Clock::now() + 3 * TestedDrain::interval);
  while (later.calls == 0) reactor->run_once(true);
  EXPECT_EQ(owner.asked.size(), asked);
}

TEST_F(DrainTest, ServesOneQueueAfterAnother) {
  for (const std::uint16_t index : {std::uint16_t{1}, std::uint16_t{0}}) {
    owner.commands = 1;
    owner.drained.reset();
    drain->start(index);
    run();
    EXPECT_EQ(owner.drained, index);
  }
}

}  // namespace
}  // namespace vumedia::vhost_user::test::drain_test
