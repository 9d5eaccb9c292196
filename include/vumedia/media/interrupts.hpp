// When the driver is told what was pushed to its queues: at once, or when a batch of commands is done. Events
// come before answers, so that those of a command reach the driver before its answer.
#pragma once

#include <utility>

#include <vumedia/media/wire.hpp>
#include <vumedia/virtio/concepts.hpp>

namespace vumedia::media {

/// Tells the driver of both queues. For the host's loop.
template <virtio::Host Host>
class Interrupts {
 public:
  /// `host` outlives it.
  explicit Interrupts(Host& host) noexcept : host_(host) {}
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// From begin() to end() there is a batch. begin() returns whether there was one already; end() takes that.
  [[nodiscard]] bool in_batch() const noexcept { return in_batch_; }
  /// The bounds of a batch; see in_batch().
  ///@{
  bool begin() noexcept { return std::exchange(in_batch_, true); }
  [[gnu::always_inline]] void end(bool outer = false) noexcept {
    in_batch_ = outer;
    if (!outer) now();
  }
  ///@}

  /// An event was pushed, of several perhaps; and the last of them.
  void event_pushed() noexcept { has_events_ = true; }
  /// The last of several: the driver is told, unless there is a batch.
  void events_done() noexcept {
    if (!in_batch_ && has_events_) flush_events();
  }
  /// An answer was pushed: the driver is told, unless there is a batch.
  void answer_pushed() noexcept {
    if (!in_batch_) host_.flush(wire::commandq);
  }

  /// Tells of everything, even within a batch.
  [[gnu::always_inline]] void now() noexcept {
    if (has_events_) [[unlikely]]
      flush_events();
    host_.flush(wire::commandq);
  }

  /// The queues were reset: nothing is left to be told.
  void reset() noexcept { has_events_ = false; }

 private:
  [[gnu::noinline]] void flush_events() noexcept {
    has_events_ = false;
    host_.flush(wire::eventq);
  }

  Host& host_;
  bool in_batch_ = false;
  bool has_events_ = false;
};

}  // namespace vumedia::media
