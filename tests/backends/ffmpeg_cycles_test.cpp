// What a decoder leaves behind when files are opened, decode and are closed over and over.
#include <cstddef>
#include <cstdint>
#include <thread>

#include <gtest/gtest.h>

#include "support/clips.hpp"
#include "support/decoder_guest.hpp"
#include "support/effort.hpp"
#include "support/footprint.hpp"

namespace vumedia::test {
namespace {

// Opens, decodes the first frames, and ends in one of three ways: as a program should, while streaming, or
// with the mappings kept until after the close.
void decode_once(DecoderGuest& guest, const Clip& clip, int round) {
  guest.session = guest.guest.open();
  guest.capture_on = guest.last_seen = guest.change_pending = false;
  guest.frames.clear();
  guest.log.clear();
  guest.start(clip);
  for (std::size_t i = 0; i < 6; ++i) ASSERT_TRUE(guest.send(clip.units[i].bytes, 1000));
  ASSERT_TRUE(guest.run_until([&] { return guest.frames.size() >= 2; }));

  const auto unmap = [&] {
    for (auto* const buffers : {&guest.coded, &guest.raw}) {
      for (const auto& buffer : *buffers) EXPECT_EQ(guest.guest.munmap(buffer.address), 0);
      buffers->clear();
    }
  };
  if (round % 3 == 0) {
    guest.stop_output();
    EXPECT_EQ(guest.stream(guest.capture_type, false), 0);
  }
  if (round % 3 != 2) unmap();
  guest.guest.close(guest.session);
  if (round % 3 == 2) unmap();
  // Events that were in transit when the file was closed.
  while (guest.guest.take_event()) guest.guest.lend_event_buffers(1);
  guest.guest.host.frontend.requests = {};  // the test's own list
}

TEST(DecoderCyclesTest, LeaveNothing) {
  const Clip& clip = clip_of("vp8.ivf");
  VUMEDIA_SKIP_WITHOUT(clip);
  DecoderGuest guest;
  guest.guest.close(guest.session);
  auto& device = *guest.guest.device;
  // The thread sanitizer has a thread from the first one of the program on.
  std::thread([] {}).join();
  const auto threads = Footprint::now().threads;
  const auto idle = [&] {
    return device.session_count() == 0 && device.arenas().used_bytes() == 0 &&
           Footprint::now().threads <= threads;
  };

  // The first rounds create what is kept for reuse.
  for (int round = 0; round < 12; ++round) ASSERT_NO_FATAL_FAILURE(decode_once(guest, clip, round));
  ASSERT_TRUE(guest.guest.run_until(idle));
  const auto before = Footprint::now();
  const auto arenas = device.arenas().arena_count();
  const auto windows = guest.guest.host.frontend.ranges.size();

  const int count = rounds(300);
  for (int round = 0; round < count; ++round) ASSERT_NO_FATAL_FAILURE(decode_once(guest, clip, round));
  ASSERT_TRUE(guest.guest.run_until(idle)) << "a worker, a file or a buffer has stayed";
  const auto after = Footprint::now();
  EXPECT_EQ(after.fds, before.fds);
  EXPECT_LE(device.arenas().arena_count(), arenas);
  EXPECT_LE(guest.guest.host.frontend.ranges.size(), windows);
  // The allocator's own memory does not grow in every round: a leak in each of several rounds is visible.
  const auto some = static_cast<std::size_t>(count) / 8;
  EXPECT_LT(after.mappings, before.mappings + some);
  EXPECT_LT(after.heap_bytes, before.heap_bytes + some * 1024);
}

}  // namespace
}  // namespace vumedia::test
