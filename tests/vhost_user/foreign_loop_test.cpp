// A program with a loop of its own, which drives a UringReactor by fd() and run_once(): its poll(2) or epoll
// waits for the reactor as for any other descriptor, and a session is served beside its own work.
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>

#include "support/io.hpp"
#include "vhost_user/backend_thread.hpp"
#include "vhost_user/guest_rings.hpp"

namespace vumedia::vhost_user::test::foreign_loop_test {
namespace {

// Waits for the reactor and for `own`. Returns whether there is something of the program's own.
using Wait = std::function<bool(int reactor, int own)>;

bool wait_by_poll(int reactor, int own) {
  pollfd waits[] = {{reactor, POLLIN, 0}, {own, POLLIN, 0}};
  const int count = ::poll(waits, 2, vumedia::test::poll_patience);
  EXPECT_TRUE(count > 0 || (count < 0 && errno == EINTR));
  return count > 0 && waits[1].revents != 0;
}

bool wait_by_epoll(int reactor, int own) {
  const OwnedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  for (const int fd : {reactor, own}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    EXPECT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event), 0);
  }
  epoll_event happened[2];
  const int count = ::epoll_wait(epoll.get(), happened, 2, vumedia::test::poll_patience);
  EXPECT_TRUE(count > 0 || (count < 0 && errno == EINTR)) << "the kernel's work for a ring may interrupt";
  for (int i = 0; i < count; ++i) {
    if (happened[i].data.fd == own) return true;
  }
  return false;
}

TEST(ForeignLoop, ServesASessionBesideItsOwnWork) {
  constexpr int rounds = 50;
  for (const Wait& wait : {Wait(wait_by_poll), Wait(wait_by_epoll)}) {
    const auto reactor = std::move(*io::UringReactor::create_for_other_loop());
    auto [ours, theirs] = io::test::socket_pair();
    const int fd = reactor->fd();
    ASSERT_GE(fd, 0);
    const OwnedFd own = io::test::event_fd();
    EchoState state;
    bool closed = false;
    EchoSession session(
        *reactor, std::move(ours), SessionOptions{}, [&closed](const Error&) { closed = true; }, state);
    std::thread guest([socket = std::move(theirs), &own]() mutable {
      Vmm vmm(std::move(socket));
      vmm.negotiate();
      vmm.start();
      for (int i = 0; i < rounds; ++i) {
        EXPECT_EQ(vmm.echo("round"), "round");
        io::test::add(own);
      }
      static_cast<void>(vmm.stop());
    });
    std::uint64_t own_work = 0;
    for (;;) {
      while (reactor->run_once(false).value_or(0) > 0) {
      }
      if (closed) break;
      if (wait(fd, own.get())) own_work += io::test::take(own);
    }
    guest.join();
    own_work += io::test::take(own);
    EXPECT_EQ(own_work, static_cast<std::uint64_t>(rounds));
    EXPECT_EQ(state.alive, 1);
  }
}

TEST(ForeignLoop, IsWokenForTimersAndForTasksOfOtherThreads) {
  for (const Wait& wait : {Wait(wait_by_poll), Wait(wait_by_epoll)}) {
    const auto reactor = std::move(*io::UringReactor::create_for_other_loop());
    const int fd = reactor->fd();
    ASSERT_GE(fd, 0);
    const OwnedFd own = io::test::event_fd();
    int expired = 0, posted = 0;
    std::optional<io::test::Probe> timer;
    timer.emplace([&] {
      if (++expired < 5) reactor->timer(timer->operation(), io::Clock::now() + std::chrono::milliseconds(1));
    });
    // Started between two turns of the loop, as by the program's own work.
    reactor->timer(timer->operation(), io::Clock::now() + std::chrono::milliseconds(1));
    std::thread other([&, inbox = reactor->inbox()] {
      for (int i = 0; i < 5; ++i) inbox->post([&] { ++posted; });
    });
    for (;;) {
      while (reactor->run_once(false).value_or(0) > 0) {
      }
      if (expired == 5 && posted == 5) break;
      EXPECT_FALSE(wait(fd, own.get()));
    }
    other.join();
  }
}

}  // namespace
}  // namespace vumedia::vhost_user::test::foreign_loop_test
