// From kick to call over real event fds: a session with an echoing device, on a thread of its own. The cost
// of the round trip beyond two wake-ups of sleeping threads is that of the library; `syscalls` counts the
// loop's system calls per kick.
#include <cstdlib>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include <benchmark/benchmark.h>
#include <poll.h>
#include <sys/socket.h>

#include <vumedia/core/mapping.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/vhost_user/session.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "vhost_user/echo_device.hpp"

namespace vumedia::vhost_user::test {
namespace {

using Reactor = io::UringReactor;
using EchoSession = Session<EchoDevice<SessionHost<Reactor>>, Reactor>;

template <class T>
T must(Outcome<T> outcome) {
  if (!outcome) {
    std::fprintf(stderr, "%s\n", outcome.error().message.c_str());
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*outcome);
}

// The back-end's thread.
class Backend {
 public:
  explicit Backend(OwnedFd socket) {
    std::promise<void> ready;
    auto is_ready = ready.get_future();
    thread_ = std::thread([this, fd = std::move(socket), &ready]() mutable {
      auto reactor = must(Reactor::create());
      reactor_ = reactor.get();
      inbox_ = reactor->inbox();
      EchoState state;
      state.processed.reserve(std::size_t{1} << 24);  // the loop must not allocate
      EchoSession session(*reactor, std::move(fd), SessionOptions{}, {}, state);
      ready.set_value();
      if (!reactor->run()) std::abort();
    });
    is_ready.wait();
  }
  ~Backend() {
    inbox_->post([this] { reactor_->stop(); });
    thread_.join();
  }
  std::uint64_t system_calls() {
    std::promise<std::uint64_t> count;
    inbox_->post([this, &count] { count.set_value(reactor_->counters().enters); });
    return count.get_future().get();
  }

 private:
  Reactor* reactor_ = nullptr;
  std::shared_ptr<io::Inbox> inbox_;
  std::thread thread_;
};

// `flags` of the event fds: QEMU's do not block, crosvm's do.
void KickToCall(benchmark::State& state, int flags) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
  Backend backend{OwnedFd(ends[0])};
  Frontend frontend{OwnedFd(ends[1])};
  must(frontend.negotiate());

  constexpr std::size_t size = 1 << 16;
  constexpr std::size_t data = 1 << 15;
  const OwnedFd file = std::move(*make_sealed_memfd("guest", size));
  const Mapping memory = std::move(*Mapping::map(file.get(), 0, size));
  // Guest, frontend and file use the same addresses and offsets.
  const Frontend::Region region{{0}, {0}, size, 0, file.get()};
  must(frontend.set_memory(std::span(&region, 1)));
  virtio::DriverQueue queue(memory.data(), {0}, 16, true);
  const OwnedFd kick = std::move(*make_event_fd(flags)), call = std::move(*make_event_fd(flags));
  must(frontend.set_vring_size(0, 16));
  must(frontend.set_vring_addresses(0, {queue.descriptors().value}, {queue.available().value},
                                    {queue.used().value}));
  must(frontend.set_vring_call(0, call.get()));
  must(frontend.set_vring_kick(0, kick.get()));
  must(frontend.enable_vring(0, true));

  std::uint64_t before = backend.system_calls();
  for (auto _ : state) {
    const virtio::Piece pieces[] = {{{data}, 8, false}, {{data + 64}, 8, true}};
    if (!queue.add(pieces)) std::abort();
    std::uint64_t count = 1;
    if (queue.publish() && ::write(kick.get(), &count, sizeof count) != sizeof count) std::abort();
    while (true) {
      const auto used = queue.pop_used();
      if (!used) std::abort();
      if (*used) break;
      if (queue.enable_interrupts()) continue;
      pollfd wait{call.get(), POLLIN, 0};
      if (::poll(&wait, 1, 10'000) != 1 || ::read(call.get(), &count, sizeof count) != sizeof count)
        std::abort();
    }
  }
  state.counters["syscalls"] =
      static_cast<double>(backend.system_calls() - before) /
      static_cast<double>(std::max<benchmark::IterationCount>(state.iterations(), 1));
}
BENCHMARK_CAPTURE(KickToCall, non_blocking, EFD_CLOEXEC | EFD_NONBLOCK)->UseRealTime();
BENCHMARK_CAPTURE(KickToCall, blocking, EFD_CLOEXEC)->UseRealTime();

}  // namespace
}  // namespace vumedia::vhost_user::test
