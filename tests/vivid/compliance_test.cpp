// The compliance rules on a kernel driver, through the proxy: they agree with the documentation if vivid,
// which its authors check with v4l2-compliance, keeps them.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

struct PlaneApi {
  const char* name;
  const char* options;
  const char* rules;
  friend std::ostream& operator<<(std::ostream& out, const PlaneApi& api) { return out << api.name; }
};
// Without all sizes and intervals of eighty formats, which take minutes in an emulated machine; and the
// second time only what depends on the planes.
const PlaneApi plane_apis[] = {{"single", "n_devs=1", "!(enum-frame*)"},
                               {"multiplanar", "n_devs=1 multiplanar=2", "[m-s]*"}};

class Compliance : public testing::TestWithParam<PlaneApi> {};

TEST_P(Compliance, VividKeepsTheRules) {
  const Driver driver(GetParam().options);
  const Served device(node("vivid-000-vid-cap"));
  ChildProcess process(
      {program("vumedia-ctl"), "--socket-path", device.socket(), "compliance", "--rule", GetParam().rules});
  const auto status = process.wait(std::chrono::minutes(8));
  const std::string output = process.output();
  std::vector<std::string> failed;
  for (std::size_t at = 0; (at = output.find("\ttest ", at)) != std::string::npos;) {
    at += 6;
    const std::size_t end = std::min(output.find('\n', at), output.size()), colon = output.find(": ", at);
    if (colon < end && output.substr(colon, end - colon) == ": FAIL")
      failed.push_back(output.substr(at, colon - at));
  }
  std::vector<std::string> broken;
  // ENOTTY in place of EINVAL for the types of the plane API that it was not loaded with.
  if (GetParam().rules[0] == '!') broken.emplace_back("g-fmt/unknown-type");
  // It counts frames by the clock, and gives two that come in one period the same number, which happened on a
  // busy machine.
  const bool repeats = std::erase(failed, "stream/sequence") != 0;
  EXPECT_EQ(failed, broken) << output << process.error_output();
  EXPECT_EQ(status, broken.empty() && !repeats ? 0 : 1) << process.error_output();
  EXPECT_NE(output.find("\nTotal for "), std::string::npos) << output;
}

INSTANTIATE_TEST_SUITE_P(Planes, Compliance, testing::ValuesIn(plane_apis),
                         [](const auto& api) { return std::string(api.param.name); });

}  // namespace
}  // namespace vumedia::vivid::test
