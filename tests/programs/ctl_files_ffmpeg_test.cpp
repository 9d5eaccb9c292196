// vumedia-ctl keeps the file that it reads, by whatever name, and its summaries apart from data.
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "programs/ctl_fixture.hpp"
#include "support/media_file.hpp"

namespace vumedia::ctl_test {
namespace {

class CtlFiles : public Ctl {
 protected:
  void SetUp() override {
    const auto made =
        vumedia::test::clip_file(vumedia::test::moving_picture(320, 180, 5) + " -c:v mpeg2video", "five.ts");
    if (made.empty()) GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it";
    std::filesystem::copy_file(made, film_);
    before_ = read("film.ts");
    start("ffmpeg-decoder");
  }

  // As a shell runs it.
  Ended shell(const std::string& words) {
    return run_command({"/bin/sh", "-c", VUMEDIA_BIN_DIR "/vumedia-ctl -s " + socket() + " " + words});
  }
  void expect_kept(const Ended& ended, int status, const std::string& reason) {
    expect_failure(ended, reason);
    EXPECT_EQ(ended.status, status);
    EXPECT_TRUE(read("film.ts") == before_) << "the input has been written to";
  }

  const std::string film_ = path("film.ts");
  std::vector<std::byte> before_;
};

TEST_F(CtlFiles, RefusesAnOutputThatIsTheInput) {
  std::filesystem::create_symlink(film_, path("link.y4m"));
  std::filesystem::create_hard_link(film_, path("hard.png"));
  std::filesystem::create_directory(path("folder"));
  const std::vector<std::string> outputs = {film_, path("folder/../film.ts"), path("link.y4m"),
                                            path("hard.png")};
  for (const auto& output : outputs) {
    SCOPED_TRACE(output);
    // A name for something that is not a recording is refused anyway.
    expect_kept(run({"decode", film_, "--output", output}), 2, "--output: ");
    expect_kept(run({"decode", output, "--output", film_}), 2, "--output: ");
  }
  expect_kept(run({"decode", film_, "--output", path("link.y4m")}), 2, "is the input");
  expect_kept(run({"decode", film_, "--output", path("hard.png")}), 2, "is the input");
  const std::string plain = path("plain");
  std::filesystem::create_hard_link(film_, plain);
  expect_kept(run({"decode", plain, "--output", plain}), 2, "is the input");
  expect_kept(shell("decode - -o " + plain + " <" + film_), 2, "is the input");
  expect_kept(shell("decode /dev/stdin -o " + plain + " <" + film_), 2, "is the input");
  expect_kept(shell("decode /dev/fd/7 -o " + plain + " 7<" + film_), 2, "is the input");
  expect_kept(shell("decode " + film_ + " -o - 1<>" + film_), 2, "is the input");
  expect_kept(shell("decode " + film_ + " -o /dev/stdout >>" + film_), 2, "is the input");
}

TEST_F(CtlFiles, RefusesToPrintIntoTheInput) {
  for (const char* const redirection : {" >>", " 1<>"}) {
    expect_kept(shell("decode " + film_ + redirection + film_), 2, "standard output is the input");
    expect_kept(shell("decode - --md5 <" + film_ + redirection + film_), 2, "standard output is the input");
    expect_kept(shell("bench -n 1 " + film_ + redirection + film_), 2, "standard output is the input");
    expect_kept(shell("compliance --stream " + film_ + redirection + film_), 2,
                "standard output is the input");
  }
}

// As libavformat takes names.
TEST_F(CtlFiles, RefusesAnOutputThatAUrlLeadsTo) {
  const std::string plain = path("plain");
  std::filesystem::create_hard_link(film_, plain);
  for (const std::string& url : {"file:" + film_, "file://" + film_, "concat:" + film_,
                                 "'concat:" + film_ + "|" + film_ + "'", "subfile,,start,0,end,0,,:" + film_})
    expect_failure(shell("decode " + url + " -o " + plain), "is the input");
  expect_kept(shell("decode file:" + film_ + " -o " + plain), 2, "is the input");
  expect_kept(shell("decode pipe:0 -o " + plain + " <" + film_), 2, "is the input");
  expect_kept(shell("decode pipe: -o " + plain + " <" + film_), 2, "is the input");
  expect_kept(shell("decode concat:" + film_ + " --md5 >>" + film_), 1, "standard output is the input");
  EXPECT_EQ(shell("decode file:" + film_ + " -o " + path("other.yuv")).status, 0);
}

TEST_F(CtlFiles, AFullDiskIsTold) {
  for (const std::string name : {"full.yuv", "full.y4m", "full.png", "full-%03d.png"}) {
    SCOPED_TRACE(name);
    std::filesystem::create_symlink("/dev/full", path(name == "full-%03d.png" ? "full-000.png" : name));
    expect_failure(run({"decode", film_, "--output", path(name)}), "No space left on device");
  }
  expect_failure(shell("decode " + film_ + " --output - >/dev/full"), "No space left on device");
  expect_failure(shell("decode " + film_ + " --md5 >/dev/full"), "No space left on device");
}

TEST_F(CtlFiles, AReaderThatHasGoneIsTold) {
  for (const std::string& words : {"decode " + film_ + " -o -", "decode " + film_ + " --md5",
                                   std::string("info"), std::string("--help"), std::string("--man-page")}) {
    SCOPED_TRACE(words);
    // The reader ends before anything is written.
    const auto ended =
        run_command({"/bin/sh", "-c",
                     "exec 3>&1; { sleep 0.2; status=0; " VUMEDIA_BIN_DIR "/vumedia-ctl -s " + socket() +
                         " " + words + " || status=$?; echo $status >&3; } | true"});
    EXPECT_EQ(ended.output, "1\n") << ended.errors;
    EXPECT_TRUE(ended.errors.starts_with("vumedia-ctl: cannot write ")) << ended.errors;
    EXPECT_EQ(std::ranges::count(ended.errors, '\n'), 1) << ended.errors;
  }
}

TEST_F(CtlFiles, FramesAreNotWrittenToATerminal) {
  const auto terminal = [&](const std::string& words) {
    return run_command(
        {"/bin/sh", "-c",
         "script -qec '" VUMEDIA_BIN_DIR "/vumedia-ctl -s " + socket() + " " + words + "' /dev/null"});
  };
  if (terminal("info").status != 0) GTEST_SKIP() << "no program script, which makes terminals (bsdutils)";
  for (const char* const output : {"-", "/dev/stdout", "/dev/tty", "/dev/stderr"}) {
    const auto ended = terminal("decode " + film_ + " -o " + output);
    EXPECT_NE(ended.status, 0);
    EXPECT_TRUE(ended.says("frames are not written to a terminal")) << ended.output.substr(0, 200);
    EXPECT_LT(ended.output.size(), 300u);
  }
}

// A file must not become standard output because that was free.
TEST_F(CtlFiles, StandardStreamsMayBeClosed) {
  constexpr std::size_t frames = 5 * 320 * 180 * 3 / 2;
  EXPECT_EQ(shell("decode " + film_ + " -o " + path("closed.yuv") + " <&- >&- 2>&-").status, 0);
  EXPECT_EQ(read("closed.yuv").size(), frames);
  EXPECT_EQ(shell("decode " + film_ + " -o - >&-").status, 0);
}

TEST_F(CtlFiles, RefusesAnImageThatIsTheInput) {
  std::filesystem::create_hard_link(film_, path("frame-002.png"));
  expect_kept(run({"decode", film_, "--output", path("frame-%03d.png")}), 1, "frame-002.png is the input");
  EXPECT_TRUE(std::filesystem::exists(path("frame-001.png")));
}

TEST_F(CtlFiles, SummariesAreNotAmongTheData) {
  constexpr std::size_t frames = 5 * 320 * 180 * 3 / 2;
  for (const std::string output : {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}) {
    SCOPED_TRACE(output);
    const auto decode = run({"decode", film_, "--md5", "--compare", "--output", output});
    EXPECT_EQ(decode.status, 0) << decode.errors;
    EXPECT_EQ(decode.output.size(), frames);
    for (const char* const text : {"5 frames of 320x180", "md5: ", "bit-exact\n"})
      EXPECT_NE(decode.errors.find(text), std::string::npos) << decode.errors;
  }
  const std::string both = path("both.yuv");
  EXPECT_EQ(shell("decode " + film_ + " -o " + both + " >" + both).status, 0);
  EXPECT_EQ(read("both.yuv").size(), frames);
}

}  // namespace
}  // namespace vumedia::ctl_test
