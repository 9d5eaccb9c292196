// The whole of a daemon's main function: serves a device on a socket until it is told to stop.
//
// A program with a loop of its own uses Server and Session instead.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/listener.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/io/uring_reactor.hpp>
#include <vumedia/vhost_user/server.hpp>
#include <vumedia/vhost_user/session.hpp>
#include <vumedia/vhost_user/session_host.hpp>

namespace vumedia::vhost_user {

/// How devices are served, and what ends that.
struct ServeOptions {
  /// Its log takes what serving has to say, too. The library itself writes nowhere.
  SessionOptions session;
  /// Stop when SIGINT or SIGTERM comes. They are blocked in this thread, and in those that it starts, until
  /// serve() returns; other threads of the program must block them as well.
  bool stop_on_signals = true;
  /// Stop when this descriptor becomes readable; borrowed, and not read. -1: there is none.
  int stop_fd = -1;
};

namespace detail {

// SIGINT and SIGTERM as a descriptor, for as long as this lives. One that has not been read by then acts as
// it did before.
class StopSignals {
 public:
  [[nodiscard]] static Outcome<StopSignals> block() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGINT);
    ::sigaddset(&set, SIGTERM);
    StopSignals signals;
    signals.fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals.fd_) return system_failure(errno, "cannot make a descriptor of signals");
    if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, &signals.before_); error != 0)
      return system_failure(error, "cannot block signals");
    signals.blocked_ = true;
    return signals;
  }
  StopSignals(StopSignals&& other) noexcept
      : fd_(std::move(other.fd_)), before_(other.before_), blocked_(std::exchange(other.blocked_, false)) {}
  StopSignals& operator=(StopSignals&&) = delete;
  ~StopSignals() {
    if (blocked_) ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

  // Readable once one has come.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Takes it: it does not act any more.
  void take() const noexcept {
    signalfd_siginfo event{};
    [[maybe_unused]] const auto taken = ::read(fd_.get(), &event, sizeof event);
  }

 private:
  StopSignals() = default;

  OwnedFd fd_;
  sigset_t before_{};
  bool blocked_ = false;
};

}  // namespace detail

/// Serves devices of type `D`, a virtio::Device on a SessionHost<R>, on `listener`: one frontend after
/// another, each with a device of its own that is constructed from copies of `arguments`. A connected socket
/// is served until its frontend leaves. R is io::UringReactor, or io::EpollReactor for where io_uring is
/// forbidden.
///
/// Returns once it has been told to stop, with all sessions closed and the socket's file removed; or with
/// what the host lacks.
template <class D, io::Reactor R = io::UringReactor, class... Arguments>
[[nodiscard]] Outcome<> serve_device(io::Listener listener, const ServeOptions& options,
                                     const Arguments&... arguments) {
  using SessionType = Session<D, R>;
  struct Stop final : io::Operation {
    explicit Stop(R& of) noexcept
        : Operation([](io::Operation& operation, std::int32_t) noexcept {
            static_cast<Stop&>(operation).reactor.stop();
          }),
          reactor(of) {}
    ~Stop() { reactor.cancel(*this); }
    R& reactor;
  };

  std::unique_ptr<detail::StopSignals> signals;
  if (options.stop_on_signals) {
    auto blocked = detail::StopSignals::block();
    if (!blocked) return std::unexpected(std::move(blocked.error()));
    signals = std::make_unique<detail::StopSignals>(std::move(*blocked));
  }
  auto reactor = R::create();
  if (!reactor) return std::unexpected(std::move(reactor.error()));
  auto make_session = [&](OwnedFd socket, typename SessionType::ClosedHandler closed) {
    return Outcome<std::unique_ptr<SessionType>>(std::make_unique<SessionType>(
        **reactor, std::move(socket), options.session, std::move(closed), arguments...));
  };
  auto server = Server<R, SessionType>::create(**reactor, std::move(listener.socket()), options.session.log,
                                               std::move(make_session), [&] { (*reactor)->stop(); });
  if (!server) return std::unexpected(std::move(server.error()));

  Stop by_signal(**reactor);
  Stop by_descriptor(**reactor);
  if (signals != nullptr) (*reactor)->poll(by_signal, signals->fd(), POLLIN);
  if (options.stop_fd >= 0) (*reactor)->poll(by_descriptor, options.stop_fd, POLLIN);
  const Result<> ran = (*reactor)->run();
  // Nobody is to connect to a device that is ending.
  listener.remove_file();
  // One that comes after another reason to stop is not ours, and acts as it would without us.
  if (signals != nullptr && !by_signal.pending()) signals->take();
  if (!ran) return system_failure(ran.error().value, "the loop cannot go on");
  return {};
}

}  // namespace vumedia::vhost_user
