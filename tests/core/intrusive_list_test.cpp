#include <algorithm>
#include <cstddef>
#include <iterator>
#include <list>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/core/intrusive_list.hpp>

namespace vumedia {
namespace {

struct Item : ListHook<Item> {
  explicit Item(int of = 0) : value(of) {}
  int value;
};
using List = IntrusiveList<Item>;

static_assert(!std::is_copy_constructible_v<Item> && !std::is_move_constructible_v<Item>);
static_assert(!std::is_copy_constructible_v<List> && !std::is_move_constructible_v<List>);
static_assert(std::forward_iterator<List::Iterator>);
static_assert(sizeof(ListHook<Item>) == 2 * sizeof(void*));

std::vector<int> values(const List& list) {
  std::vector<int> found;
  for (const Item& item : list) found.push_back(item.value);
  return found;
}

TEST(IntrusiveList, KeepsTheOrderOfItsNodes) {
  List list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.pop_front(), nullptr);
  Item first(1), second(2), third(3);
  list.push_back(second);
  list.push_back(third);
  list.push_front(first);
  EXPECT_EQ(values(list), (std::vector{1, 2, 3}));
  EXPECT_EQ(list.size(), 3u);
  EXPECT_EQ(list.front(), &first);
  EXPECT_EQ(list.after(first), &second);
  EXPECT_EQ(list.after(third), nullptr);
  EXPECT_EQ(list.pop_front(), &first);
  EXPECT_FALSE(first.linked());
  EXPECT_EQ(values(list), (std::vector{2, 3}));
}

TEST(IntrusiveList, ANodeLeavesByItself) {
  List list;
  Item stays(1);
  list.push_back(stays);
  {
    Item goes(2);
    list.push_back(goes);
    EXPECT_TRUE(goes.linked());
  }
  EXPECT_EQ(values(list), std::vector{1});
  stays.unlink();
  stays.unlink();  // does nothing
  EXPECT_FALSE(stays.linked());
  EXPECT_TRUE(list.empty());
}

TEST(IntrusiveList, LeavesItsNodesBehind) {
  Item first(1), second(2);
  {
    List list;
    list.push_back(first);
    list.push_back(second);
  }
  EXPECT_FALSE(first.linked());
  EXPECT_FALSE(second.linked());
  List other;
  other.push_back(second);
  EXPECT_EQ(values(other), std::vector{2});
  other.clear();
  EXPECT_FALSE(second.linked());
}

TEST(IntrusiveList, MayBeEmptiedWhileItIsWalked) {
  List list;
  std::vector<std::unique_ptr<Item>> items;
  for (int i = 0; i < 10; ++i) list.push_back(*items.emplace_back(std::make_unique<Item>(i)));
  for (auto next = list.begin(); next != list.end();) {
    Item& item = *next++;
    if (item.value % 3 != 0) List::remove(item);
  }
  EXPECT_EQ(values(list), (std::vector{0, 3, 6, 9}));
  while (Item* const item = list.front()) items[static_cast<std::size_t>(item->value)].reset();
  EXPECT_TRUE(list.empty());
}

TEST(IntrusiveList, ANodeMayBeInTwo) {
  struct All {};
  struct Even {};
  struct Number : ListHook<All>, ListHook<Even> {
    int value = 0;
  };
  std::vector<Number> numbers(6);
  IntrusiveList<Number, All> all;
  IntrusiveList<Number, Even> even;
  for (int i = 0; i < 6; ++i) {
    Number& number = numbers[static_cast<std::size_t>(i)];
    number.value = i;
    all.push_back(number);
    if (i % 2 == 0) even.push_back(number);
  }
  even.remove(numbers[2]);
  all.remove(numbers[4]);
  EXPECT_TRUE((IntrusiveList<Number, All>::linked(numbers[2])));
  EXPECT_FALSE((IntrusiveList<Number, Even>::linked(numbers[2])));
  std::vector<int> of_all, of_even;
  for (const Number& number : all) of_all.push_back(number.value);
  for (const Number& number : even) of_even.push_back(number.value);
  EXPECT_EQ(of_all, (std::vector{0, 1, 2, 3, 5}));
  EXPECT_EQ(of_even, (std::vector{0, 4}));
}

// Compared with std::list, for random additions and removals at any place, of nodes that two lists share.
TEST(IntrusiveList, BehavesAsAList) {
  std::mt19937 random(1);
  std::vector<Item> items(20);
  List lists[2];
  std::list<Item*> models[2];
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t which = random() % 2;
    List& list = lists[which];
    std::list<Item*>& model = models[which];
    Item& any = items[random() % items.size()];
    if (random() % 4 == 0) {
      Item* const expected = model.empty() ? nullptr : model.front();
      if (!model.empty()) model.pop_front();
      ASSERT_EQ(list.pop_front(), expected);
    } else if (any.linked()) {
      for (auto& each : models) each.remove(&any);
      const auto how = random() % 3;
      if (how == 0) {
        any.unlink();
      } else if (how == 1) {
        list.move_back(any);
        model.push_back(&any);
      } else {
        list.move_front(any);
        model.push_front(&any);
      }
    } else if (random() % 2 == 0) {
      list.push_front(any);
      model.push_front(&any);
    } else {
      list.push_back(any);
      model.push_back(&any);
    }
    ASSERT_EQ(list.empty(), model.empty());
    ASSERT_TRUE(std::ranges::equal(list, model, {}, [](const Item& item) { return &item; }));
  }
}

}  // namespace
}  // namespace vumedia
