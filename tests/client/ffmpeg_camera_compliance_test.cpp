// The compliance rules on a camera that streams coded pictures.
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/jpeg_encoder.hpp>
#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/client/compliance.hpp>

#include "client/compliance_faults.hpp"
#include "support/embedded_transport.hpp"
#include "support/patience.hpp"

namespace vumedia::client::test {
namespace {

using JpegCamera = backends::BasicTestPattern<backends::ffmpeg::JpegEncoder>;

TEST(JpegCameraCompliance, EveryRuleIsKept) {
  const backends::TestPatternOptions options{.pixelformat = V4L2_PIX_FMT_MJPEG};
  const auto guest = vumedia::test::EmbeddedGuest::attach(
      vumedia::test::EmbeddedTransport::over<JpegCamera>(media::DeviceOptions{}, options),
      {.command_timeout = vumedia::test::patience, .user_memory = compliance::user_memory_size});
  ASSERT_TRUE(guest) << guest.error().message;
  const auto report = compliance::run(**guest);
  EXPECT_TRUE(report.good()) << report.ended << failures(report);
  EXPECT_GT(report.passed, 100u);
  EXPECT_EQ((*guest)->transport().session_count(), 0u);
}

}  // namespace
}  // namespace vumedia::client::test
