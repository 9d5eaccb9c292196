#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/core/log.hpp>

namespace vumedia::test {
namespace {

using Lines = std::vector<std::pair<LogLevel, std::string>>;

void collect(void* context, LogLevel level, std::string_view line) {
  static_cast<Lines*>(context)->emplace_back(level, line);
}

TEST(Log, DropsEverythingByDefault) {
  const Log log;
  for (const LogLevel level : {LogLevel::trace, LogLevel::error, LogLevel::off})
    EXPECT_FALSE(log.enabled(level));
  log.write(LogLevel::error, "nobody reads %s", "this");
}

TEST(Log, PassesWhatIsEnabled) {
  Lines lines;
  const Log log(collect, &lines, LogLevel::warning);
  EXPECT_EQ(log.level(), LogLevel::warning);
  log.write(LogLevel::trace, "no");
  log.write(LogLevel::info, "no");
  log.write(LogLevel::warning, "%d sheep", 3);
  log.write(LogLevel::error, "%s", std::string(5000, 'e').c_str());
  EXPECT_EQ(lines, (Lines{{LogLevel::warning, "3 sheep"}, {LogLevel::error, std::string(5000, 'e')}}));
}

TEST(Log, OffSilencesAll) {
  Lines lines;
  const Log log(collect, &lines, LogLevel::off);
  log.write(LogLevel::error, "no");
  EXPECT_TRUE(lines.empty());
}

TEST(Log, CopiesShareTheSink) {
  Lines lines;
  const Log log(collect, &lines, LogLevel::trace);
  const Log copy = log;
  copy.write(LogLevel::trace, "%%");
  EXPECT_EQ(lines, (Lines{{LogLevel::trace, "%"}}));
}

}  // namespace
}  // namespace vumedia::test
