// The compliance rules on the decoder, which keeps all of them: in both plane layouts, and for streams of
// every format.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg_decoder.hpp>
#include <vumedia/client/compliance.hpp>

#include "client/compliance_faults.hpp"
#include "client/ffmpeg_streams.hpp"
#include "support/effort.hpp"
#include "support/embedded_transport.hpp"
#include "support/patience.hpp"

namespace vumedia::client::test {
namespace {

// A run over a decoder of its own.
void expect_compliance(bool multiplanar, const compliance::CodedStream* stream, const char* filter) {
  if (stream == nullptr)
    GTEST_SKIP() << "cannot make the stream: no ffmpeg program, or no such encoder in it";
  backends::FfmpegDecoderOptions decoder;
  decoder.session.multiplanar = multiplanar;
  auto guest = vumedia::test::EmbeddedGuest::attach(
      vumedia::test::EmbeddedTransport::over<backends::FfmpegDecoder>(media::DeviceOptions{}, decoder),
      {.command_timeout = vumedia::test::patience, .user_memory = compliance::user_memory_size});
  ASSERT_TRUE(guest) << guest.error().message;
  compliance::Options options;
  options.filter = filter;
  options.stream = stream;
  options.patience = vumedia::test::patience;
  const auto report = compliance::run(**guest, options);
  EXPECT_TRUE(report.good()) << report.ended << failures(report);
  EXPECT_GT(report.passed, 0u);
  EXPECT_EQ((*guest)->transport().session_count(), 0u);
}

class DecoderCompliance : public testing::TestWithParam<bool> {};

TEST_P(DecoderCompliance, EveryRuleIsKept) {
  expect_compliance(GetParam(), steady_stream(), "*");
}
TEST_P(DecoderCompliance, ChangesOfResolutionKeepTheRules) {
  for (const char* const filter : {"decoding/*", "drain/*", "seek/*", "change/*"})
    expect_compliance(GetParam(), changing_stream(), filter);
}

INSTANTIATE_TEST_SUITE_P(Planes, DecoderCompliance, testing::Bool(),
                         [](const auto& one) { return one.param ? "Multiplanar" : "SinglePlanar"; });

// Frames of more formats, each with its special features: hidden frames, fields, 10 bits.
class StreamCompliance : public testing::TestWithParam<const char*> {};

TEST_P(StreamCompliance, EveryRuleIsKept) {
  const auto stream = stream_of(vumedia::test::clip_of(GetParam()));
  for (const char* const filter : {"decoding/*", "drain/*", "seek/*"})
    expect_compliance(true, if_made(stream), filter);
}

// One is enough where each takes many times as long.
std::vector<const char*> stream_names() {
  if (vumedia::test::sanitized) return {"vp9.ivf"};
  return {"h264_interlaced.264", "vp9.ivf", "av1.ivf", "mjpeg.mjpeg"};
}

INSTANTIATE_TEST_SUITE_P(Formats, StreamCompliance, testing::ValuesIn(stream_names()), [](const auto& one) {
  std::string name = one.param;
  name.resize(name.find('.'));
  return name;
});

}  // namespace
}  // namespace vumedia::client::test
