// The times under the pictures of vumedia-ctl's contact sheets.
#include <limits>

#include <gtest/gtest.h>

#include "vumedia-ctl/label.hpp"

namespace vumedia::ctl_test {
namespace {

TEST(CtlLabel, TimesAsText) {
  using ctl::time_text;
  EXPECT_EQ(time_text(0), "0:00.00");
  EXPECT_EQ(time_text(1.5), "0:01.50");
  EXPECT_EQ(time_text(59.999), "1:00.00");
  EXPECT_EQ(time_text(3599.99), "59:59.99");
  EXPECT_EQ(time_text(3600), "1:00:00");
  EXPECT_EQ(time_text(45296), "12:34:56");
  // What a file may claim.
  EXPECT_EQ(time_text(-1.2), "0:00.00");
  EXPECT_EQ(time_text(std::numeric_limits<double>::quiet_NaN()), "0:00.00");
  for (const double late : {1e10, 1e20, 1e300, std::numeric_limits<double>::infinity()})
    EXPECT_EQ(time_text(late), "999999:59:59") << late;
}

}  // namespace
}  // namespace vumedia::ctl_test
