// Commands that are answered later or take several turns, without a device.
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/completion.hpp>
#include <vumedia/media/deferred.hpp>

#include "media/parts.hpp"

namespace vumedia::media::test {
namespace deferred_commands {
namespace {

class DeferredCommandsTest : public testing::Test {
 protected:
  explicit DeferredCommandsTest(std::chrono::milliseconds timeout = vumedia::test::patience)
      : parts({}, timeout) {}

  struct Deferred {
    DeferredCommand* command;
    Completion completion;
  };
  Deferred defer(std::uint32_t session = 1) {
    auto shared = deferred.make();
    DeferredCommand& command = deferred.add(
        parts.pop(), 8, session, shared,
        [](void* self, DeferredCommand& ended, Result<> result) noexcept {
          auto& test = *static_cast<DeferredCommandsTest*>(self);
          const wire::virtio_media_resp_header header{
              result ? 0 : static_cast<std::uint32_t>(result.error().value), 0};
          ++test.finished;
          test.deferred.give(ended, write_response(ended.writer(), header));
        },
        this);
    return {&command, Completion(std::move(shared))};
  }
  // The status of the next answer that comes; -1 if none does.
  int next() {
    std::optional<Parts::Given> given;
    parts.run_until([&] { return (given = parts.take()).has_value(); });
    return given ? static_cast<int>(given->status) : -1;
  }
  void expect_no_more() {
    int turns = 0;
    parts.run_until([&] { return ++turns > 3; });
    EXPECT_FALSE(parts.take());
  }
  void begin_steps(DeferredCommand& command) {
    deferred.begin_steps(command, order, [](void* self, DeferredCommand& stepped) noexcept {
      return static_cast<DeferredCommandsTest*>(self)->step(stepped);
    });
  }

  Parts parts;
  memory::Arenas arenas;
  int finished = 0;
  SessionOrder order;
  std::function<Result<>(DeferredCommand&)> step;
  std::vector<std::uint16_t> carried_out;
  HeldCommands<Parts::Host, Counts> held{parts.answers,
                                         parts.interrupts,
                                         parts.turns,
                                         arenas.budget(),
                                         [](void* self, const virtio::Chain& chain) {
                                           auto& test = *static_cast<DeferredCommandsTest*>(self);
                                           test.carried_out.push_back(chain.head());
                                           return test.parts.answers.status(chain, EDOM);
                                         },
                                         this};
  DeferredCommands<Parts::Host, Counts> deferred{parts.host, parts.answers, held, parts.turns, arenas};
};

TEST_F(DeferredCommandsTest, AreAnsweredFromAnotherThread) {
  auto [command, completion] = defer();
  std::thread worker([answer = std::move(completion)]() mutable { answer.complete(fail(ERANGE)); });
  EXPECT_EQ(next(), ERANGE);
  worker.join();
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(parts.answers.count(), 0u);
}

TEST_F(DeferredCommandsTest, AreAnsweredInAnyOrder) {
  auto first = defer(), second = defer();
  second.completion.complete(fail(2));
  first.completion.complete({});
  EXPECT_EQ(next(), 2);
  EXPECT_EQ(next(), 0);
}

TEST_F(DeferredCommandsTest, AnAnswerThatComesAfterItsCommandFindsNone) {
  auto dropped = defer();
  deferred.drop(*dropped.command);
  // Its place is another's now.
  auto other = defer();
  EXPECT_EQ(dropped.command, other.command);
  dropped.completion.complete(fail(EPERM));
  other.completion.complete(fail(ERANGE));
  EXPECT_EQ(next(), ERANGE);
  auto refused = defer();
  deferred.refuse(*refused.command, EBUSY);
  EXPECT_EQ(next(), EBUSY);
  refused.completion.complete({});
  auto cleared = defer();
  deferred.clear();
  EXPECT_EQ(parts.answers.count(), 0u);
  cleared.completion.complete({});
  expect_no_more();
}

TEST_F(DeferredCommandsTest, AnAnswerThatComesAfterTheDeviceIsDiscarded) {
  Parts other;
  std::optional<HeldCommands<Parts::Host, Counts>> none;
  none.emplace(
      other.answers, other.interrupts, other.turns, arenas.budget(),
      [](void*, const virtio::Chain&) { return Written{0}; }, nullptr);
  std::optional<DeferredCommands<Parts::Host, Counts>> short_lived;
  short_lived.emplace(other.host, other.answers, *none, other.turns, arenas);
  auto shared = short_lived->make();
  static_cast<void>(short_lived->add(
      other.pop(), 8, 1, shared, [](void*, DeferredCommand&, Result<>) noexcept { FAIL(); }, nullptr));
  Completion completion(std::move(shared));
  completion.complete({});  // it is on its way
  short_lived.reset();
  none.reset();
  int turns = 0;
  other.run_until([&] { return ++turns > 3; });
  EXPECT_FALSE(other.take());
}

TEST_F(DeferredCommandsTest, ListsThatAreLongAreFreedInTurns) {
  bool left_to_clean = false;
  arenas.clean_later([](void* left) noexcept { *static_cast<bool*>(left) = true; }, &left_to_clean);
  auto [command, completion] = defer();
  command->deferred->list_bytes = *memory::Share::take(arenas.budget(), std::size_t{1} << 20);
  completion.complete({});
  EXPECT_EQ(next(), 0);
  EXPECT_TRUE(left_to_clean);
  EXPECT_NE(arenas.budget()->used(), 0u);
  memory::Work work;
  work.begin();
  while (arenas.clean(work)) work.begin();
  EXPECT_EQ(arenas.budget()->used(), 0u);
}

// -- Several turns

TEST_F(DeferredCommandsTest, GoOnAPartATurn) {
  auto [command, completion] = defer();
  int parts_done = 0;
  step = [&](DeferredCommand&) -> Result<> {
    if (++parts_done < 3) return fail(memory::again);
    return fail(ENOSPC);
  };
  begin_steps(*command);
  EXPECT_EQ(order.waiting, 1);
  EXPECT_TRUE(order.under_way);
  EXPECT_EQ(parts_done, 0);
  EXPECT_EQ(next(), ENOSPC);
  EXPECT_EQ(parts_done, 3);
  EXPECT_EQ(order.waiting, 0);
  EXPECT_FALSE(order.under_way);
}

TEST_F(DeferredCommandsTest, ThoseBehindItAreCarriedOutAfterIt) {
  auto [command, completion] = defer();
  int parts_done = 0;
  step = [&](DeferredCommand&) -> Result<> {
    EXPECT_TRUE(carried_out.empty());
    return ++parts_done < 3 ? fail(memory::again) : Result<>{};
  };
  begin_steps(*command);
  ASSERT_TRUE(held.hold(order, parts.pop(), 1));
  EXPECT_EQ(next(), 0);
  EXPECT_EQ(next(), EDOM);
  EXPECT_EQ(carried_out.size(), 1u);
  EXPECT_EQ(order.waiting, 0);
}

TEST_F(DeferredCommandsTest, WhatIsHandedOverKeepsNoOtherWaiting) {
  auto [command, completion] = defer();
  step = [](DeferredCommand&) -> Result<> { return fail(DeferredCommand::handed_over); };
  begin_steps(*command);
  ASSERT_TRUE(held.hold(order, parts.pop(), 1));
  EXPECT_EQ(next(), EDOM) << "the one behind it";
  EXPECT_EQ(finished, 0);
  completion.complete(fail(ERANGE));
  EXPECT_EQ(next(), ERANGE);
}

TEST_F(DeferredCommandsTest, EndWithTheirSession) {
  auto stepped = defer(), only_deferred = defer();
  SessionOrder other;
  auto of_other = defer(2);
  step = [](DeferredCommand&) -> Result<> { return fail(memory::again); };
  begin_steps(*stepped.command);
  deferred.begin_steps(*of_other.command, other,
                       [](void*, DeferredCommand&) noexcept -> Result<> { return fail(ENOSPC); });
  ASSERT_TRUE(held.hold(order, parts.pop(), 1));
  deferred.abandon(order);
  EXPECT_EQ(parts.status(), EIO);
  EXPECT_EQ(finished, 0) << "their backend is not asked";
  int domain = 0, no_space = 0;
  for (int i = 0; i < 2; ++i) {
    const int status = next();
    domain += status == EDOM ? 1 : 0;
    no_space += status == ENOSPC ? 1 : 0;
  }
  EXPECT_EQ(domain, 1) << "the one behind it";
  EXPECT_EQ(no_space, 1) << "another session's";
  EXPECT_EQ(parts.answers.count(), 1u) << "what its backend has is answered by it";
  only_deferred.completion.complete({});
  EXPECT_EQ(next(), 0);
}

// -- Late

class LateDeferredCommands : public DeferredCommandsTest {
 protected:
  LateDeferredCommands() : DeferredCommandsTest(std::chrono::milliseconds(1)) {}
};

TEST_F(LateDeferredCommands, AreAnsweredByTheDevice) {
  auto [command, completion] = defer();
  EXPECT_EQ(next(), ETIMEDOUT);
  EXPECT_EQ(finished, 0) << "the payload is its backend's still";
  completion.complete({});
  expect_no_more();
}

TEST_F(LateDeferredCommands, MayBeFinishedByTheirOwner) {
  auto [command, completion] = defer();
  command->finish_if_late = true;
  EXPECT_EQ(next(), ETIMEDOUT);
  EXPECT_EQ(finished, 1);
}

TEST_F(LateDeferredCommands, StopTakingTurns) {
  auto [command, completion] = defer();
  int parts_done = 0;
  step = [&](DeferredCommand&) -> Result<> {
    ++parts_done;
    return fail(memory::again);
  };
  begin_steps(*command);
  EXPECT_EQ(next(), ETIMEDOUT);
  EXPECT_EQ(order.waiting, 0);
  EXPECT_FALSE(order.under_way);
  const int so_far = parts_done;
  expect_no_more();
  EXPECT_EQ(parts_done, so_far);
}

}  // namespace
}  // namespace deferred_commands
}  // namespace vumedia::media::test
