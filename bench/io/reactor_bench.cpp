// What a wake-up costs: from a kick's event fd through a handler to the signal of a call's.
//
// The event fds are like those of frontends: QEMU's are non-blocking, crosvm's are not. The counters are the
// io_uring_enter calls and signals of each round; the same round without a reactor is measured for
// comparison.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <thread>
#include <utility>

#include <benchmark/benchmark.h>
#include <poll.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/uring_reactor.hpp>

namespace vumedia::io {
namespace {

// A benchmark without its event fds or its ring measures nothing.
template <class T>
auto must(T made) {
  if (!made) std::abort();
  return std::move(*made);
}

void add(int fd) {
  const std::uint64_t one = 1;
  if (::write(fd, &one, sizeof one) != ssize_t{sizeof one}) std::abort();
}
void take(int fd) {
  std::uint64_t count = 0;
  if (::read(fd, &count, sizeof count) != ssize_t{sizeof count}) std::abort();
}

// The serving side: re-arms its kick and signals the call.
class Server {
 public:
  Server(int flags, UringReactor& reactor)
      : reactor_(reactor),
        kick_(must(make_event_fd(flags))),
        call_(must(make_event_fd(flags))),
        notifier_(must(reactor.make_notifier(must(call_.duplicate())))) {
    arm();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { reactor_.cancel(read_); }

  [[nodiscard]] int kick() const { return kick_.get(); }
  [[nodiscard]] int call() const { return call_.get(); }

 private:
  void arm() { reactor_.read(read_, kick_.get(), std::as_writable_bytes(std::span(&count_, 1))); }
  void on_kick(std::int32_t) noexcept {
    arm();
    notifier_.signal();
  }

  UringReactor& reactor_;
  OwnedFd kick_;
  OwnedFd call_;
  UringReactor::Notifier notifier_;
  std::uint64_t count_ = 0;
  MemberOperation<&Server::on_kick> read_{*this};
};

// Runs of the label: with blocking and with non-blocking event fds.
void event_fds(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("nonblocking")->Arg(0)->Arg(1);
}
int flags_of(const benchmark::State& state) {
  return EFD_CLOEXEC | (state.range(0) != 0 ? EFD_NONBLOCK : 0);
}

// Kick and call on one thread: the work of the reactor and the kernel, without the wake-up of an idle
// processor.
void RoundTrip(benchmark::State& state) {
  const auto reactor = must(UringReactor::create());
  Server server(flags_of(state), *reactor);
  reactor->run_once(false);
  pollfd call{server.call(), POLLIN, 0};
  if (::poll(&call, 1, 0) == 1) take(server.call());
  const auto before = reactor->counters();
  for (auto _ : state) {
    add(server.kick());
    reactor->run_once(true);   // takes the kick, queues the signal
    reactor->run_once(false);  // submits it: in a loop, the next wait
    take(server.call());
  }
  const auto after = reactor->counters();
  const auto per_round = [&](std::uint64_t count) {
    return benchmark::Counter(static_cast<double>(count) / static_cast<double>(state.iterations()));
  };
  state.counters["enters"] = per_round(after.enters - before.enters);
  state.counters["signals"] = per_round(after.signals - before.signals);
}
BENCHMARK(RoundTrip)->Apply(event_fds);

// The system calls of RoundTrip's peer, with a read and a write in place of the loop.
void RoundTripByHand(benchmark::State& state) {
  const OwnedFd kick = must(make_event_fd(flags_of(state)));
  const OwnedFd call = must(make_event_fd(flags_of(state)));
  for (auto _ : state) {
    add(kick.get());
    take(kick.get());
    add(call.get());
    take(call.get());
  }
}
BENCHMARK(RoundTripByHand)->Apply(event_fds);

// The same between two threads, each asleep until the other wakes it: what a guest sees.
void RoundTripBetweenThreads(benchmark::State& state) {
  std::array<OwnedFd, 2> fds;
  UringReactor* loop = nullptr;
  UringReactor::Counters counters;
  const OwnedFd ready = must(make_event_fd(0));
  std::thread thread([&] {
    const auto reactor = must(UringReactor::create());
    Server server(flags_of(state), *reactor);
    fds = {OwnedFd(::dup(server.kick())), OwnedFd(::dup(server.call()))};
    loop = reactor.get();
    add(ready.get());
    if (!reactor->run()) std::abort();
    counters = reactor->counters();
  });
  take(ready.get());
  const auto wait = [&] {
    pollfd call{fds[1].get(), POLLIN, 0};
    if (::poll(&call, 1, -1) != 1) std::abort();
    take(fds[1].get());
  };
  // Runs the loop until it waits, whether making the notifier has signalled or not.
  add(fds[0].get());
  wait();
  for (auto _ : state) {
    add(fds[0].get());
    wait();
  }
  loop->stop();
  thread.join();
  state.counters["enters"] =
      benchmark::Counter(static_cast<double>(counters.enters) / static_cast<double>(state.iterations()));
}
BENCHMARK(RoundTripBetweenThreads)->Apply(event_fds)->UseRealTime();

// Starting and cancelling, without and with the kernel's involvement.
void CancelUnsubmitted(benchmark::State& state) {
  const auto reactor = must(UringReactor::create());
  CallOperation operation([](std::int32_t) {});
  for (auto _ : state) {
    reactor->timer(operation, TimePoint::max());
    reactor->cancel(operation);
  }
}
BENCHMARK(CancelUnsubmitted);

void CancelSubmitted(benchmark::State& state) {
  const auto reactor = must(UringReactor::create());
  CallOperation operation([](std::int32_t) {});
  for (auto _ : state) {
    reactor->timer(operation, TimePoint::max());
    reactor->run_once(false);
    reactor->cancel(operation);
  }
}
BENCHMARK(CancelSubmitted);

// Passing a worker's result to the loop: one task, one wake-up.
void PostAndRun(benchmark::State& state) {
  const auto reactor = must(UringReactor::create());
  const auto inbox = reactor->inbox();
  int runs = 0;
  for (auto _ : state) {
    inbox->post([&runs] { ++runs; });
    reactor->run_once(true);
  }
  benchmark::DoNotOptimize(runs);
}
BENCHMARK(PostAndRun);

}  // namespace
}  // namespace vumedia::io
