// Compressed video for tests: read with libavformat, decoded by libavcodec alone for comparison, and made by
// the ffmpeg program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <linux/videodev2.h>
#include <unistd.h>

#include "support/clip.hpp"
#include "support/effort.hpp"
#include "support/plain_frame.hpp"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/md5.h>
}

namespace vumedia::test {

// An MD5 that is being computed.
class Md5 {
 public:
  Md5() : state_(av_md5_alloc()) { av_md5_init(state_.get()); }
  void update(const void* data, std::size_t size) {
    av_md5_update(state_.get(), static_cast<const std::uint8_t*>(data), size);
  }
  std::string hex() {
    std::uint8_t digest[16];
    av_md5_final(state_.get(), digest);
    std::string text;
    for (const auto byte : digest) {
      constexpr char digits[] = "0123456789abcdef";
      text += digits[byte >> 4];
      text += digits[byte & 15];
    }
    return text;
  }

 private:
  struct Deleter {
    void operator()(AVMD5* state) const { av_free(state); }
  };
  std::unique_ptr<AVMD5, Deleter> state_;
};

// The visible samples of one frame, planar 4:2:0: Y, U, V without padding; two bytes each if they have 10
// bits.
inline std::string md5_of(std::span<const std::uint8_t> samples) {
  Md5 md5;
  md5.update(samples.data(), samples.size());
  return md5.hex();
}

// What libavcodec makes of a clip without our code: the MD5 of each frame's visible samples, in order.
// `units`, if given, gets the unit of each. `held_back`: for how many frames libavcodec waits from the
// beginning, whatever it has seen so far.
inline std::vector<std::string> decode_plainly(const Clip& clip, std::vector<std::size_t>* units = nullptr,
                                               Chroma chroma = Chroma::as_coded, int held_back = 0) {
  std::vector<std::string> frames;
  AVCodecContext* context = avcodec_alloc_context3(avcodec_find_decoder(clip.codec));
  AVPacket* packet = av_packet_alloc();
  AVFrame* frame = av_frame_alloc();
  context->flags |= AV_CODEC_FLAG_UNALIGNED;  // exact cropping
  context->has_b_frames = held_back;
  if (avcodec_open2(context, nullptr, nullptr) == 0) {
    const auto receive = [&] {
      while (avcodec_receive_frame(context, frame) >= 0) {
        frames.push_back(md5_of(plain_samples(*frame, chroma)));
        if (units != nullptr) units->push_back(static_cast<std::size_t>(frame->pts));
        av_frame_unref(frame);
      }
    };
    std::int64_t number = 0;
    for (const auto& unit : clip.units) {
      if (av_new_packet(packet, static_cast<int>(unit.bytes.size())) < 0) break;
      packet->pts = number++;
      std::copy(unit.bytes.begin(), unit.bytes.end(), packet->data);
      (void)avcodec_send_packet(context, packet);
      av_packet_unref(packet);
      receive();
    }
    (void)avcodec_send_packet(context, nullptr);
    receive();
  }
  av_frame_free(&frame);
  av_packet_free(&packet);
  avcodec_free_context(&context);
  return frames;
}

// One line of the test vectors' manifest.
struct Vector {
  std::string file;
  std::string codec;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::size_t frames = 0;
  std::string md5;
};

// VUMEDIA_TEST_VECTORS, otherwise ../shared/vectors next to the checkout. Empty if neither exists.
inline std::filesystem::path vectors_folder() {
  std::error_code error;
  if (const char* const named = std::getenv("VUMEDIA_TEST_VECTORS")) {
    return std::filesystem::exists(std::filesystem::path(named) / "manifest.tsv", error) ? named : "";
  }
  const std::filesystem::path beside =
      std::filesystem::path(VUMEDIA_SOURCE_DIR) / ".." / "shared" / "vectors";
  return std::filesystem::exists(beside / "manifest.tsv", error) ? beside : std::filesystem::path();
}

inline std::vector<Vector> read_manifest() {
  std::vector<Vector> vectors;
  const auto folder = vectors_folder();
  if (folder.empty()) return vectors;
  std::ifstream manifest(folder / "manifest.tsv");
  std::string line;
  std::getline(manifest, line);  // the heading
  while (std::getline(manifest, line)) {
    std::istringstream fields(line);
    Vector vector;
    char times = 0;
    if (fields >> vector.file >> vector.codec >> vector.width >> times >> vector.height >> vector.frames >>
        vector.md5) {
      vectors.push_back(std::move(vector));
    }
  }
  return vectors;
}

// The vectors for one of several tests over all of them: every vector, or under a sanitizer every fifth,
// starting with a different one for each `turn`.
inline std::vector<Vector> vectors_of_turn(std::size_t turn) {
  auto all = read_manifest();
  if (!sanitized) return all;
  std::vector<Vector> some;
  for (std::size_t i = turn % 5; i < all.size(); i += 5) some.push_back(std::move(all[i]));
  return some;
}

// Where clips are kept: VUMEDIA_TEST_CLIPS, otherwise a folder of the build.
inline std::filesystem::path clips_folder() {
  if (const char* const named = std::getenv("VUMEDIA_TEST_CLIPS")) return named;
  return std::filesystem::path(VUMEDIA_BIN_DIR) / ".." / "test-clips";
}

// A clip as `ffmpeg <options> FILE` makes it; the suffix of `name` decides the container. Encoders are slow,
// so a clip is made once and stays in clips_folder() under a name that says how it was made. It appears there
// only when it is complete, because several programs may want one at once. Empty if the ffmpeg program or the
// encoder is missing: callers skip.
inline std::filesystem::path clip_file(const std::string& options, const std::string& name) {
  std::error_code error;
  const auto folder = clips_folder();
  std::filesystem::create_directories(folder, error);
  const auto recipe = std::hash<std::string>()(options + "\n" + std::to_string(avcodec_version()));
  const auto file = folder / (std::to_string(recipe) + "-" + name);
  if (std::filesystem::exists(file, error)) return file;
  const auto part = folder / (std::to_string(::getpid()) + "-" + file.filename().string());
  const std::string command =
      "ffmpeg -nostdin -v error -y " + options + " '" + part.string() + "' >/dev/null 2>&1";
  const bool made = std::system(command.c_str()) == 0;
  if (made) std::filesystem::rename(part, file, error);
  if (!made || error) {
    std::filesystem::remove(part, error);
    return {};
  }
  return file;
}

inline Clip make_clip(const std::string& options, const std::string& name) {
  const auto file = clip_file(options, name);
  return file.empty() ? Clip() : read_clip(file);
}

// The moving test picture of libavfilter, `frames` of it. The source makes even sizes only.
inline std::string moving_picture(std::uint32_t width, std::uint32_t height, unsigned frames,
                                  const std::string& pixel_format = "yuv420p") {
  const auto size = std::to_string(width) + ":" + std::to_string(height);
  return "-f lavfi -i testsrc2=size=640x360:rate=25 -vf scale=" + size + " -frames:v " +
         std::to_string(frames) + " -pix_fmt " + pixel_format;
}

inline std::uint32_t fourcc_of(AVCodecID codec) {
  switch (codec) {
    case AV_CODEC_ID_H264:
      return V4L2_PIX_FMT_H264;
    case AV_CODEC_ID_HEVC:
      return V4L2_PIX_FMT_HEVC;
    case AV_CODEC_ID_VP8:
      return V4L2_PIX_FMT_VP8;
    case AV_CODEC_ID_VP9:
      return V4L2_PIX_FMT_VP9;
    case AV_CODEC_ID_AV1:
      return v4l2_fourcc('A', 'V', '0', '1');
    case AV_CODEC_ID_MPEG2VIDEO:
      return V4L2_PIX_FMT_MPEG2;
    case AV_CODEC_ID_MJPEG:
      return V4L2_PIX_FMT_MJPEG;
    default:
      return 0;
  }
}

}  // namespace vumedia::test
