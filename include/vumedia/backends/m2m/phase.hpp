// Where a memory-to-memory device is between its client's commands and its stream (the states of the kernel's
// "Memory-to-Memory Stateful Video Decoder Interface": decoding, drain, dynamic resolution change; an encoder
// has the drain in common with it).
#pragma once

#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include <vumedia/core/result.hpp>

namespace vumedia::backends::m2m {

/// A change of the picture and a drain end alike: the frames from before go out, then an empty buffer flagged
/// LAST, and then nothing until the client has reacted. They can meet: a change may come before a drain that
/// was asked for is complete. The drain then waits for the client, and continues with the new picture.
///
///             change in the stream          LAST                     start_capture, resume
///   Decoding -------------------> ChangeReached ----> Changing -----------------------------> Decoding
///             end of a drain                LAST                     start_capture, resume
///   Decoding -------------------> DrainReached  ----> Drained  -----------------------------> Decoding
///
/// A seek leaves a drain in any state, and does not affect a change. Closed is final.
class Phase {
 public:
  /// The number of a drain; the first is 1.
  using Drain = std::uint64_t;

  /// Frames go out as they come. `drain`: one that was begun and whose end has not been reached.
  struct Decoding {
    std::optional<Drain> drain;  ///< its number
    friend bool operator==(const Decoding&, const Decoding&) = default;
  };
  /// The frames from before a change are out, and LAST is due.
  struct ChangeReached {
    std::optional<Drain> drain;  ///< its number
    friend bool operator==(const ChangeReached&, const ChangeReached&) = default;
  };
  /// LAST has come, or nobody waits for it: it is the client's turn to set up its buffers.
  struct Changing {
    std::optional<Drain> drain;  ///< its number
    friend bool operator==(const Changing&, const Changing&) = default;
  };
  /// The frames from before a drain are out, and LAST is due. `end_told`: the client has been told of the end
  /// already, because it has no buffers for LAST.
  struct DrainReached {
    bool end_told = false;  ///< see above
    friend bool operator==(const DrainReached&, const DrainReached&) = default;
  };
  /// A drain is complete: it is the client's turn.
  struct Drained {
    friend bool operator==(const Drained&, const Drained&) = default;
  };
  /// Nothing happens any more.
  struct Closed {
    friend bool operator==(const Closed&, const Closed&) = default;
  };
  /// One of them.
  using State = std::variant<Decoding, ChangeReached, Changing, DrainReached, Drained, Closed>;

  Phase() = default;
  /// In that state, for tests.
  explicit Phase(State state) noexcept : state_(state) {}
  /// As it is now.
  [[nodiscard]] const State& state() const noexcept { return state_; }

  /// Whether it is in the state of that name.
  ///@{
  [[nodiscard]] bool decoding() const noexcept { return is<Decoding>(); }
  [[nodiscard]] bool drained() const noexcept { return is<Drained>(); }
  [[nodiscard]] bool closed() const noexcept { return is<Closed>(); }
  ///@}
  /// Whether it waits for the client to restart CAPTURE, or to resume.
  [[nodiscard]] bool stopped() const noexcept { return is<Changing>() || is<Drained>(); }
  /// Whether an empty buffer flagged LAST has to be delivered.
  [[nodiscard]] bool last_is_due() const noexcept { return is<ChangeReached>() || is<DrainReached>(); }

  // -- The client's commands

  /// The number of a drain that begins; nothing if there is nothing to do after a completed one. EBUSY while
  /// an earlier one is not complete.
  [[nodiscard]] Result<std::optional<Drain>> begin_drain() noexcept {
    if (is<DrainReached>()) return fail(EBUSY);
    std::optional<Drain>* const drain = pending_drain();
    if (drain == nullptr) return std::optional<Drain>();
    if (*drain) return fail(EBUSY);
    *drain = ++drains_;
    return *drain;
  }

  /// OUTPUT stops: a drain, complete or not, is forgotten.
  void seek() noexcept {
    if (auto* const drain = pending_drain()) {
      drain->reset();
    } else if (!closed()) {
      state_ = Decoding{};
    }
  }

  /// Decoding begins once more after a drain that is complete.
  void restart() noexcept {
    if (drained()) state_ = Decoding{};
  }

  /// Another stream follows: a change is of no interest any more.
  void forget_change() noexcept {
    restart();
    if (const auto* const drain = pending_drain()) state_ = Decoding{*drain};
  }

  /// CAPTURE stops, so nobody waits for LAST, and a drain that is under way is forgotten. True if EndOfStream
  /// must be sent.
  [[nodiscard]] bool stop_capture() noexcept {
    const bool ends = pass_last();
    if (decoding()) state_ = Decoding{};
    return ends;
  }

  /// The client has set up its buffers, or has no need to. True if decoding continues after a drain.
  [[nodiscard]] bool leave_stop() noexcept {
    const bool continues = drained();
    restart();
    if (const auto* const changing = std::get_if<Changing>(&state_)) state_ = Decoding{changing->drain};
    return continues;
  }

  /// The same as a command. EBUSY if a drain is not complete or LAST has not come.
  [[nodiscard]] Result<bool> resume() noexcept {
    const auto* const drain = pending_drain();
    if (last_is_due() || (drain != nullptr && *drain)) return fail(EBUSY);
    return leave_stop();
  }

  /// Any state -> Closed.
  void close() noexcept { state_ = Closed{}; }

  // -- What the decoder has reached

  /// All frames from before a change are out.
  void reach_change() noexcept {
    if (const auto* const now = std::get_if<Decoding>(&state_)) state_ = ChangeReached{now->drain};
  }

  /// All frames from before `drain` are out. False if that drain has been forgotten.
  [[nodiscard]] bool reach_end(Drain drain) noexcept {
    if (state_ != State(Decoding{drain})) return false;
    state_ = DrainReached{};
    return true;
  }

  /// LAST is due, but there is no CAPTURE. True if EndOfStream must be sent, which comes once.
  [[nodiscard]] bool tell_end() noexcept {
    auto* const reached = std::get_if<DrainReached>(&state_);
    return reached != nullptr && !std::exchange(reached->end_told, true);
  }

  /// LAST has been delivered, or nobody waits for it any more. True if EndOfStream must be sent.
  [[nodiscard]] bool pass_last() noexcept {
    if (const auto* const change = std::get_if<ChangeReached>(&state_)) {
      state_ = Changing{change->drain};
      return false;
    }
    if (!is<DrainReached>()) return false;
    const bool ends = tell_end();
    state_ = Drained{};
    return ends;
  }

 private:
  template <class One>
  [[nodiscard]] bool is() const noexcept {
    return std::holds_alternative<One>(state_);
  }
  // Where the number of a drain is kept that is not complete; nullptr in states without any.
  [[nodiscard]] std::optional<Drain>* pending_drain() noexcept {
    if (auto* const now = std::get_if<Decoding>(&state_)) return &now->drain;
    if (auto* const now = std::get_if<ChangeReached>(&state_)) return &now->drain;
    if (auto* const now = std::get_if<Changing>(&state_)) return &now->drain;
    return nullptr;
  }

  State state_;
  Drain drains_ = 0;  // begun so far
};

}  // namespace vumedia::backends::m2m
