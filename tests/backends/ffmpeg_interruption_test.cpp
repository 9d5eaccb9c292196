// Running decoding ends within a picture when it is not wanted any more, whatever one buffer contains.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/engine_client.hpp"

namespace vumedia::test {
namespace {

using CodedBytes = std::vector<std::uint8_t>;

// All units of a clip, repeated many times, in one.
CodedBytes bomb_of(const Clip& clip, std::size_t times) {
  CodedBytes all;
  for (std::size_t i = 0; i < times; ++i) {
    for (const auto& unit : clip.units) all.insert(all.end(), unit.bytes.begin(), unit.bytes.end());
  }
  return all;
}

struct CodecKind {
  const char* name;
  std::string options;
};

// Codecs whose pictures can follow each other in a buffer.
const CodecKind codec_kinds[] = {
    {"a.264", moving_picture(160, 96, 12) + " -c:v libx264 -bf 2 -x264-params threads=1:log-level=none"},
    {"slices.264", moving_picture(160, 96, 12) +
                       " -c:v libx264 -bf 2 -x264-params slices=3:aud=1:threads=1:log-level=none"},
    {"fields.264", fields_picture("tff", "-c:v libx264 -x264-params threads=1:log-level=none")},
    {"a.265",
     moving_picture(160, 96, 12) + " -c:v libx265 -preset ultrafast -bf 2 -x265-params log-level=none"},
    {"slices.265", moving_picture(160, 128, 12) +
                       " -c:v libx265 -preset ultrafast -bf 2 -x265-params "
                       "slices=2:ctu=16:max-tu-size=16:repeat-headers=1:log-level=none"},
    {"a.m2v", moving_picture(160, 96, 12) + " -c:v mpeg2video -bf 2"},
    {"fields.m2v", fields_picture("tff", "-c:v mpeg2video")},
    {"a.ivf", moving_picture(160, 96, 12) + " -c:v libaom-av1 -cpu-used 8 -usage good -lag-in-frames 8"},
};

TEST(InterruptionTest, PicturesOfOneBufferAllComeOut) {
  for (const auto& kind : codec_kinds) {
    SCOPED_TRACE(kind.name);
    Clip clip = make_clip(kind.options, kind.name);
    if (clip.units.empty()) continue;
    const auto expected = decode_plainly(clip);
    ASSERT_GE(expected.size(), 8u);
    clip.units = {{bomb_of(clip, 1), true}};
    for (const unsigned threads : {1u, 2u}) {
      ClientOptions options;
      options.engine.codec.threads = threads;
      options.engine.codec.frame_threads = threads > 1;
      EngineClient client(options);
      ASSERT_TRUE(client.start(clip.codec));
      ASSERT_TRUE(client.play(clip));
      EXPECT_EQ(client.frame_md5s(), expected);
      EXPECT_EQ(client.damaged_buffers, 0u);
      EXPECT_EQ(client.coded_in_flight, 0u);
      for (const auto& frame : client.frames) EXPECT_EQ(frame.timestamp_ns, 1'000'000u);
    }
  }
}

// Whole conformance streams, with everything in their access units.
TEST(InterruptionTest, VectorsOfOneBufferAreBitExact) {
  if (vectors_folder().empty()) GTEST_SKIP() << "no test vectors";
  for (const auto& vector : vectors_of_turn(0)) {
    if (vector.codec != "h264") continue;
    SCOPED_TRACE(vector.file);
    Clip clip = read_clip(vectors_folder() / vector.file);
    clip.units = {{bomb_of(clip, 1), true}};
    EngineClient client(ClientOptions{});
    ASSERT_TRUE(client.start(clip.codec));
    ASSERT_TRUE(client.play(clip));
    EXPECT_EQ(client.frames.size(), vector.frames);
    EXPECT_EQ(client.total_md5(), vector.md5);
  }
}

// Sends a buffer of very many pictures, and lets some of them be decoded.
bool begin_bomb(EngineClient& client, const Clip& clip) {
  if (!client.start(clip.codec) || !client.send(bomb_of(clip, 500), 1000)) return false;
  while (client.frames.size() < 20) {
    if (!client.wait()) return false;
  }
  return true;
}

TEST(InterruptionTest, CloseEndsWithinAPicture) {
  for (const auto& kind : codec_kinds) {
    SCOPED_TRACE(kind.name);
    const Clip clip = make_clip(kind.options, kind.name);
    if (clip.units.empty()) continue;
    for (const unsigned threads : {1u, 3u}) {
      ClientOptions options;
      options.engine.codec.threads = threads;
      options.engine.codec.frame_threads = threads > 1;
      EngineClient client(options);
      ASSERT_TRUE(begin_bomb(client, clip));
      client.engine->close();
      const auto closed = client.engine->counters();
      while (client.workers.running() != 0) std::this_thread::yield();
      // What was being decoded, with a picture for each thread.
      const auto ended = client.engine->counters();
      EXPECT_LE(ended.packets, closed.packets + 1);
      EXPECT_LE(ended.begun, closed.begun + 1 + threads);
      EXPECT_LT(ended.packets, 1000u);
    }
  }
}

TEST(InterruptionTest, SeekingEndsWithinAPicture) {
  for (const auto& kind : codec_kinds) {
    SCOPED_TRACE(kind.name);
    const Clip clip = make_clip(kind.options, kind.name);
    if (clip.units.empty()) continue;
    const auto expected = decode_plainly(clip);
    for (const unsigned threads : {1u, 3u}) {
      ClientOptions options;
      options.engine.codec.threads = threads;
      options.engine.codec.frame_threads = threads > 1;
      EngineClient client(options);
      ASSERT_TRUE(begin_bomb(client, clip));
      client.engine->stop_output();
      const auto stopped = client.engine->counters();
      client.coded_in_flight = 0;
      ASSERT_TRUE(client.start(clip.codec));
      ASSERT_TRUE(client.play(clip, 5'000'000));
      const auto ended = client.engine->counters();
      EXPECT_LE(ended.packets, stopped.packets + 1 + 2 * clip.units.size());
      std::erase_if(client.frames, [](const Delivered& frame) { return frame.timestamp_ns < 5'000'000'000; });
      EXPECT_EQ(client.frame_md5s(), expected);
    }
  }
}

// A separate decoder, which is told to stop when it asks for its `at`-th picture.
struct Stopper {
  ffmpeg::StopFlag flag;
  ffmpeg::Interruption interruption{this, flag};
  std::atomic<int> asked{0};
  std::atomic<int> granted{0};
  int at = 0;
  bool grants = false;  // that picture
  static constexpr std::uint8_t untouched = 0x5c;
  std::atomic<AVBufferRef*> last{nullptr};
  std::size_t last_size = 0;

  static int get_buffer(AVCodecContext* context, AVFrame* frame, int flags) {
    auto& self = *static_cast<Stopper*>(ffmpeg::Interruption::of(*context).owner());
    const bool now = ++self.asked == self.at;
    if (now) self.flag.stop();
    if (self.interruption.stopped() && !(now && self.grants)) return AVERROR_EXIT;
    ++self.granted;
    const int got = avcodec_default_get_buffer2(context, frame, flags);
    if (got < 0 || !now) return got;
    AVBufferRef* const buffer = av_buffer_ref(frame->buf[0]);
    self.last_size = static_cast<std::size_t>(frame->height) * static_cast<std::size_t>(frame->linesize[0]);
    std::fill_n(buffer->data, self.last_size, untouched);
    self.last = buffer;
    return got;
  }
  ~Stopper() {
    AVBufferRef* buffer = last;
    av_buffer_unref(&buffer);
  }
};

ffmpeg::Codec open_decoder(AVCodecID codec, Stopper& stopper, const ffmpeg::CodecOptions& options) {
  auto opened = ffmpeg::Codec::open(*ffmpeg::find_coded_format(fourcc_of(codec)), options, {},
                                    &Stopper::get_buffer, stopper.interruption);
  EXPECT_TRUE(opened);
  return std::move(*opened);
}

// libavcodec decodes IDR pictures one after the other if they come in one packet.
TEST(InterruptionTest, ReachesIntoAPacket) {
  const Clip clip = make_clip(
      moving_picture(160, 96, 12) + " -c:v libx264 -g 1 -x264-params threads=1:log-level=none", "intra.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const CodedBytes bytes = bomb_of(clip, 10);
  Stopper stopper;
  stopper.at = 5;
  ffmpeg::Codec codec = open_decoder(clip.codec, stopper, {});
  const auto packet = ffmpeg::Codec::copy(std::as_bytes(std::span(bytes)), nullptr);
  (void)codec.send(*packet);
  EXPECT_EQ(stopper.granted, 4);
  EXPECT_GT(stopper.asked, 5) << "this packet shows nothing";
}

// An unfinished picture is left as it is: no more of its slices are decoded.
TEST(InterruptionTest, ReachesIntoAPicture) {
  struct Row {
    const char* name;
    const char* encoder;
    unsigned threads;
    bool frame_threads;
  };
  const char* const x265 =
      "-c:v libx265 -preset ultrafast -x265-params slices=4:ctu=16:max-tu-size=16:log-level=none";
  const char* const x264 = "-c:v libx264 -bf 0 -x264-params slices=4:threads=1:log-level=none";
  const char* const libvpx = "-c:v libvpx -deadline realtime -cpu-used 8";
  const Row rows[] = {{"s.265", x265, 1, false}, {"s.265", x265, 2, true},    {"s.264", x264, 1, false},
                      {"s.264", x264, 3, false}, {"s.ivf", libvpx, 1, false}, {"s.ivf", libvpx, 2, true}};
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.name) + " threads " + std::to_string(row.threads));
    const Clip clip = make_clip(moving_picture(320, 256, 4) + " " + row.encoder, row.name);
    if (clip.units.empty()) continue;
    ffmpeg::CodecOptions options;
    options.threads = row.threads;
    options.frame_threads = row.frame_threads;
    for (const bool stops : {false, true}) {
      Stopper stopper;
      stopper.at = stops ? 2 : 100;
      stopper.grants = true;
      ffmpeg::Codec codec = open_decoder(clip.codec, stopper, options);
      codec.context().error_concealment = 0;  // which would paint it over
      ffmpeg::Frame frame(av_frame_alloc());
      for (const auto& unit : clip.units) {
        const auto packet = ffmpeg::Codec::copy(std::as_bytes(std::span(unit.bytes)), nullptr);
        (void)codec.send(*packet);
        while (codec.receive(*frame) >= 0) av_frame_unref(frame.get());
      }
      codec.flush();
      if (!stops) {
        EXPECT_EQ(stopper.granted, 4);
        continue;
      }
      EXPECT_EQ(stopper.granted, 2);
      const AVBufferRef* const buffer = stopper.last;
      ASSERT_NE(buffer, nullptr);
      // Except for a fourth and last slice of H.264: no function is called for a single slice.
      EXPECT_GE(std::count(buffer->data, buffer->data + stopper.last_size, Stopper::untouched),
                static_cast<std::ptrdiff_t>(stopper.last_size * 3 / 4));
    }
  }
}

// Where the slices of H.264 begin.
std::vector<std::size_t> slices_of(const CodedBytes& bytes) {
  std::vector<std::size_t> slices;
  for (std::size_t i = 0; i + 3 < bytes.size(); ++i) {
    const bool start = bytes[i] == 0 && bytes[i + 1] == 0 && bytes[i + 2] == 1;
    if (start && ((bytes[i + 3] & 31) == 1 || (bytes[i + 3] & 31) == 5)) slices.push_back(i);
  }
  return slices;
}

// Slices that cover the same macroblocks again and again belong to one picture, and are requested one by one.
TEST(InterruptionTest, ReachesBetweenSlices) {
  const Clip clip = make_clip(
      moving_picture(320, 256, 2) + " -c:v libx264 -bf 0 -x264-params slices=4:threads=1:log-level=none",
      "s.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  Clip again = clip;
  CodedBytes& bytes = again.units[1].bytes;
  const auto slices = slices_of(bytes);
  ASSERT_EQ(slices.size(), 4u);
  const CodedBytes last(bytes.begin() + static_cast<std::ptrdiff_t>(slices.back()), bytes.end());
  for (int i = 0; i < 1000; ++i) bytes.insert(bytes.end(), last.begin(), last.end());

  static std::atomic<int> calls;
  static decltype(AVCodecContext::execute) inner;
  Stopper stopper;
  ffmpeg::Codec codec = open_decoder(clip.codec, stopper, {});
  inner = codec.context().execute;
  calls = 0;
  codec.context().execute = [](AVCodecContext* context, int (*job)(AVCodecContext*, void*), void* arguments,
                               int* results, int count, int size) {
    if (++calls == 10) static_cast<Stopper*>(ffmpeg::Interruption::of(*context).owner())->flag.stop();
    return inner(context, job, arguments, results, count, size);
  };
  ffmpeg::Frame frame(av_frame_alloc());
  for (const auto& unit : again.units) {
    const auto packet = ffmpeg::Codec::copy(std::as_bytes(std::span(unit.bytes)), nullptr);
    (void)codec.send(*packet);
    while (codec.receive(*frame) >= 0) av_frame_unref(frame.get());
  }
  // Each call was for two slices, and could be refused.
  EXPECT_GE(calls, 500);
}

TEST(WorkersTest, ThoseThatAreEndingMakeRoom) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  ffmpeg::Workers workers(2);
  const auto wait = [released] { released.wait(); };
  auto first = workers.run(wait);
  ASSERT_TRUE(first);
  ASSERT_TRUE(workers.run(wait));
  EXPECT_EQ(workers.run(wait).error().value, EBUSY);
  first->leave();
  auto third = workers.run(wait);
  ASSERT_TRUE(third);
  EXPECT_EQ(workers.run(wait).error().value, EBUSY);
  // As many threads as decode may be ending, and no more.
  third->leave();
  ASSERT_TRUE(workers.run(wait));
  EXPECT_EQ(workers.running(), 4u);
  EXPECT_EQ(workers.run(wait).error().value, EBUSY);
  release.set_value();
  while (workers.running() != 0) std::this_thread::yield();
}

TEST(WorkersTest, ClosedSessionsLockNobodyOut) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  ffmpeg::Workers workers(2);
  for (int round = 0; round < 100; ++round) {
    ffmpeg::Engine engine({}, [] {});
    while (true) {
      const auto started = engine.start_output(V4L2_PIX_FMT_H264, workers);
      if (started) break;
      // More than two are still ending, which takes no longer than a picture.
      ASSERT_EQ(started.error().value, EBUSY);
      std::this_thread::yield();
    }
    auto copy = std::make_shared<CodedBytes>(bomb_of(clip, 4));
    ffmpeg::CodedBuffer buffer;
    buffer.bytes = std::as_bytes(std::span(*copy));
    buffer.owner = copy;
    ASSERT_TRUE(engine.queue_output(std::move(buffer)));
    engine.close();
  }
}

}  // namespace
}  // namespace vumedia::test
