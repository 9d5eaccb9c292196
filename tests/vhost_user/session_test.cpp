// A session as a well-behaved frontend sees it: negotiation, rings and their states, reset and pause, memory,
// stops that wait.
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include <gtest/gtest.h>
#include <poll.h>

#include <vumedia/io/fd_passing.hpp>

#include "vhost_user/backend_thread.hpp"

namespace vumedia::vhost_user::test {
namespace {

TEST(Session, OffersWhatItServes) {
  BackendThread backend;
  Frontend frontend(backend.connect());
  const auto features = frontend.get_features();
  ASSERT_TRUE(features) << features.error().message;
  EXPECT_EQ(*features, feature::version_1 | feature::ring_indirect_desc | feature::ring_event_idx |
                           feature::protocol_features | Echo::feature_bit);
  using namespace protocol_feature;
  EXPECT_EQ(frontend.get_protocol_features().value_or(0), mq | reply_ack | backend_req | backend_send_fd |
                                                              config | reset_device |
                                                              protocol_feature::status | shmem);
}

TEST(Session, OffersMemorySlotsOnRequestOnly) {
  BackendThread backend(true);
  Vmm vmm(backend.connect());
  vmm.negotiate();
  EXPECT_TRUE(vmm.frontend.has(protocol_feature::configure_mem_slots));
  EXPECT_EQ(vmm.frontend.max_memory_slots().value_or(0), 509u);
}

TEST(Session, AnswersQuestions) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  EXPECT_EQ(vmm.frontend.queue_count().value_or(0), 2u);
  const auto shmem = vmm.frontend.shmem_config();
  ASSERT_TRUE(shmem) << shmem.error().message;
  EXPECT_EQ(shmem->count, 1u);
  EXPECT_EQ(shmem->size[0], 1u << 26);
  EXPECT_EQ(shmem->size[1], 0u);
  EXPECT_EQ(vmm.frontend.get_status().value_or(9), 0u);
  Vmm::check(vmm.frontend.set_status(15));
  EXPECT_EQ(vmm.frontend.get_status().value_or(9), 15u);
  Vmm::check(vmm.frontend.reset_owner());
}

TEST(Session, ReadsConfigurationAtAnyOffset) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  std::array<std::byte, 40> all;
  Vmm::check(vmm.frontend.get_config(0, all));
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], static_cast<std::byte>(i));
  std::array<std::byte, 3> some;
  Vmm::check(vmm.frontend.get_config(37, some));
  EXPECT_EQ(some[2], std::byte{39});
  EXPECT_FALSE(vmm.frontend.get_config(38, some));           // beyond: size 0
  EXPECT_FALSE(vmm.frontend.get_config(0xfffffff0u, some));  // wraps
  std::array<std::byte, 256> large;
  EXPECT_FALSE(vmm.frontend.get_config(0, large));
  Vmm::check(vmm.frontend.get_config(8, some));  // and continues
  const auto written = vmm.frontend.set_config(0, some);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, EPERM);
}

TEST(Session, EchoesOverRealEventFds) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("hello"), "hello");
  for (int i = 0; i < 200; ++i) EXPECT_EQ(vmm.echo(std::to_string(i)), std::to_string(i));
}

TEST(Session, ServesBlockingEventFds) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  for (int i = 0; i < 2; ++i) {
    vmm.kick[i] = std::move(*make_event_fd(EFD_CLOEXEC));
    vmm.call[i] = std::move(*make_event_fd(EFD_CLOEXEC));
  }
  vmm.negotiate();
  vmm.start();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(vmm.echo("blocking"), "blocking");
}

TEST(Session, FindsWhatWaitedBeforeTheKickDescriptorCame) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.offer("early", false);
  vmm.start();
  EXPECT_TRUE(vmm.await());
}

TEST(Session, LooksAtARingWithoutKickDescriptor) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  Vmm::check(vmm.frontend.set_vring_kick(0, -1));
  vmm.offer("nobody kicks", false);
  EXPECT_TRUE(vmm.await());
}

TEST(Session, SignalsAnInterruptThatWasDueBeforeItsDescriptorCame) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  Vmm::check(vmm.frontend.set_vring_call(0, -1));
  vmm.offer("late call");
  ASSERT_TRUE(eventually([&] {
    return backend.run([&] {
      return backend.device().in_flight(0) == 0 && !backend.state.processed.empty() &&
             backend.session()->host().queue(0).base() == 1;
    });
  }));
  Vmm::check(vmm.frontend.set_vring_call(0, vmm.call[0].get()));
  EXPECT_GT(take_event(vmm.call[0].get()), 0u);
}

// QEMU gives another descriptor when the driver masks or unmasks an interrupt, as for moving it to another
// processor. It then looks once more at the former one, but does not wait until the device has read that.
TEST(Session, RepeatsAnInterruptThatTheFormerDescriptorMayHaveHadTooLate) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  const OwnedFd unseen = std::exchange(vmm.call[0], std::move(*make_event_fd()));
  vmm.offer("moved");
  EXPECT_GT(take_event(unseen.get()), 0u);  // of which the driver learns nothing
  Vmm::check(vmm.frontend.set_vring_call(0, vmm.call[0].get()));
  EXPECT_GT(take_event(vmm.call[0].get()), 0u);
  EXPECT_TRUE(vmm.await());
  EXPECT_EQ(vmm.echo("and on"), "and on");
}

TEST(Session, RepeatsSuchAnInterruptAfterATimeWithoutDescriptor) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  vmm.offer("moved");
  EXPECT_GT(take_event(vmm.call[0].get()), 0u);
  Vmm::check(vmm.frontend.set_vring_call(0, -1));
  Vmm::check(vmm.frontend.set_vring_call(0, vmm.call[0].get()));
  EXPECT_GT(take_event(vmm.call[0].get()), 0u);
}

TEST(Session, ServesOneCallDescriptorForAllQueues) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  Vmm::check(vmm.frontend.set_vring_call(1, vmm.call[0].get()));
  EXPECT_EQ(vmm.echo("one"), "one");
  vmm.lend();
  ASSERT_TRUE(eventually([&] { return backend.run([&] { return backend.device().tell(std::byte{7}); }); }));
  EXPECT_GT(take_event(vmm.call[0].get()), 0u);
}

// -- Kicks that find nothing

// Each read of an event fd in this mode takes 1 and leaves the rest, so the next read completes at once.
OwnedFd semaphore(std::uint64_t count) {
  OwnedFd fd = std::move(*make_event_fd(EFD_CLOEXEC | EFD_SEMAPHORE));
  EXPECT_EQ(::write(fd.get(), &count, sizeof count), static_cast<ssize_t>(sizeof count));
  return fd;
}
bool is_readable(const OwnedFd& fd) {
  pollfd state{fd.get(), POLLIN, 0};
  return ::poll(&state, 1, 0) == 1;
}
std::size_t times_processed(BackendThread& backend) {
  return backend.run([&] { return backend.state.processed.size(); });
}
// The same once no queue is looked at any more without a kick: not in several intervals one after the other,
// for the loop may come late to one.
std::optional<std::size_t> times_processed_at_rest(BackendThread& backend) {
  std::size_t count = times_processed(backend);
  int idle = 0;
  const bool rests = eventually([&] {
    std::this_thread::sleep_for(2 * Kick<Reactor>::poll_interval);
    const std::size_t now = times_processed(backend);
    idle = now == count ? idle + 1 : 0;
    count = now;
    return idle == 8;
  });
  return rests ? std::optional(count) : std::nullopt;
}

TEST(SessionKicks, AnIdleFrontendWithASemaphoreDoesNotSpinTheLoop) {
  constexpr std::uint64_t endless = std::uint64_t{1} << 62;
  for (const std::size_t queue : {0u, 1u}) {
    BackendThread backend;
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.kick[queue] = semaphore(endless);
    const auto begin = io::Clock::now();
    vmm.start();
    // At most that many kicks are accepted; then the ring is looked at in intervals.
    ASSERT_TRUE(eventually([&] { return times_processed(backend) > 100; }));
    const auto calls = times_processed(backend);
    const auto turns = backend.run([&] { return backend.reactor().counters().completions; });
    const auto elapsed = std::chrono::ceil<std::chrono::milliseconds>(io::Clock::now() - begin);
    EXPECT_LE(calls, 50 + static_cast<std::size_t>(elapsed.count()));
    // Requests, polls of this test and looks.
    EXPECT_LE(turns, 2000 + 4 * static_cast<std::uint64_t>(elapsed.count()));
    EXPECT_EQ(vmm.echo("served all the same"), "served all the same");
    EXPECT_TRUE(is_readable(vmm.kick[queue]));
  }
}

// The remaining honest kicks are consumed, and the kicks are waited for again.
TEST(SessionKicks, ASemaphoreThatRunsEmptyIsTrustedAgain) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.kick[0] = semaphore(2000);
  vmm.start();
  ASSERT_TRUE(eventually([&] { return !is_readable(vmm.kick[0]); }));
  EXPECT_EQ(vmm.echo("trusted"), "trusted");
  const auto calls = times_processed_at_rest(backend);
  ASSERT_TRUE(calls);
  EXPECT_EQ(vmm.echo("once"), "once");
  EXPECT_EQ(times_processed(backend), *calls + 1);
}

// However many kicks of a proper event fd find nothing, the next one is answered in the turn that reads it.
TEST(SessionKicks, AnHonestKickIsNotDelayedByAnyNumberOfVainOnes) {
  for (const int flags : {int{EFD_CLOEXEC}, EFD_CLOEXEC | EFD_NONBLOCK}) {
    BackendThread backend;
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.kick[0] = std::move(*make_event_fd(flags));
    vmm.start();
    for (int i = 0; i < 300; ++i) {
      const auto before = times_processed(backend);
      give_event(vmm.kick[0].get());
      ASSERT_TRUE(eventually([&] { return times_processed(backend) > before; }));
    }
    // Not looked at in intervals.
    const auto calls = times_processed_at_rest(backend);
    ASSERT_TRUE(calls);
    for (std::size_t i = 1; i <= 10; ++i) {
      EXPECT_EQ(vmm.echo("at once"), "at once");
      EXPECT_EQ(times_processed(backend), *calls + i);
    }
  }
}

// Buffers that the device keeps for later count as found by a kick, although none is taken.
TEST(SessionKicks, NewBuffersOfAnEventQueueAreNoVainKicks) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  for (std::size_t i = 0; i < Vmm::queue_size; ++i) {
    const auto before = times_processed(backend);
    vmm.lend();
    give_event(vmm.kick[1].get());
    ASSERT_TRUE(eventually([&] { return times_processed(backend) > before; }));
  }
  EXPECT_TRUE(backend.run([&] { return backend.device().tell(std::byte{7}); }));
}

// Like libkrun: few protocol features, no acknowledgements, memory before the features, kick before call.
TEST(Session, TakesTheOrderOfLibkrun) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  auto& frontend = vmm.frontend;
  ASSERT_TRUE(frontend.get_features());
  ASSERT_TRUE(frontend.get_protocol_features());
  Vmm::check(frontend.set_protocol_features(protocol_feature::config | protocol_feature::mq));
  Vmm::check(frontend.set_owner());
  vmm.set_memory();
  Vmm::check(frontend.set_features(Frontend::default_features));
  for (std::uint16_t i = 0; i < 2; ++i) {
    auto& queue = *vmm.queues[i];
    Vmm::check(frontend.set_vring_size(i, Vmm::queue_size));
    Vmm::check(frontend.set_vring_addresses(i, vmm.user(queue.descriptors()), vmm.user(queue.available()),
                                            vmm.user(queue.used())));
    Vmm::check(frontend.set_vring_base(i, 0));
    Vmm::check(frontend.set_vring_kick(i, vmm.kick[i].get()));
    Vmm::check(frontend.set_vring_call(i, vmm.call[0].get()));
    Vmm::check(frontend.enable_vring(i, true));
  }
  EXPECT_EQ(vmm.echo("krun"), "krun");
}

// Without PROTOCOL_FEATURES there is no SET_VRING_ENABLE: rings start enabled, even if the features come
// last.
TEST(Session, StartsRingsEnabledWithoutProtocolFeatures) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.set_memory();
  Vmm::check(vmm.frontend.set_features(feature::version_1 | feature::ring_event_idx));
  vmm.configure(0);
  EXPECT_EQ(vmm.echo("plain"), "plain");
}

// The states of a ring: whether a chain that is offered in it is served.
TEST(Session, ServesARingOnlyWhileStartedAndEnabled) {
  struct Step {
    const char* name;
    std::function<void(Vmm&)> act;
    bool served;
  };
  const std::vector<Step> steps = {
      {"enabled before it is started", [](Vmm& vmm) { Vmm::check(vmm.frontend.enable_vring(0, true)); },
       false},
      {"started", [](Vmm& vmm) { vmm.configure(0); }, true},
      {"disabled", [](Vmm& vmm) { Vmm::check(vmm.frontend.enable_vring(0, false)); }, false},
      {"enabled", [](Vmm& vmm) { Vmm::check(vmm.frontend.enable_vring(0, true)); }, true},
      {"enabled again", [](Vmm& vmm) { Vmm::check(vmm.frontend.enable_vring(0, true)); }, true},
      {"stopped", [](Vmm& vmm) { EXPECT_TRUE(vmm.frontend.stop_vring(0)); }, false},
      {"started anew, still enabled",
       [](Vmm& vmm) {
         const auto base = vmm.frontend.stop_vring(0);  // of a stopped ring: the same
         vmm.configure(0, base.value_or(0));
       },
       true},
      {"disabled, stopped",
       [](Vmm& vmm) {
         Vmm::check(vmm.frontend.enable_vring(0, false));
         EXPECT_TRUE(vmm.frontend.stop_vring(0));
       },
       false},
      {"started, disabled", [](Vmm& vmm) { vmm.configure(0, vmm.frontend.stop_vring(0).value_or(0)); },
       false},
      {"enabled at last", [](Vmm& vmm) { Vmm::check(vmm.frontend.enable_vring(0, true)); }, true},
  };
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.set_memory();
  int waiting = 0;
  for (const auto& step : steps) {
    SCOPED_TRACE(step.name);
    step.act(vmm);
    vmm.offer("x");
    ++waiting;
    if (step.served) {
      for (; waiting > 0; --waiting) ASSERT_TRUE(vmm.await());
    } else {
      // An answered request shows that the loop has completed a turn; the chains of a disabled ring stay
      // there.
      ASSERT_TRUE(vmm.frontend.get_status());
      const auto used = vmm.queues[0]->pop_used();
      ASSERT_TRUE(used);
      EXPECT_FALSE(*used);
    }
  }
}

TEST(Session, KeepsEventBuffersUntilTheyAreNeeded) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  for (int i = 0; i < 4; ++i) vmm.lend();
  ASSERT_TRUE(vmm.frontend.get_status());
  EXPECT_EQ(vmm.stop().second, 0u);  // none was popped
  vmm.start(0, 0);
  EXPECT_TRUE(backend.run([&] { return backend.device().tell(std::byte{42}); }));
  const auto used = vmm.await(1);
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, 1u);
  EXPECT_EQ(vmm.memory.data()[0x20000], std::byte{42});
  EXPECT_EQ(vmm.stop().second, 1u);
}

TEST(Session, StopsARingWhenItsCommandsAreCompleted) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("a"), "a");
  backend.run([&] { backend.state.hold = true; });
  vmm.offer("b");
  vmm.offer("c");
  ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 2; }));

  auto base = std::async(std::launch::async, [&] { return vmm.frontend.stop_vring(0); });
  ASSERT_TRUE(eventually([&] { return !backend.copy_state().stopped.empty(); }));
  // The loop continues while the reply waits.
  EXPECT_EQ(base.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  EXPECT_FALSE(backend.run([&] { return backend.session()->host().queue_running(0); }));
  backend.run([&] { backend.device().release(); });
  const auto result = base.get();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(*result, 3u);
  EXPECT_TRUE(vmm.await());
  EXPECT_TRUE(vmm.await());
}

// While one queue drains, the device is not called for the other; what happened there is served afterwards.
TEST(Session, HoldsOtherQueuesBackWhileOneStops) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  backend.run([&] { backend.state.hold = true; });
  vmm.offer("kept");
  ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 1; }));
  auto base = std::async(std::launch::async, [&] { return vmm.frontend.stop_vring(0); });
  ASSERT_TRUE(eventually([&] { return !backend.copy_state().stopped.empty(); }));
  const auto calls = backend.copy_state().processed.size();
  give_event(vmm.kick[1].get());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(backend.copy_state().processed.size(), calls);
  backend.run([&] { backend.device().release(); });
  ASSERT_TRUE(base.get());
  EXPECT_TRUE(eventually([&] {
    const auto processed = backend.copy_state().processed;
    return processed.size() == calls + 1 && processed.back() == 1;
  }));
}

TEST(Session, LetsGoOfCommandsWhenCutOff) {
  BackendThread backend;
  {
    Vmm vmm(backend.connect());
    vmm.negotiate();
    vmm.start();
    backend.run([&] { backend.state.hold = true; });
    vmm.offer("never");
    ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return backend.copy_state().alive == 0; }));
}

TEST(Session, TellsAPauseFromAReset) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("one"), "one");

  const auto paused = vmm.stop();
  EXPECT_EQ(paused.first, 1u);
  Vmm::check(vmm.frontend.set_features(vmm.frontend.features()));
  vmm.start(paused.first, paused.second);
  EXPECT_EQ(backend.copy_state().resets, 0);
  EXPECT_EQ(vmm.echo("two"), "two");

  vmm.stop();
  for (auto& queue : vmm.queues) queue->reset();
  vmm.start(0, 0);
  EXPECT_EQ(backend.copy_state().resets, 1);
  EXPECT_EQ(vmm.echo("three"), "three");
}

TEST(Session, TakesRingsThatMovedForAReset) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.stop().first, 0u);  // as after 65536 commands
  constexpr std::size_t elsewhere = 0x8000;
  vmm.queues[0] = std::make_unique<virtio::DriverQueue>(vmm.memory.data() + elsewhere,
                                                        memory::GuestAddress{Vmm::guest_base + elsewhere},
                                                        Vmm::queue_size, true);
  vmm.start(0, 0);
  EXPECT_EQ(backend.copy_state().resets, 1);
}

TEST(Session, DoesNotTakeOneRestartedRingForAReset) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  vmm.lend();
  ASSERT_TRUE(eventually([&] { return backend.run([&] { return backend.device().tell(std::byte{1}); }); }));
  ASSERT_TRUE(vmm.await(1));
  EXPECT_EQ(vmm.frontend.stop_vring(1).value_or(9), 1u);
  vmm.queues[1]->reset();
  vmm.configure(1, 0);
  EXPECT_EQ(backend.copy_state().resets, 0);
}

TEST(Session, ResetsTheDeviceWhenTold) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  Vmm::check(vmm.frontend.set_status(15));
  for (int round = 1; round <= 2; ++round) {
    for (auto& queue : vmm.queues) queue->reset();
    vmm.start();
    backend.run([&] { backend.state.hold = false; });
    EXPECT_EQ(vmm.echo("x"), "x");
    backend.run([&] { backend.state.hold = true; });
    vmm.offer("dropped");
    ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 1; }));
    Vmm::check(round == 1 ? vmm.frontend.set_status(0) : vmm.frontend.reset_device());
    const auto state = backend.copy_state();
    EXPECT_EQ(state.resets, round);
    EXPECT_TRUE(state.held.empty());
    EXPECT_EQ(vmm.frontend.get_status().value_or(9), 0u);
    EXPECT_FALSE(backend.run([&] { return backend.session()->host().queue_running(0); }));
    EXPECT_EQ(vmm.frontend.stop_vring(0).value_or(9), 0u);
  }
}

TEST(Session, GoesOnInAReplacedMemoryTable) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("before"), "before");
  // As QEMU does at each map: the same memory, and more.
  auto more = make_sealed_memfd("more", 1 << 16);
  const Frontend::Region regions[] = {vmm.region(),
                                      {{0x4000'0000}, {0x6000'0000'0000}, 1 << 16, 0, more->get()}};
  Vmm::check(vmm.frontend.set_memory(regions));
  EXPECT_EQ(vmm.echo("after"), "after");
}

TEST(Session, AddsAndRemovesMemory) {
  BackendThread backend(true);
  Vmm vmm(backend.connect());
  vmm.negotiate();
  Vmm::check(vmm.frontend.add_region(vmm.region()));
  auto more = make_sealed_memfd("more", 1 << 16);
  const Frontend::Region other{{0x4000'0000}, {0x6000'0000'0000}, 1 << 16, 0, more->get()};
  Vmm::check(vmm.frontend.add_region(other));
  vmm.configure(0);
  Vmm::check(vmm.frontend.enable_vring(0, true));
  EXPECT_EQ(vmm.echo("slots"), "slots");
  EXPECT_FALSE(vmm.frontend.add_region(other));  // overlaps itself
  Vmm::check(vmm.frontend.remove_region(other));
  EXPECT_FALSE(vmm.frontend.remove_region(other));
  EXPECT_EQ(vmm.echo("still"), "still");
  Vmm::check(vmm.frontend.remove_region(vmm.region()));
  EXPECT_GT(take_event(vmm.err[0].get()), 0u);  // the ring lost its memory
}

TEST(Session, ReportsABrokenRing) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  const virtio::Piece outside{{0x8000'0000'0000}, 16, false};
  ASSERT_TRUE(vmm.queues[0]->add(std::span(&outside, 1)));
  static_cast<void>(vmm.queues[0]->publish());
  give_event(vmm.kick[0].get());
  EXPECT_GT(take_event(vmm.err[0].get()), 0u);
  EXPECT_TRUE(backend.lines.contains("queue 0 is broken"));
  // The session lives, and a restart of the ring repairs it.
  EXPECT_TRUE(vmm.frontend.stop_vring(0));
  vmm.queues[0]->reset();
  vmm.configure(0);
  EXPECT_EQ(vmm.echo("healed"), "healed");
}

// What libkrun does when its guest resets the device: it only disables the rings.
TEST(Session, TakesARingThatIsSetUpWithoutAStopForAReset) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("one"), "one");
  backend.run([&] { backend.state.hold = true; });
  vmm.offer("dropped");
  ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 1; }));

  for (std::uint16_t i = 0; i < 2; ++i) Vmm::check(vmm.frontend.enable_vring(i, false));
  EXPECT_EQ(backend.copy_state().resets, 0);  // a pause, so far
  for (auto& queue : vmm.queues) queue->reset();
  backend.run([&] { backend.state.hold = false; });
  Vmm::check(vmm.frontend.set_owner());
  vmm.set_memory();
  Vmm::check(vmm.frontend.set_features(feature::version_1 | feature::protocol_features));  // another driver
  EXPECT_EQ(backend.copy_state().resets, 1);
  vmm.queues[0] = std::make_unique<virtio::DriverQueue>(
      vmm.memory.data(), memory::GuestAddress{Vmm::guest_base}, Vmm::queue_size, false);
  for (std::uint16_t i = 0; i < 2; ++i) {
    vmm.configure(i);
    Vmm::check(vmm.frontend.enable_vring(i, true));
  }
  EXPECT_EQ(backend.copy_state().resets, 1);
  EXPECT_EQ(vmm.echo("two"), "two");
  // Without a change of features, the first setting of a ring shows it.
  for (std::uint16_t i = 0; i < 2; ++i) Vmm::check(vmm.frontend.enable_vring(i, false));
  vmm.queues[0]->reset();
  vmm.configure(0);
  Vmm::check(vmm.frontend.enable_vring(0, true));
  EXPECT_EQ(backend.copy_state().resets, 2);
  EXPECT_EQ(vmm.echo("three"), "three");
}

// A ring that is paused by ENABLE 0 and continued by ENABLE 1 (cloud-hypervisor) has not been reset.
TEST(Session, PausesByEnableAlone) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  EXPECT_EQ(vmm.echo("one"), "one");
  for (std::uint16_t i = 0; i < 2; ++i) Vmm::check(vmm.frontend.enable_vring(i, false));
  vmm.set_memory();
  Vmm::check(vmm.frontend.set_features(vmm.frontend.features()));
  for (std::uint16_t i = 0; i < 2; ++i) Vmm::check(vmm.frontend.enable_vring(i, true));
  EXPECT_EQ(vmm.echo("two"), "two");
  EXPECT_EQ(backend.copy_state().resets, 0);
}

TEST(Session, TakesSettingsBetweenKickAndEnable) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate(feature::version_1 | feature::protocol_features);
  vmm.set_memory();
  vmm.configure(0);
  vmm.configure(0);
  vmm.configure(1);
  Vmm::check(vmm.frontend.set_features(Frontend::default_features));  // of rings that are started
  Vmm::check(vmm.frontend.enable_vring(0, true));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(vmm.echo(std::to_string(i)), std::to_string(i));
  EXPECT_EQ(backend.copy_state().resets, 0);
}

// cloud-hypervisor gives the driver's available index as the base, past the chains from before DRIVER_OK.
TEST(Session, ServesWhatABasePassesOver) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  for (int i = 0; i < 3; ++i) vmm.lend();
  vmm.offer("early", false);
  vmm.start(1, 3);
  EXPECT_TRUE(vmm.await());
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(backend.run([&] { return backend.device().tell(std::byte{7}); }));
    EXPECT_TRUE(vmm.await(1));
  }
  EXPECT_FALSE(backend.run([&] { return backend.device().tell(std::byte{7}); }));
  EXPECT_EQ(vmm.stop(), (std::pair<std::uint32_t, std::uint32_t>{1, 3}));
}

// A refused descriptor does not replace the existing one.
TEST(Session, KeepsItsDescriptorsWhenAnotherIsRefused) {
  BackendThread backend;
  Vmm vmm(backend.connect());
  vmm.negotiate();
  vmm.start();
  for (std::uint16_t i = 0; i < 2; ++i) {
    EXPECT_FALSE(vmm.frontend.set_vring_call(i, vmm.memory_fd.get()));
    EXPECT_FALSE(vmm.frontend.set_vring_err(i, vmm.memory_fd.get()));
    EXPECT_FALSE(vmm.frontend.set_vring_kick(i, vmm.memory_fd.get()));
  }
  EXPECT_EQ(vmm.echo("as before"), "as before");
  const virtio::Piece outside{{0x8000'0000'0000}, 16, false};
  ASSERT_TRUE(vmm.queues[0]->add(std::span(&outside, 1)));
  static_cast<void>(vmm.queues[0]->publish());
  give_event(vmm.kick[0].get());
  EXPECT_GT(take_event(vmm.err[0].get()), 0u);
}

// While a queue drains no message is read, but the end of the frontend is still noticed.
TEST(Session, EndsWithAFrontendThatLeavesWhileAQueueEmpties) {
  BackendThread backend(false, true);
  auto vmm = std::make_unique<Vmm>(backend.connect());
  vmm->negotiate();
  vmm->start();
  backend.run([&] { backend.state.hold = true; });
  vmm->offer("never");
  ASSERT_TRUE(eventually([&] { return backend.copy_state().held.size() == 1; }));
  const struct {
    Header header;
    VringState state;
  } stop{{static_cast<std::uint32_t>(request::GetVringBase::number), flag::version, sizeof(VringState)},
         {0, 0}};
  ASSERT_TRUE(io::send_message(vmm->frontend.fd(), bytes_of(stop)));
  ASSERT_TRUE(eventually([&] { return !backend.copy_state().stopped.empty(); }));
  vmm.reset();
  EXPECT_TRUE(eventually([&] { return backend.finished.load(); }));
  EXPECT_FALSE(backend.lines.contains("do not complete")) << "only the deadline of the stop ended it";
}

}  // namespace
}  // namespace vumedia::vhost_user::test
