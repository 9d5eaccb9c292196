// What decoding costs with the decoder backend's engine, for comparison with bare_decode.
//
//   engine_decode FILE yu12|yu12-copied|nv12 [THREADS [REPEAT]]
//
// The client's buffers are memory files, like a device's. Nothing reads the frames.
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include <sys/resource.h>

#include <vumedia/backends/ffmpeg/engine.hpp>
#include <vumedia/memory/arena.hpp>

#include "support/clip.hpp"

namespace {

namespace ffmpeg = vumedia::backends::ffmpeg;

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class Client {
 public:
  Client(const ffmpeg::EngineOptions& options, std::uint32_t fourcc)
      : fourcc_(fourcc), engine_(std::make_unique<ffmpeg::Engine>(options, [this] {
          const std::lock_guard lock(mutex_);
          raised_ = true;
          condition_.notify_one();
        })) {}

  bool decode(const vumedia::test::Clip& clip, std::uint32_t fourcc, int repeat) {
    for (int round = 0; round < repeat; ++round) {
      ended_ = false;
      if (!engine_->start_output(fourcc, workers_)) return false;
      std::uint32_t next = 0;
      for (const auto& unit : clip.units) {
        while (in_flight_ == 8) wait();
        ffmpeg::CodedBuffer buffer;
        buffer.index = next++ % 8;
        buffer.bytes = std::as_bytes(std::span(unit.bytes));
        ++in_flight_;
        if (!engine_->queue_output(std::move(buffer))) return false;
      }
      if (!engine_->drain()) return false;
      while (!ended_) wait();
    }
    return true;
  }

  long frames = 0;
  [[nodiscard]] ffmpeg::Engine::Counters counters() const { return engine_->counters(); }

 private:
  void wait() {
    {
      std::unique_lock lock(mutex_);
      condition_.wait(lock, [this] { return raised_; });
      raised_ = false;
    }
    engine_->take_events(events_);
    for (const auto& event : events_) std::visit([this](const auto& one) { on(one); }, event);
  }
  void on(const ffmpeg::CodedBufferDone&) { --in_flight_; }
  void on(const ffmpeg::LookChanged&) {}
  void on(const ffmpeg::EndOfStream&) { ended_ = true; }
  void on(const ffmpeg::FrameDone& done) {
    if (done.bytes_used != 0) ++frames;
    queue(done.index);
  }
  void on(const ffmpeg::PictureChanged& change) {
    const auto offered = ffmpeg::raw_formats_of(change.picture.samples);
    const auto* const format = ffmpeg::find_raw_format(fourcc_, offered);
    if (format == nullptr) std::abort();
    const auto layout = ffmpeg::Layout::of(change.picture.size, *format->pixels);
    blocks_.clear();
    for (std::uint32_t i = 0; i < change.min_buffers + 2; ++i) {
      auto block = arenas_.allocate(layout.size_image());
      if (!block) std::abort();
      blocks_.push_back(std::move(*block));
      queue(i);
    }
    engine_->start_capture({fourcc_, layout, change.serial});
  }
  void queue(std::uint32_t index) {
    const auto& block = blocks_[index];
    (void)engine_->queue_capture(index, {block->data(), block->size(), block});
  }

  const std::uint32_t fourcc_;
  std::mutex mutex_;
  std::condition_variable condition_;
  bool raised_ = false;
  bool ended_ = false;
  std::uint32_t in_flight_ = 0;
  vumedia::memory::Arenas arenas_;
  std::vector<std::shared_ptr<vumedia::memory::Block>> blocks_;
  std::vector<ffmpeg::Event> events_;
  ffmpeg::Workers workers_{1};
  std::unique_ptr<ffmpeg::Engine> engine_;
};

}  // namespace

int main(int count, char** arguments) {
  const std::string_view way = count > 2 ? arguments[2] : "";
  if (count < 3 || count > 5 || (way != "yu12" && way != "yu12-copied" && way != "nv12")) {
    std::fprintf(stderr, "usage: %s FILE yu12|yu12-copied|nv12 [THREADS [REPEAT]]\n", arguments[0]);
    return 2;
  }
  ffmpeg::EngineOptions options;
  options.codec.threads = count > 3 ? static_cast<unsigned>(std::atoi(arguments[3])) : 1;
  options.direct = way == "yu12";
  const int repeat = count > 4 ? std::atoi(arguments[4]) : 1;
  const auto clip = vumedia::test::read_clip(arguments[1]);
  std::uint32_t fourcc = 0;
  for (const auto& format : ffmpeg::coded_formats) {
    if (format.codec == clip.codec) fourcc = format.fourcc;
  }
  if (clip.units.empty() || fourcc == 0) {
    std::fprintf(stderr, "%s: cannot read video from %s\n", arguments[0], arguments[1]);
    return 1;
  }
  av_log_set_level(AV_LOG_ERROR);
  const double before = cpu_seconds();
  Client client(options, way == "nv12" ? V4L2_PIX_FMT_NV12 : V4L2_PIX_FMT_YUV420);
  if (!client.decode(clip, fourcc, repeat)) return 1;
  const double after = cpu_seconds();
  const auto counters = client.counters();
  std::printf("frames %ld cpu_seconds %.3f in_place %llu copied %llu\n", client.frames, after - before,
              static_cast<unsigned long long>(counters.in_place),
              static_cast<unsigned long long>(counters.copied));
  return 0;
}
