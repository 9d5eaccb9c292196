// The order in which a guest queued its buffers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace vumedia::v4l2 {

/// Buffer indices below `capacity`. Each is in the list at most once, so the list is bounded and never
/// allocates.
class BufferIndexFifo {
 public:
  /// As many buffers as one queue may have.
  static constexpr std::size_t capacity = 64;

  /// How many are in the list.
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  /// Removes all.
  void clear() noexcept { size_ = 0; }

  /// The index is not in the list yet, so there is room.
  void push_back(std::uint32_t index) noexcept {
    at(size_) = static_cast<std::uint8_t>(index);
    ++size_;
  }
  /// Likewise, at the other end.
  void push_front(std::uint32_t index) noexcept {
    head_ = static_cast<std::uint32_t>((head_ + capacity - 1) % capacity);
    at(0) = static_cast<std::uint8_t>(index);
    ++size_;
  }

  /// Removes and returns the first index that satisfies `accepts`.
  template <class Accepts>
  [[nodiscard]] std::optional<std::uint32_t> take_if(Accepts&& accepts) {
    for (std::uint32_t i = 0; i < size_; ++i) {
      const std::uint32_t index = at(i);
      if (!accepts(index)) continue;
      // Those before it move up by one.
      for (std::uint32_t j = i; j > 0; --j) at(j) = at(j - 1);
      head_ = static_cast<std::uint32_t>((head_ + 1) % capacity);
      --size_;
      return index;
    }
    return std::nullopt;
  }

 private:
  [[nodiscard]] std::uint8_t& at(std::uint32_t position) noexcept {
    return ring_[(head_ + position) % capacity];
  }

  std::array<std::uint8_t, capacity> ring_{};
  std::uint32_t head_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace vumedia::v4l2
