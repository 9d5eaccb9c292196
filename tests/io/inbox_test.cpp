// The inbox with a plain poll(2) as its loop.
#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>

#include <vumedia/io/inbox.hpp>

namespace vumedia::io::test {
namespace {

std::shared_ptr<Inbox> make_inbox() {
  auto inbox = Inbox::create();
  EXPECT_TRUE(inbox);
  return *inbox;
}

bool readable(const Inbox& inbox, int milliseconds = 0) {
  pollfd state{inbox.fd(), POLLIN, 0};
  return ::poll(&state, 1, milliseconds) == 1;
}

TEST(Inbox, IsReadableWhileTasksWait) {
  const auto inbox = make_inbox();
  EXPECT_FALSE(readable(*inbox));
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(inbox->post([&order, i] { order.push_back(i); }));
  EXPECT_TRUE(readable(*inbox));
  EXPECT_TRUE(order.empty());
  inbox->run();
  EXPECT_EQ(order, (std::vector{0, 1, 2}));
  EXPECT_FALSE(readable(*inbox));
  inbox->run();  // nothing waits; does not block
  EXPECT_EQ(order.size(), 3U);
}

TEST(Inbox, ATaskMayPost) {
  const auto inbox = make_inbox();
  int runs = 0;
  EXPECT_TRUE(inbox->post([&] {
    ++runs;
    EXPECT_TRUE(inbox->post([&] { ++runs; }));
  }));
  inbox->run();
  EXPECT_EQ(runs, 1) << "a task that posts itself must not keep the loop";
  EXPECT_TRUE(readable(*inbox));
  inbox->run();
  EXPECT_EQ(runs, 2);
}

TEST(Inbox, RunsTasksThatCannotBeCopied) {
  const auto inbox = make_inbox();
  int seen = 0;
  EXPECT_TRUE(inbox->post([&seen, owned = std::make_unique<int>(5)] { seen = *owned; }));
  inbox->run();
  EXPECT_EQ(seen, 5);
}

TEST(Inbox, CloseDropsWhatWaitsAndRefusesMore) {
  const auto inbox = make_inbox();
  const auto token = std::make_shared<int>();
  bool ran = false;
  EXPECT_TRUE(inbox->post([&ran, token] { ran = true; }));
  EXPECT_EQ(token.use_count(), 2);
  inbox->close();
  EXPECT_EQ(token.use_count(), 1) << "a dropped task must be destroyed";
  EXPECT_FALSE(inbox->post([&ran, token] { ran = true; }));
  EXPECT_EQ(token.use_count(), 1);
  inbox->run();
  EXPECT_FALSE(ran);
}

// A dropped task's destructor may post in turn (a Completion that answers for itself).
TEST(Inbox, ADroppedTaskMayPost) {
  const auto inbox = make_inbox();
  struct Poster {
    explicit Poster(std::shared_ptr<Inbox> to) : inbox(std::move(to)) {}
    Poster(const Poster&) = delete;
    Poster& operator=(const Poster&) = delete;
    ~Poster() {
      inbox->post([] {});
    }
    std::shared_ptr<Inbox> inbox;
  };
  EXPECT_TRUE(inbox->post([poster = std::make_unique<Poster>(inbox)] {}));
  inbox->close();
  EXPECT_FALSE(inbox->post([poster = std::make_unique<Poster>(inbox)] {}));
}

TEST(Inbox, EveryTaskOfEveryThreadRunsOnce) {
  constexpr int threads = 4;
  constexpr int posts = 5000;
  const auto inbox = make_inbox();
  std::array<int, threads> next{};
  std::vector<std::thread> posters;
  for (std::size_t t = 0; t < threads; ++t)
    posters.emplace_back([&, t] {
      for (int i = 0; i < posts; ++i)
        EXPECT_TRUE(inbox->post([&, t, i] {
          EXPECT_EQ(next[t], i);
          next[t] = i + 1;
        }));
    });
  const auto all = [&] {
    for (const int count : next)
      if (count != posts) return false;
    return true;
  };
  while (!all()) {
    ASSERT_TRUE(readable(*inbox, 20'000)) << "a wake-up was lost";
    inbox->run();
  }
  for (auto& poster : posters) poster.join();
}

TEST(Inbox, ClosingRacesWithPosting) {
  for (int round = 0; round < 200; ++round) {
    const auto inbox = make_inbox();
    int ran = 0;
    std::atomic<int> accepted{0};
    std::atomic<bool> begun{false};
    std::thread poster([&, box = inbox] {
      begun = true;
      while (box->post([&ran] { ++ran; })) ++accepted;
    });
    while (!begun) std::this_thread::yield();
    inbox->run();
    inbox->close();
    poster.join();
    EXPECT_LE(ran, accepted);
  }
}

}  // namespace
}  // namespace vumedia::io::test
