// An io::Reactor for fuzzers: system calls that do not wait, and a clock that moves only when an input says
// so, so that an input means the same whenever it runs.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/io/inbox.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/receive_operation.hpp>

#include "fuzz/clock.hpp"
#include "fuzz/input.hpp"

namespace vumedia::fuzz {

class Loop {
 public:
  // Adds to an event fd, unless it is full: then the peer has enough.
  class Notifier {
   public:
    explicit Notifier(OwnedFd fd) noexcept : fd_(std::move(fd)) {}
    void signal() noexcept {
      pollfd state{fd_.get(), POLLOUT, 0};
      const std::uint64_t one = 1;
      if (::poll(&state, 1, 0) == 1 && (state.revents & POLLOUT) != 0)
        require(::write(fd_.get(), &one, sizeof one) == sizeof one, "an event fd can be written");
    }

   private:
    OwnedFd fd_;
  };

  Loop() {
    auto inbox = io::Inbox::create();
    require(inbox.has_value(), "there is an inbox");
    inbox_ = std::move(*inbox);
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() { inbox_->close(); }

  // -- io::Reactor

  void read(io::Operation& operation, int fd, std::span<std::byte> in) {
    start({Kind::read, &operation, fd, in.data(), in.size(), {}});
  }
  void write(io::Operation& operation, int fd, std::span<const std::byte> out) {
    start({Kind::write, &operation, fd, const_cast<std::byte*>(out.data()), out.size(), {}});
  }
  void receive(io::ReceiveOperation& operation, int fd, std::span<std::byte> in) {
    operation.lend_to(*this);
    start({Kind::receive, &operation, fd, &operation.prepare(in), 0, {}});
  }
  void send(io::Operation& operation, int fd, msghdr& message) {
    start({Kind::send, &operation, fd, &message, 0, {}});
  }
  void poll(io::Operation& operation, int fd, unsigned events) {
    start({Kind::poll, &operation, fd, nullptr, events, {}});
  }
  void timer(io::Operation& operation, io::TimePoint deadline) {
    start({Kind::timer, &operation, -1, nullptr, 0, deadline});
  }
  void cancel(io::Operation& operation) {
    std::erase_if(pending_, [&](const Pending& each) { return each.operation == &operation; });
    operation.cancelled();
  }
  [[nodiscard]] std::shared_ptr<io::Inbox> inbox() { return inbox_; }
  [[nodiscard]] Result<Notifier> make_notifier(OwnedFd fd) {
    if (auto checked = check_event_fd(fd.get()); !checked) return std::unexpected(checked.error());
    return Notifier(std::move(fd));
  }
  [[nodiscard]] Result<> check_event_fd(int fd) {
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    char name[64]{};
    if (::readlink(link.c_str(), name, sizeof name - 1) < 0 || std::strcmp(name, "anon_inode:[eventfd]") != 0)
      return fail(EINVAL);
    return {};
  }
  [[nodiscard]] Result<> run() { return fail(ENOSYS); }
  void stop() {}
  [[nodiscard]] io::Turn& turn() noexcept { return turn_; }

  // -- For the target

  // Turns until nothing completes any more. More than `most` of them break the law that a peer's request
  // costs a bounded amount of work.
  void settle(int most = 4096) {
    while (run_once()) require(most-- > 0, "what a peer asks for ends");
  }
  // The time of the next timer is now. False if there is none.
  bool advance() {
    io::TimePoint next = io::TimePoint::max();
    for (const Pending& each : pending_) {
      if (each.kind == Kind::timer) next = std::min(next, each.deadline);
    }
    if (next == io::TimePoint::max()) return false;
    set_clock(next);
    return true;
  }
  [[nodiscard]] std::size_t pending() const noexcept { return pending_.size(); }

 private:
  enum class Kind : std::uint8_t { read, write, receive, send, poll, timer };
  struct Pending {
    Kind kind;
    io::Operation* operation;
    int fd;
    void* data;
    std::size_t size;
    io::TimePoint deadline;
  };

  void start(const Pending& started) {
    require(!started.operation->pending(), "an operation that is started is idle");
    started.operation->start();
    pending_.push_back(started);
  }

  // One of each that can be done. What handlers start is for the next turn.
  bool run_once() {
    turn_.spent = turn_.spent_on_left = 0;
    pollfd woken{inbox_->fd(), POLLIN, 0};
    bool done = ::poll(&woken, 1, 0) == 1;
    if (done) inbox_->run();
    std::vector<io::Operation*> candidates;
    for (const Pending& each : pending_) candidates.push_back(each.operation);
    for (io::Operation* const candidate : candidates) {
      // A handler before this one may have cancelled it.
      const auto found = std::ranges::find(pending_, candidate, &Pending::operation);
      if (found == pending_.end()) continue;
      std::int32_t result = 0;
      if (!attempt(*found, result)) continue;
      pending_.erase(found);
      candidate->complete(result);
      done = true;
    }
    return done;
  }

  // False: not yet.
  static bool attempt(const Pending& each, std::int32_t& result) {
    if (each.kind == Kind::timer) return each.deadline <= io::Clock::now();
    if (each.kind == Kind::poll) {
      pollfd state{each.fd, static_cast<short>(each.size), 0};
      const int ready = ::poll(&state, 1, 0);
      result = ready < 0 ? -errno : state.revents;
      return ready != 0;
    }
    const ssize_t got = transfer(each);
    if (got < 0 && errno == EAGAIN) return false;
    result = got < 0 ? -errno : static_cast<std::int32_t>(got);
    return true;
  }
  static ssize_t transfer(const Pending& each) {
    const iovec vector{each.data, each.size};
    if (each.kind == Kind::receive)
      return ::recvmsg(each.fd, static_cast<msghdr*>(each.data), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (each.kind == Kind::send)
      return ::sendmsg(each.fd, static_cast<msghdr*>(each.data), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (each.kind == Kind::write) return ::pwritev2(each.fd, &vector, 1, -1, RWF_NOWAIT);
    return ::preadv2(each.fd, &vector, 1, -1, RWF_NOWAIT);
  }

  std::shared_ptr<io::Inbox> inbox_;
  io::Turn turn_;
  std::vector<Pending> pending_;
};
static_assert(io::Reactor<Loop>);

}  // namespace vumedia::fuzz
