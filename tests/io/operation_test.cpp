// Operations and the list that reactors keep of them.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/io/operation.hpp>

namespace vumedia::io::test {
namespace {

static_assert(!std::is_copy_constructible_v<Operation> && !std::is_move_constructible_v<Operation>);

struct Counter {
  void on_done(std::int32_t result) noexcept { sum += result; }
  int sum = 0;
  MemberOperation<&Counter::on_done> operation{*this};
};

TEST(Operation, CallsItsMemberFunction) {
  Counter first, second;
  first.operation.complete(3);
  first.operation.complete(4);
  second.operation.complete(-5);
  EXPECT_EQ(first.sum, 7);
  EXPECT_EQ(second.sum, -5);
}

TEST(Operation, CallsItsFunction) {
  auto moved_in = std::make_unique<int>(1);
  int seen = 0;
  CallOperation operation(
      [&seen, owned = std::move(moved_in)](std::int32_t result) { seen = result + *owned; });
  operation.complete(8);
  EXPECT_EQ(seen, 9);
}

// The verbs of a loop.
TEST(Operation, IsPendingFromItsStartUntilItsHandlerRuns) {
  bool pending = true;
  std::optional<CallOperation<std::function<void(std::int32_t)>>> operation;
  operation.emplace([&](std::int32_t) { pending = operation->pending(); });
  EXPECT_FALSE(operation->pending());
  operation->start(7);
  EXPECT_TRUE(operation->pending());
  EXPECT_EQ(operation->note(), 7);
  operation->complete(0);
  EXPECT_FALSE(pending);
  EXPECT_FALSE(operation->pending());
}

TEST(Operation, CompletesInTwoSteps) {
  Counter counter;
  counter.operation.start();
  EXPECT_FALSE(counter.operation.has_arrived());
  counter.operation.arrive(5);
  EXPECT_TRUE(counter.operation.has_arrived() && counter.operation.pending());
  EXPECT_EQ(counter.sum, 0);
  counter.operation.deliver();
  EXPECT_EQ(counter.sum, 5);
  EXPECT_FALSE(counter.operation.has_arrived() || counter.operation.pending());
}

TEST(Operation, RunsNoHandlerWhenItIsCancelled) {
  Counter counter;
  for (const bool arrived : {false, true}) {
    counter.operation.start();
    if (arrived) counter.operation.arrive(5);
    counter.operation.cancelled();
    EXPECT_FALSE(counter.operation.pending());
  }
  EXPECT_EQ(counter.sum, 0);
}

// Counts what it had to release.
class LoopOwner final : public OwningOperation {
 public:
  explicit LoopOwner(int& released)
      : OwningOperation([](Operation&, std::int32_t) noexcept {},
                        [](Operation& self) noexcept { ++static_cast<LoopOwner&>(self).released_; }),
        released_(released) {}
  ~LoopOwner() { cancel_pending(); }

 private:
  int& released_;
};
struct CancellingLoop {
  void cancel(Operation& operation) noexcept {
    ++cancels;
    operation.cancelled();
  }
  int cancels = 0;
};

TEST(OwningOperation, ReleasesWhatCameAndWasNotDelivered) {
  struct Case {
    const char* name;
    bool arrives;
    std::int32_t result;
    int released;
  };
  for (const Case& each : {Case{"nothing came", false, 2, 0}, Case{"it came", true, 2, 1},
                           Case{"an error came", true, -EIO, 0}}) {
    SCOPED_TRACE(each.name);
    int released = 0;
    CancellingLoop loop;
    {
      LoopOwner operation(released);
      operation.lend_to(loop);
      operation.start(2);
      if (each.arrives) operation.arrive(each.result);
    }
    EXPECT_EQ(loop.cancels, 1) << "destroyed while it was pending";
    EXPECT_EQ(released, each.released);
  }
}

TEST(OwningOperation, LeavesWhatCameToItsHandler) {
  int released = 0;
  LoopOwner operation(released);
  operation.start();
  operation.arrive(2);
  operation.deliver();
  operation.cancelled();
  EXPECT_EQ(released, 0);
}

// Compared with std::list, for random additions and removals at any place.
TEST(OperationList, BehavesAsAList) {
  std::mt19937 random(1);
  std::vector<Counter> counters(20);
  OperationList list;
  std::list<Operation*> model;
  for (int step = 0; step < 20'000; ++step) {
    Operation* const any = &counters[random() % counters.size()].operation;
    const auto place = std::find(model.begin(), model.end(), any);
    if (random() % 4 == 0) {
      Operation* const expected = model.empty() ? nullptr : model.front();
      if (!model.empty()) model.pop_front();
      ASSERT_EQ(list.pop_front(), expected);
    } else if (place == model.end()) {
      list.push_back(*any);
      model.push_back(any);
    } else {
      list.remove(*any);
      model.erase(place);
    }
    ASSERT_EQ(list.empty(), model.empty());
  }
}

}  // namespace
}  // namespace vumedia::io::test
