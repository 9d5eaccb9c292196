// The decoder with a real QEMU: the bitstream goes in through the guest's shared memory, and the output is,
// byte for byte, libavcodec's own for the same clip.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "qemu/decoding.hpp"
#include "qemu/fixture.hpp"
#include "support/clips.hpp"

namespace vumedia::qemu_test {
namespace {

// The whole clip, decoded by a new file of the guest.
template <class Guest>
void expect_exact(Guest& guest, const test::Clip& clip) {
  Decoding decoding(guest, clip);
  ASSERT_TRUE(decoding.run());
  EXPECT_EQ(decoding.frames(), test::decode_plainly(clip));
}

struct DecoderSetting {
  const char* clip;
  Interrupt interrupt;
  bool slots;
};

class QemuDecoder : public QemuTest, public testing::WithParamInterface<DecoderSetting> {};

TEST_P(QemuDecoder, IsExact) {
  const auto& clip = test::clip_of(GetParam().clip);
  VUMEDIA_SKIP_WITHOUT(clip);
  start_device("ffmpeg-decoder",
               GetParam().slots ? std::vector<std::string>{"--mem-slots"} : std::vector<std::string>{});
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, GetParam().interrupt);
  ASSERT_TRUE(guest);
  // While another file is decoding frames.
  Decoding<QemuGuest> other(*guest, clip);
  ASSERT_TRUE(other.run(1));
  ASSERT_NO_FATAL_FAILURE(expect_exact(*guest, clip));
  machine->kill();
  stop_device();
}

INSTANTIATE_TEST_SUITE_P(Qemu, QemuDecoder,
                         testing::Values(DecoderSetting{"h264.264", Interrupt::intx, false},
                                         DecoderSetting{"vp9.ivf", Interrupt::msix, false},
                                         DecoderSetting{"h264.264", Interrupt::msix, true}),
                         [](const auto& row) {
                           return std::string(row.param.clip[0] == 'h' ? "H264" : "Vp9") +
                                  (row.param.interrupt == Interrupt::intx ? "Intx" : "Msix") +
                                  (row.param.slots ? "MemSlots" : "");
                         });

TEST_F(QemuTest, DecodesAfterAResetAmidADecode) {
  const auto& clip = test::clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  start_device("ffmpeg-decoder");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, Interrupt::msix);
  ASSERT_TRUE(guest);
  for (const std::size_t frames : {1u, 7u}) {
    Decoding decoding(*guest, clip);
    ASSERT_TRUE(decoding.run(frames));
    ASSERT_TRUE(guest->reset());
  }
  ASSERT_NO_FATAL_FAILURE(expect_exact(*guest, clip));
  machine->kill();
  stop_device();
}

TEST_F(QemuTest, LeavesTheDecoderToTheNextFrontend) {
  const auto& clip = test::clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  start_device("ffmpeg-decoder");
  for (int round = 0; round < 2; ++round) {
    const auto machine = switch_on();
    ASSERT_TRUE(machine);
    const auto guest = drive(*machine);
    ASSERT_TRUE(guest);
    Decoding decoding(*guest, clip);
    ASSERT_TRUE(decoding.run(5));
    machine->kill();
    const auto next = connect();
    ASSERT_TRUE(next);
    ASSERT_NO_FATAL_FAILURE(expect_exact(*next, clip));
  }
  stop_device();
}

}  // namespace
}  // namespace vumedia::qemu_test
