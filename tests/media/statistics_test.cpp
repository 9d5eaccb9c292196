// A device's statistics, compared with commands whose number and outcome are known.
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include <vumedia/backends/null.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/media/statistics.hpp>

#include "media/test_backend.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test {
namespace {

namespace tag = v4l2::tag;
using namespace vumedia::test;

static_assert(!HasStatistics<TestBackend> && HasStatistics<Counted<TestBackend>>);
static_assert(Backend<Counted<TestBackend>> && Backend<Counted<backends::Null>>);

TEST(Histogram, PutsEveryValueIntoTheBucketThatHoldsIt) {
  constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(Histogram::bucket_of(0), 0u);
  EXPECT_EQ(Histogram::bucket_of(largest), Histogram::bucket_count - 1);
  EXPECT_EQ(Histogram::highest(Histogram::bucket_count - 1), largest);
  for (std::size_t bucket = 0; bucket + 1 < Histogram::bucket_count; ++bucket) {
    const std::uint64_t highest = Histogram::highest(bucket);
    EXPECT_EQ(Histogram::bucket_of(highest), bucket);
    EXPECT_EQ(Histogram::bucket_of(highest + 1), bucket + 1);
    // To within a quarter: a reported value is at most that much above the real one.
    const std::uint64_t lowest = bucket == 0 ? 0 : Histogram::highest(bucket - 1) + 1;
    EXPECT_LE(highest - lowest, lowest / 4) << bucket;
  }
}

class StatisticsTest : public testing::Test {
 protected:
  using Guest = MediaGuest<Counted<TestBackend>>;

  Statistics statistics;
  Guest guest{EmbeddedOptions{}, DeviceOptions{.max_sessions = 2}, statistics};

  // An MMAP buffer of one plane that comes back at once, as the backend does it.
  void return_buffer(std::uint32_t id, std::uint32_t type, std::uint32_t bytes, std::uint32_t flags = 0) {
    v4l2_buffer buffer{};
    buffer.type = type;
    buffer.memory = V4L2_MEMORY_MMAP;
    buffer.bytesused = bytes;
    buffer.flags = flags;
    EXPECT_EQ(guest.ioctl<tag::QBUF>(id, buffer), 0);
  }
  [[nodiscard]] std::uint64_t errors(int error) const {
    return statistics.errors[static_cast<std::size_t>(error)].get();
  }
  [[nodiscard]] std::uint64_t answers_timed() const {
    std::uint64_t count = 0;
    for (std::size_t bucket = 0; bucket < Histogram::bucket_count; ++bucket)
      count += statistics.latency.count(bucket);
    return count;
  }
  // The last bucket that holds an answer.
  [[nodiscard]] std::size_t slowest() const {
    std::size_t bucket = Histogram::bucket_count - 1;
    while (bucket > 0 && statistics.latency.count(bucket) == 0) --bucket;
    return bucket;
  }
};

TEST_F(StatisticsTest, CountsCommandsByKindAndErrorsByErrno) {
  const std::uint32_t id = guest.open();
  guest.open();
  EXPECT_EQ(guest.command(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16).status(), ENFILE);
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0);
  format.type = V4L2_BUF_TYPE_VIDEO_OUTPUT;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), EINVAL);
  v4l2_cropcap cropcap{};
  EXPECT_EQ(guest.ioctl<tag::CROPCAP>(id, cropcap), ENOTTY) << "of the table, and not the backend's";
  EXPECT_EQ(guest.command(Guest::ioctl_command(id, 200), 64).status(), ENOTTY) << "beyond the table";
  v4l2_ext_controls controls{};
  EXPECT_EQ(guest.ioctl<tag::G_EXT_CTRLS>(id, controls), EINVAL) << "fails with its payload";
  tag::Index input = 0;
  EXPECT_EQ(guest.ioctl<tag::G_INPUT>(id, input), EIO) << "what is no errno counts as what the guest gets";
  EXPECT_EQ(guest.command(Guest::mmap_command(id, 4096), 24).status(), EINVAL);
  EXPECT_EQ(guest.munmap(4096), EINVAL);
  EXPECT_EQ(guest.command(bytes_of(std::uint32_t{99}, std::uint32_t{0}), 8).status(), ENOTTY);
  EXPECT_EQ(guest.command(bytes_of(std::uint32_t{3}), 8).status(), EINVAL) << "shorter than a header";
  guest.close(id);

  EXPECT_EQ(statistics.ioctls[tag::G_FMT::number].get(), 4u);
  EXPECT_EQ(statistics.ioctls[tag::CROPCAP::number].get(), 1u);
  EXPECT_EQ(statistics.commands[wire::cmd_open].get(), 3u);
  EXPECT_EQ(statistics.commands[wire::cmd_close].get(), 1u);
  EXPECT_EQ(statistics.commands[wire::cmd_mmap].get(), 1u);
  EXPECT_EQ(statistics.commands[wire::cmd_munmap].get(), 1u);
  EXPECT_EQ(statistics.commands[wire::cmd_ioctl].get(), 1u);
  EXPECT_EQ(statistics.commands[0].get(), 2u);
  EXPECT_EQ(statistics.command_count(), 16u);
  EXPECT_EQ(errors(EINVAL), 5u);
  EXPECT_EQ(errors(ENOTTY), 3u);
  EXPECT_EQ(errors(ENFILE), 1u);
  EXPECT_EQ(errors(EIO), 1u);
  EXPECT_EQ(statistics.error_count(), 10u);
  EXPECT_EQ(statistics.sessions_opened.get(), 2u);
  EXPECT_EQ(statistics.sessions_open(), 1u);
  guest.device.reset();
  EXPECT_EQ(statistics.sessions_open(), 0u) << "the end of the device closes what is open";
}

TEST_F(StatisticsTest, CountsWhatReachesTheGuest) {
  const std::uint32_t id = guest.open();
  return_buffer(id, V4L2_BUF_TYPE_VIDEO_CAPTURE, 100);
  EXPECT_EQ(statistics.events[wire::event_dqbuf].get(), 0u) << "no buffer was lent for it";
  EXPECT_EQ(statistics.events_waited.get(), 1u);
  guest.lend_event_buffers(16);
  EXPECT_EQ(statistics.events[wire::event_dqbuf].get(), 1u);
  return_buffer(id, V4L2_BUF_TYPE_VIDEO_CAPTURE, 50);
  return_buffer(id, V4L2_BUF_TYPE_VIDEO_CAPTURE, 50, V4L2_BUF_FLAG_ERROR);
  return_buffer(id, V4L2_BUF_TYPE_VIDEO_CAPTURE, 0, V4L2_BUF_FLAG_LAST);
  return_buffer(id, V4L2_BUF_TYPE_VIDEO_OUTPUT, 7);
  v4l2_event_subscription subscription{};
  subscription.type = V4L2_EVENT_EOS;
  EXPECT_EQ(guest.ioctl<tag::SUBSCRIBE_EVENT>(id, subscription), 0);
  EXPECT_EQ(statistics.captured.frames.get(), 2u);
  EXPECT_EQ(statistics.captured.bytes.get(), 150u);
  EXPECT_EQ(statistics.captured.bad.get(), 1u);
  EXPECT_EQ(statistics.captured.empty.get(), 1u);
  EXPECT_EQ(statistics.output.frames.get(), 1u);
  EXPECT_EQ(statistics.output.bytes.get(), 7u);
  EXPECT_EQ(statistics.events[wire::event_dqbuf].get(), 5u);
  EXPECT_EQ(statistics.events[wire::event_event].get(), 1u);
  EXPECT_EQ(statistics.events_waited.get(), 1u);

  guest.device->send_error(id, EIO);
  EXPECT_EQ(statistics.sessions_failed.get(), 1u);
  EXPECT_EQ(statistics.events[wire::event_error].get(), 1u);
}

TEST_F(StatisticsTest, SumsThePlanesOfABuffer) {
  const std::uint32_t id = guest.open();
  guest.lend_event_buffers(1);
  v4l2_buffer buffer{};
  buffer.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
  buffer.memory = V4L2_MEMORY_MMAP;
  buffer.length = 2;
  buffer.bytesused = 1000;  // means nothing here
  std::array<v4l2_plane, 2> planes{};
  planes[0].bytesused = 30;
  planes[1].bytesused = 12;
  const auto command = Guest::ioctl_command<tag::QBUF>(id, buffer);
  auto bytes = command;
  const auto tail = bytes_of(planes);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  EXPECT_EQ(guest.command(bytes, 8 + sizeof buffer + sizeof planes).status(), 0);
  EXPECT_EQ(statistics.captured.frames.get(), 1u);
  EXPECT_EQ(statistics.captured.bytes.get(), 42u);
}

TEST_F(StatisticsTest, TimesAnswersIfAskedTo) {
  const std::uint32_t id = guest.open();
  EXPECT_EQ(answers_timed(), 0u);
  statistics.measure_latency(true);
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0);
  EXPECT_EQ(answers_timed(), 1u);
  guest.open();
  EXPECT_EQ(answers_timed(), 2u);
}

TEST_F(StatisticsTest, TimesWhatIsAnsweredLater) {
  guest.open();
  statistics.measure_latency(true);
  TestBackend::Session& session = *guest.backend().last;
  const v4l2_control control{.id = V4L2_CID_GAIN, .value = 1};
  guest.add(Guest::ioctl_command<tag::S_CTRL>(session.id, control), 16);
  const std::uint64_t before = TickClock::now();
  guest.device->process(wire::commandq);
  EXPECT_EQ(answers_timed(), 0u);
  const std::uint64_t taken = TickClock::now();
  std::uint64_t completed = taken;
  while (completed - taken < 100'000) completed = TickClock::now();
  session.owed[0].complete({});
  ASSERT_TRUE(guest.wait_reply());
  const std::uint64_t after = TickClock::now();
  ASSERT_EQ(answers_timed(), 1u);
  EXPECT_GE(slowest(), Histogram::bucket_of(completed - taken));
  EXPECT_LE(slowest(), Histogram::bucket_of(after - before));
}

TEST_F(StatisticsTest, MayBeReadByOtherThreads) {
  const std::uint32_t id = guest.open();
  std::atomic<bool> stop = false;
  std::uint64_t seen = 0;
  std::thread reader([&] {
    while (!stop) {
      const std::uint64_t now = statistics.command_count();
      EXPECT_GE(now, seen);
      seen = now;
    }
  });
  v4l2_format format{};
  for (int i = 0; i < 500; ++i) {
    format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(statistics.command_count(), 501u);
}

}  // namespace
}  // namespace vumedia::media::test
