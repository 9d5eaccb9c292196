// What the loop and the worker of a decoding engine share, with neither of them.
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/ffmpeg/engine_state.hpp>

namespace vumedia::test {
namespace engine_state_test {

using namespace backends::ffmpeg;

const CodedFormat& h264 = *find_coded_format(V4L2_PIX_FMT_H264);

Picture picture_of_size(std::uint32_t width, std::uint32_t height) {
  return {*CodedSize::of(width, height), {}, {0, 0, width, height}, {}};
}
CaptureSetup setup_for(const Picture& picture, std::uint64_t serial) {
  return {V4L2_PIX_FMT_YUV420,
          Layout::of(picture.size, *find_raw_format(V4L2_PIX_FMT_YUV420)->pixels),
          serial,
          {}};
}
CodedBuffer coded(std::uint32_t index) {
  CodedBuffer buffer;
  buffer.index = index;
  return buffer;
}

// Memory for a picture, at an address that libavcodec takes.
class Room {
 public:
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return std::as_writable_bytes(std::span(lines_)); }

 private:
  struct alignas(Layout::address_alignment) Line {
    std::array<std::byte, Layout::address_alignment> bytes{};
  };
  std::vector<Line> lines_ = std::vector<Line>((2 << 20) / sizeof(Line));
};

class EngineStateTest : public testing::Test {
 protected:
  // A stream has begun, and its picture is known.
  void begin(bool capture = true) {
    state.start_output(h264);
    EXPECT_EQ(state.take_start(), Start::stream);
    state.begun();
    state.announce(small, {4, 100, 31});
    if (capture) start_capture(1);
    (void)events();
  }
  void start_capture(std::uint64_t serial, const Picture& picture = small) {
    state.start_capture(setup_for(picture, serial));
  }
  void queue(std::uint32_t index) { state.queue_capture(index, {memory.data(), memory.size(), nullptr}); }
  std::vector<Event> events() {
    std::vector<Event> taken;
    state.take_events(taken);
    return taken;
  }
  template <class... Types>
  static bool are(const std::vector<Event>& events) {
    std::size_t at = 0;
    return events.size() == sizeof...(Types) && (std::holds_alternative<Types>(events[at++]) && ...);
  }

  static inline const Picture small = picture_of_size(320, 192);
  static inline const Picture large = picture_of_size(640, 384);
  int notified = 0;
  EngineState state{[this] { ++notified; }, std::make_shared<Monitor>()};
  std::array<std::byte, 64> memory{};
};

TEST_F(EngineStateTest, BeginsWithAStream) {
  EXPECT_TRUE(state.start_is_due());
  EXPECT_FALSE(state.feeds());
  state.start_output(h264);
  // A seek before that does not make it any other beginning.
  state.stop_output();
  state.start_output(h264);
  EXPECT_TRUE(state.stop_flag().stopped());
  EXPECT_EQ(state.take_start(), Start::stream);
  EXPECT_FALSE(state.start_is_due());
  state.begun();
  EXPECT_FALSE(state.stop_flag().stopped());
  state.stop_output();
  EXPECT_EQ(state.take_start(), Start::seek);
  // Another one that comes in between stops it again.
  state.reset_stream();
  state.begun();
  EXPECT_TRUE(state.stop_flag().stopped());
  EXPECT_EQ(state.take_start(), Start::stream);
}

TEST_F(EngineStateTest, NotifiesOfTheFirstEvent) {
  begin();
  notified = 0;
  state.push(EndOfStream{});
  state.push(EndOfStream{});
  EXPECT_EQ(notified, 1);
  EXPECT_EQ(events().size(), 2u);
  state.push(EndOfStream{});
  EXPECT_EQ(notified, 2);
  state.close();
  state.push(EndOfStream{});
  EXPECT_EQ(notified, 2);
  EXPECT_TRUE(events().empty());
}

TEST_F(EngineStateTest, HandsOutCodedBuffersInOrderWhileOutputStreams) {
  ASSERT_TRUE(state.queue_output(coded(3)));
  EXPECT_FALSE(state.has_coded());
  begin();
  ASSERT_TRUE(state.drain());
  EXPECT_EQ(state.drain().error().value, EBUSY);
  ASSERT_TRUE(state.queue_output(coded(4)));
  auto first = state.take_coded();
  EXPECT_EQ(first.format, &h264);
  EXPECT_EQ(std::get<CodedBuffer>(first.entry).index, 3u);
  auto second = state.take_coded();
  EXPECT_EQ(std::get<EngineState::DrainMark>(second.entry).drain, 1u);
  EXPECT_TRUE(state.has_coded());
  state.stop_output();
  EXPECT_FALSE(state.feeds());
  state.start_output(h264);
  EXPECT_FALSE(state.has_coded()) << "what was queued before a seek";
}

TEST_F(EngineStateTest, HoldsABoundedNumberOfCodedBuffers) {
  std::size_t queued = 0;
  while (state.queue_output(coded(0))) ASSERT_LE(++queued, CaptureSlots::max_slots + 1);
  EXPECT_EQ(queued, CaptureSlots::max_slots + 1);
  EXPECT_EQ(state.queue_output(coded(0)).error().value, ENOBUFS);
}

// No coded buffer comes back before its frame can.
TEST_F(EngineStateTest, HoldsTheBufferBackThatBroughtThePicture) {
  begin(false);
  state.announce(large, {4, 100, 31});
  (void)events();
  ASSERT_TRUE(state.queue_output(coded(1)));
  state.give_back({0, false}, 1);
  EXPECT_TRUE(events().empty());
  EXPECT_FALSE(state.has_coded()) << "the next one has to wait, too";
  start_capture(2, large);
  EXPECT_TRUE(are<CodedBufferDone>(events()));
  EXPECT_TRUE(state.has_coded());
  // Others, and damaged ones, come at once.
  state.stop_capture();
  state.give_back({1, false}, 2);
  state.give_back({2, true}, 1);
  EXPECT_TRUE((are<CodedBufferDone, CodedBufferDone>(events())));
  // What is decoded after a seek belongs to the guest already.
  state.stop_output();
  state.give_back({3, false}, 2);
  EXPECT_TRUE(events().empty());
}

TEST_F(EngineStateTest, StoppingAQueueDropsItsEvents) {
  begin();
  for (int i = 0; i < 2; ++i) {
    state.push(CodedBufferDone{});
    state.push(FrameDone{});
    state.push(EndOfStream{});
    state.push(LookChanged{});
    if (i == 0) {
      state.stop_output();
      EXPECT_TRUE((are<FrameDone, LookChanged>(events())));
    } else {
      state.stop_capture();
      EXPECT_TRUE((are<CodedBufferDone, EndOfStream, LookChanged>(events())));
    }
  }
}

TEST_F(EngineStateTest, ADrainEndsWithLast) {
  begin();
  ASSERT_TRUE(state.drain());
  (void)state.take_coded();
  state.end_of_frames(1);
  EXPECT_FALSE(state.deliver_last()) << "there is no buffer";
  EXPECT_EQ(state.resume(setup_for(small, 1)).error().value, EBUSY);
  queue(5);
  EXPECT_TRUE(state.deliver_last());
  const auto last = events();
  ASSERT_TRUE((are<FrameDone, EndOfStream>(last)));
  EXPECT_EQ(std::get<FrameDone>(last[0]).index, 5u);
  EXPECT_EQ(std::get<FrameDone>(last[0]).bytes_used, 0u);
  EXPECT_EQ(std::get<FrameDone>(last[0]).flags, std::uint32_t{V4L2_BUF_FLAG_LAST});
  EXPECT_TRUE(state.phase().stopped());
  EXPECT_FALSE(state.start_is_due());
  ASSERT_TRUE(state.resume(setup_for(small, 1)));
  EXPECT_EQ(state.take_start(), Start::resume);
}

TEST_F(EngineStateTest, WithoutCaptureTheEndOfADrainComesAloneAndOnce) {
  begin(false);
  ASSERT_TRUE(state.drain());
  (void)state.take_coded();
  state.end_of_frames(1);
  EXPECT_FALSE(state.deliver_last());
  EXPECT_FALSE(state.deliver_last());
  EXPECT_TRUE(are<EndOfStream>(events()));
  // LAST is still due, and comes when there is a buffer.
  start_capture(1);
  queue(0);
  EXPECT_TRUE(state.deliver_last());
  EXPECT_TRUE(are<FrameDone>(events()));
}

TEST_F(EngineStateTest, StoppingCaptureForgetsADrainThatIsUnderWay) {
  begin();
  ASSERT_TRUE(state.drain());
  state.stop_capture();
  EXPECT_FALSE(state.has_coded()) << "the drain is still queued";
  ASSERT_TRUE(state.drain());
  (void)state.take_coded();
  state.stop_capture();
  // libavcodec is at the end of a drain that nobody wants any more.
  state.end_of_frames(2);
  EXPECT_TRUE(state.phase().decoding());
  EXPECT_EQ(state.take_start(), Start::resume);
}

TEST_F(EngineStateTest, AChangeDuringADrainComesFirst) {
  begin();
  ASSERT_TRUE(state.drain());
  state.announce(large, {4, 100, 31});
  EXPECT_TRUE(are<PictureChanged>(events()));
  EXPECT_FALSE(state.picture().fits());
  state.reach_change();
  queue(0);
  EXPECT_TRUE(state.deliver_last());
  EXPECT_TRUE(are<FrameDone>(events()));
  state.stop_capture();
  EXPECT_TRUE(state.has_coded()) << "the drain continues";
  start_capture(2, large);
  EXPECT_TRUE(state.phase().decoding());
  EXPECT_FALSE(state.start_is_due());
  EXPECT_TRUE(state.picture().fits());
}

TEST_F(EngineStateTest, LendsOnlyBuffersThatFit) {
  begin();
  Room room;
  const std::span<std::byte> bytes = room.bytes();
  for (std::uint32_t i = 0; i < 8; ++i) state.queue_capture(i, {bytes.data(), bytes.size(), nullptr});
  const Layout layout = setup_for(small, 1).layout;
  const auto lends = [&](std::uint32_t fourcc, const Layout& wanted) {
    auto* buffer = state.lend(fourcc, wanted).buffer;
    const bool lent = buffer != nullptr;
    av_buffer_unref(&buffer);
    return lent;
  };
  state.announce(small, {8, 100, 31});
  EXPECT_FALSE(lends(V4L2_PIX_FMT_YUV420, layout)) << "the client has not seen the latest change";
  start_capture(2);
  EXPECT_TRUE(lends(V4L2_PIX_FMT_YUV420, layout));
  EXPECT_FALSE(lends(V4L2_PIX_FMT_YUV422P, layout));
  EXPECT_FALSE(lends(V4L2_PIX_FMT_YUV420, setup_for(large, 2).layout));
  state.reach_change();
  ASSERT_TRUE(state.deliver_last());
  EXPECT_FALSE(lends(V4L2_PIX_FMT_YUV420, layout)) << "the client is changing its buffers";
}

TEST(PictureStateTest, KnowsWhatIsNews) {
  const Picture small = picture_of_size(320, 192);
  const Picture large = picture_of_size(640, 384);
  Picture deep = small;
  deep.samples.bytes = 2;
  PictureState state;
  EXPECT_TRUE(state.is_news(small));
  EXPECT_EQ(state.announce(small, {4, 100, 31}).serial, 1u);
  EXPECT_FALSE(state.is_news(small));
  EXPECT_TRUE(state.is_news(large));
  EXPECT_TRUE(state.is_news(deep));
  state.start(setup_for(small, 1));
  EXPECT_TRUE(state.fits());
  // 10 bits do not suit the format. It is said once.
  EXPECT_TRUE(state.is_news(deep));
  EXPECT_EQ(state.announce(deep, {4, 100, 31}).serial, 2u);
  EXPECT_FALSE(state.is_news(deep));
  EXPECT_FALSE(state.fits());
  state.reset();
  EXPECT_FALSE(state.known());
  EXPECT_TRUE(state.is_news(deep));
  EXPECT_EQ(state.first_serial(), 3u);
}

TEST(PictureStateTest, LetsAClientGuess) {
  const Picture small = picture_of_size(320, 192);
  for (const bool right : {true, false}) {
    PictureState state;
    CaptureSetup guess = setup_for(small, 0);
    guess.visible = right ? small.visible : Rectangle{0, 0, 300, 180};
    state.start(guess);
    (void)state.announce(small, {});
    EXPECT_EQ(state.fits(), right);
    // Later changes have to be seen.
    (void)state.announce(small, {});
    EXPECT_FALSE(state.fits());
  }
}

TEST(PictureStateTest, NoticesOtherLooks) {
  const Picture first = picture_of_size(320, 192);
  PictureState state;
  (void)state.announce(first, {4, 100, 31});
  EXPECT_FALSE(state.notice(first, 4));
  Picture other = first;
  other.field = V4L2_FIELD_INTERLACED_TB;
  auto change = state.notice(other, 4);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->field, std::uint32_t{V4L2_FIELD_INTERLACED_TB});
  EXPECT_FALSE(state.notice(first, 4)) << "a progressive frame among interlaced ones";
  change = state.notice(first, 6);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->min_buffers, 6u);
  EXPECT_EQ(state.asked_buffers(), 4u) << "that is what the client was told to make";
}

// Lent buffers come back on any thread, also after the state is gone.
TEST(SharedStateTest, OrdersThreads) {
  const auto add = [](SharedState& shared, int count) {
    for (int i = 0; i < count; ++i) shared.lock()->deliveries().copied++;
  };
  int notified = 0;
  AVBufferRef* lent = nullptr;
  Room room;
  const std::span<std::byte> bytes = room.bytes();
  {
    SharedState shared([&] { ++notified; });
    std::thread other([&] { add(shared, 1000); });
    add(shared, 1000);
    other.join();
    auto state = shared.lock();
    EXPECT_EQ(state->deliveries().copied, 2000u);
    std::thread changer;
    state.without([&] {
      changer = std::thread([&] { shared.lock()->start_output(h264); });
      changer.join();
    });
    EXPECT_TRUE(state->feeds());
    const Picture small = picture_of_size(320, 192);
    for (std::uint32_t i = 0; i < 8; ++i) state->queue_capture(i, {bytes.data(), bytes.size(), nullptr});
    state->announce(small, {8, 100, 31});
    state->start_capture(setup_for(small, 1));
    lent = state->lend(V4L2_PIX_FMT_YUV420, setup_for(small, 1).layout).buffer;
  }
  ASSERT_NE(lent, nullptr);
  std::thread([&] { av_buffer_unref(&lent); }).join();
}

}  // namespace engine_state_test
}  // namespace vumedia::test
