// A client of a decoding engine: does with function calls what a V4L2 program does with ioctls.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
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

#include "support/patience.hpp"

namespace vumedia::test {

namespace ffmpeg = vumedia::backends::ffmpeg;

// Memory that is followed by an inaccessible page.
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

// How V4L2 lays out a format in one buffer.
struct RawShape {
  std::uint32_t fourcc = 0;
  unsigned shift_x = 1;  // of chroma
  unsigned shift_y = 1;
  enum class Kind : std::uint8_t { planar, paired, packed } kind = Kind::planar;
  std::size_t bytes = 1;  // of a sample
};
inline const RawShape& raw_shape(std::uint32_t fourcc) {
  using enum RawShape::Kind;
  static constexpr RawShape shapes[] = {
      {V4L2_PIX_FMT_YUV420, 1, 1, planar, 1},
      {V4L2_PIX_FMT_NV12, 1, 1, paired, 1},
      {V4L2_PIX_FMT_P010, 1, 1, paired, 2},
      {V4L2_PIX_FMT_YUV422P, 1, 0, planar, 1},
      {V4L2_PIX_FMT_NV16, 1, 0, paired, 1},
      {V4L2_PIX_FMT_YUYV, 1, 0, packed, 1},
      {V4L2_PIX_FMT_NV24, 0, 0, paired, 1},
      {V4L2_PIX_FMT_YUV411P, 2, 0, planar, 1},
      {v4l2_fourcc('Y', '2', '1', '0'), 1, 0, packed, 2},
  };
  for (const auto& shape : shapes) {
    if (shape.fourcc == fourcc) return shape;
  }
  ADD_FAILURE() << "a format that the tests do not know";
  return shapes[0];
}

// A layout as a client knows it: from G_FMT, and from V4L2's rules.
inline ffmpeg::Layout layout_told(std::uint32_t fourcc, std::uint32_t width, std::uint32_t height,
                                  std::uint32_t stride) {
  const RawShape& shape = raw_shape(fourcc);
  ffmpeg::Layout layout;
  layout.width = width;
  layout.height = height;
  layout.strides[0] = stride;
  layout.bytes = stride * height;
  if (shape.kind != RawShape::Kind::packed)
    layout.bytes += 2 * (stride >> shape.shift_x) * (height >> shape.shift_y);
  return layout;
}

// Writes `count` samples of one or two bytes each, `step` bytes apart, to `to`. Those of two bytes have their
// value in the upper 10 bits and get it in the lower ones; returns which of the other bits were set.
__attribute__((no_sanitize("address", "thread", "undefined"))) inline unsigned take_samples(
    const std::uint8_t* from, std::size_t step, std::size_t bytes, std::size_t count, std::uint8_t* to) {
  if (bytes == 1) {
    for (std::size_t i = 0; i < count; ++i) to[i] = from[i * step];
    return 0;
  }
  unsigned lower_bits = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const unsigned word = from[i * step] | unsigned{from[i * step + 1]} << 8;
    lower_bits |= word & 63;
    to[2 * i] = static_cast<std::uint8_t>(word >> 6);
    to[2 * i + 1] = static_cast<std::uint8_t>(word >> 14);
  }
  return lower_bits;
}

// The visible samples of a picture in a CAPTURE buffer, planar; 10-bit samples are as in libavcodec, with the
// value in the lower bits.
inline std::vector<std::uint8_t> visible_samples(const ffmpeg::Layout& layout,
                                                 const ffmpeg::Rectangle& visible, std::uint32_t fourcc,
                                                 const std::uint8_t* data) {
  const RawShape& shape = raw_shape(fourcc);
  const std::size_t stride = layout.stride();
  const std::size_t luma_size = stride * layout.height;
  struct Line {
    std::size_t at;    // its first sample, in bytes
    std::size_t step;  // from one sample to the next
  };
  const auto line_of = [&](unsigned c, std::size_t y) -> Line {
    switch (shape.kind) {
      case RawShape::Kind::packed:
        return {y * stride + shape.bytes * (c == 0 ? 0 : 2 * c - 1), shape.bytes * (c == 0 ? 2 : 4)};
      case RawShape::Kind::paired:
        if (c == 0) break;
        return {luma_size + y * (2 * stride >> shape.shift_x) + shape.bytes * (c - 1), 2 * shape.bytes};
      case RawShape::Kind::planar: {
        if (c == 0) break;
        const std::size_t chroma_stride = stride >> shape.shift_x;
        return {luma_size + ((c - 1) * (layout.height >> shape.shift_y) + y) * chroma_stride, shape.bytes};
      }
    }
    return {y * stride, shape.bytes};
  };
  // A line is copied from the device's memory, where sanitizers look at all of it, and taken apart where they
  // look at nothing: with a check for each sample, this took half the time of many a test.
  std::vector<std::uint8_t> out, copy;
  for (unsigned c = 0; c < 3; ++c) {
    const unsigned shift_x = c == 0 ? 0 : shape.shift_x;
    const unsigned shift_y = c == 0 ? 0 : shape.shift_y;
    const std::size_t left = visible.left >> shift_x;
    const std::size_t top = visible.top >> shift_y;
    const std::size_t width = (visible.width + (1u << shift_x) - 1) >> shift_x;
    const std::size_t height = (visible.height + (1u << shift_y) - 1) >> shift_y;
    const std::size_t before = out.size();
    out.resize(before + width * height * shape.bytes);
    if (width == 0) continue;
    std::uint8_t* to = out.data() + before;
    for (std::size_t y = top; y < top + height; ++y) {
      const Line line = line_of(c, y);
      copy.resize((width - 1) * line.step + shape.bytes);
      std::memcpy(copy.data(), data + line.at + left * line.step, copy.size());
      if (take_samples(copy.data(), line.step, shape.bytes, width, to) != 0)
        ADD_FAILURE() << "the lower bits of a word are not zero";
      to += width * shape.bytes;
    }
  }
  return out;
}

struct ClientOptions {
  ffmpeg::EngineOptions engine;
  std::uint32_t fourcc = V4L2_PIX_FMT_YUV420;  // where it suits the stream; else its default
  std::uint32_t capture_buffers = 0;           // 0: as many as the engine says
  std::uint32_t coded_buffers = 4;
  std::size_t hold = 0;  // frames kept back before they are checked and queued again
  int fill = 0;          // the initial contents of CAPTURE buffers
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
  // What CAPTURE is set up for, and how.
  struct InForce : ffmpeg::Picture {
    InForce() = default;
    InForce(const ffmpeg::Picture& picture, std::uint32_t wanted = V4L2_PIX_FMT_YUV420) : Picture(picture) {
      const auto offered = ffmpeg::raw_formats_of(samples);
      const auto* format = ffmpeg::find_raw_format(wanted, offered);
      if (format == nullptr) format = ffmpeg::raw_format_at(0, offered);
      fourcc = format->fourcc();
      layout = ffmpeg::Layout::of(size, *format->pixels);
    }
    std::uint32_t fourcc = 0;
    ffmpeg::Layout layout;
  };

  explicit EngineClient(const ClientOptions& options, Log log = {})
      : options_(options), signal_(std::make_shared<Signal>()) {
    engine = std::make_unique<ffmpeg::Engine>(
        options.engine,
        [signal = signal_] {
          const std::lock_guard lock(signal->mutex);
          signal->raised = true;
          signal->condition.notify_all();
        },
        log);
  }

  Result<> start(AVCodecID codec) { return engine->start_output(fourcc_of(codec), workers); }

  // Waits for events and handles them. False if none came for a long time.
  bool wait() {
    {
      std::unique_lock lock(signal_->mutex);
      if (!signal_->condition.wait_for(lock, patience, [&] { return signal_->raised; })) return false;
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

  // Sets up CAPTURE for the picture that was announced last.
  void start_capture() {
    const auto count = options_.capture_buffers != 0 ? options_.capture_buffers : announced->min_buffers;
    in_force = InForce(announced->picture, options_.fourcc);
    const auto size = in_force.layout.size_image();
    buffers.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
      buffers.push_back(std::make_shared<GuardedMemory>(size));
      std::memset(buffers.back()->data(), options_.fill, size);
      queue_capture(i);
    }
    engine->start_capture({in_force.fourcc, in_force.layout, announced->serial});
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

  // Runs a whole clip, followed by a drain, and handles changes of the picture. The first unit has time stamp
  // `first_stamp`, the others follow each millisecond.
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

  // The checksum of the visible samples of all frames. May be called once.
  std::string total_md5() { return total_.hex(); }
  [[nodiscard]] std::vector<std::string> frame_md5s() const {
    std::vector<std::string> all;
    for (const auto& frame : frames) all.push_back(frame.md5);
    return all;
  }

  ffmpeg::Workers workers{1};
  std::unique_ptr<ffmpeg::Engine> engine;
  std::vector<Delivered> frames;
  std::vector<std::shared_ptr<GuardedMemory>> buffers;
  std::optional<ffmpeg::PictureChanged> announced;
  InForce in_force;
  std::uint32_t coded_in_flight = 0;
  std::size_t damaged_buffers = 0;
  std::size_t changes = 0;
  std::uint32_t last_index = 0;  // of the buffer flagged LAST, which is not queued again automatically
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
  void on(const ffmpeg::LookChanged& change) {
    ++look_changes;
    announced->min_buffers = change.min_buffers;
  }
  void on(const ffmpeg::EndOfStream&) { ended = true; }
  void on(const ffmpeg::FrameDone& done) {
    EXPECT_LT(done.index, buffers.size());
    EXPECT_FALSE(last_seen) << "a buffer came after the last one";
    if (done.bytes_used != 0) {
      held_.push_back(done);
      if (held_.size() > options_.hold) look_at_oldest();
    } else {
      EXPECT_TRUE(done.flags & V4L2_BUF_FLAG_LAST);
    }
    if ((done.flags & V4L2_BUF_FLAG_LAST) == 0) return;
    last_seen = true;
    last_index = done.index;
    if (!follow_changes || !announced || suits_announced()) return;
    release_held();
    stop_capture();
    start_capture();
  }

  [[nodiscard]] bool suits_announced() const {
    const auto offered = ffmpeg::raw_formats_of(announced->picture.samples);
    return announced->picture.same_shape(in_force) &&
           ffmpeg::find_raw_format(in_force.fourcc, offered) != nullptr;
  }

  void release_held() {
    while (!held_.empty()) look_at_oldest();
  }
  void look_at_oldest() {
    const ffmpeg::FrameDone done = held_.front();
    held_.pop_front();
    EXPECT_EQ(done.bytes_used, in_force.layout.payload());
    const auto samples =
        visible_samples(in_force.layout, in_force.visible, in_force.fourcc,
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
