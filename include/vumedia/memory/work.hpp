// How much of a peer's command may be done in one turn of the loop.
//
// A guest chooses how much work a command is: bytes to be copied, pieces to be mapped, memory to be freed. A
// function with more work than a turn allows does a part, returns `again`, and is called again in another
// turn, so that the loop serves everybody else in between.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace vumedia::memory {

/// Used in place of an errno: a part was done. The same call with the same arguments continues in another
/// turn.
inline constexpr int again = -EAGAIN;

/// An allowance for one turn, in units of its own, about half a nanosecond each. Not for use by several
/// threads at once.
class Work {
 public:
  /// How much may be spent in a turn on commands, and as much again on work left over from earlier turns:
  /// about a quarter of a millisecond each, and several times that where memory is touched for the first time
  /// in a virtual machine.
  static constexpr std::int64_t a_turn = std::int64_t{1} << 19;

  /// The costs.
  static constexpr std::int64_t command = a_turn / 16;
  static constexpr std::int64_t copied_byte = 4;       ///< or compared
  static constexpr std::int64_t read_range = 32;       ///< of a list, to where no memory was before
  static constexpr std::int64_t listed_range = 64;     ///< to be found in a table
  static constexpr std::int64_t compared_range = 8;    ///< to be the same as before
  static constexpr std::int64_t control = 128;         ///< to be read, found and checked
  static constexpr std::int64_t event = 1024;          ///< to be kept, or a buffer to be found for it
  static constexpr std::int64_t descriptor = 32;       ///< of a chain
  static constexpr std::int64_t mapping = 8192;        ///< a piece put at its place
  static constexpr std::int64_t unmapped_page = 2048;  ///< of which each may be a mapping
  static constexpr std::int64_t cleared_page = 1024;   ///< punched out of a file

  /// One that is nobody else's.
  Work() noexcept : spent_(&own_) {}
  /// Of a loop, whose turns set `spent` to 0 (io::Turn). Null: as above.
  explicit Work(std::int64_t* spent) noexcept : spent_(spent != nullptr ? spent : &own_) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  /// A turn begins, in which `allowance` may be spent.
  void begin(std::int64_t allowance = a_turn) noexcept { *spent_ = a_turn - allowance; }
  /// What may still be spent in this turn; negative if more was spent.
  [[nodiscard]] std::int64_t left() const noexcept { return a_turn - *spent_; }

  /// Spends what cannot be divided: beyond what is left, if need be.
  void spend(std::int64_t cost) noexcept { *spent_ += cost; }

  /// How many of `count` things that cost `each` may be done now. Their cost is spent.
  [[nodiscard]] std::size_t take(std::size_t count, std::int64_t each) noexcept {
    const std::size_t most = left() > 0 ? static_cast<std::size_t>(left() / each) : 0;
    const std::size_t taken = std::min(count, most);
    spend(static_cast<std::int64_t>(taken) * each);  // no overflow: not more than was left
    return taken;
  }

 private:
  std::int64_t own_ = 0;
  std::int64_t* const spent_;
};

/// The same, but without a limit if `work` is null.
[[nodiscard]] inline std::size_t take(Work* work, std::size_t count, std::int64_t each) noexcept {
  return work == nullptr ? count : work->take(count, each);
}

}  // namespace vumedia::memory
