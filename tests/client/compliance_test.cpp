// The compliance rules on the backends, which keep all of them.
#include <memory>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include <vumedia/backends/null.hpp>
#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/client/compliance.hpp>

#include "support/embedded_transport.hpp"

namespace vumedia::client::test {
namespace {

using compliance::Options;
using compliance::Report;
using compliance::Verdict;
using vumedia::test::EmbeddedGuest;
using vumedia::test::EmbeddedTransport;

std::unique_ptr<EmbeddedGuest> embedded_guest(EmbeddedTransport transport) {
  auto guest = EmbeddedGuest::attach(std::move(transport), {.user_memory = compliance::user_memory_size});
  EXPECT_TRUE(guest) << guest.error().message;
  return guest ? std::move(*guest) : nullptr;
}

// All that a run objected to.
std::string objections(const Report& report) {
  std::string text = report.ended;
  for (const auto& result : report.results) {
    for (const auto& run : result.runs) {
      if (run.finding.verdict == Verdict::failed)
        text += std::string(result.rule->id) + " (" + run.name() + "): " + run.finding.text + "\n";
    }
  }
  return text;
}

TEST(Compliance, TheNullDeviceKeepsTheRules) {
  const auto guest = embedded_guest(EmbeddedTransport::over<backends::Null>());
  ASSERT_TRUE(guest);
  const Report report = compliance::run(*guest);
  EXPECT_TRUE(report.good()) << objections(report);
  EXPECT_GT(report.passed, 10u);
  EXPECT_EQ(guest->transport().session_count(), 0u);
}

TEST(Compliance, TheTestPatternKeepsTheRules) {
  const auto guest = embedded_guest(EmbeddedTransport::over<backends::TestPattern>());
  ASSERT_TRUE(guest);
  const Report report = compliance::run(*guest);
  EXPECT_TRUE(report.good()) << objections(report);
  EXPECT_EQ(guest->transport().session_count(), 0u);
}

TEST(Compliance, RulesHaveNamesOfTheirOwn) {
  std::set<std::string> ids;
  for (const auto& group : compliance::all_rules) {
    for (const auto& rule : group.rules) {
      EXPECT_TRUE(ids.insert(rule.id).second) << rule.id << " is there twice";
      EXPECT_NE(std::string(rule.id).find('/'), std::string::npos) << rule.id;
      EXPECT_STRNE(rule.demand, "") << rule.id;
      EXPECT_STRNE(rule.section, "") << rule.id;
    }
  }
}

}  // namespace
}  // namespace vumedia::client::test
