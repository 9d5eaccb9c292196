// The compliance rules on the decoder, in both plane layouts.
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg_decoder.hpp>
#include <vumedia/client/compliance.hpp>

#include "client/compliance_faults.hpp"
#include "support/embedded_transport.hpp"

namespace vumedia::client::test {
namespace {

class DecoderCompliance : public testing::TestWithParam<bool> {};

TEST_P(DecoderCompliance, EveryRuleIsKept) {
  backends::FfmpegDecoderOptions options;
  options.session.multiplanar = GetParam();
  auto guest = vumedia::test::EmbeddedGuest::attach(
      vumedia::test::EmbeddedTransport::over<backends::FfmpegDecoder>(media::DeviceOptions{}, options),
      {.user_memory = compliance::user_memory_size});
  ASSERT_TRUE(guest) << guest.error().message;
  const auto report = compliance::run(**guest);
  EXPECT_TRUE(report.good()) << report.ended << failures(report);
  EXPECT_EQ((*guest)->transport().session_count(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Planes, DecoderCompliance, testing::Bool(),
                         [](const auto& one) { return one.param ? "Multiplanar" : "SinglePlanar"; });

}  // namespace
}  // namespace vumedia::client::test
