// The loop of one thread of the program: of the two kinds, the one that was asked for or that the host
// grants.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <variant>

#include <vumedia/core/log.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/epoll_reactor.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/uring_reactor.hpp>

#include "options.hpp"

namespace vumedia::device {

// What the program itself asks of a reactor, on whichever it has. A device is served by the reactor, not
// through this: see visit().
class Loop {
 public:
  // For the calling thread. ReactorKind::automatic takes io_uring, or epoll where the kernel or a sandbox
  // refuses that, and says why in one line.
  [[nodiscard]] static Outcome<std::unique_ptr<Loop>> create(ReactorKind kind, const Log& log);

  [[nodiscard]] ReactorKind kind() const noexcept {
    return std::holds_alternative<Uring>(reactor_) ? ReactorKind::io_uring : ReactorKind::epoll;
  }
  // Calls `function` with the io::UringReactor& or io::EpollReactor&.
  template <class Function>
  decltype(auto) visit(Function&& function) {
    return std::visit([&](auto& reactor) -> decltype(auto) { return function(*reactor); }, reactor_);
  }

  // See io::Reactor and its types.
  void poll(io::Operation& operation, int fd, unsigned events) {
    visit([&](auto& reactor) { reactor.poll(operation, fd, events); });
  }
  void timer(io::Operation& operation, io::TimePoint deadline) {
    visit([&](auto& reactor) { reactor.timer(operation, deadline); });
  }
  void cancel(io::Operation& operation) {
    visit([&](auto& reactor) { reactor.cancel(operation); });
  }
  [[nodiscard]] std::shared_ptr<io::Inbox> inbox() {
    return visit([](auto& reactor) -> std::shared_ptr<io::Inbox> { return reactor.inbox(); });
  }
  [[nodiscard]] Result<std::size_t> run_once(bool wait) {
    return visit([&](auto& reactor) { return reactor.run_once(wait); });
  }
  void stop() {
    visit([](auto& reactor) { reactor.stop(); });
  }

 private:
  using Uring = std::unique_ptr<io::UringReactor>;
  using Epoll = std::unique_ptr<io::EpollReactor>;

  template <class Reactor>
  explicit Loop(Reactor reactor) noexcept : reactor_(std::move(reactor)) {}
  template <class Reactor>
  [[nodiscard]] static Outcome<std::unique_ptr<Loop>> make(bool try_it);

  std::variant<Uring, Epoll> reactor_;
};

}  // namespace vumedia::device
