// What a guest can make a decoder hold: the limits of format negotiation for the guest's own memory, and the
// bytes that are counted for a session.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

namespace tag = v4l2::tag;

class DecoderLimitsTest : public DecoderApiTest {
 protected:
  // A buffer of `length` bytes, which repeats the guest's first megabyte.
  static DecoderGuest::Buffer repeated(std::uint64_t length) {
    DecoderGuest::Buffer buffer;
    buffer.length = static_cast<std::uint32_t>(length);
    buffer.pointer = 0x1000;
    for (std::uint64_t left = length; left > 0;) {
      const auto part = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, 1u << 20));
      buffer.ranges.push_back({{DecoderGuest::Guest::Host::guest_base}, part});
      left -= part;
    }
    return buffer;
  }
};
VUMEDIA_FOR_BOTH_APIS(DecoderLimitsTest);

TEST_P(DecoderLimitsTest, MemoryOfTheGuestsIsNoLargerThanFormatsAre) {
  auto settings = options();
  settings.session.max_coded_bytes = 4u << 20;
  settings.session.engine.codec.max_pixels = 1920 * 1088;
  DecoderGuest guest(settings);
  guest.memory_kind = V4L2_MEMORY_USERPTR;
  ASSERT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264, 1u << 30), 0);
  ASSERT_EQ(guest.request(guest.output_type, 2), 0);
  ASSERT_EQ(guest.request(guest.capture_type, 2), 0);
  // Two bytes per sample, and the widest lines that a picture of that many samples may have.
  const std::uint32_t most_raw = ffmpeg::most_raw_bytes({1920 * 1088, 0});
  std::size_t largest = 0;
  for (const ffmpeg::RawFormat& format : ffmpeg::raw_formats)
    largest = std::max(largest, ffmpeg::Layout::of({1920, 1088}, *format.pixels).size_image());
  EXPECT_GE(most_raw, largest);
  EXPECT_LE(most_raw, 2 * largest);
  const auto try_both = [&](std::uint32_t type, std::uint64_t length) {
    guest.buffers(type)[0] = guest.buffers(type)[1] = repeated(length);
    v4l2_buffer buffer{};
    buffer.type = type;
    buffer.index = 1;
    buffer.memory = V4L2_MEMORY_USERPTR;
    buffer.length = static_cast<std::uint32_t>(length);
    buffer.m.userptr = 0x1000;
    v4l2_plane plane{};
    plane.length = static_cast<std::uint32_t>(length);
    plane.m.userptr = 0x1000;
    const int queued = guest.queue(type, 0, 100);
    EXPECT_EQ(guest.buffer_ioctl<tag::PREPARE_BUF>(buffer, plane, guest.buffers(type)[1].ranges), queued);
    EXPECT_EQ(guest.stream(type, false), 0);
    return queued;
  };
  for (const std::uint64_t length :
       {(std::uint64_t{4} << 20) + 1, std::uint64_t{1} << 30, std::uint64_t{UINT32_MAX}})
    EXPECT_EQ(try_both(guest.output_type, length), EINVAL) << length;
  for (const std::uint64_t length : {std::uint64_t{most_raw} + 1, std::uint64_t{UINT32_MAX}})
    EXPECT_EQ(try_both(guest.capture_type, length), EINVAL) << length;
  EXPECT_EQ(guest.guest.device->arenas().used_bytes(), 0u);
  EXPECT_EQ(guest.guest.backend().mappings().used(), 0u);
  EXPECT_EQ(try_both(guest.output_type, 4u << 20), 0);
  EXPECT_EQ(try_both(guest.capture_type, most_raw), 0);
  // CREATE_BUFS makes no larger ones.
  for (const std::uint32_t type : {guest.output_type, guest.capture_type}) {
    const std::uint32_t most = type == guest.output_type ? 4u << 20 : most_raw;
    EXPECT_EQ(guest.create(type, 1, most + 1), EINVAL);
    EXPECT_EQ(guest.create(type, 1, most), 0);
  }
}

// A guest cannot get more of our memory than is granted for buffers by naming its own memory in an odd way.
TEST_P(DecoderLimitsTest, CopiesAreCountedInTheSession) {
  auto settings = options();
  settings.session.max_buffer_bytes = 8u << 20;
  DecoderGuest guest(settings);
  guest.memory_kind = V4L2_MEMORY_USERPTR;
  guest.pages = DecoderGuest::Pages::split;
  ASSERT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264, 1u << 20), 0);
  ASSERT_EQ(guest.request(guest.output_type, 8), 0);
  int queued = 0;
  for (std::uint32_t i = 0; i < 8; ++i) {
    const int status = guest.queue(guest.output_type, i, 1u << 20);
    if (status == 0) ++queued;
    if (status != 0) {
      EXPECT_EQ(status, ENOMEM);
    }
  }
  // Lists of pages count, too: 16 bytes for each half of a page.
  EXPECT_EQ(queued, 7);
  EXPECT_LE(guest.guest.device->arenas().budget()->used(), 8u << 20);
  EXPECT_EQ(guest.request(guest.output_type, 0), 0);
  // Freed memory is cleared in parts, one each turn of the loop.
  ASSERT_TRUE(guest.run_until([&] { return !guest.guest.device->arenas().dirty(); }));
  EXPECT_EQ(guest.guest.device->arenas().budget()->used(), 0u);
}

// Packets that are decoded, and those that are kept, count against the same budget until the last is gone.
TEST_P(DecoderLimitsTest, PacketsAreCounted) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  auto settings = options();
  settings.workers = std::make_shared<ffmpeg::Workers>(4);
  DecoderGuest guest(settings);
  const auto budget = guest.guest.device->arenas().budget();
  const auto packets = [&] { return budget->used() - guest.guest.device->arenas().used_bytes(); };
  guest.start(clip);
  ASSERT_TRUE(guest.play(clip));
  EXPECT_GT(packets(), 0u);
  ASSERT_TRUE(guest.finish());
  EXPECT_EQ(md5s(guest), decode_plainly(clip));
  std::size_t bytes = 0;
  for (const auto& unit : clip.units) bytes += unit.bytes.size() + 64;
  EXPECT_LE(packets(), bytes);
  guest.guest.close(guest.session);
  ASSERT_TRUE(guest.run_until([&] { return settings.workers->running() == 0; }));
  EXPECT_EQ(packets(), 0u);
  guest.session = guest.guest.open();
}

// If nothing is left, kept packets are dropped first; then a buffer comes back as damaged, and the next is
// tried.
TEST(DecoderEngineLimitsTest, APacketThatCannotBeHadIsDamaged) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  std::size_t largest = 0;
  for (const auto& unit : clip.units) largest = std::max(largest, unit.bytes.size());
  for (const bool fits : {true, false}) {
    ClientOptions options;
    options.engine.bytes = std::make_shared<memory::Budget>(fits ? largest + 64 : 8);
    EngineClient client(options);
    ASSERT_TRUE(client.start(clip.codec));
    for (const auto& unit : clip.units) ASSERT_TRUE(client.send(unit.bytes, 1000));
    if (fits) {
      ASSERT_TRUE(client.finish());
      EXPECT_EQ(client.damaged_buffers, 0u);
      EXPECT_EQ(client.frame_md5s(), decode_plainly(clip));
    } else {
      while (client.damaged_buffers != clip.units.size()) ASSERT_TRUE(client.wait());
    }
    EXPECT_LE(options.engine.bytes->used(), largest + 64);
  }
}

}  // namespace
}  // namespace vumedia::test
