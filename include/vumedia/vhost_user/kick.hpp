// How a ring waits for its driver: the descriptor of SET_VRING_KICK, or a look at the ring in intervals where
// there is none, or where it cannot be trusted.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <poll.h>
#include <sys/uio.h>

#include <vumedia/core/fd.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/io/operation.hpp>
#include <vumedia/io/reactor.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/virtio/queue.hpp>

namespace vumedia::vhost_user {

/// The operation that completes when the driver kicks. It names its ring and the owner to call.
class Wakeup final : public io::Operation {
 public:
  /// The arguments are as Kick is given them.
  Wakeup(Handler handler, void* owner_of_it, std::uint16_t index_of_ring) noexcept
      : Operation(handler), owner(owner_of_it), index(index_of_ring) {}
  /// Whom and what the kick is for.
  ///@{
  void* const owner;
  const std::uint16_t index;
  ///@}
};

/// Waits for one ring, on the reactor's thread.
template <io::Reactor R>
class Kick {
 public:
  /// How often a ring is looked at that has no kick descriptor, or one that cannot be trusted.
  static constexpr std::chrono::milliseconds poll_interval{1};
  /// This many kicks in a row that find nothing new are accepted. Then up to as many more are consumed at
  /// once, which uses up all that an honest driver may have sent in vain. If there are still more, it is an
  /// event fd in semaphore mode whose count costs its driver nothing: the ring is then looked at in intervals
  /// for as long as more than this many kicks come in one interval.
  static constexpr int vain_kicks = 32;
  static constexpr int surplus_kicks = 1024;            ///< consumed at once, at most
  static constexpr int surplus_kicks_an_interval = 16;  ///< the same, in one interval

  /// The meaning of a completed wake-up.
  enum class Wake { process, nothing, broken };

  /// `handler` is called with a Wakeup that names `owner` and `index`.
  Kick(R& reactor, io::Operation::Handler handler, void* owner, std::uint16_t index) noexcept
      : reactor_(reactor), wakeup_(handler, owner, index) {}
  Kick(const Kick&) = delete;
  Kick& operator=(const Kick&) = delete;
  ~Kick() { disarm(); }

  /// Takes the descriptor, or none: the ring is then looked at in intervals. EINVAL if it is not an event fd:
  /// other files may always be readable, which would keep the loop busy, or may not support poll at all.
  [[nodiscard]] Result<> set(OwnedFd fd) noexcept {
    if (fd) {
      if (auto checked = reactor_.check_event_fd(fd.get()); !checked) return checked;
    }
    disarm();
    fd_ = std::move(fd);
    wait_ = first_wait();
    vain_ = 0;
    return {};
  }
  /// Closes the descriptor, and waits no more.
  void drop() noexcept {
    disarm();
    fd_.reset();
    wait_ = Wait::timer;
  }

  /// Waits for the next kick, once.
  void arm() noexcept {
    if (wakeup_.pending()) return;
    if (wait_ == Wait::read) [[likely]]
      return reactor_.read(wakeup_, fd_.get(), std::as_writable_bytes(std::span(&count_, 1)));
    arm_otherwise();
  }
  /// Waits no more, until arm().
  void disarm() noexcept {
    reactor_.cancel(wakeup_);
    wait_ = first_wait();
  }
  /// Whether a wake-up is to come.
  [[nodiscard]] bool armed() const noexcept { return wakeup_.pending(); }

  /// Returns what the completion of the wake-up with `result` means. The caller processes the ring if told
  /// to, and arms it.
  [[nodiscard]] Wake woken(std::int32_t result) noexcept {
    if (wait_ == Wait::read && result == sizeof count_) [[likely]]
      return Wake::process;
    return woken_otherwise(result);
  }

  /// Called when the ring has been processed for a wake-up, before it is armed.
  void processed(virtio::Queue& queue, const memory::GuestMemory& memory) noexcept {
    const std::uint16_t base = queue.base();
    if (base == processed_) [[unlikely]]
      return took_nothing(queue, memory);
    processed_ = base;
    vain_ = 0;
  }

 private:
  // What the wake-up waits for. Kernels before 6.0 do not wait in a read of a non-blocking descriptor but
  // refuse it, so there a poll comes first. Doubtful and not trusted: see vain_kicks.
  enum class Wait : std::uint8_t { timer, read, poll, doubtful, unbelieved };
  [[nodiscard]] Wait first_wait() const noexcept { return fd_ ? Wait::read : Wait::timer; }

  [[gnu::noinline]] void arm_otherwise() noexcept {
    if (wait_ == Wait::poll)
      reactor_.poll(wakeup_, fd_.get(), POLLIN);
    else if (wait_ == Wait::doubtful)
      reactor_.timer(wakeup_, io::TimePoint::min());
    else
      reactor_.timer(wakeup_, io::Clock::now() + poll_interval);
  }
  [[nodiscard, gnu::noinline]] Wake woken_otherwise(std::int32_t result) noexcept {
    if (wait_ == Wait::timer) return Wake::process;
    if (wait_ == Wait::doubtful || wait_ == Wait::unbelieved) {
      // Called before the ring is looked at, because a kick that is consumed here may be for a buffer that
      // has just come.
      const int most = wait_ == Wait::doubtful ? surplus_kicks : surplus_kicks_an_interval;
      wait_ = take_back(most) ? Wait::read : Wait::unbelieved;
      return Wake::process;
    }
    if (result == -EINTR) return Wake::nothing;
    if (wait_ == Wait::poll) {
      wait_ = Wait::read;
      return result > 0 && (result & POLLIN) != 0 ? Wake::nothing : Wake::broken;
    }
    if (result != -EAGAIN) return Wake::broken;
    wait_ = Wait::poll;
    return Wake::nothing;
  }

  // A device may leave buffers on the ring; then the driver's index shows whether there are new ones.
  [[gnu::noinline]] void took_nothing(virtio::Queue& queue, const memory::GuestMemory& memory) noexcept {
    const std::uint16_t available = queue.available_index(memory);
    const bool vain = available == std::exchange(available_, available);
    vain_ = vain && wait_ == Wait::read ? vain_ + 1 : 0;
    if (vain_ < vain_kicks) return;
    vain_ = 0;
    wait_ = Wait::doubtful;
  }
  // Consumes at most that many kicks, without waiting. Returns whether none is left, or whether that is
  // unknown.
  [[nodiscard]] bool take_back(int most) noexcept {
    const iovec to{&count_, sizeof count_};
    for (int i = 0; i < most; ++i) {
      if (::preadv2(fd_.get(), &to, 1, -1, RWF_NOWAIT) != ssize_t{sizeof count_}) return true;
    }
    return false;
  }

  R& reactor_;
  OwnedFd fd_;
  std::uint64_t count_ = 0;
  Wait wait_ = Wait::timer;
  // The base and the driver's index when the ring was last processed for a wake-up, or before that.
  std::uint16_t processed_ = 0;
  std::uint16_t available_ = 0;
  int vain_ = 0;  // kicks in a row that found nothing
  Wakeup wakeup_;
};

}  // namespace vumedia::vhost_user
