// The compliance rules on the backends, which keep all of them.
#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include <vumedia/backends/null.hpp>
#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/client/compliance.hpp>

#include "client/compliance_faults.hpp"
#include "support/embedded_transport.hpp"
#include "support/output_device.hpp"
#include "support/patience.hpp"

namespace vumedia::client::test {
namespace {

using compliance::Options;
using compliance::Report;
using compliance::Verdict;
using vumedia::test::EmbeddedGuest;
using vumedia::test::EmbeddedTransport;

std::unique_ptr<EmbeddedGuest> embedded_guest(EmbeddedTransport transport) {
  auto guest = EmbeddedGuest::attach(std::move(transport), {.command_timeout = vumedia::test::patience,
                                                            .user_memory = compliance::user_memory_size});
  EXPECT_TRUE(guest) << guest.error().message;
  return guest ? std::move(*guest) : nullptr;
}

TEST(Compliance, OfTheNullDeviceNothingCanBeTried) {
  const auto guest = embedded_guest(EmbeddedTransport::over<backends::Null>());
  ASSERT_TRUE(guest);
  const Report report = compliance::run(*guest);
  EXPECT_EQ(report.failed, 0u) << report.ended << failures(report);
  EXPECT_GT(report.passed, 10u);
  EXPECT_TRUE(report.nothing_tried());
  EXPECT_FALSE(report.good()) << "it does nothing, so nothing is known of it";
  EXPECT_EQ(guest->transport().session_count(), 0u);
}

struct CameraKind {
  const char* name;
  bool multiplanar;
};

class CameraCompliance : public testing::TestWithParam<CameraKind> {};

TEST_P(CameraCompliance, EveryRuleIsKept) {
  const backends::TestPatternOptions options{.multiplanar = GetParam().multiplanar};
  const auto guest =
      embedded_guest(EmbeddedTransport::over<backends::TestPattern>(media::DeviceOptions{}, options));
  ASSERT_TRUE(guest);
  const Report report = compliance::run(*guest);
  EXPECT_TRUE(report.good()) << report.ended << failures(report);
  EXPECT_GT(report.passed, 100u);
  EXPECT_EQ(guest->transport().session_count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Planes, CameraCompliance,
                         testing::Values(CameraKind{"SinglePlanar", false}, CameraKind{"Multiplanar", true}),
                         [](const auto& one) { return one.param.name; });

TEST(Compliance, AnOutputDeviceKeepsTheRules) {
  const auto guest = embedded_guest(EmbeddedTransport::over<vumedia::test::OutputDevice>());
  ASSERT_TRUE(guest);
  const Report report = compliance::run(*guest);
  EXPECT_TRUE(report.good()) << report.ended << failures(report);
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

TEST(Compliance, RunsTheRulesThatAreNamed) {
  const auto guest = embedded_guest(EmbeddedTransport::over<backends::TestPattern>());
  ASSERT_TRUE(guest);
  Options options;
  options.filter = "mmap/*";
  options.userptr = false;
  std::size_t told = 0;
  const Report report = compliance::run(*guest, options, [&](const compliance::RuleResult& result) {
    ++told;
    EXPECT_EQ(std::string(result.rule->id).substr(0, 5), "mmap/");
    for (const auto& run : result.runs) EXPECT_EQ(run.memory, std::uint32_t{V4L2_MEMORY_MMAP});
  });
  EXPECT_GT(told, 5u);
  EXPECT_EQ(report.results.size(), told);
  EXPECT_EQ(report.passed, told);
}

// A device that does not answer ends the run in that rule.
TEST(Compliance, EndsWithADeviceThatIsStuck) {
  auto guest = EmbeddedGuest::attach(EmbeddedTransport::over<backends::TestPattern>(),
                                     {.command_timeout = std::chrono::milliseconds(20)});
  ASSERT_TRUE(guest);
  // A command in another queue: nobody will ever answer it.
  (*guest)->transport().tamper.before = [stuck = 0](auto& device, std::span<std::byte>) mutable {
    if (++stuck > 200) device.queue(media::wire::commandq).stop();
  };
  const Report report = compliance::run(**guest);
  EXPECT_FALSE(report.good());
  EXPECT_NE(report.ended, "");
  ASSERT_FALSE(report.results.empty());
  EXPECT_EQ(report.results.back().verdict(), Verdict::failed);
  EXPECT_LT(report.results.size(), 100u);
}

}  // namespace
}  // namespace vumedia::client::test
