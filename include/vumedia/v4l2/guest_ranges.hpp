// Lists of guest ranges, which travel in place of a pointer to user memory (VIRTIO 1.4, 5.22.6.3.3).
//
// A list has no count. It ends when its ranges cover the length that the preceding struct states.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>
#include <vumedia/memory/guest_memory.hpp>
#include <vumedia/memory/work.hpp>
#include <vumedia/virtio/reader_writer.hpp>

namespace vumedia::v4l2 {

/// A range of guest memory, as a list has it.
struct GuestRange {
  memory::GuestAddress start;  ///< its first byte
  std::uint32_t length = 0;    ///< in bytes, not 0
  friend constexpr bool operator==(const GuestRange&, const GuestRange&) = default;
};

/// Ranges in all lists of one payload: 256 MiB of single pages, 1 MiB of list.
inline constexpr std::size_t max_guest_ranges = 65536;

/// The lists of one payload, in one vector that is reused.
class GuestRangeLists {
 public:
  /// Removes all lists, and keeps the memory.
  void clear() noexcept {
    ranges_.clear();
    ends_.clear();
    unfinished_ = false;
  }

  /// How many lists there are.
  [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
  /// Whether there are none.
  [[nodiscard]] bool empty() const noexcept { return ends_.empty(); }
  /// The number of ranges in all lists.
  [[nodiscard]] std::size_t range_count() const noexcept { return ranges_.size(); }

  /// The ranges of list `index`; empty if there is no such list.
  [[nodiscard]] std::span<const GuestRange> operator[](std::size_t index) const noexcept {
    if (index >= ends_.size()) return {};
    const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
    return {ranges_.data() + begin, ends_[index] - begin};
  }

  /// Reads the next list, which covers `length` bytes. Guest addresses are looked up when they are used. With
  /// `work` as far as that allows: memory::again, to be called again for the same list.
  [[nodiscard]] Result<> read_list(virtio::Reader& reader, std::uint64_t length,
                                   memory::Work* work = nullptr) {
    if (!unfinished_) {
      unfinished_ = true;
      left_ = length;
      // What is there at most, so that no list is moved as it grows. Memory that is not used costs nothing.
      ranges_.reserve(std::min(max_guest_ranges, ranges_.size() + reader.remaining() / sizeof(WireRange)));
    }
    while (left_ > 0) {
      // At least a part, for what is listed in few pieces is not worth another turn.
      if (work != nullptr && work->left() <= 0) return fail(memory::again);
      const std::size_t before = ranges_.size();
      const auto read = read_part(reader);
      if (work != nullptr)
        work->spend(static_cast<std::int64_t>(ranges_.size() - before) * memory::Work::read_range);
      if (!read) return read;
    }
    unfinished_ = false;
    ends_.push_back(ranges_.size());
    return {};
  }

  /// Adds a list; for tests and for commands that do not come from a queue.
  void add_list(std::span<const GuestRange> list) {
    ranges_.insert(ranges_.end(), list.begin(), list.end());
    ends_.push_back(ranges_.size());
  }

 private:
  struct WireRange {
    std::uint64_t start;
    std::uint32_t length;
    std::uint32_t reserved;
  };
  static_assert(sizeof(WireRange) == 16);

  // A part of the list, or what is left of it.
  [[nodiscard]] Result<> read_part(virtio::Reader& reader) {
    for (int i = 0; i < 256 && left_ > 0; ++i) {
      WireRange wire;
      if (!reader.read_to(wire)) return fail(EINVAL);
      if (wire.length == 0 || wire.length > left_) return fail(EINVAL);
      if (!checked_add(wire.start, std::uint64_t{wire.length})) return fail(EINVAL);
      if (ranges_.size() == max_guest_ranges) return fail(E2BIG);
      ranges_.push_back({memory::GuestAddress{wire.start}, wire.length});
      left_ -= wire.length;
    }
    return {};
  }

  std::vector<GuestRange> ranges_;
  std::vector<std::size_t> ends_;
  std::uint64_t left_ = 0;   // bytes of the list that is being read
  bool unfinished_ = false;  // there is one
};

/// Calls `visit(std::span<std::byte>)` for the pieces of host memory that hold the first `length` bytes of
/// `ranges`, in order. EFAULT if the ranges are shorter or not in guest memory; pieces before the fault have
/// been visited by then.
template <class Visit>
[[nodiscard]] Result<> for_each_piece(const memory::GuestMemory& memory, std::span<const GuestRange> ranges,
                                      std::uint64_t length, Visit&& visit) {
  for (const GuestRange& range : ranges) {
    if (length == 0) break;
    const std::uint64_t part = std::min<std::uint64_t>(range.length, length);
    if (auto done = memory.for_each_piece(range.start, part, visit); !done) return fail(EFAULT);
    length -= part;
  }
  if (length != 0) return fail(EFAULT);
  return {};
}

/// Fills `out` from guest memory. Each byte is read once.
[[nodiscard]] inline Result<> copy_from_ranges(const memory::GuestMemory& memory,
                                               std::span<const GuestRange> ranges, std::span<std::byte> out) {
  return for_each_piece(memory, ranges, out.size(), [&out](std::span<std::byte> piece) {
    std::memcpy(out.data(), piece.data(), piece.size());
    out = out.subspan(piece.size());
  });
}

/// Stores `in` in guest memory. On EFAULT a part of it may have been stored.
[[nodiscard]] inline Result<> copy_to_ranges(const memory::GuestMemory& memory,
                                             std::span<const GuestRange> ranges,
                                             std::span<const std::byte> in) {
  return for_each_piece(memory, ranges, in.size(), [&in](std::span<std::byte> piece) {
    std::memcpy(piece.data(), in.data(), piece.size());
    in = in.subspan(piece.size());
  });
}

}  // namespace vumedia::v4l2
