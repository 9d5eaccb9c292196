// The sender's end of an event fd, for an EpollReactor.
#pragma once

#include <utility>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/epoll/event_fd_signals.hpp>

namespace vumedia::io::epoll {

/// Signals travel at the end of the reactor's turn; until then they coalesce. It is destroyed before its
/// reactor, on the reactor's thread.
class Notifier {
 public:
  /// See Reactor::make_notifier.
  [[nodiscard]] static Result<Notifier> make(EventFdSignals& signals, OwnedFd fd) noexcept {
    if (auto checked = signals.check_event_fd(fd.get()); !checked) return std::unexpected(checked.error());
    if (auto checked = signals.check_signal(fd.get()); !checked) return std::unexpected(checked.error());
    return Notifier(signals, std::move(fd));
  }

  Notifier() = default;
  /// Leaves `other` empty; a signal that is due stays due.
  Notifier(Notifier&& other) noexcept : Notifier() { take(other); }
  /// Sends what is due, closes the event fd it had, and leaves `other` empty.
  Notifier& operator=(Notifier&& other) noexcept {
    if (this != &other) {
      flush();
      take(other);
    }
    return *this;
  }
  ~Notifier() { flush(); }

  /// The event fd, still owned by this; -1 if it is empty.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// Whether it has an event fd.
  [[nodiscard]] explicit operator bool() const noexcept { return signals_ != nullptr; }

  /// Does nothing on an empty notifier.
  void signal() noexcept {
    if (signals_ != nullptr && !signal_.linked()) signals_->add(signal_);
  }

 private:
  Notifier(EventFdSignals& signals, OwnedFd fd) noexcept : signals_(&signals), fd_(std::move(fd)) {
    signal_.event_fd = fd_.get();
  }

  void take(Notifier& other) noexcept {
    signals_ = std::exchange(other.signals_, nullptr);
    fd_ = std::move(other.fd_);
    signal_.event_fd = fd_.get();
    if (!other.signal_.linked()) return;
    other.signal_.unlink();
    signals_->add(signal_);
  }
  // A signal names the descriptor by number. It has to be sent before that is closed.
  void flush() noexcept {
    if (signal_.linked()) signals_->flush();
    signal_.unlink();
  }

  EventFdSignals* signals_ = nullptr;
  OwnedFd fd_;
  Signal signal_;
};

}  // namespace vumedia::io::epoll
