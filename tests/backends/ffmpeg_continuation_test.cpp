// Decoding that continues after a drain, in the middle of a group of pictures.
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/history.hpp>

#include "support/clips.hpp"
#include "support/engine_client.hpp"

namespace vumedia::test {
namespace {

using ffmpeg::History;
using ffmpeg::ResumePoint;

std::span<const std::byte> unit_bytes(const Clip::Unit& unit) {
  return std::as_bytes(std::span(unit.bytes));
}

class ContinuationTest : public testing::TestWithParam<ClipRecipe> {};

// libavformat's parsers find the same key frames.
TEST_P(ContinuationTest, KnowsWhereDecodingCanBegin) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  for (std::size_t i = 0; i < clip.units.size(); ++i) {
    const ResumePoint point = ffmpeg::resume_point_of(clip.codec, unit_bytes(clip.units[i]));
    EXPECT_EQ(point != ResumePoint::none, clip.units[i].key) << "unit " << i;
  }
}

TEST_P(ContinuationTest, TakesAnyBytes) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  // Every length, so that a sanitizer would notice a read past the end.
  const auto& bytes = clip.units.front().bytes;
  for (std::size_t size = 0; size < std::min<std::size_t>(bytes.size(), 200); ++size) {
    const std::vector<std::byte> part(
        unit_bytes(clip.units.front()).begin(),
        unit_bytes(clip.units.front()).begin() + static_cast<std::ptrdiff_t>(size));
    (void)ffmpeg::resume_point_of(clip.codec, part);
  }
}

TEST_P(ContinuationTest, LosesNothingToADrain) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  auto expected = decode_plainly(clip);
  std::ranges::sort(expected);
  const std::size_t count = clip.units.size();
  for (const std::size_t cut : {std::size_t{5}, count / 3, count / 2, count / 2 + 1, count * 2 / 3}) {
    for (const bool restart_capture : {false, true}) {
      SCOPED_TRACE("drain behind " + std::to_string(cut) + (restart_capture ? ", restart" : ", resume"));
      EngineClient client(ClientOptions{});
      ASSERT_TRUE(client.start(clip.codec));
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_TRUE(client.send(clip.units[i].bytes, 1000));
        if (i + 1 != cut) continue;
        ASSERT_TRUE(client.finish());
        client.last_seen = false;
        if (restart_capture) {
          client.stop_capture();
          client.start_capture();
        } else {
          ASSERT_TRUE(
              client.engine->resume({V4L2_PIX_FMT_YUV420, client.in_force.layout, client.announced->serial}));
          client.queue_capture(client.last_index);
        }
      }
      ASSERT_TRUE(client.finish());
      // The drain outputs frames that are shown after some that have not come yet; each once, and correct.
      auto md5s = client.frame_md5s();
      std::ranges::sort(md5s);
      EXPECT_EQ(md5s, expected);
      EXPECT_EQ(client.damaged_buffers, 0u);
      EXPECT_EQ(client.changes, 1u);
    }
  }
}

TEST_P(ContinuationTest, ForgetsWhatWasBeforeASeek) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  EngineClient client(ClientOptions{});
  ASSERT_TRUE(client.start(clip.codec));
  for (std::size_t i = 0; i < 5; ++i) ASSERT_TRUE(client.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(client.finish());
  // Drained, and then not resumed: a seek starts over with a key frame.
  client.last_seen = false;
  client.engine->stop_output();
  client.stop_capture();
  client.start_capture();
  client.frames.clear();
  ASSERT_TRUE(client.start(clip.codec));
  ASSERT_TRUE(client.play(clip));
  EXPECT_EQ(client.frame_md5s(), decode_plainly(clip));
}

std::vector<ClipRecipe> eight_bit_recipes() {
  std::vector<ClipRecipe> all;
  for (const auto& recipe : clip_recipes) {
    if (std::string(recipe.name).find("10bit") == std::string::npos) all.push_back(recipe);
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Formats, ContinuationTest, testing::ValuesIn(eight_bit_recipes()),
                         [](const auto& parameter) {
                           const std::string name = parameter.param.name;
                           return name.substr(0, name.find('.'));
                         });

void add(History& history, ResumePoint point, std::size_t size, std::int64_t id) {
  const ffmpeg::Packet packet(av_packet_alloc());
  ASSERT_EQ(av_new_packet(packet.get(), static_cast<int>(size)), 0);
  packet->pts = id;
  history.add(point, *packet);
}

TEST(HistoryTest, BeginsWhereDecodingCan) {
  const auto ids = [](const History& history) {
    std::vector<std::int64_t> all;
    for (const auto& packet : history.packets()) all.push_back(packet->pts);
    return all;
  };
  History history;
  add(history, ResumePoint::none, 100, 1);
  EXPECT_TRUE(history.packets().empty()) << "nothing to begin with";
  add(history, ResumePoint::closed, 100, 2);
  add(history, ResumePoint::none, 100, 3);
  EXPECT_EQ(ids(history), (std::vector<std::int64_t>{2, 3}));
  add(history, ResumePoint::closed, 100, 4);
  add(history, ResumePoint::none, 100, 5);
  EXPECT_EQ(ids(history), (std::vector<std::int64_t>{4, 5}));
  // Pictures after an open one may need those before it, but not those before the previous one.
  add(history, ResumePoint::open, 100, 6);
  add(history, ResumePoint::none, 100, 7);
  EXPECT_EQ(ids(history), (std::vector<std::int64_t>{4, 5, 6, 7}));
  add(history, ResumePoint::open, 100, 8);
  EXPECT_EQ(ids(history), (std::vector<std::int64_t>{6, 7, 8}));
  history.clear();
  EXPECT_TRUE(history.packets().empty());
}

TEST(HistoryTest, IsBounded) {
  History many;
  add(many, ResumePoint::closed, 1, 1);
  for (std::size_t i = 1; i < History::max_packets; ++i) add(many, ResumePoint::none, 1, 2);
  EXPECT_EQ(many.packets().size(), History::max_packets);
  add(many, ResumePoint::none, 1, 3);
  EXPECT_TRUE(many.packets().empty());
  constexpr std::size_t large = History::max_bytes / 2;
  History heavy;
  add(heavy, ResumePoint::closed, large, 1);
  add(heavy, ResumePoint::none, large, 2);
  EXPECT_EQ(heavy.packets().size(), 2u);
  add(heavy, ResumePoint::none, 1, 3);
  EXPECT_TRUE(heavy.packets().empty());
  add(heavy, ResumePoint::none, 1, 4);
  EXPECT_TRUE(heavy.packets().empty()) << "nothing to begin with";
  add(heavy, ResumePoint::closed, 1, 5);
  EXPECT_EQ(heavy.packets().size(), 1u);
}

}  // namespace
}  // namespace vumedia::test
