// Sessions on each reactor: what a session, its rings and its server ask of one. The other tests of sessions
// run on io_uring.
#include <chrono>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <support/io.hpp>

#include <vumedia/io/epoll_reactor.hpp>
#include <vumedia/io/uring_reactor.hpp>

#include "vhost_user/backend_thread.hpp"

namespace vumedia::vhost_user::test::reactors_test {
namespace {

template <class R>
class SessionOnReactor : public testing::Test {
 protected:
  using Backend = BasicBackendThread<R>;

  // With event fds that have these flags.
  static std::unique_ptr<Vmm> start(Backend& backend, int flags = EFD_CLOEXEC | EFD_NONBLOCK) {
    auto vmm = std::make_unique<Vmm>(backend.connect());
    vmm->negotiate();
    for (std::size_t i = 0; i < 2; ++i) {
      vmm->kick[i] = std::move(*make_event_fd(flags));
      vmm->call[i] = std::move(*make_event_fd(flags));
    }
    vmm->start();
    return vmm;
  }
  static std::size_t times_processed(Backend& backend) {
    return backend.run([&] { return backend.state.processed.size(); });
  }
};

using Reactors = testing::Types<io::UringReactor, io::EpollReactor>;
TYPED_TEST_SUITE(SessionOnReactor, Reactors);

TYPED_TEST(SessionOnReactor, EchoesOverEventFdsOfBothKinds) {
  for (const int flags : {int{EFD_CLOEXEC}, EFD_CLOEXEC | EFD_NONBLOCK}) {
    typename TestFixture::Backend backend;
    const auto vmm = this->start(backend, flags);
    for (int i = 0; i < 100; ++i) ASSERT_EQ(vmm->echo("back"), "back");
    vmm->lend();
    ASSERT_TRUE(eventually([&] { return backend.run([&] { return backend.device().tell(std::byte{7}); }); }));
    EXPECT_TRUE(vmm->await(1));
  }
}

TYPED_TEST(SessionOnReactor, ServesOneFrontendAfterAnother) {
  typename TestFixture::Backend backend;
  for (int i = 0; i < 20; ++i) {
    const auto vmm = this->start(backend);
    EXPECT_EQ(vmm->echo("next"), "next");
    if (i % 2 == 0) vmm->stop();
  }
  EXPECT_TRUE(eventually([&] { return !backend.has_session(); }));
}

// Its descriptors have the numbers of the former's.
TYPED_TEST(SessionOnReactor, TakesARestartedFrontendAndRefusesASecondOne) {
  typename TestFixture::Backend backend;
  auto first = this->start(backend);
  {
    const OwnedFd second = backend.connect();
    pollfd state{second.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&state, 1, vumedia::test::poll_patience), 1);
    EXPECT_NE(state.revents & POLLHUP, 0);
  }
  EXPECT_EQ(first->echo("unharmed"), "unharmed");
  for (int i = 0; i < 10; ++i) {
    // The peer keeps event fds of the former session open.
    const OwnedFd kick = std::move(first->kick[0]);
    first.reset();
    first = this->start(backend);
    EXPECT_EQ(first->echo("anew"), "anew");
    io::test::add(kick);
    EXPECT_EQ(first->echo("and on"), "and on");
  }
}

TYPED_TEST(SessionOnReactor, ChangesDescriptorsOfARunningRing) {
  typename TestFixture::Backend backend;
  const auto vmm = this->start(backend);
  for (int i = 0; i < 10; ++i) {
    const OwnedFd former = std::exchange(vmm->kick[0], std::move(*make_event_fd()));
    Vmm::check(vmm->frontend.set_vring_kick(0, vmm->kick[0].get()));
    io::test::add(former);
    vmm->call[0] = std::move(*make_event_fd());
    Vmm::check(vmm->frontend.set_vring_call(0, vmm->call[0].get()));
    EXPECT_EQ(vmm->echo("moved"), "moved");
  }
}

TYPED_TEST(SessionOnReactor, LooksAtARingWithoutKickDescriptor) {
  typename TestFixture::Backend backend;
  const auto vmm = this->start(backend);
  Vmm::check(vmm->frontend.set_vring_kick(0, -1));
  for (int i = 0; i < 5; ++i) {
    vmm->offer("nobody kicks", false);
    EXPECT_TRUE(vmm->await());
  }
}

// Each read of such an event fd leaves a count that is not 0.
TYPED_TEST(SessionOnReactor, IsNotKeptBusyByASemaphore) {
  typename TestFixture::Backend backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.kick[0] = std::move(*make_event_fd(EFD_CLOEXEC | EFD_SEMAPHORE));
  io::test::add(vmm.kick[0], std::uint64_t{1} << 62);
  const auto begin = io::Clock::now();
  vmm.start();
  ASSERT_TRUE(eventually([&] { return this->times_processed(backend) > 100; }));
  const auto calls = this->times_processed(backend);
  const auto elapsed = std::chrono::ceil<std::chrono::milliseconds>(io::Clock::now() - begin);
  EXPECT_LE(calls, 50 + static_cast<std::size_t>(elapsed.count()));
  EXPECT_EQ(vmm.echo("served all the same"), "served all the same");
}

TYPED_TEST(SessionOnReactor, AnswersWhenTheCommandsOfARingAreCompleted) {
  typename TestFixture::Backend backend;
  const auto vmm = this->start(backend);
  backend.run([&] { backend.state.hold = true; });
  vmm->offer("kept");
  ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 1; }));
  auto base = std::async(std::launch::async, [&] { return vmm->frontend.stop_vring(0); });
  ASSERT_TRUE(eventually([&] { return !backend.copy_state().stopped.empty(); }));
  backend.run([&] { backend.device().release(); });
  EXPECT_EQ(base.get().value_or(0), 1U);
  EXPECT_TRUE(vmm->await());
}

TYPED_TEST(SessionOnReactor, TellsOfABrokenRingAndServesItAgain) {
  typename TestFixture::Backend backend;
  const auto vmm = this->start(backend);
  for (int i = 0; i < 5; ++i) {
    const virtio::Piece outside{{0x8000'0000'0000}, 16, false};
    ASSERT_TRUE(vmm->queues[0]->add(std::span(&outside, 1)));
    static_cast<void>(vmm->queues[0]->publish());
    give_event(vmm->kick[0].get());
    EXPECT_GT(take_event(vmm->err[0].get()), 0u);
    // Kicks of a ring that is not served wake nobody.
    give_event(vmm->kick[0].get());
    EXPECT_TRUE(vmm->frontend.stop_vring(0));
    vmm->queues[0]->reset();
    take_event(vmm->kick[0].get(), std::chrono::milliseconds(0));
    vmm->configure(0);
    EXPECT_EQ(vmm->echo("again"), "again");
  }
}

TYPED_TEST(SessionOnReactor, MapsThroughTheChannel) {
  typename TestFixture::Backend backend;
  const auto vmm = this->start(backend);
  const auto file = make_sealed_memfd("shared", 2 * page_size);
  ASSERT_TRUE(file);
  const virtio::ShmMapping mapping{0, file->get(), 0, {page_size}, 2 * page_size, true};
  for (std::size_t i = 1; i <= 10; ++i) {
    backend.run([&] { backend.device().map(mapping); });
    ASSERT_TRUE(eventually([&] {
      EXPECT_TRUE(vmm->frontend.serve_backend());
      return backend.copy_state().shm_results.size() == i;
    }));
  }
  EXPECT_EQ(backend.copy_state().shm_results, std::vector<int>(10, 0));
  EXPECT_EQ(vmm->requests.size(), 10u);
}

}  // namespace
}  // namespace vumedia::vhost_user::test::reactors_test
