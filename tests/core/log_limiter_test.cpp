#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/core/log_limiter.hpp>

namespace vumedia::test {
namespace {

using namespace std::chrono_literals;

TEST(LineBudget, FillsUpWithTime) {
  LineBudget::TimePoint now{};
  LineBudget budget({.burst = 3, .interval = 10s}, now);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.take(now)) << i;
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(budget.take(now)) << i;
  EXPECT_EQ(budget.take_left_out(), 5u);
  EXPECT_EQ(budget.take_left_out(), 0u);
  now += 9'999ms;
  EXPECT_FALSE(budget.take(now));
  now += 1ms;
  EXPECT_TRUE(budget.take(now));
  EXPECT_FALSE(budget.take(now));
  now += 25s;  // two, and half of a third
  EXPECT_TRUE(budget.take(now));
  EXPECT_TRUE(budget.take(now));
  EXPECT_FALSE(budget.take(now));
  now += 5s;
  EXPECT_TRUE(budget.take(now));
  now += 24h * 365;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.take(now)) << i;
  EXPECT_FALSE(budget.take(now)) << "no more than the burst is saved up";
}

TEST(LineBudget, IsNotMisledByAClockThatStandsStill) {
  LineBudget::TimePoint now{10s};
  LineBudget budget({.burst = 1, .interval = 1s}, now);
  EXPECT_TRUE(budget.take(now - 5s));
  EXPECT_FALSE(budget.take(now - 5s));
  EXPECT_FALSE(budget.take(now));
  LineBudget none({.burst = 1, .interval = 0s}, now);
  EXPECT_TRUE(none.take(now));
  EXPECT_FALSE(none.take(now + 1h)) << "never more";
}

struct KeptLines {
  std::vector<std::string> all;
  Log log(LogLevel level) {
    return {[](void* self, LogLevel, std::string_view line) {
              static_cast<KeptLines*>(self)->all.emplace_back(line);
            },
            this, level};
  }
};

TEST(LogLimiter, SaysWhatItLeftOut) {
  KeptLines lines;
  LogLimiter limiter(lines.log(LogLevel::debug), {.burst = 2, .interval = 1ms});
  const Log log = limiter.log();
  EXPECT_FALSE(log.enabled(LogLevel::trace));
  for (int i = 0; i < 1000; ++i) log.write(LogLevel::debug, "%d%%", i);
  ASSERT_EQ(lines.all.size(), 1000u);  // all were asked for
  EXPECT_EQ(lines.all[7], "7%");
  lines.all.clear();
  // However fast the loop is, some lines are left out and counted.
  std::size_t said = 0, left_out = 0;
  while (left_out == 0) {
    log.write(LogLevel::error, "again");
    ++said;
    for (const auto& line : lines.all) {
      if (line != "again") left_out += std::stoul(line);
    }
  }
  EXPECT_EQ(lines.all.size() - 1 + left_out, said);
}

TEST(LogLimiter, TakesLinesOfManyThreads) {
  KeptLines lines;
  LogLimiter limiter(lines.log(LogLevel::info), {.burst = 1, .interval = 24h});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int line = 0; line < 1000; ++line) limiter.log().write(LogLevel::warning, "line");
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(lines.all, std::vector<std::string>{"line"});
}

}  // namespace
}  // namespace vumedia::test
