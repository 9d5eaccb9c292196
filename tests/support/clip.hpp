// A compressed video file in memory, for tests and benchmarks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

namespace vumedia::test {

// A video stream as access units.
struct Clip {
  AVCodecID codec = AV_CODEC_ID_NONE;
  struct Unit {
    std::vector<std::uint8_t> bytes;
    bool key = false;
  };
  std::vector<Unit> units;
};

// Reads the first video stream of `path`. Empty if there is none.
inline Clip read_clip(const std::filesystem::path& path) {
  Clip clip;
  AVFormatContext* input = nullptr;
  if (avformat_open_input(&input, path.c_str(), nullptr, nullptr) < 0) return clip;
  AVPacket* packet = av_packet_alloc();
  int stream = -1;
  while (av_read_frame(input, packet) >= 0) {
    if (stream < 0 && input->streams[packet->stream_index]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO) {
      stream = packet->stream_index;
      clip.codec = input->streams[stream]->codecpar->codec_id;
    }
    if (packet->stream_index == stream) {
      clip.units.push_back(
          {{packet->data, packet->data + packet->size}, (packet->flags & AV_PKT_FLAG_KEY) != 0});
    }
    av_packet_unref(packet);
  }
  av_packet_free(&packet);
  avformat_close_input(&input);
  return clip;
}

}  // namespace vumedia::test
