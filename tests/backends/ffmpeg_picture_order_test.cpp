// What the pictures of an H.264 stream show of how far it reorders.
#include <cstddef>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/picture_order.hpp>

#include "support/h264_writer.hpp"

namespace vumedia::test {
namespace {

namespace ffmpeg = backends::ffmpeg;

constexpr SpsRecipe baseline_sps{.profile = 66, .width = 11, .height = 9};  // 4 frames by its level
constexpr SpsRecipe with_restriction{.width = 11, .height = 9, .vui = VuiRecipe{.restriction = {{1, 4}}}};
constexpr SpsRecipe field_sps{.profile = 66, .width = 11, .height = 9, .frames_only = false};

class PictureOrderTest : public testing::Test {
 protected:
  void use(const SpsRecipe& sps) {
    sps_ = sps;
    sets_.add_sps(nal(write_sps(sps)));
    sets_.add_pps(nal(write_pps(0, sps.id)));
  }
  // What it says of the next picture.
  unsigned note(PictureRecipe picture) {
    SpsRecipe small = sps_;
    small.width = small.height = 1;
    const auto unit = write_picture(small, picture);
    const auto slice = sets_.slice_of(nal(unit));
    EXPECT_TRUE(slice);
    EXPECT_EQ(slice->order, sps_.order_type == 0 ? std::optional(picture.order) : std::nullopt);
    return slice ? order_.note(*slice) : 0;
  }
  unsigned idr() { return note({.idr = true}); }
  unsigned frame(unsigned order) { return note({.frame_num = 1, .order = order}); }

  ffmpeg::H264ParameterSets sets_;
  ffmpeg::PictureOrder order_;
  SpsRecipe sps_;
};

TEST_F(PictureOrderTest, NeedsNothingInOrder) {
  use(baseline_sps);
  EXPECT_EQ(idr(), 0u);
  // Past the end of its 8 bits, too.
  for (unsigned i = 1; i < 400; ++i) ASSERT_EQ(frame(2 * i % 256), 0u) << i;
  EXPECT_EQ(idr(), 0u);
  EXPECT_FALSE(order_.reorders());
}

TEST_F(PictureOrderTest, TakesAGapForASign) {
  use(baseline_sps);
  idr();
  EXPECT_EQ(frame(2), 0u);
  EXPECT_EQ(frame(6), 1u);
  EXPECT_EQ(frame(8), 1u);
  EXPECT_FALSE(order_.reorders());
  // The next sequence begins without delay again.
  EXPECT_EQ(idr(), 0u);
  EXPECT_EQ(frame(8), 1u);
  // One that comes late says for sure; then as much is held back as the level permits.
  EXPECT_EQ(frame(4), 4u);
  EXPECT_TRUE(order_.reorders());
  EXPECT_EQ(idr(), 4u);
  // Other parameters make another sequence.
  use({.profile = 66, .width = 6, .height = 4});
  EXPECT_EQ(idr(), 0u);
  EXPECT_FALSE(order_.reorders());
}

TEST_F(PictureOrderTest, CorrectsALimitThatIsNotTheTruth) {
  use(with_restriction);
  idr();
  // A gap is none of its business.
  EXPECT_EQ(frame(10), 0u);
  EXPECT_EQ(frame(8), 1u);
  EXPECT_EQ(frame(6), 2u);
  EXPECT_EQ(frame(4), 3u);
  EXPECT_EQ(frame(12), 3u);
  for (unsigned i = 0; i < 20; ++i) EXPECT_LE(frame(100 - i), 4u);
  EXPECT_EQ(frame(3), 4u);
}

TEST_F(PictureOrderTest, TakesTwoFieldsForOnePicture) {
  using Structure = PictureRecipe::Structure;
  use(field_sps);
  EXPECT_EQ(note({.idr = true, .order = 1, .structure = Structure::top}), 0u);
  EXPECT_EQ(note({.order = 0, .structure = Structure::bottom}), 0u);
  EXPECT_EQ(note({.frame_num = 1, .order = 3, .structure = Structure::top}), 0u);
  EXPECT_EQ(note({.frame_num = 1, .order = 2, .structure = Structure::bottom}), 0u);
}

TEST_F(PictureOrderTest, KnowsOrdersThatFollowFromOthers) {
  use({.profile = 66, .order_type = 2});
  EXPECT_EQ(idr(), 0u);
  EXPECT_EQ(frame(0), 0u);
  use({.profile = 66, .order_type = 1});
  EXPECT_EQ(idr(), 0u);
  EXPECT_EQ(frame(8), 0u);
}

}  // namespace
}  // namespace vumedia::test
