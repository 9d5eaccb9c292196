// vumedia-ctl decode with files as people have them: parameter sets that change, edit lists, large packets,
// raw streams, pipes, files that are cut or damaged, containers that crop. Where possible, the ffmpeg program
// provides the reference.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_clips.hpp"
#include "support/mp4_boxes.hpp"

namespace vumedia::ctl_test {
namespace {

using Bytes = std::vector<std::byte>;

class CtlInputs : public CtlClips {
 protected:
  // Runs the ffmpeg program on files of this test.
  bool convert(const std::string& words) {
    const std::string command =
        "cd '" + path(".") + "' && ffmpeg -nostdin -v error -y " + words + " >/dev/null 2>&1";
    return std::system(command.c_str()) == 0;
  }
  // 60 frames with a key frame every 15.
  bool make_sixty(const std::string& name) {
    return make(vumedia::test::moving_picture(320, 240, 60) +
                    " -c:v libx264 -preset veryfast -bf 3 -g 15 -keyint_min 15 -sc_threshold 0",
                name);
  }
  Ended shell(const std::string& words) { return run_command({"/bin/sh", "-c", words}); }
  [[nodiscard]] std::string ctl() const { return VUMEDIA_BIN_DIR "/vumedia-ctl -s " + socket(); }
  void expect_exact(const Ended& decode, const std::string& frames) {
    EXPECT_EQ(decode.status, 0) << decode.errors;
    EXPECT_EQ(decode.errors, "");
    EXPECT_TRUE(decode.says(": " + frames + " frames of ")) << decode.output;
    EXPECT_TRUE(decode.says("bit-exact\n")) << decode.output;
  }
};

// The header of an FLV file, of 13 bytes, is followed by tags; the second part's bring parameter sets of
// their own.
TEST_F(CtlInputs, ParameterSetsComeWithPackets) {
  constexpr std::size_t header = 13;
  const std::string encoder = " -c:v libx264 -preset veryfast";
  if (!make(vumedia::test::moving_picture(320, 240, 12) + encoder + " -bf 2", "a.flv") ||
      !make(vumedia::test::moving_picture(480, 272, 12) + encoder + " -bf 0", "b.flv"))
    GTEST_SKIP() << no_clip;
  Bytes both = read("a.flv");
  const Bytes second = read("b.flv");
  both.insert(both.end(), second.begin() + header, second.end());
  write("both.flv", both);
  start("ffmpeg-decoder");
  for (const char* const part : {"a.flv", "b.flv"})
    EXPECT_EQ(run({"decode", path(part), "-o", path(std::string(part) + ".yuv")}).status, 0);
  const auto decode = run({"decode", path("both.flv"), "--compare", "-o", path("both.yuv")});
  expect_exact(decode, "24");
  EXPECT_TRUE(decode.says("resolution changes: 1\n")) << decode.output;
  Bytes right = read("a.flv.yuv");
  const Bytes rest = read("b.flv.yuv");
  right.insert(right.end(), rest.begin(), rest.end());
  EXPECT_TRUE(read("both.yuv") == right) << "the parts alone give other frames";
}

TEST_F(CtlInputs, SampleEntriesHaveParameterSetsOfTheirOwn) {
  const std::string encoder = " -c:v libx264 -bf 0 -preset ";
  if (!make(vumedia::test::moving_picture(320, 240, 12) + encoder + "veryfast", "a.mp4") ||
      !make(vumedia::test::moving_picture(480, 272, 12) + encoder + "fast", "b.mp4"))
    GTEST_SKIP() << no_clip;
  const Bytes first = read("a.mp4"), second = read("b.mp4");
  const Bytes both = vumedia::test::mp4::join(first, second);
  ASSERT_FALSE(both.empty());
  write("both.mp4", both);
  start("ffmpeg-decoder");
  for (const char* const part : {"a.mp4", "b.mp4"})
    EXPECT_EQ(run({"decode", path(part), "-o", path(std::string(part) + ".yuv")}).status, 0);
  expect_exact(run({"decode", path("both.mp4"), "--compare", "-o", path("both.yuv")}), "24");
  Bytes right = read("a.mp4.yuv");
  const Bytes rest = read("b.mp4.yuv");
  right.insert(right.end(), rest.begin(), rest.end());
  EXPECT_TRUE(read("both.yuv") == right) << "the parts alone give other frames";
  // Back to where those of the first part are valid.
  const auto back = run({"decode", path("both.mp4"), "--compare", "--seek-after", "20", "--seek-to", "0"});
  expect_exact(back, "44");
  EXPECT_TRUE(back.says("resolution changes: 3\n")) << back.output;
}

TEST_F(CtlInputs, WhatAnEditListHidesIsNotShown) {
  if (!make_sixty("sixty.mp4") || !convert("-ss 0.9 -i sixty.mp4 -t 1 -c copy edited.mp4") ||
      !convert("-i edited.mp4 -vsync passthrough -pix_fmt yuv420p -f rawvideo right.yuv"))
    GTEST_SKIP() << no_clip;
  const Bytes right = read("right.yuv");
  constexpr std::size_t frame = 320 * 240 * 3 / 2;
  start("ffmpeg-decoder");
  const auto decode = run({"decode", path("edited.mp4"), "--compare", "-o", path("edited.yuv")});
  expect_exact(decode, std::to_string(right.size() / frame));
  EXPECT_TRUE(decode.says("\nframes decoded but not to be shown: ")) << decode.output;
  EXPECT_TRUE(read("edited.yuv") == right) << "the ffmpeg program shows other frames";
}

// A filler unit within an access unit.
TEST_F(CtlInputs, PacketsMayBeLargerThanTheBuffers) {
  if (!make_sixty("sixty.264")) GTEST_SKIP() << no_clip;
  const Bytes stream = read("sixty.264");
  constexpr std::array start_code{std::byte{0}, std::byte{0}, std::byte{1}};
  auto at = stream.begin();
  for (int unit = 0; unit < 20; ++unit)
    at = std::search(at + 1, stream.end(), start_code.begin(), start_code.end());
  const auto with_filler = [&](std::size_t size) {
    Bytes filler{std::byte{0}, std::byte{0}, std::byte{1}, std::byte{12}};
    filler.resize(size, std::byte{0xff});
    filler.push_back(std::byte{0x80});
    Bytes all(stream.begin(), at);
    all.insert(all.end(), filler.begin(), filler.end());
    all.insert(all.end(), at, stream.end());
    return all;
  };
  write("large.264", with_filler(3 << 20));
  write("huge.264", with_filler(20 << 20));
  start("ffmpeg-decoder");
  expect_exact(run({"decode", path("large.264"), "--compare"}), "60");
  if (convert("-i large.264 -c copy large.mkv")) {
    const auto decode = run({"decode", path("large.mkv"), "--compare"});
    EXPECT_EQ(decode.status, 0) << decode.errors;
    EXPECT_TRUE(decode.says("bit-exact\n")) << decode.output;
  }
  expect_failure(run({"decode", path("huge.264")}), "more than the device's bitstream buffers of 1048576");
}

TEST_F(CtlInputs, RawStreamsAreSearchedByCounting) {
  struct Row {
    const char* file;
    const char* encoder;
  };
  constexpr Row rows[] = {
      {"sixty.264", "-c:v libx264 -preset veryfast -bf 3 -g 15 -keyint_min 15 -sc_threshold 0"},
      {"sixty.265",
       "-c:v libx265 -preset ultrafast -x265-params "
       "bframes=3:keyint=15:min-keyint=15:scenecut=0:open-gop=0:log-level=none"},
      {"sixty.mjpeg", "-c:v mjpeg -pix_fmt yuvj420p -q:v 4"}};
  start("ffmpeg-decoder");
  unsigned decoded = 0;
  for (const auto& row : rows) {
    if (!make(vumedia::test::moving_picture(320, 240, 60) + " " + row.encoder, row.file)) continue;
    SCOPED_TRACE(row.file);
    // Of Motion-JPEG every picture is a key frame.
    const bool all_keys = std::string_view(row.file).ends_with("mjpeg");
    expect_exact(run({"decode", path(row.file), "--compare", "--seek-after", "10", "--seek-to", "1.5"}),
                 all_keys ? "33" : "40");
    expect_exact(run({"decode", path(row.file), "--compare", "--seek-after", "60", "--seek-to", "0"}), "120");
    const auto piped =
        shell("cat " + path(row.file) + " | " + ctl() + " decode - --compare --seek-after 10 --seek-to 1.5");
    expect_exact(piped, all_keys ? "33" : "40");
    ++decoded;
  }
  if (decoded == 0) GTEST_SKIP() << no_clip;
}

TEST_F(CtlInputs, APipeIsReadOnce) {
  if (!make_sixty("sixty.mkv")) GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder");
  const std::string file = path("sixty.mkv");
  for (const std::string& words : {"cat " + file + " | " + ctl() + " decode - --compare",
                                   "cat " + file + " | " + ctl() + " decode /dev/stdin --compare",
                                   ctl() + " decode - --compare <" + file,
                                   "mkfifo " + path("pipe") + "; cat " + file + " >" + path("pipe") + " & " +
                                       ctl() + " decode " + path("pipe") + " --compare"}) {
    SCOPED_TRACE(words);
    expect_exact(shell(words), "60");
  }
  const auto plain = shell("cat " + file + " | " + ctl() + " decode - --md5");
  EXPECT_EQ(plain.status, 0) << plain.errors;
  EXPECT_TRUE(plain.says("standard input: 60 frames of 320x240 ")) << plain.output;
  // A name is a name, whatever protocol its beginning could be.
  std::filesystem::copy_file(file, path("http:film.mkv"));
  EXPECT_EQ(shell("cd " + path(".") + " && " + ctl() + " decode http:film.mkv").status, 0);
}

TEST_F(CtlInputs, WhatCannotBeReadIsPassedOver) {
  if (!make_sixty("sixty.mp4") || !convert("-i sixty.mp4 -c copy -movflags faststart fast.mp4"))
    GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder");
  // A length before a unit that points out of its packet.
  Bytes broken = read("fast.mp4");
  constexpr std::array media{std::byte{'m'}, std::byte{'d'}, std::byte{'a'}, std::byte{'t'}};
  const auto data = std::search(broken.begin(), broken.end(), media.begin(), media.end());
  ASSERT_NE(data, broken.end());
  ASSERT_GT(broken.end() - data, 4 + 4);
  *(data + 4) = std::byte{0x7f};
  write("broken.mp4", broken);
  const auto passed = run({"decode", path("broken.mp4"), "--compare"});
  EXPECT_EQ(passed.status, 3) << passed.errors;
  EXPECT_TRUE(passed.says("\nunreadable packets skipped: 1\n")) << passed.output;
  EXPECT_TRUE(passed.says("bit-exact\n")) << passed.output;
  EXPECT_NE(passed.errors.find("1 packet could not be read"), std::string::npos) << passed.errors;

  for (const char* const name : {"cut.mp4", "cut.mkv"}) {
    SCOPED_TRACE(name);
    const std::string whole = name == std::string_view("cut.mp4") ? "fast.mp4" : "sixty.mkv";
    if (whole == "sixty.mkv" && !convert("-i sixty.mp4 -c copy sixty.mkv")) continue;
    Bytes cut = read(whole);
    cut.resize(cut.size() / 2);
    write(name, cut);
    ASSERT_TRUE(
        convert("-i " + std::string(name) + " -vsync passthrough -pix_fmt yuv420p -f rawvideo right.yuv"));
    const auto decode = run({"decode", path(name), "--compare", "-o", path("cut.yuv")});
    EXPECT_EQ(decode.errors.find("not bit-exact"), std::string::npos) << decode.errors;
    EXPECT_TRUE(read("cut.yuv") == read("right.yuv"));
    EXPECT_EQ(decode.status, 3);
    EXPECT_TRUE(decode.says(whole == "fast.mp4" ? "\nthe file ends early: of 60 packets in its index, "
                                                : "\nthe file ends early: of "))
        << decode.output;
  }
  // Without an index there is nothing with which to begin.
  Bytes useless = read("sixty.mp4");
  useless.resize(useless.size() / 2);
  write("useless.mp4", useless);
  expect_failure(run({"decode", path("useless.mp4")}), "truncated: its beginning or its index is missing");
}

// In the middle of a packet, in every kind of container.
TEST_F(CtlInputs, AFileThatIsCutIsTold) {
  struct Row {
    const char* file;
    const char* words;  // for the ffmpeg program
  };
  constexpr Row rows[] = {{"a.mkv", "-c copy"},
                          {"live.mkv", "-c copy -live 1"},
                          {"a.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k"},
                          {"a.ivf", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k"},
                          {"a.avi", "-c copy"},
                          {"a.flv", "-c copy"},
                          {"a.ts", "-c copy"},
                          {"a.mpg", "-c:v mpeg2video"},
                          {"fragments.mp4", "-c copy -movflags frag_keyframe+empty_moov"}};
  if (!make_sixty("sixty.mp4")) GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder");
  for (const auto& [file, words] : rows) {
    SCOPED_TRACE(file);
    if (!convert("-i sixty.mp4 " + std::string(words) + " " + file)) continue;
    const auto whole = run({"decode", path(file), "--md5"});
    EXPECT_EQ(whole.status, 0) << whole.errors;
    EXPECT_FALSE(whole.says("ends early")) << whole.output;
    Bytes cut = read(file);
    // In a transport stream, within one of its packets.
    cut.resize(cut.size() * 7 / 10 / 188 * 188 + 100);
    write("cut_" + std::string(file), cut);
    const auto decode = run({"decode", path("cut_" + std::string(file)), "--md5"});
    EXPECT_EQ(decode.status, 3) << decode.output;
    EXPECT_TRUE(decode.says("\nthe file ends early: ")) << decode.output;
    EXPECT_NE(decode.errors.find("the file ends early: "), std::string::npos) << decode.errors;
    EXPECT_TRUE(decode.says("\nmd5: ")) << decode.output;
  }
}

// Between two packets nothing but the container's own length can tell.
TEST_F(CtlInputs, AFileThatIsCutBetweenPacketsIsTold) {
  if (!make_sixty("sixty.mp4")) GTEST_SKIP() << no_clip;
  start("ffmpeg-decoder");
  struct Row {
    const char* file;
    std::array<std::byte, 4> mark;  // what a packet begins with, or the part of the file that it is in
  };
  const Row rows[] = {{"a.mkv", {std::byte{0x1f}, std::byte{0x43}, std::byte{0xb6}, std::byte{0x75}}},
                      {"a.avi", {std::byte{'0'}, std::byte{'0'}, std::byte{'d'}, std::byte{'c'}}}};
  for (const auto& [file, mark] : rows) {
    SCOPED_TRACE(file);
    ASSERT_TRUE(convert("-i sixty.mp4 -c copy -cluster_time_limit 300 " + std::string(file)) ||
                convert("-i sixty.mp4 -c copy " + std::string(file)));
    Bytes cut = read(file);
    const auto at = std::find_end(cut.begin(), cut.begin() + static_cast<std::ptrdiff_t>(cut.size() * 3 / 4),
                                  mark.begin(), mark.end());
    ASSERT_NE(at, cut.begin() + static_cast<std::ptrdiff_t>(cut.size() * 3 / 4));
    cut.erase(at, cut.end());
    write("cut_" + std::string(file), cut);
    const auto decode = run({"decode", path("cut_" + std::string(file))});
    EXPECT_EQ(decode.status, 3) << decode.output;
    EXPECT_TRUE(decode.says("\nthe file ends early: of ")) << decode.output;
  }
}

// 192 lines are coded, and the container says 180: libavcodec would crop.
TEST_F(CtlInputs, AContainerThatCropsIsNoDifference) {
  if (!make(vumedia::test::moving_picture(320, 192, 10) + " -c:v libx264 -preset veryfast", "tall.mp4"))
    GTEST_SKIP() << no_clip;
  Bytes file = read("tall.mp4");
  constexpr std::array entry{std::byte{'a'}, std::byte{'v'}, std::byte{'c'}, std::byte{'1'}};
  // The first is a brand of the file.
  auto at = std::search(file.begin() + 64, file.end(), entry.begin(), entry.end());
  ASSERT_GT(file.end() - at, 32);
  ASSERT_EQ(*(at + 31), std::byte{192});
  *(at + 31) = std::byte{180};
  write("cropped.mp4", file);
  start("ffmpeg-decoder");
  const auto decode = run({"decode", path("cropped.mp4"), "--compare"});
  expect_exact(decode, "10");
  EXPECT_TRUE(decode.says("the container says 320x180, but its cropping is not applied here\n"))
      << decode.output;
  EXPECT_FALSE(run({"decode", path("tall.mp4")}).says("the container says"));
}

}  // namespace
}  // namespace vumedia::ctl_test
