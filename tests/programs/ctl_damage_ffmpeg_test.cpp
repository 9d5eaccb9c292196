// vumedia-ctl decode with refused packets and damaged frames: it ends at once, and reports which packets and
// frames.
#include <algorithm>
#include <array>
#include <cstddef>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_clips.hpp"

namespace vumedia::ctl_test {
namespace {

class CtlDamage : public CtlClips {
 protected:
  // H.264 with errors in some of its slices.
  bool make_damaged(const std::string& name) {
    if (!make(vumedia::test::moving_picture(320, 240, 30) + " -c:v libx264 -preset veryfast -g 10",
              "good.264"))
      return false;
    auto bytes = read("good.264");
    for (std::size_t at = bytes.size() / 3; at < bytes.size() / 2; at += 41) bytes[at] ^= std::byte{0x55};
    write(name, bytes);
    return true;
  }
};

const std::string twelve_bit_hevc =
    " -c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p12le";
const std::string eight_bit_hevc =
    " -c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p";

TEST_F(CtlDamage, SaysWhatTheDeviceRefuses) {
  if (!make(vumedia::test::moving_picture(320, 240, 10) + twelve_bit_hevc, "deep.mp4"))
    GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder");
  for (const char* const what : {"--md5", "--compare"}) {
    const auto refused = run({"decode", path("deep.mp4"), what});
    expect_failure(refused, "the device refused 10 of 10 packets");
    EXPECT_NE(refused.errors.find("hevc, Rext, yuv420p12le, 320x240"), std::string::npos) << refused.errors;
    EXPECT_EQ(refused.status, 1);
    EXPECT_EQ(refused.output, "");
  }
  expect_failure(run({"bench", "-n", "1", path("deep.mp4")}), "the device refused 10 of 10 packets");
  if (make(vumedia::test::moving_picture(320, 240, 3) + " -c:v libx264", "fine.mp4")) {
    EXPECT_EQ(run({"decode", path("fine.mp4"), "--compare"}).status, 0) << "the device is none the worse";
  }
}

TEST_F(CtlDamage, SaysThatThePicturesAreTooLarge) {
  if (!make(vumedia::test::moving_picture(320, 240, 12) + " -c:v libx264 -preset veryfast", "large.mp4"))
    GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder", {"--max-pixels", "40000"});
  const auto refused = run({"decode", path("large.mp4"), "--output", path("large.y4m")});
  expect_failure(refused, "the device refused 12 of 12 packets");
  EXPECT_EQ(refused.status, 1);
}

TEST_F(CtlDamage, GivesUpAStreamThatIsRefusedThroughout) {
  if (!make(vumedia::test::moving_picture(64, 64, 1100) + twelve_bit_hevc, "long.mp4"))
    GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder");
  expect_failure(run({"decode", path("long.mp4")}), "the device refused 1000 of 100");
}

TEST_F(CtlDamage, AStreamWithoutPicturesEndsAtOnce) {
  if (!make(vumedia::test::moving_picture(320, 240, 3) + " -c:v libx264 -preset veryfast", "three.264"))
    GTEST_SKIP() << no_clip;
  // The first unit is the sequence parameter set.
  auto bytes = read("three.264");
  constexpr std::array start_code{std::byte{0}, std::byte{0}, std::byte{1}};
  const auto second = std::search(bytes.begin() + 4, bytes.end(), start_code.begin(), start_code.end());
  bytes.erase(second, bytes.end());
  write("only_sps.264", bytes);
  start("ffmpeg-decoder");
  const auto none = run({"decode", path("only_sps.264"), "--md5"});
  expect_failure(none, "the device found no picture in 1 packet");
  EXPECT_EQ(none.status, 1);
}

// With frame threads the buffers come back before the first picture is known.
TEST_F(CtlDamage, WaitsForPicturesThatComeAfterTheirBuffers) {
  start("ffmpeg-decoder", {"--threads", "4", "--frame-threads"});
  unsigned decoded = 0;
  for (const unsigned frames : {1u, 2u, 5u}) {
    const std::string name = std::to_string(frames) + ".mp4";
    if (!make(vumedia::test::moving_picture(320, 240, frames) + " -c:v libx264 -preset veryfast", name))
      continue;
    const auto decode = run({"decode", path(name), "--compare"});
    EXPECT_EQ(decode.status, 0) << decode.errors;
    EXPECT_TRUE(decode.says(": " + std::to_string(frames) + " frames of 320x240")) << decode.output;
    EXPECT_FALSE(decode.says("resolution changes")) << decode.output;
    ++decoded;
  }
  if (decoded == 0) GTEST_SKIP() << no_clip;
}

TEST_F(CtlDamage, TellsWhichFramesAreDamaged) {
  if (!make_damaged("bad.264")) GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder");
  const std::vector<std::vector<std::string>> ways = {
      {}, {"--md5"}, {"--compare"}, {"--output", path("bad.y4m")}};
  for (const auto& way : ways) {
    std::vector<std::string> words{"decode", path("bad.264")};
    words.insert(words.end(), way.begin(), way.end());
    const auto decode = run(words);
    EXPECT_EQ(decode.status, 3) << decode.errors;
    EXPECT_TRUE(std::regex_search(
        decode.output, std::regex("\nframes marked as damaged: [1-9][0-9]* \\([0-9]+(( to|,) [0-9]+)*\\)\n")))
        << decode.output;
    EXPECT_EQ(std::count(decode.errors.begin(), decode.errors.end(), '\n'), 1) << decode.errors;
    EXPECT_TRUE(std::regex_search(
        decode.errors, std::regex("^vumedia-ctl: the device marked as damaged [1-9][0-9]* frames?: [0-9]")))
        << decode.errors;
  }
  // Only pictures that refer to a damaged one may differ.
  const auto compared = run({"decode", path("bad.264"), "--compare"}).output;
  EXPECT_TRUE(std::regex_search(compared, std::regex("\nbit-exact( except for damage)?\n"))) << compared;
  const auto bench = run({"bench", "-n", "1", path("bad.264")});
  EXPECT_EQ(bench.status, 3) << bench.errors;
}

// Packets that the device refuses in the middle of a stream do not count as frames that differ.
TEST_F(CtlDamage, TellsRefusedPacketsFromFramesThatDiffer) {
  const std::string picture = vumedia::test::moving_picture(320, 240, 10);
  if (!make(picture + eight_bit_hevc, "eight.265") || !make(picture + twelve_bit_hevc, "twelve.265"))
    GTEST_SKIP() << no_clip;
  std::vector<std::byte> all;
  for (const char* const part : {"eight.265", "twelve.265", "eight.265"}) {
    const auto bytes = read(part);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  write("mixed.265", all);
  start("ffmpeg-decoder");
  const auto compare = run({"decode", path("mixed.265"), "--compare"});
  EXPECT_EQ(compare.status, 3) << compare.errors;
  EXPECT_TRUE(compare.says(": 20 frames of 320x240 ")) << compare.output;
  EXPECT_TRUE(compare.says("\npackets refused: 10 (10 to 19)\n")) << compare.output;
  EXPECT_TRUE(compare.says("\nframes of refused packets, not compared: 10\n")) << compare.output;
  EXPECT_TRUE(compare.says("bit-exact\n")) << compare.output;
  EXPECT_EQ(compare.errors, "vumedia-ctl: the device refused 10 packets: 10 to 19\n");
}

}  // namespace
}  // namespace vumedia::ctl_test
