// Answers at once, later and late, without a device.
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include <vumedia/media/answers.hpp>

#include "media/parts.hpp"

namespace vumedia::media::test {
namespace answers {
namespace {

// It gives itself when it is late.
struct Late : TimedAnswer {
  explicit Late(Parts& of) : TimedAnswer(&on_late), parts(of) {}
  static void on_late(TimedAnswer& answer) noexcept {
    Parts& parts = static_cast<Late&>(answer).parts;
    parts.answers.give(answer, parts.answers.status(answer.writer(), ETIMEDOUT));
  }
  Parts& parts;
};

TEST(Answers, AreGivenAtOnce) {
  Parts parts;
  virtio::Chain& chain = parts.pop(8);
  parts.answers.begin();
  parts.answers.push(chain.head(), parts.answers.status(chain, EBUSY));
  parts.interrupts.answer_pushed();
  const auto given = parts.take();
  ASSERT_TRUE(given);
  EXPECT_EQ(given->length, 8u);
  EXPECT_EQ(given->status, static_cast<std::uint32_t>(EBUSY));
  EXPECT_EQ(parts.counts.counted.errors[EBUSY].get(), 1u);
}

TEST(Answers, AStatusIsAnErrnoIfThereIsRoom) {
  Parts parts;
  EXPECT_EQ(parts.answers.status(parts.pop(8), -4), 8u);
  EXPECT_EQ(parts.counts.counted.errors[EIO].get(), 1u);
  EXPECT_EQ(parts.answers.status(parts.pop(7), EINVAL), 0u);
}

TEST(Answers, NoMoreOfAChainIsKeptThanItsAnswerTakes) {
  Parts parts;
  std::vector<virtio::Piece> pieces;
  for (int i = 0; i < 40; ++i) pieces.push_back({parts.host.allocate(16), 16, true});
  ASSERT_TRUE(parts.host.driver_queue(0).add(pieces));
  static_cast<void>(parts.host.driver_queue(0).publish());
  const auto chain = parts.host.queue(0).pop(*parts.host.memory());
  ASSERT_TRUE(chain);
  Late owed(parts);
  parts.answers.owe(owed, *chain, 24, 1);
  EXPECT_EQ(owed.segments.size(), 2u);
  EXPECT_EQ(owed.writer().remaining(), 24u);
  parts.answers.drop(owed);
}

TEST(Answers, AreGivenLaterInAnyOrder) {
  Parts parts;
  std::list<Late> owed;
  for (int i = 0; i < 3; ++i) parts.answers.owe(owed.emplace_back(parts), parts.pop(), 8, 1);
  EXPECT_EQ(parts.answers.count(), 3u);
  const std::uint16_t head = owed.back().head;
  parts.answers.give(owed.back(), parts.answers.status(owed.back().writer(), ERANGE));
  const auto given = parts.take();
  ASSERT_TRUE(given);
  EXPECT_EQ(given->head, head);
  EXPECT_EQ(given->status, static_cast<std::uint32_t>(ERANGE));
  parts.answers.drop(owed.front());
  parts.answers.drop(owed.front());  // does nothing
  EXPECT_EQ(parts.answers.count(), 1u);
  owed.pop_front();
  parts.answers.give(owed.front(), 0);
  EXPECT_TRUE(parts.take());
  EXPECT_FALSE(parts.take());
  EXPECT_EQ(parts.answers.count(), 0u);
}

TEST(Answers, WithinABatchAreToldOfAtItsEnd) {
  Parts parts;
  Late owed(parts);
  parts.answers.owe(owed, parts.pop(), 8, 1);
  const std::uint64_t before = parts.host.calls(wire::commandq);
  parts.interrupts.begin();
  parts.answers.give(owed, 0);
  EXPECT_EQ(parts.host.calls(wire::commandq), before);
  parts.interrupts.end();
  EXPECT_EQ(parts.host.calls(wire::commandq), before + 1);
}

TEST(Answers, KeepTheirMemoryTable) {
  Parts parts;
  Late owed(parts);
  parts.answers.owe(owed, parts.pop(), 8, 1);
  const std::weak_ptr<const memory::GuestMemory> table = parts.host.memory();
  parts.host.replace_memory();
  EXPECT_FALSE(table.expired());
  parts.answers.give(owed, parts.answers.status(owed.writer(), EPERM));
  EXPECT_EQ(parts.status(), EPERM);
  EXPECT_TRUE(table.expired());
}

TEST(Answers, OfACommandThatWasOwedOneHaveTheMemoryOfThat) {
  Parts parts;
  OwedAnswer held;
  parts.answers.owe(held, parts.pop(), 1);
  const auto table = held.memory;
  parts.host.replace_memory();
  parts.answers.begin(held);
  parts.answers.drop(held);
  Late owed(parts);
  parts.answers.owe(owed, parts.pop(), 8, 1);
  EXPECT_EQ(owed.memory, table);
  parts.answers.end();
  Late next(parts);
  parts.answers.owe(next, parts.pop(), 8, 1);
  EXPECT_EQ(next.memory, parts.host.memory());
  parts.answers.drop(owed);
  parts.answers.drop(next);
}

TEST(Answers, AreNotAllOneSessions) {
  Parts parts({.queue_size = 256});
  std::list<Late> timed;
  std::list<OwedAnswer> held;
  const auto owe = [&](std::uint32_t session) {
    if (parts.answers.too_many(session)) return false;
    if (timed.size() > held.size()) {
      parts.answers.owe(held.emplace_back(), parts.pop(), session);
    } else {
      parts.answers.owe(timed.emplace_back(parts), parts.pop(), 8, session);
    }
    return true;
  };
  int greedy = 0;
  while (owe(1)) ++greedy;
  EXPECT_EQ(greedy, 64) << "alone, half of the places";
  for (std::uint32_t session = 2; session < 20; ++session) {
    int more = 0;
    while (owe(session)) ++more;
    EXPECT_LE(more, 32);
    EXPECT_TRUE(more > 0 || session >= 7) << session;
  }
  EXPECT_LE(parts.answers.count(), parts.answers.max_owed);
  for (Late& each : timed) parts.answers.drop(each);
  for (OwedAnswer& each : held) parts.answers.drop(each);
}

TEST(LateAnswers, AreGivenInTheOrderOfArrival) {
  Parts parts({}, std::chrono::milliseconds(5));
  std::list<Late> owed;
  OwedAnswer held;
  for (int i = 0; i < 3; ++i) parts.answers.owe(owed.emplace_back(parts), parts.pop(), 8, 1);
  parts.answers.owe(held, parts.pop(), 1);
  std::vector<std::uint16_t> expected, heads;
  for (const Late& each : owed) expected.push_back(each.head);
  EXPECT_TRUE(parts.run_until([&] {
    while (const auto given = parts.take()) {
      EXPECT_EQ(given->status, static_cast<std::uint32_t>(ETIMEDOUT));
      heads.push_back(given->head);
    }
    return heads.size() == 3;
  }));
  EXPECT_EQ(heads, expected);
  EXPECT_EQ(parts.answers.count(), 1u) << "what is held is its owner's";
  parts.answers.drop(held);
  // The timer is set again for the next one.
  Late next(parts);
  parts.answers.owe(next, parts.pop(), 8, 1);
  EXPECT_TRUE(parts.run_until([&] { return parts.take().has_value(); }));
}

TEST(LateAnswers, AreNotGivenOnceTheyWereGivenOrDropped) {
  Parts parts({}, std::chrono::milliseconds(1));
  Late given(parts), dropped(parts), late(parts);
  for (Late* const each : {&given, &dropped, &late}) parts.answers.owe(*each, parts.pop(), 8, 1);
  parts.answers.give(given, 0);
  parts.answers.drop(dropped);
  int count = 0;
  EXPECT_TRUE(parts.run_until([&] {
    while (parts.take()) ++count;
    return parts.answers.count() == 0;
  }));
  while (parts.take()) ++count;
  EXPECT_EQ(count, 2);
}

}  // namespace
}  // namespace answers
}  // namespace vumedia::media::test
