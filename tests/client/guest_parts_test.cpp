// The parts of a Guest on their own, with the test as their device.
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/client/event_receiver.hpp>
#include <vumedia/client/guest_area.hpp>
#include <vumedia/client/user_ranges.hpp>
#include <vumedia/virtio/queue.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::client::guest_parts_test {
namespace {

namespace wire = media::wire;

constexpr std::uint64_t base = 0x10'0000;

TEST(GuestArea, NamesItsPartsOnBothSides) {
  std::array<std::byte, 100> memory{};
  const GuestArea area{memory, {base}};
  const GuestArea part = area.part(40, 10);
  EXPECT_EQ(part.size(), 10u);
  EXPECT_EQ(part.bytes.data(), memory.data() + 40);
  EXPECT_EQ(part.address.value, base + 40);
  EXPECT_EQ(part.address_of(memory.data() + 49)->value, base + 49);
  EXPECT_EQ(part.address_of(memory.data() + 50).error().value, EFAULT);
  EXPECT_EQ(part.address_of(memory.data() + 39).error().value, EFAULT);
}

class Events : public testing::Test {
 protected:
  Events() {
    receiver_.use({std::span(ram_.data() + 0x4000, EventReceiver::memory_size), {base + 0x4000}});
    EXPECT_TRUE(device_.set_size(EventReceiver::queue_size));
    device_.set_addresses(driver_.descriptors(), driver_.available(), driver_.used());
    EXPECT_TRUE(device_.start(*table_));
    receiver_.begin(driver_);
  }
  // The device sends `bytes` of `event`.
  template <class Event>
  void send(const Event& event, std::size_t bytes = sizeof(Event)) {
    const auto popped = device_.pop(*table_);
    ASSERT_TRUE(popped) << "no buffer was lent";
    auto writer = popped->writer();
    EXPECT_TRUE(writer.write_bytes(std::as_bytes(std::span(&event, 1)).first(bytes)));
    ASSERT_TRUE(device_.push(*table_, popped->head(), static_cast<std::uint32_t>(bytes)));
    static_cast<void>(device_.flush(*table_));
  }
  static wire::virtio_media_event_error error_of(std::uint32_t session, std::uint32_t error) {
    wire::virtio_media_event_error event{};
    event.hdr.event = wire::event_error;
    event.hdr.session_id = session;
    event.error = error;
    return event;
  }

  vumedia::test::RamFile ram_{base, 1 << 16};
  std::shared_ptr<const memory::GuestMemory> table_ = vumedia::test::make_table({&ram_});
  virtio::DriverQueue driver_{ram_.data(), {base}, EventReceiver::queue_size, false};
  virtio::Queue device_;
  EventReceiver receiver_;
};

TEST_F(Events, AreKeptInOrderAndTheirBuffersLentAnew) {
  for (std::uint32_t round = 0; round < 5; ++round) {
    for (std::uint32_t i = 0; i < EventReceiver::queue_size; ++i) send(error_of(i, round));
    EXPECT_TRUE(device_.pop(*table_).empty()) << "all buffers are used";
    EXPECT_TRUE(receiver_.collect(driver_));
    for (std::uint32_t i = 0; i < EventReceiver::queue_size; ++i) {
      const auto event = receiver_.take();
      ASSERT_TRUE(event);
      const auto* const error = std::get_if<ErrorEvent>(&*event);
      ASSERT_NE(error, nullptr);
      EXPECT_EQ(error->session, i);
      EXPECT_EQ(error->error, static_cast<int>(round));
    }
    EXPECT_FALSE(receiver_.take());
  }
  EXPECT_EQ(receiver_.dropped(), 0u);
}

TEST_F(Events, OfASessionAreForgotten) {
  for (const std::uint32_t session : {1u, 2u, 1u}) send(error_of(session, EIO));
  ASSERT_TRUE(receiver_.collect(driver_));
  receiver_.forget(1);
  const auto left = receiver_.take();
  ASSERT_TRUE(left);
  EXPECT_EQ(std::get<ErrorEvent>(*left).session, 2u);
  EXPECT_FALSE(receiver_.take());
}

TEST_F(Events, ThatAreTooShortAreCounted) {
  send(error_of(1, EIO), sizeof(wire::virtio_media_event_error) - 1);
  send(error_of(1, EIO), sizeof(wire::virtio_media_event_header) - 1);
  auto unknown = error_of(1, EIO);
  unknown.hdr.event = 99;
  send(unknown);
  wire::virtio_media_event_dqbuf frame{};
  frame.hdr.event = wire::event_dqbuf;
  frame.hdr.session_id = 7;
  frame.buffer.sequence = 3;
  send(frame);
  ASSERT_TRUE(receiver_.collect(driver_));
  EXPECT_EQ(receiver_.dropped(), 3u);
  const auto event = receiver_.take();
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<DqbufEvent>(*event).buffer.head.sequence, 3u);
  EXPECT_FALSE(receiver_.take());
}

TEST(UserRanges, OfABufferAreWhereItsPointerPoints) {
  std::array<std::byte, 4096> memory{};
  const GuestArea user{memory, {base}};
  v4l2::BufferPayload payload{};
  payload.buffer.head.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  payload.buffer.head.memory = V4L2_MEMORY_USERPTR;
  payload.buffer.head.length = 96;
  payload.buffer.head.m.userptr = reinterpret_cast<unsigned long>(memory.data() + 4000);
  ASSERT_TRUE(add_ranges(payload, user));
  EXPECT_FALSE(payload.ranges.empty());
  payload.ranges.clear();
  payload.buffer.head.length = 97;
  EXPECT_EQ(add_ranges(payload, user).error().value, EFAULT);
  EXPECT_TRUE(payload.ranges.empty());
  payload.buffer.head.memory = V4L2_MEMORY_MMAP;
  EXPECT_TRUE(add_ranges(payload, user));
  EXPECT_TRUE(payload.ranges.empty());
}

TEST(UserRanges, OfControlsGoThroughTheirArea) {
  std::array<std::byte, 16> memory{};
  const GuestArea area{memory, {base}};
  std::array<char, 8> first{"abcdefg"}, second{"1234567"};
  std::vector<v4l2_ext_control> controls(2);
  controls[0].size = controls[1].size = 8;
  controls[0].ptr = first.data();
  controls[1].ptr = second.data();
  v4l2::ExtControls payload{};
  payload.controls = controls;
  ASSERT_TRUE(add_ranges(payload, area));
  EXPECT_EQ(std::memcmp(memory.data(),
                        "abcdefg\0"
                        "1234567",
                        16),
            0);
  std::memcpy(memory.data() + 8, "7654321", 8);
  take_controls(controls, area);
  EXPECT_STREQ(first.data(), "abcdefg");
  EXPECT_STREQ(second.data(), "7654321");
  controls[1].size = 9;
  payload.controls = controls;
  EXPECT_EQ(add_ranges(payload, area).error().value, E2BIG);
  EXPECT_TRUE(payload.ranges.empty());
}

}  // namespace
}  // namespace vumedia::client::guest_parts_test
