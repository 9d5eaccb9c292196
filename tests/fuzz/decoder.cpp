// The decoding engine with real streams that are cut, spliced and changed by packet, unit and header, with
// seeks, drains and other streams in between. libavcodec itself is the system's, and not instrumented: what
// is watched of it is that it stays within the memory that it was given, and that everything comes back.
#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <utility>
#include <variant>
#include <vector>

extern "C" {
#include <libavutil/log.h>
}

#include <vumedia/backends/ffmpeg/engine.hpp>

#include "fuzz/input.hpp"
#include "fuzz/records.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace vumedia::fuzz {
namespace {

namespace ffmpeg = backends::ffmpeg;

// A client of the engine that answers every event as a V4L2 program does.
class Client {
 public:
  explicit Client(const Records& input) : input_(input), coded_format_(input.codec) {
    ffmpeg::EngineOptions options;
    options.direct = (input.options & 1) == 0;
    options.bytes = std::make_shared<memory::Budget>(4u << 20);
    engine_ = std::make_unique<ffmpeg::Engine>(options, [signal = signal_] {
      const std::lock_guard lock(signal->mutex);
      signal->raised = true;
      signal->condition.notify_all();
    });
  }

  void run() {
    if (!start()) return;
    for (const Record& record : input_.records) act(record);
    finish();
    engine_->close();
    engine_.reset();
  }

 private:
  // No CAPTURE buffer is larger: what needs more is not shown.
  static constexpr std::size_t most_bytes = 8u << 20;
  static constexpr std::uint32_t coded_buffers = 4;

  struct Signal {
    std::mutex mutex;
    std::condition_variable condition;
    bool raised = false;
  };
  static ffmpeg::Workers& workers() {
    static ffmpeg::Workers one{1};
    return one;
  }

  bool start() {
    const auto& format = std::begin(ffmpeg::coded_formats)[coded_format_ % std::size(ffmpeg::coded_formats)];
    return started_ = engine_->start_output(format.fourcc, workers()).has_value();
  }
  void act(const Record& record) {
    switch (record.kind) {
      case Record::packet:
        return send(record.bytes);
      case Record::seek:
        engine_->stop_output();
        coded_.clear();
        static_cast<void>(start());
        return;
      case Record::drain:
        return finish();
      case Record::restart_capture:
        if (!capture_on_) return;
        stop_capture();
        return start_capture();
      default:
        engine_->stop_output();
        coded_.clear();
        if (capture_on_) stop_capture();
        engine_->reset_stream();
        coded_format_ = static_cast<std::uint8_t>(coded_format_ + record.bytes.size());
        static_cast<void>(start());
    }
  }
  void send(std::span<const std::uint8_t> bytes) {
    if (bytes.empty()) return;
    while (coded_.size() >= coded_buffers) {
      if (!wait("a coded buffer comes back")) return;
    }
    std::uint32_t index = 0;
    while (coded_.contains(index)) ++index;
    auto copy = std::make_shared<std::vector<std::uint8_t>>(bytes.begin(), bytes.end());
    ffmpeg::CodedBuffer buffer;
    buffer.index = index;
    buffer.bytes = std::as_bytes(std::span(*copy));
    buffer.stamp.timestamp_ns = ++stamp_ * 1000;
    buffer.owner = std::move(copy);
    coded_.insert(index);
    require(engine_->queue_output(std::move(buffer)).has_value(), "a queue has room");
  }
  // A drain ends, whatever the stream was.
  void finish() {
    if (!started_ || !engine_->drain()) return;
    ended_ = false;
    while (!ended_ || (capture_on_ && !last_seen_)) {
      if (!wait("a drain ends")) return;
    }
    require(coded_.empty(), "after a drain no coded buffer is left");
    if (capture_on_) return restart_if_last();
    // Without CAPTURE there is nothing to restart: the stream goes on from its next key frame.
    engine_->stop_output();
    static_cast<void>(start());
  }

  // False: nothing can come, because the client does not show what the stream has become.
  bool wait(const char* law) {
    {
      std::unique_lock lock(signal_->mutex);
      require(signal_->condition.wait_for(lock, std::chrono::seconds(15), [&] { return signal_->raised; }),
              law);
      signal_->raised = false;
    }
    engine_->take_events(events_);
    for (auto& event : events_) std::visit([this](auto& one) { on(one); }, event);
    return !refused_;
  }

  // -- Events

  void on(const ffmpeg::CodedBufferDone& done) {
    require(coded_.erase(done.index) == 1, "a coded buffer comes back once");
  }
  void on(const ffmpeg::PictureChanged& change) {
    require(change.min_buffers > 0 && change.min_buffers <= 64,
            "a picture needs a bounded number of buffers");
    require(change.picture.visible.left + change.picture.visible.width <= change.picture.size.width &&
                change.picture.visible.top + change.picture.visible.height <= change.picture.size.height,
            "what is visible is in the picture");
    announced_ = change;
    if (!capture_on_) start_capture();
  }
  void on(const ffmpeg::LookChanged& change) {
    require(announced_.has_value(), "a look changes after the first picture");
    announced_->min_buffers = change.min_buffers;
  }
  void on(const ffmpeg::EndOfStream&) { ended_ = true; }
  void on(const ffmpeg::FrameDone& done) {
    require(frames_.erase(done.index) == 1, "a frame's buffer comes back once");
    require(!last_seen_, "LAST is the last");
    require(done.bytes_used <= size_, "a frame fits");
    require(done.bytes_used != 0 || (done.flags & V4L2_BUF_FLAG_LAST) != 0, "only LAST is empty");
    if ((done.flags & V4L2_BUF_FLAG_LAST) == 0) {
      // Read as a program would.
      sum_ = sum_ + static_cast<unsigned>(memory_[done.index]->data()[done.bytes_used - 1]);
      return queue(done.index);
    }
    last_seen_ = true;
    // Of a change, rather than of a drain.
    if (!suits_announced()) restart_if_last();
  }

  // -- CAPTURE

  [[nodiscard]] bool suits_announced() const {
    return announced_->picture.same_shape(in_force_) &&
           ffmpeg::find_raw_format(fourcc_, ffmpeg::raw_formats_of(announced_->picture.samples)) != nullptr;
  }
  void restart_if_last() {
    if (!last_seen_) return;
    stop_capture();
    start_capture();
  }
  void start_capture() {
    if (!announced_) return;
    const auto offered = ffmpeg::raw_formats_of(announced_->picture.samples);
    const auto* format =
        ffmpeg::find_raw_format((input_.options & 2) != 0 ? V4L2_PIX_FMT_NV12 : V4L2_PIX_FMT_YUV420, offered);
    if (format == nullptr) format = ffmpeg::raw_format_at(0, offered);
    require(format != nullptr, "what is announced can be shown");
    const auto layout = ffmpeg::Layout::of(announced_->picture.size, *format->pixels);
    size_ = layout.size_image();
    if (size_ > most_bytes) {
      refused_ = true;
      return;
    }
    in_force_ = announced_->picture;
    fourcc_ = format->fourcc();
    memory_.clear();
    for (std::uint32_t i = 0; i < announced_->min_buffers; ++i) {
      memory_.push_back(std::make_shared<std::vector<std::byte>>(size_));
      queue(i);
    }
    engine_->start_capture({format->fourcc(), layout, announced_->serial});
    capture_on_ = true;
  }
  void stop_capture() {
    engine_->stop_capture();
    engine_->forget_capture_buffers(0, memory_.size());
    frames_.clear();
    capture_on_ = last_seen_ = false;
  }
  void queue(std::uint32_t index) {
    const auto& memory = memory_[index];
    frames_.insert(index);
    require(engine_->queue_capture(index, {memory->data(), size_, memory}).has_value(), "a queue has room");
  }

  const Records& input_;
  std::uint8_t coded_format_;
  const std::shared_ptr<Signal> signal_ = std::make_shared<Signal>();
  std::unique_ptr<ffmpeg::Engine> engine_;
  std::vector<ffmpeg::Event> events_;
  std::set<std::uint32_t> coded_, frames_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> memory_;
  std::optional<ffmpeg::PictureChanged> announced_;
  ffmpeg::Picture in_force_;  // what CAPTURE is set up for
  std::uint32_t fourcc_ = 0;
  std::size_t size_ = 0;
  std::uint64_t stamp_ = 0;
  volatile unsigned sum_ = 0;
  bool started_ = false, capture_on_ = false, last_seen_ = false, ended_ = false, refused_ = false;
};

// -- Mutation

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  void change(Records& input) {
    auto& records = input.records;
    if (records.empty()) return records.push_back({});
    Record& record = records[below(records.size())];
    switch (below(12)) {
      case 0:
        return records.insert(records.begin() + at(records.size()), Record(record)), void();
      case 1:
        return records.erase(records.begin() + at(records.size())), void();
      case 2:
        return std::swap(record, records[below(records.size())]);
      case 3:
        // A step that is none of the stream's.
        return records.insert(records.begin() + at(records.size()),
                              {static_cast<std::uint8_t>(1 + below(Record::count - 1)),
                               std::vector<std::uint8_t>(below(7))}),
               void();
      case 4:
        return record.bytes.resize(below(record.bytes.size() + 1));
      case 5:
        if (below(8) == 0) input.options = static_cast<std::uint8_t>(random_());
        return;
      case 6:
      case 7:
        return units(record.bytes);
      case 8:
      case 9:
        return headers(record.bytes);
      default:
        return bytes(record.bytes, 0, record.bytes.size());
    }
  }
  // What follows in one behind what comes first in the other, which is the codec's.
  void splice(Records& into, const Records& from) {
    const std::size_t keep = below(into.records.size() + 1), skip = below(from.records.size() + 1);
    into.records.resize(keep);
    into.records.insert(into.records.end(), from.records.begin() + static_cast<std::ptrdiff_t>(skip),
                        from.records.end());
  }

 private:
  [[nodiscard]] std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  [[nodiscard]] std::ptrdiff_t at(std::size_t bound) { return static_cast<std::ptrdiff_t>(below(bound)); }

  // Drops, repeats or exchanges units.
  void units(std::vector<std::uint8_t>& bytes) {
    const auto starts = units_of(bytes);
    const std::size_t unit = below(starts.size());
    const std::size_t begin = starts[unit], end = unit + 1 < starts.size() ? starts[unit + 1] : bytes.size();
    const std::vector<std::uint8_t> copy(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                                         bytes.begin() + static_cast<std::ptrdiff_t>(end));
    if (below(2) == 0)
      bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                  bytes.begin() + static_cast<std::ptrdiff_t>(end));
    if (below(2) == 0) {
      const auto to = units_of(bytes);
      bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(to[below(to.size())]), copy.begin(),
                   copy.end());
    }
  }
  // Of a unit, or of a frame.
  void headers(std::vector<std::uint8_t>& bytes_of_packet) {
    const auto starts = units_of(bytes_of_packet);
    const std::size_t begin = starts[below(starts.size())];
    bytes(bytes_of_packet, begin, std::min<std::size_t>(bytes_of_packet.size() - begin, 24));
  }
  void bytes(std::vector<std::uint8_t>& all, std::size_t begin, std::size_t size) {
    std::vector<std::uint8_t> part(all.begin() + static_cast<std::ptrdiff_t>(begin),
                                   all.begin() + static_cast<std::ptrdiff_t>(begin + size));
    part.resize(size + 16);
    part.resize(LLVMFuzzerMutate(part.data(), size, part.size()));
    std::vector<std::uint8_t> changed(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(begin));
    changed.insert(changed.end(), part.begin(), part.end());
    changed.insert(changed.end(), all.begin() + static_cast<std::ptrdiff_t>(begin + size), all.end());
    all = std::move(changed);
  }

  std::mt19937 random_;
};

std::size_t put(const Records& input, std::uint8_t* to, std::size_t most) {
  const auto bytes = input.write();
  const std::size_t size = std::min(bytes.size(), most);
  std::memcpy(to, bytes.data(), size);
  return size;
}

}  // namespace
}  // namespace vumedia::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  av_log_set_level(AV_LOG_QUIET);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vumedia::fuzz;
  const Records input = Records::read({data, size});
  Client(input).run();
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most,
                                               unsigned seed) {
  using namespace vumedia::fuzz;
  Records input = Records::read({data, size});
  Mutator mutator(seed);
  for (unsigned i = 0; i <= seed % 3; ++i) mutator.change(input);
  return put(input, data, most);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* one, std::size_t one_size,
                                                 const std::uint8_t* other, std::size_t other_size,
                                                 std::uint8_t* out, std::size_t most, unsigned seed) {
  using namespace vumedia::fuzz;
  Records input = Records::read({one, one_size});
  Mutator(seed).splice(input, Records::read({other, other_size}));
  return put(input, out, most);
}
