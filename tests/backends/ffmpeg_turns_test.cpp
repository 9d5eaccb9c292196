// What one turn of the loop copies of a coded buffer that lies in the guest's memory in an odd way.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/decoder_guest.hpp"

namespace vumedia::test {
namespace {

namespace tag = v4l2::tag;

// Memory that the files of buffers take.
std::uint64_t bytes_of_arenas() {
  std::map<std::uint64_t, std::uint64_t> files;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone).string().find("vumedia-arena") == std::string::npos)
      continue;
    struct stat status{};
    if (::stat(entry.path().c_str(), &status) == 0)
      files[status.st_ino] = static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  std::uint64_t bytes = 0;
  for (const auto& [number, size] : files) bytes += size;
  return bytes;
}

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
  // The page that a turn ends in the midst of is counted with it.
  EXPECT_LE(most, 2 * memory::Work::a_turn / memory::Work::copied_byte + 2 * page_size);
}

}  // namespace
}  // namespace vumedia::test
