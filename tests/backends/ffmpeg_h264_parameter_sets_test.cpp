// How many pictures are held back because of H.264's parameter sets.
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/h264_parameter_sets.hpp>

#include "support/h264_writer.hpp"

namespace vumedia::test {
namespace {

namespace ffmpeg = backends::ffmpeg;

std::optional<unsigned> depth_of(const SpsRecipe& recipe) {
  const auto sps = ffmpeg::parse_h264_sps(nal(write_sps(recipe)));
  if (!sps) return std::nullopt;
  return ffmpeg::reorder_depth(*sps);
}

TEST(H264ParameterSetsTest, InferTheDepthFromLevelAndSize) {
  struct Row {
    unsigned level;
    unsigned width;
    unsigned height;
    unsigned depth;
  };
  // Table A-1: MaxDpbMbs divided by the macroblocks of a frame.
  constexpr Row rows[] = {
      {10, 11, 9, 4},    {9, 11, 9, 4},     {11, 11, 9, 9},     {11, 22, 18, 2},   {12, 22, 18, 6},
      {13, 22, 18, 6},   {20, 22, 18, 6},   {21, 22, 36, 6},    {22, 45, 36, 5},   {30, 45, 36, 5},
      {31, 80, 45, 5},   {32, 80, 45, 5},   {32, 80, 64, 4},    {40, 120, 68, 4},  {41, 120, 68, 4},
      {42, 120, 68, 4},  {50, 120, 68, 13}, {50, 160, 90, 7},   {51, 256, 135, 5}, {52, 256, 135, 5},
      {60, 512, 270, 5}, {61, 512, 270, 5}, {62, 512, 270, 5},  {40, 11, 9, 16},   {62, 11, 9, 16},
      {10, 4, 3, 16},    {77, 11, 9, 16},   {255, 120, 68, 16},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(testing::Message() << row.level << ": " << row.width << "x" << row.height);
    EXPECT_EQ(depth_of({.level = row.level, .width = row.width, .height = row.height}), row.depth);
  }
}

TEST(H264ParameterSetsTest, KnowLevel1bOfTheEarlierProfiles) {
  constexpr unsigned set3 = 0x10;
  EXPECT_EQ(depth_of({.profile = 77, .constraints = set3, .level = 11, .width = 11, .height = 9}), 4u);
  EXPECT_EQ(depth_of({.profile = 88, .constraints = set3, .level = 11, .width = 11, .height = 9}), 4u);
  EXPECT_EQ(depth_of({.profile = 77, .level = 11, .width = 11, .height = 9}), 9u);
}

TEST(H264ParameterSetsTest, CountTheFieldsOfAFrame) {
  EXPECT_EQ(depth_of({.level = 30, .width = 45, .height = 18, .frames_only = false}), 5u);
  EXPECT_EQ(depth_of({.level = 40, .width = 120, .height = 34, .frames_only = false}), 4u);
}

TEST(H264ParameterSetsTest, DoNotTrustALevelThatIsTooLow) {
  EXPECT_EQ(depth_of({.level = 10, .reference_frames = 3, .width = 120, .height = 68}), 3u);
  EXPECT_EQ(depth_of({.level = 10, .reference_frames = 7, .width = 11, .height = 9}), 7u);
  EXPECT_EQ(depth_of({.level = 10, .reference_frames = 77, .width = 11, .height = 9}), 16u);
}

TEST(H264ParameterSetsTest, KnowWhatCannotReorder) {
  constexpr unsigned set0 = 0x80;
  constexpr unsigned set1 = 0x40;
  constexpr unsigned set3 = 0x10;
  constexpr unsigned set4_and_5 = 0x0c;
  const SpsRecipe still[] = {
      {.profile = 66},
      {.profile = 66, .constraints = set1},
      {.profile = 66, .constraints = set0 | set1},
      {.profile = 77, .constraints = set0},
      {.profile = 88, .constraints = set0 | set1},
      {.profile = 100, .constraints = set4_and_5},
      {.profile = 77, .constraints = set4_and_5},
      {.profile = 110, .constraints = set3},
      {.profile = 122, .constraints = set3},
      {.profile = 244, .constraints = set3},
      {.profile = 44, .constraints = set3},
      {.profile = 100, .constraints = set3},
      {.order_type = 2},
      {.order_type = 2, .vui = VuiRecipe{.restriction = {{3, 4}}}},
      {.reference_frames = 0},
  };
  for (const auto& recipe : still) {
    SCOPED_TRACE(testing::Message() << recipe.profile << " " << recipe.constraints);
    EXPECT_EQ(depth_of(recipe), 0u);
  }
  const SpsRecipe moving[] = {
      {.profile = 77},  {.profile = 77, .constraints = set1},  {.profile = 88},   {.profile = 100},
      {.profile = 110}, {.profile = 100, .constraints = set1}, {.order_type = 1},
  };
  for (const auto& recipe : moving) {
    SCOPED_TRACE(testing::Message() << recipe.profile << " " << recipe.constraints);
    EXPECT_EQ(depth_of(recipe), 16u);
  }
}

TEST(H264ParameterSetsTest, FollowWhatIsWritten) {
  for (unsigned depth = 0; depth <= 16; ++depth) {
    for (const bool everything : {false, true}) {
      for (const unsigned order_type : {0u, 1u}) {
        SCOPED_TRACE(testing::Message() << depth << everything << order_type);
        const SpsRecipe recipe{.order_type = order_type,
                               .scaling_lists = everything,
                               .vui = VuiRecipe{.restriction = {{depth, 16}}, .everything_else = everything}};
        EXPECT_EQ(depth_of(recipe), depth);
      }
    }
  }
  EXPECT_EQ(depth_of({.vui = VuiRecipe{.restriction = {{17, 17}}}}), 16u);
  EXPECT_EQ(depth_of({.profile = 66, .vui = VuiRecipe{.restriction = {{2, 4}}}}), 2u);
  const SpsRecipe without{.level = 11,
                          .width = 11,
                          .height = 9,
                          .scaling_lists = true,
                          .vui = VuiRecipe{.everything_else = true}};
  EXPECT_EQ(depth_of(without), 9u);
}

TEST(H264ParameterSetsTest, SurviveTheirEndAnywhere) {
  const SpsRecipe recipe{.level = 11,
                         .width = 11,
                         .height = 9,
                         .scaling_lists = true,
                         .vui = VuiRecipe{.restriction = {{2, 4}}, .everything_else = true}};
  const auto unit = write_sps(recipe);
  std::optional<unsigned> before;
  for (std::size_t size = 0; size <= unit.size() - 4; ++size) {
    const auto sps = ffmpeg::parse_h264_sps(nal(unit).first(size));
    // Nothing; the level and the size; then the written number.
    std::optional<unsigned> depth;
    if (sps) depth = ffmpeg::reorder_depth(*sps);
    if (depth == before) continue;
    EXPECT_EQ(depth, !before ? 9u : 2u);
    before = depth;
  }
  EXPECT_EQ(before, 2u);
  // Any value of any byte.
  for (std::size_t at = 4; at < unit.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      auto damaged = unit;
      damaged[at] = static_cast<std::uint8_t>(value);
      const auto sps = ffmpeg::parse_h264_sps(nal(damaged));
      EXPECT_LE(sps ? ffmpeg::reorder_depth(*sps) : 0, 16u);
    }
  }
}

TEST(H264ParameterSetsTest, FindTheSequenceOfASlice) {
  ffmpeg::H264ParameterSets sets;
  const SpsRecipe deep{.level = 10, .id = 31, .width = 11, .height = 9};
  const SpsRecipe still{.id = 0, .order_type = 2};
  const auto slice = [](unsigned pps) {
    return write_picture({.width = 1, .height = 1}, {.idr = true, .pps = pps});
  };
  EXPECT_EQ(sets.depth_of_slice(nal(slice(0))), std::nullopt);
  sets.add_pps(nal(write_pps(255, 31)));
  EXPECT_EQ(sets.depth_of_slice(nal(slice(255))), std::nullopt);
  sets.add_sps(nal(write_sps(deep)));
  sets.add_sps(nal(write_sps(still)));
  sets.add_pps(nal(write_pps(0, 0)));
  EXPECT_EQ(sets.depth_of_slice(nal(slice(255))), 4u);
  EXPECT_EQ(sets.depth_of_slice(nal(slice(0))), 0u);
  EXPECT_EQ(sets.depth_of_slice(nal(slice(1))), std::nullopt);
  // The latest counts.
  sets.add_pps(nal(write_pps(0, 31)));
  EXPECT_EQ(sets.depth_of_slice(nal(slice(0))), 4u);
  sets.add_sps(nal(write_sps({.level = 11, .id = 31, .width = 11, .height = 9})));
  EXPECT_EQ(sets.depth_of_slice(nal(slice(0))), 9u);
}

TEST(H264ParameterSetsTest, KeepNoMoreThanThereCanBe) {
  ffmpeg::H264ParameterSets sets;
  for (unsigned id = 0; id < 1000; ++id) {
    sets.add_sps(nal(write_sps({.id = id})));
    sets.add_pps(nal(write_pps(id, id % 64)));
    auto long_one = write_pps(id % 256, 0);
    long_one.resize(ffmpeg::H264ParameterSets::max_bytes + 5, 1);
    sets.add_pps(nal(long_one));
  }
  const auto bytes = sets.stream();
  std::size_t units = 0;
  for (std::size_t i = 0; i + 4 < bytes.size(); ++i) {
    if (bytes[i] == std::byte{0} && bytes[i + 1] == std::byte{0} && bytes[i + 2] == std::byte{1}) ++units;
  }
  EXPECT_EQ(units, 32u + 128u);
  EXPECT_LT(bytes.size(), 8192u);
}

}  // namespace
}  // namespace vumedia::test
