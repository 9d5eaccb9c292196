// Commands that wait for earlier ones of their session, without a device.
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/held_commands.hpp>

#include "media/parts.hpp"

namespace vumedia::media::test {
namespace held_commands {
namespace {

// Commands are numbered: their first bytes.
class HeldCommandsTest : public testing::Test {
 protected:
  explicit HeldCommandsTest(std::chrono::milliseconds timeout = vumedia::test::patience)
      : parts({.queue_size = 256}, timeout) {
    for (SessionOrder* const order : {&one, &two}) *order = {.waiting = 1, .under_way = true};
  }

  Result<> hold(SessionOrder& order, std::uint32_t number, std::uint32_t session = 1) {
    return held.hold(order, parts.pop(std::as_bytes(std::span(&number, 1)), 8), session);
  }
  void end(SessionOrder& order) {
    --order.waiting;
    order.under_way = false;
    held.wake();
  }
  bool carried_out(std::size_t count) {
    return parts.run_until([&] { return numbers.size() >= count; });
  }

  Parts parts;
  SessionOrder one, two;
  std::vector<std::uint32_t> numbers;  // that were carried out
  std::function<Written(const virtio::Chain&)> act = [this](const virtio::Chain& chain) {
    return parts.answers.status(chain, EPERM);
  };
  std::shared_ptr<memory::Budget> budget = std::make_shared<memory::Budget>(std::size_t{1} << 20);
  HeldCommands<Parts::Host, Counts> held{parts.answers,
                                         parts.interrupts,
                                         parts.turns,
                                         budget,
                                         [](void* self, const virtio::Chain& chain) {
                                           auto& test = *static_cast<HeldCommandsTest*>(self);
                                           std::uint32_t number = 0;
                                           EXPECT_TRUE(chain.reader().read_to(number));
                                           test.numbers.push_back(number);
                                           return test.act(chain);
                                         },
                                         this};
};

TEST_F(HeldCommandsTest, AreCarriedOutInOrderInAnotherTurn) {
  for (std::uint32_t i = 0; i < 3; ++i) ASSERT_TRUE(hold(one, i));
  EXPECT_EQ(one.waiting, 4);
  EXPECT_EQ(parts.answers.count(), 3u);
  end(one);
  EXPECT_TRUE(numbers.empty());
  EXPECT_TRUE(carried_out(3));
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(one.waiting, 0);
  EXPECT_EQ(parts.answers.count(), 0u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(parts.status(), EPERM);
  EXPECT_EQ(budget->used(), 0u);
}

TEST_F(HeldCommandsTest, OfOneSessionDoNotWaitForThoseOfAnother) {
  ASSERT_TRUE(hold(one, 1, 1));
  ASSERT_TRUE(hold(two, 2, 2));
  ASSERT_TRUE(hold(one, 3, 1));
  end(two);
  EXPECT_TRUE(carried_out(1));
  EXPECT_EQ(numbers, std::vector<std::uint32_t>{2});
  end(one);
  EXPECT_TRUE(carried_out(3));
  EXPECT_EQ(numbers, (std::vector<std::uint32_t>{2, 1, 3}));
}

TEST_F(HeldCommandsTest, WaitAgainForOneThatTakesItsTime) {
  // The first takes several turns, like the one before it.
  act = [this](const virtio::Chain& chain) {
    if (numbers.size() > 1) return parts.answers.status(chain, EPERM);
    EXPECT_EQ(one.waiting, 0) << "nothing is before it";
    one.under_way = true;
    ++one.waiting;
    return not_now;
  };
  ASSERT_TRUE(hold(one, 1));
  ASSERT_TRUE(hold(one, 2));
  end(one);
  EXPECT_TRUE(carried_out(1));
  EXPECT_EQ(one.waiting, 2);
  EXPECT_FALSE(parts.take());
  end(one);
  EXPECT_TRUE(carried_out(2));
  EXPECT_EQ(one.waiting, 0);
  EXPECT_EQ(parts.status(), EPERM);
}

TEST_F(HeldCommandsTest, KeepTheirBytesAndTheirMemory) {
  ASSERT_TRUE(hold(one, 77));
  const std::weak_ptr<const memory::GuestMemory> table = parts.host.memory();
  parts.host.replace_memory();
  for (int i = 0; i < 10; ++i) parts.pop();  // the queue forgets the chain
  act = [&](const virtio::Chain& chain) {
    TimedAnswer owed([](TimedAnswer&) noexcept {});
    parts.answers.owe(owed, chain, 8, 1);
    EXPECT_EQ(owed.memory, table.lock());
    parts.answers.drop(owed);
    return parts.answers.status(chain, EDOM);
  };
  end(one);
  EXPECT_TRUE(carried_out(1));
  EXPECT_EQ(numbers, std::vector<std::uint32_t>{77});
  EXPECT_EQ(parts.status(), EDOM);
  EXPECT_TRUE(table.expired());
}

TEST_F(HeldCommandsTest, AreBounded) {
  std::uint32_t count = 0;
  while (count < 200 && hold(one, count)) ++count;
  EXPECT_EQ(count, 64u);
  EXPECT_EQ(hold(one, 0).error().value, EBUSY);
  EXPECT_TRUE(hold(two, 0, 2)) << "others have places";
  // And so is what their chains take.
  held.clear();
  EXPECT_EQ(budget->used(), 0u);
  budget->take_anyway((std::size_t{1} << 20) - 8);
  EXPECT_EQ(hold(one, 0).error().value, EBUSY);
}

TEST_F(HeldCommandsTest, AreAFewATurn) {
  constexpr std::size_t a_turn = memory::Work::a_turn / memory::Work::command;
  for (std::uint32_t i = 0; i < 3 * a_turn; ++i) ASSERT_TRUE(hold(one, i));
  end(one);
  std::size_t before = 0, most = 0;
  EXPECT_TRUE(parts.run_until([&] {
    most = std::max(most, numbers.size() - before);
    before = numbers.size();
    return before == 3 * a_turn;
  }));
  EXPECT_LE(most, a_turn);
}

TEST_F(HeldCommandsTest, OfASessionThatHasEndedWaitNoMore) {
  ASSERT_TRUE(hold(one, 1, 1));
  ASSERT_TRUE(hold(two, 2, 2));
  {
    auto gone = std::make_unique<SessionOrder>(SessionOrder{.waiting = 1, .under_way = true});
    ASSERT_TRUE(hold(*gone, 3, 3));
    held.abandon(*gone);
  }
  EXPECT_TRUE(carried_out(1));
  EXPECT_EQ(numbers, std::vector<std::uint32_t>{3});
  EXPECT_EQ(parts.answers.count(), 2u);
}

TEST_F(HeldCommandsTest, AreForgottenWithoutAnAnswer) {
  ASSERT_TRUE(hold(one, 1));
  end(one);
  held.clear();
  EXPECT_EQ(parts.answers.count(), 0u);
  int turns = 0;
  parts.run_until([&] { return ++turns > 3; });
  EXPECT_TRUE(numbers.empty());
  EXPECT_FALSE(parts.take());
}

class LateCommands : public HeldCommandsTest {
 protected:
  LateCommands() : HeldCommandsTest(std::chrono::milliseconds(0)) {}
};

TEST_F(LateCommands, AreNotCarriedOut) {
  ASSERT_TRUE(hold(one, 1));
  EXPECT_FALSE(parts.take()) << "not before their turn";
  end(one);
  EXPECT_TRUE(parts.run_until([&] { return parts.answers.count() == 0; }));
  EXPECT_EQ(parts.status(), ETIMEDOUT);
  EXPECT_TRUE(numbers.empty());
  EXPECT_EQ(one.waiting, 0);
}

}  // namespace
}  // namespace held_commands
}  // namespace vumedia::media::test
