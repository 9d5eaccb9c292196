// Queues with random drivers: rings of random bytes, compared with a naive implementation of the
// specification, and long conversations between both halves, on one thread and on two.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/virtio/driver_queue.hpp>
#include <vumedia/virtio/queue.hpp>

#include "support/effort.hpp"
#include "support/guest_ram.hpp"
#include "support/patience.hpp"
#include "support/raw_ring.hpp"

namespace vumedia::virtio::test {
namespace {

using memory::GuestMemory;
using vumedia::test::make_table;
using vumedia::test::RamFile;
using vumedia::test::RawRing;
using vumedia::test::rounds;

// -- Random rings.

// The expected result for a chain, computed with lists and byte-wise lookups instead of windows and counters.
struct Expected {
  ChainError error = ChainError::none;
  std::vector<std::byte*> readable;  // each byte
  std::vector<std::byte*> writable;
};

class NaiveReader {
 public:
  NaiveReader(std::vector<const RamFile*> files, const GuestMemory& table)
      : files_(std::move(files)), table_(table) {}

  // The address of a byte of guest memory, or null.
  std::byte* byte(std::uint64_t address) const {
    for (const RamFile* file : files_)
      if (address >= file->guest() && address - file->guest() < file->size())
        return table_.contiguous({address}, 1);
    return nullptr;
  }

  bool descriptor(std::uint64_t address, Descriptor& to) const {
    std::array<std::byte, 16> bytes;
    for (std::uint64_t i = 0; i < 16; ++i) {
      const std::byte* const from = byte(address + i);
      if (from == nullptr) return false;
      bytes[i] = *from;
    }
    std::memcpy(&to, bytes.data(), 16);
    return true;
  }

  Expected chain(std::uint64_t table, std::uint32_t size, std::uint16_t head) const {
    Expected result;
    std::vector<Descriptor> direct, in_table;
    std::uint64_t at = table, entries = size, index = head;
    bool inside = false;
    const auto failed = [&](ChainError error) {
      result.error = error;
      return result;
    };
    while (true) {
      auto& here = inside ? in_table : direct;
      if (here.size() == entries) return failed(ChainError::loop);
      if (inside && direct.size() + in_table.size() == size) return failed(ChainError::too_long);
      Descriptor d;
      if (!descriptor(at + 16 * index, d)) return failed(ChainError::outside_memory);
      if ((d.flags & desc_f_indirect) != 0) {
        if (inside) return failed(ChainError::nested_indirect);
        if ((d.flags & desc_f_next) != 0) return failed(ChainError::indirect_with_next);
        if (d.length == 0 || d.length % 16 != 0) return failed(ChainError::bad_indirect_size);
        inside = true;
        at = d.address;
        entries = d.length / 16;
        index = 0;
        continue;
      }
      here.push_back(d);
      if (const auto error = add(result, d, direct, in_table); error != ChainError::none)
        return failed(error);
      if ((d.flags & desc_f_next) == 0) return result;
      if (d.next >= entries) return failed(ChainError::next_out_of_range);
      index = d.next;
    }
  }

 private:
  ChainError add(Expected& result, const Descriptor& d, const std::vector<Descriptor>& direct,
                 const std::vector<Descriptor>& in_table) const {
    bool writable_before = false;
    std::uint64_t total = 0;
    for (const auto* list : {&direct, &in_table}) {
      for (const Descriptor& earlier : *list) {
        total += earlier.length;
        writable_before = writable_before || (earlier.flags & desc_f_write) != 0;
      }
    }
    const bool writable = (d.flags & desc_f_write) != 0;
    if (writable_before && !writable) return ChainError::readable_after_writable;
    if (total > UINT32_MAX) return ChainError::length_overflow;
    for (std::uint64_t i = 0; i < d.length; ++i) {
      std::byte* const where = byte(d.address + i);
      if (where == nullptr) return ChainError::outside_memory;
      (writable ? result.writable : result.readable).push_back(where);
    }
    return ChainError::none;
  }

  std::vector<const RamFile*> files_;
  const GuestMemory& table_;
};

std::vector<std::byte*> bytes_of(std::span<const Segment> segments) {
  std::vector<std::byte*> all;
  for (const Segment& segment : segments)
    for (std::byte& byte : segment) all.push_back(&byte);
  return all;
}

TEST(QueueProperty, RandomRingsAreReadAsTheSpecificationSays) {
  // Adjacent regions and a separate one. The rings are in the first; descriptors point anywhere around.
  const RamFile first(0x1'0000, 0x4000), second(0x1'4000, 0x1000), third(0x1'5000, 0x1000),
      apart(0x1'8000, 0x1000);
  const std::vector<const RamFile*> files{&first, &second, &third, &apart};
  const auto table = make_table(files);
  const NaiveReader naive(files, *table);
  std::mt19937_64 random(1);
  std::map<ChainError, int> seen;
  for (int round = 0; round < rounds(20'000); ++round) {
    const auto size = static_cast<std::uint16_t>(1 << (random() % 4));
    const RawRing ring(first, 0x1'0000, size);
    ring.set_indices(0);
    const auto random_descriptor = [&](std::uint32_t entries) {
      Descriptor d;
      d.address = random() % 8 == 0 ? random() : 0x1'2f00 + random() % 0x6300;
      d.length = static_cast<std::uint32_t>(random() % 64 == 0 ? random() : random() % 0x300);
      if (random() % 8 == 0) d.length = d.length / 16 * 16;
      // Writable ones come rather late, so that valid chains are not rare.
      const bool write = random() % 3 == 0, more = random() % 3 != 0, indirect = random() % 6 == 0;
      d.flags =
          static_cast<std::uint16_t>((write ? desc_f_write : 0) | (more && !indirect ? desc_f_next : 0) |
                                     (indirect ? desc_f_indirect : 0) | (random() % 16 == 0 ? random() : 0));
      d.next = static_cast<std::uint16_t>(random() % 16 == 0 ? random() : random() % entries);
      if (indirect) {
        d.length = static_cast<std::uint32_t>(random() % 8 == 0 ? random() % 100 : 16 * (1 + random() % 12));
        d.address = 0x1'3e00 + random() % 0x400;
      }
      return d;
    };
    for (std::uint32_t i = 0; i < size; ++i) ring.set(i, random_descriptor(size));
    // Where tables will be: across the border of two regions.
    for (std::uint64_t at = 0x1'3d00; at < 0x1'4400; at += 16) {
      const Descriptor d = random_descriptor(static_cast<std::uint32_t>(1 + random() % 12));
      std::array<std::byte, 16> bytes;
      std::memcpy(bytes.data(), &d, 16);
      for (std::uint64_t i = 0; i < 16; ++i) *naive.byte(at + i) = bytes[i];
    }
    Queue queue;
    ring.configure(queue);
    ASSERT_TRUE(queue.start(*table));
    const auto head = static_cast<std::uint16_t>(random() % size);
    ring.offer(head);
    const Expected expected = naive.chain(0x1'0000, size, head);
    const auto result = queue.pop(*table);
    ASSERT_STREQ(to_string(result.error), to_string(expected.error)) << round;
    ++seen[result.error];
    if (!result) continue;
    ASSERT_EQ(bytes_of(result->readable()), expected.readable);
    ASSERT_EQ(bytes_of(result->writable()), expected.writable);
    ASSERT_EQ(result->readable_size(), expected.readable.size());
    ASSERT_EQ(result->writable_size(), expected.writable.size());
  }
  // The generator reaches all the cases that it is for.
  for (const auto error :
       {ChainError::none, ChainError::loop, ChainError::too_long, ChainError::nested_indirect,
        ChainError::indirect_with_next, ChainError::bad_indirect_size, ChainError::readable_after_writable,
        ChainError::outside_memory, ChainError::next_out_of_range})
    EXPECT_GT(seen[error], rounds(10)) << to_string(error);
}

TEST(QueueProperty, RingsOfPureNoiseDoNoHarm) {
  const RamFile ram(0, 0x4000);
  const auto table = make_table({&ram});
  std::mt19937_64 random(2);
  for (int round = 0; round < rounds(3000); ++round) {
    for (std::size_t at = 0; at < ram.size(); at += 8) {
      const std::uint64_t noise = random() & random();
      std::memcpy(ram.data() + at, &noise, 8);
    }
    const RawRing ring(ram, 0, 16);
    Queue queue;
    ring.configure(queue);
    queue.set_event_idx(round % 2 == 0);
    queue.set_base(static_cast<std::uint16_t>(random()));
    ASSERT_TRUE(queue.start(*table));
    for (int step = 0; step < 40; ++step) {
      auto chain = queue.pop(*table);
      if (chain.empty()) break;
      if (chain.failed()) {
        ring.set_available_index(static_cast<std::uint16_t>(queue.base() + random() % 17));
        continue;
      }
      auto reader = chain->reader();
      ASSERT_TRUE(reader.skip(reader.remaining()));
      auto writer = chain->writer();
      ASSERT_TRUE(writer.write_zeros(writer.remaining()));
      if (random() % 2 == 0) {
        ASSERT_TRUE(queue.push(*table, chain->head(), 0));
      }
      static_cast<void>(queue.flush(*table));
    }
  }
}

// -- Conversations.

class Conversation : public testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  [[nodiscard]] bool event_idx() const { return std::get<0>(GetParam()); }
  [[nodiscard]] bool indirect() const { return std::get<1>(GetParam()); }

  static constexpr std::uint16_t queue_size = 16;
  static constexpr std::uint64_t slot_bytes = 0x1000;  // of buffers, for each head
  static constexpr std::uint64_t buffers = 0x3'0000;

  void SetUp() override {
    ASSERT_TRUE(device_.set_size(queue_size));
    device_.set_addresses(driver_.descriptors(), driver_.available(), driver_.used());
    device_.set_event_idx(event_idx());
    ASSERT_TRUE(device_.start(*table_));
  }

  RamFile ram_{0, 0x5'0000};
  std::shared_ptr<const GuestMemory> table_ = make_table({&ram_});
  DriverQueue driver_{ram_.data() + 0x1'0000, {0x1'0000}, queue_size, event_idx()};
  Queue device_;
};

INSTANTIATE_TEST_SUITE_P(All, Conversation, testing::Combine(testing::Bool(), testing::Bool()));

TEST_P(Conversation, EveryChainComesBackOnceWithItsAnswer) {
  std::mt19937_64 random(5);
  struct Sent {
    std::vector<std::byte> question;
    std::uint64_t answer_at = 0;
    std::uint32_t room = 0;
  };
  std::map<std::uint16_t, Sent> sent;
  struct Taken {
    std::uint16_t head;
    std::vector<std::byte> question;
  };
  std::vector<Taken> taken;
  std::vector<std::uint64_t> slots;  // free places for buffers
  for (std::uint64_t i = 0; i < 16; ++i) slots.push_back(buffers + i * slot_bytes);
  int answered = 0;
  bool last_undone = false;
  const int steps = rounds(60'000);
  for (int step = 0; step < steps || !sent.empty(); ++step) {
    switch (random() % 6) {
      case 0:
      case 1: {  // the driver asks
        if (step >= steps || slots.empty()) break;
        const std::uint64_t at = slots.back();
        Sent chain;
        std::vector<Piece> pieces;
        std::uint64_t next = at;
        for (std::uint64_t i = random() % 4; i > 0; --i) {
          const auto length = static_cast<std::uint32_t>(random() % 100);
          pieces.push_back({{next}, length, false});
          for (std::uint32_t b = 0; b < length; ++b) {
            chain.question.push_back(static_cast<std::byte>(random()));
            ram_.data()[next + b] = chain.question.back();
          }
          next += length;
        }
        chain.answer_at = next;
        for (std::uint64_t i = random() % 4 + (pieces.empty() ? 1 : 0); i > 0; --i) {
          const auto length = static_cast<std::uint32_t>(random() % 100);
          pieces.push_back({{next}, length, true});
          next += length;
          chain.room += length;
        }
        const auto head = driver_.add(pieces, indirect() && random() % 2 == 0);
        if (!head) {
          ASSERT_EQ(head.error(), Errno{ENOSPC});
          break;
        }
        slots.pop_back();
        ASSERT_TRUE(sent.emplace(*head, std::move(chain)).second);
        if (random() % 2 == 0) static_cast<void>(driver_.publish());
        break;
      }
      case 2: {  // the device takes
        if (random() % 4 == 0) device_.disable_notifications(*table_);
        if (random() % 50 == 0) table_ = make_table({&ram_});
        auto chain = device_.pop(*table_);
        ASSERT_FALSE(chain.failed()) << to_string(chain.error);
        if (!chain) {
          static_cast<void>(device_.enable_notifications(*table_));
          break;
        }
        if (!last_undone && random() % 10 == 0) {
          ASSERT_TRUE(device_.undo_pop());
          last_undone = true;
          break;
        }
        last_undone = false;
        Taken& mine = taken.emplace_back();
        mine.head = chain->head();
        mine.question.resize(chain->readable_size());
        auto reader = chain->reader();
        ASSERT_TRUE(reader.read_bytes(mine.question));
        ASSERT_EQ(chain->writable_size(), sent[mine.head].room);
        if (mine.question.size() <= chain->writable_size()) {
          auto writer = chain->writer();
          ASSERT_TRUE(writer.write_bytes(mine.question));
        }
        break;
      }
      case 3: {  // the device answers, out of order
        if (taken.empty()) break;
        const std::size_t which = random() % taken.size();
        const Taken mine = taken[which];
        taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(which));
        ASSERT_EQ(mine.question, sent[mine.head].question);
        const bool echoed = mine.question.size() <= sent[mine.head].room;
        ASSERT_TRUE(
            device_.push(*table_, mine.head, echoed ? static_cast<std::uint32_t>(mine.question.size()) : 0));
        if (random() % 2 == 0) static_cast<void>(device_.flush(*table_));
        break;
      }
      case 4: {  // the driver takes answers
        if (random() % 4 == 0) driver_.disable_interrupts();
        const auto used = driver_.pop_used();
        ASSERT_TRUE(used);
        if (!*used) {
          static_cast<void>(driver_.enable_interrupts());
          break;
        }
        const auto chain = sent.find((*used)->head);
        ASSERT_NE(chain, sent.end());
        const Sent& s = chain->second;
        if (s.question.size() <= s.room) {
          ASSERT_EQ((*used)->length, s.question.size());
          ASSERT_TRUE(std::equal(s.question.begin(), s.question.end(), ram_.data() + s.answer_at));
        }
        slots.push_back((s.answer_at - buffers) / slot_bytes * slot_bytes + buffers);
        sent.erase(chain);
        ++answered;
        break;
      }
      default:
        static_cast<void>(driver_.publish());
        static_cast<void>(device_.flush(*table_));
    }
    ASSERT_EQ(device_.in_flight(), taken.size());
    ASSERT_EQ(driver_.in_flight(), sent.size());
  }
  EXPECT_GT(answered, steps / 12);
  EXPECT_EQ(driver_.free_count(), queue_size);
}

// Both halves run on threads of their own, which sleep whenever the rules allow it. If a notification were
// lost, both would sleep forever; the time limit turns that into a failure.
TEST_P(Conversation, NoNotificationIsLost) {
  constexpr int total = 20'000;
  auto kick = make_event_fd(), call = make_event_fd();
  ASSERT_TRUE(kick && call);
  const auto wait = [](const OwnedFd& fd) {
    pollfd entry{fd.get(), POLLIN, 0};
    if (::poll(&entry, 1, vumedia::test::poll_patience) != 1) return false;
    std::uint64_t count = 0;
    return ::read(fd.get(), &count, sizeof count) == sizeof count;
  };
  const auto signal = [](const OwnedFd& fd) {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(fd.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  };
  std::atomic<bool> lost = false;
  int kicks = 0, calls = 0;

  std::thread device([&] {
    std::mt19937 random(9);
    for (int served = 0; served < total && !lost;) {
      device_.disable_notifications(*table_);
      while (auto chain = device_.pop(*table_)) {
        const auto number = chain->reader().read<std::uint32_t>();
        auto writer = chain->writer();
        if (!number || !writer.write(std::uint32_t{*number + 1})) lost = true;
        if (!device_.push(*table_, chain->head(), 4)) lost = true;
        ++served;
        if (random() % 3 == 0 && device_.flush(*table_)) {
          ++calls;
          signal(*call);
        }
      }
      if (device_.flush(*table_)) {
        ++calls;
        signal(*call);
      }
      if (served < total && !device_.enable_notifications(*table_) && !wait(*kick)) lost = true;
    }
  });

  std::mt19937 random(10);
  std::map<std::uint16_t, std::uint32_t> slot_of;
  std::vector<std::uint32_t> slots(8);
  for (std::uint32_t i = 0; i < 8; ++i) slots[i] = i;
  std::uint32_t asked = 0;
  int answered = 0;
  while (answered < total && !lost) {
    const auto batch = 1 + random() % 8;
    for (std::uint32_t i = 0; i < batch && !slots.empty() && asked < total; ++i) {
      const std::uint32_t slot = slots.back();
      const std::uint64_t at = buffers + slot * slot_bytes;
      std::memcpy(ram_.data() + at, &asked, 4);
      const std::array<Piece, 2> pieces{{{{at}, 4, false}, {{at + 8}, 4, true}}};
      const auto head = driver_.add(pieces, indirect());
      if (!head) break;
      slots.pop_back();
      slot_of[*head] = slot;
      ++asked;
    }
    if (driver_.publish()) {
      ++kicks;
      signal(*kick);
    }
    driver_.disable_interrupts();
    do {
      while (true) {
        const auto used = driver_.pop_used();
        if (!used) lost = true;
        if (!used || !*used) break;
        ++answered;
        const std::uint32_t slot = slot_of[(*used)->head];
        std::uint32_t question = 0, answer = 0;
        std::memcpy(&question, ram_.data() + buffers + slot * slot_bytes, 4);
        std::memcpy(&answer, ram_.data() + buffers + slot * slot_bytes + 8, 4);
        if (answer != question + 1) lost = true;
        slots.push_back(slot);
      }
    } while (driver_.enable_interrupts());
    // It sleeps whenever it cannot send anything, and often otherwise: as long as a chain is in flight, an
    // interrupt must come.
    const bool idle = slots.empty() || asked == total || random() % 2 == 0;
    if (driver_.in_flight() != 0 && idle && !wait(*call)) lost = true;
  }
  if (lost) signal(*kick);
  device.join();
  EXPECT_FALSE(lost);
  EXPECT_EQ(answered, total);
  EXPECT_LT(kicks, total) << "nothing was ever coalesced";
}

}  // namespace
}  // namespace vumedia::virtio::test
