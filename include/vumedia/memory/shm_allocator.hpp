// Allocates parts of a shared memory region: virtio-media's driver addresses (VIRTIO 1.4, 5.22) are offsets
// into region 0, given out here. Arenas divide their files with it, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>

#include <vumedia/core/checked.hpp>
#include <vumedia/core/result.hpp>
#include <vumedia/memory/address.hpp>

namespace vumedia::memory {

/// [offset, offset + size) of a shared memory region, in bytes.
struct ShmRange {
  ShmOffset offset;        ///< a page multiple
  std::uint64_t size = 0;  ///< a page multiple
  friend constexpr bool operator==(const ShmRange&, const ShmRange&) = default;
};

/// First fit over whole pages; neighbouring free ranges are merged. Not for use by several threads at once.
class ShmAllocator {
 public:
  /// Manages [0, size); a last partial page is left out.
  explicit ShmAllocator(std::uint64_t size) : size_(size & ~(page_size - 1)) {
    if (size_ != 0) free_.emplace(0, size_);
  }

  /// The lowest free range of `size` bytes, rounded up to pages, at a multiple of `alignment`. EINVAL: size
  /// 0, or an alignment that is not a power of two of at least a page. ENOMEM: no free range is large enough.
  [[nodiscard]] Result<ShmOffset> allocate(std::uint64_t size, std::uint64_t alignment = page_size) {
    if (size == 0 || alignment < page_size || !is_power_of_two(alignment)) return fail(EINVAL);
    const auto rounded = align_up(size, page_size);
    if (!rounded) return fail(ENOMEM);
    for (auto hole = free_.begin(); hole != free_.end(); ++hole) {
      const auto [start, length] = *hole;
      const auto aligned = align_up(start, alignment);
      if (!aligned) break;  // and the remaining holes are even higher
      if (!range_fits(*aligned - start, *rounded, length)) continue;
      const std::uint64_t end = *aligned + *rounded, rest = start + length - end;
      used_.emplace(*aligned, *rounded);
      if (rest != 0) free_.emplace_hint(std::next(hole), end, rest);
      if (*aligned != start) {
        hole->second = *aligned - start;
      } else {
        free_.erase(hole);
      }
      used_bytes_ += *rounded;
      return ShmOffset{*aligned};
    }
    return fail(ENOMEM);
  }

  /// Frees the range that was allocated at exactly `offset`; EINVAL if there is none.
  Result<> release(ShmOffset offset) {
    const auto range = used_.find(offset.value);
    if (range == used_.end()) return fail(EINVAL);
    give_back(range);
    return {};
  }

  /// The allocated range that contains `offset`.
  [[nodiscard]] std::optional<ShmRange> find(ShmOffset offset) const {
    const auto range = containing(offset);
    if (range == used_.end()) return std::nullopt;
    return ShmRange{ShmOffset{range->first}, range->second};
  }

  /// Frees the allocated range that contains `offset` and returns it; EINVAL if there is none.
  Result<ShmRange> release_containing(ShmOffset offset) {
    const auto range = containing(offset);
    if (range == used_.end()) return fail(EINVAL);
    const ShmRange released{ShmOffset{range->first}, range->second};
    give_back(range);
    return released;
  }

  /// Bytes that are managed, a page multiple.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Bytes that are allocated.
  [[nodiscard]] std::uint64_t used_bytes() const noexcept { return used_bytes_; }
  /// Ranges that are allocated.
  [[nodiscard]] std::size_t used_count() const noexcept { return used_.size(); }
  /// The number of pieces of free space.
  [[nodiscard]] std::size_t free_count() const noexcept { return free_.size(); }

 private:
  using Ranges = std::map<std::uint64_t, std::uint64_t>;  // from offset to size

  [[nodiscard]] Ranges::const_iterator containing(ShmOffset offset) const {
    auto range = used_.upper_bound(offset.value);
    if (range == used_.begin()) return used_.end();
    --range;
    return offset.value - range->first < range->second ? range : used_.end();
  }

  void give_back(Ranges::const_iterator range) {
    auto [start, length] = *range;
    used_bytes_ -= length;
    used_.erase(range);
    auto next = free_.lower_bound(start);
    if (next != free_.end() && next->first == start + length) {
      length += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      if (const auto previous = std::prev(next); previous->first + previous->second == start) {
        previous->second += length;
        return;
      }
    }
    free_.emplace_hint(next, start, length);
  }

  Ranges free_;  // disjoint, none empty, no two adjacent
  Ranges used_;  // disjoint, none empty
  std::uint64_t size_;
  std::uint64_t used_bytes_ = 0;
};

}  // namespace vumedia::memory
