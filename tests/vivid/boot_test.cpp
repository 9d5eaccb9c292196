// The virtual machine itself: vivid is loaded and delivers frames, and our programs run on its kernel.
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include <vumedia/client/guest.hpp>

#include "proxy.hpp"
#include "stream.hpp"
#include "vivid.hpp"

namespace vumedia::vivid::test {
namespace {

TEST(Boot, VividHasANodeOfEveryKind) {
  const Driver driver;
  for (const char* const kind : {"vid-cap", "vid-out", "vbi-cap", "vbi-out", "rad-rx", "rad-tx", "sdr-cap",
                                 "meta-cap", "meta-out", "touch-cap"})
    EXPECT_TRUE(std::filesystem::exists(node("vivid-000-" + std::string(kind)))) << kind;
}

TEST(Boot, VividDeliversFrames) {
  const Driver driver;
  NodeFile camera(node("vivid-000-vid-cap"));
  const auto frame = capture_one(camera, V4L2_BUF_TYPE_VIDEO_CAPTURE);
  ASSERT_TRUE(frame);
  EXPECT_GT(frame->planes.at(0).size(), 0u);
}

// The loop works with this kernel's io_uring.
TEST(Boot, TheDeviceServesOnThisKernel) {
  Served device("test-pattern", {});
  auto guest = device.connect();
  ASSERT_TRUE(guest);
  ProxyFile camera(*guest);
  const auto frame = capture_one(camera, V4L2_BUF_TYPE_VIDEO_CAPTURE);
  ASSERT_TRUE(frame);
  EXPECT_GT(frame->planes.at(0).size(), 0u);
}

}  // namespace
}  // namespace vumedia::vivid::test
