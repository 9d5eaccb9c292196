// A vhost-user back-end on a thread of its own, as a daemon would run it, and a VMM to drive it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/log.hpp>
#include <vumedia/core/mapping.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/vhost_user/frontend.hpp>
#include <vumedia/vhost_user/server.hpp>
#include <vumedia/vhost_user/session.hpp>
#include <vumedia/virtio/driver_queue.hpp>

#include "support/patience.hpp"
#include "vhost_user/echo_device.hpp"

namespace vumedia::vhost_user::test {

using Reactor = io::UringReactor;
using Echo = EchoDevice<SessionHost<Reactor>>;
using EchoSession = Session<Echo, Reactor>;
using EchoServer = Server<Reactor, EchoSession>;

using vumedia::test::patience;

// Lines of a log that any thread may write and read.
class LogLines {
 public:
  [[nodiscard]] Log log(LogLevel level = LogLevel::debug) {
    return {[](void* self, LogLevel, std::string_view line) { static_cast<LogLines*>(self)->add(line); },
            this, level};
  }
  [[nodiscard]] bool contains(std::string_view part) const {
    const std::lock_guard lock(mutex_);
    for (const auto& line : lines_) {
      if (line.find(part) != std::string::npos) return true;
    }
    return false;
  }
  [[nodiscard]] std::string text() const {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const auto& line : lines_) all += line + "\n";
    return all;
  }

 private:
  void add(std::string_view line) {
    const std::lock_guard lock(mutex_);
    lines_.emplace_back(line);
  }
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

// Waits for something that another thread is about to do.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// An abstract listening socket: no file to remove.
inline OwnedFd listen_on(sockaddr_un& address, socklen_t& length) {
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  address = {};
  address.sun_family = AF_UNIX;
  length = sizeof(sa_family_t);  // autobind
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return {};
  length = sizeof address;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  if (::listen(fd.get(), 8) != 0) return {};
  return fd;
}

template <io::Reactor Reactor>
class BasicBackendThread {
 public:
  using Echo = EchoDevice<SessionHost<Reactor>>;
  using EchoSession = Session<Echo, Reactor>;
  using EchoServer = Server<Reactor, EchoSession>;

  explicit BasicBackendThread(bool mem_slots = false, bool connected = false) {
    OwnedFd socket;
    if (connected) {
      int ends[2];
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
      socket.reset(ends[0]);
      other_end_.reset(ends[1]);
    } else {
      socket = listen_on(address_, length_);
    }
    std::promise<void> ready;
    auto is_ready = ready.get_future();
    thread_ = std::thread([this, mem_slots, fd = std::move(socket), &ready]() mutable {
      auto reactor = Reactor::create();
      ASSERT_TRUE(reactor) << reactor.error().message;
      reactor_ = reactor->get();
      inbox_ = reactor_->inbox();
      {
        auto server = EchoServer::create(
            *reactor_, std::move(fd), lines.log(),
            [this, mem_slots](OwnedFd connection, typename EchoSession::ClosedHandler closed)
                -> Outcome<std::unique_ptr<EchoSession>> {
              auto noted = [this, handler = std::move(closed)](const Error& error) mutable {
                ended.push_back(error.message);
                handler(error);
              };
              return std::make_unique<EchoSession>(*reactor_, std::move(connection),
                                                   SessionOptions{lines.log(), mem_slots}, std::move(noted),
                                                   state);
            },
            [this] { finished = true; });
        ASSERT_TRUE(server) << server.error().message;
        server_ = server->get();
        ready.set_value();
        EXPECT_TRUE(reactor_->run());
      }
    });
    is_ready.wait();
  }
  ~BasicBackendThread() {
    inbox_->post([this] { reactor_->stop(); });
    thread_.join();
  }

  // Runs `task` on the loop and returns what it returns.
  template <class Task>
  auto run(Task task) {
    std::packaged_task<decltype(task())()> packaged(std::move(task));
    auto result = packaged.get_future();
    inbox_->post([&packaged] { packaged(); });
    return result.get();
  }
  // On the loop's thread only.
  [[nodiscard]] Echo& device() { return server_->session()->device(); }
  [[nodiscard]] Reactor& reactor() { return *reactor_; }
  [[nodiscard]] EchoSession* session() { return server_->session(); }

  [[nodiscard]] bool has_session() {
    return run([this] { return server_->session() != nullptr; });
  }
  [[nodiscard]] EchoState copy_state() {
    return run([this] { return state; });
  }

  [[nodiscard]] OwnedFd connect() {
    if (other_end_) return std::move(other_end_);
    OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address_), length_), 0);
    return fd;
  }

  LogLines lines;
  EchoState state;                 // on the loop's thread only
  std::vector<std::string> ended;  // why sessions ended, if not cleanly; on the loop's thread only
  std::atomic<bool> finished{false};

 private:
  sockaddr_un address_{};
  socklen_t length_ = 0;
  OwnedFd other_end_;
  Reactor* reactor_ = nullptr;
  std::shared_ptr<io::Inbox> inbox_;  // a post may still be in progress when the reactor ends
  EchoServer* server_ = nullptr;
  std::thread thread_;
};

using BackendThread = BasicBackendThread<Reactor>;

// Waits for an event fd and takes its count; 0 after a timeout.
inline std::uint64_t take_event(int fd, std::chrono::milliseconds wait = patience) {
  pollfd state{fd, POLLIN, 0};
  if (::poll(&state, 1, static_cast<int>(wait.count())) <= 0) return 0;
  std::uint64_t count = 0;
  return ::read(fd, &count, sizeof count) == sizeof count ? count : 0;
}
inline void give_event(int fd) {
  const std::uint64_t one = 1;
  EXPECT_EQ(::write(fd, &one, sizeof one), static_cast<ssize_t>(sizeof one));
}

// A VMM with 1 MiB of memory and two queues. Steps that fail are test failures; for single steps use the
// Frontend.
class Vmm {
 public:
  static constexpr std::uint64_t memory_size = 1 << 20;
  static constexpr std::uint64_t guest_base = 0x10'0000;
  static constexpr std::uint64_t user_base = 0x7f00'0000'0000;
  static constexpr std::uint16_t queue_size = 16;
  static constexpr std::size_t queue_stride = 0x4000;
  static constexpr std::size_t data_offset = 0x10000;

  explicit Vmm(OwnedFd socket, std::chrono::milliseconds deadline = patience)
      : frontend(std::move(socket), deadline) {
    auto file = make_sealed_memfd("guest", memory_size);
    memory_fd = std::move(*file);
    memory = std::move(*Mapping::map(memory_fd.get(), 0, memory_size));
    for (std::uint16_t i = 0; i < 2; ++i) {
      queues.push_back(std::make_unique<virtio::DriverQueue>(
          memory.data() + i * queue_stride, memory::GuestAddress{guest_base + i * queue_stride}, queue_size,
          true));
      kick[i] = std::move(*make_event_fd());
      call[i] = std::move(*make_event_fd());
      err[i] = std::move(*make_event_fd());
    }
    shmem = [this](Frontend::ShmemRequest request) -> Result<> {
      requests.push_back(std::move(request));
      return {};
    };
    frontend.set_shmem_handler([this](Frontend::ShmemRequest request) { return shmem(std::move(request)); });
  }

  [[nodiscard]] Frontend::Region region() const {
    return {{guest_base}, {user_base}, memory_size, 0, memory_fd.get()};
  }
  [[nodiscard]] memory::FrontendAddress user(memory::GuestAddress address) const {
    return {address.value - guest_base + user_base};
  }

  void negotiate(std::uint64_t features = Frontend::default_features,
                 std::uint64_t protocol_features = Frontend::default_protocol_features) {
    check(frontend.negotiate(features, protocol_features));
  }
  void set_memory() {
    const auto one = region();
    check(frontend.set_memory(std::span(&one, 1)));
  }
  void configure(std::uint16_t i, std::uint32_t base = 0) {
    check(frontend.set_vring_size(i, queue_size));
    check(frontend.set_vring_base(i, base));
    check(frontend.set_vring_addresses(i, user(queues[i]->descriptors()), user(queues[i]->available()),
                                       user(queues[i]->used())));
    check(frontend.set_vring_call(i, call[i].get()));
    check(frontend.set_vring_err(i, err[i].get()));
    check(frontend.set_vring_kick(i, kick[i].get()));
  }
  // Everything that a VMM does when its driver sets DRIVER_OK.
  void start(std::uint32_t base0 = 0, std::uint32_t base1 = 0) {
    set_memory();
    configure(0, base0);
    configure(1, base1);
    check(frontend.enable_vring(0, true));
    check(frontend.enable_vring(1, true));
  }
  std::pair<std::uint32_t, std::uint32_t> stop() {
    check(frontend.enable_vring(0, false));
    check(frontend.enable_vring(1, false));
    auto base0 = frontend.stop_vring(0), base1 = frontend.stop_vring(1);
    check(base0);
    check(base1);
    return {base0.value_or(~0u), base1.value_or(~0u)};
  }

  // Offers a chain to queue 0 that will be echoed.
  std::uint16_t offer(std::string_view text, bool kick_it = true) {
    const std::uint64_t at = data_offset + 256 * (next_buffer_++ % queue_size);
    std::memcpy(memory.data() + at, text.data(), text.size());
    std::memset(memory.data() + at + 128, 0, 128);
    const virtio::Piece pieces[] = {{{guest_base + at}, static_cast<std::uint32_t>(text.size()), false},
                                    {{guest_base + at + 128}, static_cast<std::uint32_t>(text.size()), true}};
    auto head = queues[0]->add(pieces);
    EXPECT_TRUE(head);
    last_answer_ = at + 128;
    // The device asks for one kick, which stays due until it is given.
    kick_is_due_ |= queues[0]->publish();
    if (kick_it && std::exchange(kick_is_due_, false)) give_event(kick[0].get());
    return head.value_or(0xffff);
  }
  // The used chain of queue `i`, once it comes.
  std::optional<virtio::Used> await(std::uint16_t i = 0) {
    while (true) {
      auto used = queues[i]->pop_used();
      EXPECT_TRUE(used);
      if (!used || *used) return used.value_or(std::nullopt);
      if (queues[i]->enable_interrupts()) continue;
      if (take_event(call[i].get()) == 0) {
        ADD_FAILURE() << "no interrupt of queue " << i;
        return std::nullopt;
      }
    }
  }
  // One round trip: returns what comes back for `text`.
  std::string echo(std::string_view text) {
    offer(text);
    const auto used = await();
    if (!used) return "nothing";
    return {reinterpret_cast<const char*>(memory.data() + last_answer_), used->length};
  }
  // Gives queue 1 a buffer.
  void lend() {
    const virtio::Piece piece{{guest_base + 0x20000}, 64, true};
    EXPECT_TRUE(queues[1]->add(std::span(&piece, 1)));
    if (queues[1]->publish()) give_event(kick[1].get());
  }

  template <class T>
  static void check(const Outcome<T>& outcome) {
    EXPECT_TRUE(outcome) << outcome.error().message;
  }

  OwnedFd memory_fd;
  Mapping memory;
  std::vector<std::unique_ptr<virtio::DriverQueue>> queues;
  OwnedFd kick[2], call[2], err[2];
  std::vector<Frontend::ShmemRequest> requests;
  std::function<Result<>(Frontend::ShmemRequest)> shmem;
  Frontend frontend;

 private:
  bool kick_is_due_ = false;
  std::uint64_t next_buffer_ = 0;
  std::uint64_t last_answer_ = 0;
};

}  // namespace vumedia::vhost_user::test
