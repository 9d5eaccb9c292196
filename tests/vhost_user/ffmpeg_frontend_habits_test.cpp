// The message sequences of real VMMs, each replayed until frames are decoded: bit-exact with libavcodec's
// own, through pauses, a reset of the device while a decoder works, and a frontend that leaves in the middle.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg_decoder.hpp>
#include <vumedia/client/guest.hpp>

#include "support/clips.hpp"
#include "support/decoding.hpp"
#include "support/patience.hpp"
#include "vhost_user/frontend_orders.hpp"
#include "vhost_user/media_server.hpp"
#include "vhost_user/scripted_vmm.hpp"

namespace vumedia::vhost_user::test {
namespace {

using Guest = client::BasicGuest<ScriptedVmm>;
using Decoding = vumedia::test::Decoding<Guest>;

class FrontendOrderDecoder : public testing::TestWithParam<Habits> {};

TEST_P(FrontendOrderDecoder, DecodesThroughPausesAndResets) {
  const auto& clip = vumedia::test::clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = vumedia::test::decode_plainly(clip);
  const Habits habits = with_shared_memory(GetParam());
  const MediaServer<backends::FfmpegDecoder> decoder(
      (habits.protocol_features & pf::configure_mem_slots) != 0, backends::FfmpegDecoderOptions{});
  for (int life = 0; life < 2; ++life) {
    SCOPED_TRACE(life);
    auto guest =
        Guest::attach(ScriptedVmm(decoder.connect(), habits), {.command_timeout = vumedia::test::patience});
    ASSERT_TRUE(guest) << guest.error().message;
    Decoding first(**guest, clip);
    for (const std::size_t frames : {3u, 11u, 24u}) {
      ASSERT_TRUE(first.run(frames));
      const auto paused = (*guest)->transport().pause();
      ASSERT_TRUE(paused) << paused.error().message;
      const auto resumed = (*guest)->transport().resume();
      ASSERT_TRUE(resumed) << resumed.error().message;
    }
    ASSERT_TRUE(first.run());
    EXPECT_EQ(first.frames(), expected);
    if (!habits.reset.empty()) {
      Decoding dropped(**guest, clip);
      ASSERT_TRUE(dropped.run(5));
      const auto reset = (*guest)->reset();
      ASSERT_TRUE(reset) << reset.error().message;
      Decoding second(**guest, clip);
      ASSERT_TRUE(second.run());
      EXPECT_EQ(second.frames(), expected);
    }
    Decoding cut_off(**guest, clip);
    ASSERT_TRUE(cut_off.run(5));
  }
  EXPECT_EQ(decoder.lines.text(), "");
}

INSTANTIATE_TEST_SUITE_P(Orders, FrontendOrderDecoder, testing::ValuesIn(frontend_orders()),
                         [](const auto& order) { return order.param.name; });

}  // namespace
}  // namespace vumedia::vhost_user::test
