// vumedia-ctl with FFmpeg: files decoded through vumedia-device over its socket, compared with libavcodec;
// images.
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vumedia/backends/test_pattern/frame_code.hpp>
#include <vumedia/core/fd.hpp>

#include "programs/ctl_clips.hpp"
#include "support/patience.hpp"

namespace vumedia::ctl_test {
namespace {

struct Image {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::vector<std::byte> rgb;
};

// The RGB pixels of a PNG file; empty if it is not one.
Image read_image(const std::vector<std::byte>& file) {
  Image image;
  AVCodecContext* context = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_PNG));
  AVPacket* packet = av_packet_alloc();
  AVFrame* frame = av_frame_alloc();
  if (avcodec_open2(context, nullptr, nullptr) >= 0 &&
      av_new_packet(packet, static_cast<int>(file.size())) >= 0) {
    std::memcpy(packet->data, file.data(), file.size());
    if (avcodec_send_packet(context, packet) >= 0 && avcodec_receive_frame(context, frame) >= 0 &&
        frame->format == AV_PIX_FMT_RGB24) {
      image.width = static_cast<std::uint32_t>(frame->width);
      image.height = static_cast<std::uint32_t>(frame->height);
      for (int y = 0; y < frame->height; ++y) {
        const auto* const row = reinterpret_cast<const std::byte*>(frame->data[0] + y * frame->linesize[0]);
        image.rgb.insert(image.rgb.end(), row, row + frame->width * 3);
      }
    }
  }
  av_frame_free(&frame);
  av_packet_free(&packet);
  avcodec_free_context(&context);
  return image;
}

v4l2_pix_format rgb_format(const Image& image) {
  v4l2_pix_format pix{};
  pix.pixelformat = V4L2_PIX_FMT_RGB24;
  pix.width = image.width;
  pix.height = image.height;
  pix.bytesperline = image.width * 3;
  return pix;
}

using CtlDecode = CtlClips;

TEST_F(CtlDecode, VectorsAreBitExactInBothFormats) {
  if (vumedia::test::read_manifest().empty())
    GTEST_SKIP() << "no test vectors: set VUMEDIA_TEST_VECTORS to their folder";
  start("ffmpeg-decoder");
  constexpr std::array formats{"nv12", "yu12"};
  for (std::size_t turn = 0; turn < formats.size(); ++turn) {
    const char* const format = formats[turn];
    for (const auto& vector : vumedia::test::vectors_of_turn(turn)) {
      const auto decode = run({"decode", (vumedia::test::vectors_folder() / vector.file).string(), "--md5",
                               "--compare", "--format", format});
      EXPECT_EQ(decode.status, 0) << vector.file << ": " << decode.errors;
      EXPECT_TRUE(decode.says("md5: " + vector.md5 + "\n")) << vector.file << " in " << format << "\n"
                                                            << decode.output;
      EXPECT_TRUE(decode.says("bit-exact\n")) << vector.file;
      EXPECT_TRUE(decode.says(std::to_string(vector.frames) + " frames of " + std::to_string(vector.width) +
                              "x" + std::to_string(vector.height)))
          << decode.output;
      EXPECT_EQ(decode.errors, "");
    }
  }
}

TEST_F(CtlDecode, ContainersOfEveryCodecAreBitExact) {
  struct Row {
    const char* file;
    const char* encoder;
    unsigned width = 322;  // even for x264 and x265, but not a multiple of a block
    unsigned height = 182;
  };
  // MP4 and Matroska hold H.264 and HEVC with lengths before the units; a decoder wants start codes.
  constexpr Row rows[] = {{"h264.mp4", "-c:v libx264 -preset veryfast -bf 2"},
                          {"h264.mkv", "-c:v libx264 -preset veryfast"},
                          {"hevc.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none"},
                          {"vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8", 175, 143},
                          {"vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8", 227, 149},
                          {"av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime", 227, 149},
                          {"mpeg2.ts", "-c:v mpeg2video -bf 2", 227, 149},
                          {"mjpeg.avi", "-c:v mjpeg -pix_fmt yuvj420p -q:v 4", 227, 149}};
  start("ffmpeg-decoder");
  unsigned decoded = 0;
  for (const auto& row : rows) {
    if (!make(vumedia::test::moving_picture(row.width, row.height, 20) + " " + row.encoder, row.file)) {
      continue;
    }
    const std::string size = std::to_string(row.width) + "x" + std::to_string(row.height);
    for (const char* const format : {"NV12", "YU12"}) {
      const auto decode = run({"decode", path(row.file), "--compare", "--format", format});
      EXPECT_EQ(decode.status, 0) << row.file << ": " << decode.errors;
      EXPECT_TRUE(decode.says(": 20 frames of " + size + " ")) << row.file << ": " << decode.output;
      EXPECT_TRUE(decode.says("bit-exact\n")) << row.file << " in " << format;
    }
    ++decoded;
  }
  if (decoded == 0) GTEST_SKIP() << "cannot make clips: no ffmpeg program, or no encoders in it";
}

// Workers post to the loop, and packets and pictures travel in mapped buffers, on each reactor.
TEST_F(CtlDecode, OnEachReactorAStreamIsBitExact) {
  const std::string clip = "reactors.264";
  if (!make(vumedia::test::moving_picture(320, 180, 30) + " -c:v libx264 -preset veryfast -bf 2", clip))
    GTEST_SKIP() << no_clip;
  for (const char* const reactor : {"io_uring", "epoll"}) {
    SCOPED_TRACE(reactor);
    start("ffmpeg-decoder", {"--reactor", reactor});
    for (int round = 0; round < 2; ++round) {
      const auto decode = run({"decode", path(clip), "--compare", "--format", "NV12"});
      EXPECT_EQ(decode.status, 0) << decode.errors;
      EXPECT_TRUE(decode.says(": 30 frames of 320x180 ")) << decode.output;
      EXPECT_TRUE(decode.says("bit-exact\n")) << decode.output;
    }
    device_->signal(SIGTERM);
    EXPECT_EQ(device_->wait(), 0) << device_->error_output();
  }
}

TEST_F(CtlDecode, TenBitsAreBitExact) {
  struct Row {
    const char* file;
    const char* encoder;
    unsigned width = 322;
    unsigned height = 182;
  };
  constexpr Row rows[] = {
      {"h264.mp4", "-c:v libx264 -preset veryfast -bf 2"},
      {"hevc.mkv", "-c:v libx265 -preset ultrafast -x265-params log-level=none"},
      {"vp9.webm", "-c:v libvpx-vp9 -profile:v 2 -deadline realtime -cpu-used 8", 227, 149},
      {"av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime", 227, 149}};
  start("ffmpeg-decoder");
  unsigned decoded = 0;
  for (const auto& row : rows) {
    SCOPED_TRACE(row.file);
    const std::string picture = vumedia::test::moving_picture(row.width, row.height, 10, "yuv420p10le");
    if (!make(picture + " " + row.encoder, row.file)) continue;
    const auto decode = run({"decode", path(row.file), "--compare", "--md5", "--output", path("ten.y4m")});
    EXPECT_EQ(decode.status, 0) << decode.errors;
    const std::string size = std::to_string(row.width) + "x" + std::to_string(row.height);
    EXPECT_TRUE(decode.says(": 10 frames of " + size + " P010 from ")) << decode.output;
    EXPECT_TRUE(decode.says("bit-exact\n")) << decode.output;
    // The file holds the samples that were compared, as words.
    const auto file = read("ten.y4m");
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    const std::size_t header = text.find('\n') + 1;
    EXPECT_NE(text.substr(0, header).find(" C420p10 "), std::string::npos) << text.substr(0, header);
    const std::size_t chroma = (row.width + 1) / 2 * std::size_t{(row.height + 1) / 2};
    const std::size_t frame = 2 * (std::size_t{row.width} * row.height + 2 * chroma);
    ASSERT_EQ(file.size(), header + 10 * (6 + frame));
    vumedia::test::Md5 md5;
    for (std::size_t i = 0; i < 10; ++i) md5.update(file.data() + header + i * (6 + frame) + 6, frame);
    EXPECT_TRUE(decode.says("md5: " + md5.hex() + "\n")) << decode.output;
    expect_failure(run({"decode", path(row.file), "--format", "nv12"}),
                   "does not decode this stream to NV12");
    ++decoded;
  }
  if (decoded == 0) GTEST_SKIP() << "cannot make clips: no ffmpeg program, or no encoders in it";
}

TEST_F(CtlDecode, ADeviceOffersTheCodecsItIsTold) {
  start("ffmpeg-decoder", {"--codecs", "mpeg2,h264"});
  const auto formats = run({"list-formats"});
  EXPECT_EQ(formats.status, 0) << formats.errors;
  const std::size_t first = formats.output.find("MPG2");
  ASSERT_NE(first, std::string::npos) << formats.output;
  EXPECT_NE(formats.output.find("H264", first), std::string::npos) << formats.output;
  for (const char* const other : {"HEVC", "VP80", "VP90", "AV01", "MJPG"})
    EXPECT_FALSE(formats.says(other)) << formats.output;
  const std::string file = "small.webm";
  if (!make(vumedia::test::moving_picture(64, 64, 2) + " -c:v libvpx", file)) return;
  expect_failure(run({"decode", path(file)}), "the device does not decode vp8");
}

TEST_F(CtlDecode, ADamagedStreamDoesNotFillTheLogOfTheDevice) {
  const std::string name = "damaged.avi";
  if (!make(vumedia::test::moving_picture(176, 144, 50) + " -c:v mjpeg -pix_fmt yuvj420p", name))
    GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it";
  auto bytes = read(name);
  for (std::size_t i = 8000; i + 2000 < bytes.size(); i += 97) bytes[i] ^= std::byte{0x55};
  std::ofstream(path(name), std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  start("ffmpeg-decoder");
  EXPECT_NE(run({"decode", path(name), "--md5"}).status, -1) << "it hangs";
  device_->signal(SIGTERM);
  EXPECT_EQ(device_->wait(), 0);
  EXPECT_EQ(device_->error_output().find("mjpeg @"), std::string::npos) << device_->error_output();
}

TEST_F(CtlDecode, TheDeviceEndsInTheMidstOfAStream) {
  if (!make(vumedia::test::moving_picture(640, 360, 60) + " -c:v libx264 -preset veryfast", "long.264")) {
    GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it";
  }
  // The client writes into a pipe that nobody reads: it stays in the middle of the stream, while the device
  // has buffers of both queues.
  const std::string pipe = path("frames.y4m");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const vumedia::OwnedFd reader(::open(pipe.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(reader.get() >= 0);
  start("ffmpeg-decoder");
  ChildProcess client(command({"decode", path("long.264"), "--output", pipe}));
  std::size_t got = 0;
  std::vector<char> frame(std::size_t{640} * 360 * 3 / 2);
  while (got < frame.size()) {
    pollfd readable{reader.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&readable, 1, vumedia::test::poll_patience), 1) << client.error_output();
    const ssize_t count = ::read(reader.get(), frame.data(), frame.size() - got);
    ASSERT_GT(count, 0);
    got += static_cast<std::size_t>(count);
  }
  device_->signal(SIGTERM);
  EXPECT_EQ(device_->wait(), 0) << device_->error_output();
  client.signal(SIGKILL);
  (void)client.wait();
}

TEST_F(CtlDecode, FollowsAResolutionChange) {
  const std::string encoder = " -c:v libx264 -preset veryfast -bf 2";
  if (!make(vumedia::test::moving_picture(320, 240, 12) + encoder, "a.264") ||
      !make(vumedia::test::moving_picture(480, 272, 12) + encoder, "b.264")) {
    GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it";
  }
  {
    std::ofstream both(path("both.264"), std::ios::binary);
    for (const char* const part : {"a.264", "b.264", "a.264"}) {
      const auto bytes = read(part);
      both.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
  }
  start("ffmpeg-decoder");
  for (const char* const format : {"NV12", "YU12"}) {
    const auto decode =
        run({"decode", path("both.264"), "--compare", "-o", path("sheet.png"), "--format", format});
    EXPECT_EQ(decode.status, 0) << decode.errors;
    EXPECT_TRUE(decode.says(": 36 frames of 320x240")) << decode.output;
    EXPECT_TRUE(decode.says("resolution changes: 2\n")) << decode.output;
    EXPECT_TRUE(decode.says("bit-exact\n"));
  }
  expect_failure(run({"decode", path("both.264"), "-o", path("all.y4m")}), "from 320x240 to 480x272");
  EXPECT_EQ(run({"decode", path("both.264"), "--compare"}).status, 0) << "the device is none the worse";
}

// In concatenated streams of every codec, with odd sizes if the encoder supports them.
TEST_F(CtlDecode, FollowsAResolutionChangeOfEveryCodec) {
  struct Row {
    const char* file;
    const char* encoder;
    std::size_t header;  // of a file, which only the first one keeps
    unsigned widths[2];
    unsigned heights[2];
  };
  constexpr Row rows[] = {
      {"hevc.265", "-c:v libx265 -preset ultrafast -x265-params log-level=none", 0, {322, 226}, {182, 150}},
      {"vp8.ivf", "-c:v libvpx -deadline realtime -cpu-used 8", 32, {175, 227}, {143, 149}},
      {"vp9.ivf", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8", 32, {175, 227}, {143, 149}},
      {"av1.ivf", "-c:v libaom-av1 -cpu-used 8 -usage realtime", 32, {175, 227}, {143, 149}},
      {"mpeg2.m2v", "-c:v mpeg2video -bf 2", 0, {227, 175}, {149, 143}},
      {"mjpeg.mjpeg", "-c:v mjpeg -pix_fmt yuvj420p -q:v 4", 0, {227, 175}, {149, 143}}};
  start("ffmpeg-decoder");
  unsigned decoded = 0;
  for (const auto& row : rows) {
    std::vector<std::byte> both;
    for (std::size_t part = 0; part < 2; ++part) {
      const auto picture = vumedia::test::moving_picture(row.widths[part], row.heights[part], 10);
      if (!make(picture + " " + row.encoder, row.file)) break;
      const auto bytes = read(row.file);
      const auto skipped = static_cast<std::ptrdiff_t>(part == 0 ? 0 : row.header);
      both.insert(both.end(), bytes.begin() + skipped, bytes.end());
      decoded += part == 1 ? 1 : 0;
    }
    if (both.empty()) continue;
    std::ofstream(path(row.file), std::ios::binary)
        .write(reinterpret_cast<const char*>(both.data()), static_cast<std::streamsize>(both.size()));
    const std::string frames =
        ": 20 frames of " + std::to_string(row.widths[1]) + "x" + std::to_string(row.heights[1]) + " ";
    for (const char* const format : {"NV12", "YU12"}) {
      const auto decode = run({"decode", path(row.file), "--compare", "--format", format});
      EXPECT_EQ(decode.status, 0) << row.file << ": " << decode.errors;
      EXPECT_TRUE(decode.says(frames)) << row.file << ": " << decode.output;
      EXPECT_TRUE(decode.says("resolution changes: 1\n")) << row.file << ": " << decode.output;
      EXPECT_TRUE(decode.says("bit-exact\n")) << row.file << " in " << format;
    }
  }
  if (decoded == 0) GTEST_SKIP() << "cannot make clips: no ffmpeg program, or no encoders in it";
}

TEST_F(CtlDecode, SeeksBitExactly) {
  struct Row {
    const char* file;
    const char* encoder;
  };
  // A key frame every 15 frames, which is 0.6 s; reordered and hidden frames between them.
  constexpr Row rows[] = {
      {"h264.mp4", "-c:v libx264 -preset veryfast -bf 3 -g 15 -keyint_min 15 -sc_threshold 0"},
      {"hevc.mkv",
       "-c:v libx265 -preset ultrafast -x265-params "
       "bframes=3:keyint=15:min-keyint=15:scenecut=0:open-gop=0:log-level=none"},
      {"vp9.webm",
       "-c:v libvpx-vp9 -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 12 -g 15 -keyint_min 15"},
      {"av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 15 -keyint_min 15"},
  };
  struct Jump {
    const char* after;
    const char* to;
    const char* frames;  // in all
  };
  // Forward; back, while the last frames are drained; from the very last frame to the first.
  constexpr Jump jumps[] = {{"10", "1.5", "40"}, {"58", "0.75", "103"}, {"60", "0", "120"}};
  start("ffmpeg-decoder");
  unsigned decoded = 0;
  for (const auto& row : rows) {
    if (!make(vumedia::test::moving_picture(322, 182, 60) + " " + row.encoder, row.file)) continue;
    for (const auto& jump : jumps) {
      for (const char* const format : {"NV12", "YU12"}) {
        SCOPED_TRACE(std::string(row.file) + " in " + format + ", after " + jump.after + " to " + jump.to);
        const auto decode = run({"decode", path(row.file), "--compare", "--format", format, "--seek-after",
                                 jump.after, "--seek-to", jump.to});
        EXPECT_EQ(decode.status, 0) << decode.errors;
        EXPECT_TRUE(decode.says(std::string(": ") + jump.frames + " frames of 322x182 ")) << decode.output;
        EXPECT_TRUE(decode.says("bit-exact\n"));
      }
    }
    ++decoded;
  }
  if (decoded == 0) GTEST_SKIP() << "cannot make clips: no ffmpeg program, or no encoders in it";
}

TEST_F(CtlDecode, WritesVideoSheetsAndPlanes) {
  if (!make(vumedia::test::moving_picture(320, 180, 70) + " -c:v mpeg2video", "clip.ts")) {
    GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it";
  }
  start("ffmpeg-decoder");
  constexpr std::size_t frame_size = 320 * 180 * 3 / 2;
  EXPECT_EQ(run({"decode", path("clip.ts"), "-o", path("clip.yuv")}).status, 0);
  const auto planes = read("clip.yuv");
  ASSERT_EQ(planes.size(), 70 * frame_size);
  const auto checked = run({"decode", path("clip.ts"), "--md5"});
  const std::span samples(reinterpret_cast<const std::uint8_t*>(planes.data()), planes.size());
  EXPECT_TRUE(checked.says("md5: " + vumedia::test::md5_of(samples) + "\n")) << checked.output;

  EXPECT_EQ(run({"decode", path("clip.ts"), "-o", path("clip.y4m")}).status, 0);
  const auto video = read("clip.y4m");
  const std::string start_of_video(reinterpret_cast<const char*>(video.data()), 40);
  EXPECT_EQ(start_of_video.rfind("YUV4MPEG2 W320 H180 F25:1 ", 0), 0u) << start_of_video;
  const auto last = std::span(video).last(frame_size);
  EXPECT_EQ(std::memcmp(last.data(), planes.data() + 69 * frame_size, frame_size), 0);

  EXPECT_EQ(run({"decode", path("clip.ts"), "-o", path("f-%02d.png")}).status, 0);
  const auto first = read_image(read("f-00.png"));
  EXPECT_EQ(first.width, 320u);
  EXPECT_EQ(first.height, 180u);
  EXPECT_EQ(read_image(read("f-69.png")).width, 320u);
  EXPECT_TRUE(read("f-70.png").empty());

  EXPECT_EQ(run({"decode", path("clip.ts"), "-o", path("sheet.png")}).status, 0);
  const auto sheet = read_image(read("sheet.png"));
  // 70 frames: one in four, which are 18, six per row.
  EXPECT_EQ(sheet.width, 6u * 244 + 4);
  EXPECT_EQ(sheet.height, 3u * (135 + 14 + 4) + 4);
  // Under each picture is its time: those of the first and of the second begin and differ alike.
  const auto label = [&sheet](std::size_t column, std::size_t row) {
    std::vector<std::byte> pixels;
    for (std::size_t y = 0; y < 14; ++y) {
      const auto at =
          sheet.rgb.begin() +
          static_cast<std::ptrdiff_t>(((row * 153 + 4 + 135 + y) * sheet.width + column * 244 + 4) * 3);
      pixels.insert(pixels.end(), at, at + 240 * 3);
    }
    return pixels;
  };
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t column = 0; column < 6; ++column)
      EXPECT_EQ(std::ranges::count(label(column, row), std::byte{200}) > 100, true) << column << ", " << row;
  }
  EXPECT_NE(label(0, 0), label(1, 0));
  EXPECT_NE(label(0, 0), label(0, 1));

  // The last row is full, with 20 frames as with 4.
  if (make(vumedia::test::moving_picture(320, 180, 20) + " -c:v mpeg2video", "twenty.ts")) {
    EXPECT_EQ(run({"decode", path("twenty.ts"), "-o", path("twenty.png")}).status, 0);
    EXPECT_EQ(read_image(read("twenty.png")).height, 3u * (135 + 14 + 4) + 4);
  }
  if (make(vumedia::test::moving_picture(320, 180, 4) + " -c:v mpeg2video", "four.ts")) {
    EXPECT_EQ(run({"decode", path("four.ts"), "-o", path("four.png")}).status, 0);
    EXPECT_EQ(read_image(read("four.png")).width, 4u * 244 + 4);
  }
}

TEST_F(CtlDecode, SurvivesDamage) {
  if (!make(vumedia::test::moving_picture(320, 240, 30) + " -c:v libx264 -preset veryfast -g 10",
            "good.264")) {
    GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it";
  }
  auto bytes = read("good.264");
  for (std::size_t at = bytes.size() / 3; at < bytes.size() / 2; at += 41) bytes[at] ^= std::byte{0x55};
  std::ofstream(path("bad.264"), std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  start("ffmpeg-decoder");
  const auto damaged = run({"decode", path("bad.264"), "--md5"});
  EXPECT_EQ(damaged.status, 3) << damaged.errors;
  EXPECT_TRUE(damaged.says(" frames of 320x240")) << damaged.output;
  EXPECT_TRUE(run({"decode", path("good.264"), "--compare"}).says("bit-exact\n"));
}

TEST_F(CtlDecode, SaysInOneLineWhatIsWrong) {
  start("ffmpeg-decoder");
  expect_failure(run({"decode", path("none.mp4")}), "No such file or directory");
  std::ofstream(path("text.txt")) << "nothing to see here, and much of it";
  expect_failure(run({"decode", path("text.txt")}), "text.txt");
  expect_failure(run({"decode"}), "file");
  if (make("-f lavfi -i sine=duration=1", "tone.wav")) {
    expect_failure(run({"decode", path("tone.wav")}), "no video stream");
  }
  if (make(vumedia::test::moving_picture(64, 64, 2) + " -c:v ffv1", "odd.mkv")) {
    expect_failure(run({"decode", path("odd.mkv")}), "ffv1");
  }
  if (!make(vumedia::test::moving_picture(64, 64, 2) + " -c:v mpeg2video", "clip.ts")) return;
  expect_failure(run({"decode", path("clip.ts"), "--format", "XYZ1"}), "XYZ1");
  expect_failure(run({"decode", path("clip.ts"), "--format", "RGB3"}), "RGB3");
  expect_failure(run({"decode", path("clip.ts"), "--seek-to", "-1"}), "--seek-to");
  expect_failure(run({"decode", path("clip.ts"), "--seek-after", "1"}), "--seek-to");
  expect_failure(run({"decode", path("clip.ts"), "--seek-after", "9", "--seek-to", "0"}), "only 2 frames");
  device_.reset();
  start("test-pattern");
  expect_failure(run({"decode", path("clip.ts")}), "is not a decoder");
}

TEST_F(Ctl, CapturesImages) {
  start("test-pattern");
  for (const char* const format : {"RGB3", "YUYV", "NV12", "YU12"}) {
    const auto capture = run({"capture", "-o", path("one.png"), "-f", format, "--size", "800x600"});
    EXPECT_EQ(capture.status, 0) << capture.errors;
    const auto image = read_image(read("one.png"));
    ASSERT_EQ(image.width, 800u);
    ASSERT_EQ(image.height, 600u);
    EXPECT_EQ(backends::test_pattern::read_frame_number(rgb_format(image), image.rgb), 0u) << format;
    // The 75 % bars: yellow, within the rounding of two conversions.
    const std::size_t yellow = (std::size_t{590} * 800 + 150) * 3;
    EXPECT_NEAR(std::to_integer<int>(image.rgb[yellow]), 191, 3) << format;
    EXPECT_NEAR(std::to_integer<int>(image.rgb[yellow + 1]), 191, 3) << format;
    EXPECT_NEAR(std::to_integer<int>(image.rgb[yellow + 2]), 0, 3) << format;
  }
  struct Names {
    const char* output;
    const char* before;
    const char* after;
  };
  for (const auto& names : {Names{"many.png", "many-00", ".png"}, Names{"f-%03d.png", "f-00", ".png"},
                            Names{"g%d.PNG", "g", ".PNG"}}) {
    const auto several =
        run({"capture", "-o", path(names.output), "-n", "3", "-f", "NV12", "--size", "320x240"});
    EXPECT_EQ(several.status, 0) << several.errors;
    for (std::uint32_t number = 0; number < 3; ++number) {
      const auto image = read_image(read(names.before + std::to_string(number) + names.after));
      EXPECT_EQ(backends::test_pattern::read_frame_number(rgb_format(image), image.rgb), number);
    }
  }
}

}  // namespace
}  // namespace vumedia::ctl_test
