// Operations and the list that reactors keep of them.
#include <algorithm>
#include <list>
#include <memory>
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
  OperationAccess::invoke(first.operation, 3);
  OperationAccess::invoke(first.operation, 4);
  OperationAccess::invoke(second.operation, -5);
  EXPECT_EQ(first.sum, 7);
  EXPECT_EQ(second.sum, -5);
}

TEST(Operation, CallsItsFunction) {
  auto moved_in = std::make_unique<int>(1);
  int seen = 0;
  CallOperation operation(
      [&seen, owned = std::move(moved_in)](std::int32_t result) { seen = result + *owned; });
  OperationAccess::invoke(operation, 8);
  EXPECT_EQ(seen, 9);
}

TEST(Operation, IsPendingUnlessIdle) {
  Counter counter;
  EXPECT_FALSE(counter.operation.pending());
  OperationAccess::state(counter.operation) = OperationAccess::State::submitted;
  EXPECT_TRUE(counter.operation.pending());
  OperationAccess::state(counter.operation) = OperationAccess::State::ready;
  EXPECT_TRUE(counter.operation.pending());
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
