// Where an H.264 stream can be joined, by its recovery points.
#include <cstddef>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/history.hpp>
#include <vumedia/backends/ffmpeg/recovery.hpp>
#include <vumedia/backends/ffmpeg/reordering.hpp>

#include "support/h264_writer.hpp"

namespace vumedia::test {
namespace {

namespace ffmpeg = backends::ffmpeg;
using ffmpeg::ResumePoint;

constexpr SpsRecipe small{.width = 1, .height = 1};

std::vector<std::uint8_t> joined(std::vector<std::uint8_t> first, const std::vector<std::uint8_t>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}
std::vector<std::uint8_t> picture(bool idr, bool reference = true) {
  return write_picture(small, {.idr = idr, .frame_num = 1, .reference = reference});
}
ResumePoint point_of(const std::vector<std::uint8_t>& packet) {
  return ffmpeg::resume_point_of(AV_CODEC_ID_H264, std::as_bytes(std::span(packet)));
}

TEST(RecoveryTest, FindsThePointAmongOtherMessages) {
  for (const std::size_t other : {0u, 1u, 3u, 254u, 255u, 600u}) {
    for (const unsigned frames : {0u, 1u, 7u, 300u}) {
      SCOPED_TRACE(testing::Message() << other << " " << frames);
      const auto message = write_recovery_point(frames, other);
      EXPECT_EQ(ffmpeg::detail::h264_recovery_frames(std::as_bytes(std::span(message))), frames);
    }
  }
  EXPECT_EQ(ffmpeg::detail::h264_recovery_frames({}), std::nullopt);
  const auto other = picture(false);
  EXPECT_EQ(ffmpeg::detail::h264_recovery_frames(std::as_bytes(std::span(other))), std::nullopt);
  auto cut = write_recovery_point(0, 600);
  while (cut.size() > 500) {
    cut.pop_back();
    (void)ffmpeg::detail::h264_recovery_frames(std::as_bytes(std::span(cut)));
  }
}

TEST(RecoveryTest, IsWhereDecodingCanBegin) {
  EXPECT_EQ(point_of(picture(false)), ResumePoint::none);
  EXPECT_EQ(point_of(picture(true)), ResumePoint::closed);
  EXPECT_EQ(point_of(joined(write_recovery_point(0), picture(false))), ResumePoint::open);
  EXPECT_EQ(point_of(joined(write_recovery_point(0), picture(true))), ResumePoint::closed);
  EXPECT_EQ(point_of(joined(write_recovery_point(3), picture(false))), ResumePoint::none);
  // What comes after a picture is not part of it.
  EXPECT_EQ(point_of(joined(picture(false), write_recovery_point(0))), ResumePoint::none);
}

TEST(RecoveryTest, ShowsOfADrainWhatComesWithThePointAndAfter) {
  const auto note = [](ffmpeg::Recovery& recovery, const std::vector<std::uint8_t>& packet, std::int64_t id) {
    recovery.note(AV_CODEC_ID_H264, std::as_bytes(std::span(packet)), id);
  };
  {
    ffmpeg::Recovery recovery;
    note(recovery, picture(false), 1);
    EXPECT_FALSE(recovery.knows_more());
    note(recovery, joined(write_recovery_point(0), picture(false)), 2);
    note(recovery, picture(false), 3);
    EXPECT_TRUE(recovery.knows_more());
    EXPECT_FALSE(recovery.passes(1, true));
    EXPECT_FALSE(recovery.passes(3, true));
    EXPECT_TRUE(recovery.passes(2, true));
    EXPECT_TRUE(recovery.passes(4, true));
    recovery.restart();
    EXPECT_FALSE(recovery.knows_more());
  }
  {
    // libavcodec has shown one by itself.
    ffmpeg::Recovery recovery;
    note(recovery, picture(true), 1);
    EXPECT_TRUE(recovery.passes(1, false));
    EXPECT_TRUE(recovery.passes(2, true));
  }
  {
    // Two more references to come, and one picture that is not a reference.
    ffmpeg::Recovery recovery;
    note(recovery, joined(write_recovery_point(2), picture(false)), 1);
    note(recovery, picture(false), 2);
    note(recovery, picture(false, false), 3);
    EXPECT_FALSE(recovery.knows_more());
    note(recovery, picture(false), 4);
    EXPECT_TRUE(recovery.knows_more());
    EXPECT_FALSE(recovery.passes(2, true));
    EXPECT_TRUE(recovery.passes(4, true));
  }
  {
    ffmpeg::Recovery recovery;
    note(recovery, joined(write_recovery_point(2), picture(false)), 1);
    note(recovery, picture(true), 2);
    EXPECT_FALSE(recovery.passes(1, true));
    EXPECT_TRUE(recovery.passes(2, true));
  }
}

TEST(ReorderingBytesTest, MayBeAny) {
  std::mt19937 random(3);
  ffmpeg::Reordering reordering;
  ffmpeg::Recovery recovery;
  const auto good =
      joined(joined(write_sps(small), write_pps(0, 0)), joined(write_recovery_point(3, 20), picture(true)));
  for (int i = 0; i < 20000; ++i) {
    auto packet = good;
    packet.resize(random() % good.size() + 1);
    for (auto& byte : packet) {
      if (random() % 16 == 0) byte = static_cast<std::uint8_t>(random());
    }
    const auto bytes = std::as_bytes(std::span(packet));
    for (const auto codec : {AV_CODEC_ID_H264, AV_CODEC_ID_MPEG2VIDEO})
      (void)reordering.begins_sequence(codec, bytes);
    recovery.note(AV_CODEC_ID_H264, bytes, i + 1);
    (void)point_of(packet);
    EXPECT_LE(reordering.setup().held_back, 16);
  }
  // Endless parameter sets take no more room than there can be.
  std::vector<std::uint8_t> many;
  for (int i = 0; i < 100000; ++i) many.insert(many.end(), {0, 0, 1, 0x68, 0x80, 0x80});
  (void)reordering.begins_sequence(AV_CODEC_ID_H264, std::as_bytes(std::span(many)));
  EXPECT_LE(reordering.setup().headers.size(), (32 + 256) * (ffmpeg::H264ParameterSets::max_bytes + 4));
}

TEST(ReorderingBytesTest, TellMpeg2SequencesApart) {
  const auto begins = [](ffmpeg::Reordering& reordering, std::vector<std::uint8_t> header,
                         std::vector<std::uint8_t> extension) {
    std::vector<std::uint8_t> packet{0, 0, 1, 0xb3};
    packet = joined(joined(packet, header), joined({0, 0, 1, 0xb5}, extension));
    packet = joined(packet, {0, 0, 1, 0, 0, 8, 0, 0});
    return reordering.begins_sequence(AV_CODEC_ID_MPEG2VIDEO, std::as_bytes(std::span(packet)));
  };
  const std::vector<std::uint8_t> header{0x14, 0x00, 0xb4, 0x13, 0xff, 0xff, 0xe0, 0x18};
  const std::vector<std::uint8_t> extension{0x14, 0x8a, 0x00, 0x01, 0x00, 0x00};
  const auto with = [](std::vector<std::uint8_t> bytes, std::size_t at, std::uint8_t value) {
    bytes[at] = value;
    return bytes;
  };
  ffmpeg::Reordering reordering;
  EXPECT_FALSE(begins(reordering, header, extension));
  EXPECT_FALSE(begins(reordering, header, extension));
  // Another bit rate or buffer does not count.
  EXPECT_FALSE(begins(reordering, with(header, 4, 0x11), extension));
  EXPECT_FALSE(begins(reordering, header, with(with(extension, 2, 0x11), 4, 0x40)));
  // Size, aspect and rate, progressive frames, low delay.
  EXPECT_TRUE(begins(reordering, with(header, 0, 0x15), extension));
  EXPECT_TRUE(begins(reordering, with(header, 3, 0x23), extension));
  EXPECT_TRUE(begins(reordering, header, with(extension, 1, 0x82)));
  EXPECT_TRUE(begins(reordering, header, with(extension, 5, 0x80)));
  EXPECT_TRUE(begins(reordering, header, extension));
  EXPECT_FALSE(begins(reordering, header, extension));
}

}  // namespace
}  // namespace vumedia::test
