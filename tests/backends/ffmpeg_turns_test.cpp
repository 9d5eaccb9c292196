// What one turn of the loop copies of a coded buffer with an odd layout in the guest's memory.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"
#include "support/footprint.hpp"

namespace vumedia::test {
namespace {

namespace tag = v4l2::tag;

class DecoderTurnsTest : public DecoderApiTest {};
VUMEDIA_FOR_BOTH_APIS(DecoderTurnsTest);

TEST_P(DecoderTurnsTest, ACodedBufferIsCopiedAFewBytesATurn) {
  constexpr std::uint32_t size = 8u << 20;
  DecoderGuest guest(options());
  guest.memory_kind = V4L2_MEMORY_USERPTR;
  guest.pages = DecoderGuest::Pages::split;
  ASSERT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264, size), 0);
  ASSERT_EQ(guest.request(guest.output_type, 1), 0);
  const auto& buffer = guest.coded[0];
  ASSERT_EQ(buffer.length, size);

  v4l2_buffer head{};
  head.type = guest.output_type;
  head.memory = V4L2_MEMORY_USERPTR;
  v4l2_plane plane{};
  plane.length = plane.bytesused = size;
  plane.m.userptr = buffer.pointer;
  if (GetParam()) {
    head.length = 1;
  } else {
    head.length = head.bytesused = size;
    head.m.userptr = buffer.pointer;
  }
  Bytes command = DecoderGuest::Guest::ioctl_command(guest.session, tag::QBUF::number);
  const Bytes tail = GetParam() ? bytes_of(head, plane) : bytes_of(head);
  command.insert(command.end(), tail.begin(), tail.end());
  for (const auto& range : buffer.ranges) {
    const Bytes listed = bytes_of(range.start.value, range.length, std::uint32_t{0});
    command.insert(command.end(), listed.begin(), listed.end());
  }
  const auto head_of_chain = guest.guest.add(command, 8 + tail.size());
  EXPECT_EQ(bytes_of_arenas(), 0u);
  std::uint64_t before = 0;
  std::uint64_t most = 0;
  const auto count = [&] {
    const std::uint64_t now = bytes_of_arenas();
    most = std::max(most, now - before);
    before = now;
  };
  guest.guest.device->process(wire::commandq);
  count();
  std::optional<std::pair<std::uint16_t, Reply>> reply;
  ASSERT_TRUE(guest.guest.run_until([&] {
    count();
    reply = guest.guest.take_reply();
    return reply.has_value();
  }));
  EXPECT_EQ(reply->first, head_of_chain);
  EXPECT_EQ(reply->second.status(), 0);
  EXPECT_GE(before, size);
  // A page in the middle of which a turn ends is counted for that turn.
  EXPECT_LE(most, 2 * memory::Work::a_turn / memory::Work::copied_byte + 2 * page_size);
}

// Frames for memory that no mapping can put side by side are stored by the loop.
TEST_P(DecoderTurnsTest, AFrameIsStoredAFewBytesATurn) {
  const Clip clip = make_changing_clip({{1280, 720}}, 3);
  if (clip.units.empty()) GTEST_SKIP() << "no ffmpeg that encodes H.264";
  DecoderGuest guest(options());
  guest.memory_kind = V4L2_MEMORY_USERPTR;
  guest.pages = DecoderGuest::Pages::split;
  guest.follow_changes = guest.queues_again = false;
  guest.start(clip);
  ASSERT_TRUE(guest.play(clip));
  ASSERT_TRUE(guest.run_until([&] { return guest.change_pending; }));
  guest.start_capture();
  constexpr std::byte untouched{0xa5};
  const auto for_each_range = [&](auto&& f) {
    for (const auto& buffer : guest.raw)
      for (const auto& range : buffer.ranges) f(guest.guest.host.bytes(range.start), range.length);
  };
  for_each_range([&](std::byte* bytes, std::size_t size) { std::memset(bytes, 0xa5, size); });
  std::size_t before = 0;
  std::size_t most = 0;
  const auto count = [&] {
    std::size_t stored = 0;
    for_each_range([&](const std::byte* bytes, std::size_t size) {
      stored += size - static_cast<std::size_t>(std::count(bytes, bytes + size, untouched));
    });
    most = std::max(most, stored - std::min(stored, before));
    before = stored;
  };
  // The stop waits until everything is stored, and other turns come in between, each of which is counted.
  v4l2_decoder_cmd stop{};
  stop.cmd = V4L2_DEC_CMD_STOP;
  guest.guest.add(DecoderGuest::Guest::ioctl_command<tag::DECODER_CMD>(guest.session, stop), 8 + sizeof stop);
  guest.guest.device->process(wire::commandq);
  count();
  std::optional<std::pair<std::uint16_t, Reply>> stopped;
  ASSERT_TRUE(guest.run_until([&] {
    count();
    if (!stopped) stopped = guest.guest.take_reply();
    return guest.last_seen;
  }));
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->second.status(), 0);
  EXPECT_EQ(guest.frames.size(), 3u);
  EXPECT_EQ(guest.bad_frames, 0u);
  EXPECT_GT(before, 2u * 1280 * 720);
  EXPECT_LE(most, static_cast<std::size_t>(2 * memory::Work::a_turn / memory::Work::copied_byte));
}

// Buffers are made without touching their memory, and many of them are freed without delay.
TEST_P(DecoderTurnsTest, MakingBuffersTakesNoMemory) {
  DecoderGuest guest(options());
  ASSERT_EQ(guest.set_coded_format(V4L2_PIX_FMT_H264, 1u << 20), 0);
  v4l2_requestbuffers request{};
  request.type = guest.output_type;
  request.memory = V4L2_MEMORY_MMAP;
  request.count = 64;
  ASSERT_EQ(guest.ioctl<tag::REQBUFS>(request), 0);
  EXPECT_EQ(request.count, 64u);
  v4l2_create_buffers create{};
  create.count = 64;
  create.memory = V4L2_MEMORY_MMAP;
  create.format.type = guest.capture_type;
  ASSERT_EQ(guest.ioctl<tag::G_FMT>(create.format), 0);
  ASSERT_EQ(guest.ioctl<tag::CREATE_BUFS>(create), 0);
  EXPECT_GT(create.count, 1u);
  EXPECT_EQ(bytes_of_arenas(), 0u);
  request.count = 0;
  ASSERT_EQ(guest.ioctl<tag::REQBUFS>(request), 0);
  EXPECT_GE(guest.guest.device->work().left(), 0);
}

// All of its controls are for the decoder to set: a request of many is read, and got or refused, with little
// work.
TEST_P(DecoderTurnsTest, RequestsOfManyControlsAreBounded) {
  DecoderGuest guest(options());
  for (const auto& [code, status] : {std::pair{std::uint32_t{tag::S_EXT_CTRLS::number}, EACCES},
                                     {std::uint32_t{tag::G_EXT_CTRLS::number}, 0}}) {
    Bytes command = DecoderGuest::Guest::ioctl_command(guest.session, code);
    v4l2_ext_controls head{};
    head.count = V4L2_CID_MAX_CTRLS;
    const Bytes tail = bytes_of(head);
    command.insert(command.end(), tail.begin(), tail.end());
    for (std::uint32_t i = 0; i < head.count; ++i) {
      v4l2_ext_control control{};
      control.id = V4L2_CID_MPEG_VIDEO_H264_LEVEL;
      const Bytes one = bytes_of(control);
      command.insert(command.end(), one.begin(), one.end());
    }
    guest.guest.add(command, command.size() - 8);
    guest.guest.device->process(wire::commandq);
    EXPECT_GE(guest.guest.device->work().left(), memory::Work::a_turn / 2);
    const auto reply = guest.guest.take_reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->second.status(), status);
  }
}

}  // namespace
}  // namespace vumedia::test
