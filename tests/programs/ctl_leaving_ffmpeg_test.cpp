// Guests that leave while vumedia-device is in the midst of what they sent: the next one is served at once.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/client/guest.hpp>

#include "programs/ctl_fixture.hpp"
#include "support/media_file.hpp"

namespace vumedia::ctl_test {
namespace {

namespace tag = v4l2::tag;

struct Codec {
  const char* name;
  const char* options;
  std::uint32_t fourcc;
};

// Whose decoders end between pictures, within one, and at its end only.
const Codec codecs[] = {
    {"long.264", "-c:v libx264 -preset veryfast -x264-params slices=4", V4L2_PIX_FMT_H264},
    {"long.265", "-c:v libx265 -preset ultrafast -x265-params log-level=none", V4L2_PIX_FMT_HEVC},
    {"long.m2v", "-c:v mpeg2video -q:v 3", V4L2_PIX_FMT_MPEG2},
    {"long.mjpeg", "-c:v mjpeg -pix_fmt yuvj420p", V4L2_PIX_FMT_MJPEG},
};

class CtlLeaving : public Ctl, public testing::WithParamInterface<Codec> {
 protected:
  static constexpr std::size_t packet_bytes = std::size_t{1} << 20;

  // A session that decodes `packet`, which it has in two OUTPUT buffers. False if anything is refused.
  static bool decode(client::Guest& guest, std::uint32_t session, const std::vector<std::byte>& packet) {
    v4l2_format format{};
    format.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
    format.fmt.pix.width = 1280;
    format.fmt.pix.height = 720;
    format.fmt.pix.pixelformat = GetParam().fourcc;
    format.fmt.pix.sizeimage = static_cast<std::uint32_t>(packet_bytes);
    v4l2_requestbuffers request{};
    request.type = format.type;
    request.memory = V4L2_MEMORY_MMAP;
    request.count = 2;
    tag::BufferType type = format.type;
    if (!guest.ioctl<tag::S_FMT>(session, format) || !guest.ioctl<tag::REQBUFS>(session, request) ||
        !guest.ioctl<tag::STREAMON>(session, type))
      return false;
    for (std::uint32_t index = 0; index < 2; ++index) {
      v4l2::BufferPayload buffer{};
      buffer.buffer.head.type = request.type;
      buffer.buffer.head.memory = request.memory;
      buffer.buffer.head.index = index;
      if (!guest.ioctl<tag::QUERYBUF>(session, buffer)) return false;
      auto mapped = guest.mmap(session, buffer.buffer.head.m.offset);
      if (!mapped) return false;
      std::ranges::copy(packet, mapped->memory.begin());
      buffer.buffer.head.bytesused = static_cast<std::uint32_t>(packet.size());
      if (!guest.ioctl<tag::QBUF>(session, buffer)) return false;
    }
    return true;
  }
};

TEST_P(CtlLeaving, TheNextGuestDecodesAtOnce) {
  const std::string options = vumedia::test::moving_picture(1280, 720, 6) + " " + GetParam().options;
  const auto made = vumedia::test::clip_file(options, GetParam().name);
  std::error_code error;
  if (made.empty() || !std::filesystem::copy_file(made, path(GetParam().name), error))
    GTEST_SKIP() << "cannot make the clip: no ffmpeg program, or no such encoder in it";
  const auto stream = read(GetParam().name);
  std::vector<std::byte> packet;
  while (packet.size() + stream.size() <= packet_bytes)
    packet.insert(packet.end(), stream.begin(), stream.end());
  ASSERT_FALSE(packet.empty());
  // As many decode at once as a device has threads for by default.
  constexpr int sessions = 32;
  start("ffmpeg-decoder", {"--planes", "single"});
  for (int round = 0; round < 3; ++round) {
    auto guest = client::Guest::connect(socket());
    ASSERT_TRUE(guest) << guest.error().message;
    std::vector<std::uint32_t> open;
    for (int i = 0; i < sessions; ++i) {
      const auto session = (*guest)->open();
      ASSERT_TRUE(session);
      open.push_back(*session);
      ASSERT_TRUE(decode(**guest, *session, packet)) << "round " << round << ", session " << i;
    }
    // They are closed by the guest, or with it.
    for (const std::uint32_t session : open) {
      if (round != 1) {
        ASSERT_TRUE((*guest)->close(session));
      }
    }
    guest->reset();
    const auto next = run({"decode", path(GetParam().name), "--compare"});
    EXPECT_EQ(next.status, 0) << next.errors;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, CtlLeaving, testing::ValuesIn(codecs), [](const auto& parameter) {
  std::string name = parameter.param.name;
  std::ranges::replace(name, '.', '_');
  return name;
});

}  // namespace
}  // namespace vumedia::ctl_test
