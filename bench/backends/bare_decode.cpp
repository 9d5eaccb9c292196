// What decoding costs with libavcodec alone: the reference for a decoding device.
//
//   bare_decode FILE [THREADS [REPEAT]]
//
// Decodes FILE (any container) REPEAT times from memory and prints the number of frames and the CPU time of
// decoding alone.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/resource.h>

#include "support/clip.hpp"

namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

long decode(const vumedia::test::Clip& clip, int threads, int repeat) {
  AVCodecContext* context = avcodec_alloc_context3(avcodec_find_decoder(clip.codec));
  AVPacket* packet = av_packet_alloc();
  AVFrame* frame = av_frame_alloc();
  long frames = 0;
  if (context == nullptr || packet == nullptr || frame == nullptr) return 0;
  context->thread_count = threads;
  context->thread_type = FF_THREAD_SLICE;
  if (avcodec_open2(context, nullptr, nullptr) < 0) return 0;
  const auto receive = [&] {
    while (avcodec_receive_frame(context, frame) >= 0) ++frames;
  };
  for (int round = 0; round < repeat; ++round) {
    for (const auto& unit : clip.units) {
      if (av_new_packet(packet, static_cast<int>(unit.bytes.size())) < 0) return 0;
      std::memcpy(packet->data, unit.bytes.data(), unit.bytes.size());
      (void)avcodec_send_packet(context, packet);
      av_packet_unref(packet);
      receive();
    }
    (void)avcodec_send_packet(context, nullptr);
    receive();
    avcodec_flush_buffers(context);
  }
  av_frame_free(&frame);
  av_packet_free(&packet);
  avcodec_free_context(&context);
  return frames;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2 || count > 4) {
    std::fprintf(stderr, "usage: %s FILE [THREADS [REPEAT]]\n", arguments[0]);
    return 2;
  }
  const int threads = count > 2 ? std::atoi(arguments[2]) : 1;
  const int repeat = count > 3 ? std::atoi(arguments[3]) : 1;
  const auto clip = vumedia::test::read_clip(arguments[1]);
  if (clip.units.empty()) {
    std::fprintf(stderr, "%s: cannot read video from %s\n", arguments[0], arguments[1]);
    return 1;
  }
  av_log_set_level(AV_LOG_ERROR);
  const double before = cpu_seconds();
  const long frames = decode(clip, threads, repeat);
  std::printf("frames %ld cpu_seconds %.3f\n", frames, cpu_seconds() - before);
  return frames > 0 ? 0 : 1;
}
