// vumedia-device with a real QEMU: what a guest's driver does through PCI, what QEMU does by itself at resets
// and crashes, and the frames as they arrive in the guest's shared memory.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/client/guest.hpp>

#include "qemu/fixture.hpp"

namespace vumedia::qemu_test {
namespace {

namespace tag = v4l2::tag;

using CameraOfQemu = Camera<QemuGuest>;
using CameraOfOurs = Camera<client::Guest>;

TEST(Base64, IsItsOwnInverse) {
  for (std::size_t size = 0; size < 40; ++size) {
    std::vector<std::byte> bytes(size), back(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 151 + size);
    const std::string text = base64::encode(bytes);
    EXPECT_EQ(text.size(), (size + 2) / 3 * 4);
    ASSERT_TRUE(base64::decode(text, back));
    EXPECT_EQ(back, bytes);
    std::vector<std::byte> more(size + 1);
    EXPECT_FALSE(base64::decode(text, more));
  }
  // RFC 4648, section 10.
  constexpr std::string_view plain = "foobar";
  EXPECT_EQ(base64::encode(std::as_bytes(std::span(plain))), "Zm9vYmFy");
}

TEST_F(QemuTest, ReadsTheConfiguration) {
  for (const char* const backend : {"null", "test-pattern"}) {
    SCOPED_TRACE(backend);
    start_device(backend);
    media::wire::virtio_media_config ours{};
    std::uint64_t shm_size = 0;
    {
      const auto guest = connect();
      ASSERT_TRUE(guest);
      ours = guest->config();
      shm_size = guest->shm_size();
    }
    const auto machine = switch_on();
    ASSERT_TRUE(machine);
    const auto guest = drive(*machine);
    ASSERT_TRUE(guest);
    EXPECT_EQ(std::memcmp(&guest->config(), &ours, sizeof ours), 0)
        << "other bytes than our own frontend reads";
    EXPECT_EQ(guest->shm_size(), shm_size);
    EXPECT_NE(shm_size, 0u);
    // In pieces, as drivers read fields.
    for (std::uint32_t offset = 0; offset < sizeof ours; offset += 7) {
      std::vector<std::byte> piece(std::min<std::size_t>(7, sizeof ours - offset));
      ASSERT_TRUE(guest->transport().read_config(offset, piece));
      EXPECT_EQ(std::memcmp(piece.data(), reinterpret_cast<const char*>(&ours) + offset, piece.size()), 0)
          << offset;
    }
    stop_device();
  }
}

struct Setting {
  Interrupt interrupt;
  bool slots;  // whether the device offers CONFIGURE_MEM_SLOTS
};

class QemuStream : public QemuTest, public testing::WithParamInterface<Setting> {
 protected:
  void start_camera_device(std::vector<std::string> options = {}) {
    if (GetParam().slots) options.emplace_back("--mem-slots");
    start_device("test-pattern", options);
  }
};

TEST_P(QemuStream, ShowsTheGuestEachPixel) {
  start_camera_device();
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, GetParam().interrupt);
  ASSERT_TRUE(guest);
  CameraOfQemu camera(*guest, 640, 480);
  camera.allocate(4);
  ASSERT_TRUE(camera.stream(true));
  const auto first = camera.next_frame();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->sequence, 0u);
  EXPECT_TRUE(camera.shows_frame(first->index, 0));
  ASSERT_TRUE(camera.queue(first->index));
  camera.watch(8);
  const auto last = camera.next_frame();
  ASSERT_TRUE(last);
  EXPECT_TRUE(camera.shows_frame(last->index, last->sequence));
  EXPECT_FALSE(camera.shows_frame(last->index, last->sequence + 1)) << "the comparison sees no difference";
  // wait_event() slept until the device interrupted.
  EXPECT_GT(guest->transport().interrupts(), 0u);
  ASSERT_TRUE(camera.stream(false));

  // A mapping outlives the buffers and ends with MUNMAP, once.
  ASSERT_TRUE(camera.free_buffers());
  for (const auto& map : camera.maps()) {
    EXPECT_TRUE(guest->munmap(map.driver_addr));
    EXPECT_EQ(guest->munmap(map.driver_addr).error().value, EINVAL);
  }
  EXPECT_TRUE(guest->close(camera.session()));
  machine->kill();
  stop_device();
}

TEST_P(QemuStream, HoldsTwelveMappingsAtOnce) {
  start_camera_device();
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, GetParam().interrupt);
  ASSERT_TRUE(guest);
  constexpr std::uint32_t count = 12;
  // More than fits into one of the device's memory files, so that QEMU maps several.
  CameraOfQemu camera(*guest, 1920, 1080);
  camera.allocate(count);
  ASSERT_EQ(camera.maps().size(), count);

  // Each has a place of its own that the guest can write to.
  const auto mark = [](std::uint32_t index) {
    std::array<std::byte, 64> bytes;
    bytes.fill(static_cast<std::byte>(0xa0 + index));
    return bytes;
  };
  const std::uint64_t end = camera.format().sizeimage - 64;
  for (std::uint32_t i = 0; i < count; ++i) {
    for (const std::uint64_t offset : {std::uint64_t{0}, end})
      ASSERT_TRUE(camera.maps()[i].memory.write(offset, mark(i)));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    for (const std::uint64_t offset : {std::uint64_t{0}, end}) {
      std::array<std::byte, 64> seen{};
      ASSERT_TRUE(camera.maps()[i].memory.read(offset, seen));
      EXPECT_EQ(seen, mark(i)) << "buffer " << i;
    }
  }
  // All of them take part.
  ASSERT_TRUE(camera.stream(true));
  std::set<std::uint32_t> seen;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto frame = camera.next_frame();
    ASSERT_TRUE(frame);
    seen.insert(frame->index);
  }
  EXPECT_EQ(seen.size(), count);
  EXPECT_TRUE(camera.shows_frame(count - 1, count - 1));
  ASSERT_TRUE(camera.stream(false));

  // When they are gone, so are their contents, and their place can be used again.
  const auto maps = camera.maps();
  for (const auto& map : maps) ASSERT_TRUE(guest->munmap(map.driver_addr));
  ASSERT_TRUE(camera.free_buffers());
  CameraOfQemu second(*guest, 1920, 1080);
  second.allocate(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    std::array<std::byte, 64> there{};
    ASSERT_TRUE(second.maps()[i].memory.read(end, there));
    EXPECT_EQ(there, (std::array<std::byte, 64>{})) << "a new buffer holds what another one held";
  }
  ASSERT_TRUE(second.stream(true));
  second.watch(count);
  machine->kill();
  stop_device();
}

TEST_P(QemuStream, ServesTheNextFrontendWhenQemuIsKilled) {
  start_camera_device();
  for (int round = 0; round < 3; ++round) {
    const auto machine = switch_on();
    ASSERT_TRUE(machine);
    const auto guest = drive(*machine, GetParam().interrupt);
    ASSERT_TRUE(guest);
    CameraOfQemu camera(*guest, 640, 480);
    camera.allocate(3);
    ASSERT_TRUE(camera.stream(true));
    camera.watch(3);
    machine->kill();
    EXPECT_EQ(guest->open().error().value, EPIPE);

    // A frontend of another kind replaces it.
    const auto other = connect();
    ASSERT_TRUE(other);
    CameraOfOurs ours(*other, 320, 240);
    ours.allocate(2);
    ASSERT_TRUE(ours.stream(true));
    ours.watch(3);
  }
  stop_device();
}

// To the back-end a pause looks like a reset, except that its rings continue where they were; nothing may be
// lost.
TEST_P(QemuStream, GoesOnAfterAPause) {
  start_camera_device();
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, GetParam().interrupt);
  ASSERT_TRUE(guest);
  CameraOfQemu camera(*guest, 640, 480);
  camera.allocate(4);
  ASSERT_TRUE(camera.stream(true));
  camera.watch(3);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(machine->qmp().execute("stop", "STOP"));
    ASSERT_TRUE(machine->qmp().execute("cont", "RESUME"));
    // The numbers continue, and so does the file, with its mappings.
    camera.watch(3);
    v4l2_format format{};
    format.type = CameraOfQemu::type;
    EXPECT_TRUE(guest->ioctl<tag::G_FMT>(camera.session(), format));
  }
  ASSERT_TRUE(guest->munmap(camera.maps()[0].driver_addr));
  machine->kill();
  stop_device();
}

INSTANTIATE_TEST_SUITE_P(Qemu, QemuStream,
                         testing::Values(Setting{Interrupt::intx, false}, Setting{Interrupt::msix, false},
                                         Setting{Interrupt::msix, true}),
                         [](const auto& row) {
                           return std::string(row.param.interrupt == Interrupt::intx ? "Intx" : "Msix") +
                                  (row.param.slots ? "MemSlots" : "");
                         });

// QEMU 11.1 crashes when the guest resets a device that has memory slots while a mapping lives, so without
// them.
class QemuReset : public QemuTest, public testing::WithParamInterface<Interrupt> {};

TEST_P(QemuReset, EndsEverythingAndTheNextLifeIsWhole) {
  start_device("test-pattern");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, GetParam());
  ASSERT_TRUE(guest);
  for (int life = 0; life < 3; ++life) {
    SCOPED_TRACE(life);
    // Three files, of which one has buffers mapped and streams.
    const auto first = guest->open(), second = guest->open();
    ASSERT_TRUE(first && second);
    CameraOfQemu camera(*guest, 640, 480);
    camera.allocate(4);
    ASSERT_TRUE(camera.stream(true));
    camera.watch(6);
    const auto stale_map = camera.maps()[0].driver_addr;

    const auto done = guest->reset();
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(guest->transport().status().value_or(0), 15);
    // No sessions and no mappings are left.
    for (const std::uint32_t session : {camera.session(), *first, *second}) {
      v4l2_format format{};
      format.type = CameraOfQemu::type;
      EXPECT_EQ(guest->ioctl<tag::G_FMT>(session, format).error().value, EINVAL);
    }
    EXPECT_EQ(guest->munmap(stale_map).error().value, EINVAL);
    // And no frame from before.
    const auto event = guest->wait_event(0ms);
    ASSERT_TRUE(event);
    EXPECT_FALSE(*event);
  }
  machine->kill();
  stop_device();
}

// What a firmware does before the operating system's driver: up to DRIVER_OK, one command, and status 0
// again.
TEST_P(QemuReset, MayComeAtOnce) {
  start_device("test-pattern");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, GetParam());
  ASSERT_TRUE(guest);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(guest->reset());
    if (i % 2 == 0) {
      ASSERT_TRUE(guest->open());
    }
  }
  CameraOfQemu camera(*guest, 320, 240);
  camera.allocate(2);
  ASSERT_TRUE(camera.stream(true));
  camera.watch(4);
}

// The reset button: the machine forgets its PCI devices' addresses, and the next driver begins where firmware
// does.
TEST_P(QemuReset, MayBeTheMachines) {
  start_device("test-pattern");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  std::uint32_t last_session = 0;
  for (int boot = 0; boot < 3; ++boot) {
    SCOPED_TRACE(boot);
    const auto guest = drive(*machine, GetParam());
    ASSERT_TRUE(guest);
    v4l2_format format{};
    format.type = CameraOfQemu::type;
    EXPECT_EQ(guest->ioctl<tag::G_FMT>(last_session, format).error().value, EINVAL)
        << "a file of the last boot";
    CameraOfQemu camera(*guest, 640, 480);
    camera.allocate(4);
    ASSERT_TRUE(camera.stream(true));
    camera.watch(5);
    last_session = camera.session();
    ASSERT_TRUE(machine->qmp().execute("system_reset", "RESET"));
  }
  machine->kill();
  stop_device();
}

INSTANTIATE_TEST_SUITE_P(Qemu, QemuReset, testing::Values(Interrupt::intx, Interrupt::msix),
                         [](const auto& row) {
                           return std::string(row.param == Interrupt::intx ? "Intx" : "Msix");
                         });

// USERPTR: the device paints into the machine's memory, wherever QEMU has it.
TEST_F(QemuTest, FillsTheGuestsOwnMemory) {
  start_device("test-pattern");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, Interrupt::msix, VirtioPciTransport::all_features, std::size_t{2} << 20);
  ASSERT_TRUE(guest);
  CameraOfQemu camera(*guest, 640, 480);
  const std::uint32_t size = camera.format().sizeimage;
  v4l2_requestbuffers request{};
  request.type = CameraOfQemu::type;
  request.memory = V4L2_MEMORY_USERPTR;
  request.count = 1;
  ASSERT_TRUE(guest->ioctl<tag::REQBUFS>(camera.session(), request));
  // Across pages, and not at the start of a page.
  const auto memory = guest->user_memory().subspan(100, size);
  v4l2::BufferPayload buffer{};
  buffer.buffer.head.type = CameraOfQemu::type;
  buffer.buffer.head.memory = V4L2_MEMORY_USERPTR;
  buffer.buffer.head.length = size;
  buffer.buffer.head.m.userptr = reinterpret_cast<unsigned long>(memory.data());
  ASSERT_TRUE(guest->ioctl<tag::QBUF>(camera.session(), buffer));
  ASSERT_TRUE(camera.stream(true));
  const auto event = guest->wait_event(patience);
  ASSERT_TRUE(event && *event && std::holds_alternative<client::DqbufEvent>(**event));
  EXPECT_EQ(std::get<client::DqbufEvent>(**event).buffer.head.bytesused, size);
  EXPECT_TRUE(std::ranges::equal(memory, camera.frame(0)));
  EXPECT_EQ(guest->user_memory()[99], std::byte{0});
  EXPECT_EQ(guest->user_memory()[100 + size], std::byte{0});
}

TEST_F(QemuTest, LetsTheDeviceEndWhileItStreams) {
  start_device("test-pattern");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine);
  ASSERT_TRUE(guest);
  CameraOfQemu camera(*guest, 640, 480);
  camera.allocate(4);
  ASSERT_TRUE(camera.stream(true));
  camera.watch(3);
  // What QEMU does with it does not matter.
  stop_device();
}

// For a driver that takes neither event indices nor indirect descriptors.
TEST_F(QemuTest, ServesPlainRings) {
  start_device("test-pattern");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine, Interrupt::intx, vhost_user::feature::version_1);
  ASSERT_TRUE(guest);
  EXPECT_FALSE(guest->transport().event_idx());
  CameraOfQemu camera(*guest, 640, 480);
  camera.allocate(4);
  ASSERT_TRUE(camera.stream(true));
  camera.watch(10);
  EXPECT_GT(guest->transport().interrupts(), 0u);
}

TEST_F(QemuTest, KeepsItsMachineWhenAnotherOneComes) {
  start_device("test-pattern");
  const auto machine = switch_on();
  ASSERT_TRUE(machine);
  const auto guest = drive(*machine);
  ASSERT_TRUE(guest);
  CameraOfQemu camera(*guest, 320, 240);
  camera.allocate(2);
  ASSERT_TRUE(camera.stream(true));
  camera.watch(2);
  // It is refused at once, and ends.
  const auto second = switch_on();
  ASSERT_TRUE(second);
  const auto status = second->process().wait(patience);
  ASSERT_TRUE(status) << "it waits for the device";
  EXPECT_NE(*status, 0);
  EXPECT_LT(*status, 128) << second->process().error_output();
  camera.watch(4);
}

// What QEMU's generic device cannot show, because it does not survive its back-end: a daemon that dies and
// comes back.
TEST_F(DeviceTest, ComesBackToAFrontendOfOurs) {
  for (int round = 0; round < 2; ++round) {
    start_device("test-pattern");
    const auto guest = connect();
    ASSERT_TRUE(guest);
    CameraOfOurs camera(*guest, 640, 480);
    camera.allocate(3);
    ASSERT_TRUE(camera.stream(true));
    camera.watch(5);
    device_->signal(SIGKILL);
    ASSERT_TRUE(device_->wait(patience));
    EXPECT_EQ(guest->open().error().value, EPIPE);
    // Frames that were in transit come, at most one for each buffer; then the end.
    auto event = guest->wait_event(patience);
    for (std::size_t i = 0; event && i < camera.maps().size(); ++i) event = guest->wait_event(patience);
    ASSERT_FALSE(event);
    EXPECT_EQ(event.error().value, EPIPE);
    // Mapped memory stays readable: it belongs to the guest as much as to the device.
    EXPECT_TRUE(camera.number_in(0));
  }
  // In place of the dead one, whose socket file still exists.
  start_device("test-pattern");
  const auto guest = connect();
  ASSERT_TRUE(guest);
  CameraOfOurs camera(*guest, 640, 480);
  camera.allocate(3);
  ASSERT_TRUE(camera.stream(true));
  camera.watch(5);
  stop_device();
}

}  // namespace
}  // namespace vumedia::qemu_test
