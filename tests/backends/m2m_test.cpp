// A memory-to-memory device with engines of the tests', as a client sees it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <linux/videodev2.h>

#include <vumedia/backends/m2m.hpp>
#include <vumedia/client/compliance.hpp>
#include <vumedia/client/guest.hpp>

#include "backends/m2m_file.hpp"
#include "support/embedded_transport.hpp"
#include "support/patience.hpp"

namespace vumedia::test {
namespace m2m_test {

namespace m2m = backends::m2m;

// Numbers the pictures of each file, and makes grey ones of all.
struct Numberer {
  static constexpr const char* card = "vumedia test numberer";
  static constexpr std::array<std::uint32_t, 2> output_formats{V4L2_PIX_FMT_GREY, V4L2_PIX_FMT_NV12};
  static constexpr std::array<std::uint32_t, 1> capture_formats{V4L2_PIX_FMT_GREY};
  static constexpr std::uint32_t max_pixels = 1024 * 768;
  static constexpr auto drain_command = m2m::DrainCommand::encoder;

  bool convert(const m2m::Source& from, const m2m::Target& to) {
    ++number;
    if (from.line(0, 0)[0] == std::byte{255}) return false;
    for (std::size_t y = 0; y < from.layout.components[0].lines; ++y)
      std::ranges::copy(from.line(0, y), to.line(0, y).begin());
    to.line(0, 0)[0] = static_cast<std::byte>(number);
    return true;
  }
  int number = 0;
};

using Device = backends::M2m<Numberer>;

std::unique_ptr<EmbeddedGuest> attach(const backends::M2mOptions& options = {}) {
  auto guest = EmbeddedGuest::attach(
      EmbeddedTransport::over<Device>(media::DeviceOptions{}, Numberer{}, options),
      {.command_timeout = patience, .user_memory = client::compliance::user_memory_size});
  EXPECT_TRUE(guest) << guest.error().message;
  return guest ? std::move(*guest) : nullptr;
}

using File = M2mFile;

TEST(M2mTest, KeepsAllRulesOfV4l2) {
  for (const bool multiplanar : {false, true}) {
    const auto guest = attach({.multiplanar = multiplanar});
    ASSERT_NE(guest, nullptr);
    client::compliance::Options options;
    options.patience = patience;
    const auto report = client::compliance::run(*guest, options);
    std::string failures;
    for (const auto& result : report.results) {
      for (const auto& run : result.runs) {
        if (run.finding.verdict == client::compliance::Verdict::failed)
          failures += std::string(result.rule->id) + ": " + run.finding.text + "\n";
      }
    }
    EXPECT_TRUE(report.good()) << report.ended << failures;
    EXPECT_GT(report.passed, 50u);
    EXPECT_EQ(guest->transport().session_count(), 0u);
  }
}

TEST(M2mTest, ConvertsPicturesInOrderWithTheirTimeStamps) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest);
  for (const std::uint32_t i : {0u, 1u}) {
    EXPECT_EQ(file.queue(File::output, i, 100 + static_cast<int>(i), 5 + static_cast<long>(i)), 0);
    EXPECT_EQ(file.queue(File::capture, i), 0);
  }
  EXPECT_EQ(file.stream(File::output, true), 0);
  EXPECT_EQ(file.stream(File::capture, true), 0);
  for (const std::uint32_t i : {0u, 1u}) {
    EXPECT_EQ(file.buffer(File::output).index, i);
    const v4l2_buffer made = file.buffer(File::capture);
    EXPECT_EQ(made.index, i);
    EXPECT_EQ(made.sequence, i);
    EXPECT_EQ(made.timestamp.tv_sec, 5 + static_cast<long>(i));
    EXPECT_EQ(made.bytesused, File::width * File::height);
    EXPECT_EQ(file.memory(File::capture)[i][0], std::byte(i + 1)) << "the engine's own state";
    EXPECT_EQ(file.memory(File::capture)[i][File::width], std::byte(100 + i));
  }
}

TEST(M2mTest, FilesHaveNothingInCommon) {
  const auto guest = attach({.max_sessions = 2});
  ASSERT_NE(guest, nullptr);
  File first(*guest);
  File second(*guest);
  EXPECT_FALSE(guest->open()) << "more files than there may be";
  for (File* const file : {&first, &second}) {
    EXPECT_EQ(file->queue(File::output, 0, 7), 0);
    EXPECT_EQ(file->queue(File::capture, 0), 0);
    EXPECT_EQ(file->stream(File::output, true), 0);
    EXPECT_EQ(file->stream(File::capture, true), 0);
    (void)file->buffer(File::output);
    (void)file->buffer(File::capture);
    EXPECT_EQ(file->memory(File::capture)[0][0], std::byte{1});
  }
}

TEST(M2mTest, SaysWhichPicturesCouldNotBeConverted) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest);
  EXPECT_EQ(file.stream(File::output, true), 0);
  EXPECT_EQ(file.stream(File::capture, true), 0);
  EXPECT_EQ(file.queue(File::capture, 0), 0);
  EXPECT_EQ(file.queue(File::output, 0, 255), 0);
  EXPECT_NE(file.buffer(File::output).flags & V4L2_BUF_FLAG_ERROR, 0u);
  EXPECT_NE(file.buffer(File::capture).flags & V4L2_BUF_FLAG_ERROR, 0u);
}

TEST(M2mTest, ADrainEndsWithLast) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest);
  EXPECT_EQ(file.subscribe(V4L2_EVENT_EOS), 0);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_STOP), 0) << "which does nothing before the queues stream";
  EXPECT_EQ(file.stream(File::output, true), 0);
  EXPECT_EQ(file.stream(File::capture, true), 0);
  EXPECT_EQ(file.queue(File::output, 0, 1), 0);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_STOP), 0);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_STOP), EBUSY);
  // This one comes after the drain.
  EXPECT_EQ(file.queue(File::output, 1, 2), 0);
  EXPECT_EQ(file.queue(File::capture, 0), 0);
  EXPECT_EQ(file.buffer(File::output).index, 0u);
  EXPECT_EQ(file.buffer(File::capture).flags & V4L2_BUF_FLAG_LAST, 0u);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_START), EBUSY) << "LAST has not come";
  EXPECT_EQ(file.queue(File::capture, 1), 0);
  const v4l2_buffer last = file.buffer(File::capture);
  EXPECT_EQ(last.bytesused, 0u);
  EXPECT_NE(last.flags & V4L2_BUF_FLAG_LAST, 0u);
  EXPECT_EQ(file.event(), std::uint32_t{V4L2_EVENT_EOS});
  EXPECT_EQ(file.queue(File::capture, 0), 0);
  EXPECT_EQ(file.command(V4L2_ENC_CMD_START), 0);
  EXPECT_EQ(file.buffer(File::output).index, 1u);
  EXPECT_EQ(file.buffer(File::capture).index, 0u);
}

// Whatever a client asks for, its buffers can be made.
TEST(M2mFormatsTest, NoPictureIsLargerThanBuffersMayBe) {
  std::vector<std::uint32_t> all;
  for (const auto& format : v4l2::pixel_formats) {
    if (m2m::describable(std::span(&format.code, 1))) all.push_back(format.code);
  }
  const std::uint32_t output = V4L2_BUF_TYPE_VIDEO_OUTPUT, capture = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  for (const std::uint32_t max_pixels : {1u, 64u * 64, 1920u * 1088, 1u << 26}) {
    m2m::Formats formats({output, all}, {capture, all}, max_pixels);
    for (const std::uint32_t code : all) {
      for (const std::uint32_t width : {0u, 17u, 1921u, 8191u, UINT32_MAX}) {
        v4l2_format format{};
        format.type = output;
        format.fmt.pix.width = width;
        format.fmt.pix.height = UINT32_MAX;
        format.fmt.pix.pixelformat = code;
        ASSERT_TRUE(formats.set(format));
        EXPECT_EQ(format.fmt.pix.pixelformat, code);
        EXPECT_EQ(format.fmt.pix.sizeimage, formats.output().size_image());
        EXPECT_LE(formats.output().size_image(), m2m::Formats::most_bytes(max_pixels));
        EXPECT_LE(formats.capture().size_image(), m2m::Formats::most_bytes(max_pixels));
        EXPECT_EQ(formats.capture().pixels->code, all.front());
      }
    }
  }
}

TEST(M2mTest, OutputDeterminesTheSize) {
  const auto guest = attach();
  ASSERT_NE(guest, nullptr);
  File file(*guest);
  EXPECT_EQ(file.set_format(File::output, 32, V4L2_PIX_FMT_GREY), EBUSY);
  EXPECT_EQ(file.request(File::output, 0), 0);
  EXPECT_EQ(file.set_format(File::output, 32, V4L2_PIX_FMT_GREY), EBUSY)
      << "CAPTURE has buffers of that size";
  EXPECT_EQ(file.set_format(File::output, File::width, V4L2_PIX_FMT_NV12), 0) << "they fit all the same";
  EXPECT_EQ(file.request(File::capture, 0), 0);
  EXPECT_EQ(file.set_format(File::output, 1u << 30, V4L2_PIX_FMT_H264), 0);
  EXPECT_EQ(file.format.fmt.pix.pixelformat, std::uint32_t{V4L2_PIX_FMT_GREY});
  EXPECT_LE(std::uint64_t{file.format.fmt.pix.width} * file.format.fmt.pix.height, Numberer::max_pixels);
  EXPECT_EQ(file.set_format(File::capture, 16, V4L2_PIX_FMT_GREY), 0);
  EXPECT_EQ(file.format.fmt.pix.width, 8192u);
}

}  // namespace m2m_test
}  // namespace vumedia::test
