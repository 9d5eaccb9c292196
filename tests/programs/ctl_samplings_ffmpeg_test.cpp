// Streams that are not 4:2:0 through vumedia-device and vumedia-ctl, with --compare, --output and compliance.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_fixture.hpp"
#include "support/clips.hpp"
#include "support/media_file.hpp"

namespace vumedia::ctl_test {
namespace {

using vumedia::test::Chroma;
using vumedia::test::clip_file;
using vumedia::test::moving_picture;

using CtlSamplings = Ctl;

struct OutputFormat {
  const char* name;
  const char* y4m;  // what a file says of its colours
  Chroma chroma;
};
struct SampledStream {
  const char* file;
  std::string options;
  std::vector<OutputFormat> formats;
};

std::vector<SampledStream> sampled_streams() {
  const OutputFormat nv12{"NV12", "420mpeg2", Chroma::yuv420};
  const OutputFormat yu12{"YU12", "420mpeg2", Chroma::yuv420};
  const OutputFormat p010{"P010", "420p10", Chroma::yuv420};
  const std::string x264 = std::string(" ") + vumedia::test::x264_quickly;
  const std::string x265 = std::string(" ") + vumedia::test::x265_quickly;
  return {
      {"wide.avi",
       moving_picture(227, 149, 5, "yuvj422p") + " -c:v mjpeg -q:v 3",
       {nv12,
        yu12,
        {"NV16", "422", Chroma::as_coded},
        {"422P", "422", Chroma::as_coded},
        {"YUYV", "422", Chroma::as_coded}}},
      {"full.mp4", moving_picture(178, 98, 5, "yuv444p") + x264, {nv12, {"NV24", "444", Chroma::as_coded}}},
      {"deep.mp4",
       moving_picture(178, 98, 5, "yuv422p10le") + x264,
       {p010, {"Y210", "422p10", Chroma::as_coded}}},
      {"fields.mp4",
       "-f lavfi -i testsrc2=size=176x144:rate=25 -vf setfield=tff -frames:v 5 -pix_fmt yuv422p "
       "-flags +ilme+ildct" +
           x264,
       {nv12, {"NV16", "422", Chroma::as_coded}}},
      {"grey.mp4", moving_picture(178, 98, 5, "gray") + x265, {nv12, yu12}},
      {"deep_grey.mp4", moving_picture(178, 98, 5, "gray10le") + x265, {p010}},
  };
}

TEST_F(CtlSamplings, AreComparedAndWritten) {
  start("ffmpeg-decoder");
  unsigned decoded = 0;
  for (const SampledStream& stream : sampled_streams()) {
    const auto file = clip_file(stream.options, stream.file);
    if (file.empty()) continue;
    ++decoded;
    const auto clip = vumedia::test::read_clip(file);
    for (const OutputFormat& format : stream.formats) {
      SCOPED_TRACE(stream.file + std::string(" to ") + format.name);
      const auto decode =
          run({"decode", file.string(), "--compare", "--format", format.name, "--output", path("out.y4m")});
      EXPECT_EQ(decode.status, 0) << decode.errors;
      EXPECT_TRUE(decode.says(std::string(" ") + format.name + " from ")) << decode.output;
      EXPECT_TRUE(decode.says("bit-exact\n")) << decode.output;
      const auto bytes = read("out.y4m");
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      const std::size_t header = text.find('\n') + 1;
      EXPECT_NE(text.substr(0, header).find(std::string(" C") + format.y4m + " "), std::string_view::npos)
          << text.substr(0, header);
      // Without any of the program's own code in between.
      constexpr std::size_t mark = 6;
      const std::size_t frames = 5;
      ASSERT_EQ((bytes.size() - header) % frames, 0u);
      const std::size_t size = (bytes.size() - header) / frames;
      std::vector<std::string> md5s;
      for (std::size_t i = 0; i < frames; ++i) {
        vumedia::test::Md5 md5;
        md5.update(bytes.data() + header + i * size + mark, size - mark);
        md5s.push_back(md5.hex());
      }
      // Files have no bitstream with start codes, so the frames are those of a stream that has.
      const std::string suffix = clip.codec == AV_CODEC_ID_MJPEG  ? "mjpeg"
                                 : clip.codec == AV_CODEC_ID_H264 ? "264"
                                                                  : "265";
      const auto plain = vumedia::test::make_clip(stream.options, "plain." + suffix);
      EXPECT_EQ(md5s, vumedia::test::decode_plainly(plain, nullptr, format.chroma));
    }
  }
  if (decoded == 0) GTEST_SKIP() << "cannot make clips: no ffmpeg program, or no encoders in it";
}

TEST_F(CtlSamplings, KeepToTheRules) {
  const auto file = clip_file(moving_picture(227, 149, 25, "yuvj422p") + " -c:v mjpeg -q:v 3", "rules.avi");
  if (file.empty()) GTEST_SKIP() << "cannot make clips: no ffmpeg program, or no encoders in it";
  for (const char* const planes : {"single", "multi"}) {
    device_.reset();
    start("ffmpeg-decoder", {"--planes", planes});
    const auto judged = run({"compliance", "--stream", file.string()});
    EXPECT_EQ(judged.status, 0) << judged.output << judged.errors;
    EXPECT_TRUE(judged.says("Failed: 0,")) << judged.output;
  }
}

}  // namespace
}  // namespace vumedia::ctl_test
