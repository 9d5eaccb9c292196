// OPEN, CLOSE and IOCTL, and everything that a guest can send in their place.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/backends/null.hpp>
#include <vumedia/media/device.hpp>
#include <vumedia/v4l2/ioctl_table.hpp>

#include "media/test_backend.hpp"
#include "support/media_guest.hpp"

namespace vumedia::media::test {
namespace {

namespace tag = v4l2::tag;
using namespace vumedia::test;
using Guest = MediaGuest<TestBackend>;

static_assert(virtio::Host<Guest::Host>);
static_assert(virtio::Device<Guest::Device>);

TEST(Config, IsTheBackendsInWireForm) {
  Guest guest;
  const auto bytes = guest.device->config();
  ASSERT_EQ(bytes.size(), 40u);
  wire::virtio_media_config config;
  std::memcpy(&config, bytes.data(), sizeof config);
  EXPECT_EQ(config.device_caps, 0x04200001u);
  EXPECT_EQ(config.device_type, 4u);
  EXPECT_EQ(std::string(config.card.data(), config.card.size()), "a card whose name is a bit too l");

  MediaGuest<backends::Null> null;
  std::memcpy(&config, null.device->config().data(), sizeof config);
  EXPECT_STREQ(config.card.data(), "vumedia null");
}

TEST(Config, RegionsSumToAPowerOfTwo) {
  for (const std::uint64_t asked :
       {std::uint64_t{0}, std::uint64_t{5000}, std::uint64_t{1} << 30, ~std::uint64_t{0}}) {
    Guest guest(EmbeddedOptions{}, DeviceOptions{.shm_size = asked});
    ASSERT_EQ(guest.device->shm_regions().size(), 1u);
    EXPECT_TRUE(is_power_of_two(guest.device->shm_regions()[0]));
    EXPECT_GE(guest.device->shm_regions()[0], page_size);
  }
}

TEST(Open, GivesIdsAndCloseTakesThem) {
  Guest guest;
  const std::uint32_t first = guest.open(), second = guest.open();
  EXPECT_NE(first, 0u);
  EXPECT_NE(first, second);
  EXPECT_EQ(guest.device->session_count(), 2u);
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(first, format), 0);
  guest.close(first);
  EXPECT_EQ(guest.backend().closed, std::vector<std::uint32_t>{first});
  EXPECT_EQ(guest.backend().destroyed, 1);
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(first, format), EINVAL);
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(second, format), 0);
  guest.close(first);  // unknown: no answer, no harm
  guest.close(0);
  EXPECT_EQ(guest.device->session_count(), 1u);
  EXPECT_NE(guest.open(), first);
}

TEST(Open, IsLimited) {
  Guest guest(EmbeddedOptions{}, DeviceOptions{.max_sessions = 2});
  const std::uint32_t first = guest.open();
  guest.open();
  const Bytes open = bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}});
  const Reply refused = guest.command(open, 16);
  EXPECT_EQ(refused.status(), ENFILE);
  EXPECT_EQ(refused.length, 8u);
  guest.close(first);
  EXPECT_NE(guest.open(), 0u);
}

TEST(Open, PassesOnTheBackendsError) {
  Guest guest;
  const Bytes open = bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}});
  guest.backend().refuse_open = EBUSY;
  for (int i = 0; i < 200; ++i) EXPECT_EQ(guest.command(open, 16).status(), EBUSY);
  guest.backend().refuse_open = 0;
  EXPECT_NE(guest.open(), 0u);
}

TEST(Open, WithoutRoomForTheIdOpensNothing) {
  Guest guest;
  const Bytes open = bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}});
  EXPECT_EQ(guest.command(open, 15).status(), EINVAL);
  EXPECT_EQ(guest.command(open, 8).status(), EINVAL);
  EXPECT_EQ(guest.command(open, 7).length, 0u);
  EXPECT_EQ(guest.command(open, 0).length, 0u);
  EXPECT_EQ(guest.device->session_count(), 0u);
}

TEST(Ioctl, CarriesPayloadsBothWays) {
  Guest guest;
  const std::uint32_t id = guest.open();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  format.fmt.pix.width = 640;
  format.fmt.pix.height = 480;
  EXPECT_EQ(guest.ioctl<tag::S_FMT>(id, format), 0);
  v4l2_format got{};
  got.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, got), 0);
  EXPECT_EQ(got.fmt.pix.width, 640u);
  EXPECT_EQ(got.fmt.pix.height, 480u);
}

TEST(Ioctl, FailsWithAStatusAlone) {
  Guest guest;
  const std::uint32_t id = guest.open();
  v4l2_format format{};
  format.type = 99;
  const Reply reply =
      guest.command(Guest::ioctl_command<tag::G_FMT>(id, format), Guest::ioctl_room<tag::G_FMT>);
  EXPECT_EQ(reply.status(), EINVAL);
  EXPECT_EQ(reply.length, 8u);
  EXPECT_EQ(reply.bytes[8], std::byte{0xee}) << "the payload was touched";
  // A value that is not an errno becomes one.
  std::uint32_t input = 0;
  EXPECT_EQ(guest.ioctl<tag::G_INPUT>(id, input), EIO);
}

TEST(Ioctl, FailedControlsCarryTheirPayload) {
  Guest guest;
  MediaGuest<backends::Null> null;
  v4l2_ext_controls head{};
  head.count = 2;
  head.error_idx = 99;
  v4l2_ext_control controls[2] = {};
  controls[1].id = V4L2_CID_GAIN;
  const auto command = [&](std::uint32_t id) {
    return bytes_of(wire::virtio_media_cmd_ioctl{{wire::cmd_ioctl, 0}, id, tag::G_EXT_CTRLS::number}, head,
                    controls);
  };
  const std::size_t size = sizeof head + sizeof controls;
  Reply reply = guest.command(command(guest.open()), 8 + size);
  EXPECT_EQ(reply.status(), EINVAL);
  ASSERT_EQ(reply.length, 8 + size);
  EXPECT_EQ(reply.as<v4l2_ext_controls>(8).error_idx, 2u);
  EXPECT_EQ(reply.as<v4l2_ext_control>(8 + sizeof head + sizeof(v4l2_ext_control)).id,
            std::uint32_t{V4L2_CID_GAIN});

  // Even when nobody implements them, or Linux would report EINVAL instead.
  reply = null.command(command(null.open()), 8 + size);
  EXPECT_EQ(reply.status(), ENOTTY);
  EXPECT_EQ(reply.length, 8 + size);
  EXPECT_EQ(reply.as<v4l2_ext_controls>(8).error_idx, 99u);

  // Then nobody reads guest ranges, but the structs must be there, and the room for them.
  controls[0].size = 40;
  reply = null.command(command(null.open()), 8 + size);
  EXPECT_EQ(reply.status(), ENOTTY);
  EXPECT_EQ(reply.length, 8 + size);
  EXPECT_EQ(reply.as<v4l2_ext_control>(8 + sizeof head).size, 40u);
  EXPECT_EQ(null.command(command(null.open()), 8 + size - 1).status(), EINVAL);
  Bytes cut = command(null.open());
  cut.pop_back();
  EXPECT_EQ(null.command(cut, 8 + size).status(), EINVAL);
}

TEST(Ioctl, EveryNumberOfANullDeviceIsENOTTY) {
  MediaGuest<backends::Null> guest(EmbeddedOptions{.memory_size = 8 << 20}, DeviceOptions{});
  const std::uint32_t id = guest.open();
  // Zeroes enough for any payload.
  Bytes command = MediaGuest<backends::Null>::ioctl_command(id, 0);
  command.resize(command.size() + 1024);
  for (std::uint32_t code = 0; code < 300; ++code) {
    std::memcpy(command.data() + 12, &code, 4);
    EXPECT_EQ(guest.command(command, 1024).status(), ENOTTY) << v4l2::ioctl_name(code);
  }
  for (const std::uint32_t code : {0x10004u, 0x80000000u, 0xffffffffu, 0xc0d05604u}) {
    std::memcpy(command.data() + 12, &code, 4);
    EXPECT_EQ(guest.command(command, 1024).status(), ENOTTY) << code;
  }
}

TEST(Ioctl, OfUnknownSessionsIsEINVAL) {
  Guest guest;
  const std::uint32_t id = guest.open();
  v4l2_format format{};
  for (const std::uint32_t unknown : {0u, 1u, id + 1, id ^ 0x80000000u, ~0u})
    EXPECT_EQ(guest.ioctl<tag::G_FMT>(unknown, format), EINVAL) << unknown;
  EXPECT_EQ(guest.backend().calls, 0);
}

TEST(Malformed, CommandsCutShort) {
  Guest guest;
  const std::uint32_t id = guest.open();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  const Bytes whole = Guest::ioctl_command<tag::G_FMT>(id, format);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    const Reply reply = guest.command(cut, Guest::ioctl_room<tag::G_FMT>);
    ASSERT_EQ(reply.status(), EINVAL) << length;
    ASSERT_EQ(reply.length, 8u);
  }
  EXPECT_EQ(guest.backend().calls, 0);
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0) << "the device no longer serves";
  for (const std::size_t length : {8u, 12u, 19u}) {
    Bytes cut = Guest::mmap_command(id, 0);
    cut.resize(length);
    EXPECT_EQ(guest.command(cut, 24).status(), EINVAL);
  }
  Bytes close = Guest::close_command(id);
  close.resize(11);
  EXPECT_EQ(guest.command(close, 8).length, 0u);
  EXPECT_EQ(guest.device->session_count(), 1u);
  Bytes munmap = bytes_of(wire::virtio_media_cmd_munmap{{wire::cmd_munmap, 0}, 0});
  munmap.resize(15);
  EXPECT_EQ(guest.command(munmap, 8).status(), EINVAL);
}

TEST(Malformed, ResponsesWithoutRoom) {
  Guest guest;
  const std::uint32_t id = guest.open();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  const Bytes command = Guest::ioctl_command<tag::G_FMT>(id, format);
  for (const std::size_t room : {8u, 100u, unsigned{Guest::ioctl_room<tag::G_FMT>} - 1})
    EXPECT_EQ(guest.command(command, room).status(), EINVAL) << room;
  for (const std::size_t room : {0u, 1u, 7u}) EXPECT_EQ(guest.command(command, room).length, 0u);
  EXPECT_EQ(guest.backend().calls, 0) << "what cannot be answered must not be carried out";
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0);
}

TEST(Malformed, UnknownCommands) {
  Guest guest;
  for (const std::uint32_t cmd : {0u, 6u, 0xffffffffu}) {
    EXPECT_EQ(guest.command(bytes_of(cmd, std::uint32_t{0}, std::uint64_t{0}), 16).status(), ENOTTY);
  }
  EXPECT_NE(guest.open(), 0u);
}

TEST(Malformed, BrokenQueuesAreReported) {
  Guest guest;
  guest.open();
  const virtio::Piece outside{{0xffff'0000'0000}, 16, false};
  ASSERT_TRUE(guest.host.driver_queue(0).add(std::span(&outside, 1)));
  static_cast<void>(guest.host.driver_queue(0).publish());
  guest.device->process(wire::commandq);
  ASSERT_EQ(guest.host.errors.size(), 1u);
  EXPECT_EQ(guest.host.errors[0], "commandq: descriptor points outside guest memory");
  guest.device->process(wire::commandq);
  EXPECT_EQ(guest.host.errors.size(), 1u);
}

TEST(Commands, OfABatchAreAllServedWithOneInterrupt) {
  Guest guest;
  const std::uint32_t id = guest.open();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_FALSE(guest.host.driver_queue(0).enable_interrupts());
  const std::uint64_t calls = guest.host.calls(0);
  for (int i = 0; i < 10; ++i) guest.add(Guest::ioctl_command<tag::G_FMT>(id, format), 216, i % 2 != 0);
  guest.device->process(wire::commandq);
  for (int i = 0; i < 10; ++i) {
    const auto reply = guest.take_reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->second.status(), 0);
  }
  EXPECT_EQ(guest.host.calls(0), calls + 1);
}

TEST(Commands, OfADriverThatHasManyAreServedInTurns) {
  Guest guest(EmbeddedOptions{.queue_size = 256}, DeviceOptions{});
  const std::uint32_t id = guest.open();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  for (int i = 0; i < 100; ++i) guest.add(Guest::ioctl_command<tag::G_FMT>(id, format), 216);
  guest.device->process(wire::commandq);
  int replies = 0;
  const auto count = [&] {
    while (guest.take_reply()) ++replies;
    return replies;
  };
  EXPECT_LT(count(), 100) << "timers and sockets have to have their turn";
  EXPECT_TRUE(guest.run_until([&] { return count() == 100; }));
}

TEST(Commands, AreServedWhenTheMemoryTableWasReplaced) {
  Guest guest;
  const std::uint32_t id = guest.open();
  guest.host.replace_memory();
  v4l2_format format{};
  format.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(id, format), 0);
}

TEST(Reset, EndsAllSessions) {
  Guest guest;
  const std::uint32_t first = guest.open(), second = guest.open();
  guest.host.reset(*guest.device);
  EXPECT_EQ(guest.backend().closed, (std::vector<std::uint32_t>{first, second}));
  EXPECT_EQ(guest.backend().destroyed, 2);
  EXPECT_EQ(guest.device->session_count(), 0u);
  v4l2_format format{};
  EXPECT_EQ(guest.ioctl<tag::G_FMT>(first, format), EINVAL);
  EXPECT_NE(guest.open(), 0u);
}

TEST(Commands, ReachTheDeviceThroughEventFds) {
  Guest guest(EmbeddedOptions{.event_fds = true}, DeviceOptions{});
  guest.host.attach(*guest.device);
  guest.add(bytes_of(wire::virtio_media_cmd_open{{wire::cmd_open, 0}}), 16);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(guest.host.kick_fd(0), &one, 8), 8);
  const auto reply = guest.wait_reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status(), 0);
  std::uint64_t calls = 0;
  ASSERT_TRUE(guest.run_until([&] { return ::read(guest.host.call_fd(0), &calls, 8) == 8; }));
  EXPECT_GE(calls, 1u);
}

}  // namespace
}  // namespace vumedia::media::test
