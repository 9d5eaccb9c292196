// Motion-JPEG from the test pattern camera: the contents of the pictures, and that the thread that makes them
// does not block anyone.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/jpeg_encoder.hpp>
#include <vumedia/backends/test_pattern.hpp>
#include <vumedia/client/guest.hpp>

#include "support/embedded_transport.hpp"
#include "support/patience.hpp"

namespace vumedia::backends::test {
namespace {

using namespace std::chrono_literals;
namespace tag = v4l2::tag;
using vumedia::test::EmbeddedTransport;

// Lets a test decide when pictures are made.
class JpegGate {
 public:
  // The encoder's thread: waits until it may pass.
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_ || passes_ > 0; });
    if (!open_) --passes_;
  }
  void done() {
    const std::lock_guard lock(mutex_);
    ++made_;
    changed_.notify_all();
  }
  // The test's.
  void wait_for_arrivals(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= count; });
  }
  void wait_for_pictures(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return made_ >= count; });
  }
  void let_one_through() {
    const std::lock_guard lock(mutex_);
    ++passes_;
    changed_.notify_all();
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0, passes_ = 0, made_ = 0;
  bool open_ = false;
};

// The encoder behind a gate.
struct GatedJpegEncoder {
  static constexpr std::uint32_t pixelformat = ffmpeg::JpegEncoder::pixelformat;

  Result<test_pattern::Easel> prepare(std::uint32_t width, std::uint32_t height) {
    gate->pass();
    return inner.prepare(width, height);
  }
  Result<std::span<const std::byte>> encode(std::int32_t quality) {
    auto picture = inner.encode(quality);
    gate->done();
    return picture;
  }

  std::shared_ptr<JpegGate> gate = std::make_shared<JpegGate>();
  ffmpeg::JpegEncoder inner = {};
};

// An encoder whose first pictures are bad: one fails, one does not fit any buffer.
struct BadJpegEncoder {
  static constexpr std::uint32_t pixelformat = ffmpeg::JpegEncoder::pixelformat;

  Result<test_pattern::Easel> prepare(std::uint32_t width, std::uint32_t height) {
    return inner.prepare(width, height);
  }
  Result<std::span<const std::byte>> encode(std::int32_t quality) {
    switch (++pictures) {
      case 1:
        return fail(EIO);
      case 2:
        huge.resize(1 << 20);
        return std::span<const std::byte>(huge);
      default:
        return inner.encode(quality);
    }
  }

  int pictures = 0;
  std::vector<std::byte> huge = {};
  ffmpeg::JpegEncoder inner = {};
};

struct DecodedJpeg {
  int width = 0, height = 0, format = -1;
  std::vector<std::byte> luma;
};

DecodedJpeg decode_jpeg(std::span<const std::byte> bytes) {
  DecodedJpeg decoded;
  AVCodecContext* context = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_MJPEG));
  AVPacket* packet = av_packet_alloc();
  AVFrame* frame = av_frame_alloc();
  if (avcodec_open2(context, nullptr, nullptr) >= 0 &&
      av_new_packet(packet, static_cast<int>(bytes.size())) >= 0) {
    std::memcpy(packet->data, bytes.data(), bytes.size());
    if (avcodec_send_packet(context, packet) >= 0 && avcodec_receive_frame(context, frame) >= 0) {
      decoded.width = frame->width;
      decoded.height = frame->height;
      decoded.format = frame->format;
      for (int y = 0; y < frame->height; ++y) {
        const auto* const row = reinterpret_cast<const std::byte*>(frame->data[0] + y * frame->linesize[0]);
        decoded.luma.insert(decoded.luma.end(), row, row + frame->width);
      }
    }
  }
  av_frame_free(&frame);
  av_packet_free(&packet);
  avcodec_free_context(&context);
  return decoded;
}

std::optional<std::uint32_t> number_in_jpeg(const DecodedJpeg& picture) {
  v4l2_pix_format pix{};
  pix.pixelformat = V4L2_PIX_FMT_GREY;
  pix.width = static_cast<std::uint32_t>(picture.width);
  pix.height = static_cast<std::uint32_t>(picture.height);
  pix.bytesperline = pix.width;
  return test_pattern::read_frame_number(pix, picture.luma);
}

// A guest that captures from a camera with this encoder, in one process and on one thread with it.
template <class E>
class JpegClient {
 public:
  using Guest = client::BasicGuest<EmbeddedTransport>;
  using Camera = BasicTestPattern<E>;

  explicit JpegClient(bool multi = false, E encoder = {})
      : multiplanar(multi),
        type(multi ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE),
        guest(std::move(*Guest::attach(
            EmbeddedTransport::over<Camera>(media::DeviceOptions{}, TestPatternOptions{.multiplanar = multi},
                                            std::move(encoder)),
            {.command_timeout = vumedia::test::patience, .user_memory = 16 << 20}))),
        session(*guest->open()) {}

  template <class Tag>
  int call(typename Tag::Payload& payload) {
    const auto done = guest->template ioctl<Tag>(session, payload);
    return done ? 0 : done.error().value;
  }
  // The size of a buffer.
  std::uint32_t set_format(std::uint32_t width, std::uint32_t height,
                           std::uint32_t code = V4L2_PIX_FMT_MJPEG) {
    v4l2_format format{};
    format.type = type;
    const auto fill = [&](auto& pix) { pix.width = width, pix.height = height, pix.pixelformat = code; };
    multiplanar ? fill(format.fmt.pix_mp) : fill(format.fmt.pix);
    EXPECT_EQ(call<tag::S_FMT>(format), 0);
    EXPECT_EQ(multiplanar ? format.fmt.pix_mp.pixelformat : format.fmt.pix.pixelformat, code);
    return size = multiplanar ? std::uint32_t{format.fmt.pix_mp.plane_fmt[0].sizeimage}
                              : format.fmt.pix.sizeimage;
  }
  void set_control(std::uint32_t id, std::int32_t value) {
    v4l2_control control{id, value};
    EXPECT_EQ(call<tag::S_CTRL>(control), 0);
  }
  int request(std::uint32_t count, std::uint32_t with = V4L2_MEMORY_MMAP) {
    memory = with;
    v4l2_requestbuffers request{};
    request.count = count;
    request.type = type;
    request.memory = memory;
    const int status = call<tag::REQBUFS>(request);
    buffers.clear();
    for (std::uint32_t index = 0; status == 0 && index < count; ++index) {
      if (memory == V4L2_MEMORY_USERPTR) {
        buffers.push_back(guest->user_memory().subspan(std::size_t{index} * (size + 1000) + 100, size));
        continue;
      }
      v4l2::BufferPayload payload = make_payload(index);
      EXPECT_EQ(call<tag::QUERYBUF>(payload), 0);
      const v4l2_buffer& head = payload.buffer.head;
      auto mapped = guest->mmap(session, multiplanar ? payload.buffer.planes[0].m.mem_offset : head.m.offset);
      EXPECT_TRUE(mapped);
      buffers.push_back(mapped->memory.first(size));
    }
    return status;
  }
  v4l2::BufferPayload make_payload(std::uint32_t index) {
    v4l2::BufferPayload payload{};
    v4l2_buffer& head = payload.buffer.head;
    head.index = index;
    head.type = type;
    head.memory = memory;
    if (multiplanar) head.length = 1;
    if (memory == V4L2_MEMORY_USERPTR && index < buffers.size()) {
      v4l2_plane& plane = payload.buffer.planes[0];
      (multiplanar ? plane.length : head.length) = size;
      (multiplanar ? plane.m.userptr : head.m.userptr) =
          reinterpret_cast<unsigned long>(buffers[index].data());
    }
    return payload;
  }
  int queue(std::uint32_t index) {
    v4l2::BufferPayload payload = make_payload(index);
    return call<tag::QBUF>(payload);
  }
  int stream(bool on) {
    tag::BufferType stream_type = type;
    return on ? call<tag::STREAMON>(stream_type) : call<tag::STREAMOFF>(stream_type);
  }
  // Returns nothing and records a failure if none comes.
  std::optional<v4l2::Buffer> next() {
    const auto event = guest->wait_event(vumedia::test::patience);
    EXPECT_TRUE(event && *event) << "no frame came";
    if (!event || !*event) return std::nullopt;
    const auto* const dqbuf = std::get_if<client::DqbufEvent>(&**event);
    EXPECT_NE(dqbuf, nullptr);
    if (dqbuf == nullptr) return std::nullopt;
    return dqbuf->buffer;
  }
  std::span<const std::byte> filled(const v4l2::Buffer& buffer) {
    const std::uint32_t used = multiplanar ? buffer.planes[0].bytesused : buffer.head.bytesused;
    EXPECT_LE(used, size);
    return buffers[buffer.head.index].first(std::min(used, size));
  }

  const bool multiplanar;
  const std::uint32_t type;
  std::uint32_t memory = V4L2_MEMORY_MMAP;
  std::uint32_t size = 0;
  std::vector<std::span<std::byte>> buffers;
  std::unique_ptr<Guest> guest;
  std::uint32_t session;
};

// Three buffers queued and streaming, with an encode in progress that is held.
struct HeldJpegStream {
  HeldJpegStream() {
    client.set_format(320, 240);
    EXPECT_EQ(client.request(3), 0);
    for (std::uint32_t index = 0; index < 3; ++index) EXPECT_EQ(client.queue(index), 0);
    EXPECT_EQ(client.stream(true), 0);
    begin(1);
  }
  // The thread is not held when the device is destroyed.
  ~HeldJpegStream() { gate->open(); }
  // Runs the loop until the `count`th encode has begun. Commands run it, and are answered in the meantime.
  void begin(int count) {
    auto arrived = std::make_shared<std::atomic<bool>>(false);
    std::thread waiter([gate = gate, arrived, count] {
      gate->wait_for_arrivals(count);
      *arrived = true;
    });
    while (!*arrived) {
      EXPECT_TRUE(client.guest->wait_event(1ms));
    }
    waiter.join();
  }

  std::shared_ptr<JpegGate> gate = std::make_shared<JpegGate>();
  JpegClient<GatedJpegEncoder> client{false, GatedJpegEncoder{gate}};
};

class JpegCamera : public testing::TestWithParam<std::pair<bool, std::uint32_t>> {};
INSTANTIATE_TEST_SUITE_P(Kinds, JpegCamera,
                         testing::Values(std::pair{false, V4L2_MEMORY_MMAP},
                                         std::pair{true, V4L2_MEMORY_MMAP},
                                         std::pair{false, V4L2_MEMORY_USERPTR},
                                         std::pair{true, V4L2_MEMORY_USERPTR}),
                         [](const auto& parameter) {
                           return std::string(parameter.param.first ? "Multi" : "Single") +
                                  (parameter.param.second == V4L2_MEMORY_MMAP ? "Mmap" : "Userptr");
                         });

TEST_P(JpegCamera, PicturesCarryTheirNumbers) {
  const auto [multiplanar, memory] = GetParam();
  JpegClient<ffmpeg::JpegEncoder> client(multiplanar);
  // Two formats one after another: the encoder changes with them, and a raw one in between does no harm.
  for (const auto& [width, height] : {std::pair{640u, 480u}, std::pair{320u, 240u}, std::pair{640u, 480u}}) {
    const std::uint32_t size = client.set_format(width, height);
    EXPECT_EQ(size, 2 * width * height) << "no more, for Android's camera";
    ASSERT_EQ(client.request(3, memory), 0);
    for (std::uint32_t index = 0; index < 3; ++index) ASSERT_EQ(client.queue(index), 0);
    ASSERT_EQ(client.stream(true), 0);
    timeval last{};
    for (std::uint32_t number = 0; number < 5; ++number) {
      const auto buffer = client.next();
      ASSERT_TRUE(buffer);
      EXPECT_EQ(buffer->head.sequence, number);
      EXPECT_EQ(buffer->head.index, number % 3);
      EXPECT_EQ(buffer->head.flags & V4L2_BUF_FLAG_ERROR, 0u);
      EXPECT_TRUE(timercmp(&last, &buffer->head.timestamp, <));
      last = buffer->head.timestamp;
      const auto bytes = client.filled(*buffer);
      ASSERT_GT(bytes.size(), 100u);
      EXPECT_EQ(bytes[0], std::byte{0xff});
      EXPECT_EQ(bytes[1], std::byte{0xd8});
      EXPECT_EQ(bytes[bytes.size() - 2], std::byte{0xff});
      EXPECT_EQ(bytes[bytes.size() - 1], std::byte{0xd9}) << "whole";
      const DecodedJpeg picture = decode_jpeg(bytes);
      EXPECT_EQ(picture.width, static_cast<int>(width));
      EXPECT_EQ(picture.height, static_cast<int>(height));
      EXPECT_EQ(picture.format, AV_PIX_FMT_YUVJ420P);
      EXPECT_EQ(number_in_jpeg(picture), number);
      // White and black cells, with the full range.
      const auto [black, white] = std::minmax_element(picture.luma.begin(), picture.luma.begin() + width);
      EXPECT_LE(*black, std::byte{8});
      EXPECT_GE(*white, std::byte{247});
      ASSERT_EQ(client.queue(buffer->head.index), 0);
    }
    ASSERT_EQ(client.stream(false), 0);
    ASSERT_EQ(client.request(0, memory), 0);
    client.set_format(320, 240, V4L2_PIX_FMT_NV12);
  }
}

TEST(JpegControls, QualityDecidesHowManyBytes) {
  JpegClient<ffmpeg::JpegEncoder> client;
  v4l2_query_ext_ctrl query{};
  query.id = V4L2_CID_JPEG_COMPRESSION_QUALITY;
  ASSERT_EQ(client.call<tag::QUERY_EXT_CTRL>(query), 0);
  EXPECT_EQ(query.type, unsigned{V4L2_CTRL_TYPE_INTEGER});
  EXPECT_EQ(query.minimum, 1);
  EXPECT_EQ(query.maximum, 100);
  query = {};
  query.id = V4L2_CID_JPEG_CLASS;
  ASSERT_EQ(client.call<tag::QUERY_EXT_CTRL>(query), 0);
  EXPECT_STREQ(query.name, "JPEG Compression Controls");

  client.set_format(320, 240);
  client.set_control(V4L2_CID_TEST_PATTERN, static_cast<std::int32_t>(test_pattern::Pattern::noise));
  ASSERT_EQ(client.request(1), 0);
  ASSERT_EQ(client.stream(true), 0);
  std::size_t last = 0;
  for (const std::int32_t quality : {1, 25, 50, 75, 100}) {
    client.set_control(V4L2_CID_JPEG_COMPRESSION_QUALITY, quality);
    ASSERT_EQ(client.queue(0), 0);
    const auto buffer = client.next();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->head.flags & V4L2_BUF_FLAG_ERROR, 0u);
    const auto bytes = client.filled(*buffer);
    EXPECT_GT(bytes.size(), last) << quality;
    last = bytes.size();
    // The worst quality, and the number survives it.
    EXPECT_EQ(number_in_jpeg(decode_jpeg(bytes)), buffer->head.sequence) << quality;
  }
  EXPECT_LT(last, client.size);
}

TEST(JpegStreaming, CommandsAreAnsweredWhileAPictureIsMade) {
  HeldJpegStream held;
  v4l2_format format{};
  format.type = held.client.type;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(held.client.call<tag::G_FMT>(format), 0);
  v4l2_streamparm parameters{};
  parameters.type = held.client.type;
  parameters.parm.capture.timeperframe = {1, 60};
  EXPECT_EQ(held.client.call<tag::S_PARM>(parameters), 0);
  held.gate->open();
  // In order, without a gap, each buffer once.
  for (std::uint32_t number = 0; number < 3; ++number) {
    const auto buffer = held.client.next();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->head.sequence, number);
    EXPECT_EQ(buffer->head.index, number);
    EXPECT_EQ(number_in_jpeg(decode_jpeg(held.client.filled(*buffer))), number);
  }
}

TEST(JpegStreaming, StreamOffForgetsThePictureThatIsBeingMade) {
  HeldJpegStream held;
  ASSERT_EQ(held.client.stream(false), 0);
  // The buffers belong to the guest again: what it writes there stays.
  for (const auto& buffer : held.client.buffers) std::ranges::fill(buffer, std::byte{0x5a});
  held.gate->let_one_through();
  held.gate->wait_for_pictures(1);
  // Two of the three are queued again, in another order.
  ASSERT_EQ(held.client.queue(2), 0);
  ASSERT_EQ(held.client.queue(0), 0);
  ASSERT_EQ(held.client.stream(true), 0);
  held.begin(2);  // the loop has run, and seen the first picture
  const auto untouched = [](std::byte byte) { return byte == std::byte{0x5a}; };
  for (const auto& buffer : held.client.buffers) EXPECT_TRUE(std::ranges::all_of(buffer, untouched));
  held.gate->open();
  for (std::uint32_t number = 0; number < 2; ++number) {
    const auto buffer = held.client.next();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->head.sequence, number) << "from the beginning";
    EXPECT_EQ(buffer->head.index, number == 0 ? 2u : 0u);
    EXPECT_EQ(number_in_jpeg(decode_jpeg(held.client.filled(*buffer))), number);
  }
  EXPECT_TRUE(std::ranges::all_of(held.client.buffers[1], untouched)) << "never queued again";
}

// The picture is ready, but its report has not arrived when the stream starts again.
TEST(JpegStreaming, ALateReportIsOfNoStream) {
  HeldJpegStream held;
  held.gate->let_one_through();
  held.gate->wait_for_pictures(1);
  ASSERT_EQ(held.client.stream(false), 0);
  ASSERT_EQ(held.client.queue(1), 0);
  ASSERT_EQ(held.client.stream(true), 0);
  held.gate->open();
  // Whichever of both the loop handles first, the one buffer comes back once, with the first picture.
  const auto buffer = held.client.next();
  ASSERT_TRUE(buffer);
  EXPECT_EQ(buffer->head.index, 1u);
  EXPECT_EQ(buffer->head.sequence, 0u);
  ASSERT_EQ(held.client.queue(1), 0);
  const auto second = held.client.next();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->head.sequence, 1u);
}

TEST(JpegStreaming, CloseDoesNotWaitForThePicture) {
  HeldJpegStream held;
  auto& transport = held.client.guest->transport();
  ASSERT_TRUE(held.client.guest->close(held.client.session));
  EXPECT_EQ(transport.session_count(), 0u);
  // Another file streams as soon as the thread is free, and sees nothing of the first.
  held.client.session = *held.client.guest->open();
  ASSERT_EQ(held.client.request(2), 0);
  ASSERT_EQ(held.client.queue(0), 0);
  ASSERT_EQ(held.client.stream(true), 0);
  held.gate->open();
  const auto buffer = held.client.next();
  ASSERT_TRUE(buffer);
  EXPECT_EQ(buffer->head.sequence, 0u);
  EXPECT_EQ(number_in_jpeg(decode_jpeg(held.client.filled(*buffer))), 0u);
}

TEST(JpegStreaming, ResetDoesNotWaitForThePicture) {
  HeldJpegStream held;
  ASSERT_TRUE(held.client.guest->reset());
  auto& transport = held.client.guest->transport();
  EXPECT_EQ(transport.session_count(), 0u);
  auto& device = transport.device<BasicTestPattern<GatedJpegEncoder>>();
  EXPECT_EQ(device.arenas().used_bytes(), 0u) << "the thread holds no buffer";
  held.gate->open();
  held.client.session = *held.client.guest->open();
  held.client.set_format(320, 240);
  ASSERT_EQ(held.client.request(1), 0);
  ASSERT_EQ(held.client.queue(0), 0);
  ASSERT_EQ(held.client.stream(true), 0);
  const auto buffer = held.client.next();
  ASSERT_TRUE(buffer);
  EXPECT_EQ(buffer->head.sequence, 0u);
}

TEST(JpegStreaming, TheDeviceEndsWhileAPictureIsMade) {
  const auto gate = [] {
    HeldJpegStream held;
    held.gate->open();  // and the device is destroyed while the thread works
    return held.gate;
  }();
  EXPECT_EQ(gate.use_count(), 1) << "the encoder has gone with the device";
}

TEST(JpegStreaming, SpoiledPicturesAreBadBuffersAndTheStreamGoesOn) {
  JpegClient<BadJpegEncoder> client;
  client.set_format(320, 240);
  ASSERT_EQ(client.request(2), 0);
  ASSERT_EQ(client.queue(0), 0);
  ASSERT_EQ(client.queue(1), 0);
  ASSERT_EQ(client.stream(true), 0);
  for (std::uint32_t number = 0; number < 4; ++number) {
    const auto buffer = client.next();
    ASSERT_TRUE(buffer);
    EXPECT_EQ(buffer->head.sequence, number);
    const bool bad = number < 2;
    EXPECT_EQ((buffer->head.flags & V4L2_BUF_FLAG_ERROR) != 0, bad);
    EXPECT_EQ(client.filled(*buffer).empty(), bad);
    ASSERT_EQ(client.queue(buffer->head.index), 0);
  }
}

}  // namespace
}  // namespace vumedia::backends::test
