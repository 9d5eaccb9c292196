#include <array>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/virtio/driver_queue.hpp>
#include <vumedia/virtio/queue.hpp>

#include "support/guest_ram.hpp"

namespace vumedia::virtio::test {
namespace {

using memory::GuestMemory;
using vumedia::test::make_table;
using vumedia::test::RamFile;

class DriverQueueTest : public testing::TestWithParam<bool> {
 protected:
  static constexpr std::uint16_t queue_size = 4;

  DriverQueueTest() {
    EXPECT_TRUE(device_.set_size(queue_size));
    device_.set_addresses(driver_.descriptors(), driver_.available(), driver_.used());
    device_.set_event_idx(GetParam());
    EXPECT_TRUE(device_.start(*table_));
  }
  // Writes a used ring as the device would, correctly or not.
  void give_back(std::uint32_t id, std::uint32_t length, std::uint16_t index) {
    std::byte* const used = ram_.data() + (driver_.used().value - ram_.guest());
    const UsedElement element{id, length};
    std::memcpy(used + ring::elements + 8u * ((index - 1u) & (queue_size - 1u)), &element, sizeof element);
    ring::field(used + ring::index).store(index);
  }
  // Serves all available chains with a length of 1.
  bool serve() {
    while (auto chain = device_.pop(*table_)) EXPECT_TRUE(device_.push(*table_, chain->head(), 1));
    return device_.flush(*table_);
  }

  RamFile ram_{0x1000'0000, 0x10000};
  std::shared_ptr<const GuestMemory> table_ = make_table({&ram_});
  DriverQueue driver_{ram_.data(), {0x1000'0000}, queue_size, GetParam()};
  Queue device_;
  const std::array<Piece, 2> pieces_{{{{0x1000'8000}, 16, false}, {{0x1000'9000}, 32, true}}};
};

INSTANTIATE_TEST_SUITE_P(EventIdx, DriverQueueTest, testing::Bool());

TEST_P(DriverQueueTest, LayoutSuitsTheDevice) {
  for (std::uint32_t size = 1; size <= 32768; size *= 2) {
    RamFile ram(0x1000'0000, DriverQueue::bytes(size));
    const auto table = make_table({&ram});
    DriverQueue driver(ram.data(), {0x1000'0000}, static_cast<std::uint16_t>(size), GetParam());
    Queue device;
    ASSERT_TRUE(device.set_size(size));
    device.set_addresses(driver.descriptors(), driver.available(), driver.used());
    ASSERT_TRUE(device.start(*table)) << size;
    const Piece piece{{0x1000'0000}, 4, false};
    ASSERT_TRUE(driver.add({&piece, 1}, true));
    static_cast<void>(driver.publish());
    ASSERT_TRUE(device.pop(*table)) << size;
  }
}

TEST_P(DriverQueueTest, RoundTrip) {
  for (const bool indirect : {false, true, false}) {
    const auto head = driver_.add(pieces_, indirect);
    ASSERT_TRUE(head);
    EXPECT_EQ(driver_.free_count(), indirect ? 3u : 2u);
    EXPECT_EQ(driver_.in_flight(), 1u);
    EXPECT_TRUE(device_.pop(*table_).empty()) << "not published";
    EXPECT_TRUE(driver_.publish());
    auto chain = device_.pop(*table_);
    ASSERT_TRUE(chain);
    EXPECT_EQ(chain->head(), *head);
    EXPECT_EQ(chain->readable_size(), 16u);
    EXPECT_EQ(chain->writable_size(), 32u);
    EXPECT_EQ(chain->writable()[0].data(), table_->contiguous({0x1000'9000}, 32));
    ASSERT_TRUE(device_.push(*table_, *head, 20));
    EXPECT_TRUE(device_.flush(*table_));
    const auto used = driver_.pop_used();
    ASSERT_TRUE(used && *used);
    EXPECT_EQ((*used)->head, *head);
    EXPECT_EQ((*used)->length, 20u);
    EXPECT_EQ(driver_.free_count(), 4u);
    EXPECT_EQ(driver_.in_flight(), 0u);
    EXPECT_FALSE(driver_.enable_interrupts());
    EXPECT_FALSE(device_.enable_notifications(*table_));
    const auto none = driver_.pop_used();
    ASSERT_TRUE(none);
    EXPECT_FALSE(*none);
  }
}

TEST_P(DriverQueueTest, RefusesWhatIsNoChain) {
  EXPECT_EQ(driver_.add({}).error(), Errno{EINVAL});
  const std::array<Piece, 2> wrong{pieces_[1], pieces_[0]};
  EXPECT_EQ(driver_.add(wrong).error(), Errno{EINVAL});
  const std::vector<Piece> five(5, pieces_[0]), seventeen(17, pieces_[0]);
  EXPECT_EQ(driver_.add(five).error(), Errno{E2BIG});
  EXPECT_TRUE(driver_.add(five, true));
  EXPECT_EQ(driver_.add(seventeen, true).error(), Errno{E2BIG});
  const std::array<Piece, 2> huge{{{{0}, 0x8000'0000, true}, {{0}, 0x8000'0000, true}}};
  EXPECT_EQ(driver_.add(huge).error(), Errno{E2BIG});
}

TEST_P(DriverQueueTest, RunsFull) {
  ASSERT_TRUE(driver_.add(pieces_));
  ASSERT_TRUE(driver_.add(pieces_));
  EXPECT_EQ(driver_.add(pieces_).error(), Errno{ENOSPC});
  EXPECT_EQ(driver_.add(pieces_, true).error(), Errno{ENOSPC});
  static_cast<void>(driver_.publish());
  static_cast<void>(serve());
  ASSERT_TRUE(*driver_.pop_used());
  EXPECT_TRUE(driver_.add(pieces_));
}

TEST_P(DriverQueueTest, PublishesNothingTwice) {
  EXPECT_FALSE(driver_.publish());
  ASSERT_TRUE(driver_.add(pieces_));
  EXPECT_TRUE(driver_.publish());
  EXPECT_FALSE(driver_.publish());
}

TEST_P(DriverQueueTest, KicksOnlyWhereTheDeviceWaits) {
  ASSERT_TRUE(driver_.add(pieces_));
  EXPECT_TRUE(driver_.publish());
  device_.disable_notifications(*table_);
  static_cast<void>(serve());
  ASSERT_TRUE(*driver_.pop_used());
  ASSERT_TRUE(driver_.add(pieces_));
  EXPECT_FALSE(driver_.publish());
  EXPECT_TRUE(device_.enable_notifications(*table_));
  static_cast<void>(serve());
  EXPECT_FALSE(device_.enable_notifications(*table_));
  ASSERT_TRUE(driver_.add(pieces_));
  EXPECT_TRUE(driver_.publish());
}

TEST_P(DriverQueueTest, InterruptsOnlyWhereTheDriverWaits) {
  ASSERT_TRUE(driver_.add(pieces_));
  static_cast<void>(driver_.publish());
  EXPECT_TRUE(serve()) << "as it starts, the driver waits";
  ASSERT_TRUE(*driver_.pop_used());
  driver_.disable_interrupts();
  ASSERT_TRUE(driver_.add(pieces_));
  static_cast<void>(driver_.publish());
  EXPECT_FALSE(serve());
  EXPECT_TRUE(driver_.enable_interrupts()) << "one came meanwhile";
  ASSERT_TRUE(*driver_.pop_used());
  EXPECT_FALSE(driver_.enable_interrupts());
  ASSERT_TRUE(driver_.add(pieces_));
  static_cast<void>(driver_.publish());
  EXPECT_TRUE(serve());
}

TEST_P(DriverQueueTest, AHostileDeviceGetsNowhere) {
  const auto error = [&] {
    const auto used = driver_.pop_used();
    EXPECT_FALSE(used);
    return used ? 0 : used.error().value;
  };
  give_back(0, 0, 1);
  EXPECT_EQ(error(), EPROTO) << "nothing was given";
  give_back(0, 0, 0);
  const auto head = driver_.add(pieces_);
  ASSERT_TRUE(head);
  static_cast<void>(driver_.publish());
  for (const std::uint32_t id : {4u, 65536u, 0xffff'ffffu}) {
    give_back(id, 0, 1);
    EXPECT_EQ(error(), EPROTO) << id;
  }
  give_back(*head + 1u, 0, 1);
  EXPECT_EQ(error(), EPROTO) << "a descriptor, but no head";
  give_back(*head, 33, 1);
  EXPECT_EQ(error(), EPROTO) << "more than there is room for";
  give_back(*head, 32, 2);
  EXPECT_EQ(error(), EPROTO) << "more than were given";
  give_back(*head, 32, 65535);
  EXPECT_EQ(error(), EPROTO) << "backwards";
  EXPECT_EQ(driver_.in_flight(), 1u);
  give_back(*head, 32, 1);
  const auto used = driver_.pop_used();
  ASSERT_TRUE(used && *used);
  const auto again = driver_.add(pieces_);
  ASSERT_TRUE(again);
  static_cast<void>(driver_.publish());
  give_back(*again == 0 ? 2 : 0, 0, 2);
  EXPECT_EQ(error(), EPROTO) << "given back before";
}

TEST_P(DriverQueueTest, WhatTheDeviceWritesToDescriptorsDoesNotMatter) {
  const auto head = driver_.add(pieces_);
  ASSERT_TRUE(head);
  static_cast<void>(driver_.publish());
  static_cast<void>(serve());
  std::memset(ram_.data(), 0xff, ring::descriptors_bytes(queue_size));
  ASSERT_TRUE(*driver_.pop_used());
  EXPECT_EQ(driver_.free_count(), 4u);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(driver_.add(pieces_));
  static_cast<void>(driver_.publish());
  auto chain = device_.pop(*table_);
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->writable_size(), 32u);
}

TEST_P(DriverQueueTest, ResetEmptiesIt) {
  ASSERT_TRUE(driver_.add(pieces_));
  static_cast<void>(driver_.publish());
  static_cast<void>(serve());
  device_.stop();
  driver_.reset();
  EXPECT_EQ(driver_.free_count(), 4u);
  EXPECT_EQ(driver_.in_flight(), 0u);
  device_.set_base(0);
  ASSERT_TRUE(device_.start(*table_));
  EXPECT_TRUE(device_.pop(*table_).empty());
  ASSERT_TRUE(driver_.add(pieces_));
  EXPECT_TRUE(driver_.publish());
  EXPECT_TRUE(serve());
  ASSERT_TRUE(*driver_.pop_used());
}

}  // namespace
}  // namespace vumedia::virtio::test
