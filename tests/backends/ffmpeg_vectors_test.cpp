// The conformance streams, bit for bit, however the engine is set up.
#include <set>
#include <string>
#include <tuple>

#include <gtest/gtest.h>
#include <support/engine_client.hpp>
#include <support/media_file.hpp>

namespace vumedia::test {
namespace {

struct Way {
  const char* name;
  std::uint32_t fourcc;
  bool direct;
  unsigned threads;
  bool frame_threads;
  std::uint32_t capture_buffers;  // 0: as many as are asked for
  std::size_t hold;
};

constexpr Way ways[] = {
    {"yu12_in_place", V4L2_PIX_FMT_YUV420, true, 1, false, 0, 0},
    {"yu12_in_place_held", V4L2_PIX_FMT_YUV420, true, 1, false, 12, 5},
    {"yu12_in_place_one_buffer", V4L2_PIX_FMT_YUV420, true, 1, false, 1, 0},
    {"yu12_in_place_four_buffers", V4L2_PIX_FMT_YUV420, true, 1, false, 4, 1},
    {"yu12_in_place_frame_threads", V4L2_PIX_FMT_YUV420, true, 3, true, 0, 0},
    {"yu12_in_place_slice_threads", V4L2_PIX_FMT_YUV420, true, 2, false, 0, 0},
    {"yu12_copied", V4L2_PIX_FMT_YUV420, false, 1, false, 0, 0},
    {"nv12", V4L2_PIX_FMT_NV12, true, 1, false, 0, 0},
    {"nv12_frame_threads", V4L2_PIX_FMT_NV12, true, 3, true, 4, 2},
};

class VectorsTest : public testing::TestWithParam<std::size_t> {};

TEST_P(VectorsTest, DecodesBitExactly) {
  const Way& way = ways[GetParam()];
  const auto vectors = vectors_of_turn(GetParam());
  if (vectors.empty()) {
    GTEST_SKIP()
        << "no test vectors: neither VUMEDIA_TEST_VECTORS nor ../shared/vectors beside the checkout exists";
  }
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.file);
    const Clip clip = read_clip(vectors_folder() / vector.file);
    ASSERT_FALSE(clip.units.empty());
    ClientOptions options;
    options.fourcc = way.fourcc;
    options.capture_buffers = way.capture_buffers;
    options.hold = way.hold;
    options.engine.direct = way.direct;
    options.engine.codec.threads = way.threads;
    options.engine.codec.frame_threads = way.frame_threads;
    EngineClient client(options);
    ASSERT_TRUE(client.start(clip.codec));
    ASSERT_TRUE(client.play(clip));
    EXPECT_EQ(client.frames.size(), vector.frames);
    for (const auto& frame : client.frames) {
      EXPECT_EQ(frame.visible.width, vector.width);
      EXPECT_EQ(frame.visible.height, vector.height);
    }
    EXPECT_EQ(client.total_md5(), vector.md5);
    EXPECT_EQ(client.changes, 1u);
    const bool is_whole = vector.file.find("LOST") == std::string::npos;
    for (const auto& frame : client.frames)
      EXPECT_FALSE(is_whole && (frame.flags & V4L2_BUF_FLAG_ERROR) != 0);
    const auto counters = client.engine->counters();
    const bool in_place = way.fourcc == V4L2_PIX_FMT_YUV420 && way.direct && way.capture_buffers == 0;
    // Of the first frames fewer are, until the client has shown how many it keeps.
    if (in_place && vector.frames >= 20) {
      EXPECT_GT(counters.in_place, counters.copied);
    } else if (!way.direct || way.fourcc == V4L2_PIX_FMT_NV12) {
      EXPECT_EQ(counters.in_place, 0u);
    }
    // Each frame has the time stamp of one unit, and no two are the same.
    std::set<std::uint64_t> stamps;
    for (const auto& frame : client.frames) {
      constexpr std::uint64_t step = 1'000'000;
      EXPECT_TRUE(frame.timestamp_ns >= step && frame.timestamp_ns <= clip.units.size() * step);
      EXPECT_EQ(frame.timestamp_ns % step, 0u);
      EXPECT_TRUE(stamps.insert(frame.timestamp_ns).second) << frame.timestamp_ns;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, VectorsTest, testing::Range(std::size_t{0}, std::size(ways)),
                         [](const auto& parameter) { return std::string(ways[parameter.param].name); });

TEST(VectorsTest, SaysWhereTheVisiblePartLies) {
  if (vectors_folder().empty()) GTEST_SKIP() << "no test vectors";
  const Clip clip = read_clip(vectors_folder() / "h264/CVFC1_Sony_C.jsv");
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(clip.codec));
  ASSERT_TRUE(client.play(clip));
  ASSERT_TRUE(client.announced);
  EXPECT_EQ(client.announced->picture.visible.left, 26u);
  EXPECT_EQ(client.announced->picture.visible.width, 300u);
  EXPECT_EQ(client.announced->picture.visible.height, 168u);
}

TEST(VectorsTest, ReportsTheRange) {
  if (vectors_folder().empty()) GTEST_SKIP() << "no test vectors";
  const Clip clip = read_clip(vectors_folder() / "h264/VID_1920x1080_cabac_temporal_direct.264");
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(clip.codec));
  ASSERT_TRUE(client.play(clip));
  ASSERT_TRUE(client.announced);
  EXPECT_EQ(client.announced->picture.colours.quantization,
            static_cast<std::uint32_t>(V4L2_QUANTIZATION_FULL_RANGE));
}

}  // namespace
}  // namespace vumedia::test
