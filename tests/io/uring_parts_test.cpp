// The parts of UringReactor on their own: the ring, the requests that it has, and the notifier.
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <liburing.h>
#include <support/io.hpp>

#include <vumedia/io/uring/notifier.hpp>
#include <vumedia/io/uring/requests.hpp>
#include <vumedia/io/uring/ring.hpp>

namespace vumedia::io::test::uring_parts_test {
namespace {

using uring::MessageRing;
using uring::Notifier;
using uring::Requests;
using uring::Ring;

void add_nop(Ring& ring, std::uint64_t data) {
  io_uring_sqe* const sqe = ring.add();
  io_uring_prep_nop(sqe);
  io_uring_sqe_set_data64(sqe, data);
}
std::vector<std::uint64_t> take_all(Ring& ring) {
  std::vector<std::uint64_t> seen;
  ring.take_all([&](const io_uring_cqe& cqe) { seen.push_back(cqe.user_data); });
  return seen;
}

TEST(UringRing, CountsWhatItHasAndWhatTheKernelTook) {
  Ring ring;
  EXPECT_FALSE(ring.is_open());
  ASSERT_TRUE(ring.open(4, false));
  EXPECT_TRUE(ring.is_open());
  for (std::uint64_t i = 1; i <= 4; ++i) {
    EXPECT_FALSE(ring.full());
    add_nop(ring, i);
    EXPECT_EQ(ring.queued(), i);
    EXPECT_EQ(ring.last(), i);
    EXPECT_EQ(ring.queued_entry(1)->user_data, i);
    EXPECT_EQ(ring.queued_entry(ring.queued())->user_data, 1u);
  }
  EXPECT_TRUE(ring.full());
  EXPECT_EQ(ring.taken(), 0u);
  EXPECT_EQ(ring.enter(4), 0);
  EXPECT_EQ(ring.queued(), 0u);
  EXPECT_EQ(ring.taken(), 4u);
  EXPECT_EQ(ring.last(), 4u);
  EXPECT_EQ(take_all(ring), (std::vector<std::uint64_t>{1, 2, 3, 4}));
  EXPECT_TRUE(take_all(ring).empty());
}

TEST(UringRing, TakesOneCompletionOnlyIfItIsAlone) {
  Ring ring;
  ASSERT_TRUE(ring.open(4, false));
  std::uint64_t seen = 0;
  const auto take = [&](bool accept) {
    seen = 0;
    ring.take_only_one([&](const io_uring_cqe& cqe) {
      seen = cqe.user_data;
      return accept;
    });
    return seen;
  };
  EXPECT_EQ(take(true), 0u);
  add_nop(ring, 7);
  ASSERT_EQ(ring.enter(1), 0);
  EXPECT_EQ(take(false), 7u);
  EXPECT_EQ(take(true), 7u) << "it was not accepted before";
  EXPECT_EQ(take(true), 0u);
  add_nop(ring, 8);
  add_nop(ring, 9);
  ASSERT_EQ(ring.enter(2), 0);
  EXPECT_EQ(take(true), 0u);
  EXPECT_EQ(take_all(ring), (std::vector<std::uint64_t>{8, 9}));
}

TEST(UringRing, ForgetsWhatTheKernelDoesNotTake) {
  Ring ring;
  ASSERT_TRUE(ring.open(2, false));
  add_nop(ring, 1);
  ring.forget_queued();
  EXPECT_EQ(ring.queued(), 0u);
  EXPECT_EQ(ring.taken(), 1u) << "positions go on";
  add_nop(ring, 2);
  ASSERT_EQ(ring.enter(1), 0);
  EXPECT_EQ(take_all(ring), (std::vector<std::uint64_t>{2}));
}

TEST(UringRequests, SubmitWhenTheirQueueIsFull) {
  Requests requests;
  ASSERT_TRUE(requests.open(2, false));
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 9; ++i) {
    probes.push_back(std::make_unique<Probe>());
    io_uring_sqe* const sqe = requests.next_sqe();
    io_uring_prep_nop(sqe);
    requests.start(probes.back()->operation(), sqe);
  }
  EXPECT_EQ(requests.counters().enters, 4u);
  std::size_t all = 0, count = 0;
  while (all < 9 && requests.take_turn(1, count) == 0) all += count;
  EXPECT_EQ(all, 9u);
  EXPECT_EQ(requests.counters().completions, 9u);
  for (const auto& probe : probes) EXPECT_EQ(probe->calls, 1);
}

TEST(UringRequests, CancelWhatIsQueuedAndWhatIsSubmitted) {
  Requests requests;
  ASSERT_TRUE(requests.open(8, false));
  const OwnedFd event = event_fd();
  for (const bool submitted : {false, true}) {
    Probe probe;
    io_uring_sqe* const sqe = requests.next_sqe();
    io_uring_prep_poll_add(sqe, event.get(), POLLIN);
    requests.start(probe.operation(), sqe);
    if (submitted) {
      EXPECT_EQ(requests.submit(), 0);
    }
    EXPECT_TRUE(probe.pending());
    requests.cancel(probe.operation());
    EXPECT_FALSE(probe.pending());
    EXPECT_EQ(probe.calls, 0);
  }
}

TEST(UringNotifier, KnowsWhetherItsSignalIsOnItsWay) {
  for (const int flags : {0, int{EFD_NONBLOCK}}) {
    Requests requests;
    ASSERT_TRUE(requests.open(8, false));
    const OwnedFd event = event_fd(flags);
    auto notifier = Notifier::make(requests, std::move(*event.duplicate()));
    ASSERT_TRUE(notifier);
    take(event);
    for (int i = 0; i < 3; ++i) notifier->signal();
    EXPECT_EQ(requests.ring().queued(), 1u);
    EXPECT_EQ(requests.counters().signals, 1u);
    EXPECT_EQ(requests.submit(), 0);
    EXPECT_EQ(take(event), 1u);
    // One that goes submits what it has queued.
    notifier->signal();
    *notifier = {};
    EXPECT_FALSE(*notifier);
    EXPECT_EQ(requests.ring().queued(), 0u);
    EXPECT_EQ(take(event), 1u);
    notifier->signal();
    EXPECT_EQ(requests.ring().queued(), 0u);
  }
}

TEST(UringNotifier, NeedsAnEventFd) {
  Requests requests;
  ASSERT_TRUE(requests.open(8, false));
  const auto [reader, writer] = pipe_pair();
  EXPECT_EQ(Notifier::make(requests, std::move(*writer.duplicate())).error().value, EINVAL);
  EXPECT_EQ(MessageRing::create(writer.get()).error().value, EINVAL);
  EXPECT_EQ(MessageRing::create(-1).error().value, EBADF);
  EXPECT_TRUE(MessageRing::create(event_fd().get()));
}

}  // namespace
}  // namespace vumedia::io::test::uring_parts_test
