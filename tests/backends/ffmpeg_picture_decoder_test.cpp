// libavcodec behind a PictureDecoder, without a client's queues.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/ffmpeg/picture_decoder.hpp>

#include "support/clips.hpp"

namespace vumedia::test {
namespace picture_decoder_test {

using namespace backends::ffmpeg;
using Output = PictureDecoder::Output;

struct Lines {
  std::vector<std::string> all;
  Log log() {
    return {[](void* context, LogLevel, std::string_view line) {
              static_cast<Lines*>(context)->all.emplace_back(line);
            },
            this, LogLevel::trace};
  }
};

// Decodes unit by unit.
struct Player {
  explicit Player(AVCodecID codec, const EngineOptions& options = {})
      : options_(options), format(*find_coded_format(fourcc_of(codec))) {
    const Start start = shared.lock()->take_start();
    begin(start);
  }

  void begin(Start start) {
    decoder.begin(start);
    shared.lock()->begun();
  }
  bool decode(const Clip::Unit& unit) {
    Packet packet = decoder.copy(std::as_bytes(std::span(unit.bytes)));
    if (!packet) return false;
    if (decoder.ends_sequence(format, *packet)) {
      receive_all();
      decoder.begin_sequence();
    }
    const Stamp stamp{.timestamp_ns = ++sent, .timecode = {}, .flags = 0};
    const bool good = decoder.decode(format, stamp, std::move(packet));
    receive_all();
    return good;
  }
  void drain() {
    decoder.drain();
    EXPECT_EQ(decoder.output(), Output::may_follow);
    receive_all();
  }
  void receive_all() {
    for (;;) {
      if (decoder.output() == Output::may_follow) decoder.receive();
      if (decoder.output() == Output::needs_packet) return;
      if (decoder.output() != Output::frame) continue;
      Frame shown(av_frame_clone(&decoder.frame()));
      EXPECT_EQ(av_frame_apply_cropping(shown.get(), AV_FRAME_CROP_UNALIGNED), 0);
      frames.push_back(md5_of(plain_samples(*shown, Chroma::as_coded)));
      done.push_back(decoder.done(0, 0, V4L2_FIELD_NONE));
      decoder.drop_frame();
      EXPECT_EQ(decoder.output(), Output::may_follow);
    }
  }

  Lines lines;
  SharedState shared{[] {}};
  EngineOptions options_;
  const CodedFormat& format;
  PictureDecoder decoder{shared, options_, lines.log()};
  std::vector<std::string> frames;
  std::vector<FrameDone> done;
  std::uint64_t sent = 0;
};

class PictureDecoderTest : public testing::TestWithParam<ClipRecipe> {};

TEST_P(PictureDecoderTest, DecodesLikeLibavcodecAlone) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  Player player(clip.codec);
  for (const auto& unit : clip.units) EXPECT_TRUE(player.decode(unit));
  player.drain();
  EXPECT_EQ(player.frames, decode_plainly(clip));
  EXPECT_TRUE(player.lines.all.empty());
  // When libavcodec asked for the first frame's memory, the picture was announced, for the client to make its
  // buffers. Decoders for AV1 do not ask.
  const bool asked = player.shared.begun != 0;
  EXPECT_EQ(asked, clip.codec != AV_CODEC_ID_AV1);
  EXPECT_EQ(player.shared.lock()->picture().serial(), asked ? 1u : 0u);
  EXPECT_EQ(player.shared.packets, clip.units.size());
}

// After a drain decoding continues anywhere as if there had been none.
TEST_P(PictureDecoderTest, ResumesAfterADrain) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  Player player(clip.codec);
  for (std::size_t i = 0; i < clip.units.size(); ++i) {
    EXPECT_TRUE(player.decode(clip.units[i]));
    if (i % 7 != 5) continue;
    player.drain();
    player.begin(Start::resume);
  }
  player.drain();
  const auto expected = decode_plainly(clip);
  EXPECT_EQ(player.frames.size(), expected.size());
  EXPECT_EQ(std::vector(player.frames.begin(), player.frames.begin() + 1),
            std::vector(expected.begin(), expected.begin() + 1));
  EXPECT_EQ(player.frames.back(), expected.back());
}

TEST_P(PictureDecoderTest, SeeksAndBeginsAnotherStream) {
  const Clip& clip = clip_of(GetParam());
  VUMEDIA_SKIP_WITHOUT(clip);
  const auto expected = decode_plainly(clip);
  for (const Start start : {Start::seek, Start::stream}) {
    Player player(clip.codec);
    for (std::size_t i = 0; i < 5; ++i) (void)player.decode(clip.units[i]);
    player.frames.clear();
    player.begin(start);
    EXPECT_EQ(player.decoder.output(), Output::needs_packet);
    for (const auto& unit : clip.units) EXPECT_TRUE(player.decode(unit));
    player.drain();
    EXPECT_EQ(player.frames, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, PictureDecoderTest, testing::ValuesIn(clip_recipes),
                         [](const auto& parameter) {
                           std::string name = parameter.param.name;
                           return name.substr(0, name.find('.'));
                         });

TEST(PictureDecoderStepsTest, CarriesStampsToFrames) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  std::vector<std::size_t> units;
  (void)decode_plainly(clip, &units);
  Player player(clip.codec);
  for (const auto& unit : clip.units) EXPECT_TRUE(player.decode(unit));
  player.drain();
  ASSERT_EQ(player.done.size(), units.size());
  for (std::size_t i = 0; i < units.size(); ++i)
    EXPECT_EQ(player.done[i].stamp.timestamp_ns, units[i] + 1) << "frame " << i << " has another's stamp";
}

TEST(PictureDecoderStepsTest, SaysWhatIsDamaged) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  Player player(clip.codec);
  Clip::Unit damaged = clip.units.front();
  damaged.bytes.assign({0, 0, 0, 1, 0x65, 0xff, 0xff, 0xff, 0xff});
  EXPECT_FALSE(player.decode(damaged));
  ASSERT_EQ(player.lines.all.size(), 1u);
  EXPECT_NE(player.lines.all.front().find("decoder: damaged data ("), std::string::npos);
  EXPECT_TRUE(player.frames.empty());
}

TEST(PictureDecoderStepsTest, GivesUpWhenItIsStopped) {
  const Clip& clip = clip_of("h264.264");
  VUMEDIA_SKIP_WITHOUT(clip);
  Player player(clip.codec);
  player.shared.stop_flag().stop();
  for (const auto& unit : clip.units) EXPECT_TRUE(player.decode(unit)) << "nobody asks what became of it";
  EXPECT_TRUE(player.frames.empty());
  EXPECT_EQ(player.shared.begun, 0u);
}

TEST(FailureLogTest, SaysLessAndLess) {
  Lines lines;
  FailureLog failures(lines.log());
  for (int i = 0; i < 100; ++i) failures.report_damage(AVERROR_INVALIDDATA);
  ASSERT_EQ(lines.all.size(), 7u);
  EXPECT_EQ(lines.all.back(),
            "decoder: damaged data (Invalid data found when processing input), 64 in total");
}

TEST(FailureLogTest, NamesAFormatThatWasRefused) {
  Lines lines;
  FailureLog failures(lines.log());
  failures.refused(AV_PIX_FMT_GBRP);
  failures.report_damage(AVERROR_INVALIDDATA);
  failures.refused(AV_PIX_FMT_YUV420P);
  failures.report_damage(0);
  failures.accepted();
  failures.report("no memory for a packet", AVERROR(ENOMEM));
  failures.report_damage(0);
  EXPECT_EQ(lines.all, (std::vector<std::string>{
                           "decoder: pixel format gbrp is not supported, 1 in total",
                           "decoder: a picture that is too large, or that has no visible part, 2 in total",
                           "decoder: damaged data, 4 in total"}));
}

}  // namespace picture_decoder_test
}  // namespace vumedia::test
