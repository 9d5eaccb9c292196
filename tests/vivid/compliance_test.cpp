// The compliance rules on a kernel's own driver, through the proxy: they are as the documentation has them if
// vivid, which its authors hold to v4l2-compliance, keeps them.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proxy.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

// Long lists of controls, formats and intervals take minutes in an emulated machine: rules from G to S are on
// formats, priorities, inputs, mappings, buffers and streams.
TEST(Compliance, VividKeepsTheRulesOnBuffersAndStreams) {
  const Driver driver;
  const Served device(node("vivid-000-vid-cap"));
  ChildProcess process(
      {program("vumedia-ctl"), "--socket-path", device.socket(), "compliance", "--rule", "[g-s]*"});
  const auto status = process.wait(std::chrono::minutes(8));
  const std::string output = process.output();
  std::vector<std::string> failed;
  for (std::size_t at = 0; (at = output.find("\ttest ", at)) != std::string::npos;) {
    at += 6;
    const std::size_t end = std::min(output.find('\n', at), output.size()), colon = output.find(": ", at);
    if (colon < end && output.substr(colon, end - colon) == ": FAIL")
      failed.push_back(output.substr(at, colon - at));
  }
  const std::vector<std::string> broken{
      // ENOTTY in place of EINVAL for the types of the plane API that it was not loaded with.
      "g-fmt/unknown-type",
      // The proxy knows no lengths of USERPTR buffers of a file that requested none: EINVAL in place of
      // EBUSY.
      "qbuf/owner",
  };
  EXPECT_EQ(failed, broken) << output << process.error_output();
  EXPECT_EQ(status, 1) << process.error_output();
  EXPECT_NE(output.find("\nTotal for "), std::string::npos) << output;
}

}  // namespace
}  // namespace vumedia::vivid::test
