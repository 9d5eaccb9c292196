// A client of a decoding engine: does by function calls what a V4L2 program does by ioctls.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <support/media_file.hpp>
#include <sys/mman.h>

#include <vumedia/backends/ffmpeg/engine.hpp>

namespace vumedia::test {

namespace ffmpeg = vumedia::backends::ffmpeg;

// Memory that ends where a page begins that nobody may touch.
class GuardedMemory {
 public:
  explicit GuardedMemory(std::size_t size) {
    const std::size_t pages = (size + page_size - 1) / page_size * page_size;
    mapped_ = pages + page_size;
    void* const memory = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    base_ = static_cast<std::byte*>(memory);
    if (::mprotect(base_ + pages, page_size, PROT_NONE) != 0) std::abort();
    data_ = base_ + pages - size;
  }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  ~GuardedMemory() { ::munmap(base_, mapped_); }
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t mapped_ = 0;
};

// The visible samples of a picture in a CAPTURE buffer, planar; those of P010 as libavcodec has them, with
// the value in the lower bits.
inline std::vector<std::uint8_t> visible_samples(const ffmpeg::Layout& layout,
                                                 const ffmpeg::Rectangle& visible, std::uint32_t fourcc,
                                                 const std::uint8_t* data) {
  std::vector<std::uint8_t> out;
  if (fourcc == V4L2_PIX_FMT_P010) {
    const auto append = [&](std::size_t at) {
      const unsigned word = data[at] | unsigned{data[at + 1]} << 8;
      EXPECT_EQ(word & 63, 0u) << "the lower bits of a word are not zero";
      out.push_back(static_cast<std::uint8_t>(word >> 6));
      out.push_back(static_cast<std::uint8_t>(word >> 14));
    };
    for (std::uint32_t y = 0; y < visible.height; ++y) {
      for (std::uint32_t x = 0; x < visible.width; ++x)
        append(std::size_t{visible.top + y} * layout.stride + 2 * std::size_t{visible.left + x});
    }
    for (std::uint32_t plane = 0; plane < 2; ++plane) {
      for (std::uint32_t y = visible.top / 2; y < visible.top / 2 + (visible.height + 1) / 2; ++y) {
        for (std::uint32_t x = visible.left / 2; x < visible.left / 2 + (visible.width + 1) / 2; ++x)
          append(layout.luma_size() + std::size_t{y} * layout.stride + 4 * std::size_t{x} + 2 * plane);
      }
    }
    return out;
  }
  for (std::uint32_t y = 0; y < visible.height; ++y) {
    const auto* const line = data + std::size_t{visible.top + y} * layout.stride + visible.left;
    out.insert(out.end(), line, line + visible.width);
  }
  const std::uint32_t width = (visible.width + 1) / 2;
  const std::uint32_t height = (visible.height + 1) / 2;
  const std::uint32_t left = visible.left / 2;
  const std::uint32_t top = visible.top / 2;
  for (std::uint32_t plane = 0; plane < 2; ++plane) {
    for (std::uint32_t y = 0; y < height; ++y) {
      for (std::uint32_t x = 0; x < width; ++x) {
        const auto* const chroma = data + layout.luma_size();
        out.push_back(
            fourcc == V4L2_PIX_FMT_NV12
                ? chroma[std::size_t{top + y} * layout.stride + 2 * (left + x) + plane]
                : chroma[plane * layout.chroma_size() + (top + y) * layout.chroma_stride() + left + x]);
      }
    }
  }
  return out;
}

struct ClientOptions {
  ffmpeg::EngineOptions engine;
  std::uint32_t fourcc = V4L2_PIX_FMT_YUV420;  // of 8-bit pictures; others are P010
  std::uint32_t capture_buffers = 0;           // 0: as many as the engine says
  std::uint32_t coded_buffers = 4;
  std::size_t hold = 0;  // frames kept back before they are looked at and queued again
};

// What a client saw.
struct Delivered {
  std::string md5;
  std::uint64_t timestamp_ns = 0;
  std::uint32_t flags = 0;
  std::uint32_t field = V4L2_FIELD_NONE;
  ffmpeg::Rectangle visible;
};

class EngineClient {
 public:
  explicit EngineClient(const ClientOptions& options)
      : options_(options), signal_(std::make_shared<Signal>()) {
    engine = ffmpeg::Engine::create(options.engine, [signal = signal_] {
      const std::lock_guard lock(signal->mutex);
      signal->raised = true;
      signal->condition.notify_all();
    });
  }
  ~EngineClient() { engine->close(); }

  Result<> start(AVCodecID codec) { return engine->start_output(fourcc_of(codec), workers); }

  // Waits for events and takes them in. False if none came for a long time.
  bool wait() {
    {
      std::unique_lock lock(signal_->mutex);
      if (!signal_->condition.wait_for(lock, std::chrono::seconds(30), [&] { return signal_->raised; }))
        return false;
      signal_->raised = false;
    }
    engine->take_events(events_);
    for (auto& event : events_) std::visit([this](auto& one) { on(one); }, event);
    return true;
  }

  // Sends a unit when there is a buffer for it; its timestamp is `stamp` microseconds.
  bool send(std::span<const std::uint8_t> bytes, std::int64_t stamp) {
    while (coded_in_flight >= options_.coded_buffers) {
      if (!wait()) return false;
    }
    auto copy = std::make_shared<std::vector<std::uint8_t>>(bytes.begin(), bytes.end());
    ffmpeg::CodedBuffer buffer;
    buffer.index = next_index_++ % options_.coded_buffers;
    buffer.bytes = std::as_bytes(std::span(*copy));
    buffer.stamp.timestamp_ns = static_cast<std::uint64_t>(stamp) * 1000;
    buffer.owner = std::move(copy);
    ++coded_in_flight;
    return engine->queue_output(std::move(buffer)).has_value();
  }

  // Sets CAPTURE up for the picture that was announced last.
  void start_capture() {
    const auto count = options_.capture_buffers != 0 ? options_.capture_buffers : announced->min_buffers;
    const auto size = announced->picture.layout.size_image();
    in_force = announced->picture;
    buffers.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
      buffers.push_back(std::make_shared<GuardedMemory>(size));
      queue_capture(i);
    }
    engine->start_capture({fourcc_in_force(), in_force.layout, announced->serial});
    capture_on = true;
  }
  void stop_capture() {
    engine->stop_capture();
    engine->forget_capture_buffers(0, buffers.size());
    capture_on = false;
    last_seen = false;
    held_.clear();
  }
  void queue_capture(std::uint32_t index) {
    const auto& memory = buffers.at(index);
    EXPECT_TRUE(engine->queue_capture(index, {memory->data(), in_force.layout.size_image(), memory}));
  }

  // Runs a whole clip, with a drain behind it, and follows changes of the picture. The first unit has time
  // stamp `first_stamp`, the others follow each millisecond.
  bool play(const Clip& clip, std::int64_t first_stamp = 1000) {
    std::int64_t stamp = first_stamp;
    for (const auto& unit : clip.units) {
      if (!send(unit.bytes, stamp)) return false;
      stamp += 1000;
    }
    return finish();
  }
  bool finish() {
    if (!engine->drain()) return false;
    ended = false;
    // LAST comes before the end. Without CAPTURE there is no buffer that could carry it.
    while (!ended || (capture_on && !last_seen)) {
      if (!wait()) return false;
    }
    release_held();
    return true;
  }

  // Of the visible samples of all frames. Once.
  std::string total_md5() { return total_.hex(); }
  [[nodiscard]] std::vector<std::string> frame_md5s() const {
    std::vector<std::string> all;
    for (const auto& frame : frames) all.push_back(frame.md5);
    return all;
  }

  ffmpeg::Workers workers{1};
  std::shared_ptr<ffmpeg::Engine> engine;
  std::vector<Delivered> frames;
  std::vector<std::shared_ptr<GuardedMemory>> buffers;
  std::optional<ffmpeg::PictureChanged> announced;
  ffmpeg::Picture in_force;
  std::uint32_t coded_in_flight = 0;
  std::size_t damaged_buffers = 0;
  std::size_t changes = 0;
  std::uint32_t last_index = 0;  // of the buffer flagged LAST, which is not queued again by itself
  std::size_t look_changes = 0;
  bool capture_on = false;
  bool last_seen = false;
  bool ended = false;
  bool follow_changes = true;

 private:
  struct Signal {
    std::mutex mutex;
    std::condition_variable condition;
    bool raised = false;
  };

  void on(const ffmpeg::CodedBufferDone& done) {
    --coded_in_flight;
    if (done.damaged) ++damaged_buffers;
  }
  void on(const ffmpeg::PictureChanged& change) {
    ++changes;
    announced = change;
    if (follow_changes && !capture_on) start_capture();
  }
  void on(const ffmpeg::LookChanged&) { ++look_changes; }
  void on(const ffmpeg::EndOfStream&) { ended = true; }
  void on(const ffmpeg::FrameDone& done) {
    EXPECT_LT(done.index, buffers.size());
    EXPECT_FALSE(last_seen) << "a buffer came behind the last one";
    if (done.bytes_used != 0) {
      held_.push_back(done);
      if (held_.size() > options_.hold) look_at_oldest();
    } else {
      EXPECT_TRUE(done.flags & V4L2_BUF_FLAG_LAST);
    }
    if ((done.flags & V4L2_BUF_FLAG_LAST) == 0) return;
    last_seen = true;
    last_index = done.index;
    if (!follow_changes || !announced || announced->picture.same_shape(in_force)) return;
    release_held();
    stop_capture();
    start_capture();
  }

  [[nodiscard]] std::uint32_t fourcc_in_force() const {
    return in_force.layout.sample_bytes == 2 ? V4L2_PIX_FMT_P010 : options_.fourcc;
  }

  void release_held() {
    while (!held_.empty()) look_at_oldest();
  }
  void look_at_oldest() {
    const ffmpeg::FrameDone done = held_.front();
    held_.pop_front();
    EXPECT_EQ(done.bytes_used, in_force.layout.payload());
    const auto samples =
        visible_samples(in_force.layout, in_force.visible, fourcc_in_force(),
                        reinterpret_cast<const std::uint8_t*>(buffers.at(done.index)->data()));
    total_.update(samples.data(), samples.size());
    frames.push_back({md5_of(samples), done.stamp.timestamp_ns, done.flags, done.field, in_force.visible});
    if (!last_seen) queue_capture(done.index);
  }

  ClientOptions options_;
  std::shared_ptr<Signal> signal_;
  std::vector<ffmpeg::Event> events_;
  std::deque<ffmpeg::FrameDone> held_;
  Md5 total_;
  std::uint32_t next_index_ = 0;
};

}  // namespace vumedia::test
